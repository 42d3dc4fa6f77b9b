/**
 * Spans as OTLP requests, by the encoder of the SDK that the application has installed: what we send of a span is
 * equal to what its own exporter would send, so the collector takes the two for one.
 */
import { createRequire } from 'node:module'
import type { Attributes, HrTime, Link, SpanContext, SpanKind, SpanStatus } from '@opentelemetry/api'
import type { Resolver } from '../require.ts'

/** What the SDK gives of a span, in all its versions. */
export interface ReadableSpan {
  readonly name: string
  readonly kind: SpanKind
  readonly parentSpanContext?: SpanContext
  readonly startTime: HrTime
  readonly endTime: HrTime
  readonly status: SpanStatus
  readonly attributes: Attributes
  readonly links: readonly Link[]
  readonly events: readonly SpanEvent[]
  readonly resource: { readonly waitForAsyncAttributes?: () => Promise<void> }
  readonly instrumentationScope: { readonly name: string }
  readonly droppedAttributesCount: number
  readonly droppedEventsCount: number
  readonly droppedLinksCount: number
  spanContext(): SpanContext
}

export interface SpanEvent {
  readonly name: string
  readonly time: HrTime
  readonly attributes?: Attributes
}

/** Encodes an `ExportTraceServiceRequest`. Throws, or gives undefined, for what the SDK cannot encode. */
export type Encode = (spans: readonly ReadableSpan[]) => Uint8Array | undefined

/** The encoder of the SDK that `require` finds; undefined if it has none. */
export function encoderOf(require: Resolver): Encode | undefined {
  try {
    const sdk = createRequire(require.resolve('@opentelemetry/sdk-node'))
    const exporter = createRequire(sdk.resolve('@opentelemetry/exporter-trace-otlp-proto'))
    const { ProtobufTraceSerializer } = exporter('@opentelemetry/otlp-transformer') as {
      ProtobufTraceSerializer: { serializeRequest: Encode }
    }
    return (spans) => ProtobufTraceSerializer.serializeRequest(spans)
  } catch {
    return undefined
  }
}

/** 16 bytes of trace id and 8 of span id. */
export function keyOf(span: Pick<ReadableSpan, 'spanContext'>): Buffer {
  const { traceId, spanId } = span.spanContext()
  return Buffer.from(traceId + spanId, 'hex')
}

/** The span as it would be had it ended now. Copied member by member: an SDK's span may have private state. */
export function asEnded(
  span: ReadableSpan,
  attributes: Attributes,
  events: readonly SpanEvent[],
): ReadableSpan {
  const context = span.spanContext()
  const parent = span.parentSpanContext
  const now = Date.now()
  const time: HrTime = [Math.floor(now / 1000), (now % 1000) * 1_000_000]
  const [seconds, nanos] = span.startTime
  // Spans count finer than milliseconds.
  const isBefore = time[0] < seconds || (time[0] === seconds && time[1] < nanos)
  return {
    name: span.name,
    kind: span.kind,
    ...(parent !== undefined && { parentSpanContext: parent }),
    startTime: span.startTime,
    endTime: isBefore ? span.startTime : time,
    status: span.status,
    attributes: { ...span.attributes, ...attributes },
    links: span.links,
    events: [...span.events, ...events],
    resource: span.resource,
    instrumentationScope: span.instrumentationScope,
    droppedAttributesCount: span.droppedAttributesCount,
    droppedEventsCount: span.droppedEventsCount,
    droppedLinksCount: span.droppedLinksCount,
    spanContext: () => context,
  }
}
