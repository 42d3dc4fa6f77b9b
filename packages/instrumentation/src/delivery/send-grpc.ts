/**
 * OTLP/gRPC requests: unary calls over one connection of `node:http2`, and what their answers mean for evidence.
 *
 * The receipt is asked for and comes as metadata of the name that it has over HTTP. Framing:
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. The connection never keeps the process alive.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2'
import type { Endpoint } from './endpoint.ts'
import { rejectedSpans, retryDelay } from './response.ts'
import { type Answer, later, MAX_ANSWER, positionOf, type Sender } from './send.ts'

const PATH = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'
/** Flag byte and length of a message. */
const PREFIX = 5
/** Codes of gRPC (https://grpc.io/docs/guides/status-codes/). */
const OK = 0
const INVALID_ARGUMENT = 3
const RESOURCE_EXHAUSTED = 8

export function createGrpcSender({ url, headers, timeoutMillis, tls }: Endpoint): Sender {
  let session: ClientHttp2Session | undefined

  const connected = (): ClientHttp2Session => {
    if (session !== undefined && !session.closed && !session.destroyed) return session
    const fresh = connect(url.origin, { ...tls, settings: { enablePush: false } })
    fresh.on('error', ignore) // each of its streams has it too
    fresh.on('goaway', () => fresh.close())
    fresh.unref()
    session = fresh
    return fresh
  }

  const exchange = async (body: Uint8Array, millis: number): Promise<Answer> => {
    let stream: ClientHttp2Stream
    try {
      stream = connected().request({
        ...headers,
        ':method': 'POST',
        ':path': PATH,
        te: 'trailers',
        'content-type': 'application/grpc+proto',
        'grpc-timeout': `${Math.min(99_999_999, Math.max(1, Math.floor(millis)))}m`,
        'rootspan-receipt': '1',
      })
    } catch (error) {
      return later(codeOf(error))
    }
    // A peer that is gone without a word is found out only by silence: the next request has another connection.
    const answer = answerTo(stream, millis, () => session?.destroy())
    stream.end(frameOf(body))
    return answer
  }

  return {
    send: (body, millis = timeoutMillis) => exchange(body, millis),
    close: () => session?.destroy(),
  }
}

/** Calls `onSilence` where none comes in time. Holds nothing of what was asked, for the reason said in send.ts. */
function answerTo(stream: ClientHttp2Stream, millis: number, onSilence: () => void): Promise<Answer> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      resolve(later('no answer in time'))
      stream.close(constants.NGHTTP2_CANCEL)
      onSilence()
    }, millis)
    timer.unref()
    collect(stream).then(
      ({ first, last, content }) => resolve(answerOf({ ...first, ...last }, content)),
      (error: unknown) => resolve(later(codeOf(error))),
    )
    stream.on('close', () => clearTimeout(timer))
  })
}

interface Received {
  readonly first: IncomingHttpHeaders
  readonly last: IncomingHttpHeaders
  readonly content: Buffer
}

/** Headers, trailers and body of an answer. Rejects if it does not come whole. */
function collect(stream: ClientHttp2Stream): Promise<Received> {
  return new Promise((resolve, reject) => {
    let first: IncomingHttpHeaders = {}
    let last: IncomingHttpHeaders = {}
    const parts: Buffer[] = []
    let length = 0
    stream.on('response', (headers) => {
      first = headers
    })
    stream.on('trailers', (trailers) => {
      last = trailers
    })
    stream.on('data', (part: Buffer) => {
      length += part.length
      if (length <= MAX_ANSWER) parts.push(part)
      else stream.close(constants.NGHTTP2_CANCEL)
    })
    stream.on('error', reject)
    // A connection that ends takes its streams along without an error, and an answer that is too long has none either.
    stream.on('close', () => {
      if (length > MAX_ANSWER) reject(new Error('the answer is too long'))
      else if (first[':status'] === undefined) reject(new Error('a connection error'))
      else resolve({ first, last, content: Buffer.concat(parts) })
    })
  })
}

/**
 * Only INVALID_ARGUMENT, and RESOURCE_EXHAUSTED without a time to come again, are about what was sent (OTLP
 * specification, "OTLP/gRPC Response"). What can be put right, such as credentials or a service that is not there,
 * keeps the evidence, unlike in OTLP's own rule.
 */
function answerOf(headers: IncomingHttpHeaders, content: Uint8Array): Answer {
  const httpStatus = Number(headers[':status'])
  if (httpStatus !== 200) return later(`status ${httpStatus}`, Number(headers['retry-after']))
  const text = headers['grpc-status']
  if (typeof text !== 'string' || !/^\d{1,2}$/.test(text)) return later('an answer without a gRPC status')
  const code = Number(text)
  if (code === OK) {
    const rejected = rejectedSpans(content.subarray(PREFIX))
    return { is: 'taken', position: positionOf(headers), rejected }
  }
  const details = headers['grpc-status-details-bin']
  const seconds = typeof details === 'string' ? retryDelay(Buffer.from(details, 'base64')) : undefined
  if (code === INVALID_ARGUMENT || (code === RESOURCE_EXHAUSTED && seconds === undefined))
    return { is: 'refused' }
  return later(`gRPC status ${code}`, seconds)
}

function frameOf(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX + message.length)
  frame[0] = 0
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, PREFIX)
  return frame
}

/** Of a system's error its code; of any other nothing that could hold a secret. */
function codeOf(error: unknown): string {
  const { code, cause } = error as NodeJS.ErrnoException
  // A stream that waits for a connection is cancelled, and the reason is why there was none.
  return (cause as NodeJS.ErrnoException | undefined)?.code ?? code ?? 'a connection error'
}

function ignore(): void {}
