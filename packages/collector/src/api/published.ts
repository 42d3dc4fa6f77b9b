/**
 * The published log: what the latest signed checkpoint covers, and every checkpoint that was kept.
 *
 * The store may be ahead of it by commits that are not signed yet. Nothing of those is shown under `/log`: what a
 * reader can fetch is always under a root that a signature stands for.
 */
import { MalformedError } from '@rootspan/lineage/errors'
import { openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import type { VerifierKey } from '@rootspan/lineage/tlog/key'
import { type Policy, policyOfLogs } from '@rootspan/lineage/tlog/policy'
import {
  type BundleId,
  parseEntriesPath,
  parseTilePath,
  type TileId,
  tileWidth,
} from '@rootspan/lineage/tlog/tile'
import type { Board } from '../board.ts'
import { checkpointKey, keyNumber, Prefix } from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'

/** A signed checkpoint, its signature checked. */
export interface Published {
  readonly note: Uint8Array
  readonly size: number
  readonly root: Uint8Array
}

export class PublishedLog {
  readonly #reader: LogReader
  readonly #board: Pick<Board, 'get'>
  readonly #policy: Policy
  #latest: Published | undefined
  /** What the board said before `#latest` was read. */
  #mark = -1

  constructor(reader: LogReader, board: Pick<Board, 'get'>, key: VerifierKey) {
    this.#reader = reader
    this.#board = board
    this.#policy = policyOfLogs(key)
  }

  /**
   * The latest checkpoint; undefined before the first. Read again, and its signature checked, when the board says
   * that there is another. Throws a VerificationError where the stored one is not this log's.
   */
  async latest(): Promise<Published | undefined> {
    const mark = this.#board.get('checkpoint_size')
    if (this.#latest !== undefined && this.#mark === mark) return this.#latest
    const note = await this.#reader.checkpoint()
    if (note === undefined) return undefined
    const { size, root } = openCheckpoint(note, this.#policy).checkpoint
    this.#latest = { note, size, root }
    this.#mark = mark
    return this.#latest
  }

  /** The kept checkpoint of exactly this size. */
  async checkpoint(size: number): Promise<Uint8Array | undefined> {
    return this.#reader.database.get(checkpointKey(size))
  }

  /** Sizes of kept checkpoints from `from` on, ascending, and where the next page begins. */
  async sizes(from: number, limit: number): Promise<{ sizes: number[]; next: number | undefined }> {
    const range = { gte: checkpointKey(from), lt: Uint8Array.of(Prefix.checkpoint + 1), limit: limit + 1 }
    const sizes: number[] = []
    for await (const key of this.#reader.database.keys(range)) sizes.push(keyNumber(key))
    return { sizes: sizes.slice(0, limit), next: sizes[limit] }
  }

  /**
   * The tile or entry bundle of a path below the log's prefix (c2sp.org/tlog-tiles); undefined where the path has
   * another spelling or the latest checkpoint does not cover it.
   */
  async read(path: string): Promise<Uint8Array | undefined> {
    const id = parsePath(path)
    const latest = await this.latest()
    if (id === undefined || latest === undefined) return undefined
    const level = 'level' in id ? id.level : 0
    if (id.width > tileWidth(latest.size, level, id.index)) return undefined
    return 'level' in id ? this.#reader.tileReader(id.level, id.index, id.width) : this.#entries(id)
  }

  async #entries({ index, width }: BundleId): Promise<Uint8Array> {
    const entries = await this.#reader.entries(index, width)
    if (entries === undefined) throw new Error(`entry bundle ${index} with ${width} entries is missing`)
    return entries
  }
}

function parsePath(path: string): TileId | BundleId | undefined {
  try {
    return path.startsWith('tile/entries/') ? parseEntriesPath(path) : parseTilePath(path)
  } catch (error) {
    if (error instanceof MalformedError) return undefined
    throw error
  }
}
