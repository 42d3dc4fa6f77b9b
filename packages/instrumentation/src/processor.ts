/**
 * The span processor: files spans under their governance scopes, marks requests and actions when they start, says how
 * actions ended, and counts what the SDK had to drop. It exports nothing; it stands beside the processors that do.
 */
import { type Attributes, type Context, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { agentOperation, inferAction, inferOutcome, toolFacts } from './actions.ts'
import { Name } from './facts.ts'
import { isAsking } from './hooks/observe.ts'
import { redactUrls } from './redaction.ts'
import { type Runtime, runtime } from './runtime.ts'

/** What every SDK's span has beside the API. */
export interface SdkSpan extends Span {
  readonly kind: SpanKind
  readonly name: string
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
    redactUrls(span)
    const { scopes, encode, emitter } = this.#runtime
    const { root } = scopes.enter(span, parent)
    const { kind } = span
    const isRoot = root === span && isLocalRoot(parent)
    const execution = isRoot ? executionOf(span) : undefined
    if (execution !== undefined) {
      const { traceId: id } = span.spanContext()
      span.setAttributes(encode('execution', { id, kind: execution }))
      // A hook may have started it as an action: a tool call that comes without a request around it.
      if (span.attributes[Name.recordKind] === undefined) span.setAttribute(Name.recordKind, 'request')
      emitter.govern(span)
    } else if (kind !== SpanKind.SERVER && kind !== SpanKind.CONSUMER) this.#markAction(span, parent)
  }

  #markAction(span: SdkSpan, parent: Context): void {
    if (isAsking(parent) || span.attributes[Name.recordKind] !== undefined) return
    const action = inferAction(span.kind, span.name, span.attributes)
    if (action === undefined) return
    const { recorder, endings } = this.#runtime
    recorder.action(span, action)
    const isTool = agentOperation(span.name, span.attributes) === 'execute_tool'
    endings.before(span, () => {
      if (isTool) recorder.action(span, toolFacts(span.attributes))
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

/** The kind of execution of which a local root is the start; undefined if it starts none. */
function executionOf({ kind, name, attributes }: SdkSpan): string | undefined {
  if (kind === SpanKind.SERVER) return 'request'
  if (kind === SpanKind.CONSUMER) return 'message'
  const operation = agentOperation(name, attributes)
  if (operation === 'invoke_agent') return 'agent'
  return operation === 'invoke_workflow' ? 'workflow' : undefined
}

function isLocalRoot(parent: Context): boolean {
  const span = trace.getSpan(parent)
  return span === undefined || span.spanContext().isRemote === true
}
