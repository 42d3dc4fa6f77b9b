/**
 * jsonwebtoken: `verify`, synchronous and with a callback. express-jwt and many others go through it.
 *
 * Each call gives the token as an authorization, and a verification of it with what was checked and why it failed.
 */
import { type Cache, createCache } from '../cache.ts'
import type { Authorization } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import type { Hook } from './hook.ts'
import { isClaims, jwtArtifact, peekJwt } from './jwt.ts'
import type { CallOutcome } from './observe.ts'

/** Verified tokens that are not read again; they stay in memory, at most twice as many. */
const MAX_KEPT = 512
const MAX_KEPT_LENGTH = 4096

export const jsonwebtokenHook: Hook = {
  library: 'jsonwebtoken',
  versions: { from: '8.0.0', before: '10.0.0' },
  patch(library, recorder) {
    const verified = createCache<string, Authorization>(MAX_KEPT)
    library.observe(
      'verify',
      ({ args: [token, , options] }) =>
        (outcome) =>
          record(recorder, verified, token, isClaims(options) ? options : {}, outcome),
      { callback: true },
    )
  },
}

function record(
  recorder: Recorder,
  verified: Cache<string, Authorization>,
  token: unknown,
  options: Readonly<Record<string, unknown>>,
  outcome: CallOutcome,
): void {
  const reason = outcome.ok ? undefined : reasonOf(outcome.error)
  const isJudged = reason !== 'key_unavailable' && reason !== 'misuse'
  const artifact = outcome.ok ? verifiedOf(token, verified) : refusedOf(token, reason!, isJudged)
  recorder.authorization(artifact)
  recorder.verification({
    type: 'credential',
    result: outcome.ok ? 'pass' : isJudged ? 'fail' : 'unknown',
    method: 'jsonwebtoken.verify',
    reason,
    checks: outcome.ok ? checksOf(options, artifact) : undefined,
    token: typeof token === 'string' ? token : undefined,
  })
}

/** A verified token as a fact, made once for each. */
function verifiedOf(token: unknown, verified: Cache<string, Authorization>): Authorization {
  const isKept = typeof token === 'string' && token.length <= MAX_KEPT_LENGTH
  const known = isKept ? verified.get(token) : undefined
  if (known !== undefined) return known
  const { header, claims } = peekJwt(token)
  const fact = Object.freeze<Authorization>({
    ...jwtArtifact(token, header, claims),
    verification: 'verified',
  })
  if (isKept) verified.set(token, fact)
  return fact
}

function refusedOf(token: unknown, reason: string, isJudged: boolean): Authorization {
  const { header, claims } = peekJwt(token)
  return {
    ...jwtArtifact(token, header, AFTER_SIGNATURE.has(reason) ? claims : undefined),
    verification: isJudged ? 'failed' : 'unverified',
    status: reason === 'expired' ? 'expired' : undefined,
  }
}

/** What `verify` looks at only once the signature holds, in verify.js. */
const AFTER_SIGNATURE: ReadonlySet<string> = new Set([
  'expired',
  'not_active',
  'audience_mismatch',
  'issuer_mismatch',
  'subject_mismatch',
  'id_mismatch',
  'nonce_mismatch',
  'too_old',
])

/** Beginnings of the messages of jsonwebtoken's errors; the rest of a message may quote the token. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^jwt expired/, 'expired'],
  [/^jwt not active/, 'not_active'],
  [/^invalid signature/, 'invalid_signature'],
  [/^jwt signature is required/, 'signature_missing'],
  [/^jwt must be provided/, 'token_missing'],
  [/^(?:jwt must be a string|jwt malformed|invalid token)/, 'malformed'],
  [/^invalid algorithm/, 'algorithm_not_allowed'],
  [/^jwt audience invalid/, 'audience_mismatch'],
  [/^jwt issuer invalid/, 'issuer_mismatch'],
  [/^jwt subject invalid/, 'subject_mismatch'],
  [/^jwt jwtid invalid/, 'id_mismatch'],
  [/^jwt nonce invalid/, 'nonce_mismatch'],
  [/^maxAge exceeded/, 'too_old'],
  [/^(?:invalid (?:exp|nbf) value|iat required)/, 'claims_invalid'],
  [/^error in secret or public key callback/, 'key_unavailable'],
]

/** `misuse` for what is no judgement about the token: wrong options, an error of the application's own. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'misuse'
  const { name, message } = error
  if (!/^(?:JsonWebToken|TokenExpired|NotBefore)Error$/.test(name)) return 'misuse'
  return REASONS.find(([pattern]) => pattern.test(message))?.[1] ?? 'invalid'
}

/** Checks that were made: those that the options ask for, and those that the claims bring with them. */
function checksOf(
  options: Readonly<Record<string, unknown>>,
  { expiresAt, notBefore }: Authorization,
): string[] {
  const made: readonly (readonly [string, boolean])[] = [
    ['signature', true],
    ['expiry', expiresAt !== undefined && options.ignoreExpiration !== true],
    ['not_before', notBefore !== undefined && options.ignoreNotBefore !== true],
    ['algorithm', options.algorithms !== undefined],
    ['audience', options.audience !== undefined],
    ['issuer', options.issuer !== undefined],
    ['subject', options.subject !== undefined],
    ['age', options.maxAge !== undefined],
  ]
  return made.flatMap(([name, isMade]) => (isMade ? [name] : []))
}
