/** Both transports behind one function, for the cases in which they must agree. */
import { gzipSync } from 'node:zlib'
import { status as grpcStatus } from '@grpc/grpc-js'
import { expect } from 'vitest'
import { callGrpc, callHttp, PROTOBUF } from './clients.ts'
import { readResponse, readStatus } from './fixtures.ts'
import type { Subject } from './subject.ts'

export interface SendOptions {
  readonly gzip?: boolean
  readonly tracked?: boolean
  readonly signal?: 'traces' | 'metrics' | 'logs'
}

/** What a sender learns. */
export interface Outcome {
  /** The gRPC status code, or the one in the `google.rpc.Status` of an HTTP error; 0 is success. */
  readonly code: number
  /** The HTTP status over HTTP. */
  readonly status: number | undefined
  /** Message of the error or of the partial success; empty otherwise. */
  readonly message: string
  /** Spans rejected by a partial success. */
  readonly rejected: number
  /** Types of the error's details. */
  readonly details: readonly string[]
  /** Seconds of RetryInfo. */
  readonly retryInfo: number | undefined
  /** The `Retry-After` header over HTTP. */
  readonly retryAfter: string | undefined
  readonly receipt: string | undefined
}

export interface Transport {
  readonly name: 'gRPC' | 'HTTP'
  readonly receiver: string
  send(subject: Subject, body: Uint8Array, options?: SendOptions): Promise<Outcome>
}

const SERVICES = { traces: 'trace.v1.Trace', metrics: 'metrics.v1.Metrics', logs: 'logs.v1.Logs' } as const

export const TRANSPORTS: readonly Transport[] = [
  { name: 'gRPC', receiver: 'otlp/grpc', send: sendGrpc },
  { name: 'HTTP', receiver: 'otlp/http', send: sendHttp },
]

async function sendGrpc(subject: Subject, body: Uint8Array, options: SendOptions = {}): Promise<Outcome> {
  const answer = await callGrpc(subject.grpc, body, {
    path: `/opentelemetry.proto.collector.${SERVICES[options.signal ?? 'traces']}Service/Export`,
    gzip: options.gzip ?? false,
    metadata: options.tracked ? { 'rootspan-receipt': '1' } : {},
  })
  const receipt = answer.metadata.get('rootspan-receipt')[0]?.toString()
  const common = { code: answer.code, status: undefined, retryAfter: undefined, receipt }
  if (answer.code === grpcStatus.OK) {
    const { rejected, message } = readResponse(answer.body!)
    return { ...common, message, rejected, details: [], retryInfo: undefined }
  }
  const bin = answer.trailers.get('grpc-status-details-bin')[0] as Buffer
  const { code, message, details, delay } = readStatus(bin)
  expect({ code, message }).toEqual({ code: answer.code, message: answer.details })
  return { ...common, message, rejected: 0, details, retryInfo: delay }
}

async function sendHttp(subject: Subject, body: Uint8Array, options: SendOptions = {}): Promise<Outcome> {
  const answer = await callHttp(subject.http, options.gzip ? gzipSync(body) : body, {
    path: `/v1/${options.signal ?? 'traces'}`,
    headers: {
      ...(options.gzip && { 'content-encoding': 'gzip' }),
      ...(options.tracked && { 'rootspan-receipt': '1' }),
    },
  })
  expect(answer.headers['content-type']).toBe(PROTOBUF)
  expect(answer.headers['content-length']).toBe(String(answer.body.length))
  const receipt = answer.headers['rootspan-receipt'] as string | undefined
  const retryAfter = answer.headers['retry-after']
  const common = { status: answer.status, retryAfter, receipt }
  if (answer.status === 200) {
    const { rejected, message } = readResponse(answer.body)
    return { ...common, code: 0, message, rejected, details: [], retryInfo: undefined }
  }
  const { code, message, details, delay } = readStatus(answer.body)
  return { ...common, code, message, rejected: 0, details, retryInfo: delay }
}

/** Full success, nothing to say. */
export function expectAccepted(outcome: Outcome): void {
  expect(outcome).toMatchObject({ code: 0, message: '', rejected: 0, details: [] })
  if (outcome.status !== undefined) expect(outcome.status).toBe(200)
}

const PERMANENT = {
  malformed: { code: grpcStatus.INVALID_ARGUMENT, status: 400, details: ['BadRequest'] },
  tooLarge: { code: grpcStatus.RESOURCE_EXHAUSTED, status: 413, details: [] },
} as const

/** A refusal that must not be retried, and says so: no RetryInfo, no Retry-After. */
export function expectRefused(outcome: Outcome, kind: keyof typeof PERMANENT): void {
  const { code, status, details } = PERMANENT[kind]
  expect(outcome).toMatchObject({
    code,
    details,
    retryInfo: undefined,
    retryAfter: undefined,
    receipt: undefined,
  })
  expect(outcome.message).not.toBe('')
  if (outcome.status !== undefined) expect(outcome.status).toBe(status)
}

/** A refusal that may be retried after that many seconds, or somewhere between one and two. */
export function expectRetryable({ code, status, ...outcome }: Outcome, seconds?: number): void {
  expect(code).toBe(grpcStatus.UNAVAILABLE)
  if (status !== undefined) expect(status).toBe(503)
  expectRetryInfo(outcome)
  if (seconds !== undefined) expect(outcome.retryInfo).toBe(seconds)
  expect(outcome.retryAfter).toBe(status && String(Math.round(outcome.retryInfo!)))
}

/** One to two seconds: more, and exporters drop the batch. */
export function expectRetryInfo({ details, retryInfo }: Pick<Outcome, 'details' | 'retryInfo'>): void {
  expect(details).toEqual(['RetryInfo'])
  expect(retryInfo).toBeGreaterThanOrEqual(1)
  expect(retryInfo).toBeLessThanOrEqual(2)
}
