/**
 * express-jwt: verifies through jsonwebtoken, whose hook records the token. What goes beyond that is here: the
 * application's own list of revoked tokens, `isRevoked`, which is asked after the signature held.
 */
import type { Verification } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import type { PreparedToken } from '../scope.ts'
import { bearerOf } from './bearer.ts'
import type { Hook } from './hook.ts'
import { type CallOutcome, listen } from './observe.ts'
import { type Fields, isFields, member } from './values.ts'
import { type VerifiedTokens, verifiedTokens } from './verified.ts'

export const expressJwtHook: Hook = {
  library: 'express-jwt',
  versions: { from: '8.0.0', before: '9.0.0' },
  patch(library, recorder) {
    /** What the application's `getToken` found in a request, where there is one. */
    const found = new WeakMap<object, unknown>()
    const tokens = verifiedTokens(recorder)
    library.observe('expressjwt', ({ args: [options] }) => {
      if (!isFields(options) || !isWritable(options, 'isRevoked')) return undefined
      // In place: the middleware reads its options at each request, and a copy would not see them change.
      const own: Record<string, unknown> = options
      const { log } = runtime()
      if (isWritable(options, 'getToken'))
        own.getToken = listen(
          own.getToken,
          ([request]) =>
            (outcome) => {
              if (outcome.ok && isFields(request)) found.set(request, outcome.value)
            },
          log,
        )
      own.isRevoked = listen(
        own.isRevoked,
        ([request, decoded]) => {
          const token = isFields(request) ? found.get(request) : undefined
          const asked = askedOf(request, token, decoded)
          return (outcome) => record(recorder, tokens, asked, outcome)
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

interface Asked {
  readonly request: unknown
  /** What the application's `getToken` found in it. */
  readonly token: unknown
  readonly signature: string | undefined
  readonly id: string | undefined
}

/** `decoded` is what jsonwebtoken made of the token: header, payload and signature as text. */
function askedOf(request: unknown, token: unknown, decoded: unknown): Asked {
  const { signature, payload } = isFields(decoded) ? decoded : NOTHING
  const id = isFields(payload) ? payload.jti : undefined
  return {
    request,
    token,
    signature: typeof signature === 'string' ? signature : undefined,
    id: typeof id === 'string' ? id : undefined,
  }
}

const NOTHING: Fields = {}

function record(recorder: Recorder, tokens: VerifiedTokens, asked: Asked, outcome: CallOutcome): void {
  if (outcome.ok && !outcome.value) {
    const known = knownOf(tokens, asked)
    if (known === undefined) recorder.verification(judgedOf(presentedOf(asked)))
    else recorder.verified(known)
    return
  }
  const presented = presentedOf(asked)
  const judged = judgedOf(presented)
  if (!outcome.ok) recorder.verification({ ...judged, result: 'unknown', reason: 'error' })
  else {
    recorder.authorization({ ...presented, type: 'jwt', verification: 'failed', status: 'revoked' })
    recorder.verification({ ...judged, result: 'fail', reason: 'revoked' })
  }
}

/** What is recorded of a token that is not revoked, where it came in its usual place, by which it is found. */
function knownOf(tokens: VerifiedTokens, asked: Asked): PreparedToken | undefined {
  const { request, token, signature, id } = asked
  const header = member(member(request, 'headers'), 'authorization')
  // Whoever asks past the header asks about another token.
  if (token !== undefined || !isSignedBy(header, signature)) return undefined
  const known = tokens.find(header, id)
  if (known !== undefined) return known
  const presented = presentedOf(asked)
  const isOfHeader = presented.token !== undefined && header.endsWith(presented.token)
  return isOfHeader ? tokens.keep(header, id, { verification: judgedOf(presented) }) : undefined
}

interface Presented {
  readonly token: string | undefined
  readonly id: string | undefined
}

/** The text is the token if it is what was decoded. */
function presentedOf({ request, token, signature, id }: Asked): Presented {
  const text = token ?? bearerOf(request)
  return { token: isSignedBy(text, signature) ? text : undefined, id }
}

/** Whether a text ends in a point and this. */
function isSignedBy(text: unknown, signature: string | undefined): text is string {
  if (typeof text !== 'string' || signature === undefined) return false
  return text.endsWith(signature) && text.at(-signature.length - 1) === '.'
}

function judgedOf({ token, id }: Presented): Verification {
  return { type: 'revocation', result: 'pass', method: 'express-jwt.isRevoked', token, targetId: id }
}
