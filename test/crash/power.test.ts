/**
 * The power fails at random moments under load, on a real file system and with the real LevelDB. What was acknowledged
 * before is in the log after the next start, once, and under roots that those who saw one before still find there.
 *
 * `ROOTSPAN_POWER_CUTS` says how often, `ROOTSPAN_CRASH_SEED` repeats the choices of a run (not its timing).
 */
import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { tryPowerDisk } from '../support/power-disk.ts'
import { CollectorProcess, SETTINGS } from './process.ts'
import { createRandom, Sender } from './sender.ts'
import { type Memory, monitor, World } from './world.ts'

const CUTS = Number(process.env.ROOTSPAN_POWER_CUTS ?? (process.env.CI === 'true' ? 10 : 4))
const SEED = Number(process.env.ROOTSPAN_CRASH_SEED ?? Math.floor(Math.random() * 2 ** 32))

const disk = tryPowerDisk()

afterAll(() => disk?.remove())

test.skipIf(disk === undefined)(
  `${CUTS} times the power fails, seed ${SEED}`,
  { timeout: 60_000 + CUTS * 20_000 },
  async () => {
    const random = createRandom(SEED)
    const world = await World.create({ parent: disk!.directory })
    const collector = new CollectorProcess(world.writeConfig(SETTINGS))
    const sender = new Sender(world.memory, random)
    const endpoints = await collector.serving()
    const stopMonitor = monitor(world, endpoints)
    sender.start(endpoints)
    const cuts: { name: string; memory: Memory }[] = []
    let known = 0
    while (cuts.length < CUTS) {
      // However slow the machine is: more was acknowledged, and a checkpoint was seen.
      do await sleep(50 + random() * 600)
      while (world.memory.acknowledged.size === known || world.memory.roots.size < 2)
      known = world.memory.acknowledged.size
      // What is remembered right before the cut has to be in it; what was sent right after it may be.
      const memory = world.memory.copy()
      const name = disk!.cut()
      for (const span of world.memory.sent) memory.sent.add(span)
      cuts.push({ name, memory })
    }
    await Promise.all([sender.stop(), stopMonitor()])
    await collector.kill()

    for (const { name, memory } of cuts) {
      const left = world.at(join(disk!.open(name), basename(world.root)), memory)
      const again = new CollectorProcess(left.writeConfig(SETTINGS))
      const after = new Sender(memory, random, 1_000_000)
      const open = await again.serving()
      const stopAgain = monitor(left, open)
      after.start(open)
      do await sleep(200)
      while (after.acknowledged === 0)
      await Promise.all([after.stop(), stopAgain()])
      again.terminate()
      expect(await again.exit, again.output).toBe(0)
      await left.check()
      disk!.drop(name)
    }
  },
)

test.skipIf(disk === undefined)('a cut has what was synced, and not what was not', () => {
  const write = (name: string, isSynced: boolean): void => {
    const file = openSync(join(disk!.directory, name), 'w')
    writeSync(file, name)
    if (isSynced) fsyncSync(file)
    closeSync(file)
  }
  write('synced', true)
  write('unsynced', false)
  const cut = disk!.cut()
  const left = disk!.open(cut)
  expect(readFileSync(join(left, 'synced'), 'utf8')).toBe('synced')
  expect(readdirSync(left)).not.toContain('unsynced')
  disk!.drop(cut)
})
