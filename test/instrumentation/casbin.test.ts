/** casbin as CommonJS and as an ES module: what the collector's records say of decisions and of changes of policy. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Application,
  askForDecisions,
  fingerprint,
  recordsOf,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

/** Of the application's model and first policy, written out as the hook's page says. */
const DIGEST = `sha256:${createHash('sha256')
  .update(
    '{"model":{"e":{"e":"some(where (p_eft == allow))"},"g":{"g":"_, _"},' +
      '"m":{"m":"g(r_sub, p_sub) && r_obj == p_obj && r_act == p_act"},' +
      '"p":{"p":"sub, obj, act"},"r":{"r":"sub, obj, act"}},' +
      '"policy":{"g":[["bob","admin"]],"p":[["admin","orders","write"],["alice","orders","read"]]}}',
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

describe.each(['casbin.app.cjs', 'casbin-esm.app.mjs'])('%s', (file) => {
  let application: Application

  beforeAll(async () => {
    application = await startApplication(collector, file)
  })

  afterAll(async () => {
    await application?.stop()
  })

  const ask = (path: string) => askForDecisions(collector, application, path)

  test('allowed, denied, and asked in the wrong way', async () => {
    const allowed = await ask('/enforce?sub=alice&obj=orders&act=read')
    expect(allowed.body).toBe('true')
    expect(allowed.decisions).toEqual([
      {
        'rootspan.event.name': 'governance.decision',
        'decision.id': expect.stringMatching(/^[0-9a-f]{16}-/),
        'decision.outcome': 'allow',
        'decision.count': 1,
        'decision.subject.id': fingerprint('alice'),
        'decision.action.name': 'read',
        'decision.resource.id': fingerprint('orders'),
        'decision.input.commitment': fingerprint('["alice","orders","read"]'),
        'decision.engine.name': 'casbin',
        'decision.engine.version': '5.51.1',
        'policy.digest': DIGEST,
      },
    ])
    const denied = await ask('/enforce?sub=mallory&obj=orders&act=write')
    expect(denied.body).toBe('false')
    expect(denied.decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'deny', 'policy.digest': DIGEST }),
    ])
    const wrong = await ask('/incomplete')
    expect(wrong.body).toContain('invalid request size')
    expect(wrong.decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'error',
        'decision.errors.count': 1,
        // Its class: the message quotes the request.
        'decision.reason.code': 'Error',
        'policy.digest': DIGEST,
      }),
    ])
  })

  test('without a promise, and with the row that decided', async () => {
    const { decisions } = await ask('/sync?sub=bob&obj=orders&act=write')
    expect(decisions).toEqual([expect.objectContaining({ 'decision.outcome': 'allow', 'decision.count': 1 })])
    const explained = await ask('/explain?sub=alice&obj=orders&act=read')
    expect(explained.body).toBe('[true,["alice","orders","read"]]')
    expect(explained.decisions).toEqual([
      expect.objectContaining({ 'decision.outcome': 'allow', 'decision.rule.ids': ['p:1'] }),
    ])
    const none = await ask('/explain?sub=alice&obj=orders&act=write')
    expect(none.decisions[0]!['decision.outcome']).toBe('deny')
    expect(none.decisions[0]!['decision.rule.ids']).toBeUndefined()
  })

  test('another matcher is another policy', async () => {
    const { body, decisions } = await ask('/matcher?sub=alice&obj=x&act=y')
    expect(body).toBe('true')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'allow',
        'decision.input.commitment': fingerprint('["alice","x","y"]'),
        'policy.digest': `sha256:${createHash('sha256').update(`${DIGEST}\nr.sub == p.sub`).digest('hex')}`,
      }),
    ])
  })

  test('a batch is as many decisions, and what comes from a cache says so', async () => {
    const { body, decisions } = await ask('/batch')
    expect(body).toBe('[true,false,true]')
    // In the order in which casbin's promises settle.
    const answers = decisions.map((one) => `${one['decision.outcome']} ${one['decision.action.name']}`)
    expect(answers.sort()).toEqual(['allow read', 'allow write', 'deny write'])
    const twice = await ask('/cached')
    expect(twice.decisions).toHaveLength(2)
    expect(twice.decisions[0]!['decision.cached']).toBeUndefined()
    expect(twice.decisions[0]!['policy.digest']).toBe(DIGEST)
    expect(twice.decisions[1]).toMatchObject({ 'decision.outcome': 'allow', 'decision.cached': true })
    expect(twice.decisions[1]!['policy.digest']).toBeUndefined()
  })

  test('thousands that are alike are one event', async () => {
    const { body, decisions } = await ask('/many')
    expect(body).toBe('2000')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.count': 2000,
        'decision.outcome': 'allow',
        'decision.subject.id': fingerprint('bob'),
      }),
    ])
  })

  test('a policy that changes is a transition, and the decision after it is under another digest', async () => {
    const { body, records, decisions } = await ask('/grant?sub=carol')
    expect(body).toBe('[false,true]')
    const [change, ...others] = select(records, 'transition')
    expect(others).toEqual([])
    expect(decisions.map((one) => one['decision.outcome'])).toEqual(['deny', 'allow'])
    expect(decisions[0]!['policy.digest']).toBe(DIGEST)
    expect(decisions[1]!['policy.digest']).not.toBe(DIGEST)
    expect(change!.claims).toMatchObject({
      'transition.type': 'policy',
      'transition.from': DIGEST,
      'transition.to': decisions[1]!['policy.digest'],
      'transition.trigger': 'addPolicy',
      'transition.engine.name': 'casbin',
      'policy.digest': decisions[1]!['policy.digest'],
    })
    // Loading brings the first policy back.
    const reloaded = select((await ask('/reload')).records, 'transition')
    expect(reloaded.map(({ claims }) => claims)).toEqual([
      expect.objectContaining({
        'transition.from': decisions[1]!['policy.digest'],
        'transition.to': DIGEST,
        'transition.trigger': 'loadPolicy',
      }),
    ])
  })

  test('an enforcer that is switched off allows, and that is seen', async () => {
    const { body, records, decisions } = await ask('/off')
    expect(body).toBe('true')
    expect(decisions).toEqual([
      expect.objectContaining({
        'decision.outcome': 'allow',
        'decision.reason.code': 'enforcement_disabled',
      }),
    ])
    expect(
      select(records, 'transition').map(({ claims }) => [claims['transition.from'], claims['transition.to']]),
    ).toEqual([
      ['enforced', 'not_enforced'],
      ['not_enforced', 'enforced'],
    ])
  })

  test('the hook has taken hold', async () => {
    const { records } = await ask('/enforce?sub=alice&obj=orders&act=read')
    expect(records[0]!.resource['governance.instrumentation.hooks']).toContain('casbin@5.51.1 effective')
  })
})

test('a synced enforcer decides once, although its method calls that of another class', async () => {
  const application = await startApplication(collector, 'casbin.app.cjs')
  const answer = await application.request('/synced?sub=bob&obj=orders&act=write')
  expect(answer.body).toBe('true')
  const decisions = select(await recordsOf(collector, answer), 'decision')
  expect(decisions.map(({ claims }) => claims)).toEqual([
    expect.objectContaining({ 'decision.outcome': 'allow', 'decision.count': 1 }),
  ])
  await application.stop()
})
