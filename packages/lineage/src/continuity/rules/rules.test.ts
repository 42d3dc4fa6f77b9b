/** What is so of every rule: it never throws, its texts are whole, and it is linear in what it looks at. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { executionOf, judged } from '../../../../../test/support/judged.ts'
import {
  type Attributes,
  type VectorEvent,
  type VectorSpan,
  when,
} from '../../../../../test/vectors/continuity/spec.ts'
import { judge } from '../judge.ts'
import { RULES } from '../ruleset.ts'
import { AUTHORIZATION } from './authorization.ts'
import { AUTHORIZATION_USE } from './authorization-use.ts'
import { DECISION } from './decision.ts'
import { DECISION_BINDING } from './decision-binding.ts'
import { DELEGATION } from './delegation.ts'

const OWN = [...AUTHORIZATION, ...AUTHORIZATION_USE, ...DECISION, ...DECISION_BINDING, ...DELEGATION]

test('have ids of their own, in order', () => {
  const ids = RULES.map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
  expect([...ids].sort()).toEqual(ids)
})

test.each(OWN)('$id says all that a page needs', ({ title, looksAt, guards, remedy }) => {
  expect(title).toMatch(/^[a-z][^.]+$/)
  expect(guards.length).toBeGreaterThan(0)
  for (const sentence of [looksAt, remedy, ...guards]) expect(sentence).toMatch(/^[A-Z].*[.]$/)
  expect(new Set(guards).size).toBe(guards.length)
})

describe('on facts of any kind', () => {
  const name = fc.constantFrom('a', 'b', 'c', 'hmac-sha256:00')
  const word = fc.constantFrom(
    ...['verified', 'failed', 'skipped', 'allow', 'deny', 'error', 'approval_required', 'dry_run'],
    ...['pass', 'fail', 'approval', 'credential', 'enforcement', 'policy', 'authority', 'refused', 'success'],
    ...['audience', 'possession', 'dpop', 'biscuit', ''],
  )
  const number = fc.constantFrom(0, 1, -1, when(0), when(3), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER)
  const value: fc.Arbitrary<Attributes[string]> = fc.oneof(
    name,
    word,
    number,
    fc.boolean(),
    fc.array(name, { maxLength: 10 }),
  )
  const KEYS = [
    ...['fingerprint', 'id', 'type', 'issuer', 'subject', 'client.id', 'actor.chain', 'audience', 'scope'],
    ...['not_before', 'expires_at', 'confirmation', 'verification', 'transaction.id', 'parent.id'],
    ...['parent.fingerprint', 'inherited'],
  ].map((key) => `authorization.${key}`)
  KEYS.push(
    'delegation.depth',
    'delegation.root',
    'approval.id',
    'approval.approver.id',
    'corroboration.source',
  )
  for (const key of [
    'id',
    'outcome',
    'enforcement',
    'engine.name',
    'subject.id',
    'ttl',
    'errors.count',
    'obligations',
  ])
    KEYS.push(`decision.${key}`)
  for (const key of ['id', 'version', 'digest']) KEYS.push(`policy.${key}`)
  for (const key of [
    'type',
    'result',
    'checks',
    'unchecked',
    'target.id',
    'target.fingerprint',
    'reason.code',
  ])
    KEYS.push(`verification.${key}`)
  for (const key of ['type', 'from', 'to', 'cause.id', 'target.fingerprint', 'engine.name'])
    KEYS.push(`transition.${key}`)
  for (const key of ['name', 'outcome', 'digest', 'inferred', 'required_scope', 'reason.code'])
    KEYS.push(`action.${key}`)
  KEYS.push('execution.kind')
  const attributes: fc.Arbitrary<Attributes> = fc
    .dictionary(fc.constantFrom(...KEYS), value, { maxKeys: 12 })
    .map((all) => Object.fromEntries(Object.entries(all).map(([key, one]) => [`governance.${key}`, one])))
  const event: fc.Arbitrary<VectorEvent> = fc.record({
    name: fc.constantFrom(
      ...['authorization', 'verification', 'decision', 'transition'].map((kind) => `governance.${kind}`),
    ),
    attributes,
    at: fc.constantFrom(0, 0.5, 3, 9),
  })
  const span: fc.Arbitrary<Omit<VectorSpan, 'id'>> = fc.record(
    {
      parent: fc.integer({ min: 1, max: 9 }),
      service: fc.constantFrom('api', 'orders', ''),
      kind: fc.constantFrom('internal', 'server', 'client', 'producer', 'consumer'),
      at: fc.constantFrom(0, 0.5, 3, 9),
      takes: fc.constantFrom(0, 1, 5),
      attributes: fc.tuple(attributes, fc.constantFrom(200, 401, 403)).map(([all, status]) => ({
        ...all,
        'http.response.status_code': status,
      })),
      events: fc.array(event, { maxLength: 6 }),
      links: fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 2 }),
    },
    { requiredKeys: [] },
  )

  test('none throws, and the same facts give the same judgement', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(fc.array(span, { minLength: 1, maxLength: 9 }), (spans) => {
        const execution = spans.map((one, at) => ({ ...one, id: at + 1 }))
        const { findings } = judged([execution])
        for (const { rule, detail } of findings()) {
          seen.add(rule)
          // Nothing of what facts say, but for counts, names of services and reasons of a closed list.
          expect(detail).not.toMatch(/hmac/)
        }
        expect(judged([execution]).findings()).toEqual(findings())
      }),
      { numRuns: 150, seed: 7 },
    )
    // It gets to most of them.
    expect(OWN.filter(({ id }) => seen.has(id)).length).toBeGreaterThan(OWN.length / 2)
  })
})

/**
 * Executions that would take hours if anything were looked at once for each of everything: they just have to end.
 */
describe('executions that somebody made to be slow', () => {
  const governance = (all: Attributes): Attributes =>
    Object.fromEntries(Object.entries(all).map(([key, one]) => [`governance.${key}`, one]))
  const act = (id: number, parent: number, more: Attributes = {}): VectorSpan => ({
    id,
    parent,
    attributes: governance({ 'action.name': 'a', ...more }),
  })
  const fact = (kind: string, all: Attributes): VectorEvent => ({
    name: `governance.${kind}`,
    attributes: governance(all),
  })
  const resultOf = (spans: readonly VectorSpan[]) => {
    const { results } = judge(executionOf(spans), OWN)
    return (id: string) => results.find(({ rule }) => rule === id)?.result
  }
  const many = (count: number, of: (at: number) => VectorEvent): VectorEvent[] =>
    Array.from({ length: count }, (_, at) => of(at))

  test.each([
    ['a chain', (id: number) => id - 1],
    ['a fan', () => 1],
  ])(
    '%s of 20,000 actions under 10,000 facts',
    (_, parentOf) => {
      const events = [
        ...many(2_500, (at) =>
          fact('authorization', {
            'authorization.fingerprint': `${at}`,
            'authorization.parent.fingerprint': `${at - 1}`,
            'authorization.subject': `s${at}`,
          }),
        ),
        ...many(2_500, (at) =>
          fact('verification', {
            'verification.type': 'enforcement',
            'verification.result': 'pass',
            'verification.target.id': `${at}`,
          }),
        ),
        ...many(2_500, (at) =>
          fact('decision', {
            'decision.id': `${at}`,
            'decision.outcome': 'approval_required',
            'decision.subject.id': `s${at + 1}`,
            'decision.obligations': ['x', 'y'],
            'decision.engine.name': 'e',
            'policy.digest': 'old',
          }),
        ),
        ...many(2_500, () =>
          fact('transition', {
            'transition.type': 'policy',
            'transition.from': 'old',
            'transition.to': 'new',
            'transition.engine.name': 'e',
          }),
        ),
      ]
      const root: VectorSpan = { id: 1, kind: 'server', at: 0, takes: 1, events }
      const actions = Array.from({ length: 20_000 }, (__, at) =>
        act(at + 2, parentOf(at + 2), { 'decision.id': `${at % 2_500}`, 'action.digest': `${at}` }),
      )
      const result = resultOf([root, ...actions])
      expect(result('GC-D08')).toBe('fail')
      expect(result('GC-L04')).toBeDefined()
    },
    300_000,
  )

  test('an actor chain of 10,000 that 10,000 spans inherit', () => {
    const chain = Array.from({ length: 10_000 }, (_, at) => `actor ${at}`)
    const root: VectorSpan = {
      id: 1,
      events: [
        fact('authorization', {
          'authorization.fingerprint': 't',
          'authorization.actor.chain': chain,
          'authorization.scope': chain,
          'authorization.audience': chain,
          'authorization.verification': 'verified',
        }),
      ],
    }
    const spans = Array.from(
      { length: 10_000 },
      (_, at): VectorSpan => ({
        ...act(at + 2, 1, { 'action.required_scope': ['none'] }),
        events: [
          fact('authorization', {
            'authorization.fingerprint': `${at}`,
            'authorization.parent.fingerprint': 't',
            'authorization.scope': ['actor 1'],
            'authorization.audience': ['actor 2'],
          }),
          fact('authorization', { 'authorization.fingerprint': 't', 'authorization.inherited': true }),
          fact('decision', { 'decision.outcome': 'allow', 'decision.subject.id': `actor ${at}` }),
        ],
      }),
    )
    const result = resultOf([root, ...spans])
    expect(result('GC-A10')).toBe('pass')
    expect(result('GC-A06')).toBeDefined()
  }, 300_000)
})
