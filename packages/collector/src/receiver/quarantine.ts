/**
 * Keeps what was refused for good, so that somebody can find out who sends it and why.
 *
 * A directory of JSON-lines files, one record a line, the oldest file dropped when all of them together exceed a
 * bound. It is a help for people and not evidence: the journal and the log do not know of it.
 */
import * as nodeFiles from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { type Counters, type ReceiverName, Refusal } from './receiver.ts'

/** A refused span or log record as it was received. */
export interface QuarantinedSpan {
  /** Nanoseconds since the Unix epoch. */
  readonly time: bigint
  readonly receiver: ReceiverName
  readonly signal: 'traces' | 'logs'
  readonly reason: string
  /** Bytes of the messages Span (or LogRecord), Resource and InstrumentationScope; the latter two empty where there are none. */
  readonly span: Uint8Array
  readonly resource: Uint8Array
  readonly scope: Uint8Array
}

export interface Quarantine {
  /**
   * Resolves when the spans are on disk. Rejects with a `busy` refusal when too much is waiting for the disk, and
   * with the disk's own error when that refuses; the spans may be there or not.
   */
  keep(spans: readonly QuarantinedSpan[]): Promise<void>
  /** Writes what is pending and closes the file. */
  close(): Promise<void>
}

export interface QuarantineOptions {
  readonly directory: string
  readonly counters: Counters
  /** Bound over all files. Default 64 MiB. */
  readonly maxBytes?: number
  readonly files?: QuarantineFiles
}

/** The part of `node:fs/promises` that is used. */
export type QuarantineFiles = Pick<typeof nodeFiles, 'mkdir' | 'open' | 'readdir' | 'rm' | 'stat'>

const DEFAULT_MAX_BYTES = 64 * 1024 * 1024
const FULL_FILES = 8
/** Files of any size: each start of the process begins a new one, so that a torn last line stays the last. */
const MAX_FILES = 1024
export const QUARANTINE_FILE = /^quarantine-([0-9]{8})\.jsonl$/

interface Waiter {
  readonly text: string
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Opens the directory, creating it if need be, and goes on with a new file. */
export async function openQuarantine(options: QuarantineOptions): Promise<Quarantine> {
  const files = options.files ?? nodeFiles
  await files.mkdir(options.directory, { recursive: true })
  const known: KeptFile[] = []
  for (const name of (await files.readdir(options.directory)).sort()) {
    const match = QUARANTINE_FILE.exec(name)
    if (match === null) continue
    const { size } = await files.stat(join(options.directory, name))
    known.push({ number: Number(match[1]), size })
  }
  return new FileQuarantine(options, files, known)
}

interface KeptFile {
  readonly number: number
  size: number
}

// A record repeats its resource, so a hostile request with a large resource and many bad spans would be multiplied:
// what one request may have kept is a share of one file, and what waits for the disk is at most two files.
const REQUEST_SHARE = 8
const WAITING_FILES = 2
/** The most that a line holds beside its base64. */
const LINE_BYTES = 280

class FileQuarantine implements Quarantine {
  readonly #directory: string
  readonly #counters: Counters
  readonly #files: QuarantineFiles
  readonly #maxBytes: number
  readonly #fileBytes: number
  /** Oldest first. The last one is the one written to, if `#handle` is open. */
  readonly #kept: KeptFile[]
  #handle: nodeFiles.FileHandle | undefined
  #waiting: Waiter[] = []
  #waitingBytes = 0
  #writing: Promise<void> | undefined
  #closed = false

  constructor(options: QuarantineOptions, files: QuarantineFiles, kept: KeptFile[]) {
    this.#directory = options.directory
    this.#counters = options.counters
    this.#files = files
    this.#maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
    this.#fileBytes = Math.floor(this.#maxBytes / FULL_FILES)
    this.#kept = kept
  }

  keep(spans: readonly QuarantinedSpan[]): Promise<void> {
    if (this.#closed) return Promise.reject(new Error('the quarantine is closed'))
    const text = this.#format(spans)
    if (text === '') return Promise.resolve()
    if (this.#waitingBytes + text.length > WAITING_FILES * this.#fileBytes)
      return Promise.reject(new Refusal('busy', 'too many bad spans at once'))
    this.#waitingBytes += text.length
    return new Promise((resolve, reject) => {
      this.#waiting.push({ text, resolve, reject })
      this.#writing ??= this.#write()
    })
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#writing
    await this.#handle?.close()
    this.#handle = undefined
  }

  #format(spans: readonly QuarantinedSpan[]): string {
    const lines: string[] = []
    let left = this.#fileBytes / REQUEST_SHARE
    for (const span of spans) {
      // Checked before it is formatted: base64 grows by a third.
      const bytes = (span.span.length + span.resource.length + span.scope.length) * 1.34 + LINE_BYTES
      if (bytes > left) {
        this.#counters.add('quarantine_records_dropped', 1)
        continue
      }
      left -= bytes
      lines.push(formatQuarantined(span), '\n')
    }
    return lines.join('')
  }

  // One write and one sync for everybody who waits, as in the journal. Runs until nobody does.
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      try {
        for (const { text } of batch) await this.#append(text)
        await this.#handle!.datasync()
        for (const waiter of batch) waiter.resolve()
      } catch (error) {
        for (const waiter of batch) waiter.reject(error)
        // What a failed write or sync left behind is unknown, so nothing is appended to that file again.
        await this.#handle?.close().catch(() => undefined)
        this.#handle = undefined
      } finally {
        for (const { text } of batch) this.#waitingBytes -= text.length
      }
    }
    this.#writing = undefined
  }

  async #append(text: string): Promise<void> {
    const size = Buffer.byteLength(text)
    const current = this.#kept.at(-1)
    if (this.#handle === undefined || current === undefined || current.size + size > this.#fileBytes)
      await this.#startFile()
    this.#kept.at(-1)!.size += size
    await this.#handle!.appendFile(text)
  }

  // The oldest files go first, then the new one begins: the bound holds at every moment, with the new file full. Its
  // name is synced with the directory before any record in it is acknowledged.
  async #startFile(): Promise<void> {
    await this.#handle?.datasync()
    await this.#handle?.close()
    this.#handle = undefined
    let total = 0
    for (const { size } of this.#kept) total += size
    while (
      this.#kept.length > 0 &&
      (total + this.#fileBytes > this.#maxBytes || this.#kept.length >= MAX_FILES)
    ) {
      const oldest = this.#kept[0]!
      await this.#files.rm(this.#path(oldest.number), { force: true })
      this.#kept.shift()
      total -= oldest.size
      this.#counters.add('quarantine_files_dropped', 1)
    }
    const number = (this.#kept.at(-1)?.number ?? 0) + 1
    this.#handle = await this.#files.open(this.#path(number), 'ax', 0o600)
    this.#kept.push({ number, size: 0 })
    const directory = await this.#files.open(this.#directory, 'r')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }

  #path(number: number): string {
    return join(this.#directory, `quarantine-${String(number).padStart(8, '0')}.jsonl`)
  }
}

/** One record as one line of JSON, without the line end; its last member is the CRC-32 of the others. */
function formatQuarantined(record: QuarantinedSpan): string {
  return sealLine({
    time: String(record.time),
    receiver: record.receiver,
    signal: record.signal,
    reason: record.reason,
    span: base64(record.span),
    resource: base64(record.resource),
    scope: base64(record.scope),
  })
}

function sealLine(members: object): string {
  const crc = crc32(JSON.stringify(members)).toString(16).padStart(8, '0')
  return JSON.stringify({ ...members, crc32: crc })
}

/** What is wrong with a line that was kept, as it is after its `\n` was cut off; undefined when it is undamaged. */
export function findLineFault(line: string): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return 'is not JSON'
  }
  if (typeof value !== 'object' || value === null) return 'is not a JSON object'
  const { crc32: _, ...members } = value as Record<string, unknown>
  return sealLine(members) === line ? undefined : 'is not what its checksum covers'
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}
