/**
 * OTLP attribute values: their type, their one canonical encoding and their text for people.
 */
import { compareBytes, concatBytes, formatHex, putU32 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { MAX_KEY_BYTES, MAX_VALUE_DEPTH } from './schema.ts'
import { encodeText } from './text.ts'

/** Fields that this version does not know, each whole: tag, length and value as received. */
export type UnknownFields = readonly Uint8Array[]

/**
 * An AnyValue. Strings are as `text.ts` says. An int is a signed 64-bit bigint.
 *
 * `bits` is there for a NaN other than the usual one (0x7ff8000000000000), whose bits a number may not keep.
 * `unknown` and `listUnknown` are there only when not empty; the latter are those of the ArrayValue or
 * KeyValueList inside.
 */
export type AnyValue = { readonly unknown?: UnknownFields } & (
  | { readonly type: 'empty' }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'int'; readonly value: bigint }
  | { readonly type: 'double'; readonly value: number; readonly bits?: bigint }
  | { readonly type: 'array'; readonly value: readonly AnyValue[]; readonly listUnknown?: UnknownFields }
  | { readonly type: 'kvlist'; readonly value: readonly KeyValue[]; readonly listUnknown?: UnknownFields }
  | { readonly type: 'bytes'; readonly value: Uint8Array }
)

/** An attribute. A KeyValue without a value has the empty one. */
export interface KeyValue {
  readonly key: string
  readonly value: AnyValue
  readonly unknown?: UnknownFields
}

/** First byte of an encoded value: the number of the member in OTLP's oneof. */
export const VALUE_TYPES = {
  empty: 0,
  string: 1,
  bool: 2,
  int: 3,
  double: 4,
  array: 5,
  kvlist: 6,
  bytes: 7,
} as const

const USUAL_NAN = 0x7ff8_0000_0000_0000n

/**
 * The canonical encoding of a value: a type byte ({@link VALUE_TYPES}), then
 *
 * - string: the bytes as received; bytes: the bytes; bool: one byte, 0 or 1
 * - int: 8 bytes, big-endian two's complement; double: 8 bytes, big-endian IEEE 754, bits as received
 * - array: u32 count, then for each u32 length and encoded value
 * - kvlist: u32 count, then for each u16 length and key, u32 length and encoded value, in received order
 *
 * Integers are big-endian. Two values encode to the same bytes exactly when they are equal; unknown fields do
 * not take part. Throws a MalformedError on what the scan refuses: too long a key, too deep a value.
 */
export function encodeValue(value: AnyValue): Uint8Array {
  return encodeAt(value, 1)
}

function encodeAt(value: AnyValue, depth: number): Uint8Array {
  if (depth > MAX_VALUE_DEPTH) throw new MalformedError('an attribute value is nested too deeply')
  switch (value.type) {
    case 'empty':
      return Uint8Array.of(VALUE_TYPES.empty)
    case 'string':
      return typed(VALUE_TYPES.string, encodeText(value.value, 1))
    case 'bool':
      return Uint8Array.of(VALUE_TYPES.bool, value.value ? 1 : 0)
    case 'int':
      return wide(VALUE_TYPES.int, value.value)
    case 'double':
      return wide(VALUE_TYPES.double, value.bits ?? doubleBits(value.value))
    case 'bytes':
      return concatBytes(Uint8Array.of(VALUE_TYPES.bytes), value.value)
    case 'array': {
      const items = value.value.map((item) => encodeAt(item, depth + 1))
      const out = sized(VALUE_TYPES.array, items, 4)
      let at = putU32(out, 1, items.length)
      for (const item of items) at = put(out, putU32(out, at, item.length), item)
      return out
    }
    case 'kvlist': {
      const parts: Uint8Array[] = []
      for (const item of value.value) parts.push(encodeKey(item.key), encodeAt(item.value, depth + 1))
      const out = sized(VALUE_TYPES.kvlist, parts, 3) // 2 of a key, 4 of a value
      let at = putU32(out, 1, value.value.length)
      for (let part = 0; part < parts.length; part += 2) {
        const key = parts[part]!
        const encoded = parts[part + 1]!
        out[at++] = key.length >>> 8
        out[at++] = key.length
        at = put(out, putU32(out, put(out, at, key), encoded.length), encoded)
      }
      return out
    }
  }
}

/** Room for a type, a count, and parts that have lengths of so many bytes before them. */
function sized(type: number, parts: readonly Uint8Array[], lengthBytes: number): Uint8Array {
  let size = 5 + parts.length * lengthBytes
  for (const part of parts) size += part.length
  return typed(type, new Uint8Array(size))
}

function put(out: Uint8Array, at: number, bytes: Uint8Array): number {
  out.set(bytes, at)
  return at + bytes.length
}

/** The bytes of an attribute key as received, at most {@link MAX_KEY_BYTES}. */
export function encodeKey(key: string): Uint8Array {
  const bytes = encodeText(key)
  if (bytes.length > MAX_KEY_BYTES) throw new MalformedError('an attribute key is over 65535 bytes')
  return bytes
}

/** Whether two values are equal: same type, same bits, same order. */
export function equalValues(a: AnyValue, b: AnyValue): boolean {
  return a.type === b.type && compareBytes(encodeValue(a), encodeValue(b)) === 0
}

/**
 * A value for people, close to JSON: 64-bit ints in full, doubles always with a point or an exponent, bytes as
 * `0x...`, broken UTF-8 as U+FFFD. Not meant to be parsed.
 */
export function formatValue(value: AnyValue): string {
  switch (value.type) {
    case 'empty':
      return 'null'
    case 'string':
      return quote(value.value)
    case 'bool':
      return String(value.value)
    case 'int':
      return value.value.toString()
    case 'double':
      return formatDouble(value.value)
    case 'bytes':
      return `0x${formatHex(value.value)}`
    case 'array':
      return `[${value.value.map(formatValue).join(', ')}]`
    case 'kvlist':
      return `{${value.value.map((item) => `${quote(item.key)}: ${formatValue(item.value)}`).join(', ')}}`
  }
}

/** The double of 64 bits, as an AnyValue that gives the same bits back. */
export function doubleOfBits(bits: bigint): AnyValue {
  const view = new DataView(new ArrayBuffer(8))
  view.setBigUint64(0, bits)
  const value = view.getFloat64(0)
  return Number.isNaN(value) && bits !== USUAL_NAN
    ? { type: 'double', value, bits }
    : { type: 'double', value }
}

function doubleBits(value: number): bigint {
  if (Number.isNaN(value)) return USUAL_NAN
  const view = new DataView(new ArrayBuffer(8))
  view.setFloat64(0, value)
  return view.getBigUint64(0)
}

function formatDouble(value: number): string {
  if (Object.is(value, -0)) return '-0.0'
  const text = String(value)
  return /^-?[0-9]+$/.test(text) ? `${text}.0` : text
}

function quote(text: string): string {
  return JSON.stringify(text.toWellFormed())
}

/** Puts the type into the first byte. */
function typed(type: number, bytes: Uint8Array): Uint8Array {
  bytes[0] = type
  return bytes
}

function wide(type: number, value: bigint): Uint8Array {
  const out = typed(type, new Uint8Array(9))
  const number = Number(value)
  if (Number.isSafeInteger(number)) {
    // Nearly always, and without the arithmetic of bigints.
    const high = Math.floor(number / 2 ** 32)
    putU32(out, putU32(out, 1, high), number - high * 2 ** 32)
  } else new DataView(out.buffer).setBigUint64(1, BigInt.asUintN(64, value))
  return out
}
