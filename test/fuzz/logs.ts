/** OTLP logs for tests: random requests, and a second scan, slow and obvious, that says what the fast one must find. */
import { MalformedError } from '@rootspan/lineage/errors'
import type { LogRecord, Resource, Scope } from '@rootspan/lineage/otlp/decode'
import { decodeLogRecord, decodeResource, decodeScope } from '@rootspan/lineage/otlp/decode'
import { isGovernanceLog } from '@rootspan/lineage/otlp/log-record'
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
  LOG,
  MARKS,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_ID,
  SPAN_START,
  START_HIGH,
  START_LOW,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { type ScannedLogs, scanLogs } from '@rootspan/lineage/otlp/scan-logs'
import { BYTES, WireReader, WireWriter } from '@rootspan/lineage/wire'
import fc from 'fast-check'
import {
  anyResources,
  anyScopes,
  anySpans,
  encodeAnyValue,
  encodeKeyValue,
  encodeResource,
  encodeScope,
} from './otlp.ts'

interface LogGroup {
  readonly resource: Resource | undefined
  readonly scope: Scope | undefined
  readonly records: readonly LogRecord[]
}

const anyNames = fc.constantFrom(
  '',
  'governance.decision',
  'governance.',
  'governance',
  'user.login',
  'Governance.x',
)

/** Made of random spans: what both have is alike. */
const anyRecords: fc.Arbitrary<LogRecord> = fc
  .record({
    span: anySpans,
    eventName: anyNames,
    name: fc.option(anyNames, { nil: undefined }),
    observed: fc.bigInt(0n, 2n ** 64n - 1n),
  })
  .map(({ span, eventName, name, observed }) => ({
    timeUnixNano: span.startTimeUnixNano,
    observedTimeUnixNano: observed,
    severityNumber: span.kind,
    severityText: span.traceState,
    body: span.attributes[0]?.value ?? { type: 'empty' },
    attributes:
      name === undefined
        ? span.attributes
        : [{ key: 'event.name', value: { type: 'string', value: name } }, ...span.attributes],
    droppedAttributesCount: span.droppedAttributesCount,
    flags: span.flags,
    traceId: span.traceId,
    spanId: span.spanId,
    eventName,
    unknown: [],
  }))

export const anyLogs: fc.Arbitrary<LogGroup[]> = fc.array(
  fc.record({
    resource: fc.option(anyResources, { nil: undefined }),
    scope: fc.option(anyScopes, { nil: undefined }),
    records: fc.array(anyRecords, { maxLength: 4 }),
  }),
  { maxLength: 3 },
)

export function encodeLogs(groups: readonly LogGroup[]): Uint8Array {
  const out = new WireWriter()
  for (const { resource, scope, records } of groups) {
    const inner = new WireWriter()
    if (resource) inner.bytes(1, encodeResource(resource))
    const inmost = new WireWriter()
    if (scope) inmost.bytes(1, encodeScope(scope))
    for (const record of records) inmost.bytes(2, encodeLog(record))
    out.bytes(1, inner.bytes(2, inmost.finish()).finish())
  }
  return out.finish()
}

function encodeLog(record: LogRecord): Uint8Array {
  const out = new WireWriter()
  if (record.timeUnixNano !== 0n) out.fixed64(1, record.timeUnixNano)
  if (record.severityNumber !== 0) out.varint(2, record.severityNumber)
  if (record.severityText !== '') out.string(3, record.severityText)
  if (record.body.type !== 'empty') out.bytes(5, encodeAnyValue(record.body))
  for (const attribute of record.attributes) out.bytes(6, encodeKeyValue(attribute))
  if (record.droppedAttributesCount !== 0) out.varint(7, record.droppedAttributesCount)
  if (record.flags !== 0) out.fixed32(8, record.flags)
  if (record.traceId.length > 0) out.bytes(9, record.traceId)
  if (record.spanId.length > 0) out.bytes(10, record.spanId)
  if (record.observedTimeUnixNano !== 0n) out.fixed64(11, record.observedTimeUnixNano)
  if (record.eventName !== '') out.string(12, record.eventName)
  return out.finish()
}

/**
 * Scans `body` both ways and throws an Error unless they agree on the verdict and on every word. Throws the scan's
 * MalformedError when both refuse.
 */
export function scanLogsChecked(body: Uint8Array): ScannedLogs {
  let slow: { rows: number[][]; others: number } | MalformedError
  try {
    slow = slowScan(body)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    slow = error
  }
  let fast: ScannedLogs
  try {
    fast = scanLogs(body)
  } catch (error) {
    if (error instanceof MalformedError && !(slow instanceof MalformedError))
      throw new Error('the scan refuses what decodes', { cause: error })
    throw error
  }
  if (slow instanceof MalformedError)
    throw new Error('the scan accepts what does not decode', { cause: slow })
  const { words, count } = fast.table
  if (count !== slow.rows.length || fast.others !== slow.others)
    throw new Error(
      `the scan finds ${count} and ${fast.others} log records, not ${slow.rows.length} and ${slow.others}`,
    )
  for (const [index, row] of slow.rows.entries())
    for (const [column, word] of row.entries())
      if (words[index * WORDS_PER_SPAN + column] !== word)
        throw new Error(
          `log record ${index}, word ${column} is ${words[index * WORDS_PER_SPAN + column]}, not ${word}`,
        )
  return fast
}

interface Part {
  readonly field: number
  readonly start: number
  readonly end: number
}

function slowScan(body: Uint8Array): { rows: number[][]; others: number } {
  const rows: number[][] = []
  let others = 0
  for (const group of parts(body, { field: 0, start: 0, end: body.length }, 1)) {
    if (group.field !== 1) continue
    const inner = parts(body, group, 3)
    const resource = only(inner)
    if (resource) decodeResource(body.subarray(resource.start, resource.end))
    for (const scopeLogs of inner) {
      if (scopeLogs.field !== 2) continue
      const inmost = parts(body, scopeLogs, 3)
      const scope = only(inmost)
      if (scope) decodeScope(body.subarray(scope.start, scope.end))
      for (const part of inmost) {
        if (part.field !== 2) continue
        const record = decodeLogRecord(body.subarray(part.start, part.end))
        if (isGovernanceLog(record)) rows.push(rowOf(body, part, record, resource, scope))
        else others++
      }
    }
  }
  return { rows, others }
}

function rowOf(
  body: Uint8Array,
  part: Part,
  record: LogRecord,
  resource: Part | undefined,
  scope: Part | undefined,
): number[] {
  const row: number[] = new Array(WORDS_PER_SPAN).fill(0)
  const place = (id: Uint8Array, size: number) =>
    id.length === size && id.some((byte) => byte !== 0) ? id.byteOffset - body.byteOffset : 0
  const time = record.timeUnixNano === 0n ? record.observedTimeUnixNano : record.timeUnixNano
  row[SPAN_START] = part.start
  row[SPAN_END] = part.end
  row[RESOURCE_START] = resource?.start ?? 0
  row[RESOURCE_END] = resource?.end ?? 0
  row[SCOPE_START] = scope?.start ?? 0
  row[SCOPE_END] = scope?.end ?? 0
  row[TRACE_ID] = place(record.traceId, 16)
  row[SPAN_ID] = place(record.spanId, 8)
  row[START_LOW] = row[END_LOW] = Number(time & 0xffff_ffffn)
  row[START_HIGH] = row[END_HIGH] = Number(time >> 32n)
  row[FLAGS] = record.flags
  row[MARKS] = GOVERNED | LOG | (record.droppedAttributesCount > 0 ? DROPPED : 0)
  row[FAULT] = row[TRACE_ID] === 0 ? FAULT_TRACE_ID : row[SPAN_ID] === 0 ? FAULT_SPAN_ID : FAULT_NONE
  return row
}

/** The fields of a message of which fields 1 to `known` are messages or strings. */
function parts(body: Uint8Array, { start, end }: Part, known: number): Part[] {
  const out: Part[] = []
  const reader = new WireReader(body, start, end)
  while (reader.next()) {
    if (reader.field <= known) reader.expect(BYTES, 'a field')
    out.push({ field: reader.field, start: reader.start, end: reader.end })
  }
  return out
}

/** The resource or scope of a group: its field 1. */
function only(list: readonly Part[]): Part | undefined {
  const found = list.filter((each) => each.field === 1)
  if (found.length > 1) throw new MalformedError('a message that may occur once occurs twice')
  return found[0]
}
