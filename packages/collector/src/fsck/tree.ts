/** The tree, grown again from the leaves: stored tiles, kept checkpoints and the signer's memory against it. */
import { equalBytes, formatBase64 } from '@rootspan/lineage/bytes'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { type Checkpoint, openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import type { Policy } from '@rootspan/lineage/tlog/policy'
import { HASH_SIZE, TILE_WIDTH, tilePath, tilesOf, tileWidth } from '@rootspan/lineage/tlog/tile'
import { type ChangedTile, TileTree } from '@rootspan/lineage/tlog/tile-tree'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import type { Findings } from './report.ts'

/** Leaves after which the tiles that became full are compared. */
const BATCH_LEAVES = 64 * TILE_WIDTH
const KEEP =
  'Stop using this log, keep both directories, and compare with a checkpoint that an auditor holds.'

export interface TreeWalkOptions {
  readonly reader: LogReader
  readonly findings: Findings
  /** The log's key; undefined when `log.json` is damaged: then no signature is checked. */
  readonly policy: Policy | undefined
  /** What was signed last. */
  readonly memory: Checkpoint | undefined
}

export class TreeWalk {
  readonly #options: TreeWalkOptions
  readonly #tree = new TileTree()
  readonly #checkpoints: AsyncIterator<[Uint8Array, Uint8Array]>
  #next: { size: number; note: Uint8Array } | undefined
  /** The last partial tile of each level. */
  readonly #edge = new Map<number, ChangedTile>()
  #compared = 0
  #isMemoryChecked = false

  constructor(options: TreeWalkOptions) {
    this.#options = options
    const range = { gte: keys.checkpointKey(0), lt: Uint8Array.of(keys.Prefix.checkpoint + 1) }
    this.#checkpoints = options.reader.database.iterator(range)[Symbol.asyncIterator]()
  }

  get size(): number {
    return this.#tree.size
  }

  root(): Uint8Array {
    return this.#tree.root()
  }

  /** To be called before the first leaf. */
  async begin(): Promise<void> {
    await this.#advance()
    await this.#checkRoots()
  }

  /** Takes leaf hashes, 32 bytes each. */
  async append(hashes: Uint8Array): Promise<void> {
    const tree = this.#tree
    for (let at = 0; at < hashes.length; ) {
      const stop = Math.min(hashes.length, at + (this.#nextSize() - tree.size) * HASH_SIZE)
      tree.append(hashes.subarray(at, stop))
      at = stop
      if (tree.size === this.#nextSize()) await this.#checkRoots()
    }
    if (tree.size - this.#compared >= BATCH_LEAVES) await this.#compareTiles()
  }

  /** To be called after the last leaf. */
  async end(size: number): Promise<void> {
    const { findings, memory, reader } = this.#options
    await this.#compareTiles()
    for (const tile of this.#edge.values())
      if (tileWidth(size, tile.level, tile.index) < TILE_WIDTH)
        this.#compareTile(tile, await this.#stored(tile))
    // Those of level 0 lie with the entries, which were read.
    const bundles = Math.ceil(size / TILE_WIDTH)
    let expected = -bundles
    for (const _ of tilesOf(size)) expected++
    let found = 0
    const range = { gte: Uint8Array.of(keys.Prefix.tile), lt: Uint8Array.of(keys.Prefix.tile + 1) }
    for await (const key of reader.database.keys(range)) {
      found++
      const index = key.length === 10 ? Number(new DataView(key.buffer, key.byteOffset).getBigUint64(2)) : -1
      if (index < 0 || key[1] === 0 || tileWidth(size, key[1]!, index) === 0)
        findings.problem(
          `tile key ${Buffer.from(key).toString('hex')}`,
          'is no tile of this tree',
          undefined,
          'tiles',
        )
    }
    if (found < expected) findings.problem('tiles', `${expected - found} are missing`)
    findings.count('tiles', bundles + found)
    for (; this.#next !== undefined; await this.#advance())
      findings.problem(
        `checkpoint of size ${this.#next.size}`,
        `is of a larger tree than the last commit's, which has ${size} leaves`,
        KEEP,
        'checkpoints',
      )
    if (memory !== undefined && memory.size > size)
      findings.problem(
        "the signer's memory",
        `${memory.size} leaves were signed, this store has ${size}: it is an old copy, or it has lost data`,
        `Put the newest data directory back, one with at least ${memory.size} leaves. Never delete the memory.`,
      )
  }

  #nextSize(): number {
    const { memory } = this.#options
    const signed = memory === undefined || this.#isMemoryChecked ? Number.POSITIVE_INFINITY : memory.size
    return Math.min(this.#next?.size ?? Number.POSITIVE_INFINITY, signed)
  }

  /** Compares everything that was signed for the tree as it is now. */
  async #checkRoots(): Promise<void> {
    const { memory, findings } = this.#options
    const { size } = this.#tree
    const root = this.#tree.root()
    if (memory?.size === size && !this.#isMemoryChecked) {
      this.#isMemoryChecked = true
      if (!equalBytes(memory.root, root))
        findings.problem(
          "the signer's memory",
          `the root that was signed for ${size} leaves is ${formatBase64(memory.root)}, this store has ${formatBase64(root)}`,
          KEEP,
        )
    }
    while (this.#next?.size === size) {
      this.#checkNote(this.#next.note, size, root)
      findings.count('checkpoints')
      await this.#advance()
    }
  }

  #checkNote(note: Uint8Array, size: number, root: Uint8Array): void {
    const { policy, findings } = this.#options
    const where = `checkpoint of size ${size}`
    if (policy === undefined) {
      findings.skip(where, 'its signature: the key of the log is not known')
      return
    }
    try {
      const { checkpoint } = openCheckpoint(note, policy)
      if (checkpoint.size !== size)
        findings.problem(where, `says size ${checkpoint.size}`, KEEP, 'checkpoints')
      else if (!equalBytes(checkpoint.root, root))
        findings.problem(where, `its root is not that of the first ${size} leaves`, KEEP, 'checkpoints')
    } catch (error) {
      if (!(error instanceof MalformedError) && !(error instanceof VerificationError)) throw error
      findings.problem(where, error.message, KEEP, 'checkpoints')
    }
  }

  async #advance(): Promise<void> {
    const { value, done } = await this.#checkpoints.next()
    this.#next = done === true ? undefined : { size: keys.keyNumber(value[0]), note: value[1] }
  }

  async #compareTiles(): Promise<void> {
    this.#compared = this.#tree.size
    const full: ChangedTile[] = []
    for (const tile of this.#tree.takeChanged())
      if (tile.width === TILE_WIDTH) full.push(tile)
      else this.#edge.set(tile.level, tile)
    for (const tile of full) this.#compareTile(tile, await this.#stored(tile))
  }

  /** All of it: of a partial one of level 0 the entries' walk checks how wide it is. */
  #stored({ level, index, width }: ChangedTile): Promise<Uint8Array | undefined> {
    const { reader } = this.#options
    return level === 0 ? reader.tile(0, index, width) : reader.database.get(keys.tileKey(level, index))
  }

  #compareTile(tile: ChangedTile, stored: Uint8Array | undefined): void {
    if (stored !== undefined && equalBytes(stored, tile.data)) return
    const what = stored === undefined ? 'is missing' : 'is not what the leaves give'
    this.#options.findings.problem(tilePath(tile.level, tile.index, tile.width), what, undefined, 'tiles')
  }
}
