/**
 * The last requests of a process that called `process.exit`: nothing asynchronous happens in it any more, so another
 * thread sends them while this one waits.
 */
import { Worker } from 'node:worker_threads'
import type { Endpoint } from './endpoint.ts'
import { headersOf } from './send.ts'

/** What the thread is given. */
interface Work {
  /** One number: 0 until the thread is done. */
  readonly done: SharedArrayBuffer
  readonly url: string
  readonly tls: Endpoint['tls']
  readonly requests: readonly Request[]
}

interface Request {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

const ALL_TAKEN = 1
const NOT_TAKEN = 2

/**
 * Sends OTLP/HTTP requests, one after the other, until one is not taken or the time is over. Blocks the thread. Whether
 * all were taken. A thread takes some 50 ms to start. Throws where none may be started.
 */
export function sendAtExit(
  { url, headers, tls }: Endpoint,
  bodies: readonly Uint8Array[],
  millis: number,
): boolean {
  const done = new SharedArrayBuffer(4)
  const requests = bodies.map((body) => ({ headers: headersOf(headers, body), body }))
  const workerData: Work = { done, url: url.href, tls, requests }
  // Without the flags of the process, which would instrument the thread.
  const { NODE_OPTIONS: _, ...env } = process.env
  const options = { eval: true, workerData, execArgv: [], env }
  const worker = new Worker(`(${sendAll.toString()})(${ALL_TAKEN}, ${NOT_TAKEN})`, options)
  worker.unref()
  const flag = new Int32Array(done)
  Atomics.wait(flag, 0, 0, millis)
  return Atomics.load(flag, 0) === ALL_TAKEN
}

/** Runs in the thread, as text: it refers to nothing around it, nor to what a compiler would put there. */
async function sendAll(allTaken: number, notTaken: number): Promise<void> {
  const { workerData } = await import('node:worker_threads')
  const { done, url, tls, requests } = workerData as Work
  const { request } = url.startsWith('https:') ? await import('node:https') : await import('node:http')
  const send = ({ headers, body }: Request): Promise<boolean> =>
    new Promise((resolve) => {
      const outgoing = request(url, { ...tls, method: 'POST', headers })
      outgoing.on('error', () => resolve(false))
      outgoing.on('response', (response: import('node:http').IncomingMessage) => {
        response.resume()
        response.on('close', () => resolve(response.complete && response.statusCode === 200))
      })
      outgoing.end(body)
    })
  let isTaken = true
  for (const one of requests) {
    isTaken = await send(one)
    if (!isTaken) break
  }
  const flag = new Int32Array(done)
  Atomics.store(flag, 0, isTaken ? allTaken : notTaken)
  Atomics.notify(flag, 0)
}
