/** GC-C01 and GC-C03: what a process has numbered and chained, and what of it came. */
import { formatHex } from '../../bytes.ts'
import { FIRST_LINK, linkOf } from '../emitter.ts'
import type { Execution, Node } from '../model.ts'
import { fail, type Observation, PASS, type Rule } from '../rule.ts'

/** Numbers that are missing for less than this may still be on their way: nanoseconds. */
export const GAP_GRACE = 60_000_000_000n

interface Numbered {
  readonly node: Node
  readonly seq: bigint
  readonly prev: string | undefined
}

/** Governed spans by their process, in the order of their numbers. */
function byEmitter(execution: Execution): Map<string, Numbered[]> {
  const emitters = new Map<string, Numbered[]>()
  for (const node of execution.spans) {
    if (node.emitter === undefined) continue
    const { id, seq, prev } = node.emitter
    const spans = emitters.get(id)
    if (spans === undefined) emitters.set(id, [{ node, seq, prev }])
    else spans.push({ node, seq, prev })
  }
  for (const spans of emitters.values())
    spans.sort((a, b) => (a.seq < b.seq ? -1 : a.seq > b.seq ? 1 : a.node.place - b.node.place))
  return emitters
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
  *evaluate(execution) {
    const { context } = execution
    for (const [id, spans] of byEmitter(execution)) {
      for (const { from, to, noticedAt, emitter } of context.gaps) {
        if (emitter !== id || execution.evaluatedAt - noticedAt < GAP_GRACE) continue
        const after = spans.find(({ seq }) => seq > to)
        const before = spans.findLast(({ seq }) => seq < from)
        if (after !== undefined && before !== undefined)
          yield fail([after.node, before.node], `numbers ${from} to ${to} of emitter ${id} never came`)
      }
      yield PASS
    }
    for (const node of execution.spans) {
      if (node.emitter !== undefined) yield* losses(node)
      if (node.unfinished) yield fail([node], `the process of span ${node.id} died before it ended`)
      if (node.governed && node.sampled)
        yield fail([node], `span ${node.id} was sampled: others of its kind were left out`)
    }
  },
}

function* losses(node: Node): Iterable<Observation> {
  const { id, dropped = 0, rejected = 0 } = node.emitter!
  if (dropped > 0) yield fail([node], `emitter ${id} says that it lost ${dropped} governed spans`)
  if (rejected > 0) yield fail([node], `emitter ${id} says that ${rejected} governed spans were refused`)
}

const chain: Rule = {
  id: 'GC-C03',
  version: 1,
  title: 'emitter chain broken',
  severity: 'critical',
  scope: 'contextual',
  looksAt:
    'Whether each governed span names the link of the one before it in its process, and no number comes twice.',
  guards: [
    'Neighbours in other executions are compared where the context has them.',
    'A process that begins again has another emitter id.',
  ],
  remedy:
    'Somebody has changed, left out or made up spans between the process and the collector: compare with the spool.',
  *evaluate(execution) {
    const traceId = formatHex(execution.traceId)
    for (const [id, spans] of byEmitter(execution)) {
      const link = ({ node, seq, prev }: Numbered): string => linkOf(id, seq, traceId, node.id, prev ?? '')
      for (const [at, span] of spans.entries()) {
        const { node, seq, prev } = span
        const before = spans[at - 1]
        if (before?.seq === seq) {
          // Equal spans are one record, client and server have numbers of their own.
          yield fail([node, before.node], `number ${seq} of emitter ${id} comes twice`)
          continue
        }
        if (seq === 0n) {
          if (prev !== FIRST_LINK) yield fail([node], `the first span of emitter ${id} names one before it`)
          else yield PASS
        } else if (before !== undefined && before.seq === seq - 1n) {
          if (link(before) === prev) yield PASS
          else
            yield fail(
              [node, before.node],
              `number ${seq} of emitter ${id} does not follow from the one before`,
            )
        }
      }
      for (const other of execution.context.neighbours) {
        if (other.emitter !== id) continue
        const trace = formatHex(other.traceId)
        const span = formatHex(other.spanId)
        for (const own of spans) {
          if (own.seq === other.seq)
            yield fail([own.node, other], `number ${own.seq} of emitter ${id} comes twice`)
          else if (own.seq === other.seq + 1n && linkOf(id, other.seq, trace, span, other.prev) !== own.prev)
            yield fail(
              [own.node, other],
              `number ${own.seq} of emitter ${id} does not follow from the one before`,
            )
          else if (own.seq === other.seq - 1n && link(own) !== other.prev)
            yield fail(
              [own.node, other],
              `number ${other.seq} of emitter ${id} does not follow from the one before`,
            )
        }
      }
    }
  },
}

export const EMITTER: readonly Rule[] = [gap, chain]
