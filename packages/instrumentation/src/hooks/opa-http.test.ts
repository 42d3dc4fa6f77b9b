/** Which requests count as OPA's; what it answers is tested against the real one. */
import { expect, test } from 'vitest'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import type { Exchange } from './http/exchange.ts'
import { opaHttpHook } from './opa-http.ts'

function decisionsOf(exchange: Partial<Exchange> & { status?: number; body?: unknown }): Decision[] {
  const { status, body, ...rest } = exchange
  const decisions: Decision[] = []
  const recorder = { decision: (fact: Decision) => decisions.push(fact) } as unknown as Recorder
  const answer = status === undefined ? undefined : { status, body, header: () => undefined }
  const base = { path: '/v1/data/orders/allow', request: { input: {} }, failure: undefined, answer }
  opaHttpHook.record({ ...base, ...rest }, recorder)
  return decisions
}

test.each([
  ['/v1/data', true],
  ['/v1/data/orders/allow', true],
  ['/v1/database', false],
  ['/api/v1/data/orders', false],
  ['/v1/policies/x', false],
])('%s: %s', (path, isOurs) => expect(opaHttpHook.matches(path)).toBe(isOurs))

test.each([
  ['a question of another shape', { request: { rows: [] }, status: 200, body: { result: true } }],
  ['an answer of another shape', { status: 200, body: { result: true, id: 7 } }],
  ['an answer that is no object', { status: 200, body: [true] }],
  ['an unseen question with an error of another shape', { request: undefined, status: 500, body: 'no' }],
  ['a question of another shape without an answer', { request: { rows: [] }, failure: 'ECONNREFUSED' }],
])('%s is another service’s', (_, exchange) => expect(decisionsOf(exchange)).toEqual([]))

test.each([
  ['allow', { status: 200, body: { result: true } }],
  ['deny', { status: 200, body: { result: { allowed: false } } }],
  ['conditional', { status: 200, body: { result: ['a message'] } }],
  ['not_applicable', { status: 200, body: {} }],
  ['error', { status: 503, body: undefined }],
  ['error', { request: undefined, status: 400, body: { code: 'invalid_parameter', message: 'a secret' } }],
  ['error', { request: undefined, failure: 'ECONNREFUSED' }],
])('%s: %j', (outcome, exchange) => {
  const [decision, ...others] = decisionsOf(exchange)
  expect(others).toEqual([])
  expect(decision).toMatchObject({ outcome, policyId: 'orders/allow', engine: 'opa' })
  expect(JSON.stringify(decision)).not.toContain('secret')
})

test('revisions of several bundles are told apart', () => {
  const provenance = { version: '1.22.3', bundles: { b: { revision: '2' }, a: { revision: '1' } } }
  const [decision] = decisionsOf({ status: 200, body: { result: true, provenance } })
  expect(decision).toMatchObject({ engineVersion: '1.22.3', policySetId: 'a b', policyVersion: 'a@1 b@2' })
})
