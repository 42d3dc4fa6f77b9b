/** What people search an execution by: its services, the name of its first span, its time. */
import { continuityOf, type Judgement } from '@rootspan/lineage/continuity/judgement'
import { MalformedError } from '@rootspan/lineage/errors'
import { decodeEither, decodeLogSpan, LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import { encodeText } from '@rootspan/lineage/otlp/text'
import type { SpanInput } from '@rootspan/lineage/record/order'
import { BYTES, WireReader } from '@rootspan/lineage/wire'
import type { SegmentRow } from './store/rows.ts'

/** Longest service or span name that the index holds, in bytes. */
const MAX_NAME = 255
/** Services of one segment that the index holds. */
const MAX_SERVICES = 64

/** Service names by resource; one per commit, so that a resource is looked into once. */
export class ServiceNames {
  readonly #names = new Map<Uint8Array, Map<number, string>>()
  /** Most spans have the resource of the one before. */
  #body: Uint8Array | undefined
  #start = 0
  #name = ''

  of(span: SpanInput): string {
    const { resourceStart, resourceEnd } = span
    if (resourceEnd === 0) return ''
    const { body } = span.source
    if (body !== this.#body || resourceStart !== this.#start) {
      this.#name = this.#find(body, resourceStart, resourceEnd)
      this.#body = body
      this.#start = resourceStart
    }
    return this.#name
  }

  #find(body: Uint8Array, start: number, end: number): string {
    let inBody = this.#names.get(body)
    if (inBody === undefined) {
      inBody = new Map()
      this.#names.set(body, inBody)
    }
    let name = inBody.get(start)
    if (name === undefined) {
      name = serviceName(body, start, end)
      inBody.set(start, name)
    }
    return name
  }
}

/** A span with its end time, in nanoseconds as two unsigned 32-bit halves. */
type TimedSpan = SpanInput & { readonly endHigh: number; readonly endLow: number }

/** The span with its end time out of its bytes. */
export function timedSpan(span: SpanInput): TimedSpan {
  const { endTimeUnixNano } = decodeEither(span.kind, span.source.body.subarray(span.spanStart, span.spanEnd))
  return {
    ...span,
    endHigh: Number(endTimeUnixNano >> 32n),
    endLow: Number(endTimeUnixNano & 0xffff_ffffn),
  }
}

/**
 * What a row keeps of the judgement with which its segment was sealed. Of one that was sealed without, what the row before
 * it says: what was found stands until it is judged again.
 */
export function describeJudgement(
  judgement: Judgement | undefined,
  before: Pick<SegmentRow, 'continuity' | 'rules'> | undefined,
): Pick<SegmentRow, 'continuity' | 'rules'> {
  if (judgement === undefined) {
    const { continuity = 'unknown', rules = [] } = before ?? {}
    return { continuity: continuity === 'broken' ? continuity : 'unknown', rules }
  }
  const rules = new Set(judgement.findings.map(({ rule }) => rule))
  return { continuity: continuityOf(judgement), rules: [...rules].sort() }
}

/** A segment without spans is not searched for: it lies where those before it do. */
export function describeReview(
  earlier: readonly SegmentRow[],
): Pick<SegmentRow, 'start' | 'end' | 'services' | 'name'> {
  const [first] = earlier
  let { start = 0n, end = 0n } = first ?? {}
  for (const row of earlier) {
    if (row.start < start) start = row.start
    if (row.end > end) end = row.end
  }
  return { start, end, services: [], name: '' }
}

/** Of at least one span. */
export function describeSegment(
  spans: readonly TimedSpan[],
  names: ServiceNames,
): Pick<SegmentRow, 'start' | 'end' | 'services' | 'name'> {
  const services: string[] = []
  let first = spans[0]!
  let last = first
  let named = ''
  for (const span of spans) {
    if (before(span.startHigh, span.startLow, first.startHigh, first.startLow)) first = span
    if (before(last.endHigh, last.endLow, span.endHigh, span.endLow)) last = span
    const service = names.of(span)
    if (service === named || service === '') continue
    named = service
    if (services.length < MAX_SERVICES && !services.includes(service)) services.push(service)
  }
  // A log record names its execution where nothing else does yet.
  const { source, spanStart, spanEnd, kind } = spans.find((span) => span.kind !== LOG_RECORD) ?? spans[0]!
  return {
    start: nanos(first.startHigh, first.startLow),
    end: nanos(last.endHigh, last.endLow),
    services,
    name:
      kind === LOG_RECORD
        ? logName(source.body, spanStart, spanEnd)
        : spanName(source.body, spanStart, spanEnd),
  }
}

function before(aHigh: number, aLow: number, bHigh: number, bLow: number): boolean {
  return aHigh < bHigh || (aHigh === bHigh && aLow < bLow)
}

function nanos(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low)
}

/** Value of `service.name` of an encoded resource; empty where it has none or not a string. */
export function serviceName(body: Uint8Array, start: number, end: number): string {
  const resource = new WireReader(body, start, end)
  while (resource.next()) {
    if (resource.field !== 1 || resource.type !== BYTES) continue
    const attribute = new WireReader(body, resource.start, resource.end)
    let isName = false
    let value = ''
    while (attribute.next()) {
      if (attribute.field === 1) isName = name(attribute) === 'service.name'
      else if (attribute.field === 2) {
        const any = new WireReader(body, attribute.start, attribute.end)
        while (any.next()) if (any.field === 1 && any.type === BYTES) value = name(any)
      }
    }
    if (isName) return value
  }
  return ''
}

/** Name of an encoded span (Span, field 5). */
function spanName(body: Uint8Array, start: number, end: number): string {
  const span = new WireReader(body, start, end)
  let value = ''
  while (span.next()) if (span.field === 5 && span.type === BYTES) value = name(span)
  return value
}

/** Name of an encoded log record. */
function logName(body: Uint8Array, start: number, end: number): string {
  const bytes = encodeText(decodeLogSpan(body.subarray(start, end)).name)
  return cut(bytes, 0, bytes.length)
}

function name(reader: WireReader): string {
  if (reader.type !== BYTES) throw new MalformedError('a name is not a string')
  return cut(reader.bytes, reader.start, reader.end)
}

/** At most MAX_NAME bytes of a string; broken UTF-8 is replaced, since this is for people and never verified. */
function cut(bytes: Uint8Array, start: number, end: number): string {
  const size = Math.min(end - start, MAX_NAME)
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, size).toString('utf8')
  return end - start > MAX_NAME ? text.replace(/\uFFFD+$/, '') : text
}
