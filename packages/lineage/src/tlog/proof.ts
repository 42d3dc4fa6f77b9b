/**
 * Proofs over a tiled log, and their verification.
 *
 * Inclusion and consistency proofs are those of RFC 6962, section 2.1. The range proof is our own
 * (docs/formats/range-proof.md): for the leaves [start, end) of a tree of `size` leaves, the hashes of the
 * fewest complete subtrees that are [0, start), then of those that are [end, size), each left to right.
 *
 * Provers throw plain errors on arguments that make no sense; verifiers take every number and byte from
 * others and throw a {@link VerificationError} on whatever does not hold.
 */
import { equalBytes } from '../bytes.ts'
import { VerificationError } from '../errors.ts'
import { coverRange, EMPTY_ROOT, Fold, nodeHash, type Subtree } from './merkle.ts'
import { HASH_SIZE, TILE_WIDTH, tilePath, tileWidth } from './tile.ts'

/**
 * Reads a tile: `width * 32` bytes. It is asked only for tiles of the tree at hand, each once per proof, in
 * the width that they have in it; a store that holds a wider tile cuts it.
 */
export type TileReader = (level: number, index: number, width: number) => Uint8Array | Promise<Uint8Array>

/** The audit path of leaf `index` in the tree of `size` leaves, the leaf's sibling first. */
export async function proveInclusion(index: number, size: number, read: TileReader): Promise<Uint8Array[]> {
  checkSize(size)
  if (!Number.isSafeInteger(index) || index < 0 || index >= size)
    throw new Error(`bad leaf ${index} of ${size}`)
  const ranges: Range[] = []
  let start = 0
  let end = size
  while (end - start > 1) {
    const middle = start + splitPoint(end - start)
    if (index < middle) {
      ranges.unshift([middle, end])
      end = middle
    } else {
      ranges.unshift([start, middle])
      start = middle
    }
  }
  return hashRanges(ranges, size, read)
}

/** The proof that the tree of `oldSize` leaves is a prefix of that of `size`; empty if `oldSize` is 0 or `size`. */
export async function proveConsistency(
  oldSize: number,
  size: number,
  read: TileReader,
): Promise<Uint8Array[]> {
  checkSize(size)
  if (!Number.isSafeInteger(oldSize) || oldSize < 0 || oldSize > size)
    throw new Error(`bad old size ${oldSize}`)
  if (oldSize === 0 || oldSize === size) return []
  const ranges: Range[] = []
  let start = 0
  let end = size
  while (end !== oldSize) {
    const middle = start + splitPoint(end - start)
    if (oldSize <= middle) {
      ranges.unshift([middle, end])
      end = middle
    } else {
      ranges.unshift([start, middle])
      start = middle
    }
  }
  if (start > 0) ranges.unshift([start, end])
  return hashRanges(ranges, size, read)
}

/** The range proof of the leaves [start, end), at least one, in the tree of `size` leaves. */
export async function proveRange(
  start: number,
  end: number,
  size: number,
  read: TileReader,
): Promise<Uint8Array[]> {
  checkSize(size)
  if (!Number.isSafeInteger(end) || end > size || !(start < end))
    throw new Error(`bad range ${start} to ${end}`)
  return hashSubtrees([...coverRange(0, start), ...coverRange(end, size)], size, read)
}

/** Checks that `leafHash` is leaf `index` of the tree of `size` leaves with this root (RFC 9162, 2.1.3.2). */
export function verifyInclusion(
  leafHash: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): void {
  if (!isCount(size) || !isCount(index) || index >= size)
    fail('inclusion', 'the leaf is not in a tree of this size')
  checkHashes('inclusion', [leafHash, root, ...proof])
  let first = index
  let last = size - 1
  let hash = leafHash
  for (const sibling of proof) {
    if (last === 0) fail('inclusion', 'the proof is too long')
    if (first % 2 === 1 || first === last) {
      hash = nodeHash(sibling, hash)
      while (first % 2 === 0 && first !== 0) {
        first = half(first)
        last = half(last)
      }
    } else hash = nodeHash(hash, sibling)
    first = half(first)
    last = half(last)
  }
  if (last !== 0) fail('inclusion', 'the proof is too short')
  if (!equalBytes(hash, root)) fail('inclusion', 'the proof does not lead to the root')
}

/** Checks that the tree of `oldSize` leaves is a prefix of that of `size` (RFC 9162, 2.1.4.2). */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  size: number,
  root: Uint8Array,
  proof: readonly Uint8Array[],
): void {
  if (!isCount(oldSize) || !isCount(size) || oldSize > size)
    fail('consistency', 'the old tree is not the smaller one')
  checkHashes('consistency', [oldRoot, root, ...proof])
  if (oldSize === 0 && !equalBytes(oldRoot, EMPTY_ROOT))
    fail('consistency', 'the empty tree has another root')
  if (oldSize === 0 || oldSize === size) {
    if (proof.length > 0) fail('consistency', 'the proof is too long')
    if (oldSize === size && !equalBytes(oldRoot, root))
      fail('consistency', 'trees of one size have two roots')
    return
  }
  let first = oldSize - 1
  let last = size - 1
  while (first % 2 === 1) {
    first = half(first)
    last = half(last)
  }
  // Where the old tree is one complete subtree, its root is known and not in the proof.
  const path = first === 0 ? [oldRoot, ...proof] : proof
  if (path.length === 0) fail('consistency', 'the proof is too short')
  let oldHash = path[0]!
  let hash = path[0]!
  for (const sibling of path.slice(1)) {
    if (last === 0) fail('consistency', 'the proof is too long')
    if (first % 2 === 1 || first === last) {
      oldHash = nodeHash(sibling, oldHash)
      hash = nodeHash(sibling, hash)
      while (first % 2 === 0 && first !== 0) {
        first = half(first)
        last = half(last)
      }
    } else hash = nodeHash(hash, sibling)
    first = half(first)
    last = half(last)
  }
  if (last !== 0) fail('consistency', 'the proof is too short')
  if (!equalBytes(oldHash, oldRoot)) fail('consistency', 'the proof does not lead to the old root')
  if (!equalBytes(hash, root)) fail('consistency', 'the proof does not lead to the root')
}

/**
 * Checks that `leafHashes` (32 bytes each, at least one) are the leaves from `start` on of the tree of `size`
 * leaves with this root.
 */
export function verifyRange(
  leafHashes: Uint8Array,
  start: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): void {
  const count = leafHashes.length / HASH_SIZE
  if (!Number.isInteger(count) || count === 0) fail('inclusion', 'the range is empty or not of whole hashes')
  if (!isCount(size) || !isCount(start) || count > size - start)
    fail('inclusion', 'the range is not in a tree of this size')
  checkHashes('inclusion', [root, ...proof])
  const left = coverRange(0, start)
  const right = coverRange(start + count, size)
  if (proof.length < left.length + right.length) fail('inclusion', 'the proof is too short')
  if (proof.length > left.length + right.length) fail('inclusion', 'the proof is too long')
  const fold = new Fold()
  for (const [i, { height }] of left.entries()) fold.push(proof[i]!, 0, height)
  for (let at = 0; at < leafHashes.length; at += HASH_SIZE) fold.push(leafHashes, at, 0)
  for (const [i, { height }] of right.entries()) fold.push(proof[left.length + i]!, 0, height)
  if (!equalBytes(fold.root(), root)) fail('inclusion', 'the proof does not lead to the root')
}

type Range = readonly [start: number, end: number]

/** The hash of each range, where each is a subtree of the tree in the sense of RFC 6962, complete or not. */
async function hashRanges(ranges: readonly Range[], size: number, read: TileReader): Promise<Uint8Array[]> {
  const covers = ranges.map(([start, end]) => coverRange(start, end))
  const hashes = await hashSubtrees(covers.flat(), size, read)
  let at = 0
  return covers.map((cover) => {
    const fold = new Fold()
    for (const { height } of cover) fold.push(hashes[at++]!, 0, height)
    return fold.root()
  })
}

/**
 * The hashes of complete subtrees, from the tiles that hold them. A subtree of height h is in a tile of level
 * floor(h / 8), as one hash or as the root over 2^(h mod 8) of them; these never pass the tile's end.
 */
async function hashSubtrees(
  subtrees: readonly Subtree[],
  size: number,
  read: TileReader,
): Promise<Uint8Array[]> {
  const tiles = new Map<string, Uint8Array | Promise<Uint8Array>>()
  const places = subtrees.map(({ height, index }) => {
    const level = Math.floor(height / 8)
    const count = 2 ** (height % 8)
    const tile = Math.floor((index * count) / TILE_WIDTH)
    const width = tileWidth(size, level, tile)
    const path = tilePath(level, tile, width)
    if (!tiles.has(path)) tiles.set(path, read(level, tile, width))
    return { path, size: width * HASH_SIZE, first: (index * count) % TILE_WIDTH, count }
  })
  const paths = [...tiles.keys()]
  const data = new Map((await Promise.all(tiles.values())).map((bytes, i) => [paths[i]!, bytes]))
  return places.map((place) => {
    const bytes = data.get(place.path)!
    if (bytes.length !== place.size)
      throw new VerificationError('tile', place.path, `is not ${place.size} bytes long`)
    const fold = new Fold()
    for (let i = place.first; i < place.first + place.count; i++) fold.push(bytes, i * HASH_SIZE, 0)
    return fold.root()
  })
}

/** The largest power of two below `n`: where RFC 6962 splits n leaves. */
function splitPoint(n: number): number {
  let split = 1
  while (split * 2 < n) split *= 2
  return split
}

function half(n: number): number {
  return Math.floor(n / 2)
}

function isCount(n: number): boolean {
  return Number.isSafeInteger(n) && n >= 0
}

function checkSize(size: number): void {
  if (!isCount(size)) throw new Error(`bad tree size ${size}`)
}

function checkHashes(code: 'inclusion' | 'consistency', hashes: readonly Uint8Array[]): void {
  if (hashes.some((hash) => hash.length !== HASH_SIZE)) fail(code, 'a hash is not 32 bytes long')
}

function fail(code: 'inclusion' | 'consistency', message: string): never {
  throw new VerificationError(code, `${code} proof`, message)
}
