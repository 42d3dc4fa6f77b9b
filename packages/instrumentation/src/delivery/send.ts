/**
 * One OTLP request at a time, over HTTP here and over gRPC in send-grpc.ts, and what its answer means for evidence.
 *
 * `rootspan-receipt: 1` asks the collector to say at which place of its journal the request is durable. Connections
 * never keep the process alive, and no span is made of the requests.
 */
import {
  Agent,
  type ClientRequest,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { context as contexts, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import type { Endpoint } from './endpoint.ts'
import { rejectedSpans } from './response.ts'
import { createGrpcSender } from './send-grpc.ts'

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

export const MAX_ANSWER = 64 * 1024
const MAX_RETRY_AFTER_MILLIS = 60_000

export function createSender(endpoint: Endpoint): Sender {
  const { send, close } = endpoint.isGrpc ? createGrpcSender(endpoint) : createHttpSender(endpoint)
  const silent = ROOT_CONTEXT.setValue(SUPPRESS_TRACING, true)
  return {
    send: (body, millis = endpoint.timeoutMillis) => contexts.with(silent, send, undefined, body, millis),
    close,
  }
}

/** Of an OTLP/HTTP request: those of the endpoint, and what the body is. */
export function headersOf(headers: Endpoint['headers'], body: Uint8Array): Record<string, string> {
  return {
    ...headers,
    'content-type': 'application/x-protobuf',
    'content-length': String(body.length),
    'rootspan-receipt': '1',
  }
}

function createHttpSender({ url, headers, tls }: Endpoint): Sender {
  const isSecure = url.protocol === 'https:'
  const options = { keepAlive: true, maxSockets: 8 }
  const agent = isSecure ? new HttpsAgent({ ...options, ...tls }) : new Agent(options)
  const request = isSecure ? httpsRequest : httpRequest

  const exchange = async (body: Uint8Array, millis: number): Promise<Answer> => {
    const outgoing = request(url, { method: 'POST', agent, headers: headersOf(headers, body) })
    const answer = answerTo(outgoing, millis, () => exchange(body, millis))
    outgoing.end(body)
    return answer
  }

  return { send: exchange, close: () => agent.destroy() }
}

/**
 * `again` makes the same request on another connection. It is let go of with the answer, and the body with it: requests
 * that have ended hang on their connection, which lives long, so that V8 finds them late; with their bodies they would have
 * it look for all garbage twice as often.
 */
function answerTo(outgoing: ClientRequest, millis: number, again: () => Promise<Answer>): Promise<Answer> {
  let retry: typeof again | undefined = again
  return new Promise((resolve) => {
    const settle = (answer: Answer | Promise<Answer>): void => {
      retry = undefined
      resolve(answer)
    }
    const fail = (why: string): void => settle(later(why))
    const timer = setTimeout(() => {
      fail('no answer in time')
      outgoing.destroy()
    }, millis)
    timer.unref()
    outgoing.on('socket', (socket) => socket.unref())
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      // The server had closed the connection meanwhile.
      if (outgoing.reusedSocket && error.code === 'ECONNRESET' && retry !== undefined) settle(retry())
      else fail(error.code ?? 'a connection error')
    })
    outgoing.on('close', () => clearTimeout(timer))
    outgoing.on('response', (response) => {
      void read(response).then(
        (content) => settle(answerOf(response, content)),
        () => fail('a broken answer'),
      )
    })
  })
}

/** By events: an async iterator costs as much as all else that is done for an answer. */
function read(response: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = []
    let length = 0
    response.on('data', (part: Buffer) => {
      length += part.length
      if (length > MAX_ANSWER) response.destroy(new Error('the answer is too long'))
      else parts.push(part)
    })
    response.on('end', () => resolve(Buffer.concat(parts)))
    response.on('error', reject)
    // One that breaks off has no end.
    response.on('close', () => reject(new Error('the answer broke off')))
  })
}

/**
 * Only 400 and 413 are about what was sent. A path that is wrong or credentials that are missing (401, 404, ...) can be
 * put right, so the evidence is kept, unlike in OTLP's own rule.
 */
function answerOf(response: IncomingMessage, content: Uint8Array): Answer {
  const { statusCode = 0, headers } = response
  if (statusCode >= 200 && statusCode < 300) {
    return { is: 'taken', position: positionOf(headers), rejected: rejectedSpans(content) }
  }
  if (statusCode === 400 || statusCode === 413) return { is: 'refused' }
  return later(`status ${statusCode}`, Number(headers['retry-after']))
}

/** The collector's receipt, from headers or metadata. */
export function positionOf(headers: IncomingHttpHeaders): string | undefined {
  const position = headers['rootspan-receipt']
  return typeof position === 'string' && /^\d{1,16}$/.test(position) ? position : undefined
}

/** Not taken now; `seconds` is what a receiver asks to wait, if it does. */
export function later(why: string, seconds?: number): Answer {
  return { is: 'later', afterMillis: pauseOf(seconds), why }
}

/** What a receiver asks to wait, within bounds, in milliseconds. */
function pauseOf(seconds: number | undefined): number | undefined {
  return seconds !== undefined && seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER_MILLIS) : undefined
}
