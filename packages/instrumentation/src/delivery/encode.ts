/**
 * Spans as OTLP has them (opentelemetry/proto/trace/v1, common/v1), straight from what the SDK gives of them.
 *
 * The bytes are those that the SDK's own exporter sends, so that the collector takes a span that comes both ways for
 * one. They are made by a writer of our own because the SDK's takes several times as long, for every span of a service.
 */
import type { Attributes, AttributeValue, HrTime, SpanContext, SpanStatus } from '@opentelemetry/api'
import { FactEvent, type SharedAttributes } from '../fact-event.ts'
import { Name } from '../facts.ts'
import { type Part, ReverseWriter } from './protobuf.ts'
import type { ReadableSpan, Resource, Scope, SpanEvent, SpanLink } from './span.ts'

/** Bits of a span's and a link's flags, above those of the W3C (trace.proto, SpanFlags). */
const HAS_IS_REMOTE = 0x100
const IS_REMOTE = 0x200
/** Values that lie deeper within others are left empty. */
const MAX_DEPTH = 32
const TWO_32 = 2 ** 32

const writer = new ReverseWriter()

/** A span as a field of its scope: `ScopeSpans.spans`. */
export function encodeSpan(span: ReadableSpan): Part {
  try {
    writeSpan(span)
    return writer.take()
  } catch (error) {
    writer.reset()
    throw error
  }
}

/** What comes before the spans of a scope: `ScopeSpans.scope`. */
export function scopeHead(scope: Scope): Uint8Array {
  return written(() => {
    const { name, version, attributes, droppedAttributesCount } = scope
    if (droppedAttributesCount) writer.number(0x20, droppedAttributesCount)
    if (attributes) writeAttributes(0x1a, attributes)
    if (version) writer.textField(0x12, version)
    writer.textField(0x0a, name)
    writer.close(0x0a, 0)
  })
}

/** What comes before the scopes of a resource: `ResourceSpans.resource`. */
export function resourceHead({ attributes }: Resource): Uint8Array {
  return written(() => {
    writer.number(0x10, 0)
    if (attributes) writeAttributes(0x0a, attributes)
    writer.close(0x0a, 0)
  })
}

function written(write: () => void): Uint8Array {
  try {
    write()
    return writer.since(0)
  } finally {
    writer.reset()
  }
}

// Everything below writes in reverse: the last field first. Tags are field number * 8 + wire type.

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
  if (parent?.spanId) writeLastId(lastParent, 0x22, parent.spanId)
  writeTraceState(traceState)
  writeId(0x12, spanId)
  writeLastId(lastTrace, 0x0a, traceId)
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
  const { name, time, droppedAttributesCount = 0 } = event
  writer.number(0x20, droppedAttributesCount)
  if (event instanceof FactEvent && event.shared !== undefined) {
    writeOwn(event)
    writeShared(event.shared, name)
  } else {
    const { attributes } = event
    if (attributes) writeAttributes(0x1a, attributes)
    writer.textField(0x12, name)
  }
  writeTime(time)
  writer.tag(0x09)
  writer.close(0x5a, since)
}

/** What only this event has: an attribute each, behind those that it shares. */
function writeOwn({ decisionId, authorization, count }: FactEvent): void {
  if (count !== undefined) writeMember(0x1a, Name.decisionCount, count, 0)
  if (authorization !== undefined) writeMember(0x1a, Name.authorizationFingerprint, authorization, 0)
  if (decisionId !== undefined) writeMember(0x1a, Name.decisionId, decisionId, 0)
}

/** Its name and most of its attributes, as many have them. */
function writeShared(shared: SharedAttributes, name: string): void {
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

/** An id that most spans have in common with the span before them, and its field as it is sent. */
interface LastId {
  id: string
  readonly bytes: Uint8Array
}

const lastTrace: LastId = { id: '', bytes: new Uint8Array(2 + 16) }
const lastParent: LastId = { id: '', bytes: new Uint8Array(2 + 8) }

function writeLastId(last: LastId, tag: number, id: string): void {
  if (last.id === id) {
    writer.raw(last.bytes)
    return
  }
  const since = writer.length
  writeId(tag, id)
  // Others have as many digits as their makers wanted.
  if (writer.length - since !== last.bytes.length) return
  writer.copyTo(last.bytes)
  last.id = id
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
  // Some of these arrays hold integers and some doubles. Where both are read by index, V8 makes the ones into the others.
  const second = time.at(0)!
  const nanos = time.at(1)!
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
  readonly name: string
  readonly kind: number
  /** Name and kind as they are sent. */
  head: Uint8Array | undefined
  readonly names: string[]
  readonly values: unknown[]
  /** How often the attribute at this place was another one than before. */
  readonly changes: number[]
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
/** Spans with more attributes are encoded without; as many as a number has bits. */
const MAX_PLACES = 32
/** After so many, only one of as many is kept. */
const MAX_CHANGES = 16
/** Longer texts are not kept. */
const MAX_KEPT_TEXT = 128
/** Is no value of an attribute. */
const NONE = Symbol('none')

/** Of the span that is being encoded, where it has something else than the last one. */
const names: string[] = []
const values: unknown[] = []

function writeSpanAttributes(template: Template, attributes: Attributes): void {
  let count = 0
  /** A bit for each place that has what the last span had there. */
  let same = 0
  // Names and values in one go: engines look a value up by its name otherwise, which takes much longer.
  for (const one in attributes) {
    const value = attributes[one]
    if (count < MAX_PLACES && template.values[count] === value && template.names[count] === one)
      same |= 1 << count
    else {
      names[count] = one
      values[count] = value
    }
    count++
  }
  for (let at = count - 1; at >= 0; ) {
    if (at >= MAX_PLACES || (same & (1 << at)) === 0) {
      writeMember(0x4a, names[at]!, values[at], 0)
      if (at < MAX_PLACES) learn(template, at)
      at--
      continue
    }
    let first = at
    while (first > 0 && (same & (1 << (first - 1))) !== 0) first--
    writeRun(template, first, at)
    at = first - 1
  }
}

function writeRun({ names, values, runs }: Template, first: number, last: number): void {
  const known = runs[last]
  if (known?.first === first) {
    writer.raw(known.bytes)
    return
  }
  const since = writer.length
  for (let at = last; at >= first; at--) writeMember(0x4a, names[at]!, values[at], 0)
  runs[last] = { first, bytes: writer.since(since) }
}

/** Another value than the last span had. What never stays the same is not kept: to keep it costs more than to encode it. */
function learn(template: Template, at: number): void {
  const changes = (template.changes[at] ?? 0) + 1
  template.changes[at] = changes
  if (changes > MAX_CHANGES && changes % MAX_CHANGES !== 0) return
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

/** Templates that were used last, found without computing the hash of a name, for which all of it is read. */
const recent: Template[] = []
const MAX_RECENT = 8
let oldest = 0

/** Undefined for a span whose name is one of too many, or has another kind elsewhere. */
function templateOf(name: string, kind: number): Template | undefined {
  for (const known of recent) if (known.name === name) return known.kind === kind ? known : undefined
  let template = templates.get(name)
  if (template === undefined) {
    if (templates.size >= MAX_TEMPLATES) return undefined
    template = { name, kind, head: undefined, names: [], values: [], changes: [], runs: [] }
    templates.set(name, template)
  }
  recent[oldest] = template
  oldest = (oldest + 1) % MAX_RECENT
  return template.kind === kind ? template : undefined
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
