/**
 * express-jwt: verifies through jsonwebtoken, whose hook records the token. What goes beyond that is here: the
 * application's own list of revoked tokens, `isRevoked`, which is asked after the signature held.
 */
import type { Verification } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import { bearerOf } from './bearer.ts'
import type { Hook } from './hook.ts'
import { type CallOutcome, observe } from './observe.ts'
import { isFields } from './values.ts'
import { type RecordVerified, recordVerified } from './verified.ts'

export const expressJwtHook: Hook = {
  library: 'express-jwt',
  versions: { from: '8.0.0', before: '9.0.0' },
  patch(library, recorder) {
    /** What the application's `getToken` found in a request, where there is one. */
    const found = new WeakMap<object, unknown>()
    const accept = recordVerified(recorder)
    library.observe('expressjwt', ({ args: [options] }) => {
      if (!isFields(options) || !isWritable(options, 'isRevoked')) return undefined
      // In place: the middleware reads its options at each request, and a copy would not see them change.
      const own: Record<string, unknown> = options
      const { log } = runtime()
      if (isWritable(options, 'getToken'))
        own.getToken = observe(
          own.getToken,
          ({ args: [request] }) =>
            (outcome) => {
              if (outcome.ok && isFields(request)) found.set(request, outcome.value)
            },
          log,
        )
      own.isRevoked = observe(
        own.isRevoked,
        ({ args: [request, token] }) =>
          (outcome) => {
            const presented = isFields(request) ? (found.get(request) ?? bearerOf(request)) : undefined
            record(recorder, accept, presented, token, outcome)
          },
        log,
      )
      return undefined
    })
  },
}

function isWritable(options: object, name: string): boolean {
  const property = Object.getOwnPropertyDescriptor(options, name)
  return property?.writable === true && typeof property.value === 'function'
}

/** Whether a token ends in a point and this. */
function isSignedBy(token: string, signature: string): boolean {
  return token.endsWith(signature) && token.at(-signature.length - 1) === '.'
}

/** `text` is the token if it is that; `token` what jsonwebtoken decoded: header, payload and signature as text. */
function record(
  recorder: Recorder,
  accept: RecordVerified,
  text: unknown,
  token: unknown,
  outcome: CallOutcome,
): void {
  const { signature, payload } = isFields(token) ? token : {}
  const isIt = typeof text === 'string' && typeof signature === 'string' && isSignedBy(text, signature)
  const presented = {
    token: isIt ? text : undefined,
    id: isFields(payload) && typeof payload.jti === 'string' ? payload.jti : undefined,
  }
  const judged: Verification = {
    type: 'revocation',
    result: 'pass',
    method: 'express-jwt.isRevoked',
    token: presented.token,
    targetId: presented.id,
  }
  if (!outcome.ok) recorder.verification({ ...judged, result: 'unknown', reason: 'error' })
  else if (outcome.value) {
    recorder.authorization({ ...presented, type: 'jwt', verification: 'failed', status: 'revoked' })
    recorder.verification({ ...judged, result: 'fail', reason: 'revoked' })
  } else accept(presented.token, [presented.id], () => ({ verification: judged }))
}
