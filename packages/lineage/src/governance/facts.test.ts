import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex, utf8 } from '../bytes.ts'
import { type AnyValue, decodeSpan, type KeyValue, type Span, type SpanEvent } from '../otlp/decode.ts'
import { decodeLogSpan } from '../otlp/log-record.ts'
import { WireWriter } from '../wire.ts'
import { factsOf, isGoverned, type SpanFacts } from './facts.ts'
import { Kind } from './kind.ts'

const w = () => new WireWriter()

type Values = Readonly<Record<string, AnyValue | string>>

const text = (value: string): AnyValue => ({ type: 'string', value })

function attributes(values: Values | readonly (readonly [string, string])[]): KeyValue[] {
  const pairs = Array.isArray(values) ? (values as [string, string][]) : Object.entries(values as Values)
  return pairs.map(([key, value]) => ({ key, value: typeof value === 'string' ? text(value) : value }))
}

function span(
  values: Values | readonly (readonly [string, string])[],
  events: readonly [string, Values][] = [],
): Span {
  return {
    ...decodeSpan(new Uint8Array(0)),
    attributes: attributes(values),
    events: events.map(
      ([name, of]): SpanEvent => ({
        timeUnixNano: 0n,
        name,
        attributes: attributes(of),
        droppedAttributesCount: 0,
        unknown: [],
      }),
    ),
  }
}

/** Kinds as words and keys of claims: `decision: id outcome`. The span's own come first. */
function told({ kind, claims, facts }: SpanFacts): string[] {
  const names = Object.entries(Kind)
  return [{ kind, claims }, ...facts].map((of) => {
    const name = names.find(([, value]) => value === of.kind)![0]
    return [
      `${name}:`,
      ...of.claims
        .map(({ key }) => key.replace('governance.', ''))
        .filter((key) => key !== 'rootspan.event.name'),
    ].join(' ')
  })
}

describe('attributes of a span', () => {
  test.each<[string, Values, string[]]>([
    ['none', { 'http.route': '/' }, ['span:']],
    [
      'near misses',
      { governance: 'x', 'Governance.action.name': 'x', ' governance.action.name': 'x' },
      ['span:'],
    ],
    [
      'each group',
      {
        'governance.authorization.id': '',
        'governance.delegation.depth': '',
        'governance.approval.id': '',
        'governance.decision.outcome': '',
        'governance.policy.id': '',
        'governance.verification.type': '',
        'governance.transition.to': '',
      },
      [
        'span:',
        'authorization: approval.id authorization.id delegation.depth',
        'verification: verification.type',
        'decision: decision.outcome policy.id',
        'transition: transition.to',
      ],
    ],
    ['a request', { 'governance.execution.id': 'e' }, ['request: execution.id']],
    ['an action', { 'governance.action.name': 'a' }, ['action: action.name']],
    [
      'an action is more than a request',
      { 'governance.execution.id': 'e', 'governance.action.name': 'a' },
      ['action: action.name execution.id'],
    ],
    [
      'what nobody knows is the span’s own',
      { 'governance.emitter.seq': 'x', 'governance.': 'x', 'governance.x': 'x' },
      ['span:  emitter.seq x'],
    ],
    [
      'a group without more',
      { 'governance.decision': 'x', 'governance.action': 'y' },
      ['action: action decision'],
    ],
    ['a group that only begins alike', { 'governance.decisions.outcome': 'x' }, ['span: decisions.outcome']],
    [
      'a decision without an outcome is a reference',
      { 'governance.decision.id': 'd', 'governance.policy.id': 'p', 'governance.action.name': 'a' },
      ['action: action.name decision.id policy.id'],
    ],
    ['a policy alone is one too', { 'governance.policy.id': 'p' }, ['span: policy.id']],
    [
      'names that mean something to JavaScript',
      {
        'governance.__proto__.x': 'x',
        'governance.constructor.name': 'x',
        'governance.toString': 'x',
        'governance.hasOwnProperty.decision': 'x',
      },
      ['span: __proto__.x constructor.name hasOwnProperty.decision toString'],
    ],
  ])('%s', (_, values, expected) => {
    expect(told(factsOf(span(values)))).toEqual(expected)
  })

  test.each<[AnyValue | string, string]>([
    ['action', 'action'],
    ['request', 'request'],
    ['decision', 'span'],
    ['span', 'span'],
    ['Action', 'span'],
    ['__proto__', 'span'],
    ['', 'span'],
    [{ type: 'bytes', value: utf8('action') }, 'span'],
    [{ type: 'array', value: [text('action')] }, 'span'],
    [{ type: 'empty' }, 'span'],
  ])('marked as %o', (value, expected) => {
    expect(told(factsOf(span({ 'governance.record.kind': value })))).toEqual([`${expected}: record.kind`])
  })

  test('a mark is stronger than what the attributes say', () => {
    const values = { 'governance.record.kind': 'request', 'governance.action.name': 'a' }
    expect(told(factsOf(span(values)))).toEqual(['request: action.name record.kind'])
  })

  test('of two marks the first that names a kind counts, in the order of values', () => {
    for (const pairs of [
      ['request', 'action'],
      ['action', 'request'],
      ['action', 'Zzz', 'request', 'Aaa'],
    ])
      expect(factsOf(span(pairs.map((value) => ['governance.record.kind', value] as const))).kind).toBe(
        Kind.action,
      )
  })
})

describe('events', () => {
  test.each<[string, string, Values, string | undefined]>([
    ['by name', 'governance.decision', {}, 'decision:'],
    ['by name with more words', 'governance.decision.taken', {}, 'decision:'],
    ['by the group of an attribute', 'evaluated', { 'governance.policy.id': 'p' }, 'decision: policy.id'],
    [
      'by the first group in the order of keys',
      'x',
      { 'governance.transition.to': 't', 'governance.action.name': 'a' },
      'action: action.name transition.to',
    ],
    [
      'by name before attributes',
      'governance.approval',
      { 'governance.action.name': 'a' },
      'authorization: action.name',
    ],
    [
      'by its mark before its name',
      'governance.decision',
      { 'governance.record.kind': 'verification' },
      'verification: record.kind',
    ],
    [
      'a mark that names nothing',
      'governance.decision',
      { 'governance.record.kind': 'persistence' },
      'decision: record.kind',
    ],
    ['a request', 'governance.execution.started', {}, 'request:'],
    ['only governance becomes claims', 'governance.decision', { 'exception.type': 'E' }, 'decision:'],
    ['a plain one', 'exception', { 'exception.type': 'E' }, undefined],
    ['an unknown name', 'governance.heartbeat', {}, undefined],
    ['an unknown name and attribute', 'governance.heartbeat', { 'governance.emitter.seq': 's' }, undefined],
    [
      'no outcome is needed',
      'governance.decision',
      { 'governance.decision.id': 'd' },
      'decision: decision.id',
    ],
    ['a name of JavaScript', 'governance.constructor', {}, undefined],
  ])('%s', (_, name, values, expected) => {
    expect(told(factsOf(span({}, [[name, values]])))).toEqual(
      expected === undefined ? ['span:'] : ['span:', expected],
    )
  })

  test('come after the facts of the attributes, in their own order, each one a fact', () => {
    const facts = factsOf(
      span({ 'governance.transition.to': 't', 'governance.authorization.id': 'a' }, [
        ['governance.transition', {}],
        ['governance.decision', {}],
        ['log', {}],
        ['governance.decision', {}],
      ]),
    )
    expect(told(facts)).toEqual([
      'span:',
      'authorization: authorization.id',
      'transition: transition.to',
      'transition:',
      'decision:',
      'decision:',
    ])
  })
})

describe('claims', () => {
  test('of an event: its name is one, after the others, as received', () => {
    const name = w()
      .bytes(2, Uint8Array.from([...utf8('governance.decision'), 0xff]))
      .finish()
    const attribute = w().string(1, 'governance.decision.id').bytes(2, w().string(1, 'd').finish()).finish()
    const { facts } = factsOf(decodeSpan(w().bytes(11, w().raw(name).bytes(3, attribute).finish()).finish()))
    expect(facts.map(({ claims }) => claims.map(({ key, value }) => `${key} ${formatHex(value)}`))).toEqual([
      ['governance.decision.id 0164', `rootspan.event.name 01${formatHex(utf8('governance.decision'))}ff`],
    ])
  })

  test('hold keys and values exactly, whatever is in them', () => {
    // A key and a value with a byte that is no UTF-8, and a NaN with its own bits.
    const key = Uint8Array.from([...utf8('governance.decision.'), 0xff])
    const broken = new WireWriter()
      .bytes(1, key)
      .bytes(2, new WireWriter().bytes(1, parseHex('c328')).finish())
    const nan = new WireWriter()
      .string(1, 'governance.decision.outcome')
      .bytes(2, parseHex('21010000000000f8ff'))
    const facts = factsOf(
      decodeSpan(new WireWriter().bytes(9, broken.finish()).bytes(9, nan.finish()).finish()),
    )
    expect(facts.facts).toHaveLength(1)
    const [outcome, odd] = facts.facts[0]!.claims
    expect(formatHex(outcome!.value)).toBe('04fff8000000000001')
    expect(formatHex(odd!.keyBytes)).toBe(formatHex(key))
    expect(formatHex(odd!.value)).toBe('01c328')
  })

  test('every type of value', () => {
    const values: Values = {
      'governance.x.a': { type: 'empty' },
      'governance.x.b': { type: 'bool', value: true },
      'governance.x.c': { type: 'int', value: -(2n ** 63n) },
      'governance.x.d': { type: 'double', value: -0 },
      'governance.x.e': { type: 'array', value: [] },
      'governance.x.f': { type: 'kvlist', value: [{ key: 'k', value: text('') }] },
      'governance.x.g': { type: 'bytes', value: Uint8Array.of(0) },
    }
    expect(factsOf(span(values)).claims.map(({ value }) => formatHex(value))).toEqual([
      '00',
      '0201',
      '038000000000000000',
      '048000000000000000',
      '0500000000',
      '060000000100016b0000000101',
      '0700',
    ])
  })

  test('the order of attributes says nothing, not even with one key twice', () => {
    const key = fc.constantFrom(
      'governance.record.kind',
      'governance.decision.id',
      'governance.decision.outcome',
      'governance.action.name',
      'governance.transition.to',
      'http.route',
    )
    const value = fc.constantFrom('', 'a', 'b', 'action', 'request', 'decision', 'transition')
    const pairs = fc.array(fc.tuple(key, value), { maxLength: 8 })
    fc.assert(
      fc.property(
        pairs.chain((list) =>
          fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
        ),
        ([list, shuffled]) => {
          expect(factsOf(span(shuffled))).toEqual(factsOf(span(list)))
          const asEvent = (of: [string, string][]) => {
            const base = span({}, [['x', {}]])
            base.events[0]!.attributes = attributes(of)
            return factsOf(base)
          }
          expect(asEvent(shuffled)).toEqual(asEvent(list))
        },
      ),
      { numRuns: 300 },
    )
  })

  test('30,000 attributes of one group, and as many events', () => {
    const many = Array.from({ length: 30_000 }, (_, at) => [`governance.policy.${at}`, ''] as const)
    const events = Array.from({ length: 30_000 }, (): [string, Values] => ['governance.transition', {}])
    const facts = factsOf(span(many, events))
    expect(facts.claims).toHaveLength(30_000) // without an outcome they are the span's own
    expect(facts.facts).toHaveLength(30_000)
  })
})

describe('governed', () => {
  test.each<[string, Span, boolean]>([
    ['nothing', span({}), false],
    ['a plain attribute and event', span({ 'a.b': 'c' }, [['x', { 'y.z': '' }]]), false],
    ['an attribute', span({ 'governance.': '' }), true],
    ['an event', span({}, [['governance.', {}]]), true],
    ['an attribute of an event', span({}, [['x', { 'governance.x': '' }]]), true],
    [
      'a nested key',
      span({ x: { type: 'kvlist', value: [{ key: 'governance.action.name', value: text('') }] } }),
      false,
    ],
  ])('%s', (_, of, expected) => {
    expect(isGoverned(of)).toBe(expected)
  })

  test('what is not governed has no facts and no claims', () => {
    expect(factsOf(span({ 'a.b': 'c' }, [['x', {}]]))).toEqual({ kind: Kind.span, claims: [], facts: [] })
  })
})

test.each([
  ['governance.execution.started', Kind.request, 0],
  ['governance.action.completed', Kind.action, 0],
  ['governance.decision', Kind.span, 1],
  ['governance.authorization.revoked', Kind.span, 1],
  ['governance.heartbeat', Kind.span, 0],
])('a log record named %s', (name, kind, facts) => {
  const found = factsOf(decodeLogSpan(w().string(12, name).finish()))
  expect([found.kind, found.facts.length]).toEqual([kind, facts])
  const claims = [...found.claims, ...found.facts.flatMap((fact) => fact.claims)]
  expect(claims.map(({ key }) => key)).toEqual(['rootspan.event.name'])
})
