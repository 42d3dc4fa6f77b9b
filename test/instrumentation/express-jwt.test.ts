/** express-jwt: covered by what it calls, jsonwebtoken, but for the application's list of revoked tokens. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
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

let collector: CollectorProcess
let wire: Tap
let application: Application
let audit: Server

beforeAll(async () => {
  collector = await startQuickCollector()
  wire = await tap(collector.http)
  audit = createServer((request, response) => request.resume().on('end', () => response.end()))
  await new Promise<void>((resolve) => audit.listen(0, '127.0.0.1', resolve))
  application = await startApplication({ http: wire.url }, 'express-jwt.app.cjs', {
    JWT_KEY: KEY,
    AUDIT_URL: `http://127.0.0.1:${(audit.address() as AddressInfo).port}`,
  })
})

afterAll(async () => {
  await application?.stop()
  audit?.close()
  await wire?.close()
  await collector?.stop()
  await cleanUp()
})

async function ask(path: string, token?: string): Promise<Answer & { records: Shown[] }> {
  const headers: HeadersInit = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const answer = await application.request(path, { headers })
  return { ...answer, records: await recordsOf(collector, answer) }
}

test('a good token, by the hook of jsonwebtoken', async () => {
  const { body, records } = await ask('/orders', TOKEN)
  expect(body).toBe('{"user":"alice"}')
  expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
    {
      'authorization.fingerprint': fingerprint(TOKEN),
      'authorization.subject': fingerprint('alice'),
      'authorization.verification': 'verified',
    },
  ])
  const [check, ...others] = select(records, 'verification')
  expect(others).toEqual([])
  expect(check!.claims).toMatchObject({
    'verification.result': 'pass',
    'verification.method': 'jsonwebtoken.verify',
    'verification.checks': ['signature', 'expiry', 'algorithm', 'audience'],
  })
  expect(check!.causes).toEqual(select(records, 'authorization'))
})

test.each([
  ['expired', '/orders', sign(claimsOf({ exp: CLAIMS.iat - 60 }), KEY), 'fail', 'expired', 401],
  ['for somebody else', '/orders', sign(claimsOf({ aud: 'billing' }), KEY), 'fail', 'audience_mismatch', 401],
  ['signed by another key', '/orders', sign(CLAIMS, 'another key'), 'fail', 'invalid_signature', 401],
  // An application that does not mind: the record says so, whatever the answer was.
  [
    'expired, and let pass',
    '/lenient',
    sign(claimsOf({ exp: CLAIMS.iat - 60 }), KEY),
    'fail',
    'expired',
    200,
  ],
])('a token that is %s', async (_, path, token, result, reason, expected) => {
  const { status, records } = await ask(path, token)
  expect(status).toBe(expected)
  expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(token), 'authorization.verification': 'failed' },
  ])
  expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': result, 'verification.reason.code': reason },
  ])
})

test('an error: without a key nothing is known of the token', async () => {
  const { status, records } = await ask('/keyless', TOKEN)
  expect(status).toBe(401)
  expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(TOKEN), 'authorization.verification': 'unverified' },
  ])
  expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
    {
      'verification.type': 'credential',
      'verification.result': 'unknown',
      'verification.method': 'jsonwebtoken.verify',
      'verification.reason.code': 'misuse',
      'verification.target.fingerprint': fingerprint(TOKEN),
    },
  ])
})

test('no token: nothing was presented, and nothing is recorded', async () => {
  for (const [path, expected] of [
    ['/orders', 401],
    ['/public', 200],
  ] as const) {
    const { status, records } = await ask(path)
    expect(status).toBe(expected)
    expect(select(records, 'authorization')).toEqual([])
    expect(select(records, 'verification')).toEqual([])
  }
})

test('a list of revoked tokens: not on it, on it, and one that cannot be read', async () => {
  const good = await ask('/listed', TOKEN)
  expect(good.status).toBe(200)
  expect(select(good.records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.type': 'credential', 'verification.result': 'pass' },
    {
      'verification.type': 'revocation',
      'verification.result': 'pass',
      'verification.method': 'express-jwt.isRevoked',
      'verification.target.fingerprint': fingerprint(TOKEN),
      'verification.target.id': 'token-1',
    },
  ])
  const token = sign(claimsOf({ jti: 'revoked' }), KEY)
  const revoked = await ask('/listed', token)
  expect(revoked).toMatchObject({ status: 401, body: '{"error":"revoked_token"}' })
  expect(
    select(revoked.records, 'authorization', { 'authorization.status': 'revoked' })[0]!.claims,
  ).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.verification': 'failed',
  })
  expect(
    select(revoked.records, 'verification', { 'verification.type': 'revocation' })[0]!.claims,
  ).toMatchObject({
    'verification.result': 'fail',
    'verification.reason.code': 'revoked',
  })
  const broken = await ask('/listed', sign(claimsOf({ jti: 'broken' }), KEY))
  expect(broken.status).toBe(500)
  expect(
    select(broken.records, 'verification', { 'verification.type': 'revocation' })[0]!.claims,
  ).toMatchObject({
    'verification.result': 'unknown',
    'verification.reason.code': 'error',
  })
})

test.each([
  ['kept', 200, 'pass'],
  ['revoked', 401, 'fail'],
  ['broken', 500, 'unknown'],
])('a list that is a lazy query is asked once: %s', async (jti, status, result) => {
  const token = sign(claimsOf({ jti }), KEY)
  const answer = await application.request('/queried', { headers: { 'x-token': token } })
  expect(answer.status).toBe(status)
  const records = await recordsOf(collector, answer)
  expect(
    select(records, 'verification', { 'verification.type': 'revocation' }).map(({ claims }) => claims),
  ).toMatchObject([{ 'verification.result': result, 'verification.target.fingerprint': fingerprint(token) }])
})

test.each([
  ['a header', '/audited', (token: string) => ({ authorization: `Bearer ${token}` })],
  ['where the application looks', '/cookie', (token: string) => ({ cookie: `token=${token}` })],
])(
  'a revoked token from %s is not in force for what is done after the refusal',
  async (_, path, headersOf) => {
    const after = async (jti: string): Promise<{ status: number; token: string; action: Shown }> => {
      const token = sign(claimsOf({ jti }), KEY)
      const answer = await application.request(path, { headers: headersOf(token) })
      const records = await recordsOf(collector, answer, { spans: 2 })
      const [action, ...others] = select(records, 'action')
      expect(others).toEqual([])
      if (jti === 'revoked')
        expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
          { 'authorization.fingerprint': fingerprint(token), 'authorization.verification': 'verified' },
          { 'authorization.fingerprint': fingerprint(token), 'authorization.status': 'revoked' },
        ])
      return { status: answer.status, token, action: action! }
    }
    const revoked = await after('revoked')
    expect(revoked.status).toBe(401)
    expect(revoked.action.causes).toEqual([])
    // Of a token of which that is not known nothing is taken back.
    const unknown = await after('broken')
    expect(unknown.status).toBe(500)
    expect(unknown.action.causes.map(({ claims }) => claims)).toMatchObject([
      { 'authorization.fingerprint': fingerprint(unknown.token), 'authorization.inherited': true },
    ])
  },
)

test('nothing that left the process holds a token or the key', async () => {
  const { records } = await ask('/orders', TOKEN)
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain('express-jwt@8.5.1 effective')
  expectNothingLeaked(wire, [TOKEN, KEY, sign(claimsOf({ jti: 'revoked' }), KEY)], fingerprint(TOKEN))
})
