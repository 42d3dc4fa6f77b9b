/**
 * The SDK's own context manager with another `bind`: instrumentations of servers bind two emitters and some ten functions
 * for each request, and the SDK's takes longer for it than for the spans. What runs in which context is the same.
 *
 * Of an emitter only the methods that add listeners are replaced, by functions that all emitters of a class share. What
 * they add has its original as `listener`, by which Node's emitters find listeners that are wrapped: nothing has to be
 * remembered to remove one.
 */
// biome-ignore-all lint/complexity/noArguments: functions that say how many parameters they have cannot have a rest of them.
import { EventEmitter } from 'node:events'
import type { Context, ContextManager } from '@opentelemetry/api'

type Callable = (this: unknown, ...args: unknown[]) => unknown

/** A listener that runs in a context. */
interface Wrapper extends Callable {
  listener: Callable
  [BOUND]: true
}

type Add = (event: string | symbol, listener: Callable) => BoundEmitter

/** An emitter whose listeners, whoever adds them, run in one context: the first that it was bound to. */
interface BoundEmitter extends Pick<EventEmitter, 'removeListener'> {
  [CONTEXT]?: Context
  on: Add
  addListener: Add
  prependListener: Add
  once: Add
  prependOnceListener: Add
}

const CONTEXT = Symbol('rootspan context')
const BOUND = Symbol('rootspan bound')

/** `Base` is the SDK's `AsyncLocalStorageContextManager`, of whichever version. */
export function contextManager(Base: new () => ContextManager): ContextManager {
  const manager = new (class extends Base {
    override bind<T>(context: Context, target: T): T {
      if (typeof target === 'function') return boundTo(context, target as Callable) as T
      if (!(target instanceof EventEmitter)) return target
      const emitter = target as unknown as BoundEmitter
      if (emitter[CONTEXT] !== undefined) return target
      if (!isOrdinary(emitter)) return super.bind(context, target)
      bindEmitter(context, emitter)
      return target
    }
  })()

  const run = (context: Context, target: Callable, self: unknown, args: ArrayLike<unknown>): unknown =>
    manager.with(context, Reflect.apply, undefined, target, self, args)

  /** Literals for the usual numbers of parameters: a `length` that is defined afterwards costs more than all the rest. */
  const boundTo = (context: Context, target: Callable): Callable => {
    const { length } = target
    if (length === 0)
      return function () {
        return run(context, target, this, arguments)
      }
    if (length === 1)
      return function (_1) {
        return run(context, target, this, arguments)
      }
    if (length === 2)
      return function (_1, _2) {
        return run(context, target, this, arguments)
      }
    if (length === 3)
      return function (_1, _2, _3) {
        return run(context, target, this, arguments)
      }
    const wrapper: Callable = function (...args) {
      return run(context, target, this, args)
    }
    return Object.defineProperty(wrapper, 'length', { configurable: true, value: length })
  }

  const wrap = (wrapper: Callable, listener: Callable): Wrapper =>
    Object.assign(wrapper, { listener, [BOUND]: true as const })

  /** By the functions that they call. */
  const adders = new WeakMap<Add, Add>()

  const adder = (original: Add): Add => {
    let add = adders.get(original)
    if (add === undefined) {
      add = function (this: BoundEmitter, event, listener) {
        if (typeof listener !== 'function' || BOUND in listener) return original.call(this, event, listener)
        const context = this[CONTEXT]!
        const wrapper: Callable = function (...args) {
          return run(context, listener, this, args)
        }
        return original.call(this, event, wrap(wrapper, listener))
      }
      adders.set(original, add)
    }
    return add
  }

  /** What a listener for one event becomes; anything else is for the emitter to refuse. */
  const once = (emitter: BoundEmitter, event: string | symbol, listener: Callable): Callable => {
    if (typeof listener !== 'function') return listener
    const context = emitter[CONTEXT]!
    let isOver = false
    const wrapper = wrap((...args) => {
      if (isOver) return undefined
      isOver = true
      emitter.removeListener(event, wrapper)
      return run(context, listener, emitter, args)
    }, listener)
    return wrapper
  }
  const addOnce: Add = function (this: BoundEmitter, event, listener) {
    return this.on(event, once(this, event, listener))
  }
  const prependOnce: Add = function (this: BoundEmitter, event, listener) {
    return this.prependListener(event, once(this, event, listener))
  }

  const bindEmitter = (context: Context, emitter: BoundEmitter): void => {
    emitter[CONTEXT] = context
    emitter.on = adder(emitter.on)
    emitter.addListener = adder(emitter.addListener)
    emitter.prependListener = adder(emitter.prependListener)
    emitter.once = addOnce
    emitter.prependOnceListener = prependOnce
  }

  return manager
}

const { once, prependOnceListener } = EventEmitter.prototype as unknown as BoundEmitter

/** Whether listeners for one event are added as Node's emitters do it, by way of the methods for all. */
function isOrdinary(emitter: BoundEmitter): boolean {
  return emitter.once === once && emitter.prependOnceListener === prependOnceListener
}
