/**
 * A span exporter for the SDK's batch processor, in the place of its own for OTLP/HTTP: the same requests, made by our
 * encoder. It carries what is not governed, so it keeps the SDK's rules: what cannot be sent in time is lost.
 */
import { TraceFlags } from '@opentelemetry/api'
import type { Log } from '../log.ts'
import { createPack, type Encode, type WaitingSpan } from './request.ts'
import type { Answer, Sender } from './send.ts'
import type { ReadableSpan } from './span.ts'

/** OpenTelemetry's `ExportResult`: 0 is success, 1 failure. */
interface ExportResult {
  readonly code: 0 | 1
  readonly error?: Error
}

/** OpenTelemetry's `SpanExporter`, as all its versions have it. */
export interface SpanExporter {
  export(spans: readonly WaitingSpan[], done: (result: ExportResult) => void): void
  forceFlush(): Promise<void>
  shutdown(): Promise<void>
}

export interface ExporterOptions {
  readonly encode: Encode
  readonly sender: Sender
  readonly log: Log
  /** How long one batch is tried. */
  readonly timeoutMillis: number
}

const FIRST_PAUSE_MILLIS = 1000

export function createExporter({ encode, sender, log, timeoutMillis }: ExporterOptions): SpanExporter {
  const underWay = new Set<Promise<void>>()

  const deliver = async (spans: readonly WaitingSpan[]): Promise<ExportResult> => {
    const end = Date.now() + timeoutMillis
    await spans[0]?.resource.waitForAsyncAttributes?.()
    const body = encode(spans)
    if (body === undefined) return { code: 1 }
    let answer: Answer
    for (let pause = FIRST_PAUSE_MILLIS; ; pause *= 2) {
      answer = await sender.send(body, Math.max(1, end - Date.now()))
      if (answer.is !== 'later') break
      const wait = answer.afterMillis ?? pause * (0.8 + Math.random() * 0.4)
      if (Date.now() + wait >= end) break
      await sleep(wait)
    }
    if (answer.is === 'taken') return { code: 0 }
    const why = answer.is === 'later' ? answer.why : 'the collector refused them'
    return { code: 1, error: new Error(`spans are not exported: ${why}`) }
  }

  return {
    export(spans, done) {
      const work = deliver(spans)
        .catch((error: Error): ExportResult => {
          log.failed('exporting spans', error)
          return { code: 1, error }
        })
        .then(done)
        .catch((error) => log.failed('exporting spans', error))
        .finally(() => underWay.delete(work))
      underWay.add(work)
    },
    async forceFlush() {
      await Promise.all(underWay)
    },
    async shutdown() {
      await Promise.all(underWay)
      sender.close()
    },
  }
}

/** OpenTelemetry's `SpanProcessor`; `onEnding` is of some versions only. */
export interface SpanProcessor {
  onStart(span: never, parent: never): void
  onEnding?(span: never): void
  onEnd(span: never): void
  forceFlush(): Promise<void>
  shutdown(): Promise<void>
}

/** A processor that is told of the spans that end by `onEnd`, and is `processor` in all else. */
export function withEnd<P extends SpanProcessor>(processor: P, onEnd: P['onEnd']): P {
  // Methods run on the processor itself: they may use its private fields.
  return Object.assign(Object.create(processor) as P, {
    onStart: processor.onStart.bind(processor),
    ...(processor.onEnding !== undefined && { onEnding: processor.onEnding.bind(processor) }),
    onEnd,
    forceFlush: processor.forceFlush.bind(processor),
    shutdown: processor.shutdown.bind(processor),
  })
}

/** The SDK's batch processor before our exporter, with spans encoded while they wait in it. */
export function packed<P extends SpanProcessor>(processor: P, log: Log): P {
  const pack = createPack(log)
  return withEnd(processor, (span: ReadableSpan) => {
    if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0) processor.onEnd(pack(span) as never)
  })
}

function sleep(millis: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, millis).unref()
  })
}
