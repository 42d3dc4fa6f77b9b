/** OPA's client against OPA: what the collector's records say of its decisions. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { findServer, startOpa } from './servers.ts'
import {
  type Application,
  fingerprint,
  recordsOf,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

const POLICY = `package orders

default allow := false

allow if input.subject == "alice"

verdict := {"allow": allow, "reasons": ["policy 7"]}

limits := {"max": 10}

broken := 1 if input.subject == "alice"

broken := 2 if input.action == "read"
`
const REVISION = 'release-41'
const ALICE = { subject: 'alice', action: 'read' }
const BOB = { subject: 'bob', action: 'read' }

const opa = findServer('opa')

describe.skipIf(opa === undefined)('OPA', () => {
  let collector: CollectorProcess
  let url: string
  let application: Application

  beforeAll(async () => {
    collector = await startQuickCollector()
    const server = await startOpa(opa!, POLICY, REVISION)
    url = server.url
    application = await startApplication(collector, 'opa.app.mjs', {
      OPA: url,
      ROOTSPAN_OPA_PROVENANCE: 'on',
    })
  })

  afterAll(async () => {
    await application?.stop()
    await collector?.stop()
    await cleanUp()
  })

  const ask = (path: string, input?: object) =>
    application.request(path, { method: 'POST', ...(input && { body: JSON.stringify(input) }) })

  test.each([
    ['allow', ALICE, 'true'],
    ['deny', BOB, 'false'],
  ])('%s, with the policy and the id that the client drops', async (outcome, input, body) => {
    const answer = await ask('/evaluate?path=orders/allow', input)
    expect(answer).toMatchObject({ status: 200, body })
    const records = await recordsOf(collector, answer)
    const [decision, ...others] = select(records, 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'decision.outcome': outcome,
      'decision.subject.id': fingerprint(input.subject),
      'decision.action.name': 'read',
      'decision.input.commitment': expect.stringMatching(/^hmac-sha256:/),
      'decision.engine.name': 'opa',
      'decision.engine.version': '1.22.3',
      'policy.id': 'orders/allow',
      'policy.version': REVISION,
      'policy.set.id': 'main',
    })
    for (const unknown of ['policy.digest', 'decision.ttl', 'decision.enforcement'])
      expect(decision!.claims[unknown]).toBeUndefined()
    expect(select(records, 'action')).toEqual([])
  })

  test('what was asked, not what the application makes of it after the call', async () => {
    const answer = await ask('/changed?path=orders/allow', ALICE)
    expect(answer.body).toBe('true')
    const [decision] = select(await recordsOf(collector, answer), 'decision')
    expect(decision!.claims).toMatchObject({
      'decision.subject.id': fingerprint('alice'),
      'decision.input.commitment': fingerprint('{"action":"read","subject":"alice"}'),
    })
  })

  test('an object is judged by its allow, other documents are conditional', async () => {
    const verdict = await ask('/evaluate?path=orders/verdict', BOB)
    expect(JSON.parse(verdict.body)).toEqual({ allow: false, reasons: ['policy 7'] })
    const [denied] = select(await recordsOf(collector, verdict), 'decision')
    expect(denied!.claims['decision.outcome']).toBe('deny')
    expect(denied!.claims['decision.output.commitment']).toMatch(/^hmac-sha256:/)
    const limits = await ask('/no-input?path=orders/limits')
    expect(limits.body).toBe('{"max":10}')
    const [decision] = select(await recordsOf(collector, limits), 'decision')
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'conditional',
      'policy.id': 'orders/limits',
      'policy.version': REVISION,
    })
    expect(decision!.claims['decision.input.commitment']).toBeUndefined()
  })

  test('a policy that is not defined does not apply', async () => {
    const answer = await ask('/evaluate?path=orders/nothing', ALICE)
    expect(answer).toMatchObject({ status: 200, body: 'undefined' })
    const [decision] = select(await recordsOf(collector, answer), 'decision')
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'not_applicable',
      'decision.reason.code': 'undefined_document',
    })
  })

  test('a policy that fails is an error, with the code and not the message', async () => {
    const answer = await ask('/evaluate?path=orders/broken', ALICE)
    expect(answer).toMatchObject({ status: 500, body: 'ServerError' })
    const [decision] = select(await recordsOf(collector, answer), 'decision')
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'error',
      'decision.reason.code': 'internal_error',
      'decision.errors.count': 1,
      'policy.id': 'orders/broken',
    })
  })

  test('an input that cannot be read leaves the decision there and the answer as it is', async () => {
    const answer = await ask('/odd?path=orders/allow')
    expect(JSON.parse(answer.body).successfulPolicyResponse).toEqual({
      decisionId: expect.any(String),
      result: true,
    })
    const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({ 'decision.outcome': 'allow', 'policy.version': REVISION })
    expect(decision!.claims['decision.subject.id']).toBeUndefined()
  })

  test('a server that is not there is an error', async () => {
    const answer = await ask('/unreachable?path=orders/allow', ALICE)
    expect(answer).toMatchObject({ status: 500, body: 'ConnectionError' })
    const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'error',
      'decision.reason.code': 'ConnectionError',
    })
    expect(decision!.claims['policy.version']).toBeUndefined()
  })

  test('a batch is a decision for each input', async () => {
    const answer = await ask('/batch?path=orders/allow', { a: ALICE, b: BOB })
    expect(answer).toMatchObject({ status: 200, body: '{"a":true,"b":false}' })
    const decisions = select(await recordsOf(collector, answer), 'decision')
    expect(decisions).toHaveLength(2)
    const outcomes = decisions.map(({ claims }) => [
      claims['decision.subject.id'],
      claims['decision.outcome'],
    ])
    expect(outcomes).toContainEqual([fingerprint('alice'), 'allow'])
    expect(outcomes).toContainEqual([fingerprint('bob'), 'deny'])
  })

  test('the default policy, where there is none, does not apply', async () => {
    const answer = await ask('/default', ALICE)
    expect(answer.status).toBe(500)
    const [decision, ...others] = select(await recordsOf(collector, answer), 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.outcome': 'not_applicable',
      'decision.reason.code': 'undefined_document',
    })
    expect(decision!.claims['policy.id']).toBeUndefined()
  })

  test('as CommonJS the same; without provenance the version stays unknown', async () => {
    const service = await startApplication(collector, 'opa.app.cjs', { OPA: url })
    const answer = await service.request('/orders/allow?subject=alice')
    expect(answer.body).toBe('true')
    const records = await recordsOf(collector, answer)
    const [decision, ...others] = select(records, 'decision')
    expect(others).toEqual([])
    expect(decision!.claims).toMatchObject({
      'decision.id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'decision.outcome': 'allow',
      'policy.id': 'orders/allow',
    })
    for (const unknown of ['policy.version', 'policy.set.id', 'decision.engine.version'])
      expect(decision!.claims[unknown]).toBeUndefined()
    expect(records[0]!.resource['governance.instrumentation.hooks']).toContain(
      '@open-policy-agent/opa@2.0.0 effective',
    )
    for (const [path, subject, status, outcome, reason] of [
      ['orders/allow', 'bob', 200, 'deny', undefined],
      ['orders/broken', 'alice', 500, 'error', 'internal_error'],
    ] as const) {
      const other = await service.request(`/${path}?subject=${subject}`)
      expect(other.status).toBe(status)
      const [one, ...more] = select(await recordsOf(collector, other), 'decision')
      expect(more).toEqual([])
      expect(one!.claims).toMatchObject({
        'decision.outcome': outcome,
        'decision.subject.id': fingerprint(subject),
        'policy.id': path,
      })
      expect(one!.claims['decision.reason.code']).toBe(reason)
    }
    await service.stop()
  })
})
