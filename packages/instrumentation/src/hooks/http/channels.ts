/** What the listeners to undici and to node:http share. */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Log } from '../../log.ts'
import type { HttpHook, Place } from './exchange.ts'

/** Subscribes by channel; what a listener throws stays here. Returns what ends it. */
export function listen<Message>(
  listeners: Readonly<Record<string, (message: Message) => void>>,
  log: Log,
): () => void {
  const active = Object.entries(listeners).map(([name, listener]) => {
    const guarded = (message: unknown): void => {
      try {
        listener(message as Message)
      } catch (error) {
        log.failed(`listening to ${name}`, error)
      }
    }
    subscribe(name, guarded)
    return { name, guarded }
  })
  return () => {
    for (const { name, guarded } of active) unsubscribe(name, guarded)
  }
}

/** The hook that a request is for, and its path without the query; undefined for all other requests. */
export function locate(hooks: readonly HttpHook[], method: unknown, target: unknown): Place | undefined {
  if (typeof target !== 'string') return undefined
  const query = target.indexOf('?')
  const path = query < 0 ? target : target.slice(0, query)
  if (method === 'POST') {
    const hook = hooks.find((one) => one.matches(path))
    return hook && { hook, path, question: undefined }
  }
  if (method !== 'GET' || query < 0) return undefined
  const hook = hooks.find((one) => one.questionIn !== undefined && one.matches(path))
  const question = hook?.questionIn?.(target.slice(query + 1))
  return hook && question && { hook, path, question }
}

/** Lets `see` have the arguments of a method of this one object before the method itself has them. */
export function shadow(owner: object, name: string, see: (...args: unknown[]) => void): void {
  const original = (owner as Record<string, unknown>)[name] as (...args: unknown[]) => unknown
  const value = function shadowing(this: unknown, ...args: unknown[]): unknown {
    see(...args)
    return Reflect.apply(original, this, args)
  }
  Object.defineProperty(owner, name, { value, configurable: true, writable: true, enumerable: false })
}
