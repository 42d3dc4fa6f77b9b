/** What is particular to gRPC: framing, message encodings, methods, deadlines, statuses without a message. */
import { connect as connectHttp2 } from 'node:http2'
import { gzipSync } from 'node:zlib'
import { status as grpcStatus } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callGrpc, callRaw, frame, LOGS, METRICS, openSocket, readToEnd, TRACES } from './clients.ts'
import { readStatus, retryInfoOf, span, spanId, traces } from './fixtures.ts'
import { type Subject, startSubject } from './subject.ts'
import { expectRetryInfo } from './transports.ts'

let subject: Subject
beforeAll(async () => {
  subject = await startSubject()
})
afterAll(() => subject.stop())

const BODY = traces(span())

test('full success is an empty message between headers and trailers', async () => {
  const answer = await callRaw(subject.grpc, [frame(BODY)])
  expect(answer.headers).toMatchObject({ ':status': 200, 'content-type': 'application/grpc' })
  expect(answer.headers['grpc-status']).toBeUndefined()
  expect(answer.body).toEqual(Buffer.alloc(5))
  expect(answer.trailers['grpc-status']).toBe('0')
  expect(answer.reset).toBe(0)
})

test('grpc-js agrees', async () => {
  const answer = await callGrpc(subject.grpc, BODY)
  expect(answer).toMatchObject({ code: grpcStatus.OK, details: '', body: Buffer.alloc(0) })
})

test.each([TRACES, METRICS, LOGS])('the method %s is there', async (path) => {
  expect((await callGrpc(subject.grpc, new Uint8Array(0), { path })).code).toBe(grpcStatus.OK)
})

test.each([
  '/opentelemetry.proto.collector.trace.v1.TraceService/Nothing',
  '/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export',
  '/grpc.health.v1.Health/Check',
  '/',
])('the method %s is unknown', async (path) => {
  const answer = await callGrpc(subject.grpc, BODY, { path })
  expect(answer.code).toBe(grpcStatus.UNIMPLEMENTED)
  expect(answer.details).toBe('unknown method')
  const raw = await callRaw(subject.grpc, [frame(BODY)], { ':path': path })
  expect(raw.headers).toMatchObject({
    ':status': 200,
    'content-type': 'application/grpc',
    'grpc-status': '12',
    'grpc-accept-encoding': 'identity,gzip',
  })
})

describe('HTTP below gRPC', () => {
  test.each([
    undefined,
    'application/json',
    'application/x-protobuf',
    'application/grpc-web',
    'application/grpc+json',
  ])('the content type %s is a 415', async (type) => {
    const answer = await callRaw(subject.grpc, [frame(BODY)], { 'content-type': type })
    expect(answer.headers[':status']).toBe(415)
    expect(answer.headers['grpc-status']).toBeUndefined()
  })

  test.each(['application/grpc+proto', 'application/grpc;charset=utf-8', 'Application/gRPC'])(
    'the content type %s is gRPC',
    async (type) => {
      const answer = await callRaw(subject.grpc, [frame(BODY)], { 'content-type': type })
      expect(answer.trailers['grpc-status']).toBe('0')
    },
  )

  test('GET is a 405', async () => {
    const answer = await callRaw(subject.grpc, [], { ':method': 'GET', 'content-type': undefined })
    expect(answer.headers).toMatchObject({ ':status': 405, allow: 'POST' })
  })

  test('HTTP/1.1 is cut off', async () => {
    const socket = await openSocket(subject.grpc)
    const reply = readToEnd(socket)
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(await reply).not.toMatch(/200/)
  })
})

describe('message encodings', () => {
  test('gzip', async () => {
    const answer = await callRaw(subject.grpc, [frame(gzipSync(BODY), 1)], { 'grpc-encoding': 'gzip' })
    expect(answer.trailers['grpc-status']).toBe('0')
    expect(Buffer.from((await subject.journalled()).at(-1)!.body)).toEqual(Buffer.from(BODY))
  })

  test.each(['gzip', 'identity', undefined])(
    'flag 0 under grpc-encoding %s is a plain message',
    async (encoding) => {
      const answer = await callRaw(subject.grpc, [frame(BODY)], { 'grpc-encoding': encoding })
      expect(answer.trailers['grpc-status']).toBe('0')
      expect(Buffer.from((await subject.journalled()).at(-1)!.body)).toEqual(Buffer.from(BODY))
    },
  )

  test.each(['identity', undefined])('flag 1 under grpc-encoding %s is an error', async (encoding) => {
    await expectFailure([frame(gzipSync(BODY), 1)], grpcStatus.INTERNAL, { 'grpc-encoding': encoding })
  })

  test.each(['zstd', 'snappy', 'deflate', 'br', 'nonsense'])(
    '%s is unimplemented, and what is not',
    async (encoding) => {
      for (const flag of [0, 1]) {
        const headers = await expectFailure([frame(BODY, flag)], grpcStatus.UNIMPLEMENTED, {
          'grpc-encoding': encoding,
        })
        expect(headers['grpc-accept-encoding']).toBe('identity,gzip')
      }
    },
  )
})

describe('framing', () => {
  test.each([2, 0x80, 0xff])('flag %i is an error', async (flag) => {
    await expectFailure([frame(BODY, flag)], grpcStatus.INTERNAL)
  })

  test('no message at all', async () => {
    await expectFailure([], grpcStatus.UNIMPLEMENTED)
  })

  test('two messages', async () => {
    await expectFailure([frame(BODY), frame(BODY)], grpcStatus.UNIMPLEMENTED)
  })

  test('two empty messages', async () => {
    await expectFailure([Buffer.alloc(10)], grpcStatus.UNIMPLEMENTED)
  })

  test.each([1, 4])('%i bytes after the message', async (extra) => {
    await expectFailure([frame(BODY), Buffer.alloc(extra)], grpcStatus.INTERNAL)
  })

  test('a message cut off anywhere', async () => {
    const whole = frame(BODY)
    for (let size = 1; size < whole.length; size += 9)
      await expectFailure([whole.subarray(0, size)], grpcStatus.INTERNAL)
  })

  test('a message in single bytes', async () => {
    const body = traces(span({ spanId: spanId(5) }))
    const answer = await callRaw(
      subject.grpc,
      [...frame(body)].map((byte) => Uint8Array.of(byte)),
    )
    expect(answer.trailers['grpc-status']).toBe('0')
    expect(Buffer.from((await subject.journalled()).at(-1)!.body)).toEqual(Buffer.from(body))
  })
})

describe('deadlines', () => {
  test.each(['10S', '1H', '99999999u', '20000m'])('a deadline of %s is met', async (timeout) => {
    const answer = await callRaw(subject.grpc, [frame(BODY)], { 'grpc-timeout': timeout })
    expect(answer.trailers['grpc-status']).toBe('0')
  })

  test.each(['0m', '1n'])('a deadline of %s has passed, and nothing is stored', async (timeout) => {
    const headers = await expectFailure([frame(BODY)], grpcStatus.DEADLINE_EXCEEDED, {
      'grpc-timeout': timeout,
    })
    expectRetryInfo(retryInfoOf(headers))
  })

  test.each(['10', 'S', '10s', '-1S', '123456789S', '1.5S'])(
    'a deadline of %s is malformed',
    async (timeout) => {
      await expectFailure([frame(BODY)], grpcStatus.INTERNAL, { 'grpc-timeout': timeout })
    },
  )

  test('a sender whose deadline passes while the journal waits learns so from its own clock', async () => {
    const held = Promise.withResolvers<void>()
    subject.disturb({ kind: 'journal-waits', until: held.promise })
    const answer = await callGrpc(subject.grpc, BODY, { deadlineMillis: 200 })
    expect(answer.code).toBe(grpcStatus.DEADLINE_EXCEEDED)
    subject.disturb(undefined)
    held.resolve()
    expect((await callGrpc(subject.grpc, BODY)).code).toBe(grpcStatus.OK)
  })
})

test('one connection serves many calls, failed ones among them', async () => {
  const session = connectHttp2(`http://${subject.grpc.host}:${subject.grpc.port}`)
  const call = (bytes: Uint8Array) =>
    new Promise<unknown>((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': TRACES,
        'content-type': 'application/grpc',
      })
      let status: unknown
      const note = (headers: Record<string, unknown>) => {
        status = headers['grpc-status'] ?? status
      }
      stream.on('response', note)
      stream.on('trailers', note)
      stream.on('error', reject)
      stream.on('close', () => resolve(status))
      stream.resume()
      stream.end(bytes)
    })
  const kinds = [frame(BODY), frame(Buffer.from('noise')), Buffer.alloc(3), frame(new Uint8Array(0))]
  const statuses = await Promise.all(Array.from({ length: 200 }, (_, i) => call(kinds[i % 4]!)))
  expect(new Set(statuses.map((status, i) => `${i % 4}:${status}`))).toEqual(
    new Set(['0:0', '1:3', '2:13', '3:0']),
  )
  session.close()
})

/** Trailers only, with a Status in the details that says the same; nothing journalled. */
async function expectFailure(
  chunks: readonly Uint8Array[],
  code: number,
  headers: Record<string, string | undefined> = {},
): Promise<Record<string, unknown>> {
  const before = (await subject.journalled()).length
  const answer = await callRaw(subject.grpc, chunks, headers)
  expect(answer.headers).toMatchObject({
    ':status': 200,
    'content-type': 'application/grpc',
    'grpc-status': String(code),
  })
  expect(answer.body.length).toBe(0)
  const details = answer.headers['grpc-status-details-bin'] as string
  const status = readStatus(Buffer.from(details, 'base64'))
  expect(status).toMatchObject({
    code,
    message: decodeURIComponent(answer.headers['grpc-message'] as string),
    details: code === grpcStatus.DEADLINE_EXCEEDED ? ['RetryInfo'] : [],
  })
  expect(status.message).not.toBe('')
  expect((await subject.journalled()).length).toBe(before)
  return answer.headers
}
