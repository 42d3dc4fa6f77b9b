/**
 * The end of the process: what waits is sent on SIGTERM, SIGINT, an uncaught exception, and when nothing is left to do.
 *
 * What the process would have done without us it does: a signal or an exception that only we listen to still ends it,
 * in the same way, after at most `MAX_MILLIS` and `GOODBYE_MILLIS`. Until then the service serves on: what it does
 * comes before the goodbye, or is followed by another one. What waits then, and after `process.exit`, holds up for one
 * more second at most. Known holes: what has not ended, and, over OTLP/gRPC, what waits at that time. Where there is a
 * spool, all of it is in there when the process has ended.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from './log.ts'
import type { Runtime } from './runtime.ts'
import { within } from './time.ts'

interface Ending {
  flush(): Promise<void>
  /** Sends what waits, as `flush` does, once more. Governed spans are taken afterwards, too. */
  shutdown(): Promise<void>
}

/** How long an end is held up at most for what waits, and then for the goodbye. */
const MAX_MILLIS = 3000
const GOODBYE_MILLIS = 1000
/** Between goodbyes that were not the last. */
const PAUSE_MILLIS = 200

export function flushAtEnd(sdk: Ending, runtime: Pick<Runtime, 'continuity' | 'delivery' | 'log'>): void {
  const { continuity, log } = runtime
  let isOver = false
  /** The last thing in a process: nothing comes between it and the death that follows. */
  const close = (reason: string): void => {
    try {
      continuity.end(reason)
      runtime.delivery?.sendAtExit()
      runtime.delivery?.close()
    } catch (error) {
      log.failed('the end', error)
    }
  }
  /** Sends what waits, and says goodbye if that can be sent, too. */
  const finish = async (reason: string): Promise<void> => {
    if (isOver) return
    isOver = true
    const { delivery } = runtime
    let isTaken = false
    const sent = delivery?.flush().then((is) => {
      isTaken = is
    })
    await inTime(Promise.all([sdk.flush(), sent]), MAX_MILLIS, log)
    const end = Date.now() + GOODBYE_MILLIS
    // Nobody takes it, so that the goodbye needs no time: it goes into the spool with the last that there is.
    const isForSpool = delivery?.kind === 'spool' && !isTaken
    if (!isForSpool) continuity.end(reason)
    await inTime(sdk.shutdown(), GOODBYE_MILLIS, log)
    while (!isForSpool && continuity.hasMore && Date.now() + PAUSE_MILLIS < end) {
      await sleep(PAUSE_MILLIS)
      continuity.end(reason)
      await inTime(sdk.flush(), end - Date.now(), log)
    }
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const listener = (): void => {
      // The application has listeners of its own: it decides when to end, and may have more to record until then.
      if (process.listenerCount(signal) > 1 + tidyingListeners()) {
        void inTime(sdk.flush(), MAX_MILLIS, log)
        return
      }
      void finish(signal).then(() => {
        close(signal)
        process.removeListener(signal, listener)
        process.kill(process.pid, signal)
      })
    }
    process.on(signal, listener)
  }
  // After the listeners that the application has put there until then, which may record something.
  const closeAtExit = (reason: string): void => void process.once('exit', () => close(reason))
  const uncaught = (error: unknown): void => {
    if (process.listenerCount('uncaughtException') > 1) {
      void inTime(sdk.flush(), MAX_MILLIS, log)
      return
    }
    void finish('exception').then(() => {
      closeAtExit('exception')
      process.removeListener('uncaughtException', uncaught)
      setImmediate(() => {
        throw error
      })
    })
  }
  process.on('uncaughtException', uncaught)
  process.once('beforeExit', () => void finish('end').then(() => closeAtExit('end')))
  // `process.exit`, or the end of the above. What is written into the spool here is sent by another process.
  process.once('exit', () => {
    continuity.end('exit')
    // Else `close` does, which comes after listeners of the application.
    if (!isOver) runtime.delivery?.sendAtExit()
  })
}

/** Waits for `work`, and says if it fails. */
async function inTime(work: Promise<unknown>, millis: number, log: Log): Promise<void> {
  try {
    await within(work, millis, true)
  } catch (error) {
    log.failed('sending what waits', error)
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
