/** `fsck` on a small log: clean when it is, and every change of every key of its store found. */
import {
  chmodSync,
  cpSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { Closed } from '@rootspan/lineage/record/payload'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { nodeFiles } from '../../packages/collector/src/files.ts'
import type { FsckReport } from '../../packages/collector/src/fsck.ts'
import { openQuarantine } from '../../packages/collector/src/receiver/quarantine.ts'
import * as keys from '../../packages/collector/src/store/keys.ts'
import { openDatabase } from '../../packages/collector/src/store/log-store.ts'
import { GOVERNED } from '../support/executions.ts'
import { Life } from './life.ts'
import { World } from './world.ts'

let small: World

beforeAll(async () => {
  small = await World.create()
  const life = await Life.start(small)
  await life.receive(1, GOVERNED, true)
  await life.receive(2, [{ id: 1 }, { id: 2, parent: 1, service: 'stock' }])
  await life.commit()
  await life.checkpoint()
  await life.receive(1, [{ id: 9, parent: 1 }], true)
  await life.receive(3, [{ id: 5, parent: 4 }])
  await life.commit(Closed.settled)
  for (let trace = 100; trace < 240; trace++) await life.receive(trace, [{ id: 1 }])
  await life.commit(Closed.cut)
  await life.receive(3, [{ id: 4, service: 'stock' }])
  await life.commit()
  await life.checkpoint()
  await life.trim()
  await life.receive(4, [{ id: 1 }], true)
  await life.receive(5, [{ id: 1 }])
  await life.commit(Closed.settled, [5])
  await life.close()
  const quarantine = await openQuarantine({
    directory: join(small.data, 'quarantine'),
    counters: { add() {} },
  })
  const bytes = new Uint8Array(30).fill(7)
  const spans = [
    {
      time: 1n,
      receiver: 'otlp/grpc',
      signal: 'traces',
      reason: 'bad',
      span: bytes,
      resource: bytes,
      scope: bytes,
    } as const,
  ]
  await quarantine.keep([...spans, ...spans])
  await quarantine.close()
})
afterAll(() => small.remove())

function wheres({ problems }: FsckReport): string[] {
  return problems.map(({ where, message }) => `${where}: ${message}`)
}

test('a fresh log is clean', async () => {
  const world = await World.create()
  const report = await world.fsck()
  expect(report.problems).toEqual([])
  expect(report.notes).toEqual([])
  await world.remove()
})

test('a small log is clean, and everything in it is counted', async () => {
  const report = await small.fsck()
  expect(wheres(report)).toEqual([])
  expect(report.notes).toEqual([])
  expect(report.checked).toMatchObject({
    'log files': 1,
    'private keys': 1,
    'signer memories': 1,
    'quarantine lines': 2,
    commits: 5,
    segments: 146,
    traces: 144,
    checkpoints: 2,
    receipts: 2,
    tiles: 3,
  })
  expect(report.checked['journal frames']).toBeGreaterThan(1)
  expect(report.notChecked.map(({ where }) => basename(where)).sort()).toEqual(['LOCK', 'LOG', 'LOG.old'])
  // What is open in it is committed by the next life, and all of it is there then.
  const world = await small.copy()
  const life = await Life.start(world)
  await life.commit()
  await life.checkpoint()
  await life.close()
  await world.check()
  await world.remove()
})

test('it refuses a log that is in use, and changes nothing of it', async () => {
  const world = await small.copy()
  const life = await Life.start(world)
  await expect(world.fsck()).rejects.toThrow('is in use')
  await life.commit()
  await life.close()
  expect((await world.fsck()).problems).toEqual([])
  await world.remove()
})

describe('a changed store, its files undamaged', { timeout: 120_000 }, () => {
  async function allKeys(world: World): Promise<[Uint8Array, Uint8Array][]> {
    const database = await openDatabase(join(world.data, 'log'), 'open')
    const all: [Uint8Array, Uint8Array][] = []
    for await (const [key, value] of database.iterator())
      all.push([new Uint8Array(key), new Uint8Array(value)])
    await database.close()
    // Of the many traces that are alike, some: every prefix is whole.
    return all.filter(([key], at) => !isOneOfMany(key) || at % 40 === 0)
  }

  function isOneOfMany(key: Uint8Array): boolean {
    return key[0] === keys.Prefix.trace && key.at(-1)! >= 100
  }

  let world: World
  beforeAll(async () => {
    world = await small.copy()
  })
  afterAll(() => world.remove())

  async function put(key: Uint8Array, value: Uint8Array | undefined): Promise<void> {
    const database = await openDatabase(join(world.data, 'log'), 'open')
    if (value === undefined) await database.del(key, { sync: true })
    else await database.put(key, value, { sync: true })
    await database.close()
  }

  test('every key taken away is missed', async () => {
    for (const [key, value] of await allKeys(world)) {
      // A kept checkpoint that is gone is not known to have been there.
      if (key[0] === keys.Prefix.checkpoint) continue
      await put(key, undefined)
      const report = await world.fsck()
      expect(report.problems.length, `without ${Buffer.from(key).toString('hex')}`).toBeGreaterThan(0)
      await put(key, value)
    }
    expect(wheres(await world.fsck())).toEqual([])
  })

  test('every value with a changed, an added or a missing byte is noticed', async () => {
    let tried = 0
    for (const [key, value] of await allKeys(world)) {
      const name = Buffer.from(key).toString('hex')
      const changes: Uint8Array[] = [Uint8Array.of(...value, 0)]
      if (value.length > 0) {
        changes.push(value.slice(0, -1))
        for (const at of new Set([tried % value.length, value.length - 1])) {
          const changed = value.slice()
          changed[at]! ^= 1 << (tried++ % 8)
          changes.push(changed)
        }
      }
      for (const [number, changed] of changes.entries()) {
        await put(key, changed)
        const report = await world.fsck()
        expect(report.problems.length, `change ${number} of ${name}`).toBeGreaterThan(0)
      }
      await put(key, value)
    }
    expect(wheres(await world.fsck())).toEqual([])
  })

  test('every key that should not be there is noticed', async () => {
    const extra: [string, Uint8Array][] = [
      ['below all prefixes', Uint8Array.of(0)],
      ['above all prefixes', Uint8Array.of(14, 1)],
      ['a run of records', keys.runKey(3)],
      ['a hold', keys.holdKey(3)],
      ['an erasure', keys.erasingKey(3)],
      ['after the cursor', Uint8Array.of(keys.Prefix.cursor, 0)],
      ['an entry bundle', keys.entriesKey(9)],
      ['the next entry bundle', keys.entriesKey(3)],
      ['a tile', keys.tileKey(0, 7)],
      ['a level', keys.tileKey(3, 0)],
      ['a commit', keys.commitKey(5)],
      ['a later commit', keys.commitKey(50)],
      ['a checkpoint', keys.checkpointKey(7)],
      ['a checkpoint of the future', keys.checkpointKey(1_000_000)],
      ['a trace', keys.traceKey(keys.traceId(new Uint8Array(0), new Uint8Array(16).fill(3)))],
      ['a list of search terms', keys.termsKey(5, 1)],
      ['a service in a list', keys.serviceKey(Uint8Array.of(65), 5, 1)],
      ['a receipt', keys.receiptKey(1, 1)],
      ['knowledge', keys.knowledgeKey(new Uint8Array(16))],
    ]
    for (const [name, key] of extra) {
      await put(
        key,
        key[0] === keys.Prefix.byTime || key[0] === keys.Prefix.byService
          ? new Uint8Array(0)
          : new Uint8Array(12),
      )
      expect((await world.fsck()).problems.length, name).toBeGreaterThan(0)
      await put(key, undefined)
    }
    expect(wheres(await world.fsck())).toEqual([])
  })
})

describe('files', () => {
  let world: World
  const packs = () => join(world.data, 'packs')
  beforeAll(async () => {
    world = await small.copy()
  })
  afterAll(() => world.remove())

  test('unknown ones are named', async () => {
    const strange = [
      join(world.data, 'notes.txt'),
      join(world.data, 'journal', 'x'),
      join(packs(), 'default-1.pack'),
      join(world.data, 'quarantine', 'y'),
      join(world.data, 'log', 'z'),
      join(world.signer, 'memory', 'old'),
    ]
    for (const path of strange) writeFileSync(path, '?')
    const report = await world.fsck()
    expect(wheres(report)).toEqual([])
    expect(report.notChecked.map(({ where }) => where)).toEqual(expect.arrayContaining(strange))
    for (const path of strange) rmSync(path)
  })

  test('what a crash leaves in packs and journal is noted, not blamed, and left alone', async () => {
    const [pack] = readdirSync(packs())
    const path = join(packs(), pack!)
    const whole = readFileSync(path)
    writeFileSync(path, Buffer.concat([whole, Buffer.from('half a block')]))
    writeFileSync(join(packs(), 'default-20260101-0999.pack'), 'begun')
    const segment = join(world.data, 'journal', readdirSync(join(world.data, 'journal')).at(-1)!)
    const frames = readFileSync(segment)
    writeFileSync(segment, Buffer.concat([frames, Buffer.from('half a frame')]))
    const report = await world.fsck()
    expect(wheres(report)).toEqual([])
    expect(report.notes.map(({ where }) => where)).toEqual([
      `${path} at offset ${whole.length}`,
      join(packs(), 'default-20260101-0999.pack'),
      `${segment} at offset ${frames.length}`,
    ])
    expect(readFileSync(segment).length).toBe(frames.length + 12)
    const life = await Life.start(world)
    await life.close()
    expect((await world.fsck()).notes).toEqual([])
  })

  test.each([
    ['log.json', () => join(world.data, 'log.json')],
    ['the key', () => join(world.signer, 'key')],
    [
      "the signer's memory",
      () => join(world.signer, 'memory', readdirSync(join(world.signer, 'memory'))[0]!),
    ],
    ['a pack', () => join(packs(), readdirSync(packs())[0]!)],
    ['the journal', () => join(world.data, 'journal', readdirSync(join(world.data, 'journal')).at(-1)!)],
    ['the store', () => join(world.data, 'log', 'CURRENT')],
  ])('%s that is missing, empty or cut is named', async (_, pathOf) => {
    const path = pathOf()
    renameSync(path, `${world.root}/aside`)
    const missing = await world.fsck()
    cpSync(`${world.root}/aside`, path)
    truncateSync(path, 0)
    const empty = await world.fsck()
    cpSync(`${world.root}/aside`, path)
    truncateSync(path, Math.floor(readFileSync(path).length / 2))
    const cut = await world.fsck()
    renameSync(`${world.root}/aside`, path)
    for (const report of [missing, empty, cut]) {
      const told = wheres(report).join('\n')
      expect(told).toContain(
        path.includes('journal') ? join(world.data, 'journal') : path.includes('pack') ? 'pack' : path,
      )
    }
    expect(wheres(await world.fsck())).toEqual([])
  })

  test('a key that others may read is named', async () => {
    chmodSync(join(world.signer, 'key'), 0o644)
    expect(wheres(await world.fsck())).toEqual([expect.stringContaining('others than its owner')])
    chmodSync(join(world.signer, 'key'), 0o600)
  })
})

test('a directory that is none is said to be', async () => {
  const world = await World.create()
  rmSync(world.data, { recursive: true })
  const told = wheres(await world.fsck())
  expect(told[0]).toContain(join(world.data, 'log.json'))
  expect(told).toContain(`${join(world.data, 'log')}: is missing`)
  expect(await nodeFiles.stat(world.data)).toBeUndefined()
  await world.remove()
})
