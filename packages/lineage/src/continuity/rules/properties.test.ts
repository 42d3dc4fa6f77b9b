/** All rules on executions that nobody would send, and on those that somebody would send to hurt. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judged } from '../../../../../test/support/judged.ts'
import { governance, type VectorEvent, type VectorSpan } from '../../../../../test/vectors/continuity/spec.ts'

const KEYS = [
  ...['record.kind', 'execution.state', 'execution.kind', 'action.name', 'action.outcome', 'action.digest'],
  ...['authorization.fingerprint', 'authorization.expires_at', 'authorization.verification'],
  ...[
    'authorization.scope',
    'authorization.audience',
    'authorization.parent.fingerprint',
    'authorization.inherited',
  ],
  ...['authorization.actor.chain', 'authorization.subject', 'authorization.status', 'approval.id'],
  ...['decision.id', 'decision.outcome', 'decision.enforcement', 'decision.ttl', 'decision.obligations'],
  ...['policy.id', 'policy.version', 'verification.type', 'verification.result', 'transition.type'],
  ...['transition.from', 'transition.to', 'emitter.id', 'emitter.seq', 'emitter.prev', 'delegation.depth'],
  ...['truncated.facts', 'constructor', '__proto__'],
]
const value = fc.oneof(
  fc.constantFrom(
    'a',
    'allow',
    'deny',
    'verified',
    'state',
    'executing',
    'completed',
    'suspended',
    'pass',
    '',
  ),
  fc.constantFrom('action', 'request', 'decision', 'authorization', 'transition', 'verification'),
  fc.integer({ min: -5, max: 5 }),
  fc.constantFrom(1e15, -1e15, Number.MAX_SAFE_INTEGER),
  fc.boolean(),
  fc.array(fc.constantFrom('a', 'b'), { maxLength: 3 }),
)
const attributes = fc
  .array(fc.tuple(fc.constantFrom(...KEYS), value), { maxLength: 8 })
  .map((pairs) => governance(Object.fromEntries(pairs)))
const event: fc.Arbitrary<VectorEvent> = fc.record(
  {
    name: fc.constantFrom('governance.authorization', 'governance.decision', 'governance.transition', 'x'),
    attributes,
    at: fc.integer({ min: -100_000, max: 100_000 }),
  },
  { requiredKeys: ['name', 'attributes'] },
)
const span: fc.Arbitrary<VectorSpan> = fc.record(
  {
    id: fc.integer({ min: 1, max: 12 }),
    parent: fc.integer({ min: 1, max: 12 }),
    service: fc.constantFrom('api', 'web'),
    kind: fc.constantFrom('internal', 'server', 'client', 'producer', 'consumer'),
    at: fc.integer({ min: -100_000, max: 100_000 }),
    takes: fc.integer({ min: -10, max: 100_000 }),
    attributes,
    events: fc.array(event, { maxLength: 4 }),
    links: fc.array(fc.integer({ min: 1, max: 15 }), { maxLength: 2 }),
    linksRemote: fc.boolean(),
    remote: fc.boolean(),
    dropped: fc.integer({ min: 0, max: 3 }),
    failed: fc.boolean(),
  },
  { requiredKeys: ['id'] },
)

test('whatever is sent is judged, and twice the same', () => {
  const services = { web: { resource: governance({ domain: 'shop' }) } }
  let found = 0
  fc.assert(
    fc.property(
      fc.array(fc.array(span, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 3 }),
      (segments) => {
        const once = judged(segments, services).findings()
        expect(judged(segments, services).findings()).toEqual(once)
        found += once.length
      },
    ),
    { numRuns: 150, seed: 11 },
  )
  expect(found).toBeGreaterThan(150)
})

describe('what is large is judged all the same', () => {
  const facts = governance({ 'action.name': 'x', 'decision.id': 'd', 'execution.state': 'executing' })

  test('a chain of 20,000 requests and actions', () => {
    const spans = Array.from(
      { length: 20_000 },
      (_, at): VectorSpan => ({
        id: at + 1,
        ...(at > 0 && { parent: at }),
        kind: at % 2 === 0 ? 'server' : 'client',
        at: at / 1000,
        attributes: facts,
      }),
    )
    expect(judged([spans]).findings().length).toBeGreaterThan(0)
  })

  test('20,000 actions beside each other', () => {
    const spans = Array.from(
      { length: 20_000 },
      (_, at): VectorSpan => ({
        id: at + 1,
        ...(at > 0 && { parent: 1 }),
        at: at / 1000,
        attributes: facts,
        links: [at + 50_000],
      }),
    )
    expect(judged([spans]).findings('GC-R03')).toEqual([])
  })

  test('12,000 facts on one span', () => {
    const names = ['authorization', 'decision', 'transition', 'verification']
    const events = Array.from(
      { length: 20_000 },
      (_, at): VectorEvent => ({
        name: `governance.${names[at % 4]}`,
        at: at / 1000,
        attributes: governance({
          'authorization.fingerprint': `f${at}`,
          'decision.id': `d${at}`,
          'decision.outcome': 'allow',
          'policy.id': 'p',
          'policy.version': `v${at}`,
          'transition.type': at % 8 < 4 ? 'state' : 'policy',
          'transition.to': 'suspended',
          'verification.result': 'pass',
        }),
      }),
    )
    const actions = Array.from(
      { length: 1000 },
      (_, at): VectorSpan => ({
        id: at + 2,
        parent: 1,
        at: 40 + at / 1000,
        attributes: facts,
      }),
    )
    const result = judged([[{ id: 1, kind: 'server', takes: 100, attributes: facts, events }, ...actions]])
    expect(result.findings('GC-R05').length).toBeGreaterThan(0)
  })
})
