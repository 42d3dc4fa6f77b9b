/**
 * Spans as OTLP requests (opentelemetry/proto/collector/trace/v1, trace/v1, common/v1), straight from what the SDK gives
 * of them.
 *
 * The bytes are those that the SDK's own exporter sends, so that the collector takes a span that comes both ways for
 * one. They are made by a writer of our own because the SDK's takes several times as long, for every span of a service.
 */
import {
  type Attributes,
  type AttributeValue,
  type HrTime,
  type Link,
  type SpanContext,
  type SpanStatus,
  TraceFlags,
} from '@opentelemetry/api'
import { FactEvent, OWN_NAMES, type SharedAttributes } from '../fact-event.ts'
import { ReverseWriter } from './protobuf.ts'

/** What the SDK gives of a span, in all its versions. */
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

const SAMPLED = { traceFlags: TraceFlags.SAMPLED }

/** What is sent of a span, in the place of the span: a part of a block, which is kept while one of its spans waits. */
class PackedSpan {
  readonly resource: Resource
  readonly instrumentationScope: Scope
  readonly block: Buffer
  readonly start: number
  readonly end: number

  constructor({ resource, instrumentationScope }: ReadableSpan, block: Buffer, start: number, end: number) {
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

export interface SpanEvent {
  readonly name: string
  readonly time: HrTime
  readonly attributes?: Attributes
  readonly droppedAttributesCount?: number
}

type SpanLink = Link & { readonly droppedAttributesCount?: number }

interface Resource {
  readonly attributes?: Attributes
  readonly schemaUrl?: string
  readonly waitForAsyncAttributes?: () => Promise<void>
}

interface Scope {
  readonly name: string
  readonly version?: string
  readonly schemaUrl?: string
  /** Of SDKs whose scopes have some. */
  readonly attributes?: Attributes
  readonly droppedAttributesCount?: number
}

/** Encodes an `ExportTraceServiceRequest`. Throws, or gives undefined, for what cannot be encoded. */
export type Encode = (spans: readonly WaitingSpan[]) => Uint8Array | undefined

/** Bits of a span's and a link's flags, above those of the W3C (trace.proto, SpanFlags). */
const HAS_IS_REMOTE = 0x100
const IS_REMOTE = 0x200
/** Values that lie deeper within others are left empty. */
const MAX_DEPTH = 32
const TWO_32 = 2 ** 32

const writer = new ReverseWriter()

/** See {@link Encode}. */
export function encodeSpans(spans: readonly WaitingSpan[]): Uint8Array {
  const resources = new Map<Resource, Map<Scope, WaitingSpan[]>>()
  for (const span of spans) {
    let scopes = resources.get(span.resource)
    if (scopes === undefined) {
      scopes = new Map()
      resources.set(span.resource, scopes)
    }
    const group = scopes.get(span.instrumentationScope)
    if (group === undefined) scopes.set(span.instrumentationScope, [span])
    else group.push(span)
  }
  try {
    for (const [resource, scopes] of [...resources].reverse()) writeResource(resource, scopes)
    return writer.finish()
  } catch (error) {
    writer.reset()
    throw error
  }
}

const BLOCK_BYTES = 64 << 10
/** Where packed spans are put, one behind the other. */
let block = Buffer.alloc(0)
let blockEnd = 0

/**
 * Encodes a span that ended before it is known with which others it is sent. A span holds much that is not sent, and
 * thousands of them that wait cost the garbage collector more than all else that is done for them.
 */
export function packSpan(span: ReadableSpan): WaitingSpan {
  try {
    writeSpan(span)
    const { length } = writer
    if (blockEnd + length > block.length) {
      block = Buffer.allocUnsafeSlow(Math.max(BLOCK_BYTES, length))
      blockEnd = 0
    }
    const start = blockEnd
    writer.finishInto(block, start)
    blockEnd += length
    return new PackedSpan(span, block, start, blockEnd)
  } catch (error) {
    writer.reset()
    throw error
  }
}

// Everything below writes in reverse: the last field first. Tags are field number * 8 + wire type.

function writeResource(resource: Resource, scopes: ReadonlyMap<Scope, readonly WaitingSpan[]>): void {
  const since = writer.length
  if (resource.schemaUrl) writer.textField(0x1a, resource.schemaUrl)
  for (const [scope, spans] of [...scopes].reverse()) writeScope(scope, spans)
  const inner = writer.length
  writer.number(0x10, 0)
  if (resource.attributes) writeAttributes(0x0a, resource.attributes)
  writer.close(0x0a, inner)
  writer.close(0x0a, since)
}

function writeScope(scope: Scope, spans: readonly WaitingSpan[]): void {
  const since = writer.length
  if (scope.schemaUrl) writer.textField(0x1a, scope.schemaUrl)
  for (let at = spans.length - 1; at >= 0; at--) {
    const span = spans[at]!
    if (span instanceof PackedSpan) writer.part(span.block, span.start, span.end)
    else writeSpan(span)
  }
  const inner = writer.length
  if (scope.droppedAttributesCount) {
    writer.number(0x20, scope.droppedAttributesCount)
  }
  if (scope.attributes) writeAttributes(0x1a, scope.attributes)
  if (scope.version) writer.textField(0x12, scope.version)
  writer.textField(0x0a, scope.name)
  writer.close(0x0a, inner)
  writer.close(0x12, since)
}

function writeSpan(span: ReadableSpan): void {
  const since = writer.length
  const { traceId, spanId, traceFlags, traceState } = span.spanContext()
  const parent = span.parentSpanContext
  writer.fixed32(flagsOf(traceFlags, parent?.isRemote))
  writer.tag(0x85)
  writeStatus(span.status)
  writer.number(0x70, span.droppedLinksCount)
  const { links, events } = span
  for (let at = links.length - 1; at >= 0; at--) writeLink(links[at]!)
  writer.number(0x60, span.droppedEventsCount)
  for (let at = events.length - 1; at >= 0; at--) writeEvent(events[at]!)
  writer.number(0x50, span.droppedAttributesCount)
  const template = templateOf(span.name, span.kind)
  if (template === undefined) writeAttributes(0x4a, span.attributes)
  else writeSpanAttributes(template, span.attributes)
  writeTime(span.endTime)
  writer.tag(0x41)
  writeTime(span.startTime)
  writer.tag(0x39)
  writeHead(template, span)
  if (parent?.spanId) writeId(0x22, parent.spanId)
  writeTraceState(traceState)
  writeId(0x12, spanId)
  writeId(0x0a, traceId)
  writer.close(0x12, since)
}

function writeStatus({ code, message }: SpanStatus): void {
  const since = writer.length
  writer.number(0x18, code)
  if (message) writer.textField(0x12, message)
  writer.close(0x7a, since)
}

function writeEvent(event: SpanEvent): void {
  const since = writer.length
  const { name, time, attributes, droppedAttributesCount = 0 } = event
  writer.number(0x20, droppedAttributesCount)
  const shared = FactEvent.sharedOf(event)
  if (shared === undefined) {
    if (attributes) writeAttributes(0x1a, attributes)
    writer.textField(0x12, name)
  } else writeShared(shared, name, attributes!)
  writeTime(time)
  writer.tag(0x09)
  writer.close(0x5a, since)
}

/** What only this event has, and what it has in common with others: its name and most of its attributes. */
function writeShared(shared: SharedAttributes, name: string, attributes: Attributes): void {
  if (attributes !== shared.attributes)
    for (let at = OWN_NAMES.length - 1; at >= 0; at--) {
      const value = attributes[OWN_NAMES[at]!]
      if (value !== undefined) writeMember(0x1a, OWN_NAMES[at]!, value, 0)
    }
  if (shared.bytes !== undefined) {
    writer.raw(shared.bytes)
    return
  }
  const since = writer.length
  writeAttributes(0x1a, shared.attributes)
  writer.textField(0x12, name)
  shared.bytes = writer.since(since)
}

function writeLink({ context, attributes, droppedAttributesCount = 0 }: SpanLink): void {
  const since = writer.length
  writer.fixed32(flagsOf(context.traceFlags, context.isRemote))
  writer.tag(0x35)
  writer.number(0x28, droppedAttributesCount)
  if (attributes) writeAttributes(0x22, attributes)
  writeTraceState(context.traceState)
  writeId(0x12, context.spanId)
  writeId(0x0a, context.traceId)
  writer.close(0x6a, since)
}

function flagsOf(traceFlags: number, isRemote: boolean | undefined): number {
  return (traceFlags & 0xff) | HAS_IS_REMOTE | (isRemote ? IS_REMOTE : 0)
}

function writeId(tag: number, id: string): void {
  writer.hex(id)
  writer.varint(id.length >>> 1)
  writer.tag(tag)
}

function writeTraceState(state: SpanContext['traceState']): void {
  const text = state?.serialize()
  if (text) writer.textField(0x1a, text)
}

let knownSecond = -1
let knownLow = 0
let knownHigh = 0

/** Nanoseconds since 1970, which are too many for a number. Spans come from the same seconds, so the last is kept. */
function writeTime(time: HrTime): void {
  const second = time[0]
  const nanos = time[1]
  if (second !== knownSecond) {
    const total = BigInt(Math.trunc(second)) * 1_000_000_000n
    knownLow = Number(BigInt.asUintN(32, total))
    knownHigh = Number(BigInt.asUintN(32, total >> 32n))
    knownSecond = second
  }
  const low = knownLow + Math.trunc(nanos)
  writer.fixed64(low, low >= TWO_32 ? knownHigh + 1 : knownHigh)
}

/** What spans of one name had last, attribute by attribute: the next one mostly has the same at the same place. */
interface Template {
  readonly kind: number
  /** Name and kind as they are sent. */
  head: Uint8Array | undefined
  readonly names: string[]
  readonly values: unknown[]
  /** By the place of its last attribute: attributes one behind the other that came twice in a row. */
  readonly runs: (Run | undefined)[]
}

interface Run {
  readonly first: number
  /** As they are sent. */
  readonly bytes: Uint8Array
}

/** By the name of the spans; at most some MiB. */
const templates = new Map<string, Template>()
const MAX_TEMPLATES = 256
/** Spans with more attributes are encoded without. */
const MAX_PLACES = 32
/** Longer texts are not kept. */
const MAX_KEPT_TEXT = 128
/** Is no value of an attribute. */
const NONE = Symbol('none')

/** Of the span that is being encoded. */
const names: string[] = []
const values: unknown[] = []

function writeSpanAttributes(template: Template, attributes: Attributes): void {
  let count = 0
  // Names and values in one go: engines look a value up by its name otherwise, which takes much longer.
  for (const one in attributes) {
    names[count] = one
    values[count++] = attributes[one]
  }
  const isSame = (at: number): boolean =>
    template.values[at] === values[at] && template.names[at] === names[at]
  for (let at = count - 1; at >= 0; ) {
    if (at >= MAX_PLACES || !isSame(at)) {
      writeMember(0x4a, names[at]!, values[at], 0)
      if (at < MAX_PLACES) learn(template, at)
      at--
      continue
    }
    let first = at
    while (first > 0 && isSame(first - 1)) first--
    writeRun(template, first, at)
    at = first - 1
  }
}

function writeRun({ runs }: Template, first: number, last: number): void {
  const known = runs[last]
  if (known?.first === first) {
    writer.raw(known.bytes)
    return
  }
  const since = writer.length
  for (let at = last; at >= first; at--) writeMember(0x4a, names[at]!, values[at], 0)
  runs[last] = { first, bytes: writer.since(since) }
}

/** Another value than the last span had. */
function learn(template: Template, at: number): void {
  const value = values[at]
  // An object may change, and is another one each time.
  const isKept = typeof value === 'string' ? value.length <= MAX_KEPT_TEXT : typeof value !== 'object'
  template.names[at] = names[at]!
  template.values[at] = isKept ? value : NONE
  const { runs } = template
  for (let last = at; last < runs.length; last++) {
    const run = runs[last]
    if (run !== undefined && run.first <= at) runs[last] = undefined
  }
}

/** Undefined for a span whose name is one of too many, or has another kind elsewhere. */
function templateOf(name: string, kind: number): Template | undefined {
  const known = templates.get(name)
  if (known !== undefined) return known.kind === kind ? known : undefined
  if (templates.size >= MAX_TEMPLATES) return undefined
  const template: Template = { kind, head: undefined, names: [], values: [], runs: [] }
  templates.set(name, template)
  return template
}

function writeHead(template: Template | undefined, { name, kind }: ReadableSpan): void {
  if (template?.head !== undefined) {
    writer.raw(template.head)
    return
  }
  const since = writer.length
  writer.number(0x30, kind + 1)
  writer.textField(0x2a, name)
  if (template !== undefined) template.head = writer.since(since)
}

function writeAttributes(tag: number, attributes: Attributes): void {
  const names = Object.keys(attributes)
  for (let at = names.length - 1; at >= 0; at--) writeMember(tag, names[at]!, attributes[names[at]!], 0)
}

function writeMember(tag: number, name: string, value: unknown, depth: number): void {
  const since = writer.length
  writeValue(0x12, value, depth)
  writer.textField(0x0a, name)
  writer.close(tag, since)
}

/** An `AnyValue`: SDKs since 3.x take more than the API's types say. */
function writeValue(tag: number, value: AttributeValue | unknown, depth: number): void {
  const since = writer.length
  switch (typeof value) {
    case 'string':
      writer.textField(0x0a, value)
      break
    case 'boolean':
      writer.number(0x10, value ? 1 : 0)
      break
    case 'number':
      if (Number.isInteger(value) && value >= -(2 ** 63) && value < 2 ** 63) {
        writer.integer(value)
        writer.tag(0x18)
      } else {
        writer.double(value)
        writer.tag(0x21)
      }
      break
    case 'object':
      if (value !== null && depth < MAX_DEPTH) writeObject(value, depth)
  }
  writer.close(tag, since)
}

function writeObject(value: object, depth: number): void {
  const since = writer.length
  if (value instanceof Uint8Array) {
    writer.raw(value)
    writer.close(0x3a, since)
  } else if (Array.isArray(value)) {
    for (let at = value.length - 1; at >= 0; at--) writeValue(0x0a, value[at], depth + 1)
    writer.close(0x2a, since)
  } else {
    const members = value as Readonly<Record<string, unknown>>
    for (const name of Object.keys(members).reverse()) writeMember(0x0a, name, members[name], depth + 1)
    writer.close(0x32, since)
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
