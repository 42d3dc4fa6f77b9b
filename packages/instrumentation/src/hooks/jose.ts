/**
 * jose: `jwtVerify`, `jwtDecrypt`, and the functions below them that verify a signature alone. Versions 4 (CommonJS
 * copies that other packages bring, such as express-oauth2-jwt-bearer) to 6 (ES modules only).
 *
 * A signed claim set gives an authorization and a verification of it. A signature over anything else is a check of
 * integrity and nobody's authority. A proof of possession (RFC 9449) is a verification only.
 */
// Node's own, whatever a test of the application puts in the place of the global one.
import { setImmediate } from 'node:timers'
import type { Span } from '@opentelemetry/api'
import { activeSpan } from '../active.ts'
import type { Verification } from '../facts.ts'
import type { Recorder, TokenFacts } from '../recorder.ts'
import type { PreparedToken } from '../scope.ts'
import type { Hook } from './hook.ts'
import { Check, type Claims, checkNames, jwtArtifact, peekJwt } from './jwt.ts'
import type { CallOutcome, Listener } from './observe.ts'
import { attempt, isBytes, isFields, member } from './values.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

/** Calls below another hook that records what they amount to are not observed: it names this group. */
export const JOSE_GROUP = 'jose'

export const joseHook: Hook = {
  library: 'jose',
  versions: { from: '4.0.0', before: '7.0.0' },
  files: [
    'jwt/verify',
    'jwt/decrypt',
    'jws/compact/verify',
    'jws/flattened/verify',
    'jws/general/verify',
    'jwk/embedded',
  ].map((path) => `dist/webapi/${path}`),
  patch(library, recorder) {
    const embedded = library.export('EmbeddedJWK')
    if (typeof embedded === 'function') embeddings.add(embedded)
    const tokens = verifiedTokens(recorder)
    const callOf = (
      method: string,
      text: string | undefined,
      [, key, options]: readonly unknown[],
      outcome: CallOutcome,
    ): JoseCall => ({
      recorder,
      method: `jose.${method}`,
      text,
      options: optionsOf(options),
      isKeyAsked: typeof key === 'function',
      isKeyEmbedded: isEmbedded(key),
      outcome,
    })
    const listenTo = (name: string, listener: Listener): void => {
      // A file of its own has one function.
      const optional = library.file !== '' && library.export(name) === undefined
      const options = { group: JOSE_GROUP, optional }
      if (name !== 'generalVerify') library.listen(name, listener, options)
      // Tries signature after signature, and awaits each.
      else library.observe(name, ({ args, self }) => listener(args, self), options)
    }
    listenTo('jwtVerify', (args) => {
      const text = textOf(args[0])
      let known: PreparedToken | undefined
      let span: Span | undefined
      let isOver = false
      const prepare = (): void => {
        const [, key, options] = args
        if (isOver || isEmbedded(key)) return
        known = tokens.find(text, askedOf(optionsOf(options)))
        span = activeSpan()
      }
      // By then jose has given the signature to another thread, and nobody waits for this one. Ticks come too early: those
      // of a call that is made as an event arrives run before the first `await` is over.
      setImmediate(attempt, prepare)
      return (outcome) => {
        isOver = true
        if (outcome.ok && known !== undefined) recorder.verified(known, span)
        else recordJwt(callOf('jwtVerify', text, args, outcome), tokens)
      }
    })
    listenTo('jwtDecrypt', (args) => {
      const text = textOf(args[0])
      return (outcome) => recordDecrypted(callOf('jwtDecrypt', text, args, outcome))
    })
    for (const name of ['compactVerify', 'flattenedVerify', 'generalVerify'])
      listenTo(name, (args) => {
        const text = attempt(() => compactOf(args[0]))
        return (outcome) => recordSignature(callOf(name, text, args, outcome))
      })
  },
}

/**
 * `EmbeddedJWK` of each copy of jose. Version 6 has it in a file of its own, and so in another one than the functions that it
 * is given to.
 */
const embeddings = new WeakSet<object>()

/** Whether the key is to be had from the token itself. */
function isEmbedded(key: unknown): boolean {
  return typeof key === 'function' && embeddings.has(key)
}

const NO_OPTIONS: Claims = {}

function optionsOf(options: unknown): Claims {
  return isFields(options) ? options : NO_OPTIONS
}

/** Type of a proof of possession (RFC 9449, 4.2). */
const POSSESSION = 'dpop+jwt'

interface JoseCall {
  readonly recorder: Recorder
  readonly method: string
  /**
   * The token, or what is signed, in its compact form. Read at the call, as jose does: bytes, and parts of an object, may
   * be others by the time of the outcome. Known hole: jose 4 and 5 read payload and signature of an object once a key that
   * is a function has answered.
   */
  readonly text: string | undefined
  readonly options: Claims
  /** Whether the key came from a function: a key set, remote or local. */
  readonly isKeyAsked: boolean
  /** Whether the key was in the token itself: its signature says nothing about who made it. */
  readonly isKeyEmbedded: boolean
  readonly outcome: CallOutcome
}

function recordJwt(call: JoseCall, tokens: VerifiedTokens): void {
  const { recorder, text, options } = call
  if (call.outcome.ok && !call.isKeyEmbedded) {
    const asked = askedOf(options)
    const known = tokens.find(text, asked)
    const facts = known === undefined ? acceptedOf(call, asked) : undefined
    const token = facts === undefined ? known : tokens.keepSigned(text, asked, facts)
    if (token !== undefined) {
      recorder.verified(token)
      return
    }
  }
  const { header, claims } = peekJwt(text)
  const reason = reasonOf(call)
  if (call.isKeyEmbedded || header?.typ === POSSESSION) {
    recorder.verification(verificationOf(call, reason, ['signature', 'possession']))
    return
  }
  recorder.authorization({
    ...jwtArtifact(text, header, AFTER_SIGNATURE.has(reason!) ? claims : undefined),
    verification: isJudgement(reason!) ? 'failed' : 'unverified',
    status: reason === 'expired' ? 'expired' : undefined,
  })
  recorder.verification(verificationOf(call, reason, []))
}

/** Undefined for a proof of possession. */
function acceptedOf(call: JoseCall, asked: number): TokenFacts | undefined {
  const { text } = call
  const { header, claims } = peekJwt(text)
  if (header?.typ === POSSESSION) return undefined
  const checks = checksOf('signature', asked, claims)
  return {
    authorization: { ...jwtArtifact(text, header, claims), verification: 'verified' },
    verification: verificationOf(call, undefined, checks),
  }
}

/** Who encrypted a token is known only if the key is shared: to a public key anybody can encrypt. */
function recordDecrypted(call: JoseCall): void {
  const { text } = call
  const { header } = peekJwt(text)
  const reason = reasonOf(call)
  const value = call.outcome.ok && isFields(call.outcome.value) ? call.outcome.value : undefined
  const claims = value !== undefined && isFields(value.payload) ? value.payload : undefined
  const isShared = /^(?:dir|A\d+(?:GCM)?KW|PBES2)/.test(String(header?.alg))
  const isTrusted = call.outcome.ok && isShared
  call.recorder.authorization({
    ...jwtArtifact(text, header, isTrusted ? claims : undefined),
    verification: isTrusted ? 'verified' : call.outcome.ok || !isJudgement(reason!) ? 'unverified' : 'failed',
    status: reason === 'expired' ? 'expired' : undefined,
  })
  const doubt = call.outcome.ok && !isShared ? 'issuer_unknown' : reason
  const checks = checksOf('decryption', askedOf(call.options), claims)
  call.recorder.verification(verificationOf(call, doubt, checks))
}

/** A signature alone: claims are read, but neither expiry nor audience was looked at. */
function recordSignature(call: JoseCall): void {
  const { outcome, recorder, text } = call
  const reason = reasonOf(call)
  const { header, claims } = peekJwt(text)
  const isClaimSet = claims !== undefined && ['iss', 'sub', 'aud', 'exp'].some((name) => name in claims)
  if (isClaimSet && !call.isKeyEmbedded)
    recorder.authorization({
      ...jwtArtifact(text, header, outcome.ok ? claims : undefined),
      verification: outcome.ok ? 'verified' : isJudgement(reason!) ? 'failed' : 'unverified',
    })
  const type = isClaimSet ? 'credential' : 'integrity'
  recorder.verification(verificationOf(call, reason, ['signature'], type))
}

/** A reason that is no judgement leaves the result unknown. */
function verificationOf(
  { method, text, outcome }: JoseCall,
  reason: string | undefined,
  checks: readonly string[],
  type: Verification['type'] = 'credential',
): Verification {
  const isKnown = reason === undefined || isJudgement(reason)
  return {
    type,
    result: !isKnown ? 'unknown' : outcome.ok ? 'pass' : 'fail',
    method,
    reason,
    checks: outcome.ok ? checks : undefined,
    token: text,
  }
}

const NO_JUDGEMENT: ReadonlySet<string> = new Set(['key_unavailable', 'misuse', 'issuer_unknown'])

function isJudgement(reason: string): boolean {
  return !NO_JUDGEMENT.has(reason)
}

/** What is looked at only once the signature holds. */
const AFTER_SIGNATURE: ReadonlySet<string> = new Set([
  'expired',
  'too_old',
  'not_active',
  'audience_mismatch',
  'issuer_mismatch',
  'subject_mismatch',
  'type_mismatch',
  'claim_missing',
  'claims_invalid',
])

/** By the codes of jose's errors: they are part of its interface, its messages are not. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ['ERR_JWT_EXPIRED', 'expired'],
  ['ERR_JWT_CLAIM_VALIDATION_FAILED', 'claims_invalid'],
  ['ERR_JWT_INVALID', 'malformed'],
  ['ERR_JWS_INVALID', 'malformed'],
  ['ERR_JWE_INVALID', 'malformed'],
  ['ERR_JWS_SIGNATURE_VERIFICATION_FAILED', 'invalid_signature'],
  ['ERR_JWE_DECRYPTION_FAILED', 'decryption_failed'],
  ['ERR_JOSE_ALG_NOT_ALLOWED', 'algorithm_not_allowed'],
  ['ERR_JOSE_NOT_SUPPORTED', 'algorithm_not_allowed'],
  ['ERR_JWKS_NO_MATCHING_KEY', 'key_unknown'],
  ['ERR_JWKS_MULTIPLE_MATCHING_KEYS', 'key_unavailable'],
  ['ERR_JWKS_TIMEOUT', 'key_unavailable'],
  ['ERR_JWKS_INVALID', 'key_unavailable'],
  ['ERR_JWK_INVALID', 'key_unavailable'],
  ['ERR_JOSE_GENERIC', 'key_unavailable'],
])

const CLAIM_REASONS: ReadonlyMap<unknown, string> = new Map([
  ['aud', 'audience_mismatch'],
  ['iss', 'issuer_mismatch'],
  ['sub', 'subject_mismatch'],
  ['nbf', 'not_active'],
  ['typ', 'type_mismatch'],
])

/** Undefined for success. `misuse`: wrong arguments. `key_unavailable`: the key's function failed. */
function reasonOf({ outcome, isKeyAsked }: JoseCall): string | undefined {
  if (outcome.ok) return undefined
  const { error } = outcome
  const code = member(error, 'code')
  const reason = typeof code === 'string' ? REASONS.get(code) : undefined
  if (reason === undefined) return isKeyAsked ? 'key_unavailable' : 'misuse'
  const [claim, why] = [member(error, 'claim'), member(error, 'reason')]
  if (reason === 'expired' && claim === 'iat') return 'too_old'
  if (reason !== 'claims_invalid') return reason
  if (why === 'missing') return 'claim_missing'
  return why === 'check_failed' ? (CLAIM_REASONS.get(claim) ?? reason) : reason
}

/** What options ask for, up to one that cannot be read. */
function askedOf(options: Claims): number {
  let asked = 0
  try {
    if (options.algorithms !== undefined) asked |= Check.algorithm
    if (options.keyManagementAlgorithms !== undefined) asked |= Check.algorithm
    if (options.audience !== undefined) asked |= Check.audience
    if (options.issuer !== undefined) asked |= Check.issuer
    if (options.subject !== undefined) asked |= Check.subject
    if (options.typ !== undefined) asked |= Check.type
    if (options.maxTokenAge !== undefined) asked |= Check.age
  } catch {}
  return asked
}

/** Checks that were made: those that the options ask for, and those that the claims bring with them. */
function checksOf(first: string, asked: number, claims: Claims | undefined): string[] {
  const checks = [first]
  if (claims?.exp !== undefined) checks.push('expiry')
  if (claims?.nbf !== undefined) checks.push('not_before')
  return [...checks, ...checkNames(asked)]
}

/** Tokens in bytes beyond this are not read: no fact would hold them. */
const MAX_BYTES = 1 << 20

/** A token is text or its bytes. */
function textOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  return attempt(() => {
    if (!isBytes(token) || token.length > MAX_BYTES) return undefined
    return Buffer.from(token).toString('latin1')
  })
}

/** The compact form (RFC 7515, 7.1) of a JWS in whichever form, if it has one signature and a payload as text. */
function compactOf(jws: unknown): string | undefined {
  if (!isFields(jws) || isBytes(jws)) return textOf(jws)
  const { payload, signatures } = jws
  const [one, ...more]: unknown[] = Array.isArray(signatures) ? signatures : [jws]
  if (!isFields(one) || more.length > 0) return undefined
  const parts = [one.protected, payload, one.signature]
  return parts.every((part) => typeof part === 'string') ? parts.join('.') : undefined
}
