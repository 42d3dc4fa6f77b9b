/** express-oauth2-jwt-bearer with a shared secret and with a key set, and its checks of scope. */
import { createHash, generateKeyPairSync, sign as signWith } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import { type Tap, tap } from '../e2e/sdk.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Answer,
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'
import { claimsOf, expectNothingLeaked, sign } from './tokens.ts'

const KEY = 'the key of the service that signs tokens'
const CLAIMS = claimsOf()
const TOKEN = sign(CLAIMS, KEY)
const METHOD = 'express-oauth2-jwt-bearer.auth'

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const keys = createServer((_, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(
    JSON.stringify({ keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'rsa-1', alg: 'RS256' }] }),
  )
})

let collector: CollectorProcess
let wire: Tap
let application: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  wire = await tap(collector.http)
  keys.listen(0, '127.0.0.1')
  await once(keys, 'listening')
  application = await startApplication({ http: wire.url }, 'oauth2-jwt-bearer.app.cjs', {
    JWT_KEY: KEY,
    JWKS_URL: `http://127.0.0.1:${(keys.address() as AddressInfo).port}/`,
  })
})

afterAll(async () => {
  await application?.stop()
  keys.close()
  await wire?.close()
  await collector?.stop()
  await cleanUp()
})

function signRsa(claims: object, kid = 'rsa-1'): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'RS256', typ: 'JWT', kid })}.${encode(claims)}`
  return `${signed}.${signWith('sha256', Buffer.from(signed), privateKey).toString('base64url')}`
}

async function ask(
  path: string,
  token?: string,
  more: Record<string, string> = {},
): Promise<Answer & { records: Shown[] }> {
  const headers = token === undefined ? more : { authorization: `Bearer ${token}`, ...more }
  const answer = await application.request(path, { headers })
  return { ...answer, records: await recordsOf(collector, answer) }
}

test.each([
  ['a shared secret', '/orders', TOKEN, 'HS256'],
  ['a key set', '/keys', signRsa(CLAIMS), 'RS256'],
])('a good token: %s', async (_, path, token, algorithm) => {
  const { body, records } = await ask(path, token)
  expect(body).toBe('{"user":"alice"}')
  const [artifact, ...others] = select(records, 'authorization')
  expect(others).toEqual([])
  expect(artifact!.claims).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.subject': fingerprint('alice'),
    'authorization.issuer': CLAIMS.iss,
    'authorization.algorithm': algorithm,
    'authorization.verification': 'verified',
  })
  const checks = select(records, 'verification')
  expect(checks.map(({ claims }) => claims)).toMatchObject([
    {
      'verification.result': 'pass',
      'verification.method': METHOD,
      'verification.checks': ['signature', 'expiry', 'algorithm', 'audience', 'issuer'],
    },
  ])
  expect(checks[0]!.causes).toEqual([artifact])
})

test('a check that was switched off is not said to have been made', async () => {
  const { status, records } = await ask('/lenient', sign(claimsOf({ aud: 'billing' }), KEY))
  expect(status).toBe(200)
  expect(select(records, 'verification')[0]!.claims['verification.checks']).toEqual([
    'signature',
    'expiry',
    'algorithm',
    'issuer',
  ])
})

// jose accepts those for another audience or of another issuer: the library refuses them afterwards.
test.each([
  ['expired', '/orders', sign(claimsOf({ exp: CLAIMS.iat - 60 }), KEY), 'expired', true],
  ['for somebody else', '/orders', sign(claimsOf({ aud: 'billing' }), KEY), 'audience_mismatch', true],
  [
    'of another issuer',
    '/orders',
    sign(claimsOf({ iss: 'https://evil.example' }), KEY),
    'issuer_mismatch',
    true,
  ],
  ['signed by another key', '/orders', sign(CLAIMS, 'another key'), 'invalid_signature', false],
  ['signed by a key that is not in the set', '/keys', signRsa(CLAIMS, 'rsa-2'), 'key_unknown', false],
  ['malformed', '/orders', 'not-a-token', 'malformed', false],
])('a token that is %s', async (_, path, token, reason, isSigned) => {
  const { status, records } = await ask(path, token)
  expect(status).toBe(401)
  const [artifact, ...others] = select(records, 'authorization')
  expect(others).toEqual([])
  expect(artifact!.claims).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.verification': 'failed',
  })
  expect(artifact!.claims['authorization.audience'] !== undefined).toBe(isSigned)
  expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'fail', 'verification.reason.code': reason, 'verification.method': METHOD },
  ])
})

test('an error: keys that cannot be had are no judgement', async () => {
  const token = signRsa(CLAIMS)
  const { status, records } = await ask('/unreachable', token)
  expect(status).toBe(401)
  expect(select(records, 'authorization')[0]!.claims['authorization.verification']).toBe('unverified')
  expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'unknown', 'verification.reason.code': 'key_unavailable' },
  ])
})

test('a token that is bound to a key, with its proof of possession and without', async () => {
  const pair = await generateKeyPair('ES256')
  const jwk = await exportJWK(pair.publicKey)
  const token = signRsa({ ...CLAIMS, cnf: { jkt: await calculateJwkThumbprint(jwk) } })
  const ath = createHash('sha256').update(token).digest('base64url')
  const proof = await new SignJWT({ htm: 'GET', htu: `${application.url}/keys`, ath })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
    .setIssuedAt()
    .setJti('proof-1')
    .sign(pair.privateKey)
  const proven = await ask('/keys', undefined, { authorization: `DPoP ${token}`, dpop: proof })
  expect(proven.status).toBe(200)
  expect(select(proven.records, 'authorization').map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(token), 'authorization.confirmation': 'dpop' },
  ])
  const checks = select(proven.records, 'verification').map(({ claims }) => claims['verification.checks'])
  expect(checks).toEqual([['signature', 'expiry', 'algorithm', 'audience', 'issuer', 'possession']])
  const stolen = await ask('/keys', token)
  expect(stolen.status).toBe(401)
  expect(select(stolen.records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'fail', 'verification.reason.code': 'possession_unproven' },
  ])
})

test('no token, where one is needed and where none is; a bad one where none is needed', async () => {
  const needed = await ask('/orders')
  expect(needed.status).toBe(401)
  expect(select(needed.records, 'authorization')).toEqual([])
  expect(select(needed.records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'fail', 'verification.reason.code': 'token_missing' },
  ])
  const open = await ask('/public')
  expect(open.status).toBe(200)
  expect(select(open.records, 'verification')).toEqual([])
  const bad = await ask('/public', sign(CLAIMS, 'another key'))
  expect(bad.status).toBe(200)
  expect(select(bad.records, 'authorization')[0]!.claims['authorization.verification']).toBe('failed')
  expect(select(bad.records, 'verification')[0]!.claims['verification.result']).toBe('fail')
})

test('a check of scope is a decision that is enforced: allowed, refused, failed', async () => {
  const allowed = await ask('/read', TOKEN)
  expect(allowed.status).toBe(200)
  const [decision] = select(allowed.records, 'decision')
  expect(decision!.claims).toMatchObject({
    'decision.engine.name': 'express-oauth2-jwt-bearer',
    'decision.engine.version': '1.10.0',
    'decision.outcome': 'allow',
    'decision.enforcement': 'enforced',
    'decision.subject.id': fingerprint('alice'),
    'decision.rule.ids': ['orders:read'],
    'policy.id': 'requiredScopes',
    'authorization.fingerprint': fingerprint(TOKEN),
  })
  expect(decision!.causes.map(({ claims }) => claims['authorization.fingerprint'])).toEqual([
    fingerprint(TOKEN),
  ])
  const refused = await ask('/admin', TOKEN)
  expect(refused.status).toBe(403)
  expect(select(refused.records, 'decision').map(({ claims }) => claims)).toMatchObject([
    { 'decision.outcome': 'deny', 'decision.reason.code': 'insufficient_scope' },
  ])
  const failed = await ask('/broken', TOKEN)
  expect(failed.status).toBe(500)
  expect(select(failed.records, 'decision').map(({ claims }) => claims)).toMatchObject([
    { 'decision.outcome': 'error', 'policy.id': 'claimCheck' },
  ])
})

test('jose of the application’s own behind the middleware is still seen', async () => {
  const second = sign(claimsOf({ sub: 'bob', jti: 'token-2' }), KEY)
  const { body, records } = await ask('/twice', TOKEN, { 'x-second': second })
  expect(body).toBe('{"user":"bob"}')
  expect(select(records, 'verification').map(({ claims }) => claims['verification.method'])).toEqual(
    expect.arrayContaining([METHOD, 'jose.jwtVerify']),
  )
})

test('nothing that left the process holds a token or the key', async () => {
  const { records } = await ask('/orders', TOKEN)
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain(
    'express-oauth2-jwt-bearer@1.10.0 effective',
  )
  expectNothingLeaked(wire, [TOKEN, KEY, signRsa(CLAIMS)], fingerprint(TOKEN))
})
