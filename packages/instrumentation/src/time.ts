/** The clock of events. */
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
