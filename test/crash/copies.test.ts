/**
 * Data directories that are not what they were: old copies, forks, and copies with something left out. None of them
 * starts, each is told from the others in words, and refusing changes nothing.
 */
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GOVERNED } from '../support/executions.ts'
import { Life } from './life.ts'
import { CollectorProcess, SETTINGS } from './process.ts'
import { World } from './world.ts'

let world: World

async function liveOnce(trace: number): Promise<void> {
  const life = await Life.start(world)
  await life.receive(trace, [{ id: 1 }, { id: 2, parent: 1, name: 'x'.repeat(1500) }])
  await life.receive(trace + 1, GOVERNED)
  await life.commit()
  await life.checkpoint()
  await life.trim()
  await life.close()
}

beforeEach(async () => {
  world = await World.create()
  await liveOnce(1)
})
afterEach(() => world.remove())

/** Every file below a directory with its bytes, but for what LevelDB writes whenever it is looked at. */
function contentOf(directory: string): Map<string, string> {
  const content = new Map<string, string>()
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isFile()) content.set(path, readFileSync(path, 'latin1'))
  }
  return content
}

async function refusal(): Promise<string> {
  const error = await Life.start(world).then(
    () => undefined,
    (error: Error) => error,
  )
  expect(error, 'it started').toBeDefined()
  return error!.message
}

async function problems(): Promise<string> {
  return (await world.fsck()).problems.map(({ where, message }) => `${where}: ${message}`).join('\n')
}

describe('an old copy under the same signer', () => {
  test('does not sign and says so; the newest one goes on', async () => {
    cpSync(world.data, `${world.root}/old`, { recursive: true })
    await liveOnce(10)
    renameSync(world.data, `${world.root}/newest`)
    cpSync(`${world.root}/old`, world.data, { recursive: true })
    const memory = contentOf(world.signer)
    expect(await refusal()).toMatch(/not signing.*old copy/)
    expect(await problems()).toMatch(/the signer's memory: \d+ leaves were signed, this store has \d+/)
    expect(contentOf(world.signer)).toEqual(memory)

    rmSync(world.data, { recursive: true })
    renameSync(`${world.root}/newest`, world.data)
    await liveOnce(20)
    await world.check()
  })

  test('is refused by the program, which then ends', async () => {
    const config = world.writeConfig(SETTINGS)
    cpSync(world.data, `${world.root}/old`, { recursive: true })
    await liveOnce(10)
    rmSync(world.data, { recursive: true })
    renameSync(`${world.root}/old`, world.data)
    const memory = contentOf(world.signer)
    const collector = new CollectorProcess(config)
    expect(await collector.ready).toBeUndefined()
    expect(await collector.exit).toBe(1)
    expect(collector.output).toMatch(/not signing.*old copy/)
    expect(collector.output).toContain('Put the newest data directory back')
    expect(contentOf(world.signer)).toEqual(memory)
  })

  test('of the store alone leaves the newer packs and the journal as they are', async () => {
    cpSync(join(world.data, 'log'), `${world.root}/old`, { recursive: true })
    await liveOnce(10)
    rmSync(join(world.data, 'log'), { recursive: true })
    renameSync(`${world.root}/old`, join(world.data, 'log'))
    const before = [contentOf(join(world.data, 'packs')), contentOf(join(world.data, 'journal'))]
    await refusal()
    // The journal of the newer store was trimmed past this one's cursor; with a journal that was not, the signer says it.
    expect([contentOf(join(world.data, 'packs')), contentOf(join(world.data, 'journal'))]).toEqual(before)
    expect(await problems()).toContain("the signer's memory")
  })

  test('of the store alone, the journal not trimmed: the packs stay', async () => {
    cpSync(join(world.data, 'log'), `${world.root}/old`, { recursive: true })
    const life = await Life.start(world)
    await life.receive(10, GOVERNED)
    await life.commit()
    await life.checkpoint()
    await life.close()
    rmSync(join(world.data, 'log'), { recursive: true })
    renameSync(`${world.root}/old`, join(world.data, 'log'))
    const packs = contentOf(join(world.data, 'packs'))
    expect(await refusal()).toMatch(/not signing.*old copy/)
    expect(contentOf(join(world.data, 'packs'))).toEqual(packs)
  })
})

test('a copy that went another way does not sign', async () => {
  cpSync(world.root, `${world.root}-fork`, { recursive: true })
  await liveOnce(10)
  const signed = readFileSync(memoryFile())
  rmSync(world.data, { recursive: true })
  renameSync(`${world.root}-fork/data`, world.data)
  renameSync(world.signer, `${world.root}/signer-aside`)
  renameSync(`${world.root}-fork/signer`, world.signer)
  world.memory.roots.clear() // the fork's own memory lets it sign what others would not believe
  await liveOnce(30)
  await liveOnce(40)
  rmSync(world.signer, { recursive: true })
  renameSync(`${world.root}/signer-aside`, world.signer)
  expect(await refusal()).toMatch(/not an extension of the signed tree/)
  expect(await problems()).toMatch(/the signer's memory: the root that was signed for \d+ leaves is/)
  expect(readFileSync(memoryFile())).toEqual(signed)
  rmSync(`${world.root}-fork`, { recursive: true })
})

function memoryFile(): string {
  const directory = join(world.signer, 'memory')
  return join(directory, readdirSync(directory)[0]!)
}

describe('a copy with something left out', () => {
  const log = () => join(world.data, 'log')
  const newestLog = () => join(log(), readdirSync(log()).findLast((name) => name.endsWith('.log'))!)

  test.each([
    ['CURRENT', () => join(log(), 'CURRENT')],
    ['the manifest', () => join(log(), readdirSync(log()).find((name) => name.startsWith('MANIFEST'))!)],
    ["LevelDB's log", newestLog],
  ])('%s: named by start and fsck, and nothing new is begun', async (_, pathOf) => {
    const path = pathOf()
    const name = path.slice(log().length + 1)
    rmSync(path)
    const packs = contentOf(join(world.data, 'packs'))
    expect(await refusal()).toContain(name === 'CURRENT' || name.endsWith('.log') ? name : 'CURRENT')
    expect(await problems()).toContain(log())
    expect(readdirSync(log())).not.toContain(name)
    expect(contentOf(join(world.data, 'packs'))).toEqual(packs)
  })

  test("LevelDB's log emptied, which LevelDB takes for a fresh one: refused, the packs stay", async () => {
    truncateSync(newestLog(), 0)
    const packs = contentOf(join(world.data, 'packs'))
    expect(packs.size).toBeGreaterThan(0)
    const journal = contentOf(join(world.data, 'journal'))
    expect(await refusal()).toMatch(/frames that were not committed are missing|not signing/)
    expect(contentOf(join(world.data, 'packs'))).toEqual(packs)
    expect(contentOf(join(world.data, 'journal'))).toEqual(journal)
    expect(await problems()).toContain("the signer's memory")
  })

  test('the journal emptied: refused and named', async () => {
    for (const name of readdirSync(join(world.data, 'journal'))) rmSync(join(world.data, 'journal', name))
    expect(await refusal()).toContain(`${join(world.data, 'journal')} at offset 0: all segments are missing`)
    expect(await problems()).toContain(`${join(world.data, 'journal')} at offset 0: all segments are missing`)
    expect(readdirSync(join(world.data, 'journal'))).toEqual([])
  })

  test('the end of the journal, past the cursor, some of it committed: no position is given out twice', async () => {
    const life = await Life.start(world)
    await life.receive(50, [{ id: 1 }])
    await life.receive(51, [{ id: 1 }])
    await life.commit(1, [51])
    const directory = join(world.data, 'journal')
    const segment = join(directory, readdirSync(directory).sort().at(-1)!)
    const { length } = readFileSync(segment)
    await life.end()
    truncateSync(segment, length - 10)
    expect(await refusal()).toContain(segment)
    expect(await problems()).toContain(segment)
    expect(readFileSync(segment).length).toBe(length - 10)
  })

  test('a pack: refused and named', async () => {
    const directory = join(world.data, 'packs')
    const [pack] = readdirSync(directory)
    rmSync(join(directory, pack!))
    expect(await refusal()).toContain('pack is missing')
    expect(await problems()).toContain('pack 0 is missing')
  })

  test("the signer's memory: refused and named", async () => {
    rmSync(memoryFile())
    expect(await refusal()).toContain("the signer's memory is gone")
    expect(await problems()).toContain("the signer's memory is gone")
  })
})
