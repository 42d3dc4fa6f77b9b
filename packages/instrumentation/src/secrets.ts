/**
 * What stands in for values that must not leave the process: keyed fingerprints and commitments.
 *
 * `hmac-sha256:` and the hex of HMAC-SHA256 under one key for all services of a trust domain: equal values match
 * within the domain, and nobody outside it can try values out. A fingerprint is over the bytes of a token, a
 * commitment over the canonical JSON of a value.
 */
import { createHmac, createSecretKey, hash, type KeyObject, randomBytes } from 'node:crypto'
import { createCache } from './cache.ts'
import { canonicalJson } from './canonical.ts'

export interface Secrets {
  /** Of a token, an identifier, or other bytes. */
  fingerprint(value: string | Uint8Array): string
  /** Of any value; undefined when it is over the bounds of canonical.ts. */
  commit(value: unknown): string | undefined
}

/**
 * Fingerprints that are kept: the same tokens, subjects and inputs come again and again, and an HMAC costs as much as
 * all the rest of a fact. Their texts stay in memory, at most twice this many.
 */
const MAX_KNOWN = 1024
const MAX_KNOWN_LENGTH = 2048

export function createSecrets(key: Uint8Array = randomBytes(32)): Secrets {
  const secret: KeyObject = createSecretKey(key)
  const known = createCache<string, string>(MAX_KNOWN)
  const compute = (value: string | Uint8Array): string =>
    `hmac-sha256:${createHmac('sha256', secret).update(value).digest('hex')}`
  const fingerprint = (value: string | Uint8Array): string => {
    if (typeof value !== 'string' || value.length > MAX_KNOWN_LENGTH) return compute(value)
    let found = known.get(value)
    if (found === undefined) {
      found = compute(value)
      known.set(value, found)
    }
    return found
  }
  return {
    fingerprint,
    commit(value) {
      const text = canonicalJson(value)
      return text === undefined ? undefined : fingerprint(text)
    },
  }
}

/** Digest without a key, for what is no secret: policies, models, rules. `sha256:` and hex. */
export function digestOf(value: string | Uint8Array): string {
  return `sha256:${hash('sha256', value)}`
}
