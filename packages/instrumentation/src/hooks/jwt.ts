/** JSON Web Tokens as authorization facts, for all libraries that verify them (RFC 7519, 7800, 8693, 9068, 9396). */
import type { Authorization } from '../facts.ts'
import { type Fields, isBytes, isFields } from './values.ts'

export type Claims = Fields

/** Actors of an `act` chain that are named, and how many are counted. */
const MAX_ACTORS = 16
const MAX_DEPTH = 1024
/** Longer tokens are not looked into. */
const MAX_TOKEN = 64 << 10

/**
 * The artifact that a token is. `claims` only once the signature held: what an unsigned token says is nobody's word.
 */
export function jwtArtifact(
  token: unknown,
  header: Claims | undefined,
  claims: Claims | undefined,
): Authorization {
  const { actors, depth } = delegationOf(claims?.act)
  return {
    token: typeof token === 'string' || isBytes(token) ? token : undefined,
    type: 'jwt',
    algorithm: text(header?.alg),
    keyId: text(header?.kid),
    id: text(claims?.jti),
    issuer: text(claims?.iss),
    subject: text(claims?.sub),
    clientId: text(claims?.client_id) ?? text(claims?.azp),
    audience: texts(claims?.aud),
    scope: scopeOf(claims),
    details: claims?.authorization_details,
    issuedAt: number(claims?.iat),
    notBefore: number(claims?.nbf),
    expiresAt: number(claims?.exp),
    confirmation: confirmationOf(claims?.cnf),
    transactionId: text(claims?.txn),
    actorChain: actors.length > 0 ? actors : undefined,
    delegationDepth: depth,
  }
}

/** Checks that the options of a verification ask for, a bit each. Those from `OTHER` on are a library's own. */
export const Check = {
  algorithm: 1,
  audience: 2,
  issuer: 4,
  subject: 8,
  type: 16,
  age: 32,
  OTHER: 64,
} as const

const CHECKS = ['algorithm', 'audience', 'issuer', 'subject', 'type', 'age'] as const

/** The names that checks have in a verification. */
export function checkNames(asked: number): string[] {
  return CHECKS.filter((name) => (asked & Check[name]) !== 0)
}

/** Header and payload of a compact token, unverified; undefined where they cannot be read. */
export function peekJwt(token: unknown): { header: Claims | undefined; claims: Claims | undefined } {
  if (typeof token !== 'string' || token.length > MAX_TOKEN) return { header: undefined, claims: undefined }
  const [header, payload] = token.split('.', 2)
  return { header: decode(header), claims: decode(payload) }
}

/** By the look of a token alone: an access token is opaque to most who hold it. */
export function tokenType(token: string | undefined): 'jwt' | 'opaque' | undefined {
  if (token === undefined) return undefined
  return peekJwt(token).header?.alg === undefined ? 'opaque' : 'jwt'
}

function decode(part: string | undefined): Claims | undefined {
  if (part === undefined) return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'))
    return isFields(value) ? value : undefined
  } catch {
    return undefined
  }
}

/** `scope` (RFC 8693), and beside it `scp` and `permissions` as identity providers have them: Auth0 gives two. */
function scopeOf(claims: Claims | undefined): readonly string[] | undefined {
  const { scope, scp, permissions } = claims ?? {}
  const given = [scope, scp, permissions].map((one) =>
    typeof one === 'string' ? one.split(' ') : texts(one),
  )
  if (given.every((one) => one === undefined)) return undefined
  return [...new Set(given.flatMap((one) => one ?? []))].filter((word) => word !== '')
}

/** RFC 7800: `jkt` is DPoP's (RFC 9449), `x5t#S256` a certificate's (RFC 8705). */
function confirmationOf(cnf: unknown): Authorization['confirmation'] {
  if (cnf === undefined) return undefined
  if (!isFields(cnf)) return undefined
  if (cnf.jkt !== undefined) return 'dpop'
  return cnf['x5t#S256'] === undefined ? 'pop' : 'mtls'
}

/**
 * RFC 8693, 4.1: the current actor, then those before it, up to the first without a name. The depth counts those too; it
 * is undefined without any, and where the chain is too long or ends in something else than an actor.
 */
function delegationOf(act: unknown): { readonly actors: string[]; readonly depth: number | undefined } {
  const actors: string[] = []
  let depth = 0
  let one = act
  for (; isFields(one) && depth < MAX_DEPTH; one = one.act) {
    const subject = text(one.sub) ?? text(one.client_id)
    if (subject !== undefined && actors.length === depth && depth < MAX_ACTORS) actors.push(subject)
    depth++
  }
  return { actors, depth: one === undefined && depth > 0 ? depth : undefined }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function texts(value: unknown): readonly string[] | undefined {
  if (typeof value === 'string') return [value]
  return Array.isArray(value) ? value.filter((one) => typeof one === 'string') : undefined
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined
}
