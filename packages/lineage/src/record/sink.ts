/** A growing byte buffer for the hot path: plain writes at a cursor, no allocation per value. */
import { copyRange, scratch } from '#crypto'
import { copyWords, dataView } from '../bytes.ts'

const SHORT = 32
const KEPT_VIEWS = 4096

export class Sink {
  /** Another array after `reserve` has grown it; nobody else replaces it. */
  bytes: Uint8Array
  /** Of `bytes`. */
  data: DataView
  at = 0
  /** Views of `bytes`, by their length. */
  #views: (Uint8Array | undefined)[] | undefined

  constructor(capacity = 4096) {
    this.bytes = scratch(capacity)
    this.data = dataView(this.bytes)
  }

  /** Makes room for `size` more bytes. What was written so far moves to a larger buffer. */
  reserve(size: number): void {
    if (this.at + size <= this.bytes.length) return
    const grown = scratch(Math.max(this.bytes.length * 2, this.at + size))
    grown.set(this.bytes.subarray(0, this.at))
    this.bytes = grown
    this.data = dataView(grown)
    this.#views = undefined
  }

  byte(value: number): void {
    this.reserve(1)
    this.bytes[this.at++] = value
  }

  u16(value: number): void {
    this.reserve(2)
    this.bytes[this.at++] = value >>> 8
    this.bytes[this.at++] = value
  }

  u32(value: number): void {
    this.reserve(4)
    this.bytes[this.at++] = value >>> 24
    this.bytes[this.at++] = value >>> 16
    this.bytes[this.at++] = value >>> 8
    this.bytes[this.at++] = value
  }

  /** An unsigned 64-bit integer, little-endian as protobuf has it. */
  fixed64(value: bigint): void {
    this.#low32(Number(value & 0xffff_ffffn))
    this.#low32(Number(value >> 32n))
  }

  #low32(value: number): void {
    this.reserve(4)
    this.bytes[this.at++] = value
    this.bytes[this.at++] = value >>> 8
    this.bytes[this.at++] = value >>> 16
    this.bytes[this.at++] = value >>> 24
  }

  /** A minimal protobuf varint of a safe integer. */
  varint(value: number): void {
    this.reserve(8)
    let rest = value
    while (rest >= 0x80) {
      this.bytes[this.at++] = (rest % 0x80) + 0x80
      rest = Math.floor(rest / 0x80)
    }
    this.bytes[this.at++] = rest
  }

  put(source: Uint8Array): void {
    this.putRange(source, 0, source.length)
  }

  /** Bytes [start, end) of `source`. A loop is faster than a call up to some 32 bytes. */
  putRange(source: Uint8Array, start: number, end: number): void {
    const size = end - start
    this.reserve(size)
    if (size > SHORT) copyRange(source, start, end, this.bytes, this.at)
    else {
      const { bytes, at } = this
      for (let i = 0; i < size; i++) bytes[at + i] = source[start + i]!
    }
    this.at += size
  }

  /** `size` bytes from `start` on, for up to some 200. Reads up to 7 bytes more, and writes them behind. */
  putWords(source: DataView, start: number, size: number): void {
    this.reserve(size + 7)
    copyWords(source, start, this.data, this.at, size)
    this.at += size
  }

  /** The characters of a string of one byte each. */
  latin1(text: string): void {
    this.reserve(text.length)
    for (let i = 0; i < text.length; i++) this.bytes[this.at++] = text.charCodeAt(i)
  }

  /** Bytes behind their 32-bit big-endian length. */
  sized(source: Uint8Array): void {
    this.u32(source.length)
    this.put(source)
  }

  /** A length-delimited protobuf field. `tag` is the whole tag byte: fields 1 to 15. */
  field(tag: number, source: Uint8Array): void {
    this.byte(tag)
    this.varint(source.length)
    this.put(source)
  }

  /**
   * A view of what was written. It is overwritten by the next use of the sink. Views of short contents are kept:
   * most that are hashed have one of a few lengths, and a view costs as much as a short hash.
   */
  view(): Uint8Array {
    const { at } = this
    if (at >= KEPT_VIEWS) return this.bytes.subarray(0, at)
    this.#views ??= new Array<Uint8Array | undefined>(KEPT_VIEWS)
    const kept = this.#views[at]
    if (kept !== undefined) return kept
    const view = this.bytes.subarray(0, at)
    this.#views[at] = view
    return view
  }

  /** A copy of what was written. */
  copy(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.bytes, 0, this.at) // a Buffer's own `slice` is a view
  }
}
