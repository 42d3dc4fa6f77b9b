import { context, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { watchNext } from './middleware.ts'
import { observe } from './observe.ts'

const KEY = createContextKey('of the call')

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
})

afterAll(() => {
  context.disable()
})

type Next = (this: unknown, error?: unknown) => unknown

/** A middleware that runs in a context of its own, and whatever else an observer does. */
function watched(middleware: (request: object, response: object, next: Next) => unknown, told: Next) {
  return observe(
    middleware,
    (call) => {
      watchNext(call, told)
      call.context = call.context.setValue(KEY, 'inside')
      return undefined
    },
    createLog('silent'),
  )
}

test('what a middleware says first is heard, in the context of its caller, as is what comes behind it', () => {
  const heard: unknown[] = []
  const seen: unknown[] = []
  const middleware = watched(
    (_request, _response, next) => {
      seen.push(context.active().getValue(KEY))
      next.call('this', 'first')
      return next('second')
    },
    (error) => heard.push([error, context.active()]),
  )
  const next: Next = function (error) {
    seen.push([this, error, context.active()])
    return 'answer'
  }
  expect(middleware({}, {}, next)).toBe('answer')
  expect(heard).toEqual([['first', ROOT_CONTEXT]])
  expect(seen).toEqual(['inside', ['this', 'first', ROOT_CONTEXT], [undefined, 'second', ROOT_CONTEXT]])
})

test('who hears it and throws changes nothing; what comes behind it throws as before', () => {
  const middleware = watched(
    (_request, _response, next) => next(),
    () => {
      throw new Error('of the hook')
    },
  )
  expect(middleware({}, {}, () => 'answer')).toBe('answer')
  const broken = () => {
    throw new Error('of the application')
  }
  expect(() => middleware({}, {}, broken)).toThrow('of the application')
})

test('a middleware that is called without next gets what it was given', () => {
  const middleware = watched(
    (_request, _response, next) => next as unknown,
    () => undefined,
  )
  expect(middleware({}, {}, 'no function' as unknown as Next)).toBe('no function')
})
