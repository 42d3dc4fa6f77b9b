/**
 * passport: whatever strategy authenticates, what it said of a request: success, failure or error.
 *
 * Strategies say so by calling methods that passport gives to each of their instances, one per request; those are
 * observed. Who the user is is read by the names that nearly all applications use, and is absent otherwise. Challenges
 * and messages are the application's own text and are not recorded.
 */
import { type Context, context as contexts } from '@opentelemetry/api'
import type { Authorization } from '../facts.ts'
import type { Recorder, TokenFacts } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import { bearerOf } from './bearer.ts'
import type { Hook } from './hook.ts'
import { tokenType } from './jwt.ts'
import { isObserved, type Observer, observe, tell } from './observe.ts'
import { isFields, member } from './values.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

export const passportHook: Hook = {
  library: 'passport',
  versions: { from: '0.4.0', before: '0.8.0' },
  patch(library, recorder) {
    const tokens = verifiedTokens(recorder)
    const watch = (strategy: unknown): void => {
      if (typeof strategy !== 'object' || strategy === null) return
      const own = strategy as { authenticate?: unknown }
      if (typeof own.authenticate !== 'function' || isObserved(own.authenticate)) return
      const value = observe(own.authenticate, observerOf(recorder, tokens), runtime().log)
      Object.defineProperty(own, 'authenticate', { value, writable: true, configurable: true })
    }
    // Strategies by name are looked up at each request; others are handed over as they are.
    library.observe('Authenticator.prototype._strategy', () => (outcome) => {
      if (outcome.ok) watch(outcome.value)
    })
    library.observe('Authenticator.prototype.authenticate', ({ args: [strategies] }) => {
      for (const one of Array.isArray(strategies) ? strategies : [strategies]) watch(one)
      return undefined
    })
  },
}

interface Attempt {
  readonly recorder: Recorder
  readonly tokens: VerifiedTokens
  /** Where the strategy was asked: its answer may come in another context. */
  readonly context: Context
  readonly method: string
  readonly request: unknown
  readonly presented: Authorization | undefined
}

type Answers = Record<string, unknown>

/** On functions of ours: proxies for four of them at each request would take longer than all else. */
const WATCHED = Symbol('rootspan watched')

function observerOf(recorder: Recorder, tokens: VerifiedTokens): Observer {
  return ({ self, args: [request], context }) => {
    const answers = self as Answers
    const name = typeof answers.name === 'string' ? answers.name : 'strategy'
    const presented = presentedTo(name, request, answers._key)
    const attempt: Attempt = { recorder, tokens, context, method: name, request, presented }
    const on = (answer: string, told: (args: readonly unknown[]) => void): void => {
      const original = answers[answer]
      // A strategy may leave its answer to another one, which finds it watched.
      if (typeof original !== 'function' || WATCHED in original) return
      const watched = function (this: unknown, ...args: unknown[]): unknown {
        contexts.with(context, tell<unknown[]>, undefined, told, args, runtime().log)
        return Reflect.apply(original, this, args)
      }
      answers[answer] = Object.assign(watched, { [WATCHED]: true })
    }
    on('success', ([user, info]) => succeed(attempt, user, info))
    on('fail', ([challenge, status]) => fail(attempt, challenge, status))
    on('error', () => unknown(attempt))
    on('pass', () => restore(attempt))
    return undefined
  }
}

/**
 * What was presented, by the strategies whose way of reading it is known: those of passport itself,
 * passport-http-bearer and passport-local. Undefined if nothing was. A password never becomes part of a fact.
 */
function presentedTo(name: string, request: unknown, key: unknown): Authorization | undefined {
  if (!isFields(request)) return undefined
  if (name === 'bearer') {
    const token = bearerOf(request)
    return token === undefined ? undefined : { token }
  }
  if (name === 'session') {
    const session = member(request, 'session')
    const login = member(session, typeof key === 'string' ? key : 'passport')
    if (member(login, 'user') === undefined) return undefined
    const sessionId = member(request, 'sessionID')
    const expires = member(member(session, 'cookie'), 'expires')
    return {
      token: typeof sessionId === 'string' ? sessionId : undefined,
      type: 'session',
      expiresAt: expires instanceof Date ? expires.getTime() / 1000 : undefined,
    }
  }
  return name === 'local' ? { type: 'password' } : {}
}

function succeed({ recorder, tokens, method, presented }: Attempt, user: unknown, info: unknown): void {
  const subject = subjectOf(user)
  const scope = scopeOf(info)
  const { token, expiresAt } = presented ?? {}
  const found = [method, subject, expiresAt, ...(scope ?? [undefined])]
  const known = tokens.find(token, found)
  if (known !== undefined) {
    recorder.verified(known)
    return
  }
  const facts: TokenFacts = {
    authorization: { ...typed(method, presented), method, subject, scope, verification: 'verified' },
    verification: { type: 'credential', result: 'pass', method: `passport.${method}`, token },
  }
  recorder.verified(tokens.keep(token, found, facts))
}

/** With the type of a bearer token, which takes longer to tell than all else of one that was seen before. */
function typed(method: string, presented: Authorization | undefined): Authorization {
  const { token } = presented ?? {}
  return method === 'bearer' && typeof token === 'string'
    ? { ...presented, type: tokenType(token) }
    : { ...presented }
}

function fail({ recorder, method, presented }: Attempt, challenge: unknown, status: unknown): void {
  const reason = reasonOf(method, presented, challenge, status)
  if (presented !== undefined && reason !== 'credentials_missing')
    recorder.authorization({ ...typed(method, presented), method, verification: 'failed' })
  recorder.verification({
    type: 'credential',
    result: 'fail',
    method: `passport.${method}`,
    reason,
    token: presented?.token,
  })
}

function unknown({ recorder, method, presented }: Attempt): void {
  if (presented !== undefined)
    recorder.authorization({ ...typed(method, presented), method, verification: 'unverified' })
  recorder.verification({
    type: 'credential',
    result: 'unknown',
    method: `passport.${method}`,
    reason: 'error',
    token: presented?.token,
  })
}

/** The session strategy passes whether or not there is a login; a login whose user is gone has been removed from it. */
function restore(attempt: Attempt): void {
  const { method, presented, request } = attempt
  if (method !== 'session' || presented === undefined || !isFields(request)) return
  const property = member(request, '_userProperty')
  const user = member(request, typeof property === 'string' ? property : 'user')
  if (user) succeed(attempt, user, undefined)
  else fail(attempt, undefined, undefined)
}

/** Error codes of bearer challenges (RFC 6750, 3.1). */
const CHALLENGE = /\berror="(invalid_request|invalid_token|insufficient_scope)"/

function reasonOf(
  method: string,
  presented: Authorization | undefined,
  challenge: unknown,
  status: unknown,
): string | undefined {
  const code = typeof challenge === 'string' ? CHALLENGE.exec(challenge)?.[1] : undefined
  if (code !== undefined) return code
  if (presented === undefined) return 'credentials_missing'
  if (method === 'session') return 'user_unknown'
  const isBadRequest = challenge === 400 || status === 400
  // passport-local says so when a field is missing, passport-http-bearer when the header is not of its form.
  if (method === 'local') return isBadRequest ? 'credentials_missing' : 'invalid_credentials'
  return isBadRequest ? 'invalid_request' : undefined
}

function subjectOf(user: unknown): string | undefined {
  if (typeof user === 'string') return user
  const found = ['id', 'sub', 'username']
    .map((name) => member(user, name))
    .find((value) => (typeof value === 'string' && value !== '') || typeof value === 'number')
  return found === undefined ? undefined : String(found)
}

/** `info.scope`, as strategies for bearer tokens have it. */
function scopeOf(info: unknown): readonly string[] | undefined {
  const scope = member(info, 'scope')
  if (typeof scope === 'string') return scope.split(' ')
  return Array.isArray(scope) ? scope.filter((one) => typeof one === 'string') : undefined
}
