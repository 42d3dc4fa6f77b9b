/**
 * Governance scopes: what is in force for everything that one request, message or job does in this process.
 *
 * A scope belongs to a local root span and is found from any span below it, so that what a middleware's span learned
 * is known to its siblings. Scopes live as long as their spans are referenced.
 */
import { type Context, type Span, trace } from '@opentelemetry/api'
import type { SharedAttributes } from './fact-event.ts'
import { knownStateOf, stateOf } from './span-state.ts'

/** An artifact that was verified, as later spans repeat it. */
export interface InForce {
  /** Fingerprint, or the id of an artifact without one. */
  readonly key: string
  readonly shared: SharedAttributes
}

export interface Scope {
  readonly root: Span
  /** In the order in which they were verified; bounded. */
  readonly authorizations: InForce[]
  /** Ids of the first decisions; the count goes on. */
  readonly decisions: string[]
  decisionCount: number
}

/** More artifacts than this in one request are not inherited by later spans. */
export const MAX_IN_FORCE = 8

export interface Scopes {
  of(span: Span): Scope | undefined
  /** The scope of the context's span. */
  in(context: Context): Scope | undefined
  /** Files a span that starts: under its local parent's scope, or as the root of a new one. */
  enter(span: Span, parent: Context): Scope
  /** The context in which a span was started. */
  callerOf(span: Span): Context | undefined
  /** Makes a span that started the root of a scope within its own: its artifacts are not in force below, decisions are. */
  nest(span: Span): void
}

export function createScopes(): Scopes {
  const of = (span: Span): Scope | undefined => knownStateOf(span)?.scope
  const find = (context: Context): Scope | undefined => {
    const span = trace.getSpan(context)
    return span === undefined ? undefined : of(span)
  }
  return {
    of,
    in: find,
    enter(span, parent) {
      const scope = find(parent) ?? { root: span, authorizations: [], decisions: [], decisionCount: 0 }
      const state = stateOf(span)
      state.scope = scope
      state.caller = parent
      return scope
    },
    callerOf: (span) => knownStateOf(span)?.caller,
    nest(span) {
      const { decisions = [], decisionCount = 0 } = of(span) ?? {}
      stateOf(span).scope = { root: span, authorizations: [], decisions: [...decisions], decisionCount }
    },
  }
}
