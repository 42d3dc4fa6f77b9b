/**
 * Observed functions: proxies that tell an observer of each call and its outcome, and change nothing else.
 *
 * What an observer throws is counted and dropped. `this`, arguments, results, errors, `new`, properties and name are
 * the library's own. A native promise is returned as another one that settles the same way, so that a rejection which
 * nobody handles is still reported; other thenables are returned themselves, see thenable.ts.
 */
import { type Context, context as contexts, createContextKey } from '@opentelemetry/api'
import type { Log } from '../log.ts'
import { follow, isThenable } from './thenable.ts'

/** One call, before it happens. */
export interface Call {
  readonly self: unknown
  readonly args: readonly unknown[]
  /** The context in which the library and what it calls will run; may be set. */
  context: Context
  /** Passes another argument to the library. Only for what cannot change its answer. */
  substitute(index: number, value: unknown): void
}

export type CallOutcome =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: unknown }

/**
 * Called before the library. What it returns is called once with the outcome: a promise's or callback's when it is
 * there. Both run in the caller's context, so the recorder finds the caller's span.
 */
export type Observer = (call: Call) => ((outcome: CallOutcome) => void) | undefined

export interface ObserveOptions {
  /** The last argument, if a function, is a Node callback (error, value): the outcome is what it is called with. */
  readonly callback?: boolean
  /** While a call runs, calls of functions with the same group are not observed: they are part of it. */
  readonly group?: string
  /** Spans below the call are how the library asks (HTTP, gRPC), and no actions of the application. */
  readonly asks?: boolean
}

type Callable = (...args: never[]) => unknown

const GROUPS = createContextKey('rootspan groups')
const ASKS = createContextKey('rootspan asks')

/** Originals by observed function, so that none is observed twice. */
const observed = new WeakMap<object, object>()

export function isObserved(value: unknown): boolean {
  return typeof value === 'function' && observed.has(value)
}

/** Whether a span of this context is part of asking a policy engine. */
export function isAsking(context: Context): boolean {
  return context.getValue(ASKS) === true
}

/** `context` with spans below it taken for asking. */
function asking(context: Context): Context {
  return context.setValue(ASKS, true)
}

/** `context` with spans below it taken for the application's own again: what a callee does for the caller. */
export function notAsking(context: Context): Context {
  return isAsking(context) ? context.deleteValue(ASKS) : context
}

/** The observed function; `original` itself if it is observed already, or no function. */
export function observe<F>(original: F, observer: Observer, log: Log, options: ObserveOptions = {}): F {
  if (typeof original !== 'function' || observed.has(original)) return original
  const { callback = false, group, asks = false } = options
  const proxy = new Proxy(original as F & Callable, {
    apply(target, self, args: unknown[]) {
      const active = contexts.active()
      let groups: readonly string[] = []
      if (group !== undefined) {
        groups = (active.getValue(GROUPS) as readonly string[] | undefined) ?? []
        if (groups.includes(group)) return Reflect.apply(target, self, args)
      }
      let after: ((outcome: CallOutcome) => void) | undefined
      const call = new ObservedCall(self, args, active)
      try {
        after = observer(call) ?? undefined
      } catch (error) {
        log.failed('a hook', error)
      }
      let inner = call.context
      if (group !== undefined) inner = inner.setValue(GROUPS, [...groups, group])
      if (asks) inner = asking(inner)
      const run = <T>(fn: () => T): T => (inner === active ? fn() : contexts.with(inner, fn))
      if (after === undefined) return run(() => Reflect.apply(target, self, call.args))
      const settle = once(after, active, log)
      const passed = callback ? withCallback(call.args, settle, active) : undefined
      let value: unknown
      try {
        value = run(() => Reflect.apply(target, self, passed ?? call.args))
      } catch (error) {
        settle({ ok: false, error })
        throw error
      }
      if (passed !== undefined) return value
      if (isThenable(value)) return follow(value, settle, inner)
      settle({ ok: true, value })
      return value
    },
  })
  observed.set(proxy, original)
  return proxy
}

class ObservedCall implements Call {
  readonly self: unknown
  args: readonly unknown[]
  context: Context
  #isCopied = false

  constructor(self: unknown, args: readonly unknown[], context: Context) {
    this.self = self
    this.args = args
    this.context = context
  }

  substitute(index: number, value: unknown): void {
    if (!this.#isCopied) this.args = [...this.args]
    this.#isCopied = true
    ;(this.args as unknown[])[index] = value
  }
}

/** `after`, at most once, in the caller's context, and never throwing. */
function once(
  after: (outcome: CallOutcome) => void,
  context: Context,
  log: Log,
): (outcome: CallOutcome) => void {
  let isSettled = false
  return (outcome) => {
    if (isSettled) return
    isSettled = true
    try {
      if (contexts.active() === context) after(outcome)
      else contexts.with(context, after, undefined, outcome)
    } catch (error) {
      log.failed('a hook', error)
    }
  }
}

/** Arguments with their last one, a callback, observed; undefined if it is no function. */
function withCallback(
  args: readonly unknown[],
  settle: (outcome: CallOutcome) => void,
  context: Context,
): unknown[] | undefined {
  const last = args.at(-1)
  if (typeof last !== 'function') return undefined
  const seen = new Proxy(last as Callable, {
    apply(target, self, results: unknown[]) {
      const [error, value] = results
      settle(error ? { ok: false, error } : { ok: true, value })
      return contexts.with(context, () => Reflect.apply(target, self, results))
    },
  })
  return [...args.slice(0, -1), seen]
}
