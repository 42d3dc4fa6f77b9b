/**
 * One OTLP/HTTP request at a time, and what its answer means for evidence.
 *
 * `rootspan-receipt: 1` asks the collector to say at which place of its journal the request is durable. Connections
 * never keep the process alive, and no span is made of the requests.
 */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { context as contexts, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import type { Endpoint } from './endpoint.ts'

export type Answer =
  /** Taken. `position` is the collector's receipt: the request is durable. `rejected` spans were refused for good. */
  | { readonly is: 'taken'; readonly position: string | undefined; readonly rejected: number }
  /** Refused for good, because of what was sent. */
  | { readonly is: 'refused' }
  /** Not taken now. What is wrong may pass, or be put right by the operator. */
  | { readonly is: 'later'; readonly afterMillis: number | undefined; readonly why: string }

export interface Sender {
  /** Never rejects. */
  send(body: Uint8Array, timeoutMillis?: number): Promise<Answer>
  close(): void
}

/** As `@opentelemetry/core` names it: instrumentations make no spans below it. */
export const SUPPRESS_TRACING = createContextKey('OpenTelemetry SDK Context Key SUPPRESS_TRACING')

const MAX_ANSWER = 64 * 1024
const MAX_RETRY_AFTER_MILLIS = 60_000

export function createSender({ url, headers, timeoutMillis, tls }: Endpoint): Sender {
  const isSecure = url.protocol === 'https:'
  const options = { keepAlive: true, maxSockets: 8 }
  const agent = isSecure ? new HttpsAgent({ ...options, ...tls }) : new Agent(options)
  const request = isSecure ? httpsRequest : httpRequest
  const silent = ROOT_CONTEXT.setValue(SUPPRESS_TRACING, true)

  const exchange = (body: Uint8Array, millis: number): Promise<Answer> =>
    new Promise((resolve) => {
      const fail = (why: string): void => resolve({ is: 'later', afterMillis: undefined, why })
      const outgoing = request(url, {
        method: 'POST',
        agent,
        headers: {
          ...headers,
          'content-type': 'application/x-protobuf',
          'content-length': String(body.length),
          'rootspan-receipt': '1',
        },
      })
      const timer = setTimeout(() => {
        fail('no answer in time')
        outgoing.destroy()
      }, millis)
      timer.unref()
      outgoing.on('socket', (socket) => socket.unref())
      outgoing.on('error', (error: NodeJS.ErrnoException) => {
        // The server had closed the connection meanwhile: tried on another one.
        if (outgoing.reusedSocket && error.code === 'ECONNRESET') resolve(exchange(body, millis))
        else fail(error.code ?? 'a connection error')
      })
      outgoing.on('close', () => clearTimeout(timer))
      outgoing.on('response', (response) => {
        void read(response).then(
          (content) => resolve(answerOf(response, content)),
          () => fail('a broken answer'),
        )
      })
      outgoing.end(body)
    })

  return {
    send: (body, millis = timeoutMillis) => contexts.with(silent, exchange, undefined, body, millis),
    close: () => agent.destroy(),
  }
}

async function read(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length
    if (length > MAX_ANSWER) throw new Error('the answer is too long')
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/**
 * Only 400 and 413 are about what was sent. A path that is wrong or credentials that are missing (401, 404, ...) can be
 * put right, so the evidence is kept, unlike in OTLP's own rule.
 */
function answerOf(response: IncomingMessage, content: Uint8Array): Answer {
  const { statusCode = 0, headers } = response
  if (statusCode >= 200 && statusCode < 300) {
    const position = headers['rootspan-receipt']
    const isPosition = typeof position === 'string' && /^\d{1,16}$/.test(position)
    return { is: 'taken', position: isPosition ? position : undefined, rejected: rejectedSpans(content) }
  }
  if (statusCode === 400 || statusCode === 413) return { is: 'refused' }
  const seconds = Number(headers['retry-after'])
  const afterMillis = seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MILLIS) : undefined
  return { is: 'later', afterMillis, why: `status ${statusCode}` }
}

/**
 * `partial_success.rejected_spans` of an `ExportTraceServiceResponse`: field 1 of field 1. Anything else in it, or an
 * answer that is no protobuf, counts as nothing rejected.
 */
export function rejectedSpans(content: Uint8Array): number {
  const inner = field(content, 1)
  return inner instanceof Uint8Array ? Number(field(inner, 1) ?? 0) : 0
}

function field(bytes: Uint8Array, wanted: number): Uint8Array | number | undefined {
  let at = 0
  const varint = (): number => {
    for (let value = 0, scale = 1; at < bytes.length && scale < 2 ** 56; scale *= 128) {
      const byte = bytes[at++]!
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    at = bytes.length
    return 0
  }
  while (at < bytes.length) {
    const tag = varint()
    const type = tag % 8
    if (type !== 0 && type !== 2) return undefined
    const value = varint()
    if (type === 2) at += value
    if (Math.floor(tag / 8) !== wanted) continue
    return type === 2 ? bytes.subarray(at - value, at) : value
  }
  return undefined
}
