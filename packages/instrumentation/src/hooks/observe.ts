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
import { follow, followPlain, isAsyncFunction, isThenable } from './thenable.ts'

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
 * Called before the library. What it returns is called once with the outcome: a promise's or callback's when it is there.
 * Both run in the caller's context, so the recorder finds the caller's span.
 */
export type Observer = (call: Call) => ((outcome: CallOutcome) => void) | undefined

/**
 * As an {@link Observer}, called once the library has returned, or thrown: for whoever neither changes a call nor reads what
 * the library may change. What is run before the library is out of the processor's caches after it, and would be fetched
 * twice. With a callback it is called before the library, which may call that at once. What it returns should need
 * nothing of the arguments that the application may change before the outcome.
 */
export type Listener = (
  args: readonly unknown[],
  self: unknown,
) => ((outcome: CallOutcome) => void) | undefined

export interface ListenOptions {
  /**
   * The last argument, if a function, is a Node callback (error, value): the outcome is what it is called with. What is
   * false or missing behind it does not count: a wrapper may pass on a parameter that it was not given.
   */
  readonly callback?: boolean
  /**
   * While a call runs, calls of functions with the same group are not observed: they are part of it. Of a call that is
   * listened to, what it calls before it returns; of an observed one, also after an `await`.
   */
  readonly group?: string
}

export interface ObserveOptions extends ListenOptions {
  /** Spans below the call are how the library asks (HTTP, gRPC), and no actions of the application. */
  readonly asks?: boolean
}

type Callable = (...args: unknown[]) => unknown
type Settle = (outcome: CallOutcome) => void

const GROUPS = createContextKey('rootspan groups')
const ASKS = createContextKey('rootspan asks')

/** Calls of which only the outermost is observed. */
interface Group {
  readonly name: string
  /** Calls on the stack that are listened to. */
  depth: number
  /** Whether any context is that of a call: until then none is asked. */
  isInContexts: boolean
}

const groups = new Map<string, Group>()

function groupNamed(name: string): Group {
  const group = groups.get(name) ?? { name, depth: 0, isInContexts: false }
  groups.set(name, group)
  return group
}

/** Originals by observed function, so that none is observed twice. */
const observed = new WeakMap<object, object>()

export function isObserved(value: unknown): boolean {
  return typeof value === 'function' && observed.has(value)
}

/** What an observed function observes; undefined for any other. */
export function originalOf(value: object): unknown {
  return observed.get(value)
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
  const { callback = false, asks = false } = options
  const group = options.group === undefined ? undefined : groupNamed(options.group)
  const isAsync = isAsyncFunction(original)
  const begin = (self: unknown, args: readonly unknown[], caller: Context): ObservedCall => {
    const call = new ObservedCall(self, args, caller)
    try {
      call.after = observer(call) ?? undefined
    } catch (error) {
      log.failed('a hook', error)
    }
    if (group !== undefined) call.context = inGroup(call.context, group)
    if (asks) call.context = asking(call.context)
    return call
  }
  return proxied(original, (target, self, args) => {
    if (group !== undefined && isPart(group)) return Reflect.apply(target, self, args)
    const caller = activeContext()
    const { args: given, after, context } = begin(self, args, caller)
    const at = callback && after !== undefined ? callbackAt(given) : -1
    const told = at === -1 ? undefined : toldByCallback(given, at, after!, log)
    const passed = told === undefined ? given : told.args
    let value: unknown
    try {
      if (context === caller) value = Reflect.apply(target, self, passed)
      else value = contexts.with(context, Reflect.apply, undefined, target, self, passed)
    } catch (error) {
      if (told !== undefined) told.settle({ ok: false, error })
      else if (after !== undefined) tell(after, { ok: false, error }, log)
      throw error
    }
    if (after === undefined || told !== undefined) return value
    if (isAsync) return followPlain(value as Promise<unknown>, (outcome) => tell(after, outcome, log))
    if (isThenable(value)) return follow(value, once(after, caller, log), context)
    tell(after, { ok: true, value }, log)
    return value
  })
}

/** As {@link observe}, for whoever wants to hear of outcomes and no more. */
export function listen<F>(original: F, listener: Listener, log: Log, options: ListenOptions = {}): F {
  const { callback = false } = options
  const group = options.group === undefined ? undefined : groupNamed(options.group)
  const isAsync = isAsyncFunction(original)
  const settleOf = (args: readonly unknown[], self: unknown): Settle | undefined => {
    try {
      return listener(args, self)
    } catch (error) {
      log.failed('a hook', error)
      return undefined
    }
  }
  const withCallback = (target: Callable, self: unknown, args: readonly unknown[], at: number): unknown => {
    const told = toldByCallback(args, at, settleOf(args, self), log)
    if (group !== undefined) group.depth++
    try {
      return Reflect.apply(target, self, told.args)
    } catch (error) {
      told.settle({ ok: false, error })
      throw error
    } finally {
      if (group !== undefined) group.depth--
    }
  }
  const returned = (args: readonly unknown[], self: unknown, value: unknown): unknown => {
    const settle = settleOf(args, self)
    if (settle === undefined) return value
    if (isAsync) return followPlain(value as Promise<unknown>, (outcome) => tell(settle, outcome, log))
    if (isThenable(value)) {
      const caller = activeContext()
      return follow(value, once(settle, caller, log), caller)
    }
    tell(settle, { ok: true, value }, log)
    return value
  }
  const threw = (args: readonly unknown[], self: unknown, error: unknown): void => {
    const settle = settleOf(args, self)
    if (settle !== undefined) tell(settle, { ok: false, error }, log)
  }
  // Without a callback, of ours the only function on the stack while the library runs, with hardly a variable. Where a
  // library throws and catches, as jsonwebtoken does for each secret that is a text, the engine walks the stack: half a
  // microsecond or more for each function on it, by what it would have to restore of it.
  return proxied(original, (target, self, args) => {
    if (group !== undefined && isPart(group)) return Reflect.apply(target, self, args)
    const at = callback ? callbackAt(args) : -1
    if (at !== -1) return withCallback(target, self, args, at)
    let value: unknown
    if (group !== undefined) group.depth++
    try {
      value = Reflect.apply(target, self, args)
    } catch (error) {
      if (group !== undefined) group.depth--
      threw(args, self, error)
      throw error
    }
    if (group !== undefined) group.depth--
    return returned(args, self, value)
  })
}

function proxied<F>(original: F, apply: (target: Callable, self: unknown, args: unknown[]) => unknown): F {
  if (typeof original !== 'function' || observed.has(original)) return original
  const proxy = new Proxy<F & Callable>(original as F & Callable, { apply })
  observed.set(proxy, original)
  return proxy
}

/** Whether a call that is made now belongs to one of its group. */
function isPart(group: Group): boolean {
  return group.depth > 0 || (group.isInContexts && groupsOf(activeContext()).includes(group))
}

function groupsOf(context: Context): readonly Group[] {
  return (context.getValue(GROUPS) as readonly Group[] | undefined) ?? []
}

function inGroup(context: Context, group: Group): Context {
  group.isInContexts = true
  return context.setValue(GROUPS, [...groupsOf(context), group])
}

class ObservedCall implements Call {
  readonly self: unknown
  args: readonly unknown[]
  context: Context
  after: Settle | undefined = undefined
  #isCopied = false

  constructor(self: unknown, args: readonly unknown[], caller: Context) {
    this.self = self
    this.args = args
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

/** `hears`, at most once, in the caller's context, and never throwing. */
function once(hears: Settle, caller: Context, log: Log): Settle {
  let isSettled = false
  return (outcome) => {
    if (isSettled) return
    isSettled = true
    if (activeContext() === caller) tell(hears, outcome, log)
    else contexts.with(caller, tell, undefined, hears, outcome, log)
  }
}

const NOBODY: Settle = () => {}

/** Where a callback is among the arguments; -1 for none. */
function callbackAt(args: readonly unknown[]): number {
  let at = args.length - 1
  while (at >= 0 && !args[at]) at--
  return typeof args[at] === 'function' ? at : -1
}

/** Arguments with their callback observed, and what it tells. */
function toldByCallback(
  args: readonly unknown[],
  at: number,
  hears: Settle | undefined,
  log: Log,
): { readonly args: readonly unknown[]; readonly settle: Settle } {
  const caller = activeContext()
  const settle = once(hears ?? NOBODY, caller, log)
  const seen = new Proxy(args[at] as Callable, {
    apply(target, self, results: unknown[]) {
      const [error, value] = results
      settle(error ? { ok: false, error } : { ok: true, value })
      return contexts.with(caller, Reflect.apply, undefined, target, self, results)
    },
  })
  return { args: args.with(at, seen), settle }
}
