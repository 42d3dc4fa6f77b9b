/**
 * A context manager that does what the SDK's `AsyncLocalStorageContextManager` does, in less time: instrumentations of
 * servers bind two emitters and some ten functions for each request, and enter a context as often.
 *
 * An emitter that is bound emits in its context, where the SDK wraps each listener that is added: listeners stay what they
 * are, and the context is changed once for all of them. What differs is that those that were there before, which are
 * Node's own, run in it, too.
 */
// biome-ignore-all lint/complexity/noArguments: functions that say how many parameters they have cannot have a rest of them.
import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { type Context, type ContextManager, ROOT_CONTEXT } from '@opentelemetry/api'
import { askOther } from './active.ts'
import { frameClass, readerOf, runnerOf } from './async-frame.ts'

type Callable = (this: unknown, ...args: never[]) => unknown

const BOUND = Symbol('rootspan bound')

export function contextManager(): ContextManager {
  const storage = new AsyncLocalStorage<Context>()
  const Frame = frameClass()
  const run = runnerOf(storage, Frame)
  const stored = readerOf(storage, Frame)

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
    const bound: Callable = function (...args) {
      return run(context, target, this, args)
    }
    return Object.defineProperty(bound, 'length', { configurable: true, value: length })
  }

  /** The first context counts, as with the SDK's. */
  const bindEmitter = (context: Context, emitter: EventEmitter & { [BOUND]?: true }): void => {
    if (emitter[BOUND] === true) return
    emitter[BOUND] = true
    const { emit } = emitter
    emitter.emit = function (event): boolean {
      // Most events of a request have none.
      if (this.listenerCount(event) === 0) return Reflect.apply(emit, this, arguments)
      return run(context, emit, this, arguments)
    }
  }

  return {
    active: () => stored() ?? ROOT_CONTEXT,
    with: (context, target, self, ...args) =>
      run(context, target as unknown as Callable, self, args) as ReturnType<typeof target>,
    bind(context, target) {
      if (typeof target === 'function')
        return boundTo(context, target as unknown as Callable) as typeof target
      if (target instanceof EventEmitter) bindEmitter(context, target)
      return target
    },
    enable() {
      return this
    },
    disable() {
      askOther(this)
      storage.disable()
      return this
    },
  }
}
