/** OTLP requests built by hand, and just enough reading of answers to assert on them. */
import { formatHex, parseHex, parseUtf8 } from '@rootspan/lineage/bytes'
import { WireReader, WireWriter } from '@rootspan/lineage/wire'

export const TRACE_ID = '5b8efff798038103d269b633813fc60c'
export const START = 1_764_000_000_000_000_123n

export interface SpanParts {
  readonly traceId?: Uint8Array
  readonly spanId?: Uint8Array
  readonly name?: string
  /** Fields appended to the Span message as they are. */
  readonly extra?: Uint8Array
}

/** An encoded Span message, good unless told otherwise. */
export function span(parts: SpanParts = {}): Uint8Array {
  const out = new WireWriter()
    .bytes(1, parts.traceId ?? parseHex(TRACE_ID))
    .bytes(2, parts.spanId ?? spanId(1))
    .string(5, parts.name ?? 'checkout')
    .varint(6, 2)
    .fixed64(7, START)
    .fixed64(8, START + 1_000_000n)
  if (parts.extra !== undefined) out.raw(parts.extra)
  return out.finish()
}

export function spanId(n: number): Uint8Array {
  return parseHex(n.toString(16).padStart(16, '0'))
}

/** An `ExportTraceServiceRequest` with one resource and one scope. */
export function traces(...spans: Uint8Array[]): Uint8Array {
  const scope = new WireWriter(1024).bytes(1, new WireWriter().string(1, 'test').finish())
  for (const one of spans) scope.bytes(2, one)
  const resource = new WireWriter().bytes(1, attribute('service.name', stringValue('shop'))).finish()
  const group = new WireWriter(1024).bytes(1, resource).bytes(2, scope.finish()).finish()
  return new WireWriter(1024).bytes(1, group).finish()
}

export function attribute(key: string, value: Uint8Array): Uint8Array {
  return new WireWriter().string(1, key).bytes(2, value).finish()
}

export function stringValue(text: string): Uint8Array {
  return new WireWriter().string(1, text).finish()
}

/** An AnyValue of `depth` nested key-value lists. */
export function nested(depth: number): Uint8Array {
  let value = stringValue('bottom')
  for (let i = 0; i < depth; i++) {
    const list = new WireWriter(value.length + 32).bytes(1, attribute('k', value)).finish()
    value = new WireWriter(value.length + 32).bytes(6, list).finish()
  }
  return value
}

/** A metrics or logs request with one empty resource group. */
export const ONE_GROUP = new WireWriter().bytes(1, new Uint8Array(0)).finish()

export interface ReadSpan {
  readonly traceId: string
  readonly spanId: string
  readonly name: string
  readonly kind: number
  readonly start: bigint
}

/** The spans of an `ExportTraceServiceRequest`. */
export function spansOf(body: Uint8Array): ReadSpan[] {
  const out: ReadSpan[] = []
  for (const group of messages(body, 1))
    for (const scope of messages(group, 2))
      for (const one of messages(scope, 2)) {
        const fields = { traceId: '', spanId: '', name: '', kind: 0, start: 0n }
        const reader = new WireReader(one)
        while (reader.next()) {
          if (reader.field === 1) fields.traceId = formatHex(reader.value())
          if (reader.field === 2) fields.spanId = formatHex(reader.value())
          if (reader.field === 5) fields.name = parseUtf8(reader.value())
          if (reader.field === 6) fields.kind = reader.low
          if (reader.field === 7) fields.start = reader.uint64()
        }
        out.push(fields)
      }
  return out
}

/** All values of one field. */
export function messages(message: Uint8Array, field: number): Uint8Array[] {
  const out: Uint8Array[] = []
  const reader = new WireReader(message)
  while (reader.next()) if (reader.field === field) out.push(reader.value())
  return out
}

/** An encoded `google.rpc.Status`, with the type names and delays of its details. */
export function readStatus(message: Uint8Array): {
  code: number
  message: string
  details: string[]
  delay?: number
} {
  let code = 0
  let text = ''
  const details: string[] = []
  let delay: number | undefined
  const reader = new WireReader(message)
  while (reader.next()) {
    if (reader.field === 1) code = reader.low
    if (reader.field === 2) text = parseUtf8(reader.value())
    if (reader.field === 3) {
      const type = parseUtf8(messages(reader.value(), 1)[0]!)
      details.push(type.replace('type.googleapis.com/google.rpc.', ''))
      if (type.endsWith('RetryInfo')) {
        const duration = new WireReader(messages(messages(reader.value(), 2)[0]!, 1)[0]!)
        delay = 0
        while (duration.next()) delay += duration.field === 1 ? duration.low : duration.low / 1e9
      }
    }
  }
  return { code, message: text, details, ...(delay !== undefined && { delay }) }
}

/** The details of a raw gRPC answer, read from its headers or trailers. */
export function retryInfoOf(headers: Record<string, unknown>): {
  details: string[]
  retryInfo: number | undefined
} {
  const { details, delay } = readStatus(Buffer.from(String(headers['grpc-status-details-bin']), 'base64'))
  return { details, retryInfo: delay }
}

/** An encoded `Export*ServiceResponse`. */
export function readResponse(message: Uint8Array): { rejected: number; message: string } {
  let rejected = 0
  let text = ''
  for (const partial of messages(message, 1)) {
    const reader = new WireReader(partial)
    while (reader.next()) {
      if (reader.field === 1) rejected = reader.low
      if (reader.field === 2) text = parseUtf8(reader.value())
    }
  }
  return { rejected, message: text }
}

/** An encoded `Receipt`. */
export function readReceipt(message: Uint8Array): { receiver: string; received: bigint; tracked: boolean } {
  const out = { receiver: '', received: 0n, tracked: false }
  const reader = new WireReader(message)
  while (reader.next()) {
    if (reader.field === 1) out.receiver = parseUtf8(reader.value())
    if (reader.field === 4) out.received = reader.uint64()
    if (reader.field === 5) out.tracked = reader.low === 1
  }
  return out
}
