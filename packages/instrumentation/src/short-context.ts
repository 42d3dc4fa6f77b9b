/**
 * Contexts as short lists. The API copies a map and makes three functions for each value that is set, which a request does
 * some ten times; here a list with two or three members is copied. To whoever holds one it is a context like any other.
 */
import type { Context } from '@opentelemetry/api'
import { pairOf } from './short-lived.ts'

/** Contexts that are made from the API's root context, and from these, are short ones from now on. */
export function shorten(root: Context): void {
  // Not thrown where it is frozen: contexts stay what they are.
  Reflect.set(
    root,
    'setValue',
    (key: symbol, value: unknown) => new ShortContext(pairOf<unknown>(key, value)),
  )
}

class ShortContext implements Context {
  /** Keys, each with its value behind it. */
  readonly #members: readonly unknown[]

  constructor(members: readonly unknown[]) {
    this.#members = members
  }

  getValue(key: symbol): unknown {
    const at = this.#placeOf(key)
    return at === -1 ? undefined : this.#members[at + 1]
  }

  setValue(key: symbol, value: unknown): Context {
    const at = this.#placeOf(key)
    return new ShortContext(
      at === -1 ? this.#members.concat(pairOf<unknown>(key, value)) : this.#members.with(at + 1, value),
    )
  }

  deleteValue(key: symbol): Context {
    const at = this.#placeOf(key)
    return at === -1 ? this : new ShortContext(this.#members.toSpliced(at, 2))
  }

  /** -1 for a key that has no value. A value may be a key of another. */
  #placeOf(key: symbol): number {
    const members = this.#members
    for (let at = 0; at < members.length; at += 2) if (members[at] === key) return at
    return -1
  }
}
