/** Guards of GC-A01 to A05; what they find and what is fine stands in the vectors. */
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
  when,
} from '../../../../../test/vectors/continuity/spec.ts'

const entry = (events: readonly VectorEvent[] = [], more: Attributes = {}): VectorSpan => ({
  id: 1,
  kind: 'server',
  takes: 10,
  attributes: { ...REQUEST, ...more },
  events,
})
const acts = (rest: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 3,
  parent: 1,
  attributes: action('refund'),
  ...rest,
})
const INFERRED = { attributes: action('postgresql INSERT', { 'action.inferred': true }) }
const BY_HAND = { resource: {} }
const hooks = (...lines: readonly string[]) => ({
  resource: { 'governance.instrumentation.version': '0.1.0', 'governance.instrumentation.hooks': lines },
})

describe('GC-A01', () => {
  const judge = (spans: readonly VectorSpan[], services?: Parameters<typeof judged>[1]) => {
    const execution = judged([spans], services)
    return [execution.result('GC-A01'), ...execution.missing('GC-A01')]
  }

  test('looks at nothing where nothing was done', () => {
    expect(judge([entry(), { id: 2, parent: 1, events: [decision('d1')] }])).toEqual([undefined])
  })

  test('fails for actions that failed, and not for those that were refused', () => {
    const ended = (outcome: string) => acts({ attributes: action('a', { 'action.outcome': outcome }) })
    expect(judge([entry(), ended('failure')])).toEqual(['fail'])
    expect(judge([entry(), ended('unknown')])).toEqual(['fail'])
    expect(judge([entry(), ended('refused')])).toEqual([undefined])
  })

  test('is silent about inferred actions where whatever its part began with was refused, governed or not', () => {
    const began = (status: number): VectorSpan[] => [
      { ...entry(), service: 'gateway' },
      { id: 2, parent: 1, kind: 'client', takes: 5, attributes: { 'http.response.status_code': status } },
      acts({ parent: 2, ...INFERRED }),
    ]
    const missing = 'whether inferred actions of api need an authorization'
    expect(judge(began(200))).toEqual(['unknown', missing])
    expect(judge(began(403))).toEqual([undefined])
  })

  test('takes an authorization from the caller in another service', () => {
    const spans = [
      { ...entry([token('t')]), service: 'gateway' },
      { id: 2, parent: 1, kind: 'client', service: 'gateway', takes: 5 },
      { ...entry(), id: 4, parent: 2 },
      acts({ parent: 4 }),
    ] as const
    expect(judge(spans)).toEqual(['pass'])
  })

  test('takes one beside the caller in another service', () => {
    const spans = [
      { ...entry(), service: 'gateway' },
      { id: 5, parent: 1, service: 'gateway', events: [token('t')] },
      { id: 2, parent: 1, at: 0.06, kind: 'client', service: 'gateway', takes: 5 },
      { ...entry(), id: 4, parent: 2, at: 0.07 },
      acts({ parent: 4, at: 0.08 }),
    ] as const
    expect(judge(spans)).toEqual(['pass'])
  })

  test('does not take one that another part of the execution was presented', () => {
    const spans = [
      { id: 9, service: 'scheduler' },
      { ...entry([token('t')]), parent: 9, remote: true },
      { ...entry(), id: 4, parent: 9, remote: true },
      acts({ parent: 4 }),
    ]
    expect(judge(spans, { scheduler: hooks('jose@6.2.18 effective') })).toEqual(['fail'])
  })

  test('takes one that a link leads to, in this trace', () => {
    const spans = [entry(), { id: 2, parent: 1, service: 'other', events: [token('t')] }]
    expect(judge([...spans, acts({ links: [2] })])).toEqual(['pass'])
    expect(judge([...spans, acts({ links: [1] })])).toEqual(['fail'])
  })

  test.each([
    ['no hook at all', BY_HAND],
    ['a hook for something else', hooks('casbin@5.51.1 effective')],
    ['a hook that did not take hold', hooks('jsonwebtoken@9.0.3 ineffective')],
  ])('does not know with %s', (_, api) => {
    expect(judge([entry(), acts()], { api })).toEqual(['unknown', 'how callers are authorized in api'])
  })

  test.each(['effective', 'partial'])('knows with a hook that is %s', (word) => {
    expect(judge([entry(), acts()], { api: hooks(`jose@6.2.18 ${word}`) })).toEqual(['fail'])
  })

  test('knows where the service says elsewhere what it verified', () => {
    const other = { ...entry([token('t')]), id: 7, parent: 9, at: 0.5 }
    const spans = [{ id: 9 }, { ...entry(), parent: 9 }, acts(), other]
    expect(judge(spans, { api: BY_HAND })).toEqual(['fail'])
  })

  test('does not know where a service above cannot see authorizations', () => {
    const spans = [{ id: 9, kind: 'client', service: 'gateway' }, { ...entry(), parent: 9 }, acts()] as const
    const gateway = hooks()
    expect(judge(spans, { gateway })).toEqual(['unknown', 'how callers are authorized in gateway'])
  })

  test('does not know where a span above has not come', () => {
    const missing = ['unknown', 'what is above span 0000000000000001']
    expect(judge([{ ...entry(), parent: 9 }, acts()])).toEqual(missing)
    expect(judge([{ ...entry(), parent: 9, remote: true }, acts()])).toEqual(missing)
  })

  test('does not know under whose authority a job runs', () => {
    const job = { id: 1, takes: 10, attributes: { ...REQUEST, 'governance.execution.kind': 'job' } }
    const missing = 'under whose authority executions that are no requests run in api'
    expect(judge([job, acts()])).toEqual(['unknown', missing])
  })

  test('is silent about inferred actions of services that see no authorizations', () => {
    expect(judge([entry(), acts(INFERRED)], { api: BY_HAND })).toEqual([undefined])
  })

  test.each([401, 403])('is silent about inferred actions while it answers %i', (status) => {
    expect(judge([entry([], { 'http.response.status_code': status }), acts(INFERRED)])).toEqual([undefined])
    expect(judge([entry([], { 'http.response.status_code': 200 }), acts(INFERRED)])).toEqual([
      'unknown',
      'whether inferred actions of api need an authorization',
    ])
  })

  test('bounds the names of services', () => {
    const service = 'x'.repeat(300)
    const { result, findings } = judged([[{ ...entry(), service }, acts({ service })]], {
      [service]: hooks('jose@6.2.18 effective'),
    })
    expect(result('GC-A01')).toBe('fail')
    expect(findings('GC-A01')[0]!.detail).toBe(
      `span 0000000000000003 of ${'x'.repeat(64)}… acted without any authorization`,
    )
  })
})

describe('GC-A02', () => {
  const judge = (
    events: readonly VectorEvent[],
    spans: readonly VectorSpan[] = [acts()],
    more: Attributes = {},
  ) => {
    const execution = judged([[entry(events, more), ...spans]])
    return [
      execution.result('GC-A02'),
      ...execution.missing('GC-A02'),
      ...execution.findings('GC-A02').map(({ detail }) => detail.replace(/^.* that /, '')),
    ]
  }
  const saying = (verification: string): VectorEvent =>
    token('t', { 'authorization.verification': verification })
  const check = (result: string, more: Attributes = {}): VectorEvent =>
    fact('verification', { 'verification.type': 'credential', 'verification.result': result, ...more })

  test('is silent without an authorization', () => {
    expect(judge([])).toEqual([undefined])
  })

  test.each(['failed', 'skipped', 'unverified'])('fails where it says %s', (verification) => {
    expect(judge([saying(verification)])[0]).toBe('fail')
  })

  test('takes a check of the artifact, by its fingerprint or id or on its span', () => {
    const failed = saying('unverified')
    const others = { 'verification.target.fingerprint': fingerprint('another') }
    expect(judge([failed, check('pass', { 'verification.target.fingerprint': fingerprint('t') })])).toEqual([
      'pass',
    ])
    expect(judge([failed, check('pass')])).toEqual(['pass'])
    expect(judge([failed, check('pass', others)])).toEqual(['fail', 'was not checked'])
    expect(judge([failed, check('unknown')])).toEqual(['fail', 'was not checked'])
    const named = token('t', { 'authorization.verification': 'unverified', 'authorization.id': 'jti-1' })
    expect(judge([named, check('pass', { 'verification.target.id': 'jti-1' })])).toEqual(['pass'])
  })

  test('takes a verification in another service', () => {
    const elsewhere = { id: 2, parent: 1, service: 'gateway', events: [token('t')] }
    expect(judge([saying('unverified')], [elsewhere, acts()])).toEqual(['pass'])
  })

  test('does not take other checks for it', () => {
    const bytes = check('pass', { 'verification.type': 'integrity' })
    expect(judge([saying('unverified'), bytes])).toEqual(['fail', 'was not checked'])
  })

  test('tells reasons of a closed list only', () => {
    const refused = (code: string) => check('fail', { 'verification.reason.code': code })
    expect(judge([saying('failed'), refused('expired')])).toEqual(['fail', 'was refused (expired)'])
    expect(judge([saying('failed'), refused('alice@example.com')])).toEqual(['fail', 'was refused'])
  })

  test('does not know where nobody says', () => {
    const silent = fact('authorization', { 'authorization.fingerprint': fingerprint('t') })
    expect(judge([silent])).toEqual(['unknown', 'whether an authorization was verified'])
  })

  test('does not know of one that is only inherited', () => {
    expect(judge([], [acts({ events: [inherited('t')] })])).toEqual([
      'unknown',
      'where an inherited authorization was verified',
    ])
  })

  test('does not know of one that was not checked here, behind a service that says nothing', () => {
    const spans = [{ ...entry([saying('unverified')]), parent: 9 }, acts(), { id: 9, service: 'proxy' }]
    const execution = judged([spans], { proxy: BY_HAND })
    expect(execution.missing('GC-A02')).toEqual(['how callers are authorized in proxy'])
  })

  test('does not know of inferred actions, and is silent while it refuses', () => {
    expect(judge([saying('failed')], [acts(INFERRED)])).toEqual([
      'unknown',
      'whether inferred actions of api rely on it',
    ])
    expect(judge([saying('failed')], [acts(INFERRED)], { 'http.response.status_code': 401 })).toEqual([
      undefined,
    ])
  })

  test('is content with what is open to everybody', () => {
    const open = fact('authorization', {
      'authorization.type': 'anonymous',
      'authorization.verification': 'skipped',
    })
    expect(judge([open])).toEqual(['pass'])
  })
})

describe('GC-A03, GC-A04 and GC-A05', () => {
  const until = (name: string, seconds: number): VectorEvent =>
    token(name, { 'authorization.expires_at': when(seconds) })
  const judge = (events: readonly VectorEvent[], rest: Partial<VectorSpan>, rule = 'GC-A03') =>
    judged([[entry(events), acts(rest)]]).result(rule)

  test('allow for clocks', () => {
    expect(judge([until('t', 1)], { at: 3 })).toBe('pass')
    expect(judge([until('t', 1)], { at: 3.001 })).toBe('fail')
    expect(judge([until('t', 1)], { at: 0, takes: 3 }, 'GC-A04')).toBe('pass')
    expect(judge([until('t', 1)], { at: 0, takes: 3.001 }, 'GC-A04')).toBe('fail')
    const from = [token('t', { 'authorization.not_before': when(3) })]
    expect(judge(from, { at: 1 }, 'GC-A05')).toBe('pass')
    expect(judge(from, { at: 0.999 }, 'GC-A05')).toBe('fail')
  })

  test('are silent where nothing says when', () => {
    const endless = fact('authorization', {
      'authorization.fingerprint': fingerprint('session'),
      'authorization.verification': 'verified',
    })
    for (const rule of ['GC-A03', 'GC-A04', 'GC-A05']) expect(judge([endless], {}, rule)).toBeUndefined()
    expect(judge([until('t', 1), endless], { at: 9 })).toBeUndefined()
  })

  test('take the longest of several artifacts, and the shortest that is said of one', () => {
    expect(judge([until('t', 1), until('u', 60)], { at: 9 })).toBe('pass')
    expect(
      judge([until('t', 60)], { at: 9, events: [inherited('t', { 'authorization.expires_at': when(1) })] }),
    ).toBe('fail')
    expect(judge([until('t', 1)], { at: 9, events: [inherited('t')] })).toBe('fail')
  })

  test('leave what was refused to GC-A02', () => {
    const refused = token('t', {
      'authorization.verification': 'failed',
      'authorization.expires_at': when(1),
    })
    expect(judge([refused], { at: 9 })).toBeUndefined()
  })

  test('do not know of inferred actions', () => {
    expect(judge([until('t', 1)], { at: 9, ...INFERRED })).toBe('unknown')
    expect(judge([until('t', 1)], { at: 0, takes: 9, ...INFERRED }, 'GC-A04')).toBeUndefined()
    const from = [token('t', { 'authorization.not_before': when(9) })]
    expect(judge(from, { at: 1, ...INFERRED }, 'GC-A05')).toBe('unknown')
  })

  test('are told once where an action begins too late', () => {
    const execution = judged([[entry([until('t', 1)]), acts({ at: 9, takes: 5 })]])
    expect(execution.findings().map(({ rule }) => rule)).toEqual(['GC-A03', 'GC-D01'])
  })
})
