/** Facts of tokens that were verified before, made once for each token and what was found of it. */
import { createCache } from '../cache.ts'
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import { areShort, type Part, type Parts } from './prepared.ts'
import { isSame } from './values.ts'

/** Numbers of tokens whose facts are kept; at most twice as many, with two facts each. */
const MAX_KEPT = 1024
const MAX_KEPT_LENGTH = 4096
/** Characters at the end of a token by which it is looked up. */
const LAST = 6
/** Characters of a MAC of 32 bytes in base64url, and the point before it. */
const MAC_LENGTH = 44
/** A token as its issuer writes it: some libraries also take bytes before it, or between its characters. */
const WITH_MAC = /^[\w-]+\.[\w-]+\.[\w-]{43}$/
/** What was found of a token, beyond which its facts are not kept: parts, and their characters. */
const MAX_PARTS = 64
const MAX_CHARACTERS = 4096

/** What facts say beside what stands in the token: a bit each, or in words. */
type Found = Part | Parts

export interface VerifiedTokens {
  /**
   * The facts of a token that was accepted before, when the same was found of it. They are to be recorded once it is
   * accepted: a forged one with a MAC that is known finds them, too.
   */
  find(token: unknown, found: Found): PreparedToken | undefined
  /** Prepares facts of a token that a library has just accepted. They must follow from the token and from what was found. */
  keep(token: unknown, found: Found, facts: TokenFacts): PreparedToken
  /**
   * As `keep`, where the library has found the token's signature to be right, by the algorithm that its facts say, and
   * takes no signature of another algorithm than a token says, nor one by a key that is not for it.
   */
  keepSigned(token: unknown, found: Found, facts: TokenFacts): PreparedToken
}

export function verifiedTokens(recorder: Recorder): VerifiedTokens {
  const known = createCache<number, PreparedToken>(MAX_KEPT)
  const keep = (token: unknown, found: Found, facts: TokenFacts, algorithm?: string): PreparedToken => {
    const number = numberOf(token)
    if (typeof token !== 'string' || number === undefined || !isShort(found))
      return recorder.prepareToken(facts)
    const isMac = endsInMac(token, algorithm)
    const text = ownCopyOf(isMac ? token.slice(-MAC_LENGTH) : token)
    const kept = recorder.prepareToken(facts, text, isMac, found)
    // Two of each number: a token may be verified in two ways by turns.
    const earlier = known.get(number)
    if (earlier !== undefined) earlier.earlier = undefined
    kept.earlier = earlier
    known.set(number, kept)
    return kept
  }
  return {
    find(token, found) {
      const number = numberOf(token)
      if (number === undefined) return undefined
      const later = known.get(number)
      if (later === undefined || isOf(later, token, found)) return later
      const { earlier } = later
      return earlier !== undefined && isOf(earlier, token, found) ? earlier : undefined
    },
    keep: (token, found, facts) => keep(token, found, facts),
    keepSigned: (token, found, facts) => keep(token, found, facts, facts.authorization?.algorithm),
  }
}

function isOf(kept: PreparedToken, token: unknown, found: Found): boolean {
  const { text } = kept
  return (kept.isMac ? endsIn(token, text as string) : text === token) && isSame(kept.found, found)
}

/**
 * Whether a token that was found to be right can be told from all others by its MAC: one of HMAC with SHA-256 (RFC 7518,
 * 3.2). Two texts that are right with the same MAC are one, whatever their keys, or else SHA-256 has a collision; and of the
 * algorithms of JOSE no other ends in as few bytes, each with the keys that it is for. Not so for signatures: for a given
 * one, somebody who may choose a key can find one under which it is that of another text.
 */
function endsInMac(token: string, algorithm: string | undefined): boolean {
  return algorithm === 'HS256' && WITH_MAC.test(token)
}

/** By character: a token is mostly a part of its header, for which `endsWith`, or `===` of all of it, take far longer. */
function endsIn(token: unknown, ending: string): boolean {
  if (typeof token !== 'string') return false
  const begin = token.length - ending.length
  if (begin < 0) return false
  for (let at = 0; at < ending.length; at++)
    if (token.charCodeAt(begin + at) !== ending.charCodeAt(at)) return false
  return true
}

/** What is cut out of a text holds on to it, and takes the longer to compare with. */
function ownCopyOf(text: string): string {
  const copy = Buffer.from(text, 'latin1').toString('latin1')
  return copy === text ? copy : text
}

function isShort(found: Found): boolean {
  return areShort(typeof found === 'object' ? found : [found], MAX_PARTS, MAX_CHARACTERS)
}

/**
 * By the end of a token, which is of its signature and differs between nearly any two: to look one up by all of it, or by a
 * text that is cut out of it, costs as much as all else that is done for it. Undefined for what is not kept.
 */
function numberOf(token: unknown): number | undefined {
  if (typeof token !== 'string' || token.length > MAX_KEPT_LENGTH) return undefined
  let number = 0
  for (let at = Math.max(0, token.length - LAST); at < token.length; at++)
    number = Math.imul(number, 31) + token.charCodeAt(at)
  return number | 0
}
