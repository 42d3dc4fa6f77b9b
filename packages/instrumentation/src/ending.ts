/**
 * What is done to a span right before it ends, while it can still be written.
 *
 * The SDK's own `onEnding` is experimental and later than some SDKs in use, so the span's `end` is wrapped instead: it
 * is the same place for every version.
 */
import type { Span } from '@opentelemetry/api'
import type { Log } from './log.ts'
import { stateOf } from './span-state.ts'

export type Task = (span: Span) => void

export interface Endings {
  /** Runs `task` when the span ends, in the order in which tasks were added. Nothing happens on a span that ended. */
  before(span: Span, task: Task): void
}

export function createEndings(log: Log): Endings {
  return {
    before(span, task) {
      const state = stateOf(span)
      if (state.tasks !== undefined) {
        state.tasks.push(task)
        return
      }
      const tasks = [task]
      state.tasks = tasks
      const { end } = span
      span.end = function ending(this: Span, ...args: Parameters<Span['end']>) {
        span.end = end
        // Tasks may add tasks.
        for (let at = 0; at < tasks.length && span.isRecording(); at++)
          try {
            tasks[at]!(span)
          } catch (error) {
            log.failed('a task at the end of a span', error)
          }
        return end.apply(this, args)
      }
    },
  }
}
