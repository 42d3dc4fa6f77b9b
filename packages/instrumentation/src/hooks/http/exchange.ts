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
import { beginAsk } from './asks.ts'

/** Questions over this are not looked into, and answers over it are not committed to, which takes time. */
export const MAX_BODY = 64 << 10
/** Answers over this, before or after decompression, are not looked into. */
export const MAX_ANSWER = 1 << 20

export interface Exchange {
  /** Of the URL, without the query. */
  readonly path: string
  /** JSON of the request's body, or what a GET asks in its place; undefined if there was none that could be read. */
  readonly request: unknown
  /** A header of the request. */
  sentHeader(name: string): string | undefined
  /** Absent: no whole answer came, and `failure` says in one word why. */
  readonly answer: Answer | undefined
  readonly failure: string | undefined
}

export interface Answer {
  readonly status: number
  header(name: string): string | undefined
  /** JSON of the body; undefined if there was none, or none that could be read. */
  readonly body: unknown
  /** Its length; `small` up to `MAX_BODY`, `large` up to `MAX_ANSWER`, and then there is no body. */
  readonly size: 'small' | 'large' | 'too large'
  /** How the text of a body begins that is too large; empty for others. */
  readonly beginning: string
}

/** What is asked without a body: the body that would ask the same, undefined if it cannot be read. */
export interface Question {
  readonly body: unknown
}

/** Where a request goes. `question` is there for a GET alone. */
export interface Place {
  readonly hook: HttpHook
  readonly path: string
  readonly question: Question | undefined
}

/** A hook for one protocol over HTTP, whatever client the application uses. */
export interface HttpHook {
  /** Its name, as in `ROOTSPAN_DISABLED_HOOKS`. */
  readonly name: string
  /** Whether a request to this path may be for it. Called for each POST of the process, so it must be cheap. */
  matches(path: string): boolean
  /** What a GET with this query asks; undefined: nothing. Without it no GET is for the hook. */
  questionIn?(query: string): Question | undefined
  /**
   * Called once, when the answer is complete and before the application has the end of it. Returns whether it was for the
   * engine: if not, the request is an action like others.
   */
  record(exchange: Exchange, recorder: Recorder): boolean
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
export function watch(
  { hook, path, question }: Place,
  caller: Context,
  sentHeader: Exchange['sentHeader'],
  { recorder, log }: WatchParts,
): Watch {
  // A span of a GET is no action, and asks for none of this.
  const ask = question === undefined ? beginAsk('watch', caller, path) : undefined
  const request = new Body(MAX_BODY)
  const response = new Body(MAX_ANSWER)
  let status: number | undefined
  let header: Answer['header'] = () => undefined
  let isDone = false
  const finish = (failure: string | undefined): void => {
    if (isDone) return
    isDone = true
    try {
      const isWhole = failure === undefined && status !== undefined
      const answer = isWhole
        ? { status: status!, header, ...response.read(header('content-encoding')) }
        : undefined
      const { body: asked } = question ?? request.read(undefined)
      const exchange = { path, request: asked, sentHeader, answer, failure }
      const isAsked = contexts.with(caller, () => hook.record(exchange, recorder))
      if (ask !== undefined) ask.isAsked = isAsked
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

/** How much of a body that is too large is kept. */
const BEGINNING = 64

type Contents = Pick<Answer, 'body' | 'size' | 'beginning'>

/** Bytes of a body up to a bound. */
class Body {
  readonly #max: number
  #chunks: Buffer[] = []
  #length = 0

  constructor(max: number) {
    this.#max = max
  }

  add(chunk: unknown, encoding: unknown): void {
    if (this.#length > this.#max) return
    const isBytes = chunk instanceof Uint8Array
    if (!isBytes && typeof chunk !== 'string') return
    this.#length += chunk.length
    if (isBytes) this.#chunks.push(Buffer.from(chunk))
    else this.#chunks.push(Buffer.from(chunk, isEncoding(encoding) ? encoding : 'utf8'))
    if (this.#length > this.#max) this.#chunks = [Buffer.concat(this.#chunks).subarray(0, BEGINNING)]
  }

  read(encoding: string | undefined): Contents {
    const bytes = Buffer.concat(this.#chunks)
    const nothing: Contents = { body: undefined, size: 'small', beginning: '' }
    if (bytes.length === 0) return nothing
    try {
      if (this.#length > this.#max)
        return { ...nothing, size: 'too large', beginning: isPlain(encoding) ? bytes.toString('latin1') : '' }
      const text = decompress(bytes, encoding, this.#max)
      return {
        body: JSON.parse(text.toString('utf8')),
        size: text.length > MAX_BODY ? 'large' : 'small',
        beginning: '',
      }
    } catch (error) {
      const isTooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
      return isTooLarge ? { ...nothing, size: 'too large' } : nothing
    }
  }
}

function isPlain(encoding: string | undefined): boolean {
  return encoding === undefined || encoding.trim() === '' || encoding.trim().toLowerCase() === 'identity'
}

function isEncoding(encoding: unknown): encoding is BufferEncoding {
  return typeof encoding === 'string' && Buffer.isEncoding(encoding)
}

function decompress(bytes: Buffer, encoding: string | undefined, maxOutputLength: number): Buffer {
  const options = { maxOutputLength }
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
