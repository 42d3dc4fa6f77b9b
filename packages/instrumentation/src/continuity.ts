/**
 * Signs of life of a process as a source of evidence: `governance.hello`, a `governance.heartbeat` at intervals, and
 * `governance.goodbye`, spans of one trace whose id is the emitter's. Whoever has one span of a process can so ask the
 * collector for its life.
 *
 * They are governed spans: their number and `prev` say how many came before and which. Their counts say what was lost.
 * A number that is missing, or a life without a goodbye, is a gap.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { type Attributes, ROOT_CONTEXT, type Span, type Tracer, trace } from '@opentelemetry/api'
import type { Config } from './config.ts'
import type { Delivery } from './delivery/delivery.ts'
import type { Recovery } from './delivery/orphans.ts'
import type { Emitter } from './emitter.ts'
import { GOODBYE, Name } from './facts.ts'
import type { Log } from './log.ts'
import type { Counts } from './runtime.ts'
import { setAttributes } from './span-state.ts'

export interface Continuity {
  /** Says hello once there is an SDK, and starts the heartbeat. Later calls do nothing. */
  begin(): void
  /** Says goodbye, and why. Later calls do so only if something governed has ended since: the last goodbye counts. */
  end(reason: string): void
  /** Whether something governed has ended since the last goodbye. */
  readonly hasMore: boolean
  /** Says that what a dead process had left was sent. */
  recovered(recovery: Recovery): void
}

export interface ContinuityParts {
  readonly config: Pick<Config, 'heartbeatMillis'>
  readonly emitter: Emitter
  readonly counts: Readonly<Counts>
  readonly log: Log
  readonly tracer: () => Tracer
  readonly delivery: () => Delivery | undefined
  /** Records what is held back, and keeps what has not ended: before the goodbye, after which nothing is recorded. */
  readonly flush: () => void
}

export function createContinuity(parts: ContinuityParts): Continuity {
  const { config, emitter, counts, log, tracer, delivery, flush } = parts
  let state: 'before' | 'alive' | 'over' = 'before'
  let context = ROOT_CONTEXT
  let timer: NodeJS.Timeout | undefined
  /** Governed spans that had ended when the last goodbye had. */
  let told = 0
  /** The first span may be that of a request, which a timer that is made in it would hold for ever. */
  const outside = AsyncLocalStorage.snapshot()

  const tell = (name: string, attributes: Attributes = {}): Span => {
    const root = context === ROOT_CONTEXT
    // Samplers see that it is ours; the rest is written past the SDK's limits.
    const mark = { [Name.emitterId]: emitter.id }
    const span = tracer().startSpan(name, { root, attributes: mark }, context)
    if (span.isRecording()) setAttributes(span, { ...countsNow(), ...attributes })
    if (root && span.isRecording()) nameTrace(span, emitter.id)
    emitter.govern(span)
    span.end()
    return span
  }

  const countsNow = (): Attributes => {
    const path = delivery()
    return {
      [Name.emitterDelivery]: path?.kind ?? 'batch',
      [Name.emitterInterval]: config.heartbeatMillis,
      [Name.emitterOpen]: emitter.open,
      [Name.emitterTruncated]:
        counts.droppedAttributes +
        counts.droppedEvents +
        counts.droppedLinks +
        counts.cutValues +
        counts.truncatedFacts,
      [Name.emitterUnrecorded]: counts.unrecorded,
      [Name.emitterErrors]: log.failures,
      ...(path !== undefined && {
        [Name.emitterDropped]: path.counts.dropped,
        [Name.emitterRejected]: path.counts.rejected,
        [Name.emitterFailures]: path.counts.failures,
        [Name.emitterWaiting]: path.waiting,
      }),
    }
  }

  const safely = (work: () => void): void => {
    try {
      work()
    } catch (error) {
      log.failed('a sign of life', error)
    }
  }

  return {
    begin() {
      if (state !== 'before') return
      state = 'alive'
      safely(() => {
        const hello = tell('governance.hello')
        if (!trace.isSpanContextValid(hello.spanContext())) {
          state = 'before'
          return
        }
        context = trace.setSpan(ROOT_CONTEXT, hello)
        if (config.heartbeatMillis === 0) return
        timer = outside(setInterval, () => safely(() => tell('governance.heartbeat')), config.heartbeatMillis)
        timer.unref()
      })
    },
    end(reason) {
      safely(flush)
      if (state === 'before' || (state === 'over' && emitter.count === told)) return
      state = 'over'
      clearInterval(timer)
      safely(() => tell(GOODBYE, { [Name.emitterReason]: reason }))
      told = emitter.count
    },
    get hasMore() {
      return emitter.count > told
    },
    recovered({ emitter: id, spans, unfinished, tornBytes }) {
      if (state !== 'alive') return
      safely(() =>
        tell('governance.recovery', {
          [Name.recoveredId]: id,
          [Name.recoveredSpans]: spans,
          [Name.recoveredUnfinished]: unfinished,
          [Name.recoveredTorn]: tornBytes,
        }),
      )
    },
  }
}

/** The API knows no way to choose a trace id. Nobody has asked for the span's yet. */
function nameTrace(span: Span, traceId: string): void {
  const context = { ...span.spanContext(), traceId }
  span.spanContext = () => context
}
