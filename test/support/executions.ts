/**
 * Small real logs in memory, made in-process with the core: for tests of verification and audit, and for vectors.
 *
 * Everything is a function of what a test writes down: keys, seeds and times are fixed, so that the same calls give
 * the same bytes.
 */
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { concatBytes, formatHex, parseHex, parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { formatBundle } from '@rootspan/lineage/evidence/bundle'
import { isGoverned } from '@rootspan/lineage/governance/facts'
import { decodeEither, LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import { type ErasureTerms, erasedRecord, type LogRecord } from '@rootspan/lineage/record/about-log'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { type Cut, cutExecution, heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { encodeOpened, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { encodeRun } from '@rootspan/lineage/record/opening'
import { idKey, isParentRemote, type Source, type SpanInput } from '@rootspan/lineage/record/order'
import { Closed, encodePayload } from '@rootspan/lineage/record/payload'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { deriveSegment, type Sealing } from '@rootspan/lineage/record/segment'
import { formatCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { ED25519, formatVerifierKey, type VerifierKey, verifierKey } from '@rootspan/lineage/tlog/key'
import { type Signer, signNote } from '@rootspan/lineage/tlog/note'
import { type Policy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { proveRange } from '@rootspan/lineage/tlog/proof'
import { encodeEntryBundle, parseEntryBundle, TILE_WIDTH, tilesOf } from '@rootspan/lineage/tlog/tile'
import { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { WireWriter } from '@rootspan/lineage/wire'
import { ascending, witnessesOf } from './witnesses.ts'

const ORIGIN = 'example.com/test/v0'

/** 2026-01-02T03:04:05Z in nanoseconds: when every span begins that says nothing else. */
export const EPOCH = 1_767_323_045_000_000_000n

export type AttributeValue = string | boolean | number | bigint | Uint8Array | readonly AttributeValue[]

export interface SpanSpec {
  /** The door and the peer of the request, which those of its first span or log record decide; OTLP from nobody if absent. */
  readonly receiver?: string
  readonly peer?: string
  /** It is a log record of this span: then only id, name, service, flags, start and attributes count. */
  readonly log?: boolean
  /** 8 bytes as 16 hex digits, or a small number. */
  readonly id: number | string
  readonly parent?: number | string
  readonly name?: string
  readonly service?: string
  /** Attributes of the resource beside `service.name`; those of the service's first span in a request count. */
  readonly resource?: Readonly<Record<string, AttributeValue>>
  /** OTLP span kind; 1, internal, if absent. */
  readonly kind?: number
  readonly flags?: number
  /** Nanoseconds after {@link EPOCH}. */
  readonly start?: number
  readonly end?: number
  readonly attributes?: Readonly<Record<string, AttributeValue>>
  readonly events?: readonly {
    readonly name: string
    /** Nanoseconds after {@link EPOCH}; the start of the span if absent. */
    readonly at?: number
    readonly attributes?: Readonly<Record<string, AttributeValue>>
  }[]
  readonly links?: readonly (number | string)[]
  readonly linkFlags?: number
  readonly dropped?: number
  readonly traceState?: string
  readonly status?: number
}

export interface SettleOptions {
  readonly tenant?: string
  readonly closed?: Closed
  /** When it is judged: nanoseconds since 1970. */
  readonly at?: bigint
  /** How; by all rules and without a context where it is absent. */
  readonly sealing?: Sealing
}

export interface TestKey {
  readonly verifier: VerifierKey
  readonly signer: Signer
}

/** The Ed25519 key of this name whose seed is 32 times `byte`. */
export function testKey(name = ORIGIN, byte = 7): TestKey {
  const pkcs8 = Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.alloc(32, byte),
  ])
  const secret = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const publicKey = Buffer.from(createPublicKey(secret).export({ format: 'jwk' }).x!, 'base64url')
  const verifier = verifierKey(name, ED25519, new Uint8Array(publicKey))
  return {
    verifier,
    signer: { name, keyId: verifier.keyId, sign: (message) => new Uint8Array(sign(null, message, secret)) },
  }
}

/** Trace id of 16 bytes from a small number. */
export function traceIdOf(number: number): Uint8Array {
  return parseHex(number.toString(16).padStart(32, '0'))
}

export interface Segment {
  readonly first: number
  readonly closed: Closed
  readonly entries: readonly Uint8Array[]
  readonly leaves: Uint8Array
  readonly payload: Uint8Array
}

export interface EraseOptions extends Partial<ErasureTerms> {
  readonly tenant?: string
}

export interface Trace {
  history: TraceHistory
  segments: Segment[]
  readonly erasures: { readonly first: number; readonly record: LogRecord }[]
}

/** A log that grows by whole segments, as a collector's does. */
export class TestLog {
  readonly origin: string
  readonly keys: readonly TestKey[]
  readonly tree = new TileTree()
  /** All entries, and what each checkpoint so far signed. */
  readonly entries: Uint8Array[] = []
  readonly checkpoints = new Map<number, Uint8Array>()
  readonly #tiles = new Map<string, Uint8Array>()
  readonly #traces = new Map<string, Trace>()
  readonly #committer = new Committer()
  #requests = 0

  readonly #receivedAt: bigint

  /** Requests are received from `receivedAt` on, one each millisecond. */
  constructor(keys: readonly TestKey[] = [testKey()], receivedAt = EPOCH) {
    this.#receivedAt = receivedAt
    this.keys = keys
    this.origin = keys[0]!.verifier.name
  }

  get size(): number {
    return this.tree.size
  }

  get policy(): Policy {
    return policyOfLogs(this.keys[0]!.verifier)
  }

  get policyText(): string {
    return `# the log of these tests\nlog ${formatVerifierKey(this.keys[0]!.verifier)}\nquorum none\n`
  }

  /** Spans, or log records, of one trace as one request gives them: resource, scope and spans in one body. */
  request(trace: number, specs: readonly SpanSpec[], tenant = ''): SpanInput[] {
    const number = this.#requests++
    const seed = new Uint8Array(createHash('sha256').update(`request ${number}`).digest())
    const receipt = encodeReceipt({
      receiver: specs[0]?.receiver ?? 'otlp/grpc',
      peer: specs[0]?.peer ?? '',
      tenant,
      receivedAt: this.#receivedAt + BigInt(number) * 1_000_000n,
      tracked: false,
      signal: specs.some((spec) => spec.log) ? 'logs' : 'traces',
    })
    return spansOf(trace, specs, {
      receipt,
      seed: this.#committer.traceSeed(seed, utf8(tenant), traceIdOf(trace)),
    })
  }

  /** Seals a segment of a trace from requests; appends its leaves to the log. Returns false where nothing is new. */
  settle(trace: number, requests: readonly (readonly SpanSpec[])[], options: SettleOptions = {}): boolean {
    const { tenant = '' } = options
    return this.seal(
      trace,
      requests.flatMap((specs) => this.request(trace, specs, tenant)),
      options,
    )
  }

  seal(trace: number, spans: readonly SpanInput[], options: SettleOptions = {}): boolean {
    const { tenant = '', closed = Closed.settled, at = EPOCH + BigInt(this.size) } = options
    const key = `${tenant}\n${trace}`
    const known = this.#traces.get(key)
    const seed = closed === Closed.reviewed && {
      seed: new Uint8Array(
        createHash('sha256')
          .update(`review ${this.#requests++}`)
          .digest(),
      ),
    }
    const head = { tenant, traceId: traceIdOf(trace), closed, evaluatedAt: at, ...seed }
    const sink = new LeafSink()
    const derived = deriveSegment(head, spans, known?.history, this.#committer, sink, options.sealing)
    if (derived.count === 0) return false
    const of = known ?? { history: new TraceHistory(), segments: [], erasures: [] }
    this.#traces.set(key, of)
    const payload = encodePayload(
      { ...head, segment: of.segments.length, context: derived.context, ruleset: derived.ruleset },
      derived.spans,
      derived.judgement,
    )
    const entries = splitEntries(sink.entries)
    const first = this.append(entries)
    const segment = { first, closed, entries, leaves: new Uint8Array(sink.hashes), payload }
    of.segments.push(segment)
    remember(of.history, segment)
    return true
  }

  /** Erases segments of a trace whole, or what has these keys, and says so in the log. */
  erase(trace: number, cut: 'all' | readonly string[], options: EraseOptions = {}): void {
    const { tenant = '', ...terms } = options
    const of = this.#traces.get(`${tenant}\n${trace}`)!
    const cuts = cutExecution(
      of.segments.map((segment) => ({ ...segment, payload: parseAnyPayload(segment.payload) })),
      of.segments.map(() => (cut === 'all' ? cut : cutOf(cut))),
    )
    const record = erasedRecord(
      tenant,
      cuts.map(({ segment }) => of.segments[segment]!.leaves.slice(-32)),
      {
        scope: cut === 'all' ? 'execution' : 'attributes',
        selector: ['trace'],
        keys: cut === 'all' ? [] : cut,
        spans: cuts.map(({ spans }) => spans),
        claims: cut === 'all' ? [] : cuts.map(({ claims }) => claims),
        reason: 'a request of the data subject',
        by: 'the privacy officer',
        at: EPOCH,
        ...terms,
      },
      (size) =>
        createHash('sha256')
          .update(`salt ${this.#requests++}`)
          .digest()
          .subarray(0, size),
    )
    of.erasures.push({ first: this.append([record.entry]), record })
    const changed = new Map(cuts.map((one) => [one.segment, one.payload]))
    of.history = new TraceHistory()
    of.segments = of.segments.map((segment, number) => {
      const head = {
        tenant,
        traceId: traceIdOf(trace),
        segment: number,
        closed: segment.closed,
        evaluatedAt: 0n,
      }
      const left = changed.get(number) ?? { ...head, withheld: false, spans: [], records: [] }
      const now = changed.has(number) ? { ...segment, payload: encodeOpened(left) } : segment
      remember(of.history, now)
      return now
    })
  }

  /** Appends any entries at all; returns the index of the first. For logs that are wrong, too. */
  append(entries: readonly Uint8Array[]): number {
    const first = this.entries.length
    for (const entry of entries) {
      this.entries.push(entry)
      this.tree.append(createHash('sha256').update(Uint8Array.of(0)).update(entry).digest())
    }
    for (const { level, index, data } of this.tree.takeChanged()) this.#tiles.set(`${level}/${index}`, data)
    return first
  }

  /** Signs the tree as it is now and keeps the checkpoint. */
  checkpoint(signers: readonly Signer[] = this.keys.map((key) => key.signer)): Uint8Array {
    const { size } = this
    const text = formatCheckpoint({ origin: this.origin, size, root: this.tree.root(), extensions: [] })
    const note = signNote(text, signers)
    this.checkpoints.set(size, note)
    return note
  }

  segments(trace: number, tenant = ''): readonly Segment[] {
    return this.#traces.get(`${tenant}\n${trace}`)?.segments ?? []
  }

  /** The evidence bundle of a trace under the tree as it is now. */
  async bundle(
    trace: number,
    options: { tenant?: string; checkpoint?: Uint8Array } = {},
  ): Promise<Uint8Array> {
    const { size } = this
    const checkpoint = options.checkpoint ?? this.checkpoint()
    const proven = async ({ first, entries, payload }: Pick<Segment, 'first' | 'entries' | 'payload'>) => ({
      first,
      entries,
      proof: await proveRange(first, first + entries.length, size, (level, index, width) =>
        this.tile(level, index, width),
      ),
      payload,
    })
    const { segments, erasures } = this.#traces.get(`${options.tenant ?? ''}\n${trace}`)!
    const witnesses = witnessesOf(segments, [...this.#traces.values()])
    return formatBundle({
      checkpoint: parseUtf8(checkpoint),
      segments: await Promise.all(segments.map(proven)),
      erasures: await Promise.all(
        ascending([...erasures, ...witnesses.erasures]).map(({ first, record: { entry, claims } }) =>
          proven({ first, entries: [entry], payload: encodeRun([{ leaf: 0, claims }]) }),
        ),
      ),
      context: await Promise.all(witnesses.parts.map(proven)),
    })
  }

  tile(level: number, index: number, width: number): Uint8Array {
    const tile = this.#tiles.get(`${level}/${index}`)
    if (tile === undefined || tile.length < width * 32)
      throw new Error(`bad tile ${level}/${index} of ${width}`)
    return new Uint8Array(tile.subarray(0, width * 32)) // `slice` of a Buffer is a view
  }

  entryBundle(index: number, width: number): Uint8Array {
    return encodeEntryBundle(this.entries.slice(index * TILE_WIDTH, index * TILE_WIDTH + width))
  }

  /** Everything that a static server would serve of the tree of `size` leaves, by path below the log's prefix. */
  files(size = this.size): Map<string, Uint8Array> {
    const files = new Map<string, Uint8Array>()
    for (const { level, index, width } of tilesOf(size)) {
      const place = `${placeOf(index)}${width === TILE_WIDTH ? '' : `.p/${width}`}`
      files.set(`tile/${level}/${place}`, this.tile(level, index, width))
      if (level === 0) files.set(`tile/entries/${place}`, this.entryBundle(index, width))
    }
    const checkpoint = this.checkpoints.get(size)
    if (checkpoint !== undefined) files.set('checkpoint', checkpoint)
    for (const [of, note] of this.checkpoints) files.set(`checkpoint/${of}`, note)
    return files
  }
}

function remember(history: TraceHistory, { first, closed, entries, leaves, payload }: Segment): void {
  history.add(first, entries.map(parseEntry), leaves, closed, () =>
    heldOf({ entries }, parseAnyPayload(payload)),
  )
}

/** Spans that have an attribute with one of the keys, in themselves or their events. */
function cutOf(keys: readonly string[]): Cut {
  return {
    hasSpan: ({ kind, source, spanStart, spanEnd }) => {
      const { attributes, events } = decodeEither(kind, source.body.subarray(spanStart, spanEnd))
      return [...attributes, ...events.flatMap((event) => event.attributes)].some(({ key }) =>
        keys.includes(key),
      )
    },
    hasClaim: (key) => keys.includes(parseUtf8(key)),
  }
}

function placeOf(index: number): string {
  let path = String(index % 1000).padStart(3, '0')
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`
  return path
}

export function splitEntries(bundle: Uint8Array): Uint8Array[] {
  const entries: Uint8Array[] = []
  for (let at = 0; at < bundle.length; ) {
    const width = 2 + bundle[at]! * 256 + bundle[at + 1]!
    entries.push(...parseEntryBundle(new Uint8Array(bundle.subarray(at, at + width)), 1))
    at += width
  }
  return entries
}

interface Range {
  readonly start: number
  readonly end: number
}

function spansOf(
  trace: number,
  specs: readonly SpanSpec[],
  source: Omit<Source, 'body' | 'contexts'>,
): SpanInput[] {
  const parts: Uint8Array[] = [utf8('request:')] // offset 0 is no range's
  let at = parts[0]!.length
  const put = (bytes: Uint8Array): Range => {
    parts.push(bytes)
    at += bytes.length
    return { start: at - bytes.length, end: at }
  }
  const services = new Map<string, { resource: Range; scope: Range }>()
  const ranges = specs.map((spec) => {
    const service = spec.service ?? 'checkout'
    let under = services.get(service)
    if (under === undefined) {
      const described = new WireWriter().bytes(1, attribute('service.name', service))
      for (const [key, value] of Object.entries(spec.resource ?? {}))
        described.bytes(1, attribute(key, value))
      const resource = put(described.finish())
      under = { resource, scope: put(new WireWriter().string(1, 'test').string(2, '1.2.3').finish()) }
      services.set(service, under)
    }
    const bytes = spec.log ? encodeLogRecord(trace, spec) : encodeSpan(trace, spec)
    return { ...under, span: put(bytes), bytes, kind: spec.log ? LOG_RECORD : 0 }
  })
  const body = concatBytes(...parts)
  const shared: Source = { ...source, body, contexts: new Map() }
  return ranges.map(({ resource, scope, span, bytes, kind }, index) => {
    const decoded = decodeEither(kind, bytes)
    return {
      source: shared,
      index,
      spanStart: span.start,
      spanEnd: span.end,
      resourceStart: resource.start,
      resourceEnd: resource.end,
      scopeStart: scope.start,
      scopeEnd: scope.end,
      id: idKey(decoded.spanId),
      parent: decoded.parentSpanId.length === 0 ? '' : idKey(decoded.parentSpanId),
      startHigh: Number(decoded.startTimeUnixNano >> 32n),
      startLow: Number(decoded.startTimeUnixNano & 0xffff_ffffn),
      kind: decoded.kind,
      remote: kind !== LOG_RECORD && isParentRemote(decoded.flags, decoded.kind),
      governed: kind === LOG_RECORD || isGoverned(decoded),
    }
  })
}

export function encodeSpan(trace: number, spec: SpanSpec): Uint8Array {
  const out = new WireWriter(512)
  out.bytes(1, traceIdOf(trace)).bytes(2, spanIdOf(spec.id))
  if (spec.traceState !== undefined) out.string(3, spec.traceState)
  if (spec.parent !== undefined) out.bytes(4, spanIdOf(spec.parent))
  out.string(5, spec.name ?? `span ${spec.id}`).varint(6, spec.kind ?? 1)
  const start = spec.start ?? (typeof spec.id === 'number' ? spec.id * 1_000_000 : 0)
  out.fixed64(7, EPOCH + BigInt(start)).fixed64(8, EPOCH + BigInt(spec.end ?? start + 500_000))
  for (const [key, value] of Object.entries(spec.attributes ?? {})) out.bytes(9, attribute(key, value))
  if (spec.dropped !== undefined) out.varint(10, spec.dropped)
  for (const event of spec.events ?? []) {
    const inner = new WireWriter().fixed64(1, EPOCH + BigInt(event.at ?? start)).string(2, event.name)
    for (const [key, value] of Object.entries(event.attributes ?? {})) inner.bytes(3, attribute(key, value))
    out.bytes(11, inner.finish())
  }
  for (const link of spec.links ?? []) out.bytes(13, linkTo(trace, link, spec.linkFlags))
  if (spec.status !== undefined) out.bytes(15, new WireWriter().varint(3, spec.status).finish())
  if (spec.flags !== undefined) out.fixed32(16, spec.flags)
  return out.finish()
}

export function encodeLogRecord(trace: number, spec: SpanSpec): Uint8Array {
  const start = spec.start ?? (typeof spec.id === 'number' ? spec.id * 1_000_000 : 0)
  const out = new WireWriter(512).fixed64(1, EPOCH + BigInt(start)).varint(2, 9)
  out.bytes(5, anyValue('said by the service'))
  for (const [key, value] of Object.entries(spec.attributes ?? {})) out.bytes(6, attribute(key, value))
  if (spec.flags !== undefined) out.fixed32(8, spec.flags)
  out
    .bytes(9, traceIdOf(trace))
    .bytes(10, spanIdOf(spec.id))
    .fixed64(11, EPOCH + BigInt(start) + 5n)
  return out.string(12, spec.name ?? 'governance.execution.started').finish()
}

function linkTo(trace: number, link: number | string, flags: number | undefined): Uint8Array {
  const out = new WireWriter().bytes(1, traceIdOf(trace)).bytes(2, spanIdOf(link))
  return (flags === undefined ? out : out.fixed32(6, flags)).finish()
}

export function spanIdOf(id: number | string): Uint8Array {
  return parseHex(typeof id === 'number' ? id.toString(16).padStart(16, '0') : id)
}

export function spanHex(id: number | string): string {
  return formatHex(spanIdOf(id))
}

function attribute(key: string, value: AttributeValue): Uint8Array {
  return new WireWriter().string(1, key).bytes(2, anyValue(value)).finish()
}

function anyValue(value: AttributeValue): Uint8Array {
  const out = new WireWriter()
  if (typeof value === 'string') return out.string(1, value).finish()
  if (typeof value === 'boolean') return out.varint(2, value ? 1 : 0).finish()
  if (typeof value === 'bigint') return out.varint(3, value).finish()
  if (typeof value === 'number')
    return (Number.isInteger(value) ? out.varint(3, value) : out.double(4, value)).finish()
  if (value instanceof Uint8Array) return out.bytes(7, value).finish()
  const list = new WireWriter()
  for (const item of value) list.bytes(1, anyValue(item))
  return out.bytes(5, list.finish()).finish()
}

/** What a service says of span 1 when it begins, and of span 2 while it lasts. */
export const STARTED: SpanSpec = {
  id: 1,
  log: true,
  attributes: { 'governance.execution.kind': 'job', 'governance.execution.id': 'e-1' },
}
export const DECIDED: SpanSpec = {
  id: 2,
  log: true,
  start: 2_000_100,
  name: 'governance.decision',
  attributes: { 'governance.decision.id': 'd-1', 'governance.decision.outcome': 'allow' },
}

/** Spans with every kind of fact. */
export const GOVERNED: readonly SpanSpec[] = [
  {
    id: 1,
    kind: 2,
    name: 'POST /refunds',
    service: 'gateway',
    attributes: {
      'http.route': '/refunds',
      'governance.execution.purpose': 'refund a customer',
      'governance.authorization.scheme': 'bearer',
      'governance.authorization.subject': 'user:alice',
      'governance.verification.method': 'signature',
      'governance.decision.id': 'd-1',
      'governance.decision.outcome': 'permit',
      'governance.policy.id': 'refunds',
      'governance.policy.version': 3,
    },
    events: [
      { name: 'governance.transition', attributes: { 'governance.transition.to': 'approved' } },
      { name: 'log', attributes: { message: 'plain event' } },
    ],
  },
  {
    id: 2,
    parent: 1,
    name: 'refund',
    attributes: { 'governance.action.name': 'payment.refund', 'governance.action.irreversible': true },
  },
]

/** An action for each way in which a decision is found. */
export const JOINED: readonly SpanSpec[] = [
  { id: 1, attributes: { 'governance.decision.id': 'd-1', 'governance.decision.outcome': 'permit' } },
  { id: 2, parent: 1, attributes: { 'governance.action.name': 'a' } },
  { id: 3 },
  {
    id: 4,
    parent: 3,
    attributes: {
      'governance.decision.outcome': 'deny',
      'governance.action.name': 'b',
      'governance.action.digest': 'x',
    },
  },
  { id: 5, parent: 3, attributes: { 'governance.action.name': 'b' } },
  { id: 6, attributes: { 'governance.action.name': 'c', 'governance.decision.id': 'd-1' } },
  { id: 7, attributes: { 'governance.action.name': 'd' }, links: [1] },
  { id: 8, attributes: { 'governance.action.name': 'e', 'governance.action.digest': 'x' } },
]
