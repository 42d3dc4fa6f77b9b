/** Guards of GC-D01 to D05 and D13; what they find and what is fine stands in the vectors. */
import { describe, expect, test } from 'vitest'
import { judged } from '../../../../../test/support/judged.ts'
import {
  type Attributes,
  action,
  decision,
  fact,
  governance,
  REQUEST,
  token,
  type VectorSpan,
} from '../../../../../test/vectors/continuity/spec.ts'

const entry = (more: Attributes = {}): VectorSpan => ({
  id: 1,
  kind: 'server',
  takes: 10,
  attributes: { ...REQUEST, ...more },
  events: [token('t')],
})
const decides = (more: Attributes = {}, rest: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 2,
  parent: 1,
  at: 0.02,
  takes: 0.001,
  events: [decision('d1', more)],
  ...rest,
})
/** An action that names its decision; `undefined` for one that names none. */
const acts = (
  id: string | undefined = 'd1',
  more: Attributes = {},
  rest: Partial<VectorSpan> = {},
): VectorSpan => ({
  id: 3,
  parent: 1,
  at: 0.05,
  attributes: action('refund', { ...(id !== undefined && { 'decision.id': id }), ...more }),
  ...rest,
})
const unnamed = (more: Attributes = {}, rest: Partial<VectorSpan> = {}): VectorSpan => ({
  ...acts('d1', more, rest),
  attributes: action('refund', more),
})
const INFERRED = { 'action.inferred': true }
const DENY = { 'decision.outcome': 'deny' }
const UNSURE = 'on which decision api acted'
const hooks = (...lines: readonly string[]) => ({
  resource: { 'governance.instrumentation.version': '0.1.0', 'governance.instrumentation.hooks': lines },
})

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

describe('GC-D01', () => {
  test('takes a decision above in another service', () => {
    const spans = [
      { ...entry(), service: 'gateway', events: [token('t'), decision('d1')] },
      { id: 4, parent: 1, kind: 'server', takes: 5 },
      unnamed({}, { parent: 4 }),
    ] as const
    expect(judge('GC-D01', spans)).toEqual(['pass'])
  })

  test('takes the decision of an action above', () => {
    const spans = [
      entry(),
      decides(),
      acts('d1', {}, { takes: 5 }),
      unnamed({}, { id: 4, parent: 3, at: 0.06 }),
    ]
    expect(judge('GC-D01', spans)).toEqual(['pass'])
  })

  test('does not know where decisions are around it, and none is on its way', () => {
    // Two middleware, each with a span of its own, and a handler beside them.
    const spans = [
      entry(),
      { id: 5, parent: 1, takes: 0.001 },
      decides({}, { parent: 5 }),
      { id: 6, parent: 1, takes: 1 },
      unnamed({}, { parent: 6 }),
    ]
    expect(judge('GC-D01', spans)).toEqual(['unknown', UNSURE])
  })

  test('does not know where the decision that it names has not come', () => {
    expect(judge('GC-D01', [entry(), acts('d9')])).toEqual(['unknown', 'a decision that an action names'])
  })

  test('does not know where a span above has not come', () => {
    expect(judge('GC-D01', [{ ...entry(), parent: 9 }, unnamed()])).toEqual([
      'unknown',
      'what is above span 0000000000000001',
    ])
  })

  test('does not know unless services see decisions', () => {
    const api = hooks('jsonwebtoken@9.0.3 effective')
    expect(judge('GC-D01', [entry(), unnamed()], { api })).toEqual(['unknown', 'how it is decided in api'])
    expect(judge('GC-D01', [entry(), unnamed(INFERRED)], { api })).toEqual([undefined])
    const spans = [{ id: 9, service: 'gateway' }, { ...entry(), parent: 9 }, unnamed()]
    expect(judge('GC-D01', spans, { gateway: api })).toEqual(['unknown', 'how it is decided in gateway'])
  })

  test('does not know of inferred actions', () => {
    expect(judge('GC-D01', [entry(), unnamed(INFERRED)])).toEqual([
      'unknown',
      'whether inferred actions of api need a decision',
    ])
  })
})

describe.each([
  ['GC-D02', 'deny', 'critical'],
  ['GC-D05', 'error', 'high'],
  ['GC-D05', 'not_applicable', 'high'],
] as const)('%s after %s', (rule, outcome, severity) => {
  const answer = { 'decision.outcome': outcome }

  test('fails whatever became of the action, unless it was refused', () => {
    for (const end of ['success', 'failure', 'partial', 'unknown'])
      expect(judge(rule, [entry(), decides(answer), acts('d1', { 'action.outcome': end })])).toEqual([
        'fail',
        severity,
      ])
    const refused = acts('d1', { 'action.outcome': 'refused' })
    expect(judge(rule, [entry(), decides(answer), refused])).toEqual([undefined])
  })

  test('takes an answer that does not say that it binds for one that does', () => {
    const plain = fact('decision', { 'decision.id': 'd1', ...answer })
    expect(judge(rule, [entry(), decides({}, { events: [plain] }), acts()])).toEqual(['fail', severity])
  })

  test.each(['dry_run', 'advisory'])('is silent about %s', (enforcement) => {
    const spans = [entry(), decides({ ...answer, 'decision.enforcement': enforcement }), acts()]
    expect(judge(rule, spans)).toEqual([undefined])
  })

  test('does not know of inferred actions, and is silent while it refuses', () => {
    const spans = (status: number) => [
      entry({ 'http.response.status_code': status }),
      decides(answer),
      acts('d1', INFERRED),
    ]
    expect(judge(rule, spans(200))).toEqual(['unknown', 'whether inferred actions of api were decided on'])
    expect(judge(rule, spans(403))).toEqual([undefined])
  })

  test('does not know where another decision around it is an allow, and none is named', () => {
    const another = { id: 5, parent: 1, at: 0.01, takes: 0.001, events: [decision('d2')] }
    expect(judge(rule, [entry(), another, decides(answer), unnamed()])).toEqual(['unknown', UNSURE])
    expect(judge(rule, [entry(), another, decides(answer), acts()])).toEqual(['fail', severity])
    expect(judge(rule, [entry(), decides(answer), unnamed()])).toEqual(['fail', severity])
  })

  test('does not know which of several decisions on its own span counts', () => {
    const spans = [entry(), unnamed({}, { events: [decision('d1', answer), decision('d2')] })]
    expect(judge(rule, spans)).toEqual(['unknown', UNSURE])
  })

  test('takes a decision that names the action', () => {
    const named = decides({ ...answer, 'decision.action.name': 'refund' })
    const another = { id: 5, parent: 1, at: 0.01, takes: 0.001, events: [decision('d2')] }
    expect(judge(rule, [entry(), another, named, unnamed()])).toEqual(['fail', severity])
  })
})

describe('GC-D03', () => {
  const shadow = { ...DENY, 'decision.enforcement': 'advisory' }

  test('is a note, and silent where it is not sure', () => {
    expect(judge('GC-D03', [entry(), decides(shadow), acts()])).toEqual(['fail', 'low'])
    expect(judge('GC-D03', [entry(), decides(shadow), acts('d1', INFERRED)])).toEqual([undefined])
    const another = { id: 5, parent: 1, at: 0.01, takes: 0.001, events: [decision('d2')] }
    expect(judge('GC-D03', [entry(), another, decides(shadow), unnamed()])).toEqual([undefined])
  })
})

describe('GC-D04', () => {
  const at = (seconds: number, rest: Partial<VectorSpan> = {}) =>
    decides({}, { at: 0.02, takes: seconds, events: [decision('d1', {}, seconds)], ...rest })

  test('allows for clocks of two processes', () => {
    expect(judge('GC-D04', [entry(), at(2.05), acts()])).toEqual(['pass'])
    expect(judge('GC-D04', [entry(), at(2.051), acts()])).toEqual(['fail', 'critical'])
  })

  test('allows one process nothing but the rounding of its SDK', () => {
    const mark = (seq: number) => governance({ 'emitter.id': 'e1', 'emitter.seq': seq })
    const act = acts()
    const marked = (seconds: number) => [
      entry(),
      at(seconds, { attributes: mark(0) }),
      { ...act, attributes: { ...act.attributes, ...mark(1) } },
    ]
    expect(judge('GC-D04', marked(0.055))).toEqual(['pass'])
    expect(judge('GC-D04', marked(0.056))).toEqual(['fail', 'critical'])
  })

  test('is a note for answers that do not bind', () => {
    const events = [decision('d1', { 'decision.enforcement': 'advisory' }, 4)]
    expect(judge('GC-D04', [entry(), at(4, { events }), acts()])).toEqual(['fail', 'low'])
  })

  test('does not know of inferred actions, nor of one that is around it', () => {
    expect(judge('GC-D04', [entry(), at(4), acts('d1', INFERRED)])).toEqual(['unknown', UNSURE])
    const late = [decision('d1', {}, 4), decision('d2', {}, 5)]
    expect(judge('GC-D04', [{ ...entry(), events: late }, unnamed()])).toEqual(['unknown', UNSURE])
  })
})

describe('GC-D13', () => {
  const refused = (reason?: string) =>
    unnamed({ 'action.outcome': 'refused', ...(reason !== undefined && { 'action.reason.code': reason }) })

  test.each([undefined, 'not_acknowledged', 'denied_by_something'])(
    'is silent about the reason %s',
    (reason) => {
      expect(judge('GC-D13', [entry(), refused(reason)])).toEqual([undefined])
    },
  )

  test('takes a failed check for a reason', () => {
    const failed = fact('verification', { 'verification.type': 'credential', 'verification.result': 'fail' })
    expect(judge('GC-D13', [{ ...entry(), events: [failed] }, refused('denied')])).toEqual(['pass'])
    expect(judge('GC-D13', [entry(), refused('denied')])).toEqual(['fail', 'medium'])
  })

  test('does not know where decisions may be hidden', () => {
    const api = hooks('jsonwebtoken@9.0.3 effective')
    expect(judge('GC-D13', [entry(), refused('denied')], { api })).toEqual([
      'unknown',
      'how it is decided in api',
    ])
  })

  test('is silent about requests of services that see no decisions, and about 401', () => {
    const api = hooks('jsonwebtoken@9.0.3 effective')
    expect(judge('GC-D13', [entry({ 'http.response.status_code': 403 })], { api })).toEqual([undefined])
    expect(judge('GC-D13', [entry({ 'http.response.status_code': 401 })])).toEqual([undefined])
  })
})
