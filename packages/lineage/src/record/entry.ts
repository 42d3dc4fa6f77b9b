/**
 * The entry: the bytes of one leaf (docs/formats/record.md; schema in proto/rootspan/v0/rootspan.proto).
 *
 * A canonical protobuf message: fields ascending, no defaults, minimal varints. Parsing re-encodes and
 * compares, so that one record has one encoding and its leaf hash is its identity.
 */
import { copyWords, equalBytes, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import { BYTES, VARINT, WireReader } from '../wire.ts'
import { putId } from './order.ts'
import { Sink } from './sink.ts'

export const MAX_ENTRY = 4096
export const MAX_CAUSES = 32
const FORMAT_VERSION = 0

/** How the span of a span-born record hangs on its parent span. */
export const Parent = {
  /** The record is not born of a span as such: a fact, or about a segment. */
  none: 0,
  /** The span names no parent. */
  root: 1,
  /** The parent's record is in the log already: `parentLeaf` is its leaf hash. */
  linked: 2,
  /** The parent should have been here and is not: it may come later. */
  awaiting: 3,
  /** OTLP says that the parent is in another process, and it is not in the log yet. */
  remote: 4,
  /** The record is of a log record, which says nothing of its span's parent. */
  unsaid: 5,
} as const
export type Parent = (typeof Parent)[keyof typeof Parent]

/** Why a record names another one. */
export const Role = {
  authorization: 1,
  decision: 2,
  verification: 3,
  action: 4,
  transition: 5,
  request: 6,
  /** A seal names the seal of the trace's previous segment. */
  previousSeal: 7,
  /** An `adopted` record names the record of the parent that has come. */
  parent: 8,
  /** A finding names the records that it is about. */
  subject: 9,
  /** The record of a span names those of the log records of this span that came before it. */
  logRecord: 10,
} as const
export type Role = (typeof Role)[keyof typeof Role]

/** What a cause of each role names, for the roles whose name is that of a kind. */
export const KIND_OF_ROLE: Readonly<Partial<Record<number, Kind>>> = {
  [Role.authorization]: Kind.authorization,
  [Role.decision]: Kind.decision,
  [Role.verification]: Kind.verification,
  [Role.action]: Kind.action,
  [Role.transition]: Kind.transition,
  [Role.request]: Kind.request,
}

/** What a `persistence` record states. */
export const Persistence = {
  none: 0,
  sealed: 1,
  adopted: 2,
  joined: 3,
  gap: 4,
  late: 5,
  erased: 6,
  held: 7,
  keyEpoch: 8,
  recovered: 9,
  accessed: 10,
} as const
export type Persistence = (typeof Persistence)[keyof typeof Persistence]

export interface Cause {
  role: Role
  /** Leaf hash, 32 bytes. */
  leaf: Uint8Array
  /** Origin of the log that holds the leaf; empty for this log. */
  origin: string
}

export interface Entry {
  kind: Kind
  tenant: string
  /** 16 bytes, or empty on a record about the log. */
  traceId: Uint8Array
  /** 8 bytes, or empty on a record about a segment or the log. */
  spanId: Uint8Array
  /** 8 bytes, or empty. */
  parentSpanId: Uint8Array
  parent: Parent
  /** 32 bytes where `parent` is linked, else empty. */
  parentLeaf: Uint8Array
  causes: readonly Cause[]
  /** 32 bytes on span-born records, else empty. */
  evidence: Uint8Array
  /** 32 bytes where the record has claims, else empty. */
  claims: Uint8Array
  persistence: Persistence
  /** Number of the segment that a seal closes. */
  segment: number
  /** How many leaves right before it a seal closes. */
  leaves: number
}

export const NO_BYTES = new Uint8Array(0)

/** An entry of `kind` with everything else absent. */
export function emptyEntry(kind: Kind): Entry {
  return {
    kind,
    tenant: '',
    traceId: NO_BYTES,
    spanId: NO_BYTES,
    parentSpanId: NO_BYTES,
    parent: Parent.none,
    parentLeaf: NO_BYTES,
    causes: [],
    evidence: NO_BYTES,
    claims: NO_BYTES,
    persistence: Persistence.none,
    segment: 0,
    leaves: 0,
  }
}

/**
 * Appends the encoding of `entry` to `sink`; returns where its parent's leaf hash begins there, -1 where it has none. An
 * entry over its bounds is our bug, not somebody's input.
 */
export function writeEntry(sink: Sink, entry: Entry): number {
  const start = sink.at
  sink.reserve(512)
  sink.byte(0x10)
  sink.byte(entry.kind)
  if (entry.tenant !== '') sink.field(0x1a, utf8(entry.tenant))
  if (entry.traceId.length !== 0) sink.field(0x22, entry.traceId)
  if (entry.spanId.length !== 0) sink.field(0x2a, entry.spanId)
  if (entry.parentSpanId.length !== 0) sink.field(0x32, entry.parentSpanId)
  if (entry.parent !== Parent.none) {
    sink.byte(0x38)
    sink.byte(entry.parent)
  }
  let parentLeafAt = -1
  if (entry.parentLeaf.length !== 0) {
    sink.field(0x42, entry.parentLeaf)
    parentLeafAt = sink.at - entry.parentLeaf.length
  }
  for (const cause of entry.causes) writeCause(sink, cause)
  if (entry.evidence.length !== 0) sink.field(0x52, entry.evidence)
  if (entry.claims.length !== 0) sink.field(0x5a, entry.claims)
  if (entry.persistence !== Persistence.none) {
    sink.byte(0x60)
    sink.byte(entry.persistence)
  }
  if (entry.segment !== 0) {
    sink.byte(0x68)
    sink.varint(entry.segment)
  }
  if (entry.leaves !== 0) {
    sink.byte(0x70)
    sink.varint(entry.leaves)
  }
  if (sink.at - start > MAX_ENTRY) throw new Error('bad entry: over its size')
  return parentLeafAt
}

/** Writes what the entries of the spans of a trace begin with, up to their span ids, for {@link writeSpanEntry}. */
export function writeSpanHead(sink: Sink, tenant: string, traceId: Uint8Array): void {
  sink.at = 0
  writeEntry(sink, { ...emptyEntry(Kind.span), tenant, traceId })
  sink.byte(0x2a)
  sink.byte(8)
}

/**
 * Appends what {@link writeEntry} does for a span without causes and claims, at a fifth of its cost. Where its parent is
 * `linked`, 32 bytes are left open for the parent's leaf hash. Returns where those begin; -1 where there are none. `id` and
 * `parentId` are keys of `idKey`, the latter empty where there is no parent; the evidence commitment is 32 bytes at `at`.
 */
export function writeSpanEntry(
  sink: Sink,
  head: Sink,
  id: string,
  parent: Parent,
  parentId: string,
  evidence: DataView,
  at: number,
): number {
  sink.putWords(head.data, 0, head.at)
  sink.reserve(96)
  const { bytes, data } = sink
  let to = putId(bytes, sink.at, id)
  if (parentId !== '') {
    data.setUint16(to, 0x3208)
    to = putId(bytes, to + 2, parentId)
  }
  data.setUint16(to, 0x3800 + parent)
  to += 2
  let hole = -1
  if (parent === Parent.linked) {
    data.setUint16(to, 0x4220)
    hole = to + 2
    to += 34
  }
  data.setUint16(to, 0x5220)
  copyWords(evidence, at, data, to + 2, 32)
  sink.at = to + 34
  return hole
}

function writeCause(sink: Sink, cause: Cause): void {
  const origin = utf8(cause.origin)
  sink.byte(0x4a)
  sink.varint(
    2 + 2 + cause.leaf.length + (origin.length === 0 ? 0 : (origin.length < 0x80 ? 2 : 3) + origin.length),
  )
  sink.byte(0x08)
  sink.byte(cause.role)
  sink.field(0x12, cause.leaf)
  if (origin.length !== 0) sink.field(0x1a, origin)
}

export function encodeEntry(entry: Entry): Uint8Array {
  const sink = new Sink(512)
  writeEntry(sink, entry)
  return sink.copy()
}

const KINDS: ReadonlySet<number> = new Set(Object.values(Kind))
const PARENTS: ReadonlySet<number> = new Set(Object.values(Parent))
const ROLES: ReadonlySet<number> = new Set(Object.values(Role))
const PERSISTENCES: ReadonlySet<number> = new Set(Object.values(Persistence))

/**
 * Parses one entry; what it holds are views of `bytes`. Throws a VerificationError `unsupported` for a newer format
 * version (which is "could not check", never "bad") and a MalformedError for anything that is not the one encoding of a
 * record.
 */
export function parseEntry(bytes: Uint8Array): Entry {
  // A newer version may have other bounds, so the version comes first.
  if (bytes.length > MAX_ENTRY && bytes[0] !== 0x08) throw new MalformedError('an entry is over 4 KiB')
  const entry = emptyEntry(Kind.span)
  const causes: Cause[] = []
  const reader = new WireReader(bytes)
  let kind = 0
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        reader.expect(VARINT, 'the format version')
        if (reader.low !== FORMAT_VERSION || reader.high !== 0)
          throw new VerificationError('unsupported', 'entry', 'a newer format version: could not check')
        break
      case 2:
        kind = member(reader, KINDS, 'the kind')
        break
      case 3:
        entry.tenant = text(reader, 'the tenant')
        break
      case 4:
        entry.traceId = sizedBytes(reader, 16, 'the trace id')
        break
      case 5:
        entry.spanId = sizedBytes(reader, 8, 'the span id')
        break
      case 6:
        entry.parentSpanId = sizedBytes(reader, 8, 'the parent span id')
        break
      case 7:
        entry.parent = member(reader, PARENTS, 'the parent state') as Parent
        break
      case 8:
        entry.parentLeaf = sizedBytes(reader, 32, 'the parent leaf')
        break
      case 9:
        causes.push(parseCause(reader))
        break
      case 10:
        entry.evidence = sizedBytes(reader, 32, 'the evidence')
        break
      case 11:
        entry.claims = sizedBytes(reader, 32, 'the claims')
        break
      case 12:
        entry.persistence = member(reader, PERSISTENCES, 'the persistence') as Persistence
        break
      case 13:
        reader.expect(VARINT, 'the segment')
        entry.segment = reader.safe('the segment')
        break
      case 14:
        reader.expect(VARINT, 'the leaves')
        entry.leaves = reader.safe('the leaves')
        break
      default:
        throw new MalformedError('an entry has an unknown field')
    }
  }
  if (kind === 0) throw new MalformedError('an entry has no kind')
  entry.kind = kind as Kind
  entry.causes = causes
  checkShape(entry)
  if (!equalBytes(encodeEntry(entry), bytes)) throw new MalformedError('an entry is not in canonical form')
  return entry
}

/** Which fields go together, so that a parsed entry is one of the shapes the format knows. */
function checkShape(entry: Entry): void {
  if (entry.causes.length > MAX_CAUSES) throw new MalformedError('an entry names over 32 causes')
  if ((entry.parent === Parent.linked) !== (entry.parentLeaf.length === 32))
    throw new MalformedError('a parent leaf goes with a linked parent')
  const { parent } = entry
  const isNamed = parent === Parent.linked || parent === Parent.awaiting || parent === Parent.remote
  if (isNamed !== (entry.parentSpanId.length !== 0))
    throw new MalformedError('a parent span id goes with a parent')
  if ((entry.parent !== Parent.none) !== (entry.evidence.length === 32))
    throw new MalformedError('evidence goes with a span-born record')
  const spanBorn = entry.kind === Kind.span || entry.kind === Kind.request || entry.kind === Kind.action
  if (entry.parent !== Parent.none && !spanBorn)
    throw new MalformedError('a record of this kind has no parent')
  if (entry.kind === Kind.span && entry.parent === Parent.none)
    throw new MalformedError('a span record has a parent state')
  if ((entry.kind === Kind.persistence) !== (entry.persistence !== Persistence.none))
    throw new MalformedError('a persistence record says what it states')
  if (entry.spanId.length !== 0 && entry.traceId.length === 0)
    throw new MalformedError('a span id goes with a trace id')
  if (entry.parent !== Parent.none && entry.spanId.length === 0)
    throw new MalformedError('a span-born record has a span id')
  if (entry.persistence !== Persistence.sealed && (entry.segment !== 0 || entry.leaves !== 0))
    throw new MalformedError('only a seal counts leaves')
  // Only what is judged again, after other segments, may have nothing else to say.
  if (entry.persistence === Persistence.sealed && entry.leaves === 0 && entry.segment === 0)
    throw new MalformedError('the first seal of an execution closes at least one leaf')
}

function parseCause(outer: WireReader): Cause {
  outer.expect(BYTES, 'a cause')
  const reader = new WireReader(outer.bytes, outer.start, outer.end)
  const cause: Cause = { role: Role.subject, leaf: NO_BYTES, origin: '' }
  let role = 0
  while (reader.next()) {
    if (reader.field === 1) role = member(reader, ROLES, "a cause's role")
    else if (reader.field === 2) cause.leaf = sizedBytes(reader, 32, "a cause's leaf")
    else if (reader.field === 3) cause.origin = text(reader, "a cause's origin")
    else throw new MalformedError('a cause has an unknown field')
  }
  if (role === 0 || cause.leaf.length === 0) throw new MalformedError('a cause has no role or no leaf')
  cause.role = role as Role
  return cause
}

function member(reader: WireReader, set: ReadonlySet<number>, what: string): number {
  reader.expect(VARINT, what)
  const value = reader.safe(what)
  if (!set.has(value)) throw new MalformedError(`${what} is unknown`)
  return value
}

function sizedBytes(reader: WireReader, size: number, what: string): Uint8Array {
  reader.expect(BYTES, what)
  if (reader.end - reader.start !== size) throw new MalformedError(`${what} is not ${size} bytes long`)
  return reader.value()
}

function text(reader: WireReader, what: string): string {
  reader.expect(BYTES, what)
  return parseUtf8(reader.value(), what)
}

/** The name of a member of one of the closed sets above, for people. */
export function nameOf(set: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(set).find((name) => set[name] === value) ?? String(value)
}

/** Whether the entry is the one record that every span gives. */
export function isSpanBorn(entry: Entry): boolean {
  return entry.parent !== Parent.none
}
