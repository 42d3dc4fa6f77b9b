/**
 * The audit of a whole log: derives its tree again from its entries and checks what entries say of each other.
 *
 * No I/O: whoever drives it fetches what {@link Audit.next} and {@link Audit.takeTiles} name, in that order. The
 * argument: entries hash to the leaves of the tiles; the leaves fold into every other tile, the root of every kept
 * checkpoint and the root of the last one, which the policy's key signed. What entries say of each other is then
 * checked once, in log order: every link names an earlier leaf, and every leaf lies in exactly one sealed run.
 *
 * Payloads are not in the log: whether they match their commitments is for `verify` over evidence bundles.
 */
import { scratch, sha256Into } from '#crypto'
import { equalBytes, formatBase64 } from './bytes.ts'
import { MalformedError, VerificationError } from './errors.ts'
import { Kind } from './governance/kind.ts'
import { MAX_LEAVES } from './record/leaf-table.ts'
import { LogChecker } from './record/log-checker.ts'
import { type Checkpoint, type OpenCheckpoint, openCheckpoint } from './tlog/checkpoint.ts'
import { formatKeyId } from './tlog/key.ts'
import { formatSignatureLine } from './tlog/note.ts'
import type { Policy } from './tlog/policy.ts'
import { type BundleId, entriesPath, HASH_SIZE, TILE_WIDTH, tilePath, tileWidth } from './tlog/tile.ts'
import { type ChangedTile, TileTree } from './tlog/tile-tree.ts'

export interface AuditOptions {
  /** The signed checkpoint that the audit goes up to. */
  readonly checkpoint: Uint8Array
  /** The auditor's own. */
  readonly policy: Policy
  /**
   * Where to begin, if not with the first leaf: `size`, that of a checkpoint which was audited before, and the
   * tree of the leaves before the tile in which it lies ({@link startOf}), loaded from the log's own tiles.
   */
  readonly from?: { readonly size: number; readonly tree: TileTree }
}

export interface AuditReport {
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
  /** First leaf that was audited. */
  readonly from: number
  readonly signedBy: readonly string[]
  /** Audited leaves by the name of their kind; those of kinds that do not occur are absent. */
  readonly records: Readonly<Record<string, number>>
  readonly segments: number
  readonly traces: number
  readonly links: { readonly linked: number; readonly awaiting: number; readonly remote: number }
  readonly causes: number
  readonly bundles: number
  readonly tiles: number
  /** Kept checkpoints that were checked, the last one included. */
  readonly checkpoints: number
  readonly notChecked: readonly string[]
}

/** The first leaf of the tile that holds leaf `size`: how many leaves the tree of an audit from there begins with. */
export function startOf(size: number): number {
  return Math.floor(size / TILE_WIDTH) * TILE_WIDTH
}

/**
 * Begins an audit. Throws what `openCheckpoint` throws; a VerificationError `unsupported` for a log that is larger
 * than an audit can remember.
 */
export function createAudit(options: AuditOptions): Audit {
  return new Audit(options)
}

export class Audit {
  readonly checkpoint: Checkpoint
  readonly #policy: Policy
  readonly #signedBy: readonly string[]
  readonly #unverified: readonly string[]
  readonly #from: number
  readonly #tree: TileTree
  readonly #checker: LogChecker
  /** Size and root of the kept checkpoints that are ahead, ascending. */
  #kept: Checkpoint[] = []
  /** Computed tiles above level 0 that nobody compared yet, and the last partial one of each level. */
  #computed: ChangedTile[] = []
  readonly #edge = new Map<number, ChangedTile>()
  #uncompared = 0
  #tiles = 0
  #bundles = 0
  #checkpoints = 0
  readonly #hashes = scratch(TILE_WIDTH * HASH_SIZE)
  /** Where each entry of the bundle at hand begins, with its length; and where the last one ends. */
  readonly #starts = new Uint32Array(TILE_WIDTH + 1)

  constructor({ checkpoint: note, policy, from }: AuditOptions) {
    const { checkpoint, signatures, unverified } = openCheckpoint(note, policy)
    this.checkpoint = checkpoint
    this.#policy = policy
    this.#signedBy = signatures.map(({ name, keyId }) => `${name}+${formatKeyId(keyId)}`)
    this.#unverified = unverified.map(formatSignatureLine)
    this.#from = from?.size ?? 0
    this.#tree = from?.tree ?? new TileTree()
    if (this.#from > checkpoint.size || this.#tree.size !== startOf(this.#from))
      throw new Error(`bad audit: from ${this.#from} with a tree of ${this.#tree.size} leaves`)
    if (checkpoint.size - this.#tree.size > MAX_LEAVES)
      throw new VerificationError('unsupported', 'checkpoint', `over ${MAX_LEAVES} leaves: could not check`)
    this.#checker = new LogChecker(this.#tree.size, this.#from, seedOf(checkpoint))
  }

  /** Leaves that were taken so far, those before the beginning included. */
  get size(): number {
    return this.#tree.size
  }

  /** The entry bundle, and the tile of level 0 of the same index and width, that comes next; undefined at the end. */
  next(): BundleId | undefined {
    const index = this.#tree.size / TILE_WIDTH
    const width = tileWidth(this.checkpoint.size, 0, index)
    return this.#tree.size === this.checkpoint.size ? undefined : { index, width }
  }

  /**
   * A checkpoint that the log keeps as the one of `size`, to be compared with the tree when it gets there. Ascending
   * sizes; before the bundle that holds leaf `size - 1`. Its signature is checked at once.
   */
  expect(size: number, note: Uint8Array): void {
    const where = `checkpoint of size ${size}`
    const { checkpoint } = this.#open(note, where)
    if (checkpoint.origin !== this.checkpoint.origin)
      throw new VerificationError('consistency', where, `its origin is ${checkpoint.origin}`)
    if (checkpoint.size !== size)
      throw new VerificationError('consistency', where, `it is that of size ${checkpoint.size}`)
    const last = this.#kept.at(-1)?.size ?? Math.max(this.#from, this.#tree.size) - 1
    if (size <= last || size > this.checkpoint.size) throw new Error(`bad order of checkpoints: ${size}`)
    if (size === this.#tree.size) this.#compareRoot(checkpoint)
    else this.#kept.push(checkpoint)
  }

  /**
   * Takes the bundle and tile that {@link next} names. The bytes of both stay as they are. Throws a
   * VerificationError that names the leaf, tile or checkpoint; the audit is over then.
   */
  add(bundle: Uint8Array, tile: Uint8Array): void {
    const id = this.next()
    if (id === undefined) throw new Error('bad audit: a bundle after the last')
    const first = this.#tree.size
    const { width } = id
    const hashes = this.#hashes.subarray(0, width * HASH_SIZE)
    this.#hash(bundle, id)
    // First of all, so that what a server changed is not taken for what the log signed.
    compareTile(tilePath(0, id.index, width), tile, hashes)
    for (let i = 0; i < width; i++) {
      this.#checker.take(first + i, bundle, this.#starts[i]! + 2, this.#starts[i + 1]!, hashes, i * HASH_SIZE)
      if (this.#kept[0]?.size === first + i + 1) this.#grow(hashes, first, i + 1)
    }
    this.#tree.append(hashes.subarray((this.#tree.size - first) * HASH_SIZE))
    this.#bundles++
    this.#tiles++
    this.#collect()
  }

  /** Finds the entries of a bundle and hashes them as leaves. */
  #hash(bundle: Uint8Array, { index, width }: BundleId): void {
    let at = 0
    for (let i = 0; i < width; i++) {
      this.#starts[i] = at
      const start = at + 2
      const end =
        start <= bundle.length ? start + bundle[at]! * 256 + bundle[at + 1]! : Number.POSITIVE_INFINITY
      if (end > bundle.length) throw malformed(entriesPath(index, width), 'it ends early')
      hashLeaf(bundle, start, end, this.#hashes, i * HASH_SIZE)
      at = end
    }
    this.#starts[width] = at
    if (at !== bundle.length) throw malformed(entriesPath(index, width), 'it has bytes after its last entry')
  }

  /** Computed tiles above level 0 that are to be fetched and given to {@link compare}: every one, once. */
  takeTiles(): ChangedTile[] {
    const tiles = this.#computed
    this.#computed = []
    this.#uncompared += tiles.length
    return tiles
  }

  compare(tile: ChangedTile, bytes: Uint8Array): void {
    compareTile(tilePath(tile.level, tile.index, tile.width), bytes, tile.data)
    this.#uncompared--
    this.#tiles++
  }

  /** The end: the root is the signed one, and nothing is unsealed. `notChecked` is what the caller adds. */
  finish(notChecked: readonly string[] = []): AuditReport {
    if (this.next() !== undefined || this.#computed.length + this.#uncompared > 0)
      throw new Error('bad audit: it is not finished')
    const { origin, size, root } = this.checkpoint
    this.#compareRoot(this.checkpoint, 'checkpoint')
    const { counts, segments, traces, linked, awaiting, remote, causes, unresolved } = this.#checker
    return {
      origin,
      size,
      root,
      from: this.#from,
      signedBy: this.#signedBy,
      records: Object.fromEntries(
        Object.entries(Kind).flatMap(([name, kind]) => (counts[kind]! > 0 ? [[name, counts[kind]!]] : [])),
      ),
      segments,
      traces,
      links: { linked, awaiting, remote },
      causes,
      bundles: this.#bundles,
      tiles: this.#tiles,
      checkpoints: this.#checkpoints,
      notChecked: [
        ...notChecked,
        ...(this.#from === 0
          ? []
          : [`leaves before ${this.#from}, and ${unresolved} links and seals that name one`]),
        'payloads, and what commitments stand for: verify evidence bundles for that',
        'the order within segments, which children were adopted, joins and findings: they follow from payloads',
        'whether others are shown another log under this key: no witness cosignatures were asked for',
        ...this.#unverified.map(
          (line) => `a signature by a key that the policy does not name: ${JSON.stringify(line)}`,
        ),
      ],
    }
  }

  /** A kept checkpoint is not the auditor's own file: where it does not parse, the log is bad. */
  #open(note: Uint8Array, where: string): OpenCheckpoint {
    try {
      return openCheckpoint(note, this.#policy, where)
    } catch (error) {
      if (error instanceof MalformedError) throw malformed(where, error.message)
      throw error
    }
  }

  /** Appends the first `count` leaves of the bundle at hand, as far as they are not yet, and compares the root. */
  #grow(hashes: Uint8Array, first: number, count: number): void {
    this.#tree.append(hashes.subarray((this.#tree.size - first) * HASH_SIZE, count * HASH_SIZE))
    this.#compareRoot(this.#kept.shift()!)
  }

  #compareRoot({ size, root }: Checkpoint, where = `checkpoint of size ${size}`): void {
    const computed = this.#tree.root()
    if (!equalBytes(computed, root))
      throw new VerificationError(
        'consistency',
        where,
        `its root is ${formatBase64(root)}, but the first ${size} entries have the root ${formatBase64(computed)}`,
      )
    this.#checker.checkSealed(where)
    this.#checkpoints++
  }

  /** Keeps what changed above level 0: full tiles at once, partial ones when the tree has its last size. */
  #collect(): void {
    for (const tile of this.#tree.takeChanged()) {
      if (tile.level === 0) continue
      if (tile.width === TILE_WIDTH) {
        this.#edge.delete(tile.level)
        this.#computed.push(tile)
      } else this.#edge.set(tile.level, tile)
    }
    if (this.#tree.size === this.checkpoint.size) this.#computed.push(...this.#edge.values())
  }
}

/** Whoever chose the ids in a tree could not know its root. */
function seedOf({ root }: Checkpoint): number {
  return new DataView(root.buffer, root.byteOffset).getUint32(0)
}

/** SHA-256(0x00, entry): the byte before the entry, the end of its length, serves as the 0x00 for a moment. */
function hashLeaf(bundle: Uint8Array, start: number, end: number, out: Uint8Array, at: number): void {
  const held = bundle[start - 1]!
  bundle[start - 1] = 0
  sha256Into(bundle.subarray(start - 1, end), out, at)
  bundle[start - 1] = held
}

function compareTile(path: string, bytes: Uint8Array, expected: Uint8Array): void {
  if (bytes.length !== expected.length)
    throw new VerificationError('tile', path, `it is ${bytes.length} bytes long and not ${expected.length}`)
  for (let at = 0; at < bytes.length; at++)
    if (bytes[at] !== expected[at])
      throw new VerificationError(
        'tile',
        path,
        `hash ${Math.floor(at / HASH_SIZE)} is not the one of the entries`,
      )
}

function malformed(where: string, reason: string): VerificationError {
  return new VerificationError('malformed', where, reason)
}
