/**
 * Opened payloads: what is left of a segment of which something was erased or is withheld
 * (docs/formats/payload.md, "Opened payload"). Spans and claims come with salts of their own, and no seed is there.
 */
import { compareBytes, equalBytes, utf8 } from '../bytes.ts'
import { testifiedFacts } from '../continuity/testimony.ts'
import { MalformedError } from '../errors.ts'
import { Claim } from '../governance/attributes.ts'
import { decodeEither, LOG_RECORD } from '../otlp/log-record.ts'
import { BYTES, WireReader } from '../wire.ts'
import { Committer, EVIDENCE_ORDINAL, SALT_SIZE } from './commitment.ts'
import { isSpanBorn, NO_BYTES, parseEntry } from './entry.ts'
import type { TraceHistory } from './history.ts'
import { LeafSink } from './leaf-sink.ts'
import {
  encodeRun,
  type Opening,
  openClaims,
  parseRecordOpenings,
  type RecordOpenings,
  sortOpenings,
  writeRecordOpenings,
} from './opening.ts'
import type { Source, SpanInput } from './order.ts'
import {
  COLUMNS,
  checkScopes,
  count,
  emptyHead,
  numberField,
  parsePayload,
  putField,
  type Range,
  RESOURCE,
  readHead,
  SCOPE,
  type SegmentHead,
  type SegmentPayload,
  SOURCE,
  sized,
  sizedField,
  spanInput,
  tabulate,
  writeFirsts,
  writeHead,
  writeNumber,
} from './payload.ts'
import { deriveSegment } from './segment.ts'
import { Sink } from './sink.ts'

/** A span with the salt of its evidence. Its source has no seed. */
export interface OpenedSpan {
  /** Place of its record in the segment. */
  readonly leaf: number
  readonly salt: Uint8Array
  readonly input: SpanInput
}

export interface OpenedPayload extends SegmentHead {
  /** Whoever made it left out more than was erased. */
  readonly withheld: boolean
  /** Ascending by leaf, as the records are. */
  readonly spans: readonly OpenedSpan[]
  readonly records: readonly RecordOpenings[]
}

export type AnyPayload =
  | ({ readonly form: 'whole' } & SegmentPayload)
  | ({ readonly form: 'opened' } & OpenedPayload)

/** Parses a payload of either form; throws a MalformedError for anything but the one encoding of its contents. */
export function parseAnyPayload(bytes: Uint8Array): AnyPayload {
  return isOpened(bytes)
    ? { form: 'opened', ...parseOpened(bytes) }
    : { form: 'whole', ...parsePayload(bytes) }
}

/** A whole payload has a source, which is field 6; nothing above it can come before. */
function isOpened(bytes: Uint8Array): boolean {
  const reader = new WireReader(bytes)
  while (reader.next()) if (reader.field >= 6) return reader.field > 9
  return true
}

export function encodeOpened(payload: OpenedPayload): Uint8Array {
  const sink = new Sink(4096)
  writeHead(sink, payload)
  if (payload.withheld) writeNumber(sink, 0x50, 1)
  const inputs = payload.spans.map(({ input }) => input)
  const places = tabulate(inputs)
  writeFirsts(places, SOURCE, inputs, ({ source }) => sink.field(0x5a, source.receipt))
  writeFirsts(places, RESOURCE, inputs, (span) =>
    putField(sink, 0x62, span.source.body, span.resourceStart, span.resourceEnd),
  )
  writeFirsts(places, SCOPE, inputs, (span) =>
    putField(sink, 0x6a, span.source.body, span.scopeStart, span.scopeEnd),
  )
  for (const [at, { leaf, salt, input }] of payload.spans.entries()) {
    const receipt = places[at * COLUMNS + SOURCE]!
    const resource = places[at * COLUMNS + RESOURCE]!
    const scope = places[at * COLUMNS + SCOPE]!
    sink.byte(0x72)
    sink.varint(
      numberField(leaf) +
        numberField(receipt) +
        numberField(resource) +
        numberField(scope) +
        sizedField(salt.length) +
        sizedField(input.spanEnd - input.spanStart),
    )
    writeNumber(sink, 0x08, leaf)
    writeNumber(sink, 0x10, receipt)
    writeNumber(sink, 0x18, resource)
    writeNumber(sink, 0x20, scope)
    sink.field(0x2a, salt)
    putField(sink, input.kind === LOG_RECORD ? 0x3a : 0x32, input.source.body, input.spanStart, input.spanEnd)
  }
  for (const record of payload.records) writeRecordOpenings(sink, 0x7a, record)
  return sink.copy()
}

function parseOpened(bytes: Uint8Array): OpenedPayload {
  const head = emptyHead()
  let withheld = false
  const sources: Source[] = []
  const resources: Range[] = []
  const scopes: Range[] = []
  const spans: OpenedSpan[] = []
  const records: RecordOpenings[] = []
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (readHead(reader, head)) continue
    switch (reader.field) {
      case 10:
        withheld = count(reader, 'whether something is withheld') !== 0
        break
      case 11:
        reader.expect(BYTES, 'a receipt')
        sources.push({ receipt: reader.value(), seed: NO_BYTES, body: bytes, contexts: new Map() })
        break
      case 12:
        reader.expect(BYTES, 'a resource')
        resources.push({ start: reader.start, end: reader.end })
        break
      case 13:
        reader.expect(BYTES, 'a scope')
        scopes.push({ start: reader.start, end: reader.end })
        break
      case 14: {
        const span = parseOpenedSpan(reader, sources, resources, scopes)
        if (span.leaf <= (spans.at(-1)?.leaf ?? -1))
          throw new MalformedError('the spans do not ascend by leaf')
        spans.push(span)
        break
      }
      case 15: {
        const record = parseRecordOpenings(reader)
        if (record.leaf <= (records.at(-1)?.leaf ?? -1))
          throw new MalformedError('the records do not ascend by leaf')
        records.push(record)
        break
      }
      default:
        throw new MalformedError('an opened payload has an unknown field')
    }
  }
  if (head.traceId.length === 0) throw new MalformedError('a payload has no trace id')
  checkScopes(spans.map(({ input }) => input))
  const payload = { ...head, withheld, spans, records }
  if (!equalBytes(encodeOpened(payload), bytes))
    throw new MalformedError('a payload is not in canonical form')
  return payload
}

function parseOpenedSpan(
  outer: WireReader,
  sources: readonly Source[],
  resources: readonly Range[],
  scopes: readonly Range[],
): OpenedSpan {
  outer.expect(BYTES, 'a span')
  const reader = new WireReader(outer.bytes, outer.start, outer.end)
  const numbers = [0, 0, 0, 0]
  let salt = NO_BYTES as Uint8Array
  let span: Range | undefined
  let isLog = false
  while (reader.next()) {
    if (reader.field <= 4) numbers[reader.field - 1] = count(reader, "a span's number")
    else if (reader.field === 5) salt = sized(reader, SALT_SIZE, 'a salt')
    else if (reader.field === 6 || reader.field === 7) {
      reader.expect(BYTES, "a span's bytes")
      isLog = reader.field === 7
      span = { start: reader.start, end: reader.end }
    } else throw new MalformedError('a span has an unknown field')
  }
  const [leaf, source, resource, scope] = numbers as [number, number, number, number]
  const from = sources[source]
  const ofResource = resource === 0 ? { start: 0, end: 0 } : resources[resource - 1]
  const ofScope = scope === 0 ? { start: 0, end: 0 } : scopes[scope - 1]
  if (from === undefined || ofResource === undefined || ofScope === undefined || span === undefined)
    throw new MalformedError('a span names a row that is not there')
  if (salt.length === 0) throw new MalformedError('a span has no salt')
  return { leaf, salt, input: spanInput(from, 0, span, ofResource, ofScope, isLog) }
}

/** Notes what opens each claim that it commits to, record by record. */
class OpeningCommitter extends Committer {
  readonly records: Opening[][] = []
  #claims: Opening[] = []

  override claim(
    seed: Uint8Array,
    index: number,
    ordinal: number,
    key: Uint8Array,
    value: Uint8Array,
  ): Uint8Array {
    const salt = this.salt(seed, index, ordinal)
    this.#claims.push({ salt, key, value })
    return this.saltedClaim(salt, key, value)
  }

  override claims(commitments: Uint8Array[]): Uint8Array {
    this.records.push(this.#claims)
    this.#claims = []
    return super.claims(commitments)
  }
}

/**
 * A whole payload as an opened one that shows everything. `history` is of the segments before it. Undefined where
 * the records that it derives to are not `entries`, which are those of the log.
 */
export function openPayload(
  payload: SegmentPayload,
  history: TraceHistory | undefined,
  entries: readonly Uint8Array[],
): OpenedPayload | undefined {
  const committer = new OpeningCommitter()
  const sink = new LeafSink()
  const derived = deriveSegment(payload, payload.spans, history, committer, sink)
  if (!equalEntries(sink, entries)) return undefined
  const sources = new Map<Source, Source>()
  const withoutSeed = (source: Source): Source => {
    let bare = sources.get(source)
    if (bare === undefined) {
      bare = { receipt: source.receipt, seed: NO_BYTES, body: source.body, contexts: source.contexts }
      sources.set(source, bare)
    }
    return bare
  }
  const spans = derived.spans.map((span, place) => ({
    leaf: derived.leaves[place]!,
    salt: committer.salt(span.source.seed, span.index, EVIDENCE_ORDINAL),
    input: { ...span, index: 0, source: withoutSeed(span.source) },
  }))
  const withClaims = [...entries.keys()].filter((leaf) => parseEntry(entries[leaf]!).claims.length > 0)
  const records = withClaims.map((leaf, at) => ({
    leaf,
    claims: sortOpenings(committer.records[at]!, committer),
  }))
  const { tenant, traceId, segment, closed, evaluatedAt } = payload
  return { tenant, traceId, segment, closed, evaluatedAt, withheld: false, spans, records }
}

/** Whether what was derived into `sink` are these entries. */
export function equalEntries(sink: LeafSink, entries: readonly Uint8Array[]): boolean {
  if (sink.count !== entries.length) return false
  const bytes = sink.entries
  let at = 0
  for (const entry of entries) {
    const end = at + 2 + bytes[at]! * 256 + bytes[at + 1]!
    if (compareBytes(bytes.subarray(at + 2, end), entry) !== 0) return false
    at = end
  }
  return true
}

/** How much less an opened payload shows. */
export interface Reduced {
  readonly payload: OpenedPayload
  /** Spans and claims that are not shown any more. */
  readonly spans: number
  readonly claims: number
}

/** Leaves out spans, and puts commitments in place of claims, by what is asked. */
export function reduceOpened(
  payload: OpenedPayload,
  keepsSpan: (span: SpanInput) => boolean,
  keepsClaim: (key: Uint8Array) => boolean,
): Reduced {
  const committer = new Committer()
  const spans = payload.spans.filter(({ input }) => keepsSpan(input))
  let claims = 0
  const records = payload.records.map((record) => ({
    leaf: record.leaf,
    claims: record.claims.map((claim): Opening => {
      if ('commitment' in claim || keepsClaim(claim.key)) return claim
      claims++
      return { commitment: committer.saltedClaim(claim.salt, claim.key, claim.value) }
    }),
  }))
  return { payload: { ...payload, spans, records }, spans: payload.spans.length - spans.length, claims }
}

/** What is shown of an execution in a disclosure: claims with these keys, and nothing else. */
export function disclose(payload: OpenedPayload, keys: readonly string[]): OpenedPayload {
  const shown = keys.map(utf8)
  const { payload: reduced } = reduceOpened(
    payload,
    () => false,
    (key) => shown.some((one) => equalBytes(one, key)),
  )
  // Nothing vouches for the time of judgement without the seal's claim.
  const evaluatedAt = keys.includes(Claim.seal) ? payload.evaluatedAt : 0n
  return { ...reduced, evaluatedAt, withheld: true }
}

/** A record by its place in its segment, and the key of the one claim of it that is to be shown. */
export interface Shown {
  readonly leaf: number
  readonly key: string
}

/**
 * For each of these records of a segment a run that shows its one claim and hides the others; empty where the record has
 * no such claim, or it was erased. `payload` is undefined where all of it was; `entries` are all of the segment. The
 * segment is not derived.
 */
export function showClaims(
  payload: AnyPayload | undefined,
  entries: readonly Uint8Array[],
  wanted: readonly Shown[],
): Uint8Array[] {
  const committer = new Committer()
  const leaves = wanted.map(({ leaf }) => leaf)
  const openings =
    payload === undefined
      ? []
      : payload.form === 'whole'
        ? openRecords(payload, entries, leaves, committer)
        : leaves.map((leaf) => payload.records.find((record) => record.leaf === leaf)?.claims)
  return wanted.map(({ key }, at) => {
    const isShown = (claim: Opening): boolean => 'key' in claim && equalBytes(claim.key, utf8(key))
    const claims = openings[at] ?? []
    if (!claims.some(isShown)) return NO_BYTES
    const one = claims.map((claim) =>
      'commitment' in claim || isShown(claim)
        ? claim
        : { commitment: committer.saltedClaim(claim.salt, claim.key, claim.value) },
    )
    return encodeRun([{ leaf: 0, claims: one }])
  })
}

/** What opens the claims of records of a whole payload; undefined for those whose claims no span gives. */
function openRecords(
  payload: SegmentPayload,
  entries: readonly Uint8Array[],
  leaves: readonly number[],
  committer: Committer,
): (readonly Opening[] | undefined)[] {
  const parsed = entries.map(parseEntry)
  const born = [...parsed.keys()].filter((at) => isSpanBorn(parsed[at]!))
  return leaves.map((leaf) => {
    // Facts lie right before the record of their span.
    const place = born.findIndex((at) => at >= leaf)
    const input = payload.spans[place]
    if (input === undefined) return undefined
    const claims = openingsOf(input, born[place]! - leaf, committer)
    return openClaims(claims, parsed[leaf]!.claims, committer) ? claims : undefined
  })
}

/** What opens the claims of a span's own record, or of the fact that lies so many records before it. */
function openingsOf(input: SpanInput, before: number, committer: Committer): Opening[] {
  const { source, spanStart, spanEnd, index } = input
  const facts = testifiedFacts(decodeEither(input.kind, source.body.subarray(spanStart, spanEnd)), input)
  let ordinal = 1
  const records = [...facts.facts, facts].map(({ claims }) =>
    claims.map(({ keyBytes, value }) => ({
      salt: committer.salt(source.seed, index, ordinal++),
      key: keyBytes,
      value,
    })),
  )
  return sortOpenings(records.at(-1 - before) ?? [], committer)
}
