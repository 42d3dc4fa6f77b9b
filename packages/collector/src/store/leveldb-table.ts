/**
 * One table file of LevelDB (`.ldb`, `.sst`; its doc/table_format): data blocks, filter and meta blocks, an index,
 * and a footer of 48 bytes. Each block is followed by its compression type and a masked CRC-32C of both.
 */
import { crc32c, unmaskCrc } from './crc32c.ts'

const TRAILER = 5
const FOOTER = 48
const MAGIC = Buffer.from('57fb808b247547db', 'hex')
const PLAIN = 0
const SNAPPY = 1
/** An index has about 30 bytes per data block of 4 KiB and tables are at most 1 GiB. */
const MAX_INDEX = 64 * 1024 * 1024

interface Extent {
  readonly offset: number
  readonly size: number
}

class TableDamage extends Error {
  readonly offset: number

  constructor(offset: number, what: string) {
    super(what)
    this.offset = offset
  }
}

/**
 * What is wrong with a whole table: nothing means that every byte of it is covered, once, by a block whose checksum
 * holds or by the footer. Reports every bad block; a bad footer or index ends the check.
 */
export function checkTable(bytes: Uint8Array): { offset: number; what: string }[] {
  const problems: { offset: number; what: string }[] = []
  const attempt = <T>(check: () => T): T | undefined => {
    try {
      return check()
    } catch (error) {
      if (!(error instanceof TableDamage)) throw error
      problems.push({ offset: error.offset, what: error.message })
      return undefined
    }
  }
  const footer = attempt(() => readFooter(bytes))
  if (footer === undefined) return problems
  const index = attempt(() => readEntries(bytes, footer.index))
  const meta = attempt(() => readEntries(bytes, footer.meta))
  if (index === undefined || meta === undefined) return problems
  for (const block of [...index, ...meta]) attempt(() => checkBlock(bytes, block))
  attempt(() => checkCoverage(bytes, [...index, ...meta, footer.meta, footer.index]))
  return problems
}

/** Two block handles, zeros up to 40 bytes, and the magic number. */
function readFooter(bytes: Uint8Array): { meta: Extent; index: Extent } {
  const start = bytes.length - FOOTER
  if (start < 0) throw new TableDamage(0, 'is shorter than a footer')
  if (Buffer.compare(MAGIC, bytes.subarray(bytes.length - MAGIC.length)) !== 0)
    throw new TableDamage(start, "a footer without LevelDB's magic number")
  const input = new Handles(bytes, start, bytes.length - MAGIC.length)
  const meta = input.extent()
  const index = input.extent()
  for (let at = input.at; at < bytes.length - MAGIC.length; at++)
    if (bytes[at] !== 0) throw new TableDamage(start, 'a footer whose padding is not zero')
  return { meta, index }
}

function checkBlock(bytes: Uint8Array, block: Extent): void {
  const end = block.offset + block.size
  const footer = bytes.length - FOOTER
  if (end + TRAILER > footer)
    throw new TableDamage(Math.min(block.offset, footer), 'a block that runs into the footer')
  const stored = new DataView(bytes.buffer, bytes.byteOffset).getUint32(end + 1, true)
  if (crc32c(bytes, block.offset, end + 1) !== unmaskCrc(stored))
    throw new TableDamage(block.offset, 'a block whose checksum does not hold')
  const type = bytes[end]!
  if (type !== PLAIN && type !== SNAPPY)
    throw new TableDamage(block.offset, `a block of compression type ${type}, which is not supported`)
}

/** Blocks must lie end to end from the first byte to the footer. */
function checkCoverage(bytes: Uint8Array, blocks: readonly Extent[]): void {
  let at = 0
  for (const block of [...blocks].sort((a, b) => a.offset - b.offset)) {
    if (block.offset !== at)
      throw new TableDamage(
        Math.min(at, block.offset),
        block.offset > at ? 'bytes that no block covers' : 'blocks that overlap',
      )
    at += block.size + TRAILER
  }
  if (at !== bytes.length - FOOTER) throw new TableDamage(at, 'bytes that no block covers')
}

/** The block handles that an index or meta index block lists as its values. */
function readEntries(bytes: Uint8Array, block: Extent): Extent[] {
  checkBlock(bytes, block)
  const stored = bytes.subarray(block.offset, block.offset + block.size)
  const bad = () => new TableDamage(block.offset, 'an index block that does not parse')
  const plain = bytes[block.offset + block.size] === SNAPPY ? decompressSnappy(stored) : stored
  if (plain === undefined || plain.length < 4) throw bad()
  const restarts = new DataView(plain.buffer, plain.byteOffset).getUint32(plain.length - 4, true)
  const limit = plain.length - 4 - 4 * restarts
  if (limit < 0) throw bad()
  const extents: Extent[] = []
  const input = new Handles(plain, 0, limit, bad)
  while (input.at < limit) {
    input.varint() // bytes shared with the key before
    const keySize = input.varint()
    const valueSize = input.varint()
    const valueStart = input.at + keySize
    if (valueStart + valueSize > limit) throw bad()
    const value = new Handles(plain, valueStart, valueStart + valueSize, bad)
    extents.push(value.extent())
    input.at = valueStart + valueSize
    if (value.at !== input.at) throw bad()
  }
  return extents
}

/** Reads block handles: pairs of minimal varints. */
class Handles {
  at: number
  readonly #bytes: Uint8Array
  readonly #end: number
  readonly #bad: () => TableDamage

  constructor(
    bytes: Uint8Array,
    start: number,
    end: number,
    bad = () => new TableDamage(start, 'a footer that does not parse'),
  ) {
    this.#bytes = bytes
    this.at = start
    this.#end = end
    this.#bad = bad
  }

  extent(): Extent {
    return { offset: this.varint(), size: this.varint() }
  }

  varint(): number {
    let value = 0
    for (let scale = 1; this.at < this.#end && scale <= 2 ** 42; scale *= 128) {
      const byte = this.#bytes[this.at++]!
      value += (byte & 0x7f) * scale
      if (byte >= 0x80) continue
      if (byte === 0 && scale > 1) break // not minimal: a changed byte that means the same
      return value
    }
    throw this.#bad()
  }
}

/** Snappy's raw format (its format_description); undefined if it does not parse. */
export function decompressSnappy(input: Uint8Array): Uint8Array | undefined {
  let at = 0
  let size = 0
  for (let shift = 0; ; shift += 7) {
    const byte = input[at++]
    if (byte === undefined || shift > 28) return undefined
    size += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) break
  }
  if (size > MAX_INDEX) return undefined
  const out = new Uint8Array(size)
  let to = 0
  while (at < input.length) {
    const tag = input[at++]!
    const kind = tag & 3
    const extra = kind === 0 ? Math.max(0, (tag >>> 2) - 59) : kind === 3 ? 4 : kind
    if (extra > input.length - at) return undefined
    let operand = 0
    for (let i = 0; i < extra; i++) operand += input[at++]! * 2 ** (8 * i)
    if (kind === 0) {
      const length = (extra === 0 ? tag >>> 2 : operand) + 1
      if (length > input.length - at || length > size - to) return undefined
      out.set(input.subarray(at, at + length), to)
      at += length
      to += length
      continue
    }
    const length = kind === 1 ? ((tag >>> 2) & 7) + 4 : (tag >>> 2) + 1
    const back = kind === 1 ? ((tag >>> 5) << 8) + operand : operand
    if (back === 0 || back > to || length > size - to) return undefined
    for (const end = to + length; to < end; to++) out[to] = out[to - back]!
  }
  return to === size ? out : undefined
}
