/**
 * The state machine of an execution (docs/audit/rules.md): which state may follow which, and in which state the part of
 * the execution that a span belongs to was at a time.
 *
 * States are what transitions of the type `state` say, and `governance.execution.state` on the span that a request began
 * with, which holds from its end. They belong to the nearest request at or above the span that says them, or to its root.
 */
import { nearest } from './descend.ts'
import type { Transition } from './facts.ts'
import { type Node, SKEW } from './model.ts'
import { oncePerExecution, type Subject } from './rule.ts'

/** Which states may follow each; `overridden` may follow any that is not sealed. */
export const NEXT_STATES: Readonly<Record<string, readonly string[]>> = {
  requested: ['authorized', 'refused'],
  authorized: ['permitted', 'awaiting_approval', 'refused'],
  permitted: ['executing', 'awaiting_approval', 'refused'],
  awaiting_approval: ['permitted', 'executing', 'refused', 'aborted', 'revoked', 'expired'],
  executing: [
    ...['suspended', 'awaiting_approval', 'completed'],
    ...['failed', 'aborted', 'revoked', 'expired', 'abandoned'],
  ],
  suspended: ['executing', 'failed', 'aborted', 'revoked', 'expired', 'abandoned'],
  completed: ['sealed'],
  refused: ['sealed'],
  failed: ['sealed'],
  aborted: ['sealed'],
  revoked: ['sealed'],
  expired: ['sealed'],
  abandoned: ['sealed'],
  sealed: [],
  // A human has decided: whatever comes next.
  overridden: [
    ...['permitted', 'executing', 'awaiting_approval', 'suspended', 'completed', 'refused'],
    ...['failed', 'aborted', 'revoked', 'expired', 'abandoned', 'sealed'],
  ],
}

/** Nothing runs any more in these. */
export const TERMINAL: ReadonlySet<string> = new Set([
  ...['completed', 'refused', 'failed', 'aborted', 'revoked', 'expired', 'abandoned', 'sealed'],
])

/** Nothing may run until somebody lets it. */
export const HELD: ReadonlySet<string> = new Set(['awaiting_approval', 'suspended'])

export function isState(name: string): boolean {
  return Object.hasOwn(NEXT_STATES, name)
}

/** Whether `to` may follow `from`, both of them states. A human may override anything but what is sealed. */
export function mayFollow(from: string, to: string): boolean {
  return from === to || NEXT_STATES[from]!.includes(to) || (to === 'overridden' && from !== 'sealed')
}

/** What made a state. */
export interface StateChange {
  readonly state: string
  /** Nanoseconds since 1970. */
  readonly at: bigint
  readonly on: Node
  readonly subject: Subject
  /** Undefined where a request's own attribute says it. */
  readonly transition: Transition | undefined
}

/** States of one part of an execution, in the order of their times. */
export type Timeline = readonly StateChange[]

export interface States {
  /** All timelines, in the log order of what they belong to. */
  readonly timelines: readonly Timeline[]
  /** The nearest timeline at or above a span. */
  of(node: Node): Timeline | undefined
}

/** Linear, but for sorting. Without any states it costs one look at the requests. */
export const statesOf = oncePerExecution((execution): States => {
  const changes: StateChange[] = []
  for (const transition of execution.transitions) {
    const { type, to, at, on } = transition
    if (type === 'state' && to !== undefined && isState(to))
      changes.push({ state: to, at, on, subject: transition, transition })
  }
  for (const { state, on } of execution.requests)
    if (state !== undefined && isState(state))
      changes.push({ state, at: on.end, on, subject: on, transition: undefined })
  if (changes.length === 0) return NO_STATES

  const owners = nearest(
    execution.spans,
    ({ request, parent }) => request !== undefined || parent === undefined,
  )
  const byOwner = new Map<Node, StateChange[]>()
  for (const change of changes) {
    const owner = owners[change.on.place]!
    const timeline = byOwner.get(owner)
    if (timeline === undefined) byOwner.set(owner, [change])
    else timeline.push(change)
  }
  for (const timeline of byOwner.values())
    timeline.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.on.place - b.on.place))
  const nearestOwner = nearest(execution.spans, (node) => byOwner.has(node))
  return {
    timelines: [...byOwner].sort(([a], [b]) => a.place - b.place).map(([, timeline]) => timeline),
    of: (node) => {
      const owner = nearestOwner[node.place]
      return owner === undefined ? undefined : byOwner.get(owner)
    },
  }
})

const NO_STATES: States = { timelines: [], of: () => undefined }

/** Times of one process that are closer than this say no order: nanoseconds. Some SDKs round to a millisecond. */
const ONE_CLOCK = 5_000_000n

/** How far apart two spans' times must be to prove an order. */
export function toleranceOf(a: Node, b: Node): bigint {
  return a.service === b.service && a.emitter?.id === b.emitter?.id ? ONE_CLOCK : SKEW
}

/** The last change of a timeline that was certainly before `time` of a span, and the one after it. */
export function stateBefore(
  timeline: Timeline,
  node: Node,
  time: bigint,
): { readonly last: StateChange; readonly next: StateChange | undefined } | undefined {
  let low = 0
  let high = timeline.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (timeline[middle]!.at < time) low = middle + 1
    else high = middle
  }
  const last = timeline[low - 1]
  return last === undefined || time - last.at <= toleranceOf(last.on, node)
    ? undefined
    : { last, next: timeline[low] }
}
