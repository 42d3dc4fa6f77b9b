/** The chain of the governed spans of one process, as the instrumentation makes it (docs/instrument/continuity.md). */
import { sha256OfText } from '#crypto'

/** `governance.emitter.prev` of the first span of a process. */
export const FIRST_LINK = '0'.repeat(64)

/** A numbered span of a process, with the ids that its links are made of, in lower-case hex. */
export interface Numbered {
  readonly seq: bigint
  /** Its link; empty or undefined on spans that carry none. */
  readonly prev: string | undefined
  readonly traceId: string
  readonly spanId: string
}

/**
 * The link of the span after these: SHA-256 over the text `rootspan/emitter/v2`, emitter id, number and link of the first of
 * them, which has one, each on a line, and a line with trace and span id of each of them. They are numbered without a gap.
 */
export function linkAfter(emitter: string, spans: readonly Numbered[]): string {
  const { seq, prev } = spans[0]!
  let text = `rootspan/emitter/v2\n${emitter}\n${seq}\n${prev}\n`
  for (const { traceId, spanId } of spans) text += `${traceId}${spanId}\n`
  return sha256OfText(text)
}

/**
 * Runs of spans that a link stands for, with the span that has the link last, out of spans by ascending number. Only
 * whole ones: from one linked span to the next without a gap.
 */
export function* linkedRuns<S extends Numbered>(spans: readonly S[]): Iterable<readonly S[]> {
  let from = -1
  for (const [at, span] of spans.entries()) {
    if (at > 0 && span.seq !== spans[at - 1]!.seq + 1n) from = -1
    if (span.prev === undefined || span.prev === '') continue
    if (from !== -1) yield spans.slice(from, at + 1)
    from = at
  }
}
