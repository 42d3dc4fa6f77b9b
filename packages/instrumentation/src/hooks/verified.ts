/** Facts of tokens that were verified before, made once for each token and what was found of it. */
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import type { Part, Parts } from './prepared.ts'
import { isSame } from './values.ts'

/** Tokens whose facts are kept; at most twice as many. */
const PLACES = 1024
const MAX_KEPT_LENGTH = 4096
/** Characters at the end of a token that say its place. */
const LAST = 6
/** What was found of a token, beyond which its facts are not kept: parts, and their characters. */
const MAX_PARTS = 64
const MAX_CHARACTERS = 4096

/** What facts say beside what stands in the token: a bit each, or in words. */
type Found = Part | Parts

export interface VerifiedTokens {
  /** The facts of a token that was accepted before, when the same was found of it. */
  find(token: unknown, found: Found): PreparedToken | undefined
  /** Prepares facts of a token that a library has just accepted. They must follow from the token and from what was found. */
  keep(token: unknown, found: Found, facts: TokenFacts): PreparedToken
}

export function verifiedTokens(recorder: Recorder): VerifiedTokens {
  /** Two for each place, the later one first: a token may be verified in two ways by turns. */
  const known: (PreparedToken | undefined)[] = new Array<undefined>(2 * PLACES).fill(undefined)
  return {
    find(token, found) {
      const place = placeOf(token)
      if (place === NOWHERE) return undefined
      const later = known[place]
      if (later === undefined || isOf(later, token, found)) return later
      const earlier = known[place + 1]
      return earlier !== undefined && isOf(earlier, token, found) ? earlier : undefined
    },
    keep(token, found, facts) {
      const place = placeOf(token)
      if (place === NOWHERE || !isShort(found)) return recorder.prepareToken(facts)
      const kept = recorder.prepareToken(facts, ownCopyOf(token), found)
      known[place + 1] = known[place]
      known[place] = kept
      return kept
    },
  }
}

function isOf(kept: PreparedToken, token: unknown, found: Found): boolean {
  return kept.token === token && isSame(kept.found, found)
}

/**
 * Mostly a part that was cut out of a header, which such a text holds on to, and which takes the longer to compare with.
 */
function ownCopyOf(token: unknown): unknown {
  if (typeof token !== 'string' || token.length > MAX_KEPT_LENGTH) return token
  const copy = Buffer.from(token, 'latin1').toString('latin1')
  return copy === token ? copy : token
}

function isShort(found: Found): boolean {
  const parts = typeof found === 'object' ? found : [found]
  if (parts.length > MAX_PARTS) return false
  let characters = 0
  for (const part of parts) if (typeof part === 'string') characters += part.length
  return characters <= MAX_CHARACTERS
}

const NOWHERE = -1

/**
 * The first of two places in a row. By the end of a token, which is of its signature and differs between any two: to look
 * one up by all of it, or by a text that is cut out of it, costs as much as all else that is done for it.
 */
function placeOf(token: unknown): number {
  if (typeof token !== 'string' || token.length > MAX_KEPT_LENGTH) return NOWHERE
  let number = 0
  for (let at = Math.max(0, token.length - LAST); at < token.length; at++)
    number = Math.imul(number, 31) + token.charCodeAt(at)
  return 2 * (number & (PLACES - 1))
}
