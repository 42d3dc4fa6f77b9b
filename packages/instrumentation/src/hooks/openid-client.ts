/**
 * openid-client: introspection, the grants of the token endpoint, and revocation, as an OAuth client sees them.
 *
 * A token that the issuer hands out, or calls active, in this very call is verified by that. What a token says of
 * itself is not read: an access token is opaque to its client (RFC 9068, 6). An ID token is read, once openid-client has
 * accepted it.
 */
import type { Authorization } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import type { Hook } from './hook.ts'
import { jwtArtifact, peekJwt, tokenType } from './jwt.ts'
import type { Call, CallOutcome } from './observe.ts'
import { attempt, isFields, member, textOf } from './values.ts'

export const openidClientHook: Hook = {
  library: 'openid-client',
  versions: { from: '6.1.1', before: '7.0.0' },
  patch(library, recorder) {
    const observeOne = (
      name: string,
      judge: (call: Exchange) => void,
      usedIn: (args: Call['args']) => string | undefined = () => undefined,
    ): void =>
      library.observe(
        name,
        ({ args }) => {
          const [config, token] = args
          const asked = {
            recorder,
            method: `openid-client.${name}`,
            config,
            token: textOf(token),
            used: attempt(() => usedIn(args)),
            checks: checksOf(args[2]),
          }
          return (outcome) => judge({ ...asked, outcome })
        },
        // Token endpoints are asked by POST; the facts say what came of it.
        { asks: true, group: 'openid-client' },
      )
    observeOne('tokenIntrospection', recordIntrospection)
    observeOne('authorizationCodeGrant', recordGrant)
    observeOne('clientCredentialsGrant', recordGrant)
    observeOne('refreshTokenGrant', recordGrant, (args) => textOf(args[1]))
    observeOne('genericGrantRequest', recordGrant, (args) => parameterOf(args[2], 'subject_token'))
    observeOne('tokenRevocation', recordRevocation)
  },
}

/** What was asked, as it was at the call, and what came of it. */
interface Exchange {
  readonly recorder: Recorder
  readonly method: string
  readonly config: unknown
  /** What is asked about, where it is a token. */
  readonly token: string | undefined
  /** The token that was given in exchange. */
  readonly used: string | undefined
  /** What is looked at in an ID token, by what the caller asks for. */
  readonly checks: readonly string[]
  readonly outcome: CallOutcome
}

/** RFC 7662. What the server says of a token that is active is its word; of any other it says nothing. */
function recordIntrospection({ recorder, method, config, token, outcome }: Exchange): void {
  const answer = outcome.ok && isFields(outcome.value) ? outcome.value : undefined
  const isActive = answer?.active === true
  const { header } = peekJwt(token)
  recorder.authorization({
    ...jwtArtifact(token, header, isActive ? answer : undefined),
    type: tokenType(token),
    issuer: isActive ? (textOf(answer.iss) ?? issuerOf(config)) : undefined,
    verification: isActive ? 'verified' : answer === undefined ? 'unverified' : 'failed',
    status: isActive ? 'active' : undefined,
  })
  recorder.verification({
    type: 'credential',
    result: isActive ? 'pass' : answer === undefined ? 'unknown' : 'fail',
    method,
    reason: outcome.ok ? (isActive ? undefined : 'inactive') : reasonOf(outcome.error),
    checks: isActive ? ['active'] : undefined,
    token,
  })
}

function recordGrant({ recorder, method, config, used, checks, outcome }: Exchange): void {
  if (!outcome.ok) {
    const reason = reasonOf(outcome.error)
    const isRefused = REFUSALS.has(reason)
    if (used !== undefined)
      recorder.authorization({
        token: used,
        type: tokenType(used),
        verification: reason === 'invalid_grant' ? 'failed' : 'unverified',
      })
    recorder.verification({
      type: 'credential',
      result: isRefused ? 'fail' : 'unknown',
      method,
      reason,
      token: used,
    })
    return
  }
  const answer = isFields(outcome.value) ? outcome.value : {}
  const identity = textOf(answer.id_token)
  const { header, claims } = peekJwt(identity)
  if (identity !== undefined) {
    recorder.authorization({
      ...jwtArtifact(identity, header, claims),
      method,
      verification: 'verified',
      status: 'active',
    })
    recorder.verification({
      type: 'credential',
      result: 'pass',
      method,
      checks,
      token: identity,
    })
  }
  const token = textOf(answer.access_token)
  if (token === undefined) return
  const common = { issuer: issuerOf(config), clientId: clientOf(config), subject: textOf(claims?.sub) }
  recorder.authorization({
    ...common,
    token,
    type: tokenType(token),
    scope: textOf(answer.scope)?.split(' '),
    expiresAt: typeof answer.expires_in === 'number' ? Date.now() / 1000 + answer.expires_in : undefined,
    confirmation: answer.token_type === 'dpop' ? 'dpop' : undefined,
    parentToken: used,
    method,
    verification: 'verified',
    status: 'active',
  })
  recorder.verification({ type: 'credential', result: 'pass', method, checks: ['issued'], token })
}

/** RFC 7009. The server says yes to tokens that it does not know, too: in either case the token is no good from here on. */
function recordRevocation({ recorder, method, config, token, outcome }: Exchange): void {
  if (!outcome.ok) {
    recorder.verification({
      type: 'revocation',
      result: 'unknown',
      method,
      reason: reasonOf(outcome.error),
      token,
    })
    return
  }
  const artifact: Authorization = {
    token,
    type: tokenType(token),
    issuer: issuerOf(config),
    verification: 'unverified',
    status: 'revoked',
  }
  recorder.authorization(artifact)
  recorder.transition({ type: 'authority', to: 'revoked', trigger: method, token })
}

/** What openid-client looks at in every ID token, and what the caller asked for. Of signatures it does not say. */
function checksOf(asked: unknown): string[] {
  const isText = (name: string): boolean => typeof member(asked, name) === 'string'
  const made: readonly (readonly [string, boolean])[] = [
    ['issuer', true],
    ['audience', true],
    ['expiry', true],
    ['nonce', isText('expectedNonce')],
    ['state', isText('expectedState')],
    ['age', typeof member(asked, 'maxAge') === 'number'],
    ['pkce', isText('pkceCodeVerifier')],
  ]
  return made.flatMap(([name, isMade]) => (isMade ? [name] : []))
}

/** Errors of RFC 6749 (4.1.2.1 and 5.2), 7009, 8693, 8707 and OpenID Connect Core. */
const CODES: ReadonlySet<string> = new Set([
  'access_denied',
  'account_selection_required',
  'consent_required',
  'interaction_required',
  'invalid_client',
  'invalid_grant',
  'invalid_request',
  'invalid_scope',
  'invalid_target',
  'login_required',
  'server_error',
  'temporarily_unavailable',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_token_type',
])

/** Of openid-client's own errors. */
const CLIENT_CODES: ReadonlyMap<unknown, string> = new Map([
  ['OAUTH_JWT_CLAIM_COMPARISON_FAILED', 'claims_mismatch'],
  ['OAUTH_JWT_TIMESTAMP_CHECK_FAILED', 'time_check_failed'],
  ['OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED', 'response_mismatch'],
  ['OAUTH_INVALID_RESPONSE', 'response_invalid'],
  ['OAUTH_PARSE_ERROR', 'response_unreadable'],
  ['OAUTH_RESPONSE_IS_NOT_JSON', 'response_unreadable'],
  ['OAUTH_RESPONSE_IS_NOT_CONFORM', 'response_unreadable'],
  ['OAUTH_TIMEOUT', 'unreachable'],
  ['OAUTH_ABORT', 'aborted'],
])

/** Answers about what was presented. After any other error nobody has said anything about it. */
const REFUSALS: ReadonlySet<string> = new Set([
  'access_denied',
  'account_selection_required',
  'consent_required',
  'interaction_required',
  'invalid_client',
  'invalid_grant',
  'invalid_scope',
  'invalid_target',
  'login_required',
  'unauthorized_client',
  'claims_mismatch',
  'time_check_failed',
  'response_mismatch',
  'response_invalid',
])

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'error'
  const { error: said, code, cause } = error as { error?: unknown; code?: unknown; cause?: unknown }
  if (typeof said === 'string') return CODES.has(said) ? said : 'refused'
  if (code === 'OAUTH_WWW_AUTHENTICATE_CHALLENGE') return challengeOf(cause)
  const known = CLIENT_CODES.get(code)
  if (known !== undefined) return known
  // `fetch` fails with a TypeError without a code; wrong arguments have one.
  if (error instanceof TypeError) return code === undefined ? 'unreachable' : 'misuse'
  return 'error'
}

/** The error that a challenge names; servers use it for clients that they do not accept (RFC 6749, 5.2). */
function challengeOf(challenges: unknown): string {
  const parameters =
    Array.isArray(challenges) && isFields(challenges[0]) ? challenges[0].parameters : undefined
  const said = isFields(parameters) ? parameters.error : undefined
  return typeof said === 'string' && CODES.has(said) ? said : 'refused'
}

function issuerOf(config: unknown): string | undefined {
  return textOf(member(metadataOf(config, 'serverMetadata'), 'issuer'))
}

function clientOf(config: unknown): string | undefined {
  return textOf(member(metadataOf(config, 'clientMetadata'), 'client_id'))
}

function metadataOf(config: unknown, name: string): unknown {
  const read = member(config, name)
  return typeof read === 'function' ? attempt((): unknown => Reflect.apply(read, config, [])) : undefined
}

function parameterOf(parameters: unknown, name: string): string | undefined {
  if (parameters instanceof URLSearchParams) return parameters.get(name) ?? undefined
  return textOf(member(parameters, name))
}
