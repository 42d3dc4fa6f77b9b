import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { BufferPool } from '../buffer-pool.ts'
import { gunzip, Intake } from './body.ts'
import { Budget } from './budget.ts'
import type { Refusal } from './receiver.ts'

function intakeOf(budget: Budget, idleMillis = 60_000): Intake {
  return new Intake({ budget, maxBytes: 1 << 20, idleMillis, totalMillis: 60_000 })
}

const never = () => {
  throw new Error('expired')
}

test('a body is charged as it comes and given back once', () => {
  const budget = new Budget(10_000)
  const body = intakeOf(budget).open(never)
  expect(budget.used).toBe(0)
  body.push(Buffer.from('ab'))
  body.push(Buffer.from('cde'))
  expect(budget.used).toBeGreaterThanOrEqual(5)
  expect([0, 1, 2, 3, 4].map((at) => String.fromCharCode(body.byte(at))).join('')).toBe('abcde')
  expect(() => body.byte(5)).toThrow('bad offset')
  expect(Buffer.from(body.join(true)).toString()).toBe('abcde')
  expect(budget.used).toBeGreaterThanOrEqual(5)
  body.release()
  body.release()
  expect(budget.used).toBe(0)
})

test('chunks are joined in the pool, whose buffer is free again with the body, unless it was handed over', () => {
  const pool = new BufferPool(1 << 20)
  const intake = new Intake({
    budget: new Budget(),
    maxBytes: 1 << 20,
    idleMillis: 1000,
    totalMillis: 1000,
    pool,
  })
  const chunks = [Buffer.alloc(9000, 1), Buffer.alloc(1, 2), Buffer.alloc(3000, 3)]
  const filled = () => {
    const body = intake.open(never)
    for (const chunk of chunks) body.push(chunk)
    return body
  }
  const first = filled()
  const bytes = first.join(true)
  expect(Buffer.compare(bytes, Buffer.concat(chunks))).toBe(0)
  expect(pool.holds(bytes)).toBe(true)
  first.release()
  expect(pool.holds(bytes)).toBe(false)
  const second = filled()
  const same = second.join(true)
  expect(same.buffer).toBe(bytes.buffer)
  pool.handOver(same.buffer as ArrayBuffer)
  second.release()
  const third = filled()
  expect(third.join(true).buffer).not.toBe(same.buffer)
  third.release()
  const compressed = filled()
  const apart = compressed.join(false)
  expect([pool.holds(apart), Buffer.compare(apart, bytes)]).toEqual([false, 0])
  compressed.release()
  intake.stop()
})

test('over the budget a chunk is refused and charges nothing', () => {
  const budget = new Budget(10_000)
  const body = intakeOf(budget).open(never)
  body.push(Buffer.alloc(6000))
  const used = budget.used
  expect(() => body.push(Buffer.alloc(6000))).toThrow('too many requests in flight')
  expect(budget.used).toBe(used)
  expect(() => budget.give(used + 1)).toThrow('bad budget')
})

test('one byte at a time costs more than its bytes', () => {
  const budget = new Budget(10_000)
  const body = intakeOf(budget).open(never)
  const drip = () => {
    for (let i = 0; i < 10_000; i++) body.push(Buffer.alloc(1))
  }
  expect(drip).toThrow('too many requests in flight')
  expect(body.size).toBeLessThan(100)
})

test('a body without progress expires once, one with progress or released does not', async () => {
  const intake = intakeOf(new Budget(), 300)
  const expired: string[] = []
  const idle = intake.open((refusal) => expired.push(`idle ${refusal.code}`))
  const busy = intake.open(() => expired.push('busy'))
  const done = intake.open(() => expired.push('done'))
  const joined = intake.open(() => expired.push('joined'))
  done.release()
  joined.join(true)
  for (let i = 0; i < 20; i++) {
    await sleep(40)
    busy.push(Buffer.of(1))
  }
  expect(expired).toEqual(['idle timeout'])
  idle.release()
  intake.stop()
})

const LIMIT = 1 << 20

async function outcome(
  compressed: Uint8Array,
  budget = new Budget(),
): Promise<{ size: number; used: number } | string> {
  const body = intakeOf(budget).open(never)
  try {
    const out = await gunzip(compressed, LIMIT, body, 'protocol')
    return { size: out.length, used: budget.used }
  } catch (error) {
    return (error as Refusal).code
  } finally {
    body.release()
    expect(budget.used).toBe(0)
  }
}

test.each([0, 1, 1000, 70_000, LIMIT - 1, LIMIT])('gzip of %i bytes', async (size) => {
  for (const level of [0, 1, 9] as const) {
    const result = await outcome(gzipSync(Buffer.alloc(size), { level }))
    expect(result).toMatchObject({ size })
    expect((result as { used: number }).used).toBeGreaterThanOrEqual(size)
  }
})

test.each([LIMIT + 1, LIMIT * 10])('gzip of %i bytes is too large', async (size) => {
  for (const level of [0, 1, 9] as const)
    expect(await outcome(gzipSync(Buffer.alloc(size), { level }))).toBe('too_large')
})

test('the size that gzip claims is not trusted', async () => {
  for (const size of [100, 5000, 900_000, LIMIT * 3])
    for (const claim of [0, 1, 65_536, LIMIT, 0xffff_ffff]) {
      const compressed = gzipSync(Buffer.alloc(size), { level: 1 })
      compressed.writeUInt32LE(claim, compressed.length - 4)
      const members = Buffer.concat([gzipSync(Buffer.alloc(size)), gzipSync(Buffer.alloc(5))])
      expect(await outcome(members)).toEqual(
        size > LIMIT ? 'too_large' : expect.objectContaining({ size: size + 5 }),
      )
      // A claim that is not the size is found at the end; a bomb is found before.
      expect(await outcome(compressed)).toBe(size > LIMIT ? 'too_large' : 'protocol')
    }
})

test('output over the budget is pushed back', async () => {
  for (const size of [300_000, 900_000]) {
    expect(await outcome(gzipSync(Buffer.alloc(size)), new Budget(200_000))).toBe('busy')
    const understated = Buffer.concat([gzipSync(Buffer.alloc(size), { level: 0 }), gzipSync(Buffer.alloc(0))])
    expect(await outcome(understated, new Budget(200_000))).toBe('busy')
  }
})

test('every flipped byte and every cut of a gzip member is found or harmless', async () => {
  const plain = Buffer.from('rootspan '.repeat(20))
  const good = gzipSync(plain)
  for (let cut = 0; cut < good.length; cut++) expect(await outcome(good.subarray(0, cut))).toBe('protocol')
  // Bytes 4 to 9 of the head are time, hints and system, which mean nothing to us.
  for (let at = 0; at < good.length; at++) {
    if (at >= 4 && at < 10) continue
    const bad = Buffer.from(good)
    bad[at]! ^= 0x55
    expect(await outcome(bad)).toBe('protocol')
  }
})
