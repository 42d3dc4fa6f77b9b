/**
 * The embedded journal: what was received, in segment files, acknowledged only after `fdatasync`.
 *
 * Life of an append: it waits in memory while the group before it is on its way to the disk; then all that waited
 * goes out with one `writev` and one `fdatasync`; only then does it have a position. Positions are dense and never
 * used twice for something that was acknowledged.
 *
 * What a failure means. No room on `write` is a refusal: the file is cut back to what is durable and the senders
 * come again. Everything else, above all a failed sync, ends this journal: after it nobody knows what the disk has,
 * and a second sync on the same descriptor would lie. The process has to restart and recover.
 *
 * Readers (reader.ts) open the files by themselves, in any thread, and are told by `onDurable` how far they may read.
 */
import { randomBytes } from 'node:crypto'
import { makeDirectory } from '../durable.ts'
import { type DurableFile, type Files, hasCode, isNoSpace, type Log, writeFully } from '../files.ts'
import { type FullReason, JournalFailed, JournalFull } from './errors.ts'
import {
  type Entry,
  encodeClosing,
  encodeFrame,
  encodeSegmentHeader,
  frameLength,
  MAX_BODY_BYTES,
  MAX_RECEIPT_BYTES,
  payloadCrc,
  SEED_BYTES,
  SEGMENT_HEADER_BYTES,
  TAG_BYTES,
} from './frame.ts'
import { type Recovered, recover, type Segment } from './recovery.ts'
import { segmentPath } from './segments.ts'

const MIB = 1024 * 1024
const POLL_MS = 1000

/**
 * The journal's writing side; one owner per directory, single-threaded. Reading is a {@link JournalReader}'s.
 * Every implementation passes `journalContract` (contract.ts).
 */
export interface Journal {
  /**
   * Takes an entry; resolves with its position once it is durable. Rejects with {@link JournalFull} when it was not
   * taken and will not appear, with {@link JournalFailed} when the journal is done for (then it may appear after a
   * restart). The bytes belong to the journal until the promise settles.
   */
  append(entry: Entry): Promise<number>
  /** The next position that is not durable: everything below may be read. */
  readonly durableEnd: number
  /** Bytes on disk that are not trimmed. */
  readonly bytes: number
  /**
   * Says that nothing below `before` is needed any more. Space is given back in whole segments, so frames below it
   * may still be read; positions never go back. Calls are worked off one after another.
   */
  trim(before: number): Promise<void>
  /** Why an append of about `more` bytes would be refused now; cheap enough for every request. */
  full(more?: number): FullReason | undefined
  /** Waits for what was appended, leaves the mark of a clean shutdown and releases the files. */
  close(): Promise<void>
}

export interface JournalOptions {
  readonly directory: string
  readonly files: Files
  readonly log: Log
  /** A segment is ended before it would pass this size; also the limit of one frame. 64 MiB. */
  readonly segmentBytes?: number
  /** Refuse appends when the journal would be larger. At least two segments; default 8 GiB. */
  readonly maxBytes?: number
  /** Refuse appends when less than this would stay free on the disk: the reserve of those who commit. 1 GiB. */
  readonly minFreeBytes?: number
  /** Refuse appends when more than this waits in memory for the disk. 64 MiB. */
  readonly maxQueueBytes?: number
  /** One write and sync takes at most this many bytes (or one frame). 16 MiB. */
  readonly maxGroupBytes?: number
  /**
   * Where whoever commits will read on: everything below is committed and may be trimmed, everything above must be
   * there. Checked against the files. Leave out only where nobody knows.
   */
  readonly committedEnd?: number
  /**
   * Every position below was read back by whoever commits, some above `committedEnd` are committed already: a
   * journal that ends before is damaged, and its positions must not be given out again. Default `committedEnd`.
   */
  readonly knownEnd?: number
  /** Called with `durableEnd` after each group, before its appends resolve. */
  readonly onDurable?: (end: number) => void
  /** Called once, when the journal is done for. */
  readonly onFailure?: (error: JournalFailed) => void
  readonly random?: (size: number) => Uint8Array
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/**
 * Opens the journal in a directory, creating it when there is none, and recovers it (recovery.ts).
 * Rejects with {@link JournalCorruption} when something that was acknowledged is damaged or missing.
 */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const settings = { ...DEFAULTS, ...options }
  if (settings.maxBytes < 2 * settings.segmentBytes) throw new RangeError('maxBytes is below two segments')
  const { directory, files, random, committedEnd, knownEnd } = settings
  await makeDirectory(files, directory)
  // Segments may have been made or removed by a process that died before it synced the directory.
  await files.fsyncDirectory(directory)
  const found =
    (await recover({ directory, files, committedEnd, knownEnd, random, log: settings.log })) ??
    (await createFirst(directory, files, random))
  return new SegmentJournal(settings, found, await files.freeBytes(directory))
}

const DEFAULTS = {
  segmentBytes: 64 * MIB,
  maxBytes: 8192 * MIB,
  minFreeBytes: 1024 * MIB,
  maxQueueBytes: 64 * MIB,
  maxGroupBytes: 16 * MIB,
  random: randomBytes as (size: number) => Uint8Array,
  now: () => performance.now(),
}

type Settings = JournalOptions & typeof DEFAULTS

interface Waiting {
  readonly entry: Entry
  readonly crc: number
  readonly bytes: number
  readonly resolve: (position: number) => void
  readonly reject: (error: Error) => void
}

class SegmentJournal implements Journal {
  readonly #options: Settings
  /** Oldest first; the last one is the active one. Owned by the writing loop and by trim, which spares the last. */
  readonly #segments: Segment[]
  /** The active segment's file and tag; owned by the writing loop. */
  #file: DurableFile
  #tag: Uint8Array
  #durableEnd: number
  /** Appends that wait for the next group, and the bytes of these and of the group on its way. */
  #queue: Waiting[] = []
  #pendingBytes = 0
  #writing: Promise<void> | undefined
  #trimming: Promise<void> = Promise.resolve()
  #failure: JournalFailed | undefined
  #closed: Promise<void> | undefined
  /** Free bytes when last asked, less what was written since. */
  #free: number
  #polledAt: number
  #polling = false

  constructor(options: Settings, found: Recovered, free: number) {
    this.#options = options
    this.#segments = found.segments
    this.#file = found.file
    this.#tag = found.tag
    this.#durableEnd = found.end
    this.#free = free
    this.#polledAt = options.now()
  }

  get durableEnd(): number {
    return this.#durableEnd
  }

  get bytes(): number {
    let bytes = 0
    for (const segment of this.#segments) bytes += segment.bytes
    return bytes
  }

  append(entry: Entry): Promise<number> {
    const bytes = frameLength(entry)
    if (
      entry.seed.length !== SEED_BYTES ||
      entry.receipt.length > MAX_RECEIPT_BYTES ||
      entry.body.length > MAX_BODY_BYTES ||
      bytes > this.#options.segmentBytes - SEGMENT_HEADER_BYTES
    )
      return Promise.reject(new RangeError('frame does not fit into a segment'))
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#closed !== undefined) return Promise.reject(new JournalFailed('journal is closed'))
    const reason = this.full(bytes)
    if (reason !== undefined) return Promise.reject(new JournalFull(reason))
    // The checksum is taken here rather than for a whole group at once, which would hold up the thread.
    const crc = payloadCrc(entry.receipt, entry.body)
    return new Promise((resolve, reject) => {
      this.#queue.push({ entry, crc, bytes, resolve, reject })
      this.#pendingBytes += bytes
      this.#writing ??= this.#write()
    })
  }

  full(more = 0): FullReason | undefined {
    this.#pollFree()
    const { maxBytes, maxQueueBytes, minFreeBytes } = this.#options
    const needed = this.#pendingBytes + more
    // One frame is always let in, however large, so that a small bound cannot refuse it for ever.
    if (this.#pendingBytes > 0 && needed > maxQueueBytes) return 'queue'
    if (this.bytes + needed > maxBytes) return 'journal'
    if (this.#free - needed < minFreeBytes) return 'disk'
    return undefined
  }

  trim(before: number): Promise<void> {
    const next = this.#trimming.then(() => this.#trim(before))
    this.#trimming = next.catch(() => {})
    return next
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** The writing loop: at most one runs, and it alone touches the active file. */
  async #write(): Promise<void> {
    // Let everything that arrives in this turn of the event loop into the first group.
    await Promise.resolve()
    while (this.#queue.length > 0) await this.#commit(this.#takeGroup())
    this.#writing = undefined
  }

  #takeGroup(): Waiting[] {
    const { maxGroupBytes, segmentBytes } = this.#options
    const limit = Math.min(maxGroupBytes, segmentBytes - SEGMENT_HEADER_BYTES)
    let bytes = 0
    let count = 0
    for (const { bytes: more } of this.#queue) {
      if (count > 0 && bytes + more > limit) break
      bytes += more
      count += 1
    }
    return this.#queue.splice(0, count)
  }

  /** One group: write, sync, and only then acknowledge. */
  async #commit(group: readonly Waiting[]): Promise<void> {
    let bytes = 0
    for (const waiting of group) bytes += waiting.bytes
    try {
      if (
        this.#active.bytes > SEGMENT_HEADER_BYTES &&
        this.#active.bytes + bytes > this.#options.segmentBytes
      )
        await this.#rotate()
      await writeFully(this.#file, this.#encode(group), this.#active.bytes)
    } catch (error) {
      return isNoSpace(error) ? this.#refuse(group, error) : this.#fail(group, error)
    }
    try {
      await this.#file.fdatasync()
    } catch (error) {
      return this.#fail(group, error)
    }
    const first = this.#durableEnd
    this.#active.bytes += bytes
    this.#free -= bytes
    this.#pendingBytes -= bytes
    this.#durableEnd = first + group.length
    this.#options.onDurable?.(this.#durableEnd)
    for (const [index, waiting] of group.entries()) waiting.resolve(first + index)
  }

  #encode(group: readonly Waiting[]): Uint8Array[] {
    const durable = this.#durableEnd
    const buffers: Uint8Array[] = []
    for (const [index, { entry, crc }] of group.entries())
      buffers.push(...encodeFrame(entry, crc, { tag: this.#tag, position: durable + index, durable }))
    return buffers
  }

  /**
   * Goes on in a new segment. All frames of the old one are durable by now, so that a bad one in it is corruption,
   * never a torn tail. The new name is durable before a frame goes under it.
   */
  async #rotate(): Promise<void> {
    const { directory, files, random } = this.#options
    const next = await createSegment(directory, files, this.#durableEnd, random(TAG_BYTES))
    const old = this.#file
    this.#file = next.file
    this.#tag = next.tag
    this.#segments.push(next.segment)
    await old.close()
  }

  get #active(): Segment {
    return this.#segments.at(-1)!
  }

  /** No room: takes back what was written of the group, and refuses all that wait. */
  async #refuse(group: readonly Waiting[], cause: unknown): Promise<void> {
    try {
      await this.#file.truncate(this.#active.bytes)
      await this.#file.fdatasync()
    } catch (error) {
      return this.#fail(group, error)
    }
    // Refuse until the disk is asked again.
    this.#free = Number.NEGATIVE_INFINITY
    this.#polledAt = this.#options.now()
    this.#options.log.warn({ file: this.#file.path, err: cause }, 'journal: no room on the disk')
    this.#reject(group, new JournalFull('disk', { cause }))
  }

  #fail(group: readonly Waiting[], cause: unknown): void {
    const failure = new JournalFailed('journal write failed', { cause })
    this.#failure = failure
    this.#options.log.warn({ file: this.#file.path, err: cause }, 'journal: write failed')
    this.#options.onFailure?.(failure)
    this.#reject(group, failure)
  }

  #reject(group: readonly Waiting[], error: Error): void {
    for (const waiting of group) waiting.reject(error)
    for (const waiting of this.#queue) waiting.reject(error)
    this.#queue = []
    this.#pendingBytes = 0
  }

  /** Removes the oldest segments first, so that what is left is always without a hole. */
  async #trim(before: number): Promise<void> {
    const { directory, files } = this.#options
    while (this.#segments.length > 1 && this.#segments[1]!.first <= before) {
      await files.unlink(this.#segments[0]!.path).catch((error: unknown) => {
        if (!hasCode(error, 'ENOENT')) throw error
      })
      // Before the next one goes: a crash must not bring this one back without the ones after it.
      await files.fsyncDirectory(directory)
      this.#segments.shift()
    }
  }

  #pollFree(): void {
    const { now, files, directory, log } = this.#options
    if (this.#polling || now() - this.#polledAt < POLL_MS) return
    this.#polling = true
    const before = this.bytes
    files
      .freeBytes(directory)
      // What was written while the answer was under way is not in it, or counted twice: never too much free.
      .then((free) => {
        this.#free = free - Math.max(0, this.bytes - before)
      })
      .catch((err: unknown) => log.warn({ err }, 'journal: cannot ask for free space'))
      .finally(() => {
        this.#polledAt = now()
        this.#polling = false
      })
  }

  async #close(): Promise<void> {
    await this.#writing
    await this.#trimming
    if (this.#failure === undefined) {
      try {
        const mark = encodeClosing(this.#tag, this.#durableEnd)
        await writeFully(this.#file, [mark], this.#active.bytes)
        await this.#file.fdatasync()
      } catch (err) {
        // Everything acknowledged is durable without it; only later damage to the last group would be less certain.
        this.#options.log.warn({ file: this.#file.path, err }, 'journal: no mark of a clean shutdown')
      }
    }
    await this.#file.close()
  }
}

async function createFirst(
  directory: string,
  files: Files,
  random: (size: number) => Uint8Array,
): Promise<Recovered> {
  const { file, segment, tag } = await createSegment(directory, files, 0, random(TAG_BYTES))
  return { segments: [segment], end: 0, tag, file }
}

/** A new segment, durable under its name. When there is no room for it, it is removed again. */
export async function createSegment(
  directory: string,
  files: Files,
  first: number,
  tag: Uint8Array,
): Promise<{ file: DurableFile; segment: Segment; tag: Uint8Array }> {
  const path = segmentPath(directory, first)
  let file: DurableFile | undefined
  try {
    file = await files.open(path, 'create')
    await writeFully(file, [encodeSegmentHeader(tag, first)], 0)
  } catch (error) {
    await file?.close().catch(() => {})
    if (isNoSpace(error)) await removeUnfinished(files, directory, path)
    throw error
  }
  try {
    await file.fdatasync()
    await files.fsyncDirectory(directory)
  } catch (cause) {
    await file.close().catch(() => {})
    // A sync that says "no room" is still a failed sync: nobody may take it for a refusal.
    throw new JournalFailed('cannot make a journal segment durable', { cause })
  }
  return { file, segment: { first, path, bytes: SEGMENT_HEADER_BYTES }, tag }
}

/**
 * The segment before this one goes on being written, past this one's first position; so this name must be gone for
 * good, or a restart would see two segments that claim the same frames.
 */
async function removeUnfinished(files: Files, directory: string, path: string): Promise<void> {
  try {
    await files.unlink(path).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error
    })
    await files.fsyncDirectory(directory)
  } catch (cause) {
    throw new JournalFailed('cannot remove an unfinished journal segment', { cause })
  }
}
