/** Times as spans have them, the clock of events, and waiting for what may take too long. */
import type { HrTime } from '@opentelemetry/api'
import { numbersOf } from './short-lived.ts'

const NANOS = 1_000_000_000

/** Milliseconds, since 1970 or of a duration, as seconds and nanoseconds. */
export function timeOf(millis: number): HrTime {
  return carried(Math.trunc(millis / 1000), Math.round((millis % 1000) * 1_000_000))
}

export function sumOf(time: HrTime, duration: HrTime): HrTime {
  // By `at`, as in encode.ts.
  return carried(time.at(0)! + duration.at(0)!, time.at(1)! + duration.at(1)!)
}

/**
 * Less than two seconds of nanoseconds. Without branches: the rare one, where a second is full, would have the engine
 * throw away the code of all who call this.
 */
function carried(seconds: number, nanos: number): HrTime {
  const full = Number(nanos >= NANOS)
  return numbersOf(seconds + full, nanos - full * NANOS)
}

let lastMillis = 0
let lastTime: HrTime = [0, 0]

/**
 * The time of an event: whole milliseconds, as SDKs have the starts of spans, so that an event is not after a span that
 * began later within the same millisecond.
 */
export function now(): HrTime {
  const millis = Date.now()
  if (millis !== lastMillis) {
    lastMillis = millis
    lastTime = timeOf(millis)
  }
  return lastTime
}

/** Waits for `work`, but no longer than this, and rejects as it does. The process may end meanwhile unless it `isKept`. */
export async function within(work: Promise<unknown>, millis: number, isKept: boolean): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, millis)
    if (!isKept) timer.unref()
  })
  try {
    await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}
