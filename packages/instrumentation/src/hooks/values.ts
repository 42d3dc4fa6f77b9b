/** Narrowing of values that libraries and servers bring. */
import type { Decision } from '../facts.ts'

export type Fields = Readonly<Record<string, unknown>>

/** An object that is no list. A proxy that was revoked is none. */
export function isFields(value: unknown): value is Fields {
  if (typeof value !== 'object' || value === null) return false
  try {
    return !Array.isArray(value)
  } catch {
    return false
  }
}

/** Bytes, and not a proxy for some that throws when it is looked at. */
export function isBytes(value: unknown): value is Uint8Array {
  try {
    return value instanceof Uint8Array
  } catch {
    return false
  }
}

/**
 * A member of whatever the application gave; undefined if there is none, or if it cannot be read: a getter that throws, a
 * proxy that was revoked. Does not throw. What only the library or a server made can be read without it.
 */
export function member(value: unknown, name: string): unknown {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return undefined
  try {
    return (value as Fields)[name]
  } catch {
    return undefined
  }
}

/** A part of a fact that is read from values of the application; undefined if reading throws, and the rest is recorded. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Lists of the same members. */
export function areSame(one: readonly unknown[], other: readonly unknown[]): boolean {
  if (one.length !== other.length) return false
  for (let at = 0; at < one.length; at++) if (one[at] !== other[at]) return false
  return true
}

/** The same value, or lists of the same members. */
export function isSame(one: unknown, other: unknown): boolean {
  return one === other || (Array.isArray(one) && Array.isArray(other) && areSame(one, other))
}

/** A text that says something. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The code or class of an error, in one word; never its message, which may quote anything. Does not throw. */
export function reasonOf(error: unknown): string {
  for (const word of [member(error, 'code'), member(error, 'name')])
    if (typeof word === 'string' && /^\w{1,64}$/.test(word)) return word
  return 'error'
}

/** What an engine that throws has decided. */
export function failure(error: unknown): Pick<Decision, 'outcome' | 'errors' | 'reason'> {
  return { outcome: 'error', errors: 1, reason: reasonOf(error) }
}
