/** That decisions of Cedar which are made once are those that would be made each time; the rest is tested against Cedar. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalJson } from '../canonical.ts'
import { PreparedDecision } from '../fact-event.ts'
import type { Decision } from '../facts.ts'
import { createLog } from '../log.ts'
import type { Recorder } from '../recorder.ts'
import { cedarHook } from './cedar.ts'
import { LoadedModule } from './loaded-module.ts'

type Call = Readonly<Record<string, unknown>>

type Recorded = Decision | PreparedDecision

/** A library that answers as `answers` says, one after the other, and what is recorded. */
function hooked(answers: readonly unknown[]) {
  const recorded: Recorded[] = []
  const recorder = {
    decision: (fact: Recorded) => recorded.push(fact),
    prepareDecision: (fact: Decision) => new PreparedDecision(fact, {}),
    transition() {},
  } as unknown as Recorder
  let at = 0
  const library = {
    isAuthorized: (_: Call) => answers[at++],
    isAuthorizedPartial: (_: Call) => answers[at++],
    statefulIsAuthorized: (_: Call) => answers[at++],
    preparsePolicySet: (_id: string, _policies: unknown) => ({ type: 'success' }),
  }
  cedarHook.patch(new LoadedModule(library, 'require', '4.5.0', '', createLog('silent')), recorder)
  for (const id of ['set', 'twin'])
    library.preparsePolicySet(id, { staticPolicies: 'permit(principal, action, resource);' })
  return { library, recorded }
}

test.each([40, 80, 200])('decisions about hundreds of users are made once each, of ids of %i', (length) => {
  const uses = [
    (at: number) => `${at} of one tenant`.padEnd(length, 'x'),
    (at: number) => `one tenant's ${at}`.padStart(length, 'x'),
  ]
  for (const idOf of uses) {
    const users = Array.from({ length: 500 }, (_, at) => idOf(at))
    const calls = [...users, ...users, ...users].map((id) => questionOf({ id }))
    const recorded = recordedFor(calls, Array(calls.length).fill(answer('allow', ['p'])))
    expect(recorded).toHaveLength(1500)
    expect(new Set(recorded).size).toBe(500)
  }
})

function questionOf({ id = 'u', context = {} }: { id?: string; context?: Call }): Call {
  const principal = { type: 'U', id }
  const [action, resource] = [
    { type: 'A', id: 'a' },
    { type: 'R', id: 'r' },
  ]
  return { principal, action, resource, context, preparsedPolicySetId: 'set' }
}

test('what comes by turns is made once each, also where it is nearly the same', () => {
  const allowed = answer('allow', ['p1', 'p2'])
  const turns: [Call, unknown][] = [
    [questionOf({ context: { a: true, b: false } }), allowed],
    [questionOf({ context: { a: false, b: true } }), allowed],
    [questionOf({ context: { a: false } }), allowed],
    [questionOf({ context: {} }), allowed],
    [questionOf({ context: {} }), answer('allow', ['p2', 'p1'])],
    [{ ...questionOf({}), principal: { id: 'u', type: 'U' } }, allowed],
  ]
  const given = [...turns, ...turns, ...turns]
  const recorded = recordedFor(
    given.map(([call]) => call),
    given.map(([, one]) => one),
  )
  expect(new Set(recorded).size).toBe(turns.length)
})

function recordedFor(calls: readonly Call[], answers: readonly unknown[]): Recorded[] {
  const { library, recorded } = hooked(answers)
  for (const call of calls) library.statefulIsAuthorized(call)
  return recorded
}

function factOf(recorded: Recorded): Decision {
  return recorded instanceof PreparedDecision ? recorded.fact : recorded
}

const answer = (decision: string, reason: readonly string[], errors: readonly unknown[] = []): unknown => ({
  type: 'success',
  response: { decision, diagnostics: { reason, errors } },
})

/** Few, and made to be taken for one another. */
const TEXTS = ['a', '1', '1 a', 'a 1 a', '1 a,', 'true', 'true,', '\n', '']
const text = fc.constantFrom(...TEXTS)
const uid = fc.constantFrom({ type: 'a', id: '1 a' }, { type: 'a 1', id: 'a' }, { id: '1 a', type: 'a' })
const plain = fc.oneof(
  text,
  fc.constantFrom<unknown>(1, 0, -0, 1.5, true, false, Number.NaN, null, undefined),
)
const deep = fc.constantFrom<unknown>(
  { a: 1 },
  [1],
  new Map([['a', 1]]),
  new Date(0),
  { toJSON: () => 'a' },
  Object.defineProperty({ type: 'a', id: '1 a' }, 'toJSON', { value: () => 'a' }),
  { __entity: { type: 'a', id: '1' } },
)
const ALIKE = [
  {},
  { a: '1', b: 'x' },
  { a: '11 b x' },
  { a: '11 b 1 x' },
  { a: '1' },
  { a: 1 },
  { a: '1,' },
  { a: true },
  { a: 'true,' },
  { a: -0 },
  { a: 0 },
  { a: '1 a 1' },
  { a: 1, b: 'abcdefg' },
  { a: 'b 7 abcdefg' },
]
const context = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom<unknown>(...ALIKE) },
  { weight: 4, arbitrary: fc.dictionary(text, plain, { maxKeys: 1 }) },
  { weight: 1, arbitrary: fc.dictionary(text, fc.oneof(plain, deep), { maxKeys: 3 }) },
  { weight: 1, arbitrary: deep },
)
const call = fc.record({
  principal: fc.oneof({ weight: 9, arbitrary: uid }, { weight: 1, arbitrary: deep }),
  action: fc.constant({ type: 'A', id: 'read' }),
  // What one part has more, another one may have less.
  resource: fc.oneof(
    { weight: 3, arbitrary: uid },
    { weight: 1, arbitrary: fc.constant({ type: 'a', id: '1 a', a: '1' }) },
  ),
  context,
  preparsedPolicySetId: fc.constantFrom('set', 'twin', 'other'),
})
const answers = fc.constantFrom(
  answer('allow', ['a']),
  answer('deny', []),
  answer('allow', []),
  answer('allow', ['a', 'b']),
  answer('allow', ['a,b']),
  answer('allow', ['a'], [{ policyId: 'b' }]),
  { type: 'failure', errors: [{}] },
)

test('a decision is that of its own question and answer, whatever was asked before', () => {
  let kept = 0
  fc.assert(
    fc.property(
      fc.array(fc.tuple(call, answers), { minLength: 20, maxLength: 100, size: 'max' }),
      (asked) => {
        const calls = asked.map(([one]) => one)
        const given = asked.map(([, one]) => one)
        const together = recordedFor(calls, given)
        expect(together).toHaveLength(asked.length)
        for (const [at, recorded] of together.entries()) {
          const [alone] = recordedFor([calls[at]!], [given[at]!])
          const { input, ...rest } = factOf(recorded)
          const { input: expected, ...others } = factOf(alone!)
          expect(rest).toEqual(others)
          expect(canonicalJson(input)).toBe(canonicalJson(expected))
        }
        kept += new Set(together.map(factOf)).size < together.length ? 1 : 0
      },
    ),
    { numRuns: 200 },
  )
  expect(kept).toBeGreaterThan(10)
})

test('the same question with the same answer is one fact, until the policy is another one', () => {
  const asked = {
    principal: { type: 'U', id: 'u' },
    action: { type: 'A', id: 'a' },
    resource: { type: 'R', id: 'r' },
  }
  const calls = [
    { ...asked, context: { at: 1 }, preparsedPolicySetId: 'set' },
    { ...asked, context: { at: 1 }, preparsedPolicySetId: 'set' },
    { ...asked, context: { at: 2 }, preparsedPolicySetId: 'set' },
    { ...asked, context: { at: 1 }, preparsedPolicySetId: 'other' },
  ]
  const { library, recorded } = hooked(Array(5).fill(answer('allow', ['p'])))
  for (const one of calls) library.statefulIsAuthorized(one)
  library.preparsePolicySet('set', { staticPolicies: 'forbid(principal, action, resource);' })
  library.statefulIsAuthorized(calls[0]!)
  expect(recorded[0]).toBeInstanceOf(PreparedDecision)
  expect(recorded[1]).toBe(recorded[0])
  expect(recorded[2]).not.toBe(recorded[0])
  expect(factOf(recorded[3]!).policyDigest).toBeUndefined()
  const digests = [recorded[0], recorded[4]].map((one) => factOf(one!).policyDigest)
  expect(digests[0]).toMatch(/^sha256:/)
  expect(digests[1]).toMatch(/^sha256:/)
  expect(digests[0]).not.toBe(digests[1])
})
