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
import { type Fields, isFields, member } from './values.ts'
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
        ({ args: [request, decoded] }) =>
          (outcome) => {
            const token = isFields(request) ? found.get(request) : undefined
            record(recorder, accept, { request, token, decoded }, outcome)
          },
        log,
        { late: true },
      )
      return undefined
    })
  },
}

function isWritable(options: object, name: string): boolean {
  const property = Object.getOwnPropertyDescriptor(options, name)
  return property?.writable === true && typeof property.value === 'function'
}

interface Asked {
  readonly request: unknown
  /** What the application's `getToken` found in it. */
  readonly token: unknown
  /** What jsonwebtoken decoded: header, payload and signature as text. */
  readonly decoded: unknown
}

function record(recorder: Recorder, accept: RecordVerified, asked: Asked, outcome: CallOutcome): void {
  if (outcome.ok && !outcome.value && isAccepted(accept, asked)) return
  const presented = presentedOf(asked)
  const judged = judgedOf(presented)
  if (!outcome.ok) recorder.verification({ ...judged, result: 'unknown', reason: 'error' })
  else if (outcome.value) {
    recorder.authorization({ ...presented, type: 'jwt', verification: 'failed', status: 'revoked' })
    recorder.verification({ ...judged, result: 'fail', reason: 'revoked' })
  } else recorder.verification(judged)
}

/** Records a token that is not revoked, where it came in its usual place, by which its facts are found. */
function isAccepted(accept: RecordVerified, asked: Asked): boolean {
  if (asked.token !== undefined) return false
  const header = member(member(asked.request, 'headers'), 'authorization')
  const { signature, payload } = isFields(asked.decoded) ? asked.decoded : NOTHING
  const id = isFields(payload) ? payload.jti : undefined
  // Whoever asks past the header asks about another token.
  if (typeof header !== 'string' || typeof signature !== 'string' || !isSignedBy(header, signature))
    return false
  if (id !== undefined && typeof id !== 'string') return false
  return accept(header, [id], () => {
    const presented = presentedOf(asked)
    const isOfHeader = presented.token !== undefined && header.endsWith(presented.token)
    return isOfHeader ? { verification: judgedOf(presented) } : undefined
  })
}

const NOTHING: Fields = {}

interface Presented {
  readonly token: string | undefined
  readonly id: string | undefined
}

/** The text is the token if it is what was decoded. */
function presentedOf({ request, token, decoded }: Asked): Presented {
  const { signature, payload } = isFields(decoded) ? decoded : NOTHING
  const text = token ?? bearerOf(request)
  const isIt = typeof text === 'string' && typeof signature === 'string' && isSignedBy(text, signature)
  const id = isFields(payload) ? payload.jti : undefined
  return { token: isIt ? text : undefined, id: typeof id === 'string' ? id : undefined }
}

/** Whether a token ends in a point and this. */
function isSignedBy(token: string, signature: string): boolean {
  return token.endsWith(signature) && token.at(-signature.length - 1) === '.'
}

function judgedOf({ token, id }: Presented): Verification {
  return { type: 'revocation', result: 'pass', method: 'express-jwt.isRevoked', token, targetId: id }
}
