/**
 * The emitter: this process as a source of evidence. It numbers the governed spans that end in it, in the order in
 * which they end, and chains them, so that one that is missing is seen.
 *
 * Each carries a link, `prev`: SHA-256 over the text `rootspan/emitter/v2`, emitter id, number of the span before, and that
 * one's link, each on a line, and then a line with that one's trace and span id. The first link is 64 zeros. Links say which
 * spans there were, not what was on them.
 */
import { hash, randomBytes } from 'node:crypto'
import type { Span } from '@opentelemetry/api'
import type { Endings } from './ending.ts'
import { Name } from './facts.ts'
import { putFacts } from './ledger.ts'
import { knownStateOf, setAttribute, stateOf } from './span-state.ts'

export interface Emitter {
  /** Random for each process. */
  readonly id: string
  /** Governed spans that have ended. */
  readonly count: number
  /** Governed spans that have not ended yet. */
  readonly open: number
  /** Those of them that began while `isKeeping`, without the oldest if they are very many. */
  readonly unended: Iterable<Span>
  /** Numbers the span when it ends. Once for each span; later calls do nothing. */
  govern(span: Span): void
  isGoverned(span: Span): boolean
  /** An id that no other emitter makes. */
  nextId(): string
}

/** Open spans beyond this are not held: those that never end must not fill the memory. */
const MAX_UNENDED = 10_000

/** `isKeeping` says whether what open spans say is kept should the process end. */
export function createEmitter(endings: Endings, isKeeping: () => boolean): Emitter {
  const id = randomBytes(16).toString('hex')
  const prefix = `${id.slice(0, 16)}-`
  let count = 0
  let begun = 0
  // The last two digits of ids, in base 36: to write a whole number out takes 0.4 us of a decision.
  const digits = Array.from({ length: 36 ** 2 }, (_, at) => at.toString(36).padStart(2, '0'))
  /** Ids begin with it until all of those were behind it. */
  let beginning = prefix
  let rounds = 0
  let next = 0
  const unended = new Set<Span>()
  /** Of the next span. */
  let link = '0'.repeat(64)

  const number = (span: Span): void => {
    setAttribute(span, Name.emitterId, id)
    setAttribute(span, Name.emitterSequence, count)
    setAttribute(span, Name.emitterPrevious, link)
    const { traceId, spanId } = span.spanContext()
    link = hash('sha256', `rootspan/emitter/v2\n${id}\n${count}\n${link}\n${traceId}${spanId}\n`)
    count++
    unended.delete(span)
  }
  /** Last of all: what other tasks of the span record is among its facts. */
  const finish = (span: Span): void => {
    try {
      putFacts(span)
    } finally {
      number(span)
    }
  }

  const govern = (span: Span): void => {
    const state = stateOf(span)
    // One that does not record never ends for us: it would count as open for ever.
    if (state.isGoverned || !span.isRecording()) return
    state.isGoverned = true
    begun++
    if (isKeeping()) {
      unended.add(span)
      if (unended.size > MAX_UNENDED) unended.delete(unended.values().next().value!)
    }
    endings.last(span, finish)
  }
  return {
    id,
    get count() {
      return count
    },
    get open() {
      return begun - count
    },
    unended,
    govern,
    isGoverned: (span) => knownStateOf(span)?.isGoverned === true,
    nextId() {
      if (next === digits.length) {
        next = 0
        beginning = prefix + (++rounds).toString(36)
      }
      return beginning + digits[next++]
    },
  }
}
