/** Tokens as an issuer would make them, apart from the libraries under test; and a look at what leaves a process. */
import { createHmac } from 'node:crypto'
import { expect } from 'vitest'
import type { Tap } from '../e2e/sdk.ts'

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A compact token, signed with HS256. */
export function sign(claims: object, key: string, header: object = { kid: 'key-1' }): string {
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', ...header })}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`
}

/** A token with other claims than were signed, and the signature of those that were. */
export function forge(token: string, claims: object): string {
  return token.replace(/(?<=\.).*(?=\.)/, encode(claims))
}

/** The claims of a good token of now, with `changed` ones. */
export function claimsOf(changed: object = {}): Record<string, unknown> & { exp: number; iat: number } {
  const now = Math.floor(Date.now() / 1000)
  return {
    iss: 'https://login.example.com',
    sub: 'alice',
    aud: 'orders',
    scope: 'orders:read orders:write',
    jti: 'token-1',
    iat: now,
    exp: now + 600,
    ...changed,
  }
}

/**
 * Fails if any of the secrets went over the wire in clear: whole, or in its parts if it is a token. `witness` is
 * something that must have: without it, an encoding that hides everything would pass.
 */
export function expectNothingLeaked(
  { sent }: Pick<Tap, 'sent'>,
  secrets: readonly string[],
  witness: string,
): void {
  const wire = sent()
  expect(wire.includes(witness), 'the tap sees what is sent').toBe(true)
  const parts = secrets.flatMap((secret) => [secret, ...secret.split('.')]).filter((part) => part.length >= 8)
  expect(parts.length).toBeGreaterThanOrEqual(secrets.length)
  expect(parts.filter((part) => wire.includes(part))).toEqual([])
}
