/** Guards of GC-A06, A07, A08, A10 and A12; what they find and what is fine stands in the vectors. */
import { describe, expect, test } from 'vitest'
import { judged } from '../../../../../test/support/judged.ts'
import {
  type Attributes,
  action,
  decision,
  fact,
  fingerprint,
  inherited,
  REQUEST,
  token,
  type VectorEvent,
  type VectorSpan,
} from '../../../../../test/vectors/continuity/spec.ts'

const entry = (...events: readonly VectorEvent[]): VectorSpan => ({
  id: 1,
  kind: 'server',
  takes: 10,
  attributes: REQUEST,
  events,
})
const decides = (more: Attributes = {}): VectorSpan => ({ id: 2, parent: 1, events: [decision('d1', more)] })
const acts = (more: Attributes = {}, rest: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 3,
  parent: 1,
  attributes: action('refund', { 'decision.id': 'd1', ...more }),
  ...rest,
})
const INFERRED = { 'action.inferred': true }
const check = (more: Attributes): VectorEvent =>
  fact('verification', { 'verification.type': 'credential', 'verification.result': 'pass', ...more })

function judge(
  rule: string,
  spans: readonly VectorSpan[],
  services?: Parameters<typeof judged>[1],
): unknown[] {
  const execution = judged([spans], services)
  return [
    execution.result(rule),
    ...execution.missing(rule),
    ...execution.findings(rule).map(({ severity }) => severity),
  ]
}

describe('GC-A06', () => {
  const needs = (...scopes: readonly string[]) => acts({ 'action.required_scope': scopes })
  const having = (...scopes: readonly string[]) => token('t', { 'authorization.scope': scopes })

  test('is silent where nothing is needed, or nobody is authorized', () => {
    expect(judge('GC-A06', [entry(having('a')), acts()])).toEqual([undefined])
    expect(judge('GC-A06', [entry(), needs('a')])).toEqual([undefined])
  })

  test('takes scopes together from all that are in force', () => {
    const other = token('u', { 'authorization.scope': ['b'] })
    expect(judge('GC-A06', [entry(having('a'), other), needs('a', 'b')])).toEqual(['pass'])
    expect(judge('GC-A06', [entry(having('a'), other), needs('a', 'c')])).toEqual(['fail', 'critical'])
  })

  test('takes no scope from an artifact that was not verified', () => {
    const refused = token('u', { 'authorization.scope': ['b'], 'authorization.verification': 'failed' })
    expect(judge('GC-A06', [entry(having('a'), refused), needs('b')])).toEqual(['fail', 'critical'])
  })

  test('does not know where one says no scopes', () => {
    expect(judge('GC-A06', [entry(having('a'), token('u')), needs('b')])).toEqual([
      'unknown',
      'which scopes an authorization has',
    ])
  })
})

describe('GC-A07', () => {
  const meant = (...audience: readonly string[]) => token('t', { 'authorization.audience': audience })
  const looked = (...checks: readonly string[]) => check({ 'verification.checks': checks })

  test('is silent where it cannot tell what was looked at', () => {
    expect(judge('GC-A07', [entry(meant('x')), acts()])).toEqual([undefined])
    expect(judge('GC-A07', [entry(token('t'), looked('signature')), acts()])).toEqual([undefined])
    expect(judge('GC-A07', [entry(meant('x'), looked('issued')), acts()])).toEqual([undefined])
    expect(judge('GC-A07', [entry(meant('x'), looked('signature')), acts(INFERRED)])).toEqual([undefined])
  })

  test('is a note where the checker says that it did not look', () => {
    const unchecked = check({ 'verification.unchecked': ['audience'] })
    expect(judge('GC-A07', [entry(meant('x'), unchecked), acts()])).toEqual(['fail', 'low'])
  })

  test('takes names of services for what they are', () => {
    const spans = (audience: readonly string[], events = [meant(...audience), looked('signature')]) => [
      entry(...events),
      acts(),
      { id: 4, parent: 3, service: 'billing' },
    ]
    expect(judge('GC-A07', spans(['billing']))).toEqual(['fail', 'high'])
    expect(judge('GC-A07', spans(['billing', 'api']))).toEqual(['fail', 'low'])
    expect(judge('GC-A07', spans(['https://billing']))).toEqual(['fail', 'low'])
    expect(judge('GC-A07', spans([], [meant('billing'), looked('audience')]))).toEqual(['pass'])
  })

  test('looks at the service that took it, not at those behind', () => {
    const spans = [
      { ...entry(meant('orders'), looked('signature')), service: 'gateway' },
      { id: 4, parent: 1, service: 'orders', kind: 'server', takes: 5 },
      acts({}, { parent: 4, service: 'orders' }),
    ] as const
    expect(judge('GC-A07', spans)).toEqual([undefined])
  })
})

describe('GC-A08', () => {
  const under = (name: string) => decides({ 'authorization.fingerprint': fingerprint(name) })
  const nested = (artifact: VectorEvent, more: Attributes = {}): VectorSpan[] => [
    entry(token('t')),
    under('t'),
    { id: 4, parent: 1, at: 0.025, takes: 1, events: [artifact] },
    acts(more, { parent: 4 }),
  ]
  const mallory = { 'authorization.subject': fingerprint('mallory') }

  test('is silent where the decision names no artifact, or nobody is authorized', () => {
    expect(judge('GC-A08', [entry(token('t')), decides(), acts()])).toEqual([undefined])
    expect(judge('GC-A08', [entry(), under('t'), acts()])).toEqual([undefined])
  })

  test('takes an artifact of one transaction', () => {
    const txn = { 'authorization.transaction.id': 'txn-1' }
    const spans = nested(token('u', { ...mallory, ...txn }))
    expect(judge('GC-A08', [entry(token('t', txn)), ...spans.slice(1)])).toEqual(['pass'])
    expect(judge('GC-A08', spans)).toEqual(['fail', 'critical'])
  })

  test('takes a transition of authority', () => {
    const handover = fact('transition', {
      'transition.type': 'authority',
      'transition.to': 'exchanged',
      'transition.cause.id': 'jti-t',
      'transition.target.fingerprint': fingerprint('u'),
    })
    const spans = nested(token('u', mallory))
    const first = entry(token('t', { 'authorization.id': 'jti-t' }), handover)
    expect(judge('GC-A08', [first, ...spans.slice(1)])).toEqual(['pass'])
  })

  test('takes an exchange over several hops', () => {
    const from = (name: string) => ({ ...mallory, 'authorization.parent.fingerprint': fingerprint(name) })
    const middle = { id: 6, parent: 1, events: [token('u', from('t'))] }
    expect(judge('GC-A08', [...nested(token('v', from('u'))), middle])).toEqual(['pass'])
    expect(judge('GC-A08', nested(token('v', from('u'))))).toEqual(['fail', 'critical'])
  })

  test('does not take an approval for a swap', () => {
    const approval = fact('authorization', {
      'authorization.type': 'approval',
      'authorization.id': 'ap-1',
      'authorization.verification': 'verified',
    })
    expect(judge('GC-A08', nested(approval))).toEqual(['pass'])
  })

  test('does not know of artifacts without a fingerprint or a subject', () => {
    const session = fact('authorization', {
      'authorization.type': 'session',
      'authorization.verification': 'verified',
      'authorization.subject': fingerprint('mallory'),
    })
    expect(judge('GC-A08', nested(session))).toEqual(['unknown', 'which artifact an authorization is'])
    const opaque = fact('authorization', {
      'authorization.type': 'opaque',
      'authorization.fingerprint': fingerprint('u'),
      'authorization.verification': 'verified',
    })
    expect(judge('GC-A08', nested(opaque))).toEqual([
      'unknown',
      'where an authorization at an action comes from',
    ])
  })

  test('does not compare fingerprints of different services', () => {
    const spans = nested(token('u', mallory)).map((span) =>
      span.id === 3 ? { ...span, service: 'orders' } : span,
    )
    expect(judge('GC-A08', spans)).toEqual([undefined])
  })

  test('does not know of inferred actions, nor which of several decisions it was', () => {
    const missing = ['unknown', 'on which decision api acted']
    expect(judge('GC-A08', nested(token('u', mallory), INFERRED))).toEqual(missing)
    const spans = nested(token('u', mallory)).map((span) =>
      span.id === 3
        ? { ...span, parent: 1, attributes: action('refund'), events: [inherited('u', mallory)] }
        : span,
    )
    const another = { id: 6, parent: 1, at: 0.001, takes: 0.001, events: [decision('d9')] }
    expect(judge('GC-A08', [...spans, another])).toEqual(missing)
    expect(judge('GC-A08', spans)).toEqual(['fail', 'critical'])
  })
})

describe('GC-A10', () => {
  const about = (name: string, more: Attributes = {}) =>
    decides({ 'decision.subject.id': fingerprint(name), ...more })
  const known = { id: 6, parent: 1, at: 0.001, takes: 0.001, events: [decision('d0')] }
  const NAMES = 'whether policies of api name principals as authorizations do'

  test('is silent where the decision names nobody, or nobody is authorized', () => {
    const nobody = {
      id: 2,
      parent: 1,
      events: [fact('decision', { 'decision.id': 'd1', 'decision.outcome': 'allow' })],
    }
    expect(judge('GC-A10', [entry(token('t')), nobody, acts()])).toEqual([undefined])
    expect(judge('GC-A10', [entry(), decides(), acts()])).toEqual([undefined])
  })

  test('compares where the engine was seen to name principals in the same way', () => {
    expect(judge('GC-A10', [entry(token('t')), about('mallory'), acts()])).toEqual(['unknown', NAMES])
    expect(judge('GC-A10', [entry(token('t')), known, about('mallory'), acts()])).toEqual([
      'fail',
      'critical',
    ])
    const other = about('mallory', { 'decision.engine.name': 'opa' })
    expect(judge('GC-A10', [entry(token('t')), known, other, acts()])).toEqual(['unknown', NAMES])
  })

  test('compares where the principal is authorized elsewhere', () => {
    const elsewhere = {
      id: 7,
      parent: 1,
      at: 0.5,
      service: 'other',
      events: [token('u', { 'authorization.subject': fingerprint('mallory') })],
    }
    expect(judge('GC-A10', [entry(token('t')), about('mallory'), acts(), elsewhere])).toEqual([
      'fail',
      'critical',
    ])
    expect(
      judge('GC-A10', [entry(token('t')), about('mallory'), acts(), { ...elsewhere, service: 'api' }]),
    ).toEqual(['pass'])
  })

  test.each(['authorization.client.id', 'authorization.actor.chain'])('takes who is in %s', (key) => {
    const value = key.endsWith('chain') ? [fingerprint('robot')] : fingerprint('robot')
    expect(judge('GC-A10', [entry(token('t', { [key]: value })), known, about('robot'), acts()])).toEqual([
      'pass',
    ])
  })

  test('takes the artifact that the decision names', () => {
    const user = token('u', { 'authorization.subject': fingerprint('bob') })
    const spans = [
      entry(token('t')),
      { id: 5, parent: 1, at: 0.011, events: [user] },
      about('bob', { 'authorization.fingerprint': fingerprint('u') }),
      acts({}, { events: [inherited('t')] }),
    ]
    expect(judge('GC-A10', spans)).toEqual(['pass'])
  })

  test('does not know whom an artifact is about that does not say it', () => {
    const opaque = fact('authorization', {
      'authorization.fingerprint': fingerprint('o'),
      'authorization.verification': 'verified',
    })
    expect(judge('GC-A10', [entry(opaque), decides(), acts()])).toEqual([
      'unknown',
      'whom an authorization is about',
    ])
  })

  test('does not know of inferred actions', () => {
    expect(judge('GC-A10', [entry(token('t')), known, about('mallory'), acts(INFERRED)])).toEqual([
      'unknown',
      'on which decision api acted',
    ])
  })
})

describe('GC-A12', () => {
  const bound = token('t', { 'authorization.confirmation': 'dpop' })
  const BY_HAND = { api: { resource: {} } }
  const looked = (...checks: readonly string[]) => check({ 'verification.checks': checks })
  const proof = {
    id: 5,
    parent: 1,
    at: 0.011,
    events: [
      check({
        'verification.checks': ['possession'],
        'verification.target.fingerprint': fingerprint('proof'),
      }),
    ],
  }

  test('is silent about artifacts that are not bound, or were issued to who has them', () => {
    const free = token('t', { 'authorization.confirmation': 'none' })
    expect(judge('GC-A12', [entry(free, looked('signature')), acts()], BY_HAND)).toEqual([undefined])
    expect(judge('GC-A12', [entry(bound, looked('issued')), acts()], BY_HAND)).toEqual([undefined])
    expect(judge('GC-A12', [entry(bound, looked('signature')), acts(INFERRED)], BY_HAND)).toEqual([undefined])
  })

  test('takes a proof beside the token', () => {
    expect(judge('GC-A12', [entry(bound, looked('signature')), proof, acts()], BY_HAND)).toEqual(['pass'])
  })

  test('fails where an instrumented checker says that it did not look', () => {
    const unchecked = check({ 'verification.unchecked': ['possession'] })
    expect(judge('GC-A12', [entry(bound, unchecked), acts()])).toEqual(['fail', 'medium'])
  })

  test('does not know where nobody says what was looked at', () => {
    expect(judge('GC-A12', [entry(bound), acts()], BY_HAND)).toEqual([
      'unknown',
      'whether possession was proven to api',
    ])
  })
})
