/**
 * The log's store on LevelDB: the one atomic commit, and reads of what was committed.
 *
 * A commit is one synced batch: references to entry bundles, tiles, segment rows, search terms, receipts, the journal
 * cursor and the commit record. Commits form a chain by digests, because LevelDB can lose the middle of its
 * history after a damaged byte in its log without an error.
 */

import { dataView, equalBytes, formatHex } from '@rootspan/lineage/bytes'
import { sha256 } from '@rootspan/lineage/crypto'
import { MalformedError } from '@rootspan/lineage/errors'
import { Sink } from '@rootspan/lineage/record/sink'
import { EMPTY_ROOT } from '@rootspan/lineage/tlog/merkle'
import { HASH_SIZE } from '@rootspan/lineage/tlog/tile'
import { type ChangedTile, loadTileTree, type TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { ClassicLevel } from 'classic-level'
import type { BlockRef, PackReader, PackTail } from '../pack.ts'
import {
  type Bundle,
  MAX_BUNDLE_BYTES,
  parseBundleValue,
  parseFullBundle,
  writeBundleRef,
  writePartialBundle,
} from './bundles.ts'
import { type Cursor, encodeCursor, parseCursor, START } from './cursor.ts'
import * as keys from './keys.ts'
import {
  type Commit,
  encodeCommit,
  encodeName,
  encodeRow,
  parseCommit,
  parseRows,
  parseRunRow,
  type SegmentRow,
  writeCommitRow,
  writeRow,
} from './rows.ts'
import { TermLists } from './terms.ts'

export type Database = ClassicLevel<Uint8Array, Uint8Array>

/** LevelDB's write buffer: what it may lose is in its log, which is about twice this long. */
const WRITE_BUFFER = 16 * 1024 * 1024

/**
 * A handle of the log's database in this thread. The main thread opens it first and closes it last: the
 * options of the first opener count, and its cache serves all the others.
 */
export async function openDatabase(directory: string, mode: 'create' | 'open'): Promise<Database> {
  const database: Database = new ClassicLevel(directory, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    multithreading: true,
    createIfMissing: mode === 'create',
    errorIfExists: mode === 'create',
    writeBufferSize: WRITE_BUFFER,
    cacheSize: 16 * 1024 * 1024,
    compression: false, // entries and tiles are hashes: nothing to win, and every compaction would try again
    maxFileSize: 16 * 1024 * 1024,
    blockSize: 16 * 1024,
  })
  await database.open()
  return database
}

/** The last commit: what the next one is based on. */
export interface Head {
  readonly commit: Commit
  readonly digest: Uint8Array
}

/** Damage of the store, or a second writer: the collector must stop. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
}

/** Leaves of the spans of one tracked request that a commit decided: place of the span, leaf index. */
export interface ReceiptLeaves {
  readonly position: number
  readonly leaves: readonly (readonly [number, number])[]
}

/** What was learned of an execution; `value` is undefined where it was forgotten. */
export interface KnowledgeRow {
  /** 16 bytes. */
  readonly id: Uint8Array
  readonly value: Uint8Array | undefined
}

/** What one commit adds. */
export interface Batch {
  readonly size: number
  readonly root: Uint8Array
  /** Nanoseconds since 1970. */
  readonly time: bigint
  /** Entry bundles that became full, with their leaf hashes: durable blocks of packs. */
  readonly bundles: readonly { readonly index: number; readonly block: BlockRef }[]
  /** The last entry bundle, when it changed and is not full. */
  readonly partial: (Bundle & { readonly index: number }) | undefined
  /** Changed tiles, those of level 0 left out. */
  readonly tiles: readonly ChangedTile[]
  readonly rows: readonly SegmentRow[]
  /** For each row the rows of its trace's earlier segments. */
  readonly earlier: ReadonlyMap<SegmentRow, readonly SegmentRow[]>
  readonly receipts: readonly ReceiptLeaves[]
  readonly knowledge: readonly KnowledgeRow[]
  readonly cursor: Cursor
  readonly packs: readonly PackTail[]
  /** Runs of records about the log: after the rows, in leaf order. */
  readonly runs?: readonly SegmentRow[]
  /** Whatever else has to come true with it. A value of undefined removes the key. */
  readonly changes?: readonly (readonly [key: Uint8Array, value: Uint8Array | undefined])[]
}

/** Where commits go. `commit` is atomic and durable when it resolves; any rejection is fatal to the writer. */
export interface LogStore {
  /** The last commit, or undefined before the first. */
  readonly head: Head | undefined
  /** Commits on top of `expected`, which must be the head. Calls do not overlap. */
  commit(expected: Head | undefined, batch: Batch): Promise<Head>
}

export class LevelLogStore implements LogStore {
  head: Head | undefined
  readonly #database: Database
  readonly #key = new Sink(256)
  readonly #row = new Sink(1024)
  readonly #value = new Sink(1024)
  /** The encoded rows of the commit that is being made. */
  readonly #commitRows = new Sink(64 * 1024)
  readonly #terms = new TermLists()
  /** Settles when the last write has; once one was refused, it rejects for ever. */
  #last: Promise<void> = Promise.resolve()

  private constructor(database: Database, head: Head | undefined) {
    this.#database = database
    this.head = head
  }

  /** Reads the head and walks the chain back past what LevelDB's log may have held. */
  static async open(database: Database): Promise<LevelLogStore> {
    return new LevelLogStore(database, await readChain(database, 4 * WRITE_BUFFER))
  }

  async commit(expected: Head | undefined, batch: Batch): Promise<Head> {
    if (expected !== this.head)
      throw new StoreError('another writer has committed: this one is not on its head')
    const cursor = encodeCursor(batch.cursor)
    const operations = this.#database.batch()
    let bytes = 0
    // The batch copies what it is given, so that keys and values may lie in buffers that are used again.
    const put = (key: Uint8Array, value: Uint8Array): void => {
      bytes += key.length + value.length
      operations.put(key, value)
    }
    for (const { index, block } of batch.bundles) {
      const value = emptied(this.#value)
      writeBundleRef(value, block)
      put(keys.entriesKey(index), value.view())
    }
    if (batch.partial !== undefined) {
      const value = emptied(this.#value)
      writePartialBundle(value, batch.partial)
      put(keys.entriesKey(batch.partial.index), value.view())
    }
    for (const tile of batch.tiles) put(keys.tileKey(tile.level, tile.index), tile.data)
    this.#commitRows.at = 0
    this.#terms.clear()
    for (const row of batch.rows) this.#putRow(put, row, batch.earlier.get(row) ?? [])
    for (const run of batch.runs ?? []) {
      writeCommitRow(this.#commitRows, run)
      put(keys.runKey(run.first), encodeRow(run))
    }
    for (const [key, value] of batch.changes ?? [])
      if (value !== undefined) put(key, value)
      else {
        bytes += key.length
        operations.del(key)
      }
    const number = (expected?.commit.number ?? -1) + 1
    this.#putTerms(put, number)
    for (const { position, leaves } of batch.receipts)
      put(keys.receiptKey(position, number), encodeLeaves(leaves))
    for (const { id, value } of batch.knowledge)
      if (value === undefined) operations.del(keys.knowledgeKey(id))
      else put(keys.knowledgeKey(id), value)
    put(keys.CURSOR_KEY, cursor)
    const commit: Commit = {
      number,
      previous: expected?.digest ?? new Uint8Array(32),
      first: expected?.commit.size ?? 0,
      size: batch.size,
      root: batch.root,
      time: batch.time,
      cursorDigest: sha256(cursor),
      batchBytes: bytes,
      packs: batch.packs,
      rows: batch.rows,
      nextPack: Math.max(expected?.commit.nextPack ?? 0, ...batch.packs.map(({ pack }) => pack + 1)),
    }
    const { value, digest } = encodeCommit(commit, this.#commitRows.view())
    put(keys.commitKey(number), value)
    await this.#write(() => operations.write({ sync: true }))
    this.head = { commit: { ...commit, rows: [] }, digest }
    return this.head
  }

  /** The rows of the trace. */
  #putRow(put: Put, row: SegmentRow, earlier: readonly SegmentRow[]): void {
    const id = keys.traceId(encodeName(row.tenant), row.traceId)
    const one = emptied(this.#row)
    writeRow(one, row)
    writeCommitRow(this.#commitRows, row)
    const value = emptied(this.#value)
    for (const before of earlier) value.field(0x0a, encodeRow(before))
    value.field(0x0a, one.view())
    const key = emptied(this.#key)
    keys.writeTraceKey(key, id)
    put(key.view(), value.view())
    this.#terms.add(row, earlier)
  }

  #putTerms(put: Put, commit: number): void {
    for (const list of this.#terms) {
      const key = emptied(this.#key)
      const value = emptied(this.#value)
      list.write(value)
      keys.writeTermsKey(key, list.span, commit)
      put(key.view(), value.view())
      for (const service of list.services) {
        keys.writeServiceKey(emptied(key), service, list.span, commit)
        put(key.view(), NOTHING)
      }
    }
  }

  /** Stores a signed checkpoint; durable when it resolves. */
  async putCheckpoint(size: number, note: Uint8Array): Promise<void> {
    await this.#write(() => this.#database.put(keys.checkpointKey(size), note, { sync: true }))
  }

  /**
   * One write after another, and none after a refused one: LevelDB would go on at a wrong place in its log, say
   * that all is well, and lose what came after at the next start.
   */
  #write(write: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(write)
    return this.#last
  }
}

type Put = (key: Uint8Array, value: Uint8Array) => void

function emptied(sink: Sink): Sink {
  sink.at = 0
  return sink
}

const NOTHING = new Uint8Array(0)

/** Pairs of place and leaf, each in 4 and 8 bytes. */
function encodeLeaves(leaves: readonly (readonly [number, number])[]): Uint8Array {
  const bytes = new Uint8Array(leaves.length * 12)
  const view = new DataView(bytes.buffer)
  for (const [at, [place, leaf]] of leaves.entries()) {
    view.setUint32(at * 12, place)
    view.setBigUint64(at * 12 + 4, BigInt(leaf))
  }
  return bytes
}

function parseLeaves(bytes: Uint8Array): [number, number][] {
  const view = dataView(bytes)
  const leaves: [number, number][] = []
  for (let at = 0; at + 12 <= bytes.length; at += 12)
    leaves.push([view.getUint32(at), Number(view.getBigUint64(at + 4))])
  return leaves
}

/**
 * Reads the last commit and follows the chain back until `backBytes` of batches lie behind, or to the first
 * commit. Throws a StoreError that names the first link that does not hold. `Infinity` walks all of it.
 */
export async function readChain(
  database: Database,
  backBytes: number,
  onCommit?: (commit: Commit) => void,
): Promise<Head | undefined> {
  let head: Head | undefined
  let later: Commit | undefined
  let bytes = 0
  const walk = database.iterator({
    gte: keys.commitKey(0),
    lt: Uint8Array.of(keys.Prefix.commit + 1),
    reverse: true,
    highWaterMarkBytes: 1024 * 1024,
  })
  for await (const [key, value] of walk) {
    const { commit, digest } = parseStored(key, value)
    if (later !== undefined) {
      if (commit.number !== later.number - 1) throw new StoreError(`commit ${later.number - 1} is missing`)
      if (!equalBytes(digest, later.previous))
        throw new StoreError(`commit ${later.number} does not follow from commit ${commit.number}`)
      if (commit.size !== later.first)
        throw new StoreError(`commit ${later.number} does not begin where commit ${commit.number} ends`)
    }
    head ??= { commit: { ...commit, rows: [] }, digest }
    onCommit?.(commit)
    later = commit
    bytes += commit.batchBytes
    if (bytes > backBytes) return head
  }
  if (later !== undefined && later.number !== 0) throw new StoreError(`commit ${later.number - 1} is missing`)
  return head
}

function parseStored(key: Uint8Array, value: Uint8Array): { commit: Commit; digest: Uint8Array } {
  const number = keys.keyNumber(key)
  try {
    const parsed = parseCommit(value)
    if (parsed.commit.number === number) return parsed
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
  }
  throw new StoreError(`commit ${number} is damaged`)
}

/** Full bundles that are kept: most readers take entries and hashes, and go from one bundle to the next. */
const KEPT_BUNDLES = 4

/** Reads of committed data. Every thread has one of its own over its own database handle. */
export class LogReader {
  readonly database: Database
  readonly #packs: Pick<PackReader, 'read'>
  /** Full bundles never change. The first that was read first. */
  readonly #kept = new Map<string, Promise<Bundle>>()

  constructor(database: Database, packs: Pick<PackReader, 'read'>) {
    this.database = database
    this.#packs = packs
  }

  /** All that was learned and not forgotten. */
  async knowledge(): Promise<KnowledgeRow[]> {
    const rows: KnowledgeRow[] = []
    const range = { gte: Uint8Array.of(keys.Prefix.knowledge), lt: Uint8Array.of(keys.Prefix.knowledge + 1) }
    for await (const [key, value] of this.database.iterator(range)) rows.push({ id: key.slice(1), value })
    return rows
  }

  /** Keys and values of the reviews that wait. */
  async reviews(): Promise<[key: Uint8Array, value: Uint8Array][]> {
    const range = { gte: Uint8Array.of(keys.Prefix.review), lt: Uint8Array.of(keys.Prefix.review + 1) }
    return this.database.iterator(range).all()
  }

  /** Entries and leaf hashes number `index * 256` and on, as many as there are; undefined where there are none. */
  async bundle(index: number): Promise<Bundle | undefined> {
    const value = await this.database.get(keys.entriesKey(index))
    if (value === undefined) return undefined
    const found = parseBundleValue(value)
    return 'entries' in found ? found : this.#fullBundle(found)
  }

  /** Readers of entries and of hashes come at the same time: they share one read. */
  #fullBundle(ref: BlockRef): Promise<Bundle> {
    const place = `${ref.pack}/${ref.offset}`
    const kept = this.#kept.get(place)
    if (kept !== undefined) return kept
    const bundle = this.#packs.read(ref, MAX_BUNDLE_BYTES).then(parseFullBundle)
    this.#kept.set(place, bundle)
    bundle.catch(() => this.#kept.delete(place))
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT_BUNDLES) break
      this.#kept.delete(oldest)
    }
    return bundle
  }

  /** The first `width` entries of a bundle, as in C2SP tlog-tiles; undefined where there are not that many. */
  async entries(index: number, width: number): Promise<Uint8Array | undefined> {
    const bundle = await this.bundle(index)
    return bundle === undefined || bundle.width < width ? undefined : cutBundle(bundle.entries, width)
  }

  /** The first `width` hashes of a tile; undefined where there are not that many. */
  async tile(level: number, index: number, width: number): Promise<Uint8Array | undefined> {
    const value =
      level === 0 ? (await this.bundle(index))?.hashes : await this.database.get(keys.tileKey(level, index))
    return value === undefined || value.length < width * HASH_SIZE
      ? undefined
      : value.subarray(0, width * HASH_SIZE)
  }

  /** A tile that must be there; throws a StoreError when it is not. Bound, to be passed to proofs. */
  readonly tileReader = async (level: number, index: number, width: number): Promise<Uint8Array> => {
    const tile = await this.tile(level, index, width)
    if (tile === undefined) throw new StoreError(`tile ${level}/${index} with ${width} hashes is missing`)
    return tile
  }

  /** The last signed checkpoint with a size of at most `size`. */
  async checkpoint(size = Number.MAX_SAFE_INTEGER): Promise<Uint8Array | undefined> {
    const range = { gte: keys.checkpointKey(0), lte: keys.checkpointKey(size), reverse: true, limit: 1 }
    for await (const note of this.database.values(range)) return note
    return undefined
  }

  /** Segment rows of traces, in the order asked for; empty where a trace is not in the log. */
  async traces(ids: readonly Uint8Array[]): Promise<SegmentRow[][]> {
    const values = await this.database.getMany(ids.map(keys.traceKey))
    return values.map((value) => (value === undefined ? [] : parseRows(value)))
  }

  /** The row of the run that holds a record about the log; undefined where there is none. */
  async run(leaf: number): Promise<SegmentRow | undefined> {
    const range = { gte: keys.runKey(0), lte: keys.runKey(leaf), reverse: true, limit: 1 }
    for await (const value of this.database.values(range)) {
      const row = parseRunRow(value)
      return leaf < row.first + row.count ? row : undefined
    }
    return undefined
  }

  async cursor(): Promise<Cursor> {
    const value = await this.database.get(keys.CURSOR_KEY)
    return value === undefined ? START : parseCursor(value)
  }

  /** The committed leaves of a tracked request: place of the span in it, leaf index. */
  async receipt(position: number): Promise<[number, number][]> {
    const from = keys.receiptKey(position, 0)
    const leaves: [number, number][] = []
    for await (const value of this.database.values({ gte: from, lt: keys.after(from.subarray(0, 9)) }))
      for (const leaf of parseLeaves(value)) leaves.push(leaf) // as arguments, a large request's are too many
    return leaves
  }
}

/** Ids of all traces that the store holds, some hundreds at a time. The arrays are views of keys. */
export async function* traceIds(database: Database): AsyncGenerator<Uint8Array[], void, undefined> {
  const range = { gte: Uint8Array.of(keys.Prefix.trace), lt: Uint8Array.of(keys.Prefix.trace + 1) }
  const walk = database.keys(range)
  try {
    for (;;) {
      const some = await walk.nextv(KEYS_AT_ONCE)
      if (some.length === 0) return
      yield some.map((key) => key.subarray(1))
    }
  } finally {
    await walk.close()
  }
}

const KEYS_AT_ONCE = 512

/** The first `width` entries of an entry bundle, without a copy; undefined where it is shorter. */
function cutBundle(bundle: Uint8Array, width: number): Uint8Array | undefined {
  let at = 0
  for (let i = 0; i < width; i++) {
    if (at + 2 > bundle.length) return undefined
    at += 2 + bundle[at]! * 256 + bundle[at + 1]!
  }
  return at > bundle.length ? undefined : bundle.subarray(0, at)
}

/** Opens the tree at the head and compares its root with the committed one. */
export async function loadTree(reader: LogReader, head: Head | undefined): Promise<TileTree> {
  const tree = await loadTileTree(head?.commit.size ?? 0, reader.tileReader)
  const root = head?.commit.root ?? EMPTY_ROOT
  if (!equalBytes(tree.root(), root))
    throw new StoreError(`the tree's root is ${formatHex(tree.root())}, commit says ${formatHex(root)}`)
  return tree
}

/** Checks that the stored cursor is the one that the head was committed with. */
export async function loadCursor(database: Database, head: Head | undefined): Promise<Cursor> {
  const value = await database.get(keys.CURSOR_KEY)
  if (head === undefined) {
    if (value !== undefined) throw new StoreError('there is a journal cursor and no commit')
    return START
  }
  if (value === undefined || !equalBytes(sha256(value), head.commit.cursorDigest))
    throw new StoreError(`the journal cursor is not the one of commit ${head.commit.number}`)
  return parseCursor(value)
}
