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
  if (known === undefined || parts === undefined || parts.length > MAX_PARTS) return make()
  let number = 0
  for (const part of parts) number = mixed(number, part)
  const kept = known.get(number)
  if (kept !== undefined && areSame(kept.parts, parts)) return kept.fact
  return keepDecision(recorder, known, number, parts, make())
}

/** Keeps a decision, if `parts` are there and short, and returns what is to be recorded. */
export function keepDecision(
  recorder: Recorder,
  known: PreparedDecisions,
  number: number,
  parts: Parts | undefined,
  decision: Decision,
): Decision | PreparedDecision {
  if (parts === undefined || !areShort(parts, MAX_PARTS, MAX_CHARACTERS)) return decision
  const fact = recorder.prepareDecision(decision)
  known.set(number, { parts, fact })
  return fact
}

/** Whether there are so many parts, with so many characters, at most. */
export function areShort(parts: Parts, maxParts: number, maxCharacters: number): boolean {
  if (parts.length > maxParts) return false
  let characters = 0
  for (const part of parts) if (typeof part === 'string') characters += part.length
  return characters <= maxCharacters
}

/** A number of 32 bits (FNV-1a) with one more part in it. */
export function mixed(number: number, part: unknown): number {
  if (typeof part === 'number') return step(number, part ^ (part * 2 ** 20))
  if (typeof part === 'boolean') return step(number, part ? 1 : 2)
  if (typeof part !== 'string') return number
  // What is longer is not kept.
  const end = Math.min(part.length, MAX_CHARACTERS)
  let more = step(number, part.length)
  for (let at = 0; at < end; at++) more = step(more, part.charCodeAt(at))
  return more
}

function step(number: number, more: number): number {
  return Math.imul(number ^ more, 0x01000193)
}
