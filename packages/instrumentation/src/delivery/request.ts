/** OTLP requests (opentelemetry/proto/collector/trace/v1): spans that wait, by resource and scope. */
import { type SpanContext, TraceFlags } from '@opentelemetry/api'
import { encodeSpan, resourceHead, scopeHead } from './encode.ts'
import { type Part, ReverseWriter } from './protobuf.ts'
import type { ReadableSpan, Resource, Scope } from './span.ts'

const SAMPLED = { traceFlags: TraceFlags.SAMPLED }

/** What is sent of a span, in the place of the span: a part of a block, which is kept while one of its spans waits. */
class PackedSpan implements Part {
  readonly resource: Resource
  readonly instrumentationScope: Scope
  readonly block: Uint8Array
  readonly start: number
  readonly end: number

  constructor({ resource, instrumentationScope }: ReadableSpan, { block, start, end }: Part) {
    this.resource = resource
    this.instrumentationScope = instrumentationScope
    this.block = block
    this.start = start
    this.end = end
  }

  /** The SDK's batch processor takes it for a span: it asks no more of one than whether it is sampled, and its resource. */
  spanContext(): Pick<SpanContext, 'traceFlags'> {
    return SAMPLED
  }
}

/** A span that waits. */
export type WaitingSpan = ReadableSpan | PackedSpan

/** Encodes an `ExportTraceServiceRequest`. Throws, or gives undefined, for what cannot be encoded. */
export type Encode = (spans: readonly WaitingSpan[]) => Uint8Array | undefined

/**
 * Encodes a span that ended before it is known with which others it is sent. A span holds much that is not sent, and
 * thousands of them that wait cost the garbage collector more than all else that is done for them.
 */
export function packSpan(span: ReadableSpan): PackedSpan {
  return new PackedSpan(span, encodeSpan(span))
}

/** Spans of one scope, and the scope as it is sent before them. */
interface Group {
  readonly head: Uint8Array
  readonly spans: PackedSpan[]
}

/** Of tags and lengths, for each resource and each scope. */
const MAX_FRAME_BYTES = 16

/** See {@link Encode}. */
export function encodeSpans(spans: readonly WaitingSpan[]): Uint8Array {
  const resources = new Map<Resource, { readonly head: Uint8Array; readonly scopes: Map<Scope, Group> }>()
  let bytes = 0
  for (const one of spans) {
    const span = one instanceof PackedSpan ? one : packSpan(one)
    bytes += span.end - span.start
    let known = resources.get(span.resource)
    if (known === undefined) {
      known = { head: resourceHead(span.resource), scopes: new Map() }
      resources.set(span.resource, known)
      bytes += known.head.length + MAX_FRAME_BYTES + textBytes(span.resource.schemaUrl)
    }
    const { instrumentationScope: scope } = span
    let group = known.scopes.get(scope)
    if (group === undefined) {
      group = { head: scopeHead(scope), spans: [] }
      known.scopes.set(scope, group)
      bytes += group.head.length + MAX_FRAME_BYTES + textBytes(scope.schemaUrl)
    }
    group.spans.push(span)
  }
  // Spans are copied once, to where they are sent from.
  const writer = new ReverseWriter(bytes)
  for (const [resource, { head, scopes }] of [...resources].reverse()) {
    const since = writer.length
    if (resource.schemaUrl) writer.textField(0x1a, resource.schemaUrl)
    for (const [scope, group] of [...scopes].reverse()) writeScope(writer, scope, group)
    writer.raw(head)
    writer.close(0x0a, since)
  }
  const { block, start, end } = writer.take()
  return block.subarray(start, end)
}

function writeScope(writer: ReverseWriter, scope: Scope, { head, spans }: Group): void {
  const since = writer.length
  if (scope.schemaUrl) writer.textField(0x1a, scope.schemaUrl)
  for (let at = spans.length - 1; at >= 0; at--) writer.part(spans[at]!)
  writer.raw(head)
  writer.close(0x12, since)
}

function textBytes(text: string | undefined): number {
  return text ? Buffer.byteLength(text) + MAX_FRAME_BYTES : 0
}
