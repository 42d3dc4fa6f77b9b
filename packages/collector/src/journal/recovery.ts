/**
 * Start-up of the embedded journal: what is on disk, checked, with the torn end of the last segment cut off.
 *
 * Frames are written in groups, one write and one sync each, and every frame says below which position everything
 * was durable when its group was written. So a bad frame is known to have been acknowledged when any frame after it
 * says so, when its segment is not the last (a segment is begun only after the one before it is synced), or when the
 * caller knows. All else at the end is a group whose acknowledgement nothing witnesses: a crash can leave it so.
 *
 * BUG: damage to the very last group before a crash (not a clean shutdown) looks like a torn tail and is cut, though
 * it may have been acknowledged. Nothing on disk could tell the two apart; the log says what was cut.
 */
import { type DurableFile, type Files, type Log, readFully, writeFully } from '../files.ts'
import { JournalCorruption } from './errors.ts'
import {
  CLOSING,
  encodeSegmentHeader,
  FRAME_HEADER_BYTES,
  parseFrameHeader,
  parseSegmentHeader,
  payloadHolds,
  SEGMENT_HEADER_BYTES,
  TAG_BYTES,
} from './frame.ts'
import { segmentFirsts, segmentPath } from './segments.ts'

const CHUNK_BYTES = 4 * 1024 * 1024

/** A live segment file. */
export interface Segment {
  readonly first: number
  readonly path: string
  bytes: number
}

/** The journal as found: all segments, and the open end of the last one. */
export interface Recovered {
  readonly segments: Segment[]
  /** The next position. */
  readonly end: number
  readonly tag: Uint8Array
  /** The last segment, open for writing; owned by the caller. */
  readonly file: DurableFile
}

export interface RecoverOptions {
  readonly directory: string
  readonly files: Files
  /** Everything below was committed, and nothing at or above it was trimmed; undefined when not known. */
  readonly committedEnd: number | undefined
  /** Everything below was there once; not below `committedEnd`, its default. */
  readonly knownEnd?: number | undefined
  readonly log: Log
  readonly random: (size: number) => Uint8Array
}

interface Scan {
  /** Position after the last good frame, and the offset where it ended. */
  readonly end: number
  readonly offset: number
  /** What is wrong at `offset`; undefined when the file ends there. */
  readonly fault: string | undefined
  /** From here on no later frame says that the bytes are durable. */
  readonly unproven: number
}

/**
 * Checks every frame of every segment, cuts a torn tail, and makes durable what it keeps. Undefined when there is no
 * segment at all. Rejects with {@link JournalCorruption} and leaves the files as they are when something that was
 * acknowledged is missing or damaged.
 */
export async function recover(options: RecoverOptions): Promise<Recovered | undefined> {
  const { directory, files, committedEnd } = options
  const knownEnd = Math.max(committedEnd ?? 0, options.knownEnd ?? 0)
  const firsts = segmentFirsts(await files.readdir(directory))
  const segments: Segment[] = []
  let expected: number | undefined
  if (firsts.length === 0 && knownEnd > 0)
    throw new JournalCorruption(directory, 0, 'all segments are missing')
  for (const [index, first] of firsts.entries()) {
    const path = segmentPath(directory, first)
    if (expected !== undefined && first !== expected)
      throw new JournalCorruption(path, 0, 'a segment before this one is missing')
    if (index === 0 && committedEnd !== undefined && first > committedEnd)
      throw new JournalCorruption(path, 0, 'frames that were not committed are missing before this segment')
    const last = index === firsts.length - 1
    const file = await files.open(path, last ? 'write' : 'read')
    try {
      if (last) return await recoverLast(file, segments, first, knownEnd, options)
      const size = await file.size()
      const { tag } = await readSegmentHeader(file, size, first)
      const scan = await scanSegment(file, size, first, tag)
      if (scan.fault !== undefined) throw new JournalCorruption(path, scan.offset, scan.fault)
      segments.push({ first, path, bytes: size })
      expected = scan.end
    } catch (error) {
      if (last) await file.close()
      throw error
    } finally {
      if (!last) await file.close()
    }
  }
  return undefined
}

async function recoverLast(
  file: DurableFile,
  segments: Segment[],
  first: number,
  knownEnd: number,
  options: RecoverOptions,
): Promise<Recovered> {
  let size = await file.size()
  if (size <= SEGMENT_HEADER_BYTES && typeof (await tryHeader(file, size)) === 'string') {
    // The process died while it made this segment: nothing was in it yet.
    await file.truncate(0)
    size = await writeFully(file, [encodeSegmentHeader(options.random(TAG_BYTES), first)], 0)
  }
  const { tag } = await readSegmentHeader(file, size, first)
  const scan = await scanSegment(file, size, first, tag)
  if (scan.end < knownEnd)
    throw new JournalCorruption(file.path, scan.offset, scan.fault ?? 'committed frames are missing')
  if (scan.fault !== undefined) {
    if (await hasWitness(file, size, scan.offset, scan.end, tag))
      throw new JournalCorruption(
        file.path,
        scan.offset,
        `${scan.fault}, in a frame known to have been durable`,
      )
    const cut = { file: file.path, offset: scan.offset, bytes: size - scan.offset, fault: scan.fault }
    options.log.warn(cut, 'journal: torn tail cut')
    size = scan.offset
    await file.truncate(size)
  }
  await rewrite(file, scan.unproven, size)
  await file.fdatasync()
  segments.push({ first, path: file.path, bytes: size })
  return { segments, end: scan.end, tag, file }
}

async function tryHeader(file: DurableFile, size: number): Promise<ReturnType<typeof parseSegmentHeader>> {
  const bytes = Buffer.alloc(Math.min(size, SEGMENT_HEADER_BYTES))
  await readFully(file, bytes, 0)
  return parseSegmentHeader(bytes)
}

async function readSegmentHeader(file: DurableFile, size: number, first: number): Promise<{ tag: Buffer }> {
  const header = await tryHeader(file, size)
  if (typeof header === 'string') throw new JournalCorruption(file.path, 0, header)
  if (header.first !== first) throw new JournalCorruption(file.path, 0, 'segment has the name of another one')
  return header
}

/** Walks the frames of one segment up to the first that is not whole and good. */
async function scanSegment(file: DurableFile, size: number, first: number, tag: Uint8Array): Promise<Scan> {
  const window = new Window(file, size)
  let offset = SEGMENT_HEADER_BYTES
  let end = first
  let unproven = 0
  const stop = (fault: string | undefined): Scan => ({ end, offset, fault, unproven })
  while (offset < size) {
    if (size - offset < FRAME_HEADER_BYTES) return stop('frame header is cut short')
    let at = await window.cover(offset, FRAME_HEADER_BYTES)
    const header = parseFrameHeader(window.bytes, at, tag)
    if (typeof header === 'string') return stop(header)
    if (header.position !== end) return stop('frame has the position of another one')
    if (size - offset < header.frameLength) return stop('frame is cut short')
    at = await window.cover(offset, header.frameLength)
    if (!payloadHolds(window.bytes, at, header)) return stop('frame payload checksum')
    // The first frame of a group says that all before it is durable.
    if (header.durable === header.position) unproven = offset
    if (header.kind !== CLOSING) end += 1
    offset += header.frameLength
  }
  return stop(undefined)
}

/**
 * Whether a frame header anywhere after `from` says that `position` was durable. A header that parses is enough,
 * whatever became of its body. Only headers with the segment's own tag count, so no sender can plant one.
 */
async function hasWitness(
  file: DurableFile,
  size: number,
  from: number,
  position: number,
  tag: Uint8Array,
): Promise<boolean> {
  const window = new Window(file, size)
  let offset = from
  while (size - offset >= FRAME_HEADER_BYTES) {
    const length = Math.min(CHUNK_BYTES, size - offset)
    const at = await window.cover(offset, length)
    const chunk = window.bytes.subarray(at, at + length)
    for (let hit = chunk.indexOf(tag); hit !== -1; hit = chunk.indexOf(tag, hit + 1)) {
      const start = hit - 8
      if (start < 0 || start + FRAME_HEADER_BYTES > length) continue
      const header = parseFrameHeader(chunk, start, tag)
      if (typeof header !== 'string' && header.durable > position) return true
    }
    // Chunks overlap by a header less one byte, so that each header lies whole in one of them.
    if (length < CHUNK_BYTES) break
    offset += length - FRAME_HEADER_BYTES + 1
  }
  return false
}

/**
 * Writes the same bytes again. A failed sync may leave pages that are in memory, marked clean, and not on disk; a
 * later sync would then report success without writing them. So what no later frame proves durable is dirtied anew.
 */
async function rewrite(file: DurableFile, from: number, to: number): Promise<void> {
  const window = new Window(file, to)
  for (let offset = from; offset < to; offset += CHUNK_BYTES) {
    const length = Math.min(CHUNK_BYTES, to - offset)
    const at = await window.cover(offset, length)
    await writeFully(file, [window.bytes.subarray(at, at + length)], offset)
  }
}

/** A sliding view of a file, read in large pieces into one buffer. */
class Window {
  readonly #file: DurableFile
  readonly #size: number
  bytes: Buffer = Buffer.alloc(0)
  #start = 0
  #length = 0

  constructor(file: DurableFile, size: number) {
    this.#file = file
    this.#size = size
  }

  /** Makes [offset, offset + length) of the file available; returns where it starts in `bytes`. */
  async cover(offset: number, length: number): Promise<number> {
    if (offset >= this.#start && offset + length <= this.#start + this.#length) return offset - this.#start
    const wanted = Math.min(Math.max(length, CHUNK_BYTES), this.#size - offset)
    if (wanted > this.bytes.length) this.bytes = Buffer.allocUnsafeSlow(wanted)
    this.#start = offset
    this.#length = await readFully(this.#file, this.bytes.subarray(0, wanted), offset)
    if (this.#length < length)
      throw new JournalCorruption(this.#file.path, offset, 'file became shorter while read')
    return 0
  }
}
