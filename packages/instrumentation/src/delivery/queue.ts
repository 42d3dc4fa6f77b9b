/** What waits to be sent: the contract of `MemoryQueue` and `Spool`, and the first of them. */
import type { Encode, Pack, WaitingSpan } from './request.ts'
import type { ReadableSpan } from './span.ts'

/** The oldest spans that wait. */
export interface Batch {
  readonly spans: number
  /** An `ExportTraceServiceRequest`; undefined if it cannot be had any more. */
  body(): Uint8Array | undefined
}

/** Where batches come from. One at a time: `next` gives the same again until `forget`. */
export interface Source {
  next(maxSpans: number): Batch | undefined
  /** The batch that `next` gave last needs not be kept any longer. */
  forget(batch: Batch): void
}

export interface Queue extends Source {
  /** Spans that wait. */
  readonly waiting: number
  /**
   * Takes a span that ended. False: there is no room, or it cannot be kept. What waits already stays. `isLast` is for
   * the last span of a process: there is always room for it.
   */
  add(span: ReadableSpan, isLast?: boolean): boolean
  /** Keeps what an open span says so far, should the process die. Replaced by the next call for that span, and by `add`. */
  keep(span: ReadableSpan): void
  /** Nothing is added afterwards. */
  close(): void
}

/** Spans in memory: lost with the process. */
export class MemoryQueue implements Queue {
  readonly #encode: Encode
  readonly #pack: Pack
  readonly #maxSpans: number
  #spans: WaitingSpan[] = []
  #isClosed = false

  constructor(encode: Encode, pack: Pack, maxSpans: number) {
    this.#encode = encode
    this.#pack = pack
    this.#maxSpans = maxSpans
  }

  get waiting(): number {
    return this.#spans.length
  }

  add(span: ReadableSpan, isLast = false): boolean {
    if (this.#isClosed || (this.#spans.length >= this.#maxSpans && !isLast)) return false
    this.#spans.push(this.#pack(span))
    return true
  }

  keep(): void {}

  next(maxSpans: number): Batch | undefined {
    const spans = this.#spans.slice(0, maxSpans)
    return spans.length === 0 ? undefined : { spans: spans.length, body: () => this.#bodyOf(spans) }
  }

  /** Spans that are too large together may be sent one by one. */
  #bodyOf(spans: readonly WaitingSpan[]): Uint8Array | undefined {
    try {
      return this.#encode(spans)
    } catch {
      return undefined
    }
  }

  forget({ spans }: Batch): void {
    this.#spans = this.#spans.slice(spans)
  }

  close(): void {
    this.#isClosed = true
  }
}
