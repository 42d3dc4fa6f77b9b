/** Committed executions: finding them by time and service, and what one is made of. The index is never evidence. */
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import type { Continuity } from '@rootspan/lineage/continuity/judgement'
import type { Tier, Tiers } from '@rootspan/lineage/continuity/tier'
import { Kind } from '@rootspan/lineage/governance/kind'
import { decodeEither, decodeLogSpan } from '@rootspan/lineage/otlp/log-record'
import { encodeText } from '@rootspan/lineage/otlp/text'
import { isSpanBorn, nameOf, Parent, Persistence, parseEntry } from '@rootspan/lineage/record/entry'
import { parseAnyPayload } from '@rootspan/lineage/record/opened'
import { Closed } from '@rootspan/lineage/record/payload'
import { BYTES, FIXED64, WireReader } from '@rootspan/lineage/wire'
import { serviceName } from '../describe.ts'
import { readSegment } from '../sequencer.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import type { SegmentRow } from '../store/rows.ts'
import { readTerms, serviceTerm, spanOf } from '../store/terms.ts'
import { type Payloads, segmentsUnder } from './evidence.ts'

const MAX_TIME = 0xffff_ffff_ffff_ffffn
const ID_BYTES = 16
/** Longest span name that is shown, in bytes. */
const MAX_NAME = 255
/** Read ahead of lists of search terms. */
const LIST_BYTES = 256 * 1024

/** One execution, as lists show it. Times are nanoseconds since 1970 in decimal. */
export interface ExecutionSummary {
  traceId: string
  tenant: string
  /** Name of its first span. */
  name: string
  services: string[]
  /**
   * Earliest start in its first segment: what it is found, ordered and filtered by (store/terms.ts). No later segment
   * moves it, so whoever goes through pages meanwhile neither misses an execution nor gets it twice.
   */
  startTimeUnixNano: string
  /** Earliest start in all segments: a span that came late may have started before all others. */
  earliestTimeUnixNano: string
  endTimeUnixNano: string
  /** From the earliest start to the latest end. */
  durationNanos: string
  spans: number
  /** Records of it in the log: leaves. */
  records: number
  /** Index of its first leaf. */
  firstLeaf: number
  segments: number
  /** How many of the segments the latest checkpoint covers. */
  signedSegments: number
  /** Why its last segment was closed. */
  closed: string
  /** How it was judged with its last segment. */
  continuity: Continuity
  /** Rules with a finding in that judgement. */
  rules: readonly string[]
}

export interface SegmentSummary {
  segment: number
  /** Its leaves are the `count` ones from `first` on. */
  first: number
  count: number
  spans: number
  startTimeUnixNano: string
  endTimeUnixNano: string
  closed: string
  signed: boolean
  /** Leaves of the erased records about it; absent where nothing of it was erased. */
  erasures?: readonly number[]
}

/** A record as it lies in the log; the last four come from the span that gave it. */
export interface RecordSummary {
  leafIndex: number
  leafHash: string
  segment: number
  kind: string
  /** What a persistence record states. */
  statement?: string
  spanId?: string
  /** How it hangs on its parent span: root, linked, awaiting or remote; unsaid where it is the record of a log record. */
  parent?: string
  parentSpanId?: string
  /** Leaf hash of the parent's record, where it is linked. */
  parentLeaf?: string
  name?: string
  service?: string
  startTimeUnixNano?: string
  endTimeUnixNano?: string
  /** The span was erased. */
  erased?: true
  /** Of a fact, as {@link withTiers} finds them. */
  tier?: Tier
  standing?: string
}

/** What to look for. Times are nanoseconds since 1970, of `startTimeUnixNano`: `from` and after, before `to`. */
export interface Search {
  readonly service: string | undefined
  readonly from: bigint | undefined
  readonly to: bigint | undefined
  /** Where the page before ended. */
  readonly after: Uint8Array | undefined
  readonly limit: number
}

/**
 * One page of executions, newest first, and where the next one begins. `size` is that of the latest checkpoint.
 *
 * Cost: besides the page, all executions that start in the same quarter of a second as one that is looked at. They are
 * not bounded, but every one of them was received; what is kept of them is.
 */
export async function findExecutions(
  reader: LogReader,
  search: Search,
  size: number,
): Promise<{ executions: ExecutionSummary[]; next: string | undefined }> {
  const { traces, more } = await findTraces(reader, search)
  return {
    executions: traces.filter(({ rows }) => rows.length > 0).map(({ rows }) => summarize(rows, size)),
    next: more ? Buffer.from(traces.at(-1)!.place).toString('base64url') : undefined,
  }
}

/** As {@link findExecutions}: the rows of each execution, and its place, behind which the next page begins. */
export async function findTraces(
  reader: LogReader,
  search: Search,
): Promise<{ traces: { place: Uint8Array; rows: SegmentRow[] }[]; more: boolean }> {
  const { from = 0n, to = MAX_TIME + 1n, limit } = search
  if (from >= to) return { traces: [], more: false }
  const page = new Page(search, limit + 1)
  let span = -1
  for await (const list of termLists(reader, search, page.newest)) {
    if (list.span !== span && page.isFull) break
    span = list.span
    for (const { start, id } of readTerms(list.span, list.value, list.service)) page.add(start, id)
  }
  const found = page.places()
  const shown = found.slice(0, limit)
  const traces = await reader.traces(shown.map((place) => place.subarray(8)))
  return {
    traces: traces.map((rows, at) => ({ place: shown[at]!, rows })),
    more: found.length > limit,
  }
}

/** The places of a page: the start of an execution counted down, and its trace. The first in byte order are kept. */
class Page {
  /** The newest start that is looked for. */
  readonly newest: bigint
  readonly #from: bigint
  readonly #after: Uint8Array | undefined
  readonly #count: number
  #places: Buffer[] = []

  constructor({ from = 0n, to = MAX_TIME + 1n, after }: Search, count: number) {
    const newest = after === undefined ? MAX_TIME : MAX_TIME - Buffer.from(after).readBigUInt64BE(0)
    this.newest = newest < to ? newest : to - 1n
    this.#from = from
    this.#after = after
    this.#count = count
  }

  /** Whether older executions would not be on it. */
  get isFull(): boolean {
    return this.#places.length >= this.#count
  }

  add(start: bigint, id: Uint8Array): void {
    if (start < this.#from || start > this.newest) return
    const place = Buffer.allocUnsafe(8 + id.length)
    place.writeBigUInt64BE(MAX_TIME - start, 0)
    place.set(id, 8)
    if (this.#after !== undefined && place.compare(this.#after) <= 0) return
    this.#places.push(place)
    if (this.#places.length > 4 * this.#count + 1000) this.#places = this.places()
  }

  places(): Buffer[] {
    return this.#places.sort(Buffer.compare).slice(0, this.#count)
  }
}

interface FoundList {
  readonly span: number
  readonly value: Uint8Array
  readonly service: Uint8Array | undefined
}

/** Lists of search terms, the newest first, that hold executions of the search's service and time. */
async function* termLists(
  reader: LogReader,
  { service: name, from = 0n }: Search,
  newest: bigint,
): AsyncGenerator<FoundList, void, undefined> {
  const service = name === undefined ? undefined : serviceTerm(name)
  const keyOf = (start: bigint): Uint8Array =>
    service === undefined ? keys.termsKey(spanOf(start), 0) : keys.serviceKey(service, spanOf(start), 0)
  const end = keyOf(from)
  const range = { gte: keyOf(newest), lt: keys.after(end.subarray(0, -8)) }
  if (service === undefined) {
    for await (const [key, value] of reader.database.iterator({ ...range, highWaterMarkBytes: LIST_BYTES }))
      yield { span: keys.keySpan(key), value, service }
    return
  }
  for await (const key of reader.database.keys(range)) {
    const list = Buffer.concat([Uint8Array.of(keys.Prefix.byTime), key.subarray(-keys.PLACE_BYTES)])
    const value = await reader.database.get(list)
    if (value !== undefined) yield { span: keys.keySpan(key), value, service }
  }
}

/** The place that a page's `next` names; undefined for a text that none of ours is. */
export function parsePlace(text: string): Uint8Array | undefined {
  const place = Buffer.from(text, 'base64url')
  const tenantBytes = place[8]
  if (place.toString('base64url') !== text || tenantBytes === undefined) return undefined
  return place.length === 8 + 1 + tenantBytes + ID_BYTES ? place : undefined
}

/** `rows` are all segments of one execution, at least one; `size` is that of the latest checkpoint. */
export function summarize(rows: readonly SegmentRow[], size: number): ExecutionSummary {
  const first = rows[0]!
  const { closed, continuity, rules } = rows.at(-1)!
  let { start: earliest, end } = first
  let spans = 0
  let records = 0
  const services = new Set<string>()
  for (const row of rows) {
    if (row.start < earliest) earliest = row.start
    if (row.end > end) end = row.end
    spans += row.spans
    records += row.count
    for (const service of row.services) services.add(service)
  }
  return {
    traceId: formatHex(first.traceId),
    tenant: first.tenant,
    name: first.name,
    services: [...services],
    startTimeUnixNano: String(first.start),
    earliestTimeUnixNano: String(earliest),
    endTimeUnixNano: String(end),
    durationNanos: String(end > earliest ? end - earliest : 0n),
    spans,
    records,
    firstLeaf: first.first,
    segments: rows.length,
    signedSegments: segmentsUnder(rows, size).length,
    closed: nameOf(Closed, closed),
    continuity,
    rules,
  }
}

export function summarizeSegment(row: SegmentRow, size: number): SegmentSummary {
  return {
    segment: row.segment,
    first: row.first,
    count: row.count,
    spans: row.spans,
    startTimeUnixNano: String(row.start),
    endTimeUnixNano: String(row.end),
    closed: nameOf(Closed, row.closed),
    signed: row.first + row.count <= size,
    ...(row.erasures.length > 0 && { erasures: row.erasures }),
  }
}

/**
 * Records number `from` and on of an execution, counted through all its segments. Reads the segments that it shows
 * from their beginning: the names of spans are found by counting.
 */
export async function listRecords(
  reader: LogReader,
  payloads: Payloads,
  rows: readonly SegmentRow[],
  from: number,
  limit: number,
): Promise<RecordSummary[]> {
  const records: RecordSummary[] = []
  let skip = from
  for (const row of rows) {
    if (skip >= row.count) {
      skip -= row.count
      continue
    }
    if (records.length === limit) break
    const count = Math.min(row.count, skip + limit - records.length)
    const { entries, leaves } = await readSegment(reader, { first: row.first, count })
    const spans = await spanWords(payloads, row)
    for (const [at, bytes] of entries.entries()) {
      const entry = parseEntry(bytes)
      const span = isSpanBorn(entry) ? spans(at) : undefined
      if (at < skip) continue
      records.push({
        leafIndex: row.first + at,
        leafHash: formatHex(leaves.subarray(at * 32, at * 32 + 32)),
        segment: row.segment,
        kind: nameOf(Kind, entry.kind),
        ...(entry.kind === Kind.persistence && { statement: nameOf(Persistence, entry.persistence) }),
        ...(entry.spanId.length > 0 && { spanId: formatHex(entry.spanId) }),
        ...(entry.parent !== Parent.none && { parent: nameOf(Parent, entry.parent) }),
        ...(entry.parentSpanId.length > 0 && { parentSpanId: formatHex(entry.parentSpanId) }),
        ...(entry.parentLeaf.length > 0 && { parentLeaf: formatHex(entry.parentLeaf) }),
        ...span,
      })
    }
    skip = 0
  }
  return records
}

/** The same records, those of facts with their evidence tiers. */
export function withTiers(records: readonly RecordSummary[], tiers: Tiers): RecordSummary[] {
  return records.map((record) => {
    if (!isFact(record)) return record
    const standing = tiers.ofLeaf(parseHex(record.leafHash))
    return standing === undefined ? record : { ...record, tier: standing.tier, standing: standing.text }
  })
}

export function isFact({ kind, spanId }: RecordSummary): boolean {
  return kind !== 'span' && kind !== 'persistence' && spanId !== undefined
}

/** Names and times of the spans of a segment by the places of their records, asked for in ascending order. */
async function spanWords(
  payloads: Payloads,
  row: SegmentRow,
): Promise<(leaf: number) => Pick<RecordSummary, 'erased'> | SpanWords | undefined> {
  if (row.erasures.length === 0) {
    // Spans lie in the payload in record order, one for each span-born record.
    const words = describeSpans(await payloads.of(row))
    return () => words.next().value
  }
  const payload = parseAnyPayload(new Uint8Array(await payloads.left(row)))
  if (payload.form === 'whole') throw new Error('bad row: it says that something was erased')
  const left = new Map(payload.spans.map(({ leaf, input }) => [leaf, input]))
  return (leaf) => {
    const input = left.get(leaf)
    if (input === undefined) return { erased: true }
    const { source, resourceStart, resourceEnd, spanStart, spanEnd } = input
    const span = decodeEither(input.kind, source.body.subarray(spanStart, spanEnd))
    return {
      name: shortened(encodeText(span.name)),
      service: resourceEnd === 0 ? '' : serviceName(source.body, resourceStart, resourceEnd),
      startTimeUnixNano: String(span.startTimeUnixNano),
      endTimeUnixNano: String(span.endTimeUnixNano),
    }
  }
}

type SpanWords = Required<Pick<RecordSummary, 'name' | 'service' | 'startTimeUnixNano' | 'endTimeUnixNano'>>

/** Names and times of a payload's spans and log records, in order, without decoding spans (docs/formats/payload.md, fields 7 and 9). */
function* describeSpans(payload: Uint8Array): Generator<SpanWords, undefined, undefined> {
  const services: string[] = []
  const reader = new WireReader(payload)
  while (reader.next()) {
    if (reader.field === 7) services.push(serviceName(payload, reader.start, reader.end))
    if (reader.field !== 9) continue
    const row = new WireReader(payload, reader.start, reader.end)
    let service = ''
    while (row.next()) {
      if (row.field === 3) service = services[row.safe('a resource') - 1] ?? ''
      if (row.field === 6) {
        const record = decodeLogSpan(payload.subarray(row.start, row.end))
        const time = String(record.startTimeUnixNano)
        const name = shortened(encodeText(record.name))
        yield { name, service, startTimeUnixNano: time, endTimeUnixNano: time }
      }
      if (row.field !== 5) continue
      const words = { name: '', start: 0n, end: 0n }
      const span = new WireReader(payload, row.start, row.end)
      while (span.next()) {
        if (span.field === 5 && span.type === BYTES) words.name = shortened(span.value())
        if (span.field === 7 && span.type === FIXED64) words.start = span.uint64()
        if (span.field === 8 && span.type === FIXED64) words.end = span.uint64()
      }
      yield {
        name: words.name,
        service,
        startTimeUnixNano: String(words.start),
        endTimeUnixNano: String(words.end),
      }
    }
  }
  return undefined
}

/** At most MAX_NAME bytes of a name, for people; what is not UTF-8 is replaced. */
function shortened(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, MAX_NAME)).toString('utf8')
  return bytes.length > MAX_NAME ? text.replace(/\uFFFD+$/, '') : text
}
