/**
 * What a scan finds: one row of integers per span (see `scan.ts`, which exports all of this).
 */
import { MAX_SPANS } from './schema.ts'

/** Bytes of the Span message, without its tag and length: `[SPAN_START, SPAN_END)` in the body. */
export const SPAN_START = 0
export const SPAN_END = 1
/** Bytes of the span's Resource message; 0, 0 when the request has none for it. */
export const RESOURCE_START = 2
export const RESOURCE_END = 3
/** Bytes of the span's InstrumentationScope message; 0, 0 when the request has none for it. */
export const SCOPE_START = 4
export const SCOPE_END = 5
/** Offset of the 16 bytes of the trace id; 0 when FAULT says that it is bad. */
export const TRACE_ID = 6
/** Offset of the 8 bytes of the span id; 0 when FAULT says that it is bad. */
export const SPAN_ID = 7
/** Offset of the 8 bytes of the parent's span id; 0 when there is no parent, an all-zero one or a bad one. */
export const PARENT_ID = 8
/** Start and end in nanoseconds since the Unix epoch, each as two unsigned 32-bit halves. */
export const START_LOW = 9
export const START_HIGH = 10
export const END_LOW = 11
export const END_HIGH = 12
/** SpanKind as sent: the low 32 bits, unknown values included. */
export const KIND = 13
/** SpanFlags as sent. */
export const FLAGS = 14
/** Bits GOVERNED, DROPPED and LOG. */
export const MARKS = 15
/** 0, or why this span is bad although its request is sound: {@link faultText}. */
export const FAULT = 16
export const WORDS_PER_SPAN = 17

/** A key of the span or of one of its events, or the name of an event, begins with `governance.`. */
export const GOVERNED = 1
/** A dropped_*_count of the span, of an event or of a link is above 0. */
export const DROPPED = 2

/** The row is of a LogRecord (`scan-logs.ts`): its bytes are that message, both times are that of the record. */
export const LOG = 4

export const FAULT_NONE = 0
export const FAULT_TRACE_ID = 1
export const FAULT_SPAN_ID = 2
export const FAULT_PARENT_ID = 3

/** Flag bits of SpanFlags (trace.proto): whether the sender knows about the parent's process, and its answer. */
export const FLAG_HAS_IS_REMOTE = 0x100
export const FLAG_IS_REMOTE = 0x200

/** `words` holds `count` rows of {@link WORDS_PER_SPAN}; the array is replaced when it has to grow. */
export interface SpanTable {
  words: Uint32Array
  count: number
}

export function createSpanTable(capacity = 512): SpanTable {
  return { words: new Uint32Array(capacity * WORDS_PER_SPAN), count: 0 }
}

/** What is wrong with a span or log record, in words for `partial_success` and the quarantine. */
export function faultText(code: number): string {
  switch (code) {
    case FAULT_NONE:
      return 'the span is fine'
    case FAULT_TRACE_ID:
      return 'the trace id is not 16 bytes or is all zero'
    case FAULT_SPAN_ID:
      return 'the span id is not 8 bytes or is all zero'
    case FAULT_PARENT_ID:
      return 'the parent span id is not 8 bytes'
    default:
      throw new Error(`bad fault code ${code}`)
  }
}

/** Makes room for more rows, never more than {@link MAX_SPANS}; the old `words` are left as they are. */
export function growSpanTable(table: SpanTable): void {
  const rows = Math.min(Math.max((table.words.length / WORDS_PER_SPAN) * 2, 64), MAX_SPANS)
  const grown = new Uint32Array(rows * WORDS_PER_SPAN)
  grown.set(table.words)
  table.words = grown
}
