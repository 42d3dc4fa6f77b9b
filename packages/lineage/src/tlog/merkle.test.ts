import { expect, test } from 'vitest'
import { formatHex, parseHex } from '../bytes.ts'
import { coverRange, EMPTY_ROOT, leafHash, nodeHash, treeRoot } from './merkle.ts'

/** The tree as RFC 6962, section 2.1, writes it down. */
function definedRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 1) return leaves[0]!
  let split = 1
  while (split * 2 < leaves.length) split *= 2
  return nodeHash(definedRoot(leaves.slice(0, split)), definedRoot(leaves.slice(split)))
}

test('the root is the one that RFC 6962 defines', () => {
  expect(treeRoot([])).toEqual(EMPTY_ROOT)
  const leaves: Uint8Array[] = []
  for (let i = 0; i < 300; i++) {
    leaves.push(leafHash(Uint8Array.of(i % 256, i % 7)))
    expect(formatHex(treeRoot(leaves))).toBe(formatHex(definedRoot(leaves)))
  }
})

test('a cover is gapless, complete, aligned, and the shortest there is', () => {
  for (let end = 0; end <= 70; end++) {
    // The fewest aligned blocks from each start, by dynamic programming over all of them.
    const fewest: number[] = []
    fewest[end] = 0
    for (let start = end - 1; start >= 0; start--) {
      let best = Number.POSITIVE_INFINITY
      for (let span = 1; start % span === 0 && start + span <= end; span *= 2)
        best = Math.min(best, 1 + fewest[start + span]!)
      fewest[start] = best
    }
    for (let start = 0; start <= end; start++) {
      const cover = coverRange(start, end)
      let at = start
      for (const { height, index } of cover) {
        expect(index * 2 ** height).toBe(at)
        at += 2 ** height
      }
      expect(at).toBe(end)
      expect(cover.length).toBe(fewest[start])
    }
  }
})

test('a cover reaches to 2^53', () => {
  const max = Number.MAX_SAFE_INTEGER
  expect(coverRange(0, max)).toHaveLength(53)
  expect(coverRange(1, max)).toHaveLength(2 * 52)
  expect(coverRange(2 ** 52, max)[0]).toEqual({ height: 51, index: 2 })
  expect(coverRange(0, 2 ** 52)).toEqual([{ height: 52, index: 0 }])
  for (const [start, end] of [
    [1, 0],
    [-1, 2],
    [0.5, 2],
    [0, 2 ** 53],
  ] as const)
    expect(() => coverRange(start, end)).toThrow('bad range')
})

test('a node takes only hashes', () => {
  expect(() => nodeHash(new Uint8Array(31), new Uint8Array(32))).toThrow('bad hash size')
  expect(formatHex(nodeHash(new Uint8Array(32), parseHex('01'.repeat(32))))).not.toBe(
    formatHex(nodeHash(parseHex('01'.repeat(32)), new Uint8Array(32))),
  )
})
