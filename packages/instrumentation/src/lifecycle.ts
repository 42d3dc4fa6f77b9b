/**
 * The end of the process: what waits is sent on SIGTERM, SIGINT, an uncaught exception, and when nothing is left to do.
 *
 * What the process would have done without us it does: a signal or an exception that only we listen to still ends it,
 * in the same way, after at most `MAX_MILLIS`. Known hole: `process.exit` leaves no time to send what is not spooled.
 * Where there is a spool, what has not ended is in it, too, when the process has.
 */
import type { Continuity } from './continuity.ts'
import type { Log } from './log.ts'

interface Ending {
  flush(): Promise<void>
  shutdown(): Promise<void>
}

/** How long an end is held up at most. */
const MAX_MILLIS = 3000

export function flushAtEnd(sdk: Ending, continuity: Pick<Continuity, 'end'>, log: Log): void {
  let isOver = false
  /** The last thing: nothing is recorded afterwards. */
  const finish = async (reason: string): Promise<void> => {
    if (isOver) return
    isOver = true
    continuity.end(reason)
    await within(sdk.shutdown(), log)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const listener = (): void => {
      // The application has listeners of its own: it decides when to end, and may have more to record until then.
      if (process.listenerCount(signal) > 1 + tidyingListeners()) {
        void within(sdk.flush(), log)
        return
      }
      void finish(signal).then(() => {
        process.removeListener(signal, listener)
        process.kill(process.pid, signal)
      })
    }
    process.on(signal, listener)
  }
  const uncaught = (error: unknown): void => {
    if (process.listenerCount('uncaughtException') > 1) {
      void within(sdk.flush(), log)
      return
    }
    void finish('exception').then(() => {
      process.removeListener('uncaughtException', uncaught)
      setImmediate(() => {
        throw error
      })
    })
  }
  process.on('uncaughtException', uncaught)
  process.once('beforeExit', () => void finish('end'))
  // `process.exit` leaves no time to send; what is written into the spool here is sent by another process.
  process.once('exit', () => continuity.end('exit'))
}

async function within(work: Promise<unknown>, log: Log): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, MAX_MILLIS)
  })
  try {
    await Promise.race([work, late])
  } catch (error) {
    log.failed('sending what waits', error)
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Listeners of signal-exit (3 and 4), which many packages bring: it tidies up and lets the signal end the process, but
 * only if nobody else listens. Counting it as the application's own, both would wait for the other.
 */
function tidyingListeners(): number {
  const { __signal_exit_emitter__: third } = process as { __signal_exit_emitter__?: { count?: unknown } }
  const fourth = (globalThis as Record<symbol, { count?: unknown } | undefined>)[
    Symbol.for('signal-exit emitter')
  ]
  return [third, fourth].reduce((sum, one) => sum + (typeof one?.count === 'number' ? one.count : 0), 0)
}
