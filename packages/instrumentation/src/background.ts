/**
 * The span for repeated decisions that are made outside any span, in jobs and at start: one for all of a second, so that
 * a thousand checks are not a thousand spans.
 */
import type { Span, Tracer } from '@opentelemetry/api'
import { NAMESPACE, Name } from './facts.ts'

/** How long such a span takes decisions. */
const MILLIS = 1000

export interface Background {
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
        open = tracer().startSpan(`${NAMESPACE}decision`, { root: true, attributes })
        setTimeout(end, MILLIS).unref()
      }
      return open
    },
    end,
  }
}
