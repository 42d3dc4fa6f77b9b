/** What an application says by the API, and the gate, as the collector's records have it. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, waitFor } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Answer,
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
} from './support.ts'

let collector: CollectorProcess
let service: Application
/** Between the service and the collector: keeps all that leaves the process, and can be cut. */
let proxy: Awaited<ReturnType<typeof startProxy>>

beforeAll(async () => {
  collector = await startQuickCollector()
  proxy = await startProxy(collector.http)
  service = await startApplication({ http: proxy.url }, 'evidence.app.mjs')
})

afterAll(async () => {
  await service?.stop()
  proxy?.close()
  await collector?.stop()
  await cleanUp()
})

async function startProxy(target: string) {
  const bodies: Buffer[] = []
  let isCut = false
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    bodies.push(body)
    if (isCut) {
      response.destroy()
      return
    }
    const headers = new Headers(request.headers as Record<string, string>)
    for (const name of ['host', 'connection', 'content-length', 'transfer-encoding']) headers.delete(name)
    const answer = await fetch(target + request.url, { method: 'POST', headers, body })
    const receipt = answer.headers.get('rootspan-receipt')
    response.writeHead(answer.status, receipt === null ? {} : { 'rootspan-receipt': receipt })
    response.end(Buffer.from(await answer.arrayBuffer()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies,
    cut: (on: boolean) => {
      isCut = on
    },
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

const shown = (answer: Answer, spans?: number): Promise<Shown[]> =>
  recordsOf(collector, answer, spans === undefined ? {} : { spans })

test('an action that is allowed: named, committed to, and joined to its decision', async () => {
  const answer = await service.request('/work')
  expect(answer).toMatchObject({ status: 200, body: '{"receipt":"result-in-clear"}' })
  const records = await shown(answer, 2)
  const [action, ...others] = select(records, 'action')
  expect(others).toEqual([])
  expect(action!.claims).toMatchObject({
    'action.name': 'accounts.transfer',
    'action.type': 'transfer',
    'action.reversible': false,
    'action.resource.type': 'account',
    'action.resource.id': fingerprint('account-17'),
    // Canonical JSON (RFC 8785) under the key.
    'action.arguments.commitment': fingerprint('{"amount":5,"note":"argument-in-clear"}'),
    'action.result.commitment': fingerprint('{"receipt":"result-in-clear"}'),
    'action.outcome': 'success',
  })
  const [decision] = select(records, 'decision')
  expect(decision!.claims['action.digest']).toBe(action!.claims['action.digest'])
  expect(select(records, 'joined')[0]!.causes).toEqual([action, decision])
})

test.each([
  ['deny', 403, 'RefusedError decision_deny', 'refused', 'decision_deny'],
  ['error', 403, 'RefusedError decision_error', 'refused', 'decision_error'],
  ['deny&enforcement=dry_run', 200, '{"receipt":"result-in-clear"}', 'success', undefined],
])('a decision %s', async (outcome, status, body, ended, reason) => {
  const answer = await service.request(`/work?outcome=${outcome}`)
  expect(answer).toMatchObject({ status, body })
  const records = await shown(answer, 2)
  const [action] = select(records, 'action')
  expect(action!.claims['action.outcome']).toBe(ended)
  expect(action!.claims['action.reason.code']).toBe(reason)
  expect(select(records, 'joined')[0]!.causes).toEqual([action, select(records, 'decision')[0]])
})

test('a decision about another action permits nothing', async () => {
  const answer = await service.request('/mutated')
  expect(answer).toMatchObject({ status: 403, body: 'RefusedError decision_for_another_action' })
  const [action] = select(await shown(answer, 2), 'action')
  expect(action!.claims['action.reason.code']).toBe('decision_for_another_action')
})

test('an action that fails throws what it threw, and is recorded as failed', async () => {
  const answer = await service.request('/failing')
  expect(answer).toMatchObject({ status: 500, body: 'TypeError' })
  const [action] = select(await shown(answer, 2), 'action')
  expect(action!.claims['action.outcome']).toBe('failure')
})

test('an authorization is in force for what runs under it, and nothing else', async () => {
  const answer = await service.request('/exchanged')
  expect(answer.status).toBe(200)
  const records = await shown(answer, 3)
  const token = fingerprint('exchanged-token-in-clear')
  const [action] = select(records, 'action')
  expect(action!.causes[0]!.claims).toMatchObject({
    'authorization.fingerprint': token,
    'authorization.inherited': true,
  })
  const [request] = select(records, 'request')
  expect(request!.causes).toEqual([])
})

test('verifications and transitions', async () => {
  const records = await shown(await service.request('/others'))
  expect(select(records, 'verification')[0]!.claims).toMatchObject({
    'verification.type': 'approval',
    'verification.result': 'pass',
    'verification.target.fingerprint': fingerprint('approval-token-in-clear'),
  })
  expect(select(records, 'transition')[0]!.claims).toMatchObject({
    'transition.from': 'dry_run',
    'transition.to': 'enforced',
  })
})

test('an execution is a request of its own', async () => {
  const records = await shown(await service.request('/job'), 2)
  expect(select(records, 'request', { 'execution.kind': 'job' })[0]!.claims).toMatchObject({
    'execution.id': 'job-1',
    'execution.parent.id': 'plan-1',
    'execution.state': 'completed',
  })
})

test('a gate opens when the intent is durable at the position that it names', async () => {
  const answer = await service.request('/gated')
  expect(answer).toMatchObject({ status: 200, body: '"done"' })
  const records = await shown(answer, 3)
  const [intent] = select(records, 'transition', { 'transition.trigger': 'gate' })
  const [decision] = select(records, 'decision')
  expect(intent!.claims).toMatchObject({
    'transition.from': 'permitted',
    'transition.to': 'executing',
    'transition.cause.id': decision!.claims['decision.id'],
    'decision.outcome': 'allow',
    'policy.id': 'transfers',
    'action.name': 'accounts.transfer',
    'action.arguments.commitment': fingerprint('{"amount":5,"note":"argument-in-clear"}'),
  })
  const [action] = select(records, 'action')
  const [check] = select(records, 'verification', { 'verification.method': 'gate' })
  expect(action!.causes).toContain(check)
  expect(check!.claims['verification.result']).toBe('pass')
  const position = check!.claims['verification.target.id']
  const receipt = await (await fetch(`${collector.api}/api/v1/receipts/${position}`)).json()
  expect(receipt).toMatchObject({ position: Number(position), state: 'committed', leaves: [{ span: 0 }] })
})

test('without an acknowledgement a gate stays closed, unless the action says otherwise', async () => {
  proxy.cut(true)
  const closed = await service.request('/gated?millis=300')
  const open = await service.request('/gated?millis=300&unacknowledged=proceed')
  proxy.cut(false)
  expect(closed).toMatchObject({ status: 503, body: 'GateError' })
  expect(open).toMatchObject({ status: 200, body: '"done"' })
  // The evidence of both comes when the collector is back.
  const [refused] = select(await shown(closed, 3), 'action')
  expect(refused!.claims).toMatchObject({
    'action.outcome': 'refused',
    'action.reason.code': 'not_acknowledged',
  })
  const records = await shown(open, 3)
  expect(select(records, 'action')[0]!.claims['action.outcome']).toBe('success')
  expect(select(records, 'verification', { 'verification.method': 'gate' })[0]!.claims).toMatchObject({
    'verification.result': 'fail',
    'verification.reason.code': 'not_acknowledged',
  })
})

test('a gate without an action of the API', async () => {
  const answer = await service.request('/gate')
  expect(answer.status).toBe(200)
  expect(JSON.parse(answer.body)).toEqual({ position: expect.stringMatching(/^\d+$/) })
})

test('nothing planted has left the process in clear', async () => {
  await waitFor('spans to have passed', () => (proxy.bodies.length > 0 ? true : undefined))
  const all = Buffer.concat(proxy.bodies)
  expect(all.includes('governance.action.arguments.commitment')).toBe(true)
  for (const secret of ['in-clear', 'in-error', 'account-17'])
    expect(all.includes(secret), secret).toBe(false)
  expect(service.process.stderr).not.toContain('in-clear')
  expect(service.process.stderr).not.toContain('in-error')
})
