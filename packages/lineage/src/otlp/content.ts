/**
 * What makes two deliveries of a span the same span: a digest over what their messages say, not over how they
 * were encoded (docs/formats/otlp.md, "Content digest").
 */
import { sha256 } from '#crypto'
import { compareBytes, concatBytes, joinBytes, utf8 } from '../bytes.ts'
import { BYTES, FIXED32, WireReader } from '../wire.ts'
import {
  decodeLogRecord,
  decodeResource,
  decodeScope,
  decodeSpan,
  type EntityRef,
  type SpanEvent,
  type SpanLink,
  type SpanStatus,
} from './decode.ts'
import { encodeText } from './text.ts'
import { type AnyValue, encodeKey, encodeValue, type KeyValue, type UnknownFields } from './value.ts'

const TAG = utf8('rootspan/content/v0\n')
const LOG_TAG = utf8('rootspan/content/log/v0\n')

/** A field of a canonical message: its number, and its value as bytes. */
type Field = readonly [number: number, value: Uint8Array]

/**
 * SHA-256 of the content of a span with its resource and scope, each as the bytes of its message, empty when
 * absent. Throws a MalformedError on what the scan refuses.
 *
 * Equal for the same content whatever the order of fields and attributes, the way integers are written, and
 * whether defaults are; different for any other content, unknown fields included.
 */
export function contentDigest(resource: Uint8Array, scope: Uint8Array, span: Uint8Array): Uint8Array {
  return digest(TAG, resource, scope, canonicalSpan(span))
}

/** The same of a LogRecord; no span has the digest of a log record. */
export function logContentDigest(resource: Uint8Array, scope: Uint8Array, record: Uint8Array): Uint8Array {
  return digest(LOG_TAG, resource, scope, canonicalLogRecord(record))
}

function digest(tag: Uint8Array, resource: Uint8Array, scope: Uint8Array, item: Uint8Array): Uint8Array {
  const parts = [tag]
  for (const message of [canonicalResource(resource), canonicalScope(scope), item])
    parts.push(u32(message.length), message)
  return sha256(joinBytes(parts))
}

function canonicalResource(bytes: Uint8Array): Uint8Array {
  const resource = decodeResource(bytes)
  return encode(
    [
      ...attributes(1, resource.attributes),
      ...number(2, resource.droppedAttributesCount),
      ...resource.entityRefs.map((ref): Field => [3, entityRef(ref)]),
    ],
    resource.unknown,
  )
}

function canonicalScope(bytes: Uint8Array): Uint8Array {
  const scope = decodeScope(bytes)
  return encode(
    [
      ...text(1, scope.name),
      ...text(2, scope.version),
      ...attributes(3, scope.attributes),
      ...number(4, scope.droppedAttributesCount),
    ],
    scope.unknown,
  )
}

function canonicalLogRecord(bytes: Uint8Array): Uint8Array {
  const record = decodeLogRecord(bytes)
  const body = encodeValue(record.body)
  const unknown = unknownOfValue(record.body)
  return encode(
    [
      ...wide(1, record.timeUnixNano),
      ...number(2, record.severityNumber),
      ...text(3, record.severityText),
      ...(record.body.type === 'empty' && unknown.length === 0
        ? []
        : [[5, concatBytes(u32(body.length), body, unknown)] as const]),
      ...attributes(6, record.attributes),
      ...number(7, record.droppedAttributesCount),
      ...number(8, record.flags),
      ...raw(9, record.traceId),
      ...raw(10, record.spanId),
      ...wide(11, record.observedTimeUnixNano),
      ...text(12, record.eventName),
    ],
    record.unknown,
  )
}

function canonicalSpan(bytes: Uint8Array): Uint8Array {
  const span = decodeSpan(bytes)
  return encode(
    [
      ...raw(1, span.traceId),
      ...raw(2, span.spanId),
      ...text(3, span.traceState),
      ...raw(4, span.parentSpanId),
      ...text(5, span.name),
      ...number(6, span.kind),
      ...wide(7, span.startTimeUnixNano),
      ...wide(8, span.endTimeUnixNano),
      ...attributes(9, span.attributes),
      ...number(10, span.droppedAttributesCount),
      ...span.events.map((each): Field => [11, event(each)]),
      ...number(12, span.droppedEventsCount),
      ...span.links.map((each): Field => [13, link(each)]),
      ...number(14, span.droppedLinksCount),
      ...raw(15, status(span.status)),
      ...number(16, span.flags),
    ],
    span.unknown,
  )
}

function event(event: SpanEvent): Uint8Array {
  return encode(
    [
      ...wide(1, event.timeUnixNano),
      ...text(2, event.name),
      ...attributes(3, event.attributes),
      ...number(4, event.droppedAttributesCount),
    ],
    event.unknown,
  )
}

function link(link: SpanLink): Uint8Array {
  return encode(
    [
      ...raw(1, link.traceId),
      ...raw(2, link.spanId),
      ...text(3, link.traceState),
      ...attributes(4, link.attributes),
      ...number(5, link.droppedAttributesCount),
      ...number(6, link.flags),
    ],
    link.unknown,
  )
}

function status(status: SpanStatus): Uint8Array {
  return encode([...text(2, status.message), ...number(3, status.code)], status.unknown)
}

function entityRef(ref: EntityRef): Uint8Array {
  return encode(
    [
      ...text(1, ref.schemaUrl),
      ...text(2, ref.type),
      ...ref.idKeys.map((key): Field => [3, encodeText(key)]),
      ...ref.descriptionKeys.map((key): Field => [4, encodeText(key)]),
    ],
    ref.unknown,
  )
}

/** Fields by number, each as u32 number, u32 length, value; unknown ones are merged in, in received order. */
function encode(known: readonly Field[], unknown: UnknownFields): Uint8Array {
  const fields = unknown.length === 0 ? known : [...known, ...unknown.map(unknownField)]
  const ordered = unknown.length === 0 ? known : [...fields].sort((a, b) => a[0] - b[0]) // stable
  const parts: Uint8Array[] = []
  for (const [number, value] of ordered) parts.push(u32(number), u32(value.length), value)
  return joinBytes(parts)
}

/** An unknown field's value: its wire type, then the integer (8 bytes, or 4 for fixed32) or the bytes. */
function unknownField(bytes: Uint8Array): Field {
  const reader = new WireReader(bytes)
  if (!reader.next()) throw new Error('bad unknown field')
  const type = Uint8Array.of(reader.type)
  if (reader.type === BYTES) return [reader.field, concatBytes(type, reader.value())]
  if (reader.type === FIXED32) return [reader.field, concatBytes(type, u32(reader.low))]
  return [reader.field, concatBytes(type, u32(reader.high), u32(reader.low))]
}

/** Attributes in the order of key, then value, then unknown fields, whatever order they came in. */
function attributes(field: number, list: readonly KeyValue[]): Field[] {
  const encoded = list.map((attribute) => ({
    key: encodeKey(attribute.key),
    value: encodeValue(attribute.value),
    unknown: unknownOfTree(attribute),
  }))
  encoded.sort(
    (a, b) =>
      compareBytes(a.key, b.key) || compareBytes(a.value, b.value) || compareBytes(a.unknown, b.unknown),
  )
  return encoded.map(({ key, value, unknown }) => [
    field,
    concatBytes(u32(key.length), key, u32(value.length), value, unknown),
  ])
}

/**
 * The unknown fields anywhere in an attribute, which its encoded value leaves out: for each message that has
 * some, its place in a walk of the tree, parents first, and its fields. Empty when there are none.
 */
function unknownOfTree(attribute: KeyValue): Uint8Array {
  return unknownOf((walk) => walk.keyValue(attribute))
}

/** The same of a value that is no attribute's, the value itself being place 0. */
function unknownOfValue(value: AnyValue): Uint8Array {
  return unknownOf((walk) => walk.value(value))
}

interface Walk {
  keyValue(item: KeyValue): void
  value(value: AnyValue): void
}

function unknownOf(begin: (walk: Walk) => void): Uint8Array {
  const parts: Uint8Array[] = []
  let place = 0
  const visit = (unknown: UnknownFields | undefined): void => {
    if (unknown !== undefined) {
      const fields = encode([], unknown)
      parts.push(u32(place), u32(fields.length), fields)
    }
    place++
  }
  const walk: Walk = {
    keyValue(item) {
      visit(item.unknown)
      walk.value(item.value)
    },
    value(value) {
      visit(value.unknown)
      if (value.type !== 'array' && value.type !== 'kvlist') return
      visit(value.listUnknown)
      if (value.type === 'array') value.value.forEach(walk.value)
      else value.value.forEach(walk.keyValue)
    },
  }
  begin(walk)
  return joinBytes(parts)
}

/** Singular fields: one or, at the default, none. */
function raw(field: number, value: Uint8Array): Field[] {
  return value.length === 0 ? [] : [[field, value]]
}

function text(field: number, value: string): Field[] {
  return raw(field, encodeText(value))
}

function number(field: number, value: number): Field[] {
  return value === 0 ? [] : [[field, u32(value)]]
}

function wide(field: number, value: bigint): Field[] {
  return value === 0n
    ? []
    : [[field, concatBytes(u32(Number(value >> 32n)), u32(Number(value & 0xffff_ffffn)))]]
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}
