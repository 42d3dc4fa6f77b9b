import { expect, test } from 'vitest'
import { BufferPool, MIN_POOLED_BYTES, Returns, sizeClass } from './buffer-pool.ts'

const MIB = 1024 * 1024

/** As `postMessage` does it: the bytes are in another object afterwards. */
const move = (buffer: ArrayBuffer): ArrayBuffer => structuredClone(buffer, { transfer: [buffer] })

test('sizes are at least what was asked for, at most a quarter more, and their own class', () => {
  for (let size = MIN_POOLED_BYTES; size < 64 * MIB; size = Math.ceil(size * 1.013)) {
    const bytes = sizeClass(size)
    expect(bytes).toBeGreaterThanOrEqual(size)
    expect(bytes).toBeLessThanOrEqual(size * 1.25)
    expect(sizeClass(bytes)).toBe(bytes)
    expect(bytes % 4).toBe(0)
  }
})

test('a buffer that was released is the next one of its size', () => {
  const pool = new BufferPool(10 * MIB)
  const first = pool.take(300_000)!
  const second = pool.take(300_000)!
  expect(second).not.toBe(first)
  pool.release(first)
  pool.release(first)
  expect(pool.take(290_000)).toBe(first)
  expect(pool.take(290_000)).not.toBe(first)
  expect(pool.bytes).toBe(3 * sizeClass(300_000))
})

test('what is handed over comes back as another object with the same memory, and a release on the way is nothing', () => {
  const pool = new BufferPool(10 * MIB)
  const buffer = pool.take(100_000)!
  const bytes = new Uint8Array(buffer, 0, 5).fill(7)
  expect(pool.holds(bytes)).toBe(true)
  pool.handOver(buffer)
  const moved = move(buffer)
  pool.release(buffer)
  expect(pool.holds(bytes)).toBe(false)
  expect(pool.take(100_000)).not.toBe(moved)
  pool.comeBack(moved)
  expect(pool.take(100_000)).toBe(moved)
  expect(pool.bytes).toBe(2 * sizeClass(100_000))
})

test('what was never its own does not become so', () => {
  const pool = new BufferPool(10 * MIB)
  const foreign = new ArrayBuffer(sizeClass(100_000))
  pool.handOver(foreign)
  pool.release(foreign)
  pool.comeBack(foreign)
  expect(foreign.detached).toBe(true)
  expect(pool.bytes).toBe(0)
  const buffer = pool.take(100_000)!
  pool.handOver(buffer)
  const moved = move(buffer)
  pool.comeBack(moved)
  const again = new ArrayBuffer(moved.byteLength)
  pool.comeBack(again)
  expect([moved.detached, again.detached]).toEqual([false, true])
})

test('it never holds more than its bound, and buffers of other sizes make room', () => {
  const pool = new BufferPool(MIB)
  const small = Array.from({ length: 16 }, () => pool.take(64 * 1024)!)
  expect(pool.bytes).toBe(MIB)
  expect(pool.take(64 * 1024)).toBeUndefined()
  for (const buffer of small.slice(0, 3)) pool.release(buffer)
  const large = pool.take(128 * 1024)!
  expect(large.byteLength).toBe(128 * 1024)
  expect(pool.bytes).toBe(MIB)
  expect(small.slice(0, 4).filter(({ detached }) => detached)).toHaveLength(2)
  expect(pool.take(128 * 1024)).toBeUndefined()
})

test('what is too small or too large a share is not pooled', () => {
  const pool = new BufferPool(MIB)
  expect(pool.take(MIN_POOLED_BYTES - 1)).toBeUndefined()
  expect(pool.take(MIB / 8 + 1)).toBeUndefined()
  expect(pool.bytes).toBe(0)
})

test('returns gather pooled buffers once, and end the others', () => {
  const pool = new BufferPool(MIB)
  const returns = new Returns()
  const pooled = pool.take(10_000)!
  const [small, odd] = [new ArrayBuffer(100), new ArrayBuffer(10_001)]
  for (const buffer of [pooled, small, odd]) returns.add(buffer)
  expect(returns.take()).toEqual([pooled])
  expect(returns.take()).toEqual([])
  expect([pooled, small, odd].map(({ detached }) => detached)).toEqual([false, true, true])
})
