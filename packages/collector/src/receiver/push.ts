/** Opens the routes at which other systems push facts, as configured: reads their tokens and keys. */
import { createHmac, createSecretKey } from 'node:crypto'
import { parseUtf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
} from 'jose'
import type { Config } from '../config.ts'
import { nodeFiles } from '../files.ts'
import { OperatorError } from '../operator-error.ts'
import { readSmallFile } from '../read-file.ts'
import { opaRoute } from './opa.ts'
import type { Ingest } from './receiver.ts'
import type { Routes } from './route.ts'
import { KeyFetchError, ssfRoute } from './ssf.ts'

const MAX_TOKEN_BYTES = 4096
const MIN_TOKEN_BYTES = 16
const MAX_KEYS_BYTES = 256 * 1024
/** Keys are fetched again after this, or when one is not among them, but not more often than the cooldown says. */
const KEYS_MAX_AGE_MILLIS = 10 * 60_000
const KEYS_COOLDOWN_MILLIS = 30_000
const KEYS_TIMEOUT_MILLIS = 5000

/** Throws an OperatorError where a file is not what it should be. */
export async function openRoutes(
  { opa, ssf }: Pick<Config['receivers'], 'opa' | 'ssf'>,
  ingest: Ingest,
  now: () => bigint,
): Promise<Routes> {
  const routes = new Map()
  if (opa.enabled) {
    const token = await readSecret(opa.tokenFile, 'receivers.opa.token_file')
    routes.set(opa.path, opaRoute({ ingest, token, peer: opa.peer, maxBytes: opa.maxRequestBytes }))
  }
  if (ssf.enabled) {
    const { issuer = '', audience = '', fingerprintKeyFile } = ssf
    const token = await readSecret(ssf.tokenFile, 'receivers.ssf.token_file')
    const keys = await openKeys(ssf)
    const fingerprint =
      fingerprintKeyFile === undefined
        ? undefined
        : createFingerprint(await readSecret(fingerprintKeyFile, 'receivers.ssf.fingerprint_key_file'))
    routes.set(ssf.path, ssfRoute({ ingest, token, issuer, audience, keys, fingerprint, now }))
  }
  return routes
}

/** As services make them: `hmac-sha256:` and the hex of HMAC-SHA256 (docs/instrument/configuration.md). */
function createFingerprint(key: string): (value: string) => string {
  const secret = createSecretKey(Buffer.from(key))
  return (value) => `hmac-sha256:${createHmac('sha256', secret).update(value).digest('hex')}`
}

async function openKeys({ jwksFile, jwksUrl }: Config['receivers']['ssf']): Promise<JWTVerifyGetKey> {
  if (jwksUrl !== undefined)
    return createRemoteJWKSet(new URL(jwksUrl), {
      cacheMaxAge: KEYS_MAX_AGE_MILLIS,
      cooldownDuration: KEYS_COOLDOWN_MILLIS,
      timeoutDuration: KEYS_TIMEOUT_MILLIS,
      [customFetch]: fetchKeys,
    })
  const name = 'receivers.ssf.jwks_file'
  const text = await readText(jwksFile, name, MAX_KEYS_BYTES)
  try {
    return createLocalJWKSet(JSON.parse(text) as JSONWebKeySet)
  } catch (error) {
    throw broken(name, 'holds no JSON Web Key Set', error)
  }
}

/** Fetches keys, and no more of them than there can be. */
async function fetchKeys(url: string, options: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(url, { ...options, redirect: 'error' })
  } catch (error) {
    throw new KeyFetchError('the keys cannot be fetched', { cause: error })
  }
  if (response.status !== 200)
    throw new KeyFetchError(`the keys were answered with status ${response.status}`)
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of response.body ?? []) {
    size += part.length
    if (size > MAX_KEYS_BYTES) throw new KeyFetchError('the keys are over their size')
    parts.push(part)
  }
  return new Response(Buffer.concat(parts), { status: 200, headers: { 'content-type': 'application/json' } })
}

/** A token or key: the text of a file without the white space around it. Its value is in no message. */
async function readSecret(path: string | undefined, name: string): Promise<string> {
  const text = await readText(path, name, MAX_TOKEN_BYTES)
  if (text.length < MIN_TOKEN_BYTES) throw broken(name, `holds under ${MIN_TOKEN_BYTES} characters`)
  return text
}

async function readText(path: string | undefined, name: string, maxBytes: number): Promise<string> {
  let bytes: Uint8Array | undefined
  try {
    bytes = path === undefined ? undefined : await readSmallFile(nodeFiles, path, maxBytes)
    if (bytes !== undefined) return parseUtf8(bytes, 'the file').trim()
  } catch (error) {
    throw broken(name, error instanceof MalformedError ? 'is too large or no text' : 'cannot be read', error)
  }
  throw broken(name, 'is not there')
}

function broken(name: string, what: string, cause?: unknown): OperatorError {
  return new OperatorError(`the file that ${name} names ${what}`, 'Correct the file or the configuration.', {
    cause,
  })
}
