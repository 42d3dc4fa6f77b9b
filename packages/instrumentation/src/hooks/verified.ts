/** Facts of tokens that were verified before, made once for each token and what was found of it. */
import type { Authorization, Verification } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import type { Parts } from './prepared.ts'
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
type Found = number | Parts

interface Verified {
  readonly token: unknown
  readonly found: Found
  readonly facts: PreparedToken
  /** That before it in the same place: a token may be verified in two ways by turns. */
  readonly other: Verified | undefined
}

export interface VerifiedFacts {
  /** Undefined where another hook records it. */
  readonly authorization?: Authorization
  readonly verification: Verification
}

export interface VerifiedTokens {
  /** Looks a token up before it is known whether it will be accepted once more. */
  find(token: unknown, found: Found): PreparedToken | undefined
  /**
   * Records a token that a library has just accepted. `make` is called where its facts are not known: they must follow from
   * the token and from what was found. False where it gave none: nothing was recorded.
   */
  accept(token: unknown, found: Found, make: () => VerifiedFacts | undefined): boolean
}

export function verifiedTokens(recorder: Recorder): VerifiedTokens {
  const known: (Verified | undefined)[] = new Array<undefined>(PLACES).fill(undefined)
  const findIn = (place: number, token: unknown, found: Found): PreparedToken | undefined => {
    if (place === NOWHERE) return undefined
    for (let kept = known[place]; kept !== undefined; kept = kept.other)
      if (kept.token === token && isSame(kept.found, found)) return kept.facts
    return undefined
  }
  const keep = (place: number, token: unknown, found: Found, made: VerifiedFacts): PreparedToken => {
    const { authorization, verification } = made
    const facts = recorder.prepareToken(authorization, verification)
    if (place === NOWHERE || !isShort(found)) return facts
    const last = known[place]
    const other = last && { ...last, other: undefined }
    known[place] = { token: ownCopyOf(token), found, facts, other }
    return facts
  }
  return {
    find: (token, found) => findIn(placeOf(token), token, found),
    accept(token, found, make) {
      const place = placeOf(token)
      let facts = findIn(place, token, found)
      if (facts === undefined) {
        const made = make()
        if (made === undefined) return false
        facts = keep(place, token, found, made)
      }
      recorder.verified(facts)
      return true
    },
  }
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
  if (typeof found === 'number') return true
  if (found.length > MAX_PARTS) return false
  let characters = 0
  for (const part of found) if (typeof part === 'string') characters += part.length
  return characters <= MAX_CHARACTERS
}

const NOWHERE = -1

/**
 * By the end of a token, which is of its signature and differs between any two: to look one up by all of it, or by a text
 * that is cut out of it, costs as much as all else that is done for it.
 */
function placeOf(token: unknown): number {
  if (typeof token !== 'string' || token.length > MAX_KEPT_LENGTH) return NOWHERE
  let number = 0
  for (let at = Math.max(0, token.length - LAST); at < token.length; at++)
    number = Math.imul(number, 31) + token.charCodeAt(at)
  return number & (PLACES - 1)
}
