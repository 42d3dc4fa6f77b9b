/** Decisions that come again and again, made once. */
import type { Cache } from '../cache.ts'
import type { PreparedFact } from '../fact-event.ts'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'

/** What is kept of one engine or policy; it stays in memory, at most twice as many. */
export const MAX_PREPARED = 512
/** Keys that are longer than this are not worth one: such requests are read each time. */
export const MAX_KEY_LENGTH = 512

export type PreparedDecisions = Cache<string, PreparedFact<Decision>>

/** The decision under `key`, which stands for all that `make` looks at; one that has no key is made each time. */
export function preparedDecision(
  recorder: Recorder,
  known: PreparedDecisions | undefined,
  key: string | undefined,
  make: () => Decision,
): Decision | PreparedFact<Decision> {
  if (known === undefined || key === undefined) return make()
  let prepared = known.get(key)
  if (prepared === undefined) {
    prepared = recorder.prepare('decision', make())
    known.set(key, prepared)
  }
  return prepared
}
