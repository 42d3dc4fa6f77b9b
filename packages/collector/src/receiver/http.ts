/**
 * OTLP over HTTP/1.1: `POST /v1/{traces,metrics,logs}` as protobuf or JSON, plain or gzip; and what else is pushed
 * over HTTP (`route.ts`), which is authenticated before its body is read.
 *
 * Answers come in the media type of the request; every error has a `google.rpc.Status` as its body (OTLP
 * specification, "OTLP/HTTP Request" and "OTLP/HTTP Response").
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { parseUtf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { logsFromJson, tracesFromJson } from '@rootspan/lineage/otlp/json'
import { type Body, gunzip, Intake, tooLarge } from './body.ts'
import { overBudget } from './budget.ts'
import {
  type Accepted,
  DEFAULT_LIMITS,
  type OnGone,
  type ReceiverOptions,
  Refusal,
  type RunningReceiver,
  SenderGone,
  type Signal,
} from './receiver.ts'
import type { Answer, Route } from './route.ts'
import {
  asRefusal,
  encodeAccepted,
  encodeStatus,
  formatAccepted,
  formatStatus,
  httpStatus,
  retryAfterSeconds,
} from './status.ts'

const PATHS: ReadonlyMap<string, Signal> = new Map([
  ['/v1/traces', 'traces'],
  ['/v1/metrics', 'metrics'],
  ['/v1/logs', 'logs'],
])

const PROTOBUF = 'application/x-protobuf'
const JSON_TYPE = 'application/json'
const ACCEPT_ENCODING = 'gzip, identity'

const MAX_HEADER_BYTES = 16 * 1024

// A refused body is read and thrown away up to this size and for this long, so that the sender gets to read the
// answer and can keep its connection; beyond, the connection is closed.
const DISCARD_BYTES = 256 * 1024
const LINGER_MILLIS = 2000

type MediaType = typeof PROTOBUF | typeof JSON_TYPE

interface Http {
  readonly options: ReceiverOptions
  readonly maxBytes: number
  readonly intake: Intake
  readonly busySockets: WeakMap<Duplex, number>
  draining: boolean
}

interface Head {
  /** What is asked for: a signal of OTLP, or a route beside it. */
  readonly of: { readonly signal: Signal; readonly media: MediaType; readonly peer: string } | Route
  readonly maxBytes: number
  readonly gzipped: boolean
}

/** Starts the receiver; resolves when it listens, rejects if it cannot. */
export async function startHttpReceiver(options: ReceiverOptions): Promise<RunningReceiver> {
  const limits = { ...DEFAULT_LIMITS, ...options }
  const intake = new Intake({
    budget: options.budget,
    maxBytes: limits.maxBodyBytes,
    idleMillis: limits.bodyIdleMillis,
    totalMillis: limits.bodyTotalMillis,
    pool: options.pool,
  })
  const http: Http = {
    options,
    maxBytes: limits.maxBodyBytes,
    intake,
    busySockets: new WeakMap(),
    draining: false,
  }
  const server = createServer({
    headersTimeout: limits.bodyIdleMillis,
    // Bodies are timed by the intake, whose answer the sender can read.
    requestTimeout: 0,
    connectionsCheckingInterval: Math.max(20, Math.min(1000, limits.bodyIdleMillis / 4)),
    keepAliveTimeout: limits.connectionIdleMillis,
    maxHeaderSize: MAX_HEADER_BYTES,
    // Node would answer without a body.
    requireHostHeader: false,
  })
  const sockets = new Set<Socket>()
  server.maxConnections = limits.maxConnections
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('request', (request, response) => serve(http, request, response, false))
  server.on('checkContinue', (request, response) => serve(http, request, response, true))
  // To be refused; Node would do so without a body.
  server.on('checkExpectation', (request, response) => serve(http, request, response, false))
  server.on('clientError', (error, socket) => answerUnparsed(http, error, socket))
  await listening(server, options)
  const { address, port } = server.address() as AddressInfo
  return {
    address: { host: address, port },
    close: (graceMillis) => drain(server, http, sockets, graceMillis),
  }
}

function listening(server: Server, { host, port }: ReceiverOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** One request, from its head to the end of its response. */
function serve(http: Http, request: IncomingMessage, response: ServerResponse, expects: boolean): void {
  request.on('error', ignore)
  response.on('error', ignore)
  occupy(http, request.socket, response)
  let head: Head
  try {
    head = admit(http, request)
  } catch (error) {
    answerRefused(http, request, response, error)
    return
  }
  if (expects) response.writeContinue()

  let over = false
  const body = http.intake.open((refusal) => refuse(refusal))
  const refuse = (error: unknown) => {
    over = true
    body.release()
    answerRefused(http, request, response, error)
  }
  request.on('data', (chunk: Buffer) => {
    if (over) return
    try {
      body.push(chunk)
      if (body.size > head.maxBytes) throw tooLarge(head.maxBytes)
    } catch (error) {
      refuse(error)
    }
  })
  request.on('end', () => {
    if (over) return
    over = true
    void finish(http, request, response, head, body)
  })
  request.on('close', () => {
    if (over) return
    over = true
    body.release()
    http.options.counters.add('requests_aborted', 1)
  })
}

/** The body is here: make protobuf of it, have it ingested, answer. Never throws. */
async function finish(
  http: Http,
  request: IncomingMessage,
  response: ServerResponse,
  { of, maxBytes, gzipped }: Head,
  body: Body,
): Promise<void> {
  const { options } = http
  const onGone: OnGone = (leave) => response.once('close', leave)
  try {
    const sent = body.join(!gzipped && 'media' in of && of.media === PROTOBUF)
    const plain = gzipped ? await gunzip(sent, maxBytes, body, 'malformed') : sent
    if ('take' in of) {
      answerRoute(http, response, await of.take(plain, onGone))
      return
    }
    const { signal, media, peer } = of
    const message = media === PROTOBUF ? plain : fromJson(plain, signal)
    const tracked = request.headers['rootspan-receipt'] === '1'
    const receiver = media === PROTOBUF ? 'otlp/http' : 'otlp/http+json'
    const accepted = await options.ingest({ receiver, signal, body: message, tracked, peer, onGone })
    answerAccepted(http, response, accepted, signal, media, tracked)
  } catch (error) {
    answerRefused(http, request, response, error)
  } finally {
    body.release()
  }
}

/** What can be decided before the body: path, method, media type, coding, announced length, push-back. */
function admit({ options, maxBytes: ofSignals }: Http, request: IncomingMessage): Head {
  if (request.headers.host === undefined && request.httpVersion === '1.1')
    throw new Refusal('protocol', 'the request has no host')
  if (request.headers.expect !== undefined && request.headers.expect.toLowerCase() !== '100-continue')
    throw new Refusal('protocol', 'the only expectation that is met is 100-continue')
  const path = pathOf(request.url ?? '')
  const signal = PATHS.get(path)
  const route = options.routes?.get(path)
  if (signal === undefined && route === undefined) throw new Refusal('not_found', 'no such path')
  if (request.method !== 'POST') throw new Refusal('not_allowed', 'only POST is allowed here')
  route?.admit(request.headers)
  const peer = route === undefined ? (options.authenticate?.(request.headers) ?? '') : ''
  const media = mediaTypeOf(request)
  if (signal !== undefined && media === undefined)
    throw new Refusal('unsupported', 'the content type is not supported')
  const coding = request.headers['content-encoding']?.trim().toLowerCase() ?? ''
  const gzipped = coding === 'gzip' || coding === 'x-gzip'
  if (!gzipped && coding !== '' && coding !== 'identity')
    throw new Refusal('unsupported', 'the content encoding is not supported')
  const maxBytes = route?.maxBytes ?? ofSignals
  const length = Number(request.headers['content-length'] ?? 0)
  if (length > maxBytes) throw tooLarge(maxBytes)
  const refusal = options.gate?.()
  if (refusal !== undefined) throw refusal
  if (!options.budget.fits(length)) throw overBudget()
  return { of: route ?? { signal: signal!, media: media!, peer }, maxBytes, gzipped }
}

/** The path of a request target in origin form or absolute form (RFC 9112, section 3.2), without its query. */
function pathOf(target: string): string {
  const path = target.startsWith('http') && URL.canParse(target) ? new URL(target).pathname : target
  const query = path.indexOf('?')
  return query === -1 ? path : path.slice(0, query)
}

/** The media type of the request where it is one of ours; parameters are ignored unless they name a charset. */
function mediaTypeOf(request: IncomingMessage): MediaType | undefined {
  const value = request.headers['content-type']
  if (value === PROTOBUF || value === JSON_TYPE) return value
  const [type, ...parameters] = (value ?? '').toLowerCase().split(';')
  const media = type!.trim()
  if (media === PROTOBUF) return PROTOBUF
  if (media !== JSON_TYPE) return undefined
  const charset = parameters.map((part) => part.trim()).find((part) => part.startsWith('charset='))
  return charset === undefined || /^charset="?(?:utf-?8|us-ascii)"?$/.test(charset) ? JSON_TYPE : undefined
}

const EMPTY = new Uint8Array(0)

// Converted on the thread that receives: a JSON request of 64 MiB holds up the others for about a second. Senders
// that care about speed use protobuf.
function fromJson(plain: Uint8Array, signal: Signal): Uint8Array {
  if (signal === 'traces') return tracesFromJson(plain)
  if (signal === 'logs') return logsFromJson(plain)
  let value: unknown
  try {
    value = JSON.parse(parseUtf8(plain, 'the body'))
  } catch (error) {
    if (error instanceof MalformedError) throw error
    throw new MalformedError('the body is not JSON', undefined, { cause: error })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new MalformedError('the body is not a JSON object')
  return EMPTY
}

function answerAccepted(
  http: Http,
  response: ServerResponse,
  accepted: Accepted,
  signal: Signal,
  media: MediaType,
  tracked: boolean,
): void {
  if (response.destroyed) return
  const content =
    media === PROTOBUF ? encodeAccepted(accepted) : Buffer.from(formatAccepted(accepted, signal))
  const headers = ['Content-Type', media, 'Content-Length', String(content.length)]
  if (tracked && accepted.position !== undefined) headers.push('Rootspan-Receipt', String(accepted.position))
  if (http.draining) headers.push('Connection', 'close')
  response.writeHead(200, headers)
  response.end(content)
}

function answerRoute(http: Http, response: ServerResponse, answer: Answer): void {
  if (response.destroyed) return
  const headers = routeHeaders(answer)
  if (http.draining) headers.push('Connection', 'close')
  response.writeHead(answer.status, headers)
  response.end(answer.content)
}

function routeHeaders({ content, headers = {} }: Answer): string[] {
  return [
    ...(content === '' ? [] : ['Content-Type', JSON_TYPE]),
    'Content-Length',
    String(Buffer.byteLength(content)),
    ...Object.entries(headers).flat(),
  ]
}

/** An answer wherever the request stands. */
function answerRefused(http: Http, request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const { options } = http
  if (error instanceof SenderGone) {
    options.counters.add('requests_aborted', 1)
    return
  }
  const refusal = asRefusal(error)
  options.counters.add(`requests_refused_${refusal.code}`, 1)
  if (refusal.code === 'internal') options.onBug?.(refusal.cause ?? refusal)
  if (response.destroyed || response.headersSent) return
  const write = (last: boolean) => {
    const { headers, content } = errorOf(http, request, refusal)
    if (last || http.draining) headers.push('Connection', 'close')
    response.writeHead(httpStatus(refusal), headers)
    response.write(content)
  }
  if (request.complete) {
    write(false)
    response.end()
  } else discard(request, response, write)
}

/**
 * Answers a request whose body is still coming. A small rest is thrown away first; before a large or slow one the
 * answer is written at once, and the connection is closed a moment later, because closing it with unread bytes would
 * reset it and take the answer along.
 */
function discard(request: IncomingMessage, response: ServerResponse, write: (last: boolean) => void): void {
  let left = DISCARD_BYTES
  let written = false
  const writeNow = () => {
    if (written) return
    written = true
    write(true)
  }
  const timer = setTimeout(() => {
    writeNow()
    response.end()
  }, LINGER_MILLIS)
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length
    if (left < 0) writeNow()
  })
  request.on('end', () => {
    if (!written) write(false)
    response.end()
  })
  response.on('close', () => clearTimeout(timer))
  const announced = Number(request.headers['content-length'] ?? 0)
  if (announced > DISCARD_BYTES || request.headers.expect !== undefined) writeNow()
}

function errorOf(
  { options }: Http,
  request: IncomingMessage,
  refusal: Refusal,
): { headers: string[]; content: Uint8Array | string } {
  const route = options.routes?.get(pathOf(request.url ?? ''))
  // Whoever sent neither protobuf nor JSON is more likely a person than an exporter.
  const media = mediaTypeOf(request) ?? JSON_TYPE
  const own = media === PROTOBUF ? encodeStatus(refusal) : Buffer.from(formatStatus(refusal))
  const answer = route?.refuse(refusal)
  const content = answer?.content ?? own
  const headers =
    answer === undefined
      ? ['Content-Type', media, 'Content-Length', String(own.length)]
      : routeHeaders(answer)
  const retryAfter = retryAfterSeconds(refusal)
  if (retryAfter !== undefined) headers.push('Retry-After', String(retryAfter))
  if (refusal.code === 'unauthenticated') headers.push('WWW-Authenticate', 'Bearer')
  if (refusal.code === 'not_allowed') headers.push('Allow', 'POST')
  if (refusal.code === 'unsupported') headers.push('Accept-Encoding', ACCEPT_ENCODING)
  return { headers, content }
}

/** Bytes that are not HTTP, a head that is too large or too slow: there is no request to answer, only a socket. */
function answerUnparsed(http: Http, error: NodeJS.ErrnoException, socket: Duplex): void {
  // An answer now would be taken for the answer to a request before it.
  if (error.code === 'ECONNRESET' || !socket.writable || (http.busySockets.get(socket) ?? 0) > 0) {
    socket.destroy()
    return
  }
  // 408 although OTLP does not let it be retried: on a connection without a request HTTP clients take it for its end,
  // and anything else for the answer to their next request.
  const [status, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['431 Request Header Fields Too Large', 'the header fields are too large']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['408 Request Timeout', 'the request did not arrive in time']
        : ['400 Bad Request', 'the request is not HTTP/1.1']
  const refusal = new Refusal('protocol', message)
  http.options.counters.add(`requests_refused_${refusal.code}`, 1)
  const content = formatStatus(refusal)
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: ${JSON_TYPE}\r\nContent-Length: ${content.length}\r\nConnection: close\r\n\r\n${content}`,
  )
  setTimeout(() => socket.destroy(), LINGER_MILLIS).unref()
}

/** Counts the unanswered requests of a socket. */
function occupy({ busySockets }: Http, socket: Duplex, response: ServerResponse): void {
  busySockets.set(socket, (busySockets.get(socket) ?? 0) + 1)
  response.on('close', () => busySockets.set(socket, (busySockets.get(socket) ?? 1) - 1))
}

async function drain(
  server: Server,
  http: Http,
  sockets: ReadonlySet<Socket>,
  graceMillis: number,
): Promise<void> {
  http.draining = true
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  // Node has closed the connections that wait for their next request, but not those that wait for their first.
  for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy()
  const timer = setTimeout(() => server.closeAllConnections(), graceMillis)
  await closed
  clearTimeout(timer)
  http.intake.stop()
}

function ignore(): void {}
