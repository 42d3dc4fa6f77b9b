/** A second scan, slow and obvious, that says what the fast one must find. */

import { MalformedError } from '@rootspan/lineage/errors'
import { decodeResource, decodeScope, decodeSpan } from '@rootspan/lineage/otlp/decode'
import {
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
  KIND,
  MARKS,
  PARENT_ID,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_ID,
  SPAN_START,
  type SpanTable,
  START_HIGH,
  START_LOW,
  scanTraces,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { BYTES, WireReader } from '@rootspan/lineage/wire'

interface Part {
  readonly field: number
  readonly start: number
  readonly end: number
}

/**
 * Scans `body` both ways and throws an Error unless they agree on the verdict and on every word. Throws the
 * scan's MalformedError when both refuse; returns the scan's table otherwise.
 */
export function scanChecked(body: Uint8Array, table?: SpanTable): SpanTable {
  let slow: number[][] | MalformedError
  try {
    slow = slowScan(body)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    slow = error
  }
  let fast: SpanTable
  try {
    fast = scanTraces(body, table)
  } catch (error) {
    if (error instanceof MalformedError && Array.isArray(slow))
      throw new Error('the scan refuses what decodes', { cause: error })
    throw error
  }
  if (!Array.isArray(slow)) throw new Error('the scan accepts what does not decode', { cause: slow })
  const rows = slow.length
  if (fast.count !== rows) throw new Error(`the scan finds ${fast.count} spans, not ${rows}`)
  slow.forEach((row, index) => {
    row.forEach((word, column) => {
      const found = fast.words[index * WORDS_PER_SPAN + column]
      if (found !== word) throw new Error(`span ${index}, word ${column} is ${found}, not ${word}`)
    })
  })
  return fast
}

function slowScan(body: Uint8Array): number[][] {
  const rows: number[][] = []
  for (const group of parts(body, 0, body.length, 1)) {
    if (group.field !== 1) continue
    const inner = parts(body, group.start, group.end, 3)
    const resource = only(inner, 1)
    if (resource) decodeResource(body.subarray(resource.start, resource.end))
    for (const scopeSpans of inner) {
      if (scopeSpans.field !== 2) continue
      const inmost = parts(body, scopeSpans.start, scopeSpans.end, 3)
      const scope = only(inmost, 1)
      if (scope) decodeScope(body.subarray(scope.start, scope.end))
      for (const span of inmost) if (span.field === 2) rows.push(rowOf(body, span, resource, scope))
    }
  }
  return rows
}

function rowOf(body: Uint8Array, part: Part, resource: Part | undefined, scope: Part | undefined): number[] {
  const span = decodeSpan(body.subarray(part.start, part.end))
  const row: number[] = new Array(WORDS_PER_SPAN).fill(0)
  const place = (id: Uint8Array, size: number) =>
    id.length === size && id.some((byte) => byte !== 0) ? id.byteOffset - body.byteOffset : 0
  row[SPAN_START] = part.start
  row[SPAN_END] = part.end
  row[RESOURCE_START] = resource?.start ?? 0
  row[RESOURCE_END] = resource?.end ?? 0
  row[SCOPE_START] = scope?.start ?? 0
  row[SCOPE_END] = scope?.end ?? 0
  row[TRACE_ID] = place(span.traceId, 16)
  row[SPAN_ID] = place(span.spanId, 8)
  row[PARENT_ID] = place(span.parentSpanId, 8)
  row[START_LOW] = Number(span.startTimeUnixNano & 0xffff_ffffn)
  row[START_HIGH] = Number(span.startTimeUnixNano >> 32n)
  row[END_LOW] = Number(span.endTimeUnixNano & 0xffff_ffffn)
  row[END_HIGH] = Number(span.endTimeUnixNano >> 32n)
  row[KIND] = span.kind >>> 0
  row[FLAGS] = span.flags
  const names = [
    ...span.attributes.map((each) => each.key),
    ...span.events.flatMap((event) => [event.name, ...event.attributes.map((each) => each.key)]),
  ]
  const dropped =
    span.droppedAttributesCount +
    span.droppedEventsCount +
    span.droppedLinksCount +
    [...span.events, ...span.links].reduce((sum, each) => sum + each.droppedAttributesCount, 0)
  row[MARKS] =
    (names.some((name) => name.startsWith('governance.')) ? GOVERNED : 0) | (dropped > 0 ? DROPPED : 0)
  row[FAULT] =
    row[TRACE_ID] === 0
      ? FAULT_TRACE_ID
      : row[SPAN_ID] === 0
        ? FAULT_SPAN_ID
        : [0, 8].includes(span.parentSpanId.length)
          ? FAULT_NONE
          : FAULT_PARENT_ID
  return row
}

/** The fields of a message of which fields 1 to `known` are messages or strings. */
function parts(body: Uint8Array, start: number, end: number, known: number): Part[] {
  const out: Part[] = []
  const reader = new WireReader(body, start, end)
  while (reader.next()) {
    if (reader.field <= known) reader.expect(BYTES, 'a field')
    out.push({ field: reader.field, start: reader.start, end: reader.end })
  }
  return out
}

function only(list: readonly Part[], field: number): Part | undefined {
  const found = list.filter((each) => each.field === field)
  if (found.length > 1) throw new MalformedError('a message that may occur once occurs twice')
  return found[0]
}
