/**
 * kill -9 at random moments: while it starts, under load, while it drains. `ROOTSPAN_CRASH_CYCLES` says how often,
 * `ROOTSPAN_CRASH_SEED` repeats the choices of a run (not its timing).
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { CollectorProcess, SETTINGS } from './process.ts'
import { createRandom, Sender } from './sender.ts'
import { monitor, World } from './world.ts'

const CYCLES = Number(process.env.ROOTSPAN_CRASH_CYCLES ?? (process.env.CI === 'true' ? 30 : 5))
const SEED = Number(process.env.ROOTSPAN_CRASH_SEED ?? Math.floor(Math.random() * 2 ** 32))

test(`${CYCLES} kills, seed ${SEED}`, { timeout: 60_000 + CYCLES * 20_000 }, async () => {
  const random = createRandom(SEED)
  const world = await World.create()
  const config = world.writeConfig(SETTINGS)
  const sender = new Sender(world.memory, random)
  let served = 0
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const collector = new CollectorProcess(config)
    // Of four deaths one is at the start, at any moment of it; one while it drains; two under load.
    if (cycle % 4 === 1) {
      await sleep(300 + random() * 1200)
      await collector.kill()
      continue
    }
    const endpoints = await collector.ready
    if (endpoints === undefined) throw new Error(`cycle ${cycle}: it did not start: ${collector.output}`)
    served++
    const stopMonitor = monitor(world, endpoints)
    sender.start(endpoints)
    await sleep(100 + random() * 900)
    if (cycle % 4 === 3) {
      collector.terminate()
      await sleep(random() * 80)
    }
    await collector.kill()
    await Promise.all([sender.stop(), stopMonitor()])
  }
  const collector = new CollectorProcess(config)
  const endpoints = await collector.ready
  if (endpoints === undefined) throw new Error(`the last start failed: ${collector.output}`)
  sender.start(endpoints)
  await expect(world.fsck()).rejects.toThrow('is in use')
  // However slow the machine is: until the journal was trimmed, and for half a second.
  const isTrimmed = () => readdirSync(join(world.data, 'journal')).sort()[0] !== '0000000000000000.journal'
  const begun = performance.now()
  do await sleep(500)
  while (!isTrimmed() && performance.now() - begun < 60_000)
  await sender.stop()
  collector.terminate()
  expect(await collector.exit, collector.output).toBe(0)

  const report = await world.check()
  expect(report.notes).toEqual([])
  expect(world.memory.acknowledged.size).toBeGreaterThan(served * 20)
  expect(world.memory.roots.size).toBeGreaterThan(served)
  expect(world.memory.receipts.size).toBeGreaterThan(served)
  // Packs were ended, the journal was trimmed: what the settings are small for did happen.
  expect(report.checked.packs).toBeGreaterThan(1)
  expect(readdirSync(join(world.data, 'journal')).sort()[0]).not.toBe('0000000000000000.journal')
  await world.remove()
})
