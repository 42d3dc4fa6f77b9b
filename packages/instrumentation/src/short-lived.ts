/**
 * Objects that live as long as a request and are held by others: made by a constructor or as copies of a list, not as
 * literals.
 *
 * V8 counts, for each literal in the code, how many of its objects outlive a collection, and makes them among what lives for
 * ever once nearly all did. They do where all garbage is looked for while a service answers its first requests: what is
 * written into a field meanwhile counts as alive. From then on, until the process ends, objects of each request stay until
 * the next such look, with all that they refer to, and are copied by every collection before. Copies and what constructors
 * make are not counted.
 */
import type { SpanContext, TraceState } from '@opentelemetry/api'

const NONE: readonly never[] = []
const ONE: readonly unknown[] = [undefined]
const TWO: readonly unknown[] = [undefined, undefined]
const NUMBERS: readonly number[] = [0, 0]

export function emptyList<T>(): T[] {
  return NONE.slice()
}

/** As long as it is: one that begins to grow takes room for seventeen. */
export function listOf<T>(one: T): T[] {
  const list = ONE.slice() as T[]
  list[0] = one
  return list
}

export function pairOf<T>(one: T, other: T): T[] {
  const list = TWO.slice() as T[]
  list[0] = one
  list[1] = other
  return list
}

/** Of integers. */
export function numbersOf(one: number, other: number): [number, number] {
  const list = NUMBERS.slice() as [number, number]
  list[0] = one
  list[1] = other
  return list
}

type SpanContextClass = new (
  traceId: string,
  spanId: string,
  traceFlags: number,
  traceState: TraceState | undefined,
) => SpanContext

/** To whoever looks at one, it is a plain object. */
export const PlainSpanContext = function plainSpanContext(
  this: { -readonly [K in keyof SpanContext]: SpanContext[K] },
  traceId: string,
  spanId: string,
  traceFlags: number,
  traceState: TraceState,
) {
  this.traceId = traceId
  this.spanId = spanId
  this.traceFlags = traceFlags
  this.traceState = traceState
} as unknown as SpanContextClass
PlainSpanContext.prototype = Object.prototype
