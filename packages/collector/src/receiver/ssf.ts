/**
 * A receiver of the Shared Signals Framework by push: security event tokens (RFC 8417) over HTTP (RFC 8935), each
 * verified before it is taken.
 *
 * A verified token becomes log records about governance (`ssf-event.ts`) that hold it verbatim, so that whoever has
 * the issuer's keys can verify it again. The same token gives the same records: a repeated delivery adds nothing.
 */
import type { IncomingHttpHeaders } from 'node:http'
import { parseUtf8 } from '@rootspan/lineage/bytes'
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { encodeLogRequest } from './log-request.ts'
import { type Ingest, Refusal } from './receiver.ts'
import { type Answer, bearerCheck, mediaOf, type Route } from './route.ts'
import { signalsOf } from './ssf-event.ts'
import { httpStatus } from './status.ts'

export interface SsfOptions {
  readonly ingest: Ingest
  /** The bearer token that the transmitter is configured with. */
  readonly token: string
  readonly issuer: string
  readonly audience: string
  /** The transmitter's keys. */
  readonly keys: JWTVerifyGetKey
  /** Makes a keyed fingerprint of an identity; identities are left as they are without it. */
  readonly fingerprint?: ((value: string) => string) | undefined
  /** Nanoseconds since 1970. */
  readonly now: () => bigint
}

/** Larger than any event: they carry a subject and some words. */
const MAX_SET_BYTES = 64 * 1024
/** Signatures only: a symmetric algorithm would make a secret of what is published. */
const ALGORITHMS = [
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
  'RS384',
  'RS512',
]
const CLOCK_TOLERANCE = 60
const MEDIA = 'application/secevent+jwt'

export function ssfRoute(options: SsfOptions): Route {
  const authenticate = bearerCheck(options.token)
  return {
    maxBytes: MAX_SET_BYTES,
    admit(headers: IncomingHttpHeaders) {
      authenticate(headers)
      if (mediaOf(headers) !== MEDIA) throw new Refusal('unsupported', `the content type is not ${MEDIA}`)
    },
    async take(body, onGone) {
      const text = parseUtf8(body, 'the body').trim()
      const payload = await verifySet(text, options)
      const records = signalsOf(payload, text, options.fingerprint)
      if (records.length > 0) {
        const request = encodeLogRequest('ssf', { 'service.name': options.issuer }, records)
        const received = { receiver: 'ssf', signal: 'logs', tracked: false, peer: options.issuer } as const
        await options.ingest({ ...received, body: request, onGone })
      }
      return { status: 202, content: '' }
    },
    refuse: refusalAnswer,
  }
}

async function verifySet(text: string, options: SsfOptions): Promise<JWTPayload> {
  const { issuer, audience, keys, now } = options
  let payload: JWTPayload
  try {
    const verified = await jwtVerify(text, keys, {
      issuer,
      audience,
      typ: 'secevent+jwt',
      algorithms: ALGORITHMS,
      requiredClaims: ['iat', 'jti', 'events'],
      clockTolerance: CLOCK_TOLERANCE,
      currentDate: new Date(Number(now() / 1_000_000n)),
    })
    payload = verified.payload
  } catch (error) {
    throw setError(error)
  }
  const { iat } = payload
  if (iat === undefined || iat > Number(now() / 1_000_000_000n) + CLOCK_TOLERANCE)
    throw new SetRefusal('invalid_request', 'the token is from the future')
  return payload
}

/** The error codes of RFC 8935, section 2.4. */
type SetErrorCode = 'invalid_request' | 'invalid_key' | 'invalid_issuer' | 'invalid_audience'

/** A token that was refused, under the code that its transmitter is told. */
class SetRefusal extends Refusal {
  readonly err: SetErrorCode

  constructor(err: SetErrorCode, message: string, options?: ErrorOptions) {
    super('malformed', message, options)
    this.err = err
  }
}

/** What jose throws, as what the transmitter is told. Its messages hold names of claims and no values. */
function setError(error: unknown): Error {
  if (error instanceof errors.JWTClaimValidationFailed) {
    const code =
      error.claim === 'iss'
        ? 'invalid_issuer'
        : error.claim === 'aud'
          ? 'invalid_audience'
          : 'invalid_request'
    return new SetRefusal(code, error.message, { cause: error })
  }
  if (
    error instanceof errors.JWSSignatureVerificationFailed ||
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys
  )
    return new SetRefusal('invalid_key', 'the signature is by none of the known keys', { cause: error })
  // Keys that cannot be fetched are our trouble: the transmitter keeps the token and comes again.
  if (error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid || isFetchError(error))
    return new Refusal('unavailable', 'the keys of the issuer cannot be read now', { cause: error })
  if (error instanceof errors.JOSEError)
    return new SetRefusal('invalid_request', error.message, { cause: error })
  return error instanceof Error ? error : new Error('bad verification', { cause: error })
}

/** A fetch that failed, or a status that jose did not expect, which it reports as its base class. */
function isFetchError(error: unknown): boolean {
  return (
    error instanceof KeyFetchError || (error instanceof errors.JOSEError && error.code === 'ERR_JOSE_GENERIC')
  )
}

/** The keys of an issuer could not be fetched. */
export class KeyFetchError extends Error {
  override readonly name = 'KeyFetchError'
}

/** RFC 8935, section 2.3: a JSON object with `err` and `description`. */
function refusalAnswer(refusal: Refusal): Answer {
  const err =
    refusal instanceof SetRefusal
      ? refusal.err
      : refusal.code === 'unauthenticated'
        ? 'authentication_failed'
        : 'invalid_request'
  const content = JSON.stringify({ err, description: refusal.message })
  return { status: httpStatus(refusal), content, headers: { 'Content-Language': 'en' } }
}
