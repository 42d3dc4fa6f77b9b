/**
 * Evidence out of the store: bundles of executions and proofs of single records, under one checkpoint.
 *
 * A bundle is written piece by piece, one segment's payload in memory at a time, so that a slow reader of a large
 * execution holds little. Segments that the checkpoint does not cover are left out.
 */
import { BUNDLE_FORMAT, MAX_BUNDLE } from '@rootspan/lineage/evidence/bundle'
import { type Entry, isSpanBorn, parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { disclose, encodeOpened, openPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { encodeRun, parseRun } from '@rootspan/lineage/record/opening'
import { proveInclusion, proveRange } from '@rootspan/lineage/tlog/proof'
import { formatTlogProof } from '@rootspan/lineage/tlog/tlog-proof'
import { type BlockRef, MAX_BLOCK_BYTES, type PackReader } from '../pack.ts'
import { readSegment } from '../sequencer.ts'
import type { LogReader } from '../store/log-store.ts'
import { isErased, nothingOf, type SegmentRow } from '../store/rows.ts'
import type { Published } from './published.ts'
import { gatherWitnesses, NO_WITNESSES, type WitnessPart } from './witnesses.ts'

/** Decompressed blocks that are kept: the segments of an execution, or of its neighbours, often share one. */
const CACHE_BYTES = 16 * 1024 * 1024
/** Bytes of a payload in one piece, a multiple of 3 so that the pieces of base64 join. */
const PIECE_BYTES = 3 * 64 * 1024
const PIECE_ENTRIES = 1024
/** Bytes of an entry in a bundle, about: what the size of a bundle is estimated with. */
const ENTRY_TEXT_BYTES = 256

/** Payloads of committed segments, by way of the blocks that hold them. */
export class Payloads {
  readonly #packs: Pick<PackReader, 'read'>
  /** Least recently used first. */
  readonly #blocks = new Map<string, Uint8Array>()
  #bytes = 0

  constructor(packs: Pick<PackReader, 'read'>) {
    this.#packs = packs
  }

  /** The payload of a segment, without a copy. Rejects with PackCorruption where its block is damaged. */
  async of(row: Pick<SegmentRow, 'block' | 'at' | 'size'>): Promise<Uint8Array> {
    const block = await this.#block(row.block)
    if (row.at + row.size > block.length) throw new Error('a segment lies past the end of its block')
    return block.subarray(row.at, row.at + row.size)
  }

  /** What is left of the payload of a segment: the payload itself, unless something of it was erased. */
  async left(row: SegmentRow): Promise<Uint8Array> {
    return isErased(row) ? encodeOpened(nothingOf(row)) : this.of(row)
  }

  async #block(ref: BlockRef): Promise<Uint8Array> {
    const key = `${ref.pack}/${ref.offset}`
    const kept = this.#blocks.get(key)
    if (kept !== undefined) {
      this.#blocks.delete(key)
      this.#blocks.set(key, kept)
      return kept
    }
    const block = await this.#packs.read(ref, MAX_BLOCK_BYTES)
    if (block.length > CACHE_BYTES / 4 || this.#blocks.has(key)) return block
    this.#blocks.set(key, block)
    this.#bytes += block.length
    for (const [oldest, { length }] of this.#blocks) {
      if (this.#bytes <= CACHE_BYTES) break
      this.#blocks.delete(oldest)
      this.#bytes -= length
    }
    return block
  }
}

/** The first segments of an execution, as far as a tree of `size` leaves holds them whole. */
export function segmentsUnder(rows: readonly SegmentRow[], size: number): SegmentRow[] {
  const past = rows.findIndex((row) => row.first + row.count > size)
  return past < 0 ? [...rows] : rows.slice(0, past)
}

/** Whether the bundle of these segments may pass what verifiers read. */
export function isTooLarge(rows: readonly SegmentRow[]): boolean {
  let bytes = 0
  for (const row of rows) bytes += Math.ceil(row.size / 3) * 4 + row.count * ENTRY_TEXT_BYTES
  return bytes > MAX_BUNDLE
}

/**
 * The bytes of the evidence bundle of these segments, which all lie under the checkpoint, as `formatBundle` of
 * @rootspan/lineage spells them. With `disclosed`, claims with these keys are shown and nothing else. The first piece comes
 * after the reads of what they name elsewhere and of the first segment, so most failures precede it.
 */
export async function* bundlePieces(
  reader: LogReader,
  payloads: Payloads,
  { note, size }: Published,
  rows: readonly SegmentRow[],
  disclosed?: readonly string[],
): AsyncGenerator<Buffer, void, undefined> {
  // A disclosure has no judgement, and so none of the statements that it was made with.
  const witnesses =
    disclosed === undefined ? await gatherWitnesses(reader, payloads, size, rows) : NO_WITNESSES
  const history = new TraceHistory()
  let open = `{"format":${JSON.stringify(BUNDLE_FORMAT)},"checkpoint":${JSON.stringify(Buffer.from(note).toString())},"segments":[`
  for (const row of rows) {
    const { entries, leaves } = await readSegment(reader, row)
    const proof = await proveRange(row.first, row.first + row.count, size, reader.tileReader)
    const left = await payloads.left(row)
    const payload =
      disclosed === undefined ? left : discloseOf(left, history, row, entries, leaves, disclosed)
    open += `{"first":${row.first},"entries":[`
    for (let at = 0; at < entries.length; at += PIECE_ENTRIES) {
      yield Buffer.from(open + quoted(entries.slice(at, at + PIECE_ENTRIES)))
      open = ','
    }
    yield Buffer.from(`],"proof":[${quoted(proof)}],"payload":"`)
    for (let at = 0; at < payload.length; at += PIECE_BYTES)
      yield Buffer.from(base64(payload.subarray(at, at + PIECE_BYTES)), 'latin1')
    open = '"},'
  }
  yield Buffer.from(rows.length === 0 ? `${open}]` : '"}]')
  yield* erasurePieces(reader, payloads, size, ascending([...erasuresOf(rows), ...witnesses.erasures]))
  yield* contextPieces(reader, size, witnesses.parts)
  yield Buffer.from('}\n')
}

/** What a disclosure shows of a segment: claims with these keys. Adds the segment to the history of its trace. */
function discloseOf(
  left: Uint8Array,
  history: TraceHistory,
  row: SegmentRow,
  entries: readonly Uint8Array[],
  leaves: Uint8Array,
  disclosed: readonly string[],
): Uint8Array {
  const payload = parseAnyPayload(new Uint8Array(left))
  const opened = payload.form === 'opened' ? payload : openPayload(payload, history, entries)
  if (opened === undefined) throw new Error(`the payload of leaf ${row.first} does not derive to its records`)
  const held = heldOf({ entries }, payload)
  history.add(row.first, entries.map(parseEntry), leaves, row.closed, () => held)
  return encodeOpened(disclose(opened, disclosed))
}

/** The member `erasures`, where there is any. */
async function* erasurePieces(
  reader: LogReader,
  payloads: Payloads,
  size: number,
  erasures: readonly number[],
): AsyncGenerator<Buffer, void, undefined> {
  let open = ',"erasures":['
  for (const index of erasures) {
    const run = await reader.run(index)
    if (run === undefined) throw new Error(`leaf ${index} is no record about the log`)
    const { entries } = await readSegment(reader, { first: index, count: 1 })
    const claims =
      parseRun(await payloads.of(run)).find(({ leaf }) => leaf === index - run.first)?.claims ?? []
    const payload = encodeRun([{ leaf: 0, claims }])
    yield Buffer.from(open + (await recordText(reader, size, { index, entry: entries[0]!, payload })))
    open = ','
  }
  if (open === ',') yield Buffer.from(']')
}

/** The member `context`, where there is any. */
async function* contextPieces(
  reader: LogReader,
  size: number,
  parts: readonly WitnessPart[],
): AsyncGenerator<Buffer, void, undefined> {
  for (const [at, part] of parts.entries())
    yield Buffer.from((at === 0 ? ',"context":[' : ',') + (await recordText(reader, size, part)))
  if (parts.length > 0) yield Buffer.from(']')
}

/** A part of a bundle that is one record. */
async function recordText(
  reader: LogReader,
  size: number,
  { index, entry, payload }: WitnessPart,
): Promise<string> {
  const proof = await proveRange(index, index + 1, size, reader.tileReader)
  return `{"first":${index},"entries":[${quoted([entry])}],"proof":[${quoted(proof)}],"payload":"${base64(payload)}"}`
}

/** Leaves of the erased records about these segments, ascending. */
export function erasuresOf(rows: readonly SegmentRow[]): number[] {
  return ascending(rows.flatMap(({ erasures }) => erasures))
}

function ascending(leaves: readonly number[]): number[] {
  return [...new Set(leaves)].sort((a, b) => a - b)
}

function quoted(items: readonly Uint8Array[]): string {
  return items.map((item) => `"${base64(item)}"`).join(',')
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

/** A record of an execution as it lies in the log. */
export interface FoundRecord {
  readonly index: number
  /** Leaf hash. */
  readonly leaf: Uint8Array
  readonly entry: Entry
}

/**
 * The first record of a span: the one that the span itself gave, or, where a `kind` is asked for, the first of that
 * kind, its facts included. Looks through the segments' entries in order; costs one byte search an entry.
 */
export async function findRecord(
  reader: LogReader,
  rows: readonly SegmentRow[],
  spanId: Uint8Array,
  kind: number | undefined,
): Promise<FoundRecord | undefined> {
  const wanted = Buffer.from(spanId)
  for (const row of rows) {
    const { entries, leaves } = await readSegment(reader, row)
    for (const [at, bytes] of entries.entries()) {
      if (!Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).includes(wanted)) continue
      const entry = parseEntry(bytes)
      if (!wanted.equals(entry.spanId)) continue
      if (kind === undefined ? isSpanBorn(entry) : entry.kind === kind)
        return { index: row.first + at, leaf: leaves.slice(at * 32, at * 32 + 32), entry }
    }
  }
  return undefined
}

/** The `.tlog-proof` of a leaf under a checkpoint (c2sp.org/tlog-proof). */
export async function proveRecord(
  reader: LogReader,
  { note, size }: Published,
  index: number,
): Promise<Uint8Array> {
  const path = await proveInclusion(index, size, reader.tileReader)
  return formatTlogProof({ index, path, extra: undefined, checkpoint: note })
}
