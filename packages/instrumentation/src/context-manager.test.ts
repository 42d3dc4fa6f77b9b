import { EventEmitter } from 'node:events'
import { request as ask, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { type Context, type ContextManager, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { contextManager } from './context-manager.ts'

const KEY = createContextKey('name')
const named = (name: string): Context => ROOT_CONTEXT.setValue(KEY, name)
const A = named('a')
const B = named('b')

const ours = (): ContextManager => contextManager().enable()
const theirs = (): ContextManager => new AsyncLocalStorageContextManager().enable()
const active = (manager: ContextManager): unknown => manager.active().getValue(KEY)

test('a bound function has its context, its this, its arguments, its length, and gives and throws what it did', () => {
  const manager = ours()
  const targets = Array.from({ length: 6 }, (_, length) =>
    Object.defineProperty(
      function (this: unknown, ...args: unknown[]) {
        return [this, args, active(manager)]
      },
      'length',
      { value: length },
    ),
  )
  for (const target of targets) {
    const bound = manager.bind(A, target)
    expect(bound.length).toBe(target.length)
    const self = {}
    for (let count = 0; count < 7; count++) {
      const args = Array.from({ length: count }, (_, at) => at)
      const [seen, given, context] = manager.with(B, () => bound.apply(self, args))
      expect(seen).toBe(self)
      expect(given).toEqual(args)
      expect(context).toBe('a')
    }
  }
  const error = new Error('of the application')
  const failing = manager.bind(A, () => {
    throw error
  })
  expect(() => failing()).toThrow(error)
  expect(active(manager)).toBeUndefined()
})

test('promises and timers that a bound function starts keep its context', async () => {
  const manager = ours()
  const seen: unknown[] = []
  await manager.bind(A, async () => {
    await undefined
    seen.push(active(manager))
    await new Promise((resolve) => setTimeout(resolve, 1))
    seen.push(active(manager))
  })()
  expect(seen).toEqual(['a', 'a'])
})

test('what is no function and no emitter is given back, and an emitter keeps the first context', () => {
  const manager = ours()
  const value = { on: 1 }
  expect(manager.bind(A, value)).toBe(value)
  expect(manager.bind(A, 5)).toBe(5)
  const emitter = new EventEmitter()
  expect(manager.bind(A, emitter)).toBe(emitter)
  const { emit } = emitter
  expect(manager.bind(B, emitter)).toBe(emitter)
  expect(emitter.emit).toBe(emit)
  emitter.on('x', () => expect(active(manager)).toBe('a'))
  expect(emitter.emit('x')).toBe(true)
  expect.assertions(7)
})

test('listeners of errors, and those that only watch them, have the context, and without one an error is thrown', () => {
  const manager = ours()
  const emitter = manager.bind(A, new EventEmitter())
  const seen: unknown[] = []
  emitter.on(EventEmitter.errorMonitor, () => seen.push(active(manager)))
  const error = new Error('of the application')
  expect(() => emitter.emit('error', error)).toThrow(error)
  emitter.on('error', () => seen.push(active(manager)))
  expect(emitter.emit('error', error)).toBe(true)
  expect(seen).toEqual(['a', 'a', 'a'])
  expect(active(manager)).toBeUndefined()
})

test('listeners are what was added', () => {
  const emitter = ours().bind(A, new EventEmitter())
  const often = (): void => {}
  const one = (): void => {}
  emitter.on('x', often)
  emitter.once('x', one)
  expect(emitter.listeners('x')).toEqual([often, one])
  expect(emitter.rawListeners('x')[0]).toBe(often)
  expect(emitter.listenerCount('x', often)).toBe(1)
})

test('a listener that is added while another is added has the context, too', () => {
  const manager = ours()
  const emitter = manager.bind(A, new EventEmitter())
  const seen: unknown[] = []
  emitter.once('newListener', () => emitter.on('y', () => seen.push(active(manager))))
  emitter.on('x', () => {})
  emitter.emit('y')
  expect(seen).toEqual(['a'])
})

test('a class that emits in its own way does so in the context', () => {
  const manager = ours()
  const seen: unknown[] = []
  class Own extends EventEmitter {
    override emit(event: string | symbol, ...args: unknown[]): boolean {
      seen.push([event, active(manager)])
      return super.emit(event, ...args)
    }
  }
  const emitter = manager.bind(A, new Own())
  emitter.emit('x')
  emitter.on('x', () => seen.push(active(manager)))
  emitter.emit('x')
  expect(seen).toEqual([['x', undefined], ['x', 'a'], 'a'])
})

const METHODS = ['on', 'addListener', 'prependListener', 'once', 'prependOnceListener'] as const

interface Step {
  readonly does: (typeof METHODS)[number] | 'off' | 'removeListener' | 'removeAllListeners' | 'emit'
  readonly event: number
  readonly listener: number
}

const step = (
  weight: number,
  ...does: Step['does'][]
): { weight: number; arbitrary: fc.Arbitrary<Step> } => ({
  weight,
  arbitrary: fc.record({ does: fc.constantFrom(...does), event: fc.nat(1), listener: fc.nat(3) }),
})
const STEPS = fc.array(
  fc.oneof(
    step(6, ...METHODS),
    step(2, 'off', 'removeListener'),
    step(1, 'removeAllListeners'),
    step(4, 'emit'),
  ),
  { maxLength: 30 },
)

/** What is called and what is there, step by step, and in which contexts. */
function play(
  manager: ContextManager,
  emitter: EventEmitter,
  isBound: boolean,
  steps: readonly Step[],
): { readonly seen: unknown[]; readonly contexts: Set<unknown> } {
  const seen: unknown[] = []
  const contexts = new Set<unknown>()
  const listeners = Array.from(
    { length: 4 },
    (_, number) =>
      function (this: unknown, value: unknown): void {
        seen.push([number, value, this === emitter])
        contexts.add(active(manager))
        // Listeners that come and go while others are called.
        if (number === 3) emitter.removeListener('0', listeners[0]!)
      },
  )
  emitter.on('0', () => seen.push('before'))
  if (isBound) manager.bind(A, emitter)
  manager.with(B, () => {
    for (const [at, { does, event, listener }] of steps.entries()) {
      const name = String(event)
      if (does === 'emit') seen.push(emitter.emit(name, at))
      else if (does === 'removeAllListeners') emitter.removeAllListeners(name)
      else emitter[does](name, listeners[listener]!)
      seen.push(emitter.listenerCount(name))
    }
  })
  return { seen, contexts }
}

test.each([
  ['an emitter', () => new EventEmitter()],
  ['a stream', () => new Readable({ read() {} })],
])('%s that is bound calls the same listeners as one that is not, in its context', (_, make) => {
  let calls = 0
  fc.assert(
    fc.property(STEPS, (steps) => {
      const { seen, contexts } = play(ours(), make(), true, steps)
      expect(seen).toEqual(play(ours(), make(), false, steps).seen)
      for (const context of contexts) expect(context).toBe('a')
      calls += contexts.size
    }),
    { numRuns: 1000 },
  )
  expect(calls).toBeGreaterThan(100)
})

test('an HTTP server with bodies, kept connections and an answer that is broken off sees what it does with the SDK’s own', async () => {
  const run = async (manager: ContextManager): Promise<unknown[]> => {
    const seen: unknown[] = []
    const server = createServer((request, response) => {
      const context = named(request.url!)
      manager.with(context, () => {
        manager.bind(context, request)
        manager.bind(context, response)
        const note = (event: string) => (): void => void seen.push([request.url, event, active(manager)])
        request.on('data', note('data'))
        request.once('end', note('end'))
        response.on('finish', note('finish'))
        response.once('close', note('close'))
        request.on('end', () => {
          if (request.url === '/broken') response.destroy()
          else response.end('done')
        })
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    for (const path of ['/one', '/two', '/broken'])
      await new Promise<void>((resolve) => {
        const request = ask({ port, path, method: 'POST', host: '127.0.0.1' }, (response) => {
          response.resume().on('close', resolve)
        })
        request.on('error', () => resolve())
        request.write('body')
        request.end()
      })
    await new Promise((resolve) => server.close(resolve))
    return seen
  }
  const expected = await run(theirs())
  expect(expected).toHaveLength(11)
  expect(await run(ours())).toEqual(expected)
})
