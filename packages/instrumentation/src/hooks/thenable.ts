/**
 * Outcomes of promises and other thenables, as an observed function returns them.
 *
 * A thenable may be lazy: queries of knex, Mongoose, Prisma and Drizzle run when `then` is called, and again with each
 * further call. So none is ever called here: the first call that somebody else makes is observed.
 */
import { types } from 'node:util'
import { type Context, context as contexts } from '@opentelemetry/api'
import { activeContext } from '../active.ts'
import type { CallOutcome } from './observe.ts'

type Settle = (outcome: CallOutcome) => void
type Callable = (...args: never[]) => unknown

/** In the place of an error: a thenable that cannot be observed, such as one that is frozen. */
export const UNSEEN: { readonly code: string } = Object.freeze({ code: 'outcome_unseen' })

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  try {
    return typeof (value as { then?: unknown }).then === 'function'
  } catch {
    return false
  }
}

/** An async function, of which each call gives a native promise without members of its own; no generator. */
export function isAsyncFunction(value: unknown): boolean {
  return types.isAsyncFunction(value) && !types.isGeneratorFunction(value)
}

/** As {@link follow}, for a native promise without members of its own. `settle` runs in the context of now. */
export function followPlain(value: Promise<unknown>, settle: Settle): Promise<unknown> {
  const ok = (result: unknown): unknown => {
    settle({ ok: true, value: result })
    return result
  }
  const failed = (error: unknown): never => {
    settle({ ok: false, error })
    throw error
  }
  return Promise.prototype.then.call(value, ok, failed)
}

/**
 * What the caller gets in the place of `value`; `settle` has the outcome before the caller has it. What a lazy thenable
 * does runs in the context `within`. Does not throw.
 *
 * Known hole: of a native promise that has members of its own, a rejection that nobody handles counts as handled.
 */
export function follow(value: PromiseLike<unknown>, settle: Settle, within: Context): unknown {
  try {
    // `await` does not call the `then` of such a promise, and looking at it runs nothing.
    if (types.isPromise(value) && value.constructor === Promise) {
      const isPlain =
        Object.getPrototypeOf(value) === Promise.prototype && Object.getOwnPropertyNames(value).length === 0
      if (isPlain) return followPlain(value, settle)
      const ok = (result: unknown): void => settle({ ok: true, value: result })
      const failed = (error: unknown): void => settle({ ok: false, error })
      Promise.prototype.then.call(value, ok, failed)
      return value
    }
    if (shadowThen(value, settle, within)) return value
  } catch {
    // It cannot be looked at.
  }
  settle({ ok: false, error: UNSEEN })
  return value
}

interface Shadow {
  readonly then: unknown
  readonly settles: Settle[]
}

/** By thenables whose `then` is shadowed and was not called yet; one may be returned by many calls. */
const shadows = new WeakMap<object, Shadow>()

/** Observes the next call of `then` by a member in its place, which is taken away by that call. False: it cannot be. */
function shadowThen(value: PromiseLike<unknown>, settle: Settle, within: Context): boolean {
  const own = Reflect.getOwnPropertyDescriptor(value, 'then')
  const known = shadows.get(value)
  if (known !== undefined && own?.value === known.then) {
    known.settles.push(settle)
    return true
  }
  const settles = [settle]
  const tell: Settle = (outcome) => {
    for (const one of settles.splice(0)) one(outcome)
  }
  const then = new Proxy(value.then as Callable, {
    apply(target, self, args: unknown[]) {
      shadows.delete(value)
      if (own === undefined) Reflect.deleteProperty(value, 'then')
      else Reflect.defineProperty(value, 'then', own)
      const handlers = tellingHandlers(args, types.isPromise(value), tell, within)
      const call = (): unknown => Reflect.apply(target, self, handlers)
      try {
        return activeContext() === within ? call() : contexts.with(within, call)
      } catch (error) {
        tell({ ok: false, error })
        throw error
      }
    },
  })
  const member = { value: then, writable: true, configurable: true, enumerable: own?.enumerable ?? false }
  if (!Reflect.defineProperty(value, 'then', member)) return false
  shadows.set(value, { then, settles })
  return true
}

/**
 * Arguments of `then` that tell the outcome and then do what those given do, in the context in which they were given. A
 * handler that was not given is made only for a promise, which does without it what that one does. Known hole: of other
 * thenables, a failure for which `then` got no handler is not seen.
 */
function tellingHandlers(
  args: readonly unknown[],
  isStandard: boolean,
  tell: Settle,
  within: Context,
): unknown[] {
  const caller = activeContext()
  const telling = (given: unknown, otherwise: Callable, see: (value: unknown) => unknown): unknown => {
    const handler = typeof given === 'function' ? (given as Callable) : isStandard ? otherwise : undefined
    if (handler === undefined) return given
    return new Proxy(handler, {
      apply(target, self, [value, ...rest]: unknown[]) {
        const seen = see(value)
        return contexts.with(caller, () => Reflect.apply(target, self, [seen, ...rest]))
      },
    })
  }
  const [onValue, onError, ...rest] = args
  return [
    telling(
      onValue,
      (value: unknown) => value,
      (value) => {
        // What is resolved with another thenable has that one's outcome.
        if (isThenable(value)) return follow(value, tell, within)
        tell({ ok: true, value })
        return value
      },
    ),
    telling(
      onError,
      (error: unknown) => {
        throw error
      },
      (error) => {
        tell({ ok: false, error })
        return error
      },
    ),
    ...rest,
  ]
}
