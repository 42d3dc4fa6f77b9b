/** Guards of GC-D06 to D12; what they find and what is fine stands in the vectors. */
import { describe, expect, test } from 'vitest'
import { judged } from '../../../../../test/support/judged.ts'
import {
  type Attributes,
  action,
  decision,
  fact,
  fingerprint,
  REQUEST,
  token,
  type VectorEvent,
  type VectorSpan,
} from '../../../../../test/vectors/continuity/spec.ts'

const entry: VectorSpan = { id: 1, kind: 'server', takes: 10, attributes: REQUEST, events: [token('t')] }
const decides = (more: Attributes = {}, rest: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 2,
  parent: 1,
  at: 0.02,
  takes: 0.001,
  events: [decision('d1', more)],
  ...rest,
})
const acts = (more: Attributes = {}, rest: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 3,
  parent: 1,
  at: 0.05,
  attributes: action('refund', { 'decision.id': 'd1', ...more }),
  ...rest,
})
const unnamed = (more: Attributes = {}): VectorSpan => ({ ...acts(), attributes: action('refund', more) })
const records = (id: number, at: number, ...events: readonly VectorEvent[]): VectorSpan => ({
  id,
  parent: 1,
  at,
  takes: 0.001,
  events,
})
const INFERRED = { 'action.inferred': true }
const UNSURE = 'on which decision api acted'

function judge(rule: string, spans: readonly VectorSpan[]): unknown[] {
  const execution = judged([spans])
  return [
    execution.result(rule),
    ...execution.missing(rule),
    ...execution.findings(rule).map(({ severity }) => severity),
  ]
}

describe('GC-D06', () => {
  const A = { 'action.digest': 'sha256:aa' }
  const B = { 'action.digest': 'sha256:bb' }

  test('is silent about decisions that are bound to nothing', () => {
    expect(judge('GC-D06', [entry, decides(), acts(B)])).toEqual([undefined])
  })

  test('leaves a decision to the action with its digest', () => {
    const spans = [entry, decides(A), unnamed(B), { ...unnamed(A), id: 4, at: 0.06 }]
    expect(judge('GC-D06', spans)).toEqual(['unknown', UNSURE])
    expect(judge('GC-D06', spans.slice(0, 3))).toEqual(['fail', 'critical'])
    expect(judge('GC-D06', [entry, decides(A), acts(B), { ...unnamed(A), id: 4, at: 0.06 }])).toEqual([
      'fail',
      'critical',
    ])
  })

  test('does not know of inferred actions', () => {
    expect(judge('GC-D06', [entry, decides(A), acts({ ...B, ...INFERRED })])).toEqual(['unknown', UNSURE])
  })

  test('does not know of keyed digests of another service', () => {
    const key = (name: string) => ({ 'action.digest': fingerprint(name) })
    const spans = (service: string) => [entry, decides(key('a'), { service }), acts(key('b'))]
    expect(judge('GC-D06', spans('pdp'))).toEqual(['unknown', 'whether services make digests with one key'])
    expect(judge('GC-D06', spans('api'))).toEqual(['fail', 'critical'])
  })
})

describe('GC-D07', () => {
  const change = (at: number, from: string, engine = 'casbin') =>
    records(
      4,
      at,
      fact('transition', {
        'transition.type': 'policy',
        'transition.from': from,
        'transition.to': 'sha256:new',
        'transition.engine.name': engine,
      }),
    )
  const by = { 'policy.digest': 'sha256:old' }

  test('allows for clocks', () => {
    expect(judge('GC-D07', [entry, decides({ 'decision.ttl': 1 }), acts({}, { at: 3.02 })])).toEqual(['pass'])
    expect(judge('GC-D07', [entry, decides({ 'decision.ttl': 1 }), acts({}, { at: 3.021 })])).toEqual([
      'fail',
      'high',
    ])
  })

  test('takes nothing for a time to live that is none', () => {
    expect(judge('GC-D07', [entry, decides({ 'decision.ttl': -1 }), acts({}, { at: 9 })])).toEqual(['pass'])
  })

  test('looks only at a replacement of the policy that decided, in between', () => {
    const late = acts({}, { at: 2 })
    expect(judge('GC-D07', [entry, decides(by), change(1, 'sha256:old'), late])).toEqual(['fail', 'high'])
    expect(judge('GC-D07', [entry, decides(by), change(1, 'sha256:other'), late])).toEqual([undefined])
    expect(judge('GC-D07', [entry, decides(by), change(1, 'sha256:old', 'opa'), late])).toEqual([undefined])
    expect(judge('GC-D07', [entry, decides(by), change(0.01, 'sha256:old'), late])).toEqual([undefined])
    expect(judge('GC-D07', [entry, decides(by), change(2.5, 'sha256:old'), late])).toEqual([undefined])
    expect(judge('GC-D07', [entry, decides(), change(1, 'sha256:old'), late])).toEqual([undefined])
  })

  test('does not know of inferred actions', () => {
    expect(judge('GC-D07', [entry, decides({ 'decision.ttl': 1 }), acts(INFERRED, { at: 9 })])).toEqual([
      'unknown',
      UNSURE,
    ])
  })
})

describe('GC-D08', () => {
  const asks = (more: Attributes = {}) => decides({ 'decision.outcome': 'approval_required', ...more })
  const approval = (id: string, approver?: string): VectorEvent =>
    fact('authorization', {
      'authorization.type': 'approval',
      'authorization.verification': 'verified',
      'approval.id': id,
      ...(approver !== undefined && { 'approval.approver.id': fingerprint(approver) }),
    })

  test('takes an approval before the action only', () => {
    expect(judge('GC-D08', [entry, asks(), records(4, 2.05, approval('a', 'bob')), acts()])).toEqual(['pass'])
    expect(judge('GC-D08', [entry, asks(), records(4, 2.06, approval('a', 'bob')), acts()])).toEqual([
      'fail',
      'critical',
    ])
  })

  test('takes the approval that the decision names', () => {
    const named = asks({ 'approval.id': 'a' })
    expect(judge('GC-D08', [entry, named, records(4, 0.04, approval('a', 'bob')), acts()])).toEqual(['pass'])
    expect(judge('GC-D08', [entry, named, records(4, 0.04, approval('b', 'bob')), acts()])).toEqual([
      'unknown',
      'which approval an action rests on',
    ])
  })

  test('does not know of one in another part of the execution', () => {
    const elsewhere = { ...records(4, 0.04, approval('a', 'bob')), service: 'desk' }
    expect(judge('GC-D08', [entry, asks(), elsewhere, acts()])).toEqual([
      'unknown',
      'which approval an action rests on',
    ])
  })

  test('takes a verification for an approval, and does not know who gave it', () => {
    const passed = (result: string) =>
      fact('verification', { 'verification.type': 'approval', 'verification.result': result })
    expect(judge('GC-D08', [entry, asks(), records(4, 0.04, passed('pass')), acts()])).toEqual([
      'unknown',
      'who approved',
    ])
    expect(judge('GC-D08', [entry, asks(), records(4, 0.04, passed('fail')), acts()])).toEqual([
      'fail',
      'critical',
    ])
    expect(judge('GC-D08', [entry, asks(), records(4, 0.04, approval('a')), acts()])).toEqual([
      'unknown',
      'who approved',
    ])
  })

  test('needs one approver who is not the requester', () => {
    const both = records(4, 0.04, approval('a', 'alice'), approval('b', 'bob'))
    expect(judge('GC-D08', [entry, asks(), both, acts()])).toEqual(['pass'])
    const own = records(4, 0.04, approval('a', 'alice'))
    expect(judge('GC-D08', [entry, asks(), own, acts()])).toEqual(['fail', 'high'])
  })

  test('is silent about answers that do not bind, and does not know of inferred actions', () => {
    expect(judge('GC-D08', [entry, asks({ 'decision.enforcement': 'dry_run' }), acts()])).toEqual([undefined])
    expect(judge('GC-D08', [entry, asks(), acts(INFERRED)])[0]).toBe('unknown')
  })
})

describe('GC-D09', () => {
  const obliges = (...list: readonly string[]) => decides({ 'decision.obligations': list })
  const met = (target: string, at: number, result = 'pass') =>
    records(
      4,
      at,
      fact('verification', {
        'verification.type': 'enforcement',
        'verification.result': result,
        'verification.target.id': target,
      }),
    )

  test('does not take what came after the action', () => {
    const act = acts({}, { takes: 1 })
    expect(judge('GC-D09', [entry, obliges('log'), act, met('log', 3.05)])).toEqual(['pass'])
    expect(judge('GC-D09', [entry, obliges('log'), act, met('log', 3.06)])).toEqual(['fail', 'medium'])
  })

  test('takes a failure for a failure', () => {
    expect(judge('GC-D09', [entry, obliges('log'), acts(), met('log', 0.06, 'fail')])).toEqual([
      'fail',
      'medium',
    ])
  })

  test('is silent without obligations, and does not know of inferred actions', () => {
    expect(judge('GC-D09', [entry, decides(), acts(), met('log', 0.06)])).toEqual([undefined])
    expect(judge('GC-D09', [entry, obliges('log'), acts(INFERRED)])).toEqual(['unknown', UNSURE])
  })
})

describe('GC-D10', () => {
  const A = { 'action.digest': 'sha256:aa' }
  const denies = (more: Attributes = {}) =>
    records(4, 0.01, decision('d0', { ...A, 'decision.outcome': 'deny', ...more }))

  test('compares decisions that are bound to one action', () => {
    expect(judge('GC-D10', [entry, denies(), decides(A)])).toEqual(['fail', 'medium'])
    expect(judge('GC-D10', [entry, denies({ 'action.digest': 'sha256:bb' }), decides(A)])).toEqual([
      undefined,
    ])
    expect(judge('GC-D10', [entry, denies(), decides({ ...A, 'decision.outcome': 'deny' })])).toEqual([
      'pass',
    ])
  })

  test('does not take a decision on the span of an action for one that is bound to it', () => {
    const events = [decision('d0', { 'decision.outcome': 'deny' }), decision('d1')]
    expect(judge('GC-D10', [entry, acts(A, { events })])).toEqual([undefined])
  })

  test.each([
    ['another subject', { 'decision.subject.id': fingerprint('bob') }],
    ['another version', { 'policy.version': '2' }],
    ['an answer that does not bind', { 'decision.enforcement': 'dry_run' }],
    ['an error', { 'decision.outcome': 'error' }],
  ])('does not compare with %s', (_, more) => {
    expect(judge('GC-D10', [entry, denies(more), decides(A)])[0]).not.toBe('fail')
  })

  test.each(['policy', 'authority', 'oversight', 'mode'])('takes a transition of %s for a reason', (type) => {
    const turn = (at: number) =>
      records(5, at, fact('transition', { 'transition.type': type, 'transition.to': 'other' }))
    expect(judge('GC-D10', [entry, denies(), turn(0.015), decides(A)])).toEqual(['pass'])
    expect(judge('GC-D10', [entry, denies(), turn(0.03), decides(A)])).toEqual(['fail', 'medium'])
  })
})

describe('GC-D11', () => {
  const word = (result: boolean, id = 'd1'): VectorSpan => ({ id: 4, at: 0.06, pushed: { id, result } })
  const claims = (id: number, outcome: string): VectorSpan =>
    records(id, 0.06, decision('d1', { 'decision.outcome': outcome, 'corroboration.source': 'opa' }))

  test('is silent without the word of another', () => {
    expect(judge('GC-D11', [entry, decides(), decides({ 'decision.outcome': 'deny' }, { id: 5 })])).toEqual([
      undefined,
    ])
    expect(judge('GC-D11', [entry, decides(), word(false, 'd2')])).toEqual([undefined])
  })

  test('finds it whichever came first', () => {
    expect(judge('GC-D11', [entry, decides(), word(false)])).toEqual(['fail', 'critical'])
    expect(judge('GC-D11', [entry, { ...word(false), at: 0.001 }, decides()])).toEqual(['fail', 'critical'])
    expect(judge('GC-D11', [entry, word(true), decides()])).toEqual(['pass'])
  })

  test('takes nothing for the word of an engine that only says so', () => {
    expect(judge('GC-D11', [entry, decides(), claims(5, 'deny')])).toEqual([undefined])
    expect(judge('GC-D11', [entry, claims(5, 'allow'), decides(), word(false)])).toEqual([
      'fail',
      'critical',
      'critical',
    ])
  })

  test('compares what one peer said with what another did', () => {
    const from = (peer: string) => [entry, { ...decides(), peer }]
    expect(judge('GC-D11', [...from('shop'), word(false)])).toEqual(['fail', 'critical'])
    expect(judge('GC-D11', [...from('opa'), word(false)])).toEqual([undefined])
  })
})

describe('GC-D12', () => {
  test('looks at answers that allow', () => {
    const errors = { 'decision.errors.count': 2 }
    expect(judge('GC-D12', [entry, decides({ ...errors, 'decision.outcome': 'deny' })])).toEqual([undefined])
    expect(judge('GC-D12', [entry, decides({ ...errors, 'decision.outcome': 'transform' })])).toEqual([
      'fail',
      'high',
    ])
    expect(judge('GC-D12', [entry, decides({ ...errors, 'decision.enforcement': 'dry_run' })])).toEqual([
      'fail',
      'low',
    ])
  })
})
