/** OpenFGA's client against OpenFGA: what the collector's records say of its checks. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { makeStore, type Store } from './openfga.ts'
import { findServer, startOpenFga } from './servers.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

const openfga = findServer('openfga')

describe.skipIf(openfga === undefined)('OpenFGA', () => {
  let collector: CollectorProcess
  let store: Store
  let application: Application

  beforeAll(async () => {
    collector = await startQuickCollector()
    const server = await startOpenFga(openfga!)
    store = await makeStore(server)
    application = await startApplication(collector, 'openfga.app.cjs', {
      OPENFGA: server.url,
      STORE: store.id,
      MODEL: store.former,
    })
  })

  afterAll(async () => {
    await application?.stop()
    await collector?.stop()
    await cleanUp()
  })

  const outcomes = (decisions: readonly Shown[]) =>
    decisions.map(({ claims }) => [claims['decision.subject.id'], claims['decision.outcome']])

  test.each([
    ['alice', 'allow', true],
    ['bob', 'deny', false],
  ])('%s: %s, under the model that the application pinned', async (user, outcome, allowed) => {
    const answer = await application.request(`/check?user=${user}&document=plan`)
    expect(JSON.parse(answer.body)).toMatchObject({ allowed })
    const records = await recordsOf(collector, answer)
    const [decision, ...others] = select(records, 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.outcome': outcome,
      'decision.subject.id': fingerprint(user),
      'decision.subject.type': 'user',
      'decision.action.name': 'reader',
      'decision.resource.id': fingerprint('plan'),
      'decision.resource.type': 'document',
      'decision.engine.name': 'openfga',
      'policy.id': store.id,
      'policy.version': store.former,
      'policy.pinned': true,
    })
    for (const unknown of ['decision.engine.version', 'decision.ttl', 'policy.digest'])
      expect(decision!.claims[unknown]).toBeUndefined()
    // Asking is no action of the application.
    expect(select(records, 'action')).toEqual([])
  })

  test('what was asked, not what the application makes of it after the call', async () => {
    const answer = await application.request('/changed?user=bob&document=plan')
    expect(JSON.parse(answer.body)).toMatchObject({ allowed: true })
    const [decision] = select(await recordsOf(collector, answer), 'decision')
    const asked = '{"object":"document:plan","relation":"reader","user":"user:bob"}'
    expect(decision!.claims['decision.input.commitment']).toBe(
      fingerprint(`{"contextual_tuples":{"tuple_keys":[${asked}]},"tuple_key":${asked}}`),
    )
  })

  test('without a pinned model the one that decided is known, and that it was not pinned', async () => {
    const answer = await application.request('/unpinned?user=alice&document=plan')
    const [decision] = select(await recordsOf(collector, answer), 'decision')
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'allow',
      'policy.version': store.model,
      'policy.pinned': false,
    })
  })

  test.each(['/batch', '/client-batch'])('%s is a decision for each check', async (path) => {
    const answer = await application.request(`${path}?document=plan&user=alice&user=bob`)
    expect(answer.status).toBe(200)
    const decisions = select(await recordsOf(collector, answer), 'decision')
    expect(decisions).toHaveLength(2)
    expect(outcomes(decisions)).toContainEqual([fingerprint('alice'), 'allow'])
    expect(outcomes(decisions)).toContainEqual([fingerprint('bob'), 'deny'])
    const version = path === '/batch' ? store.model : store.former
    expect(decisions.map(({ claims }) => claims['policy.version'])).toEqual([version, version])
  })

  test('listRelations is a decision for each relation that is asked for', async () => {
    const list = '/relations?user=alice&document=plan'
    const answer = await application.request(`${list}&relation=reader&relation=writer`)
    expect(answer).toMatchObject({ status: 200, body: '{"relations":["reader"]}' })
    const records = await recordsOf(collector, answer)
    const said = select(records, 'decision').map(({ claims }) => [
      claims['decision.action.name'],
      claims['decision.outcome'],
      claims['policy.version'],
    ])
    expect(said).toHaveLength(2)
    expect(said).toContainEqual(['reader', 'allow', store.model])
    expect(said).toContainEqual(['writer', 'deny', store.model])
    expect(select(records, 'action')).toEqual([])
    const refused = await application.request(`${list}&relation=owner`)
    expect(refused.status).toBe(500)
    const [decision, ...others] = select(await recordsOf(collector, refused), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'error',
      'decision.reason.code': 'validation_error',
      'decision.action.name': 'owner',
    })
  })

  test('a check that the server refuses is an error, with its code', async () => {
    const answer = await application.request('/check?user=alice&document=plan&relation=owner')
    expect(answer).toMatchObject({ status: 500, body: 'FgaApiValidationError' })
    const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'error',
      'decision.reason.code': 'validation_error',
      'decision.errors.count': 1,
      'policy.version': store.former,
    })
  })

  test('a check that fails in a batch is an error beside the others', async () => {
    const answer = await application.request('/batch?document=plan&user=alice&relation=owner')
    const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'error',
      'decision.reason.code': 'validation_error',
    })
  })

  test('a server that is not there is an error, and no version is guessed', async () => {
    const answer = await application.request('/unreachable?user=alice&document=plan')
    expect(answer.status).toBe(500)
    const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({ 'decision.outcome': 'error', 'policy.pinned': false })
    expect(decision!.claims['policy.version']).toBeUndefined()
  })
})
