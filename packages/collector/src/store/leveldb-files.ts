/**
 * Checks LevelDB's own files without opening the database.
 *
 * LevelDB as it comes to us verifies no table checksum, and a bad record in its write-ahead log makes it drop the
 * rest of that block and open all the same; opening then deletes the log. So damage has to be looked for before
 * the database is opened. This file reads the formats that LevelDB 1.20 writes (its log_format, table_format and
 * version_edit); every byte of a file named under `checked` is covered by a checksum or has one allowed value.
 *
 * Known holes: a file cut off exactly between two records of the newest log, a zeroed end of it, and a whole older
 * copy of the directory are well-formed here. The caller's commit chain and the signer's memory tell those.
 */
import { type FileHandle, open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32c, unmaskCrc } from './crc32c.ts'
import { checkTable } from './leveldb-table.ts'

/** Damage: what LevelDB wrote is not what is there. `offset` is where the damaged record or block begins. */
export interface LevelProblem {
  readonly file: string
  readonly offset: number
  readonly what: string
}

/**
 * - `torn`: a last record that its writer did not finish, as a crash leaves it. LevelDB drops it silently, so no
 *   write that was acknowledged as synced may be in it: compare with the commit chain after opening.
 * - `checked`: files whose every byte was checked. A table is here only if `tables` was set.
 * - `notChecked`: all other files of the directory, and why.
 */
export interface LevelFilesReport {
  readonly problems: LevelProblem[]
  readonly torn: LevelProblem[]
  readonly checked: { readonly file: string; readonly bytes: number }[]
  readonly notChecked: { readonly file: string; readonly why: string }[]
}

/**
 * Checks CURRENT, the manifest, the write-ahead logs and, if `tables` is set, every table of a closed database.
 *
 * Without `tables` the tables' presence and sizes are still held against the manifest. Reads the logs in pieces of
 * 1 MiB and one table at a time. Throws what the file system throws; damage never throws.
 */
export async function checkLevelFiles(
  directory: string,
  options: { tables: boolean },
): Promise<LevelFilesReport> {
  const report: LevelFilesReport = { problems: [], torn: [], checked: [], notChecked: [] }
  const names = (await readdir(directory)).sort()
  const version = await checkManifest(directory, names, report)
  await checkLogs(directory, names, version, report)
  await checkTables(directory, names, version, options.tables, report)
  for (const file of names) {
    const why = notCheckedReason(file)
    if (why !== undefined) report.notChecked.push({ file, why })
  }
  return report
}

const LOG_FILE = /^([0-9]{6,})\.log$/
const TABLE_FILE = /^([0-9]{6,})\.(?:ldb|sst)$/
const MANIFEST_FILE = /^MANIFEST-([0-9]{6,})$/
const LEFT_OVER = 'left over: the manifest does not name it, LevelDB deletes it when it opens'

function notCheckedReason(file: string): string | undefined {
  if (file === 'CURRENT' || LOG_FILE.test(file) || TABLE_FILE.test(file) || MANIFEST_FILE.test(file))
    return undefined
  if (file === 'LOG' || file === 'LOG.old') return "LevelDB's text log: nothing is read from it"
  if (file === 'LOCK') return 'lock: holds nothing'
  if (/^[0-9]{6,}\.dbtmp$/.test(file)) return 'left over from replacing CURRENT'
  return 'not a file of LevelDB'
}

// --- CURRENT and the manifest

/** The state that a manifest describes (LevelDB's `Version`). */
interface LevelVersion {
  /** Logs from this number on hold writes that are in no table yet. */
  logNumber: number
  previousLogNumber: number
  /** Live tables: number to size in bytes, by level. */
  readonly tables: Map<string, { readonly number: number; readonly size: number }>
  nextFile: number | undefined
  lastSequence: bigint | undefined
}

/** Undefined when the manifest cannot be trusted; then every file is taken as live. */
async function checkManifest(
  directory: string,
  names: readonly string[],
  report: LevelFilesReport,
): Promise<LevelVersion | undefined> {
  const manifests = names.filter((name) => MANIFEST_FILE.test(name))
  let current: string | undefined
  if (!names.includes('CURRENT')) report.problems.push({ file: 'CURRENT', offset: 0, what: 'is missing' })
  else {
    const text = await readFile(join(directory, 'CURRENT'), 'latin1')
    current = text.endsWith('\n') ? text.slice(0, -1) : undefined
    if (current !== undefined && manifests.includes(current))
      report.checked.push({ file: 'CURRENT', bytes: text.length })
    else {
      const what = `does not name a manifest that is there: ${JSON.stringify(text.slice(0, 40))}`
      report.problems.push({ file: 'CURRENT', offset: 0, what })
      current = undefined
    }
  }
  for (const file of manifests)
    if (current !== undefined && file !== current) report.notChecked.push({ file, why: LEFT_OVER })
  if (current === undefined) {
    for (const file of manifests) await walkLog(directory, file, report)
    return undefined
  }
  const version: LevelVersion = {
    logNumber: 0,
    previousLogNumber: 0,
    tables: new Map(),
    nextFile: undefined,
    lastSequence: undefined,
  }
  const before = report.problems.length
  await walkLog(directory, current, report, (record, offset) => {
    const what = applyEdit(version, record)
    if (what !== undefined) report.problems.push({ file: current, offset, what })
  })
  if (report.problems.length > before) return undefined
  if (version.nextFile === undefined || version.lastSequence === undefined) {
    report.problems.push({ file: current, offset: 0, what: 'describes no complete state' })
    return undefined
  }
  return version
}

/** Applies one `VersionEdit` record; answers what is wrong with it, if anything. */
function applyEdit(version: LevelVersion, record: Uint8Array): string | undefined {
  const input = new Input(record)
  const added: [string, { number: number; size: number }][] = []
  const deleted: string[] = []
  while (!input.done) {
    const tag = input.varint()
    if (tag === 1) {
      const comparator = input.text()
      if (comparator !== 'leveldb.BytewiseComparator') return `an unknown comparator: ${comparator}`
    } else if (tag === 2) version.logNumber = input.varint()
    else if (tag === 3) version.nextFile = input.varint()
    else if (tag === 4) version.lastSequence = input.varint64()
    else if (tag === 5) {
      input.varint() // level of a compaction pointer, and its key
      input.bytes()
    } else if (tag === 6) deleted.push(`${input.varint()}/${input.varint()}`)
    else if (tag === 7) {
      const level = input.varint()
      const number = input.varint()
      const size = input.varint()
      input.bytes() // smallest key
      input.bytes() // largest key
      added.push([`${level}/${number}`, { number, size }])
    } else if (tag === 9) version.previousLogNumber = input.varint()
    else return `an unknown field ${tag} in a version edit`
    if (input.failed) return 'a version edit that is cut off'
  }
  for (const key of deleted) version.tables.delete(key)
  for (const [key, table] of added) version.tables.set(key, table)
  return undefined
}

/** LevelDB's varints and length-prefixed strings; after a failure every answer is empty and `failed` is set. */
class Input {
  failed = false
  #at = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.failed || this.#at >= this.#bytes.length
  }

  varint64(): bigint {
    let value = 0n
    for (let shift = 0n; shift < 64n; shift += 7n) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) break
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    this.failed = true
    return 0n
  }

  varint(): number {
    const value = Number(this.varint64())
    if (!Number.isSafeInteger(value)) this.failed = true
    return value
  }

  bytes(): Uint8Array {
    const size = this.varint()
    if (size > this.#bytes.length - this.#at) this.failed = true
    if (this.failed) return new Uint8Array(0)
    this.#at += size
    return this.#bytes.subarray(this.#at - size, this.#at)
  }

  text(): string {
    return Buffer.from(this.bytes()).toString('latin1')
  }
}

// --- write-ahead logs

async function checkLogs(
  directory: string,
  names: readonly string[],
  version: LevelVersion | undefined,
  report: LevelFilesReport,
): Promise<void> {
  const numbers = new Map<number, string>()
  for (const file of names) {
    const number = Number(LOG_FILE.exec(file)?.[1] ?? Number.NaN)
    if (Number.isNaN(number)) continue
    if (version !== undefined && number < version.logNumber && number !== version.previousLogNumber)
      report.notChecked.push({ file, why: LEFT_OVER })
    else numbers.set(number, file)
  }
  // LevelDB creates a log before the manifest names it, and would open without it as if nothing had been written.
  if (version !== undefined && version.logNumber > 0 && !numbers.has(version.logNumber)) {
    const file = `${String(version.logNumber).padStart(6, '0')}.log`
    report.problems.push({ file, offset: 0, what: 'is missing, though the manifest names it' })
  }
  const files = [...numbers].sort(([a], [b]) => a - b).map(([, file]) => file)
  const torn: LevelProblem[] = []
  for (const [index, file] of files.entries()) {
    const before = report.torn.length
    const bytes = await walkLog(directory, file, report)
    // A newer log is begun only when the last record of this one is complete.
    if (index > 0 && bytes > 0)
      report.problems.push(
        ...torn.splice(0).map((tear) => ({ ...tear, what: `${tear.what}, though a newer log follows` })),
      )
    torn.push(...report.torn.splice(before))
  }
  report.torn.push(...torn)
}

const LOG_BLOCK = 32_768
const HEADER = 7 // masked crc32c, 16-bit length, type
const FULL = 1
const FIRST = 2
const LAST = 4 // 3 is a middle part
const READ_SIZE = 32 * LOG_BLOCK

/**
 * Checks one file in LevelDB's log format, a write-ahead log or a manifest, and adds what it finds to the report.
 * `onRecord` gets every complete record with the offset where it begins; its bytes are the callee's to keep.
 * Answers the file's size.
 */
async function walkLog(
  directory: string,
  file: string,
  report: LevelFilesReport,
  onRecord?: (record: Uint8Array, offset: number) => void,
): Promise<number> {
  const handle = await open(join(directory, file), 'r')
  try {
    const { size } = await handle.stat()
    const walk = new LogWalk(file, size, report, onRecord)
    const buffer = new Uint8Array(Math.min(READ_SIZE, size))
    for (let at = 0; at < size; ) {
      const piece = buffer.subarray(0, Math.min(READ_SIZE, size - at))
      await readFully(handle, piece, at)
      for (let block = 0; block < piece.length; block += LOG_BLOCK) {
        walk.block(piece.subarray(block, Math.min(block + LOG_BLOCK, piece.length)), at + block)
      }
      at += piece.length
    }
    walk.end()
    report.checked.push({ file, bytes: size })
    return size
  } finally {
    await handle.close()
  }
}

async function readFully(handle: FileHandle, into: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < into.length; ) {
    const { bytesRead } = await handle.read(into, at, into.length - at, position + at)
    if (bytesRead === 0) throw new Error('a file of LevelDB shrinks while it is read')
    at += bytesRead
  }
}

/** The state of walking one log: which logical record is open, and whether only zeros were seen since. */
class LogWalk {
  readonly #file: string
  readonly #size: number
  readonly #report: LevelFilesReport
  readonly #onRecord: ((record: Uint8Array, offset: number) => void) | undefined
  #parts: Uint8Array[] = []
  /** Where the open logical record begins; -1 if none is open; -2 if a bad block hid whether one is. */
  #open = -1
  /** Where zeros began that so far run to the end of the file; -1 if none did. */
  #zeros = -1

  constructor(
    file: string,
    size: number,
    report: LevelFilesReport,
    onRecord: ((record: Uint8Array, offset: number) => void) | undefined,
  ) {
    this.#file = file
    this.#size = size
    this.#report = report
    this.#onRecord = onRecord
  }

  /** One block of 32 KiB; the file's last may be shorter. */
  block(block: Uint8Array, base: number): void {
    let at = 0
    while (this.#zeros < 0 && block.length - at >= HEADER) {
      if (isZero(block, at, at + HEADER)) {
        this.#zeros = base + at
        break
      }
      const length = block[at + 4]! | (block[at + 5]! << 8)
      const end = at + HEADER + length
      const what = this.#recordProblem(block, at, length)
      if (what !== undefined) {
        this.#problem(base + at, what)
        return // as LevelDB does: a length that may be wrong leads nowhere, the next block begins with a record
      }
      if (end > block.length) {
        this.#tear(base + at, 'a record that the end of the file cuts off')
        return
      }
      this.#take(block[at + 6]!, block.subarray(at + HEADER, end), base + at)
      at = end
    }
    if (this.#zeros < 0) this.#trailer(block, at, base)
    else if (!isZero(block, at, block.length)) {
      this.#problem(this.#zeros, 'zeros where a record should be')
      this.#zeros = -1
    }
  }

  end(): void {
    if (this.#zeros >= 0) this.#tear(this.#zeros, 'zeros up to the end of the file')
    else if (this.#open >= 0) this.#tear(this.#open, 'a record without its last part')
  }

  /** Fewer than 7 bytes are left: padding, which is zero, if the block ends here; a torn header otherwise. */
  #trailer(block: Uint8Array, at: number, base: number): void {
    if (at === block.length) return
    if (at > LOG_BLOCK - HEADER) {
      if (!isZero(block, at, block.length)) this.#problem(base + at, 'padding that is not zero')
    } else this.#tear(base + at, 'a record header that the end of the file cuts off')
  }

  /** What is wrong with the record at `at`. Nothing is if it is cut off by the end of the file. */
  #recordProblem(block: Uint8Array, at: number, length: number): string | undefined {
    const type = block[at + 6]!
    const begins = type === FULL || type === FIRST
    if (type < FULL || type > LAST) return `an unknown record type ${type}`
    if (begins && this.#open >= 0) return `a record begins, though the one at ${this.#open} has not ended`
    if (!begins && this.#open === -1) return 'a record goes on that never began'
    if (length > LOG_BLOCK - at - HEADER) return 'a record that runs over its block'
    if (length > block.length - at - HEADER) {
      const real = lengthByChecksum(block, at)
      return real === undefined
        ? undefined
        : `a record length of ${length}, though its checksum holds for ${real}`
    }
    const holds = crc32c(block, at + 6, at + HEADER + length) === unmaskCrc(word(block, at))
    return holds ? undefined : 'a record whose checksum does not hold'
  }

  #take(type: number, payload: Uint8Array, offset: number): void {
    if (type === FULL || type === FIRST) {
      this.#open = offset
      this.#parts = []
    } else if (this.#open === -2) {
      if (type === LAST) this.#open = -1
      return
    }
    if (this.#onRecord !== undefined) this.#parts.push(payload.slice())
    if (type === FULL || type === LAST) {
      this.#onRecord?.(Buffer.concat(this.#parts), this.#open)
      this.#open = -1
      this.#parts = []
    }
  }

  #problem(offset: number, what: string): void {
    this.#report.problems.push({ file: this.#file, offset, what })
    this.#open = -2
  }

  #tear(offset: number, what: string): void {
    // A record that began before the tear is torn from there on.
    const start = this.#open >= 0 ? this.#open : offset
    this.#report.torn.push({ file: this.#file, offset: start, what: `${what} (${this.#size - start} bytes)` })
    this.#open = -1
  }
}

/**
 * Tells a damaged length from a torn record. The checksum covers type and payload but not the length, so where a
 * complete record has a length that runs past the end of the file, some shorter payload still fits the checksum.
 * A record that is really torn passes for damaged with a chance of 32,768 in 2^32 at most.
 */
function lengthByChecksum(block: Uint8Array, at: number): number | undefined {
  const wanted = unmaskCrc(word(block, at))
  let crc = crc32c(block, at + 6, at + HEADER)
  for (let end = at + HEADER; ; end++) {
    if (crc === wanted) return end - at - HEADER
    if (end === block.length) return undefined
    crc = crc32c(block, end, end + 1, crc)
  }
}

function isZero(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (bytes[at] !== 0) return false
  return true
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
}

// --- tables

async function checkTables(
  directory: string,
  names: readonly string[],
  version: LevelVersion | undefined,
  contents: boolean,
  report: LevelFilesReport,
): Promise<void> {
  const sizes = version && new Map([...version.tables.values()].map(({ number, size }) => [number, size]))
  for (const file of names) {
    const number = Number(TABLE_FILE.exec(file)?.[1] ?? Number.NaN)
    if (Number.isNaN(number)) continue
    const size = sizes?.get(number)
    sizes?.delete(number)
    if (sizes !== undefined && size === undefined) {
      report.notChecked.push({ file, why: LEFT_OVER })
      continue
    }
    const path = join(directory, file)
    const actual = (await stat(path)).size
    if (size !== undefined && size !== actual) {
      report.problems.push({
        file,
        offset: Math.min(size, actual),
        what: `has ${actual} bytes, the manifest says ${size}`,
      })
    } else if (contents) {
      for (const problem of checkTable(await readFile(path))) report.problems.push({ file, ...problem })
      report.checked.push({ file, bytes: actual })
    } else report.notChecked.push({ file, why: 'a table: only its size was compared' })
  }
  for (const number of sizes?.keys() ?? []) {
    const file = `${String(number).padStart(6, '0')}.ldb`
    report.problems.push({ file, offset: 0, what: 'is missing, though the manifest names it' })
  }
}
