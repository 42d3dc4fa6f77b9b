/** openid-client against a real OpenID provider: grants, introspection, revocation. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, type Running, startProgram } from '../e2e/process.ts'
import { type Tap, tap } from '../e2e/sdk.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'
import { expectNothingLeaked } from './tokens.ts'

const CLIENT_SECRET = 'the-secret-of-the-client-shop'
const CHECKS = { expectedState: 'the-state-of-this-login', expectedNonce: 'the-nonce-of-this-login' }

const FORMS = { 'ES module': 'openid-client-esm.app.mjs', 'under require': 'openid-client.app.cjs' }

let collector: CollectorProcess
let wire: Tap
let provider: Running
let issuer: string
const applications = new Map<string, Application>()
/** All tokens and codes that there were. */
const secrets: string[] = [CLIENT_SECRET, 'a-wrong-client-secret']

beforeAll(async () => {
  collector = await startQuickCollector()
  wire = await tap(collector.http)
  provider = startProgram(process.execPath, [join(import.meta.dirname, 'apps/oidc.service.mjs')], {
    name: 'the OpenID provider',
    env: { CLIENT_SECRET },
  })
  issuer = (await provider.says(/listening on (http:\S+)$/m))[1]!
  const env = { ISSUER: issuer, CLIENT_SECRET }
  for (const [form, file] of Object.entries(FORMS))
    applications.set(form, await startApplication({ http: wire.url }, file, env))
})

afterAll(async () => {
  for (const application of applications.values()) await application.stop()
  provider?.signal('SIGTERM')
  await provider?.ends()
  await wire?.close()
  await collector?.stop()
  await cleanUp()
})

interface Tokens {
  readonly access_token: string
  readonly refresh_token: string
  readonly id_token: string
  readonly url: string
  readonly active: boolean
}

interface Told {
  readonly status: number
  readonly answer: Tokens
  readonly records: Shown[]
}

async function call(form: string, path: string, sent: object = {}, spans = 1): Promise<Told> {
  const answer = await applications.get(form)!.request(path, { method: 'POST', body: JSON.stringify(sent) })
  const told = answer.status === 200 ? JSON.parse(answer.body) : {}
  for (const name of ['access_token', 'refresh_token', 'id_token'])
    if (typeof told[name] === 'string') secrets.push(told[name])
  return { status: answer.status, answer: told, records: await recordsOf(collector, answer, { spans }) }
}

const claimsOf = (records: readonly Shown[], kind: string) =>
  select(records, kind).map(({ claims }) => claims)

/** What alice's browser does: follows redirects, with cookies, until one leads back to the client. */
async function logIn(form: string): Promise<string> {
  let { url } = (await call(form, '/shop/start', CHECKS)).answer
  const cookies = new Map<string, string>()
  for (let steps = 0; steps < 10 && !url.startsWith('http://127.0.0.1/callback'); steps++) {
    const cookie = [...cookies].map((pair) => pair.join('=')).join('; ')
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } })
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)!
      cookies.set(name!, value!)
    }
    const location = response.headers.get('location')
    if (location === null) throw new Error(`${response.status} at ${url}: ${await response.text()}`)
    url = new URL(location, url).href
  }
  secrets.push(new URL(url).searchParams.get('code')!)
  return url
}

async function login(form: string): Promise<Told> {
  return call(form, '/shop/code', { url: await logIn(form), ...CHECKS })
}

describe.each(Object.keys(FORMS))('%s', (form) => {
  test('a code becomes an ID token and an access token', async () => {
    const before = Math.floor(Date.now() / 1000)
    const { answer, records } = await login(form)
    const [identity, access, ...others] = select(records, 'authorization')
    expect(others).toEqual([])
    expect(identity!.claims).toMatchObject({
      'authorization.fingerprint': fingerprint(answer.id_token),
      'authorization.type': 'jwt',
      'authorization.issuer': issuer,
      'authorization.subject': fingerprint('alice'),
      'authorization.audience': ['shop'],
      'authorization.key.id': 'provider-1',
      'authorization.algorithm': 'RS256',
      'authorization.verification': 'verified',
    })
    expect(access!.claims).toMatchObject({
      'authorization.fingerprint': fingerprint(answer.access_token),
      'authorization.type': 'opaque',
      'authorization.issuer': issuer,
      'authorization.subject': fingerprint('alice'),
      'authorization.client.id': fingerprint('shop'),
      'authorization.scope': ['openid', 'offline_access', 'orders:read', 'orders:write'],
      'authorization.method': 'openid-client.authorizationCodeGrant',
      'authorization.verification': 'verified',
      'authorization.status': 'active',
    })
    expect(access!.claims['authorization.expires_at']).toBeGreaterThanOrEqual(before + 600)
    const checks = select(records, 'verification')
    expect(checks.map(({ claims }) => claims)).toMatchObject([
      {
        'verification.result': 'pass',
        'verification.target.fingerprint': fingerprint(answer.id_token),
        'verification.checks': ['issuer', 'audience', 'expiry', 'nonce', 'state'],
      },
      { 'verification.result': 'pass', 'verification.target.fingerprint': fingerprint(answer.access_token) },
    ])
    // Asking for tokens is no action of the application.
    expect(select(records, 'action')).toEqual([])
  })

  test('a code that was used, a wrong state, and a nonce that is another login’s', async () => {
    const url = await logIn(form)
    const wrongState = await call(form, '/shop/code', { url, ...CHECKS, expectedState: 'another' })
    expect(wrongState.status).toBe(502)
    expect(claimsOf(wrongState.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'response_invalid' },
    ])
    const wrongNonce = await call(form, '/shop/code', { url, ...CHECKS, expectedNonce: 'another' })
    expect(wrongNonce.status).toBe(502)
    expect(claimsOf(wrongNonce.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'claims_mismatch' },
    ])
    const used = await call(form, '/shop/code', { url, ...CHECKS })
    expect(used.status).toBe(502)
    expect(claimsOf(used.records, 'authorization')).toEqual([])
    expect(claimsOf(used.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'invalid_grant' },
    ])
  })

  test('the user says no: the answer in the redirect', async () => {
    const url = `http://127.0.0.1/callback?error=access_denied&state=${CHECKS.expectedState}&iss=${issuer}`
    const { status, records } = await call(form, '/shop/code', { url, ...CHECKS })
    expect(status).toBe(502)
    expect(claimsOf(records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'access_denied' },
    ])
  })

  test('a token of the service’s own, and the action that relies on it', async () => {
    const { answer, records } = await call(form, '/shop/service')
    expect(claimsOf(records, 'authorization')).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(answer.access_token),
        'authorization.issuer': issuer,
        'authorization.client.id': fingerprint('shop'),
        'authorization.scope': ['orders:read'],
        'authorization.verification': 'verified',
      },
    ])
    expect(claimsOf(records, 'authorization')[0]!['authorization.subject']).toBeUndefined()
    const bought = await call(form, '/shop/buy', {}, 3)
    const actions = select(bought.records, 'action')
    expect(actions).toHaveLength(1)
    expect(actions[0]!.causes.map(({ claims }) => claims)).toMatchObject([
      { 'authorization.inherited': true, 'authorization.issuer': issuer },
    ])
  })

  test('a client that is refused, and a provider that is not there', async () => {
    const refused = await call(form, '/impostor/service')
    expect(refused.status).toBe(502)
    expect(claimsOf(refused.records, 'authorization')).toEqual([])
    expect(claimsOf(refused.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'invalid_client' },
    ])
    const gone = await call(form, '/gone/service')
    expect(claimsOf(gone.records, 'verification')).toMatchObject([
      { 'verification.result': 'unknown', 'verification.reason.code': 'unreachable' },
    ])
  })

  test('refresh: the new token names the one that it came from; the old one is no good a second time', async () => {
    const { answer } = await login(form)
    const { answer: next, records } = await call(form, '/shop/refresh', { token: answer.refresh_token })
    expect(
      select(records, 'authorization', { 'authorization.fingerprint': fingerprint(next.access_token) })[0]!
        .claims,
    ).toMatchObject({
      'authorization.parent.fingerprint': fingerprint(answer.refresh_token),
      'authorization.subject': fingerprint('alice'),
      'authorization.verification': 'verified',
    })
    const again = await call(form, '/shop/refresh', { token: answer.refresh_token })
    expect(again.status).toBe(502)
    expect(claimsOf(again.records, 'authorization')).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(answer.refresh_token),
        'authorization.verification': 'failed',
      },
    ])
    expect(claimsOf(again.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'invalid_grant' },
    ])
    const gone = await call(form, '/gone/refresh', { token: answer.refresh_token })
    expect(claimsOf(gone.records, 'authorization')[0]!['authorization.verification']).toBe('unverified')
  })

  test('token exchange: narrower, and it names the token that it came from', async () => {
    const { answer } = await login(form)
    const { answer: next, records } = await call(form, '/shop/exchange', { token: answer.access_token })
    expect(claimsOf(records, 'authorization')).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(next.access_token),
        'authorization.parent.fingerprint': fingerprint(answer.access_token),
        'authorization.scope': ['orders:read'],
        'authorization.method': 'openid-client.genericGrantRequest',
        'authorization.verification': 'verified',
      },
    ])
    const refused = await call(form, '/shop/exchange', { token: 'a-token-that-nobody-knows' })
    expect(claimsOf(refused.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'invalid_grant' },
    ])
    const gone = await call(form, '/gone/exchange', { token: answer.access_token })
    expect(claimsOf(gone.records, 'verification')).toMatchObject([
      { 'verification.result': 'unknown', 'verification.reason.code': 'unreachable' },
    ])
  })

  test('introspection and revocation: active, revoked, inactive', async () => {
    const { answer } = await login(form)
    const token = answer.access_token
    const active = await call(form, '/shop/introspect', { token })
    expect(claimsOf(active.records, 'authorization')).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(token),
        'authorization.type': 'opaque',
        'authorization.issuer': issuer,
        'authorization.subject': fingerprint('alice'),
        'authorization.client.id': fingerprint('shop'),
        'authorization.verification': 'verified',
        'authorization.status': 'active',
      },
    ])
    expect(claimsOf(active.records, 'authorization')[0]!['authorization.expires_at']).toBeTypeOf('number')
    expect(claimsOf(active.records, 'verification')).toMatchObject([
      {
        'verification.result': 'pass',
        'verification.method': 'openid-client.tokenIntrospection',
        'verification.checks': ['active'],
      },
    ])

    const revoked = await call(form, '/shop/revoke', { token })
    expect(revoked.status).toBe(200)
    expect(claimsOf(revoked.records, 'authorization')).toMatchObject([
      { 'authorization.fingerprint': fingerprint(token), 'authorization.status': 'revoked' },
    ])
    expect(claimsOf(revoked.records, 'transition')).toMatchObject([
      {
        'transition.type': 'authority',
        'transition.to': 'revoked',
        'transition.trigger': 'openid-client.tokenRevocation',
        'transition.target.fingerprint': fingerprint(token),
      },
    ])

    const inactive = await call(form, '/shop/introspect', { token })
    expect(inactive.answer.active).toBe(false)
    const [claims] = claimsOf(inactive.records, 'authorization')
    expect(claims).toMatchObject({ 'authorization.verification': 'failed' })
    expect(claims!['authorization.subject']).toBeUndefined()
    expect(claims!['authorization.status']).toBeUndefined()
    expect(claimsOf(inactive.records, 'verification')).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': 'inactive' },
    ])
  })

  test.each([
    ['/impostor/introspect', 'credential', 'invalid_client'],
    ['/gone/introspect', 'credential', 'unreachable'],
    ['/impostor/revoke', 'revocation', 'invalid_client'],
    ['/gone/revoke', 'revocation', 'unreachable'],
  ])('an error is no judgement, and no change: %s', async (path, type, reason) => {
    const { status, records } = await call(form, path, { token: 'a-token-that-nobody-knows' })
    expect(status).toBe(502)
    expect(claimsOf(records, 'verification')).toMatchObject([
      { 'verification.type': type, 'verification.result': 'unknown', 'verification.reason.code': reason },
    ])
    expect(claimsOf(records, 'transition')).toEqual([])
    expect(select(records, 'authorization', { 'authorization.verification': 'verified' })).toEqual([])
  })
})

test('nothing that left the processes holds a token, a code or the client’s secret', async () => {
  const { answer, records } = await call('ES module', '/shop/service')
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain('openid-client@6.9.0 effective')
  expect(secrets.length).toBeGreaterThan(20)
  expectNothingLeaked(wire, [...secrets, 'a-token-that-nobody-knows'], fingerprint(answer.access_token))
})
