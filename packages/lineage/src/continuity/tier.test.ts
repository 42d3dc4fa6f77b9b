/** Each evidence tier, and each way to miss one. */
import { describe, expect, test } from 'vitest'
import { EPOCH } from '../../../../test/support/executions.ts'
import { executionOf, madeUp } from '../../../../test/support/judged.ts'
import {
  action,
  decision,
  fact,
  governance,
  REQUEST,
  token,
  transition,
  type VectorSpan,
} from '../../../../test/vectors/continuity/spec.ts'
import { type Context, EMPTY_CONTEXT } from './context.ts'
import { type Tiers, tiersOf } from './tier.ts'

const E = 'an emitter'
/** A request with one fact of each kind, decided in the span below it and acted on in the last. */
const entry: VectorSpan = {
  id: 1,
  kind: 'server',
  takes: 10,
  attributes: REQUEST,
  events: [token('t'), fact('verification', { 'verification.result': 'pass' }), transition('a', 'b')],
}
const decides: VectorSpan = { id: 2, parent: 1, at: 0.02, events: [decision('d1')] }
const acts: VectorSpan = { id: 3, parent: 1, at: 0.05, attributes: action('refund', { 'decision.id': 'd1' }) }
const ALL = [entry, decides, acts]

/** Numbered from `from` on in one process, and sent by a peer. */
function numbered(spans: readonly VectorSpan[], peer?: string, from = 0): VectorSpan[] {
  return spans.map((span, at) => ({
    ...span,
    numbered: [E, from + at],
    ...(peer !== undefined && { peer }),
  }))
}

function tiers(spans: readonly VectorSpan[], context: Context = EMPTY_CONTEXT): Tiers {
  return tiersOf(executionOf(spans, {}, context))
}

/** The tiers of the facts of {@link ALL}: of request, authorization, verification, transition, decision, action. */
function each(spans: readonly VectorSpan[], context?: Context): string {
  const found = tiers(spans, context)
  const leaves = [madeUp(1, 0), madeUp(1, 1), madeUp(1, 2), madeUp(1, 3), madeUp(2, 1), madeUp(3, 0)]
  return leaves.map((leaf) => found.ofLeaf(leaf)?.tier ?? '-').join(' ')
}

const same = (tier: string): string => Array(6).fill(tier).join(' ')
const word = (result: boolean, more: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 4,
  at: 0.06,
  pushed: { id: 'd1', result },
  ...more,
})
const textOf = (found: Tiers, span: number, number = 0): string | undefined =>
  found.ofLeaf(madeUp(span, number))?.text

describe('E0', () => {
  test('is what only ordinary attributes tell', () => {
    const spans: VectorSpan[] = [
      { id: 1, kind: 'server' },
      { id: 2, parent: 1, kind: 'producer', attributes: { 'messaging.system': 'kafka' } },
    ]
    const found = tiersOf(executionOf(spans, { api: { resource: {} } }))
    for (const span of [1, 2]) expect(textOf(found, span)).toBe('E0, inferred from ordinary attributes')
    expect(found.count()).toEqual({ E0: 0, E1: 0, E2: 0, E3: 0 })
  })

  test('is an action that the instrumentation itself says it inferred, on the best of spans', () => {
    const inferred = { ...acts, attributes: action('POST', { 'action.inferred': true }) }
    expect(each(numbered([entry, decides, inferred], 'shop'))).toBe('E2 E2 E2 E2 E2 E0')
  })

  test('is what a span without a number says, whoever sends it', () => {
    expect(each(ALL)).toBe(same('E0'))
    expect(each(ALL.map((span) => ({ ...span, peer: 'shop' })))).toBe(same('E0'))
    expect(textOf(tiers(ALL), 1)).toBe('E0, said without the marks of an instrumentation')
  })

  test('is the word of another that came through no door of its own', () => {
    const claims = decision('d1', { 'corroboration.source': 'opa' })
    const found = tiers([...numbered(ALL), { id: 5, parent: 1, events: [claims] }])
    expect(textOf(found, 5, 1)).toBe('E0, said without the marks of an instrumentation')
    expect(textOf(found, 2, 1)).toBe('E1, said by the service itself')
  })
})

describe('E1', () => {
  test('is what a numbered span says whose sender nobody authenticated', () => {
    expect(each(numbered(ALL))).toBe(same('E1'))
    expect(textOf(tiers(numbered(ALL)), 1)).toBe('E1, said by the service itself')
  })

  test('is what a span says whose process died before it had a number', () => {
    const died = { ...entry.attributes, ...governance({ 'emitter.id': E, 'emitter.unfinished': true }) }
    expect(each([{ ...entry, attributes: died, peer: 'shop' }])).toBe('E1 E1 E1 E1 - -')
  })
})

describe('E2', () => {
  test('is what numbered spans of one authenticated sender say', () => {
    expect(each(numbered(ALL, 'shop'))).toBe(same('E2'))
    expect(textOf(tiers(numbered(ALL, 'shop')), 1)).toBe(
      'E2, said by the service itself, counted and authenticated as shop',
    )
  })

  test('holds for numbers that other executions are between', () => {
    expect(each(numbered(ALL, 'shop').map((span, at) => ({ ...span, numbered: [E, 7 * at + 5] })))).toBe(
      same('E2'),
    )
  })

  const gap = { emitter: E, from: 6n, to: 7n, noticedAt: 0n }
  const young = { ...gap, noticedAt: EPOCH }
  const own = numbered(ALL, 'shop', 5)
  const lost = { ...own[1]!, attributes: governance({ 'emitter.dropped': 1 }) }
  const refused = { ...own[1]!, attributes: governance({ 'emitter.rejected': 1 }) }
  const neighbour = {
    emitter: E,
    seq: 6n,
    prev: '',
    spanId: new Uint8Array(8).fill(9),
    leaf: new Uint8Array(32).fill(9),
    traceId: new Uint8Array(16).fill(9),
  }
  test.each<[string, VectorSpan[], Context?]>([
    [
      'a number has been missing for long',
      [own[0]!, own[1]!, { ...own[2]!, numbered: [E, 9] }],
      { ...EMPTY_CONTEXT, gaps: [{ ...gap, from: 7n, to: 8n }] },
    ],
    [
      'a span of another execution has one of its numbers',
      own,
      { ...EMPTY_CONTEXT, neighbours: [neighbour] },
    ],
    ['a number comes twice', [own[0]!, own[1]!, { ...own[2]!, numbered: [E, 6] }]],
    [
      'a link does not stand for what came',
      [own[0]!, own[1]!, { ...own[2]!, numbered: [E, 7, 'f'.repeat(64)] }],
    ],
    [
      'the first span names one before it',
      numbered(ALL, 'shop').with(0, { ...own[0]!, numbered: [E, 0, 'a'] }),
    ],
    ['the process says that it lost spans', [own[0]!, lost, own[2]!]],
    ['the process says that spans were refused', [own[0]!, refused, own[2]!]],
    ['another peer sends numbers of the same process', [own[0]!, { ...own[1]!, peer: 'pay' }, own[2]!]],
    ['somebody who is not authenticated sends some', [own[0]!, { ...ALL[1]!, numbered: [E, 6] }, own[2]!]],
  ])('is missed where %s', (_, spans, context) => {
    expect(each(spans, context)).toBe(same('E1'))
  })

  test('leaves time to numbers that may be on their way, as GC-C01 does', () => {
    const apart = [
      own[0]!,
      { ...own[1]!, numbered: [E, 8] as const },
      { ...own[2]!, numbered: [E, 9] as const },
    ]
    expect(each(apart, { ...EMPTY_CONTEXT, gaps: [young] })).toBe(same('E2'))
    expect(each(apart, { ...EMPTY_CONTEXT, gaps: [gap] })).toBe(same('E1'))
  })

  test('of one process says nothing of another', () => {
    const other = { ...acts, numbered: ['another', 0, 'ff'] as const, peer: 'shop' }
    expect(each([own[0]!, own[1]!, other])).toBe('E2 E2 E2 E2 E2 E1')
  })

  test('is missed where something was erased or is withheld: a number may be missing for that', () => {
    const execution = { ...executionOf(own), erased: [0] }
    expect(tiersOf(execution).ofLeaf(madeUp(1, 0))?.tier).toBe('E1')
  })
})

describe('E3', () => {
  test('is a decision that its engine tells as well, and what the engine tells', () => {
    const spans = [...numbered(ALL), word(true, { peer: 'policy-team' })]
    expect(each(spans)).toBe('E1 E1 E1 E1 E3 E1')
    expect(textOf(tiers(spans), 2, 1)).toBe('E3, confirmed from outside by policy-team')
    expect(textOf(tiers(spans), 4, 1)).toBe('E3, said from outside by policy-team')
    expect(tiers(spans).count()).toEqual({ E0: 0, E1: 5, E2: 0, E3: 2 })
  })

  test('is reached from below any tier', () => {
    expect(each([...ALL, word(true)])).toBe('E0 E0 E0 E0 E3 E0')
    expect(each([...numbered(ALL, 'shop'), word(true)])).toBe('E2 E2 E2 E2 E3 E2')
  })

  test.each<[string, VectorSpan]>([
    ['the engine says another outcome', word(false)],
    ['the engine tells of another decision', word(true, { pushed: { id: 'd2', result: true } })],
    ['the peer who sent the decision delivered the word', word(true, { peer: 'shop' })],
    ['nobody was authenticated at the door', word(true, { peer: '' })],
  ])('is missed where %s', (_, said) => {
    expect(each([...numbered(ALL, 'shop'), said])).toBe(same('E2'))
  })

  test('is not what a peer says of its own span through the door of an engine', () => {
    const about = { ...word(true), id: 2, peer: 'shop' }
    const found = tiers([...numbered(ALL, 'shop'), about])
    expect(found.count()).toEqual({ E0: 1, E1: 0, E2: 6, E3: 0 })
  })

  test('takes the first word about an id', () => {
    const twice = [word(false), word(true, { id: 5, at: 0.07 })]
    expect(each([...numbered(ALL), ...twice])).toBe(same('E1'))
  })
})

test('what rests on several facts stands no better than the least of them', () => {
  const found = tiers([...numbered(ALL), word(true), { ...acts, id: 6 }])
  const leaves = (...of: [number, number][]) => of.map(([span, number]) => ({ leaf: madeUp(span, number) }))
  expect(found.lowestOf(leaves([2, 1], [1, 0]))).toEqual({
    tier: 'E1',
    text: 'E1 at the lowest, said by the service itself',
  })
  expect(found.lowestOf(leaves([1, 0], [3, 0]))).toEqual({
    tier: 'E1',
    text: 'E1, said by the service itself',
  })
  expect(found.lowestOf(leaves([2, 1], [6, 0]))?.tier).toBe('E0')
  expect(found.lowestOf(leaves([99, 0]))).toBeUndefined()
})

test('names of peers are on one line and bounded', () => {
  const peer = `evil\n${'x'.repeat(500)}`
  const text = textOf(tiers(numbered(ALL, peer)), 1)!
  expect(text).not.toContain('\n')
  expect(text.length).toBeLessThan(250)
})
