/**
 * Observed functions: proxies that tell an observer of each call and its outcome, and change nothing else.
 *
 * What an observer throws is counted and dropped. `this`, arguments, results, errors, `new`, properties and name are
 * the library's own. A native promise is returned as another one that settles the same way, so that a rejection which
 * nobody handles is still reported; other thenables are returned themselves, see thenable.ts.
 */
import { type Context, context as contexts, createContextKey } from '@opentelemetry/api'
import { activeContext } from '../active.ts'
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
 * Called before the library, or right after it where it is `late`. What it returns is called once with the outcome: a
 * promise's or callback's when it is there. Both run in the caller's context, so the recorder finds the caller's span.
 */
export type Observer = (call: Call) => ((outcome: CallOutcome) => void) | undefined

export interface ObserveOptions {
  /**
   * The last argument, if a function, is a Node callback (error, value): the outcome is what it is called with. What is
   * false or missing behind it does not count: a wrapper may pass on a parameter that it was not given.
   */
  readonly callback?: boolean
  /** While a call runs, calls of functions with the same group are not observed: they are part of it. */
  readonly group?: string
  /** With a group: such calls are made before it returns, and none after an `await`. No context is needed to know them by. */
  readonly atOnce?: boolean
  /** Spans below the call are how the library asks (HTTP, gRPC), and no actions of the application. */
  readonly asks?: boolean
  /**
   * The observer is called once the library has returned, or thrown: it neither changes the call nor reads what the library
   * may change. What is run before the library is out of the processor's caches after it, and would be fetched twice.
   */
  readonly late?: boolean
}

type Callable = (...args: unknown[]) => unknown
type Settle = (outcome: CallOutcome) => void

const GROUPS = createContextKey('rootspan groups')
const ASKS = createContextKey('rootspan asks')

/** Groups of the calls on the stack that make others {@link ObserveOptions.atOnce}. */
const onStack: string[] = []

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
  const { callback = false, group, atOnce = false, asks = false, late = false } = options
  const hasCallback = (args: readonly unknown[]): boolean => callback && callbackAt(args) !== -1
  const begin = (self: unknown, args: readonly unknown[]): ObservedCall => {
    const caller = activeContext()
    const call = new ObservedCall(self, args, caller)
    if (group !== undefined && groupsOf(caller).includes(group)) return call
    try {
      call.after = observer(call) ?? undefined
    } catch (error) {
      log.failed('a hook', error)
    }
    if (group !== undefined && !atOnce) call.context = inGroup(call.context, group)
    if (asks) call.context = asking(call.context)
    const { after } = call
    if (after !== undefined && hasCallback(call.args)) {
      call.settle = once(after, caller, log)
      call.args = withCallback(call.args, call.settle, caller)
    }
    return call
  }
  const fail = ({ after, settle }: ObservedCall, error: unknown): void => {
    if (after !== undefined) tell(settle ?? after, { ok: false, error }, log)
  }
  const end = ({ after, settle, caller, context }: ObservedCall, value: unknown): unknown => {
    if (after === undefined || settle !== undefined) return value
    if (isThenable(value)) return follow(value, once(after, caller, log), context)
    tell(after, { ok: true, value }, log)
    return value
  }
  const proxy = new Proxy(original as F & Callable, {
    // Of ours the only function on the stack while the library runs. Where a library throws and catches, as jsonwebtoken
    // does for each secret that is a text, the engine walks the stack, a microsecond or more for each function on it.
    apply(target, self, args: unknown[]) {
      if (group !== undefined && onStack.includes(group)) return Reflect.apply(target, self, args)
      const call = late && !hasCallback(args) ? undefined : begin(self, args)
      if (atOnce) onStack.push(group!)
      let value: unknown
      try {
        if (call === undefined) value = Reflect.apply(target, self, args)
        else if (call.context === call.caller) value = Reflect.apply(target, self, call.args)
        else value = contexts.with(call.context, Reflect.apply, undefined, target, self, call.args)
      } catch (error) {
        if (atOnce) onStack.pop()
        fail(call ?? begin(self, args), error)
        throw error
      }
      if (atOnce) onStack.pop()
      return end(call ?? begin(self, args), value)
    },
  })
  observed.set(proxy, original)
  return proxy
}

function groupsOf(context: Context): readonly string[] {
  return (context.getValue(GROUPS) as readonly string[] | undefined) ?? []
}

function inGroup(context: Context, group: string): Context {
  return context.setValue(GROUPS, [...groupsOf(context), group])
}

class ObservedCall implements Call {
  readonly self: unknown
  args: readonly unknown[]
  readonly caller: Context
  context: Context
  after: Settle | undefined = undefined
  /** What is told by the callback. */
  settle: Settle | undefined = undefined
  #isCopied = false

  constructor(self: unknown, args: readonly unknown[], caller: Context) {
    this.self = self
    this.args = args
    this.caller = caller
    this.context = caller
  }

  substitute(index: number, value: unknown): void {
    if (!this.#isCopied) this.args = [...this.args]
    this.#isCopied = true
    ;(this.args as unknown[])[index] = value
  }
}

/** Tells a hook something; what it throws is counted and dropped. */
export function tell<T>(hears: (what: T) => void, what: T, log: Log): void {
  try {
    hears(what)
  } catch (error) {
    log.failed('a hook', error)
  }
}

/** `after`, at most once, in the caller's context, and never throwing. */
function once(after: Settle, context: Context, log: Log): Settle {
  let isSettled = false
  return (outcome) => {
    if (isSettled) return
    isSettled = true
    if (activeContext() === context) tell(after, outcome, log)
    else contexts.with(context, tell, undefined, after, outcome, log)
  }
}

/** Where a callback is among the arguments; -1 for none. */
function callbackAt(args: readonly unknown[]): number {
  let at = args.length - 1
  while (at >= 0 && !args[at]) at--
  return typeof args[at] === 'function' ? at : -1
}

/** Arguments with their callback observed. */
function withCallback(args: readonly unknown[], settle: Settle, context: Context): unknown[] {
  const at = callbackAt(args)
  const seen = new Proxy(args[at] as Callable, {
    apply(target, self, results: unknown[]) {
      const [error, value] = results
      settle(error ? { ok: false, error } : { ok: true, value })
      return contexts.with(context, Reflect.apply, undefined, target, self, results)
    },
  })
  return args.with(at, seen)
}
