/**
 * One life of a collector in this thread, between a start and a death: the parts that decide and write, over file
 * layers of the test's choice. What starts it is the collector's own code (`openLog`, `openJournal`); what drives it
 * is the test, a step at a time, so that every durable write can be counted.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { createSpanTable } from '@rootspan/lineage/otlp/scan'
import { Closed } from '@rootspan/lineage/record/payload'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { proveConsistency } from '@rootspan/lineage/tlog/proof'
import { Assembler } from '../../packages/collector/src/assembler.ts'
import { type Files, nodeFiles } from '../../packages/collector/src/files.ts'
import { type Journal, openJournal } from '../../packages/collector/src/journal/journal.ts'
import { FrameCache, JournalReader } from '../../packages/collector/src/journal/reader.ts'
import { scanFrame } from '../../packages/collector/src/journal/scan.ts'
import { type OpenedLog, openLog } from '../../packages/collector/src/open-log.ts'
import { Sequencer } from '../../packages/collector/src/sequencer.ts'
import { cursorEnd } from '../../packages/collector/src/store/cursor.ts'
import { checkLevelFiles } from '../../packages/collector/src/store/leveldb-files.ts'
import {
  type Database,
  LevelLogStore,
  loadCursor,
  openDatabase,
} from '../../packages/collector/src/store/log-store.ts'
import { EPOCH, type SpanSpec, spanHex, traceIdOf } from '../support/executions.ts'
import { encodeRequest } from '../support/stored-log.ts'
import type { World } from './world.ts'

const QUIET = { info() {}, warn() {} }

export interface Layers {
  readonly journal: Files
  readonly packs: Files
  /** For the signer's memory and key. */
  readonly signer: Files
  /** Wraps the database. */
  readonly database: (database: Database) => Database
}

export const PLAIN: Layers = {
  journal: nodeFiles,
  packs: nodeFiles,
  signer: nodeFiles,
  database: (database) => database,
}

export class Life {
  readonly #world: World
  readonly #database: Database
  readonly #journal: Journal
  readonly #log: OpenedLog
  readonly #frames: JournalReader
  readonly #assembler: Assembler
  readonly #sequencer: Sequencer
  readonly #table = createSpanTable()
  #keepFrom: number

  private constructor(world: World, database: Database, journal: Journal, log: OpenedLog) {
    this.#world = world
    this.#database = database
    this.#journal = journal
    this.#log = log
    this.#keepFrom = log.cursor.next
    this.#frames = new JournalReader({ directory: join(world.data, 'journal'), from: log.cursor.next })
    const limits = { quietMillis: 0, maxAgeMillis: 60_000, maxSegmentSpans: 100_000 }
    this.#assembler = new Assembler(limits, log.cursor)
    this.#sequencer = new Sequencer({
      ...log,
      assembler: this.#assembler,
      frames: new FrameCache(this.#frames, { readBytes: 1024 * 1024, handedBytes: 0 }),
      now: () => BigInt(Date.now()) * 1_000_000n,
      onCommit: (done) => {
        this.#keepFrom = done.keepFrom
      },
    })
  }

  /** Starts as the collector does; rejects where it would refuse to. */
  static async start(world: World, layers: Layers = PLAIN): Promise<Life> {
    const directory = join(world.data, 'log')
    const [problem] = (await checkLevelFiles(directory, { tables: false })).problems
    if (problem !== undefined) throw new Error(`${join(directory, problem.file)}: ${problem.what}`)
    const plain = await openDatabase(directory, 'open')
    try {
      const database = layers.database(plain)
      const { head } = await LevelLogStore.open(database)
      const cursor = await loadCursor(database, head)
      const journal = await openJournal({
        directory: join(world.data, 'journal'),
        files: layers.journal,
        log: QUIET,
        segmentBytes: 2048,
        maxBytes: 64 * 1024,
        minFreeBytes: 0,
        committedEnd: cursor.next,
        knownEnd: cursorEnd(cursor),
      })
      const log = await openLog({
        database,
        packsDirectory: join(world.data, 'packs'),
        signerDirectory: world.signer,
        ...world.identity,
        maxPackBytes: 1024,
        compressionLevel: 1,
        files: layers,
        log: QUIET,
      })
      return new Life(world, plain, journal, log)
    } catch (error) {
      await plain.close()
      throw error
    }
  }

  /** Receives one request; the spans are remembered as acknowledged once it is durable. */
  async receive(trace: number, specs: readonly SpanSpec[], tracked = false): Promise<number> {
    const { memory } = this.#world
    const id = Buffer.from(traceIdOf(trace)).toString('hex')
    const spans = specs.map((spec) => `${id}/${spanHex(spec.id)}`)
    for (const span of spans) memory.sent.add(span)
    const body = encodeRequest(trace, specs)
    const receipt = encodeReceipt({ receiver: 'otlp/grpc', peer: '', tenant: '', receivedAt: EPOCH, tracked })
    const seed = createHash('sha256').update(body).update(String(this.#journal.durableEnd)).digest()
    const position = await this.#journal.append({ seed, receipt, body })
    for (const span of spans) memory.acknowledged.add(span)
    if (tracked) memory.receipts.set(position, [...new Set(spans)])
    return position
  }

  /** Follows the journal and commits everything that is open, or only these traces. */
  async commit(closed: Closed = Closed.drained, only?: readonly number[]): Promise<void> {
    const until = this.#journal.durableEnd
    while (this.#frames.next < until)
      for (const frame of this.#frames.read(until, 1024 * 1024)) {
        const { table, receipt } = scanFrame(frame, this.#table)
        this.#assembler.add(frame, '', receipt.tracked, table, 0)
      }
    const open = this.#assembler
      .all(0)
      .filter(({ id }) => only === undefined || only.includes(Buffer.from(id).readUInt32BE(12)))
    if (open.length > 0) await this.#sequencer.settle(open.map((trace) => ({ trace, closed })))
    await this.#sequencer.flush()
  }

  /** Signs the committed tree, if there is one, and stores the checkpoint. */
  async checkpoint(): Promise<void> {
    const { store, signer, reader } = this.#log
    if (store.head === undefined) return
    const { size, root } = store.head.commit
    const note = await signer.sign({ size, root }, (from, to) =>
      proveConsistency(from, to, reader.tileReader),
    )
    this.#world.memory.see(note, this.#world.policy)
    await store.putCheckpoint(size, note)
  }

  /** Gives back what is not needed any more of the journal. */
  trim(): Promise<void> {
    return this.#journal.trim(this.#keepFrom)
  }

  async close(): Promise<void> {
    await this.#journal.close()
    await this.#log.packs.shutdown()
    await this.end()
  }

  /** Lets go of what a dead process would not hold any more; nothing is written. */
  async end(): Promise<void> {
    this.#frames.close()
    this.#log.packs.close()
    await this.#database.close()
  }
}
