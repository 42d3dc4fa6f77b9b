/** OPA and AuthZEN by plain HTTP, with fetch and node:http: what the collector's records say of their decisions. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { makeStore, type Store } from './openfga.ts'
import { findServer, startOpa, startOpenFga } from './servers.ts'
import {
  type Answer,
  type Application,
  fingerprint,
  recordsOf,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

const POLICY = `package orders

default allow := false

allow if input.subject.id == "alice"

broken := 1 if input.subject.id

broken := 2 if input.subject.type
`
/** Nobody listens there, and fetch does not refuse the port as it does some others. */
const NOBODY = 'http://127.0.0.1:2'

const opa = findServer('opa')
const openfga = findServer('openfga')
const CLIENTS = ['fetch', 'http'] as const

let collector: CollectorProcess
let application: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  application = await startApplication(collector, 'http-pdp.app.cjs')
})

afterAll(async () => {
  await application?.stop()
  await collector?.stop()
  await cleanUp()
})

function ask(
  client: string,
  to: string,
  body: object,
  { acts = false, isGet = false }: { acts?: boolean; isGet?: boolean } = {},
): Promise<Answer> {
  const path = `/${client}?to=${encodeURIComponent(to)}${acts ? '&act' : ''}${isGet ? '&get' : ''}`
  return application.request(path, { method: 'POST', body: JSON.stringify(body) })
}

const question = (user: string, action = 'reader', resource = 'plan') => ({
  subject: { type: 'user', id: user },
  action: { name: action },
  resource: { type: 'document', id: resource },
})

describe.skipIf(opa === undefined)('OPA over HTTP', () => {
  let url: string
  let silent: string
  beforeAll(async () => {
    url = (await startOpa(opa!, POLICY, 'release-41')).url
    silent = (await startOpa(opa!, POLICY, 'release-41', { isLogging: false })).url
  })

  describe.each(CLIENTS)('by %s', (client) => {
    test.each([
      ['alice', 'allow', true],
      ['bob', 'deny', false],
    ])('%s: %s, as a fact of the request that asked', async (user, outcome, result) => {
      const answer = await ask(client, `${url}/v1/data/orders/allow?provenance`, { input: question(user) })
      expect(answer.status).toBe(200)
      const given = JSON.parse(answer.body)
      expect(given.result).toBe(result)
      const records = await recordsOf(collector, answer)
      const [decision, ...others] = select(records, 'decision')
      expect(others).toEqual([])
      expect(decision!.claims).toMatchObject({
        'decision.id': given.decision_id,
        'decision.outcome': outcome,
        'decision.subject.id': fingerprint(user),
        'decision.subject.type': 'user',
        'decision.action.name': 'reader',
        'decision.resource.id': fingerprint('plan'),
        'decision.resource.type': 'document',
        'decision.engine.name': 'opa',
        'decision.engine.version': '1.22.3',
        'policy.id': 'orders/allow',
        'policy.version': 'release-41',
        'policy.set.id': 'main',
      })
      expect(decision!.above!.kind).toBe('request')
      expect(select(records, 'action')).toEqual([])
    })

    test('a policy that is not defined does not apply; what was not asked for is not known', async () => {
      const answer = await ask(client, `${url}/v1/data/orders/nothing`, { input: question('alice') })
      const [decision] = select(await recordsOf(collector, answer), 'decision')
      expect(decision!.claims['decision.outcome']).toBe('not_applicable')
      expect(decision!.claims['policy.version']).toBeUndefined()
    })

    test('so it does not where OPA logs no decisions, and answers with nothing', async () => {
      const answer = await ask(client, `${silent}/v1/data/orders/nothing`, { input: question('alice') })
      expect(answer.status).toBe(200)
      expect(JSON.parse(answer.body)).toEqual({})
      const records = await recordsOf(collector, answer)
      const [decision, ...others] = select(records, 'decision')
      expect(others).toEqual([])
      expect(decision!.claims).toMatchObject({
        'decision.outcome': 'not_applicable',
        'decision.reason.code': 'undefined_document',
        'decision.subject.id': fingerprint('alice'),
        'policy.id': 'orders/nothing',
      })
      expect(select(records, 'action')).toEqual([])
    })

    test('a question in the address, which is on no span', async () => {
      for (const [user, outcome] of [
        ['alice', 'allow'],
        ['bob', 'deny'],
      ] as const) {
        const input = encodeURIComponent(JSON.stringify(question(user)))
        const to = `${url}/v1/data/orders/allow?pretty&input=${input}`
        const answer = await ask(client, to, {}, { isGet: true })
        expect(answer.status).toBe(200)
        const records = await recordsOf(collector, answer, { spans: 2 })
        const [decision, ...others] = select(records, 'decision')
        expect(others).toEqual([])
        expect(decision!.claims).toMatchObject({
          'decision.outcome': outcome,
          'decision.subject.id': fingerprint(user),
          'policy.id': 'orders/allow',
        })
        const asked = records.find(({ attributes }) => attributes['url.full'] ?? attributes['http.url'])
        expect(asked!.attributes['url.full'] ?? asked!.attributes['http.url']).toMatch(
          /\/v1\/data\/orders\/allow\?pretty=?&input=REDACTED$/,
        )
      }
    })

    test('a policy that fails, and a server that is not there, are errors', async () => {
      const failed = await ask(client, `${url}/v1/data/orders/broken`, { input: question('alice') })
      expect(failed.status).toBe(500)
      const [first, ...others] = select(await recordsOf(collector, failed), 'decision')
      expect(others).toEqual([])
      expect(first!.claims).toMatchObject({
        'decision.outcome': 'error',
        'decision.reason.code': 'internal_error',
        'policy.id': 'orders/broken',
      })
      const unanswered = await ask(client, `${NOBODY}/v1/data/orders/allow`, { input: question('alice') })
      expect(unanswered).toMatchObject({ status: 599, body: 'ECONNREFUSED' })
      const records = await recordsOf(collector, unanswered, { spans: 2 })
      const [second, ...more] = select(records, 'decision')
      expect(more).toEqual([])
      if (client === 'http')
        expect(second!.claims).toMatchObject({
          'decision.outcome': 'error',
          'decision.reason.code': 'ECONNREFUSED',
        })
      // With fetch the question was never sent: nothing but a path says that it was one.
      else {
        expect(second).toBeUndefined()
        expect(select(records, 'action', { 'action.outcome': 'failure' })).toHaveLength(1)
      }
    })

    test('another service with such a path is acted upon, and not asked', async () => {
      const to = `${application.url}/v1/data/orders/allow`
      const answer = await ask(client, to, { input: question('alice') })
      expect(answer).toMatchObject({ status: 200, body: '{}' })
      const records = await recordsOf(collector, answer, { spans: 3 })
      expect(select(records, 'decision')).toEqual([])
      const [action, ...others] = select(records, 'action')
      expect(others).toEqual([])
      expect(action!.claims).toMatchObject({
        'action.name': 'POST 127.0.0.1',
        'action.outcome': 'success',
        'action.inferred': true,
      })
    })
  })
})

describe.skipIf(openfga === undefined)('AuthZEN, as OpenFGA speaks it', () => {
  let store: Store
  let base: string
  beforeAll(async () => {
    const server = await startOpenFga(openfga!)
    store = await makeStore(server)
    base = `${server.url}/stores/${store.id}/access/v1`
  })

  describe.each(CLIENTS)('by %s', (client) => {
    test.each([
      ['alice', 'allow', true],
      ['bob', 'deny', false],
    ])('%s: %s', async (user, outcome, decision) => {
      const answer = await ask(client, `${base}/evaluation`, question(user))
      expect(answer.status).toBe(200)
      expect(JSON.parse(answer.body)).toMatchObject({ decision })
      const records = await recordsOf(collector, answer)
      const [fact, ...others] = select(records, 'decision')
      expect(others).toEqual([])
      expect(fact!.claims).toMatchObject({
        // OpenFGA gives each answer a request id of its own.
        'decision.id': expect.stringMatching(/^[0-9a-f-]{36}$/),
        'decision.outcome': outcome,
        'decision.engine.name': 'openfga',
        'policy.id': store.id,
        'policy.version': store.model,
        'decision.subject.id': fingerprint(user),
        'decision.subject.type': 'user',
        'decision.action.name': 'reader',
        'decision.resource.id': fingerprint('plan'),
        'decision.resource.type': 'document',
        'decision.input.commitment': expect.stringMatching(/^hmac-sha256:/),
      })
      expect(fact!.above!.kind).toBe('request')
      expect(select(records, 'action')).toEqual([])
    })

    test('an action after the answer is joined to its decision', async () => {
      const answer = await ask(client, `${base}/evaluation`, question('alice'), { acts: true })
      expect(answer.status).toBe(200)
      const records = await recordsOf(collector, answer, { spans: 4 })
      const [action, ...others] = select(records, 'action')
      expect(others).toEqual([])
      const [decision] = select(records, 'decision')
      const [join] = select(records, 'joined')
      expect(join!.causes).toEqual([action, decision])
    })

    test('a batch is a decision for each evaluation, with the defaults put in', async () => {
      const { subject, ...defaults } = question('alice')
      const evaluations = [{ subject }, { subject: { type: 'user', id: 'bob' } }, question('alice', 'writer')]
      const answer = await ask(client, `${base}/evaluations`, { ...defaults, evaluations })
      expect(answer.status).toBe(200)
      const given = JSON.parse(answer.body) as { evaluations: { decision: boolean }[] }
      expect(given.evaluations.map(({ decision }) => decision)).toEqual([true, false, false])
      const decisions = select(await recordsOf(collector, answer), 'decision')
      expect(
        decisions.map(({ claims }) => [
          claims['decision.subject.id'],
          claims['decision.action.name'],
          claims['decision.outcome'],
        ]),
      ).toEqual([
        [fingerprint('alice'), 'reader', 'allow'],
        [fingerprint('bob'), 'reader', 'deny'],
        [fingerprint('alice'), 'writer', 'deny'],
      ])
    })

    test('of a long batch no evaluation is missing', async () => {
      const { subject: _subject, ...defaults } = question('alice')
      const evaluations = Array.from({ length: 400 }, (_, at) => ({
        subject: { type: 'user', id: at % 4 === 0 ? 'alice' : `user${at}` },
      }))
      const answer = await ask(client, `${base}/evaluations`, { ...defaults, evaluations })
      expect(answer.status).toBe(200)
      const records = await recordsOf(collector, answer)
      const counts = { allow: 0, deny: 0 }
      for (const { claims } of select(records, 'decision'))
        counts[claims['decision.outcome'] as 'allow' | 'deny'] += Number(claims['decision.count'] ?? 1)
      expect(counts).toEqual({ allow: 100, deny: 300 })
      expect(select(records, 'request')[0]!.attributes['governance.truncated.facts']).toBeUndefined()
    })

    test('a batch that stops at its first denial has no decisions after it', async () => {
      const answer = await ask(client, `${base}/evaluations`, {
        evaluations: [question('alice'), question('bob'), question('alice')],
        options: { evaluations_semantic: 'deny_on_first_deny' },
      })
      expect(answer.status).toBe(200)
      const given = JSON.parse(answer.body) as { evaluations: unknown[] }
      expect(given.evaluations).toHaveLength(2)
      const decisions = select(await recordsOf(collector, answer), 'decision')
      expect(decisions.map(({ claims }) => claims['decision.outcome'])).toEqual(['allow', 'deny'])
    })

    test('an evaluation that the server refuses, and a server that is not there, are errors', async () => {
      const refused = await ask(client, `${base}/evaluation`, question('alice', 'owner'))
      expect(refused.status).toBe(400)
      const [first, ...others] = select(await recordsOf(collector, refused), 'decision')
      expect(others).toEqual([])
      expect(first!.claims).toMatchObject({
        'decision.outcome': 'error',
        'decision.reason.code': 'status_400',
        'decision.action.name': 'owner',
      })
      const silent = await ask(client, `${NOBODY}/access/v1/evaluation`, question('alice'))
      const [second, ...more] = select(await recordsOf(collector, silent), 'decision')
      expect(more).toEqual([])
      expect(second!.claims).toMatchObject({
        'decision.outcome': 'error',
        'decision.reason.code': 'ECONNREFUSED',
        'decision.engine.name': 'authzen',
      })
      // With fetch, a question that finds no server is never sent, and so not seen.
      const subject = client === 'http' ? fingerprint('alice') : undefined
      expect(second!.claims['decision.subject.id']).toBe(subject)
    })
  })
})
