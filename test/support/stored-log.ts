/**
 * A small real log on disk: journal, packs and LevelDB under one directory, written by the collector's own
 * assembler and sequencer in this thread, without receivers. For tests of whatever reads a log.
 */
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createSpanTable } from '@rootspan/lineage/otlp/scan'
import { Closed } from '@rootspan/lineage/record/payload'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { formatCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { signNote } from '@rootspan/lineage/tlog/note'
import { type Policy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { WireWriter } from '@rootspan/lineage/wire'
import { Assembler } from '../../packages/collector/src/assembler.ts'
import { Board } from '../../packages/collector/src/board.ts'
import { planErasure } from '../../packages/collector/src/erase/plan.ts'
import { Retention, type RetentionSettings } from '../../packages/collector/src/erase/retention.ts'
import { findExecutions, type Selection, selectorsOf } from '../../packages/collector/src/erase/select.ts'
import { nodeFiles } from '../../packages/collector/src/files.ts'
import { type Journal, openJournal } from '../../packages/collector/src/journal/journal.ts'
import { FrameCache, JournalReader } from '../../packages/collector/src/journal/reader.ts'
import { scanFrame } from '../../packages/collector/src/journal/scan.ts'
import { Knowledge } from '../../packages/collector/src/knowledge.ts'
import { openPacks, PackReader, type Packs } from '../../packages/collector/src/pack.ts'
import { Reviews } from '../../packages/collector/src/reviews.ts'
import { Sequencer } from '../../packages/collector/src/sequencer.ts'
import { START } from '../../packages/collector/src/store/cursor.ts'
import {
  type Database,
  LevelLogStore,
  LogReader,
  openDatabase,
} from '../../packages/collector/src/store/log-store.ts'
import { TraceFilter } from '../../packages/collector/src/store/trace-filter.ts'
import { EPOCH, encodeSpan, type SpanSpec, type TestKey, testKey } from './executions.ts'

const QUIET = { info() {}, warn() {} }
const LIMITS = { quietMillis: 0, maxAgeMillis: 60_000, maxSegmentSpans: 100_000 }

interface Parts {
  readonly database: Database
  readonly journal: Journal
  readonly packs: Packs
  readonly packReader: PackReader
  readonly store: LevelLogStore
  readonly directory: string
}

export class StoredLog {
  readonly board = new Board()
  readonly key: TestKey = testKey()
  readonly reader: LogReader
  /** Reading side of the packs, as another thread has it. */
  readonly packs: PackReader
  readonly #parts: Parts
  readonly #frames: JournalReader
  readonly #assembler: Assembler
  readonly #sequencer: Sequencer
  readonly #table = createSpanTable()
  /** Nanoseconds since 1970; moves on by one with each look at it. */
  #clock = EPOCH

  private constructor(parts: Parts) {
    this.#parts = parts
    this.packs = parts.packReader
    this.reader = new LogReader(parts.database, this.packs)
    this.#frames = new JournalReader({ directory: join(parts.directory, 'journal'), from: 0 })
    this.#assembler = new Assembler(LIMITS, START)
    this.#sequencer = new Sequencer({
      assembler: this.#assembler,
      frames: new FrameCache(this.#frames, { readBytes: 1024 * 1024, handedBytes: 0 }),
      store: parts.store,
      reader: this.reader,
      packs: parts.packs,
      tree: new TileTree(),
      knowledge: new Knowledge(),
      reviews: new Reviews(),
      known: new TraceFilter(),
      partialBundle: new Uint8Array(0),
      now: () => this.#clock++,
      onCommit: (done) => this.board.set('tree_size', done.size),
    })
  }

  /** A new log in an empty directory. */
  static async create(directory: string): Promise<StoredLog> {
    const database = await openDatabase(join(directory, 'log'), 'create')
    const packs = await openPacks({ directory: join(directory, 'packs'), files: nodeFiles, log: QUIET })
    await packs.cut([])
    return new StoredLog({
      directory,
      database,
      packs,
      packReader: new PackReader({ directory: join(directory, 'packs'), files: nodeFiles }),
      store: await LevelLogStore.open(database),
      journal: await openJournal({
        directory: join(directory, 'journal'),
        files: nodeFiles,
        log: QUIET,
        minFreeBytes: 0,
      }),
    })
  }

  get policy(): Policy {
    return policyOfLogs(this.key.verifier)
  }

  get directory(): string {
    return this.#parts.directory
  }

  /** Leaves that are committed. */
  get size(): number {
    return this.#parts.store.head?.commit.size ?? 0
  }

  /** Journals one request with spans of one trace; resolves with its position. */
  receive(trace: number, specs: readonly SpanSpec[], tracked = false): Promise<number> {
    return this.receiveBody(encodeRequest(trace, specs), tracked)
  }

  /** Journals an `ExportTraceServiceRequest`, or an `ExportLogsServiceRequest`; resolves with its position. */
  async receiveBody(
    body: Uint8Array,
    tracked = false,
    signal: 'traces' | 'logs' = 'traces',
  ): Promise<number> {
    const receipt = encodeReceipt({
      receiver: 'otlp/grpc',
      peer: '',
      tenant: '',
      receivedAt: this.#clock,
      tracked,
      signal,
    })
    const seed = createHash('sha256').update(body).digest()
    const position = await this.#parts.journal.append({ seed, receipt, body })
    this.board.set('journal_durable_position', this.#parts.journal.durableEnd)
    return position
  }

  /** Follows the journal and commits everything that is open, or only these traces by the end of their ids. */
  async commit(closed: Closed = Closed.drained, only?: readonly number[]): Promise<void> {
    const until = this.#parts.journal.durableEnd
    while (this.#frames.next < until)
      for (const frame of this.#frames.read(until, 1024 * 1024)) {
        const { receipt, table } = scanFrame(frame, this.#table)
        this.#assembler.add({ ...frame, body: frame.body as Buffer }, '', receipt.tracked, table, 0)
      }
    const open = this.#assembler
      .all(0)
      .filter(({ id }) => only === undefined || only.includes(Buffer.from(id).readUInt32BE(12)))
    await this.#sequencer.settle(open.map((trace) => ({ trace, closed })))
    await this.#sequencer.flush()
  }

  /** Lets time pass. */
  pass(nanos: bigint): void {
    this.#clock += nanos
  }

  /** Judges what is due again, as the pipeline does now and then; returns whether there was any. */
  async review(): Promise<boolean> {
    const any = await this.#sequencer.review()
    await this.#sequencer.flush()
    return any
  }

  get reviewsPending(): number {
    return this.#sequencer.reviewsPending
  }

  /** Signs the committed tree and publishes the checkpoint. */
  async checkpoint(): Promise<Uint8Array> {
    const { size, root } = this.#parts.store.head!.commit
    const origin = this.key.verifier.name
    const note = signNote(formatCheckpoint({ origin, size, root, extensions: [] }), [this.key.signer])
    await this.#parts.store.putCheckpoint(size, note)
    this.board.set('checkpoint_size', size)
    return note
  }

  /** Commits the erasure of what is selected, and finishes nothing. */
  async commitErasure(selection: Selection): Promise<void> {
    const { packs } = this.#parts
    const found = await findExecutions(this.reader, packs, selection)
    const order = {
      selector: selectorsOf(selection),
      keys: selection.attributes,
      reason: 'why',
      by: 'who',
      at: EPOCH,
    }
    const parts = { reader: this.reader, packs, random: (size: number) => new Uint8Array(randomBytes(size)) }
    await this.#sequencer.record(
      async (first, commit) => (await planErasure(parts, found, order, first, commit)).batch,
    )
  }

  /** Drops what has expired, as the pipeline does, at a time in milliseconds since 1970. */
  async retain(settings: Omit<RetentionSettings, 'checkMillis'>, now: number): Promise<void> {
    const { packs } = this.#parts
    const parts = {
      reader: this.reader,
      packs,
      sequencer: this.#sequencer,
      files: nodeFiles,
      log: QUIET,
      now: () => now,
    }
    await new Retention({ ...settings, checkMillis: 0 }, parts).check()
  }

  async close(): Promise<void> {
    const { journal, packs, packReader, database } = this.#parts
    await journal.close()
    this.#frames.close()
    await packs.shutdown()
    packReader.close()
    await database.close()
  }
}

/** An `ExportTraceServiceRequest` with one resource for each service. */
export function encodeRequest(trace: number, specs: readonly SpanSpec[]): Uint8Array {
  const out = new WireWriter(1024)
  for (const service of new Set(specs.map((spec) => spec.service ?? 'checkout'))) {
    const name = new WireWriter().string(1, service).finish()
    const attribute = new WireWriter().string(1, 'service.name').bytes(2, name).finish()
    const scope = new WireWriter(1024).bytes(1, new WireWriter().string(1, 'test').finish())
    for (const spec of specs)
      if ((spec.service ?? 'checkout') === service) scope.bytes(2, encodeSpan(trace, spec))
    const resource = new WireWriter().bytes(1, attribute).finish()
    out.bytes(1, new WireWriter(1024).bytes(1, resource).bytes(2, scope.finish()).finish())
  }
  return out.finish()
}
