/** jose in ES modules, under require, and as the older copies that other packages bring. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
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
import { claimsOf, expectNothingLeaked, forge, sign } from './tokens.ts'

/** 32 bytes: it encrypts, too. */
const KEY = 'the key of whoever signs tokens.'
const CLAIMS = claimsOf()
const TOKEN = sign(CLAIMS, KEY)

const FORMS = {
  'ES module': ['jose-esm.app.mjs', {}],
  'under require': ['jose.app.cjs', {}],
  'version 4': ['jose.app.cjs', { JOSE: 'express-oauth2-jwt-bearer' }],
  'version 5': ['jose.app.cjs', { JOSE: '@openfga/sdk' }],
} as const

let collector: CollectorProcess
let wire: Tap
const applications = new Map<string, Application>()

beforeAll(async () => {
  collector = await startQuickCollector()
  wire = await tap(collector.http)
  for (const [form, [file, env]] of Object.entries(FORMS))
    applications.set(form, await startApplication({ http: wire.url }, file, { JWT_KEY: KEY, ...env }))
})

afterAll(async () => {
  for (const application of applications.values()) await application.stop()
  await wire?.close()
  await collector?.stop()
  await cleanUp()
})

async function ask(form: string, path: string, token = TOKEN): Promise<{ body: string; records: Shown[] }> {
  const answer = await applications
    .get(form)!
    .request(path, { headers: { authorization: `Bearer ${token}` } })
  return { body: answer.body, records: await recordsOf(collector, answer) }
}

describe.each(Object.keys(FORMS))('%s', (form) => {
  test('a good token is an artifact, verified', async () => {
    const { body, records } = await ask(form, '/')
    expect(body).toBe('alice')
    const [artifact, ...others] = select(records, 'authorization')
    expect(others).toEqual([])
    expect(artifact!.claims).toMatchObject({
      'authorization.fingerprint': fingerprint(TOKEN),
      'authorization.type': 'jwt',
      'authorization.id': 'token-1',
      'authorization.issuer': CLAIMS.iss,
      'authorization.subject': fingerprint('alice'),
      'authorization.audience': ['orders'],
      'authorization.scope': ['orders:read', 'orders:write'],
      'authorization.key.id': 'key-1',
      'authorization.algorithm': 'HS256',
      'authorization.expires_at': CLAIMS.exp,
      'authorization.verification': 'verified',
    })
    const checks = select(records, 'verification')
    expect(checks.map(({ claims }) => claims)).toMatchObject([
      {
        'verification.type': 'credential',
        'verification.result': 'pass',
        'verification.method': 'jose.jwtVerify',
        'verification.checks': ['signature', 'expiry', 'algorithm', 'audience', 'issuer'],
        'verification.target.fingerprint': fingerprint(TOKEN),
      },
    ])
    expect(checks[0]!.causes).toEqual([artifact])
  })

  test.each([
    ['expired', sign(claimsOf({ exp: CLAIMS.iat - 60 }), KEY), 'expired'],
    ['not yet valid', sign(claimsOf({ nbf: CLAIMS.iat + 600 }), KEY), 'not_active'],
    ['for somebody else', sign(claimsOf({ aud: 'billing' }), KEY), 'audience_mismatch'],
    ['signed by another key', sign(CLAIMS, 'another key, that signs tokens too'), 'invalid_signature'],
    ['forged from one that is known', forge(TOKEN, claimsOf({ sub: 'mallory' })), 'invalid_signature'],
  ])('a token that is %s', async (_, token, reason) => {
    const { body, records } = await ask(form, '/', token)
    expect(body).toMatch(/^ERR_J/)
    const isSigned = reason !== 'invalid_signature'
    expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
      {
        'authorization.fingerprint': fingerprint(token),
        'authorization.verification': 'failed',
        ...(isSigned ? { 'authorization.issuer': CLAIMS.iss } : {}),
        ...(reason === 'expired' ? { 'authorization.status': 'expired' } : {}),
      },
    ])
    if (!isSigned) expect(select(records, 'authorization')[0]!.claims['authorization.issuer']).toBeUndefined()
    expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': reason },
    ])
  })

  test('by a key that it brings along a token proves possession, and is nobody’s authority', async () => {
    const ours = await ask(form, '/self-signed')
    expect(ours.body).toBe('mallory')
    expect(select(ours.records, 'authorization')).toEqual([])
    const known = await ask(form, '/embedded')
    expect(known.body).toBe('alice')
    expect(select(known.records, 'authorization')).toHaveLength(1)
    const checks = [...ours.records, ...known.records].flatMap(
      ({ claims }) => claims['verification.checks'] ?? [],
    )
    expect(checks.sort()).toEqual([
      ...['possession', 'possession'],
      ...['signature', 'signature', 'signature', 'signature'],
    ])
  })

  test('an error is no judgement: keys that cannot be had', async () => {
    const { records } = await ask(form, '/unreachable')
    expect(select(records, 'authorization')[0]!.claims['authorization.verification']).toBe('unverified')
    expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
      { 'verification.result': 'unknown', 'verification.reason.code': 'key_unavailable' },
    ])
  })
})

test.each(['ES module', 'under require'])('a file of its own, one fact for each call: %s', async (form) => {
  const { body, records } = await ask(form, '/file')
  expect(body).toBe('alice')
  expect(select(records, 'verification')).toHaveLength(1)
  expect(select(records, 'authorization')).toHaveLength(1)
})

describe('all that jose has', () => {
  const form = 'ES module'

  test.each([
    ['/typed', TOKEN, 'fail', 'type_mismatch'],
    ['/recent', sign(claimsOf({ iat: CLAIMS.iat - 3600 }), KEY), 'fail', 'too_old'],
    ['/', sign(claimsOf({ aud: undefined }), KEY), 'fail', 'claim_missing'],
    ['/', 'not-a-token', 'fail', 'malformed'],
    ['/', sign(CLAIMS, KEY, { alg: 'HS512' }), 'fail', 'algorithm_not_allowed'],
    ['/known', sign(CLAIMS, KEY, { alg: 'ES256', kid: 'key-2' }), 'fail', 'key_unknown'],
    ['/misused', TOKEN, 'unknown', 'misuse'],
  ])('%s: %#', async (path, token, result, reason) => {
    const { records } = await ask(form, path, token)
    expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
      { 'verification.result': result, 'verification.reason.code': reason },
    ])
  })

  test.each(['compact', 'flattened', 'general'])('a signature alone, %s', async (name) => {
    const { records } = await ask(form, `/${name}`)
    expect(
      select(records, 'authorization', { 'authorization.fingerprint': fingerprint(TOKEN) }),
    ).toHaveLength(1)
    // Expiry and audience were not looked at, and are not said to have been.
    expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
      {
        'verification.method': `jose.${name}Verify`,
        'verification.result': 'pass',
        'verification.checks': ['signature'],
      },
    ])
    const bad = await ask(form, `/${name}`, sign(CLAIMS, 'another key, that signs tokens too'))
    expect(select(bad.records, 'verification')[0]!.claims).toMatchObject({
      'verification.result': 'fail',
      'verification.reason.code': 'invalid_signature',
    })
  })

  // Twice: facts of a token that is known are found in another way.
  test.each(['/reused', '/flattened-reused'])(
    'what was verified, not what the application makes of it after the call: %s',
    async (path) => {
      const token = sign(claimsOf({ jti: path }), KEY)
      for (let time = 0; time < 2; time++) {
        const { records } = await ask(form, path, token)
        expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
          {
            'authorization.fingerprint': fingerprint(token),
            'authorization.id': path,
            'authorization.verification': 'verified',
          },
        ])
        expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
          { 'verification.result': 'pass', 'verification.target.fingerprint': fingerprint(token) },
        ])
      }
    },
  )

  test('what is signed but no claim set is nobody’s authority', async () => {
    const { records } = await ask(form, '/compact', sign({ order: 7 }, KEY))
    expect(select(records, 'authorization')).toEqual([])
    expect(select(records, 'verification')[0]!.claims).toMatchObject({
      'verification.type': 'integrity',
      'verification.result': 'pass',
    })
  })

  test('encrypted with a shared key: its claims count', async () => {
    const { body, records } = await ask(form, '/encrypted')
    expect(body).toBe('alice')
    expect(select(records, 'authorization')[0]!.claims).toMatchObject({
      'authorization.subject': fingerprint('alice'),
      'authorization.algorithm': 'dir',
      'authorization.verification': 'verified',
    })
    expect(select(records, 'verification')[0]!.claims['verification.checks']).toEqual(['decryption'])
  })

  test('encrypted to a public key: anybody could have', async () => {
    const { body, records } = await ask(form, '/encrypted-to-us')
    expect(body).toBe('mallory')
    const { claims } = select(records, 'authorization')[0]!
    expect(claims['authorization.verification']).toBe('unverified')
    expect(claims['authorization.subject']).toBeUndefined()
    expect(select(records, 'verification')[0]!.claims).toMatchObject({
      'verification.result': 'unknown',
      'verification.reason.code': 'issuer_unknown',
    })
  })

  test('a proof of possession is no artifact', async () => {
    const { body, records } = await ask(form, '/proof')
    expect(body).toBe('proof-1')
    expect(select(records, 'authorization')).toEqual([])
    expect(select(records, 'verification')[0]!.claims['verification.checks']).toEqual([
      'signature',
      'possession',
    ])
  })
})

test('the self-test finds jose, and nothing that left the processes holds a token or the key', async () => {
  const { records } = await ask('under require', '/')
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain('jose@6.2.18 effective')
  expectNothingLeaked(wire, [TOKEN, KEY, sign(claimsOf({ aud: 'billing' }), KEY)], fingerprint(TOKEN))
})
