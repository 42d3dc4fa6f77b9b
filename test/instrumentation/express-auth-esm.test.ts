/** The packages for Express in an application that is an ES module. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'
import { claimsOf, sign } from './tokens.ts'

const KEY = 'the key of the service that signs tokens'
const TOKEN = sign(claimsOf(), KEY)
/** By its header one for which keys have to be fetched. */
const RSA = `${Buffer.from('{"alg":"RS256","kid":"k1"}').toString('base64url')}.${TOKEN.split('.', 2)[1]}.c2ln`

let collector: CollectorProcess
let application: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  application = await startApplication(collector, 'express-auth-esm.app.mjs', { JWT_KEY: KEY, TOKEN })
})

afterAll(async () => {
  await application?.stop()
  await collector?.stop()
  await cleanUp()
})

test.each([
  ['/express-jwt', ['jsonwebtoken.verify', 'express-jwt.isRevoked'], 0],
  ['/express-oauth2-jwt-bearer', ['express-oauth2-jwt-bearer.auth'], 1],
  ['/passport', ['passport.bearer'], 0],
])('%s: good and bad', async (path, methods, decisions) => {
  const headers = { authorization: `Bearer ${TOKEN}` }
  const answer = await application.request(path, { headers })
  expect(answer.status).toBe(200)
  const records = await recordsOf(collector, answer)
  expect(
    select(records, 'authorization', { 'authorization.fingerprint': fingerprint(TOKEN) }).length,
  ).toBeGreaterThan(0)
  expect(
    select(records, 'verification', { 'verification.result': 'pass' }).map(
      ({ claims }) => claims['verification.method'],
    ),
  ).toEqual(methods)
  expect(select(records, 'decision', { 'decision.outcome': 'allow' })).toHaveLength(decisions)

  const bad = await application.request(path, {
    headers: { authorization: `Bearer ${sign(claimsOf(), 'another key')}` },
  })
  expect(bad.status).toBe(401)
  const [check, ...others] = select(await recordsOf(collector, bad), 'verification')
  expect(others).toEqual([])
  expect(check!.claims).toMatchObject({
    'verification.result': 'fail',
    'verification.method': methods[0],
  })
})

test.each([
  ['/express-jwt/broken', TOKEN, 401, 'jsonwebtoken.verify', 'misuse'],
  ['/express-oauth2-jwt-bearer/broken', RSA, 401, 'express-oauth2-jwt-bearer.auth', 'key_unavailable'],
  ['/passport/broken', TOKEN, 500, 'passport.bearer', 'error'],
])('%s: an error is no judgement', async (path, token, status, method, reason) => {
  const answer = await application.request(path, { headers: { authorization: `Bearer ${token}` } })
  expect(answer.status).toBe(status)
  const records = await recordsOf(collector, answer)
  expect(select(records, 'authorization').map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(token), 'authorization.verification': 'unverified' },
  ])
  expect(select(records, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'unknown', 'verification.method': method, 'verification.reason.code': reason },
  ])
})

test('the self-test finds them all in effect', async () => {
  const { stderr } = await application.stop()
  for (const library of [
    'express-jwt@8.5.1',
    'express-oauth2-jwt-bearer@1.10.0',
    'passport@0.7.0',
    'jose@6.2.18',
  ])
    expect(stderr).toContain(`${library} effective`)
  expect(stderr).not.toContain('warning')
})
