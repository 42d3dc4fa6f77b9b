/**
 * Every durable write of several commits and checkpoints, refused once: without being there afterwards, with being
 * there, half there; the process then dies, or the power is cut. Whatever it was, the next start takes it up.
 */
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Closed } from '@rootspan/lineage/record/payload'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MEMORY_DIRECTORY } from '../../packages/collector/src/signer.ts'
import { START } from '../../packages/collector/src/store/cursor.ts'
import { type Batch, LevelLogStore, openDatabase } from '../../packages/collector/src/store/log-store.ts'
import { type Fault, type FaultyFiles, faultyFiles, unsyncedFiles } from '../faults/files.ts'
import { type FaultyDatabase, faultyDatabase, type StoreFault } from '../faults/store.ts'
import { GOVERNED, type SpanSpec } from '../support/executions.ts'
import { type Layers, Life, PLAIN } from './life.ts'
import { createRandom } from './sender.ts'
import { World } from './world.ts'

const LAYERS = ['journal', 'packs', 'signer'] as const
type LayerName = (typeof LAYERS)[number]

const PAIR: readonly SpanSpec[] = [{ id: 1 }, { id: 2, parent: 1, name: 'x'.repeat(300) }]

/** Several commits and checkpoints, with late spans, tracked requests, rotation of segments and packs, and a trim. */
const SCENARIO: readonly ((life: Life) => Promise<unknown>)[] = [
  (life) => Promise.all([life.receive(1, PAIR, true), life.receive(2, PAIR), life.receive(3, GOVERNED)]),
  (life) => life.commit(Closed.drained, [1, 3]),
  (life) => life.checkpoint(),
  (life) => life.receive(4, [{ id: 2, parent: 1 }]),
  (life) => life.receive(1, [{ id: 3, parent: 2 }, ...PAIR], true),
  (life) => life.commit(Closed.settled, [1]),
  (life) => life.receive(5, PAIR),
  (life) => life.checkpoint(),
  (life) => life.commit(),
  (life) => life.receive(4, [{ id: 1 }], true),
  (life) => life.commit(),
  (life) => life.checkpoint(),
  (life) => life.trim(),
  (life) => life.receive(6, PAIR),
  (life) => life.close(),
]

/** Runs the scenario until something throws. */
async function live(world: World, layers: Layers): Promise<unknown> {
  let life: Life | undefined
  try {
    life = await Life.start(world, layers)
    for (const step of SCENARIO) await step(life)
    return undefined
  } catch (error) {
    await life?.end()
    return error
  }
}

let template: World

beforeAll(async () => {
  template = await World.create()
})
afterAll(() => template.remove())

interface Faulty {
  readonly layers: Layers
  readonly files: Readonly<Record<LayerName, FaultyFiles>>
  database: FaultyDatabase | undefined
}

function faultyLayers(world: World, storeFault?: StoreFault): Faulty {
  const roots = {
    journal: join(world.data, 'journal'),
    packs: join(world.data, 'packs'),
    signer: join(world.signer, MEMORY_DIRECTORY),
  }
  for (const root of Object.values(roots)) mkdirSync(root, { recursive: true })
  const files = {
    journal: faultyFiles(unsyncedFiles, roots.journal),
    packs: faultyFiles(unsyncedFiles, roots.packs),
    signer: faultyFiles(unsyncedFiles, roots.signer),
  }
  const faulty: Faulty = {
    files,
    database: undefined,
    layers: {
      ...files,
      database(inner) {
        faulty.database = faultyDatabase(inner, storeFault)
        return faulty.database.database
      },
    },
  }
  return faulty
}

/** No signature left before the signer's memory was on the disk. */
function checkRemembered(world: World): void {
  const directory = join(world.signer, MEMORY_DIRECTORY)
  const [file] = readdirSync(directory).filter((name) => !name.endsWith('.tmp'))
  const [, size] = readFileSync(join(directory, file!), 'utf8').split('\n')
  expect(Number(size)).toBeGreaterThanOrEqual(Math.max(0, ...world.memory.roots.keys()))
}

/** What of the unsynced a power cut leaves: nothing, or some sectors and names. */
function keepSome(at: number): (() => boolean) | undefined {
  const random = createRandom(at)
  return at % 2 === 0 ? undefined : () => random() < 0.5
}

/** The next life takes up what is there, gets everything again that was not acknowledged, and ends in order. */
async function liveOn(world: World, resend: boolean): Promise<void> {
  const life = await Life.start(world)
  if (resend)
    for (const [trace, specs, tracked] of [
      [1, PAIR, true],
      [2, PAIR, false],
      [3, GOVERNED, false],
      [4, [{ id: 1 }, { id: 2, parent: 1 }], false],
    ] as const)
      await life.receive(trace, specs, tracked)
  await life.commit()
  await life.checkpoint()
  await life.trim()
  await life.receive(7, PAIR)
  await life.commit()
  await life.checkpoint()
  await life.close()
}

/** How many durable operations the scenario has in each layer when nothing fails. */
async function countOperations(): Promise<Record<LayerName | 'store', number>> {
  const world = await template.copy()
  const faulty = faultyLayers(world)
  expect(await live(world, faulty.layers)).toBeUndefined()
  expect(faulty.database!.unsynced).toBe(0)
  await liveOn(world, false)
  await world.check()
  await world.remove()
  const count = (name: LayerName) => faulty.files[name].operations.length
  return {
    journal: count('journal'),
    packs: count('packs'),
    signer: count('signer'),
    store: faulty.database!.writes,
  }
}

test('the scenario itself writes in every layer, several times, and leaves a clean log', async () => {
  const counts = await countOperations()
  expect(counts.store).toBeGreaterThanOrEqual(7)
  expect(counts.journal).toBeGreaterThan(15)
  expect(counts.packs).toBeGreaterThan(10)
  expect(counts.signer).toBeGreaterThan(9)
})

describe('a refused write of the store', { timeout: 120_000 }, () => {
  for (const how of ['lost', 'kept'] as const)
    test(`${how}, every one`, async () => {
      const { store } = await countOperations()
      for (let at = 0; at < store; at++) {
        const world = await template.copy()
        const faulty = faultyLayers(world, { at, how })
        const error = await live(world, faulty.layers)
        expect(faulty.database!.struck, `write ${at}`).toBe(true)
        expect(error, `write ${at}`).toMatchObject({ code: 'LEVEL_IO_ERROR' })
        expect(faulty.database!.writesAfter, `writes after write ${at}`).toBe(0)
        for (const name of LAYERS) await faulty.files[name].kill()
        checkRemembered(world)
        await liveOn(world, at % 2 === 0)
        await world.check()
        await world.remove()
      }
    })
})

test('after a refused commit the store writes nothing more, and says why', async () => {
  const world = await template.copy()
  const inner = await openDatabase(join(world.data, 'log'), 'open')
  const faulty = faultyDatabase(inner, { at: 1, how: 'lost' })
  const store = await LevelLogStore.open(faulty.database)
  const batch = (size: number): Batch => ({
    size,
    root: new Uint8Array(32),
    time: 1n,
    bundles: [],
    partial: undefined,
    tiles: [],
    rows: [],
    earlier: new Map(),
    receipts: [],
    knowledge: [],
    cursor: START,
    packs: [],
  })
  const head = await store.commit(undefined, batch(1))
  const answers = await Promise.allSettled([
    store.commit(head, batch(2)),
    store.putCheckpoint(1, new Uint8Array(1)),
    store.putCheckpoint(2, new Uint8Array(1)),
  ])
  for (const answer of answers) expect(answer).toMatchObject({ reason: { code: 'LEVEL_IO_ERROR' } })
  expect(store.head).toBe(head)
  await expect(store.commit(head, batch(2))).rejects.toMatchObject({ code: 'LEVEL_IO_ERROR' })
  expect(faulty.writesAfter).toBe(0)
  await inner.close()
  await world.remove()
})

describe.each(LAYERS)('a failed operation of the file layer: %s', { timeout: 120_000 }, (name) => {
  for (const how of ['lost', 'kept', 'torn'] as const)
    for (const end of ['killed', 'power cut'] as const)
      test(`${how}, then ${end}, every one`, async () => {
        const counts = await countOperations()
        let ended = 0
        for (let at = 0; at < counts[name]; at++) {
          const world = await template.copy()
          const faulty = faultyLayers(world)
          const fault: Fault = { at, how }
          faulty.files[name].fail(fault)
          const error = await live(world, faulty.layers)
          expect(faulty.files[name].struck, `operation ${at}`).toBe(true)
          if (error !== undefined) ended++
          for (const layer of LAYERS)
            await (end === 'killed' ? faulty.files[layer].kill() : faulty.files[layer].powerCut(keepSome(at)))
          checkRemembered(world)
          await liveOn(world, at % 2 === 0)
          try {
            expect((await world.check()).notes).toEqual([])
          } catch (cause) {
            throw new Error(`operation ${at}: ${JSON.stringify(faulty.files[name].operations.at(-1))}`, {
              cause,
            })
          }
          await world.remove()
        }
        // What may fail without ending anything: the mark of a clean shutdown, and giving space back.
        expect(ended).toBeGreaterThan(counts[name] * 0.7)
      })
})

test('the same scenario twice in one log gives every span once', async () => {
  const world = await template.copy()
  expect(await live(world, PLAIN)).toBeUndefined()
  expect(await live(world, PLAIN)).toBeUndefined()
  await liveOn(world, true)
  await world.check()
  await world.remove()
})
