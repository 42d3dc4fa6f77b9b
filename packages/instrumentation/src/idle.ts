/** What hooks do when the event loop is idle, and at the latest before the process ends. */
import { AsyncResource } from 'node:async_hooks'
import type { Log } from './log.ts'

export interface Idle {
  /** Runs `task` in the context of the caller, once what runs now has ended. */
  later(task: () => void): void
  /** Runs all that is left at once. */
  flush(): void
}

export function createIdle(log: Log): Idle {
  const waiting = new Set<() => void>()
  return {
    later(task) {
      const run = AsyncResource.bind(() => {
        if (!waiting.delete(run)) return
        try {
          task()
        } catch (error) {
          log.failed('a hook', error)
        }
      })
      waiting.add(run)
      setImmediate(run).unref()
    },
    flush() {
      for (const run of [...waiting]) run()
    },
  }
}
