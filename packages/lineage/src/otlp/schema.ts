/**
 * What the scan, the decoder and the JSON reader agree on: limits, and the wire type of every known field.
 *
 * `proto/otlp.proto` is the same in protobuf's own language.
 */
import { BYTES, FIXED32, FIXED64, VARINT } from '../wire.ts'

/** Largest request, so that every offset fits 32 bits and stays a small integer. */
export const MAX_REQUEST_BYTES = 0x7fff_ffff

/** Deepest AnyValue: an attribute's own value is level 1, a value in its array or list is level 2. */
export const MAX_VALUE_DEPTH = 32

/** Longest attribute key, because commitments write its length in 16 bits. */
export const MAX_KEY_BYTES = 0xffff

/** Most spans of a request: a span takes 2 bytes of a body but 68 of a table. */
export const MAX_SPANS = 1 << 20

/**
 * Most items of one span, resource or scope: attributes, events, links, array and list members, entity refs and
 * their keys, unknown fields. An item takes 2 bytes of a body but some hundred when decoded.
 */
export const MAX_ITEMS = 1 << 18

/** Wire types by field number. A number that is reserved or beyond the end is unknown. */
export type Fields = readonly number[]

/** In place of a wire type: the number is reserved. */
export const UNKNOWN = -1

export const REQUEST_FIELDS: Fields = [UNKNOWN, BYTES]
export const RESOURCE_SPANS_FIELDS: Fields = [UNKNOWN, BYTES, BYTES, BYTES]
export const SCOPE_SPANS_FIELDS: Fields = [UNKNOWN, BYTES, BYTES, BYTES]
/** ResourceLogs and ScopeLogs number their fields as ResourceSpans and ScopeSpans do. */
export const RESOURCE_FIELDS: Fields = [UNKNOWN, BYTES, VARINT, BYTES]
export const ENTITY_REF_FIELDS: Fields = [UNKNOWN, BYTES, BYTES, BYTES, BYTES]
export const SCOPE_FIELDS: Fields = [UNKNOWN, BYTES, BYTES, BYTES, VARINT]
export const SPAN_FIELDS: Fields = [
  ...[UNKNOWN, BYTES, BYTES, BYTES, BYTES, BYTES, VARINT, FIXED64, FIXED64],
  ...[BYTES, VARINT, BYTES, VARINT, BYTES, VARINT, BYTES, FIXED32],
]
export const LOG_RECORD_FIELDS: Fields = [
  ...[UNKNOWN, FIXED64, VARINT, BYTES, UNKNOWN, BYTES, BYTES, VARINT, FIXED32],
  ...[BYTES, BYTES, FIXED64, BYTES],
]
export const EVENT_FIELDS: Fields = [UNKNOWN, FIXED64, BYTES, BYTES, VARINT]
export const LINK_FIELDS: Fields = [UNKNOWN, BYTES, BYTES, BYTES, BYTES, VARINT, FIXED32]
export const STATUS_FIELDS: Fields = [UNKNOWN, UNKNOWN, BYTES, VARINT]
/** key_strindex = 3 is for profiles: elsewhere it counts as absent, but its wire type is known. */
export const KEY_VALUE_FIELDS: Fields = [UNKNOWN, BYTES, BYTES, VARINT]
/** string_value_strindex = 8, likewise. */
export const ANY_VALUE_FIELDS: Fields = [
  ...[UNKNOWN, BYTES, VARINT, VARINT, FIXED64, BYTES, BYTES, BYTES, VARINT],
]
/** ArrayValue and KeyValueList alike. */
export const LIST_FIELDS: Fields = [UNKNOWN, BYTES]

/** Whether a field may have this wire type: any, when its number is unknown. */
export function fitsSchema(fields: Fields, field: number, type: number): boolean {
  if (field >= fields.length) return true
  const wanted = fields[field]!
  return wanted === UNKNOWN || wanted === type
}

export function isKnown(fields: Fields, field: number): boolean {
  return field < fields.length && fields[field] !== UNKNOWN
}
