/**
 * The spool: governed spans on disk until the collector has acknowledged them.
 *
 * A process appends to files of its own, `<emitter>.<number>.spool`, holds their lock, and removes the oldest once all
 * in it is acknowledged. What a process leaves behind another one sends (orphans.ts). Acknowledgements are not
 * written down: after a restart the files that are left are sent again, and the collector knows what it has.
 *
 * Every span is written before `add` returns, so a process that is killed loses none. Files are synced in the
 * background, `SYNC_MILLIS` after a write: a machine that loses power loses what came after the last sync.
 *
 * Full: what is there stays, what is new is refused. The bound is on the whole directory; processes that share it look
 * at each other's files once per `SEGMENT_BYTES` that they write.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Log } from '../log.ts'
import type { Batch, Queue } from './queue.ts'
import type { Encode } from './request.ts'
import { keyOf, type ReadableSpan } from './span.ts'
import { encodeFrame, HEAD_BYTES, Kind, MAGIC, MAX_PAYLOAD, readFrame } from './spool-file.ts'
import { type Lock, takeLock } from './spool-lock.ts'

export interface SpoolOptions {
  readonly directory: string
  readonly maxBytes: number
  /** Whose spans these are: 32 hex digits. */
  readonly emitter: string
  readonly encode: Encode
  readonly log: Log
}

export const SEGMENT_BYTES = 4 << 20
/** A file that is sent as a whole is replaced by a new one from this size on. */
const TIDY_BYTES = 1 << 20
const SYNC_MILLIS = 1000
const LOOK_MILLIS = 1000
const MAX_BATCH_BYTES = 2 << 20

interface Segment {
  readonly number: number
  readonly path: string
  readonly fd: number
  size: number
}

interface Place {
  readonly segment: Segment
  readonly at: number
}

interface SpoolBatch extends Batch {
  readonly end: Place
}

export class Spool implements Queue {
  readonly #options: SpoolOptions
  readonly #lock: Lock
  /** Oldest first; the last is written to. */
  readonly #segments: Segment[] = []
  /** Newest frames of spans that have not ended. */
  readonly #open = new Map<string, Place>()
  #read: Place
  /** Bytes of the whole directory as far as is known. */
  #used = 0
  #waiting = 0
  #lookedAt = 0
  #isClosed = false
  #syncing: NodeJS.Timeout | undefined

  /** Throws if the directory cannot be written. */
  constructor(options: SpoolOptions) {
    this.#options = options
    const { directory, emitter } = options
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const lock = takeLock(directory, emitter)
    if (lock === undefined) throw new Error('another process has this emitter')
    this.#lock = lock
    this.#read = { segment: this.#rotate(), at: MAGIC.length }
  }

  get waiting(): number {
    return this.#isClosed ? 0 : this.#waiting
  }

  add(span: ReadableSpan, isLast = false): boolean {
    if (this.#isClosed) return false
    const request = this.#encoded(span)
    const key = keyOf(span)
    if (request === undefined || this.#append(Kind.ended, key, request, isLast) === undefined) return false
    this.#open.delete(key.toString('hex'))
    this.#waiting++
    return true
  }

  keep(span: ReadableSpan): void {
    if (this.#isClosed) return
    const request = this.#encoded(span)
    const key = keyOf(span)
    const place = request && this.#append(Kind.open, key, request)
    if (place !== undefined) this.#open.set(key.toString('hex'), place)
  }

  next(maxSpans: number): Batch | undefined {
    if (this.#isClosed) return undefined
    const requests: Uint8Array[] = []
    let bytes = 0
    let { segment, at } = this.#read
    while (requests.length < maxSpans && bytes < MAX_BATCH_BYTES) {
      const frame = at < segment.size ? readFrame(segment.fd, at) : undefined
      if (frame === undefined) {
        if (at < segment.size) this.#options.log.once('a spool file was changed by somebody else')
        const following = this.#segments[this.#segments.indexOf(segment) + 1]
        if (following === undefined) break
        ;({ segment, at } = { segment: following, at: MAGIC.length })
        continue
      }
      at = frame.end
      if (frame.kind !== Kind.ended) continue
      requests.push(frame.request)
      bytes += frame.request.length
    }
    if (requests.length === 0) return undefined
    // Requests one after the other are one request: their spans are repeated fields.
    const batch: SpoolBatch = {
      spans: requests.length,
      body: () => Buffer.concat(requests),
      end: { segment, at },
    }
    return batch
  }

  forget(batch: Batch): void {
    if (this.#isClosed) return
    this.#read = (batch as SpoolBatch).end
    this.#waiting -= batch.spans
    const active = this.#segments.at(-1)!
    if (this.#waiting === 0 && active.size >= Math.min(TIDY_BYTES, this.#options.maxBytes / 4)) {
      try {
        this.#read = { segment: this.#rotate(), at: MAGIC.length }
      } catch {
        // The file stays until there is room for another.
      }
    }
    while (this.#segments[0] !== this.#read.segment) this.#remove(this.#segments.shift()!)
  }

  /** To be called every few seconds: false if another process has taken the files over. */
  renew(): boolean {
    return this.#isClosed || this.#lock.renew()
  }

  /** Removes everything if nothing waits, else leaves it to another process. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#syncing)
    const isDone = this.#waiting === 0 && this.#open.size === 0
    for (const { fd, path } of this.#segments) {
      if (!isDone) fdatasyncSync(fd)
      closeSync(fd)
      if (isDone) rmSync(path, { force: true })
    }
    this.#lock.release()
  }

  /** Stops without touching files that are another's now. */
  abandon(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#syncing)
    for (const { fd } of this.#segments) closeSync(fd)
  }

  #encoded(span: ReadableSpan): Uint8Array | undefined {
    try {
      return this.#options.encode([span])
    } catch (error) {
      this.#options.log.failed('encoding a span', error)
      return undefined
    }
  }

  /** Undefined if it does not fit or cannot be written. Nothing of it is left then. */
  #append(kind: Kind, key: Uint8Array, request: Uint8Array, isLast = false): Place | undefined {
    if (request.length + key.length > MAX_PAYLOAD) return undefined
    const length = HEAD_BYTES + key.length + request.length
    let segment = this.#segments.at(-1)!
    try {
      if (segment.size + length > SEGMENT_BYTES && segment.size > MAGIC.length) segment = this.#rotate()
      if (!isLast && !this.#fits(length)) {
        this.#options.log.once('the spool is full: what is in it stays, new spans are refused and counted')
        return undefined
      }
      write(segment.fd, encodeFrame(kind, key, request), segment.size)
    } catch (error) {
      const { code = 'an error' } = error as NodeJS.ErrnoException
      this.#options.log.once(`the spool cannot be written (${code}): spans are refused and counted`)
      try {
        ftruncateSync(segment.fd, segment.size)
      } catch {
        // The reader stops at a frame that is not whole.
      }
      return undefined
    }
    const place = { segment, at: segment.size }
    segment.size += length
    this.#used += length
    this.#syncing ??= this.#syncLater()
    return place
  }

  /** Others may have freed what they had: when it looks full, that is looked at, once per `LOOK_MILLIS`. */
  #fits(length: number): boolean {
    const { maxBytes, directory } = this.#options
    if (this.#used + length <= maxBytes) return true
    if (Date.now() - this.#lookedAt < LOOK_MILLIS) return false
    this.#lookedAt = Date.now()
    this.#used = sizeOf(directory)
    return this.#used + length <= maxBytes
  }

  #syncLater(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#syncing = undefined
      const { fd } = this.#segments.at(-1)!
      fdatasync(fd, (error) => {
        // The file may be gone by now.
        if (error !== null && error.code !== 'EBADF')
          this.#options.log.once(`the spool cannot be synced (${error.code})`)
      })
    }, SYNC_MILLIS)
    timer.unref()
    return timer
  }

  /** Starts a new file. Waits for the disk: once per `SEGMENT_BYTES`. If it throws, nothing has changed. */
  #rotate(): Segment {
    const { directory, emitter } = this.#options
    const before = this.#segments.at(-1)
    if (before !== undefined) fdatasyncSync(before.fd)
    const number = (before?.number ?? 0) + 1
    const path = join(directory, `${emitter}.${String(number).padStart(8, '0')}.spool`)
    const fd = openSync(path, 'wx+', 0o600)
    try {
      write(fd, MAGIC, 0)
    } catch (error) {
      closeSync(fd)
      rmSync(path, { force: true })
      throw error
    }
    syncDirectory(directory)
    const segment = { number, path, fd, size: MAGIC.length }
    this.#segments.push(segment)
    this.#used = sizeOf(directory)
    return segment
  }

  /** Removes the oldest file; what it holds of open spans goes into the newest. */
  #remove({ fd, path, size }: Segment): void {
    for (const [key, { segment, at }] of this.#open) {
      if (segment.fd !== fd) continue
      const frame = readFrame(fd, at)
      const place = frame && this.#append(Kind.open, Buffer.from(key, 'hex'), frame.request)
      if (place === undefined) this.#open.delete(key)
      else this.#open.set(key, place)
    }
    closeSync(fd)
    rmSync(path, { force: true })
    this.#used -= size
  }
}

/** Throws if not all of it could be written: a full disk may take a part. */
function write(fd: number, bytes: Uint8Array, position: number): void {
  const written = writeSync(fd, bytes, 0, bytes.length, position)
  if (written < bytes.length) throw Object.assign(new Error('no room'), { code: 'ENOSPC' })
}

function sizeOf(directory: string): number {
  let size = 0
  for (const name of readdirSync(directory))
    if (name.endsWith('.spool')) size += statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0
  return size
}

/** So that a new file's name survives a loss of power. Not every platform can. */
function syncDirectory(directory: string): void {
  try {
    const fd = openSync(directory, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch {
    // Windows opens no directories.
  }
}
