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

import type { Context } from '@rootspan/lineage/continuity/context'
import { type Continuity, continuityOf, type Finding } from '@rootspan/lineage/continuity/judgement'
import type { Execution } from '@rootspan/lineage/continuity/model'
import type { LogRecord } from '@rootspan/lineage/record/about-log'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { type AnyPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { encodeRun } from '@rootspan/lineage/record/opening'
import type { Source, SpanInput } from '@rootspan/lineage/record/order'
import { Closed, writePayload } from '@rootspan/lineage/record/payload'
import { deriveSegment, LeafSink } from '@rootspan/lineage/record/segment'
import { Sink } from '@rootspan/lineage/record/sink'
import { SmallMap } from '@rootspan/lineage/record/small-map'
import { parseEntryBundle, TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
import type { ChangedTile, TileTree } from '@rootspan/lineage/tlog/tile-tree'
import type { Assembler, OpenFrame, OpenSpan, OpenTrace } from './assembler.ts'
import { describeJudgement, describeSegment, ServiceNames } from './describe.ts'
import type { FrameCache } from './journal/reader.ts'
import type { Knowledge } from './knowledge.ts'
import { type BlockRef, DEFAULT_CLASS, MAX_BLOCK_BYTES, type Packs, RECORDS } from './pack.ts'
import { traceId } from './store/keys.ts'
import type { Batch, LogReader, LogStore, ReceiptLeaves } from './store/log-store.ts'
import { encodeName, isErased, type SegmentRow } from './store/rows.ts'
import { latin1 } from './text.ts'

/** Payloads share a block up to about this size: small segments compress badly and cost a call each alone. */
const BLOCK_BYTES = 256 * 1024

/** Sinks kept for later blocks: about what two commits need. */
const MAX_SPARE = 64

/** Sinks for the full bundles of a commit are kept up to this size. */
const BUNDLES_BYTES = 4 * 1024 * 1024

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
  readonly spans: number
  readonly leaves: number
  readonly duplicates: number
  readonly size: number
  readonly keepFrom: number
  readonly packBytes: number
  /** When its segments were settled: milliseconds of `performance.now`. */
  readonly settledAt: number
  /** What each judgement came to; an execution is judged with each of its segments that is. */
  readonly judged: readonly Continuity[]
  /** Those that the judgement before did not have. */
  readonly findings: readonly Finding[]
}

export class Sequencer {
  readonly #options: SequencerOptions
  readonly #committer = new Committer()
  readonly #gather = (execution: Execution): Context => this.#options.knowledge.contextOf(execution)
  readonly #leaves = new LeafSink()
  /** Traces of the commit that is on its way: what the store says about them is not the last word. */
  #inFlight = new Set<string>()
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

  /** Whether the trace is in the commit under way: it can be settled again only after that. */
  isCommitting(trace: OpenTrace): boolean {
    return this.#inFlight.has(trace.key)
  }

  /**
   * Derives the records of these traces and starts their commit; resolves when the one before is durable.
   * A quiet trace that lacks a parent is put back to wait.
   */
  async settle(work: readonly Settled[]): Promise<void> {
    const { assembler, reader, packs } = this.#options
    const ids = work.map(({ trace }) => traceId(encodeName(trace.tenant), latin1(trace.id)))
    const earlier = await reader.traces(ids)
    const ready: { item: Settled; earlier: SegmentRow[]; history: TraceHistory | undefined }[] = []
    for (const [at, item] of work.entries()) {
      const rows = earlier[at]!
      const history = rows.length === 0 ? undefined : await loadHistory(reader, packs, rows)
      const missing = item.closed === Closed.settled ? assembler.missingParents(item.trace) : []
      if (missing.some((id) => history?.leafOf(id) === undefined)) assembler.wait(item.trace)
      else ready.push({ item, earlier: rows, history })
    }
    if (ready.length === 0) return
    const draft = await this.#derive(ready)
    await this.#writing
    this.#inFlight = new Set(ready.map(({ item }) => item.trace.key))
    this.#writing = this.#write(draft)
  }

  /**
   * Commits records about the log, and the changes of the store that come true with them. Nothing is settled
   * meanwhile. `make` is told the index of the first one and the number of the commit; what it appends to the packs is
   * durable before the commit.
   */
  async record(make: (first: number, commit: number) => Promise<RecordBatch>): Promise<void> {
    const { assembler, tree, store, now } = this.#options
    await this.flush()
    const first = tree.size
    const { records, changes } = await make(first, (store.head?.commit.number ?? -1) + 1)
    const leaves = this.#leaves
    leaves.reset()
    for (const { entry } of records) leaves.add(parseEntry(entry))
    await this.#write({
      time: now(),
      first,
      settledAt: performance.now(),
      blocks: [],
      segments: [],
      receipts: new Map(),
      duplicates: 0,
      judged: [],
      findings: [],
      ...this.#grown(first),
      knowledge: [],
      cursor: assembler.cursor(),
      run: { records, changes },
    })
  }

  /** Resolves when everything settled so far is durable. */
  async flush(): Promise<void> {
    await this.#writing
  }

  /** Lets the event loop turn now and then: the commit under way needs it to get from step to step. */
  async #derive(
    ready: readonly { item: Settled; earlier: SegmentRow[]; history: TraceHistory | undefined }[],
  ): Promise<Draft> {
    const { assembler, frames, tree, now, classOf } = this.#options
    const leaves = this.#leaves
    leaves.reset()
    const time = now()
    const settledAt = performance.now()
    const first = tree.size
    const blocks: DraftBlock[] = []
    /** The block of each retention class that takes more, by its place. */
    const open = new Map<string, number>()
    const segments: DraftSegment[] = []
    const receipts = new Map<number, [number, number][]>()
    let duplicates = 0
    const judged: Continuity[] = []
    const findings: Finding[] = []
    const services = new ServiceNames()
    let sinceTurn = 0
    for (const { item, earlier, history } of ready) {
      const { trace, closed } = item
      sinceTurn += trace.count
      if (sinceTurn > TURN_SPANS) {
        sinceTurn = 0
        await new Promise(setImmediate)
      }
      const head = { tenant: trace.tenant, traceId: latin1(trace.id), closed, evaluatedAt: time }
      const spans = assembler.spans(trace, this.#sources(encodeName(trace.tenant), head.traceId))
      const start = leaves.count
      const derived = deriveSegment(head, spans, history, this.#committer, leaves, this.#gather)
      duplicates += derived.duplicates.length
      noteReceipts(receipts, derived, first + start)
      assembler.decide(trace, ({ position }) => frames.release(position))
      if (derived.count === 0) continue
      if (derived.ruleset.length > 0) judged.push(continuityOf(derived.judged))
      for (const finding of derived.fresh) findings.push(finding)
      const segment = history?.segment ?? 0
      const described = describeSegment(derived.spans, services)
      const retention = classOf?.(trace.tenant, described.services, derived.spans[0]!) ?? DEFAULT_CLASS
      const place = open.get(retention) ?? blocks.push({ sink: this.#emptyBlock(), retention }) - 1
      open.set(retention, place)
      const block = blocks[place]!.sink
      const at = block.at
      const { context, ruleset, judgement } = derived
      writePayload(block, { ...head, segment, context, ruleset }, derived.spans, judgement)
      segments.push({
        block: place,
        earlier,
        row: {
          tenant: trace.tenant,
          traceId: head.traceId,
          segment,
          first: first + start,
          count: derived.count,
          closed,
          at,
          size: block.at - at,
          spans: derived.spans.length,
          erasures: [],
          ...describeJudgement(derived.judged),
          ...described,
        },
      })
      if (block.at >= BLOCK_BYTES) open.delete(retention)
    }
    frames.free()
    return {
      time,
      first,
      settledAt,
      blocks,
      segments,
      receipts,
      knowledge: this.#options.knowledge.takeRows(),
      duplicates,
      judged,
      findings,
      ...this.#grown(first),
      cursor: assembler.cursor(),
    }
  }

  /** Appends the leaves of this derivation to the tree of `first` leaves: what the commit says of it. */
  #grown(first: number): Pick<Draft, 'size' | 'root' | 'tiles' | 'full' | 'fullBytes' | 'partial'> {
    const { tree } = this.#options
    tree.append(this.#leaves.hashes.view())
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

  /** One source for each frame that holds spans of the trace. */
  #sources(tenant: Uint8Array, id: Uint8Array): (frame: OpenFrame, index: number) => Source {
    const { frames } = this.#options
    const sources = new SmallMap<OpenFrame, Source>()
    return (frame, index) => {
      let source = sources.get(frame)
      if (source === undefined) {
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
        sources.add(frame, source)
      }
      return source
    }
  }

  /**
   * Cuts the entries of this derivation into bundles, each behind its leaf hashes: full ones one after another in a
   * sink, and the last one, which is kept to be gone on with. `tiles` are the changed ones of level 0, ascending.
   */
  #bundles(first: number, tiles: readonly ChangedTile[]): Pick<Draft, 'full' | 'fullBytes' | 'partial'> {
    const { bytes, at: end } = this.#leaves.entries
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

  async #write(draft: Draft): Promise<void> {
    const { store, packs, onCommit } = this.#options
    const day = new Date(Number(draft.time / 1_000_000n)).toISOString().slice(0, 10).replaceAll('-', '')
    const { full, fullBytes } = draft
    const refs = await this.#appendBlocks(draft.blocks, day)
    const bundles = full.map(({ start, end }) => fullBytes.bytes.subarray(start, end))
    const bundleRefs = bundles.length === 0 ? [] : await packs.append(bundles, day, RECORDS)
    const runs = draft.run === undefined ? [] : await this.#appendRun(draft.run.records, draft, day)
    if (refs.length > 0 || bundleRefs.length > 0 || runs.length > 0) await packs.sync()
    for (const { sink: block } of draft.blocks)
      if (block.bytes.length <= 2 * BLOCK_BYTES && this.#spare.length < MAX_SPARE) this.#spare.push(block)
    if (fullBytes.bytes.length <= BUNDLES_BYTES) this.#spareBundles.push(fullBytes)
    const rows = draft.segments.map(({ row, block }) => ({ ...row, block: refs[block]! }))
    const batch: Batch = {
      size: draft.size,
      root: draft.root,
      time: draft.time,
      bundles: full.map(({ index }, at) => ({ index, block: bundleRefs[at]! })),
      partial: draft.partial,
      tiles: draft.tiles,
      rows,
      earlier: new Map(rows.map((row, at) => [row, draft.segments[at]!.earlier])),
      receipts: [...draft.receipts].map(([position, leaves]): ReceiptLeaves => ({ position, leaves })),
      knowledge: draft.knowledge,
      cursor: draft.cursor,
      packs: packs.tails(),
      runs,
      changes: draft.run?.changes ?? [],
    }
    await store.commit(store.head, batch)
    this.#inFlight = new Set()
    onCommit({
      segments: rows.length,
      spans: rows.reduce((sum, row) => sum + row.spans, 0),
      leaves: draft.size - draft.first,
      duplicates: draft.duplicates,
      size: draft.size,
      keepFrom: batch.cursor.next,
      packBytes: refs.reduce((sum, ref) => sum + ref.length, 0),
      settledAt: draft.settledAt,
      judged: draft.judged,
      findings: draft.findings,
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

/** Records about the log, and what becomes true with them. */
export interface RecordBatch {
  readonly records: readonly LogRecord[]
  readonly changes: NonNullable<Batch['changes']>
}

/** Payloads of segments of one retention class. */
interface DraftBlock {
  readonly sink: Sink
  readonly retention: string
}

interface DraftSegment {
  readonly row: Omit<SegmentRow, 'block'>
  /** Which of the draft's blocks holds its payload. */
  readonly block: number
  readonly earlier: readonly SegmentRow[]
}

/** A commit that was derived and is not written yet. */
interface Draft
  extends Pick<Batch, 'time' | 'size' | 'root' | 'tiles' | 'partial' | 'knowledge' | 'cursor'>,
    Pick<Committed, 'judged' | 'findings'> {
  /** Tree size before it. */
  readonly first: number
  readonly settledAt: number
  /** Bundles that became full: where each is in `fullBytes`. */
  readonly full: readonly { readonly index: number; readonly start: number; readonly end: number }[]
  readonly fullBytes: Sink
  readonly blocks: readonly DraftBlock[]
  readonly segments: readonly DraftSegment[]
  readonly receipts: ReadonlyMap<number, [number, number][]>
  readonly duplicates: number
  readonly run?: RecordBatch
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
