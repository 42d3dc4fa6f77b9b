/**
 * The span processor: files spans under their governance scopes, marks requests and actions when they start, says how
 * actions ended, commits to content, counts what the SDK had to drop, and hands governed spans to their own path. It
 * stands before the processors that export the others.
 */
import { type Attributes, type Context, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { agentOperation, inferAction, inferOutcome, pathOf, toolFacts } from './actions.ts'
import { commitContent } from './content.ts'
import { type SpanProcessor, withEnd } from './delivery/exporter.ts'
import { openDelivery } from './delivery/open.ts'
import type { ReadableSpan } from './delivery/span.ts'
import { Name, TABLE } from './facts.ts'
import { beginAsk, mayAsk } from './hooks/http/asks.ts'
import { isAsking } from './hooks/observe.ts'
import { cutValues } from './limits.ts'
import { redactUrls } from './redaction.ts'
import { type Runtime, runtime } from './runtime.ts'
import { release, setAttribute } from './span-state.ts'

/** What every SDK's span has beside the API. */
export interface SdkSpan extends Span {
  readonly kind: SpanKind
  readonly name: string
  readonly attributes: Attributes
  readonly status: { readonly code: SpanStatusCode }
}

export class RootspanSpanProcessor {
  readonly #runtime: Runtime

  /**
   * In code: governed spans go the own path, too, if `ROOTSPAN_ENDPOINT` or `ROOTSPAN_SPOOL` is set. Other processors
   * that export to the same collector are then wrapped in {@link exceptGoverned}.
   */
  constructor(parts: Runtime = runtime()) {
    this.#runtime = parts
    const { config } = parts
    if (config.endpoint !== undefined || config.spool !== undefined) openDelivery(parts)
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
    const { scopes, emitter, continuity } = this.#runtime
    continuity.begin()
    const { root } = scopes.enter(span, parent)
    const { kind } = span
    const execution = root === span && isLocalRoot(parent) ? executionOf(span) : undefined
    if (execution !== undefined) {
      const { traceId: id } = span.spanContext()
      setAttribute(span, TABLE.execution.id[0], id)
      setAttribute(span, TABLE.execution.kind[0], execution)
      // A hook may have started it as an action: a tool call that comes without a request around it.
      if (span.attributes[Name.recordKind] === undefined) setAttribute(span, Name.recordKind, 'request')
      emitter.govern(span)
    } else if (kind !== SpanKind.SERVER && kind !== SpanKind.CONSUMER) this.#markAction(span, parent)
  }

  #markAction(span: SdkSpan, parent: Context): void {
    const action = inferAction(span.kind, span.name, span.attributes)
    if (action === undefined) return
    if (isAsking(parent) || span.attributes[Name.recordKind] !== undefined) return
    const { recorder, endings } = this.#runtime
    const path = pathOf(span.attributes)
    const ask = mayAsk(path) ? beginAsk('span', parent, path) : undefined
    if (ask === undefined) recorder.action(span, action)
    const isTool = agentOperation(span.name, span.attributes) === 'execute_tool'
    endings.before(span, () => {
      if (ask !== undefined) {
        // One that ends before its answer was looked at stays what its path says: a question.
        if (ask.isWatched && ask.isAsked !== false) return
        recorder.action(span, action)
      }
      if (isTool) recorder.action(span, toolFacts(span.attributes))
      if (span.attributes[Name.actionOutcome] !== undefined) return
      const outcome = inferOutcome(span.attributes, span.status.code === SpanStatusCode.ERROR)
      if (outcome !== undefined) setAttribute(span, Name.actionOutcome, outcome)
    })
  }

  onEnd(span: object): void {
    const { emitter, counts, delivery, config, secrets, log } = this.#runtime
    const ended = span as Span & ReadableSpan
    release(ended)
    const isGoverned = emitter.isGoverned(ended)
    const cut = isGoverned ? cutValues(ended) : 0
    if (config.content === 'commit')
      try {
        commitContent(ended, secrets)
      } catch (error) {
        log.failed('committing to content', error)
      }
    if (!isGoverned) return
    if (cut > 0) {
      counts.cutValues += cut
      // Beside values of facts that are on the span itself.
      const { [Name.truncated]: known = 0 } = ended.attributes
      setAttribute(ended, Name.truncated, Number(known) + cut)
    }
    counts.droppedAttributes += ended.droppedAttributesCount ?? 0
    counts.droppedEvents += ended.droppedEventsCount ?? 0
    counts.droppedLinks += ended.droppedLinksCount ?? 0
    delivery?.add(ended)
  }

  async forceFlush(): Promise<void> {
    this.#runtime.recorder.flush()
    await this.#runtime.delivery?.flush()
  }

  /** What ends afterwards is taken, too, until the process ends: a service may serve on while its SDK shuts down. */
  async shutdown(): Promise<void> {
    const { continuity, delivery } = this.#runtime
    // At once: other processors shut down in the same breath, and may be those that send it.
    continuity.end('shutdown')
    if (delivery === undefined) return
    process.once('exit', () => {
      continuity.end('shutdown')
      delivery.close()
    })
    await delivery.flush()
    if (!continuity.hasMore) return
    continuity.end('shutdown')
    await delivery.flush()
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

/** A processor, of whichever SDK, that exports spans to where the own path sends them, without governed ones. */
export function exceptGoverned<P extends SpanProcessor>(processor: P, parts: Runtime = runtime()): P {
  return withEnd(processor, (span) => {
    const isOurs = parts.delivery !== undefined && parts.emitter.isGoverned(span as Span)
    if (!isOurs) processor.onEnd(span)
  })
}

function isLocalRoot(parent: Context): boolean {
  const span = trace.getSpan(parent)
  return span === undefined || span.spanContext().isRemote === true
}
