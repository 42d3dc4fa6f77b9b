/** What of an open span is kept in the spool, and when: by the frames that are there. */
import { mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { context, SpanKind, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { TracerProvider } from '@opentelemetry/sdk-trace'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { openDelivery } from './delivery/open.ts'
import { Kind, MAGIC, readFrame } from './delivery/spool-file.ts'
import { MAX_EVENTS } from './ledger.ts'
import { createLog } from './log.ts'
import { RootspanSpanProcessor } from './processor.ts'
import { createRuntime, type Runtime } from './runtime.ts'

let directory: string
let runtime: Runtime

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rootspan-keeping-'))
  const config = readConfig({
    ROOTSPAN_FINGERPRINT_KEY: 'sixteen bytes and more',
    ROOTSPAN_SPOOL: directory,
    ROOTSPAN_HEARTBEAT_MILLIS: '0',
  })
  runtime = createRuntime(config, createLog('silent'))
  // Nobody listens there: what is kept stays.
  openDelivery(runtime, { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1' })
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors: [new RootspanSpanProcessor(runtime)] }))
})

afterEach(async () => {
  await runtime.delivery?.close()
  trace.disable()
  context.disable()
  rmSync(directory, { recursive: true, force: true })
})

/** Sizes of the frames of open spans, in the order in which they were written. */
function kept(): number[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.spool'))
    .sort()
    .flatMap((name) => {
      const fd = openSync(join(directory, name), 'r')
      const sizes: number[] = []
      for (let frame = readFrame(fd, MAGIC.length); frame !== undefined; frame = readFrame(fd, frame.end))
        if (frame.kind === Kind.open) sizes.push(frame.end - frame.start)
      return sizes
    })
}

function inRequest(work: () => void): void {
  trace.getTracer('test').startActiveSpan('request', { kind: SpanKind.SERVER }, (span) => {
    work()
    span.end()
  })
}

test('a decision is kept before what it permits can happen', () => {
  inRequest(() => {
    for (const action of ['read', 'write']) {
      const before = kept().length
      runtime.recorder.decision({ outcome: 'allow', engine: 'cedar', action })
      expect(kept()).toHaveLength(before + 1)
    }
  })
})

test('decisions of one answer are kept once, when all are there', () => {
  inRequest(() => {
    runtime.recorder.together(() => {
      for (let at = 0; at < 50; at++)
        runtime.recorder.decision({ outcome: 'allow', engine: 'openfga', resourceId: `${at}` })
      expect(kept()).toHaveLength(0)
    })
    expect(kept()).toHaveLength(1)
    expect(kept()[0]).toBeGreaterThan(50 * 100)
  })
})

test('what is kept although its work throws', () => {
  inRequest(() => {
    expect(() =>
      runtime.recorder.together(() => {
        runtime.recorder.decision({ outcome: 'deny', engine: 'openfga' })
        throw new Error('of the hook')
      }),
    ).toThrow('of the hook')
    expect(kept()).toHaveLength(1)
    runtime.recorder.decision({ outcome: 'deny', engine: 'cedar' })
    expect(kept()).toHaveLength(2)
  })
})

test('decisions beyond those that have events of their own are kept when they are of a new kind only', () => {
  inRequest(() => {
    for (let at = 0; at < MAX_EVENTS + 1000; at++)
      runtime.recorder.decision({ outcome: 'allow', engine: 'cedar', resourceId: `${at}` })
    expect(kept()).toHaveLength(MAX_EVENTS + 1)
    runtime.recorder.decision({ outcome: 'deny', engine: 'cedar', resourceId: 'other' })
    expect(kept()).toHaveLength(MAX_EVENTS + 2)
  })
})
