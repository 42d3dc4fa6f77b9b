/**
 * The sequencer: settled traces in, committed segments out.
 *
 * The story of one commit, in order: read what the log holds of these traces; derive their records; append
 * payloads and full entry bundles to packs and sync them; commit tiles, rows, cursor in one synced batch. Only the last
 * step makes anything true, and everything before it is repeatable: a crash anywhere leaves the tail of a
 * pack that the next start cuts, and a cursor from which the journal is followed again.
 *
 * One commit is on its way to the disk while the next one is derived. Its tree is ahead of the store by that
 * one commit, so after any failure the whole process stops: nothing in memory may be believed then.
 */

import { randomBytes } from 'node:crypto'
import type { Continuity, Finding } from '@rootspan/lineage/continuity/judgement'
import { GAP_GRACE } from '@rootspan/lineage/continuity/rules/emitter'
import type { LogRecord } from '@rootspan/lineage/record/about-log'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { type Held, TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { type AnyPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { encodeRun } from '@rootspan/lineage/record/opening'
import type { Source, SpanInput } from '@rootspan/lineage/record/order'
import { Closed } from '@rootspan/lineage/record/payload'
import { deriveSegment, type Sealing } from '@rootspan/lineage/record/segment'
import { Sink } from '@rootspan/lineage/record/sink'
import { parseEntryBundle, TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
import type { ChangedTile, TileTree } from '@rootspan/lineage/tlog/tile-tree'
import type { Assembler, OpenFrame, OpenSpan, OpenTrace } from './assembler.ts'
import { describeReview, describeSegment, ServiceNames } from './describe.ts'
import { BLOCK_BYTES, type Draft, type DraftBlock, type DraftSegment, DraftSegments } from './draft.ts'
import { splitEntries } from './fsck/entries.ts'
import { Histories } from './histories.ts'
import type { FrameCache } from './journal/reader.ts'
import type { Knowledge } from './knowledge.ts'
import { type BlockRef, DEFAULT_CLASS, MAX_BLOCK_BYTES, type Packs, RECORDS } from './pack.ts'
import { defersJudging, type Reviews } from './reviews.ts'
import { traceId } from './store/keys.ts'
import type { Batch, LogReader, LogStore, ReceiptLeaves } from './store/log-store.ts'
import { encodeName, isErased, type SegmentRow } from './store/rows.ts'
import type { TraceFilter } from './store/trace-filter.ts'
import { threadCpuSeconds } from './threads.ts'

/** Sinks kept for later blocks: about what two commits need. */
const MAX_SPARE = 64

/** Sinks for the full bundles of a commit are kept up to this size. */
const BUNDLES_BYTES = 4 * 1024 * 1024

/** Segments before the one with which an execution's history is kept: a few late spans are no reason to. */
const GOES_ON = 2

const NO_ROWS: readonly SegmentRow[] = []

/** Executions that one commit judges again at most, and leaves that they have together, about. */
const MAX_REVIEWED = 64
const MAX_REVIEWED_LEAVES = 50_000
/** When a segment that was sealed without a judgement is judged at the latest: nanoseconds. */
const REVIEW_AFTER = 60_000_000_000n
/** Times that a sender chose are looked at again after this: nanoseconds. */
const LONGEST_WAIT = 86_400_000_000_000n
const SECOND = 1_000_000_000n

/** Spans that are derived, in some milliseconds, before the event loop gets a turn. */
const TURN_SPANS = 512

export interface Settled {
  readonly trace: OpenTrace
  readonly closed: Closed
}

export interface SequencerOptions {
  readonly assembler: Assembler
  readonly frames: Pick<FrameCache, 'frame' | 'release' | 'free'>
  readonly store: LogStore
  readonly reader: LogReader
  readonly packs: Packs
  readonly tree: TileTree
  readonly knowledge: Knowledge
  readonly reviews: Reviews
  readonly known: TraceFilter
  /** The last entry bundle, when it is partial. */
  readonly partialBundle: Uint8Array
  /** Nanoseconds since 1970. */
  readonly now: () => bigint
  /** Retention class of a segment; all are of class `default` where it is absent. */
  readonly classOf?: (tenant: string, services: readonly string[], first: SpanInput) => string
  /** Called when a commit is durable: what it added, and the first journal position still needed. */
  readonly onCommit: (done: Committed) => void
}

export interface Committed {
  readonly segments: number
  /** Segments without spans: executions that were judged again and came to something else. */
  readonly reviewed: number
  readonly spans: number
  readonly leaves: number
  readonly duplicates: number
  readonly size: number
  readonly keepFrom: number
  readonly packBytes: number
  /** When the trace of each segment became due: milliseconds of `performance.now`. */
  readonly dueAt: readonly number[]
  /** What each judgement came to; an execution is judged with each of its segments that is. */
  readonly judged: readonly Continuity[]
  /** Those that the judgement before did not have. */
  readonly findings: readonly Finding[]
  /** What judging took of deriving them. */
  readonly judgingMillis: number
}

export class Sequencer {
  readonly #options: SequencerOptions
  readonly #committer = new Committer()
  readonly #sealing: Sealing = {
    gather: (execution, since) => this.#options.knowledge.contextOf(execution, since),
    defers: defersJudging,
    clock: cpuMillis,
  }
  readonly #histories = new Histories()
  readonly #leaves = new LeafSink()
  #writing: Promise<void> = Promise.resolve()
  /** The entries of the last bundle as far as it goes. */
  #partial: Uint8Array
  /** Sinks of blocks that are on the disk: fresh ones cost as much as what is written into them. */
  readonly #spare: Sink[] = []
  readonly #spareBundles: Sink[] = []

  constructor(options: SequencerOptions) {
    this.#options = options
    this.#partial = options.partialBundle
  }

  /**
   * Derives the records of these traces and starts their commit; resolves when the one before is durable.
   * A quiet trace that lacks a parent is put back to wait. The others are held until their commit is durable: before
   * that, what the store says about them is not the last word.
   */
  async settle(work: readonly Settled[]): Promise<void> {
    const { assembler } = this.#options
    const ids = work.map(({ trace }) => traceId(encodeName(trace.tenant), trace.id))
    const earlier = await this.#rowsOf(ids)
    const ready: Ready[] = []
    for (const [at, item] of work.entries()) {
      const rows = earlier.get(ids[at]!) ?? NO_ROWS
      const history = rows.length === 0 ? undefined : await this.#historyOf(rows)
      const missing = item.closed === Closed.settled ? assembler.missingParents(item.trace) : []
      if (missing.some((id) => history?.leafOf(id) === undefined)) assembler.wait(item.trace)
      else ready.push({ item, id: ids[at]!, earlier: rows, history })
    }
    if (ready.length === 0) return
    const held = ready.map(({ item }) => item.trace)
    for (const trace of held) assembler.hold(trace)
    await this.#commit(await this.#derive(ready, []), held)
  }

  /** Starts the commit of a draft when the one before is durable. */
  async #commit(draft: Draft, held: readonly Pick<OpenTrace, 'row'>[]): Promise<void> {
    await this.#writing
    this.#writing = this.#write(draft, held)
  }

  /**
   * Judges executions again of which nothing comes and that may come to something else by now: starts the commit of those
   * that do, as {@link settle} does. What is open, on its way, or partly erased is not looked at. Returns whether there
   * were any.
   */
  async review(): Promise<boolean> {
    const { assembler, knowledge, reviews, reader, now } = this.#options
    const time = now()
    for (const { tenant, traceId: id } of knowledge.overdueGaps(time - GAP_GRACE))
      reviews.note(traceId(encodeName(tenant), id), time)
    const ids = reviews.due(time, MAX_REVIEWED)
    if (ids.length === 0) return false
    const ready: ReadyReview[] = []
    const held: Pick<OpenTrace, 'row'>[] = []
    let leaves = 0
    for (const [at, earlier] of (await reader.traces(ids)).entries()) {
      const last = earlier.at(-1)
      if (last === undefined || earlier.some(({ erasures }) => erasures.length > 0)) {
        reviews.note(ids[at]!, undefined)
        continue
      }
      const trace = leaves > MAX_REVIEWED_LEAVES ? undefined : assembler.holdClosed(last.tenant, last.traceId)
      if (trace === undefined) {
        reviews.postpone(ids[at]!, time + SECOND)
        continue
      }
      for (const { count } of earlier) leaves += count
      held.push(trace)
      ready.push({ id: ids[at]!, earlier, history: await this.#historyOf(earlier) })
    }
    if (ready.length === 0) return false
    await this.#commit(await this.#derive([], ready), held)
    return true
  }

  /** Rows of those traces of which there are any. */
  async #rowsOf(ids: readonly Uint8Array[]): Promise<Map<Uint8Array, SegmentRow[]>> {
    const { known, reader } = this.#options
    const possible = ids.filter((id) => known.mayHold(id))
    const found = new Map<Uint8Array, SegmentRow[]>()
    if (possible.length === 0) return found
    for (const [at, rows] of (await reader.traces(possible)).entries())
      if (rows.length > 0) found.set(possible[at]!, rows)
    return found
  }

  async #historyOf(rows: readonly SegmentRow[]): Promise<TraceHistory> {
    const { reader, packs } = this.#options
    return this.#histories.get(rows[0]!, rows.length) ?? (await loadHistory(reader, packs, rows))
  }

  /**
   * Commits records about the log, and the changes of the store that come true with them. Nothing is settled
   * meanwhile. `make` is told the index of the first one and the number of the commit; what it appends to the packs is
   * durable before the commit.
   */
  async record(make: (first: number, commit: number) => Promise<RecordBatch>): Promise<void> {
    const { assembler, tree, store, now } = this.#options
    await this.flush()
    // Rows may move, and what histories hold may be erased.
    this.#histories.clear()
    const first = tree.size
    const { records, changes } = await make(first, (store.head?.commit.number ?? -1) + 1)
    const leaves = this.#leaves
    leaves.reset()
    for (const { entry } of records) leaves.add(parseEntry(entry))
    await this.#write({
      time: now(),
      first,
      dueAt: [],
      segments: new DraftSegments(() => this.#emptyBlock()),
      receipts: new Map(),
      duplicates: 0,
      ...this.#grown(first),
      knowledge: [],
      cursor: assembler.cursor(),
      changes,
      records,
    })
  }

  get reviewsPending(): number {
    return this.#options.reviews.count
  }

  /** Resolves when everything settled so far is durable. */
  async flush(): Promise<void> {
    await this.#writing
  }

  /** Lets the event loop turn now and then: the commit under way needs it to get from step to step. */
  async #derive(ready: readonly Ready[], reviewed: readonly ReadyReview[]): Promise<Draft> {
    const { assembler, frames, tree, now, classOf, reviews, known } = this.#options
    const leaves = this.#leaves
    leaves.reset()
    const time = now()
    const dueAt: number[] = []
    const first = tree.size
    const segments = new DraftSegments(() => this.#emptyBlock())
    const receipts = new Map<number, [number, number][]>()
    let duplicates = 0
    const services = new ServiceNames()
    let sinceTurn = 0
    for (const { item, id, earlier, history } of ready) {
      const { trace, closed } = item
      sinceTurn += trace.count
      if (sinceTurn > TURN_SPANS) {
        sinceTurn = 0
        await new Promise(setImmediate)
      }
      const { tenant } = trace
      const segment = history?.segment ?? 0
      const head = { tenant, traceId: trace.id, segment, closed, evaluatedAt: time }
      const spans = assembler.spans(trace, this.#sources(encodeName(tenant), head.traceId))
      const start = leaves.count
      const derived = deriveSegment(head, spans, history, this.#committer, leaves, this.#sealing)
      duplicates += derived.duplicates.length
      noteReceipts(receipts, derived, first + start)
      assembler.decide(trace, ({ position }) => frames.release(position))
      if (derived.count === 0) continue
      known.add(id)
      const described = describeSegment(derived.spans, services)
      const retention = classOf?.(tenant, described.services, derived.spans[0]!) ?? DEFAULT_CLASS
      dueAt.push(trace.dueAt)
      const added = segments.add({ head, derived, first: first + start, earlier, described, retention })
      if (history !== undefined ? segment >= GOES_ON : closed === Closed.cut)
        this.#keep(added, history ?? new TraceHistory(), start)
      const { ruleset, isDeferred, due } = derived
      if (ruleset.length > 0 || isDeferred)
        reviews.note(id, isDeferred ? earliest(reviews.dueOf(id), time + REVIEW_AFTER) : bounded(due, time))
    }
    for (const { id, earlier, history } of reviewed) {
      const { tenant, traceId, block } = earlier.at(-1)!
      const seed = new Uint8Array(randomBytes(32))
      const { segment } = history
      const head = { tenant, traceId, segment, closed: Closed.reviewed, evaluatedAt: time, seed }
      const start = leaves.count
      const derived = deriveSegment(head, [], history, this.#committer, leaves, this.#sealing)
      reviews.note(id, bounded(derived.due, time))
      if (derived.count === 0) {
        segments.judgingMillis += derived.judgingMillis
        this.#histories.drop(head) // its model has taken in a segment that is none
        continue
      }
      const described = describeReview(earlier)
      dueAt.push(performance.now())
      const { retention } = this.#options.packs.classes().find(({ pack }) => pack === block.pack)!
      const added = segments.add({ head, derived, first: first + start, earlier, described, retention })
      this.#keep(added, history, start)
    }
    frames.free()
    return {
      time,
      first,
      dueAt,
      segments,
      receipts,
      knowledge: this.#options.knowledge.takeRows(),
      duplicates,
      ...this.#grown(first),
      cursor: assembler.cursor(),
      changes: reviews.takeChanges(),
    }
  }

  /** Adds a segment, whose leaves in this derivation begin there and are its last, to its history and keeps that. */
  #keep(added: DraftSegment, history: TraceHistory, start: number): void {
    const { entries: bundle, hashes: leaves } = this.#leaves.copyFrom(start)
    const entries = splitEntries([bundle])
    const { row, earlier } = added
    // Asked for only when the trace is settled again, which is after its commit.
    let written: SegmentRow | undefined
    added.onWritten = (row) => {
      written = row
    }
    const payload = (): Held | undefined => heldOf({ entries }, readPayload(this.#options.packs, written!))
    history.add(row.first, entries.map(parseEntry), leaves, row.closed, payload)
    this.#histories.keep(row, history, [...earlier, row])
  }

  /** Appends the leaves of this derivation to the tree of `first` leaves: what the commit says of it. */
  #grown(first: number): Pick<Draft, 'size' | 'root' | 'tiles' | 'full' | 'fullBytes' | 'partial'> {
    const { tree } = this.#options
    tree.append(this.#leaves.hashes)
    const changed = tree.takeChanged()
    return {
      size: tree.size,
      root: tree.root(),
      tiles: changed.filter(({ level }) => level > 0),
      ...this.#bundles(
        first,
        changed.filter(({ level }) => level === 0),
      ),
    }
  }

  #emptyBlock(): Sink {
    const block = this.#spare.pop() ?? new Sink(BLOCK_BYTES + BLOCK_BYTES / 2)
    block.at = 0
    return block
  }

  /** One source for each frame that holds spans of the trace, which come frame by frame. */
  #sources(tenant: Uint8Array, id: Uint8Array): (frame: OpenFrame, index: number) => Source {
    const { frames } = this.#options
    let last: OpenFrame | undefined
    let source: Source | undefined
    return (frame, index) => {
      if (source === undefined || frame !== last) {
        last = frame
        const { ahead } = frame
        const at = ahead === undefined ? 0 : ahead.seedOf[index]! * 32
        source = {
          receipt: frame.receipt,
          seed:
            ahead === undefined
              ? this.#committer.traceSeed(frame.seed, tenant, id)
              : ahead.seeds.subarray(at, at + 32),
          body: frames.frame(frame.position).body,
          contexts: frame.contexts,
          evidence: ahead?.evidence,
        }
      }
      return source
    }
  }

  /**
   * Cuts the entries of this derivation into bundles, each behind its leaf hashes: full ones one after another in a
   * sink, and the last one, which is kept to be gone on with. `tiles` are the changed ones of level 0, ascending.
   */
  #bundles(first: number, tiles: readonly ChangedTile[]): Pick<Draft, 'full' | 'fullBytes' | 'partial'> {
    const bytes = this.#leaves.entries
    const end = bytes.length
    const full: Draft['full'][number][] = []
    const fullBytes = this.#spareBundles.pop() ?? new Sink(BUNDLES_BYTES / 4)
    fullBytes.at = 0
    let partial: Draft['partial']
    let index = Math.floor(first / TILE_WIDTH)
    let width = first % TILE_WIDTH
    let start = 0
    for (let at = 0; at < end; ) {
      at += 2 + bytes[at]! * 256 + bytes[at + 1]!
      width++
      if (width < TILE_WIDTH && at < end) continue
      const hashes = tiles[index - Math.floor(first / TILE_WIDTH)]!.data
      if (width === TILE_WIDTH) {
        const from = fullBytes.at
        fullBytes.put(hashes)
        fullBytes.put(this.#partial)
        fullBytes.putRange(bytes, start, at)
        full.push({ index, start: from, end: fullBytes.at })
        this.#partial = new Uint8Array(0)
        index++
        width = 0
      } else {
        this.#partial = Buffer.concat([this.#partial, bytes.subarray(start, at)])
        partial = { index, width, hashes, entries: this.#partial }
      }
      start = at
    }
    return { full, fullBytes, partial }
  }

  async #write(draft: Draft, held: readonly Pick<OpenTrace, 'row'>[] = []): Promise<void> {
    const { assembler, store, packs, onCommit } = this.#options
    const day = new Date(Number(draft.time / 1_000_000n)).toISOString().slice(0, 10).replaceAll('-', '')
    const { full, fullBytes } = draft
    const { segments } = draft
    const refs = await this.#appendBlocks(segments.blocks, day)
    const bundles = full.map(({ start, end }) => fullBytes.bytes.subarray(start, end))
    const bundleRefs = bundles.length === 0 ? [] : await packs.append(bundles, day, RECORDS)
    const runs = draft.records === undefined ? [] : await this.#appendRun(draft.records, draft, day)
    if (refs.length > 0 || bundleRefs.length > 0 || runs.length > 0) await packs.sync()
    for (const { sink: block } of segments.blocks)
      if (block.bytes.length <= 2 * BLOCK_BYTES && this.#spare.length < MAX_SPARE) this.#spare.push(block)
    if (fullBytes.bytes.length <= BUNDLES_BYTES) this.#spareBundles.push(fullBytes)
    const rows = segments.rows.map(({ row, block }) => ({ ...row, block: refs[block]! }))
    for (const [at, { onWritten }] of segments.rows.entries()) onWritten?.(rows[at]!)
    const batch: Batch = {
      size: draft.size,
      root: draft.root,
      time: draft.time,
      bundles: full.map(({ index }, at) => ({ index, block: bundleRefs[at]! })),
      partial: draft.partial,
      tiles: draft.tiles,
      rows,
      earlier: new Map(rows.map((row, at) => [row, segments.rows[at]!.earlier])),
      receipts: [...draft.receipts].map(([position, leaves]): ReceiptLeaves => ({ position, leaves })),
      knowledge: draft.knowledge,
      cursor: draft.cursor,
      packs: packs.tails(),
      runs,
      changes: draft.changes,
    }
    await store.commit(store.head, batch)
    assembler.release(held)
    onCommit({
      segments: rows.length,
      reviewed: rows.filter(({ closed }) => closed === Closed.reviewed).length,
      spans: rows.reduce((sum, row) => sum + row.spans, 0),
      leaves: draft.size - draft.first,
      duplicates: draft.duplicates,
      size: draft.size,
      keepFrom: batch.cursor.next,
      packBytes: refs.reduce((sum, ref) => sum + ref.length, 0),
      dueAt: draft.dueAt,
      judged: segments.judged,
      findings: segments.findings,
      judgingMillis: segments.judgingMillis,
    })
  }

  /** Appends blocks to the packs of their classes; the references are in the order of the blocks. */
  async #appendBlocks(blocks: readonly DraftBlock[], day: string): Promise<BlockRef[]> {
    const refs = new Array<BlockRef>(blocks.length)
    for (const [retention, places] of Map.groupBy(blocks.keys(), (place) => blocks[place]!.retention)) {
      const some = await this.#options.packs.append(
        places.map((place) => blocks[place]!.sink.view()),
        day,
        retention,
      )
      for (const [at, place] of places.entries()) refs[place] = some[at]!
    }
    return refs
  }

  /** Writes the openings of records about the log, and gives the row of their run. */
  async #appendRun(
    records: readonly LogRecord[],
    { first, time }: Pick<Draft, 'first' | 'time'>,
    day: string,
  ): Promise<SegmentRow[]> {
    const run = encodeRun(records.map(({ claims }, leaf) => ({ leaf, claims })))
    const [block] = await this.#options.packs.append([run], day, RECORDS)
    return [
      {
        tenant: '',
        traceId: new Uint8Array(0),
        segment: 0,
        first,
        count: records.length,
        closed: Closed.settled,
        block: block!,
        at: 0,
        size: run.length,
        start: time,
        end: time,
        spans: 0,
        services: [],
        name: '',
        erasures: [],
        continuity: 'unknown',
        rules: [],
      },
    ]
  }
}

/** A settled trace with what the log holds of it. */
interface Ready {
  readonly item: Settled
  /** Of its trace in the store. */
  readonly id: Uint8Array
  readonly earlier: readonly SegmentRow[]
  readonly history: TraceHistory | undefined
}

/** CPU time of this thread; where Node does not tell it, time. Milliseconds. */
function cpuMillis(): number {
  const cpu = threadCpuSeconds()
  return cpu === undefined ? performance.now() : cpu * 1000
}

/** An execution that is judged again, and its id in the store. */
interface ReadyReview {
  readonly id: Uint8Array
  readonly earlier: readonly SegmentRow[]
  readonly history: TraceHistory
}

function earliest(a: bigint | undefined, b: bigint): bigint {
  return a !== undefined && a < b ? a : b
}

function bounded(due: bigint | undefined, now: bigint): bigint | undefined {
  return due === undefined ? undefined : earliest(due, now + LONGEST_WAIT)
}

/** Records about the log, and what becomes true with them. */
export interface RecordBatch {
  readonly records: readonly LogRecord[]
  readonly changes: NonNullable<Batch['changes']>
}

/** Notes the leaf of each span of a tracked request; of a delivery that repeats another, that one's leaf. */
function noteReceipts(
  receipts: Map<number, [number, number][]>,
  derived: ReturnType<typeof deriveSegment<OpenSpan>>,
  first: number,
): void {
  const note = ({ frame, index }: OpenSpan, leaf: number): void => {
    if (!frame.tracked) return
    const leaves = receipts.get(frame.position)
    if (leaves === undefined) receipts.set(frame.position, [[index, leaf]])
    else leaves.push([index, leaf])
  }
  // Not an iterator: hardly any request is tracked, and its pairs were a tenth of this thread's garbage.
  const { spans, leaves } = derived
  for (let at = 0; at < spans.length; at++)
    if (spans[at]!.frame.tracked) note(spans[at]!, first + leaves[at]!)
  for (const { span, of } of derived.duplicates)
    note(span, typeof of === 'number' ? first + derived.leaves[of]! : of.index)
}

/** Reads the entries of a trace's segments back, and their payloads when they are asked for. */
export async function loadHistory(
  reader: LogReader,
  packs: Pick<Packs, 'readSync'>,
  rows: readonly SegmentRow[],
): Promise<TraceHistory> {
  const history = new TraceHistory()
  for (const row of rows) {
    const { entries, leaves } = await readSegment(reader, row)
    history.add(row.first, entries.map(parseEntry), leaves, row.closed, () =>
      heldOf({ entries }, readPayload(packs, row)),
    )
  }
  return history
}

/** The payload of a row; undefined where it was erased. Throws PackCorruption and MalformedError. */
export function readPayload(packs: Pick<Packs, 'readSync'>, row: SegmentRow): AnyPayload | undefined {
  if (isErased(row)) return undefined
  const block = packs.readSync(row.block, MAX_BLOCK_BYTES)
  return parseAnyPayload(block.slice(row.at, row.at + row.size))
}

/** Entries of one segment and their leaf hashes, from bundles and tiles. */
export async function readSegment(
  reader: LogReader,
  row: Pick<SegmentRow, 'first' | 'count'>,
): Promise<{ entries: Uint8Array[]; leaves: Uint8Array }> {
  const entries: Uint8Array[] = []
  const leaves = new Uint8Array(row.count * 32)
  const end = row.first + row.count
  for (let at = row.first; at < end; ) {
    const index = Math.floor(at / TILE_WIDTH)
    const from = at - index * TILE_WIDTH
    const to = Math.min(TILE_WIDTH, end - index * TILE_WIDTH)
    const [bundle, tile] = await Promise.all([reader.entries(index, to), reader.tile(0, index, to)])
    if (bundle === undefined || tile === undefined) throw new Error(`entry bundle ${index} is missing`)
    entries.push(...parseEntryBundle(bundle, to).slice(from))
    leaves.set(tile.subarray(from * 32, to * 32), (at - row.first) * 32)
    at += to - from
  }
  return { entries, leaves }
}
