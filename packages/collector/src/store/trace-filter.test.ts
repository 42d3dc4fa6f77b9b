import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CURSOR_KEY, knowledgeKey, traceId, traceKey } from './keys.ts'
import { type Database, openDatabase } from './log-store.ts'
import { TraceFilter } from './trace-filter.ts'

const NONE = new Uint8Array(0)

/** Trace ids as SDKs make them, and such as count: their numbers in the last four bytes. */
function idOf(number: number, kind: 'random' | 'counted', tenant = NONE): Uint8Array {
  const trace = new Uint8Array(16)
  const view = new DataView(trace.buffer)
  if (kind === 'random')
    for (let at = 0, x = number + 1; at < 16; at += 4) {
      x = Math.imul(x ^ (x >>> 16), 0x45d9_f3b) + at
      view.setUint32(at, x >>> 0)
    }
  else view.setUint32(12, number)
  return traceId(tenant, trace)
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

describe('which traces a store may hold', () => {
  let directory: string
  let database: Database

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rootspan-filter-'))
    database = await openDatabase(directory, 'create')
    const batch = database.batch()
    for (const number of numbers(0, 2000)) batch.put(traceKey(idOf(number, 'random')), NONE)
    batch.put(traceKey(idOf(1, 'counted', Buffer.from('tenant'))), NONE)
    batch.put(CURSOR_KEY, NONE)
    batch.put(knowledgeKey(new Uint8Array(16).fill(9)), NONE)
    await batch.write()
  })

  afterAll(async () => {
    await database.close()
    await rm(directory, { recursive: true })
  })

  test('any, until all were read; then those that it holds, and those that were added meanwhile', async () => {
    const filter = new TraceFilter()
    expect(filter.mayHold(idOf(5000, 'random'))).toBe(true)
    const learned = filter.learn(database)
    filter.add(idOf(4000, 'random'))
    expect(filter.mayHold(idOf(5000, 'random'))).toBe(true)
    expect(await learned).toBe(true)
    expect(numbers(0, 2000).every((number) => filter.mayHold(idOf(number, 'random')))).toBe(true)
    expect(filter.mayHold(idOf(1, 'counted', Buffer.from('tenant')))).toBe(true)
    expect(filter.mayHold(idOf(4000, 'random'))).toBe(true)
    expect(filter.mayHold(idOf(5000, 'random'))).toBe(false)
    expect(filter.mayHold(knowledgeKey(new Uint8Array(16).fill(9)))).toBe(false)
  })

  test('of others hardly any, whatever their ids look like', async () => {
    for (const kind of ['random', 'counted'] as const) {
      const filter = new TraceFilter()
      await filter.learn(database)
      for (const number of numbers(10_000, 510_000)) filter.add(idOf(number, kind))
      const wrong = numbers(1_000_000, 1_100_000).filter((number) => filter.mayHold(idOf(number, kind)))
      expect(numbers(10_000, 510_000).every((number) => filter.mayHold(idOf(number, kind)))).toBe(true)
      expect(wrong.length, kind).toBeLessThan(1000)
    }
  })

  test('a store that is closed meanwhile is not believed', async () => {
    const other = await openDatabase(join(directory, 'other'), 'create')
    const batch = other.batch()
    for (const number of numbers(0, 5000)) batch.put(traceKey(idOf(number, 'random')), NONE)
    await batch.write()
    const filter = new TraceFilter()
    const learned = filter.learn(other).catch(() => false)
    await other.close()
    expect(await learned).toBe(false)
    expect(filter.mayHold(idOf(90_000, 'random'))).toBe(true)
  })
})
