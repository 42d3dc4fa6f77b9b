/** The inverse of `encodeValue`: values out of opened claims. */
import { dataView, equalBytes } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { MAX_VALUE_DEPTH } from './schema.ts'
import { decodeText } from './text.ts'
import { type AnyValue, doubleOfBits, encodeValue, type KeyValue, VALUE_TYPES } from './value.ts'

/** Parses an encoded value (otlp/value.ts); throws a MalformedError for anything but the one encoding of a value. */
export function decodeValue(bytes: Uint8Array): AnyValue {
  const value = new ValueReader(bytes).value(0, bytes.length, 1)
  if (!equalBytes(encodeValue(value), bytes)) throw bad()
  return value
}

function bad(): MalformedError {
  return new MalformedError('a value is not in its one encoding')
}

class ValueReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = dataView(bytes)
  }

  value(start: number, end: number, depth: number): AnyValue {
    if (start >= end || depth > MAX_VALUE_DEPTH) throw bad()
    const rest = this.#bytes.subarray(start + 1, end)
    switch (this.#bytes[start]) {
      case VALUE_TYPES.empty:
        return { type: 'empty' }
      case VALUE_TYPES.string:
        return { type: 'string', value: decodeText(rest) }
      case VALUE_TYPES.bool:
        return { type: 'bool', value: rest[0] === 1 }
      case VALUE_TYPES.int:
        return { type: 'int', value: BigInt.asIntN(64, this.#u64(start + 1, end)) }
      case VALUE_TYPES.double:
        return doubleOfBits(this.#u64(start + 1, end))
      case VALUE_TYPES.bytes:
        return { type: 'bytes', value: rest.slice() }
      case VALUE_TYPES.array:
        return { type: 'array', value: this.#array(start + 1, end, depth) }
      case VALUE_TYPES.kvlist:
        return { type: 'kvlist', value: this.#kvlist(start + 1, end, depth) }
      default:
        throw bad()
    }
  }

  #array(start: number, end: number, depth: number): AnyValue[] {
    const items: AnyValue[] = []
    let at = start + 4
    for (let left = this.#u32(start, end); left > 0; left--) {
      const next = at + 4 + this.#u32(at, end)
      if (next > end) throw bad()
      items.push(this.value(at + 4, next, depth + 1))
      at = next
    }
    return items
  }

  #kvlist(start: number, end: number, depth: number): KeyValue[] {
    const items: KeyValue[] = []
    let at = start + 4
    for (let left = this.#u32(start, end); left > 0; left--) {
      if (at + 2 > end) throw bad()
      const key = at + 2 + this.#view.getUint16(at)
      const next = key + 4 + this.#u32(key, end)
      if (next > end) throw bad()
      items.push({
        key: decodeText(this.#bytes.subarray(at + 2, key)),
        value: this.value(key + 4, next, depth + 1),
      })
      at = next
    }
    return items
  }

  #u32(at: number, end: number): number {
    if (at + 4 > end) throw bad()
    return this.#view.getUint32(at)
  }

  #u64(at: number, end: number): bigint {
    if (at + 8 !== end) throw bad()
    return this.#view.getBigUint64(at)
  }
}
