/** What is so of every rule: it never throws, its texts are whole, and it is linear in what it looks at. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { executionOf } from '../../../../../test/support/judged.ts'
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
  const name = fc.constantFrom('a', 'b', 'hmac-sha256:00')
  const names = fc.array(name, { maxLength: 3 })
  const time = fc.constantFrom(0, when(0), when(3), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER)
  const oneOf = (...words: readonly string[]) => fc.constantFrom(...words)
  const VALUES: Readonly<Record<string, fc.Arbitrary<Attributes[string]>>> = {
    'authorization.fingerprint': name,
    'authorization.id': name,
    'authorization.type': oneOf('jwt', 'opaque', 'approval', 'anonymous', 'biscuit'),
    'authorization.issuer': name,
    'authorization.subject': name,
    'authorization.actor.chain': fc.array(name, { maxLength: 10 }),
    'authorization.audience': names,
    'authorization.scope': names,
    'authorization.not_before': time,
    'authorization.expires_at': time,
    'authorization.confirmation': oneOf('dpop', 'none'),
    'authorization.verification': oneOf('verified', 'failed', 'skipped', 'unverified'),
    'authorization.transaction.id': name,
    'authorization.parent.id': name,
    'authorization.parent.fingerprint': name,
    'authorization.inherited': fc.boolean(),
    'delegation.depth': fc.constantFrom(-1, 1, 9, Number.MAX_SAFE_INTEGER),
    'approval.approver.id': name,
    'decision.id': name,
    'decision.outcome': oneOf('allow', 'deny', 'error', 'not_applicable', 'approval_required', 'transform'),
    'decision.enforcement': oneOf('enforced', 'dry_run'),
    'decision.engine.name': name,
    'decision.subject.id': name,
    'decision.ttl': fc.constantFrom(-1, 0, 1, Number.MAX_SAFE_INTEGER),
    'decision.errors.count': fc.constantFrom(0, 1, -1),
    'decision.obligations': names,
    'corroboration.source': name,
    'policy.digest': name,
    'verification.type': oneOf('credential', 'approval', 'enforcement', 'integrity'),
    'verification.result': oneOf('pass', 'fail', 'unknown'),
    'verification.checks': fc.array(oneOf('audience', 'possession', 'issued'), { maxLength: 2 }),
    'verification.unchecked': fc.array(oneOf('audience', 'possession'), { maxLength: 2 }),
    'verification.target.id': name,
    'verification.target.fingerprint': name,
    'verification.reason.code': oneOf('expired', 'audience_mismatch', 'hmac-sha256:00'),
    'transition.type': oneOf('policy', 'authority', 'oversight'),
    'transition.from': name,
    'transition.cause.id': name,
    'transition.target.fingerprint': name,
    'transition.engine.name': name,
    'action.name': name,
    'action.outcome': oneOf('success', 'failure', 'refused'),
    'action.reason.code': oneOf('denied', 'decision_deny', 'other'),
    'action.digest': name,
    'action.inferred': fc.boolean(),
    'action.required_scope': names,
  }
  const anything = fc.oneof(name, time, fc.boolean(), names)
  /** Of the groups; now and then a value is of another type than it should be. */
  const attributesOf = (...groups: readonly string[]): fc.Arbitrary<Attributes> => {
    const keys = Object.keys(VALUES).filter((key) => groups.includes(key.split('.')[0]!))
    const values = keys.map((key) => [
      `governance.${key}`,
      fc.oneof({ arbitrary: VALUES[key]!, weight: 12 }, { arbitrary: anything, weight: 1 }),
    ])
    return fc.record(Object.fromEntries(values), { requiredKeys: [] }).map((some) => some as Attributes)
  }
  const eventOf = (kind: string, ...groups: readonly string[]): fc.Arbitrary<VectorEvent> =>
    fc.record({
      name: fc.constant(`governance.${kind}`),
      attributes: attributesOf(...groups),
      at: fc.constantFrom(0, 0.5, 3, 9),
    })
  const event = fc.oneof(
    eventOf('authorization', 'authorization', 'delegation', 'approval'),
    eventOf('verification', 'verification'),
    eventOf('decision', 'decision', 'policy', 'corroboration', 'action'),
    eventOf('transition', 'transition'),
  )
  const span: fc.Arbitrary<Omit<VectorSpan, 'id'>> = fc.record(
    {
      parent: fc.integer({ min: 1, max: 9 }),
      service: oneOf('api', 'orders', 'b'),
      kind: fc.constantFrom('internal', 'server', 'client', 'producer', 'consumer'),
      at: fc.constantFrom(0, 0.5, 3, 9),
      takes: fc.constantFrom(0, 1, 5),
      attributes: fc
        .tuple(
          fc.option(attributesOf('action', 'decision'), { nil: {} }),
          fc.constantFrom<Attributes>({}, { 'http.response.status_code': 403 }),
        )
        .map(([facts, status]): Attributes => ({ ...facts, ...status })),
      events: fc.array(event, { maxLength: 6 }),
      links: fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 2 }),
    },
    { requiredKeys: ['attributes', 'events'] },
  )

  test('none throws, the same facts give the same judgement, and no value of a fact is told', () => {
    const seen = new Set<string>()
    fc.assert(
      fc.property(fc.array(span, { minLength: 1, maxLength: 9 }), (some) => {
        const spans = some.map((one, at) => ({ ...one, id: at + 1 }))
        const judgement = judge(executionOf(spans), OWN)
        expect(judge(executionOf(spans), OWN)).toEqual(judgement)
        for (const { rule, detail, subjects } of judgement.findings) {
          seen.add(rule)
          expect(subjects.length).toBeGreaterThan(0)
          expect(detail).not.toMatch(/hmac/)
        }
        for (const { missing } of judgement.results) expect(missing.join()).not.toMatch(/hmac/)
      }),
      { numRuns: 200, seed: 7 },
    )
    // Nearly all of them have failed somewhere.
    expect(OWN.filter(({ id }) => !seen.has(id)).length).toBeLessThan(4)
  }, 60_000)
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
