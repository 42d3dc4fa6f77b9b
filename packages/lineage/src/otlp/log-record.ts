/**
 * A log record about governance as the rest of the core takes it: as a span that has neither end nor parent.
 */
import { compareBytes } from '../bytes.ts'
import { decodeLogRecord, decodeSpan, type LogRecord, type Span } from './decode.ts'
import type { KeyNames } from './key-names.ts'
import { encodeText } from './text.ts'

/**
 * In place of a span kind: it is a log record. Above all that OTLP's 32 bits can say, so that no sender can give a
 * span this kind.
 */
export const LOG_RECORD = 0x1_0000_0000

const NAMESPACE = 'governance.'
const EVENT_NAME = 'event.name'

/**
 * The name of a log record, which decides whether it is about governance: its event name or, where that is empty, the
 * attribute `event.name`. Of several such attributes the least string that begins with `governance.` counts.
 */
function logName({ eventName, attributes }: Pick<LogRecord, 'eventName' | 'attributes'>): string {
  if (eventName !== '') return eventName
  let least: string | undefined
  for (const { key, value } of attributes) {
    if (key !== EVENT_NAME || value.type !== 'string' || !value.value.startsWith(NAMESPACE)) continue
    if (least === undefined || compareBytes(encodeText(value.value), encodeText(least)) < 0)
      least = value.value
  }
  return least ?? ''
}

export function isGovernanceLog(record: Pick<LogRecord, 'eventName' | 'attributes'>): boolean {
  return logName(record).startsWith(NAMESPACE)
}

/** The span that stands for the bytes of a LogRecord. Its start and end are the record's time or, without one, when it was observed. */
export function decodeLogSpan(bytes: Uint8Array): Span {
  const record = decodeLogRecord(bytes)
  const time = record.timeUnixNano === 0n ? record.observedTimeUnixNano : record.timeUnixNano
  return {
    traceId: record.traceId,
    spanId: record.spanId,
    traceState: '',
    parentSpanId: new Uint8Array(0),
    name: logName(record),
    kind: LOG_RECORD,
    startTimeUnixNano: time,
    endTimeUnixNano: time,
    attributes: record.attributes,
    droppedAttributesCount: record.droppedAttributesCount,
    events: [],
    droppedEventsCount: 0,
    links: [],
    droppedLinksCount: 0,
    status: { message: '', code: 0, unknown: [] },
    flags: record.flags,
    unknown: record.unknown,
  }
}

/**
 * A span, or the span that stands for a log record where `kind` is {@link LOG_RECORD}. Of a span's attributes, where
 * `wanted` is said, only those.
 */
export function decodeEither(kind: number, bytes: Uint8Array, wanted?: KeyNames): Span {
  return kind === LOG_RECORD ? decodeLogSpan(bytes) : decodeSpan(bytes, wanted)
}
