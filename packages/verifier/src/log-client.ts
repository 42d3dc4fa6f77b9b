/**
 * Reads a log over HTTP: the files of a C2SP tlog-tiles prefix, and the checkpoints that a Rootspan log keeps.
 *
 * The server is not trusted, with memory and time neither: every answer has a bound, every request a deadline;
 * redirects stay on the same host; what is transient is tried again a few times.
 */
import http from 'node:http'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { UnusableError } from './world.ts'

export interface LogClientOptions {
  /** Requests at the same time. */
  readonly connections: number
  /** Milliseconds that one request may take, all of it. */
  readonly timeoutMillis: number
  /** How often a request is tried. */
  readonly attempts: number
  /** Milliseconds before the second try; doubles with each. */
  readonly backoffMillis: number
}

const DEFAULTS: LogClientOptions = { connections: 8, timeoutMillis: 30_000, attempts: 5, backoffMillis: 200 }
const MAX_REDIRECTS = 3
const MAX_BACKOFF_MILLIS = 10_000

/** Statuses that may be another one a moment later. */
const TRANSIENT: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])

interface Answer {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
}

/** Thrown within; becomes an UnusableError after the last attempt. */
class TransientError extends Error {
  /** Milliseconds that the server asked to be left alone for. */
  readonly retryAfter: number

  constructor(message: string, retryAfter = 0) {
    super(message)
    this.retryAfter = retryAfter
  }
}

export class LogClient {
  /** The log's prefix, ending in a slash. */
  readonly prefix: URL
  readonly #options: LogClientOptions
  readonly #agent: http.Agent
  readonly #request: typeof http.request

  /** `url` is the log's prefix, with or without a slash at its end. Throws an UnusableError on what is none. */
  constructor(url: string, options: Partial<LogClientOptions> = {}) {
    this.prefix = parsePrefix(url)
    this.#options = { ...DEFAULTS, ...options }
    const transport = this.prefix.protocol === 'https:' ? https : http
    this.#agent = new transport.Agent({
      keepAlive: true,
      maxSockets: this.#options.connections,
      scheduling: 'fifo',
    })
    this.#request = transport.request
  }

  close(): void {
    this.#agent.destroy()
  }

  /**
   * The bytes under a path below the prefix, at most `limit`; undefined where there is nothing (404). Rejects with
   * an UnusableError that names the path.
   */
  async find(path: string, limit: number): Promise<Buffer | undefined> {
    const { attempts, backoffMillis } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#fetch(new URL(path, this.prefix), limit)
      } catch (error) {
        if (!(error instanceof TransientError)) throw error
        if (attempt >= attempts)
          throw new UnusableError(
            `${new URL(path, this.prefix)}: ${error.message}, ${attempts} times`,
            'Check that the log is running and reachable, and try again.',
            { cause: error },
          )
        const wait = Math.max(error.retryAfter, backoffMillis * 2 ** (attempt - 1))
        await delay(Math.min(wait, MAX_BACKOFF_MILLIS))
      }
    }
  }

  /** As {@link find}; what is not there is an UnusableError, too. */
  async get(path: string, limit: number): Promise<Buffer> {
    const bytes = await this.find(path, limit)
    if (bytes !== undefined) return bytes
    throw new UnusableError(
      `${new URL(path, this.prefix)}: the log does not serve it (404)`,
      'A log has to serve everything that it signed. Try again, then ask its operator.',
    )
  }

  async #fetch(from: URL, limit: number): Promise<Buffer | undefined> {
    let url = from
    for (let redirects = 0; ; redirects++) {
      const { status, headers, body } = await this.#ask(url, limit)
      if (status === 200) return decoded(url, headers, body, limit)
      if (status === 404 || status === 410) return undefined
      if (TRANSIENT.has(status)) throw new TransientError(`status ${status}`, retryAfter(headers))
      const { location } = headers
      if (status < 300 || status > 399 || location === undefined)
        throw new UnusableError(`${url}: status ${status}`, 'Check the URL: it is the prefix of a log.')
      if (redirects === MAX_REDIRECTS)
        throw new UnusableError(`${url}: over ${MAX_REDIRECTS} redirects`, 'Give the URL that they lead to.')
      const target = URL.parse(location, url)
      if (target?.origin !== url.origin)
        throw new UnusableError(
          `${url}: redirects to another host, ${target?.origin ?? 'a URL that is none'}`,
          'If you trust it, give the URL that it leads to.',
        )
      url = target
    }
  }

  #ask(url: URL, limit: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const request = this.#request(url, {
        agent: this.#agent,
        headers: { 'user-agent': 'rootspan-verify', accept: '*/*', 'accept-encoding': 'identity' },
        timeout: this.#options.timeoutMillis,
      })
      const deadline = setTimeout(
        () => request.destroy(new TransientError(`no answer within ${this.#options.timeoutMillis / 1000} s`)),
        this.#options.timeoutMillis,
      )
      const fail = (error: Error): void => {
        clearTimeout(deadline)
        reject(isOurs(error) ? error : new TransientError(describe(error)))
      }
      request.on('error', fail)
      request.on('timeout', () =>
        request.destroy(new TransientError('the connection was silent for too long')),
      )
      request.on('response', (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          // An error's text is nobody's business here; anything longer than it may be is cut off.
          if (size > limit)
            request.destroy(
              new UnusableError(
                `${url}: over ${limit} bytes`,
                'This is not what a log serves there: check the URL.',
              ),
            )
          else chunks.push(chunk)
        })
        response.on('error', fail)
        response.on('aborted', () => fail(new Error('the connection was cut')))
        response.on('end', () => {
          clearTimeout(deadline)
          const body = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
        })
      })
      request.end()
    })
  }
}

function parsePrefix(text: string): URL {
  const url = URL.parse(text)
  if (
    url === null ||
    (url.protocol !== 'http:' && url.protocol !== 'https:') ||
    url.search !== '' ||
    url.hash !== ''
  )
    throw new UnusableError(
      `${text} is not the URL of a log`,
      'Give its prefix, below which checkpoint and tile/ lie, e.g. http://127.0.0.1:4320/log.',
    )
  if (!url.pathname.endsWith('/')) url.pathname += '/'
  return url
}

/** What tlog-tiles allows a server to do although nobody asked for it. */
function decoded(url: URL, headers: http.IncomingHttpHeaders, body: Buffer, limit: number): Buffer {
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return body
  if (encoding !== 'gzip')
    throw new UnusableError(
      `${url}: it comes in the encoding ${encoding}`,
      'Logs are served plain or in gzip.',
    )
  try {
    return gunzipSync(body, { maxOutputLength: limit })
  } catch (error) {
    throw new UnusableError(
      `${url}: it is no gzip, or over ${limit} bytes`,
      'Try again, then ask its operator.',
      {
        cause: error,
      },
    )
  }
}

/** Retry-After in seconds; a date is not waited for. */
function retryAfter(headers: http.IncomingHttpHeaders): number {
  const seconds = Number(headers['retry-after'] ?? 0)
  return Number.isFinite(seconds) ? seconds * 1000 : 0
}

function isOurs(error: Error): boolean {
  return error instanceof TransientError || error instanceof UnusableError
}

function describe(error: Error): string {
  const { code } = error as NodeJS.ErrnoException
  // A refused connection to several addresses comes as an AggregateError without a message.
  return code === 'ECONNREFUSED' ? 'connection refused' : error.message || code || 'the connection failed'
}
