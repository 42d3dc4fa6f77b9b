import * as nodeFiles from 'node:fs/promises'
import { mkdtemp, open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openQuarantine, type QuarantinedSpan, type QuarantineFiles } from './quarantine.ts'
import type { CounterName } from './receiver.ts'

let directory: string
let counts: Map<CounterName, number>
const counters = { add: (name: CounterName, n: number) => void counts.set(name, (counts.get(name) ?? 0) + n) }

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-quarantine-'))
  counts = new Map()
})
afterEach(() => rm(directory, { recursive: true }))

function record(n: number, size = 10): QuarantinedSpan {
  return {
    time: BigInt(n),
    receiver: 'otlp/grpc',
    signal: 'traces',
    reason: 'the span id is "odd"',
    span: new Uint8Array(size).fill(n),
    resource: Uint8Array.of(1, 2, 3),
    scope: new Uint8Array(0),
  }
}

async function lines(): Promise<{ time: string; span: string; resource: string; scope: string }[]> {
  const out = []
  for (const name of (await readdir(directory)).sort())
    for (const line of (await readFile(join(directory, name), 'utf8')).split('\n').slice(0, -1))
      out.push(JSON.parse(line))
  return out
}

async function total(): Promise<number> {
  let size = 0
  for (const name of await readdir(directory)) size += (await stat(join(directory, name))).size
  return size
}

test('what is kept is on disk, in order, one line each', async () => {
  const quarantine = await openQuarantine({ directory, counters })
  await Promise.all([1, 2, 3].map((n) => quarantine.keep([record(n), record(n + 10)])))
  expect((await lines()).map(({ time }) => time)).toEqual(['1', '11', '2', '12', '3', '13'])
  expect((await lines())[0]).toEqual({
    time: '1',
    receiver: 'otlp/grpc',
    signal: 'traces',
    reason: 'the span id is "odd"',
    span: Buffer.alloc(10, 1).toString('base64'),
    resource: 'AQID',
    scope: '',
    crc32: expect.stringMatching(/^[0-9a-f]{8}$/),
  })
  await quarantine.close()
  await expect(quarantine.keep([record(4)])).rejects.toThrow('closed')
})

test('nothing is opened for nothing', async () => {
  const quarantine = await openQuarantine({ directory, counters })
  await quarantine.keep([])
  await quarantine.close()
  expect(await readdir(directory)).toEqual([])
})

test('a restart goes on with a new file', async () => {
  for (const n of [1, 2]) {
    const quarantine = await openQuarantine({ directory, counters })
    await quarantine.keep([record(n)])
    await quarantine.close()
  }
  expect(await readdir(directory)).toEqual(['quarantine-00000001.jsonl', 'quarantine-00000002.jsonl'])
  expect((await lines()).map(({ time }) => time)).toEqual(['1', '2'])
})

test('the bound holds at every moment and the oldest go first', async () => {
  const maxBytes = 64 * 1024
  let quarantine = await openQuarantine({ directory, counters, maxBytes })
  for (let n = 0; n < 300; n++) {
    await quarantine.keep([record(n, 300)])
    expect(await total()).toBeLessThanOrEqual(maxBytes)
    if (n === 150) {
      await quarantine.close()
      quarantine = await openQuarantine({ directory, counters, maxBytes })
    }
  }
  await quarantine.close()
  const times = (await lines()).map(({ time }) => Number(time))
  expect(times.length).toBeGreaterThan(80)
  expect(times).toEqual(Array.from(times, (_, i) => 300 - times.length + i))
  expect(counts.get('quarantine_files_dropped')).toBeGreaterThan(0)
})

test('a record that is too large is counted and not kept', async () => {
  const quarantine = await openQuarantine({ directory, counters, maxBytes: 64 * 1024 })
  await quarantine.keep([record(1, 1000), record(2), record(3, 500), record(4, 500)])
  await quarantine.close()
  expect((await lines()).map(({ time }) => time)).toEqual(['2'])
  expect(counts.get('quarantine_records_dropped')).toBe(3)
})

test('too much at once is pushed back', async () => {
  const quarantine = await openQuarantine({ directory, counters, maxBytes: 64 * 1024 })
  const outcomes = await Promise.allSettled(
    Array.from({ length: 40 }, (_, n) => quarantine.keep([record(n, 400)])),
  )
  await quarantine.close()
  const kept = outcomes.filter(({ status }) => status === 'fulfilled').length
  expect(kept).toBeLessThan(40)
  expect(await lines()).toHaveLength(kept)
  for (const outcome of outcomes)
    if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'busy' })
})

test('files removed by hand do not matter', async () => {
  const quarantine = await openQuarantine({ directory, counters, maxBytes: 64 * 1024 })
  for (let n = 0; n < 60; n++) await quarantine.keep([record(n, 300)])
  await rm(join(directory, 'quarantine-00000001.jsonl'))
  for (let n = 60; n < 300; n++) await quarantine.keep([record(n, 300)])
  await quarantine.close()
  expect((await lines()).at(-1)!.time).toBe('299')
})

test.each(['appendFile', 'datasync'] as const)(
  'after a failed %s the next record goes into a new file',
  async (broken) => {
    let failing = false
    const files: QuarantineFiles = {
      ...nodeFiles,
      open: async (...parameters: Parameters<typeof open>) => {
        const handle = await open(...parameters)
        const real = handle[broken].bind(handle) as (...rest: unknown[]) => Promise<void>
        handle[broken] = (...rest: unknown[]) => (failing ? Promise.reject(new Error('EIO')) : real(...rest))
        return handle
      },
    }
    const quarantine = await openQuarantine({ directory, counters, files })
    await quarantine.keep([record(1)])
    failing = true
    await expect(quarantine.keep([record(2)])).rejects.toThrow('EIO')
    failing = false
    await quarantine.keep([record(3)])
    await quarantine.close()
    expect(await readdir(directory)).toHaveLength(2)
    const times = (await lines()).map(({ time }) => time)
    expect(times).toEqual(broken === 'datasync' ? ['1', '2', '3'] : ['1', '3'])
  },
)
