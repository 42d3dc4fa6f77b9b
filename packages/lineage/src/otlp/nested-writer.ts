/**
 * Writes a tree of protobuf messages into one buffer as it is walked, in whatever order the fields come and however
 * often one is replaced; each message ends up with its fields ascending and each field as it was written last.
 *
 * `WireWriter` is simpler and wants messages from the inside out; this one is for converting large texts.
 */
import { BYTES, FIXED32, FIXED64, VARINT } from '../wire.ts'

/** Highest field number. */
const MAX_FIELD = 16
/** Two words a field: where it starts and ends in the buffer; start is -1 for none. */
const FRAME_WORDS = (MAX_FIELD + 1) * 2

const encoder = new TextEncoder()

export class NestedWriter {
  #bytes = new Uint8Array(4096)
  #view = new DataView(this.#bytes.buffer)
  #at = 0
  /** Open messages: where each starts, and its fields' places. */
  readonly #starts: number[] = []
  #places = new Int32Array(FRAME_WORDS * 16)

  /** Begins a message's fields. Its tag and length, if it has any, are {@link openBytes}'s. */
  openMessage(): void {
    const base = this.#starts.length * FRAME_WORDS
    this.#starts.push(this.#at)
    if (base + FRAME_WORDS > this.#places.length) {
      const grown = new Int32Array(this.#places.length * 2)
      grown.set(this.#places)
      this.#places = grown
    }
    this.#places.fill(-1, base, base + FRAME_WORDS)
  }

  /** Begins a field of the innermost message: all its occurrences, which replace earlier ones. */
  openField(field: number): void {
    this.#places[this.#frame() + field * 2] = this.#at
    this.#places[this.#frame() + field * 2 + 1] = -1
  }

  closeField(field: number): void {
    this.#places[this.#frame() + field * 2 + 1] = this.#at
  }

  /** Takes a field back, if it was written. */
  dropField(field: number): void {
    this.#places[this.#frame() + field * 2] = -1
  }

  /** Takes back everything that the innermost message has. */
  dropFields(): void {
    const base = this.#frame()
    this.#at = this.#starts.at(-1)!
    this.#places.fill(-1, base, base + FRAME_WORDS)
  }

  /** Ends the innermost message; puts its fields in order where they are not. */
  closeMessage(): void {
    const base = this.#frame()
    const start = this.#starts.pop()!
    let size = 0
    let ordered = true
    for (let i = base; i < base + FRAME_WORDS; i += 2) {
      const from = this.#places[i]!
      if (from < 0) continue
      if (from !== start + size) ordered = false
      size += this.#places[i + 1]! - from
    }
    if (ordered && start + size === this.#at) return
    const tidy = new Uint8Array(size)
    let at = 0
    for (let i = base; i < base + FRAME_WORDS; i += 2) {
      const from = this.#places[i]!
      if (from < 0) continue
      tidy.set(this.#bytes.subarray(from, this.#places[i + 1]!), at)
      at += this.#places[i + 1]! - from
    }
    this.#bytes.set(tidy, start)
    this.#at = start + size
  }

  /** Begins a value of wire type 2; returns the mark that {@link closeBytes} wants. */
  openBytes(field: number): number {
    this.#tag(field, BYTES)
    this.#room(1)
    return ++this.#at // room for a length below 128, which nearly all have
  }

  closeBytes(mark: number): void {
    const size = this.#at - mark
    const more = size < 0x80 ? 0 : size < 0x4000 ? 1 : size < 0x20_0000 ? 2 : size < 0x1000_0000 ? 3 : 4
    if (more > 0) {
      this.#room(more)
      this.#bytes.copyWithin(mark + more, mark, this.#at)
    }
    const end = this.#at + more
    this.#at = mark - 1
    this.#small(size)
    this.#at = end
  }

  /** UTF-8; lone surrogates become U+FFFD. */
  string(field: number, text: string): void {
    const mark = this.openBytes(field)
    this.#room(text.length * 3)
    let i = 0
    for (; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) break
      this.#bytes[this.#at++] = code
    }
    if (i < text.length) this.#at += encoder.encodeInto(text.slice(i), this.#bytes.subarray(this.#at)).written
    this.closeBytes(mark)
  }

  bytes(field: number, value: Uint8Array): void {
    const mark = this.openBytes(field)
    this.#room(value.length)
    this.#bytes.set(value, this.#at)
    this.#at += value.length
    this.closeBytes(mark)
  }

  /** An integer of 64 bits, signed or not; as a number it must be safe. */
  varint(field: number, value: number | bigint): void {
    this.#tag(field, VARINT)
    if (typeof value === 'number' && value >>> 0 === value) {
      this.#small(value)
      return
    }
    this.#room(10)
    let rest = BigInt.asUintN(64, BigInt(value))
    while (rest > 0x7fn) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.#bytes[this.#at++] = Number(rest)
  }

  fixed64(field: number, value: number | bigint): void {
    this.#tag(field, FIXED64)
    this.#room(8)
    this.#view.setBigUint64(this.#at, BigInt(value), true)
    this.#at += 8
  }

  double(field: number, value: number): void {
    this.#tag(field, FIXED64)
    this.#room(8)
    this.#view.setFloat64(this.#at, value, true)
    this.#at += 8
  }

  fixed32(field: number, value: number): void {
    this.#tag(field, FIXED32)
    this.#room(4)
    this.#view.setUint32(this.#at, value, true)
    this.#at += 4
  }

  /** What was written, as a copy. */
  finish(): Uint8Array {
    if (this.#starts.length > 0) throw new Error('bad nesting: a message is open')
    return this.#bytes.slice(0, this.#at)
  }

  #frame(): number {
    return (this.#starts.length - 1) * FRAME_WORDS
  }

  #tag(field: number, type: number): void {
    this.#small(field * 8 + type)
  }

  #small(value: number): void {
    this.#room(5)
    let rest = value
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#bytes[this.#at++] = rest
  }

  #room(size: number): void {
    if (this.#at + size <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + size))
    grown.set(this.#bytes)
    this.#bytes = grown
    this.#view = new DataView(grown.buffer)
  }
}
