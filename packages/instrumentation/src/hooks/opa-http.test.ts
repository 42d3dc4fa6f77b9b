/** Which requests count as OPA's; what it answers is tested against the real one. */
import { expect, test } from 'vitest'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import type { Answer, Exchange } from './http/exchange.ts'
import { opaHttpHook } from './opa-http.ts'

type Given = Partial<Exchange> &
  Partial<Pick<Answer, 'status' | 'body' | 'size' | 'beginning'>> & { readonly type?: string }

function decisionsOf(exchange: Given): Decision[] {
  const { status, body, size = 'small', beginning = '', type, ...rest } = exchange
  const decisions: Decision[] = []
  const recorder = { decision: (fact: Decision) => decisions.push(fact) } as unknown as Recorder
  const header = (name: string) => (name === 'content-type' ? type : undefined)
  const answer = status === undefined ? undefined : { status, body, size, beginning, header }
  const base = { path: '/v1/data/orders/allow', request: { input: {} }, failure: undefined, answer }
  const isAsked = opaHttpHook.record({ sentHeader: () => undefined, ...base, ...rest }, recorder)
  expect(isAsked).toBe(decisions.length > 0)
  return decisions
}

test.each([
  ['/v1/data', true],
  ['/v1/data/orders/allow', true],
  ['/v1/database', false],
  ['/api/v1/data/orders', false],
  ['/v1/policies/x', false],
])('%s: %s', (path, isOurs) => expect(opaHttpHook.matches(path)).toBe(isOurs))

const TOO_LARGE = { body: undefined, size: 'too large' } as const

test.each([
  ['a question of another shape', { request: { rows: [] }, status: 200, body: { result: true } }],
  ['an answer of another shape', { status: 200, body: { result: true, id: 7 } }],
  ['an answer that is no object', { status: 200, body: [true] }],
  ['an answer without a member', { status: 200, body: {} }],
  ['such an answer with a charset', { status: 200, body: {}, type: 'application/json; charset=utf-8' }],
  ['such an answer without a question', { request: {}, status: 200, body: {}, type: 'application/json' }],
  [
    'such an answer to an unseen question',
    { request: undefined, status: 200, body: {}, type: 'application/json' },
  ],
  ['an answer that is no JSON', { status: 200, body: undefined }],
  ['an answer that is too large and begins otherwise', { status: 200, ...TOO_LARGE, beginning: '{"rows":[' }],
  ['an unseen question with an error of another shape', { request: undefined, status: 500, body: 'no' }],
  [
    'an unseen question with an error that has more',
    { request: undefined, status: 404, body: { code: 'x', id: 1 } },
  ],
  ['an unseen question without an answer', { request: undefined, failure: 'ECONNREFUSED' }],
  ['no question to speak of without an answer', { request: {}, failure: 'ECONNREFUSED' }],
  ['a question of another shape without an answer', { request: { rows: [] }, failure: 'ECONNREFUSED' }],
])('%s is another service’s', (_, exchange) => expect(decisionsOf(exchange)).toEqual([]))

test.each([
  ['allow', { status: 200, body: { result: true } }],
  ['deny', { status: 200, body: { result: { allowed: false } } }],
  ['conditional', { status: 200, body: { result: ['a message'] } }],
  ['not_applicable', { status: 200, body: { decision_id: '1' } }],
  ['not_applicable', { status: 200, body: {}, type: 'application/json' }],
  ['error', { status: 503, body: undefined }],
  ['error', { request: undefined, status: 400, body: { code: 'invalid_parameter', message: 'a secret' } }],
  ['error', { failure: 'ECONNREFUSED' }],
])('%s: %j', (outcome, exchange) => {
  const [decision, ...others] = decisionsOf(exchange)
  expect(others).toEqual([])
  expect(decision).toMatchObject({ outcome, policyId: 'orders/allow', engine: 'opa' })
  expect(JSON.stringify(decision)).not.toContain('secret')
})

test.each([
  ['pretty&input=%7B%22user%22%3A%22alice%22%7D', { body: { input: { user: 'alice' } } }],
  ['input=%7B%22a%22:1%7D&input=2', { body: { input: { a: 1 } } }],
  ['input=text', { body: undefined }],
  ['input=7', { body: undefined }],
  ['provenance', undefined],
  ['', undefined],
])('GET ?%s asks %j', (query, question) => expect(opaHttpHook.questionIn!(query)).toEqual(question))

test('a large answer is judged and not committed to; of one that is too large nothing is said', () => {
  const body = { result: { allow: true, why: 'x' } }
  expect(decisionsOf({ status: 200, body, size: 'large' })).toMatchObject([
    { outcome: 'allow', output: undefined },
  ])
  const [decision] = decisionsOf({ status: 200, ...TOO_LARGE, beginning: '{"decision_id":"1","result":[' })
  expect(decision).toMatchObject({ outcome: undefined, reason: 'answer_too_large', policyId: 'orders/allow' })
  expect(decision!.errors).toBeUndefined()
})

test('revisions of several bundles are told apart', () => {
  const provenance = { version: '1.22.3', bundles: { b: { revision: '2' }, a: { revision: '1' } } }
  const [decision] = decisionsOf({ status: 200, body: { result: true, provenance } })
  expect(decision).toMatchObject({ engineVersion: '1.22.3', policySetId: 'a b', policyVersion: 'a@1 b@2' })
})
