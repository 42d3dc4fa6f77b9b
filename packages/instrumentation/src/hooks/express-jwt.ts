/**
 * express-jwt: verifies through jsonwebtoken, whose hook records the token. What goes beyond that is here: the
 * application's own list of revoked tokens, `isRevoked`, which is asked after the signature held.
 */
import type { Recorder } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import { bearerOf } from './bearer.ts'
import type { Hook } from './hook.ts'
import { isClaims } from './jwt.ts'
import { type CallOutcome, observe } from './observe.ts'

export const expressJwtHook: Hook = {
  library: 'express-jwt',
  versions: { from: '8.0.0', before: '9.0.0' },
  patch(library, recorder) {
    library.observe('expressjwt', ({ args: [options] }) => {
      if (!isClaims(options) || !Object.getOwnPropertyDescriptor(options, 'isRevoked')?.writable)
        return undefined
      // In place: the middleware reads its options at each request, and a copy would not see them change.
      const own: Record<string, unknown> = options
      own.isRevoked = observe(
        own.isRevoked,
        ({ args: [request, token] }) =>
          (outcome) =>
            record(recorder, request, token, outcome),
        runtime().log,
      )
      return undefined
    })
  },
}

/** `token` is what jsonwebtoken decoded: header, payload and the text of the signature. */
function record(recorder: Recorder, request: unknown, token: unknown, outcome: CallOutcome): void {
  const { signature, payload } = isClaims(token) ? token : {}
  const bearer = bearerOf(request)
  const isIt = typeof signature === 'string' && bearer?.endsWith(`.${signature}`)
  const presented = {
    token: isIt ? bearer : undefined,
    id: isClaims(payload) && typeof payload.jti === 'string' ? payload.jti : undefined,
  }
  const isRevoked = outcome.ok && Boolean(outcome.value)
  if (isRevoked)
    recorder.authorization({ ...presented, type: 'jwt', verification: 'failed', status: 'revoked' })
  recorder.verification({
    type: 'revocation',
    result: !outcome.ok ? 'unknown' : isRevoked ? 'fail' : 'pass',
    method: 'express-jwt.isRevoked',
    reason: !outcome.ok ? 'error' : isRevoked ? 'revoked' : undefined,
    token: presented.token,
    targetId: presented.id,
  })
}
