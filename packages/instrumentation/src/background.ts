/**
 * Spans of our own, for facts that no span of the application takes.
 *
 * Among them that for repeated decisions that are made outside any span, in jobs and at start: one for all of a second,
 * so that a thousand checks are not a thousand spans.
 */
import { context as contexts, type Span, type SpanOptions, type Tracer } from '@opentelemetry/api'
import { SUPPRESS_TRACING } from './delivery/send.ts'
import { type FactKind, NAMESPACE, Name } from './facts.ts'

/** How long such a span takes decisions. */
const MILLIS = 1000

export interface Background {
  /** One that does not record where there is no SDK. */
  span(): Span
  /** Ends the span that is open, if any. */
  end(): void
}

/** Starts a span of a kind of record, also where the application asks for no spans: evidence is recorded there, too. */
export function startOwn(tracer: Tracer, name: string, kind: FactKind, options: SpanOptions = {}): Span {
  const context = contexts.active().deleteValue(SUPPRESS_TRACING)
  const attributes = { [Name.recordKind]: kind }
  return tracer.startSpan(NAMESPACE + name, { ...options, attributes }, context)
}

export function createBackground(tracer: () => Tracer): Background {
  let open: Span | undefined
  const end = (): void => {
    const ending = open
    open = undefined
    ending?.end()
  }
  return {
    span() {
      if (open === undefined) {
        const span = startOwn(tracer(), 'decision', 'decision', { root: true })
        if (!span.isRecording()) return span
        open = span
        setTimeout(end, MILLIS).unref()
      }
      return open
    },
    end,
  }
}
