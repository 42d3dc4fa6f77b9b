/**
 * One pass over the bytes of an `ExportTraceServiceRequest` that validates everything and builds nothing.
 *
 * Every length, varint, wire type of a known field and nesting depth is checked, in resources, scopes, spans,
 * events, links, statuses and attribute values alike, so that whoever later decodes a part of an accepted
 * request never meets malformed bytes. What comes out is a {@link SpanTable}: integers, offsets into the body.
 * UTF-8 is not checked (see `text.ts`).
 *
 * The case labels are wire tags: field number << 3 | wire type (0 varint, 1 fixed64, 2 bytes, 5 fixed32), as
 * written by every minimal encoder; `proto/otlp.proto` names the fields. This is the collector's hottest loop:
 * no objects, strings or views, and lengths of one byte are read in line.
 */
import { MalformedError } from '../errors.ts'
import {
  ANY_VALUE_FIELDS,
  ENTITY_REF_FIELDS,
  EVENT_FIELDS,
  type Fields,
  KEY_VALUE_FIELDS,
  LINK_FIELDS,
  LIST_FIELDS,
  MAX_ITEMS,
  MAX_KEY_BYTES,
  MAX_REQUEST_BYTES,
  MAX_SPANS,
  MAX_VALUE_DEPTH,
  REQUEST_FIELDS,
  RESOURCE_FIELDS,
  RESOURCE_SPANS_FIELDS,
  SCOPE_FIELDS,
  SCOPE_SPANS_FIELDS,
  SPAN_FIELDS,
  STATUS_FIELDS,
  UNKNOWN,
} from './schema.ts'
import {
  createSpanTable,
  DROPPED,
  END_HIGH,
  END_LOW,
  FAULT,
  FAULT_NONE,
  FAULT_PARENT_ID,
  FAULT_SPAN_ID,
  FAULT_TRACE_ID,
  FLAGS,
  GOVERNED,
  growSpanTable,
  KIND,
  MARKS,
  PARENT_ID,
  RESOURCE_START,
  SCOPE_START,
  SPAN_END,
  SPAN_ID,
  SPAN_START,
  type SpanTable,
  START_HIGH,
  START_LOW,
  TRACE_ID,
  WORDS_PER_SPAN,
} from './span-table.ts'

export * from './span-table.ts'

/** For `scan-logs.ts`, which reads the messages that logs share with traces. */
export const wire = {
  /** Where the last tag or varint ended. */
  resume: (): number => resume,
  /** Where the value that was opened last ends. */
  stop: (): number => stop,
  /** Begins a message that has a number of items of its own. */
  begin(): void {
    items = 0
  },
  item(): void {
    items++
  },
  open,
  readTag,
  readLow,
  skip,
  checkItems,
  fill,
  isZero,
  word,
  twice,
  overrun,
  startsGoverned,
  scanResource,
  scanScope,
  scanKeyValue,
  scanAnyValue,
}

/**
 * Scans a request into `table` (a fresh one when not given), which is emptied first, and returns it.
 *
 * Throws a {@link MalformedError} for the whole request, the table then being empty, when a byte is not
 * where protobuf wants it, a message that may occur once occurs twice, or a limit is broken.
 */
export function scanTraces(body: Uint8Array, table: SpanTable = createSpanTable()): SpanTable {
  table.count = 0
  if (body.length > MAX_REQUEST_BYTES) throw new MalformedError('a request is over 2^31 bytes')
  try {
    scanRequest(body, table)
  } catch (error) {
    table.count = 0
    throw error
  }
  return table
}

/** Second results of the readers below: JavaScript has no cheap pair. Valid until the next read. */
let resume = 0 // where a tag or a varint ended
let stop = 0 // where the value of an opened field of wire type 2 ends
/** Items (see MAX_ITEMS) since the span, resource or scope began. */
let items = 0

function scanRequest(b: Uint8Array, table: SpanTable): void {
  const end = b.length
  let at = 0
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x0a) {
      at = open(b, at, end)
      const close = stop
      scanResourceSpans(b, at, close, table)
      at = close
    } else at = skip(b, tag, at, end, REQUEST_FIELDS)
  }
}

/** Rows get their resource at the end, because the bytes may bring it after the spans. */
function scanResourceSpans(b: Uint8Array, start: number, end: number, table: SpanTable): void {
  const first = table.count
  let resourceStart = 0
  let resourceEnd = 0
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x0a) {
      at = open(b, at, end) // resource = 1
      if (resourceStart !== 0) twice('resource')
      resourceStart = at
      resourceEnd = stop
      scanResource(b, at, resourceEnd)
      at = resourceEnd
    } else if (tag === 0x12) {
      at = open(b, at, end) // scope_spans = 2
      const close = stop
      scanScopeSpans(b, at, close, table)
      at = close
    } else at = skip(b, tag, at, end, RESOURCE_SPANS_FIELDS)
  }
  fill(table, first, RESOURCE_START, resourceStart, resourceEnd)
}

function scanScopeSpans(b: Uint8Array, start: number, end: number, table: SpanTable): void {
  const first = table.count
  let scopeStart = 0
  let scopeEnd = 0
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x12) {
      at = open(b, at, end) // spans = 2
      const close = stop
      scanSpan(b, at, close, table)
      at = close
    } else if (tag === 0x0a) {
      at = open(b, at, end) // scope = 1
      if (scopeStart !== 0) twice('scope')
      scopeStart = at
      scopeEnd = stop
      scanScope(b, at, scopeEnd)
      at = scopeEnd
    } else at = skip(b, tag, at, end, SCOPE_SPANS_FIELDS)
  }
  fill(table, first, SCOPE_START, scopeStart, scopeEnd)
}

function fill(table: SpanTable, first: number, column: number, start: number, end: number): void {
  const { words, count } = table
  for (let row = first * WORDS_PER_SPAN + column; row < count * WORDS_PER_SPAN; row += WORDS_PER_SPAN) {
    words[row] = start
    words[row + 1] = end
  }
}

function scanSpan(b: Uint8Array, start: number, end: number, table: SpanTable): void {
  items = 0
  let traceId = 0
  let spanId = 0
  let parentId = 0
  let parentFits = true
  let startLow = 0
  let startHigh = 0
  let endLow = 0
  let endHigh = 0
  let kind = 0
  let flags = 0
  let marks = 0
  let droppedAttributes = 0
  let droppedEvents = 0
  let droppedLinks = 0
  let hasStatus = false
  let at = start
  while (at < end) {
    let tag = b[at++]!
    if (tag >= 0x80) {
      tag = longTag(b, at - 1, end)
      at = resume
    }
    switch (tag) {
      case 0x4a: {
        if (at >= end) cutOff()
        let size = b[at++]!
        if (size >= 0x80) {
          at = open(b, at - 1, end)
          size = stop - at
        }
        if (size > end - at) overrun()
        const close = at + size
        items++
        const mark = scanUsual(b, at, close)
        marks |= mark < 0 ? scanKeyValue(b, at, close, 1) : mark
        at = close
        break
      }
      case 0x0a: // trace_id = 1
        at = open(b, at, end)
        traceId = stop - at === 16 && !isZero(b, at, stop) ? at : 0
        at = stop
        break
      case 0x12: // span_id = 2
        at = open(b, at, end)
        spanId = stop - at === 8 && !isZero(b, at, stop) ? at : 0
        at = stop
        break
      case 0x22: // parent_span_id = 4
        at = open(b, at, end)
        parentFits = stop === at || stop - at === 8
        parentId = parentFits && !isZero(b, at, stop) ? at : 0
        at = stop
        break
      case 0x2a: // name = 5
        open(b, at, end)
        at = stop
        break
      case 0x30: // kind = 6
        kind = readLow(b, at, end)
        at = resume
        break
      case 0x39: // start_time_unix_nano = 7
        if (end - at < 8) overrun()
        startLow = word(b, at)
        startHigh = word(b, at + 4)
        at += 8
        break
      case 0x41: // end_time_unix_nano = 8
        if (end - at < 8) overrun()
        endLow = word(b, at)
        endHigh = word(b, at + 4)
        at += 8
        break
      case 0x50: // dropped_attributes_count = 10
        droppedAttributes = readLow(b, at, end)
        at = resume
        break
      case 0x5a: {
        at = open(b, at, end) // events = 11
        const close = stop
        items++
        marks |= scanEvent(b, at, close)
        at = close
        break
      }
      case 0x60: // dropped_events_count = 12
        droppedEvents = readLow(b, at, end)
        at = resume
        break
      case 0x6a: {
        at = open(b, at, end) // links = 13
        const close = stop
        items++
        marks |= scanLink(b, at, close)
        at = close
        break
      }
      case 0x70: // dropped_links_count = 14
        droppedLinks = readLow(b, at, end)
        at = resume
        break
      case 0x7a: {
        at = open(b, at, end) // status = 15
        const close = stop
        if (hasStatus) twice('status')
        hasStatus = true
        scanStatus(b, at, close)
        at = close
        break
      }
      case 0x85: // flags = 16
        if (end - at < 4) overrun()
        flags = word(b, at)
        at += 4
        break
      default:
        at = skip(b, tag, at, end, SPAN_FIELDS)
    }
  }
  checkItems()
  if ((droppedAttributes | droppedEvents | droppedLinks) !== 0) marks |= DROPPED

  const row = table.count * WORDS_PER_SPAN
  if (table.count === MAX_SPANS) throw new MalformedError(`a request has over ${MAX_SPANS} spans`)
  if (row === table.words.length) growSpanTable(table)
  const words = table.words
  words[row + SPAN_START] = start
  words[row + SPAN_END] = end
  words[row + TRACE_ID] = traceId
  words[row + SPAN_ID] = spanId
  words[row + PARENT_ID] = parentId
  words[row + START_LOW] = startLow
  words[row + START_HIGH] = startHigh
  words[row + END_LOW] = endLow
  words[row + END_HIGH] = endHigh
  words[row + KIND] = kind
  words[row + FLAGS] = flags
  words[row + MARKS] = marks
  words[row + FAULT] =
    traceId === 0 ? FAULT_TRACE_ID : spanId === 0 ? FAULT_SPAN_ID : parentFits ? FAULT_NONE : FAULT_PARENT_ID
  table.count++
}

function scanResource(b: Uint8Array, start: number, end: number): void {
  items = 0
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x0a) {
      at = open(b, at, end) // attributes = 1
      const close = stop
      items++
      scanKeyValue(b, at, close, 1)
      at = close
    } else if (tag === 0x1a) {
      at = open(b, at, end) // entity_refs = 3
      const close = stop
      items++
      scanEntityRef(b, at, close)
      at = close
    } else at = skip(b, tag, at, end, RESOURCE_FIELDS)
  }
  checkItems()
}

function scanScope(b: Uint8Array, start: number, end: number): void {
  items = 0
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x1a) {
      at = open(b, at, end) // attributes = 3
      const close = stop
      items++
      scanKeyValue(b, at, close, 1)
      at = close
    } else at = skip(b, tag, at, end, SCOPE_FIELDS)
  }
  checkItems()
}

/** Returns marks. The last name counts, as it does for the decoder. */
function scanEvent(b: Uint8Array, start: number, end: number): number {
  let marks = 0
  let named = 0
  let dropped = 0
  let at = start
  while (at < end) {
    let tag = b[at++]!
    if (tag >= 0x80) {
      tag = longTag(b, at - 1, end)
      at = resume
    }
    if (tag === 0x1a) {
      at = open(b, at, end) // attributes = 3
      const close = stop
      items++
      marks |= scanKeyValue(b, at, close, 1)
      at = close
    } else if (tag === 0x12) {
      at = open(b, at, end) // name = 2
      named = startsGoverned(b, at, stop) ? GOVERNED : 0
      at = stop
    } else if (tag === 0x20) {
      dropped = readLow(b, at, end) // dropped_attributes_count = 4
      at = resume
    } else at = skip(b, tag, at, end, EVENT_FIELDS)
  }
  return marks | named | (dropped === 0 ? 0 : DROPPED)
}

/** Returns marks. Keys of links do not govern. */
function scanLink(b: Uint8Array, start: number, end: number): number {
  let dropped = 0
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x22) {
      at = open(b, at, end) // attributes = 4
      const close = stop
      items++
      scanKeyValue(b, at, close, 1)
      at = close
    } else if (tag === 0x28) {
      dropped = readLow(b, at, end) // dropped_attributes_count = 5
      at = resume
    } else at = skip(b, tag, at, end, LINK_FIELDS)
  }
  return dropped === 0 ? 0 : DROPPED
}

/**
 * The shape of nearly every attribute: a key, then a value with one scalar member, all lengths below 128.
 * Returns GOVERNED or 0, or -1 for "look properly"; decides nothing that {@link scanKeyValue} would decide
 * otherwise, and is there because it halves the cost of a span.
 */
function scanUsual(b: Uint8Array, start: number, end: number): number {
  if (end - start < 6 || b[start] !== 0x0a) return -1
  const keyEnd = start + 2 + b[start + 1]!
  if (b[start + 1]! >= 0x80 || keyEnd + 4 > end || b[keyEnd] !== 0x12) return -1
  const size = b[keyEnd + 1]!
  const at = keyEnd + 2
  if (size >= 0x80 || size !== end - at) return -1
  const tag = b[at]!
  if (tag === 0x0a) {
    if (b[at + 1] !== size - 2) return -1
  } else if (tag === 0x18 || tag === 0x10) {
    if (b[end - 1]! >= 0x80 || size > 10) return -1
    for (let i = at + 1; i < end - 1; i++) if (b[i]! < 0x80) return -1
  } else if (tag !== 0x21 || size !== 9) return -1
  return startsGoverned(b, start + 2, keyEnd) ? GOVERNED : 0
}

/** Returns GOVERNED or 0. The last key counts, as it does for the decoder. */
function scanKeyValue(b: Uint8Array, start: number, end: number, depth: number): number {
  let keyStart = 0
  let keyEnd = 0
  let hasValue = false
  let at = start
  while (at < end) {
    let tag = b[at++]!
    if (tag >= 0x80) {
      tag = longTag(b, at - 1, end)
      at = resume
    }
    if (tag === 0x0a) {
      at = open(b, at, end) // key = 1
      keyStart = at
      keyEnd = at = stop
      if (keyEnd - keyStart > MAX_KEY_BYTES) throw new MalformedError('an attribute key is over 65535 bytes')
    } else if (tag === 0x12) {
      at = open(b, at, end) // value = 2
      const close = stop
      if (hasValue) twice('value')
      hasValue = true
      scanAnyValue(b, at, close, depth)
      at = close
    } else at = skip(b, tag, at, end, KEY_VALUE_FIELDS)
  }
  return startsGoverned(b, keyStart, keyEnd) ? GOVERNED : 0
}

function scanAnyValue(b: Uint8Array, start: number, end: number, depth: number): void {
  if (depth > MAX_VALUE_DEPTH) throw new MalformedError('an attribute value is nested too deeply')
  let hasArray = false
  let hasList = false
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x0a) {
      open(b, at, end) // string_value = 1
      at = stop
    } else if (tag === 0x2a) {
      at = open(b, at, end) // array_value = 5
      const close = stop
      if (hasArray) twice('array_value')
      hasArray = true
      scanList(b, at, close, depth + 1, false)
      at = close
    } else if (tag === 0x32) {
      at = open(b, at, end) // kvlist_value = 6
      const close = stop
      if (hasList) twice('kvlist_value')
      hasList = true
      scanList(b, at, close, depth + 1, true)
      at = close
    } else at = skip(b, tag, at, end, ANY_VALUE_FIELDS)
  }
}

/** An ArrayValue, or a KeyValueList when `keyed`. */
function scanList(b: Uint8Array, start: number, end: number, depth: number, keyed: boolean): void {
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x0a) {
      at = open(b, at, end) // values = 1
      const close = stop
      items++
      if (keyed) scanKeyValue(b, at, close, depth)
      else scanAnyValue(b, at, close, depth)
      at = close
    } else at = skip(b, tag, at, end, LIST_FIELDS)
  }
}

function scanEntityRef(b: Uint8Array, start: number, end: number): void {
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    if (tag === 0x1a || tag === 0x22) items++ // id_keys = 3, description_keys = 4
    at = skip(b, tag, at, end, ENTITY_REF_FIELDS)
  }
}

function scanStatus(b: Uint8Array, start: number, end: number): void {
  let at = start
  while (at < end) {
    const tag = readTag(b, at, end)
    at = resume
    at = skip(b, tag, at, end, STATUS_FIELDS)
  }
}

/** Scanning many items costs nothing, decoding them would: so it is enough to look at the end. */
function checkItems(): void {
  if (items > MAX_ITEMS) throw new MalformedError(`a message has over ${MAX_ITEMS} items`)
}

/** Steps over the value of a field that is of no interest here; returns where it ends. */
function skip(b: Uint8Array, tag: number, at: number, end: number, fields: Fields): number {
  const field = tag >>> 3
  const type = tag & 7
  if (field === 0) throw new MalformedError('a field has number 0')
  const wanted = field < fields.length ? fields[field]! : UNKNOWN
  if (wanted === UNKNOWN) items++
  else if (wanted !== type) throw new MalformedError('a field has the wrong wire type')
  switch (type) {
    case 0:
      return skipVarint(b, at, end)
    case 1:
      if (end - at < 8) overrun()
      return at + 8
    case 2:
      open(b, at, end)
      return stop
    case 5:
      if (end - at < 4) overrun()
      return at + 4
    default:
      throw new MalformedError('a field has an unknown wire type')
  }
}

/** Reads the length at `at`; returns where the value starts and leaves its end in `stop`. */
function open(b: Uint8Array, at: number, end: number): number {
  if (at >= end) cutOff()
  let size = b[at]!
  let from = at + 1
  if (size >= 0x80) {
    size = longVarint(b, at, end)
    if (high !== 0) overrun()
    from = resume
  }
  if (size > end - from) overrun()
  stop = from + size
  return from
}

/** The tag at `at`; its end is in `resume`. */
function readTag(b: Uint8Array, at: number, end: number): number {
  const byte = b[at]!
  resume = at + 1
  return byte < 0x80 ? byte : longTag(b, at, end)
}

function longTag(b: Uint8Array, at: number, end: number): number {
  const tag = longVarint(b, at, end)
  if (high !== 0) throw new MalformedError('a field number is over 29 bits')
  return tag
}

/** The low 32 bits of a varint, which is how protobuf reads an enum or a uint32; its end is in `resume`. */
function readLow(b: Uint8Array, at: number, end: number): number {
  if (at >= end) cutOff()
  const byte = b[at]!
  resume = at + 1
  return byte < 0x80 ? byte : longVarint(b, at, end)
}

let high = 0 // bits 32 to 63 of the last longVarint, or at least whether there are any

/** The low 32 bits, unsigned, of a varint of any length; its end is in `resume`. */
function longVarint(b: Uint8Array, start: number, end: number): number {
  let low = 0
  let upper = 0
  let at = start
  for (let shift = 0; shift < 70; shift += 7) {
    if (at >= end) cutOff()
    const byte = b[at++]!
    const bits = byte & 0x7f
    if (shift < 28) low |= bits << shift
    else if (shift === 28) {
      low |= bits << 28
      upper |= bits >>> 4
    } else upper |= bits
    if (shift === 63 && byte > 1) break
    if (byte < 0x80) {
      resume = at
      high = upper
      return low >>> 0
    }
  }
  throw new MalformedError('a varint is over 64 bits')
}

function skipVarint(b: Uint8Array, start: number, end: number): number {
  const last = start + 9
  for (let at = start; at < end; at++) {
    const byte = b[at]!
    if (byte < 0x80 && (at < last || byte <= 1)) return at + 1
    if (at === last) throw new MalformedError('a varint is over 64 bits')
  }
  return cutOff()
}

function word(b: Uint8Array, at: number): number {
  return b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24)
}

function isZero(b: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (b[at] !== 0) return false
  return true
}

/** Whether the bytes begin with `governance.`: compared backwards where it pays, since many keys begin with g. */
function startsGoverned(b: Uint8Array, at: number, end: number): boolean {
  return (
    end - at >= 11 &&
    b[at] === 0x67 && // g
    b[at + 10] === 0x2e && // .
    b[at + 1] === 0x6f && // o
    b[at + 2] === 0x76 && // v
    b[at + 3] === 0x65 && // e
    b[at + 4] === 0x72 && // r
    b[at + 5] === 0x6e && // n
    b[at + 6] === 0x61 && // a
    b[at + 7] === 0x6e && // n
    b[at + 8] === 0x63 && // c
    b[at + 9] === 0x65 // e
  )
}

function cutOff(): never {
  throw new MalformedError('a varint is cut off')
}

function overrun(): never {
  throw new MalformedError('a length runs past the end of its message')
}

function twice(what: string): never {
  throw new MalformedError('a message that may occur once occurs twice', what)
}
