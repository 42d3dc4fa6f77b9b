/** The API as its own thread: over sockets, beside a writer, with readers that are slow, and when it is closed. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { formatHex } from '@rootspan/lineage/bytes'
import { openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { formatVerifierKey } from '@rootspan/lineage/tlog/key'
import { verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiMessage, ApiOptions } from '../../packages/collector/src/api/options.ts'
import { traceIdOf } from '../support/executions.ts'
import { StoredLog } from '../support/stored-log.ts'

let directory: string
let log: StoredLog
let api: Worker
let endpoint: string

const BIG = 1
const evidenceOf = (trace: number): string => `/api/v1/executions/${formatHex(traceIdOf(trace))}/evidence`

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-api-'))
  log = await StoredLog.create(directory)
  // Over what the kernel buffers on a loopback connection, so that a reader that stops is felt.
  const specs = Array.from({ length: 64 }, (_, at) => ({
    id: at + 1,
    attributes: { blob: randomBytes(200_000) },
  }))
  await log.receive(BIG, specs)
  await log.receive(2, [{ id: 1 }])
  await log.commit()
  await log.checkpoint()
  api = startApi(0)
  endpoint = await ready(api)
})

afterAll(async () => {
  if (api.threadId !== -1) await api.terminate()
  await log.close()
  await rm(directory, { recursive: true })
})

function startApi(port: number): Worker {
  const workerData: ApiOptions = {
    board: log.board.buffer,
    host: '127.0.0.1',
    port,
    logDirectory: join(directory, 'log'),
    packsDirectory: join(directory, 'packs'),
    key: formatVerifierKey(log.key.verifier),
    version: '1.2.3',
    graceMillis: 10_000,
  }
  return new Worker(new URL('../../packages/collector/src/api/thread.ts', import.meta.url), { workerData })
}

async function ready(worker: Worker): Promise<string> {
  const [message] = (await once(worker, 'message')) as [ApiMessage]
  if (message.type !== 'ready') throw new Error(`not ready: ${JSON.stringify(message)}`)
  return message.endpoint
}

/** A request whose answer is not read: resolves when its first bytes are there. */
async function stalled(path: string): Promise<Socket> {
  const { hostname, port } = new URL(endpoint)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.write(`GET ${path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n`)
  await once(socket, 'readable')
  return socket
}

async function rest(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

test('what is signed while it runs is served at once', async () => {
  for (let trace = 10; trace < 20; trace++) {
    await log.receive(trace, [{ id: 1 }, { id: 2, parent: 1 }])
    await log.commit()
    const early = await fetch(endpoint + evidenceOf(trace))
    expect(early.status).toBe(409)
    const note = await log.checkpoint()
    const checkpoint = new Uint8Array(await (await fetch(`${endpoint}/log/checkpoint`)).arrayBuffer())
    expect(Buffer.from(checkpoint)).toEqual(Buffer.from(note))
    const response = await fetch(endpoint + evidenceOf(trace))
    const execution = verify(new Uint8Array(await response.arrayBuffer()), log.policy)
    expect(execution.checkpoint.size).toBe(openCheckpoint(note, log.policy).checkpoint.size)
    expect(execution.records.length).toBe(3)
  }
})

test('readers that stop hold places and no memory; the rest is served, and the places come back', async () => {
  const sockets = await Promise.all(Array.from({ length: 8 }, () => stalled(evidenceOf(BIG))))
  const ninth = await fetch(endpoint + evidenceOf(2))
  expect(ninth.status).toBe(503)
  expect(ninth.headers.get('retry-after')).toBe('1')
  expect((await fetch(`${endpoint}/log/checkpoint`)).status).toBe(200)
  for (const socket of sockets) socket.destroy()
  await expect.poll(async () => (await fetch(endpoint + evidenceOf(2))).status).toBe(200)

  const whole = await (await fetch(endpoint + evidenceOf(BIG))).text()
  expect(whole.length).toBeGreaterThan(15_000_000)
  expect(JSON.parse(whole).segments[0].entries.length).toBe(65)
})

test('a request that is none is refused', async () => {
  const { hostname, port } = new URL(endpoint)
  for (const text of ['\0\0\0\0\r\n\r\n', `GET / HTTP/1.1\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`]) {
    const socket = connect(Number(port), hostname)
    socket.write(text)
    expect((await rest(socket)).toString()).toMatch(/^HTTP\/1\.1 4[03][01] /)
  }
})

test('a port that is taken is an error of the thread', async () => {
  const second = startApi(Number(new URL(endpoint).port))
  const [error] = (await once(second, 'error')) as [Error]
  expect(error).toMatchObject({ code: 'EADDRINUSE' })
})

test('close lets what is under way finish, takes nothing new, and ends the thread', async () => {
  const socket = await stalled(evidenceOf(BIG))
  const exited = once(api, 'exit')
  api.postMessage({ type: 'close' })
  await expect
    .poll(() =>
      fetch(`${endpoint}/health/live`).then(
        () => 'answered',
        () => 'refused',
      ),
    )
    .toBe('refused')
  const answer = (await rest(socket)).toString('latin1')
  expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  // Chunks may begin anywhere.
  expect(answer).toMatch(/"\}(?:\r\n[0-9a-f]+\r\n)?\](?:\r\n[0-9a-f]+\r\n)?\}\n\r\n0\r\n\r\n$/)
  expect((await exited)[0]).toBe(0)
  // The handle of the thread that opened first still works.
  expect((await log.reader.checkpoint())?.length).toBeGreaterThan(0)
})
