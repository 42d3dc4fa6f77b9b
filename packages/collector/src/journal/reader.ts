/**
 * Reading the journal, from any thread, by its files alone.
 *
 * The writer says how far the frames are durable (`until`); nothing at or above that is looked at, because it may be
 * half written or may still be taken back. Reads are synchronous: a follower's thread has nothing else to do, and
 * large sequential reads from the page cache cost less than the hand-over to a thread pool.
 */
import { hasCode, nodeReadFiles, type ReadFile, type ReadFiles, readFullySync } from '../files.ts'
import { JournalCorruption } from './errors.ts'
import {
  CLOSING,
  FRAME_HEADER_BYTES,
  type Frame,
  type FrameHeader,
  parseFrameHeader,
  parseSegmentHeader,
  payloadHolds,
  SEGMENT_HEADER_BYTES,
  viewFrame,
} from './frame.ts'
import { segmentFirsts, segmentPath } from './segments.ts'

const CHUNK_BYTES = 4 * 1024 * 1024
/** One index entry per this many bytes of a segment, so at most 1,024 for one of 64 MiB. */
const INDEX_STEP = 64 * 1024
/** While looking for one frame: how much is read at once where frames are small. */
const WALK_BYTES = 64 * 1024
const MAX_OPEN = 32

export interface JournalReaderOptions {
  readonly directory: string
  readonly files?: ReadFiles
  /** The first position to {@link JournalReader.read}. */
  readonly from: number
  /** Everything below is known to be durable; default `from`. Raised by each `read`. */
  readonly until?: number
  /** Size of one sequential read. 4 MiB. */
  readonly chunkBytes?: number
}

interface OpenSegment {
  readonly first: number
  readonly file: ReadFile
  readonly tag: Buffer
}

/** Some frames of a segment and where they start, ascending. */
interface SparseIndex {
  readonly positions: number[]
  readonly offsets: number[]
}

export class JournalReader {
  readonly #directory: string
  readonly #files: ReadFiles
  readonly #chunkBytes: number
  /** First positions of the segments known to exist, ascending; may lack the newest and have trimmed ones. */
  #firsts: number[] = []
  /** Least recently used first. */
  readonly #open = new Map<number, OpenSegment>()
  readonly #indexes = new Map<number, SparseIndex>()
  #next: number
  #until: number
  /** Where `next` is, once it is known. */
  #cursor: { first: number; offset: number } | undefined
  /** What {@link pass} read last, and how much it reads at once. */
  #window = { first: -1, start: 0, bytes: Buffer.alloc(0) }
  #headBytes = FRAME_HEADER_BYTES

  constructor(options: JournalReaderOptions) {
    this.#directory = options.directory
    this.#files = options.files ?? nodeReadFiles
    this.#chunkBytes = options.chunkBytes ?? CHUNK_BYTES
    this.#next = options.from
    this.#until = Math.max(options.from, options.until ?? 0)
  }

  /** The position that {@link read} gives next. */
  get next(): number {
    return this.#next
  }

  /**
   * The next frames below `until`, in order and without a gap: at least one if there is one, and no more once their
   * bytes reach `maxBytes`. They are views of buffers that hold several frames: keep none for long, copy instead.
   * Throws {@link JournalCorruption} when a frame is damaged or missing; the frames before it were given out before.
   */
  read(until: number, maxBytes: number): Frame[] {
    this.#until = Math.max(this.#until, until)
    const frames: Frame[] = []
    let bytes = 0
    try {
      while (this.#next < until && (frames.length === 0 || bytes < maxBytes))
        bytes += this.#readMore(until, Math.max(FRAME_HEADER_BYTES, maxBytes - bytes), frames)
    } catch (error) {
      // What was read before the damage goes out first; the next call meets the damage again.
      if (frames.length === 0 || !(error instanceof JournalCorruption)) throw error
    }
    return frames
  }

  /**
   * Steps over the next frame below `until`, for whoever has its contents: looks at its header alone, and costs a
   * small read for a large frame, none for most small ones. Throws {@link JournalCorruption} as {@link read} does.
   */
  pass(until: number): void {
    this.#until = Math.max(this.#until, until)
    if (this.#next >= until) throw new RangeError(`position ${this.#next} is not known to be durable`)
    for (;;) {
      const { segment, offset } = this.#current()
      if (segment.file.size() - offset < FRAME_HEADER_BYTES) {
        if (segment.file.size() > offset || segment.first === this.#next)
          throw this.#corrupt(segment, offset, 'durable frames are missing')
        this.#follow(segment, offset)
        continue
      }
      const header = this.#peek(segment, offset)
      if (header.position !== this.#next)
        throw this.#corrupt(segment, offset, 'frame has the position of another one')
      this.#cursor = { first: segment.first, offset: offset + header.frameLength }
      if (header.kind === CLOSING) continue
      this.#note(segment.first, header.position, offset)
      this.#next += 1
      return
    }
  }

  /** The header at an offset, out of what was read last or read anew: that may have been before it was written. */
  #peek(segment: OpenSegment, offset: number): FrameHeader {
    const { first, start, bytes } = this.#window
    if (first === segment.first && offset >= start && offset + FRAME_HEADER_BYTES <= start + bytes.length) {
      const header = parseFrameHeader(bytes, offset - start, segment.tag)
      if (typeof header !== 'string') return header
    }
    const window = Buffer.allocUnsafe(this.#headBytes)
    const read = readFullySync(segment.file, window, offset)
    if (read < FRAME_HEADER_BYTES) throw this.#corrupt(segment, offset, 'frame is cut short')
    const header = parseFrameHeader(window, 0, segment.tag)
    if (typeof header === 'string') throw this.#corrupt(segment, offset, header)
    this.#window = { first: segment.first, start: offset, bytes: window.subarray(0, read) }
    // Where frames are large, the next header lies far behind.
    this.#headBytes = header.frameLength > WALK_BYTES / 2 ? FRAME_HEADER_BYTES : WALK_BYTES
    return header
  }

  /**
   * One frame below what is known to be durable, in a buffer of its own. Costs two reads when the reader has passed
   * it or its segment has an index, else a walk over the headers of its segment.
   * Throws RangeError for a position that is not durable yet, {@link JournalCorruption} for one that is not there.
   * `allocate` gives the buffer, of exactly the bytes that it is asked for.
   */
  readFrame(position: number, allocate: (bytes: number) => Buffer = Buffer.allocUnsafeSlow): Frame {
    if (!(position < this.#until)) throw new RangeError(`position ${position} is not known to be durable`)
    const { segment, offset: from } = this.#locate(position)
    const { header, offset } = this.#headerAt(segment, from)
    const bytes = allocate(header.frameLength)
    if (readFullySync(segment.file, bytes, offset) < bytes.length)
      throw this.#corrupt(segment, offset, 'frame is cut short')
    if (!payloadHolds(bytes, 0, header)) throw this.#corrupt(segment, offset, 'frame payload checksum')
    return viewFrame(bytes, 0, header, { segment: segment.first, fileOffset: offset })
  }

  /** Lets go of what is kept about segments that lie wholly below `before`, which may be trimmed. */
  forget(before: number): void {
    while (this.#firsts.length > 1 && this.#firsts[1]! <= before) {
      const first = this.#firsts.shift()!
      this.#indexes.delete(first)
      this.#open.get(first)?.file.close()
      this.#open.delete(first)
    }
    if (this.#cursor !== undefined && this.#cursor.first < (this.#firsts[0] ?? 0)) this.#cursor = undefined
  }

  /** Releases the files. */
  close(): void {
    for (const { file } of this.#open.values()) file.close()
    this.#open.clear()
  }

  /** One step of {@link read}: a piece of the current segment, or over to the next one. Returns bytes taken. */
  #readMore(until: number, budget: number, frames: Frame[]): number {
    const { segment, offset } = this.#current()
    const left = segment.file.size() - offset
    if (left >= FRAME_HEADER_BYTES)
      return this.#readChunk(segment, offset, Math.min(left, this.#chunkBytes, budget), until, frames)
    // What is durable and not here is in the segment that begins with it.
    if (left > 0 || segment.first === this.#next)
      throw this.#corrupt(segment, offset, 'durable frames are missing')
    this.#follow(segment, offset)
    return 0
  }

  #current(): { segment: OpenSegment; offset: number } {
    if (this.#cursor !== undefined) {
      try {
        return { segment: this.#segment(this.#cursor.first), offset: this.#cursor.offset }
      } catch (error) {
        // Read to its end and trimmed: go on where the next frame is.
        if (!hasCode(error, 'ENOENT')) throw error
      }
    }
    const { segment, offset } = this.#locate(this.#next)
    this.#cursor = { first: segment.first, offset }
    return { segment, offset }
  }

  /** Reads one piece and appends its whole frames; returns their bytes. */
  #readChunk(segment: OpenSegment, offset: number, length: number, until: number, frames: Frame[]): number {
    let buffer = Buffer.allocUnsafeSlow(length)
    buffer = buffer.subarray(0, readFullySync(segment.file, buffer, offset))
    let at = 0
    while (this.#next < until && buffer.length - at >= FRAME_HEADER_BYTES) {
      const fileOffset = offset + at
      const header = parseFrameHeader(buffer, at, segment.tag)
      if (typeof header === 'string') throw this.#corrupt(segment, fileOffset, header)
      if (header.position !== this.#next)
        throw this.#corrupt(segment, fileOffset, 'frame has the position of another one')
      if (buffer.length - at < header.frameLength) {
        if (at > 0) break
        // Larger than a piece: read exactly it.
        buffer = Buffer.allocUnsafeSlow(header.frameLength)
        if (readFullySync(segment.file, buffer, offset) < buffer.length)
          throw this.#corrupt(segment, fileOffset, 'frame is cut short')
      }
      if (header.kind !== CLOSING) {
        if (!payloadHolds(buffer, at, header))
          throw this.#corrupt(segment, fileOffset, 'frame payload checksum')
        frames.push(viewFrame(buffer, at, header, { segment: segment.first, fileOffset }))
        this.#note(segment.first, header.position, fileOffset)
        this.#next += 1
      }
      at += header.frameLength
      this.#cursor = { first: segment.first, offset: offset + at }
    }
    return at
  }

  /** Goes on to the segment that begins with the next position; the one before it must end right there. */
  #follow(segment: OpenSegment, offset: number): void {
    try {
      this.#segment(this.#next)
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error
      throw this.#corrupt(segment, offset, 'durable frames are missing')
    }
    if (this.#firsts.at(-1) !== this.#next) this.#list()
    this.#cursor = { first: this.#next, offset: SEGMENT_HEADER_BYTES }
  }

  /** Where the frame of a position starts, or will start once it is written. */
  #locate(position: number): { segment: OpenSegment; offset: number } {
    for (const listed of [false, true]) {
      // The list may be older than the newest segments, and name some that are trimmed by now.
      if (listed || this.#firsts.length === 0) this.#list()
      const first = this.#firsts[lastAtMost(this.#firsts, position)]
      if (first === undefined) continue
      try {
        const segment = this.#segment(first)
        const offset = this.#walk(segment, position)
        if (listed || (offset !== undefined && offset < segment.file.size()))
          return { segment, offset: offset ?? this.#end(segment) }
      } catch (error) {
        if (!hasCode(error, 'ENOENT')) throw error
      }
    }
    throw new JournalCorruption(this.#directory, 0, 'position is not in the journal')
  }

  #end(segment: OpenSegment): never {
    throw this.#corrupt(segment, segment.file.size(), 'durable frames are missing')
  }

  /** Hops from header to header, from the nearest frame that the index has; undefined when the segment ends before. */
  #walk(segment: OpenSegment, position: number): number | undefined {
    const index = this.#indexes.get(segment.first)
    const known = index === undefined ? -1 : lastAtMost(index.positions, position)
    let next = known < 0 ? segment.first : index!.positions[known]!
    let offset = known < 0 ? SEGMENT_HEADER_BYTES : index!.offsets[known]!
    const size = segment.file.size()
    let window = Buffer.alloc(0)
    let start = 0
    let length = WALK_BYTES
    while (next < position) {
      if (offset + FRAME_HEADER_BYTES > size) return undefined
      if (offset + FRAME_HEADER_BYTES > start + window.length) {
        window = Buffer.allocUnsafe(Math.min(length, size - offset))
        window = window.subarray(0, readFullySync(segment.file, window, offset))
        start = offset
        if (window.length < FRAME_HEADER_BYTES) return undefined
      }
      const header = parseFrameHeader(window, offset - start, segment.tag)
      if (typeof header === 'string') throw this.#corrupt(segment, offset, header)
      if (header.position !== next)
        throw this.#corrupt(segment, offset, 'frame has the position of another one')
      if (header.kind !== CLOSING) {
        this.#note(segment.first, next, offset)
        next += 1
      }
      length = header.frameLength > WALK_BYTES / 2 ? FRAME_HEADER_BYTES : WALK_BYTES
      offset += header.frameLength
    }
    return offset
  }

  /** Header of the request frame at an offset, or after the marks of shutdowns there. */
  #headerAt(segment: OpenSegment, offset: number): { header: FrameHeader; offset: number } {
    const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
    if (readFullySync(segment.file, bytes, offset) < bytes.length) this.#end(segment)
    const header = parseFrameHeader(bytes, 0, segment.tag)
    if (typeof header === 'string') throw this.#corrupt(segment, offset, header)
    return header.kind === CLOSING ? this.#headerAt(segment, offset + header.frameLength) : { header, offset }
  }

  #segment(first: number): OpenSegment {
    let segment = this.#open.get(first)
    if (segment !== undefined) {
      this.#open.delete(first)
    } else {
      const file = this.#files.open(segmentPath(this.#directory, first))
      const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES)
      const header = parseSegmentHeader(bytes.subarray(0, readFullySync(file, bytes, 0)))
      if (typeof header === 'string' || header.first !== first) {
        file.close()
        const reason = typeof header === 'string' ? header : 'segment has the name of another one'
        throw new JournalCorruption(file.path, 0, reason)
      }
      segment = { first, file, tag: header.tag }
    }
    this.#open.set(first, segment)
    if (this.#open.size > MAX_OPEN) {
      const oldest = this.#open.values().next().value!
      oldest.file.close()
      this.#open.delete(oldest.first)
    }
    return segment
  }

  #list(): void {
    this.#firsts = segmentFirsts(this.#files.readdir(this.#directory))
    for (const first of this.#indexes.keys()) if (first < (this.#firsts[0] ?? 0)) this.#indexes.delete(first)
  }

  /** Remembers a frame unless one shortly before it is remembered. */
  #note(first: number, position: number, offset: number): void {
    let index = this.#indexes.get(first)
    if (index === undefined) {
      index = { positions: [], offsets: [] }
      this.#indexes.set(first, index)
    }
    const before = lastAtMost(index.offsets, offset)
    if (before >= 0 && offset - index.offsets[before]! < INDEX_STEP) return
    index.positions.splice(before + 1, 0, position)
    index.offsets.splice(before + 1, 0, offset)
  }

  #corrupt(segment: OpenSegment, offset: number, reason: string): JournalCorruption {
    return new JournalCorruption(segment.file.path, offset, reason)
  }
}

/** What whoever derives needs of a frame. */
export type FrameBody = Pick<Frame, 'body'>

export interface FrameCacheBounds {
  /** Of frames that were read back; as much again waits to be read into. */
  readonly readBytes: number
  readonly handedBytes: number
}

interface HandedOver {
  /** Nothing where there was no room for it. */
  readonly frame: FrameBody | undefined
  readonly bytes: number
  /** What else is needed as long as a span of the frame is open. */
  readonly kept: Uint8Array
}

/**
 * Bodies of frames by position, within a number of bytes. Those that were handed over stay until they are released,
 * and are not taken in when there is no room; others are read when they are asked for, and the least recently used
 * of them give way. It owns the buffers of what was handed over, and gives them back through `giveBack`.
 */
export class FrameCache {
  readonly #reader: Pick<JournalReader, 'readFrame'>
  readonly #bounds: FrameCacheBounds
  readonly #giveBack: (buffer: ArrayBuffer) => void
  readonly #handed = new Map<number, HandedOver>()
  /** Least recently used first. */
  readonly #read = new Map<number, Frame>()
  /** What was released and may still be looked at. */
  #released: HandedOver[] = []
  /** Buffers of frames that were read back and gave way: those that may still be looked at, and those to read into. */
  #evicted: Buffer[] = []
  #spare: Buffer[] = []
  #waitingBytes = 0
  #handedBytes = 0
  #readBytes = 0

  constructor(
    reader: Pick<JournalReader, 'readFrame'>,
    bounds: FrameCacheBounds,
    giveBack: (buffer: ArrayBuffer) => void = () => {},
  ) {
    this.#reader = reader
    this.#bounds = bounds
    this.#giveBack = giveBack
  }

  get bytes(): number {
    return this.#handedBytes + this.#readBytes
  }

  /**
   * Takes what was handed over of a frame: its body, where it fits into the bound beside what was handed over before,
   * and what else is to be kept until it is released.
   */
  hand(position: number, body: Uint8Array | undefined, kept: Uint8Array): void {
    const fits = body !== undefined && this.#handedBytes + body.length <= this.#bounds.handedBytes
    const bytes = fits ? body.length : 0
    this.#handed.set(position, { frame: fits ? { body } : undefined, bytes, kept })
    this.#handedBytes += bytes
    if (body !== undefined && !fits) this.#giveBack(body.buffer as ArrayBuffer)
  }

  /** Nobody will ask for this frame again. What there is of it may be looked at until {@link free}. */
  release(position: number): void {
    const handed = this.#handed.get(position)
    if (handed !== undefined) {
      this.#released.push(handed)
      this.#handed.delete(position)
      this.#handedBytes -= handed.bytes
    }
    const read = this.#read.get(position)
    if (read !== undefined) this.#evict(position, read)
  }

  /** Gives the buffers of what was released back, or reads into them again. Nobody looks at any frame any more. */
  free(): void {
    this.#shrink(0)
    for (const buffer of this.#evicted) this.#spare.push(buffer)
    this.#evicted = []
    for (const { frame, kept } of this.#released) {
      if (frame !== undefined) this.#giveBack(frame.body.buffer as ArrayBuffer)
      this.#giveBack(kept.buffer as ArrayBuffer)
    }
    this.#released = []
  }

  /**
   * As {@link JournalReader.readFrame}. The last two frames stay until {@link free}, however large they are: they may hold
   * a million traces, and each of those asks for them.
   */
  frame(position: number): FrameBody {
    const handed = this.#handed.get(position)?.frame
    if (handed !== undefined) return handed
    let frame = this.#read.get(position)
    if (frame !== undefined) {
      this.#read.delete(position)
      this.#read.set(position, frame)
      return frame
    }
    frame = this.#reader.readFrame(position, this.#allocate)
    this.#read.set(position, frame)
    this.#readBytes += frame.bytes.length
    this.#shrink(KEPT_FRAMES)
    return frame
  }

  /** Lets the least recently used frames go until the rest is within the bound, or so many are left. */
  #shrink(kept: number): void {
    for (const [oldest, frame] of this.#read) {
      if (this.#readBytes <= this.#bounds.readBytes || this.#read.size <= kept) return
      this.#evict(oldest, frame)
    }
  }

  #evict(position: number, { bytes }: Frame): void {
    this.#read.delete(position)
    this.#readBytes -= bytes.length
    const buffer = Buffer.from(bytes.buffer)
    if (this.#waitingBytes + buffer.length > this.#bounds.readBytes) return
    this.#waitingBytes += buffer.length
    this.#evicted.push(buffer)
  }

  /** Out of the buffers that wait, the last one that is large enough and not much too large; else a new one. */
  readonly #allocate = (bytes: number): Buffer => {
    for (let at = this.#spare.length - 1; at >= 0; at--) {
      const buffer = this.#spare[at]!
      if (buffer.length < bytes || buffer.length > bytes * 2) continue
      this.#spare.splice(at, 1)
      this.#waitingBytes -= buffer.length
      return buffer.subarray(0, bytes)
    }
    // Others of the wrong sizes must not wait for ever.
    const old = this.#spare.shift()
    if (old !== undefined) this.#waitingBytes -= old.length
    return Buffer.allocUnsafeSlow(
      bytes < ROUNDED_BYTES ? bytes : Math.ceil(bytes / ROUNDED_BYTES) * ROUNDED_BYTES,
    ).subarray(0, bytes)
  }
}

const KEPT_FRAMES = 2

/** Buffers of large frames are made a little larger, so that the next frame fits as well. */
const ROUNDED_BYTES = 64 * 1024

/** Index of the last element that is not above a value, in an ascending list; -1 when there is none. */
function lastAtMost(ascending: readonly number[], value: number): number {
  let low = 0
  let high = ascending.length
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (ascending[middle]! <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}
