import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { createExporter, packed, type SpanExporter } from './exporter.ts'
import { openExporter } from './open.ts'
import { encodeSpans } from './request.ts'
import { createSender } from './send.ts'
import type { ReadableSpan } from './span.ts'

const log = createLog('silent')

let server: Server
let answer: (response: ServerResponse) => void
let bodies: Buffer[]
let exporter: SpanExporter

beforeEach(async () => {
  bodies = []
  answer = (response) => response.end()
  server = createServer(async (request, response) => {
    bodies.push(Buffer.concat(await request.toArray()))
    answer(response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})

afterEach(async () => {
  await exporter.shutdown()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

function start(timeoutMillis = 10_000): void {
  const { port } = server.address() as AddressInfo
  const url = new URL(`http://127.0.0.1:${port}/v1/traces`)
  const sender = createSender({ url, isGrpc: false, headers: {}, timeoutMillis, tls: {} })
  exporter = createExporter({ encode: encodeSpans, sender, log, timeoutMillis })
}

const context = { traceId: '1'.repeat(32), spanId: '2'.repeat(16), traceFlags: 1 }
const span: ReadableSpan = {
  name: 'GET /',
  kind: SpanKind.SERVER,
  startTime: [1, 0],
  endTime: [2, 0],
  status: { code: SpanStatusCode.UNSET },
  attributes: { a: 1 },
  links: [],
  events: [],
  resource: {},
  instrumentationScope: { name: 'test' },
  droppedAttributesCount: 0,
  droppedEventsCount: 0,
  droppedLinksCount: 0,
  spanContext: () => context,
}

const exported = (...spans: ReadableSpan[]): Promise<{ code: number; error?: Error }> =>
  new Promise((resolve) => exporter.export(spans, resolve))

test('a batch is one request, made when the resource is known', async () => {
  start()
  let isKnown = false
  const waitForAsyncAttributes = async (): Promise<void> => {
    await new Promise(setImmediate)
    isKnown = true
  }
  const attributes = {
    get known() {
      return isKnown
    },
  }
  const one = { ...span, resource: { attributes, waitForAsyncAttributes } }
  expect(await exported(one, one)).toEqual({ code: 0 })
  expect(bodies).toEqual([Buffer.from(encodeSpans([one, one]))])
  expect(bodies[0]!.includes('known')).toBe(true)
})

test('what is not taken now is sent again, and flushing waits for it', async () => {
  start()
  answer = (response) => {
    if (bodies.length === 1) response.writeHead(503, { 'retry-after': '1' })
    response.end()
  }
  const result = exported(span)
  await exporter.forceFlush()
  expect(bodies).toHaveLength(2)
  expect(await result).toEqual({ code: 0 })
})

test.each([
  ['a refusal', 400, 10_000, /refused/],
  ['push-back for longer than there is time', 503, 200, /status 503/],
])('%s is a failure', async (_, status, millis, why) => {
  start(millis)
  answer = (response) => response.writeHead(status).end()
  const { code, error } = await exported(span)
  expect(code).toBe(1)
  expect(error!.message).toMatch(why)
  expect(bodies).toHaveLength(1)
})

test('the SDK’s batch processor takes packed spans for spans, and leaves out what is not sampled', async () => {
  start()
  const processor = packed(new BatchSpanProcessor({ exporter: exporter as never }), log)
  const others = { ...span, spanContext: () => ({ ...context, traceFlags: 0 }) }
  processor.onEnd(others as never)
  const spans = Array.from({ length: 3 }, (_, at) => ({ ...span, name: `GET /${at}` }))
  for (const one of spans) processor.onEnd(one as never)
  await processor.forceFlush()
  await processor.forceFlush()
  expect(bodies).toHaveLength(1)
  expect(bodies[0]).toEqual(Buffer.from(encodeSpans(spans)))
  await processor.shutdown()
})

test.each([
  [{}, true],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf', OTEL_EXPORTER_OTLP_COMPRESSION: 'none' }, true],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' }, false],
  [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf', OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'grpc' }, false],
  [{ OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip' }, false],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'c.example.com:4318' }, false],
])('with %j ours is used: %s', (env, isOurs) => {
  start()
  expect(openExporter(log, env) !== undefined).toBe(isOurs)
})
