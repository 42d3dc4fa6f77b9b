/**
 * One changed bit, in every file of the data and signer directories: found by `fsck`, by the name of the file; and by
 * the start, where the start reads it. Small files are tried byte by byte, of larger ones the headers, the ends and a
 * spread; with `ROOTSPAN_EVERY_BYTE=1` every byte of all of them, which takes minutes. LevelDB's text logs and its lock
 * hold no data: fsck says that it did not check them.
 */
import { open, readdir, readFile, rm, stat } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { Closed } from '@rootspan/lineage/record/payload'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { nodeFiles } from '../../packages/collector/src/files.ts'
import type { FsckReport } from '../../packages/collector/src/fsck.ts'
import { readLogFile } from '../../packages/collector/src/origin.ts'
import { openQuarantine } from '../../packages/collector/src/receiver/quarantine.ts'
import { GOVERNED } from '../support/executions.ts'
import { Life } from './life.ts'
import { CollectorProcess, SETTINGS } from './process.ts'
import { World } from './world.ts'

const WITHOUT_DATA = ['LOCK', 'LOG', 'LOG.old']
const EVERY_BYTE = process.env.ROOTSPAN_EVERY_BYTE === '1'
/** Files up to this size are tried byte by byte. */
const SMALL = EVERY_BYTE ? Number.POSITIVE_INFINITY : 512
const TIMEOUT = EVERY_BYTE ? 3_600_000 : 300_000

let world: World

beforeAll(async () => {
  world = await World.create()
  // Two lives, so that LevelDB has a table, too.
  for (const round of [0, 1]) {
    const life = await Life.start(world)
    await life.receive(
      1,
      GOVERNED.map((span) => ({ ...span, name: `${span.name} ${round}` })),
    )
    await life.receive(10 + round, [{ id: 1 }, { id: 2, parent: 1 }], true)
    await life.commit(Closed.drained, [1])
    await life.checkpoint()
    await life.close()
  }
  const quarantine = await openQuarantine({
    directory: join(world.data, 'quarantine'),
    counters: { add() {} },
  })
  const bytes = new Uint8Array(20).fill(7)
  const span = {
    time: 1n,
    receiver: 'otlp/grpc',
    signal: 'traces',
    reason: 'bad',
    span: bytes,
    resource: bytes,
    scope: bytes,
  } as const
  await quarantine.keep([span, span])
  await quarantine.close()
})
afterAll(() => world.remove())

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

function offsetsOf(size: number): number[] {
  const all = Array.from({ length: size }, (_, at) => at)
  if (size <= SMALL) return all
  return all.filter((at) => at < 96 || at >= size - 48 || at % Math.ceil(size / 100) === 0)
}

/** Flips one bit of a byte for as long as `check` runs. */
async function flipped<T>(path: string, at: number, check: () => Promise<T>): Promise<T> {
  const handle = await open(path, 'r+')
  const byte = new Uint8Array(1)
  await handle.read(byte, 0, 1, at)
  await handle.write(Uint8Array.of(byte[0]! ^ (1 << (at % 8))), 0, 1, at)
  try {
    return await check()
  } finally {
    await handle.write(byte, 0, 1, at)
    await handle.close()
  }
}

function names({ problems, notes }: FsckReport): string[] {
  return [...problems, ...notes].map(({ where }) => where)
}

test('the directories are as these tests need them', async () => {
  const found = (await filesBelow(world.root)).map((path) => relative(world.root, path).split(sep))
  const kinds = new Set(
    found.map((parts) => (parts.length > 2 ? parts.slice(0, 2).join('/') : parts.join('/'))),
  )
  expect([...kinds].sort()).toEqual([
    'data/journal',
    'data/log',
    'data/log.json',
    'data/packs',
    'data/quarantine',
    'signer/key',
    'signer/memory',
  ])
  expect(found.some((parts) => parts.at(-1)!.endsWith('.ldb'))).toBe(true)
  expect((await world.fsck()).problems).toEqual([])
})

describe('a flipped bit is found by fsck, which names the file', { timeout: TIMEOUT }, () => {
  test('in what is not LevelDB’s', async () => {
    let tried = 0
    let notes = 0
    const paths = (await filesBelow(world.root)).filter(
      (path) => !path.startsWith(join(world.data, 'log') + sep),
    )
    for (const path of paths) {
      const { size } = await stat(path)
      for (const at of offsetsOf(size)) {
        const report = await flipped(path, at, () => world.fsck())
        const named = names(report).some((where) => where.startsWith(path))
        if (!named) expect.fail(`byte ${at} of ${path}: ${JSON.stringify(report.problems)}`)
        if (report.problems.length === 0) notes++
        tried++
      }
    }
    expect(tried).toBeGreaterThan(1500)
    // Only the mark of a clean shutdown and the end of the last quarantine line look like what a crash leaves.
    expect(notes).toBeLessThanOrEqual(81)
    expect((await world.fsck()).problems).toEqual([])
    expect(await readLogFile(nodeFiles, world.data)).toEqual(world.identity)
  })

  test('in a full entry bundle, which lies in a pack', async () => {
    const large = await World.create()
    const life = await Life.start(large)
    for (let trace = 0; trace < 130; trace++) await life.receive(trace, [{ id: 1 }])
    await life.commit()
    await life.close()
    const names = await readdir(join(large.data, 'packs'))
    const path = join(large.data, 'packs', names.find((name) => name.startsWith('records-'))!)
    const { size } = await stat(path)
    for (const at of offsetsOf(size)) {
      const { problems } = await flipped(path, at, () => large.fsck())
      expect(problems[0]?.where.startsWith(path), `byte ${at}: ${problems[0]?.message}`).toBe(true)
    }
    expect((await large.fsck()).problems).toEqual([])
    await large.remove()
  })

  test('in LevelDB’s own files, which then stay as they are', async () => {
    const copy = await world.copy()
    const directory = join(copy.data, 'log')
    const listed = (await readdir(directory)).sort()
    let tried = 0
    for (const name of listed) {
      if (WITHOUT_DATA.includes(name)) continue
      const path = join(directory, name)
      const { size } = await stat(path)
      for (const at of offsetsOf(size)) {
        const report = await flipped(path, at, () => copy.fsck())
        const named = report.problems.some(({ where }) => where.startsWith(path))
        if (!named) expect.fail(`byte ${at} of ${path}: ${JSON.stringify(report.problems)}`)
        tried++
      }
    }
    expect(tried).toBeGreaterThan(400)
    expect((await readdir(directory)).sort()).toEqual(listed)
    expect((await copy.fsck()).problems).toEqual([])
    await copy.remove()
  })

  test('not in what holds no data, and that is said', async () => {
    const { notChecked } = await world.fsck()
    for (const name of WITHOUT_DATA)
      expect(notChecked.map(({ where }) => where)).toContain(join(world.data, 'log', name))
  })
})

describe('a flipped bit stops the start where the start reads it', { timeout: TIMEOUT }, () => {
  async function startFails(path: string, at: number): Promise<void> {
    const before = await readFile(path)
    const error = await flipped(path, at, () =>
      Life.start(world).then(
        async (life) => {
          await life.end()
          return undefined
        },
        (error: unknown) => error as Error,
      ),
    )
    expect(error?.message, `byte ${at} of ${path}`).toMatch(
      /damaged|corrupt|checksum|record|manifest|log is signed/,
    )
    expect(error?.message, `byte ${at}`).toContain(path)
    expect(await readFile(path)).toEqual(before)
  }

  test("LevelDB's log, manifest and CURRENT; key and memory of the signer; a journal segment", async () => {
    // A closed journal ends in the mark of a clean shutdown: what is before it is known to have been durable.
    const journal = (await filesBelow(join(world.data, 'journal'))).sort()
    const level = (await filesBelow(join(world.data, 'log'))).filter((path) =>
      /\.log$|MANIFEST|CURRENT$/.test(path),
    )
    const signer = await filesBelow(world.signer)
    for (const path of [...level, ...signer, ...journal]) {
      const { size } = await stat(path)
      for (const at of offsetsOf(journal.includes(path) ? size - 80 : size)) await startFails(path, at)
    }
    expect(level.length).toBe(3)
  })

  test('and a collector says so, and ends', async () => {
    const directory = join(world.data, 'log')
    const name = (await readdir(directory)).find((one) => one.endsWith('.log'))!
    const config = world.writeConfig(SETTINGS)
    await flipped(join(directory, name), 20, async () => {
      const collector = new CollectorProcess(config)
      expect(await collector.exit, collector.output).toBe(1)
      expect(collector.output).toContain(`${join(directory, name)} at offset 0: `)
    })
    await rm(config)
  })
})
