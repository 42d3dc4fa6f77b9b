/** The blocks of the packs: each is named, whole and filled with what names it; between them only void ones. */
import { stat } from 'node:fs/promises'
import { voidLength } from '../erase/void.ts'
import { hasCode } from '../files.ts'
import {
  type BlockRef,
  MAX_BLOCK_BYTES,
  PACK_HEADER_BYTES,
  PackCorruption,
  type PackReader,
  type PackTail,
} from '../pack.ts'
import { MAX_BUNDLE_BYTES } from '../store/bundles.ts'
import type { SegmentRow } from '../store/rows.ts'
import type { Findings } from './report.ts'

/** Decompressed blocks that are kept: what was moved by an erasure is not in the order of the log. */
const KEPT = 4

/** The packs on disk; none when there is no directory yet. */
export function packFiles(packs: PackReader, findings: Findings): { pack: number; path: string }[] {
  try {
    return packs.packs().map((pack) => ({ pack, path: packs.path(pack) }))
  } catch (error) {
    if (error instanceof PackCorruption) findings.problem(error.file, error.reason)
    else if (!hasCode(error, 'ENOENT')) throw error
    return []
  }
}

/** A block that was named: its length, and how much of what is in it was named. Undefined where it is damaged. */
interface Named {
  readonly length: number
  readonly rawLength: number | undefined
  filled: number
}

export class BlockWalk {
  readonly #packs: PackReader
  readonly #findings: Findings
  /** By pack and offset. About 100 bytes a block. */
  readonly #named = new Map<number, Map<number, Named>>()
  readonly #kept = new Map<string, Uint8Array>()

  constructor(packs: PackReader, findings: Findings) {
    this.#packs = packs
    this.#findings = findings
  }

  /** The payload of a row that has one; undefined, and a problem, where it is damaged or missing. */
  payload(row: Pick<SegmentRow, 'block' | 'at' | 'size'>, where: string): Uint8Array | undefined {
    const named = this.#name(row.block, where)
    if (named?.rawLength === undefined) return undefined
    if (row.at + row.size > named.rawLength) {
      this.#problem(where, 'its payload lies past the end of its block')
      return undefined
    }
    named.filled += row.size
    try {
      return this.#read(row.block).slice(row.at, row.at + row.size)
    } catch (error) {
      if (!(error instanceof PackCorruption)) throw error
      this.#damage(error)
      return undefined
    }
  }

  /** The block of a full entry bundle. Throws {@link PackCorruption}. */
  bundle(ref: BlockRef): Uint8Array {
    const raw = this.#packs.readSync(ref, MAX_BUNDLE_BYTES)
    this.#blocksOf(ref.pack).set(ref.offset, {
      length: ref.length,
      rawLength: raw.length,
      filled: raw.length,
    })
    this.#findings.count('pack blocks')
    return raw
  }

  /** After the last commit: the files are as long as it says, or longer, there are no others, and all of them is known. */
  async end(tails: readonly PackTail[]): Promise<void> {
    const known = new Set(tails.map(({ pack }) => pack))
    for (const { pack, end } of tails) {
      try {
        // An empty walk still opens the pack and checks its header.
        for (const _ of this.#packs.walk(pack, 0, PACK_HEADER_BYTES));
        const path = this.#packs.path(pack)
        const { size } = await stat(path)
        if (size < end) this.#problem(path, `has ${size} bytes, the last commit says ${end}`)
        else this.#checkTiling(pack, path, end)
        if (size > end)
          this.#findings.note(
            `${path} at offset ${end}`,
            `${size - end} bytes that no commit knows, as a crash leaves them: the next start cuts them`,
          )
        this.#findings.count('packs')
      } catch (error) {
        if (!(error instanceof PackCorruption)) throw error
        this.#damage(error)
      }
    }
    for (const pack of this.#named.keys())
      if (!known.has(pack))
        this.#problem(`pack ${pack}`, 'is named by rows, and not known to the last commit')
    for (const { pack, path } of packFiles(this.#packs, this.#findings))
      if (!known.has(pack))
        this.#findings.note(path, 'a pack that no commit knows: the next start removes it')
  }

  /** From its header to its end a pack is blocks that are named, and void ones. */
  #checkTiling(pack: number, path: string, end: number): void {
    const blocks = [...this.#blocksOf(pack)].sort(([a], [b]) => a - b)
    let at = PACK_HEADER_BYTES
    for (const [offset, { length, rawLength, filled }] of blocks) {
      if (offset < at) this.#problem(`${path} at offset ${offset}`, 'two blocks overlap')
      else this.#checkVoid(path, at, offset)
      if (rawLength !== undefined && filled !== rawLength)
        this.#problem(`${path} at offset ${offset}`, 'a block holds more or less than its payloads')
      at = offset + length
    }
    if (at > end) this.#problem(path, `ends at ${end} by the last commit, its blocks at ${at}`)
    else this.#checkVoid(path, at, end)
  }

  #checkVoid(path: string, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const length = voidLength(path, at)
      if (length === undefined || at + length > to) {
        this.#problem(`${path} at offset ${at}`, `${to - at} bytes that nothing names`)
        return
      }
      this.#findings.count('void blocks')
      at += length
    }
  }

  #name(ref: BlockRef, where: string): Named | undefined {
    const { pack, offset, length } = ref
    const blocks = this.#blocksOf(pack)
    const known = blocks.get(offset)
    if (known !== undefined) {
      if (known.length === length) return known
      this.#problem(where, 'names its block with another length')
      return undefined
    }
    let rawLength: number | undefined
    try {
      rawLength = this.#read(ref).length
      this.#findings.count('pack blocks')
    } catch (error) {
      if (!(error instanceof PackCorruption)) throw error
      this.#damage(error)
    }
    const named = { length, rawLength, filled: 0 }
    blocks.set(offset, named)
    return named
  }

  #read(ref: BlockRef): Uint8Array {
    const key = `${ref.pack}/${ref.offset}`
    let raw = this.#kept.get(key)
    if (raw !== undefined) return raw
    raw = this.#packs.readSync(ref, MAX_BLOCK_BYTES)
    this.#kept.set(key, raw)
    if (this.#kept.size > KEPT) this.#kept.delete(this.#kept.keys().next().value!)
    return raw
  }

  #blocksOf(pack: number): Map<number, Named> {
    let blocks = this.#named.get(pack)
    if (blocks === undefined) {
      blocks = new Map()
      this.#named.set(pack, blocks)
    }
    return blocks
  }

  #damage({ file, offset, reason }: PackCorruption): void {
    this.#findings.problem(`${file} at offset ${offset}`, reason, undefined, file)
  }

  #problem(where: string, what: string): void {
    this.#findings.problem(where, what, undefined, 'packs')
  }
}
