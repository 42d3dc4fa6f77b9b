import { formatHex } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { describe, expect, test } from 'vitest'
import { Refusal, type RefusalCode } from './receiver.ts'
import {
  asRefusal,
  encodeAccepted,
  encodeStatus,
  formatAccepted,
  formatGrpcMessage,
  formatStatus,
  grpcCode,
  httpStatus,
  retryAfterSeconds,
} from './status.ts'

// OTLP specification: what a sender may retry.
const RETRYABLE_GRPC = new Set([1, 4, 10, 11, 14, 15])
const RETRYABLE_HTTP = new Set([429, 502, 503, 504])

const CODES: Record<RefusalCode, { grpc: number; http: number; retry: boolean }> = {
  malformed: { grpc: 3, http: 400, retry: false },
  protocol: { grpc: 13, http: 400, retry: false },
  too_large: { grpc: 8, http: 413, retry: false },
  unauthenticated: { grpc: 16, http: 401, retry: false },
  unsupported: { grpc: 12, http: 415, retry: false },
  not_found: { grpc: 12, http: 404, retry: false },
  not_allowed: { grpc: 12, http: 405, retry: false },
  busy: { grpc: 14, http: 503, retry: true },
  unavailable: { grpc: 14, http: 503, retry: true },
  timeout: { grpc: 4, http: 503, retry: true },
  internal: { grpc: 13, http: 500, retry: false },
}

test.each(Object.keys(CODES) as RefusalCode[])('%s means the same on both transports', (code) => {
  const { grpc, http, retry } = CODES[code]
  const refusal = new Refusal(code, 'why')
  expect(grpcCode(refusal)).toBe(grpc)
  expect(httpStatus(refusal)).toBe(http)
  expect(RETRYABLE_GRPC.has(grpc)).toBe(retry)
  expect(RETRYABLE_HTTP.has(http)).toBe(retry)
  expect(JSON.parse(formatStatus(refusal))).toMatchObject({ code: grpc, message: 'why' })
  // Whoever may come again is told when, and nobody else is.
  expect([1, 2, undefined]).toContain(retryAfterSeconds(refusal))
  expect(retryAfterSeconds(refusal) !== undefined).toBe(retry)
  expect(formatStatus(refusal).includes('RetryInfo')).toBe(retry)
  expect(Buffer.from(encodeStatus(refusal)).includes('RetryInfo')).toBe(retry)
})

describe('google.rpc.Status', () => {
  // Written down from google/rpc/status.proto and error_details.proto.
  test('without details', () => {
    expect(formatHex(encodeStatus(new Refusal('too_large', 'big')))).toBe('0808' + '1203626967')
  })

  test('with RetryInfo', () => {
    const bytes = Buffer.from(encodeStatus(new Refusal('busy', 'b', { retryAfterSeconds: 2 })))
    const url = Buffer.from('type.googleapis.com/google.rpc.RetryInfo')
    const any = Buffer.concat([Buffer.of(0x0a, url.length), url, Buffer.from('12040a020802', 'hex')])
    expect(bytes).toEqual(Buffer.concat([Buffer.from('080e120162', 'hex'), Buffer.of(0x1a, any.length), any]))
  })

  test('with RetryInfo of a fraction', () => {
    const refusal = new Refusal('busy', 'b', { retryAfterSeconds: 1.25 })
    // Duration: seconds = 1, nanos = 250000000.
    expect(Buffer.from(encodeStatus(refusal)).includes(Buffer.from('08011080e59a77', 'hex'))).toBe(true)
    expect(JSON.parse(formatStatus(refusal)).details[0].retryDelay).toBe('1.250s')
    expect(retryAfterSeconds(refusal)).toBe(1)
    expect(retryAfterSeconds(new Refusal('busy', 'b', { retryAfterSeconds: 1.5 }))).toBe(2)
  })

  test.each([0, 0.99, 2.01, 60, Number.NaN])('%d s is no time to come again', (seconds) => {
    expect(() => new Refusal('busy', 'b', { retryAfterSeconds: seconds })).toThrow(RangeError)
  })

  test('with BadRequest', () => {
    const refusal = new Refusal('malformed', 'm')
    expect(JSON.parse(formatStatus(refusal)).details).toEqual([
      {
        '@type': 'type.googleapis.com/google.rpc.BadRequest',
        fieldViolations: [{ field: 'body', description: 'm' }],
      },
    ])
    expect(Buffer.from(encodeStatus(refusal)).includes(Buffer.from('0a090a04626f647912016d', 'hex'))).toBe(
      true,
    )
  })

  test('a long message is cut', () => {
    const { message } = JSON.parse(formatStatus(new Refusal('malformed', 'é'.repeat(100_000))))
    expect(message.length).toBe(2048)
  })
})

describe('Export*ServiceResponse', () => {
  test('full success', () => {
    const accepted = { rejectedSpans: 0, message: '', position: 7 }
    expect(encodeAccepted(accepted).length).toBe(0)
    expect(formatAccepted(accepted, 'traces')).toBe('{}')
  })

  test('partial success', () => {
    const accepted = { rejectedSpans: 300, message: 'no', position: 7 }
    expect(formatHex(encodeAccepted(accepted))).toBe('0a07' + '08ac02' + '12026e6f')
    expect(formatAccepted(accepted, 'traces')).toBe(
      '{"partialSuccess":{"rejectedSpans":"300","errorMessage":"no"}}',
    )
  })

  test('a warning', () => {
    const accepted = { rejectedSpans: 0, message: 'hm', position: 7 }
    expect(formatHex(encodeAccepted(accepted))).toBe('0a04' + '1202686d')
    expect(formatAccepted(accepted, 'logs')).toBe('{"partialSuccess":{"errorMessage":"hm"}}')
  })
})

test('grpc-message is percent-encoded', () => {
  expect(formatGrpcMessage('plain text, (with) ~signs!')).toBe('plain text, (with) ~signs!')
  expect(formatGrpcMessage('100% ü\r\n\u{1f600}')).toBe('100%25 %C3%BC%0D%0A%F0%9F%98%80')
  expect(formatGrpcMessage('\ud800')).toBe('%EF%BF%BD')
  for (let code = 0; code < 0x300; code++) {
    const text = `a${String.fromCharCode(code)}b`
    const encoded = formatGrpcMessage(text)
    expect(encoded).toMatch(/^[ -~]+$/)
    expect(decodeURIComponent(encoded)).toBe(text)
  }
})

test('any error is a refusal', () => {
  const refusal = new Refusal('busy', 'x')
  expect(asRefusal(refusal)).toBe(refusal)
  expect(asRefusal(new MalformedError('a length', 'of 7'))).toMatchObject({
    code: 'malformed',
    message: 'a length: of 7',
  })
  const bug = new TypeError('secret')
  expect(asRefusal(bug)).toMatchObject({ code: 'internal', message: 'internal error', cause: bug })
  expect(asRefusal(undefined).code).toBe('internal')
})
