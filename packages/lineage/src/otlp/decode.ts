/**
 * Decodes one span, resource or scope of OTLP into an object, exactly: 64-bit numbers are bigints, strings keep
 * broken UTF-8 (`text.ts`), unknown fields stay as bytes. For the few messages that somebody looks into; the
 * many are scanned (`scan.ts`), under the same limits, so that what the scan accepted always decodes.
 *
 * As protobuf says, the last of several occurrences of a scalar counts. Absent fields have their defaults.
 * Byte fields are views into the input.
 */
import { MalformedError } from '../errors.ts'
import { BYTES, WireReader } from '../wire.ts'
import { KeyNames } from './key-names.ts'
import {
  ANY_VALUE_FIELDS,
  ENTITY_REF_FIELDS,
  EVENT_FIELDS,
  type Fields,
  fitsSchema,
  isKnown,
  KEY_VALUE_FIELDS,
  LINK_FIELDS,
  LIST_FIELDS,
  LOG_RECORD_FIELDS,
  MAX_ITEMS,
  MAX_KEY_BYTES,
  MAX_VALUE_DEPTH,
  RESOURCE_FIELDS,
  SCOPE_FIELDS,
  SPAN_FIELDS,
  STATUS_FIELDS,
} from './schema.ts'
import { decodeText } from './text.ts'
import { type AnyValue, doubleOfBits, type KeyValue, type UnknownFields } from './value.ts'

export type { AnyValue, KeyValue, UnknownFields } from './value.ts'

/** A Resource (resource.proto). */
export interface Resource {
  attributes: KeyValue[]
  droppedAttributesCount: number
  entityRefs: EntityRef[]
  unknown: UnknownFields
}

/** An EntityRef (common.proto, in development). */
export interface EntityRef {
  schemaUrl: string
  type: string
  idKeys: string[]
  descriptionKeys: string[]
  unknown: UnknownFields
}

/** An InstrumentationScope (common.proto). */
export interface Scope {
  name: string
  version: string
  attributes: KeyValue[]
  droppedAttributesCount: number
  unknown: UnknownFields
}

/**
 * A Span (trace.proto). Ids have any length: the scan's FAULT judges them. Times are nanoseconds since the Unix
 * epoch. `kind` is a signed 32-bit number, 0 to 5 where the sender follows today's schema.
 */
export interface Span {
  traceId: Uint8Array
  spanId: Uint8Array
  traceState: string
  parentSpanId: Uint8Array
  name: string
  kind: number
  startTimeUnixNano: bigint
  endTimeUnixNano: bigint
  attributes: KeyValue[]
  droppedAttributesCount: number
  events: SpanEvent[]
  droppedEventsCount: number
  links: SpanLink[]
  droppedLinksCount: number
  status: SpanStatus
  flags: number
  unknown: UnknownFields
}

/** A LogRecord (logs.proto). Times are nanoseconds since the Unix epoch. */
export interface LogRecord {
  timeUnixNano: bigint
  observedTimeUnixNano: bigint
  severityNumber: number
  severityText: string
  body: AnyValue
  attributes: KeyValue[]
  droppedAttributesCount: number
  flags: number
  traceId: Uint8Array
  spanId: Uint8Array
  eventName: string
  unknown: UnknownFields
}

/** A Span.Event. */
export interface SpanEvent {
  timeUnixNano: bigint
  name: string
  attributes: KeyValue[]
  droppedAttributesCount: number
  unknown: UnknownFields
}

/** A Span.Link. */
export interface SpanLink {
  traceId: Uint8Array
  spanId: Uint8Array
  traceState: string
  attributes: KeyValue[]
  droppedAttributesCount: number
  flags: number
  unknown: UnknownFields
}

/** A Status; `code` is 0 unset, 1 ok, 2 error. An absent status and an empty one are the same. */
export interface SpanStatus {
  message: string
  code: number
  unknown: UnknownFields
}

/** Items (see MAX_ITEMS) since the message began. */
let items = 0

const NO_BYTES: Uint8Array = new Uint8Array(0)
const NO_UNKNOWN: UnknownFields = Object.freeze([])

/** Decodes the bytes of a Resource message. Throws a MalformedError, as all of these do, on what a scan refuses. */
export function decodeResource(bytes: Uint8Array): Resource {
  items = 0
  const out: Resource = { attributes: [], droppedAttributesCount: 0, entityRefs: [], unknown: NO_UNKNOWN }
  out.unknown = walk(new WireReader(bytes), RESOURCE_FIELDS, (field, reader) => {
    if (field === 1) out.attributes.push(keyValue(item(reader), 1))
    else if (field === 2) out.droppedAttributesCount = reader.low
    else out.entityRefs.push(entityRef(item(reader)))
  })
  return out
}

/** Decodes the bytes of an InstrumentationScope message. */
export function decodeScope(bytes: Uint8Array): Scope {
  items = 0
  const out: Scope = { name: '', version: '', attributes: [], droppedAttributesCount: 0, unknown: NO_UNKNOWN }
  out.unknown = walk(new WireReader(bytes), SCOPE_FIELDS, (field, reader) => {
    if (field === 1) out.name = text(reader)
    else if (field === 2) out.version = text(reader)
    else if (field === 3) out.attributes.push(keyValue(item(reader), 1))
    else out.droppedAttributesCount = reader.low
  })
  return out
}

/** Decodes the bytes of a Span message; of the attributes, where `wanted` is said, only those. */
export function decodeSpan(bytes: Uint8Array, wanted?: KeyNames): Span {
  items = 0
  const out: Span = {
    traceId: NO_BYTES,
    spanId: NO_BYTES,
    traceState: '',
    parentSpanId: NO_BYTES,
    name: '',
    kind: 0,
    startTimeUnixNano: 0n,
    endTimeUnixNano: 0n,
    attributes: [],
    droppedAttributesCount: 0,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { message: '', code: 0, unknown: NO_UNKNOWN },
    flags: 0,
    unknown: NO_UNKNOWN,
  }
  let hasStatus = false
  out.unknown = walk(new WireReader(bytes), SPAN_FIELDS, (field, reader) => {
    switch (field) {
      case 1:
        out.traceId = reader.value()
        break
      case 2:
        out.spanId = reader.value()
        break
      case 3:
        out.traceState = text(reader)
        break
      case 4:
        out.parentSpanId = reader.value()
        break
      case 5:
        out.name = text(reader)
        break
      case 6:
        out.kind = reader.low | 0
        break
      case 7:
        out.startTimeUnixNano = reader.uint64()
        break
      case 8:
        out.endTimeUnixNano = reader.uint64()
        break
      case 9:
        attribute(reader, wanted, out.attributes)
        break
      case 10:
        out.droppedAttributesCount = reader.low
        break
      case 11:
        out.events.push(event(item(reader), wanted))
        break
      case 12:
        out.droppedEventsCount = reader.low
        break
      case 13:
        out.links.push(link(item(reader), wanted))
        break
      case 14:
        out.droppedLinksCount = reader.low
        break
      case 15:
        once(hasStatus, 'status')
        hasStatus = true
        out.status = status(inside(reader))
        break
      case 16:
        out.flags = reader.low
        break
    }
  })
  return out
}

/** What everybody looks at of a span. */
export type SpanOutline = Pick<Span, 'name' | 'startTimeUnixNano' | 'endTimeUnixNano'>

/** There are few names of spans, or should be: those that came first are remembered. No prefix: it finds all. */
const NAMES = new KeyNames([], '')

/** As {@link decodeSpan}, of a span that the scan let pass: it checked all that is not looked at here. */
export function decodeOutline(bytes: Uint8Array, start: number, end: number): SpanOutline {
  const out = { name: '', startTimeUnixNano: 0n, endTimeUnixNano: 0n }
  const reader = new WireReader(bytes, start, end)
  while (reader.next())
    if (reader.field === 5) out.name = NAMES.find(bytes, reader.start, reader.end)!
    else if (reader.field === 7) out.startTimeUnixNano = reader.uint64()
    else if (reader.field === 8) out.endTimeUnixNano = reader.uint64()
  return out
}

/** Decodes the bytes of a LogRecord message. */
export function decodeLogRecord(bytes: Uint8Array): LogRecord {
  items = 0
  const out: LogRecord = {
    timeUnixNano: 0n,
    observedTimeUnixNano: 0n,
    severityNumber: 0,
    severityText: '',
    body: { type: 'empty' },
    attributes: [],
    droppedAttributesCount: 0,
    flags: 0,
    traceId: NO_BYTES,
    spanId: NO_BYTES,
    eventName: '',
    unknown: NO_UNKNOWN,
  }
  let hasBody = false
  out.unknown = walk(new WireReader(bytes), LOG_RECORD_FIELDS, (field, reader) => {
    if (field === 1) out.timeUnixNano = reader.uint64()
    else if (field === 2) out.severityNumber = reader.low | 0
    else if (field === 3) out.severityText = text(reader)
    else if (field === 5) {
      once(hasBody, 'body')
      hasBody = true
      out.body = anyValue(inside(reader), 1)
    } else if (field === 6) out.attributes.push(keyValue(item(reader), 1))
    else if (field === 7) out.droppedAttributesCount = reader.low
    else if (field === 8) out.flags = reader.low
    else if (field === 9) out.traceId = reader.value()
    else if (field === 10) out.spanId = reader.value()
    else if (field === 11) out.observedTimeUnixNano = reader.uint64()
    else out.eventName = text(reader)
  })
  return out
}

function event(reader: WireReader, wanted: KeyNames | undefined): SpanEvent {
  const out: SpanEvent = {
    timeUnixNano: 0n,
    name: '',
    attributes: [],
    droppedAttributesCount: 0,
    unknown: NO_UNKNOWN,
  }
  out.unknown = walk(reader, EVENT_FIELDS, (field) => {
    if (field === 1) out.timeUnixNano = reader.uint64()
    else if (field === 2) out.name = text(reader)
    else if (field === 3) attribute(reader, wanted, out.attributes)
    else out.droppedAttributesCount = reader.low
  })
  return out
}

function link(reader: WireReader, wanted: KeyNames | undefined): SpanLink {
  const out: SpanLink = {
    traceId: NO_BYTES,
    spanId: NO_BYTES,
    traceState: '',
    attributes: [],
    droppedAttributesCount: 0,
    flags: 0,
    unknown: NO_UNKNOWN,
  }
  out.unknown = walk(reader, LINK_FIELDS, (field) => {
    if (field === 1) out.traceId = reader.value()
    else if (field === 2) out.spanId = reader.value()
    else if (field === 3) out.traceState = text(reader)
    else if (field === 4) attribute(reader, wanted, out.attributes)
    else if (field === 5) out.droppedAttributesCount = reader.low
    else out.flags = reader.low
  })
  return out
}

function status(reader: WireReader): SpanStatus {
  const out: SpanStatus = { message: '', code: 0, unknown: NO_UNKNOWN }
  out.unknown = walk(reader, STATUS_FIELDS, (field) => {
    if (field === 2) out.message = text(reader)
    else out.code = reader.low | 0
  })
  return out
}

function entityRef(reader: WireReader): EntityRef {
  const out: EntityRef = { schemaUrl: '', type: '', idKeys: [], descriptionKeys: [], unknown: NO_UNKNOWN }
  out.unknown = walk(reader, ENTITY_REF_FIELDS, (field) => {
    if (field === 1) out.schemaUrl = text(reader)
    else if (field === 2) out.type = text(reader)
    else if (field === 3) out.idKeys.push(entityKey(reader))
    else out.descriptionKeys.push(entityKey(reader))
  })
  return out
}

function entityKey(reader: WireReader): string {
  count()
  return text(reader)
}

/** Adds the attribute in this field if it is wanted. */
function attribute(field: WireReader, wanted: KeyNames | undefined, out: KeyValue[]): void {
  count()
  let key: string | undefined
  if (wanted !== undefined) {
    const { bytes, start } = field
    const keyEnd = usualKeyEnd(field)
    if (keyEnd !== -1) {
      key = wanted.find(bytes, start + 2, keyEnd)
    } else {
      const look = inside(field)
      while (look.next())
        if (look.field === 1 && look.type === BYTES) key = wanted.find(bytes, look.start, look.end)
    }
    if (key === undefined) return
  }
  out.push(keyValue(inside(field), 1, key))
}

/** Where the key ends if it is short, comes first, and the value is all that follows it; else -1. */
function usualKeyEnd({ bytes, start, end }: WireReader): number {
  if (end - start < 4 || bytes[start] !== 0x0a || bytes[start + 1]! >= 0x80) return -1
  const at = start + 2 + bytes[start + 1]!
  if (at + 2 > end || bytes[at] !== 0x12) return -1
  const low = bytes[at + 1]!
  if (low < 0x80) return at + 2 + low === end ? at : -1
  const high = bytes[at + 2]!
  return high < 0x80 && at + 3 + (low & 0x7f) + high * 0x80 === end ? at : -1
}

/** `known` is its key where that was found already: the last one, if there are several. */
function keyValue(reader: WireReader, depth: number, known?: string): KeyValue {
  let key = known ?? ''
  let value: AnyValue | undefined
  let strindex: Uint8Array | undefined
  let unknown: Uint8Array[] | undefined
  while (reader.next()) {
    const { field } = reader
    if (!isOurs(KEY_VALUE_FIELDS, reader)) {
      unknown ??= []
      unknown.push(other(reader))
    } else if (field === 1) {
      if (reader.end - reader.start > MAX_KEY_BYTES)
        throw new MalformedError('an attribute key is over 65535 bytes')
      key = known ?? text(reader)
    } else if (field === 2) {
      once(value !== undefined, 'value')
      value = anyValue(inside(reader), depth)
    } else strindex = whole(reader)
  }
  value ??= { type: 'empty' }
  const all = join(unknown, strindex)
  return all === undefined ? { key, value } : { key, value, unknown: all }
}

function anyValue(reader: WireReader, depth: number): AnyValue {
  if (depth > MAX_VALUE_DEPTH) throw new MalformedError('an attribute value is nested too deeply')
  let value: AnyValue = { type: 'empty' }
  let strindex: Uint8Array | undefined
  let hasArray = false
  let hasList = false
  let unknown: Uint8Array[] | undefined
  while (reader.next()) {
    if (!isOurs(ANY_VALUE_FIELDS, reader)) {
      unknown ??= []
      unknown.push(other(reader))
      continue
    }
    strindex = undefined // a member of the oneof replaces any other
    switch (reader.field) {
      case 1:
        value = { type: 'string', value: text(reader) }
        break
      case 2:
        value = { type: 'bool', value: (reader.low | reader.high) !== 0 }
        break
      case 3:
        value = { type: 'int', value: reader.int64() }
        break
      case 4:
        value = doubleOfBits(reader.uint64())
        break
      case 5:
        once(hasArray, 'array_value')
        hasArray = true
        value = array(inside(reader), depth + 1)
        break
      case 6:
        once(hasList, 'kvlist_value')
        hasList = true
        value = list(inside(reader), depth + 1)
        break
      case 7:
        value = { type: 'bytes', value: reader.value() }
        break
      case 8:
        value = { type: 'empty' }
        strindex = whole(reader)
        break
    }
  }
  const all = join(unknown, strindex)
  return all === undefined ? value : { ...value, unknown: all }
}

function array(reader: WireReader, depth: number): AnyValue {
  const value: AnyValue[] = []
  const listUnknown = walk(reader, LIST_FIELDS, () => {
    value.push(anyValue(item(reader), depth))
  })
  return listUnknown.length === 0 ? { type: 'array', value } : { type: 'array', value, listUnknown }
}

function list(reader: WireReader, depth: number): AnyValue {
  const value: KeyValue[] = []
  const listUnknown = walk(reader, LIST_FIELDS, () => {
    value.push(keyValue(item(reader), depth))
  })
  return listUnknown.length === 0 ? { type: 'kvlist', value } : { type: 'kvlist', value, listUnknown }
}

/** Hands every known field to `take`, its wire type checked, and returns the others. */
function walk(
  reader: WireReader,
  fields: Fields,
  take: (field: number, reader: WireReader) => void,
): UnknownFields {
  let unknown: Uint8Array[] | undefined
  while (reader.next()) {
    if (isOurs(fields, reader)) take(reader.field, reader)
    else {
      unknown ??= []
      unknown.push(other(reader))
    }
  }
  return unknown ?? NO_UNKNOWN
}

/** Whether the field is a known one; its wire type is checked. */
function isOurs(fields: Fields, { field, type }: WireReader): boolean {
  if (!fitsSchema(fields, field, type)) throw new MalformedError('a field has the wrong wire type')
  return isKnown(fields, field)
}

/** A field that is not known, whole. */
function other(reader: WireReader): Uint8Array {
  count()
  return whole(reader)
}

/** A reader of the message inside a field that counts as an item. */
function item(reader: WireReader): WireReader {
  count()
  return inside(reader)
}

function count(): void {
  if (++items > MAX_ITEMS) throw new MalformedError(`a message has over ${MAX_ITEMS} items`)
}

function inside(reader: WireReader): WireReader {
  return new WireReader(reader.bytes, reader.start, reader.end)
}

function text(reader: WireReader): string {
  return decodeText(reader.value())
}

function whole(reader: WireReader): Uint8Array {
  return reader.bytes.subarray(reader.tagStart, reader.end)
}

function join(
  unknown: UnknownFields | undefined,
  strindex: Uint8Array | undefined,
): UnknownFields | undefined {
  return strindex === undefined ? unknown : [...(unknown ?? []), strindex]
}

function once(seen: boolean, what: string): void {
  if (seen) throw new MalformedError('a message that may occur once occurs twice', what)
}
