/** Facts of tokens that were verified before, made once for each token and kind of check. */
import { type Cache, createCache } from '../cache.ts'
import type { PreparedFact } from '../fact-event.ts'
import type { Authorization, Verification } from '../facts.ts'
import type { Recorder } from '../recorder.ts'

/** Tokens whose facts are kept; they stay in memory, at most twice as many. */
const MAX_KEPT = 512
const MAX_KEPT_LENGTH = 4096
const KEY_LENGTH = 12

interface Verified {
  readonly token: unknown
  /** What was asked to be checked, a bit each. */
  readonly asked: number
  readonly artifact: PreparedFact<Authorization>
  readonly verification: PreparedFact<Verification>
}

export interface VerifiedFacts {
  readonly authorization: Authorization
  readonly verification: Verification
}

/**
 * Records a token that a library has just accepted. `make` is called where its facts are not known: they must follow from
 * the token and from what was asked, and those of a token that is asked about otherwise have the same authorization.
 * False where it gave none: nothing was recorded.
 */
export type RecordVerified = (token: unknown, asked: number, make: () => VerifiedFacts | undefined) => boolean

export function recordVerified(recorder: Recorder): RecordVerified {
  const known: Cache<string, Verified> = createCache(MAX_KEPT)
  const factsOf = (
    token: unknown,
    asked: number,
    make: () => VerifiedFacts | undefined,
  ): Verified | undefined => {
    const key = keyOf(token)
    const kept = key === undefined ? undefined : known.get(key)
    const same = kept?.token === token ? kept : undefined
    if (same?.asked === asked) return same
    const made = make()
    if (made === undefined) return undefined
    const { authorization, verification } = made
    const facts = {
      token,
      asked,
      artifact: same?.artifact ?? recorder.prepare('authorization', authorization),
      verification: recorder.prepare('verification', verification),
    }
    if (key !== undefined) known.set(key, facts)
    return facts
  }
  return (token, asked, make) => {
    const facts = factsOf(token, asked, make)
    if (facts === undefined) return false
    recorder.verified(facts.artifact, facts.verification)
    return true
  }
}

/**
 * The end of a token, which is of its signature and differs between any two: to look a whole one up costs as much as all
 * else that is done for it.
 */
function keyOf(token: unknown): string | undefined {
  return typeof token === 'string' && token.length <= MAX_KEPT_LENGTH ? token.slice(-KEY_LENGTH) : undefined
}
