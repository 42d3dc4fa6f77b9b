/** Spans as the SDK gives them when they end, in all its versions. */
import type { Attributes, HrTime, Link, SpanContext, SpanStatus } from '@opentelemetry/api'
import { now } from '../time.ts'

export interface ReadableSpan {
  readonly name: string
  readonly kind: number
  readonly parentSpanContext?: SpanContext
  readonly startTime: HrTime
  readonly endTime: HrTime
  readonly status: SpanStatus
  readonly attributes: Attributes
  readonly links: readonly SpanLink[]
  readonly events: readonly SpanEvent[]
  readonly resource: Resource
  readonly instrumentationScope: Scope
  readonly droppedAttributesCount: number
  readonly droppedEventsCount: number
  readonly droppedLinksCount: number
  spanContext(): SpanContext
}

export interface SpanEvent {
  readonly name: string
  readonly time: HrTime
  readonly attributes?: Attributes
  readonly droppedAttributesCount?: number
}

export type SpanLink = Link & { readonly droppedAttributesCount?: number }

export interface Resource {
  readonly attributes?: Attributes
  readonly schemaUrl?: string
  readonly waitForAsyncAttributes?: () => Promise<void>
}

export interface Scope {
  readonly name: string
  readonly version?: string
  readonly schemaUrl?: string
  /** Of SDKs whose scopes have some. */
  readonly attributes?: Attributes
  readonly droppedAttributesCount?: number
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
  const time = now()
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
