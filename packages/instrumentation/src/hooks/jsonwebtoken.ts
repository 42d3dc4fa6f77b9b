/**
 * jsonwebtoken: `verify`, synchronous and with a callback. express-jwt and many others go through it.
 *
 * Each call gives the token as an authorization, and a verification of it with what was checked and why it failed.
 */
import type { Authorization } from '../facts.ts'
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import type { Hook } from './hook.ts'
import { Check, type Claims, checkNames, jwtArtifact, peekJwt } from './jwt.ts'
import type { CallOutcome } from './observe.ts'
import { UNSEEN } from './thenable.ts'
import { isFields } from './values.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

export const jsonwebtokenHook: Hook = {
  library: 'jsonwebtoken',
  versions: { from: '8.0.0', before: '10.0.0' },
  patch(library, recorder) {
    const tokens = verifiedTokens(recorder)
    const always = looksAtKeys(library.version) ? 0 : ANY_KEY
    library.listen(
      'verify',
      ([token, , options]) => {
        const asked = askedOf(options) | always
        return (outcome) => record(recorder, tokens, token, asked, outcome)
      },
      { callback: true },
    )
  },
}

function record(
  recorder: Recorder,
  tokens: VerifiedTokens,
  token: unknown,
  asked: number,
  outcome: CallOutcome,
): void {
  // It gives what it decoded: without that, nobody has said that it holds.
  if (outcome.ok && outcome.value !== undefined) {
    recorder.verified(tokens.find(token, asked) ?? keep(tokens, token, asked))
    return
  }
  const reason = outcome.ok ? UNSEEN.code : reasonOf(outcome.error)
  const isJudged = !outcome.ok && reason !== 'key_unavailable' && reason !== 'misuse'
  recorder.authorization(refusedOf(token, reason, isJudged))
  recorder.verification({
    type: 'credential',
    result: isJudged ? 'fail' : 'unknown',
    method: 'jsonwebtoken.verify',
    reason,
    token: typeof token === 'string' ? token : undefined,
  })
}

/** Where any key is taken, a signature by one for another algorithm may be as short as a MAC. */
function keep(tokens: VerifiedTokens, token: unknown, asked: number): PreparedToken {
  const facts = verifiedOf(token, asked)
  return (asked & ANY_KEY) === 0 ? tokens.keepSigned(token, asked, facts) : tokens.keep(token, asked, facts)
}

/** Whether it takes a key for the algorithms alone that it is for: not before version 9 (CVE-2022-23539). */
function looksAtKeys(version: string): boolean {
  return Number.parseInt(version, 10) >= 9
}

function verifiedOf(token: unknown, asked: number): TokenFacts {
  const { header, claims } = peekJwt(token)
  const isSigned = !isUnsigned(token)
  return {
    authorization: {
      ...jwtArtifact(token, header, isSigned ? claims : undefined),
      verification: isSigned ? 'verified' : 'unverified',
    },
    verification: {
      type: 'credential',
      result: isSigned ? 'pass' : 'unknown',
      method: 'jsonwebtoken.verify',
      reason: isSigned ? undefined : 'unsigned',
      checks: checksOf(asked, isSigned, claims),
      token: typeof token === 'string' ? token : undefined,
    },
  }
}

/** Without a signature, which `verify` lets pass where no key is given: by `algorithms` in 9, by itself in 8. */
function isUnsigned(token: unknown): boolean {
  return typeof token === 'string' && token.slice(token.lastIndexOf('.') + 1).trim() === ''
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
  // Of the key or the options that the application gave, and nothing about the token.
  [
    /^(?:secretOrPublicKey|secret or public key|please specify|verify must be called|clockTimestamp must)/,
    'misuse',
  ],
  [/^(?:nonce must|allowInvalid|"maxAge" should)/, 'misuse'],
]

/** `misuse` for what is no judgement about the token: wrong options, an error of the application's own. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'misuse'
  const { name, message } = error
  if (!/^(?:JsonWebToken|TokenExpired|NotBefore)Error$/.test(name)) return 'misuse'
  return REASONS.find(([pattern]) => pattern.test(message))?.[1] ?? 'invalid'
}

/** What options take away. */
const IGNORE_EXPIRATION = Check.OTHER
const IGNORE_NOT_BEFORE = Check.OTHER << 1
const ANY_KEY = Check.OTHER << 2

/** What options ask for, or take away, up to one that cannot be read. The library does not look at what is false. */
function askedOf(options: unknown): number {
  let asked = 0
  if (!isFields(options)) return asked
  try {
    if (options.algorithms) asked |= Check.algorithm
    if (options.audience) asked |= Check.audience
    if (options.issuer) asked |= Check.issuer
    if (options.subject) asked |= Check.subject
    if (options.maxAge) asked |= Check.age
    if (options.ignoreExpiration) asked |= IGNORE_EXPIRATION
    if (options.ignoreNotBefore) asked |= IGNORE_NOT_BEFORE
    if (options.allowInvalidAsymmetricKeyTypes) asked |= ANY_KEY
  } catch {
    asked |= ANY_KEY
  }
  return asked
}

/** Checks that were made: those that the options ask for, and those that the claims bring with them. */
function checksOf(asked: number, isSigned: boolean, claims: Claims | undefined): string[] {
  const checks = isSigned ? ['signature'] : []
  if (claims?.exp !== undefined && (asked & IGNORE_EXPIRATION) === 0) checks.push('expiry')
  if (claims?.nbf !== undefined && (asked & IGNORE_NOT_BEFORE) === 0) checks.push('not_before')
  return [...checks, ...checkNames(asked)]
}
