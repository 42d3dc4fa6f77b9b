/**
 * Values of the log's database: segment rows and commit records (docs/formats/store.md).
 *
 * Both are protobuf messages. A commit record ends in the SHA-256 of the rest of it; the next record names
 * that digest, so commits form a chain that shows when LevelDB has lost something in the middle.
 */

import { concatBytes, equalBytes, parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { CONTINUITIES, type Continuity } from '@rootspan/lineage/continuity/judgement'
import { sha256 } from '@rootspan/lineage/crypto'
import { MalformedError } from '@rootspan/lineage/errors'
import type { OpenedPayload } from '@rootspan/lineage/record/opened'
import type { Closed } from '@rootspan/lineage/record/payload'
import { Sink } from '@rootspan/lineage/record/sink'
import { WireReader } from '@rootspan/lineage/wire'
import type { BlockRef, PackTail } from '../pack.ts'

/** One committed segment: where its leaves are, where its payload is, and what people search it by. */
export interface SegmentRow {
  readonly tenant: string
  /** 16 bytes. */
  readonly traceId: Uint8Array
  readonly segment: number
  /** Index of the first leaf, and how many there are. */
  readonly first: number
  readonly count: number
  readonly closed: Closed
  readonly block: BlockRef
  /** Place and size of the payload in the decompressed block. */
  readonly at: number
  readonly size: number
  /** Earliest start and latest end of its spans, nanoseconds since 1970. */
  readonly start: bigint
  readonly end: bigint
  readonly spans: number
  readonly services: readonly string[]
  /** Name of its first span. */
  readonly name: string
  /** Leaves of the erased records that name its seal, ascending. */
  readonly erasures: readonly number[]
  /** What its judgement, which is one of the execution up to it, came to. */
  readonly continuity: Continuity
  /** Rules with a finding in that judgement, ascending, each once. */
  readonly rules: readonly string[]
}

/** What a commit holds of a row: nothing that erasing changes. */
export type CommittedRow = Pick<
  SegmentRow,
  'tenant' | 'traceId' | 'segment' | 'first' | 'count' | 'closed' | 'spans'
>

/** Whether nothing is left of the segment's payload. */
export function isErased(row: Pick<SegmentRow, 'size'>): boolean {
  return row.size === 0
}

/** What a bundle has in place of the payload of a segment that was erased whole. */
export function nothingOf(row: SegmentRow): OpenedPayload {
  const { tenant, traceId, segment, closed } = row
  return { tenant, traceId, segment, closed, evaluatedAt: 0n, withheld: false, spans: [], records: [] }
}

const NAMES = 4096
const names = new Map<string, Uint8Array>()

/** UTF-8 of a name that comes again and again: a service, a route, a tenant. The bytes are shared. */
export function encodeName(name: string): Uint8Array {
  let bytes = names.get(name)
  if (bytes === undefined) {
    if (names.size >= NAMES) names.clear()
    bytes = utf8(name)
    names.set(name, bytes)
  }
  return bytes
}

export function writeRow(sink: Sink, row: SegmentRow): void {
  writePlace(sink, row)
  number(sink, 0x38, row.block.pack)
  number(sink, 0x40, row.block.offset)
  number(sink, 0x48, row.block.length)
  number(sink, 0x50, row.at)
  number(sink, 0x58, row.size)
  fixed64(sink, 0x61, row.start)
  fixed64(sink, 0x69, row.end)
  number(sink, 0x70, row.spans)
  for (const service of row.services) sink.field(0x7a, encodeName(service))
  if (row.name !== '') {
    const name = encodeName(row.name)
    sink.byte(0x82)
    sink.byte(0x01)
    sink.varint(name.length)
    sink.put(name)
  }
  for (const leaf of row.erasures) {
    sink.byte(0x88)
    sink.byte(0x01)
    sink.varint(leaf)
  }
  if (row.continuity !== 'unknown') {
    sink.byte(0x90)
    sink.byte(0x01)
    sink.varint(CONTINUITIES.indexOf(row.continuity))
  }
  for (const rule of row.rules) {
    const id = encodeName(rule)
    sink.byte(0x9a)
    sink.byte(0x01)
    sink.varint(id.length)
    sink.put(id)
  }
}

function writePlace(sink: Sink, row: CommittedRow): void {
  if (row.tenant !== '') sink.field(0x0a, encodeName(row.tenant))
  if (row.traceId.length > 0) sink.field(0x12, row.traceId)
  number(sink, 0x18, row.segment)
  number(sink, 0x20, row.first)
  number(sink, 0x28, row.count)
  number(sink, 0x30, row.closed)
}

function parseRow(bytes: Uint8Array, start = 0, end = bytes.length): SegmentRow {
  const row = {
    tenant: '',
    traceId: new Uint8Array(0) as Uint8Array,
    segment: 0,
    first: 0,
    count: 0,
    closed: 0 as Closed,
    block: { pack: 0, offset: 0, length: 0 },
    at: 0,
    size: 0,
    start: 0n,
    end: 0n,
    spans: 0,
    services: [] as string[],
    name: '',
    erasures: [] as number[],
    continuity: 'unknown' as Continuity,
    rules: [] as string[],
  }
  const reader = new WireReader(bytes, start, end)
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        row.tenant = parseUtf8(reader.value())
        break
      case 2:
        row.traceId = reader.value().slice()
        break
      case 3:
        row.segment = reader.safe('segment')
        break
      case 4:
        row.first = reader.safe('first')
        break
      case 5:
        row.count = reader.safe('count')
        break
      case 6:
        row.closed = reader.safe('closed') as Closed
        break
      case 7:
        row.block.pack = reader.safe('pack')
        break
      case 8:
        row.block.offset = reader.safe('offset')
        break
      case 9:
        row.block.length = reader.safe('length')
        break
      case 10:
        row.at = reader.safe('at')
        break
      case 11:
        row.size = reader.safe('size')
        break
      case 12:
        row.start = reader.uint64()
        break
      case 13:
        row.end = reader.uint64()
        break
      case 14:
        row.spans = reader.safe('spans')
        break
      case 15:
        row.services.push(parseUtf8(reader.value()))
        break
      case 16:
        row.name = parseUtf8(reader.value())
        break
      case 17:
        row.erasures.push(reader.safe('an erasure'))
        break
      case 18:
        row.continuity = continuityAt(reader.safe('continuity'))
        break
      case 19:
        row.rules.push(parseUtf8(reader.value()))
        break
      default:
        throw new MalformedError('a segment row has an unknown field')
    }
  }
  if ((row.traceId.length !== 16 && row.traceId.length !== 0) || row.count === 0)
    throw new MalformedError('a segment row is incomplete')
  return row
}

function continuityAt(number: number): Continuity {
  const continuity = CONTINUITIES[number]
  if (continuity === undefined) throw new MalformedError('a segment row has an unknown continuity')
  return continuity
}

/** The row of a run of records about the log, which has no trace id. */
export function parseRunRow(bytes: Uint8Array): SegmentRow {
  return parseRow(bytes)
}

/** Rows one after another, each behind its length: the value of a trace. */
export function encodeRows(rows: readonly SegmentRow[]): Uint8Array {
  const sink = new Sink(256)
  for (const row of rows) sink.field(0x0a, encodeRow(row))
  return sink.copy()
}

export function encodeRow(row: SegmentRow): Uint8Array {
  const sink = new Sink(256)
  writeRow(sink, row)
  return sink.copy()
}

export function parseRows(bytes: Uint8Array): SegmentRow[] {
  const rows: SegmentRow[] = []
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (reader.field !== 1) throw new MalformedError('a trace has an unknown field')
    const row = parseRow(bytes, reader.start, reader.end)
    if (row.traceId.length === 0) throw new MalformedError('a segment row is incomplete')
    rows.push(row)
  }
  return rows
}

export interface Commit {
  readonly number: number
  /** Digest of the commit before it; 32 zero bytes for the first. */
  readonly previous: Uint8Array
  /** Tree size before and after. */
  readonly first: number
  readonly size: number
  readonly root: Uint8Array
  /** Nanoseconds since 1970. */
  readonly time: bigint
  readonly cursorDigest: Uint8Array
  /** Bytes of keys and values of the batch, so that a walk back knows how much LevelDB wrote since. */
  readonly batchBytes: number
  readonly packs: readonly PackTail[]
  readonly rows: readonly CommittedRow[]
  /** Above every pack id that was ever named. */
  readonly nextPack: number
}

/** A commit as it is in the store, and its digest. `rows` are those of the commit, encoded. */
export function encodeCommit(
  commit: Commit,
  rows: Uint8Array = encodeCommitRows(commit.rows),
): { value: Uint8Array; digest: Uint8Array } {
  const sink = new Sink(1024 + rows.length)
  number(sink, 0x08, commit.number)
  sink.field(0x12, commit.previous)
  number(sink, 0x18, commit.first)
  number(sink, 0x20, commit.size)
  sink.field(0x2a, commit.root)
  fixed64(sink, 0x31, commit.time)
  sink.field(0x3a, commit.cursorDigest)
  number(sink, 0x40, commit.batchBytes)
  const one = new Sink(256)
  for (const { pack, end } of commit.packs) {
    one.at = 0
    number(one, 0x08, pack)
    number(one, 0x10, end)
    sink.field(0x4a, one.view())
  }
  sink.put(rows)
  number(sink, 0x58, commit.nextPack)
  const body = sink.view()
  const digest = sha256(body)
  return { value: concatBytes(body, digest), digest }
}

function encodeCommitRows(rows: readonly CommittedRow[]): Uint8Array {
  const sink = new Sink(1024)
  for (const row of rows) writeCommitRow(sink, row)
  return sink.copy()
}

const committed = new Sink(256)

/** Appends a row as a commit record holds it. */
export function writeCommitRow(sink: Sink, row: CommittedRow): void {
  committed.at = 0
  writePlace(committed, row)
  number(committed, 0x70, row.spans)
  sink.field(0x52, committed.view())
}

/** What a commit holds of a row, encoded, for comparing. */
export function encodeCommittedRow(row: CommittedRow): Uint8Array {
  const sink = new Sink(256)
  writeCommitRow(sink, row)
  return sink.copy()
}

/** Parses a commit record and checks its own digest; throws a MalformedError. */
export function parseCommit(value: Uint8Array): { commit: Commit; digest: Uint8Array } {
  if (value.length < 32) throw new MalformedError('a commit record is cut off')
  const body = value.subarray(0, value.length - 32)
  const digest = sha256(body)
  if (!equalBytes(digest, value.subarray(body.length))) throw new MalformedError('a commit record is damaged')
  const commit = {
    number: 0,
    previous: new Uint8Array(0) as Uint8Array,
    first: 0,
    size: 0,
    root: new Uint8Array(0) as Uint8Array,
    time: 0n,
    cursorDigest: new Uint8Array(0) as Uint8Array,
    batchBytes: 0,
    packs: [] as PackTail[],
    rows: [] as CommittedRow[],
    nextPack: 0,
  }
  const reader = new WireReader(body)
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        commit.number = reader.safe('number')
        break
      case 2:
        commit.previous = reader.value().slice()
        break
      case 3:
        commit.first = reader.safe('first')
        break
      case 4:
        commit.size = reader.safe('size')
        break
      case 5:
        commit.root = reader.value().slice()
        break
      case 6:
        commit.time = reader.uint64()
        break
      case 7:
        commit.cursorDigest = reader.value().slice()
        break
      case 8:
        commit.batchBytes = reader.safe('batch bytes')
        break
      case 9:
        commit.packs.push(parseTail(body, reader.start, reader.end))
        break
      case 10:
        commit.rows.push(parseCommittedRow(body, reader.start, reader.end))
        break
      case 11:
        commit.nextPack = reader.safe('the next pack')
        break
      default:
        throw new MalformedError('a commit record has an unknown field')
    }
  }
  return { commit, digest }
}

function parseCommittedRow(bytes: Uint8Array, start: number, end: number): CommittedRow {
  const { tenant, traceId, segment, first, count, closed, spans } = parseRow(bytes, start, end)
  return { tenant, traceId, segment, first, count, closed, spans }
}

function parseTail(bytes: Uint8Array, start: number, end: number): PackTail {
  const tail = { pack: 0, end: 0 }
  const reader = new WireReader(bytes, start, end)
  while (reader.next()) {
    if (reader.field === 1) tail.pack = reader.safe('pack')
    else if (reader.field === 2) tail.end = reader.safe('end')
  }
  return tail
}

function number(sink: Sink, tag: number, value: number): void {
  if (value === 0) return
  sink.byte(tag)
  sink.varint(value)
}

function fixed64(sink: Sink, tag: number, value: bigint): void {
  sink.byte(tag)
  sink.fixed64(value)
}
