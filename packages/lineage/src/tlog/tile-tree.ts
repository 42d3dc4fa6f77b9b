/** The tree of a growing log: its right edge, its root, and the tiles that an append changed. */
import { scratch } from '#crypto'
import { VerificationError } from '../errors.ts'
import { Fold } from './merkle.ts'
import type { TileReader } from './proof.ts'
import { HASH_SIZE, levelSize, TILE_WIDTH, type TileId, tilePath } from './tile.ts'

/** From this many leaves on, nodes are hashed many at a time. */
const MANY = 16

/** A tile that was written or widened, with its bytes. */
export interface ChangedTile extends TileId {
  readonly data: Uint8Array
}

interface EdgeTile {
  readonly level: number
  index: number
  width: number
  bytes: Uint8Array
  changed: boolean
}

/**
 * Holds the last tile of each level, in memory proportional to the levels alone. About one node hash per leaf.
 *
 * The order of things is the caller's: append, write what {@link takeChanged} gives, then let others see the
 * new size and root. After a failed write, load the tree again: this one is ahead of its store.
 */
export class TileTree {
  #size: number
  readonly #fold = new Fold()
  readonly #edge: EdgeTile[] = []
  #full: ChangedTile[] = []

  /**
   * `edge[level]` is the partial tile at the end of that level, empty where the level ends with a full tile,
   * for every level that a tree of `size` leaves has. The bytes are copied.
   */
  constructor(size = 0, edge: readonly Uint8Array[] = []) {
    if (!Number.isSafeInteger(size) || size < 0) throw new Error(`bad tree size ${size}`)
    this.#size = size
    let levels = 0
    while (levelSize(size, levels) > 0) levels += 1
    if (edge.length !== levels) throw new Error(`bad edge: ${edge.length} tiles for ${levels} levels`)
    for (let level = levels - 1; level >= 0; level--) {
      const width = levelSize(size, level) % TILE_WIDTH
      const tile = edge[level]!
      if (tile.length !== width * HASH_SIZE) throw new Error(`bad edge tile at level ${level}`)
      for (let at = 0; at < tile.length; at += HASH_SIZE) this.#fold.push(tile, at, 8 * level)
    }
    for (const [level, tile] of edge.entries()) {
      const bytes = scratch(TILE_WIDTH * HASH_SIZE)
      bytes.set(tile)
      const width = tile.length / HASH_SIZE
      this.#edge.push({
        level,
        index: (levelSize(size, level) - width) / TILE_WIDTH,
        width,
        bytes,
        changed: false,
      })
    }
  }

  /** How many leaves there are. */
  get size(): number {
    return this.#size
  }

  /** The root, as fresh bytes. At most one node hash per level of the binary tree. */
  root(): Uint8Array {
    return this.#fold.root()
  }

  /** Appends leaves by their hashes, 32 bytes each; the bytes are copied. */
  append(hashes: Uint8Array): void {
    if (hashes.length % HASH_SIZE !== 0) throw new Error('bad leaf hashes: not a multiple of 32 bytes')
    if (this.#size + hashes.length / HASH_SIZE > Number.MAX_SAFE_INTEGER)
      throw new Error('bad tree size: too large')
    if (hashes.length < MANY * HASH_SIZE) this.#appendSingly(hashes)
    else {
      let nodes = hashes
      for (let height = 0; nodes.length > 0; height++) {
        if (height % 8 === 0) this.#put(height / 8, nodes)
        nodes = this.#fold.pushMany(nodes, height)
      }
    }
    this.#size += hashes.length / HASH_SIZE
  }

  #appendSingly(hashes: Uint8Array): void {
    for (let at = 0; at < hashes.length; at += HASH_SIZE) {
      this.#put(0, hashes.subarray(at, at + HASH_SIZE))
      const top = this.#fold.push(hashes, at, 0)
      for (let level = 1; level * 8 <= top; level++) this.#put(level, this.#fold.latest(8 * level))
    }
  }

  /**
   * The tiles that changed since the last call: those that became full, in the order in which they did, then
   * the partial one of each level. The bytes are never written again, so that they may be kept.
   */
  takeChanged(): ChangedTile[] {
    const changed = this.#full
    this.#full = []
    for (const tile of this.#edge) {
      if (!tile.changed) continue
      tile.changed = false
      const { level, index, width } = tile
      changed.push({ level, index, width, data: tile.bytes.subarray(0, width * HASH_SIZE) })
    }
    return changed
  }

  /**
   * Puts hashes to the end of a level. A tile's bytes only ever grow and are given up when full: views of what is written
   * stay as they are.
   */
  #put(level: number, hashes: Uint8Array): void {
    if (this.#edge.length === level)
      this.#edge.push({ level, index: 0, width: 0, bytes: scratch(TILE_WIDTH * HASH_SIZE), changed: false })
    const tile = this.#edge[level]!
    for (let at = 0; at < hashes.length; ) {
      const end = Math.min(hashes.length, at + (TILE_WIDTH - tile.width) * HASH_SIZE)
      tile.bytes.set(hashes.subarray(at, end), tile.width * HASH_SIZE)
      tile.width += (end - at) / HASH_SIZE
      tile.changed = true
      at = end
      if (tile.width < TILE_WIDTH) return
      this.#full.push({ level, index: tile.index, width: TILE_WIDTH, data: tile.bytes })
      tile.index += 1
      tile.width = 0
      tile.bytes = scratch(TILE_WIDTH * HASH_SIZE)
      tile.changed = false
    }
  }
}

/**
 * The tree of `size` leaves from its partial tiles. It believes them: compare {@link TileTree.root} with the
 * root that was signed. Throws a {@link VerificationError} on a tile of another length.
 */
export async function loadTileTree(size: number, read: TileReader): Promise<TileTree> {
  const edge: Uint8Array[] = []
  for (let level = 0; levelSize(size, level) > 0; level++) {
    const tiles = Math.floor(levelSize(size, level) / TILE_WIDTH)
    const width = levelSize(size, level) % TILE_WIDTH
    const bytes = width === 0 ? new Uint8Array(0) : await read(level, tiles, width)
    if (bytes.length !== width * HASH_SIZE)
      throw new VerificationError(
        'tile',
        tilePath(level, tiles, width),
        `is not ${width * HASH_SIZE} bytes long`,
      )
    edge.push(bytes)
  }
  return new TileTree(size, edge)
}
