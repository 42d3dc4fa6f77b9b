/**
 * What this package keeps for each span, on the span itself, and what it writes on one.
 *
 * The state is a private field that is put on the span from outside: nothing that lists or copies a span's members sees
 * it, and it costs a tenth of a property that is defined as hidden, or of an entry in a weak map.
 */
import type { Attributes, Context, Span } from '@opentelemetry/api'
import type { SpanEvent } from './delivery/span.ts'
import type { Task } from './ending.ts'
import type { Ledger } from './ledger.ts'
import type { Scope } from './scope.ts'

export class SpanState {
  scope: Scope | undefined = undefined
  /** The context in which it was started. */
  caller: Context | undefined = undefined
  /** What is done before it ends; see ending.ts. */
  tasks: Task[] | undefined = undefined
  /** How many of them were done. */
  done = 0
  /** What is done after all of them. */
  lastTask: Task | undefined = undefined
  isGoverned = false
  ledger: Ledger | undefined = undefined
}

/** Returns the object that it is given: a class that extends it adds its private fields to that object. */
const Given = function given(span: object): object {
  return span
} as unknown as new (
  span: object,
) => object

class Stated extends Given {
  #state: SpanState

  constructor(span: object, state: SpanState) {
    super(span)
    this.#state = state
  }

  static of(span: object): SpanState | undefined {
    return #state in span ? (span as Stated).#state : undefined
  }
}

/** Undefined if nothing was kept yet. */
export function knownStateOf(span: Span): SpanState | undefined {
  return Stated.of(span)
}

export function stateOf(span: Span): SpanState {
  const known = Stated.of(span)
  if (known !== undefined) return known
  const state = new SpanState()
  new Stated(span, state)
  return state
}

/** Lets go of what is not asked for once the span has ended; others may hold the span for long. */
export function release(span: Span): void {
  const state = Stated.of(span)
  if (state === undefined) return
  state.caller = undefined
  state.tasks = undefined
  state.lastTask = undefined
  state.ledger = undefined
}

/** The members of an SDK's span to which it adds. */
interface Writable {
  readonly attributes?: Attributes
  events?: SpanEvent[]
}

/**
 * Puts attributes of ours, which are valid and bounded, on a span that has not ended. Past the SDK's checks, copies and
 * limits: evidence is not cut because an operator bounds what else is recorded.
 */
export function setAttributes(span: Span, attributes: Attributes): void {
  const own = (span as Writable).attributes
  if (typeof own === 'object') Object.assign(own, attributes)
  else span.setAttributes(attributes)
}

/** See {@link setAttributes}. */
export function setAttribute(span: Span, name: string, value: string | number | boolean): void {
  const own = (span as Writable).attributes
  if (typeof own === 'object') own[name] = value
  else span.setAttribute(name, value)
}

/**
 * Puts events of ours on a span that has not ended; see {@link setAttributes}. The list becomes the span's where that has
 * no other: one to which they are added would take room for seventeen.
 */
export function addEvents(span: Span, events: SpanEvent[]): void {
  const writable = span as Writable
  const own = writable.events
  if (Array.isArray(own)) {
    if (own.length === 0) writable.events = events
    else own.push(...events)
  } else for (const { name, attributes, time } of events) span.addEvent(name, attributes, time)
}
