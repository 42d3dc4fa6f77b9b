/**
 * The one place where refusals and acceptances become OTLP answers, for both transports.
 *
 * Codes and what may be retried: OTLP specification, "OTLP/gRPC Response", "OTLP/HTTP Response"; bodies:
 * google/rpc/status.proto, google/rpc/error_details.proto; the JSON forms follow proto3 JSON.
 */
import { MalformedError } from '@rootspan/lineage/errors'
import { WireWriter } from '@rootspan/lineage/wire'
import { type Accepted, Refusal, type RefusalCode, type Signal } from './receiver.ts'

/** The gRPC codes that we answer with (https://grpc.io/docs/guides/status-codes/). */
export const GRPC_OK = 0

const GRPC_CODES: Record<RefusalCode, number> = {
  malformed: 3, // INVALID_ARGUMENT
  protocol: 13, // INTERNAL: gRPC's own code for broken framing and failed decompression
  too_large: 8, // RESOURCE_EXHAUSTED, which without RetryInfo must not be retried
  unauthenticated: 16, // UNAUTHENTICATED
  unsupported: 12, // UNIMPLEMENTED
  not_found: 12, // UNIMPLEMENTED: gRPC's code for an unknown method
  not_allowed: 12,
  busy: 14, // UNAVAILABLE
  unavailable: 14,
  timeout: 4, // DEADLINE_EXCEEDED
  internal: 13, // INTERNAL
}

// Only 429, 502, 503 and 504 may be retried, so a body that came too slowly is a 503 and not a 408: a 408 would
// make the sender drop it.
const HTTP_STATUSES: Record<RefusalCode, number> = {
  malformed: 400,
  protocol: 400,
  too_large: 413,
  unauthenticated: 401,
  unsupported: 415,
  not_found: 404,
  not_allowed: 405,
  busy: 503,
  unavailable: 503,
  timeout: 503,
  internal: 500,
}

const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest'
const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo'

// OTLP asks servers to bound their answers; a message is for a person to read.
const MAX_MESSAGE = 2048

/** Any error as a refusal. What is neither a refusal nor malformed input is a bug of ours, whose text stays here. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error
  if (error instanceof MalformedError) return new Refusal('malformed', error.message, { cause: error })
  return new Refusal('internal', 'internal error', { cause: error })
}

export function grpcCode(refusal: Refusal): number {
  return GRPC_CODES[refusal.code]
}

export function httpStatus(refusal: Refusal): number {
  return HTTP_STATUSES[refusal.code]
}

/** Whole seconds, which is all that `Retry-After` can say; `undefined` where the request must not be retried. */
export function retryAfterSeconds({ retryAfterSeconds: seconds }: Refusal): number | undefined {
  return seconds === undefined ? undefined : Math.round(seconds)
}

/** Encoded `google.rpc.Status`: body of an HTTP error, value of `grpc-status-details-bin`. */
export function encodeStatus(refusal: Refusal): Uint8Array {
  const out = new WireWriter().varint(1, grpcCode(refusal)).string(2, messageOf(refusal))
  const detail = new WireWriter()
  if (refusal.code === 'malformed') {
    const violation = new WireWriter().string(1, 'body').string(2, messageOf(refusal)).finish()
    detail.string(1, BAD_REQUEST).bytes(2, new WireWriter().bytes(1, violation).finish())
    out.bytes(3, detail.finish())
  } else if (refusal.retryAfterSeconds !== undefined) {
    const millis = Math.round(refusal.retryAfterSeconds * 1000)
    const delay = new WireWriter().varint(1, Math.floor(millis / 1000))
    if (millis % 1000 !== 0) delay.varint(2, (millis % 1000) * 1_000_000)
    detail.string(1, RETRY_INFO).bytes(2, new WireWriter().bytes(1, delay.finish()).finish())
    out.bytes(3, detail.finish())
  }
  return out.finish()
}

/** The same as JSON. */
export function formatStatus(refusal: Refusal): string {
  const message = messageOf(refusal)
  const details: object[] = []
  if (refusal.code === 'malformed')
    details.push({ '@type': BAD_REQUEST, fieldViolations: [{ field: 'body', description: message }] })
  else if (refusal.retryAfterSeconds !== undefined)
    details.push({ '@type': RETRY_INFO, retryDelay: formatSeconds(refusal.retryAfterSeconds) })
  return JSON.stringify({ code: grpcCode(refusal), message, ...(details.length > 0 && { details }) })
}

/** A `google.protobuf.Duration` in JSON, which has no digits of a fraction or three. */
function formatSeconds(seconds: number): string {
  return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(3)}s`
}

const EMPTY = new Uint8Array(0)

/**
 * Encoded `Export{Trace,Metrics,Logs}ServiceResponse`: no bytes at all for full success, otherwise
 * `partial_success = 1` with the rejected count = 1 and `error_message` = 2, the same numbers in all three.
 */
export function encodeAccepted(accepted: Accepted): Uint8Array {
  if (accepted.rejectedSpans === 0 && accepted.message === '') return EMPTY
  const partial = new WireWriter()
  if (accepted.rejectedSpans !== 0) partial.varint(1, accepted.rejectedSpans)
  if (accepted.message !== '') partial.string(2, cut(accepted.message))
  return new WireWriter().bytes(1, partial.finish()).finish()
}

const REJECTED: Record<Signal, string> = {
  traces: 'rejectedSpans',
  metrics: 'rejectedDataPoints',
  logs: 'rejectedLogRecords',
}

/** The same as JSON; 64-bit integers are strings there. */
export function formatAccepted(accepted: Accepted, signal: Signal): string {
  if (accepted.rejectedSpans === 0 && accepted.message === '') return '{}'
  const partialSuccess = {
    ...(accepted.rejectedSpans !== 0 && { [REJECTED[signal]]: String(accepted.rejectedSpans) }),
    ...(accepted.message !== '' && { errorMessage: cut(accepted.message) }),
  }
  return JSON.stringify({ partialSuccess })
}

/** `grpc-message`: everything but printable ASCII, and `%` itself, percent-encoded as UTF-8 (gRPC over HTTP/2). */
export function formatGrpcMessage(message: string): string {
  return cut(message)
    .toWellFormed()
    .replace(/[^ -$&-~]+/gu, (rest) => {
      let out = ''
      for (const byte of new TextEncoder().encode(rest))
        out += `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
      return out
    })
}

function messageOf(refusal: Refusal): string {
  return cut(refusal.message)
}

function cut(message: string): string {
  return message.length <= MAX_MESSAGE ? message : `${message.slice(0, MAX_MESSAGE - 1).toWellFormed()}…`
}
