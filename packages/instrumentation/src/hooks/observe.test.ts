import { context, ROOT_CONTEXT } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import {
  type CallOutcome,
  isAsking,
  isObserved,
  type ListenOptions,
  listen,
  type Observer,
  observe,
  originalOf,
} from './observe.ts'

/** Observers are called before the library and after it, listeners only after it. */
const WAYS = { observe, listen } as const
type Way = keyof typeof WAYS
const EACH = Object.keys(WAYS) as Way[]

const lines: string[] = []
const log = createLog('info', (line) => lines.push(line))

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})
afterAll(() => context.disable())

/** The observed function and the outcomes that its observer was told. */
function watch<F>(fn: F, way: Way = 'observe', options?: ListenOptions): { fn: F; seen: CallOutcome[] } {
  const seen: CallOutcome[] = []
  return { fn: WAYS[way](fn, () => (outcome) => seen.push(outcome), log, options), seen }
}

test.each(EACH)('a function keeps its this, arguments, result, name, length and properties: %s', (way) => {
  const original = Object.assign(
    function sum(this: { base: number }, a: number, b: number) {
      return this.base + a + b
    },
    { extra: 1 },
  )
  const { fn, seen } = watch(original, way)
  expect(fn.call({ base: 100 }, 1, 2)).toBe(103)
  expect(seen).toEqual([{ ok: true, value: 103 }])
  expect({ name: fn.name, length: fn.length, extra: fn.extra }).toEqual({
    name: 'sum',
    length: 2,
    extra: 1,
  })
  expect(isObserved(fn)).toBe(true)
  expect(originalOf(fn)).toBe(original)
  expect(originalOf(original)).toBeUndefined()
  expect(observe(fn, () => undefined, log)).toBe(fn)
  expect(observe('no function', () => undefined, log)).toBe('no function')
})

test.each(EACH)('an error that the library throws is the same error: %s', (way) => {
  const error = new RangeError('mine')
  const { fn, seen } = watch(() => {
    throw error
  }, way)
  expect(fn).toThrow(error)
  expect(seen).toEqual([{ ok: false, error }])
})

test('a class can be constructed and extended', () => {
  class Engine {
    readonly rules: string[]
    constructor(...rules: string[]) {
      this.rules = rules
    }
  }
  const { fn } = watch(Engine)
  class Own extends fn {}
  expect(new Own('a', 'b')).toBeInstanceOf(Engine)
  expect(new fn('a').rules).toEqual(['a'])
})

test.each<[string, Observer]>([
  [
    'before',
    () => {
      throw new Error('a secret token')
    },
  ],
  [
    'after',
    () => () => {
      throw new Error('a secret token')
    },
  ],
])(
  'what an observer throws %s a call reaches the log without its message, and nobody else',
  (_, observer) => {
    const failures = log.failures
    for (const way of EACH) expect(WAYS[way]((a: number) => a + 1, observer as () => never, log)(1)).toBe(2)
    expect(log.failures).toBe(failures + 2)
    expect(lines.at(-1)).toMatch(/a hook failed: Error at observe\.test\.ts:\d+:\d+/)
    expect(lines.join()).not.toContain('secret')
  },
)

test.each(EACH)('a promise settles the same way, and an unhandled rejection is reported: %s', async (way) => {
  const { fn, seen } = watch(async (ok: boolean) => {
    if (!ok) throw new Error('no')
    return 'yes'
  }, way)
  expect(await fn(true)).toBe('yes')
  const unhandled = new Promise((resolve) => {
    const others = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.once('unhandledRejection', (error) => {
      for (const one of others) process.on('unhandledRejection', one)
      resolve(error)
    })
  })
  void fn(false)
  expect(await unhandled).toMatchObject({ message: 'no' })
  expect(seen).toMatchObject([
    { ok: true, value: 'yes' },
    { ok: false, error: { message: 'no' } },
  ])
})

test.each(EACH)('an outcome of an async function is told in the context of the call: %s', async (way) => {
  const [KEY, seen]: [symbol, unknown[]] = [Symbol('key'), []]
  const tell = () => () => seen.push(context.active().getValue(KEY))
  const fn = WAYS[way](async () => context.with(ROOT_CONTEXT, async () => 'x'), tell as () => never, log)
  await context.with(ROOT_CONTEXT.setValue(KEY, 'caller'), fn)
  expect(seen).toEqual(['caller'])
})

test.each(EACH)('what an async generator gives is no promise: %s', async (way) => {
  async function* count() {
    yield 1
  }
  const { fn, seen } = watch(count, way)
  const given = fn()
  expect(await given.next()).toEqual({ done: false, value: 1 })
  expect(seen).toEqual([{ ok: true, value: given }])
})

test.each(EACH)('another thenable is returned itself, and looked at: %s', async (way) => {
  class Lazy extends Promise<string> {
    extra = 1
  }
  const promise = new Lazy((resolve) => resolve('x'))
  const { fn, seen } = watch(() => promise, way)
  expect(fn()).toBe(promise)
  await promise
  await undefined
  expect(seen).toEqual([{ ok: true, value: 'x' }])
})

test('a result with a throwing getter for `then` is left alone', () => {
  const odd = new Proxy({}, { get: () => expect.fail() })
  const { fn } = watch(() => odd)
  expect(fn()).toBe(odd)
})

test.each(EACH)('a callback is told what the library says, once to the observer: %s', (way) => {
  const { fn, seen } = watch(
    (value: string, done: (error: Error | null, value?: string) => void) => {
      done(null, value)
      done(new Error('again'))
    },
    way,
    { callback: true },
  )
  const got: unknown[] = []
  fn('x', (error, value) => got.push(error?.message ?? value))
  expect(got).toEqual(['x', 'again'])
  expect(seen).toEqual([{ ok: true, value: 'x' }])
})

test.each([
  ['nothing', []],
  ['undefined', [undefined]],
  ['null and false', [null, false]],
])('a callback is one with %s behind it', (_, behind: unknown[]) => {
  const error = new Error('forged')
  const { fn, seen } = watch(
    (...args: unknown[]) => void (args[1] as (error: Error) => void)(error),
    'listen',
    {
      callback: true,
    },
  )
  const got: unknown[] = []
  fn('token', (error: Error) => got.push(error), ...behind)
  expect(got).toEqual([error])
  expect(seen).toEqual([{ ok: false, error }])
})

test.each(EACH)(
  'calls within an observed call of the same group belong to it, also after awaits: %s',
  async (way) => {
    const seen: string[] = []
    const inner = WAYS[way](
      async () => 1,
      () => void seen.push('inner') as undefined,
      log,
      { group: 'g' },
    )
    const outer = observe(
      async () => {
        await undefined
        return inner()
      },
      () => void seen.push('outer') as undefined,
      log,
      { group: 'g' },
    )
    expect(await outer()).toBe(1)
    expect(seen).toEqual(['outer'])
    await inner()
    expect(seen).toEqual(['outer', 'inner'])
  },
)

test('calls that are made before one returns that is listened to belong to it, without a context', async () => {
  const seen: string[] = []
  const contextsOf: unknown[] = []
  const inner = listen(
    () => {
      contextsOf.push(context.active())
    },
    () => void seen.push('inner') as undefined,
    log,
    { group: 'g' },
  )
  const options = { group: 'g' }
  const outer = listen(
    async () => {
      inner()
      await undefined
      inner()
    },
    () => void seen.push('outer') as undefined,
    log,
    options,
  )
  const failing = listen(
    () => {
      throw new Error('broken')
    },
    () => undefined,
    log,
    options,
  )
  const other = listen(
    () => inner(),
    () => undefined,
    log,
    { group: 'other' },
  )
  const running = outer()
  // Listeners are called once the library has returned.
  expect(seen).toEqual(['outer'])
  await running
  expect(seen).toEqual(['outer', 'inner'])
  expect(failing).toThrow('broken')
  other()
  expect(seen).toEqual(['outer', 'inner', 'inner'])
  expect(new Set(contextsOf)).toEqual(new Set([ROOT_CONTEXT]))
})

test('a call can be marked as asking, given a context and another argument', () => {
  const key = Symbol('key')
  const fn = observe(
    (value: number) => [value, isAsking(context.active()), context.active().getValue(key)],
    (call) => {
      call.context = call.context.setValue(key, 'set')
      call.substitute(0, 2)
      return undefined
    },
    log,
    { asks: true },
  )
  expect(fn(1)).toEqual([2, true, 'set'])
  expect(context.active()).toBe(ROOT_CONTEXT)
})

test('a listener is called once the library has returned, in the context of the caller', async () => {
  const seen: unknown[] = []
  const inside = ROOT_CONTEXT.setValue(Symbol('key'), 'set')
  const fn = listen(
    async (fails: boolean) => {
      seen.push('library')
      if (fails) throw new Error('no')
    },
    (args) => {
      seen.push(args)
      return ({ ok }) => seen.push(ok, context.active() === inside)
    },
    log,
  )
  const running = context.with(inside, fn, undefined, false)
  expect(seen).toEqual(['library', [false]])
  await running
  expect(seen.splice(0)).toEqual(['library', [false], true, true])
  await expect(context.with(inside, fn, undefined, true)).rejects.toThrow('no')
  expect(seen).toEqual(['library', [true], false, true])
})
