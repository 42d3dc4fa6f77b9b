/**
 * The emitter: this process as a source of evidence. It numbers the governed spans that end in it, in the order in
 * which they end, and chains them, so that one that is missing is seen.
 *
 * `prev` of a span is the link of the span before it; the link of a span is SHA-256 over the text
 * `rootspan/emitter/v1`, emitter id, number, trace id, span id and `prev`, each on a line. The first `prev` is 64 zeros.
 * The link says which span it was, not what was on it.
 */
import { hash, randomBytes } from 'node:crypto'
import type { Attributes, Span, SpanContext } from '@opentelemetry/api'
import type { Endings } from './ending.ts'
import { Name } from './facts.ts'
import { knownStateOf, stateOf } from './span-state.ts'

export interface Emitter {
  /** Random for each process. */
  readonly id: string
  /** Governed spans that have ended. */
  readonly count: number
  /** Governed spans that have not ended yet. */
  readonly open: number
  /** Link of the last one. */
  readonly link: string
  /** Numbers the span when it ends. Once for each span; later calls do nothing. */
  govern(span: Span): void
  isGoverned(span: Span): boolean
  /** An id that no other emitter makes. */
  nextId(): string
}

export function createEmitter(endings: Endings): Emitter {
  const id = randomBytes(16).toString('hex')
  let count = 0
  let begun = 0
  let link = '0'.repeat(64)
  let ids = 0
  const number = (span: Span): void => {
    const attributes: Attributes = {
      [Name.emitterId]: id,
      [Name.emitterSequence]: count,
      [Name.emitterPrevious]: link,
    }
    span.setAttributes(attributes)
    link = linkOf(id, count, span.spanContext(), link)
    count++
  }
  return {
    id,
    get count() {
      return count
    },
    get open() {
      return begun - count
    },
    get link() {
      return link
    },
    govern(span) {
      const state = stateOf(span)
      if (state.isGoverned) return
      state.isGoverned = true
      begun++
      // Last of all tasks: those that are added later run before it.
      endings.before(span, () => endings.before(span, number))
    },
    isGoverned: (span) => knownStateOf(span)?.isGoverned === true,
    nextId: () => `${id.slice(0, 16)}-${(ids++).toString(36)}`,
  }
}

export function linkOf(
  emitter: string,
  sequence: number,
  { traceId, spanId }: Pick<SpanContext, 'traceId' | 'spanId'>,
  previous: string,
): string {
  const text = `rootspan/emitter/v1\n${emitter}\n${sequence}\n${traceId}\n${spanId}\n${previous}\n`
  return hash('sha256', text)
}
