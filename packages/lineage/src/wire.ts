/**
 * Protobuf's wire format, both ways (https://protobuf.dev/programming-guides/encoding/).
 *
 * The reader is strict about bounds and lengths and keeps what it does not know reachable as byte ranges;
 * the writer emits minimal varints. Neither knows any message.
 */
import { utf8 } from './bytes.ts'
import { MalformedError } from './errors.ts'

export const VARINT = 0
export const FIXED64 = 1
export const BYTES = 2
export const FIXED32 = 5

/** Two halves become one bigint here: putting it together of two costs four. */
const WORDS = new DataView(new ArrayBuffer(8))

/**
 * Walks the fields of one message. `next()` steps to a field and leaves `field`, `type` and, by type,
 * `start`/`end` (the value's byte range), `low`/`high` (varint and fixed values as two unsigned 32-bit halves).
 *
 * Groups (types 3 and 4) and field number 0 are refused.
 */
export class WireReader {
  readonly bytes: Uint8Array
  readonly limit: number
  at: number
  field = 0
  type = 0
  /** Where the field's tag begins, so that a whole unknown field can be kept. */
  tagStart = 0
  start = 0
  end = 0
  low = 0
  high = 0

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes
    this.at = start
    this.limit = end
  }

  next(): boolean {
    if (this.at >= this.limit) return false
    this.tagStart = this.at
    this.#varint()
    if (this.high !== 0) throw new MalformedError('a field number is over 29 bits')
    this.field = this.low >>> 3
    this.type = this.low & 7
    if (this.field === 0) throw new MalformedError('a field has number 0')
    switch (this.type) {
      case VARINT:
        this.start = this.at
        this.#varint()
        this.end = this.at
        return true
      case FIXED64:
        this.#fixed(8)
        this.low = this.#word(this.start)
        this.high = this.#word(this.start + 4)
        return true
      case FIXED32:
        this.#fixed(4)
        this.low = this.#word(this.start)
        this.high = 0
        return true
      case BYTES: {
        this.#varint()
        if (this.high !== 0) throw new MalformedError('a length runs past the end of its message')
        this.#fixed(this.low)
        return true
      }
      default:
        throw new MalformedError('a field has an unknown wire type')
    }
  }

  /** The value's bytes, as a view. */
  value(): Uint8Array {
    return this.bytes.subarray(this.start, this.end)
  }

  /** The varint or fixed value as unsigned 64-bit. */
  uint64(): bigint {
    WORDS.setUint32(0, this.low, true)
    WORDS.setUint32(4, this.high, true)
    return WORDS.getBigUint64(0, true)
  }

  /** The varint or fixed value as signed 64-bit. */
  int64(): bigint {
    return BigInt.asIntN(64, this.uint64())
  }

  /** The varint value as a number; throws above 2^53. */
  safe(what: string): number {
    if (this.high > 0x1f_ffff) throw new MalformedError(`${what} is over 53 bits`)
    return this.high * 0x1_0000_0000 + this.low
  }

  expect(type: number, what: string): void {
    if (this.type !== type) throw new MalformedError(`${what} has the wrong wire type`)
  }

  #fixed(size: number): void {
    if (size > this.limit - this.at) throw new MalformedError('a length runs past the end of its message')
    this.start = this.at
    this.at += size
    this.end = this.at
  }

  #word(at: number): number {
    const b = this.bytes
    return (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)) >>> 0
  }

  #varint(): void {
    let low = 0
    let high = 0
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.limit) throw new MalformedError('a varint is cut off')
      const byte = this.bytes[this.at++]!
      const bits = byte & 0x7f
      if (i < 4) low |= bits << (7 * i)
      else if (i === 4) {
        low |= bits << 28
        high |= bits >>> 4
      } else if (i < 9) high |= bits << (7 * i - 32)
      else {
        if (byte > 1) throw new MalformedError('a varint is over 64 bits')
        high |= bits << 31
      }
      if (byte < 0x80) {
        this.low = low >>> 0
        this.high = high >>> 0
        return
      }
    }
    throw new MalformedError('a varint is over 64 bits')
  }
}

/** Builds one message. Fields are written as asked; the caller leaves out defaults and keeps the order. */
export class WireWriter {
  #bytes: Uint8Array
  #at = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
  }

  varint(field: number, value: number | bigint): this {
    this.#tag(field, VARINT)
    if (typeof value === 'number' && value >>> 0 === value) this.#small(value)
    else this.#varint(BigInt.asUintN(64, BigInt(value)))
    return this
  }

  fixed64(field: number, value: bigint): this {
    this.#tag(field, FIXED64)
    this.#room(8)
    new DataView(this.#bytes.buffer).setBigUint64(this.#at, BigInt.asUintN(64, value), true)
    this.#at += 8
    return this
  }

  double(field: number, value: number): this {
    this.#tag(field, FIXED64)
    this.#room(8)
    new DataView(this.#bytes.buffer).setFloat64(this.#at, value, true)
    this.#at += 8
    return this
  }

  fixed32(field: number, value: number): this {
    this.#tag(field, FIXED32)
    this.#room(4)
    new DataView(this.#bytes.buffer).setUint32(this.#at, value, true)
    this.#at += 4
    return this
  }

  bytes(field: number, value: Uint8Array): this {
    this.#tag(field, BYTES)
    this.#small(value.length)
    return this.raw(value)
  }

  string(field: number, value: string): this {
    return this.bytes(field, utf8(value))
  }

  /** Bytes that are fields already. */
  raw(value: Uint8Array): this {
    this.#room(value.length)
    this.#bytes.set(value, this.#at)
    this.#at += value.length
    return this
  }

  /** What was written so far, as a copy. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#at)
  }

  #tag(field: number, type: number): void {
    this.#small(field * 8 + type)
  }

  /** A varint below 2^32, without the cost of a bigint. */
  #small(value: number): void {
    this.#room(5)
    let rest = value
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#bytes[this.#at++] = rest
  }

  #varint(value: bigint): void {
    this.#room(10)
    let rest = value
    while (rest > 0x7fn) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80
      rest >>= 7n
    }
    this.#bytes[this.#at++] = Number(rest)
  }

  #room(size: number): void {
    if (this.#at + size <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + size))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}
