/** Narrowing of values that libraries and servers bring. */
import type { Decision } from '../facts.ts'

export type Fields = Readonly<Record<string, unknown>>

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A text that says something. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The code or class of an error, in one word; never its message, which may quote anything. Does not throw. */
export function reasonOf(error: unknown): string {
  try {
    const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown }
    for (const word of [code, name]) if (typeof word === 'string' && /^\w{1,64}$/.test(word)) return word
  } catch {
    // It cannot be looked at.
  }
  return 'error'
}

/** What an engine that throws has decided. */
export function failure(error: unknown): Pick<Decision, 'outcome' | 'errors' | 'reason'> {
  return { outcome: 'error', errors: 1, reason: reasonOf(error) }
}
