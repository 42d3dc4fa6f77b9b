/**
 * What is done to a span right before it ends, while it can still be written.
 *
 * The SDK's own `onEnding` is experimental and later than some SDKs in use, so the `end` of the spans' class is wrapped
 * instead: it is the same place for every version. It is wrapped once, and not for each span: a class whose instances
 * have members of their own makes the SDK itself slower.
 */
import type { Span } from '@opentelemetry/api'
import { ownerOf } from './hooks/owner.ts'
import type { Log } from './log.ts'
import { listOf } from './short-lived.ts'
import { knownStateOf, type SpanState, stateOf } from './span-state.ts'

export type Task = (span: Span) => void

export interface Endings {
  /** Runs `task` when the span ends, in the order in which tasks were added. Nothing happens on a span that ended. */
  before(span: Span, task: Task): void
  /** Runs `task` after all of those, also such as they add. A span has one: the first that is given. */
  last(span: Span, task: Task): void
}

export function createEndings(log: Log): Endings {
  const watchedState = (span: Span): SpanState => {
    const state = stateOf(span)
    if (state.tasks === undefined && state.lastTask === undefined) watch(span, log)
    return state
  }
  return {
    before(span, task) {
      const state = watchedState(span)
      if (state.tasks === undefined) state.tasks = listOf(task)
      else state.tasks.push(task)
    },
    last(span, task) {
      watchedState(span).lastTask ??= task
    },
  }
}

type End = Span['end']

/** Ends that run tasks first; the one that was met last is by far the most frequent. */
const watched = new WeakSet<End>()
let last: End | undefined

/** Sees to it that the span's tasks run. */
function watch(span: Span, log: Log): void {
  const { end } = span
  if (end === last) return
  if (!watched.has(end)) {
    const owner = ownerOf(span, 'end') ?? span
    const descriptor = Object.getOwnPropertyDescriptor(owner, 'end')
    const isOpen = descriptor?.configurable !== false
    Object.defineProperty(isOpen ? owner : span, 'end', {
      configurable: true,
      writable: true,
      enumerable: descriptor?.enumerable ?? false,
      value: ending(end, log),
    })
  }
  last = span.end
}

function ending(end: End, log: Log): End {
  const wrapped = function ending(this: Span, ...args: Parameters<End>): void {
    runTasks(this, log)
    end.apply(this, args)
  }
  watched.add(wrapped)
  return wrapped
}

function runTasks(span: Span, log: Log): void {
  try {
    const state = knownStateOf(span)
    if (state === undefined) return
    // Tasks may add tasks, also after the first round where an `end` within this one runs them.
    for (;;) {
      const task = nextTask(state)
      if (task === undefined || !span.isRecording()) return
      try {
        task(span)
      } catch (error) {
        log.failed('a task at the end of a span', error)
      }
    }
  } catch (error) {
    log.failed('the end of a span', error)
  }
}

function nextTask(state: SpanState): Task | undefined {
  const { tasks, lastTask } = state
  if (tasks !== undefined && state.done < tasks.length) return tasks[state.done++]
  state.lastTask = undefined
  return lastTask
}
