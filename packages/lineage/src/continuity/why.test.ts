/** What the five answers say, what they name, and that nobody can make them long or put words into them. */
import { describe, expect, test } from 'vitest'
import { cleanExecution, SERVICES } from '../../../../test/continuity/clean-execution.ts'
import { executionOf } from '../../../../test/support/judged.ts'
import {
  action,
  decision,
  fact,
  governance,
  REQUEST,
  token,
  type VectorSpan,
} from '../../../../test/vectors/continuity/spec.ts'
import { formatHex } from '../bytes.ts'
import { judge } from './judge.ts'
import { type Judgement, NOT_JUDGED } from './judgement.ts'
import { RULES } from './ruleset.ts'
import { type Answer, QUESTIONS, type Question, why } from './why.ts'

const BARE = { resource: {} }

function ask(spans: readonly VectorSpan[], judgement?: Judgement, services = {}): Record<Question, Answer> {
  const execution = executionOf(spans, services)
  const answers = why(execution, judgement ?? judge(execution, RULES))
  expect(answers.map(({ question }) => question)).toEqual(QUESTIONS)
  for (const { clauses } of answers) expect(clauses.length).toBeGreaterThan(0)
  return Object.fromEntries(answers.map((one) => [one.question, one])) as Record<Question, Answer>
}
const textsOf = ({ clauses }: Answer): string[] => clauses.map(({ text }) => text)
/** The leaf of a span's own record, as `executionOf` makes it up; of its facts, from 1. */
const leafOf = (span: number, fact = 0): string =>
  `${span.toString(16).padStart(8, '0')}${fact.toString(16).padStart(8, '0')}`.padEnd(64, '0')

const entry: VectorSpan = {
  id: 1,
  name: 'POST /refunds',
  kind: 'server',
  takes: 10,
  attributes: REQUEST,
  events: [token('t')],
}
const acts = (id: number, name: string, more: object = {}): VectorSpan => ({
  id,
  parent: 1,
  at: 0.05,
  attributes: action(name, { 'action.outcome': 'success', ...more }),
})

describe('an execution in order', () => {
  const answers = ask([
    entry,
    { id: 2, parent: 1, at: 0.02, takes: 0.001, events: [decision('d1', { 'policy.id': 'shop/refunds' })] },
    acts(3, 'refund', { 'decision.id': 'd1' }),
  ])

  test('says what it began with and who authorized it, each by its record', () => {
    const [began] = answers.why.clauses
    expect(began!.text).toBe('It began with the request "POST /refunds" of api at 2026-01-02T03:04:05.010Z')
    expect(began!.basis).toBe('recorded')
    expect(began!.records.map(formatHex)).toEqual([leafOf(1)])
    const [authorized] = answers.who.clauses
    expect(authorized!.text).toMatch(
      /^A jwt of https:\/\/issuer\.example for hmac-sha256:[0-9a-f]{12}… was verified by api/,
    )
    expect(authorized!.records.map(formatHex)).toEqual([leafOf(1, 1)])
  })

  test('names the action and the decision that it acted on', () => {
    const [permitted, ...more] = answers.policy.clauses
    expect(more).toEqual([])
    expect(permitted!.text).toMatch(/^Action "refund" of api was done: .* allowed it by policy shop\/refunds/)
    expect(permitted!.text).toMatch(/, which the action names$/)
    expect(permitted!.records.map(formatHex)).toEqual([leafOf(3), leafOf(2, 1)])
  })
})

test('a clean execution of 200 spans is told in bounded answers, and as intact', () => {
  const answers = ask(cleanExecution(), undefined, SERVICES)
  for (const { clauses } of Object.values(answers)) {
    expect(clauses.length).toBeLessThanOrEqual(9)
    for (const { text, records } of clauses) {
      expect(text.length).toBeLessThan(1000)
      expect(records.length).toBeLessThanOrEqual(8)
    }
  }
  expect(answers.policy.clauses.every(({ basis }) => basis === 'recorded')).toBe(true)
  expect(textsOf(answers.policy).join()).toMatch(/more that are not told here|times\)/)
})

test('nothing recorded is said to be unknown, with who is not instrumented', () => {
  const answers = ask([{ id: 1, name: 'work' }], NOT_JUDGED, { api: BARE })
  expect(textsOf(answers.why)).toEqual(['It began with span "work" of api, and nothing says why that ran'])
  expect(textsOf(answers.who)).toEqual(['No authorization was recorded, and nothing instruments api for it'])
  expect(textsOf(answers.policy)).toEqual([
    'No policy decision was recorded, and nothing instruments api for it',
  ])
  expect(textsOf(answers.continuity)).toEqual(['Nobody can say, and nothing instruments api for it'])
  for (const { clauses } of Object.values(answers))
    expect(clauses.map(({ basis }) => basis)).toEqual(['unknown'])
})

test('a request that only its attributes tell is inferred, and so are its actions', () => {
  const plain: VectorSpan[] = [
    { id: 1, kind: 'server', name: 'GET /', attributes: { 'http.request.method': 'GET', 'url.path': '/' } },
    {
      id: 2,
      parent: 1,
      kind: 'client',
      attributes: { 'db.system.name': 'postgresql', 'db.operation.name': 'DELETE' },
    },
  ]
  const answers = ask(plain, NOT_JUDGED, { api: BARE })
  expect(answers.why.clauses[0]).toMatchObject({ basis: 'inferred' })
  expect(answers.why.clauses[0]!.text).toMatch(/, as its ordinary attributes tell$/)
  expect(answers.policy.clauses.map(({ basis }) => basis)).toEqual(['unknown', 'inferred'])
  expect(answers.policy.clauses[1]!.records.map(formatHex)).toEqual([leafOf(2)])
})

test('an action that nothing permitted is told before all that something did', () => {
  const many = Array.from({ length: 20 }, (_, at) => [
    {
      id: 10 + 2 * at,
      parent: 1,
      at: 0.02,
      takes: 0.001,
      events: [decision(`d${at}`, { 'decision.outcome': 'allow' })],
    },
    acts(11 + 2 * at, `step ${at}`, { 'decision.id': `d${at}` }),
  ]).flat()
  const { policy } = ask([entry, { ...acts(99, 'wipe'), at: 0.011 }, ...many])
  expect(policy.clauses[0]).toMatchObject({
    text: 'Action "wipe" of api: no decision about it was recorded',
    basis: 'unknown',
  })
  expect(textsOf(policy).at(-1)).toBe('And 13 more that are not told here')
})

test('clauses that say the same are one, with all of their records', () => {
  const again = Array.from({ length: 3 }, (_, at) => acts(10 + at, 'refund'))
  const { policy } = ask([entry, ...again])
  expect(textsOf(policy)).toEqual(['Action "refund" of api: no decision about it was recorded (3 times)'])
  expect(policy.clauses[0]!.records.map(formatHex)).toEqual([10, 11, 12].map((id) => leafOf(id)))
})

test('names are on one line, marked and bounded, whatever an application calls them', () => {
  const evil = 'nobody". Casbin allowed it by policy all\n and "'
  const long = 'x'.repeat(100_000)
  const answers = ask([
    {
      ...entry,
      name: evil,
      service: evil,
      events: [
        token('t', { 'authorization.issuer': evil, 'authorization.actor.chain': Array(50).fill(evil) }),
        fact('verification', {
          'verification.type': evil,
          'verification.outcome': 'fail',
          'verification.reason': long,
        }),
        decision('d', { 'policy.id': long, 'policy.version': evil, 'decision.engine.name': evil }),
      ],
    },
    { ...acts(2, long), service: evil },
  ])
  for (const { clauses } of Object.values(answers))
    for (const { text } of clauses) {
      expect(text).not.toContain('\n')
      expect(text).not.toContain(evil)
      expect(text.length).toBeLessThan(2500)
    }
  expect(textsOf(answers.who)[0]).toContain('and 46 more')
})

test('findings come with their rule and records after the verdict', () => {
  const leaf = new Uint8Array(32).fill(7)
  const broken: Judgement = {
    results: [{ rule: 'GC-A01', result: 'fail', missing: [] }],
    findings: [{ rule: 'GC-A01', severity: 'critical', detail: 'so it is', subjects: [leaf] }],
  }
  const { continuity } = ask([entry], broken)
  expect(continuity.clauses[0]!.text).toBe('No, by 1 finding')
  expect(continuity.clauses[1]!.text).toMatch(/^GC-A01 \(critical, .+\): so it is$/)
  expect(continuity.clauses[1]!.records).toEqual([leaf])
})

test('a judgement by rules that are not known here is told as what was recorded', () => {
  const intact: Judgement = { results: [{ rule: 'GC-A01', result: 'pass', missing: [] }], findings: [] }
  const [first] = why(executionOf([entry]), intact, { isRecomputed: false })[4]!.clauses
  expect(first).toMatchObject({ basis: 'unknown' })
  expect(first!.text).toBe('It was recorded as intact by rules that are not known here, and not judged again')
})

test('the verdict is proved by the seal, and findings follow it, the severest first', () => {
  const [seal, leaf] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const
  const finding = (rule: string, severity: 'critical' | 'low') => ({
    rule,
    severity,
    detail: 'x',
    subjects: [leaf],
  })
  const results = [{ rule: 'GC-A01', result: 'fail', missing: [] }] as const
  const tell = (findings: Judgement['findings'], missing: string[] = []) =>
    why(executionOf([entry]), { results: [{ ...results[0], missing }], findings }, { seal })[4]!.clauses
  const broken = tell([finding('GC-A01', 'low'), finding('GC-D01', 'critical')])
  expect(broken[0]).toEqual({ text: 'No, by 1 finding', records: [seal], basis: 'recorded' })
  expect(broken.slice(1).map(({ text }) => text.slice(0, 6))).toEqual(['GC-D01', 'GC-A01'])
  const unsure = tell([finding('GC-A01', 'low')], ['who called'])
  expect(unsure[0]!.text).toBe('Nothing but notes was found, and 1 rule could not tell')
  expect(unsure.at(-1)!.text).toBe('GC-A01 does not know who called')
})

test('what came from outside, or from another execution, is said so', () => {
  const { why } = ask([
    {
      ...entry,
      parent: 77,
      remote: true,
      attributes: { ...REQUEST, ...governance({ 'execution.parent.id': 'parent-1' }) },
    },
  ])
  expect(textsOf(why).join('\n')).toContain('by span 000000000000004d, of which there is no record here')
  expect(textsOf(why)).toContain('It was begun by execution parent-1')
})

describe('each clause says who vouches for it', () => {
  const numbered = (span: VectorSpan, seq: number): VectorSpan => ({ ...span, numbered: ['e', seq] })
  const spans = [
    numbered(entry, 0),
    numbered({ id: 2, parent: 1, at: 0.02, events: [decision('d1')] }, 1),
    numbered(acts(3, 'refund', { 'decision.id': 'd1' }), 2),
  ]
  const word: VectorSpan = { id: 4, at: 0.03, pushed: { id: 'd1', result: true } }
  const standings = ({ clauses }: Answer) => clauses.map(({ standing }) => standing?.text)
  const OWN = 'E1, said by the service itself'

  test('by its facts', () => {
    const answers = ask(spans)
    expect(standings(answers.why)).toEqual([OWN])
    expect(standings(answers.who)).toEqual([OWN])
    expect(standings(answers.policy)).toEqual([OWN])
  })

  test('and of an action and its decision both, where they differ', () => {
    const [permitted, told] = ask([...spans, word]).policy.clauses
    expect(permitted!.standing).toEqual({
      tier: 'E1',
      text: `action ${OWN}; decision E3, confirmed from outside by opa`,
    })
    expect(told!.text).toContain('(as opa says itself)')
    expect(told!.standing).toEqual({ tier: 'E3', text: 'E3, said from outside by opa' })
  })

  test('but not what is unknown, nor the verdict', () => {
    const answers = ask([{ ...entry, events: [] }], NOT_JUDGED)
    expect(answers.who.clauses[0]).toMatchObject({ basis: 'unknown' })
    expect(answers.who.clauses[0]!.standing).toBeUndefined()
    expect(answers.continuity.clauses[0]!.standing).toBeUndefined()
  })

  test('that an engine said it is told only where it did', () => {
    const claims = decision('d1', { 'corroboration.source': 'opa', 'decision.engine.name': 'other' })
    const { policy } = ask([...spans, numbered({ id: 5, parent: 1, events: [claims] }, 3)])
    expect(textsOf(policy).join()).not.toContain('says itself')
  })

  test('the lowest of many that are not told', () => {
    const many = Array.from({ length: 12 }, (_, at) => acts(10 + at, `refund ${at}`, { 'decision.id': 'd1' }))
    const { policy } = ask([...spans, ...many])
    expect(policy.clauses.at(-1)!.standing).toEqual({ tier: 'E0', text: 'E0 at the lowest' })
  })
})
