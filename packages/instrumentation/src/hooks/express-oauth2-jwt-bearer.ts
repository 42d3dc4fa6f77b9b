/**
 * express-oauth2-jwt-bearer: the middleware of `auth`, and the claim checks such as `requiredScopes` as decisions.
 *
 * It verifies signatures by its own copy of jose but looks at issuer, audience and more itself, afterwards. A token for
 * somebody else is one that jose accepts, so jose's part is not recorded: the middleware's answer is.
 */
import type { Recorder, TokenFacts } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import { bearerOf } from './bearer.ts'
import type { Hook } from './hook.ts'
import { JOSE_GROUP } from './jose.ts'
import { Check, type Claims, checkNames, jwtArtifact, peekJwt } from './jwt.ts'
import { watchNext } from './middleware.ts'
import { type Observer, observe } from './observe.ts'
import { attempt, isFields, member } from './values.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

const NAME = 'express-oauth2-jwt-bearer'
const METHOD = `${NAME}.auth`

/** Factories of middleware that looks at the claims of a verified token. */
const CHECKS = ['claimCheck', 'claimEquals', 'claimIncludes', 'requiredScopes', 'scopeIncludesAny']

export const expressOauth2JwtBearerHook: Hook = {
  library: NAME,
  versions: { from: '1.0.0', before: '2.0.0' },
  patch(library, recorder) {
    const { log } = runtime()
    const watchMade =
      (observerOf: (args: readonly unknown[]) => Observer, group?: string) => (original: unknown) =>
        new Proxy(original as (...args: unknown[]) => unknown, {
          apply: (factory, self, args: unknown[]) =>
            observe(
              Reflect.apply(factory, self, args),
              observerOf(args),
              log,
              group === undefined ? {} : { group },
            ),
        })
    const tokens = verifiedTokens(recorder)
    library.replace(
      'auth',
      watchMade(([given]) => {
        const options = isFields(given) ? given : {}
        return watching((request, error) => recordToken(recorder, tokens, request, error, options))
      }, JOSE_GROUP),
    )
    for (const name of CHECKS) {
      // Later than the others.
      if (name === 'scopeIncludesAny' && library.export(name) === undefined) continue
      library.replace(
        name,
        watchMade((args) =>
          watching((request, error) => recordCheck(recorder, library.version, name, args, request, error)),
        ),
      )
    }
  },
}

function watching(told: (request: unknown, error: unknown) => void): Observer {
  return (call) => {
    watchNext(call, (error) => told(call.args[0], error))
    return undefined
  }
}

function recordToken(
  recorder: Recorder,
  tokens: VerifiedTokens,
  request: unknown,
  error: unknown,
  options: Claims,
): void {
  const accepted = isFields(request) && isFields(request.auth) ? request.auth : undefined
  const isAccepted = error === undefined && accepted !== undefined
  const token = isAccepted ? accepted.token : bearerOf(request)
  if (typeof token !== 'string') {
    // With `authRequired: false` nothing needs to be presented.
    if (error !== undefined)
      recorder.verification({ type: 'credential', result: 'fail', method: METHOD, reason: 'token_missing' })
    return
  }
  if (isAccepted) {
    const asked = attempt(() => askedOf(request, options)) ?? UNREADABLE
    recorder.verified(tokens.find(token, asked) ?? tokens.keep(token, asked, acceptedOf(token, asked)))
    return
  }
  const { header, claims } = peekJwt(token)
  const reason = reasonOf(error)
  const isUnknown = reason === 'key_unavailable'
  recorder.authorization({
    ...jwtArtifact(token, header, AFTER_SIGNATURE.has(reason) ? claims : undefined),
    verification: isUnknown ? 'unverified' : 'failed',
    status: reason === 'expired' ? 'expired' : undefined,
  })
  recorder.verification({
    type: 'credential',
    result: isUnknown ? 'unknown' : 'fail',
    method: METHOD,
    reason,
    token,
  })
}

function acceptedOf(token: string, asked: number): TokenFacts {
  const { header, claims } = peekJwt(token)
  return {
    authorization: { ...jwtArtifact(token, header, claims), verification: 'verified' },
    verification: {
      type: 'credential',
      result: 'pass',
      method: METHOD,
      checks: asked === UNREADABLE ? undefined : checksOf(asked, claims),
      token,
    },
  }
}

/** A check that refuses ends the request with 401 or 403, so its answer is enforced. */
function recordCheck(
  recorder: Recorder,
  version: string,
  name: string,
  args: readonly unknown[],
  request: unknown,
  error: unknown,
): void {
  const payload = isFields(request) && isFields(request.auth) ? request.auth.payload : undefined
  const code = member(error, 'code')
  const isRefusal = error instanceof Error && 'statusCode' in error
  const [first] = args
  const scopes = typeof first === 'string' ? first.split(' ') : first
  recorder.decision({
    engine: NAME,
    engineVersion: version,
    outcome: error === undefined ? 'allow' : isRefusal ? 'deny' : 'error',
    enforcement: 'enforced',
    subject: isFields(payload) && typeof payload.sub === 'string' ? payload.sub : undefined,
    reason: typeof code === 'string' ? code : undefined,
    policyId: name,
    ruleIds:
      /scope/i.test(name) && Array.isArray(scopes)
        ? scopes.filter((one) => typeof one === 'string')
        : undefined,
    input: name === 'claimCheck' ? undefined : args,
  })
}

/** What the library looks at only once jose has accepted the token, or jose once the signature holds. */
const AFTER_SIGNATURE: ReadonlySet<string> = new Set([
  'expired',
  'not_active',
  'audience_mismatch',
  'issuer_mismatch',
  'type_mismatch',
  'claims_invalid',
  'possession_unproven',
])

/** By message: the library's errors have one code for all of these. A message may quote the token; it stays here. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/^"exp" claim timestamp check failed|^Unexpected 'exp' value/, 'expired'],
  [/^"nbf" claim timestamp check failed/, 'not_active'],
  [/^Unexpected 'aud' value/, 'audience_mismatch'],
  [/^Unexpected 'iss' value/, 'issuer_mismatch'],
  [/^Unexpected 'typ' value/, 'type_mismatch'],
  [/^Unexpected '(?!alg)[^']*' value/, 'claims_invalid'],
  [/^signature verification failed/, 'invalid_signature'],
  [/^no applicable key found/, 'key_unknown'],
  [/^(?:Token issuer is not allowed|Token missing required 'iss')/, 'issuer_not_allowed'],
  [/^(?:Unsupported algorithm|Unexpected 'alg' value|Token header missing|"alg")/, 'algorithm_not_allowed'],
  [/^(?:Invalid Compact JWS|JWS |Invalid Token or Protected Header|Invalid JWT|JWT )/, 'malformed'],
  [/DPoP|confirmation|client certificate/i, 'possession_unproven'],
  // Node's message is empty where a host has several addresses and none answers.
  [
    /^$|fetch|ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|timed out|Expected 200 OK|^No (?:issuers|JWKS)/i,
    'key_unavailable',
  ],
]

/** Without an error the application let a bad token pass (`authRequired: false`), and why it is bad is not said. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'invalid'
  const code = 'code' in error ? error.code : undefined
  if (code !== 'invalid_token' && code !== 'invalid_dpop_proof') return 'invalid_request'
  return REASONS.find(([pattern]) => pattern.test(error.message))?.[1] ?? 'invalid'
}

/** What the options leave on beside the usual checks. */
const EXPIRY = Check.OTHER
const DPOP = Check.OTHER << 1
const CERTIFICATE = Check.OTHER << 2
const UNREADABLE = -1

/** `validators` may put functions of the application in the place of some, or nothing. Throws where they cannot be read. */
function askedOf(request: unknown, options: Claims): number {
  const validators = isFields(options.validators) ? options.validators : {}
  // Versions without DPoP take such a token as if it were not bound, but not by this scheme.
  const headers = isFields(request) && isFields(request.headers) ? request.headers : {}
  const isDpop = /^DPoP /i.test(String(headers.authorization))
  const isOn = (part: unknown, otherwise: boolean): boolean =>
    isFields(part) && typeof part.enabled === 'boolean' ? part.enabled : otherwise
  let asked = 0
  if (validators.exp !== false) asked |= EXPIRY
  if (validators.alg !== false) asked |= Check.algorithm
  if (validators.aud !== false) asked |= Check.audience
  if (validators.iss !== false) asked |= Check.issuer
  if (options.strict === true && validators.typ !== false) asked |= Check.type
  if (options.maxTokenAge !== undefined && validators.iat !== false) asked |= Check.age
  if (isDpop && isOn(options.dpop, true)) asked |= DPOP
  if (isOn(options.mtls, options.getCertificate !== undefined)) asked |= CERTIFICATE
  return asked
}

/** Checks that were made: those that are left on, and those that the claims bring with them. */
function checksOf(asked: number, claims: Claims | undefined): string[] {
  const cnf = isFields(claims?.cnf) ? claims.cnf : {}
  const isAsked = (bit: number): boolean => (asked & bit) !== 0
  const checks = ['signature']
  if (isAsked(EXPIRY) || claims?.exp !== undefined) checks.push('expiry')
  if (claims?.nbf !== undefined) checks.push('not_before')
  checks.push(...checkNames(asked))
  const isBound = cnf['x5t#S256'] !== undefined && isAsked(CERTIFICATE)
  if (isBound || (cnf.jkt !== undefined && isAsked(DPOP))) checks.push('possession')
  return checks
}
