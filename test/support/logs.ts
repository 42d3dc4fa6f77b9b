/** Log records of an encoded request, as tests look at them. */
import { formatHex } from '@rootspan/lineage/bytes'
import { decodeLogRecord, decodeResource } from '@rootspan/lineage/otlp/decode'
import {
  RESOURCE_END,
  RESOURCE_START,
  SPAN_END,
  SPAN_START,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { scanLogs } from '@rootspan/lineage/otlp/scan-logs'
import type { AnyValue, KeyValue } from '@rootspan/lineage/otlp/value'

export interface ReadLog {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly time: bigint
  readonly body: unknown
  readonly attributes: Record<string, unknown>
  readonly resource: Record<string, unknown>
}

/** The log records about governance of an `ExportLogsServiceRequest`, which must hold no others and none at fault. */
export function readLogs(body: Uint8Array): ReadLog[] {
  const { table, others } = scanLogs(body)
  if (others > 0) throw new Error(`${others} log records are about something else`)
  return Array.from({ length: table.count }, (_, index) => {
    const row = table.words.subarray(index * WORDS_PER_SPAN)
    const record = decodeLogRecord(body.subarray(row[SPAN_START], row[SPAN_END]))
    return {
      name: record.eventName,
      traceId: formatHex(record.traceId),
      spanId: formatHex(record.spanId),
      time: record.timeUnixNano,
      body: plain(record.body),
      attributes: plainAttributes(record.attributes),
      resource: plainAttributes(
        decodeResource(body.subarray(row[RESOURCE_START], row[RESOURCE_END])).attributes,
      ),
    }
  })
}

function plainAttributes(attributes: readonly KeyValue[]): Record<string, unknown> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [key.replace(/^governance\./, ''), plain(value)]),
  )
}

function plain(value: AnyValue): unknown {
  if (value.type === 'empty') return undefined
  return value.type === 'int' ? Number(value.value) : value.value
}
