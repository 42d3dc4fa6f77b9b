/**
 * Packs: append-only files that hold what the log committed to in bulk: payloads, compressed, and full entry bundles.
 * Normative page: docs/formats/pack.md. All numbers are big-endian.
 *
 *     pack header (32)                         block header (20), then the compressed bytes
 *      0  magic "RSpk"                          0  magic "RSpb"
 *      4  version u8 = 0                        4  version u8 = 0
 *      5  zero (3)                              5  zero (3)
 *      8  pack id u64                           8  raw length u32
 *     16  zero (12)                            12  stored length u32
 *     28  CRC-32 of bytes 0..28                16  CRC-32 of bytes 0..16 and the stored bytes
 *
 * Order of a commit: append, sync, and only then the commit that names the blocks. What a crash leaves beyond the
 * last commit is not known to it and is cut at start-up, so nothing here is ever guessed from the files.
 *
 * Compression runs on the calling thread up to {@link SYNC_BYTES} and in libuv's pool above. Measured at level 1:
 * about 35 us per call and 5 us per KB; a trip through the pool adds about 70 us of CPU, 40 of it on the caller
 * (8 KB: 60-100 us against 170; 64 KB: 260-480 against 420; 256 KB: 1.0-1.6 ms against 1.7). The pool also serves
 * the journal's syncs, so at most {@link POOL_JOBS} blocks are in it; fewer would wait for a busy event loop often.
 */
import { join } from 'node:path'
import { crc32, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import { compress, discardCompressed, SYNC_BYTES } from './compress.ts'
import { makeDirectory } from './durable.ts'
import {
  type DurableFile,
  type Files,
  hasCode,
  isNoSpace,
  type Log,
  nodeReadFiles,
  type ReadFile,
  type ReadFiles,
  readFully,
  readFullySync,
  writeFully,
} from './files.ts'

export const PACK_HEADER_BYTES = 32
export const BLOCK_HEADER_BYTES = 20
/** The retention class of entry bundles, which are kept as long as the log is. */
export const RECORDS = 'records'
/** The retention class of what no other one was asked for. */
export const DEFAULT_CLASS = 'default'
/** The largest block, before compression. */
export const MAX_BLOCK_BYTES = 256 * 1024 * 1024

const PACK_MAGIC = 0x52_53_70_6b
export const BLOCK_MAGIC = 0x52_53_70_62
const TWO_32 = 0x1_0000_0000
const GIB = 1024 * 1024 * 1024
const POOL_JOBS = 4
const MAX_OPEN = 32
const MAX_SHARED = 8
/** Packs kept open for writing after a sync. */
const MAX_WRITING = 8
const NAME = /^([a-z][a-z0-9]{0,31})-([0-9]{8})-([0-9]{4,12})\.pack$/

/** Where a block is: dense pack id, byte offset of its header, and its length with the header. */
export interface BlockRef {
  readonly pack: number
  readonly offset: number
  readonly length: number
}

/** What a commit knows about a pack: it has this many bytes. */
export interface PackTail {
  readonly pack: number
  readonly end: number
}

/** A block as {@link PackReader.walk} finds it. */
export interface WalkedBlock {
  readonly ref: BlockRef
  readonly rawLength: number
  readonly raw: Uint8Array
}

/** A pack is not what was committed: a block that a commit names is damaged or missing. */
export class PackCorruption extends Error {
  override readonly name = 'PackCorruption'
  readonly file: string
  readonly offset: number
  /** Fixed text, usable as a metric label. */
  readonly reason: string

  constructor(file: string, offset: number, reason: string, options?: ErrorOptions) {
    super(`corrupt pack: ${file} at offset ${offset}: ${reason}`, options)
    this.file = file
    this.offset = offset
    this.reason = reason
  }
}

/** A write or sync of a pack failed; this writer is done for, the process has to restart and cut. */
export class PackFailed extends Error {
  override readonly name = 'PackFailed'
}

export interface PackOptions {
  readonly directory: string
  readonly files: Files
  readonly log: Log
  /** For {@link PackReader.readSync} and the directory. */
  readonly readFiles?: ReadFiles
  /** A pack is ended before it would pass this size; one append always goes into one pack. 1 GiB. */
  readonly maxPackBytes?: number
  /** zstd level; below 0 is faster and larger. 1. */
  readonly level?: number
  /** No new pack gets an id below this: one more than the commits have ever named. Ids are not used twice. */
  readonly nextPack?: number
}

interface Shared {
  readonly file: Promise<DurableFile>
  readers: number
}

/** Reading side, for any thread: finds packs that appeared after it was made. */
export class PackReader {
  readonly #directory: string
  readonly #files: Files | undefined
  readonly #readFiles: ReadFiles
  readonly #names = new Map<number, string>()
  /** Least recently used first; and those that are read without holding up the thread. */
  readonly #open = new Map<number, ReadFile>()
  readonly #shared = new Map<number, Shared>()

  constructor(options: { directory: string; files?: Files; readFiles?: ReadFiles }) {
    this.#directory = options.directory
    this.#files = options.files
    this.#readFiles = options.readFiles ?? nodeReadFiles
  }

  /**
   * Raw content of a block, whose header and checksum are verified; at most `maxRaw` bytes are ever inflated.
   * Rejects with {@link PackCorruption}.
   */
  async read(ref: BlockRef, maxRaw: number): Promise<Uint8Array> {
    if (this.#files === undefined) throw new Error('bad use: this reader has no asynchronous files')
    const path = this.path(ref.pack)
    const bytes = blockBuffer(path, ref)
    const shared = this.#share(ref.pack, path, this.#files)
    shared.readers++
    try {
      if ((await readFully(await shared.file, bytes, ref.offset)) < bytes.length)
        throw new PackCorruption(path, ref.offset, 'block is cut short')
    } catch (cause) {
      throw hasCode(cause, 'ENOENT') ? new PackCorruption(path, 0, 'pack is missing', { cause }) : cause
    } finally {
      shared.readers--
      this.#closeUnread(MAX_SHARED)
    }
    const { rawLength, compressed } = parseBlock(path, ref.offset, bytes, maxRaw)
    if (rawLength <= SYNC_BYTES || compressed.length === rawLength)
      return inflate(path, ref.offset, compressed, rawLength)
    return new Promise((resolve, reject) => {
      zstdDecompress(compressed, { maxOutputLength: rawLength }, (cause, raw) => {
        if (cause === null && raw.length === rawLength) resolve(raw)
        else reject(new PackCorruption(path, ref.offset, 'block does not inflate', { cause }))
      })
    })
  }

  /** {@link read} on this thread. */
  readSync(ref: BlockRef, maxRaw: number): Uint8Array {
    const file = this.#file(ref.pack)
    const bytes = blockBuffer(file.path, ref)
    if (readFullySync(file, bytes, ref.offset) < bytes.length)
      throw new PackCorruption(file.path, ref.offset, 'block is cut short')
    const { rawLength, compressed } = parseBlock(file.path, ref.offset, bytes, maxRaw)
    return inflate(file.path, ref.offset, compressed, rawLength)
  }

  /** Ids of the packs on disk, ascending. */
  packs(): number[] {
    this.#list()
    return [...this.#names.keys()].sort((a, b) => a - b)
  }

  /** All blocks of a pack up to `end` (default: of the file), each checked and inflated, in order. */
  *walk(
    pack: number,
    maxRaw: number = MAX_BLOCK_BYTES,
    end?: number,
  ): Generator<WalkedBlock, void, undefined> {
    const file = this.#file(pack)
    const size = file.size()
    const stop = end ?? size
    if (stop > size) throw new PackCorruption(file.path, size, 'pack is cut short')
    const head = Buffer.alloc(BLOCK_HEADER_BYTES)
    let offset = PACK_HEADER_BYTES
    while (offset < stop) {
      if (readFullySync(file, head, offset) < head.length)
        throw new PackCorruption(file.path, offset, 'block is cut short')
      const length = BLOCK_HEADER_BYTES + head.readUInt32BE(12)
      if (head.readUInt32BE(0) !== BLOCK_MAGIC) throw new PackCorruption(file.path, offset, 'no block here')
      if (length > stop - offset) throw new PackCorruption(file.path, offset, 'block is cut short')
      const ref = { pack, offset, length }
      const raw = this.readSync(ref, maxRaw)
      yield { ref, rawLength: raw.length, raw }
      offset += length
    }
  }

  /** Path of a pack; throws {@link PackCorruption} when there is none with this id. */
  path(pack: number): string {
    if (!this.#names.has(pack)) this.#list()
    const name = this.#names.get(pack)
    if (name === undefined) throw new PackCorruption(this.#directory, 0, `pack ${pack} is missing`)
    return join(this.#directory, name)
  }

  /** Lets go of all files that nobody reads from. */
  close(): void {
    for (const file of this.#open.values()) file.close()
    this.#open.clear()
    this.#closeUnread(0)
  }

  /** A file for reads that may be under way at the same time: it is closed only when none is. */
  #share(pack: number, path: string, files: Files): Shared {
    let shared = this.#shared.get(pack)
    if (shared !== undefined) this.#shared.delete(pack)
    else {
      shared = { file: files.open(path, 'read'), readers: 0 }
      shared.file.catch(() => this.#shared.delete(pack))
    }
    this.#shared.set(pack, shared)
    return shared
  }

  #closeUnread(keep: number): void {
    for (const [pack, { file, readers }] of this.#shared) {
      if (this.#shared.size <= keep) break
      if (readers > 0) continue
      this.#shared.delete(pack)
      // Only read from: there is nothing that a failure could lose.
      file.then((one) => one.close()).catch(() => {})
    }
  }

  #file(pack: number): ReadFile {
    let file = this.#open.get(pack)
    if (file !== undefined) {
      this.#open.delete(pack)
    } else {
      file = this.#readFiles.open(this.path(pack))
      const bytes = Buffer.alloc(PACK_HEADER_BYTES)
      const fault = packHeaderFault(bytes.subarray(0, readFullySync(file, bytes, 0)), pack)
      if (fault !== undefined) {
        file.close()
        throw new PackCorruption(file.path, 0, fault)
      }
    }
    this.#open.set(pack, file)
    if (this.#open.size > MAX_OPEN) {
      const [oldest, old] = this.#open.entries().next().value!
      old.close()
      this.#open.delete(oldest)
    }
    return file
  }

  #list(): void {
    this.#names.clear()
    for (const { id, name } of packNames(this.#directory, this.#readFiles.readdir(this.#directory)))
      this.#names.set(id, name)
  }
}

/** A pack that is there, as the writer sees it. */
interface Pack {
  readonly id: number
  readonly retention: string
  readonly day: string
  readonly path: string
  /** Where the next block goes. */
  end: number
  /** Open while it is written to. */
  file: DurableFile | undefined
  dirty: boolean
}

/**
 * Writing side; one per directory. Calls are worked off in order. {@link Packs.cut} has to come before the first
 * append: only the last commit says what in the files is true.
 */
export interface Packs extends PackReader {
  /**
   * Drops everything that the last commit does not know: bytes past the end of a pack, and packs that it does not
   * name. `tails` is one for each pack that is to stay. Removes nothing, and rejects with {@link PackCorruption},
   * when a pack is missing, unreadable or shorter than that.
   */
  cut(tails: readonly PackTail[]): Promise<void>
  /**
   * Compresses blocks, but for those of the class {@link RECORDS}, and writes them, one after another, at the end of
   * the newest pack of their retention class and day (`YYYYMMDD`). They are durable after {@link Packs.sync} only.
   * When there is no room on the disk it rejects with that system error, the blocks are not there, and the writer
   * goes on; any other failure ends the writer.
   */
  append(blocks: readonly Uint8Array[], day: string, retention?: string): Promise<BlockRef[]>
  /** All that was appended before is durable when it resolves. A failure ends the writer. */
  sync(): Promise<void>
  /** Every pack and its end, ascending: what a commit has to keep for {@link Packs.cut}. */
  tails(): PackTail[]
  /** Retention class and day of each pack, as its name says. */
  classes(): { readonly pack: number; readonly retention: string; readonly day: string }[]
  /** Takes packs out of {@link Packs.tails} and of what is appended to. The files stay: whoever commits removes them. */
  retire(packs: ReadonlySet<number>): Promise<void>
  shutdown(): Promise<void>
}

/** Opens the packs of a directory for writing, creating the directory when there is none. */
export async function openPacks(options: PackOptions): Promise<Packs> {
  const { directory, files } = options
  await makeDirectory(files, directory)
  const packs: Pack[] = []
  for (const { id, name, retention, day } of packNames(directory, await files.readdir(directory))) {
    const path = join(directory, name)
    const end = (await files.stat(path))?.size ?? 0
    packs.push({ id, retention, day, path, end, file: undefined, dirty: false })
  }
  return new PackWriter(options, packs)
}

class PackWriter extends PackReader implements Packs {
  readonly #options: PackOptions
  /** Ascending by id. All of it is owned by the calls in `#turn`, one at a time. */
  #packs: Pack[]
  #nextId: number
  #isCut = false
  #namesDirty = false
  #turn: Promise<unknown> = Promise.resolve()
  #failure: PackFailed | undefined

  constructor(options: PackOptions, packs: Pack[]) {
    super(options)
    this.#options = options
    this.#packs = packs
    this.#nextId = options.nextPack ?? 0
  }

  cut(tails: readonly PackTail[]): Promise<void> {
    return this.#inTurn(() => this.#cut(tails))
  }

  async append(blocks: readonly Uint8Array[], day: string, retention = DEFAULT_CLASS): Promise<BlockRef[]> {
    if (!NAME.test(packName(retention, day, 0))) throw new RangeError('bad retention class or day')
    const parts =
      retention === RECORDS ? storeAll(blocks) : await compressAll(blocks, this.#options.level ?? 1)
    try {
      return await this.#inTurn(() => this.#append(parts, day, retention))
    } finally {
      if (retention !== RECORDS)
        for (const [index, raw] of blocks.entries()) discardCompressed(raw, parts[index * 2 + 1]!)
    }
  }

  sync(): Promise<void> {
    return this.#inTurn(() => this.#sync())
  }

  tails(): PackTail[] {
    return this.#packs.map(({ id, end }) => ({ pack: id, end }))
  }

  classes(): { pack: number; retention: string; day: string }[] {
    return this.#packs.map(({ id, retention, day }) => ({ pack: id, retention, day }))
  }

  retire(packs: ReadonlySet<number>): Promise<void> {
    return this.#inTurn(async () => {
      for (const pack of this.#packs) if (packs.has(pack.id)) await pack.file?.close()
      this.#packs = this.#packs.filter(({ id }) => !packs.has(id))
    })
  }

  async shutdown(): Promise<void> {
    await this.#turn
    for (const pack of this.#packs) await pack.file?.close()
    this.#packs = []
    this.#failure ??= new PackFailed('packs are closed')
    this.close()
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(() => {
      if (this.#failure !== undefined) throw this.#failure
      return work()
    })
    this.#turn = done.catch(() => {})
    return done
  }

  async #cut(tails: readonly PackTail[]): Promise<void> {
    const { directory, files, log } = this.#options
    const ends = new Map(tails.map(({ pack, end }) => [pack, end]))
    const found = new Map(this.#packs.map((pack) => [pack.id, pack]))
    for (const [id, end] of ends) {
      const pack = found.get(id)
      if (pack === undefined) throw new PackCorruption(directory, 0, 'pack is missing')
      if (pack.end < end) throw new PackCorruption(pack.path, pack.end, 'pack is cut short')
      await checkHeader(files, pack)
    }
    for (const pack of this.#packs) {
      const end = ends.get(pack.id)
      if (end === undefined) {
        log.warn({ file: pack.path, bytes: pack.end }, 'pack: not committed, removed')
        await files.unlink(pack.path).catch((error: unknown) => {
          if (!hasCode(error, 'ENOENT')) throw error
        })
        this.#namesDirty = true
      } else if (pack.end > end) {
        log.warn({ file: pack.path, offset: end, bytes: pack.end - end }, 'pack: uncommitted tail cut')
        await cutFile(files, pack.path, end)
        pack.end = end
      }
    }
    this.#packs = this.#packs.filter(({ id }) => ends.has(id))
    if (this.#namesDirty) await files.fsyncDirectory(directory)
    this.#namesDirty = false
    this.#nextId = Math.max(this.#nextId, (this.#packs.at(-1)?.id ?? -1) + 1)
    this.#isCut = true
  }

  async #append(parts: readonly Uint8Array[], day: string, retention: string): Promise<BlockRef[]> {
    if (!this.#isCut) throw new Error('bad use: packs are appended to before they are cut')
    let bytes = 0
    for (const part of parts) bytes += part.length
    if (bytes === 0) return []
    const pack = await this.#packFor(bytes, day, retention)
    try {
      pack.file ??= await this.#options.files.open(pack.path, 'write')
      pack.dirty = true
      await writeFully(pack.file, parts, pack.end)
    } catch (error) {
      await this.#takeBack(pack, error)
      throw error
    }
    const refs: BlockRef[] = []
    for (let i = 0; i < parts.length; i += 2) {
      const length = parts[i]!.length + parts[i + 1]!.length
      refs.push({ pack: pack.id, offset: pack.end, length })
      pack.end += length
    }
    return refs
  }

  /** The pack that takes so many bytes: the newest of its class and day, or a new one when that is full. */
  async #packFor(bytes: number, day: string, retention: string): Promise<Pack> {
    const newest = this.#packs.findLast((pack) => pack.day === day && pack.retention === retention)
    const limit = this.#options.maxPackBytes ?? GIB
    if (newest !== undefined && (newest.end === PACK_HEADER_BYTES || newest.end + bytes <= limit))
      return newest
    const id = this.#nextId
    const path = join(this.#options.directory, packName(retention, day, id))
    const pack: Pack = { id, retention, day, path, end: PACK_HEADER_BYTES, file: undefined, dirty: true }
    try {
      pack.file = await this.#options.files.open(path, 'create')
      await writeFully(pack.file, [packHeader(id)], 0)
    } catch (error) {
      if (!isNoSpace(error)) throw this.#fail(error)
      // The name may stay: the next one takes another id, and the next cut does not know this one.
      await pack.file?.close().catch(() => {})
      await this.#options.files.unlink(path).catch(() => {})
      this.#nextId = id + 1
      throw error
    }
    this.#nextId = id + 1
    this.#namesDirty = true
    this.#packs.push(pack)
    return pack
  }

  /** After a failed write the pack ends where it did before, or the writer does. */
  async #takeBack(pack: Pack, error: unknown): Promise<void> {
    if (!isNoSpace(error) || pack.file === undefined) throw this.#fail(error)
    await pack.file.truncate(pack.end).catch((second: unknown) => {
      throw this.#fail(second)
    })
  }

  /** Blocks first, then the names of new packs: a name without its blocks is cut, blocks without a name are lost. */
  async #sync(): Promise<void> {
    try {
      for (const pack of this.#packs) {
        if (pack.dirty) await pack.file!.fdatasync()
        pack.dirty = false
      }
      if (this.#namesDirty) await this.#options.files.fsyncDirectory(this.#options.directory)
      this.#namesDirty = false
      await this.#closeIdle()
    } catch (error) {
      throw this.#fail(error)
    }
  }

  /** Keeps only the latest packs open; synced ones need no descriptor. */
  async #closeIdle(): Promise<void> {
    const open = this.#packs.filter(({ file }) => file !== undefined)
    for (const pack of open.slice(0, -MAX_WRITING)) {
      const { file } = pack
      pack.file = undefined
      await file?.close()
    }
  }

  #fail(cause: unknown): PackFailed {
    this.#failure ??= new PackFailed('pack write failed', { cause })
    this.#options.log.warn({ err: cause }, 'pack: write failed')
    return this.#failure
  }
}

function packName(retention: string, day: string, id: number): string {
  return `${retention}-${day}-${String(id).padStart(4, '0')}.pack`
}

/** Packs among the names of a directory, ascending by id; other names are left alone. */
function packNames(
  directory: string,
  names: readonly string[],
): { id: number; name: string; retention: string; day: string }[] {
  const packs = []
  for (const name of names) {
    const [, retention, day, digits] = NAME.exec(name) ?? []
    if (retention === undefined || day === undefined || digits === undefined) continue
    const id = Number(digits)
    if (name === packName(retention, day, id)) packs.push({ id, name, retention, day })
  }
  packs.sort((a, b) => a.id - b.id)
  for (const [index, { id, name }] of packs.entries())
    if (packs[index + 1]?.id === id)
      throw new PackCorruption(join(directory, name), 0, 'two packs have one id')
  return packs
}

function packHeader(id: number): Buffer {
  const out = Buffer.alloc(PACK_HEADER_BYTES)
  out.writeUInt32BE(PACK_MAGIC, 0)
  out.writeUInt32BE(Math.floor(id / TWO_32), 8)
  out.writeUInt32BE(id % TWO_32, 12)
  out.writeUInt32BE(crc32(out.subarray(0, 28)), 28)
  return out
}

/** What is wrong with the header of a pack; all of it follows from the id. */
function packHeaderFault(bytes: Buffer, id: number): string | undefined {
  if (bytes.length < PACK_HEADER_BYTES) return 'pack header is cut short'
  if (bytes.readUInt32BE(28) !== crc32(bytes.subarray(0, 28))) return 'pack header checksum'
  if (bytes.readUInt32BE(0) === PACK_MAGIC && bytes[4] !== 0)
    return 'pack has a format version this program does not know'
  return bytes.equals(packHeader(id)) ? undefined : 'pack has the name of another one'
}

async function checkHeader(files: Files, pack: Pack): Promise<void> {
  const file = await files.open(pack.path, 'read')
  try {
    const bytes = Buffer.alloc(PACK_HEADER_BYTES)
    const fault = packHeaderFault(bytes.subarray(0, await readFully(file, bytes, 0)), pack.id)
    if (fault !== undefined) throw new PackCorruption(pack.path, 0, fault)
  } finally {
    await file.close()
  }
}

async function cutFile(files: Files, path: string, end: number): Promise<void> {
  const file = await files.open(path, 'write')
  try {
    // Needs no sync of its own: a crash only makes the next start cut again, and what is appended is synced.
    await file.truncate(end)
  } finally {
    await file.close()
  }
}

/** Header and compressed bytes of each block, two buffers per block. */
async function compressAll(blocks: readonly Uint8Array[], level: number): Promise<Uint8Array[]> {
  const parts = new Array<Uint8Array>(blocks.length * 2)
  let next = 0
  const work = async (): Promise<void> => {
    while (next < blocks.length) {
      const index = next++
      const raw = blocks[index]!
      if (raw.length > MAX_BLOCK_BYTES) throw new RangeError('block is too large')
      const compressed = await compress(raw, level)
      const stored = compressed.length < raw.length ? compressed : raw
      parts[index * 2] = blockHeader(raw.length, stored)
      parts[index * 2 + 1] = stored
    }
  }
  await Promise.all(Array.from({ length: POOL_JOBS }, work))
  return parts
}

/** {@link compressAll} for what does not compress: hashes. */
function storeAll(blocks: readonly Uint8Array[]): Uint8Array[] {
  return blocks.flatMap((raw) => [blockHeader(raw.length, raw), raw])
}

function blockHeader(rawLength: number, stored: Uint8Array): Buffer {
  const out = Buffer.alloc(BLOCK_HEADER_BYTES)
  out.writeUInt32BE(BLOCK_MAGIC, 0)
  out.writeUInt32BE(rawLength, 8)
  out.writeUInt32BE(stored.length, 12)
  out.writeUInt32BE(crc32(stored, crc32(out.subarray(0, 16))), 16)
  return out
}

/** A buffer for the bytes that a reference names. References are our own, so a wild one is a bug or damage. */
function blockBuffer(path: string, ref: BlockRef): Buffer {
  if (ref.offset < PACK_HEADER_BYTES || ref.length < BLOCK_HEADER_BYTES || ref.length > 2 * MAX_BLOCK_BYTES)
    throw new PackCorruption(path, ref.offset, 'no block can be here')
  return Buffer.allocUnsafeSlow(ref.length)
}

/** Checks a whole block before anything is inflated. */
function parseBlock(
  path: string,
  offset: number,
  bytes: Buffer,
  maxRaw: number,
): { rawLength: number; compressed: Buffer } {
  const compressed = bytes.subarray(BLOCK_HEADER_BYTES)
  const fault = (reason: string) => new PackCorruption(path, offset, reason)
  if (bytes.readUInt32BE(0) !== BLOCK_MAGIC) throw fault('no block here')
  if (bytes.readUInt32BE(12) !== compressed.length) throw fault('block has another length')
  if (bytes.readUInt32BE(16) !== crc32(compressed, crc32(bytes.subarray(0, 16))))
    throw fault('block checksum')
  if (bytes.readUInt32BE(4) !== 0) throw fault('block has a format version this program does not know')
  const rawLength = bytes.readUInt32BE(8)
  if (rawLength > Math.min(maxRaw, MAX_BLOCK_BYTES)) throw fault('block is larger than allowed')
  if (rawLength === 0 && compressed[0] === 0) throw fault('block was erased')
  return { rawLength, compressed }
}

/** The raw bytes of a block: stored bytes that are not shorter are the raw ones. */
function inflate(path: string, offset: number, compressed: Buffer, rawLength: number): Uint8Array {
  if (compressed.length === rawLength) return compressed
  try {
    const raw = zstdDecompressSync(compressed, { maxOutputLength: Math.max(1, rawLength) })
    if (raw.length === rawLength) return raw
  } catch (cause) {
    throw new PackCorruption(path, offset, 'block does not inflate', { cause })
  }
  throw new PackCorruption(path, offset, 'block does not inflate')
}
