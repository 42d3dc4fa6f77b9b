/**
 * The span for repeated decisions that are made outside any span, in jobs and at start: one for all of a second, so that
 * a thousand checks are not a thousand spans.
 */
import { context as contexts, type Span, type Tracer } from '@opentelemetry/api'
import { SUPPRESS_TRACING } from './delivery/send.ts'
import { NAMESPACE, Name } from './facts.ts'

/** How long such a span takes decisions. */
const MILLIS = 1000

export interface Background {
  /** One that does not record where there is no SDK. */
  span(): Span
  /** Ends the span that is open, if any. */
  end(): void
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
        const attributes = { [Name.recordKind]: 'decision' }
        // Evidence is recorded where others ask for no spans.
        const context = contexts.active().deleteValue(SUPPRESS_TRACING)
        const span = tracer().startSpan(`${NAMESPACE}decision`, { root: true, attributes }, context)
        if (!span.isRecording()) return span
        open = span
        setTimeout(end, MILLIS).unref()
      }
      return open
    },
    end,
  }
}
