/**
 * What an erasure changes: rows without what was erased, payloads that are left, blocks to destroy. Nothing here makes
 * anything true: payloads that stay are moved to new blocks, and the commit is the caller's.
 */
import { type ErasureTerms, erasedRecord, type LogRecord } from '@rootspan/lineage/record/about-log'
import { type CutSegment, cutExecution } from '@rootspan/lineage/record/erase'
import type { OpenedPayload } from '@rootspan/lineage/record/opened'
import { encodeOpened, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { Sink } from '@rootspan/lineage/record/sink'
import { describeSegment, ServiceNames, timedSpan } from '../describe.ts'
import { type BlockRef, MAX_BLOCK_BYTES, type Packs } from '../pack.ts'
import { type RecordBatch, readSegment } from '../sequencer.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeRows, isErased, parseRows, type SegmentRow } from '../store/rows.ts'
import { forgotten } from './knowledge.ts'
import { encodePending } from './pending.ts'
import { cutOf, type Found, LastBlock } from './select.ts'
import { termChanges } from './terms.ts'

const MAX_SEALS = 32
const BLOCK_BYTES = 256 * 1024

/** Why, by whom and how something is erased. */
export type Order = Pick<ErasureTerms, 'selector' | 'reason' | 'by' | 'at'> & {
  /** Attribute keys, or undefined where executions are erased whole. */
  readonly keys: readonly string[] | undefined
}

/** A segment of which something is erased, and what is left of its payload. */
export interface Change {
  readonly row: SegmentRow
  readonly left: OpenedPayload | undefined
  readonly spans: number
  readonly claims: number
}

export interface PlanParts {
  readonly reader: LogReader
  readonly packs: Packs
  readonly random: (size: number) => Uint8Array
}

/** What was erased, counted. */
export interface ErasedCounts {
  executions: number
  segments: number
  spans: number
  records: number
  movedPayloads: number
  voidBlocks: number
  droppedPacks: number
}

/** Writes what stays, and makes the commit that erases `found`. For {@link Sequencer.record}. */
export async function planErasure(
  parts: PlanParts,
  found: readonly Found[],
  order: Order,
  first: number,
  commit: number,
): Promise<{ batch: RecordBatch; counts: ErasedCounts }> {
  const { reader, packs } = parts
  const traces = new Map(found.map(({ key, rows }) => [hex(key), { key, before: rows, after: [...rows] }]))
  const changes: (Change & { readonly trace: string })[] = []
  for (const one of found)
    for (const change of await changesOf(parts, one, order.keys))
      changes.push({ ...change, trace: hex(one.key) })
  changes.sort((a, b) => a.row.first - b.row.first)
  const { records, leaves } = await recordsOf(parts, changes, order, first)

  const layout = await layoutOf(reader, changes)
  const movers = new Movers(packs)
  await packs.retire(new Set(layout.dropped))
  for (const [at, { row, left, trace }] of changes.entries()) {
    const { after } = traces.get(trace)!
    if (left === undefined) after[row.segment] = erasedRow(row, leaves[at]!)
    else {
      const erasures = [...row.erasures, leaves[at]!]
      const bytes = encodeOpened(left)
      await movers.move(row.block.pack, bytes, (block, place) => {
        after[row.segment] = {
          ...row,
          ...describeLeft(row, bytes),
          block,
          at: place,
          size: bytes.length,
          erasures,
        }
      })
    }
  }
  const blocks = new LastBlock(packs)
  for (const { key, row } of layout.survivors) {
    let trace = traces.get(hex(key))
    if (trace === undefined) {
      const value = parseRows((await reader.database.get(key))!)
      trace = { key, before: value, after: [...value] }
      traces.set(hex(key), trace)
    }
    const { after } = trace
    await movers.move(row.block.pack, blocks.payload(row), (block, place) => {
      after[row.segment] = { ...row, block, at: place }
    })
  }
  await movers.end()
  await packs.sync()

  const pending = { blocks: layout.blocks, packs: layout.dropped }
  const counts = {
    executions: found.length,
    segments: changes.length,
    spans: changes.reduce((sum, { spans }) => sum + spans, 0),
    records: records.length,
    movedPayloads: layout.survivors.length,
    voidBlocks: layout.blocks.length,
    droppedPacks: layout.dropped.length,
  }
  return {
    counts,
    batch: {
      records,
      changes: [
        ...[...traces.values()].map(({ key, after }) => [key, encodeRows(after)] as const),
        ...(await termChanges(reader, traces.values())),
        ...(await forgotten(reader, found, order.keys)),
        [keys.erasingKey(commit), encodePending(pending)],
      ],
    },
  }
}

const NOWHERE = { block: { pack: 0, offset: 0, length: 0 }, at: 0, size: 0 }

/** The row of a segment of which nothing is left, by the record with this leaf. */
export function erasedRow(row: SegmentRow, leaf: number): SegmentRow {
  return { ...row, ...NOWHERE, erasures: [...row.erasures, leaf], services: [], name: '' }
}

/** What is erased of one execution. */
async function changesOf(
  { reader, packs }: PlanParts,
  { rows }: Found,
  names: readonly string[] | undefined,
): Promise<Change[]> {
  if (names === undefined)
    return rows
      .filter((row) => !isErased(row))
      .map((row) => ({ row, left: undefined, spans: row.spans, claims: 0 }))
  const blocks = new LastBlock(packs)
  const segments = await Promise.all(
    rows.map(async (row) => ({
      first: row.first,
      closed: row.closed,
      ...(await readSegment(reader, row)),
      payload: isErased(row) ? undefined : parseAnyPayload(blocks.payload(row)),
    })),
  )
  const cut = cutOf(names)
  const cuts = cutExecution(
    segments,
    rows.map(() => cut),
  )
  return cuts.map(({ segment, payload, spans, claims }: CutSegment) => ({
    row: rows[segment]!,
    left: payload,
    spans,
    claims,
  }))
}

/** The erased records, at most 32 seals each and of one tenant; for each change the leaf of its record. */
export async function recordsOf(
  { reader, random }: PlanParts,
  changes: readonly Change[],
  order: Order,
  first: number,
): Promise<{ records: LogRecord[]; leaves: number[] }> {
  const records: LogRecord[] = []
  const leaves = new Array<number>(changes.length)
  const byTenant = Map.groupBy(changes.keys(), (at) => changes[at]!.row.tenant)
  for (const [tenant, places] of byTenant)
    for (let from = 0; from < places.length; from += MAX_SEALS) {
      const some = places.slice(from, from + MAX_SEALS)
      const seals: Uint8Array[] = []
      for (const at of some) {
        const { row } = changes[at]!
        leaves[at] = first + records.length
        seals.push((await readSegment(reader, { first: row.first + row.count - 1, count: 1 })).leaves)
      }
      const { keys: names, selector, reason, by, at } = order
      const terms: ErasureTerms = {
        scope: names === undefined ? 'execution' : 'attributes',
        selector,
        keys: names ?? [],
        spans: some.map((one) => changes[one]!.spans),
        claims: names === undefined ? [] : some.map((one) => changes[one]!.claims),
        reason,
        by,
        at,
      }
      records.push(erasedRecord(tenant, seals, terms, random))
    }
  return { records, leaves }
}

interface Layout {
  /** Blocks to overwrite: those in packs that stay. */
  readonly blocks: readonly BlockRef[]
  /** Packs in which nothing is left. */
  readonly dropped: readonly number[]
  /** Payloads that share a block with one that is erased. */
  readonly survivors: readonly { readonly key: Uint8Array; readonly row: SegmentRow }[]
}

/** Looks at every row once. Memory: a number for each block of the log, and the rows that move. */
async function layoutOf(reader: LogReader, changes: readonly Change[]): Promise<Layout> {
  const gone = new Set(changes.filter(({ row }) => !isErased(row)).map(({ row }) => row.first))
  const affected = new Map(changes.map(({ row }) => [placeOf(row.block), row.block]))
  const live = new Map<number, Set<number>>()
  const survivors: { key: Uint8Array; row: SegmentRow }[] = []
  const range = { gte: Uint8Array.of(keys.Prefix.trace), lt: Uint8Array.of(keys.Prefix.trace + 1) }
  for await (const [key, value] of reader.database.iterator({ ...range, highWaterMarkBytes: 1024 * 1024 }))
    for (const row of parseRows(value)) {
      if (isErased(row)) continue
      const { pack, offset } = row.block
      if (!affected.has(placeOf(row.block))) {
        const offsets = live.get(pack) ?? new Set()
        live.set(pack, offsets.add(offset))
      } else if (!gone.has(row.first)) survivors.push({ key, row })
    }
  survivors.sort((a, b) => {
    const [one, other] = [a.row, b.row]
    return one.block.pack - other.block.pack || one.block.offset - other.block.offset || one.at - other.at
  })
  const packs = new Set([...affected.values()].map(({ pack }) => pack))
  const dropped = [...packs].filter((pack) => !live.has(pack))
  return {
    dropped,
    survivors,
    blocks: [...affected.values()].filter(({ pack }) => !dropped.includes(pack)),
  }
}

function placeOf({ pack, offset }: BlockRef): string {
  return `${pack}/${offset}`
}

/** Gathers payloads into new blocks, of the class and day of the packs that they come from. */
export class Movers {
  readonly #packs: Packs
  readonly #classes: ReadonlyMap<number, { readonly retention: string; readonly day: string }>
  readonly #open = new Map<string, { sink: Sink; day: string; retention: string; placed: Placed[] }>()

  constructor(packs: Packs) {
    this.#packs = packs
    this.#classes = new Map(packs.classes().map((one) => [one.pack, one]))
  }

  /** `day` is that of the pack where none is given. */
  async move(pack: number, payload: Uint8Array, placed: Placed['place'], toDay?: string): Promise<void> {
    const { retention, day: ownDay } = this.#classes.get(pack)!
    const day = toDay ?? ownDay
    const name = `${retention}-${day}`
    let block = this.#open.get(name)
    if (block === undefined) {
      block = { sink: new Sink(BLOCK_BYTES * 2), day, retention, placed: [] }
      this.#open.set(name, block)
    }
    if (block.sink.at > 0 && block.sink.at + payload.length > MAX_BLOCK_BYTES) await this.#write(block)
    block.placed.push({ at: block.sink.at, place: placed })
    block.sink.put(payload)
    if (block.sink.at >= BLOCK_BYTES) await this.#write(block)
  }

  async end(): Promise<void> {
    for (const block of this.#open.values()) if (block.sink.at > 0) await this.#write(block)
  }

  async #write(block: { sink: Sink; day: string; retention: string; placed: Placed[] }): Promise<void> {
    const [ref] = await this.#packs.append([block.sink.view()], block.day, block.retention)
    for (const { at, place } of block.placed) place(ref!, at)
    block.placed = []
    block.sink.at = 0
  }
}

interface Placed {
  readonly at: number
  readonly place: (block: BlockRef, at: number) => void
}

/** Services and name of what is left: the name of a first span that is gone goes with it. */
function describeLeft(row: SegmentRow, bytes: Uint8Array): Pick<SegmentRow, 'services' | 'name'> {
  const payload = parseAnyPayload(bytes)
  if (payload.form !== 'opened' || payload.spans.length === 0) return { services: [], name: '' }
  const { services, name } = describeSegment(
    payload.spans.map(({ input }) => timedSpan(input)),
    new ServiceNames(),
  )
  // The first span of the segment, in record order, is the one that the row is named after.
  return { services, name: name === row.name ? name : '' }
}

function hex(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('hex')
}
