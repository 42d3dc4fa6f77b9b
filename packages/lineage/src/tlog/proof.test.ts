import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concatBytes, utf8 } from '../bytes.ts'
import { VerificationError } from '../errors.ts'
import { Fold, leafHash } from './merkle.ts'
import {
  proveConsistency,
  proveInclusion,
  proveRange,
  type TileReader,
  verifyConsistency,
  verifyInclusion,
  verifyRange,
} from './proof.ts'
import { tileWidth } from './tile.ts'
import { TileTree } from './tile-tree.ts'

/** Every tile of a log, cut to whatever size is asked for: of the tree at `size` nothing wider is given out. */
function makeLog(size: number) {
  const hashes = Array.from({ length: size }, (_, i) => leafHash(utf8(`leaf ${i}`)))
  const tree = new TileTree()
  tree.append(concatBytes(...hashes))
  const tiles = new Map(tree.takeChanged().map((tile) => [`${tile.level} ${tile.index}`, tile]))
  const reads: string[] = []
  const read: TileReader = (level, index, width) => {
    const tile = tiles.get(`${level} ${index}`)
    if (tile === undefined || width > tile.width) throw new Error('no such tile')
    reads.push(`${level} ${index} ${width}`)
    return tile.data.subarray(0, width * 32)
  }
  const fold = new Fold()
  const roots = [fold.root()]
  for (const hash of hashes) {
    fold.push(hash, 0, 0)
    roots.push(fold.root())
  }
  return { hashes, read, roots, reads }
}

/** Every way to spoil a list of hashes by one: a bit, a hash gone, a hash more, two in the wrong order. */
function* spoiltProofs(proof: readonly Uint8Array[], bits: number): Generator<Uint8Array[]> {
  for (let i = 0; i < proof.length; i++) {
    for (let bit = 0; bit < 256; bit += 256 / bits) {
      const hash = new Uint8Array(proof[i]!)
      hash[Math.floor(bit / 8)]! ^= 1 << (bit % 8)
      yield proof.with(i, hash)
    }
    yield proof.toSpliced(i, 1)
    yield proof.toSpliced(i, 0, proof[i]!)
    yield proof.with(i, proof[i]!.subarray(1))
    if (i > 0) yield [...proof.slice(0, i - 1), proof[i]!, proof[i - 1]!, ...proof.slice(i + 1)]
  }
  yield [...proof, new Uint8Array(32)]
  yield [new Uint8Array(32), ...proof]
}

function expectFailure(code: string, verify: () => void): void {
  let thrown: unknown
  try {
    verify()
  } catch (error) {
    thrown = error
  }
  if (!(thrown instanceof VerificationError) || thrown.code !== code)
    expect.fail(`no ${code} failure but ${thrown}`)
}

describe('inclusion', () => {
  const log = makeLog(100)

  test('every leaf of every tree up to 100 leaves, and nothing else', async () => {
    for (let size = 1; size <= 100; size++) {
      for (let index = 0; index < size; index++) {
        const proof = await proveInclusion(index, size, log.read)
        expect(proof.length).toBeLessThanOrEqual(Math.ceil(Math.log2(size)))
        const leaf = log.hashes[index]!
        const root = log.roots[size]!
        verifyInclusion(leaf, index, size, proof, root)
        if (size > 36 && size < 100) continue
        expectFailure('inclusion', () =>
          verifyInclusion(log.hashes[(index + 1) % 100]!, index, size, proof, root),
        )
        expectFailure('inclusion', () => verifyInclusion(leaf, index, size, proof, log.roots[size - 1]!))
        for (const spoilt of spoiltProofs(proof, 1))
          expectFailure('inclusion', () => verifyInclusion(leaf, index, size, spoilt, root))
        // A path fixes the index; the size only as far as it shapes the path.
        for (const other of [index - 1, index + 1, size, index + 64])
          if (other !== index)
            expectFailure('inclusion', () => verifyInclusion(leaf, other, size, proof, root))
      }
    }
  })

  test('every bit of a proof counts', async () => {
    const proof = await proveInclusion(37, 100, log.read)
    for (const spoilt of spoiltProofs(proof, 256))
      expectFailure('inclusion', () => verifyInclusion(log.hashes[37]!, 37, 100, spoilt, log.roots[100]!))
  })

  test('a tree twice as large is no tree of this size', async () => {
    // The right half of 8 leaves, passed off as a tree of 4 under the root of all 8, and the other way round.
    for (let index = 0; index < 4; index++) {
      const proof = await proveInclusion(index + 4, 8, log.read)
      const verify = () => verifyInclusion(log.hashes[index + 4]!, index, 4, proof, log.roots[8]!)
      expect(verify).toThrow('too long')
      const short = await proveInclusion(index, 4, log.read)
      expect(() => verifyInclusion(log.hashes[index]!, index, 8, short, log.roots[4]!)).toThrow('too short')
    }
  })

  test('numbers that are none', async () => {
    const [leaf, root] = [log.hashes[0]!, log.roots[1]!]
    for (const [index, size] of [
      [0, 0],
      [-1, 1],
      [1, 1],
      [0.5, 1],
      [0, 1.5],
      [Number.NaN, 1],
      [0, 2 ** 53],
    ] as const)
      expectFailure('inclusion', () => verifyInclusion(leaf, index, size, [], root))
    for (const [index, size] of [
      [0, 0],
      [-1, 1],
      [1, 1],
      [0.5, 1],
      [0, 2 ** 53],
    ] as const)
      await expect(proveInclusion(index, size, log.read)).rejects.toThrow('bad')
    expectFailure('inclusion', () => verifyInclusion(leaf.subarray(1), 0, 1, [], root))
  })

  test('a leaf at 2^53', () => {
    // No such tree can be built; the walk must neither loop nor lose bits.
    const leaf = leafHash(utf8('far'))
    expectFailure('inclusion', () =>
      verifyInclusion(leaf, 2 ** 53 - 2, 2 ** 53 - 1, Array(53).fill(leaf), new Uint8Array(32)),
    )
  })
})

describe('consistency', () => {
  const log = makeLog(100)

  test('every pair of trees up to 100 leaves, and nothing else', async () => {
    for (let size = 0; size <= 100; size++) {
      for (let old = 0; old <= size; old++) {
        const proof = await proveConsistency(old, size, log.read)
        const [oldRoot, root] = [log.roots[old]!, log.roots[size]!]
        verifyConsistency(old, oldRoot, size, root, proof)
        if (size > 36 && size < 100) continue
        for (const spoilt of spoiltProofs(proof, 1))
          expectFailure('consistency', () => verifyConsistency(old, oldRoot, size, root, spoilt))
        const strange = new Uint8Array(32)
        expectFailure('consistency', () => verifyConsistency(old, strange, size, root, proof))
        if (old > 0) expectFailure('consistency', () => verifyConsistency(old, oldRoot, size, strange, proof))
        if (old < size) expectFailure('consistency', () => verifyConsistency(size, root, old, oldRoot, proof))
      }
    }
  })

  test('every bit of a proof counts', async () => {
    for (const old of [64, 77]) {
      const proof = await proveConsistency(old, 100, log.read)
      for (const spoilt of spoiltProofs(proof, 256))
        expectFailure('consistency', () =>
          verifyConsistency(old, log.roots[old]!, 100, log.roots[100]!, spoilt),
        )
    }
  })

  test('a proof for a smaller tree is too short, one for a larger tree too long', async () => {
    for (let old = 1; old < 8; old++) {
      const verify = (size: number, proven: number, proof: Uint8Array[]) => () =>
        verifyConsistency(old, log.roots[old]!, size, log.roots[proven]!, proof)
      const proof = await proveConsistency(old, 8, log.read)
      expect(verify(16, 8, proof)).toThrow('too short')
      expect(verify(8, 16, await proveConsistency(old, 16, log.read))).toThrow('too long')
    }
  })

  test('numbers that are none', async () => {
    const root = log.roots[1]!
    for (const [old, size] of [
      [2, 1],
      [-1, 1],
      [0.5, 1],
      [1, 1.5],
      [Number.NaN, 1],
      [1, 2 ** 53],
    ] as const) {
      expectFailure('consistency', () => verifyConsistency(old, root, size, root, []))
      await expect(proveConsistency(old, size, log.read)).rejects.toThrow('bad')
    }
  })
})

describe('range', () => {
  const log = makeLog(100)

  test('every range of every tree up to 40 leaves', async () => {
    for (let size = 1; size <= 40; size++)
      for (let start = 0; start < size; start++)
        for (let end = start + 1; end <= size; end++) {
          const proof = await proveRange(start, end, size, log.read)
          verifyRange(concatBytes(...log.hashes.slice(start, end)), start, size, proof, log.roots[size]!)
        }
  })

  test('no other range of the trees up to 20 leaves', async () => {
    for (let size = 1; size <= 20; size++) {
      const root = log.roots[size]!
      for (let start = 0; start < size; start++) {
        for (let end = start + 1; end <= size; end++) {
          const leaves = concatBytes(...log.hashes.slice(start, end))
          const proof = await proveRange(start, end, size, log.read)
          verifyRange(leaves, start, size, proof, root)
          for (const spoilt of spoiltProofs(proof, 1))
            expectFailure('inclusion', () => verifyRange(leaves, start, size, spoilt, root))
          for (const other of [start - 1, start + 1])
            expectFailure('inclusion', () => verifyRange(leaves, other, size, proof, root))
          for (const other of [size - 1, size + 1])
            expectFailure('inclusion', () => verifyRange(leaves, start, other, proof, log.roots[other]!))
          for (let i = 0; i < end - start; i++)
            expectFailure('inclusion', () =>
              verifyRange(leaves.with(i * 32, leaves[i * 32]! ^ 1), start, size, proof, root),
            )
          expectFailure('inclusion', () => verifyRange(leaves.subarray(32), start, size, proof, root))
          expectFailure('inclusion', () => verifyRange(leaves.subarray(32), start + 1, size, proof, root))
          expectFailure('inclusion', () => verifyRange(leaves.subarray(0, -32), start, size, proof, root))
          expectFailure('inclusion', () =>
            verifyRange(concatBytes(leaves, leaves.subarray(0, 32)), start, size, proof, root),
          )
        }
      }
    }
  })

  test('every bit of a proof counts', async () => {
    const proof = await proveRange(21, 45, 100, log.read)
    const leaves = concatBytes(...log.hashes.slice(21, 45))
    for (const spoilt of spoiltProofs(proof, 256))
      expectFailure('inclusion', () => verifyRange(leaves, 21, 100, spoilt, log.roots[100]!))
  })

  test('the whole log needs no proof', async () => {
    expect(await proveRange(0, 100, 100, log.read)).toEqual([])
  })

  test('numbers that are none', async () => {
    const root = log.roots[1]!
    for (const [start, size] of [
      [1, 1],
      [-1, 1],
      [0.5, 2],
      [0, 0],
      [0, Number.NaN],
      [0, 2 ** 53],
    ] as const)
      expectFailure('inclusion', () => verifyRange(log.hashes[0]!, start, size, [], root))
    expectFailure('inclusion', () => verifyRange(new Uint8Array(0), 0, 1, [], root))
    expectFailure('inclusion', () => verifyRange(new Uint8Array(33), 0, 1, [], root))
    for (const [start, end, size] of [
      [0, 0, 1],
      [1, 0, 1],
      [0, 2, 1],
      [-1, 1, 1],
      [Number.NaN, 1, 1],
    ] as const)
      await expect(proveRange(start, end, size, log.read)).rejects.toThrow('bad')
  })
})

describe('tiles', () => {
  const log = makeLog(70_000 - 1)
  const sizes = fc.integer({ min: 1, max: 70_000 - 1 })

  test('proofs across levels hold at any size', async () => {
    await fc.assert(
      fc.asyncProperty(sizes, sizes, sizes, async (a, b, c) => {
        const [start, end, size] = [a, b, c].sort((x, y) => x - y) as [number, number, number]
        verifyConsistency(
          start,
          log.roots[start]!,
          size,
          log.roots[size]!,
          await proveConsistency(start, size, log.read),
        )
        verifyInclusion(
          log.hashes[start - 1]!,
          start - 1,
          size,
          await proveInclusion(start - 1, size, log.read),
          log.roots[size]!,
        )
        const leaves = concatBytes(...log.hashes.slice(start - 1, end))
        verifyRange(
          leaves,
          start - 1,
          size,
          await proveRange(start - 1, end, size, log.read),
          log.roots[size]!,
        )
      }),
      { numRuns: 60 },
    )
  })

  test('a proof reads each tile once, and only tiles of its tree', async () => {
    for (const size of [1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999]) {
      log.reads.length = 0
      await proveRange(Math.floor(size / 3), Math.floor(size / 3) + 1, size, log.read)
      expect(new Set(log.reads).size).toBe(log.reads.length)
      for (const [level, index, width] of log.reads.map((read) => read.split(' ').map(Number)))
        expect(width).toBe(tileWidth(size, level!, index!))
      expect(log.reads.length).toBeLessThanOrEqual(5)
    }
  })

  test('a tile of another length is not taken', async () => {
    for (const length of [0, 31, 32 * 2 - 1, 32 * 4])
      await expect(proveInclusion(0, 3, () => new Uint8Array(length))).rejects.toMatchObject({ code: 'tile' })
  })
})
