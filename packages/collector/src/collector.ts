/**
 * The collector, on one screen: the life of a span from the socket to the signed root.
 *
 *     receivers -> ingest -> journal          this thread: it receives, scans, journals, and nothing else
 *                              |
 *                          pipeline.ts        follows the journal: assembles, derives, commits, signs
 *                              |
 *                          api/thread.ts      serves the log, executions, bundles and metrics
 *
 * Start order: LevelDB's files are checked before it may touch them; the database is opened here first and
 * closed last (its cache belongs to the first opener); the journal is recovered against what was committed;
 * the pipeline opens and checks everything else; only then do the receivers listen. Stop order: receivers,
 * journal, pipeline (which drains and signs), API.
 */
import { randomFillSync } from 'node:crypto'
import { join, resolve } from 'node:path'
import { MessageChannel, type Worker } from 'node:worker_threads'
import { copyBytes } from '@rootspan/lineage/bytes'
import { Committer } from '@rootspan/lineage/record/commitment'
import { workAhead } from './ahead.ts'
import type { ApiCommand, ApiMessage, ApiOptions } from './api/options.ts'
import { Board } from './board.ts'
import { BufferPool, MIN_POOLED_BYTES } from './buffer-pool.ts'
import type { Config } from './config.ts'
import { formatEndpoint } from './config-units.ts'
import { finishErasures, restoreStore } from './erase/finish.ts'
import { nodeFiles } from './files.ts'
import { type Journal, openJournal } from './journal/journal.ts'
import type { Logger } from './logger.ts'
import type { Identity } from './origin.ts'
import type { HandedFrame, PipelineCommand, PipelineMessage, PipelineOptions } from './pipeline.ts'
import { Budget } from './receiver/budget.ts'
import { startGrpcReceiver } from './receiver/grpc.ts'
import { startHttpReceiver } from './receiver/http.ts'
import {
  createIngest,
  DEFAULT_TENANT,
  type IngestOptions,
  journalFull,
  MAX_TRACE_SPANS,
} from './receiver/ingest.ts'
import { openRoutes } from './receiver/push.ts'
import { openQuarantine } from './receiver/quarantine.ts'
import type { Ingest, ReceiverOptions, Refusal, RunningReceiver } from './receiver/receiver.ts'
import { openSenders } from './receiver/senders.ts'
import { WaitingRoom, waiting } from './receiver/waiting-room.ts'
import { cursorEnd } from './store/cursor.ts'
import { checkLevelFiles } from './store/leveldb-files.ts'
import { LevelLogStore, loadCursor, openDatabase, StoreError } from './store/log-store.ts'
import { growHeaps, startThread, threadCpuSeconds } from './threads.ts'
import { readVersion } from './version.ts'

export interface Collector {
  readonly endpoints: { readonly grpc?: string; readonly http?: string; readonly api?: string }
  /** Settles when the collector has stopped; rejects when it had to. */
  readonly closed: Promise<void>
  /** Stops taking requests, drains, signs, and stops. */
  close(): Promise<void>
}

export async function startCollector(config: Config, identity: Identity, log: Logger): Promise<Collector> {
  growHeaps()
  const data = resolve(config.storage.directory)
  const directories = {
    journal: join(data, 'journal'),
    log: join(data, 'log'),
    packs: join(data, 'packs'),
    quarantine: join(data, 'quarantine'),
  }
  const board = new Board()
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {})
  const fail = (error: Error): void => failure.reject(error)

  await restoreStore(nodeFiles, directories.log)
  await checkDatabaseFiles(directories.log)
  const opened = await openDatabase(directories.log, 'open')
  const database = await finishErasures(nodeFiles, directories, opened, log)
  const { head } = await LevelLogStore.open(database)
  const cursor = await loadCursor(database, head)

  const journal = await openJournal({
    directory: directories.journal,
    files: nodeFiles,
    log,
    segmentBytes: config.journal.segmentBytes,
    maxBytes: config.journal.maxBytes,
    minFreeBytes: config.journal.minFreeBytes,
    committedEnd: cursor.next,
    knownEnd: cursorEnd(cursor),
    onDurable: (end) => board.set('journal_durable_position', end),
    onFailure: (error) => fail(error),
  })
  board.set('journal_durable_position', journal.durableEnd)
  const quarantine = await openQuarantine({
    directory: directories.quarantine,
    maxBytes: config.quarantine.maxBytes,
    counters: board,
  })

  const pool = new BufferPool(POOL_BYTES)
  const pipeline = startPipeline(
    pipelineOptions(config, identity, directories, board),
    board,
    journal,
    pool,
    log,
    fail,
  )
  await Promise.race([pipeline.ready, failure.promise])

  const gate = createGate(journal)
  const appended = counted(journal, board)
  const waitingRoom = new WaitingRoom({
    // What is on its way to the disk will be behind in a moment.
    room: () =>
      journal.full() === undefined ? config.journal.maxLagBytes - lagOf(board) - appended.underWay() : 0,
    gate,
    paceMillis: PACE_MILLIS,
    onWait: () => board.add('requests_delayed', 1),
  })
  const now = (): bigint => BigInt(Date.now()) * 1_000_000n
  const ingest = timed(
    waiting(
      waitingRoom,
      createIngest({
        journal: appended,
        quarantine,
        counters: board,
        now,
        random: createRandom(),
        workAhead: createAhead(pipeline.hand, pool, board, fail),
        maxTraceSpans: Math.max(config.assembler.maxSegmentSpans, MAX_TRACE_SPANS),
        gate,
      }),
    ),
    board,
  )
  const budget = new Budget(config.receivers.inFlightBytes)
  const onBug = (error: unknown): void => log.error({ err: error }, 'bug in a receiver')
  const routes = await openRoutes(config.receivers, ingest, now)
  const { sendersFile } = config.receivers
  const authenticate = sendersFile === undefined ? undefined : await openSenders(sendersFile)
  const receivers = await startReceivers(config, {
    authenticate,
    ingest,
    budget,
    pool,
    counters: board,
    gate: () => waitingRoom.refusal(),
    routes,
    onBug,
  })
  const api = config.api.enabled
    ? await startApi(apiOptions(config, identity, directories, board), log, fail)
    : undefined
  board.set('receivers_ready', 1)
  const meter = setInterval(() => measure(board, journal), 1000)
  meter.unref()

  const stopped = Promise.withResolvers<void>()
  const closed = Promise.race([failure.promise, stopped.promise])
  closed.catch(() => {})
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= (async () => {
      board.set('receivers_ready', 0)
      clearInterval(meter)
      waitingRoom.close()
      await Promise.all(receivers.map(({ running }) => running.close(config.shutdown.gracePeriod)))
      await journal.close()
      await Promise.race([pipeline.close(), failure.promise])
      await api?.close()
      await quarantine.close()
      await database.close()
      stopped.resolve()
    })()
    return closing
  }
  const endpointOf = (name: string): string | undefined =>
    receivers.find((one) => one.name === name)?.endpoint
  const grpc = endpointOf('grpc')
  const http = endpointOf('http')
  return {
    endpoints: {
      ...(grpc !== undefined && { grpc }),
      ...(http !== undefined && { http }),
      ...(api !== undefined && { api: api.endpoint }),
    },
    closed,
    close,
  }
}

/** LevelDB loses what it cannot read without a word, and opening destroys the traces: so look first. */
async function checkDatabaseFiles(directory: string): Promise<void> {
  const { problems } = await checkLevelFiles(directory, { tables: false })
  const problem = problems[0]
  if (problem !== undefined)
    throw new StoreError(
      `${join(directory, problem.file)} at offset ${problem.offset}: ${problem.what}. Nothing was changed; restore the data ` +
        'directory from a copy, or run `rootspan fsck` for all that is damaged',
    )
}

interface Directories {
  readonly journal: string
  readonly log: string
  readonly packs: string
  readonly quarantine: string
}

function pipelineOptions(
  config: Config,
  identity: Identity,
  directories: Directories,
  board: Board,
): Omit<PipelineOptions, 'frames'> {
  return {
    board: board.buffer,
    journalDirectory: directories.journal,
    logDirectory: directories.log,
    packsDirectory: directories.packs,
    signerDirectory: resolve(config.signer.directory),
    origin: identity.origin,
    key: identity.key,
    checkpointMillis: config.log.checkpointInterval,
    quietMillis: config.assembler.quietPeriod,
    maxAgeMillis: config.assembler.maxAge,
    maxOpenSpans: config.assembler.maxOpenSpans,
    maxSegmentSpans: config.assembler.maxSegmentSpans,
    maxPackBytes: config.packs.maxBytes,
    compressionLevel: config.packs.compressionLevel,
    retention: {
      days: config.retention.days,
      classes: config.retention.classes,
      checkMillis: config.retention.checkInterval,
    },
  }
}

type HandFrame = (frame: HandedFrame, transfer: readonly ArrayBuffer[]) => void

/** Starts the pipeline; what it does not need any more is trimmed from the journal. */
function startPipeline(
  options: Omit<PipelineOptions, 'frames'>,
  board: Board,
  journal: Journal,
  pool: BufferPool,
  log: Logger,
  fail: (error: Error) => void,
): { ready: Promise<void>; hand: HandFrame; close(): Promise<void> } {
  const ready = Promise.withResolvers<void>()
  const drained = Promise.withResolvers<void>()
  const { port1: frames, port2: ofPipeline } = new MessageChannel()
  const data: PipelineOptions = { ...options, frames: ofPipeline }
  const worker = startThread('pipeline', data, fail, [ofPipeline])
  worker.on('message', (message: PipelineMessage) => {
    if (message.type === 'ready') ready.resolve()
    else if (message.type === 'give') for (const buffer of message.buffers) pool.comeBack(buffer)
    else if (message.type === 'closed') drained.resolve()
    else if (message.type === 'log') log[message.level](message.fields, message.message)
    else journal.trim(message.from).catch(fail)
  })
  return {
    ready: ready.promise,
    hand(frame, transfer) {
      frames.postMessage(frame, transfer)
      board.notify()
    },
    async close() {
      worker.postMessage({ type: 'close' } satisfies PipelineCommand)
      await drained.promise
      frames.close()
    },
  }
}

/**
 * Senders are pushed back at once while the journal or its disk is full; nothing is dropped. What only waits for the
 * disk or the pipeline to catch up waits in the {@link WaitingRoom} first.
 */
function createGate(journal: Journal): () => Refusal | undefined {
  return () => {
    const reason = journal.full()
    return reason === undefined || reason === 'queue' ? undefined : journalFull(reason)
  }
}

/** Counts what goes into the journal, so that it is known how far the pipeline is behind. */
function counted(journal: Journal, board: Board): Pick<Journal, 'append'> & { underWay(): number } {
  let underWay = 0
  return {
    /** Bytes that are not durable yet. */
    underWay: () => underWay,
    async append(entry) {
      const { length } = entry.body
      underWay += length
      try {
        const position = await journal.append(entry)
        board.add('journal_appended_bytes', length)
        return position
      } finally {
        underWay -= length
      }
    },
  }
}

function timed(ingest: Ingest, board: Board): Ingest {
  return async (request) => {
    const start = performance.now()
    const accepted = await ingest(request)
    if (request.signal === 'traces' || accepted.position !== undefined)
      board.observeAck((performance.now() - start) / 1000)
    return accepted
  }
}

/**
 * In this time no more is taken than what the pipeline may be behind. A trace settles a quiet period after its last span:
 * senders that begin at full speed would fill all the room there is, and then wait until the first traces settle.
 */
const PACE_MILLIS = 1000

/** Bodies are handed over as long as the pipeline is not further behind than this; else it reads them back later. */
const HANDED_BYTES = 64 * 1024 * 1024

/** Bound of the buffers in which requests go round: what the pipeline keeps of them, and what is on its way to it. */
const POOL_BYTES = 64 * 1024 * 1024

/**
 * Hands every durable request to the pipeline, which takes them without a gap: a request that is not handed over would
 * hold up all that come after it. So a failure here is the end, and a restart reads it from the journal.
 */
function createAhead(
  hand: HandFrame,
  pool: BufferPool,
  board: Board,
  fail: (error: Error) => void,
): NonNullable<IngestOptions['workAhead']> {
  const committer = new Committer()
  const allocate = (bytes: number): ArrayBuffer => pool.take(bytes) ?? new ArrayBuffer(bytes)
  const failing = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      fail(error as Error)
      throw error
    }
  }
  return (frame, table) => {
    const ahead = failing(() => workAhead(frame, DEFAULT_TENANT, table, committer, allocate))
    return (position) => {
      const own = [ahead.table.words.buffer as ArrayBuffer, ahead.evidence.buffer as ArrayBuffer]
      if (position === undefined) {
        for (const buffer of own) pool.release(buffer)
        return
      }
      const isClose = lagOf(board) < HANDED_BYTES
      const { seed, receipt } = frame
      const bodyLength = frame.body.length
      const body = isClose ? ownBody(frame.body, pool) : undefined
      if (body !== undefined) own.push(body.buffer as ArrayBuffer)
      for (const buffer of own) pool.handOver(buffer)
      failing(() => hand({ position, seed, receipt, bodyLength, body, ahead }, own))
    }
  }
}

/** The bytes in a buffer that may be given away; `undefined` where there is no room for it. */
function ownBody(bytes: Uint8Array, pool: BufferPool): Uint8Array | undefined {
  if (pool.holds(bytes)) return bytes
  // What one read of a socket gave, other requests may lie in as well.
  if (bytes.length < MIN_POOLED_BYTES) return new Uint8Array(bytes)
  const buffer = pool.take(bytes.length)
  if (buffer === undefined) return undefined
  const body = new Uint8Array(buffer, 0, bytes.length)
  body.set(bytes)
  return body
}

function lagOf(board: Board): number {
  return board.get('journal_appended_bytes') - board.get('followed_bytes')
}

/** Seeds come from the system's generator, a page at a time: one call a request would cost more than its scan. */
function createRandom(): (size: number) => Uint8Array {
  const page = Buffer.alloc(4096)
  let at = page.length
  return (size) => {
    if (at + size > page.length) {
      randomFillSync(page)
      at = 0
    }
    const bytes = copyBytes(page, at, at + size)
    page.fill(0, at, at + size)
    at += size
    return bytes
  }
}

interface Receiver {
  readonly name: 'grpc' | 'http'
  readonly running: RunningReceiver
  readonly endpoint: string
}

async function startReceivers(
  config: Config,
  shared: Omit<ReceiverOptions, 'host' | 'port'>,
): Promise<Receiver[]> {
  const receivers: Receiver[] = []
  const starters = { grpc: startGrpcReceiver, http: startHttpReceiver }
  for (const name of ['grpc', 'http'] as const) {
    const { enabled, endpoint, maxRequestBytes } = config.receivers[name]
    if (!enabled) continue
    const running = await starters[name]({ ...shared, ...endpoint, maxBodyBytes: maxRequestBytes })
    receivers.push({ name, running, endpoint: formatEndpoint(running.address) })
  }
  return receivers
}

function apiOptions(config: Config, identity: Identity, directories: Directories, board: Board): ApiOptions {
  return {
    board: board.buffer,
    ...config.api.endpoint,
    logDirectory: directories.log,
    packsDirectory: directories.packs,
    key: identity.key,
    version: readVersion(),
    graceMillis: config.shutdown.gracePeriod,
  }
}

/** Starts the API's thread; it has only a reader's view of the store. */
async function startApi(
  options: ApiOptions,
  log: Logger,
  fail: (error: Error) => void,
): Promise<{ endpoint: string; close(): Promise<void> }> {
  const ready = Promise.withResolvers<string>()
  const closed = Promise.withResolvers<void>()
  const worker: Worker = startThread('api/thread', options, (error) => {
    ready.reject(error)
    fail(error)
  })
  worker.on('message', (message: ApiMessage) => {
    if (message.type === 'ready') ready.resolve(message.endpoint)
    else log[message.level](message.fields, message.message)
  })
  worker.on('exit', () => closed.resolve())
  return {
    endpoint: await ready.promise,
    async close() {
      worker.postMessage({ type: 'close' } satisfies ApiCommand)
      await closed.promise
    },
  }
}

function measure(board: Board, journal: Journal): void {
  board.set('journal_bytes', journal.bytes)
  const cpu = threadCpuSeconds()
  if (cpu !== undefined) board.set('cpu_seconds_main', cpu)
}
