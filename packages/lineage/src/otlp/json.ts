/**
 * OTLP/JSON into protobuf, by OTLP's rules (opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding"):
 * ids are hex in either case, bytes are base64, 64-bit integers are numbers or strings, keys are lowerCamelCase,
 * unknown keys are ignored, null is absent. As the OpenTelemetry Collector does, snake_case keys and the names of
 * enum values are taken too.
 *
 * Nothing is built in between: each message is written as it is read, fields ascending, defaults left out. Of a
 * repeated key, the last counts.
 */
import { parseBase64, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { WireWriter } from '../wire.ts'
import { JsonReader } from './json-reader.ts'
import { MAX_KEY_BYTES, MAX_VALUE_DEPTH } from './schema.ts'

/** Reads a value and returns its field or fields, tags included; nothing for a default. */
type Convert = (reader: JsonReader, field: number, depth: number) => Uint8Array

/** Members of a message by JSON key: field number and converter. */
type Shape = ReadonlyMap<string, readonly [field: number, convert: Convert]>

const NOTHING: Uint8Array = new Uint8Array(0)
const HEX = /^(?:[0-9a-fA-F]{2})*$/
const DECIMAL = /^(-?[0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?$/
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/

const SPAN_KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'].map(
  (name) => `SPAN_KIND_${name}`,
)
const STATUS_CODES = ['UNSET', 'OK', 'ERROR'].map((name) => `STATUS_CODE_${name}`)

/** A key is known in both spellings. */
function shape(members: readonly (readonly [key: string, field: number, convert: Convert])[]): Shape {
  const out = new Map<string, readonly [number, Convert]>()
  for (const [key, field, convert] of members) {
    out.set(key, [field, convert])
    out.set(
      key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      [field, convert],
    )
  }
  return out
}

const KEY_VALUE = shape([
  ['key', 1, key],
  ['value', 2, (reader, field, depth) => new WireWriter(64).bytes(field, anyValue(reader, depth)).finish()],
])
const ARRAY_VALUE = shape([['values', 1, values((reader, depth) => anyValue(reader, depth))]])
const KEY_VALUE_LIST = shape([['values', 1, values((reader, depth) => message(reader, KEY_VALUE, depth))]])
const ANY_VALUE = shape([
  ['stringValue', 1, (reader, field) => new WireWriter(64).string(field, string(reader)).finish()],
  ['boolValue', 2, (reader, field) => new WireWriter(16).varint(field, boolean(reader) ? 1 : 0).finish()],
  ['intValue', 3, (reader, field) => new WireWriter(16).varint(field, integer(reader, INT64)).finish()],
  ['doubleValue', 4, (reader, field) => new WireWriter(16).double(field, double(reader)).finish()],
  ['arrayValue', 5, nested(ARRAY_VALUE, 1)],
  ['kvlistValue', 6, nested(KEY_VALUE_LIST, 1)],
  ['bytesValue', 7, (reader, field) => new WireWriter(64).bytes(field, base64(reader)).finish()],
])
const attributes = values((reader) => message(reader, KEY_VALUE, 1))

const ENTITY_REF = shape([
  ['schemaUrl', 1, text],
  ['type', 2, text],
  ['idKeys', 3, values((reader) => utf8(string(reader)))],
  ['descriptionKeys', 4, values((reader) => utf8(string(reader)))],
])
const RESOURCE = shape([
  ['attributes', 1, attributes],
  ['droppedAttributesCount', 2, count],
  ['entityRefs', 3, values((reader) => message(reader, ENTITY_REF))],
])
const SCOPE = shape([
  ['name', 1, text],
  ['version', 2, text],
  ['attributes', 3, attributes],
  ['droppedAttributesCount', 4, count],
])
const EVENT = shape([
  ['timeUnixNano', 1, time],
  ['name', 2, text],
  ['attributes', 3, attributes],
  ['droppedAttributesCount', 4, count],
])
const LINK = shape([
  ['traceId', 1, id],
  ['spanId', 2, id],
  ['traceState', 3, text],
  ['attributes', 4, attributes],
  ['droppedAttributesCount', 5, count],
  ['flags', 6, flags],
])
const STATUS = shape([
  ['message', 2, text],
  ['code', 3, enumeration(STATUS_CODES)],
])
const SPAN = shape([
  ['traceId', 1, id],
  ['spanId', 2, id],
  ['traceState', 3, text],
  ['parentSpanId', 4, id],
  ['name', 5, text],
  ['kind', 6, enumeration(SPAN_KINDS)],
  ['startTimeUnixNano', 7, time],
  ['endTimeUnixNano', 8, time],
  ['attributes', 9, attributes],
  ['droppedAttributesCount', 10, count],
  ['events', 11, values((reader) => message(reader, EVENT))],
  ['droppedEventsCount', 12, count],
  ['links', 13, values((reader) => message(reader, LINK))],
  ['droppedLinksCount', 14, count],
  ['status', 15, nested(STATUS)],
  ['flags', 16, flags],
])
const SCOPE_SPANS = shape([
  ['scope', 1, nested(SCOPE)],
  ['spans', 2, values((reader) => message(reader, SPAN))],
  ['schemaUrl', 3, text],
])
const RESOURCE_SPANS = shape([
  ['resource', 1, nested(RESOURCE)],
  ['scopeSpans', 2, values((reader) => message(reader, SCOPE_SPANS))],
  ['schemaUrl', 3, text],
])
const REQUEST = shape([['resourceSpans', 1, values((reader) => message(reader, RESOURCE_SPANS))]])

/**
 * The protobuf bytes of an `ExportTraceServiceRequest` given as OTLP/JSON. Ids of a wrong length are kept as
 * they are, so that the scan can fault their span alone.
 *
 * Throws a MalformedError whose detail names the bad member, e.g. `resourceSpans[0].scopeSpans[0].spans[3].traceId`.
 */
export function tracesFromJson(json: Uint8Array | string): Uint8Array {
  const reader = new JsonReader(typeof json === 'string' ? json : decode(json))
  const request = message(reader, REQUEST)
  reader.end()
  return request
}

/** A byte order mark is skipped, as RFC 8259, section 8.1, allows. */
function decode(json: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(json)
  } catch {
    throw new MalformedError('not JSON', 'the text is not UTF-8')
  }
}

/** Reads an object and returns its message's bytes. */
function message(reader: JsonReader, members: Shape, depth = 0): Uint8Array {
  const fields: (Uint8Array | undefined)[] = []
  expect(reader, 'object')
  reader.members((key) => {
    const member = members.get(key)
    if (member === undefined) reader.skip()
    else if (reader.peek() === 'null') {
      reader.null()
      fields[member[0]] = undefined
    } else fields[member[0]] = member[1](reader, member[0], depth)
  })
  const out = new WireWriter()
  for (const field of fields) if (field !== undefined) out.raw(field)
  return out.finish()
}

/** Of several members of the oneof, the last that is not null counts. */
function anyValue(reader: JsonReader, depth: number): Uint8Array {
  if (depth > MAX_VALUE_DEPTH) bad(reader, 'is nested too deeply')
  let current = 0
  let value = NOTHING
  expect(reader, 'object')
  reader.members((key) => {
    const member = ANY_VALUE.get(key)
    if (member === undefined) reader.skip()
    else if (reader.peek() === 'null') {
      reader.null()
      if (current === member[0]) value = NOTHING
    } else {
      current = member[0]
      value = member[1](reader, current, depth)
    }
  })
  return value
}

/** A message field; an empty message is written, because in a oneof it differs from none. */
function nested(members: Shape, deeper = 0): Convert {
  return (reader, field, depth) =>
    new WireWriter().bytes(field, message(reader, members, depth + deeper)).finish()
}

/** A repeated field. */
function values(item: (reader: JsonReader, depth: number) => Uint8Array): Convert {
  return (reader, field, depth) => {
    const out = new WireWriter()
    expect(reader, 'array')
    reader.items(() => out.bytes(field, item(reader, depth)))
    return out.finish()
  }
}

function text(reader: JsonReader, field: number): Uint8Array {
  const value = string(reader)
  return value === '' ? NOTHING : new WireWriter(64).string(field, value).finish()
}

function key(reader: JsonReader, field: number): Uint8Array {
  const value = utf8(string(reader))
  if (value.length > MAX_KEY_BYTES) bad(reader, 'is over 65535 bytes')
  return value.length === 0 ? NOTHING : new WireWriter(64).bytes(field, value).finish()
}

function id(reader: JsonReader, field: number): Uint8Array {
  const value = string(reader)
  if (!HEX.test(value)) bad(reader, 'is not hex')
  if (value === '') return NOTHING
  const bytes = new Uint8Array(value.length / 2)
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(value.slice(i * 2, i * 2 + 2), 16)
  return new WireWriter(32).bytes(field, bytes).finish()
}

function time(reader: JsonReader, field: number): Uint8Array {
  const value = integer(reader, UINT64)
  return value === 0n ? NOTHING : new WireWriter(16).fixed64(field, value).finish()
}

function count(reader: JsonReader, field: number): Uint8Array {
  const value = integer(reader, UINT32)
  return value === 0n ? NOTHING : new WireWriter(16).varint(field, value).finish()
}

function flags(reader: JsonReader, field: number): Uint8Array {
  const value = integer(reader, UINT32)
  return value === 0n ? NOTHING : new WireWriter(16).fixed32(field, Number(value)).finish()
}

/** An enum as its number, any 32-bit one, or one of its names. */
function enumeration(names: readonly string[]): Convert {
  return (reader, field) => {
    let value: bigint
    if (reader.peek() === 'string') {
      const index = names.indexOf(reader.string())
      if (index < 0) bad(reader, 'is not a known name')
      value = BigInt(index)
    } else value = integer(reader, INT32)
    return value === 0n ? NOTHING : new WireWriter(16).varint(field, value).finish()
  }
}

interface Range {
  readonly name: string
  readonly least: bigint
  readonly most: bigint
}

const INT32: Range = { name: 'a 32-bit integer', least: -(2n ** 31n), most: 2n ** 31n - 1n }
const UINT32: Range = { name: 'an unsigned 32-bit integer', least: 0n, most: 2n ** 32n - 1n }
const INT64: Range = { name: 'a 64-bit integer', least: -(2n ** 63n), most: 2n ** 63n - 1n }
const UINT64: Range = { name: 'an unsigned 64-bit integer', least: 0n, most: 2n ** 64n - 1n }

/** An integer as a number or a string, exactly. 1.0 and 1e3 are integers too, as in proto3's JSON. */
function integer(reader: JsonReader, range: Range): bigint {
  const source = reader.peek() === 'string' ? reader.string() : numeral(reader)
  const value = exactInteger(source)
  if (value === undefined || value < range.least || value > range.most) bad(reader, `is not ${range.name}`)
  return value
}

function exactInteger(source: string): bigint | undefined {
  if (source.length > 400) return undefined // nobody writes an integer so, and BigInt is quadratic
  const match = DECIMAL.exec(source)
  if (match === null) return undefined
  const fraction = match[2] ?? ''
  const exponent = Number(match[3] ?? 0) - fraction.length
  const digits = BigInt(match[1]! + fraction)
  if (exponent >= 0)
    return exponent > 400 ? (digits === 0n ? 0n : undefined) : digits * 10n ** BigInt(exponent)
  const scale = 10n ** BigInt(-exponent)
  return digits % scale === 0n ? digits / scale : undefined
}

function double(reader: JsonReader): number {
  if (reader.peek() === 'string') {
    const source = reader.string()
    if (source === 'NaN') return Number.NaN
    if (source === 'Infinity') return Number.POSITIVE_INFINITY
    if (source === '-Infinity') return Number.NEGATIVE_INFINITY
    if (!NUMBER.test(source)) bad(reader, 'is not a number')
    return finite(reader, Number(source))
  }
  return finite(reader, Number(numeral(reader)))
}

function finite(reader: JsonReader, value: number): number {
  return Number.isFinite(value) ? value : bad(reader, 'is out of the range of a double')
}

/** Base64 of either alphabet, with padding or without, as proto3's JSON allows. */
function base64(reader: JsonReader): Uint8Array {
  const source = string(reader).replaceAll('-', '+').replaceAll('_', '/')
  const padded = source.includes('=') ? source : source.padEnd(Math.ceil(source.length / 4) * 4, '=')
  try {
    return parseBase64(padded)
  } catch {
    return bad(reader, 'is not base64')
  }
}

function string(reader: JsonReader): string {
  expect(reader, 'string')
  return reader.string()
}

function boolean(reader: JsonReader): boolean {
  expect(reader, 'boolean')
  return reader.boolean()
}

function numeral(reader: JsonReader): string {
  expect(reader, 'number')
  return reader.number()
}

function expect(reader: JsonReader, kind: 'object' | 'array' | 'string' | 'number' | 'boolean'): void {
  const found = reader.peek()
  if (found !== kind) bad(reader, `is not ${kind === 'object' || kind === 'array' ? 'an' : 'a'} ${kind}`)
}

function bad(reader: JsonReader, problem: string): never {
  throw new MalformedError('bad OTLP/JSON', `${reader.path || 'the request'} ${problem}`)
}
