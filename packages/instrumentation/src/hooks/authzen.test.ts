/** Answers of the specification that OpenFGA does not give; the rest is tested against it. */
import { expect, test } from 'vitest'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { authzenHook } from './authzen.ts'
import type { Answer } from './http/exchange.ts'

const PATH = '/access/v1/evaluations'
const SUBJECT = { type: 'user', id: 'alice' }
const ASKED = { subject: SUBJECT, evaluations: [{ action: { name: 'read' } }, { action: { name: 'write' } }] }

interface Given {
  readonly headers?: Readonly<Record<string, string>>
  readonly sent?: Readonly<Record<string, string>>
  readonly size?: Answer['size']
}

function decisionsOf(request: unknown, status: number, body: unknown, given: Given = {}) {
  const { headers = {}, sent = {}, size = 'small' } = given
  const decisions: Decision[] = []
  const decision = (fact: Decision) => decisions.push(fact)
  const together = (work: () => void) => work()
  const recorder = { decision, repeatedDecision: decision, together } as unknown as Recorder
  const answer = { status, body, size, beginning: '', header: (name: string) => headers[name] }
  const sentHeader = (name: string) => sent[name]
  authzenHook.record({ path: PATH, request, sentHeader, answer, failure: undefined }, recorder)
  return decisions
}

test.each([
  ['/access/v1/evaluation', true],
  ['/pdp/eu/access/v1/evaluations', true],
  ['/access/v1/search/subject', false],
  ['/myaccess/v1/evaluation', false],
  ['/access/v1/evaluation/x', false],
])('%s: %s', (path, isOurs) => expect(authzenHook.matches(path)).toBe(isOurs))

test('an evaluation that failed within a batch is an error and no denial', () => {
  const failed = { decision: false, context: { error: { status: 404, message: 'a secret' } } }
  const decisions = decisionsOf(ASKED, 200, { evaluations: [{ decision: true }, failed] })
  expect(decisions).toMatchObject([
    { outcome: 'allow', action: 'read', subject: 'alice' },
    { outcome: 'error', action: 'write', subject: 'alice', reason: 'status_404', errors: 1 },
  ])
})

test('a request id that the server gave is the decision id, made distinct within a batch', () => {
  const headers = { headers: { 'x-request-id': 'r1' } }
  const two = { evaluations: [{ decision: true }, { decision: false }] }
  expect(decisionsOf(ASKED, 200, two, headers).map(({ id }) => id)).toEqual(['r1/0', 'r1/1'])
  expect(decisionsOf({ subject: SUBJECT }, 200, { decision: true }, headers)).toMatchObject([{ id: 'r1' }])
  expect(decisionsOf({ subject: SUBJECT }, 200, { decision: true })[0]!.id).toBeUndefined()
})

test('a request id that the application sent, or passed on, is its own', () => {
  const own = { headers: { 'x-request-id': 'r1' }, sent: { 'x-request-id': 'r1' } }
  expect(decisionsOf({ subject: SUBJECT }, 200, { decision: true }, own)[0]!.id).toBeUndefined()
  const other = { headers: { 'x-request-id': 'r2' }, sent: { 'x-request-id': 'r1' } }
  expect(decisionsOf({ subject: SUBJECT }, 200, { decision: true }, other)).toMatchObject([{ id: 'r2' }])
})

test('a large answer is judged and not committed to; of one that is too large nothing is said', () => {
  const said = { decision: true, context: { why: 'x' } }
  expect(decisionsOf({ subject: SUBJECT }, 200, said, { size: 'large' })).toMatchObject([
    { outcome: 'allow', output: undefined },
  ])
  const decisions = decisionsOf(ASKED, 200, undefined, { size: 'too large' })
  expect(decisions).toMatchObject([
    { action: 'read', outcome: undefined, reason: 'answer_too_large' },
    { action: 'write', outcome: undefined, reason: 'answer_too_large' },
  ])
  expect(decisions[0]!.errors).toBeUndefined()
})

test('an engine that is not named is not guessed', () => {
  const [decision] = decisionsOf({ subject: SUBJECT }, 200, { decision: true })
  expect(decision).toMatchObject({ engine: 'authzen', outcome: 'allow' })
  expect(decision!.policyId).toBeUndefined()
  expect(decision!.policyVersion).toBeUndefined()
})

test.each([
  ['no body', undefined],
  ['no decision', {}],
  ['a text for a decision', { decision: 'true' }],
  ['a list', []],
])('%s is an error, for each evaluation', (_, body) => {
  const decisions = decisionsOf(ASKED, 200, body)
  expect(decisions.map(({ outcome, reason }) => [outcome, reason])).toEqual([
    ['error', 'malformed'],
    ['error', 'malformed'],
  ])
})

test('all of a long batch is recorded, whatever the answer', () => {
  const asked = { subject: SUBJECT, evaluations: Array.from({ length: 1000 }, () => ({})) }
  const answered = { evaluations: Array.from({ length: 1000 }, () => ({ decision: true })) }
  expect(decisionsOf(asked, 200, answered)).toHaveLength(1000)
  expect(decisionsOf(asked, 503, undefined)).toHaveLength(1000)
  expect(decisionsOf(undefined, 200, answered)).toHaveLength(1000)
})

test('more answers than questions are not believed; without a question seen, answers are', () => {
  const three = { evaluations: [{ decision: true }, { decision: true }, { decision: true }] }
  expect(decisionsOf(ASKED, 200, three)).toHaveLength(2)
  expect(decisionsOf(undefined, 200, three)).toHaveLength(3)
  expect(decisionsOf('no object', 200, three)).toHaveLength(0)
})
