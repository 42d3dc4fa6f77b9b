/** Sizes, compression, slow and vanishing senders, and the budget over all of them. */
import { randomBytes } from 'node:crypto'
import { connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { status as grpcStatus } from '@grpc/grpc-js'
import { WireWriter } from '@rootspan/lineage/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callGrpc, callHttp, callRaw, frame, openSocket, PROTOBUF, readToEnd, TRACES } from './clients.ts'
import { readStatus, retryInfoOf, span, spanId, traces } from './fixtures.ts'
import { type Subject, type SubjectSettings, startSubject } from './subject.ts'
import { expectAccepted, expectRefused, expectRetryable, expectRetryInfo, TRANSPORTS } from './transports.ts'

const MIB = 1024 * 1024
const BOMB_BYTES = 100 * MIB
const BOMB = gzipSync(Buffer.alloc(BOMB_BYTES), { level: 9 })

/** A valid request of exactly that many bytes, most of them in an unknown field. */
function requestOf(size: number, fill?: (size: number) => Uint8Array): Uint8Array {
  const start = traces(span())
  for (let overhead = 4; overhead < 9; overhead++) {
    const padding = size - start.length - overhead
    // A field's tag and length, by a writer that is given no value to copy.
    const head = new WireWriter().varint(9999, padding).finish()
    head[0] = head[0]! | 2
    if (start.length + head.length + padding !== size) continue
    const body = Buffer.alloc(size)
    body.set(start)
    body.set(head, start.length)
    if (fill !== undefined) body.set(fill(padding), size - padding)
    return body
  }
  throw new Error(`no request of ${size} bytes`)
}

async function withSubject(
  settings: SubjectSettings,
  act: (subject: Subject) => Promise<void>,
): Promise<void> {
  const subject = await startSubject(settings)
  try {
    await act(subject)
  } finally {
    await subject.stop(50)
  }
}

describe.each(TRANSPORTS)('the limit of 64 MiB over $name', ({ send, name }) => {
  let subject: Subject
  beforeAll(async () => {
    subject = await startSubject()
  })
  afterAll(() => subject.stop())

  test('64 MiB are taken', async () => {
    expectAccepted(await send(subject, requestOf(64 * MIB)))
    expect((await subject.journalled()).at(-1)!.body.length).toBe(64 * MIB)
  })

  test('64 MiB and a byte are refused', async () => {
    expectRefused(await send(subject, requestOf(64 * MIB + 1)), 'tooLarge')
  })

  test('64 MiB and a byte after decompression are refused', async () => {
    expectRefused(await send(subject, requestOf(64 * MIB + 1), { gzip: true }), 'tooLarge')
  })

  test('64 MiB after decompression are taken', async () => {
    expectAccepted(await send(subject, requestOf(64 * MIB), { gzip: true }))
  })

  test('a bomb of a thousand to one is refused', async () => {
    expect(BOMB.length * 1000).toBeLessThan(BOMB_BYTES)
    if (name === 'HTTP') {
      const answer = await callHttp(subject.http, BOMB, { headers: { 'content-encoding': 'gzip' } })
      expect(answer.status).toBe(413)
      expect(readStatus(answer.body)).toMatchObject({ code: grpcStatus.RESOURCE_EXHAUSTED, details: [] })
    } else {
      const answer = await callRaw(subject.grpc, [frame(BOMB, 1)], { 'grpc-encoding': 'gzip' })
      expect(answer.headers['grpc-status']).toBe(String(grpcStatus.RESOURCE_EXHAUSTED))
    }
  })

  test.each([10, 0xffff_ffff])('a bomb that claims to be %i bytes is refused', async (claim) => {
    const bomb = Buffer.from(BOMB)
    bomb.writeUInt32LE(claim, bomb.length - 4)
    const status =
      name === 'HTTP'
        ? (await callHttp(subject.http, bomb, { headers: { 'content-encoding': 'gzip' } })).status
        : (await callRaw(subject.grpc, [frame(bomb, 1)], { 'grpc-encoding': 'gzip' })).headers['grpc-status']
    expect(status).toBe(name === 'HTTP' ? 413 : '8')
  })

  test('the receiver still serves', async () => {
    expectAccepted(await send(subject, traces(span())))
  })
})

describe('sizes that are announced', () => {
  test('HTTP: a content length over the limit is refused before the body', () =>
    withSubject({}, async (subject) => {
      const reply = await slowReply(subject, `${HEAD}Content-Length: ${64 * MIB + 1}\r\n\r\n`)
      expectGivenUp(await reply.text, 413, grpcStatus.RESOURCE_EXHAUSTED)
    }))

  test('gRPC: a message length over the limit is refused before the message', () =>
    withSubject({}, async (subject) => {
      const head = frame(new Uint8Array(0), 0, 64 * MIB + 1)
      expectCallGivenUp(await openCall(subject, head), grpcStatus.RESOURCE_EXHAUSTED)
    }))

  test('HTTP: chunks over the limit are refused', () =>
    withSubject({ maxBodyBytes: 100_000 }, async (subject) => {
      const answer = await callHttp(subject.http, [randomBytes(60_000), randomBytes(60_000)])
      expect(answer.status).toBe(413)
      expect(readStatus(answer.body).code).toBe(grpcStatus.RESOURCE_EXHAUSTED)
    }))
})

describe('gzip', () => {
  let subject: Subject
  beforeAll(async () => {
    subject = await startSubject()
  })
  afterAll(() => subject.stop())
  const gzip = { 'content-encoding': 'gzip' }

  test.each([10, 10_000, 1_000_000])('two members are one body, %i bytes in', async (at) => {
    const body = requestOf(2 * MIB, randomBytes)
    const members = Buffer.concat([gzipSync(body.subarray(0, at)), gzipSync(body.subarray(at))])
    expect((await callHttp(subject.http, members, { headers: gzip })).status).toBe(200)
    expect(Buffer.from((await subject.journalled()).at(-1)!.body).equals(body)).toBe(true)
    const answer = await callRaw(subject.grpc, [frame(members, 1)], { 'grpc-encoding': 'gzip' })
    expect(answer.trailers['grpc-status']).toBe('0')
    expect(Buffer.from((await subject.journalled()).at(-1)!.body).equals(body)).toBe(true)
  })

  const small = gzipSync(traces(span()))
  const large = gzipSync(requestOf(MIB, randomBytes))
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['plain protobuf', Buffer.from(traces(span()))],
    ['a small body that is cut off', small.subarray(0, -9)],
    ['a large body that is cut off', large.subarray(0, -9)],
    ['a wrong checksum', Buffer.concat([small.subarray(0, -8), Buffer.alloc(4), small.subarray(-4)])],
    ['noise after the end', Buffer.concat([large, Buffer.from('noise')])],
  ])('what is not gzip is refused: %s', async (_what, bytes) => {
    const before = (await subject.journalled()).length
    const answer = await callHttp(subject.http, bytes, { headers: gzip })
    expect(answer.status).toBe(400)
    expect(readStatus(answer.body)).toMatchObject({
      code: grpcStatus.INVALID_ARGUMENT,
      details: ['BadRequest'],
    })
    const reply = await callRaw(subject.grpc, [frame(bytes, 1)], { 'grpc-encoding': 'gzip' })
    expect(reply.headers['grpc-status']).toBe(String(grpcStatus.INTERNAL))
    expect((await subject.journalled()).length).toBe(before)
  })
})

describe('senders that are slow or vanish', () => {
  const TOO_SLOW = grpcStatus.DEADLINE_EXCEEDED

  test('HTTP: a body that stops coming is given up with a retryable answer', () =>
    withSubject({ bodyIdleMillis: 200 }, async (subject) => {
      const reply = await slowReply(subject, `${HEAD}Content-Length: 100\r\n\r\nab`)
      expectGivenUp(await reply.text, 503, TOO_SLOW)
      expect(await subject.journalled()).toEqual([])
    }))

  test('HTTP: a body of a byte now and then is given up', () =>
    withSubject({ bodyIdleMillis: 400, bodyTotalMillis: 600 }, async (subject) => {
      const reply = await slowReply(subject, `${HEAD}Content-Length: 9999\r\n\r\n`)
      const drip = setInterval(() => reply.socket.write('x'), 50)
      try {
        expectGivenUp(await reply.text, 503, TOO_SLOW)
      } finally {
        clearInterval(drip)
      }
    }))

  test('HTTP: a head that stops coming is given up', () =>
    withSubject({ bodyIdleMillis: 200 }, async (subject) => {
      const reply = await slowReply(subject, 'POST /v1/traces HTTP/1.1\r\nHost: x\r\nX-Slow')
      // Who sends no head says no media type: the answer is for a person.
      const { status, headers, body } = parseReply(await reply.text)
      expect({ status, type: headers.get('content-type'), connection: headers.get('connection') }).toEqual({
        status: 408,
        type: 'application/json',
        connection: 'close',
      })
      // OTLP knows no 408 that may be retried.
      expect(headers.get('retry-after')).toBe(null)
      expect(JSON.parse(body.toString())).toEqual({
        code: grpcStatus.INTERNAL,
        message: 'the request did not arrive in time',
      })
    }))

  test('HTTP: a connection that says nothing is closed', () =>
    withSubject({ bodyIdleMillis: 200 }, async (subject) => {
      const reply = await slowReply(subject, '')
      expect(await reply.text).toMatch(/^(?:HTTP\/1\.1 408 |$)/)
    }))

  test('gRPC: a message that stops coming is given up with a retryable answer', () =>
    withSubject({ bodyIdleMillis: 200 }, async (subject) => {
      const call = await openCall(subject, frame(new Uint8Array(10), 0, 100))
      expectCallGivenUp(call, grpcStatus.DEADLINE_EXCEEDED)
      expect(await subject.journalled()).toEqual([])
    }))

  test('gRPC: a connection without calls is closed', () =>
    withSubject({ connectionIdleMillis: 200, bodyIdleMillis: 200 }, async (subject) => {
      const silent = await openSocket(subject.grpc)
      const session = connectHttp2(`http://${subject.grpc.host}:${subject.grpc.port}`)
      const goaway = new Promise((resolve) => session.on('goaway', resolve))
      const closed = new Promise((resolve) => session.on('close', resolve))
      // NO_ERROR: it may come again.
      expect(await goaway).toBe(0)
      await Promise.all([readToEnd(silent), closed])
    }))

  test('an abort in mid-body journals nothing and gives its budget back', () =>
    withSubject({ budgetBytes: 3 * MIB }, async (subject) => {
      for (let round = 0; round < 4; round++) {
        const socket = await openSocket(subject.http)
        socket.on('error', () => undefined)
        socket.write(
          `POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: ${PROTOBUF}\r\nContent-Length: ${2 * MIB}\r\n\r\n`,
        )
        await new Promise((resolve) => socket.write(Buffer.alloc(2 * MIB - 10), resolve))
        await sleep(50)
        socket.resetAndDestroy()

        const session = connectHttp2(`http://${subject.grpc.host}:${subject.grpc.port}`)
        const stream = session.request({
          ':method': 'POST',
          ':path': TRACES,
          'content-type': 'application/grpc',
        })
        stream.on('error', () => undefined)
        await sleep(50)
        await new Promise((resolve) => stream.write(frame(Buffer.alloc(MIB), 0, 2 * MIB), resolve))
        await sleep(50)
        if (round % 2 === 0) stream.close(8)
        else session.destroy()
        await sleep(50)
        session.destroy()
      }
      expect(await subject.journalled()).toEqual([])
      for (const { send } of TRANSPORTS) expectAccepted(await send(subject, requestOf(MIB)))
    }))
})

describe('the budget', () => {
  test('over it both transports push back, under it they serve again', () =>
    withSubject({ budgetBytes: 2 * MIB }, async (subject) => {
      const held = Promise.withResolvers<void>()
      subject.disturb({ kind: 'journal-waits', until: held.promise })
      const first = TRANSPORTS[0]!.send(subject, requestOf(1_200_000))
      await sleep(200)
      for (const { send } of TRANSPORTS) expectRetryable(await send(subject, requestOf(MIB)))
      held.resolve()
      expectAccepted(await first)
      subject.disturb(undefined)
      for (const { send } of TRANSPORTS) expectAccepted(await send(subject, requestOf(MIB)))
    }))

  test('output of gzip counts', () =>
    withSubject({ budgetBytes: 2 * MIB }, async (subject) => {
      for (const { send } of TRANSPORTS) {
        expectRetryable(await send(subject, requestOf(3 * MIB), { gzip: true }))
        expectAccepted(await send(subject, requestOf(MIB), { gzip: true }))
      }
    }))

  test('a content length is not charged before its bytes come', () =>
    withSubject({ budgetBytes: 2 * MIB }, async (subject) => {
      const sockets = await Promise.all([1, 2, 3].map(() => openSocket(subject.http)))
      for (const socket of sockets)
        socket.write(
          `POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: ${PROTOBUF}\r\nContent-Length: ${2 * MIB}\r\n\r\n`,
        )
      await sleep(50)
      for (const { send } of TRANSPORTS) expectAccepted(await send(subject, requestOf(MIB)))
      for (const socket of sockets) socket.destroy()
    }))

  test('many requests at once', () =>
    withSubject({}, async (subject) => {
      const sends = Array.from({ length: 200 }, async (_, i) => {
        const body = traces(span({ spanId: spanId(i + 1) }))
        if (i % 2 === 0) expect((await callHttp(subject.http, body)).status).toBe(200)
        else expect((await callGrpc(subject.grpc, body)).code).toBe(0)
      })
      await Promise.all(sends)
      expect(await subject.journalled()).toHaveLength(200)
    }))
})

const HEAD = `POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: ${PROTOBUF}\r\n`

/** Sends this and no more; `text` is all that comes back until the connection is closed. */
async function slowReply(subject: Subject, sent: string): Promise<{ socket: Socket; text: Promise<string> }> {
  const socket = await openSocket(subject.http)
  const text = readToEnd(socket)
  socket.write(sent)
  return { socket, text }
}

function parseReply(text: string): { status: number; headers: Headers; body: Buffer } {
  const end = text.indexOf('\r\n\r\n')
  const [first, ...lines] = text.slice(0, end).split('\r\n')
  const headers = new Headers(
    lines.map((line): [string, string] => {
      const at = line.indexOf(': ')
      return [line.slice(0, at), line.slice(at + 2)]
    }),
  )
  return { status: Number(first!.split(' ')[1]), headers, body: Buffer.from(text.slice(end + 4), 'latin1') }
}

/** One answer, whole, and then the connection was closed. With 503, which may be retried, it says when. */
function expectGivenUp(text: string, status: 413 | 503, code: number): void {
  const reply = parseReply(text)
  expect(reply.status).toBe(status)
  expect(reply.headers.get('connection')).toBe('close')
  expect(reply.headers.get('content-type')).toBe(PROTOBUF)
  expect(reply.headers.get('content-length')).toBe(String(reply.body.length))
  const { delay, ...told } = readStatus(reply.body)
  expect(told).toMatchObject({ code, details: status === 503 ? ['RetryInfo'] : [] })
  expect(reply.headers.get('retry-after')).toBe(delay === undefined ? null : String(Math.round(delay)))
  if (delay !== undefined) expectRetryInfo({ details: told.details, retryInfo: delay })
}

interface OpenedCall {
  readonly headers: Record<string, unknown>
  /** The code with which the stream was closed by the other side. */
  readonly reset: number
}

function expectCallGivenUp({ headers, reset }: OpenedCall, code: number): void {
  expect(headers).toMatchObject({ ':status': 200, 'grpc-status': String(code) })
  const details = Buffer.from(String(headers['grpc-status-details-bin']), 'base64')
  const isRetryable = code === grpcStatus.DEADLINE_EXCEEDED
  expect(readStatus(details)).toMatchObject({ code, details: isRetryable ? ['RetryInfo'] : [] })
  if (isRetryable) expectRetryInfo(retryInfoOf(headers))
  expect(reset).toBe(0)
}

/** Opens a call, sends some bytes and never ends it: what comes back until the stream is closed. */
function openCall(subject: Subject, bytes: Uint8Array): Promise<OpenedCall> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`http://${subject.grpc.host}:${subject.grpc.port}`)
    const stream = session.request({ ':method': 'POST', ':path': TRACES, 'content-type': 'application/grpc' })
    let received: Record<string, unknown> = {}
    stream.on('error', reject)
    stream.on('response', (headers) => {
      received = headers
    })
    stream.on('close', () => {
      session.close()
      resolve({ headers: received, reset: stream.rstCode })
    })
    stream.resume()
    stream.write(bytes)
  })
}
