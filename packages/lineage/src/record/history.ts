/**
 * What the earlier segments of a trace hold: which spans have records, who still waits for a parent.
 *
 * Built from entries alone, so that everybody who has the log builds the same; payloads are asked for only
 * where a span comes again.
 */
import { formatHex } from '../bytes.ts'
import { Kind } from '../governance/kind.ts'
import { type Entry, isSpanBorn, Parent, Persistence } from './entry.ts'
import { idKey, type SpanInput, spanContent } from './order.ts'
import { Closed } from './payload.ts'

export interface EarlierSpan {
  /** Leaf hash of its record, and the leaf's index in the log. */
  readonly leaf: Uint8Array
  readonly index: number
  /** It is the record of a log record. */
  readonly isLog: boolean
  /** The span itself; undefined where its payload was erased. */
  span(): SpanInput | undefined
}

/** History of one trace; grows a segment at a time. The segments are added in order. */
export class TraceHistory {
  /** Number of the next segment. */
  segment = 0
  /** Leaf hash of the last seal; empty before the first. */
  previousSeal: Uint8Array = new Uint8Array(0)
  /** Why the last segment was closed. */
  previousClosed: Closed = Closed.settled
  readonly #spans = new Map<string, EarlierSpan[]>()
  /** The record that stands for a span id: of the first finished span or, until there is one, the first log record. */
  readonly #standing = new Map<string, EarlierSpan>()
  /** Leaf hashes of the records of log records. */
  readonly #logs = new Map<string, Uint8Array[]>()
  readonly #waiting = new Map<string, Uint8Array[]>()
  /** What `earlier` has answered since a segment was added. */
  readonly #earlier = new Map<string, EarlierSpans>()

  /**
   * Adds a sealed segment: the index of its first leaf, its entries in order, their leaf hashes (32 bytes
   * each), and a way to its spans in record order. `payload` is called at most once, and only when a span of the segment comes again.
   */
  add(
    first: number,
    entries: readonly Entry[],
    leaves: Uint8Array,
    closed: Closed,
    payload: () => readonly SpanInput[] | undefined,
  ): void {
    let spans: readonly SpanInput[] | undefined | null = null
    let born = 0
    this.#earlier.clear()
    for (const [at, entry] of entries.entries()) {
      if (!isSpanBorn(entry)) continue
      const leaf = copyOf(leaves, at * 32, at * 32 + 32)
      const id = idKey(entry.spanId)
      const place = born++
      const earlier: EarlierSpan = {
        leaf,
        index: first + at,
        isLog: entry.parent === Parent.unsaid,
        span() {
          if (spans === null) spans = payload()
          return spans?.[place]
        },
      }
      const standing = this.#standing.get(id)
      if (standing === undefined || (standing.isLog && !earlier.isLog)) this.#standing.set(id, earlier)
      const held = this.#spans.get(id)
      if (held === undefined) this.#spans.set(id, [earlier])
      else held.push(earlier)
      if (entry.parent === Parent.unsaid) {
        const logs = this.#logs.get(id)
        if (logs === undefined) this.#logs.set(id, [leaf])
        else logs.push(leaf)
      }
      if (entry.parent === Parent.awaiting || entry.parent === Parent.remote) {
        const parent = idKey(entry.parentSpanId)
        const waiting = this.#waiting.get(parent)
        if (waiting === undefined) this.#waiting.set(parent, [leaf])
        else waiting.push(leaf)
      }
    }
    // Whoever came in this segment has adopted who waited for it; what opens a cycle waits for nobody.
    for (const entry of entries) if (isSpanBorn(entry)) this.#waiting.delete(idKey(entry.spanId))
    const seal = entries.at(-1)
    if (seal?.kind !== Kind.persistence || seal.persistence !== Persistence.sealed)
      throw new Error('bad history: a segment without a seal')
    this.previousSeal = copyOf(leaves, leaves.length - 32, leaves.length)
    this.previousClosed = closed
    this.segment = seal.segment + 1
  }

  /** Leaf hash of the record that stands for a span id. */
  leafOf(id: string): Uint8Array | undefined {
    return this.#standing.get(id)?.leaf
  }

  /** Leaf hashes of the records of log records about a span, in log order. */
  logsOf(id: string): readonly Uint8Array[] {
    return this.#logs.get(id) ?? []
  }

  /** Leaf hashes of earlier records whose parent has this id and had not come. */
  waitingFor(id: string): readonly Uint8Array[] {
    return this.#waiting.get(id) ?? []
  }

  /** The earlier records of a span id; undefined where there is none. Looks into payloads on the first call. */
  earlier(id: string): EarlierSpans | undefined {
    const known = this.#earlier.get(id)
    const held = known === undefined ? this.#spans.get(id) : undefined
    if (held === undefined) return known
    const earlier = new EarlierSpans(held)
    this.#earlier.set(id, earlier)
    return earlier
  }
}

/** The records that earlier segments hold of one span id. */
class EarlierSpans {
  /** By content digest. */
  readonly #byContent = new Map<string, EarlierSpan>()
  /** The first that has this kind, or whose kind cannot be told. */
  readonly #byKind = new Map<number, EarlierSpan>()
  #erased: EarlierSpan | undefined

  constructor(earlier: readonly EarlierSpan[]) {
    for (const one of earlier) {
      const span = one.span()
      if (span === undefined) {
        if (!one.isLog) this.#erased ??= one
      } else {
        const content = formatHex(spanContent(span))
        if (!this.#byContent.has(content)) this.#byContent.set(content, one)
        if (!this.#byKind.has(span.kind)) this.#byKind.set(span.kind, this.#erased ?? one)
      }
    }
  }

  /** The record of a span that equals this one. */
  twin(span: SpanInput): EarlierSpan | undefined {
    return this.#byContent.get(formatHex(spanContent(span)))
  }

  /** The first record of a span of this kind, or of one that was erased and may have had it. */
  ofKind(kind: number): EarlierSpan | undefined {
    return this.#byKind.get(kind) ?? this.#erased
  }
}

/** A real copy: `slice` of Node's buffers, which hashes may come in, is a view. */
function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end))
}
