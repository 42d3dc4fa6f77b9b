/** The numbering of one process as far as its spans came: what is missing, comes twice, or is not what a link stands for. */
import { parseHex } from '@rootspan/lineage/bytes'
import type { Gap, Neighbour } from '@rootspan/lineage/continuity/context'
import { linkAfter, type Numbered } from '@rootspan/lineage/continuity/emitter'

/** Spans that a late one may still be compared with. */
const MAX_WINDOW = 1024
const MAX_GAPS = 256
/** Spans that one link may stand for, to be checked. */
const MAX_RUN = 100
/** Wrong runs and numbers that came twice which are kept. */
const MAX_WRONG = 64
const NO_GAPS: readonly Gap[] = []
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER)

/** A span of the process, with the leaf hash of its record. */
export interface Sent extends Numbered {
  /** Its link; empty where it has none. */
  readonly prev: string
  readonly leaf: Uint8Array
}

export class Numbering {
  readonly #emitter: string
  /** By {@link keyOf} their number, the latest ones that came. */
  readonly #window = new Map<number | bigint, Sent>()
  /** Their numbers in the order in which they came, round and round: the oldest key of a map takes long to find. */
  readonly #arrived: (number | bigint)[] = []
  #next = 0
  /** Numbers of spans with links whose runs are not whole yet. */
  readonly #unchecked = new Set<bigint>()
  readonly #wrong: (readonly Sent[])[] = []
  readonly #gaps: Gap[] = []
  /** Since when the newest gap is there of which {@link aroundGaps} has told. */
  #told = -1n
  #highest: bigint

  /** Numbers before the first that comes are not missed: this collector may not have been there. */
  constructor(emitter: string, first: bigint) {
    this.#emitter = emitter
    this.#highest = first
  }

  /** A span came; `now` in nanoseconds since 1970. A hash for each link that stands for spans of other traces. */
  add(span: Sent, now: bigint): void {
    const { seq } = span
    const key = keyOf(seq)
    const twin = this.#window.get(key)
    if (twin !== undefined) {
      this.#note([twin, span])
      return
    }
    if (this.#arrived.length === MAX_WINDOW) this.#window.delete(this.#arrived[this.#next]!)
    this.#arrived[this.#next] = key
    this.#next = (this.#next + 1) % MAX_WINDOW
    this.#window.set(key, span)
    if (seq > this.#highest + 1n) {
      this.#gaps.push({ emitter: this.#emitter, from: this.#highest + 1n, to: seq - 1n, noticedAt: now })
      if (this.#gaps.length > MAX_GAPS) this.#gaps.shift()
    } else if (seq < this.#highest) this.#fill(seq)
    if (seq > this.#highest) this.#highest = seq
    if (this.#unchecked.size > 0)
      for (const linked of this.#unchecked)
        if (seq < linked && linked - seq <= MAX_RUN && this.#check(linked)) this.#unchecked.delete(linked)
        else if (this.#highest - linked > MAX_WINDOW) this.#unchecked.delete(linked)
    if (span.prev !== '' && seq > 0n && !this.#check(seq)) this.#unchecked.add(seq)
  }

  /** A number came late: mostly one of those that were missed last. */
  #fill(seq: bigint): void {
    const at = this.#gaps.findLastIndex(({ from, to }) => from <= seq && seq <= to)
    if (at !== -1) this.#gaps.splice(at, 1, ...without(this.#gaps[at]!, seq))
  }

  /** Checks the link of a span that stands for those of other traces; false where not all of them are there yet. */
  #check(linked: bigint): boolean {
    const run: Sent[] = []
    for (let seq = linked - 1n; run.length <= MAX_RUN; seq--) {
      const span = this.#window.get(keyOf(seq))
      if (span === undefined) return false
      run.unshift(span)
      if (span.prev !== '') break
    }
    const last = this.#window.get(keyOf(linked))
    if (last === undefined || run[0]!.prev === '') return true
    // Whoever judges that trace has all of them, and checks the link itself.
    if (run.every(({ traceId }) => traceId === last.traceId)) return true
    if (linkAfter(this.#emitter, run) !== last.prev) this.#note([...run, last])
    return true
  }

  #note(spans: readonly Sent[]): void {
    this.#wrong.push(spans)
    if (this.#wrong.length > MAX_WRONG) this.#wrong.shift()
  }

  /** Spans of other traces that show something wrong with one of this trace, each once. */
  against(traceId: string): Neighbour[] {
    if (this.#wrong.length === 0) return []
    const found = new Set<Sent>()
    const isOwn = (span: Sent): boolean => span.traceId === traceId
    for (const spans of this.#wrong)
      if (spans.some(isOwn)) for (const span of spans) if (!isOwn(span)) found.add(span)
    return [...found].map((span) => ({
      ...span,
      emitter: this.#emitter,
      spanId: parseHex(span.spanId),
      traceId: parseHex(span.traceId),
    }))
  }

  get hasNewGaps(): boolean {
    return (this.#gaps.at(-1)?.noticedAt ?? -1n) > this.#told
  }

  /**
   * Traces with numbers on both sides of gaps that were noticed by then, as far back as spans are compared; of each gap
   * once. Linear in those.
   */
  aroundGaps(noticedBefore: bigint): Uint8Array[] {
    const gaps = this.#gaps.filter(({ noticedAt }) => noticedAt > this.#told && noticedAt <= noticedBefore)
    if (gaps.length === 0) return []
    this.#told = gaps.at(-1)!.noticedAt
    const ranges = new Map<string, { low: bigint; high: bigint }>()
    for (const { seq, traceId } of this.#window.values()) {
      const range = ranges.get(traceId)
      if (range === undefined) ranges.set(traceId, { low: seq, high: seq })
      else if (seq < range.low) range.low = seq
      else if (seq > range.high) range.high = seq
    }
    return [...ranges]
      .filter(([, { low, high }]) => gaps.some(({ from, to }) => from > low && to < high))
      .map(([traceId]) => parseHex(traceId))
  }

  /** Gaps that lie between two numbers. */
  gapsBetween(low: bigint, high: bigint): readonly Gap[] {
    if (this.#gaps.length === 0 || low === high) return NO_GAPS
    return this.#gaps.filter(({ from, to }) => from > low && to < high)
  }
}

/** A key for a number: as a bigint it costs several times as much to look up. */
function keyOf(seq: bigint): number | bigint {
  return seq >= 0n && seq <= MAX_SAFE ? Number(seq) : seq
}

/** What is left of a gap when a number of it has come. */
function without(gap: Gap, seq: bigint): Gap[] {
  return [
    { ...gap, to: seq - 1n },
    { ...gap, from: seq + 1n },
  ].filter(({ from, to }) => from <= to)
}
