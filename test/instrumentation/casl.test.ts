/** CASL as CommonJS and as an ES module: what the collector's records say of checks and of rules that change. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Application,
  askForDecisions,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

/** Of the rules that alice's ability has, written out. */
const DIGEST = `sha256:${createHash('sha256')
  .update(
    '[{"action":"read","subject":"Order"},' +
      '{"action":"update","conditions":{"owner":"alice"},"subject":"Order"},' +
      '{"action":"delete","inverted":true,"reason":"orders are kept","subject":"Order"}]',
  )
  .digest('hex')}`

let collector: CollectorProcess

beforeAll(async () => {
  collector = await startQuickCollector()
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

describe.each(['casl.app.cjs', 'casl-esm.app.mjs'])('%s', (file) => {
  let application: Application

  beforeAll(async () => {
    application = await startApplication(collector, file)
  })

  afterAll(async () => {
    await application?.stop()
  })

  const ask = (path: string) => askForDecisions(collector, application, path)

  test('what a rule allows', async () => {
    const { body, records, decisions } = await ask('/read?user=alice')
    expect(body).toBe('true')
    expect(decisions).toEqual([
      {
        'rootspan.event.name': 'governance.decision',
        'decision.id': expect.stringMatching(/^[0-9a-f]{16}-/),
        'decision.outcome': 'allow',
        'decision.count': 1,
        'decision.action.name': 'read',
        'decision.resource.type': 'Order',
        'decision.rule.ids': ['rule:0'],
        'decision.engine.name': 'casl',
        'decision.engine.version': '7.0.1',
        'policy.digest': DIGEST,
      },
    ])
    expect(records[0]!.resource['governance.instrumentation.hooks']).toContain(
      '@casl/ability@7.0.1 effective',
    )
  })

  test('what a rule forbids, what no rule allows, and what its conditions do not allow', async () => {
    const forbidden = await ask('/delete?user=alice')
    // `cannot` asks `can`, and is one decision.
    expect(forbidden.body).toBe('true')
    expect(forbidden.decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'deny',
        'decision.count': 1,
        'decision.reason.code': 'orders are kept',
        'decision.rule.ids': ['rule:2'],
      }),
    ])
    const unknown = await ask('/pay?user=alice')
    expect(unknown.decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'deny', 'decision.reason.code': 'no_rule' }),
    ])
    expect(unknown.decisions[0]!['decision.rule.ids']).toBeUndefined()
    const foreign = await ask('/update?user=alice&owner=bob')
    expect(foreign.body).toBe('false')
    expect(foreign.decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'deny',
        'decision.resource.type': 'Order',
        'decision.reason.code': 'no_rule',
        'policy.digest': DIGEST,
      }),
    ])
    const own = await ask('/update?user=alice&owner=alice')
    expect(own.decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'allow', 'decision.rule.ids': ['rule:1'] }),
    ])
  })

  test('a class as the subject of a rule is known by its name', async () => {
    const { body, decisions } = await ask('/class')
    expect(body).toBe('[true,false]')
    const digest = createHash('sha256').update('[{"action":"read","subject":"Order"}]').digest('hex')
    expect(decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'allow', 'decision.resource.type': 'Order' }),
      expect.objectContaining({ 'decision.outcome': 'deny', 'policy.digest': `sha256:${digest}` }),
    ])
  })

  test('ForbiddenError asks too', async () => {
    const { body, decisions } = await ask('/ensure?user=alice')
    expect(body).toBe('orders are kept')
    expect(decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'deny', 'decision.action.name': 'delete' }),
    ])
  })

  test('a check that is no check is an error', async () => {
    const { body, decisions } = await ask('/misuse?user=alice')
    expect(body).toContain('expected to be a string')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'error',
        'decision.errors.count': 1,
        'decision.reason.code': 'Error',
        'policy.digest': DIGEST,
      }),
    ])
  })

  test('thousands of checks are one event for each answer', async () => {
    const { body, decisions } = await ask('/many?user=alice')
    expect(body).toBe('4000')
    expect(decisions.map((one) => [one['decision.outcome'], one['decision.count']])).toEqual([
      ['deny', 1000],
      ['allow', 4000],
    ])
  })

  test('rules that change are a transition', async () => {
    const { body, records, decisions } = await ask('/widen?user=alice')
    expect(body).toBe('[false,true]')
    expect(decisions.map((one) => one['decision.outcome'])).toEqual(['deny', 'allow'])
    expect(select(records, 'transition').map(({ claims }) => claims)).toEqual([
      {
        'rootspan.event.name': 'governance.transition',
        'transition.type': 'policy',
        'transition.from': DIGEST,
        'transition.to': decisions[1]!['policy.digest'],
        'transition.trigger': 'update',
        'transition.engine.name': 'casl',
        'policy.digest': decisions[1]!['policy.digest'],
      },
    ])
    expect(decisions[1]!['policy.digest']).not.toBe(DIGEST)
  })
})
