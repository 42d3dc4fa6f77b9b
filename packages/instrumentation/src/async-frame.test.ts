import { AsyncLocalStorage } from 'node:async_hooks'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type FrameClass, frameClass, type Run, runnerOf } from './async-frame.ts'

const Frame = frameClass()

/** What runs on Node's own `run` alone is the oracle. */
const theirs = (storage: AsyncLocalStorage<number>): Run<number> => runnerOf(storage, undefined)
const ours = (storage: AsyncLocalStorage<number>): Run<number> => runnerOf(storage, Frame)

test('frames are known where Node has them', () => {
  const [major] = process.versions.node.split('.')
  expect(Frame !== undefined).toBe(Number(major) >= 24)
})

/** One thing that a program does with three storages, the first of which is that of the runner. */
type Step =
  | { readonly does: 'run' | 'runOther'; readonly value: number; readonly steps: readonly Step[] }
  | { readonly does: 'exit' | 'later' | 'bound' | 'throwing'; readonly steps: readonly Step[] }
  | { readonly does: 'enter'; readonly storage: number; readonly value: number }
  | { readonly does: 'disable'; readonly storage: number }
  | { readonly does: 'look' }

/** Programs that start or bind work, or disable storages, and not both: see the known hole. */
const programs = (does: 'later' | 'disable'): fc.Arbitrary<Step[]> =>
  fc.letrec<{ steps: Step[]; step: Step }>((tie) => {
    const value = fc.nat(3)
    const storage = fc.nat(2)
    const steps = tie('steps')
    const one = (weight: number, arbitrary: fc.Arbitrary<Step>) => ({ weight, arbitrary })
    return {
      steps: fc.array(tie('step'), { maxLength: 5, depthIdentifier: 'steps' }),
      step: fc.oneof(
        { maxDepth: 5, depthIdentifier: 'steps' },
        one(3, fc.record({ does: fc.constant('look' as const) })),
        one(2, fc.record({ does: fc.constant('enter' as const), storage, value })),
        one(8, fc.record({ does: fc.constant('run' as const), value, steps })),
        one(2, fc.record({ does: fc.constant('runOther' as const), value, steps })),
        one(3, fc.record({ does: fc.constantFrom('exit', 'throwing'), steps })),
        does === 'later'
          ? one(5, fc.record({ does: fc.constantFrom('later', 'bound'), steps }))
          : one(2, fc.record({ does: fc.constant('disable' as const), storage })),
      ),
    }
  }).steps

/** What the program sees in all storages: after each step, and in what it starts and binds. */
async function play(
  make: (storage: AsyncLocalStorage<number>) => Run<number>,
  program: readonly Step[],
): Promise<string[]> {
  const storages = Array.from({ length: 3 }, () => new AsyncLocalStorage<number>())
  const [own, other] = storages as [AsyncLocalStorage<number>, AsyncLocalStorage<number>]
  const run = make(own)
  const seen: string[] = []
  const pending: Promise<void>[] = []
  const look = (place: string): void => {
    seen.push(`${place} ${storages.map((storage) => storage.getStore())}`)
  }
  const doAll = (steps: readonly Step[], place: string): string => {
    for (const [at, step] of steps.entries()) {
      const here = `${place}.${at}`
      const inner = (): string => doAll('steps' in step ? step.steps : [], here)
      if (step.does === 'run') expect(run(step.value, inner, undefined, [])).toBe(here)
      else if (step.does === 'runOther') other.run(step.value, inner)
      else if (step.does === 'exit') other.exit(inner)
      else if (step.does === 'enter') storages[step.storage]!.enterWith(step.value)
      else if (step.does === 'disable') storages[step.storage]!.disable()
      else if (step.does === 'bound') AsyncLocalStorage.bind(inner)()
      else if (step.does === 'later')
        pending.push(
          (async () => {
            await undefined
            inner()
            await new Promise((resolve) => setImmediate(resolve))
            look(`${here} later`)
          })(),
        )
      else if (step.does === 'throwing') {
        const error = new Error('of the program')
        const fail = (): void => {
          inner()
          throw error
        }
        expect(() => run(9, fail, undefined, [])).toThrow(error)
      }
      look(here)
    }
    return place
  }
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      doAll(program, '')
      resolve()
    })
  })
  for (const one of pending) await one
  return seen.sort()
}

test.runIf(Frame !== undefined).each(['later', 'disable'] as const)(
  'programs with several storages see in all of them what they see with Node’s own `run`: %s',
  async (does) => {
    let looks = 0
    await fc.assert(
      fc.asyncProperty(programs(does), async (steps) => {
        const seen = await play(ours, steps)
        expect(seen).toEqual(await play(theirs, steps))
        looks += seen.length
      }),
      { numRuns: 2000 },
    )
    expect(looks).toBeGreaterThan(10_000)
  },
)

test('a function gets its this and its arguments, and gives and throws what it does', () => {
  const run = ours(new AsyncLocalStorage())
  const self = {}
  const target = function (this: unknown, ...args: unknown[]): unknown[] {
    return [this, ...args]
  }
  const [seen, ...args] = run(1, target, self, [1, 'two'])
  expect(seen).toBe(self)
  expect(args).toEqual([1, 'two'])
  const error = new Error('of the application')
  const fail = (): never => {
    throw error
  }
  expect(() => run(1, fail, undefined, [])).toThrow(error)
})

test.runIf(Frame !== undefined)('a frame with nothing else in it is made anew, and others are copied', () => {
  const storage = new AsyncLocalStorage<number>()
  const other = new AsyncLocalStorage<number>()
  const copied: boolean[] = []
  class Counted extends (Frame as unknown as new (storage: object, value: unknown) => Map<object, unknown>) {
    constructor(storage: object, value: unknown) {
      copied.push(Frame!.current() !== undefined)
      super(storage, value)
    }
  }
  const Class = Object.assign(Counted, { current: Frame!.current, set: Frame!.set })
  const run = runnerOf(storage, Class as unknown as FrameClass)
  const nested = (): number | undefined =>
    run(1, () => run(2, () => storage.getStore(), undefined, []), undefined, [])
  const prior = Frame!.current()
  Frame!.set(undefined)
  expect(nested()).toBe(2)
  expect(copied).toEqual([false, false])
  expect(other.run(3, nested)).toBe(2)
  expect(copied).toEqual([false, false, true, true])
  Frame!.set(prior)
})
