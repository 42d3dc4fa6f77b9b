/**
 * One pass over the bytes of an `ExportLogsServiceRequest`: everything is validated as `scan.ts` validates traces,
 * and each log record about governance gets a row of a {@link SpanTable}.
 *
 * A log record is about governance when its name begins with `governance.`: its event name or, where that is empty,
 * an attribute `event.name`, which is how it was said before OTLP had the field. All others are stepped over.
 */
import { MalformedError } from '../errors.ts'
import { BYTES, WireReader } from '../wire.ts'
import { createSpanTable, wire } from './scan.ts'
import {
  LOG_RECORD_FIELDS,
  MAX_REQUEST_BYTES,
  MAX_SPANS,
  REQUEST_FIELDS,
  RESOURCE_SPANS_FIELDS,
  SCOPE_SPANS_FIELDS,
} from './schema.ts'
import {
  DROPPED,
  END_HIGH,
  END_LOW,
  FAULT,
  FAULT_NONE,
  FAULT_SPAN_ID,
  FAULT_TRACE_ID,
  FLAGS,
  GOVERNED,
  growSpanTable,
  KIND,
  LOG,
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

const { open, readTag, skip, resume, stop, word, isZero, twice, startsGoverned } = wire

export interface ScannedLogs {
  /** The log records about governance. */
  readonly table: SpanTable
  /** How many log records the request holds beside them. */
  readonly others: number
}

/** Scans a request into `table`, which is emptied first. Throws as `scanTraces` does, the table then being empty. */
export function scanLogs(body: Uint8Array, table: SpanTable = createSpanTable()): ScannedLogs {
  table.count = 0
  if (body.length > MAX_REQUEST_BYTES) throw new MalformedError('a request is over 2^31 bytes')
  try {
    return { table, others: scanRequest(body, table) - table.count }
  } catch (error) {
    table.count = 0
    throw error
  }
}

/** Returns how many log records there are, as the functions below do. */
function scanRequest(b: Uint8Array, table: SpanTable): number {
  const end = b.length
  let records = 0
  for (let at = 0; at < end; ) {
    const tag = readTag(b, at, end)
    at = resume()
    if (tag === 0x0a) {
      at = open(b, at, end) // resource_logs = 1
      const close = stop()
      records += scanResourceLogs(b, at, close, table)
      at = close
    } else at = skip(b, tag, at, end, REQUEST_FIELDS)
  }
  return records
}

function scanResourceLogs(b: Uint8Array, start: number, end: number, table: SpanTable): number {
  const first = table.count
  let records = 0
  let resourceStart = 0
  let resourceEnd = 0
  for (let at = start; at < end; ) {
    const tag = readTag(b, at, end)
    at = resume()
    if (tag === 0x0a) {
      at = open(b, at, end) // resource = 1
      if (resourceStart !== 0) twice('resource')
      resourceStart = at
      resourceEnd = stop()
      wire.scanResource(b, at, resourceEnd)
      at = resourceEnd
    } else if (tag === 0x12) {
      at = open(b, at, end) // scope_logs = 2
      const close = stop()
      records += scanScopeLogs(b, at, close, table)
      at = close
    } else at = skip(b, tag, at, end, RESOURCE_SPANS_FIELDS)
  }
  wire.fill(table, first, RESOURCE_START, resourceStart, resourceEnd)
  return records
}

function scanScopeLogs(b: Uint8Array, start: number, end: number, table: SpanTable): number {
  const first = table.count
  let records = 0
  let scopeStart = 0
  let scopeEnd = 0
  for (let at = start; at < end; ) {
    const tag = readTag(b, at, end)
    at = resume()
    if (tag === 0x12) {
      at = open(b, at, end) // log_records = 2
      const close = stop()
      records++
      scanLogRecord(b, at, close, table)
      at = close
    } else if (tag === 0x0a) {
      at = open(b, at, end) // scope = 1
      if (scopeStart !== 0) twice('scope')
      scopeStart = at
      scopeEnd = stop()
      wire.scanScope(b, at, scopeEnd)
      at = scopeEnd
    } else at = skip(b, tag, at, end, SCOPE_SPANS_FIELDS)
  }
  wire.fill(table, first, SCOPE_START, scopeStart, scopeEnd)
  return records
}

/** Adds a row if the record is about governance. */
function scanLogRecord(b: Uint8Array, start: number, end: number, table: SpanTable): void {
  wire.begin()
  let time = 0
  let observed = 0
  let traceId = 0
  let spanId = 0
  let flags = 0
  let dropped = 0
  let nameStart = 0
  let nameEnd = 0
  let isNamed = false
  let hasBody = false
  for (let at = start; at < end; ) {
    const tag = readTag(b, at, end)
    at = resume()
    switch (tag) {
      case 0x09: // time_unix_nano = 1
        time = at
        at = fixed(at, 8, end)
        break
      case 0x59: // observed_time_unix_nano = 11
        observed = at
        at = fixed(at, 8, end)
        break
      case 0x2a: {
        at = open(b, at, end) // body = 5
        const close = stop()
        if (hasBody) twice('body')
        hasBody = true
        wire.scanAnyValue(b, at, close, 1)
        at = close
        break
      }
      case 0x32: {
        at = open(b, at, end) // attributes = 6
        const close = stop()
        wire.item()
        wire.scanKeyValue(b, at, close, 1)
        if (isNameAttribute(b, at, close)) isNamed = true
        at = close
        break
      }
      case 0x38: // dropped_attributes_count = 7
        dropped = wire.readLow(b, at, end)
        at = resume()
        break
      case 0x45: // flags = 8
        flags = at
        at = fixed(at, 4, end)
        break
      case 0x4a: // trace_id = 9
        at = open(b, at, end)
        traceId = stop() - at === 16 && !isZero(b, at, stop()) ? at : 0
        at = stop()
        break
      case 0x52: // span_id = 10
        at = open(b, at, end)
        spanId = stop() - at === 8 && !isZero(b, at, stop()) ? at : 0
        at = stop()
        break
      case 0x62: // event_name = 12
        nameStart = open(b, at, end)
        nameEnd = stop()
        at = nameEnd
        break
      default:
        at = skip(b, tag, at, end, LOG_RECORD_FIELDS)
    }
  }
  wire.checkItems()
  if (nameEnd > nameStart) isNamed = startsGoverned(b, nameStart, nameEnd)
  if (!isNamed) return

  const row = table.count * WORDS_PER_SPAN
  if (table.count === MAX_SPANS) throw new MalformedError(`a request has over ${MAX_SPANS} log records`)
  if (row === table.words.length) growSpanTable(table)
  const words = table.words
  const said = time !== 0 && !isZero(b, time, time + 8) ? time : observed
  words[row + SPAN_START] = start
  words[row + SPAN_END] = end
  words[row + TRACE_ID] = traceId
  words[row + SPAN_ID] = spanId
  words[row + PARENT_ID] = 0
  words[row + START_LOW] = words[row + END_LOW] = said === 0 ? 0 : word(b, said)
  words[row + START_HIGH] = words[row + END_HIGH] = said === 0 ? 0 : word(b, said + 4)
  words[row + KIND] = 0
  words[row + FLAGS] = flags === 0 ? 0 : word(b, flags)
  words[row + MARKS] = GOVERNED | LOG | (dropped === 0 ? 0 : DROPPED)
  words[row + FAULT] = traceId === 0 ? FAULT_TRACE_ID : spanId === 0 ? FAULT_SPAN_ID : FAULT_NONE
  table.count++
}

/** Passes a fixed value. */
function fixed(at: number, size: number, end: number): number {
  if (end - at < size) wire.overrun()
  return at + size
}

/** Whether an attribute, which was scanned, is `event.name` with a string that begins with `governance.`. */
function isNameAttribute(b: Uint8Array, start: number, end: number): boolean {
  if (isOtherKey(b, start, end)) return false
  let isKey = false
  let isGoverned = false
  const attribute = new WireReader(b, start, end)
  while (attribute.next()) {
    if (attribute.field === 1) isKey = isEventName(b, attribute.start, attribute.end)
    else if (attribute.field === 2) isGoverned = isGovernedString(b, attribute.start, attribute.end)
  }
  return isKey && isGoverned
}

/** The shape of nearly every attribute, a key and then a value, where the key is not `event.name`. */
function isOtherKey(b: Uint8Array, start: number, end: number): boolean {
  if (end - start < 4 || b[start] !== 0x0a || b[start + 1]! >= 0x80) return false
  const keyEnd = start + 2 + b[start + 1]!
  if (keyEnd + 2 > end || b[keyEnd] !== 0x12 || b[keyEnd + 1]! >= 0x80) return false
  return keyEnd + 2 + b[keyEnd + 1]! === end && !isEventName(b, start + 2, keyEnd)
}

/** Of several members of an AnyValue the last counts. */
function isGovernedString(b: Uint8Array, start: number, end: number): boolean {
  let isGoverned = false
  const value = new WireReader(b, start, end)
  while (value.next()) {
    if (value.field === 1 && value.type === BYTES) isGoverned = startsGoverned(b, value.start, value.end)
    else if (value.field <= 8) isGoverned = false
  }
  return isGoverned
}

const EVENT_NAME = [0x65, 0x76, 0x65, 0x6e, 0x74, 0x2e, 0x6e, 0x61, 0x6d, 0x65] // event.name

function isEventName(b: Uint8Array, start: number, end: number): boolean {
  if (end - start !== EVENT_NAME.length) return false
  for (let i = 0; i < EVENT_NAME.length; i++) if (b[start + i] !== EVENT_NAME[i]) return false
  return true
}
