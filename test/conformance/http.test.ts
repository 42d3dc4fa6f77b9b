/** What is particular to OTLP over HTTP/1.1: methods, paths, media types, codings, connections. */
import { randomBytes } from 'node:crypto'
import { Agent } from 'node:http'
import { gzipSync } from 'node:zlib'
import { status as grpcStatus } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callHttp, type HttpAnswer, JSON_TYPE, openSocket, PROTOBUF, readToEnd } from './clients.ts'
import { readStatus, span, traces } from './fixtures.ts'
import { type Subject, startSubject } from './subject.ts'

let subject: Subject
beforeAll(async () => {
  subject = await startSubject()
})
afterAll(() => subject.stop())

const BODY = traces(span())

function expectStatus(answer: HttpAnswer, media: string, code: number): void {
  expect(answer.headers['content-type']).toBe(media)
  expect(answer.headers['content-length']).toBe(String(answer.body.length))
  const status = media === PROTOBUF ? readStatus(answer.body) : JSON.parse(answer.body.toString())
  expect(status.code).toBe(code)
  expect(status.message).not.toBe('')
}

test('full success over protobuf is an empty message', async () => {
  const answer = await callHttp(subject.http, BODY)
  expect(answer.status).toBe(200)
  expect(answer.headers).toMatchObject({ 'content-type': PROTOBUF, 'content-length': '0' })
  expect(answer.body.length).toBe(0)
})

test.each(['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('%s is not allowed', async (method) => {
  const answer = await callHttp(subject.http, new Uint8Array(0), { method })
  expect(answer.status).toBe(405)
  expect(answer.headers.allow).toBe('POST')
  expectStatus(answer, PROTOBUF, grpcStatus.UNIMPLEMENTED)
})

test('HEAD is not allowed and has no body', async () => {
  const answer = await callHttp(subject.http, new Uint8Array(0), { method: 'HEAD' })
  expect(answer.status).toBe(405)
  expect(answer.headers.allow).toBe('POST')
  expect(answer.body.length).toBe(0)
})

test.each(['/', '/v1', '/v1/traces/', '/v1/profiles', '/v1/Traces', '/v2/traces', '*', '//v1/traces'])(
  'the path %s is not found',
  async (path) => {
    for (const media of [PROTOBUF, JSON_TYPE]) {
      const answer = await callHttp(subject.http, BODY, { path, headers: { 'content-type': media } })
      expect(answer.status).toBe(404)
      expectStatus(answer, media, grpcStatus.UNIMPLEMENTED)
    }
  },
)

test.each(['/v1/traces?x=1', 'http://collector.example/v1/traces'])('the target %s is ours', async (path) => {
  expect((await callHttp(subject.http, BODY, { path })).status).toBe(200)
})

test.each([
  '',
  'text/plain',
  'application/octet-stream',
  'application/protobuf',
  'application/grpc',
  'application/x-protobuffer',
  'multipart/form-data; boundary=application/json',
])('the content type %j is not supported', async (type) => {
  const answer = await callHttp(subject.http, BODY, { headers: { 'content-type': type } })
  expect(answer.status).toBe(415)
  expectStatus(answer, JSON_TYPE, grpcStatus.UNIMPLEMENTED)
})

test.each([
  'application/x-protobuf; proto=x',
  'Application/X-Protobuf',
  'application/x-protobuf;charset=latin1',
])('the content type %s is protobuf', async (type) => {
  const answer = await callHttp(subject.http, BODY, { headers: { 'content-type': type } })
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe(PROTOBUF)
})

test.each(['zstd', 'deflate', 'br', 'snappy', 'lz4', 'gzip, gzip', 'gzip, identity', 'nonsense'])(
  'the content encoding %s is not supported, and what is',
  async (coding) => {
    const answer = await callHttp(subject.http, randomBytes(100), { headers: { 'content-encoding': coding } })
    expect(answer.status).toBe(415)
    expect(answer.headers['accept-encoding']).toBe('gzip, identity')
    expectStatus(answer, PROTOBUF, grpcStatus.UNIMPLEMENTED)
  },
)

test.each([
  ['identity', BODY],
  ['', BODY],
  ['gzip', gzipSync(BODY)],
  ['GZIP', gzipSync(BODY)],
  ['x-gzip', gzipSync(BODY)],
])('the content encoding %j is supported', async (coding, bytes) => {
  expect((await callHttp(subject.http, bytes, { headers: { 'content-encoding': coding } })).status).toBe(200)
})

test('chunked bodies', async () => {
  const chunks = [...BODY].map((byte) => Uint8Array.of(byte))
  expect((await callHttp(subject.http, chunks)).status).toBe(200)
  expect(Buffer.from((await subject.journalled()).at(-1)!.body)).toEqual(Buffer.from(BODY))
})

describe('Expect: 100-continue', () => {
  test('is answered, and the request then taken', async () => {
    const answer = await callHttp(subject.http, BODY, {
      headers: { expect: '100-continue', 'content-length': String(BODY.length) },
    })
    expect(answer).toMatchObject({ status: 200, continued: true })
  })

  test.each([
    ['too large', { 'content-length': String(2 ** 27) }, 413],
    ['of an unsupported type', { 'content-length': '10', 'content-type': 'text/plain' }, 415],
  ])('a request %s is refused without its body', async (_what, headers, status) => {
    const answer = await callHttp(subject.http, BODY, { headers: { expect: '100-continue', ...headers } })
    expect(answer).toMatchObject({ status, continued: false })
    expect(answer.headers.connection).toBe('close')
  })
})

describe('connections', () => {
  test('one connection serves many requests, refused ones among them', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    try {
      let socketsSeen = 0
      agent.on('free', () => socketsSeen++)
      const statuses: number[] = []
      for (let i = 0; i < 3; i++) {
        statuses.push((await callHttp(subject.http, BODY, { agent })).status)
        statuses.push((await callHttp(subject.http, BODY, { agent, path: '/nowhere' })).status)
        statuses.push((await callHttp(subject.http, Buffer.from('noise'), { agent })).status)
        statuses.push(
          (
            await callHttp(subject.http, randomBytes(100_000), {
              agent,
              headers: { 'content-type': 'text/plain' },
            })
          ).status,
        )
        expect(Object.values(agent.freeSockets).flat()).toHaveLength(1)
      }
      expect(statuses).toEqual([200, 404, 400, 415, 200, 404, 400, 415, 200, 404, 400, 415])
      const [socket] = Object.values(agent.freeSockets).flat()
      expect(socket!.bytesWritten).toBeGreaterThan(300_000)
    } finally {
      agent.destroy()
    }
  })

  test('pipelined requests are answered in order', async () => {
    const socket = await openSocket(subject.http)
    const reply = readToEnd(socket)
    const head = (path: string, last: boolean) =>
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: ${PROTOBUF}\r\nContent-Length: ${BODY.length}\r\n${last ? 'Connection: close\r\n' : ''}\r\n`
    socket.write(
      Buffer.concat([Buffer.from(head('/v1/traces', false)), BODY, Buffer.from(head('/no', false)), BODY]),
    )
    socket.write(Buffer.concat([Buffer.from(head('/v1/traces', true)), BODY]))
    const statuses = [...(await reply).matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)
    expect(statuses).toEqual(['200', '404', '200'])
  })

  test.each([
    ['what is not HTTP', 'hello\r\n\r\n', '400'],
    ['HTTP/2 by prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '400'],
    [
      'two content lengths',
      'POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      '400',
    ],
    [
      'length and chunks',
      'POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      '400',
    ],
    ['a huge head', `POST /v1/traces HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, '431'],
    ['no host', 'POST /v1/traces HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', '400'],
  ])('%s is refused, with a status to read', async (_what, text, status) => {
    const socket = await openSocket(subject.http)
    const reply = readToEnd(socket)
    socket.write(text)
    expect(await reply).toMatch(
      new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*\\{"code":13,"message":"[^"]+"\\}`),
    )
  })

  test('an expectation that nobody can meet is refused, with a status to read', async () => {
    const answer = await callHttp(subject.http, BODY, { headers: { expect: 'the-unexpected' } })
    expect(answer.status).toBe(400)
    expect(readStatus(answer.body)).toMatchObject({ code: grpcStatus.INTERNAL, details: [] })
  })

  test('HTTP/1.0 is served and closed', async () => {
    const socket = await openSocket(subject.http)
    const reply = readToEnd(socket)
    socket.write(`POST /v1/traces HTTP/1.0\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: 2\r\n\r\n{}`)
    expect(await reply).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\n\{\}$/)
  })
})
