/**
 * Model Context Protocol, TypeScript SDK 1.x: tool calls on both sides, the bearer tokens that clients send with them, and
 * those that servers accept.
 *
 * A tool call is an action. On the client's side it is `Protocol.request`, under `callTool` and everything else that
 * calls tools; on the server's side the handler of `tools/call`, on whatever class it was set. The trace goes with the
 * call in `_meta` (OpenTelemetry's conventions for MCP), which stdio needs and HTTP does no harm.
 *
 * Sessions are neither read nor recorded: the protocol is about to lose them, and one session is many executions.
 */
import {
  type Attributes,
  type Context,
  context as contexts,
  type Link,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  trace,
} from '@opentelemetry/api'
import type { Action, Authorization } from '../facts.ts'
import type { Recorder, TokenFacts } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import type { Hook } from './hook.ts'
import { type Claims, jwtArtifact, peekJwt } from './jwt.ts'
import { watchNext } from './middleware.ts'
import { type CallOutcome, notAsking, type Observer, observe } from './observe.ts'
import { UNSEEN } from './thenable.ts'
import { attempt, isFields, member, textOf } from './values.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

const FORMATS = ['esm', 'cjs'] as const
/** Transports of clients that send headers, by the files that they are in. */
const TRANSPORTS: Readonly<Record<string, string>> = {
  streamableHttp: 'StreamableHTTPClientTransport',
  sse: 'SSEClientTransport',
}

export const mcpHook: Hook = {
  library: '@modelcontextprotocol/sdk',
  versions: { from: '1.20.0', before: '2.0.0' },
  // Its main module is named in its exports, but not there.
  entry: '@modelcontextprotocol/sdk/shared/protocol.js',
  files: FORMATS.flatMap((format) => [
    `dist/${format}/shared/protocol`,
    `dist/${format}/server/auth/middleware/bearerAuth`,
    ...Object.keys(TRANSPORTS).map((file) => `dist/${format}/client/${file}`),
  ]),
  patch(library, recorder) {
    if (library.file.endsWith('/protocol')) {
      library.observe('Protocol.prototype.setRequestHandler', (call) => {
        const [, handler] = call.args
        call.substitute(1, observe(handler, serving(recorder), runtime().log))
        return undefined
      })
      library.observe('Protocol.prototype.request', calling(recorder), { asks: true })
      library.observe('Protocol.prototype.notification', () => undefined, { asks: true })
    } else if (library.file.endsWith('/bearerAuth'))
      library.replace('requireBearerAuth', (original) => bearerAuth(original, recorder))
    else {
      const transport = TRANSPORTS[library.file.slice(library.file.lastIndexOf('/') + 1)]
      // Whatever gives the token, an auth provider or a header of the application's, it is in what this returns.
      if (transport !== undefined) library.observe(`${transport}.prototype._commonHeaders`, sending(recorder))
    }
  },
}

/** The client's side of a tool call. */
function calling(recorder: Recorder): Observer {
  return (call) => {
    const [request] = call.args
    const params = toolCall(request)
    if (params === undefined) return undefined
    const span = start(recorder, SpanKind.CLIENT, params, {}, call.context)
    calls.add(span)
    call.context = trace.setSpan(call.context, span)
    const carrier: Record<string, string> = {}
    propagation.inject(call.context, carrier)
    // Parameters that cannot be read go to the SDK as they are.
    attempt(() => {
      // What the application has put there itself stays.
      const _meta = { ...carrier, ...(isFields(params._meta) ? params._meta : {}) }
      call.substitute(0, { ...(request as Claims), params: { ...params, _meta } })
    })
    return (outcome) => end(recorder, span, outcome, 'unknown')
  }
}

/** Spans of tool calls on the client's side. */
const calls = new WeakSet<Span>()

/** What a client presents with a tool call. It is not verified here: the server does that. */
function sending(recorder: Recorder): Observer {
  return ({ context }) => {
    const span = trace.getSpan(context)
    if (span === undefined || !calls.has(span)) return undefined
    return (outcome) => {
      const headers = outcome.ok ? outcome.value : undefined
      if (!(headers instanceof Headers)) return
      const token = bearerIn(headers.get('authorization'))
      if (token !== undefined) recorder.authorization({ ...tokenOf(token), method: 'mcp client' })
    }
  }
}

/** A handler on the server's side; of other requests than tool calls only the context is set right. */
function serving(recorder: Recorder): Observer {
  return (call) => {
    const [request, extra] = call.args
    // With a transport in memory, the handler runs within the client's request.
    call.context = notAsking(call.context)
    const params = toolCall(request)
    if (params === undefined) return undefined
    const { parent, links } = parentOf(params._meta, call.context)
    const authInfo = member(extra, 'authInfo')
    const attributes = { 'jsonrpc.request.id': short(member(extra, 'requestId')) }
    const span = start(recorder, SpanKind.SERVER, params, { attributes, links }, parent)
    call.context = trace.setSpan(parent, span)
    if (isFields(authInfo))
      contexts.with(call.context, () =>
        recorder.authorization({
          ...artifactOf(authInfoOf(authInfo)),
          // Who else puts it there says by that that it was verified, but nobody saw it.
          verification: accepted.has(authInfo) ? 'verified' : undefined,
        }),
      )
    return (outcome) => end(recorder, span, outcome, 'failure')
  }
}

function start(
  recorder: Recorder,
  kind: SpanKind,
  params: Claims,
  { attributes, links = [] }: { attributes?: Attributes; links?: Link[] },
  parent: Context,
): Span {
  const name = short(member(params, 'name')) ?? ''
  return recorder.startAction(
    `tools/call ${name}`,
    { name: name === '' ? undefined : name, type: 'execute', arguments: member(params, 'arguments') },
    {
      kind,
      links,
      attributes: {
        'mcp.method.name': 'tools/call',
        'gen_ai.operation.name': 'execute_tool',
        'gen_ai.tool.name': name,
        ...attributes,
      },
    },
    parent,
  )
}

function end(recorder: Recorder, span: Span, outcome: CallOutcome, broken: 'failure' | 'unknown'): void {
  try {
    const said = outcome.ok ? resultOutcome(outcome.value) : errorOutcome(outcome.error, broken)
    recorder.action(span, { outcome: said, result: outcome.ok ? outcome.value : undefined })
    if (said === 'success') return
    span.setAttribute('error.type', errorType(outcome))
    if (said !== 'unknown' || !outcome.ok) span.setStatus({ code: SpanStatusCode.ERROR })
  } finally {
    span.end()
  }
}

/** JSON-RPC's and MCP's codes for what was not done: invalid request, no such method, invalid parameters, consent first. */
const REFUSED: ReadonlySet<unknown> = new Set([-32600, -32601, -32602, -32042])
/** HTTP's, which the client's transports put into the same field. */
const FORBIDDEN: ReadonlySet<unknown> = new Set([401, 403])
/** The SDK's own for a connection that closed and an answer that did not come: the tool may have run. */
const UNANSWERED: ReadonlySet<unknown> = new Set([-32000, -32001])
/** Beginnings of messages with the code for invalid parameters that are about the result of a tool that ran. */
const ABOUT_RESULT =
  /^(?:MCP error -\d+: )?(?:Output validation error|Invalid tools\/call result|Invalid task creation result)/
/** `McpServer` answers with a result where it refuses; its text is all that tells. */
const MCP_ERROR = /^MCP error (-\d{1,5}): /

type ActionOutcome = Action['outcome']

function resultOutcome(result: unknown): ActionOutcome {
  // A task was accepted; what becomes of it is asked for later.
  if (isFields(member(result, 'task'))) return 'unknown'
  if (member(result, 'isError') !== true) return 'success'
  const content = member(result, 'content')
  const [first, ...more]: unknown[] = Array.isArray(content) ? content : []
  const text = more.length === 0 ? member(first, 'text') : undefined
  const code = typeof text === 'string' ? MCP_ERROR.exec(text)?.[1] : undefined
  return code !== undefined && REFUSED.has(Number(code)) && !ABOUT_RESULT.test(text as string)
    ? 'refused'
    : 'failure'
}

/** `broken` is for errors that are no answer: of a handler, its failure; of a client, nobody knows. */
function errorOutcome(error: unknown, broken: 'failure' | 'unknown'): ActionOutcome {
  if (error === UNSEEN) return 'unknown'
  if (!(error instanceof Error)) return broken
  const code = member(error, 'code')
  if (member(error.constructor, 'name') === 'UnauthorizedError' || FORBIDDEN.has(code)) return 'refused'
  if (REFUSED.has(code)) return ABOUT_RESULT.test(String(member(error, 'message'))) ? 'failure' : 'refused'
  if (UNANSWERED.has(code)) return broken
  const isAnswer = typeof code === 'number' && code < 0
  return isAnswer ? 'failure' : broken
}

/** Low in number and free of content: a code, or that a result says so. */
function errorType(outcome: CallOutcome): string {
  if (outcome.ok) return 'tool_error'
  const code = outcome.error instanceof Error ? member(outcome.error, 'code') : undefined
  return typeof code === 'number' ? String(code) : '_OTHER'
}

/** Parameters of a tool call; undefined if the request is another. */
function toolCall(request: unknown): Claims | undefined {
  if (!isFields(request) || request.method !== 'tools/call') return undefined
  return isFields(request.params) ? request.params : {}
}

const META: TextMapGetter<Claims> = {
  keys: (meta) => Object.keys(meta),
  get(meta, key) {
    const value = meta[key]
    return typeof value === 'string' && value.length <= 8192 ? value : undefined
  },
}

/**
 * Where a served call belongs. Within a request of the same trace: under that request, so that what it verified is in
 * force. Else under the caller that `_meta` names, with a link to the request that brought it.
 */
function parentOf(meta: unknown, active: Context): { parent: Context; links: Link[] } {
  if (!isFields(meta)) return { parent: active, links: [] }
  const local = trace.getSpanContext(active)
  const extracted = propagation.extract(local === undefined ? active : trace.deleteSpan(active), meta, META)
  const remote = trace.getSpanContext(extracted)
  if (remote === undefined || remote.traceId === local?.traceId) return { parent: active, links: [] }
  return { parent: extracted, links: local === undefined ? [] : [{ context: local }] }
}

/** Auth infos that `requireBearerAuth` let through, as handlers get them. */
const accepted = new WeakSet<object>()

/** What is read of the SDK's `AuthInfo`. */
interface AuthInfo {
  readonly token: string | undefined
  readonly clientId: string | undefined
  readonly scope: readonly string[] | undefined
  readonly audience: string | undefined
  readonly expiresAt: number | undefined
}

function authInfoOf(info: Claims): AuthInfo {
  const scopes = member(info, 'scopes')
  const expiresAt = member(info, 'expiresAt')
  const resource = member(info, 'resource')
  return {
    token: textOf(member(info, 'token')),
    clientId: textOf(member(info, 'clientId')),
    scope: Array.isArray(scopes) ? scopes.filter((one) => typeof one === 'string') : undefined,
    audience: textOf(resource instanceof URL ? resource.href : resource),
    expiresAt: typeof expiresAt === 'number' ? expiresAt : undefined,
  }
}

function artifactOf({ token, clientId, scope, audience, expiresAt }: AuthInfo): Authorization {
  return { ...tokenOf(token), clientId, scope, audience, expiresAt }
}

/** Of its claims nothing: nobody showed here that its signature holds. */
function tokenOf(token: string | undefined): Authorization {
  const { header } = peekJwt(token)
  return header === undefined ? { token, type: 'opaque' } : jwtArtifact(token, header, undefined)
}

function bearerAuth(original: unknown, recorder: Recorder): unknown {
  if (typeof original !== 'function') return original
  // Versions before 1.32 ignore the option, and so no audience is checked there whatever it says.
  const knowsResource = Function.prototype.toString.call(original).includes('expectedResource')
  const tokens = verifiedTokens(recorder)
  return new Proxy(original, {
    apply(target, self, args: unknown[]) {
      const middleware: unknown = Reflect.apply(target, self, args)
      return observe(middleware, presenting(recorder, tokens, args[0], knowsResource), runtime().log)
    },
  })
}

/** One request before the middleware: it calls `next` or answers itself. */
function presenting(
  recorder: Recorder,
  tokens: VerifiedTokens,
  given: unknown,
  knowsResource: boolean,
): Observer {
  return (call) => {
    const [request, response] = call.args
    let isDone = false
    watchNext(call, (error) => {
      const auth = isFields(request) ? request.auth : undefined
      if (error !== undefined || !isFields(auth)) return
      isDone = true
      accepted.add(auth)
      const info = authInfoOf(auth)
      const isScopeAsked = isFilled(member(given, 'requiredScopes'))
      const isAudienceAsked = knowsResource && member(given, 'expectedResource') !== undefined
      const { token, clientId, scope, audience, expiresAt } = info
      const found = [isScopeAsked, isAudienceAsked, clientId, audience, expiresAt, ...(scope ?? [undefined])]
      recorder.verified(
        tokens.find(token, found) ??
          tokens.keep(token, found, acceptedOf(info, isScopeAsked, isAudienceAsked)),
      )
    })
    return () => {
      if (isDone) return
      const reason = reasonOf(response)
      const token = bearerOf(request)
      const isJudged = reason !== 'verifier_error'
      if (token !== undefined) {
        recorder.authorization({
          ...tokenOf(token),
          verification: isJudged ? 'failed' : 'unverified',
          status: reason === 'expired' ? 'expired' : undefined,
        })
      }
      recorder.verification({
        type: 'credential',
        result: isJudged ? 'fail' : 'unknown',
        method: METHOD,
        reason,
        token,
      })
    }
  }
}

const METHOD = 'requireBearerAuth'

function acceptedOf(info: AuthInfo, isScopeAsked: boolean, isAudienceAsked: boolean): TokenFacts {
  const asked: readonly (readonly [string, boolean])[] = [
    ['expiry', info.expiresAt !== undefined],
    ['scope', isScopeAsked],
    ['audience', isAudienceAsked],
  ]
  return {
    authorization: { ...artifactOf(info), verification: 'verified' },
    verification: {
      type: 'credential',
      result: 'pass',
      method: METHOD,
      checks: asked.flatMap(([name, isMade]) => (isMade ? [name] : [])),
      unchecked: asked.flatMap(([name, isMade]) => (isMade ? [] : [name])),
      token: info.token,
    },
  }
}

function isFilled(list: unknown): boolean {
  return Array.isArray(list) && list.length > 0
}

/** Descriptions that the middleware itself gives; a verifier of the application may say anything. */
const REASONS: readonly (readonly [string, string])[] = [
  ['Missing Authorization header', 'token_missing'],
  ['Invalid Authorization header format', 'malformed'],
  ['Token was not issued for this resource', 'audience_mismatch'],
  ['Token has no expiration time', 'claims_invalid'],
  ['Token has expired', 'expired'],
  ['Insufficient scope', 'insufficient_scope'],
]

/** Why the middleware answered itself, by its answer (RFC 6750, 3). */
function reasonOf(response: unknown): string {
  const { statusCode, getHeader } = response as { statusCode?: unknown; getHeader(name: string): unknown }
  if (statusCode !== 401 && statusCode !== 403) return 'verifier_error'
  const challenge = getHeader.call(response, 'www-authenticate')
  const said =
    typeof challenge === 'string' ? /error_description="([^"]{0,200})/.exec(challenge)?.[1] : undefined
  return REASONS.find(([beginning]) => said?.startsWith(beginning))?.[1] ?? 'invalid'
}

function bearerOf(request: unknown): string | undefined {
  const { headers } = isFields(request) ? request : ({} as Claims)
  const header = isFields(headers) ? headers.authorization : undefined
  return bearerIn(header)
}

function bearerIn(header: unknown): string | undefined {
  return typeof header === 'string' ? /^bearer ([^ ]+)/i.exec(header)?.[1] : undefined
}

/** For names and ids on spans, which a caller chooses. */
function short(value: unknown): string | undefined {
  const plain = typeof value === 'number' ? String(value) : value
  return typeof plain === 'string' ? plain.slice(0, 128).toWellFormed() : undefined
}
