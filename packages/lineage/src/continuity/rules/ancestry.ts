/** GC-N: who caused whom. */
import { formatHex } from '../../bytes.ts'
import { LOG_RECORD } from '../../otlp/log-record.ts'
import { Parent } from '../../record/entry.ts'
import { isRequestKind } from '../classify.ts'
import { nearest } from '../descend.ts'
import type { Execution, Node } from '../model.ts'
import type { Rule } from '../rule.ts'

/** A span whose children ended less than this ago may still run, and comes when it ends: nanoseconds. */
const STILL_RUNNING = 30_000_000_000n

/** Spans that are governed or have a governed one below them, by their places. Linear. */
function onGovernedPath({ spans }: Execution): Uint8Array {
  const isOn = new Uint8Array(spans.length)
  for (const start of spans) {
    if (!start.governed) continue
    let at: Node | undefined = start
    while (at !== undefined && isOn[at.place] === 0) {
      isOn[at.place] = 1
      at = at.parent
    }
  }
  return isOn
}

const missingParent: Rule = {
  id: 'GC-N01',
  version: 1,
  title: 'missing parent',
  severity: 'high',
  scope: 'local',
  looksAt: 'Spans of which somebody is governed, and whose parent, in the same process, never came.',
  guards: [
    'A parent in another process is the business of GC-N05.',
    'Unknown while the parent may still run: where its last child ended less than 30 seconds before.',
    'Unknown where a segment was erased: the parent may have been in it.',
    'Spans that are not governed and have nothing governed below them are left out.',
  ],
  remedy:
    'Look for what the process lost: dropped and missing numbers (GC-C01), exporters without room, a process that was killed.',
  evaluate(execution, report) {
    const isOn = onGovernedPath(execution)
    let orphans: Map<string, Node[]> | undefined
    for (const node of execution.spans) {
      if (isOn[node.place] === 0) continue
      if (node.parent !== undefined || node.parentState === Parent.root) report.pass()
      else if (node.parentState === Parent.awaiting && !node.opensCycle) {
        orphans ??= new Map()
        const siblings = orphans.get(node.parentId)
        if (siblings === undefined) orphans.set(node.parentId, [node])
        else siblings.push(node)
      }
    }
    for (const [parentId, children] of orphans ?? []) {
      let last = 0n
      for (const { end } of children) if (end > last) last = end
      if (execution.erased.length > 0) report.unknown(`span ${parentId}, which may have been erased`)
      else if (execution.evaluatedAt - last < STILL_RUNNING)
        report.unknown(`span ${parentId}, which may still run`, last + STILL_RUNNING)
      else report.fail(children, `the parent of span ${children[0]!.id}, ${parentId}, never came`)
    }
  },
}

/** Whether a span says what it is part of, or something came to its process with it. */
function isBeginning({ request, kind }: Node): boolean {
  return request !== undefined || isRequestKind(kind)
}

const orphanRoot: Rule = {
  id: 'GC-N02',
  version: 1,
  title: 'action without a beginning',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Actions with nothing at or above them that says what began them: no request, message, job or agent run.',
  guards: [
    'Only where the topmost span is there and is a root: what has a parent elsewhere is part of something.',
    'Unknown for actions that were inferred: an application that sends something by itself is not wrong by that.',
  ],
  remedy:
    'Run jobs, scripts and messages in `withExecution`, or give their first span `governance.execution.id` and `.kind`.',
  evaluate({ spans, actions }, report) {
    if (actions.length === 0) return
    const beginnings = nearest(spans, isBeginning)
    let tops: readonly (Node | undefined)[] | undefined
    for (const { inferred, on } of actions) {
      if (!on.governed) continue
      if (beginnings[on.place] !== undefined) {
        report.pass()
        continue
      }
      tops ??= nearest(spans, (node) => node.parent === undefined)
      const top = tops[on.place]
      if (top?.parentState !== Parent.root) continue
      if (inferred) report.unknown(`what began span ${top.id}`)
      else report.fail([on], `nothing says what began span ${on.id}`)
    }
  },
}

/** Two records say different things of one span, or a span is its own ancestor. */
const equivocation: Rule = {
  id: 'GC-N03',
  version: 1,
  title: 'equivocation',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Records with one span id and span kind and different content, and spans that are their own ancestors.',
  guards: [
    'Deliveries with equal content are one record.',
    'Client and server may share a span id: only records of one span kind are compared.',
    'Unknown where a segment was erased: what was in it cannot be compared.',
  ],
  remedy: 'Find out which process sent each version; a span is sent once, and its id is random.',
  evaluate(execution, report) {
    /** The first record of each span id; and of those that have another kind, the first of each. */
    const first = new Map<string, Node>()
    let others: Map<string, Node> | undefined
    for (const node of execution.spans) {
      if (node.kind === LOG_RECORD) continue // there may be many of one span
      let known = first.get(node.id)
      if (known === undefined) first.set(node.id, node)
      else if (known.kind !== node.kind) {
        const key = `${node.id} ${node.kind}`
        others ??= new Map()
        known = others.get(key)
        if (known === undefined) others.set(key, node)
      }
      if (known !== undefined)
        report.fail([node, known], `span ${node.id} was sent before with other content`)
      if (node.opensCycle) report.fail([node], `span ${node.id} is its own ancestor`)
    }
    for (const segment of execution.erased)
      report.unknown(`the spans of segment ${segment}, which were erased`)
    if (execution.spans.length > 0) report.pass()
  },
}

const danglingLink: Rule = {
  id: 'GC-N04',
  version: 1,
  title: 'dangling link',
  severity: 'medium',
  scope: 'local',
  looksAt: 'Links of governed spans to spans of the same execution and process that never came.',
  guards: [
    'Links into other executions are not looked at.',
    'Unknown where the link does not say that its target is in the same process: others may send elsewhere.',
    'Unknown where the span itself ended less than 30 seconds before, or a segment was erased.',
  ],
  remedy: 'Look for what the process lost, as for a missing parent.',
  evaluate(execution, report) {
    const { spans, erased, evaluatedAt } = execution
    let ids: Set<string> | undefined
    const own = formatHex(execution.traceId)
    for (const node of spans) {
      if (!node.governed || node.links.length === 0) continue
      ids ??= new Set(spans.map(({ id }) => id))
      for (const { traceId, spanId, remote } of node.links) {
        if (traceId !== own) continue
        if (ids.has(spanId)) report.pass()
        else if (remote === true) report.unknown(`span ${spanId} of another service, to which a link leads`)
        else if (remote === undefined || erased.length > 0)
          report.unknown(`span ${spanId}, to which a link leads`)
        else if (evaluatedAt - node.end < STILL_RUNNING)
          report.unknown(`span ${spanId}, to which a link leads`, node.end + STILL_RUNNING)
        else report.fail([node], `span ${node.id} links to ${spanId}, which never came`)
      }
    }
  },
}

const untrustedParent: Rule = {
  id: 'GC-N05',
  version: 1,
  title: 'parent of another trust domain',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Governed spans of a service with a `governance.domain` that continue a span of a service of another domain.',
  guards: [
    'Services without a domain are left out.',
    'Unknown where the parent is in another process and was not sent here, or its service names no domain.',
  ],
  remedy: 'Begin a trace of your own at the border of the domain, and link to that of the caller.',
  evaluate({ spans }, report) {
    for (const node of spans) {
      const { parent, service } = node
      if (!node.governed || service.domain === undefined) continue
      if (parent === undefined) {
        if (node.parentState === Parent.remote)
          report.unknown(`the caller of service ${service.name}, which sent no span`)
      } else if (parent.service === service) continue
      else if (parent.service.domain === undefined)
        report.unknown(`the trust domain of service ${parent.service.name}`)
      else if (parent.service.domain === service.domain) report.pass()
      else
        report.fail(
          [node, parent],
          `span ${node.id} of ${service.name} continues one of ${parent.service.name}, of another trust domain`,
        )
    }
  },
}

export const ANCESTRY: readonly Rule[] = [
  missingParent,
  orphanRoot,
  equivocation,
  danglingLink,
  untrustedParent,
]
