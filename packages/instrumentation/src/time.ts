/** The clock of events, and waiting for what may take too long. */
import type { HrTime } from '@opentelemetry/api'

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
    lastTime = [Math.floor(millis / 1000), (millis % 1000) * 1_000_000]
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
