/**
 * Segment payload: the received bytes that the records of one segment commit to, with their seeds
 * (docs/formats/payload.md). Packs and evidence bundles hold the same message.
 *
 * Canonical: fields ascending, no defaults, tables in the order in which spans first use them, nothing
 * unused. Parsing re-encodes and compares.
 */
import { equalBytes, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { NAMESPACE } from '../governance/attributes.ts'
import { isGoverned } from '../governance/facts.ts'
import { decodeEither, LOG_RECORD } from '../otlp/log-record.ts'
import { BYTES, FIXED64, VARINT, WireReader } from '../wire.ts'
import { NO_BYTES } from './entry.ts'
import { idKey, isParentRemote, type Source, type SpanInput } from './order.ts'
import { Sink } from './sink.ts'

/** Longest tenant name, so that every entry stays within its bound. */
const MAX_TENANT_BYTES = 255

/** Why a segment was closed. */
export const Closed = {
  /** Its trace was whole as far as anybody could tell, and quiet. */
  settled: 0,
  /** It had lasted or grown to its limit. */
  cut: 1,
  /** The collector was shut down. */
  drained: 2,
  /** Nothing had come: the execution was judged again, because time had passed. It has no spans. */
  reviewed: 3,
} as const
export type Closed = (typeof Closed)[keyof typeof Closed]

export interface SegmentHead {
  readonly tenant: string
  /** 16 bytes. */
  readonly traceId: Uint8Array
  /** 0 for a trace's first segment. */
  readonly segment: number
  readonly closed: Closed
  /** When the segment was judged: nanoseconds since 1970. */
  readonly evaluatedAt: bigint
  /** Encoded context (continuity/context.ts); absent or empty where no rule used any. */
  readonly context?: Uint8Array
  /** Digest of the rules that the execution was judged by; absent or empty where it was not judged. */
  readonly ruleset?: Uint8Array
  /** Of a segment that is `reviewed`, and then 32 bytes: what its salts come from, as others' from their spans' seeds. */
  readonly seed?: Uint8Array
}

export interface SegmentPayload extends SegmentHead {
  /** Encoded judgement (continuity/judgement.ts); empty where nothing was found to look at, or nothing was judged. */
  readonly judgement: Uint8Array
  /** In record order. Their ranges point into `source.body`, which is the payload itself. */
  readonly spans: readonly SpanInput[]
}

/** Appends the payload of `spans`, in record order, to `sink`. */
export function writePayload(
  sink: Sink,
  head: SegmentHead,
  spans: readonly SpanInput[],
  judgement: Uint8Array = NO_BYTES,
): void {
  writeHead(sink, head)
  if (head.seed !== undefined) writeSource(sink, NO_BYTES, head.seed)
  const places = tabulate(spans)
  writeFirsts(places, SOURCE, spans, ({ source }) => writeSource(sink, source.receipt, source.seed))
  writeFirsts(places, RESOURCE, spans, (span) =>
    putField(sink, 0x3a, span.source.body, span.resourceStart, span.resourceEnd),
  )
  writeFirsts(places, SCOPE, spans, (span) =>
    putField(sink, 0x42, span.source.body, span.scopeStart, span.scopeEnd),
  )
  for (let at = 0; at < spans.length; at++) {
    const span = spans[at]!
    const source = places[at * COLUMNS + SOURCE]!
    const resource = places[at * COLUMNS + RESOURCE]!
    const scope = places[at * COLUMNS + SCOPE]!
    sink.byte(0x4a)
    sink.varint(
      numberField(source) +
        numberField(span.index) +
        numberField(resource) +
        numberField(scope) +
        sizedField(span.spanEnd - span.spanStart),
    )
    writeNumber(sink, 0x08, source)
    writeNumber(sink, 0x10, span.index)
    writeNumber(sink, 0x18, resource)
    writeNumber(sink, 0x20, scope)
    putField(sink, span.kind === LOG_RECORD ? 0x32 : 0x2a, span.source.body, span.spanStart, span.spanEnd)
  }
  if (head.context !== undefined && head.context.length > 0) sink.field(0x52, head.context)
  if (judgement.length > 0) sink.field(0x5a, judgement)
  if (head.ruleset !== undefined && head.ruleset.length > 0) sink.field(0x62, head.ruleset)
}

function writeSource(sink: Sink, receipt: Uint8Array, seed: Uint8Array): void {
  sink.byte(0x32)
  sink.varint(sizedField(receipt.length) + sizedField(seed.length))
  sink.field(0x0a, receipt)
  sink.field(0x12, seed)
}

/** Fields 1 to 5, which opened payloads have as well. */
export function writeHead(sink: Sink, head: SegmentHead): void {
  sink.field(0x0a, head.traceId)
  if (head.tenant !== '') sink.field(0x12, utf8(head.tenant))
  writeNumber(sink, 0x18, head.segment)
  writeNumber(sink, 0x20, head.closed)
  if (head.evaluatedAt !== 0n) {
    sink.byte(0x29)
    sink.fixed64(head.evaluatedAt)
  }
}

export function putField(sink: Sink, tag: number, body: Uint8Array, start: number, end: number): void {
  sink.byte(tag)
  sink.varint(end - start)
  sink.putRange(body, start, end)
}

/** Columns of what {@link tabulate} returns. */
export const SOURCE = 0
export const RESOURCE = 1
export const SCOPE = 2
export const COLUMNS = 3

/**
 * Numbers sources, resources and scopes of spans in the order in which they first come: three numbers a span, those of
 * resource and scope from 1 on, 0 where it has none. Same range of the same source is one: comparing bytes is left to the
 * compressor. What is returned lives until the next call.
 */
export function tabulate(spans: readonly SpanInput[]): Uint32Array {
  return spans.length <= FEW ? tabulateFew(spans) : tabulateMany(spans)
}

/** Calls `write` with the first span of each number of a column, in their order. */
export function writeFirsts(
  places: Uint32Array,
  column: number,
  spans: readonly SpanInput[],
  write: (span: SpanInput) => void,
): void {
  let next = column === SOURCE ? 0 : 1
  for (let at = 0; at < spans.length; at++)
    if (places[at * COLUMNS + column] === next) {
      write(spans[at]!)
      next++
    }
}

/** By looking at the spans before, the last one first: it costs less than making any table. */
function tabulateFew(spans: readonly SpanInput[]): Uint32Array {
  const places = placesOfFew
  let sources = 0
  let resources = 0
  let scopes = 0
  for (let i = 0; i < spans.length; i++) {
    const { source, resourceStart, resourceEnd, scopeStart, scopeEnd } = spans[i]!
    const at = i * COLUMNS
    places[at + RESOURCE] = 0
    places[at + SCOPE] = 0
    let j = i - 1
    while (j >= 0 && spans[j]!.source !== source) j--
    places[at + SOURCE] = j >= 0 ? places[j * COLUMNS + SOURCE]! : sources++
    if (resourceEnd !== 0) {
      for (j = i - 1; j >= 0; j--) {
        const other = spans[j]!
        if (other.source === source && other.resourceStart === resourceStart && other.resourceEnd !== 0) break
      }
      places[at + RESOURCE] = j >= 0 ? places[j * COLUMNS + RESOURCE]! : ++resources
    }
    if (scopeEnd !== 0) {
      for (j = i - 1; j >= 0; j--) {
        const other = spans[j]!
        if (other.source === source && other.scopeStart === scopeStart && other.scopeEnd !== 0) break
      }
      places[at + SCOPE] = j >= 0 ? places[j * COLUMNS + SCOPE]! : ++scopes
    }
  }
  return places
}

function tabulateMany(spans: readonly SpanInput[]): Uint32Array {
  const places = new Uint32Array(spans.length * COLUMNS)
  const sources = new Map<Source, number>()
  const resources = new Map<number, number>()
  const scopes = new Map<number, number>()
  for (const [i, span] of spans.entries()) {
    const source = numberOf(sources, span.source)
    // Offsets have 32 bits and places less than 21: a safe integer names the range.
    const base = source * 0x1_0000_0000
    places[i * COLUMNS + SOURCE] = source
    if (span.resourceEnd !== 0)
      places[i * COLUMNS + RESOURCE] = numberOf(resources, base + span.resourceStart) + 1
    if (span.scopeEnd !== 0) places[i * COLUMNS + SCOPE] = numberOf(scopes, base + span.scopeStart) + 1
  }
  return places
}

function numberOf<K>(numbers: Map<K, number>, key: K): number {
  let number = numbers.get(key)
  if (number === undefined) {
    number = numbers.size
    numbers.set(key, number)
  }
  return number
}

const FEW = 24
const placesOfFew = new Uint32Array(FEW * COLUMNS)

function varintSize(value: number): number {
  let size = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) size++
  return size
}

export function numberField(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value)
}

export function sizedField(size: number): number {
  return 1 + varintSize(size) + size
}

export function writeNumber(sink: Sink, tag: number, value: number): void {
  if (value === 0) return
  sink.byte(tag)
  sink.varint(value)
}

export function encodePayload(
  head: SegmentHead,
  spans: readonly SpanInput[],
  judgement: Uint8Array = NO_BYTES,
): Uint8Array {
  const sink = new Sink(4096)
  writePayload(sink, head, spans, judgement)
  return sink.copy()
}

/** Parses a payload; throws a MalformedError for anything but the one encoding of its contents. */
export function parsePayload(bytes: Uint8Array): SegmentPayload {
  const head = {
    ...emptyHead(),
    context: NO_BYTES as Uint8Array,
    judgement: NO_BYTES as Uint8Array,
    ruleset: NO_BYTES as Uint8Array,
  }
  const sources: Source[] = []
  const resources: Range[] = []
  const scopes: Range[] = []
  const spans: SpanInput[] = []
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (readHead(reader, head)) continue
    switch (reader.field) {
      case 6:
        sources.push(parseSource(reader))
        break
      case 7:
        reader.expect(BYTES, 'a resource')
        resources.push({ start: reader.start, end: reader.end })
        break
      case 8:
        reader.expect(BYTES, 'a scope')
        scopes.push({ start: reader.start, end: reader.end })
        break
      case 9:
        spans.push(parseSpan(reader, sources, resources, scopes))
        break
      case 10:
        reader.expect(BYTES, 'the context')
        head.context = reader.value()
        break
      case 11:
        reader.expect(BYTES, 'the judgement')
        head.judgement = reader.value()
        break
      case 12:
        head.ruleset = sized(reader, 32, 'the ruleset')
        break
      default:
        throw new MalformedError('a payload has an unknown field')
    }
  }
  if (head.traceId.length === 0) throw new MalformedError('a payload has no trace id')
  checkScopes(spans)
  if (head.ruleset.length === 0 && head.context.length + head.judgement.length > 0)
    throw new MalformedError('a payload has a judgement by no rules')
  if (head.closed === Closed.reviewed && (sources.length !== 1 || spans.length > 0))
    throw new MalformedError('a review has one source and no span')
  const payload = { ...head, spans, ...(head.closed === Closed.reviewed && { seed: sources[0]!.seed }) }
  if (!equalBytes(encodePayload(payload, spans, payload.judgement), bytes))
    throw new MalformedError('a payload is not in canonical form')
  return payload
}

/** A head that is being read. */
export type OpenHead = { -readonly [K in keyof SegmentHead]: SegmentHead[K] }

export function emptyHead(): OpenHead {
  return { tenant: '', traceId: NO_BYTES, segment: 0, closed: Closed.settled, evaluatedAt: 0n }
}

/** Takes the reader's field if it is one of the head's. */
export function readHead(reader: WireReader, head: OpenHead): boolean {
  switch (reader.field) {
    case 1:
      head.traceId = sized(reader, 16, 'the trace id')
      return true
    case 2:
      reader.expect(BYTES, 'the tenant')
      if (reader.end - reader.start > MAX_TENANT_BYTES)
        throw new MalformedError('the tenant is over 255 bytes')
      head.tenant = parseUtf8(reader.value(), 'the tenant')
      return true
    case 3:
      head.segment = count(reader, 'the segment')
      return true
    case 4: {
      const closed = count(reader, 'the reason of closing')
      if (closed > Closed.reviewed) throw new MalformedError('the reason of closing is unknown')
      head.closed = closed as Closed
      return true
    }
    case 5:
      reader.expect(FIXED64, 'the time of evaluation')
      head.evaluatedAt = reader.uint64()
      return true
    default:
      return false
  }
}

/**
 * A scope row is under one resource: what is cached by scope (order.ts, contextKey) would otherwise vouch for a
 * resource that nobody committed to.
 */
export function checkScopes(spans: readonly SpanInput[]): void {
  const resources = new Map<number, number>()
  for (const { scopeStart, scopeEnd, resourceStart } of spans) {
    if (scopeEnd === 0) continue
    if ((resources.get(scopeStart) ?? resourceStart) !== resourceStart)
      throw new MalformedError('a scope is under two resources')
    resources.set(scopeStart, resourceStart)
  }
}

export interface Range {
  start: number
  end: number
}

function parseSource(outer: WireReader): Source {
  outer.expect(BYTES, 'a source')
  const reader = new WireReader(outer.bytes, outer.start, outer.end)
  let receipt = NO_BYTES as Uint8Array
  let seed = NO_BYTES as Uint8Array
  while (reader.next()) {
    reader.expect(BYTES, "a source's field")
    if (reader.field === 1) receipt = reader.value()
    else if (reader.field === 2) seed = sized(reader, 32, "a source's seed")
    else throw new MalformedError('a source has an unknown field')
  }
  if (seed.length === 0) throw new MalformedError('a source has no seed')
  return { receipt, seed, body: outer.bytes, contexts: new Map() }
}

function parseSpan(outer: WireReader, sources: Source[], resources: Range[], scopes: Range[]): SpanInput {
  outer.expect(BYTES, 'a span')
  const reader = new WireReader(outer.bytes, outer.start, outer.end)
  let source = 0
  let index = 0
  let resource = 0
  let scope = 0
  let span: Range | undefined
  let isLog = false
  while (reader.next()) {
    if (reader.field === 1) source = count(reader, "a span's source")
    else if (reader.field === 2) index = count(reader, "a span's index")
    else if (reader.field === 3) resource = count(reader, "a span's resource")
    else if (reader.field === 4) scope = count(reader, "a span's scope")
    else if (reader.field === 5 || reader.field === 6) {
      reader.expect(BYTES, "a span's bytes")
      isLog = reader.field === 6
      span = { start: reader.start, end: reader.end }
    } else throw new MalformedError('a span has an unknown field')
  }
  const from = sources[source]
  const ofResource = resource === 0 ? { start: 0, end: 0 } : resources[resource - 1]
  const ofScope = scope === 0 ? { start: 0, end: 0 } : scopes[scope - 1]
  if (from === undefined || ofResource === undefined || ofScope === undefined || span === undefined)
    throw new MalformedError('a span names a row that is not there')
  return spanInput(from, index, span, ofResource, ofScope, isLog)
}

/** A span by its ranges, with what ordering needs read from its bytes. Throws where they are not a good span. */
export function spanInput(
  source: Source,
  index: number,
  span: Range,
  resource: Range,
  scope: Range,
  isLog: boolean,
): SpanInput {
  const decoded = decodeEither(isLog ? LOG_RECORD : 0, source.body.subarray(span.start, span.end))
  const { traceId, spanId, parentSpanId } = decoded
  // What the scan finds bad is never committed (scan.ts, FAULT).
  if (
    traceId.length !== 16 ||
    spanId.length !== 8 ||
    (parentSpanId.length !== 0 && parentSpanId.length !== 8)
  )
    throw new MalformedError('a span has ids of the wrong length')
  if (isZero(traceId) || isZero(spanId)) throw new MalformedError('a span has an id that is all zero')
  if (isLog && !decoded.name.startsWith(NAMESPACE))
    throw new MalformedError('a log record is not about governance')
  return {
    source,
    index,
    spanStart: span.start,
    spanEnd: span.end,
    resourceStart: resource.start,
    resourceEnd: resource.end,
    scopeStart: scope.start,
    scopeEnd: scope.end,
    id: idKey(spanId),
    parent: isZero(parentSpanId) ? '' : idKey(parentSpanId),
    startHigh: Number(decoded.startTimeUnixNano >> 32n),
    startLow: Number(decoded.startTimeUnixNano & 0xffff_ffffn),
    kind: isLog ? LOG_RECORD : decoded.kind >>> 0,
    remote: !isLog && isParentRemote(decoded.flags, decoded.kind),
    governed: isLog || isGoverned(decoded),
  }
}

export function count(reader: WireReader, what: string): number {
  reader.expect(VARINT, what)
  const value = reader.safe(what)
  if (value > 0xffff_ffff) throw new MalformedError(`${what} is over 32 bits`)
  return value
}

export function sized(reader: WireReader, size: number, what: string): Uint8Array {
  reader.expect(BYTES, what)
  if (reader.end - reader.start !== size) throw new MalformedError(`${what} is not ${size} bytes long`)
  return reader.value()
}

function isZero(id: Uint8Array): boolean {
  for (const byte of id) if (byte !== 0) return false
  return true
}
