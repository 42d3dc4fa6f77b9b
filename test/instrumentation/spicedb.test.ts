/** SpiceDB's client against SpiceDB's engine: what the collector's records say of its checks. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { startSpiceDb } from './servers.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

const SCHEMA = `
caveat only_on(day string) { day != "sunday" }
definition user {}
definition document {
  relation reader: user | user with only_on
  permission read = reader
}`
const RELATIONSHIPS = ['document:plan#reader@user:alice', 'document:plan#reader@user:carol[only_on]']

/**
 * OpenTelemetry's gRPC instrumentation never ends the span of a check without metadata and options: the callback is
 * then not the last argument. The span of the connection would wait for it as its parent.
 */
const WITHOUT_NET = { OTEL_NODE_DISABLED_INSTRUMENTATIONS: 'net' }

let collector: CollectorProcess
let application: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  const { url } = await startSpiceDb(SCHEMA, RELATIONSHIPS)
  application = await startApplication(collector, 'spicedb.app.cjs', { SPICEDB: url, ...WITHOUT_NET })
})

afterAll(async () => {
  await application?.stop()
  await collector?.stop()
  await cleanUp()
})

test.each(['/promise', '/callback'])(
  '%s: allowed and denied, with the revision of the data',
  async (path) => {
    for (const [user, outcome, permissionship] of [
      ['alice', 'allow', 2],
      ['bob', 'deny', 1],
    ] as const) {
      const answer = await application.request(`${path}?document=plan&user=${user}`)
      expect(answer.status).toBe(200)
      const given = JSON.parse(answer.body)
      expect(given.permissionship).toBe(permissionship)
      const records = await recordsOf(collector, answer)
      const [decision, ...others] = select(records, 'decision')
      expect(others).toEqual([])
      expect(decision!.claims).toMatchObject({
        'decision.outcome': outcome,
        'decision.subject.id': fingerprint(user),
        'decision.subject.type': 'user',
        'decision.action.name': 'read',
        'decision.resource.id': fingerprint('plan'),
        'decision.resource.type': 'document',
        'decision.engine.name': 'spicedb',
        'policy.data.revision': given.checkedAt.token,
      })
      for (const unknown of ['policy.id', 'policy.version', 'decision.engine.version', 'decision.ttl'])
        expect(decision!.claims[unknown]).toBeUndefined()
      // Asking is no action of the application.
      expect(select(records, 'action')).toEqual([])
    }
  },
)

test('what was asked, not what the application makes of it after the call', async () => {
  const answer = await application.request('/changed?document=plan&user=alice')
  expect(JSON.parse(answer.body).permissionship).toBe(2)
  const [decision] = select(await recordsOf(collector, answer), 'decision')
  const same = await application.request('/promise?document=plan&user=alice')
  const [usual] = select(await recordsOf(collector, same), 'decision')
  expect(decision!.claims['decision.subject.id']).toBe(fingerprint('alice'))
  expect(decision!.claims['decision.input.commitment']).toMatch(/^hmac-sha256:/)
  expect(decision!.claims['decision.input.commitment']).toBe(usual!.claims['decision.input.commitment'])
})

test('a caveat without its context is conditional', async () => {
  const answer = await application.request('/promise?document=plan&user=carol')
  expect(JSON.parse(answer.body).partialCaveatInfo.missingRequiredContext).toEqual(['day'])
  const [decision] = select(await recordsOf(collector, answer), 'decision')
  expect(decision!.claims).toMatchObject({
    'decision.outcome': 'conditional',
    'decision.reason.code': 'missing_context',
  })
})

test('a bulk check is a decision for each of its items', async () => {
  const answer = await application.request('/bulk?document=plan&user=alice&user=bob&user=carol')
  expect(answer.status).toBe(200)
  const decisions = select(await recordsOf(collector, answer), 'decision')
  expect(decisions.map(({ claims }) => [claims['decision.subject.id'], claims['decision.outcome']])).toEqual([
    [fingerprint('alice'), 'allow'],
    [fingerprint('bob'), 'deny'],
    [fingerprint('carol'), 'conditional'],
  ])
})

test.each(['/promise', '/callback'])('%s: a check that fails is an error', async (path) => {
  const answer = await application.request(`${path}?document=plan&user=alice&permission=fly`)
  expect(answer).toMatchObject({ status: 500, body: '9' })
  const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
  expect(others).toEqual([])
  expect(decision!.claims).toMatchObject({
    'decision.outcome': 'error',
    'decision.reason.code': 'failed_precondition',
    'decision.errors.count': 1,
    'decision.action.name': 'fly',
  })
  expect(decision!.claims['policy.data.revision']).toBeUndefined()
})

test('an item that fails in a bulk check is an error beside the others', async () => {
  const answer = await application.request('/bulk?document=plan&user=alice&user=bob&permission=fly')
  const decisions = select(await recordsOf(collector, answer), 'decision', { 'decision.outcome': 'error' })
  expect(decisions).toHaveLength(2)
})

test('a server that is not there is an error', async () => {
  const service = await startApplication(collector, 'spicedb.app.cjs', {
    SPICEDB: '127.0.0.1:2',
    ...WITHOUT_NET,
  })
  const answer = await service.request('/promise?document=plan&user=alice')
  expect(answer).toMatchObject({ status: 500, body: '14' })
  const [decision] = select(await recordsOf(collector, answer), 'decision')
  expect(decision!.claims).toMatchObject({
    'decision.outcome': 'error',
    'decision.reason.code': 'unavailable',
  })
  await service.stop()
})
