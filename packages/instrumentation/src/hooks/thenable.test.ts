/** Thenables that an observed function returns: they run as often as without it, and their outcome is seen. */
import { context, createContextKey } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import fastify from 'fastify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { type CallOutcome, observe } from './observe.ts'
import { UNSEEN } from './thenable.ts'

const log = createLog('silent')

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})
afterAll(() => context.disable())

/** What an observed function that returns `value` returns, and the outcomes that its observer is told. */
function returned<T>(value: T): { got: T; seen: CallOutcome[]; again: () => T } {
  const seen: CallOutcome[] = []
  const again = observe(
    () => value,
    () => (outcome) => seen.push(outcome),
    log,
  )
  return { got: again(), seen, again }
}

/** Like the queries of knex and Mongoose: it runs when `then` is called, and with each call. */
class Query {
  runs = 0
  #rows: unknown
  constructor(rows: unknown) {
    this.#rows = rows
  }
  where(): this {
    return this
  }
  // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
  then(onValue?: (value: unknown) => unknown, onError?: (error: unknown) => unknown): Promise<unknown> {
    this.runs++
    const answer = this.#rows instanceof Error ? Promise.reject(this.#rows) : Promise.resolve(this.#rows)
    return answer.then(onValue, onError)
  }
}

test('a lazy thenable runs when it is awaited, and not before, nor twice', async () => {
  const query = new Query(['row'])
  const { got, seen } = returned(query)
  expect(got).toBe(query)
  expect(got.where()).toBe(query)
  await new Promise(setImmediate)
  expect([query.runs, seen]).toEqual([0, []])
  expect(await got).toEqual(['row'])
  expect([query.runs, seen]).toEqual([1, [{ ok: true, value: ['row'] }]])
  expect(Object.hasOwn(query, 'then')).toBe(false)
  // Awaited again, it runs again, as it would by itself.
  await got
  expect([query.runs, seen.length]).toEqual([2, 1])
})

test('one that fails gives the same error, also where `then` itself throws', async () => {
  const error = new Error('mine')
  const failing = returned(new Query(error))
  await expect(failing.got).rejects.toBe(error)
  expect(failing.got.runs).toBe(1)
  expect(failing.seen).toEqual([{ ok: false, error }])
  const throwing = returned({
    // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
    then: () => {
      throw error
    },
  })
  await expect((async () => throwing.got as unknown)()).rejects.toBe(error)
  expect(throwing.seen).toEqual([{ ok: false, error }])
})

test('a `then` of its own is put back with all that it had', async () => {
  const then = (resolve: (value: string) => void): void => resolve('x')
  const own = Object.defineProperty({}, 'then', { value: then, configurable: true, enumerable: true })
  const { got, seen } = returned(own as PromiseLike<string>)
  expect(Object.keys(got)).toEqual(['then'])
  expect(await got).toBe('x')
  expect(seen).toEqual([{ ok: true, value: 'x' }])
  expect(Object.getOwnPropertyDescriptor(own, 'then')).toMatchObject({ value: then, writable: false })
})

test('one that many calls return tells all of them, and grows by none', async () => {
  const query = new Query('x')
  const { seen, again } = returned(query)
  for (let at = 0; at < 20_000; at++) again()
  expect(await query).toBe('x')
  expect([query.runs, seen.length]).toEqual([1, 20_001])
})

test('what resolves with another thenable has the outcome of that', async () => {
  const inner = new Query(false)
  // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
  const outer = { then: (resolve: (value: unknown) => void) => resolve(inner) }
  const { got, seen } = returned(outer as PromiseLike<unknown>)
  expect(await got).toBe(false)
  expect([inner.runs, seen]).toEqual([1, [{ ok: true, value: false }]])
})

test('one that cannot be observed is left alone, and its outcome said to be unseen', async () => {
  const query = Object.freeze({
    // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
    then: (resolve: (value: string) => void) => resolve('x'),
  })
  const { got, seen } = returned(query as PromiseLike<string>)
  expect(await got).toBe('x')
  expect(seen).toEqual([{ ok: false, error: UNSEEN }])
})

test('a promise of a class of its own may be lazy too, and passes on what has no handler', async () => {
  let runs = 0
  class Lazy extends Promise<string> {
    // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
    override then<A, B>(
      ok?: ((value: string) => A | PromiseLike<A>) | null,
      failed?: ((error: unknown) => B | PromiseLike<B>) | null,
    ): Promise<A | B> {
      runs++
      return Promise.reject(new Error('no')).then(ok, failed)
    }
  }
  const { got, seen } = returned(new Lazy(() => undefined))
  expect(runs).toBe(0)
  await expect(got.then((value) => value)).rejects.toThrow('no')
  expect([runs, seen]).toMatchObject([1, [{ ok: false, error: { message: 'no' } }]])
})

test('a native promise with members of its own is the same, and seen', async () => {
  const promise = Object.assign(Promise.resolve('x'), { id: 7 })
  const { got, seen } = returned(promise)
  expect(got).toBe(promise)
  expect(await got).toBe('x')
  expect(seen).toEqual([{ ok: true, value: 'x' }])
})

test('what a lazy thenable does belongs to the call, what comes after it to the caller', async () => {
  const key = createContextKey('who')
  const who = (): unknown => context.active().getValue(key)
  const ran: unknown[] = []
  const lazy = {
    // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
    then: (resolve: (value: unknown) => void) => {
      ran.push(who())
      resolve(undefined)
    },
  }
  const fn = observe(
    () => lazy,
    (call) => {
      call.context = call.context.setValue(key, 'call')
      return () => ran.push(who())
    },
    log,
  )
  await context.with(context.active().setValue(key, 'caller'), async () => {
    fn().then(() => ran.push(who()))
    await fn()
    ran.push(who())
  })
  expect(ran).toEqual(['call', 'caller', 'caller', 'call', 'caller', 'caller'])
})

test('a chain of light-my-request, which is lazy, can still be told what to ask', async () => {
  const app = fastify()
  app.get('/', async () => 'hello')
  const { got, seen } = returned(app.inject())
  expect((await got.get('/')).body).toBe('hello')
  expect(seen).toMatchObject([{ ok: true, value: { statusCode: 200 } }])
  await app.close()
})
