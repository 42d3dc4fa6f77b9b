import { createHash } from 'node:crypto'
import { MalformedError } from '@rootspan/lineage/errors'
import { describe, expect, test } from 'vitest'
import { type ReadLog, readLogs } from '../../../../test/support/logs.ts'
import { opaRequest } from './opa.ts'

const ENTRY = {
  labels: { id: 'host-1', version: '1.9.0', app: 'orders' },
  decision_id: '4ca636c1-55e4-417a-b1d8-4aceb67960d1',
  trace_id: '5b8efff798038103d269b633813fc60c',
  span_id: 'eee19b7ec3c1b174',
  bundles: { main: { revision: 'r41' } },
  path: 'authz/allow',
  input: { password: 'secret' },
  result: true,
  requested_by: '10.0.0.7:1',
  timestamp: '2026-01-02T03:04:05.000000123Z',
}

const read = (value: unknown): ReadLog[] => {
  const body = opaRequest(new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value)))
  return body === undefined ? [] : readLogs(body)
}
const one = (changes: Record<string, unknown>): ReadLog => read([{ ...ENTRY, ...changes }])[0]!

test('a decision in the span in which it was taken', () => {
  expect(read([ENTRY])).toEqual([
    {
      name: 'governance.decision',
      traceId: ENTRY.trace_id,
      spanId: ENTRY.span_id,
      time: 1_767_323_045_000_000_123n,
      body: undefined,
      attributes: {
        'decision.id': ENTRY.decision_id,
        'decision.outcome': 'allow',
        'decision.engine.name': 'opa',
        'decision.engine.version': '1.9.0',
        'policy.id': 'authz/allow',
        'policy.set.id': 'main',
        'policy.version': 'r41',
        'corroboration.source': 'opa',
        'corroboration.digest': `sha256:${createHash('sha256').update(JSON.stringify(ENTRY)).digest('hex')}`,
      },
      resource: { 'service.name': 'opa', 'service.version': '1.9.0', 'service.instance.id': 'host-1' },
    },
  ])
})

test('nothing of its input, result or requester is kept', () => {
  const body = opaRequest(
    new TextEncoder().encode(JSON.stringify([{ ...ENTRY, result: { allow: true, why: 'classified' } }])),
  )
  const text = Buffer.from(body!).toString('latin1')
  for (const part of ['secret', 'classified', 'password', '10.0.0.7']) expect(text).not.toContain(part)
})

test.each<[unknown, Record<string, unknown>]>([
  ['allow', { result: true }],
  ['deny', { result: false }],
  ['allow', { result: { allow: true } }],
  ['deny', { result: { allowed: false } }],
  ['allow', { result: { decision: true, context: 1 } }],
  ['conditional', { result: { decision: true, other: 1 } }],
  ['deny', { path: 'authz/deny', result: true }],
  ['conditional', { path: 'authz/deny', result: false }],
  ['conditional', { path: 'authz/is_blocked', result: true }],
  ['conditional', { path: undefined, result: true }],
  ['conditional', { result: { allow: true, deny: ['no quota'] } }],
  ['conditional', { result: { verdict: 'yes' } }],
  ['conditional', { result: 'allow' }],
  ['conditional', { result: null }],
  ['not_applicable', { result: undefined }],
  ['error', { result: undefined, error: { code: 'internal_error' } }],
  ['error', { result: true, error: { code: 'eval_conflict_error' } }],
  [undefined, { result: undefined, erased: ['/result'] }],
  [undefined, { result: { why: 1 }, erased: ['/input/x', '/result/allow'] }],
  [undefined, { result: { allow: 'x' }, masked: ['/result/allow'] }],
  [undefined, { result: true, masked: ['/result'] }],
  [undefined, { path: 'authz/deny', result: [], erased: ['/result/0'] }],
  [undefined, { result: { allow: true }, erased: ['/result/deny/0'] }],
  [undefined, { result: { decision: true }, erased: ['/result/score'] }],
  ['allow', { result: { decision: true }, erased: ['/result/context/user'] }],
  ['allow', { result: { allow: true }, erased: ['/result/user'] }],
  ['not_applicable', { result: undefined, erased: ['/input/password', '/results'] }],
])('the outcome is %s of %j', (outcome, changes) => {
  expect(one(changes).attributes['decision.outcome']).toBe(outcome)
})

test('bundles are named as the hooks name them', () => {
  const version = (bundles: unknown) => {
    const { attributes } = one({ bundles })
    return [attributes['policy.set.id'], attributes['policy.version']]
  }
  expect(version({ b: { revision: '2' }, a: { revision: '1' } })).toEqual(['a b', 'a@1 b@2'])
  expect(version({ main: {} })).toEqual(['main', undefined])
  expect(version(undefined)).toEqual([undefined, undefined])
})

describe('ids', () => {
  test.each([
    { trace_id: '' },
    { trace_id: 'x' },
    { span_id: '0'.repeat(16) },
    { trace_id: ENTRY.trace_id.toUpperCase() },
  ])('are made of the id of the decision without a span: %j', (changes) => {
    const digest = createHash('sha256')
      .update('rootspan/opa/v0\n')
      .update(Buffer.from([0, 0, 0, 36]))
      .update(ENTRY.decision_id)
      .digest('hex')
    const { traceId, spanId } = one(changes)
    expect([traceId, spanId]).toEqual([digest.slice(0, 32), digest.slice(32, 48)])
  })
})

test.each([
  ['2026-01-02T03:04:05Z', 1_767_323_045_000_000_000n],
  ['2026-01-02T05:04:05.5+02:00', 1_767_323_045_500_000_000n],
  ['1969-01-01T00:00:00Z', 0n],
  ['2026-13-02T03:04:05Z', 0n],
  ['yesterday', 0n],
  [5, 0n],
])('the time %s', (timestamp, time) => {
  expect(one({ timestamp }).time).toBe(time)
})

test('digests are over the bytes that were sent', () => {
  const texts = ['{"decision_id":"a","x":"]},[{\\"\\\\"}', '{ "decision_id" : "b" , "n":1.0}']
  const digests = read(` [ ${texts.join(' ,\n')} ] `).map(
    ({ attributes }) => attributes['corroboration.digest'],
  )
  expect(digests).toEqual(texts.map((text) => `sha256:${createHash('sha256').update(text).digest('hex')}`))
})

test('no decisions are no request', () => {
  expect(read([])).toEqual([])
  expect(read(' [ ] ')).toEqual([])
})

test.each([
  '',
  '{}',
  '[',
  '[{}',
  '[{}]',
  '[1]',
  '[null]',
  '[[]]',
  '[{"decision_id":""}]',
  '[{"decision_id":5}]',
  '[{"decision_id":"a"},]',
  '[{"decision_id":"a"}] x',
  '[{"decision_id":"a"}{"decision_id":"b"}]',
  '[{"decision_id":"a"}]]',
  '[,]',
  '["',
  '[{"decision_id":"a}]',
])('refused: %s', (text) => {
  expect(() => read(text)).toThrow(MalformedError)
})

test('text that is not UTF-8, and too many decisions, are refused', () => {
  expect(() => opaRequest(Uint8Array.of(0x5b, 0xff, 0x5d))).toThrow(MalformedError)
  const many = `[${Array.from({ length: 65_537 }, () => '{"decision_id":"a"}').join()}]`
  expect(() => read(many)).toThrow(/over 65536/)
})
