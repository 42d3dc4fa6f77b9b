/**
 * The Merkle tree of RFC 6962, section 2.1, over SHA-256: hashes, and how ranges of leaves fall into complete
 * subtrees. Proofs are in `proof.ts`, the growing tree in `tile-tree.ts`.
 */
import { scratch, sha256, sha256Into } from '#crypto'
import { copyWords, dataView, parseHex } from '../bytes.ts'
import { ManyHasher } from '../crypto.simd.ts'
import { HASH_SIZE } from './tile.ts'

/** The root of the tree without leaves: SHA-256 of nothing. */
export const EMPTY_ROOT: Uint8Array = parseHex(
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
)

const LEFT = 1
const RIGHT = LEFT + HASH_SIZE
const NODE_SIZE = RIGHT + HASH_SIZE

/** The hash of an entry as a leaf: SHA-256(0x00, entry). */
export function leafHash(entry: Uint8Array): Uint8Array {
  const input = new Uint8Array(1 + entry.length)
  input.set(entry, 1)
  return sha256(input)
}

/** The hash of an inner node: SHA-256(0x01, left, right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.length !== HASH_SIZE || right.length !== HASH_SIZE) throw new Error('bad hash size')
  const input = new Uint8Array(NODE_SIZE)
  input[0] = 1
  input.set(left, LEFT)
  input.set(right, RIGHT)
  return sha256(input)
}

/** MTH of RFC 6962: the root of the tree with these leaf hashes. */
export function treeRoot(leafHashes: readonly Uint8Array[]): Uint8Array {
  const fold = new Fold()
  for (const hash of leafHashes) fold.push(hash, 0, 0)
  return fold.root()
}

/** A complete subtree: the leaves from `index * 2^height` up to, not including, `(index + 1) * 2^height`. */
export interface Subtree {
  readonly height: number
  readonly index: number
}

/**
 * The fewest complete subtrees that together are the leaves [start, end), left to right: from `start` on,
 * always the largest one that begins there and does not pass `end`. At most 2 * 53 of them.
 */
export function coverRange(start: number, end: number): Subtree[] {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end)
    throw new Error(`bad range of leaves ${start} to ${end}`)
  const cover: Subtree[] = []
  let at = start
  while (at < end) {
    let height = 0
    let span = 1
    while (at % (span * 2) === 0 && span * 2 <= end - at) {
      height += 1
      span *= 2
    }
    cover.push({ height, index: at / span })
    at += span
  }
  return cover
}

/** Room for the nodes above a batch that is kept, in bytes: those of one huge append are not. */
const MAX_KEPT_ABOVE = 1024 * 1024

/**
 * Folds complete subtrees into the root over them, left to right. What is pushed is the {@link coverRange} of
 * [start, end), or a finer division of it, where `start` is 0 or a multiple of a power of two that is not
 * below `end - start`: then the root is RFC 6962's MTH of these leaves.
 *
 * One node hash per subtree pushed, and nothing allocated for it: a subtree waits in the left half of the node
 * that will take it up, and its sibling goes into the right half.
 */
export class Fold {
  readonly #nodes: Uint8Array[] = []
  /** By height: whether a subtree waits in the left half of the node above it. */
  readonly #waiting: boolean[] = []
  readonly #out = scratch(HASH_SIZE)
  /** Nodes of a batch, the 0x01 in front of each. */
  #many: ManyHasher | undefined
  /** What {@link pushMany} gives, of even heights and of odd ones. */
  readonly #above: [Uint8Array, Uint8Array] = [new Uint8Array(0), new Uint8Array(0)]

  /**
   * Takes the hash of a complete subtree of 2^height leaves; it is copied from `bytes` at `offset`. Returns
   * the height of the largest complete subtree that this one completes.
   */
  push(bytes: Uint8Array, offset: number, height: number): number {
    let at = height
    while (this.#nodes.length <= at) this.#grow()
    const node = this.#nodes[at]!
    let to = this.#waiting[at] ? RIGHT : LEFT
    for (let from = offset; from < offset + HASH_SIZE; from++) node[to++] = bytes[from]!
    while (this.#waiting[at]) {
      this.#waiting[at] = false
      const above = at + 1
      if (this.#nodes.length <= above) this.#grow()
      sha256Into(this.#nodes[at]!, this.#nodes[above]!, this.#waiting[above] ? RIGHT : LEFT)
      at = above
    }
    this.#waiting[at] = true
    return at
  }

  /**
   * Takes many complete subtrees of one height, left to right, and returns the hashes of those above that they
   * complete, which are to be pushed next, and live until what they give was pushed as well. What it costs is a third of
   * pushing one by one.
   */
  pushMany(hashes: Uint8Array, height: number): Uint8Array {
    while (this.#nodes.length <= height) this.#grow()
    const node = this.#nodes[height]!
    const waiting = this.#waiting[height]! ? 1 : 0
    const count = hashes.length / HASH_SIZE + waiting
    const pairs = Math.floor(count / 2)
    const above = this.#room(height, pairs * HASH_SIZE)
    this.#many ??= new ManyHasher(NODE_SIZE, 1024, Uint8Array.of(1))
    const { data: to, stride, capacity } = this.#many
    const [from, first] = [dataView(hashes), dataView(node)]
    for (let done = 0; done < pairs; done += capacity) {
      const some = Math.min(capacity, pairs - done)
      for (let i = 0; i < some; i++) {
        const pair = i * stride + LEFT
        // The one that waits comes before all others.
        const at = (2 * (done + i) - waiting) * HASH_SIZE
        if (at < 0) {
          copyWords(first, LEFT, to, pair, HASH_SIZE)
          copyWords(from, 0, to, pair + HASH_SIZE, HASH_SIZE)
        } else copyWords(from, at, to, pair, 2 * HASH_SIZE)
      }
      above.set(this.#many.hash(some).subarray(0, some * HASH_SIZE), done * HASH_SIZE)
    }
    this.#waiting[height] = count % 2 === 1
    if (count % 2 === 1 && hashes.length > 0) node.set(hashes.subarray(hashes.length - HASH_SIZE), LEFT)
    return above
  }

  #room(height: number, size: number): Uint8Array {
    const side = height % 2 === 0 ? 0 : 1
    if (size > MAX_KEPT_ABOVE) return new Uint8Array(size)
    if (this.#above[side].length < size)
      this.#above[side] = new Uint8Array(Math.min(size * 2, MAX_KEPT_ABOVE))
    return this.#above[side].subarray(0, size)
  }

  /** The hash of the latest complete subtree of this height, as a view that the next push may overwrite. */
  latest(height: number): Uint8Array {
    const node = this.#nodes[height]
    if (node === undefined) throw new Error(`bad height ${height}`)
    return this.#waiting[height] ? node.subarray(LEFT, RIGHT) : node.subarray(RIGHT)
  }

  /** The root over everything pushed so far, as fresh bytes; more may be pushed after it. */
  root(): Uint8Array {
    let root: Uint8Array | undefined
    for (let height = 0; height < this.#nodes.length; height++) {
      if (!this.#waiting[height]) continue
      const node = this.#nodes[height]!
      if (root === undefined) {
        root = node.subarray(LEFT, RIGHT)
        continue
      }
      node.set(root, RIGHT) // the free half of a node in which a subtree waits
      sha256Into(node, this.#out, 0)
      root = this.#out
    }
    return new Uint8Array(root ?? EMPTY_ROOT)
  }

  #grow(): void {
    const node = scratch(NODE_SIZE)
    node[0] = 1
    this.#nodes.push(node)
    this.#waiting.push(false)
  }
}
