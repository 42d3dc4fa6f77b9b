/** Spans that came again, in a later segment than the one that holds their record. */
import { LOG_RECORD } from '../otlp/log-record.ts'
import type { EarlierSpan, TraceHistory } from './history.ts'
import type { SpanInput } from './order.ts'

export interface Known<S extends SpanInput> {
  fresh: S[]
  /** Deliveries that equal an earlier record's span. */
  known: { span: S; of: EarlierSpan }[]
  /** There are spans whose ids and kind an earlier record has with other content, or with content that was erased. */
  changed: boolean
}

/** What of `input` is new, by what earlier segments hold. */
export function splitKnown<S extends SpanInput>(input: readonly S[], history: TraceHistory): Known<S> {
  const result: Known<S> = { fresh: [], known: [], changed: false }
  for (const span of input) {
    const earlier = history.earlier(span.id)
    if (earlier !== undefined) {
      const twin = earlier.twin(span)
      if (twin !== undefined) {
        result.known.push({ span, of: twin })
        continue
      }
      // A span has as many log records as there is to say about it.
      result.changed ||= span.kind !== LOG_RECORD && earlier.ofKind(span.kind) !== undefined
    }
    result.fresh.push(span)
  }
  return result
}
