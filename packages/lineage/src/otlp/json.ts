/**
 * OTLP/JSON into protobuf, by OTLP's rules (opentelemetry-proto, docs/specification.md, "JSON Protobuf Encoding"):
 * ids are hex in either case, bytes are base64, 64-bit integers are numbers or strings, keys are lowerCamelCase,
 * unknown keys are ignored, null is absent. As the OpenTelemetry Collector does, snake_case keys and the names of
 * enum values are taken too.
 *
 * Nothing is built in between: each message is written as it is read. Its fields end up ascending, defaults left
 * out; of a repeated key, the last counts.
 */
import { parseBase64, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { JsonReader } from './json-reader.ts'
import { NestedWriter } from './nested-writer.ts'
import { MAX_KEY_BYTES, MAX_VALUE_DEPTH } from './schema.ts'

interface Conversion {
  readonly reader: JsonReader
  readonly out: NestedWriter
}

/** Reads a value and writes its field or fields; nothing for a default. */
type Convert = (io: Conversion, field: number, depth: number) => void

/** Members of a message by JSON key: field number and converter. */
type Shape = ReadonlyMap<string, readonly [field: number, convert: Convert]>

const HEX = /^(?:[0-9a-fA-F]{2})*$/
const PLAIN = /^-?[0-9]{1,15}$/
const DECIMAL = /^(-?[0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,3}))?$/
const NUMBER = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/

const SPAN_KINDS = ['UNSPECIFIED', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'].map(
  (name) => `SPAN_KIND_${name}`,
)
const SEVERITIES = [
  'SEVERITY_NUMBER_UNSPECIFIED',
  ...['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'].flatMap((name) =>
    ['', '2', '3', '4'].map((step) => `SEVERITY_NUMBER_${name}${step}`),
  ),
]
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
  ['value', 2, value],
])
const ARRAY_VALUE = shape([['values', 1, values(anyValue)]])
const KEY_VALUE_LIST = shape([['values', 1, values(members(KEY_VALUE))]])
const ANY_VALUE = shape([
  ['stringValue', 1, ({ reader, out }, field) => out.string(field, string(reader))],
  ['boolValue', 2, ({ reader, out }, field) => out.varint(field, boolean(reader) ? 1 : 0)],
  ['intValue', 3, ({ reader, out }, field) => out.varint(field, integer(reader, INT64))],
  ['doubleValue', 4, ({ reader, out }, field) => out.double(field, double(reader))],
  ['arrayValue', 5, nested(ARRAY_VALUE, 1)],
  ['kvlistValue', 6, nested(KEY_VALUE_LIST, 1)],
  ['bytesValue', 7, ({ reader, out }, field) => out.bytes(field, base64(reader))],
])
const attributes = values((io) => message(io, KEY_VALUE, 1))

const ENTITY_REF = shape([
  ['schemaUrl', 1, text],
  ['type', 2, text],
  ['idKeys', 3, strings],
  ['descriptionKeys', 4, strings],
])
const RESOURCE = shape([
  ['attributes', 1, attributes],
  ['droppedAttributesCount', 2, count],
  ['entityRefs', 3, values(members(ENTITY_REF))],
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
  ['events', 11, values(members(EVENT))],
  ['droppedEventsCount', 12, count],
  ['links', 13, values(members(LINK))],
  ['droppedLinksCount', 14, count],
  ['status', 15, nested(STATUS)],
  ['flags', 16, flags],
])
const SCOPE_SPANS = shape([
  ['scope', 1, nested(SCOPE)],
  ['spans', 2, values(members(SPAN))],
  ['schemaUrl', 3, text],
])
const RESOURCE_SPANS = shape([
  ['resource', 1, nested(RESOURCE)],
  ['scopeSpans', 2, values(members(SCOPE_SPANS))],
  ['schemaUrl', 3, text],
])
const LOG_RECORD = shape([
  ['timeUnixNano', 1, time],
  ['severityNumber', 2, enumeration(SEVERITIES)],
  ['severityText', 3, text],
  ['body', 5, (io, field) => value(io, field, 1)],
  ['attributes', 6, attributes],
  ['droppedAttributesCount', 7, count],
  ['flags', 8, flags],
  ['traceId', 9, id],
  ['spanId', 10, id],
  ['observedTimeUnixNano', 11, time],
  ['eventName', 12, text],
])
const SCOPE_LOGS = shape([
  ['scope', 1, nested(SCOPE)],
  ['logRecords', 2, values(members(LOG_RECORD))],
  ['schemaUrl', 3, text],
])
const RESOURCE_LOGS = shape([
  ['resource', 1, nested(RESOURCE)],
  ['scopeLogs', 2, values(members(SCOPE_LOGS))],
  ['schemaUrl', 3, text],
])
const LOGS_REQUEST = shape([['resourceLogs', 1, values(members(RESOURCE_LOGS))]])
const REQUEST = shape([['resourceSpans', 1, values(members(RESOURCE_SPANS))]])

/**
 * The protobuf bytes of an `ExportTraceServiceRequest` given as OTLP/JSON. Ids of a wrong length are kept as
 * they are, so that the scan can fault their span alone.
 *
 * Throws a MalformedError whose detail names the bad member, e.g. `resourceSpans[0].scopeSpans[0].spans[3].traceId`.
 */
export function tracesFromJson(json: Uint8Array | string): Uint8Array {
  return convert(json, REQUEST)
}

/** The same for an `ExportLogsServiceRequest`. */
export function logsFromJson(json: Uint8Array | string): Uint8Array {
  return convert(json, LOGS_REQUEST)
}

function convert(json: Uint8Array | string, request: Shape): Uint8Array {
  const reader = new JsonReader(typeof json === 'string' ? json : decode(json))
  const out = new NestedWriter()
  message({ reader, out }, request, 0)
  reader.end()
  return out.finish()
}

/** A byte order mark is skipped, as RFC 8259, section 8.1, allows. */
function decode(json: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(json)
  } catch {
    throw new MalformedError('not JSON', 'the text is not UTF-8')
  }
}

/** Reads an object and writes the fields of its message. */
function message(io: Conversion, members: Shape, depth: number): void {
  const { reader, out } = io
  expect(reader, 'object')
  out.openMessage()
  reader.members((key) => {
    const member = members.get(key)
    if (member === undefined) reader.skip()
    else if (reader.peek() === 'null') {
      reader.null()
      out.dropField(member[0])
    } else {
      out.openField(member[0])
      member[1](io, member[0], depth)
      out.closeField(member[0])
    }
  })
  out.closeMessage()
}

/** As {@link message}, for a list of messages. */
function members(shape: Shape): (io: Conversion, depth: number) => void {
  return (io, depth) => message(io, shape, depth)
}

/** Of several members of the oneof, the last that is not null counts. */
function anyValue(io: Conversion, depth: number): void {
  const { reader, out } = io
  if (depth > MAX_VALUE_DEPTH) bad(reader, 'is nested too deeply')
  expect(reader, 'object')
  out.openMessage()
  reader.members((key) => {
    const member = ANY_VALUE.get(key)
    if (member === undefined) reader.skip()
    else if (reader.peek() === 'null') {
      reader.null()
      out.dropField(member[0])
    } else {
      out.dropFields()
      out.openField(member[0])
      member[1](io, member[0], depth)
      out.closeField(member[0])
    }
  })
  out.closeMessage()
}

function value(io: Conversion, field: number, depth: number): void {
  const mark = io.out.openBytes(field)
  anyValue(io, depth)
  io.out.closeBytes(mark)
}

/** A message field; an empty message is written, because in a oneof it differs from none. */
function nested(shape: Shape, deeper = 0): Convert {
  return (io, field, depth) => {
    const mark = io.out.openBytes(field)
    message(io, shape, depth + deeper)
    io.out.closeBytes(mark)
  }
}

/** A repeated field. */
function values(item: (io: Conversion, depth: number) => void): Convert {
  return (io, field, depth) => {
    expect(io.reader, 'array')
    io.reader.items(() => {
      const mark = io.out.openBytes(field)
      item(io, depth)
      io.out.closeBytes(mark)
    })
  }
}

function strings({ reader, out }: Conversion, field: number): void {
  expect(reader, 'array')
  reader.items(() => out.string(field, string(reader)))
}

function text({ reader, out }: Conversion, field: number): void {
  const value = string(reader)
  if (value !== '') out.string(field, value)
}

function key({ reader, out }: Conversion, field: number): void {
  const value = string(reader)
  if (value.length * 3 > MAX_KEY_BYTES && utf8(value).length > MAX_KEY_BYTES)
    bad(reader, 'is over 65535 bytes')
  if (value !== '') out.string(field, value)
}

function id({ reader, out }: Conversion, field: number): void {
  const value = string(reader)
  if (!HEX.test(value)) bad(reader, 'is not hex')
  if (value === '') return
  const bytes = new Uint8Array(value.length / 2)
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = (hexDigit(value.charCodeAt(i * 2)) << 4) | hexDigit(value.charCodeAt(i * 2 + 1))
  out.bytes(field, bytes)
}

/** The value of a hex digit, of which letters have bit 6 set. */
function hexDigit(code: number): number {
  return (code & 0xf) + (code >= 0x40 ? 9 : 0)
}

function time({ reader, out }: Conversion, field: number): void {
  const value = integer(reader, UINT64)
  if (value !== 0) out.fixed64(field, value)
}

function count({ reader, out }: Conversion, field: number): void {
  const value = integer(reader, UINT32)
  if (value !== 0) out.varint(field, value)
}

function flags({ reader, out }: Conversion, field: number): void {
  const value = integer(reader, UINT32)
  if (value !== 0) out.fixed32(field, Number(value))
}

/** An enum as its number, any 32-bit one, or one of its names. */
function enumeration(names: readonly string[]): Convert {
  return ({ reader, out }, field) => {
    let value: number | bigint
    if (reader.peek() === 'string') {
      value = names.indexOf(reader.string())
      if (value < 0) bad(reader, 'is not a known name')
    } else value = integer(reader, INT32)
    if (value !== 0) out.varint(field, value)
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

/**
 * An integer as a number or a string, exactly: a number when it is short, a bigint otherwise; 0 is always a number.
 * 1.0 and 1e3 are integers too, as in proto3's JSON.
 */
function integer(reader: JsonReader, range: Range): number | bigint {
  const source = reader.peek() === 'string' ? reader.string() : numeral(reader)
  const value = PLAIN.test(source) ? Number(source) : exactInteger(source)
  if (value === undefined || value < range.least || value > range.most) bad(reader, `is not ${range.name}`)
  return value
}

function exactInteger(source: string): number | bigint | undefined {
  if (source.length > 400) return undefined // nobody writes an integer so, and BigInt is quadratic
  const match = DECIMAL.exec(source)
  if (match === null) return undefined
  const fraction = match[2] ?? ''
  const exponent = Number(match[3] ?? 0) - fraction.length
  const digits = BigInt(match[1]! + fraction)
  if (digits === 0n) return 0
  if (exponent >= 0) return exponent > 400 ? undefined : digits * 10n ** BigInt(exponent)
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
