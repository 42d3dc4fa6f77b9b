import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { endpointOf } from './endpoint.ts'
import { type Answer, createSender, MAX_ANSWER, type Sender } from './send.ts'

let server: Server
let sender: Sender

interface Server {
  readonly http2: Http2Server
  readonly connections: Set<{ destroy(): void }>
  readonly calls: { headers: IncomingHttpHeaders; body: Buffer }[]
  answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void
}

beforeEach(async () => {
  const http2 = createServer()
  const connections: Server['connections'] = new Set()
  server = { http2, connections, calls: [], answer: (stream) => respond(stream, '0') }
  http2.on('session', (session) => connections.add(session))
  http2.on('stream', (stream, headers) => {
    const parts: Buffer[] = []
    stream.on('error', () => {})
    stream.on('data', (part: Buffer) => parts.push(part))
    stream.on('end', () => {
      server.calls.push({ headers, body: Buffer.concat(parts) })
      server.answer(stream, headers)
    })
  })
  await new Promise<void>((resolve) => http2.listen(0, '127.0.0.1', resolve))
  sender = senderTo((http2.address() as AddressInfo).port)
})

afterEach(async () => {
  sender.close()
  for (const connection of server.connections) connection.destroy()
  await new Promise((resolve) => server.http2.close(resolve))
})

function senderTo(port: number): Sender {
  return createSender(
    endpointOf({ endpoint: undefined }, createLog('silent'), {
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}/ignored`,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-key=a%20b',
    })!,
  )
}

/** Headers, a message and trailers. */
function respond(stream: ServerHttp2Stream, status: string, message = '', metadata = {}): void {
  stream.respond(
    { ':status': 200, 'content-type': 'application/grpc', ...metadata },
    { waitForTrailers: true },
  )
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status }))
  const frame = Buffer.alloc(5)
  frame.writeUInt32BE(message.length / 2, 1)
  stream.end(Buffer.concat([frame, Buffer.from(message, 'hex')]))
}

/** Trailers only, which come as headers. */
function refuse(stream: ServerHttp2Stream, status: string, details?: string): void {
  stream.respond(
    {
      ':status': 200,
      'content-type': 'application/grpc',
      'grpc-status': status,
      ...(details !== undefined && {
        'grpc-status-details-bin': Buffer.from(details, 'hex').toString('base64').replace(/=+$/, ''),
      }),
    },
    { endStream: true },
  )
}

const send = (millis = 10_000): Promise<Answer> => sender.send(Buffer.from('spans'), millis)

test('a unary call with the metadata of the environment, and the receipt', async () => {
  server.answer = (stream) => respond(stream, '0', '', { 'rootspan-receipt': '12' })
  expect(await send()).toEqual({ is: 'taken', position: '12', rejected: 0 })
  const [{ headers, body }] = server.calls as [Server['calls'][0]]
  expect(headers).toMatchObject({
    ':path': '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    'rootspan-receipt': '1',
    'x-key': 'a b',
    'grpc-timeout': '10000m',
  })
  expect(body.toString('latin1')).toBe('\0\0\0\0\x05spans')
})

test('one connection for many calls, at once and after each other', async () => {
  await Promise.all([send(), send(), send()])
  await send()
  expect(server.calls).toHaveLength(4)
  expect(server.connections.size).toBe(1)
})

/** A field of protobuf with this content, in hex; both short. */
const field = (number: number, hex: string): string =>
  [number * 8 + 2, hex.length / 2].map((byte) => byte.toString(16).padStart(2, '0')).join('') + hex
const detail = (type: string, content: string): string =>
  field(
    3,
    field(1, Buffer.from(`type.googleapis.com/google.rpc.${type}`).toString('hex')) + field(2, content),
  )
/** A google.rpc.Status that asks to come again in 2.5 seconds, and what it says before that. */
const retry = (before = ''): string => `0808${before}${detail('RetryInfo', field(1, '08021080cab5ee01'))}`

test.each<[string, string, string | undefined, Answer]>([
  ['INVALID_ARGUMENT is about what was sent', '3', undefined, { is: 'refused' }],
  ['RESOURCE_EXHAUSTED alone is, too: too large', '8', undefined, { is: 'refused' }],
  [
    'RESOURCE_EXHAUSTED with a time is push-back',
    '8',
    retry(),
    { is: 'later', afterMillis: 2500, why: 'gRPC status 8' },
  ],
  [
    'details of other types are passed over',
    '14',
    retry(detail('BadRequest', '')),
    { is: 'later', afterMillis: 2500, why: 'gRPC status 14' },
  ],
  ['UNAVAILABLE passes', '14', undefined, { is: 'later', afterMillis: undefined, why: 'gRPC status 14' }],
  [
    'broken details say nothing',
    '14',
    '1aff',
    { is: 'later', afterMillis: undefined, why: 'gRPC status 14' },
  ],
  [
    'credentials can be put right',
    '16',
    undefined,
    { is: 'later', afterMillis: undefined, why: 'gRPC status 16' },
  ],
  ['and so can a path', '12', undefined, { is: 'later', afterMillis: undefined, why: 'gRPC status 12' }],
])('%s', async (_, status, details, expected) => {
  server.answer = (stream) => refuse(stream, status, details)
  expect(await send()).toEqual(expected)
})

test('spans that partial success refuses, and a receipt that is none', async () => {
  server.answer = (stream) => respond(stream, '0', '0a020802', { 'rootspan-receipt': '-1' })
  expect(await send()).toEqual({ is: 'taken', position: undefined, rejected: 2 })
})

test.each<[string, (stream: ServerHttp2Stream) => void, RegExp]>([
  ['another status of HTTP', (stream) => stream.respond({ ':status': 502 }, { endStream: true }), /502/],
  [
    'no status of gRPC',
    (stream) => stream.respond({ ':status': 200 }, { endStream: true }),
    /without a gRPC/,
  ],
  ['a reset', (stream) => stream.close(2), /ERR_HTTP2|connection/],
  ['a connection that ends', (stream) => stream.session!.destroy(), /ERR_HTTP2|ECONN|connection/],
  ['an answer that is too long', (stream) => respond(stream, '0', '00'.repeat(MAX_ANSWER + 1)), /connection/],
])('%s is not taken, and the next call is', async (_, respondWith, why) => {
  const { answer } = server
  server.answer = respondWith
  expect(await send()).toMatchObject({ is: 'later', why: expect.stringMatching(why) })
  server.answer = answer
  expect(await send()).toMatchObject({ is: 'taken' })
})

test('no answer in time, and another connection for the next call', async () => {
  const { answer } = server
  server.answer = () => {}
  expect(await send(200)).toMatchObject({ is: 'later', why: 'no answer in time' })
  server.answer = answer
  expect(await send()).toMatchObject({ is: 'taken' })
  expect(server.connections.size).toBe(2)
})

test('nobody there', async () => {
  const elsewhere = senderTo(1)
  expect(await elsewhere.send(Buffer.from('spans'), 10_000)).toMatchObject({
    is: 'later',
    why: 'ECONNREFUSED',
  })
  elsewhere.close()
})

test('a server that says goodbye gets no new calls', async () => {
  await send()
  for (const session of server.connections) (session as unknown as { goaway(): void }).goaway()
  await expect.poll(() => send().then(({ is }) => is)).toBe('taken')
  expect(await send()).toMatchObject({ is: 'taken' })
})
