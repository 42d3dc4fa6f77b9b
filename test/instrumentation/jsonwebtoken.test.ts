/** jsonwebtoken in an Express service: what the collector's records say of good tokens and bad ones. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
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
import { claimsOf, forge, sign as signWith } from './tokens.ts'

const JWT_KEY = 'the key of the service that signs tokens'
const CLAIMS = claimsOf()
const NOW = CLAIMS.iat

let collector: CollectorProcess
let application: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  application = await startApplication(collector, 'jsonwebtoken.app.cjs', { JWT_KEY })
})

afterAll(async () => {
  await application?.stop()
  await collector?.stop()
  await cleanUp()
})

function sign(claims: object, key = JWT_KEY): string {
  return signWith(claims, key)
}

async function send(
  path: string,
  token: string,
  init: { method?: string; sampled?: boolean } = {},
): Promise<Answer> {
  return application.request(path, { ...init, headers: { authorization: `Bearer ${token}` } })
}

async function shown(answer: Answer, spans?: number): Promise<Shown[]> {
  return recordsOf(collector, answer, spans === undefined ? {} : { spans })
}

test('a good token is an artifact, verified, and the request relies on both', async () => {
  const token = sign({ ...CLAIMS, act: { sub: 'agent-7', act: { sub: 'agent-6' } }, cnf: { jkt: 'x' } })
  const answer = await send('/orders', token)
  expect(answer).toMatchObject({ status: 200, body: '{"user":"alice"}' })
  const records = await shown(answer)
  const [artifact, ...others] = select(records, 'authorization')
  expect(others).toEqual([])
  expect(artifact!.claims).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.type': 'jwt',
    'authorization.id': 'token-1',
    'authorization.issuer': 'https://login.example.com',
    'authorization.subject': fingerprint('alice'),
    'authorization.audience': ['orders'],
    'authorization.scope': ['orders:read', 'orders:write'],
    'authorization.key.id': 'key-1',
    'authorization.algorithm': 'HS256',
    'authorization.issued_at': NOW,
    'authorization.expires_at': NOW + 600,
    'authorization.actor.chain': [fingerprint('agent-7'), fingerprint('agent-6')],
    'delegation.depth': 2,
    'authorization.confirmation': 'dpop',
    'authorization.verification': 'verified',
  })
  expect(artifact!.claims['authorization.not_before']).toBeUndefined()
  const [check] = select(records, 'verification', {
    'verification.result': 'pass',
    'verification.method': 'jsonwebtoken.verify',
    'verification.target.fingerprint': fingerprint(token),
    'verification.checks': ['signature', 'expiry', 'algorithm', 'audience'],
  })
  expect(check!.causes).toEqual([artifact])
  expect(check!.above!.causes).toEqual([artifact, check])
})

test.each([
  ['expired', sign({ ...CLAIMS, exp: NOW - 60 }), 'expired', 'TokenExpiredError', true],
  ['not yet valid', sign({ ...CLAIMS, nbf: NOW + 600 }), 'not_active', 'NotBeforeError', true],
  ['for somebody else', sign({ ...CLAIMS, aud: 'billing' }), 'audience_mismatch', 'JsonWebTokenError', true],
  ['signed by another key', sign(CLAIMS, 'another key'), 'invalid_signature', 'JsonWebTokenError', false],
  ['malformed', 'not-a-token', 'malformed', 'JsonWebTokenError', false],
])('a token that is %s', async (_, token, reason, error, isSigned) => {
  const answer = await send('/orders', token)
  expect(answer).toMatchObject({ status: 401, body: JSON.stringify({ error }) })
  const records = await shown(answer)
  const [artifact] = select(records, 'authorization')
  expect(artifact!.claims).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.verification': 'failed',
  })
  // What a token says of itself is recorded only if its signature held.
  expect(artifact!.claims['authorization.issuer']).toBe(isSigned ? CLAIMS.iss : undefined)
  const [check, ...others] = select(records, 'verification')
  expect(others).toEqual([])
  expect(check!.claims).toMatchObject({ 'verification.result': 'fail', 'verification.reason.code': reason })
  expect(check!.causes).toEqual([artifact])
})

test('other claims under the signature of a token that is known are forged, and the known one is not', async () => {
  const token = sign({ ...CLAIMS, jti: 'known' })
  const forged = forge(token, { ...CLAIMS, jti: 'known', sub: 'mallory' })
  const presented = [token, token, forged, token]
  const recorded: unknown[] = []
  for (const one of presented)
    for (const { claims } of select(await shown(await send('/orders', one)), 'authorization'))
      recorded.push([claims['authorization.fingerprint'], claims['authorization.verification']])
  expect(recorded).toEqual(presented.map((one) => [fingerprint(one), one === forged ? 'failed' : 'verified']))
})

test('an action later in the request inherits the token, and names it as its cause', async () => {
  const token = sign(CLAIMS)
  const answer = await send('/orders', token, { method: 'POST' })
  expect(answer).toMatchObject({ status: 200, body: '{"paid":200}' })
  const records = await shown(answer, 4)
  const [action, ...others] = select(records, 'action')
  expect(others).toEqual([])
  expect(action!.claims).toMatchObject({
    'action.name': 'POST 127.0.0.1',
    'action.type': 'write',
    'action.inferred': true,
    'action.outcome': 'success',
  })
  expect(action!.causes).toHaveLength(1)
  expect(action!.causes[0]!.claims).toMatchObject({
    'authorization.inherited': true,
    'authorization.fingerprint': fingerprint(token),
    'authorization.verification': 'verified',
  })
  // The called service is a request of its own below the action.
  expect(select(records, 'request').map(({ above }) => above)).toContain(action)
})

test('with a callback: verified, refused, and a key that could not be had', async () => {
  const token = sign(CLAIMS)
  const good = await send('/callback', token)
  expect(good).toMatchObject({ status: 200, body: '{"user":"alice"}' })
  // Not the audience, which the application writes into the options after the call.
  expect(select(await shown(good), 'verification')[0]!.claims['verification.checks']).toEqual([
    'signature',
    'expiry',
    'algorithm',
  ])
  const refused = await send('/callback', sign(CLAIMS, 'another key'))
  expect(refused.status).toBe(401)
  const broken = await send('/callback?broken', token)
  expect(broken.status).toBe(401)
  const [fail] = select(await shown(refused), 'verification')
  expect(fail!.claims).toMatchObject({
    'verification.result': 'fail',
    'verification.reason.code': 'invalid_signature',
  })
  const records = await shown(broken)
  expect(select(records, 'verification')[0]!.claims).toMatchObject({
    'verification.result': 'unknown',
    'verification.reason.code': 'key_unavailable',
  })
  expect(select(records, 'authorization')[0]!.claims['authorization.verification']).toBe('unverified')
})

test('with a callback in the place of the options: what is forged is refused, and in force for nothing', async () => {
  const refused = await send('/wrapped', sign(CLAIMS, 'another key'))
  expect(refused.status).toBe(401)
  const records = await shown(refused)
  expect(select(records, 'authorization').map(({ claims }) => claims['authorization.verification'])).toEqual([
    'failed',
  ])
  expect(select(records, 'verification').map(({ claims }) => claims['verification.result'])).toEqual(['fail'])
  const accepted = await send('/wrapped', sign(CLAIMS))
  expect(accepted).toMatchObject({ status: 200, body: '{"user":"alice"}' })
  const [artifact] = select(await shown(accepted), 'authorization')
  expect(artifact!.claims['authorization.verification']).toBe('verified')
})

test('with more behind the callback than there is to give, nothing is known', async () => {
  const refused = await send('/wrapped?behind=more', sign(CLAIMS, 'another key'))
  expect(refused.status).toBe(401)
  const records = await shown(refused)
  expect(select(records, 'authorization')[0]!.claims['authorization.verification']).toBe('unverified')
  expect(select(records, 'verification')[0]!.claims).toMatchObject({
    'verification.result': 'unknown',
    'verification.reason.code': 'outcome_unseen',
  })
})

describe('an application that is careless', () => {
  const careless = async (token: string, options: object) => {
    const answer = await send(`/careless?with=${encodeURIComponent(JSON.stringify(options))}`, token)
    const records = await shown(answer)
    return {
      status: answer.status,
      artifact: select(records, 'authorization')[0]!.claims,
      check: select(records, 'verification')[0]!.claims,
    }
  }

  test('takes a token that nobody signed: nothing is verified, and nothing of it is believed', async () => {
    const unsigned = `${signWith(CLAIMS, JWT_KEY, { alg: 'none' }).split('.').slice(0, 2).join('.')}.`
    const { status, artifact, check } = await careless(unsigned, { algorithms: ['none'] })
    expect(status).toBe(200)
    expect(artifact).toMatchObject({
      'authorization.fingerprint': fingerprint(unsigned),
      'authorization.verification': 'unverified',
    })
    expect(artifact['authorization.issuer']).toBeUndefined()
    expect(check).toMatchObject({
      'verification.result': 'unknown',
      'verification.reason.code': 'unsigned',
      'verification.checks': ['expiry', 'algorithm'],
    })
  })

  test('gives options that switch checks off: they are not said to be made', async () => {
    const options = { secret: true, audience: '', issuer: null, ignoreExpiration: 'true' }
    const { status, check } = await careless(sign({ ...CLAIMS, exp: NOW - 60 }), options)
    expect(status).toBe(200)
    expect(check).toMatchObject({ 'verification.result': 'pass', 'verification.checks': ['signature'] })
  })

  test.each([
    ['no key', {}],
    ['a key of the wrong kind', { secret: true, algorithms: ['RS256'] }, { alg: 'RS256' }],
    ['an age that is none', { secret: true, maxAge: 'soon' }],
  ] as [string, object, object?][])(
    'gives %s: nothing is said about the token',
    async (_, options, header) => {
      const { status, artifact, check } = await careless(signWith(CLAIMS, JWT_KEY, header), options)
      expect(status).toBe(401)
      expect(artifact['authorization.verification']).toBe('unverified')
      expect(check).toMatchObject({ 'verification.result': 'unknown', 'verification.reason.code': 'misuse' })
    },
  )
})

test('a caller that asks not to be recorded is recorded, and that is said', async () => {
  const answer = await send('/orders', sign(CLAIMS), { sampled: false })
  expect(answer.status).toBe(200)
  const records = await shown(answer)
  const [request] = select(records, 'request')
  expect(request!.claims['emitter.sampling']).toBe('parent_not_sampled')
  expect(select(records, 'verification')).toHaveLength(1)
})

test('as an ES module the same, and the self-test says that the hook has taken hold', async () => {
  const service = await startApplication(collector, 'jsonwebtoken-esm.app.mjs', { JWT_KEY })
  const token = sign(CLAIMS)
  const answer = await service.request('/', { headers: { authorization: `Bearer ${token}` } })
  expect(answer).toMatchObject({ status: 200, body: 'alice' })
  const records = await shown(answer)
  expect(select(records, 'authorization', { 'authorization.fingerprint': fingerprint(token) })).toHaveLength(
    1,
  )
  expect(select(records, 'verification', { 'verification.result': 'pass' })).toHaveLength(1)
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain('jsonwebtoken@9.0.3 effective')
  const expired = sign({ ...CLAIMS, exp: 1 })
  for (const [path, refused, verification, result, reason] of [
    ['/', expired, 'failed', 'fail', 'expired'],
    ['/', sign(CLAIMS, 'another key'), 'failed', 'fail', 'invalid_signature'],
    ['/keyless', token, 'unverified', 'unknown', 'misuse'],
  ] as const) {
    const none = await service.request(path, { headers: { authorization: `Bearer ${refused}` } })
    expect(none.status).toBe(401)
    const told = await shown(none)
    expect(select(told, 'authorization').map(({ claims }) => claims)).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(refused),
        'authorization.verification': verification,
      },
    ])
    expect(select(told, 'verification').map(({ claims }) => claims)).toMatchObject([
      { 'verification.result': result, 'verification.reason.code': reason },
    ])
  }
  const { stderr } = await service.stop()
  expect(stderr).toContain('rootspan: hooks: jsonwebtoken@9.0.3 effective')
  expect(stderr).not.toContain('warning')
})

test('a token in the query does not leave the process, although the HTTP instrumentation puts queries on spans', async () => {
  const token = sign(CLAIMS)
  const records = await shown(await send(`/orders?page=2&access_token=${token}`, token))
  const queries = records
    .map(({ attributes }) => attributes?.['url.query'])
    .filter((one) => one !== undefined)
  expect(queries).toContain('page=2&access_token=REDACTED')
  const sent = records.map(({ claims, attributes, resource }) => ({ claims, attributes, resource }))
  expect(JSON.stringify(sent)).not.toContain(token)
})
