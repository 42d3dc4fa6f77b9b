/**
 * A full disk: senders are pushed back, nothing is damaged, and it goes on when there is room again. On a small file
 * system of its own where one may be mounted; in any case over the faulty file layer.
 */
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isNoSpace } from '../../packages/collector/src/files.ts'
import { JournalFull } from '../../packages/collector/src/journal/errors.ts'
import { callGrpc } from '../conformance/clients.ts'
import { faultyFiles, unsyncedFiles } from '../faults/files.ts'
import { GOVERNED } from '../support/executions.ts'
import { mountMemory, tryMount, unmount } from '../support/mounts.ts'
import { encodeRequest } from '../support/stored-log.ts'
import { Life, PLAIN } from './life.ts'
import { CollectorProcess, type Endpoints, SETTINGS } from './process.ts'
import { createRandom, Sender } from './sender.ts'
import { World } from './world.ts'

const MIB = 1024 * 1024
const mount = tryMount('tmpfs', 'a full disk', () => mountMemory('64m'))

afterAll(() => {
  if (mount !== undefined) unmount(mount)
})

describe.skipIf(mount === undefined)('a small file system', { timeout: 60_000 }, () => {
  const filler = () => join(mount!, 'filler')
  let world: World
  let config: string

  /** Leaves about so many bytes free, fewer where others are taking them, too. */
  function fill(left: number): void {
    const { bavail, bsize } = statfsSync(mount!)
    try {
      writeFileSync(filler(), Buffer.alloc(Math.max(0, bavail * bsize - left)))
    } catch (error) {
      if (!isNoSpace(error)) throw error
    }
  }

  async function setUp(minFree: string): Promise<void> {
    world = await World.create({ parent: mount! })
    config = world.writeConfig(SETTINGS.replace('min_free_bytes: 0B', `min_free_bytes: ${minFree}`))
  }

  async function start(): Promise<{ collector: CollectorProcess; endpoints: Endpoints }> {
    const collector = new CollectorProcess(config)
    const endpoints = await collector.serving()
    return { collector, endpoints }
  }

  async function statusOf(endpoints: Endpoints, body: Uint8Array): Promise<Response> {
    return fetch(`http://${endpoints.http}/v1/traces`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-protobuf' },
      body: new Uint8Array(body),
    })
  }

  /** Asks until the answer has this status: free space is looked at once a second. */
  async function until(endpoints: Endpoints, status: number, body: Uint8Array): Promise<Response> {
    for (let tries = 0; tries < 100; tries++) {
      const response = await statusOf(endpoints, body)
      if (response.status === status) return response
      await sleep(100)
    }
    throw new Error(`no ${status} came`)
  }

  test('below the reserve senders are pushed back; with room again they are served by the same process', async () => {
    await setUp('24MiB')
    const sender = new Sender(world.memory, createRandom(1))
    const { collector, endpoints } = await start()
    sender.start(endpoints)
    // However slow the machine is: some were served before there is no room.
    const begun = performance.now()
    while (sender.acknowledged <= 10 && performance.now() - begun < 20_000) await sleep(100)
    const before = sender.acknowledged
    expect(before).toBeGreaterThan(10)
    fill(12 * MIB)
    const probe = encodeRequest(900_000, [{ id: 1 }])
    world.memory.sent.add(`${(900_000).toString(16).padStart(32, '0')}/0000000000000001`)
    const refused = await until(endpoints, 503, probe)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    const [host, port] = endpoints.grpc.split(':')
    expect((await callGrpc({ host: host!, port: Number(port) }, probe)).code).toBe(14)
    const pushedBack = sender.acknowledged
    await sleep(300)
    expect(sender.acknowledged).toBe(pushedBack)

    rmSync(filler())
    await until(endpoints, 200, probe)
    for (let tries = 0; tries < 100 && sender.acknowledged === pushedBack; tries++) await sleep(100)
    expect(sender.acknowledged).toBeGreaterThan(pushedBack)
    await sender.stop()
    collector.terminate()
    expect(await collector.exit, collector.output).toBe(0)
    expect((await world.check()).notes).toEqual([])
    await world.remove()
  })

  test('with no byte left, commits included, nothing acknowledged is lost', async () => {
    await setUp('0B')
    const sender = new Sender(world.memory, createRandom(2))
    const first = await start()
    sender.start(first.endpoints)
    await sleep(500)
    fill(96 * 1024)
    // What is received fills the rest; then commits find no room, and a process that cannot commit ends.
    expect(await Promise.race([first.collector.exit, sleep(20_000, 'still running')])).toBe(1)
    await sender.stop()
    expect(first.collector.output).toMatch(/no space|ENOSPC/i)

    // Started on a full disk it either refuses or dies again, and damages nothing.
    const second = new CollectorProcess(config)
    await Promise.race([second.ready, sleep(5000)])
    await second.kill()

    rmSync(filler())
    const third = await start()
    sender.start(third.endpoints)
    await sleep(500)
    await sender.stop()
    third.collector.terminate()
    expect(await third.collector.exit, third.collector.output).toBe(0)
    await world.check()
    await world.remove()
  })
})

describe('no room, over the faulty file layer', { timeout: 60_000 }, () => {
  let template: World
  beforeAll(async () => {
    template = await World.create()
  })
  afterAll(() => template.remove())

  test.each(['lost', 'torn'] as const)(
    'the journal refuses one request (%s), and takes the next ones',
    async (how) => {
      let refused = 0
      for (let at = 0; ; at++) {
        const world = await template.copy()
        mkdirSync(join(world.data, 'journal'))
        const files = faultyFiles(unsyncedFiles, join(world.data, 'journal'))
        files.fail({ at, kind: 'write', how, code: 'ENOSPC' })
        const start = await Life.start(world, { ...PLAIN, journal: files }).catch((error: Error) => error)
        if (start instanceof Error) {
          expect(start).toMatchObject({ code: 'ENOSPC' })
          await world.remove()
          continue
        }
        for (let trace = 1; trace < 8; trace++) {
          const answer = await start.receive(trace, GOVERNED).catch((error: unknown) => error)
          if (typeof answer === 'number') continue
          expect(answer).toBeInstanceOf(JournalFull)
          refused++
          // The journal asks the disk again after a second; until then it refuses by itself.
          break
        }
        await start.commit()
        await start.checkpoint()
        await start.close()
        const life = await Life.start(world)
        await life.receive(20, GOVERNED)
        await life.commit()
        await life.checkpoint()
        await life.close()
        await world.check()
        await world.remove()
        if (!files.struck) break
      }
      expect(refused).toBeGreaterThan(5)
    },
  )
})
