/**
 * The pipeline thread: follows the journal, assembles, derives, commits, signs.
 *
 * It owns everything that decides: assembler, sequencer, tree, signer, and LevelDB's writes. What the journal held at
 * the start it reads from the files; what is appended later the main thread hands over, frame by frame, once it is
 * durable. Its own messages are `ready`, `keep` (the journal below is not needed any more), `give` (buffers of requests
 * come back), `log` and `closed`.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { equalBytes } from '@rootspan/lineage/bytes'
import { createSpanTable, type SpanTable, WORDS_PER_SPAN } from '@rootspan/lineage/otlp/scan'
import { Closed } from '@rootspan/lineage/record/payload'
import { parseReceipt } from '@rootspan/lineage/record/receipt'
import { parseCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { parseNote } from '@rootspan/lineage/tlog/note'
import { proveConsistency } from '@rootspan/lineage/tlog/proof'
import type { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import type { Ahead } from './ahead.ts'
import { Assembler, type TakenFrame } from './assembler.ts'
import { Board } from './board.ts'
import { Returns } from './buffer-pool.ts'
import { createClassifier, Retention, type RetentionSettings } from './erase/retention.ts'
import { nodeFiles } from './files.ts'
import { FrameCache, JournalReader } from './journal/reader.ts'
import { scanFrame } from './journal/scan.ts'
import { openLog } from './open-log.ts'
import { type Committed, Sequencer, type Settled } from './sequencer.ts'
import type { CheckpointSigner } from './signer.ts'
import { type LevelLogStore, type LogReader, openDatabase } from './store/log-store.ts'
import { threadCpuSeconds } from './threads.ts'

/** What the main thread starts this one with. Everything in it can be cloned. */
export interface PipelineOptions {
  readonly board: SharedArrayBuffer
  readonly journalDirectory: string
  readonly logDirectory: string
  readonly packsDirectory: string
  readonly signerDirectory: string
  readonly origin: string
  /** The log's verifier key as text. */
  readonly key: string
  readonly checkpointMillis: number
  readonly quietMillis: number
  readonly maxAgeMillis: number
  readonly maxOpenSpans: number
  readonly maxSegmentSpans: number
  readonly maxPackBytes: number
  readonly compressionLevel: number
  readonly retention: RetentionSettings
  /**
   * Where {@link HandedFrame}s come from, in the order of their positions. They wait there until they are asked for: in the
   * heap of the thread they would grow old, and what they hold be counted as its growth.
   */
  readonly frames: MessagePort
}

export type PipelineMessage =
  | { readonly type: 'ready' }
  | { readonly type: 'keep'; readonly from: number }
  | { readonly type: 'give'; readonly buffers: readonly ArrayBuffer[] }
  | {
      readonly type: 'log'
      readonly level: 'info' | 'warn'
      readonly fields: object
      readonly message: string
    }
  | { readonly type: 'closed' }

export interface PipelineCommand {
  readonly type: 'close'
}

/** A durable frame of the journal. The buffers of body and `ahead` are the pipeline's, until it gives them back. */
export interface HandedFrame {
  readonly position: number
  readonly seed: Uint8Array
  readonly receipt: Uint8Array
  readonly bodyLength: number
  /** Absent where the pipeline is so far behind that it shall read it back. */
  readonly body: Uint8Array | undefined
  readonly ahead: Ahead
}

/** Spans that one commit takes at most, about; it bounds how long the thread computes in one go. */
const COMMIT_SPANS = 8192
/** A commit with less than this waits until the last one is this long ago, so that a trickle costs little. */
const SMALL_COMMIT_SPANS = 4096
const COMMIT_MILLIS = 100
/**
 * Executions that are due are judged again this often, some dozens at a time; and, however many wait, only after what
 * comes has had so many times the time that the last of it took.
 */
const REVIEW_MILLIS = 250
const REVIEW_REST = 4
const FOLLOW_BYTES = 2 * 1024 * 1024
/**
 * Bytes of handed requests that are followed at most before the next commit. Else as many spans are followed as a
 * commit takes: with fewer, requests would pile up while traces run out, a quiet period later, and with more the traces.
 */
const HANDED_BYTES = 16 * 1024 * 1024
const CACHE_BOUNDS = { readBytes: 12 * 1024 * 1024, handedBytes: 20 * 1024 * 1024 }

class Pipeline {
  readonly #options: PipelineOptions
  readonly #board: Board
  readonly #port: MessagePort
  readonly #journal: JournalReader
  readonly #assembler: Assembler
  readonly #sequencer: Sequencer
  readonly #store: LevelLogStore
  readonly #reader: LogReader
  readonly #signer: CheckpointSigner
  #table = createSpanTable()
  readonly #frames: FrameCache
  readonly #returns: Returns
  readonly #handed = new Map<number, HandedFrame>()
  /** Positions below were in the journal before this start: nobody hands them over. */
  readonly #handedFrom: number
  #closing = false
  #settledAt = 0
  #reviewAt = 0
  readonly #retention: Retention
  #checkpointing: Promise<void> | undefined
  #checkpointSize: number
  /** When the segments without a checkpoint were due. */
  #unsigned: number[] = []

  constructor(parts: PipelineParts) {
    this.#options = parts.options
    this.#board = parts.board
    this.#handedFrom = parts.board.get('journal_durable_position')
    this.#frames = parts.frames
    this.#returns = parts.returns
    this.#port = parts.port
    this.#journal = parts.journal
    this.#assembler = parts.assembler
    this.#sequencer = parts.makeSequencer((done) => this.#committed(done))
    this.#store = parts.store
    this.#reader = parts.reader
    this.#signer = parts.signer
    this.#checkpointSize = parts.checkpointSize
    this.#retention = parts.makeRetention(this.#sequencer)
  }

  /** Runs until it is told to close; then drains, so that everything journalled is in a signed tree. */
  async run(): Promise<void> {
    const timer = setInterval(() => void this.#checkpoint(), this.#options.checkpointMillis)
    try {
      while (!this.#closing) await this.#turn()
      await this.#drain()
    } finally {
      clearInterval(timer)
    }
    await this.#checkpointing
    await this.#checkpoint()
  }

  close(): void {
    this.#closing = true
    this.#board.notify()
  }

  async #turn(): Promise<void> {
    const mark = this.#board.mark()
    const followed = this.#follow()
    const now = performance.now()
    const work = this.#due(now)
    const spans = work.reduce((sum, { trace }) => sum + trace.count, 0)
    const rest = this.#settledAt + COMMIT_MILLIS - now
    if (work.length > 0 && (spans >= SMALL_COMMIT_SPANS || rest <= 0)) {
      this.#settledAt = now
      await this.#sequencer.settle(work)
      this.#board.add('settle_seconds', (performance.now() - now) / 1000)
    } else if (followed) await new Promise(setImmediate)
    else {
      const due = work.length > 0 ? rest : (this.#assembler.nextDue() ?? now + 1000) - now
      await this.#board.wait(mark, Math.max(1, Math.min(due, 1000)))
    }
    if (now >= this.#reviewAt) {
      const begun = performance.now()
      await this.#sequencer.review()
      const end = performance.now()
      this.#reviewAt = end + Math.max(REVIEW_MILLIS, REVIEW_REST * (end - begun))
    }
    await this.#retention.check()
    this.#report()
    this.#giveBack()
  }

  #giveBack(): void {
    const buffers = this.#returns.take()
    if (buffers.length > 0)
      this.#port.postMessage({ type: 'give', buffers } satisfies PipelineMessage, buffers)
  }

  #due(now: number): Settled[] {
    const isFull = this.#assembler.openSpans >= this.#options.maxOpenSpans
    const { cut, quiet } = this.#assembler.due(now, COMMIT_SPANS, isFull)
    const work: Settled[] = []
    for (const trace of cut) work.push({ trace, closed: Closed.cut })
    for (const trace of quiet) work.push({ trace, closed: Closed.settled })
    return work
  }

  /** Whether there is a frame that was not taken yet. */
  get #isBehind(): boolean {
    return this.#journal.next < this.#handedFrom || this.#isHanded()
  }

  /** Whether the next frame was handed over: receives no more than it takes to know. */
  #isHanded(): boolean {
    const { next } = this.#journal
    while (!this.#handed.has(next)) {
      const received = receiveMessageOnPort(this.#options.frames)
      if (received === undefined) return false
      const frame = received.message as HandedFrame
      this.#handed.set(frame.position, frame)
    }
    return true
  }

  /** Whether the assembler takes nothing more until some of it is settled. */
  get #isFull(): boolean {
    return this.#assembler.openSpans >= this.#options.maxOpenSpans || this.#assembler.hasFullTraces
  }

  /**
   * Takes the next frames; returns whether there were any. Stops while the assembler is full: behind the frame that filled
   * it, or what one read gave of the journal's files.
   */
  #follow(): boolean {
    if (!this.#isBehind || this.#isFull) return false
    const start = performance.now()
    let bytes = 0
    let spans = 0
    if (this.#journal.next < this.#handedFrom) {
      for (const frame of this.#journal.read(this.#handedFrom, FOLLOW_BYTES)) {
        this.#take(frame, scanFrame(frame, this.#table).table, start)
      }
      if (this.#table.words.length > 65_536 * WORDS_PER_SPAN) this.#table = createSpanTable()
    } else {
      for (let frame = this.#nextHanded(); frame !== undefined; frame = this.#nextHanded()) {
        const { position, ahead } = frame
        const body = frame.body ?? this.#frames.frame(position).body
        this.#take({ ...frame, body }, ahead.table, start, ahead)
        this.#returns.add(ahead.table.words.buffer as ArrayBuffer)
        this.#frames.hand(position, frame.body, ahead.evidence)
        bytes += frame.bodyLength
        spans += ahead.table.count
        if (spans >= COMMIT_SPANS || bytes >= HANDED_BYTES || this.#isFull) break
      }
    }
    // As the gate counts what is appended: bodies, and none of before this start.
    this.#board.add('followed_bytes', bytes)
    this.#board.add('follow_seconds', (performance.now() - start) / 1000)
    return true
  }

  #nextHanded(): HandedFrame | undefined {
    const { next } = this.#journal
    if (!this.#isHanded()) return undefined
    const frame = this.#handed.get(next)!
    this.#handed.delete(next)
    this.#journal.pass(next + 1)
    return frame
  }

  #take(frame: TakenFrame, table: SpanTable, now: number, ahead?: Ahead): void {
    const { tenant, tracked } = parseReceipt(frame.receipt)
    this.#assembler.add(frame, tenant, tracked, table, now, ahead)
  }

  /** Takes everything that is durable in the journal, and settles all that is open. */
  async #drain(): Promise<void> {
    for (;;) {
      while (this.#follow());
      const open = this.#assembler.all(performance.now())
      if (open.length > 0) {
        const work: Settled[] = []
        let spans = 0
        for (const trace of open) {
          work.push({ trace, closed: Closed.drained })
          spans += trace.count
          if (spans >= COMMIT_SPANS) break
        }
        await this.#sequencer.settle(work)
      } else await this.#sequencer.flush()
      if (this.#assembler.openTraces === 0 && !this.#isBehind) return this.#sequencer.flush()
    }
  }

  #committed(done: Committed): void {
    const board = this.#board
    board.add('commits', 1)
    board.add('committed_segments', done.segments)
    board.add('reviewed_segments', done.reviewed)
    board.add('committed_spans', done.spans)
    board.add('committed_leaves', done.leaves)
    board.add('duplicate_spans', done.duplicates)
    board.add('pack_bytes', done.packBytes)
    board.add('judge_seconds', done.judgingMillis / 1000)
    for (const continuity of done.judged) board.add(`judged_${continuity}`, 1)
    for (const { rule, severity } of done.findings) board.addFinding(rule, severity)
    board.set('tree_size', done.size)
    board.set('needed_position', done.keepFrom)
    this.#journal.forget(done.keepFrom)
    this.#send({ type: 'keep', from: done.keepFrom })
    for (const at of done.dueAt) this.#unsigned.push(at)
  }

  /** Signs the committed tree if it grew. Order: signer's memory, signature, store; only then it is published. */
  #checkpoint(): Promise<void> | undefined {
    const head = this.#store.head
    if (this.#checkpointing !== undefined || head === undefined || head.commit.size === this.#checkpointSize)
      return this.#checkpointing
    const { size, root } = head.commit
    const signed = this.#unsigned
    this.#unsigned = []
    const sign = async (): Promise<void> => {
      const note = await this.#signer.sign({ size, root }, (from, to) =>
        proveConsistency(from, to, this.#reader.tileReader),
      )
      await this.#store.putCheckpoint(size, note)
      this.#checkpointSize = size
      this.#board.set('checkpoint_size', size)
      this.#board.set('checkpoint_time', Date.now() / 1000)
      const now = performance.now()
      for (const at of signed) this.#board.observeSeal((now - at) / 1000)
    }
    this.#checkpointing = sign().finally(() => {
      this.#checkpointing = undefined
    })
    return this.#checkpointing
  }

  #report(): void {
    this.#board.set('followed_position', this.#journal.next)
    this.#board.set('open_spans', this.#assembler.openSpans)
    this.#board.set('open_traces', this.#assembler.openTraces)
    this.#board.set('reviews_pending', this.#sequencer.reviewsPending)
    const cpu = threadCpuSeconds()
    if (cpu !== undefined) this.#board.set('cpu_seconds_pipeline', cpu)
  }

  #send(message: PipelineMessage): void {
    this.#port.postMessage(message)
  }
}

interface PipelineParts {
  readonly options: PipelineOptions
  readonly board: Board
  readonly port: MessagePort
  readonly journal: JournalReader
  readonly frames: FrameCache
  readonly returns: Returns
  readonly assembler: Assembler
  readonly makeSequencer: (onCommit: (done: Committed) => void) => Sequencer
  readonly makeRetention: (sequencer: Sequencer) => Retention
  readonly store: LevelLogStore
  readonly reader: LogReader
  readonly signer: CheckpointSigner
  readonly checkpointSize: number
}

/** Opens everything in the order in which damage is found: commits, tree, cursor, packs, signer. */
async function start(options: PipelineOptions, port: MessagePort): Promise<void> {
  const board = new Board(options.board)
  const log = {
    info: (fields: object, message: string) =>
      port.postMessage({ type: 'log', level: 'info', fields, message }),
    warn: (fields: object, message: string) =>
      port.postMessage({ type: 'log', level: 'warn', fields, message }),
  }
  const now = (): bigint => BigInt(Date.now()) * 1_000_000n
  const database = await openDatabase(options.logDirectory, 'open')
  const opened = await openLog({
    ...options,
    database,
    files: { packs: nodeFiles, signer: nodeFiles },
    log,
  })
  const { reader, store, packs, tree, cursor, signer } = opened
  const journal = new JournalReader({
    directory: options.journalDirectory,
    from: cursor.next,
    chunkBytes: FOLLOW_BYTES,
  })
  const assembler = new Assembler(options, cursor)
  const returns = new Returns()
  const frames = new FrameCache(journal, CACHE_BOUNDS, (buffer) => returns.add(buffer))
  const classOf = createClassifier(options.retention)
  const pipeline = new Pipeline({
    options,
    board,
    port,
    journal,
    frames,
    returns,
    assembler,
    makeSequencer: (onCommit) =>
      new Sequencer({
        ...opened,
        assembler,
        frames,
        now,
        onCommit,
        ...(classOf !== undefined && { classOf }),
      }),
    makeRetention: (sequencer) =>
      new Retention(options.retention, { reader, packs, sequencer, files: nodeFiles, log, now: Date.now }),
    store,
    reader,
    signer,
    checkpointSize: await signedSize(reader, tree),
  })
  board.set('tree_size', tree.size)
  board.set('needed_position', cursor.next)
  board.set('pipeline_ready', 1)
  port.on('message', (_: PipelineCommand) => pipeline.close())
  port.postMessage({ type: 'ready' } satisfies PipelineMessage)
  await pipeline.run()
  board.set('pipeline_ready', 0)
  await opened.packs.shutdown()
  journal.close()
  await database.close()
  port.postMessage({ type: 'closed' } satisfies PipelineMessage)
  port.close()
}

/** Size of the last stored checkpoint, when its root is still that of the tree. */
async function signedSize(reader: LogReader, tree: TileTree): Promise<number> {
  const note = await reader.checkpoint()
  if (note === undefined) return 0
  const { size, root } = parseCheckpoint(parseNote(note).text)
  return size === tree.size && equalBytes(root, tree.root()) ? size : 0
}

if (parentPort !== null) await start(workerData as PipelineOptions, parentPort)
