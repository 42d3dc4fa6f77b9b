import { AsyncLocalStorage } from 'node:async_hooks'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createLog } from '../log.ts'
import { createDelivery, type Delivery, type DeliveryOptions } from './delivery.ts'
import { endpointOf } from './endpoint.ts'
import { rejectedSpans } from './response.ts'
import { createSender } from './send.ts'
import type { ReadableSpan } from './span.ts'

const log = createLog('silent')

let server: Server
let answer: (request: IncomingMessage, response: ServerResponse, body: string) => void
let bodies: string[]
let delivery: Delivery

beforeEach(async () => {
  bodies = []
  answer = (_, response) => taken(response)
  server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts).toString()
      bodies.push(body)
      answer(request, response, body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})

afterEach(async () => {
  await delivery?.close()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

function taken(response: ServerResponse, position = '7', content = ''): void {
  response.writeHead(200, { 'rootspan-receipt': position }).end(Buffer.from(content, 'hex'))
}

function start(
  options: Partial<Pick<DeliveryOptions, 'encode' | 'maxSpans' | 'delayMillis' | 'sendAtExit'>> = {},
): Delivery {
  const { port } = server.address() as AddressInfo
  const endpoint = endpointOf({ endpoint: new URL(`http://127.0.0.1:${port}/base/`) }, log, {
    OTEL_EXPORTER_OTLP_HEADERS: 'x-key=a%20b,broken',
  })!
  delivery = createDelivery({
    encode: (spans) => Buffer.from(spans.map((one) => `${(one as ReadableSpan).name}\n`).join('')),
    pack: (one) => one,
    sender: createSender(endpoint),
    sendAtExit: undefined,
    log,
    emitter: 'a'.repeat(32),
    spool: undefined,
    maxSpans: 1000,
    delayMillis: 10,
    onRecovery: () => {},
    ...options,
  })
  return delivery
}

function span(name: string): ReadableSpan {
  const context = { traceId: '1'.repeat(32), spanId: '2'.repeat(16), traceFlags: 1 }
  return {
    name,
    kind: SpanKind.INTERNAL,
    startTime: [1, 0],
    endTime: [2, 0],
    status: { code: SpanStatusCode.UNSET },
    attributes: {},
    links: [],
    events: [],
    resource: {},
    instrumentationScope: { name: 'test' },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
    spanContext: () => context,
  }
}

test('spans are sent together, with the headers of the environment, to the path of OTLP', async () => {
  let request: IncomingMessage | undefined
  answer = (one, response) => {
    request = one
    taken(response)
  }
  start()
  for (const name of ['a', 'b', 'c']) delivery.add(span(name))
  await vi.waitFor(() => expect(delivery.waiting).toBe(0))
  expect(bodies).toEqual(['a\nb\nc\n'])
  expect(request!.url).toBe('/base/v1/traces')
  expect(request!.headers).toMatchObject({
    'x-key': 'a b',
    'content-type': 'application/x-protobuf',
    'rootspan-receipt': '1',
  })
})

test('what comes during a request waits for others, and is sent in its time, or at once by a flush', async () => {
  const more: string[] = []
  answer = (_, response) => {
    const name = more.shift()
    if (name !== undefined) delivery.add(span(name))
    taken(response)
  }
  start({ delayMillis: 300 })
  more.push('b')
  delivery.add(span('a'))
  await vi.waitFor(() => expect(bodies).toEqual(['a\n']))
  await vi.waitFor(() => expect(delivery.waiting).toBe(1))
  delivery.add(span('c'))
  await vi.waitFor(() => expect(bodies).toEqual(['a\n', 'b\nc\n']))
  more.push('e', 'f')
  delivery.add(span('d'))
  await delivery.flush()
  expect(bodies.slice(2)).toEqual(['d\n', 'e\n', 'f\n'])
  expect(delivery.waiting).toBe(0)
})

test('what is sent later holds on to no request: neither to its context nor by a timer', async () => {
  const requests = new AsyncLocalStorage<string>()
  const stores: (string | undefined)[] = []
  start({
    encode: () => {
      stores.push(requests.getStore())
      return Buffer.from('a\n')
    },
  })
  let isKnown = false
  const waitForAsyncAttributes = async (): Promise<void> => {
    await new Promise(setImmediate)
    isKnown = true
  }
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timers()
  for (let request = 0; request < 3; request++) {
    requests.run(`request ${request}`, () =>
      delivery.add({ ...span('a'), resource: { waitForAsyncAttributes } }),
    )
    await vi.waitFor(() => expect(delivery.waiting).toBe(0))
  }
  expect(isKnown).toBe(true)
  expect(stores).toEqual([undefined, undefined, undefined])
  await vi.waitFor(() => expect(timers()).toBeLessThanOrEqual(before))
})

test.each([503, 429, 401, 404, 500])('status %i: kept, and sent again', async (status) => {
  answer = (_, response) => {
    if (bodies.length < 3) response.writeHead(status).end()
    else taken(response)
  }
  start()
  delivery.add(span('a'))
  await vi.waitFor(() => expect(delivery.waiting).toBe(0), 10_000)
  expect(bodies).toEqual(['a\n', 'a\n', 'a\n'])
  expect(delivery.counts).toEqual({ dropped: 0, rejected: 0, failures: 2 })
})

test('spans that cannot be one request together are sent in several', async () => {
  start({
    encode: (spans) => {
      if (spans.length > 2) throw new RangeError('the request is too large')
      return Buffer.from(spans.map((one) => `${(one as ReadableSpan).name}\n`).join(''))
    },
  })
  for (let at = 0; at < 7; at++) delivery.add(span(String(at)))
  expect(await delivery.flush()).toBe(true)
  expect(bodies.join('')).toBe('0\n1\n2\n3\n4\n5\n6\n')
  expect(delivery.counts).toMatchObject({ dropped: 0, rejected: 0 })
})

test('of a batch that is refused for good only the culprit is given up, and counted', async () => {
  answer = (_, response, body) => {
    if (body.includes('bad')) response.writeHead(400).end()
    else taken(response)
  }
  start()
  const names = ['a', 'b', 'c', 'bad', 'd', 'e', 'f']
  for (const name of names) delivery.add(span(name))
  await vi.waitFor(() => expect(delivery.waiting).toBe(0))
  expect(delivery.counts).toEqual({ dropped: 0, rejected: 1, failures: 0 })
  const sent = bodies.filter((body) => !body.includes('bad')).join('')
  expect(sent).toBe('a\nb\nc\nd\ne\nf\n')
})

test('of spans one of which cannot be encoded only that one is given up, and counted, when they are sent and at exit', async () => {
  const sent: string[] = []
  start({
    encode: (spans) => {
      const names = spans.map((one) => (one as ReadableSpan).name)
      if (names.includes('bad')) throw new RangeError('the request is too large')
      return Buffer.from(names.join('\n'))
    },
    sendAtExit(given) {
      sent.push(...given.flatMap((body) => Buffer.from(body).toString().split('\n')))
      return true
    },
  })
  const names = ['a', 'b', 'c', 'bad', 'd', 'e', 'f']
  for (const name of names) delivery.add(span(name))
  await vi.waitFor(() => expect(delivery.waiting).toBe(0))
  expect(delivery.counts).toEqual({ dropped: 1, rejected: 0, failures: 0 })
  expect(bodies.flatMap((body) => body.split('\n'))).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
  for (const name of names) delivery.add(span(name))
  delivery.sendAtExit()
  expect(sent).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
})

test('spans that partial success refuses are counted', async () => {
  answer = (_, response) => taken(response, '7', '0a020802')
  start()
  for (const name of ['a', 'b', 'c']) delivery.add(span(name))
  await vi.waitFor(() => expect(delivery.waiting).toBe(0))
  expect(delivery.counts.rejected).toBe(2)
})

test('full: what waits stays, what comes is counted', async () => {
  answer = (_, response) => response.writeHead(503).end()
  start({ maxSpans: 2 })
  for (const name of ['a', 'b', 'c', 'd']) delivery.add(span(name))
  await vi.waitFor(() => expect(bodies.length).toBeGreaterThan(0))
  expect(bodies[0]).toBe('a\nb\n')
  expect(delivery.counts.dropped).toBe(2)
})

test('a span that somebody waits for is sent at once and alone', async () => {
  answer = (_, response) => taken(response, '12')
  start({ delayMillis: 60_000 })
  delivery.add(span('waits'))
  const one = span('now')
  const acknowledged = delivery.acknowledged(one, 10_000)
  delivery.add(one)
  expect(await acknowledged).toEqual({ position: '12' })
  expect(bodies).toEqual(['now\n'])
  expect(delivery.waiting).toBe(1)
})

test.each([
  ['no receipt', (response: ServerResponse) => response.writeHead(200).end(), /gives no receipts/, 0],
  ['a refusal', (response: ServerResponse) => response.writeHead(400).end(), /refused it/, 0],
  [
    'a receipt for a request without it',
    (response: ServerResponse) => taken(response, '7', '0a020801'),
    /refused it/,
    0,
  ],
  ['push-back', (response: ServerResponse) => response.writeHead(503).end(), /503|in time/, 1],
  ['no answer', () => {}, /in time/, 1],
])('%s is no acknowledgement', async (_, respond, message, waiting) => {
  answer = (_request, response) => respond(response)
  start({ delayMillis: 60_000 })
  const one = span('now')
  const acknowledged = delivery.acknowledged(one, 300)
  delivery.add(one)
  await expect(acknowledged).rejects.toThrow(message)
  // What was not taken is not lost either.
  await vi.waitFor(() => expect(delivery.waiting).toBe(waiting))
  answer = (_request, response) => taken(response)
})

test.each([
  ['', 0],
  ['0a00', 0],
  ['0a020805', 5],
  ['0a0408ac0212', 300],
  ['0a0612026869080 3'.replaceAll(' ', ''), 3],
  ['ffffffffffffffffffff', 0],
  ['0aff', 0],
  ['{"partialSuccess":{}}', 0],
])('rejected spans of %s are %i', (hex, count) => {
  expect(rejectedSpans(hex.startsWith('{') ? Buffer.from(hex) : Buffer.from(hex, 'hex'))).toBe(count)
})

const GRPC = { OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }
test.each([
  [{}, 'http://localhost:4318/v1/traces'],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c.example.com/otlp' }, 'https://c.example.com/otlp/v1/traces'],
  [{ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://c.example.com/x' }, 'http://c.example.com/x'],
  [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'c.example.com:4318' }, undefined],
  [{ ...GRPC }, 'http://localhost:4317/'],
  [{ ...GRPC, OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c.example.com:1234' }, 'https://c.example.com:1234/'],
  [{ ...GRPC, OTEL_EXPORTER_OTLP_ENDPOINT: 'c.example.com:4317' }, 'https://c.example.com:4317/'],
  [
    { ...GRPC, OTEL_EXPORTER_OTLP_ENDPOINT: 'c.example.com:1', OTEL_EXPORTER_OTLP_INSECURE: 'true' },
    'http://c.example.com:1/',
  ],
  [{ ...GRPC, OTEL_EXPORTER_OTLP_ENDPOINT: 'unix:///run/otlp' }, undefined],
])('the endpoint of %j', (env, url) => {
  expect(endpointOf({ endpoint: undefined }, log, env)?.url.href).toBe(url)
})

test('at exit all that waits is handed over, in full requests; what goes wrong there does not leave', () => {
  const bodies: string[] = []
  const slow = { delayMillis: 60_000, maxSpans: 5000 }
  start({
    ...slow,
    sendAtExit(given) {
      bodies.push(...given.map((body) => Buffer.from(body).toString()))
      return true
    },
  })
  const names = Array.from({ length: 1500 }, (_, at) => `span ${at}`)
  for (const name of names) delivery!.add(span(name))
  delivery!.sendAtExit()
  delivery!.sendAtExit()
  expect(bodies.map((body) => body.split('\n').length - 1)).toEqual([1024, 476])
  expect(bodies.join('')).toBe(`${names.join('\n')}\n`)
  expect(delivery!.waiting).toBe(0)

  start({
    ...slow,
    sendAtExit() {
      throw new Error('no thread may be started')
    },
  })
  delivery!.add(span('one'))
  expect(() => delivery!.sendAtExit()).not.toThrow()
})
