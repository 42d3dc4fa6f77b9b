import { describe, expect, test } from 'vitest'
import { type SpanSpec, TestLog } from '../../../../test/support/executions.ts'
import { factsOf } from '../governance/facts.ts'
import { decodeSpan } from '../otlp/decode.ts'
import { type GovernedSpan, joinDecisions } from './join.ts'
import { orderSpans } from './order.ts'

const log = new TestLog()

/** Joins of one segment as `action<-decision method`, by span ids; `#n` is the n-th fact of a span with several. */
function joins(specs: readonly SpanSpec[]): string[] {
  const { spans } = orderSpans(log.request(1, specs))
  const governed: GovernedSpan[] = []
  const nameOf = new Map<number, string>()
  for (const [place, { span: input, parentAt }] of spans.entries()) {
    if (!input.governed) continue
    const span = decodeSpan(input.source.body.subarray(input.spanStart, input.spanEnd))
    const facts = factsOf(span)
    const first = place * 1000
    const factLeaves = facts.facts.map((_, at) => first + at)
    const id = Number.parseInt(Buffer.from(span.spanId).toString('hex'), 16)
    nameOf.set(first + 999, String(id))
    for (const [at, leaf] of factLeaves.entries())
      nameOf.set(leaf, factLeaves.length === 1 ? String(id) : `${id}#${at}`)
    governed.push({ place, parentAt, span, facts, leaf: first + 999, factLeaves })
  }
  const found = joinDecisions(
    governed,
    spans.map(({ parentAt }) => parentAt),
  )
  return found.map(
    ({ action, decision, method }) => `${nameOf.get(action)}<-${nameOf.get(decision)} ${method}`,
  )
}

const decision = (
  id: number,
  more: Partial<SpanSpec> = {},
  attributes: SpanSpec['attributes'] = {},
): SpanSpec => ({
  id,
  ...more,
  attributes: { 'governance.decision.outcome': 'allow', ...attributes },
})
const action = (
  id: number,
  more: Partial<SpanSpec> = {},
  attributes: SpanSpec['attributes'] = {},
): SpanSpec => ({
  id,
  ...more,
  attributes: { 'governance.action.name': 'a', ...attributes },
})
const ID = 'governance.decision.id'
const DIGEST = 'governance.action.digest'

describe('each method', () => {
  test('id', () => {
    expect(joins([decision(1, {}, { [ID]: 'x' }), action(2, {}, { [ID]: 'x' })])).toEqual(['2<-1 id'])
  })

  test('id compares type and value', () => {
    expect(joins([decision(1, {}, { [ID]: '7' }), action(2, {}, { [ID]: 7 })])).toEqual([])
  })

  test('link', () => {
    expect(joins([decision(1), action(2, { links: [1] })])).toEqual(['2<-1 link'])
    expect(joins([decision(1), action(2, { links: [9, 2, 1] })])).toEqual(['2<-1 link'])
  })

  test('ancestor, the nearest, however far', () => {
    expect(
      joins([decision(1), { id: 2, parent: 1 }, { id: 3, parent: 2 }, action(4, { parent: 3 })]),
    ).toEqual(['4<-1 ancestor'])
    expect(joins([decision(1), decision(2, { parent: 1 }), action(3, { parent: 2 })])).toEqual([
      '3<-2 ancestor',
    ])
  })

  test('earlier sibling, the last that ended before the action began', () => {
    const at = (start: number, end: number) => ({ parent: 1, start, end })
    const spans = (actionStart: number) => [
      { id: 1, start: 0, end: 1000 },
      decision(2, at(10, 20)),
      decision(3, at(10, 40)),
      action(4, at(actionStart, 100)),
    ]
    expect(joins(spans(19))).toEqual([])
    expect(joins(spans(20))).toEqual(['4<-2 sibling'])
    expect(joins(spans(39))).toEqual(['4<-2 sibling'])
    expect(joins(spans(40))).toEqual(['4<-3 sibling'])
  })

  test('of siblings that end together the last in record order', () => {
    const at = (start: number) => ({ parent: 1, start, end: 50 })
    for (const ids of [
      [2, 3, 4],
      [4, 3, 2],
    ])
      expect(
        joins([
          { id: 1, start: 0 },
          ...ids.map((id) => decision(id, at(10))),
          action(9, { parent: 1, start: 60 }),
        ]),
      ).toEqual(['9<-4 sibling'])
  })

  test('roots are no siblings', () => {
    expect(joins([decision(1, { start: 0, end: 1 }), action(2, { start: 5 })])).toEqual([])
  })

  test('a sibling that names another action is passed over, one that names this or none is not', () => {
    const at = (start: number) => ({ parent: 1, start, end: start + 1 })
    const naming = (name: string) => ({ 'governance.action.name': name })
    const base = [{ id: 1, start: 0 }, decision(2, at(10)), decision(3, at(20), naming('b'))]
    expect(joins([...base, action(4, at(30))])).toEqual(['4<-2 sibling'])
    expect(joins([...base, action(4, at(30), naming('b'))])).toEqual(['4<-3 sibling'])
    expect(joins([{ id: 1, start: 0 }, decision(3, at(20), naming('b')), action(4, at(30))])).toEqual([])
    // An action without a name takes any.
    const unnamed: SpanSpec = { id: 4, ...at(30), attributes: { 'governance.record.kind': 'action' } }
    expect(joins([...base, unnamed])).toEqual(['4<-3 sibling'])
  })

  test('names longer than anybody would want', () => {
    const at = (start: number) => ({ parent: 1, start, end: start + 1 })
    const naming = (name: string) => ({ 'governance.action.name': name })
    const long = 'n'.repeat(500)
    const base = [
      { id: 1, start: 0 },
      decision(2, at(10), naming(long)),
      decision(3, at(20), naming(`${long}x`)),
    ]
    expect(joins([...base, action(4, at(30), naming(long))])).toEqual(['4<-2 sibling'])
  })

  test('only the last 256 siblings are looked at', () => {
    const at = (start: number) => ({ parent: 1, start, end: start + 1 })
    const other = (count: number) =>
      Array.from({ length: count }, (_, i) =>
        decision(1000 + i, at(100 + i), { 'governance.action.name': 'other' }),
      )
    const spans = (count: number) => [
      { id: 1, start: 0 },
      decision(2, at(10)),
      ...other(count),
      action(9000, at(9000)),
    ]
    expect(joins(spans(255))).toEqual(['9000<-2 sibling'])
    expect(joins(spans(256))).toEqual([])
  })

  test('action digest', () => {
    expect(joins([decision(1, {}, { [DIGEST]: 'd' }), action(2, {}, { [DIGEST]: 'd' })])).toEqual([
      '2<-1 digest',
    ])
    expect(joins([decision(1, {}, { [DIGEST]: 'd' }), action(2, {}, { [DIGEST]: 'e' })])).toEqual([])
  })
})

describe('time', () => {
  /** Decisions of one span as events at these times, named by their place. */
  const decided = (id: number, times: readonly number[], more: Partial<SpanSpec> = {}): SpanSpec => ({
    id,
    start: 1,
    ...more,
    events: times.map((at) => ({ name: 'governance.decision', at })),
  })

  test('of an ancestor the last that it took before the action began', () => {
    const at = (start: number) => joins([decided(1, [10, 30, 20]), action(2, { parent: 1, start })])
    expect(at(10)).toEqual(['2<-1#0 ancestor'])
    expect(at(19)).toEqual(['2<-1#0 ancestor'])
    expect(at(20)).toEqual(['2<-1#2 ancestor'])
    expect(at(30)).toEqual(['2<-1#1 ancestor'])
  })

  test('of decisions at one time the last in record order', () => {
    expect(joins([decided(1, [10, 10, 10]), action(2, { parent: 1, start: 11 })])).toEqual([
      '2<-1#2 ancestor',
    ])
  })

  test('what attributes say came before any event', () => {
    const on: SpanSpec = {
      ...decided(1, [50], { start: 40 }),
      attributes: { 'governance.decision.outcome': 'deny' },
    }
    expect(joins([on, action(2, { parent: 1, start: 30 })])).toEqual(['2<-1#0 ancestor'])
    expect(joins([on, action(2, { parent: 1, start: 51 })])).toEqual(['2<-1#1 ancestor'])
  })

  test('an ancestor that decided later is passed over for one that decided before', () => {
    const spans = (start: number) => [
      decided(1, [10]),
      decided(2, [40], { parent: 1 }),
      { id: 3, parent: 2, start: 2 },
      action(4, { parent: 3, start }),
    ]
    expect(joins(spans(39))).toEqual(['4<-1 ancestor'])
    expect(joins(spans(40))).toEqual(['4<-2 ancestor'])
  })

  test('only where nothing else is found one that came later, the least late of the nearest', () => {
    const late = [decided(1, [90]), decided(2, [80, 60, 70], { parent: 1, end: 1000 })]
    expect(joins([...late, action(9, { parent: 2, start: 50 })])).toEqual(['9<-2#1 ancestor'])
    const beside = decision(3, { parent: 2, start: 5, end: 6 })
    expect(joins([...late, beside, action(9, { parent: 2, start: 50 })])).toEqual(['9<-3 sibling'])
    const digest = { [DIGEST]: 'd' }
    const elsewhere = decision(4, {}, digest)
    expect(joins([...late, elsewhere, action(9, { parent: 2, start: 50 }, digest)])).toEqual(['9<-4 digest'])
  })

  test('of a linked span the last before, else the first', () => {
    const at = (start: number) => joins([decided(1, [30, 10, 20]), action(2, { links: [1], start })])
    expect(at(25)).toEqual(['2<-1#2 link'])
    expect(at(5)).toEqual(['2<-1#1 link'])
  })

  test('a start of whole milliseconds is as good as the end of its millisecond', () => {
    const at = (start: number) =>
      joins([decided(1, [500, 1_999_999, 2_000_000]), action(2, { parent: 1, start })])
    expect(at(999_999)).toEqual(['2<-1#0 ancestor'])
    expect(at(1_000_000)).toEqual(['2<-1#1 ancestor'])
    expect(at(1_000_001)).toEqual(['2<-1#0 ancestor'])
    const beside = (start: number) =>
      joins([
        { id: 1, start: 0 },
        decision(2, { parent: 1, start: 7, end: 1_600_000 }),
        action(3, { parent: 1, start }),
      ])
    expect(beside(1_000_000)).toEqual(['3<-2 sibling'])
    expect(beside(1_000_001)).toEqual([])
  })

  test('only the nearest 256 parents with decisions are looked at', () => {
    const spans = (count: number) => [
      decided(1, [1]),
      ...Array.from({ length: count }, (_, i) => decided(2 + i, [900], { parent: 1 + i })),
      action(9000, { parent: 1 + count, start: 500 }),
    ]
    expect(joins(spans(255))).toEqual(['9000<-1 ancestor'])
    expect(joins(spans(256))).toEqual(['9000<-257 ancestor'])
  })
})

describe('precedence', () => {
  /** A decision for each method; `use` says which of them the action can find. */
  const scene = (use: {
    id?: true
    link?: true
    ancestor?: true
    sibling?: true
    digest?: true
  }): SpanSpec[] => [
    decision(1, { start: 0, end: 1 }, { [ID]: 'x' }),
    decision(2, { start: 0, end: 1 }),
    use.ancestor ? decision(3, { start: 0, end: 1000 }) : { id: 3, start: 0, end: 1000 },
    ...(use.sibling ? [decision(4, { parent: 3, start: 10, end: 20 })] : []),
    decision(5, { start: 0, end: 1 }, { [DIGEST]: 'd' }),
    action(
      6,
      { parent: 3, start: 30, links: use.link ? [2] : [] },
      { ...(use.id ? { [ID]: 'x' } : {}), ...(use.digest ? { [DIGEST]: 'd' } : {}) },
    ),
  ]
  const METHODS = ['id', 'link', 'ancestor', 'sibling', 'digest'] as const

  test('the first that finds one decides, for every set of methods', () => {
    for (let set = 0; set < 32; set++) {
      const usable = METHODS.filter((_, at) => (set & (1 << at)) !== 0)
      const found = joins(scene(Object.fromEntries(usable.map((method) => [method, true as const]))))
      const [first] = usable
      const expected = first === undefined ? [] : [`6<-${METHODS.indexOf(first) + 1} ${first}`]
      expect(found, usable.join()).toEqual(expected)
    }
  })

  test('a decision of its own needs no join', () => {
    expect(
      joins([decision(1), action(2, { parent: 1 }, { 'governance.decision.outcome': 'allow' })]),
    ).toEqual([])
  })

  test('of two decisions with one id the first in record order, of two on one span that with the id', () => {
    expect(
      joins([
        decision(2, { start: 5 }, { [ID]: 'x' }),
        decision(3, { start: 1 }, { [ID]: 'x' }),
        action(4, {}, { [ID]: 'x' }),
      ]),
    ).toEqual(['4<-3 id'])
    const two: SpanSpec = {
      id: 1,
      events: [
        { name: 'governance.decision', attributes: { [ID]: 'a' } },
        { name: 'governance.decision', attributes: { [ID]: 'b' } },
      ],
    }
    expect(joins([two, action(2, { parent: 1 }, { [ID]: 'b' })])).toEqual(['2<-1#1 id'])
  })

  test('what the event of a decision leaves out, its span says', () => {
    const on: SpanSpec = {
      id: 1,
      attributes: { [ID]: 'x' },
      events: [{ name: 'governance.decision', attributes: {} }],
    }
    expect(joins([on, action(2, {}, { [ID]: 'x' })])).toEqual(['2<-1 id'])
  })

  test('an action marked as such joins, a span that only names a decision does not', () => {
    const marked: SpanSpec = { id: 2, parent: 1, attributes: { 'governance.record.kind': 'action' } }
    const request: SpanSpec = { id: 3, parent: 1, attributes: { 'governance.execution.id': 'e', [ID]: 'x' } }
    expect(joins([decision(1, {}, { [ID]: 'x' }), marked, request])).toEqual(['2<-1 ancestor'])
  })
})

describe('links', () => {
  test('of any length, to other traces and to spans without a decision are no links here', () => {
    const spans = log.request(1, [decision(1), action(2)])
    const { spans: ordered } = orderSpans(spans)
    const span = (place: number) => {
      const input = ordered[place]!.span
      return decodeSpan(input.source.body.subarray(input.spanStart, input.spanEnd))
    }
    const of = (links: { traceId: Uint8Array; spanId: Uint8Array }[]) => {
      const [one, two] = [span(0), span(1)]
      const none = { traceState: '', attributes: [], droppedAttributesCount: 0, flags: 0, unknown: [] }
      two.links = links.map((link) => ({ ...none, ...link }))
      const governed = [one, two].map(
        (each, place): GovernedSpan => ({
          place,
          parentAt: -1,
          span: each,
          facts: factsOf(each),
          leaf: place * 2 + 1,
          factLeaves: [place * 2],
        }),
      )
      return joinDecisions(governed, [-1, -1])
    }
    const { traceId, spanId } = span(0)
    expect(of([{ traceId, spanId }])).toEqual([{ action: 3, decision: 0, method: 'link' }])
    const other = traceId.slice()
    other[0]! ^= 1
    expect(
      of([
        { traceId: other, spanId },
        { traceId, spanId: new Uint8Array(0) },
        { traceId, spanId: new Uint8Array(500_000) },
        { traceId: new Uint8Array(0), spanId },
      ]),
    ).toEqual([])
  })
})

test('4,000 actions beside 300 decisions with long names, and under one decision', () => {
  const long = 'n'.repeat(2000)
  const at = (start: number) => ({ parent: 1, start, end: start + 1 })
  const named = (name: string) => ({ 'governance.action.name': name })
  const many = Array.from({ length: 4000 }, (_, i) => action(10_000 + i, at(5000 + i), named(`${long}b`)))
  const decisions = Array.from({ length: 300 }, (_, i) => decision(100 + i, at(100 + i), named(`${long}a`)))
  expect(joins([{ id: 1, start: 0 }, ...decisions, ...many])).toEqual([])
  expect(joins([decision(1), ...many])).toHaveLength(4000)
})
