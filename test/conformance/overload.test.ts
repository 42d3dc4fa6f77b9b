/** Bombs and slow senders, several at once: what they are told, what they cost, and that others are served meanwhile. */
import { readFileSync, writeFileSync } from 'node:fs'
import { type ClientHttp2Session, type ClientHttp2Stream, connect as connectHttp2 } from 'node:http2'
import type { Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { status as grpcStatus } from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { callHttp, callRaw, frame, openSocket, PROTOBUF, TRACES } from './clients.ts'
import { readStatus, span, spanId, traces } from './fixtures.ts'
import { type Subject, startSubject } from './subject.ts'
import { expectAccepted, TRANSPORTS } from './transports.ts'

const MIB = 1024 * 1024
/** A gigabyte out of one megabyte: as one body of gzip members, so that it is made in no time. */
const BOMB = Buffer.concat(Array<Buffer>(10).fill(gzipSync(Buffer.alloc(100 * MIB), { level: 9 })))
/** Twice the budget over all requests. Three bombs would take 3 GB. */
const BOMBS_BYTES = 2 * 256 * MIB
/** Of 240 senders who hold a connection and next to nothing of a request. */
const SLOW_BYTES = 64 * MIB

let subject: Subject
beforeAll(async () => {
  subject = await startSubject()
  // What a first request costs is not what is measured.
  for (const { send } of TRANSPORTS) expectAccepted(await send(subject, traces(span())))
})
afterAll(() => subject.stop(50))

/** How much more memory than now the receiving process has at most until it is asked; elsewhere than on Linux nothing. */
function watchMemory(pid: number): () => number {
  if (process.platform !== 'linux') return () => 0
  const read = (name: string): number =>
    Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  const before = read('VmRSS')
  return () => read('VmHWM') - before
}

/** Sends small requests over both transports until it is told to stop: every one is accepted. Resolves to how many. */
function keepSending(): () => Promise<number> {
  let isStopped = false
  const sending = (async () => {
    let sent = 0
    for (; !isStopped; sent++)
      for (const { send } of TRANSPORTS)
        expectAccepted(await send(subject, traces(span({ spanId: spanId(sent + 1) }))))
    return sent
  })()
  sending.catch(() => {})
  return () => {
    isStopped = true
    return sending
  }
}

test('bombs are refused in bounded memory, and others are served meanwhile', async () => {
  expect(BOMB.length * 900).toBeLessThan(1000 * MIB)
  const grown = watchMemory(subject.pid)
  const stop = keepSending()
  const overHttp = async () => {
    const answer = await callHttp(subject.http, BOMB, { headers: { 'content-encoding': 'gzip' } })
    expect(answer.status).toBe(413)
    expect(answer.headers['retry-after']).toBeUndefined()
    expect(readStatus(answer.body)).toMatchObject({ code: grpcStatus.RESOURCE_EXHAUSTED, details: [] })
  }
  const overGrpc = async () => {
    const { headers, reset } = await callRaw(subject.grpc, [frame(BOMB, 1)], { 'grpc-encoding': 'gzip' })
    expect(headers[':status']).toBe(200)
    expect(headers['grpc-status']).toBe(String(grpcStatus.RESOURCE_EXHAUSTED))
    expect(reset).toBe(0)
  }
  for (let round = 0; round < 2; round++) await Promise.all([overHttp(), overHttp(), overGrpc()])
  expect(await stop()).toBeGreaterThan(0)
  expect(grown()).toBeLessThan(BOMBS_BYTES)
})

test('slow senders hold up nobody, cost little, and are served when they go on', async () => {
  const before = (await subject.journalled()).length
  const grown = watchMemory(subject.pid)
  const sockets: Socket[] = []
  const sessions: ClientHttp2Session[] = []
  const streams: ClientHttp2Stream[] = []
  const body = traces(span())
  const head = `POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: ${PROTOBUF}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n`
  try {
    for (let at = 0; at < 200; at++) {
      const socket = await openSocket(subject.http)
      socket.on('error', () => undefined)
      socket.write(at % 2 === 0 ? head : `${head}\r\n`)
      sockets.push(socket)
    }
    for (let at = 0; at < 40; at++) {
      const session = connectHttp2(`http://${subject.grpc.host}:${subject.grpc.port}`)
      const stream = session.request({
        ':method': 'POST',
        ':path': TRACES,
        'content-type': 'application/grpc',
        te: 'trailers',
      })
      stream.on('error', () => undefined)
      stream.write(frame(body).subarray(0, 20))
      sessions.push(session)
      streams.push(stream)
    }
    for (const { send } of TRANSPORTS)
      for (let at = 0; at < 20; at++)
        expectAccepted(await send(subject, traces(span({ spanId: spanId(at + 1) }))))
    expect((await subject.journalled()).length).toBe(before + 40)
    expect(grown()).toBeLessThan(SLOW_BYTES)

    // None of them was given up.
    const statuses = sockets.map(
      (socket) =>
        new Promise((resolve) => socket.once('data', (data) => resolve(data.toString().slice(0, 12)))),
    )
    for (const [at, socket] of sockets.entries()) {
      if (at % 2 === 0) socket.write('\r\n')
      socket.write(body)
    }
    expect(new Set(await Promise.all(statuses))).toEqual(new Set(['HTTP/1.1 200']))
    const codes = streams.map(
      (stream) =>
        new Promise((resolve) => stream.once('trailers', (trailers) => resolve(trailers['grpc-status']))),
    )
    for (const stream of streams) {
      stream.resume()
      stream.end(frame(body).subarray(20))
    }
    expect(new Set(await Promise.all(codes))).toEqual(new Set(['0']))
    expect((await subject.journalled()).length).toBe(before + 40 + 240)
  } finally {
    for (const socket of sockets) socket.destroy()
    for (const session of sessions) session.destroy()
  }
})
