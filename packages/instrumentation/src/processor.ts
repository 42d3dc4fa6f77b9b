/**
 * The span processor: files spans under their governance scopes, marks requests and actions when they start, says how
 * actions ended, and counts what the SDK had to drop. It exports nothing; it stands beside the processors that do.
 */
import { type Attributes, type Context, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { inferAction, inferOutcome } from './actions.ts'
import { Name } from './facts.ts'
import { isAsking } from './hooks/observe.ts'
import { type Runtime, runtime } from './runtime.ts'

/** What every SDK's span has beside the API. */
export interface SdkSpan extends Span {
  readonly kind: SpanKind
  readonly attributes: Attributes
  readonly status: { readonly code: SpanStatusCode }
}

/** What every SDK gives of a span that ended. */
export interface EndedSpan {
  readonly droppedAttributesCount: number
  readonly droppedEventsCount: number
  readonly droppedLinksCount: number
}

export class RootspanSpanProcessor {
  readonly #runtime: Runtime

  constructor(parts: Runtime = runtime()) {
    this.#runtime = parts
  }

  onStart(span: Span, parent: Context): void {
    try {
      this.#start(span as SdkSpan, parent)
    } catch (error) {
      this.#runtime.log.failed('the span processor', error)
    }
  }

  #start(span: SdkSpan, parent: Context): void {
    const { scopes, encode, emitter } = this.#runtime
    const { root } = scopes.enter(span, parent)
    const { kind } = span
    if (kind !== SpanKind.SERVER && kind !== SpanKind.CONSUMER) this.#markAction(span, parent)
    else if (root === span && isLocalRoot(parent)) {
      const { traceId } = span.spanContext()
      const execution = { id: traceId, kind: kind === SpanKind.SERVER ? 'request' : 'message' }
      span.setAttributes({ [Name.recordKind]: 'request', ...encode('execution', execution) })
      emitter.govern(span)
    }
  }

  #markAction(span: SdkSpan, parent: Context): void {
    if (isAsking(parent) || span.attributes[Name.recordKind] !== undefined) return
    const action = inferAction(span.kind, span.attributes)
    if (action === undefined) return
    const { recorder, endings } = this.#runtime
    recorder.action(span, action)
    endings.before(span, () => {
      if (span.attributes[Name.actionOutcome] !== undefined) return
      const outcome = inferOutcome(span.attributes, span.status.code === SpanStatusCode.ERROR)
      if (outcome !== undefined) span.setAttribute(Name.actionOutcome, outcome)
    })
  }

  onEnd(span: object): void {
    const { emitter, counts } = this.#runtime
    const ended = span as Span & EndedSpan
    if (!emitter.isGoverned(ended)) return
    counts.droppedAttributes += ended.droppedAttributesCount ?? 0
    counts.droppedEvents += ended.droppedEventsCount ?? 0
    counts.droppedLinks += ended.droppedLinksCount ?? 0
  }

  async forceFlush(): Promise<void> {
    this.#runtime.recorder.flush()
  }

  async shutdown(): Promise<void> {
    this.#runtime.recorder.flush()
  }
}

function isLocalRoot(parent: Context): boolean {
  const span = trace.getSpan(parent)
  return span === undefined || span.spanContext().isRemote === true
}
