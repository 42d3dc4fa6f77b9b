/**
 * OTLP over gRPC: a server for unary calls on `node:http2`, without TLS by prior knowledge.
 *
 * Its own server because a whole request is one length-prefixed message and nothing else of gRPC is needed, and
 * because HTTP/2's default receive windows of 64 KiB would bound a sender on a long line to a few thousand spans a
 * second. Framing: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; which code answers which
 * mistake: https://grpc.github.io/grpc/core/md_doc_statuscodes.html.
 */
import {
  createServer,
  type Http2Server,
  constants as http2,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { type Body, gunzip, Intake, tooLarge } from './body.ts'
import {
  type Accepted,
  DEFAULT_LIMITS,
  type ReceiverOptions,
  Refusal,
  type RunningReceiver,
  SenderGone,
  type Signal,
} from './receiver.ts'
import { asRefusal, encodeAccepted, encodeStatus, formatGrpcMessage, GRPC_OK, grpcCode } from './status.ts'

const METHODS: ReadonlyMap<string, Signal> = new Map([
  ['/opentelemetry.proto.collector.trace.v1.TraceService/Export', 'traces'],
  ['/opentelemetry.proto.collector.metrics.v1.MetricsService/Export', 'metrics'],
  ['/opentelemetry.proto.collector.logs.v1.LogsService/Export', 'logs'],
])

const CONTENT_TYPE = 'application/grpc'
const ACCEPT_ENCODING = 'identity,gzip'

// A stream may be 4 MiB ahead of us and a connection 16 MiB: full speed over a line of 100 ms. Larger frames mean
// fewer calls per message from senders that use them.
const STREAM_WINDOW = 4 * 1024 * 1024
const CONNECTION_WINDOW = 16 * 1024 * 1024
const MAX_FRAME = 1024 * 1024
const MAX_STREAMS = 256
const MAX_HEADER_BYTES = 16 * 1024
const SESSION_MEGABYTES = 32

/** Flag byte and length of a message. */
const PREFIX = 5

interface Grpc {
  readonly options: ReceiverOptions
  readonly maxBytes: number
  readonly intake: Intake
}

/** Starts the receiver; resolves when it listens, rejects if it cannot. */
export async function startGrpcReceiver(options: ReceiverOptions): Promise<RunningReceiver> {
  const limits = { ...DEFAULT_LIMITS, ...options }
  const intake = new Intake({
    budget: options.budget,
    maxBytes: limits.maxBodyBytes,
    idleMillis: limits.bodyIdleMillis,
    totalMillis: limits.bodyTotalMillis,
    pool: options.pool,
  })
  const grpc: Grpc = { options, maxBytes: limits.maxBodyBytes, intake }
  const server = createServer({
    settings: {
      initialWindowSize: STREAM_WINDOW,
      maxFrameSize: MAX_FRAME,
      maxConcurrentStreams: MAX_STREAMS,
      maxHeaderListSize: MAX_HEADER_BYTES,
      enablePush: false,
    },
    maxSessionMemory: SESSION_MEGABYTES,
  })
  const sessions = new Set<ServerHttp2Session>()
  server.maxConnections = limits.maxConnections
  server.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
    session.on('error', ignore)
    session.setLocalWindowSize(CONNECTION_WINDOW)
    session.setTimeout(limits.connectionIdleMillis, () => {
      if (!session.closed) endSession(session, limits.bodyIdleMillis)
    })
  })
  server.on('sessionError', ignore)
  server.on('stream', (stream, headers) => serve(grpc, stream, headers))
  await listening(server, options)
  const { address, port } = server.address() as AddressInfo
  return {
    address: { host: address, port },
    close: (graceMillis) => drain(server, sessions, intake, graceMillis),
  }
}

function listening(server: Http2Server, { host, port }: ReceiverOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

/** One call, from its headers to its trailers. */
function serve(grpc: Grpc, stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
  stream.on('error', ignore)
  const wrong = notGrpc(headers)
  if (wrong !== undefined) {
    endWith(stream, wrong)
    return
  }
  let call: Call
  let deadline: number | undefined
  try {
    call = admit(grpc, headers)
    deadline = deadlineOf(headers)
  } catch (error) {
    answerRefused(grpc, stream, error)
    return
  }

  let frameEnd = Number.POSITIVE_INFINITY
  let over = false
  const body = grpc.intake.open((refusal) => refuse(refusal))
  const refuse = (error: unknown) => {
    over = true
    body.release()
    answerRefused(grpc, stream, error)
  }
  stream.on('data', (chunk: Buffer) => {
    if (over) return
    try {
      body.push(chunk)
      if (frameEnd === Number.POSITIVE_INFINITY && body.size >= PREFIX) frameEnd = frameEndOf(grpc, body)
      if (body.size >= frameEnd + PREFIX)
        throw new Refusal('unsupported', 'a unary call with more than one message')
    } catch (error) {
      refuse(error)
    }
  })
  stream.on('end', () => {
    if (over) return
    over = true
    void finish(grpc, stream, headers, call, deadline, body, frameEnd)
  })
  stream.on('close', () => {
    if (over) return
    over = true
    body.release()
    grpc.options.counters.add('requests_aborted', 1)
  })
}

/** The body is here: take the message out, have it ingested, answer. Never throws. */
async function finish(
  grpc: Grpc,
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { signal, peer }: Call,
  deadline: number | undefined,
  body: Body,
  frameEnd: number,
): Promise<void> {
  const { options } = grpc
  try {
    const size = body.size
    if (size === 0) throw new Refusal('unsupported', 'a unary call without a message')
    if (size < frameEnd) throw new Refusal('protocol', 'the message is cut off')
    if (size > frameEnd) throw new Refusal('protocol', 'bytes after the message')
    const frame = body.join(body.byte(0) === 0)
    const message = await decompress(grpc, frame, headers, body)
    // The sender has given up on the call by now and will send it again, so it is not stored. Later than this the
    // deadline is not looked at: what is durable is acknowledged.
    if (deadline !== undefined && performance.now() > deadline)
      throw new Refusal('timeout', 'the deadline of the call has passed')
    const tracked = headers['rootspan-receipt'] === '1'
    const accepted = await options.ingest({
      receiver: 'otlp/grpc',
      signal,
      body: message,
      tracked,
      peer,
      onGone: (leave) => stream.once('close', leave),
    })
    answerAccepted(stream, accepted, tracked)
  } catch (error) {
    answerRefused(grpc, stream, error)
  } finally {
    body.release()
  }
}

/** HTTP's own refusals, for callers that do not speak gRPC (PROTOCOL-HTTP2, Requests). */
function notGrpc(headers: IncomingHttpHeaders): Record<string, string | number> | undefined {
  if (headers[':method'] !== 'POST') return { ':status': 405, allow: 'POST' }
  const type = headers['content-type']
  if (type === CONTENT_TYPE || type === 'application/grpc+proto') return undefined
  const media = (type ?? '').split(';')[0]!.trim().toLowerCase()
  if (media === CONTENT_TYPE || media === 'application/grpc+proto') return undefined
  return { ':status': 415 }
}

interface Call {
  readonly signal: Signal
  readonly peer: string
}

/** What can be decided before the body: method, sender, coding, push-back. */
function admit({ options }: Grpc, headers: IncomingHttpHeaders): Call {
  const signal = METHODS.get(headers[':path'] ?? '')
  if (signal === undefined) throw new Refusal('not_found', 'unknown method')
  const peer = options.authenticate?.(headers) ?? ''
  const coding = headers['grpc-encoding']
  if (coding !== undefined && coding !== 'identity' && coding !== 'gzip')
    throw new Refusal('unsupported', 'the message encoding is not supported')
  const refusal = options.gate?.()
  if (refusal !== undefined) throw refusal
  return { signal, peer }
}

const TIMEOUT = /^([0-9]{1,8})([HMSmun])$/
const TIMEOUT_MILLIS: Record<string, number> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

function deadlineOf(headers: IncomingHttpHeaders): number | undefined {
  const value = headers['grpc-timeout']
  if (value === undefined) return undefined
  const match = TIMEOUT.exec(String(value))
  if (match === null) throw new Refusal('protocol', 'grpc-timeout is malformed')
  return performance.now() + Number(match[1]) * TIMEOUT_MILLIS[match[2]!]!
}

/** Checks flag and length of the message; where it ends in the body. */
function frameEndOf({ maxBytes }: Grpc, body: Body): number {
  if (body.byte(0) > 1) throw new Refusal('protocol', 'the compressed flag is neither 0 nor 1')
  const length = ((body.byte(1) << 24) | (body.byte(2) << 16) | (body.byte(3) << 8) | body.byte(4)) >>> 0
  if (length > maxBytes) throw tooLarge(maxBytes)
  return PREFIX + length
}

async function decompress(
  { maxBytes }: Grpc,
  frame: Uint8Array,
  headers: IncomingHttpHeaders,
  body: Body,
): Promise<Uint8Array> {
  const message = frame.subarray(PREFIX)
  // Flag 0 under `grpc-encoding: gzip` is a sender that chose not to compress this message.
  if (frame[0] === 0) return message
  if (headers['grpc-encoding'] !== 'gzip')
    throw new Refusal('protocol', 'the compressed flag is set without a message encoding')
  return gunzip(message, maxBytes, body, 'protocol')
}

const EMPTY_FRAME = Buffer.alloc(PREFIX)
const OK_HEADERS = { ':status': 200, 'content-type': CONTENT_TYPE } as const
const OK_TRAILERS = { 'grpc-status': String(GRPC_OK) } as const
const END_OPTIONS = { endStream: true, sendDate: false } as const
const OK_OPTIONS = { waitForTrailers: true, sendDate: false } as const

function sendOkTrailers(this: ServerHttp2Stream): void {
  this.sendTrailers(OK_TRAILERS)
}

function answerAccepted(stream: ServerHttp2Stream, accepted: Accepted, tracked: boolean): void {
  if (stream.destroyed || stream.closed) return
  const headers =
    tracked && accepted.position !== undefined
      ? { ...OK_HEADERS, 'rootspan-receipt': String(accepted.position) }
      : OK_HEADERS
  stream.respond(headers, OK_OPTIONS)
  stream.on('wantTrailers', sendOkTrailers)
  stream.end(formatFrame(encodeAccepted(accepted)))
}

function formatFrame(message: Uint8Array): Buffer {
  if (message.length === 0) return EMPTY_FRAME
  const frame = Buffer.alloc(PREFIX + message.length)
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, PREFIX)
  return frame
}

/** A response of trailers only, wherever the request stands; the rest of its body is not wanted. */
function answerRefused({ options }: Grpc, stream: ServerHttp2Stream, error: unknown): void {
  if (error instanceof SenderGone) {
    options.counters.add('requests_aborted', 1)
    return
  }
  const refusal = asRefusal(error)
  options.counters.add(`requests_refused_${refusal.code}`, 1)
  if (refusal.code === 'internal') options.onBug?.(refusal.cause ?? refusal)
  if (stream.destroyed || stream.closed || stream.headersSent) return
  const headers: Record<string, string | number> = {
    ...OK_HEADERS,
    'grpc-status': String(grpcCode(refusal)),
    'grpc-message': formatGrpcMessage(refusal.message),
    'grpc-status-details-bin': Buffer.from(encodeStatus(refusal)).toString('base64').replace(/=+$/, ''),
  }
  if (refusal.code === 'unsupported' || refusal.code === 'not_found')
    headers['grpc-accept-encoding'] = ACCEPT_ENCODING
  endWith(stream, headers)
}

// RFC 9113, section 8.1: a server that has answered in full asks the sender to stop with RST_STREAM(NO_ERROR).
function endWith(stream: ServerHttp2Stream, headers: Record<string, string | number>): void {
  stream.respond(headers, END_OPTIONS)
  stream.resume()
  if (!stream.readableEnded) stream.close(http2.NGHTTP2_NO_ERROR)
}

/** GOAWAY, then the end of the connection when its calls are answered, or after a while in any case. */
function endSession(session: ServerHttp2Session, graceMillis: number): void {
  if (session.destroyed) return
  if (!session.closed) session.close()
  const timer = setTimeout(() => session.destroy(), graceMillis)
  session.on('close', () => clearTimeout(timer))
}

async function drain(
  server: Http2Server,
  sessions: ReadonlySet<ServerHttp2Session>,
  intake: Intake,
  graceMillis: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  for (const session of sessions) endSession(session, graceMillis)
  await closed
  intake.stop()
}

function ignore(): void {}
