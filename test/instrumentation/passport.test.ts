/** passport in an Express service: passwords, bearer tokens, sessions. */
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
import { expectNothingLeaked } from './tokens.ts'

const PASSWORD = 'correct horse battery staple'
const WRONG = 'hunter2-hunter2-hunter2'
const TOKEN = 'opaque-token-9f86d081884c7d659a2f'

let collector: CollectorProcess
let wire: Tap
let application: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  wire = await tap(collector.http)
  application = await startApplication({ http: wire.url }, 'passport.app.cjs', { PASSWORD, TOKEN })
})

afterAll(async () => {
  await application?.stop()
  await wire?.close()
  await collector?.stop()
  await cleanUp()
})

type Told = Answer & { records: Shown[] }

async function told(answer: Answer, spans = 1): Promise<Told> {
  return { ...answer, records: await recordsOf(collector, answer, { spans }) }
}

async function post(
  path: string,
  body: object,
  headers: Record<string, string> = {},
  spans = 1,
): Promise<Told> {
  const init = { method: 'POST', body: JSON.stringify(body) }
  const sent = { 'content-type': 'application/json', ...headers }
  return told(await application.request(path, { ...init, headers: sent }), spans)
}

async function get(path: string, headers: Record<string, string> = {}): Promise<Told> {
  return told(await application.request(path, { headers }))
}

const claimsOf = (records: readonly Shown[], kind: string) =>
  select(records, kind).map(({ claims }) => claims)

test('a user of whom not all can be read', async () => {
  const { body, records } = await get('/name', { authorization: 'Bearer odd' })
  expect(body).toBe('{"user":"alice"}')
  expect(claimsOf(records, 'authorization')).toMatchObject([
    {
      'authorization.fingerprint': fingerprint('odd'),
      'authorization.subject': fingerprint('alice'),
      'authorization.verification': 'verified',
    },
  ])
  expect(claimsOf(records, 'verification')).toMatchObject([{ 'verification.result': 'pass' }])
})

test('a password: whom it stands for, and nothing of the password itself', async () => {
  const { body, records } = await post('/password', { username: 'alice', password: PASSWORD })
  expect(body).toBe('{"user":"alice"}')
  const [artifact, ...others] = select(records, 'authorization')
  expect(others).toEqual([])
  expect(artifact!.claims).toMatchObject({
    'authorization.type': 'password',
    'authorization.method': 'local',
    'authorization.subject': fingerprint('alice'),
    'authorization.verification': 'verified',
  })
  expect(artifact!.claims['authorization.fingerprint']).toBeUndefined()
  expect(claimsOf(records, 'verification')).toMatchObject([
    {
      'verification.type': 'credential',
      'verification.result': 'pass',
      'verification.method': 'passport.local',
    },
  ])
  expect(select(records, 'verification')[0]!.causes).toEqual([artifact])
})

test('a user without a name that is known has no subject', async () => {
  const { status, records } = await post('/password', { username: 'bob', password: PASSWORD })
  expect(status).toBe(200)
  const [claims] = claimsOf(records, 'authorization')
  expect(claims!['authorization.verification']).toBe('verified')
  expect(claims!['authorization.subject']).toBeUndefined()
})

test('an action later in the request has the password’s owner as its cause', async () => {
  const { body, records } = await post('/pay', { username: 'alice', password: PASSWORD }, {}, 4)
  expect(body).toBe('{"paid":200}')
  const [action] = select(records, 'action')
  expect(action!.causes.map(({ claims }) => claims)).toMatchObject([
    { 'authorization.inherited': true, 'authorization.subject': fingerprint('alice') },
  ])
})

test.each([
  ['wrong', { username: 'alice', password: WRONG }, 401, 'fail', 'invalid_credentials', 'failed'],
  ['not there', { username: 'alice' }, 400, 'fail', 'credentials_missing', undefined],
  ['not to be checked', { username: 'broken', password: WRONG }, 500, 'unknown', 'error', 'unverified'],
  ['making the check throw', { username: 'thrown', password: WRONG }, 500, 'unknown', 'error', 'unverified'],
])('a password that is %s', async (_, sent, expected, result, reason, verification) => {
  const { status, records } = await post('/password', sent)
  expect(status).toBe(expected)
  expect(claimsOf(records, 'verification')).toMatchObject([
    { 'verification.result': result, 'verification.reason.code': reason },
  ])
  const artifacts = claimsOf(records, 'authorization')
  expect(artifacts.map((claims) => claims['authorization.verification'])).toEqual(
    verification === undefined ? [] : [verification],
  )
  expect(artifacts.some((claims) => 'authorization.subject' in claims)).toBe(false)
})

test('a bearer token: in the header, and in the body', async () => {
  for (const answer of [
    await get('/token', { authorization: `Bearer ${TOKEN}` }),
    await post('/either', { access_token: TOKEN }),
  ]) {
    expect(answer.status).toBe(200)
    expect(claimsOf(answer.records, 'authorization')).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(TOKEN),
        'authorization.type': 'opaque',
        'authorization.method': 'bearer',
        'authorization.subject': fingerprint('alice'),
        'authorization.scope': ['orders:read', 'orders:write'],
        'authorization.verification': 'verified',
      },
    ])
    expect(claimsOf(answer.records, 'verification')).toMatchObject([
      { 'verification.result': 'pass', 'verification.target.fingerprint': fingerprint(TOKEN) },
    ])
  }
})

test.each([
  ['unknown', 'Bearer another-token-of-somebody', 401, 'fail', 'invalid_token', 'failed'],
  ['missing', '', 401, 'fail', 'credentials_missing', undefined],
  ['not to be checked', 'Bearer broken', 500, 'unknown', 'error', 'unverified'],
])('a bearer token that is %s', async (_, authorization, expected, result, reason, verification) => {
  const { status, records } = await get('/token', { authorization })
  expect(status).toBe(expected)
  expect(claimsOf(records, 'verification')).toMatchObject([
    { 'verification.result': result, 'verification.reason.code': reason },
  ])
  expect(claimsOf(records, 'authorization').map((claims) => claims['authorization.verification'])).toEqual(
    verification === undefined ? [] : [verification],
  )
})

test('two strategies: the first has nothing to look at, the second says yes', async () => {
  const { body, records } = await post('/either', { username: 'alice', password: PASSWORD })
  expect(body).toBe('{"user":"alice"}')
  expect(claimsOf(records, 'verification')).toMatchObject([
    { 'verification.method': 'passport.bearer', 'verification.reason.code': 'credentials_missing' },
    { 'verification.method': 'passport.local', 'verification.result': 'pass' },
  ])
  expect(claimsOf(records, 'authorization')).toMatchObject([{ 'authorization.method': 'local' }])
})

test('with a callback of the application, and with a strategy that has no name with passport', async () => {
  const good = await post('/callback', { username: 'alice', password: PASSWORD })
  expect(good.body).toBe('{"user":"alice"}')
  expect(claimsOf(good.records, 'verification')).toMatchObject([{ 'verification.result': 'pass' }])
  const bad = await post('/callback', { username: 'alice', password: WRONG })
  expect(bad.body).toBe('{"user":null}')
  expect(claimsOf(bad.records, 'verification')).toMatchObject([{ 'verification.result': 'fail' }])
  const inline = await post('/inline', { username: 'x', password: WRONG })
  expect(claimsOf(inline.records, 'verification')).toMatchObject([
    { 'verification.method': 'passport.local', 'verification.result': 'pass' },
  ])
})

test('a session: opened by a password, restored, and one whose user is gone', async () => {
  const sent = { 'content-type': 'application/json' }
  const login = await fetch(`${application.url}/login`, {
    method: 'POST',
    headers: sent,
    body: JSON.stringify({ username: 'alice', password: PASSWORD }),
  })
  const cookie = login.headers.get('set-cookie')!
  const sid = cookie.slice('sid='.length)
  const restored = await get('/me', { cookie })
  expect(restored.body).toBe('{"user":"alice"}')
  expect(claimsOf(restored.records, 'authorization')).toMatchObject([
    {
      'authorization.fingerprint': fingerprint(sid),
      'authorization.type': 'session',
      'authorization.method': 'session',
      'authorization.subject': fingerprint('alice'),
      'authorization.expires_at': 1_900_000_000,
      'authorization.verification': 'verified',
    },
  ])
  expect(claimsOf(restored.records, 'verification')).toMatchObject([
    { 'verification.method': 'passport.session' },
  ])

  await fetch(`${application.url}/forget`, { method: 'POST', headers: { cookie } })
  const gone = await get('/me', { cookie })
  expect(gone.body).toBe('{"user":null}')
  expect(claimsOf(gone.records, 'verification')).toMatchObject([
    { 'verification.result': 'fail', 'verification.reason.code': 'user_unknown' },
  ])
  const nobody = await get('/me')
  expect(claimsOf(nobody.records, 'verification')).toEqual([])
  expectNothingLeaked(wire, [sid], fingerprint(sid))
})

test('nothing that left the process holds a password, a token or a message about them', async () => {
  const { records } = await get('/token', { authorization: `Bearer ${TOKEN}` })
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain('passport@0.7.0 effective')
  expectNothingLeaked(wire, [PASSWORD, WRONG, TOKEN, 'another-token-of-somebody'], fingerprint(TOKEN))
})
