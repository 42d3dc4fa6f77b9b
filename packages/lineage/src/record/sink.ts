/** A growing byte buffer for the hot path: plain writes at a cursor, no allocation per value. */
import { scratch } from '#crypto'

export class Sink {
  bytes: Uint8Array
  at = 0

  constructor(capacity = 4096) {
    this.bytes = scratch(capacity)
  }

  /** Makes room for `size` more bytes. What was written so far moves to a larger buffer. */
  reserve(size: number): void {
    if (this.at + size <= this.bytes.length) return
    const grown = scratch(Math.max(this.bytes.length * 2, this.at + size))
    grown.set(this.bytes.subarray(0, this.at))
    this.bytes = grown
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
    this.reserve(source.length)
    this.bytes.set(source, this.at)
    this.at += source.length
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

  /** A view of what was written. It is overwritten by the next use of the sink. */
  view(from = 0): Uint8Array {
    return this.bytes.subarray(from, this.at)
  }

  /** A copy of what was written. */
  copy(from = 0): Uint8Array {
    return Uint8Array.prototype.slice.call(this.bytes, from, this.at) // a Buffer's own `slice` is a view
  }
}
