/**
 * Clients: grpc-js for what any exporter would see, and raw HTTP/2, HTTP/1.1 and sockets for what no exporter would
 * send.
 */
import { Agent, type IncomingHttpHeaders as Http1Headers, request as httpRequest } from 'node:http'
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2'
import { connect as connectSocket, type Socket } from 'node:net'
import { Client, credentials, Metadata, type StatusObject } from '@grpc/grpc-js'
import type { Address } from './subject.ts'

export const TRACES = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'
export const METRICS = '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export'
export const LOGS = '/opentelemetry.proto.collector.logs.v1.LogsService/Export'

export const PROTOBUF = 'application/x-protobuf'
export const JSON_TYPE = 'application/json'

export interface GrpcAnswer {
  readonly code: number
  readonly details: string
  readonly metadata: Metadata
  readonly trailers: Metadata
  readonly body: Buffer | undefined
}

export interface GrpcCall {
  readonly path?: string
  readonly gzip?: boolean
  readonly metadata?: Record<string, string>
  readonly deadlineMillis?: number
}

/** A unary call by grpc-js, its own retries and limits switched off. */
export function callGrpc(address: Address, body: Uint8Array, call: GrpcCall = {}): Promise<GrpcAnswer> {
  const client = new Client(`${address.host}:${address.port}`, credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
    'grpc.enable_retries': 0,
    'grpc.use_local_subchannel_pool': 1,
    ...(call.gzip && { 'grpc.default_compression_algorithm': 2 as const }),
  })
  const metadata = new Metadata()
  for (const [key, value] of Object.entries(call.metadata ?? {})) metadata.set(key, value)
  return new Promise((resolve) => {
    let initial = new Metadata()
    let answer: Buffer | undefined
    const options = call.deadlineMillis === undefined ? {} : { deadline: Date.now() + call.deadlineMillis }
    const asIs = (value: Buffer) => value
    const unary = client.makeUnaryRequest(
      call.path ?? TRACES,
      asIs,
      asIs,
      Buffer.from(body),
      metadata,
      options,
      (_error, value) => {
        answer = value
      },
    )
    unary.on('metadata', (value: Metadata) => {
      initial = value
    })
    unary.on('status', (status: StatusObject) => {
      setImmediate(() => {
        client.close()
        resolve({
          code: status.code,
          details: status.details,
          metadata: initial,
          trailers: status.metadata,
          body: answer,
        })
      })
    })
  })
}

export interface RawAnswer {
  readonly headers: IncomingHttpHeaders
  readonly trailers: IncomingHttpHeaders
  readonly body: Buffer
  /** The stream's RST code; 0 for none. */
  readonly reset: number
}

/** Bytes over HTTP/2 as they are, with gRPC's headers unless overridden; `undefined` leaves one out. */
export function callRaw(
  address: Address,
  chunks: readonly Uint8Array[],
  headers: Record<string, string | undefined> = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const session = connectHttp2(`http://${address.host}:${address.port}`)
    session.on('error', reject)
    const sent: Record<string, string> = {}
    const all = {
      ':method': 'POST',
      ':path': TRACES,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    }
    for (const [name, value] of Object.entries(all)) if (value !== undefined) sent[name] = value
    const stream = session.request(sent)
    let received: IncomingHttpHeaders = {}
    let trailers: IncomingHttpHeaders = {}
    const parts: Buffer[] = []
    stream.on('response', (value) => {
      received = value
    })
    stream.on('trailers', (value) => {
      trailers = value
    })
    stream.on('data', (part: Buffer) => parts.push(part))
    stream.on('error', reject)
    stream.on('close', () => {
      session.close()
      resolve({ headers: received, trailers, body: Buffer.concat(parts), reset: stream.rstCode })
    })
    for (const chunk of chunks) stream.write(chunk)
    stream.end()
  })
}

/** A length-prefixed message. */
export function frame(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const out = Buffer.alloc(5 + message.length)
  out[0] = flag
  out.writeUInt32BE(length, 1)
  out.set(message, 5)
  return out
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: Http1Headers
  readonly body: Buffer
  readonly continued: boolean
}

export interface HttpCall {
  readonly method?: string
  readonly path?: string
  readonly headers?: Record<string, string>
  readonly agent?: Agent
}

/** A request over HTTP/1.1: `content-length` for one buffer, chunked for a list. */
export function callHttp(
  address: Address,
  body: Uint8Array | readonly Uint8Array[],
  { method = 'POST', path = '/v1/traces', headers = {}, agent }: HttpCall = {},
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    let continued = false
    const own = agent ?? new Agent()
    const request = httpRequest({
      ...address,
      method,
      path,
      agent: own,
      headers: { 'content-type': PROTOBUF, ...headers },
    })
    request.on('continue', () => {
      continued = true
      request.end(body as Uint8Array)
    })
    // A server may answer before it has read everything; the answer counts, not the write that failed after it.
    let answered = false
    request.on('error', (error) => {
      if (!answered) reject(error)
    })
    request.on('response', (response) => {
      answered = true
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', () => {
        if (agent === undefined) own.destroy()
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          body: Buffer.concat(parts),
          continued,
        })
      })
    })
    if (headers.expect !== undefined) request.flushHeaders()
    else if (body instanceof Uint8Array) request.end(body)
    else {
      for (const chunk of body) request.write(chunk)
      request.end()
    }
  })
}

/** JSON over HTTP/1.1. */
export function callJson(address: Address, value: unknown, call: HttpCall = {}): Promise<HttpAnswer> {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return callHttp(address, Buffer.from(text), {
    ...call,
    headers: { 'content-type': JSON_TYPE, ...call.headers },
  })
}

/** A bare TCP connection. */
export function openSocket(address: Address): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectSocket(address, () => resolve(socket))
    socket.once('error', reject)
  })
}

/** Everything a socket receives until it is closed. */
export function readToEnd(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = ''
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1')
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(text))
  })
}
