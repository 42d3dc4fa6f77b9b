/** GC-C01 and GC-C03: what a process has numbered and chained, and what of it came. */
import { formatHex } from '../../bytes.ts'
import { FIRST_LINK, linkAfter, linkedRuns, type Numbered } from '../emitter.ts'
import type { EmitterMark } from '../facts.ts'
import type { Execution, Node } from '../model.ts'
import { oncePerExecution, type Report, type Rule, type Subject } from '../rule.ts'

/** Numbers that are missing for less than this may still be on their way: nanoseconds. */
export const GAP_GRACE = 60_000_000_000n

/** A node that has a number. */
export type NumberedNode = Node & { readonly emitter: EmitterMark }

/** Governed spans by their process, in the order of their numbers. */
export const byEmitter = oncePerExecution((execution): ReadonlyMap<string, readonly NumberedNode[]> => {
  const emitters = new Map<string, NumberedNode[]>()
  for (const node of execution.spans) {
    if (!isNumbered(node)) continue
    const spans = emitters.get(node.emitter.id)
    if (spans === undefined) emitters.set(node.emitter.id, [node])
    else spans.push(node)
  }
  for (const spans of emitters.values()) if (spans.length > 1) spans.sort(compareNumbers)
  return emitters
})

function isNumbered(node: Node): node is NumberedNode {
  return node.emitter !== undefined
}

function compareNumbers(a: NumberedNode, b: NumberedNode): number {
  const [first, second] = [a.emitter.seq, b.emitter.seq]
  return first < second ? -1 : first > second ? 1 : a.place - b.place
}

const gap: Rule = {
  id: 'GC-C01',
  version: 1,
  title: 'evidence was lost or left out',
  severity: 'high',
  scope: 'contextual',
  looksAt:
    'Numbers of a process that never came between two spans of this execution, losses that a process reports of itself, and governed spans that a sampler let through by chance.',
  guards: [
    'A number that is missing for less than a minute may still come.',
    'What a process lost of other executions is told in the execution of its own signs of life.',
    'That a number is missing is the word of the collector: nobody else can show it.',
  ],
  remedy: 'Switch the spool on, give the collector room, and do not sample governed spans.',
  evaluate(execution, report) {
    for (const [id, spans] of byEmitter(execution)) {
      findMissing(id, spans, execution, report)
      report.pass()
    }
    for (const node of execution.spans) {
      if (node.emitter !== undefined) findLosses(node, report)
      if (node.unfinished) report.fail([node], `span ${node.id} never ended: its service died before`)
      if (node.governed && node.sampled)
        report.fail([node], `span ${node.id} was sampled: others of its kind were left out`)
    }
  },
}

/** Numbers that have been missing for long between two spans of a process. */
function findMissing(
  id: string,
  spans: readonly NumberedNode[],
  { context, evaluatedAt }: Execution,
  report: Report,
): void {
  for (const { from, to, noticedAt, emitter } of context.gaps) {
    if (emitter !== id || evaluatedAt - noticedAt < GAP_GRACE) continue
    const after = spans.find(({ emitter }) => emitter.seq > to)
    const before = spans.findLast(({ emitter }) => emitter.seq < from)
    if (after !== undefined && before !== undefined)
      report.fail([after, before], `numbers ${from} to ${to} of emitter ${id} never came`)
  }
}

function findLosses(node: Node, report: Report): void {
  const { id, dropped = 0, rejected = 0 } = node.emitter!
  if (dropped > 0) report.fail([node], `emitter ${id} says that it lost ${dropped} governed spans`)
  if (rejected > 0) report.fail([node], `emitter ${id} says that ${rejected} governed spans were refused`)
}

interface Linked extends Numbered, Subject {
  /** It is of this execution. */
  readonly isOwn: boolean
}

const chain: Rule = {
  id: 'GC-C03',
  version: 1,
  title: 'emitter chain broken',
  severity: 'critical',
  scope: 'contextual',
  looksAt:
    'Whether the links of a process stand for the spans that came of it, and no number of it comes twice.',
  guards: [
    'A link is compared where all the spans that it stands for are there, those of other executions by the context.',
    'A process that begins again has another emitter id.',
  ],
  remedy:
    'Somebody has changed, left out or made up spans between the process and the collector: compare with the spool.',
  evaluate(execution, report) {
    for (const [id, spans] of byEmitter(execution)) checkChain(id, spans, execution, report)
  },
}

function checkChain(id: string, spans: readonly NumberedNode[], execution: Execution, report: Report): void {
  const { neighbours } = execution.context
  if (!saysAnything(spans) && !neighbours.some(({ emitter }) => emitter === id)) return
  const traceId = formatHex(execution.traceId)
  const own = spans.map(({ id, leaf, emitter: { seq, prev } }): Linked => {
    return { seq, prev, traceId, spanId: id, leaf, isOwn: true }
  })
  const others = neighbours
    .filter(({ emitter }) => emitter === id)
    .map(({ seq, prev, traceId, spanId, leaf }): Linked => {
      return { seq, prev, traceId: formatHex(traceId), spanId: formatHex(spanId), leaf, isOwn: false }
    })
  const all = [...own, ...others].sort((a, b) => (a.seq < b.seq ? -1 : a.seq > b.seq ? 1 : 0))
  for (const [at, span] of all.entries()) {
    const before = all[at - 1]
    if (before?.seq === span.seq && (before.isOwn || span.isOwn))
      report.fail(
        before.isOwn ? [before, span] : [span, before],
        `number ${span.seq} of emitter ${id} comes twice`,
      )
  }
  const first = own.find(({ seq }) => seq === 0n)
  if (first?.prev !== undefined && first.prev !== FIRST_LINK)
    report.fail([first], `the first span of emitter ${id} names one before it`)
  for (const run of linkedRuns(all)) {
    if (!run.some(({ isOwn }) => isOwn)) continue
    const last = run.at(-1)!
    if (linkAfter(id, run.slice(0, -1)) === last.prev) report.pass()
    else {
      const named = run.filter(({ isOwn }) => isOwn).at(-1)!
      report.fail(
        last === named ? [last, run.at(-2)!] : [named, last],
        `the link of number ${last.seq} of emitter ${id} does not stand for what came before it`,
      )
    }
  }
}

/** One of them has a link, or a number comes twice: without that there is nothing to compare. */
function saysAnything(spans: readonly NumberedNode[]): boolean {
  let before: bigint | undefined
  for (const { emitter } of spans) {
    if (emitter.prev !== undefined || emitter.seq === before) return true
    before = emitter.seq
  }
  return false
}

/** Emitters of whose spans here a rule finds that some were lost, or that their chain does not hold. */
export function brokenEmitters(execution: Execution): ReadonlySet<string> {
  const broken = new Set<string>()
  for (const [id, spans] of byEmitter(execution)) {
    const report: Report = { pass() {}, unknown() {}, fail: () => broken.add(id) }
    findMissing(id, spans, execution, report)
    for (const node of spans) findLosses(node, report)
    checkChain(id, spans, execution, report)
  }
  return broken
}

export const EMITTER: readonly Rule[] = [gap, chain]
