/**
 * Protobuf written from the end to the beginning: the length of a message is known when its prefix is written, so that
 * nothing is measured beforehand and nothing is moved.
 *
 * Everything is therefore written in reverse: the last field first, and of a field its value before its tag.
 */

/** Parts of one block are kept while one of them is. */
const BLOCK_BYTES = 64 << 10
/** No request is larger: one that would be cannot be encoded. */
const MAX_BYTES = 64 << 20
/** Up to this length a loop is faster than a call into Node. */
const MAX_LOOP = 100
const MAX_RAW_LOOP = 48

/** Values of hex digits, by character code. */
const DIGITS = Uint8Array.from(
  { length: 128 },
  (_, code) => Number.parseInt(String.fromCharCode(code), 16) || 0,
)

/**
 * Bytes within a block, which nobody writes to any more.
 *
 * A class because V8 takes literals that live as long as these for such that live for ever, and makes them where it looks
 * for garbage last. With the blocks that hang on them they would have it look for all garbage twice as often.
 */
export class Part {
  readonly block: Uint8Array
  readonly start: number
  readonly end: number

  constructor(block: Uint8Array, start: number, end: number) {
    this.block = block
    this.start = start
    this.end = end
  }
}

export class ReverseWriter {
  #block: Buffer
  #view: DataView
  #at: number
  /** What lies behind was taken. */
  #end: number

  /** Throws where `size` is more than a request may have. */
  constructor(size = BLOCK_BYTES) {
    checkSize(size)
    this.#block = Buffer.allocUnsafeSlow(size)
    this.#view = new DataView(this.#block.buffer)
    this.#at = size
    this.#end = size
  }

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#end - this.#at
  }

  /** A copy of what was written when the length was above `since`. */
  since(since: number): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#block, this.#at, this.#end - since)
  }

  /** Copies what was written last to the whole of `target`. */
  copyTo(target: Uint8Array): void {
    for (let at = 0; at < target.length; at++) target[at] = this.#block[this.#at + at]!
  }

  /** What was written, where it lies; the writer is empty then, and goes on in front of it. */
  take(): Part {
    const part = new Part(this.#block, this.#at, this.#end)
    this.#leave(this.#at)
    return part
  }

  /** Forgets what was written, after an error. */
  reset(): void {
    this.#leave(this.#end)
  }

  /** Goes on before `end`, or with another block after one that was made for something large. */
  #leave(end: number): void {
    this.#end = this.#block.length > BLOCK_BYTES ? 0 : end
    this.#at = this.#end
  }

  /** Ends a length-delimited field that began, in reverse, when `length` was `since`. */
  close(tag: number, since: number): void {
    this.number(tag, this.length - since)
  }

  /** Field number times 8, and wire type. */
  tag(tag: number): void {
    this.varint(tag)
  }

  /** A varint field. Tags below 128. */
  number(tag: number, value: number): void {
    if (value >= 128) {
      this.varint(value)
      this.tag(tag)
      return
    }
    const at = this.#room(2)
    this.#block[at - 1] = value
    this.#block[at - 2] = tag
    this.#at = at - 2
  }

  /** A whole number from 0 to 2^53. */
  varint(value: number): void {
    const at = this.#room(10)
    if (value < 128) {
      this.#block[at - 1] = value
      this.#at = at - 1
      return
    }
    if (value < 1 << 14) {
      this.#block[at - 1] = value >>> 7
      this.#block[at - 2] = (value & 127) | 128
      this.#at = at - 2
      return
    }
    let count = 1
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) count++
    const start = at - count
    let rest = value
    for (let place = start; place < at - 1; place++) {
      this.#block[place] = (rest % 128) | 128
      rest = Math.floor(rest / 128)
    }
    this.#block[at - 1] = rest
    this.#at = start
  }

  /** An `int64`: below zero always ten bytes. */
  integer(value: number): void {
    if (value >= 0 && value <= Number.MAX_SAFE_INTEGER) {
      this.varint(value)
      return
    }
    let rest = BigInt.asUintN(64, BigInt(value))
    const parts: number[] = []
    do {
      parts.push(Number(rest & 127n) | (rest > 127n ? 128 : 0))
      rest >>= 7n
    } while (rest > 0n)
    this.#at = this.#room(parts.length) - parts.length
    this.#block.set(parts, this.#at)
  }

  double(value: number): void {
    const at = this.#room(8) - 8
    this.#view.setFloat64(at, value, true)
    this.#at = at
  }

  /** A `fixed64` of two halves. */
  fixed64(low: number, high: number): void {
    const at = this.#room(8) - 8
    this.#view.setUint32(at, low, true)
    this.#view.setUint32(at + 4, high, true)
    this.#at = at
  }

  fixed32(value: number): void {
    const at = this.#room(4) - 4
    this.#view.setUint32(at, value, true)
    this.#at = at
  }

  raw(bytes: Uint8Array): void {
    const { length } = bytes
    const start = this.#room(length) - length
    const target = this.#block
    if (length > MAX_RAW_LOOP) target.set(bytes, start)
    else for (let at = 0; at < length; at++) target[start + at] = bytes[at]!
    this.#at = start
  }

  part({ block, start, end }: Part): void {
    this.raw(block.subarray(start, end))
  }

  /** UTF-8, without its length. */
  text(text: string): void {
    const { length } = text
    if (length > MAX_LOOP) {
      this.#longText(text)
      return
    }
    const end = this.#room(length)
    const bytes = this.#block
    for (let from = length, at = end; from > 0; ) {
      const code = text.charCodeAt(--from)
      if (code > 127) {
        this.#longText(text)
        return
      }
      bytes[--at] = code
    }
    this.#at = end - length
  }

  /** Bytes of a text in hex, which has an even number of digits. */
  hex(text: string): void {
    const count = text.length >>> 1
    const end = this.#room(count)
    const bytes = this.#block
    for (let place = 0, at = end - count; at < end; at++, place += 2)
      bytes[at] = (DIGITS[text.charCodeAt(place)]! << 4) | DIGITS[text.charCodeAt(place + 1)]!
    this.#at = end - count
  }

  /** A length-delimited field with a text. */
  textField(tag: number, text: string): void {
    const since = this.length
    this.text(text)
    this.close(tag, since)
  }

  #longText(text: string): void {
    const size = Buffer.byteLength(text)
    const start = this.#room(size) - size
    this.#block.write(text, start, size, 'utf8')
    this.#at = start
  }

  /** Makes room in front; returns where what is written next ends. */
  #room(count: number): number {
    if (this.#at < count) this.#grow(count)
    return this.#at
  }

  /** Begins another block, with what was written since the last `take`. */
  #grow(count: number): void {
    const { length } = this
    checkSize(length + count)
    let size = BLOCK_BYTES
    while (size < length + count) size *= 2
    const block = Buffer.allocUnsafeSlow(size)
    const start = size - length
    block.set(this.#block.subarray(this.#at, this.#end), start)
    this.#block = block
    this.#view = new DataView(block.buffer)
    this.#at = start
    this.#end = size
  }
}

function checkSize(bytes: number): void {
  if (bytes > MAX_BYTES) throw new RangeError('the request is too large')
}
