/**
 * express-oauth2-jwt-bearer: the middleware of `auth`, and the claim checks such as `requiredScopes` as decisions.
 *
 * It verifies signatures by its own copy of jose but looks at issuer, audience and more itself, afterwards. A token for
 * somebody else is one that jose accepts, so jose's part is not recorded: the middleware's answer is.
 */
import { context as contexts } from '@opentelemetry/api'
import type { Recorder } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import { bearerOf } from './bearer.ts'
import type { Hook } from './hook.ts'
import { JOSE_GROUP } from './jose.ts'
import { type Claims, jwtArtifact, peekJwt } from './jwt.ts'
import { type Observer, observe } from './observe.ts'
import { attempt, isFields, member } from './values.ts'

const NAME = 'express-oauth2-jwt-bearer'

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
    library.replace(
      'auth',
      watchMade(
        ([options]) =>
          watchNext((request, error) =>
            recordToken(recorder, request, error, isFields(options) ? options : {}),
          ),
        JOSE_GROUP,
      ),
    )
    for (const name of CHECKS) {
      // Later than the others.
      if (name === 'scopeIncludesAny' && library.export(name) === undefined) continue
      library.replace(
        name,
        watchMade((args) =>
          watchNext((request, error) => recordCheck(recorder, library.version, name, args, request, error)),
        ),
      )
    }
  },
}

/** Tells what a middleware called `next` with, once; what comes behind it runs in the context that it had before. */
function watchNext(told: (request: unknown, error: unknown) => void): Observer {
  return (call) => {
    const [request, , next] = call.args
    if (typeof next !== 'function') return undefined
    const outer = call.context
    const { log } = runtime()
    const once = observe(
      next,
      ({ args: [error] }) => {
        if (!isTold) told(request, error)
        isTold = true
        return undefined
      },
      log,
    )
    let isTold = false
    call.substitute(2, (...args: unknown[]) =>
      contexts.with(outer, () => Reflect.apply(once, undefined, args)),
    )
    return undefined
  }
}

function recordToken(recorder: Recorder, request: unknown, error: unknown, options: Claims): void {
  const accepted = isFields(request) && isFields(request.auth) ? request.auth : undefined
  const isAccepted = error === undefined && accepted !== undefined
  const token = isAccepted ? accepted.token : bearerOf(request)
  if (typeof token !== 'string') {
    // With `authRequired: false` nothing needs to be presented.
    if (error !== undefined)
      recorder.verification({
        type: 'credential',
        result: 'fail',
        method: `${NAME}.auth`,
        reason: 'token_missing',
      })
    return
  }
  const { header, claims } = peekJwt(token)
  const reason = isAccepted ? undefined : reasonOf(error)
  const isUnknown = reason === 'key_unavailable'
  const isSigned = reason === undefined || AFTER_SIGNATURE.has(reason)
  recorder.authorization({
    ...jwtArtifact(token, header, isSigned ? claims : undefined),
    verification: isAccepted ? 'verified' : isUnknown ? 'unverified' : 'failed',
    status: reason === 'expired' ? 'expired' : undefined,
  })
  recorder.verification({
    type: 'credential',
    result: isAccepted ? 'pass' : isUnknown ? 'unknown' : 'fail',
    method: `${NAME}.auth`,
    reason,
    checks: isAccepted ? attempt(() => checksOf(request, options, claims)) : undefined,
    token,
  })
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

/** What the options leave on; `validators` may put functions of the application in the place of some, or nothing. */
function checksOf(request: unknown, options: Claims, claims: Claims | undefined): string[] {
  const validators = isFields(options.validators) ? options.validators : {}
  const cnf = isFields(claims?.cnf) ? claims.cnf : {}
  // Versions without DPoP take such a token as if it were not bound, but not by this scheme.
  const headers = isFields(request) && isFields(request.headers) ? request.headers : {}
  const isDpop = /^DPoP /i.test(String(headers.authorization))
  const isOn = (part: unknown, otherwise: boolean): boolean =>
    isFields(part) && typeof part.enabled === 'boolean' ? part.enabled : otherwise
  const made: readonly (readonly [string, boolean])[] = [
    ['signature', true],
    ['expiry', validators.exp !== false || claims?.exp !== undefined],
    ['not_before', claims?.nbf !== undefined],
    ['algorithm', validators.alg !== false],
    ['audience', validators.aud !== false],
    ['issuer', validators.iss !== false],
    ['type', options.strict === true && validators.typ !== false],
    ['age', options.maxTokenAge !== undefined && validators.iat !== false],
    [
      'possession',
      (cnf.jkt !== undefined && isDpop && isOn(options.dpop, true)) ||
        (cnf['x5t#S256'] !== undefined && isOn(options.mtls, options.getCertificate !== undefined)),
    ],
  ]
  return made.flatMap(([name, isMade]) => (isMade ? [name] : []))
}
