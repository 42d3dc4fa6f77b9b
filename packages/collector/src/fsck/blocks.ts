/** The blocks of the packs in the order in which commits name them: none damaged, none missing, none beside them. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
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
import type { Commit, SegmentRow } from '../store/rows.ts'
import type { Findings } from './report.ts'

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

export class BlockWalk {
  readonly #packs: PackReader
  readonly #findings: Findings
  /** Where the next block of each pack is. */
  readonly #ends = new Map<number, number>()
  /** Full bundles that were read and whose commit was not reached yet: the last one, at most. */
  #bundles: { readonly index: number; readonly ref: BlockRef }[] = []
  /** The block that the last row named. */
  #pack = -1
  #offset = -1
  #length = 0
  #raw: Uint8Array | undefined
  /** Where its next payload begins. */
  #at = 0

  constructor(packs: PackReader, findings: Findings) {
    this.#packs = packs
    this.#findings = findings
  }

  /** The payload of a row; undefined, and a problem, where it is damaged or missing. */
  payload(row: SegmentRow, where: string): Uint8Array | undefined {
    const { pack, offset, length } = row.block
    if (pack !== this.#pack || offset !== this.#offset) this.#open(row)
    else if (length !== this.#length) this.#problem(where, 'names its block with another length')
    if (this.#raw === undefined) return undefined
    if (row.at !== this.#at || row.size === 0 || row.at + row.size > this.#raw.length) {
      this.#problem(where, 'its payload does not follow the one before it in its block')
      return undefined
    }
    this.#at += row.size
    return this.#raw.slice(row.at, row.at + row.size)
  }

  /** The block of a full entry bundle. Throws {@link PackCorruption}. */
  bundle(index: number, ref: BlockRef): Uint8Array {
    this.#bundles.push({ index, ref })
    const raw = this.#packs.readSync(ref, MAX_BUNDLE_BYTES)
    this.#findings.count('pack blocks')
    return raw
  }

  /** After the rows of a commit: it must know the packs up to exactly the last block. */
  commit(commit: Commit): void {
    this.#closeBlock()
    const full = Math.floor(commit.size / TILE_WIDTH)
    for (const { index, ref } of this.#bundles) if (index < full) this.#follow(ref)
    this.#bundles = this.#bundles.filter(({ index }) => index >= full)
    const known = new Map(commit.packs.map(({ pack, end }) => [pack, end]))
    for (const [pack, end] of known)
      if (end !== (this.#ends.get(pack) ?? PACK_HEADER_BYTES))
        this.#problem(
          `commit ${commit.number}`,
          `says that pack ${pack} ends at ${end}, its blocks say otherwise`,
        )
    for (const pack of this.#ends.keys())
      if (!known.has(pack)) this.#problem(`commit ${commit.number}`, `does not know pack ${pack}`)
  }

  /** After the last commit: the files are as long as it says, or longer, and there are no others. */
  async end(tails: readonly PackTail[]): Promise<void> {
    this.#closeBlock()
    const known = new Set(tails.map(({ pack }) => pack))
    for (const { pack, end } of tails) {
      try {
        // An empty walk still opens the pack and checks its header.
        for (const _ of this.#packs.walk(pack, 0, PACK_HEADER_BYTES));
        const path = this.#packs.path(pack)
        const { size } = await stat(path)
        if (size < end) this.#problem(path, `has ${size} bytes, the last commit says ${end}`)
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
    for (const { pack, path } of packFiles(this.#packs, this.#findings))
      if (!known.has(pack))
        this.#findings.note(path, 'a pack that no commit knows: the next start removes it')
  }

  #open(row: SegmentRow): void {
    this.#closeBlock()
    const { pack, offset, length } = row.block
    this.#follow(row.block)
    this.#pack = pack
    this.#offset = offset
    this.#length = length
    this.#at = 0
    try {
      this.#raw = this.#packs.readSync(row.block, MAX_BLOCK_BYTES)
      this.#findings.count('pack blocks')
    } catch (error) {
      if (!(error instanceof PackCorruption)) throw error
      this.#raw = undefined
      this.#damage(error)
    }
  }

  /** A block begins where the one before it in its pack ends. */
  #follow({ pack, offset, length }: BlockRef): void {
    const expected = this.#ends.get(pack) ?? PACK_HEADER_BYTES
    if (offset !== expected)
      this.#problem(
        this.#name(pack),
        `has a block at ${offset}, though the one before it ends at ${expected}`,
      )
    this.#ends.set(pack, offset + length)
  }

  #closeBlock(): void {
    if (this.#raw !== undefined && this.#at !== this.#raw.length)
      this.#problem(
        `${this.#name(this.#pack)} at offset ${this.#offset}`,
        'a block holds more than its payloads',
      )
    this.#raw = undefined
    this.#pack = -1
  }

  #name(pack: number): string {
    try {
      return basename(this.#packs.path(pack))
    } catch (error) {
      if (!(error instanceof PackCorruption)) throw error
      return `pack ${pack}`
    }
  }

  #damage({ file, offset, reason }: PackCorruption): void {
    this.#findings.problem(`${file} at offset ${offset}`, reason, undefined, file)
  }

  #problem(where: string, what: string): void {
    this.#findings.problem(where, what, undefined, 'packs')
  }
}
