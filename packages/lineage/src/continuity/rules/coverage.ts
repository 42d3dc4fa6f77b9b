/** GC-R04, R06, C02, C05: what governs everywhere, and what of the evidence is whole. */

import { isRequestKind } from '../classify.ts'
import { nearest } from '../descend.ts'
import type { Node, Service } from '../model.ts'
import type { Rule } from '../rule.ts'

/** What came to a process: its parent is elsewhere. */
function isEntry({ kind, parent, parentId, remote, service }: Node): boolean {
  if (!isRequestKind(kind)) return false
  return parent === undefined ? parentId === '' || remote : parent.service !== service
}

const silence: Rule = {
  id: 'GC-R04',
  version: 1,
  title: 'governance fell silent',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Requests and messages that came to a process with the instrumentation, and whose spans carry no governance at all.',
  guards: [
    'Services that never had the instrumentation are left out.',
    'Unknown where one process of a service has it and another has not: a new version may be on its way.',
  ],
  remedy: 'Look at the process: its span processor or sampler was replaced, or its hooks were taken off.',
  evaluate({ spans, services }, report) {
    const governedNames = new Set(
      services.filter(({ instrumentation }) => instrumentation !== undefined).map(({ name }) => name),
    )
    if (governedNames.size === 0) return
    for (const node of spans) {
      if (!isEntry(node)) continue
      const { service } = node
      if (service.instrumentation === undefined) {
        if (governedNames.has(service.name) && !service.covered)
          report.unknown(`whether all processes of ${service.name} have the instrumentation`)
      } else if (node.governed) report.pass()
      else report.fail([node], `span ${node.id} came to ${service.name} and carries no governance`)
    }
  },
}

const bypass: Rule = {
  id: 'GC-R06',
  version: 1,
  title: 'side effect past governance',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Side effects without governance in a service that has the same one, by name and type, under governance in this execution.',
  guards: [
    'A side effect below a governed action of its service is part of it.',
    'Services with the instrumentation are left out: it marks every side effect that it sees.',
    'Which calls of a service need governance nobody says: a service that governs none of a kind is not wrong by that.',
  ],
  remedy: 'Send the side effect through the same check as the others of its kind.',
  evaluate({ spans, actions }, report) {
    /** By service: names and types of its governed side effects, each with the first span that has it. */
    const governed = new Map<Service, Map<string, Node>>()
    const keyOf = (name: string | undefined, type: string | undefined): string => JSON.stringify([name, type])
    for (const { on, name, type } of actions) {
      if (!on.governed || on.service.instrumentation !== undefined) continue
      const known = governed.get(on.service) ?? new Map<string, Node>()
      governed.set(on.service, known)
      const key = keyOf(name, type)
      if (!known.has(key)) known.set(key, on)
    }
    if (governed.size === 0) return
    const above = nearest(spans, ({ governed, action }) => governed && action !== undefined)
    for (const { on, name, type, inferred } of actions) {
      if (on.governed) {
        if (governed.has(on.service)) report.pass()
        continue
      }
      const same = inferred ? governed.get(on.service)?.get(keyOf(name, type)) : undefined
      if (same === undefined || above[on.place]?.service === on.service) continue
      report.fail([on, same], `span ${on.id} does without governance what span ${same.id} does under it`)
    }
  },
}

const truncated: Rule = {
  id: 'GC-C02',
  version: 1,
  title: 'evidence was truncated',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Governed spans of which attributes, events or links were dropped, and facts that were cut or left out because of their size or number.',
  guards: ['What an SDK cuts from a value without saying so cannot be seen.'],
  remedy: 'Raise the limits of the SDK (`OTEL_SPAN_*_LIMIT`), or record less on one span.',
  evaluate({ spans }, report) {
    for (const node of spans) {
      if (!node.governed) continue
      const { droppedCount, truncatedCount } = node
      if (droppedCount > 0)
        report.fail([node], `${droppedCount} attributes, events or links of span ${node.id} were dropped`)
      if (truncatedCount > 0)
        report.fail([node], `${truncatedCount} values or facts of span ${node.id} were cut or left out`)
      if (droppedCount === 0 && truncatedCount === 0) report.pass()
    }
  },
}

const redacted: Rule = {
  id: 'GC-C05',
  version: 1,
  title: 'redacted',
  severity: 'low',
  scope: 'local',
  looksAt: 'Governed spans that say that something was taken out of them or masked on the way.',
  guards: [
    'It is a note: what is taken out on purpose is no fault.',
    'Only what says so is seen: the word REDACTED in a query, and the counts of the redaction processor.',
  ],
  remedy: 'None, if it was meant: compare with what the operator declares to redact.',
  evaluate({ spans }, report) {
    for (const node of spans)
      if (node.governed && node.redactedCount > 0)
        report.fail([node], `${node.redactedCount} attributes of span ${node.id} were redacted`)
  },
}

export const COVERAGE: readonly Rule[] = [silence, bypass, truncated, redacted]
