import { zstdDecompressSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { compress, discardCompressed } from './compress.ts'

/** Bytes of which so many of 256 are random: the more, the less they compress. */
const bytesOf = (length: number, random: number): Buffer => {
  let state = 1
  return Buffer.from(
    Uint8Array.from({ length }, (_, i) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return (i & 255) < random ? state >>> 24 : i & 15
    }),
  )
}

test.each([1, 1000, 65_536, 65_537, 200_000, 262_144, 300_000, 2_000_000])(
  '%i bytes come back as they were',
  async (length) => {
    // To a tenth, to a half, and not at all.
    for (const random of [16, 128, 256]) {
      const raw = bytesOf(length, random)
      const stored = await compress(raw, 1)
      expect(zstdDecompressSync(stored).equals(raw)).toBe(true)
      if (random === 16 && length > 1000) expect(stored.length).toBeLessThan(length / 4)
    }
  },
)

test('what is discarded is gone, and nothing beside it', async () => {
  const raws = [16, 64, 128, 200].map((random) => bytesOf(262_144, random))
  const beside = Array.from({ length: 400 }, (_, at) => Buffer.allocUnsafe(100).fill(at))
  const stored = await Promise.all(raws.map((raw) => compress(raw, 1)))
  const copies = stored.map((one) => Buffer.from(one))
  for (const [at, raw] of raws.entries()) {
    discardCompressed(raw, stored[at]!)
    expect(stored[at]!.length).toBe(0)
    expect(zstdDecompressSync(copies[at]!).equals(raw)).toBe(true)
  }
  expect(beside.every((one, at) => one.length === 100 && one.every((byte) => byte === (at & 255)))).toBe(true)
})

test('a block that is stored as it is, and a small one, are left alone', async () => {
  const raw = bytesOf(100_000, 256)
  discardCompressed(raw, raw)
  expect(raw.length).toBe(100_000)
  const small = await compress(bytesOf(10_000, 16), 1)
  discardCompressed(bytesOf(10_000, 16), small)
  expect(small.length).toBeGreaterThan(0)
})
