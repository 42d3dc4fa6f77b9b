/**
 * The emitter: this process as a source of evidence. It numbers the governed spans that end in it, in the order in
 * which they end, and chains them, so that one that is missing is seen.
 *
 * Some spans carry a link, `prev`: every `LINKED`th, the first, and all signs of life. It is SHA-256 over the text
 * `rootspan/emitter/v2`, emitter id, number of the span with the link before, and that link, each on a line, and then a
 * line with trace and span id for each span from there to this one, without it. The first link is 64 zeros. Links say
 * which spans there were, not what was on them. A hash for each span would cost as much as all else that is done for it.
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
  /** As `govern`, for a span that must carry a link. */
  link(span: Span): void
  isGoverned(span: Span): boolean
  /** An id that no other emitter makes. */
  nextId(): string
}

/** Open spans beyond this are not held: those that never end must not fill the memory. */
const MAX_UNENDED = 10_000

/** One of so many spans has a link. */
export const LINKED = 64

/** `isKeeping` says whether what open spans say is kept should the process end. */
export function createEmitter(endings: Endings, isKeeping: () => boolean): Emitter {
  const id = randomBytes(16).toString('hex')
  const prefix = `${id.slice(0, 16)}-`
  let count = 0
  let begun = 0
  let ids = 0
  const unended = new Set<Span>()
  /** The last link, the number of its span, and the ids of the spans since. */
  let link = '0'.repeat(64)
  let linked = 0
  let since: string[] = []

  const number = (span: Span): void => {
    setAttribute(span, Name.emitterId, id)
    setAttribute(span, Name.emitterSequence, count)
    if (count % LINKED === 0) putLink(span)
    const { traceId, spanId } = span.spanContext()
    since.push(traceId, spanId, '\n')
    count++
    unended.delete(span)
  }
  const putLink = (span: Span): void => {
    if (count > 0) link = hash('sha256', `rootspan/emitter/v2\n${id}\n${linked}\n${link}\n${since.join('')}`)
    linked = count
    since = []
    setAttribute(span, Name.emitterPrevious, link)
  }
  const numberWithLink = (span: Span): void => {
    if (count % LINKED !== 0) putLink(span)
    number(span)
  }
  /** Last of all: what other tasks of the span record is among its facts. */
  const finishing =
    (task: (span: Span) => void) =>
    (span: Span): void => {
      try {
        putFacts(span)
      } finally {
        task(span)
      }
    }
  const finish = finishing(number)
  const finishWithLink = finishing(numberWithLink)

  const begin = (span: Span, task: (span: Span) => void): void => {
    const state = stateOf(span)
    // One that does not record never ends for us: it would count as open for ever.
    if (state.isGoverned || !span.isRecording()) return
    state.isGoverned = true
    begun++
    if (isKeeping()) {
      unended.add(span)
      if (unended.size > MAX_UNENDED) unended.delete(unended.values().next().value!)
    }
    endings.last(span, task)
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
    govern: (span) => begin(span, finish),
    link: (span) => begin(span, finishWithLink),
    isGoverned: (span) => knownStateOf(span)?.isGoverned === true,
    nextId: () => prefix + (ids++).toString(36),
  }
}
