/** OTLP requests (opentelemetry/proto/collector/trace/v1): spans that wait, by resource and scope. */
import { type SpanContext, TraceFlags } from '@opentelemetry/api'
import type { Log } from '../log.ts'
import { encodeSpan, resourceHead, scopeHead } from './encode.ts'
import { type Part, ReverseWriter } from './protobuf.ts'
import type { ReadableSpan, Resource, Scope } from './span.ts'

const SAMPLED = { traceFlags: TraceFlags.SAMPLED }

/** A span that has ended and waits to be sent. It is encoded with others, and at the latest when it is sent. */
class PackedSpan {
  readonly resource: Resource
  readonly instrumentationScope: Scope
  /** Until it is encoded. */
  #span: ReadableSpan | undefined
  #part: Part | undefined
  /** With which it is to be encoded. */
  readonly #fresh: PackedSpan[]

  constructor(span: ReadableSpan, fresh: PackedSpan[]) {
    this.resource = span.resource
    this.instrumentationScope = span.instrumentationScope
    this.#span = span
    this.#fresh = fresh
  }

  /** What is sent of it: a part of a block, which is kept while one of its spans waits. Throws if it cannot be encoded. */
  part(): Part {
    if (this.#part !== undefined) return this.#part
    // Sent before the others were there: they must not hold on to it, which may be large.
    const at = this.#fresh.indexOf(this)
    if (at !== -1) this.#fresh.splice(at, 1)
    const part = encodeSpan(this.#span!)
    this.#part = part
    this.#span = undefined
    return part
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

/** What waits in the place of a span that ended. */
export type Pack = (span: ReadableSpan) => WaitingSpan

/**
 * Spans that are encoded in one go: between the first and the next, a request would put the encoder out of the
 * processor's caches, which is more than a third of what it takes. With many more, spans are out of them as well.
 */
const GROUP_SPANS = 16

/**
 * Spans are encoded soon after they have ended, before it is known with which others they are sent: a span holds much
 * that is not sent, and thousands of them that wait cost the garbage collector more than all else that is done for them.
 *
 * Known hole: what a processor of the application writes into a span's attributes past the SDK, after it has ended and ours
 * has seen it, is sent if it is not encoded yet, as with the SDK's own processors.
 */
export function createPack(log: Log): Pack {
  const fresh: PackedSpan[] = []
  const encodeAll = (): void => {
    for (const one of fresh.splice(0))
      try {
        one.part()
      } catch (error) {
        // It is tried again, and given up, when it is to be sent.
        log.failed('encoding a span', error)
      }
  }
  return (span) => {
    const waiting = new PackedSpan(span, fresh)
    if (fresh.push(waiting) >= GROUP_SPANS) encodeAll()
    return waiting
  }
}

/** Spans of one scope, and the scope as it is sent before them. */
interface Group {
  readonly head: Uint8Array
  readonly parts: Part[]
}

/** Of tags and lengths, for each resource and each scope. */
const MAX_FRAME_BYTES = 16

/** See {@link Encode}. */
export function encodeSpans(spans: readonly WaitingSpan[]): Uint8Array {
  const resources = new Map<Resource, { readonly head: Uint8Array; readonly scopes: Map<Scope, Group> }>()
  let bytes = 0
  for (const one of spans) {
    const part = one instanceof PackedSpan ? one.part() : encodeSpan(one)
    bytes += part.end - part.start
    const { resource, instrumentationScope: scope } = one
    let known = resources.get(resource)
    if (known === undefined) {
      known = { head: resourceHead(resource), scopes: new Map() }
      resources.set(resource, known)
      bytes += known.head.length + MAX_FRAME_BYTES + textBytes(resource.schemaUrl)
    }
    let group = known.scopes.get(scope)
    if (group === undefined) {
      group = { head: scopeHead(scope), parts: [] }
      known.scopes.set(scope, group)
      bytes += group.head.length + MAX_FRAME_BYTES + textBytes(scope.schemaUrl)
    }
    group.parts.push(part)
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

function writeScope(writer: ReverseWriter, scope: Scope, { head, parts }: Group): void {
  const since = writer.length
  if (scope.schemaUrl) writer.textField(0x1a, scope.schemaUrl)
  for (let at = parts.length - 1; at >= 0; at--) writer.part(parts[at]!)
  writer.raw(head)
  writer.close(0x12, since)
}

function textBytes(text: string | undefined): number {
  return text ? Buffer.byteLength(text) + MAX_FRAME_BYTES : 0
}
