/**
 * What stands in for values that must not leave the process: keyed fingerprints and commitments.
 *
 * `hmac-sha256:` and the hex of HMAC-SHA256 under one key for all services of a trust domain: equal values match
 * within the domain, and nobody outside it can try values out. A fingerprint is over the bytes of a token, a
 * commitment over the canonical JSON of a value.
 */
import { createHash, createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { canonicalJson } from './canonical.ts'

export interface Secrets {
  /** Of a token, an identifier, or other bytes. */
  fingerprint(value: string | Uint8Array): string
  /** Of any value; undefined when it is over the bounds of canonical.ts. */
  commit(value: unknown): string | undefined
}

export function createSecrets(key: Uint8Array = randomBytes(32)): Secrets {
  const secret: KeyObject = createSecretKey(key)
  const fingerprint = (value: string | Uint8Array): string =>
    `hmac-sha256:${createHmac('sha256', secret).update(value).digest('hex')}`
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
  return `sha256:${createHash('sha256').update(value).digest('hex')}`
}
