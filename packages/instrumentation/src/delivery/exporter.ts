/**
 * A span exporter for the SDK's batch processor, in the place of its own for OTLP/HTTP: the same requests, made by our
 * encoder. It carries what is not governed, so it keeps the SDK's rules: what cannot be sent in time is lost.
 */
import type { Log } from '../log.ts'
import type { Encode, ReadableSpan } from './encode.ts'
import type { Answer, Sender } from './send.ts'

/** OpenTelemetry's `ExportResult`: 0 is success, 1 failure. */
interface ExportResult {
  readonly code: 0 | 1
  readonly error?: Error
}

/** OpenTelemetry's `SpanExporter`, as all its versions have it. */
export interface SpanExporter {
  export(spans: readonly ReadableSpan[], done: (result: ExportResult) => void): void
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

  const deliver = async (spans: readonly ReadableSpan[]): Promise<ExportResult> => {
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

function sleep(millis: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, millis).unref()
  })
}
