/** Cedar as CommonJS and as an ES module: what the collector's records say of its answers and of its policies. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Application,
  askForDecisions,
  fingerprint,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

function digestOf(canonical: string): string {
  return `sha256:${createHash('sha256').update(canonical).digest('hex')}`
}

/** Of the application's policies, written out. */
const DIGEST = digestOf(
  '{"staticPolicies":{"read":"permit(principal == User::\\"alice\\", action == Action::\\"read\\", resource);",' +
    '"secret":"forbid(principal, action, resource) when { resource.isSecret };"}}',
)
const PERMIT = 'permit(principal, action, resource);'

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

describe.each(['cedar.app.cjs', 'cedar-esm.app.mjs'])('%s', (file) => {
  let application: Application

  beforeAll(async () => {
    application = await startApplication(collector, file)
  })

  afterAll(async () => {
    await application?.stop()
  })

  const ask = (path: string) => askForDecisions(collector, application, path)

  test('what a policy permits', async () => {
    const { body, records, decisions } = await ask('/authorize?secret=no')
    expect(JSON.parse(body)).toMatchObject({ response: { decision: 'allow' } })
    const input =
      '{"action":{"id":"read","type":"Action"},"context":{},' +
      '"principal":{"id":"alice","type":"User"},"resource":{"id":"o1","type":"Order"}}'
    expect(decisions).toEqual([
      {
        'rootspan.event.name': 'governance.decision',
        'decision.id': expect.stringMatching(/^[0-9a-f]{16}-/),
        'decision.outcome': 'allow',
        'decision.subject.id': fingerprint('alice'),
        'decision.subject.type': 'User',
        'decision.action.name': 'read',
        'decision.resource.type': 'Order',
        'decision.resource.id': fingerprint('o1'),
        'decision.input.commitment': fingerprint(input),
        'decision.rule.ids': ['read'],
        'decision.errors.count': 0,
        'decision.engine.name': 'cedar',
        'decision.engine.version': '4.13.0',
        'policy.digest': DIGEST,
      },
    ])
    const hooks = records[0]!.resource['governance.instrumentation.hooks']
    expect(hooks).toContain('@cedar-policy/cedar-wasm@4.13.0 effective')
  })

  test('what a policy forbids, and what none permits', async () => {
    const secret = await ask('/authorize?secret=yes')
    expect(secret.decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'deny',
        'decision.rule.ids': ['secret'],
        'decision.errors.count': 0,
      }),
    ])
    const stranger = await ask('/authorize?secret=no&sub=mallory')
    expect(stranger.decisions[0]!['decision.outcome']).toBe('deny')
    expect(stranger.decisions[0]!['decision.rule.ids']).toBeUndefined()
  })

  test('an answer that is allow although a forbid could not be evaluated', async () => {
    const { body, decisions } = await ask('/authorize')
    expect(JSON.parse(body)).toMatchObject({ response: { decision: 'allow' } })
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'allow',
        'decision.rule.ids': ['read'],
        'decision.errors.count': 1,
      }),
    ])
  })

  test('policies that do not parse, and a call that is none', async () => {
    const broken = await ask('/broken')
    expect(JSON.parse(broken.body)).toMatchObject({ type: 'failure' })
    expect(broken.decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'error',
        'decision.reason.code': 'request_invalid',
        'decision.errors.count': 1,
        'policy.digest': digestOf('{"staticPolicies":"permit(nobody"}'),
      }),
    ])
    const { decisions } = await ask('/throws')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'error',
        'decision.errors.count': 1,
        'decision.reason.code': 'Error',
      }),
    ])
  })

  test('policies as one text', async () => {
    const { decisions } = await ask('/text')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'allow',
        'policy.digest': digestOf(`{"staticPolicies":"${PERMIT}"}`),
      }),
    ])
  })

  test('a partial evaluation that leaves something open', async () => {
    const { body, decisions } = await ask('/partial')
    expect(JSON.parse(body)).toMatchObject({ type: 'residuals' })
    expect(decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'conditional', 'policy.digest': DIGEST }),
    ])
    expect(decisions[0]!['decision.resource.id']).toBeUndefined()
  })

  test('policies that are parsed beforehand', async () => {
    const missing = await ask('/stateful?secret=no')
    expect(missing.decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'error', 'policy.set.id': 'orders' }),
    ])
    expect(missing.decisions[0]!['policy.digest']).toBeUndefined()

    const parsed = await ask('/parse')
    expect(select(parsed.records, 'transition').map(({ claims }) => claims)).toEqual([
      {
        'rootspan.event.name': 'governance.transition',
        'transition.type': 'policy',
        'transition.to': DIGEST,
        'transition.trigger': 'preparsePolicySet',
        'transition.engine.name': 'cedar',
        'policy.id': 'orders',
        'policy.digest': DIGEST,
      },
    ])
    const { decisions } = await ask('/stateful?secret=no')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'allow',
        'policy.set.id': 'orders',
        'policy.digest': DIGEST,
      }),
    ])

    // What does not parse changes nothing; what does, replaces.
    expect(select((await ask('/parse?policy=permit(nobody')).records, 'transition')).toEqual([])
    const [change] = select((await ask(`/parse?policy=${encodeURIComponent(PERMIT)}`)).records, 'transition')
    const next = digestOf(`{"staticPolicies":"${PERMIT}"}`)
    expect(change!.claims).toMatchObject({ 'transition.from': DIGEST, 'transition.to': next })
    expect((await ask('/stateful?secret=no')).decisions[0]!['policy.digest']).toBe(next)
  })
})
