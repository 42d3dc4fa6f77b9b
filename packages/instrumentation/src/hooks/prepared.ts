/**
 * Decisions that come again and again, made once.
 *
 * They are found by a number that is computed from what they are about, and told apart by that itself. A text that says
 * it all would have to be put together first, which takes longer than all of this.
 */
import type { Cache } from '../cache.ts'
import type { PreparedDecision } from '../fact-event.ts'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { areSame } from './values.ts'

/** What is kept of one engine or policy; it stays in memory, at most twice as many. */
export const MAX_PREPARED = 512
/** Parts, and their characters, beyond which a decision is not kept: such requests are read each time. */
const MAX_PARTS = 64
const MAX_CHARACTERS = 512

/** A member of what a decision is about; no NaN. */
export type Part = string | number | boolean | undefined
/** All that a decision is about, so that no two that differ have the same. */
export type Parts = readonly Part[]

interface Kept {
  readonly parts: Parts
  readonly fact: PreparedDecision
}

/** By the number of their parts; the last one of two that have the same. */
export type PreparedDecisions = Cache<number, Kept>

/** The decision of which `parts` are all that `make` looks at; without them, it is made each time. */
export function preparedDecision(
  recorder: Recorder,
  known: PreparedDecisions | undefined,
  parts: Parts | undefined,
  make: () => Decision,
): Decision | PreparedDecision {
  if (known === undefined || parts === undefined) return make()
  const number = numberOf(parts)
  if (number === undefined) return make()
  const kept = known.get(number)
  if (kept !== undefined && areSame(kept.parts, parts)) return kept.fact
  const fact = recorder.prepareDecision(make())
  known.set(number, { parts, fact })
  return fact
}

/** 32 bits by FNV-1a; undefined where there is too much. */
function numberOf(parts: Parts): number | undefined {
  if (parts.length > MAX_PARTS) return undefined
  let number = 0x811c9dc5
  let left = MAX_CHARACTERS
  for (const part of parts)
    if (typeof part === 'string') {
      left -= part.length
      if (left < 0) return undefined
      for (let at = 0; at < part.length; at++) number = mixed(number, part.charCodeAt(at))
    } else if (typeof part === 'number') number = mixed(number, part ^ (part * 2 ** 20))
    else if (part === true) number = mixed(number, 1)
  return number
}

function mixed(number: number, more: number): number {
  return Math.imul(number ^ more, 0x01000193)
}
