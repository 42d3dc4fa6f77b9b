/**
 * A request to a policy engine over HTTP, and its answer, as a hook sees them.
 *
 * The bytes are seen while they pass: they are copied, up to a bound, and never taken, held up or asked for.
 */

import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib'
import { type Context, context as contexts } from '@opentelemetry/api'
import type { Log } from '../../log.ts'
import type { Recorder } from '../../recorder.ts'
import { reasonOf } from '../values.ts'

/** Bodies over this, before or after decompression, are not looked into. */
export const MAX_BODY = 64 << 10

export interface Exchange {
  /** Of the URL, without the query. */
  readonly path: string
  /** JSON of the request's body; undefined if there was none, or none that could be read. */
  readonly request: unknown
  /** Absent: no whole answer came, and `failure` says in one word why. */
  readonly answer: Answer | undefined
  readonly failure: string | undefined
}

export interface Answer {
  readonly status: number
  header(name: string): string | undefined
  /** JSON of the body; undefined if there was none, or none that could be read. */
  readonly body: unknown
}

/** A hook for one protocol over HTTP, whatever client the application uses. */
export interface HttpHook {
  /** Its name, as in `ROOTSPAN_DISABLED_HOOKS`. */
  readonly name: string
  /** Whether a POST to this path may be for it. Called for each POST of the process, so it must be cheap. */
  matches(path: string): boolean
  /** Called once, when the answer is complete and before the application has the end of it. */
  record(exchange: Exchange, recorder: Recorder): void
}

export interface WatchParts {
  readonly recorder: Recorder
  readonly log: Log
}

/** Follows one request; its owner tells it what passes. No method throws. */
export interface Watch {
  sent(chunk: unknown, encoding?: unknown): void
  answered(status: number, header: Answer['header']): void
  received(chunk: unknown, encoding?: unknown): void
  /** The answer is complete. */
  end(): void
  fail(error: unknown): void
}

/** `caller` is the context in which the application asked. */
export function watch(hook: HttpHook, path: string, caller: Context, { recorder, log }: WatchParts): Watch {
  const request = new Body()
  const response = new Body()
  let status: number | undefined
  let header: Answer['header'] = () => undefined
  let isDone = false
  const finish = (failure: string | undefined): void => {
    if (isDone) return
    isDone = true
    try {
      const isWhole = failure === undefined && status !== undefined
      const answer = isWhole
        ? { status: status!, header, body: response.json(header('content-encoding')) }
        : undefined
      const exchange = { path, request: request.json(undefined), answer, failure }
      contexts.with(caller, () => hook.record(exchange, recorder))
    } catch (error) {
      log.failed(`the hook of ${hook.name}`, error)
    }
  }
  return {
    sent: (chunk, encoding) => request.add(chunk, encoding),
    answered(code, read) {
      status = code
      header = read
    },
    received: (chunk, encoding) => response.add(chunk, encoding),
    end: () => finish(undefined),
    fail: (error) => finish(reasonOf(error)),
  }
}

/** Bytes of a body up to the bound. */
class Body {
  #chunks: Buffer[] = []
  #length = 0

  add(chunk: unknown, encoding: unknown): void {
    if (this.#length > MAX_BODY) return
    const isBytes = chunk instanceof Uint8Array
    if (!isBytes && typeof chunk !== 'string') return
    this.#length += chunk.length
    if (this.#length > MAX_BODY) this.#chunks = []
    else if (isBytes) this.#chunks.push(Buffer.from(chunk))
    else this.#chunks.push(Buffer.from(chunk, isEncoding(encoding) ? encoding : 'utf8'))
  }

  /** The value, or undefined if it is over the bound or no JSON. */
  json(encoding: string | undefined): unknown {
    if (this.#length === 0 || this.#length > MAX_BODY) return undefined
    try {
      return JSON.parse(decompress(Buffer.concat(this.#chunks), encoding).toString('utf8'))
    } catch {
      return undefined
    }
  }
}

function isEncoding(encoding: unknown): encoding is BufferEncoding {
  return typeof encoding === 'string' && Buffer.isEncoding(encoding)
}

function decompress(bytes: Buffer, encoding: string | undefined): Buffer {
  const options = { maxOutputLength: MAX_BODY }
  switch (encoding?.trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return gunzipSync(bytes, options)
    case 'deflate':
      return inflateSync(bytes, options)
    case 'br':
      return brotliDecompressSync(bytes, options)
    default:
      return bytes
  }
}
