/**
 * What this package keeps for each span, on the span itself.
 *
 * One property under a symbol of our own, rather than a weak map for each part: several of those cost more than all else
 * that is done for a span, at every start of one and in every garbage collection.
 */
import type { Context, Span } from '@opentelemetry/api'
import type { Task } from './ending.ts'
import type { Ledger } from './recorder.ts'
import type { Scope } from './scope.ts'

interface SpanState {
  scope: Scope | undefined
  /** The context in which it was started. */
  caller: Context | undefined
  /** What is done before it ends; see ending.ts. */
  tasks: Task[] | undefined
  isGoverned: boolean
  ledger: Ledger | undefined
}

const STATE = Symbol('rootspan')

type WithState = Span & { [STATE]?: SpanState }

/** Undefined if nothing was kept yet. */
export function knownStateOf(span: Span): Readonly<SpanState> | undefined {
  return (span as WithState)[STATE]
}

/** Throws for a span that cannot have properties. */
export function stateOf(span: Span): SpanState {
  const known = (span as WithState)[STATE]
  if (known !== undefined) return known
  const state: SpanState = {
    scope: undefined,
    caller: undefined,
    tasks: undefined,
    isGoverned: false,
    ledger: undefined,
  }
  // Not seen by what lists or copies a span's members.
  Object.defineProperty(span, STATE, { value: state, enumerable: false })
  return state
}
