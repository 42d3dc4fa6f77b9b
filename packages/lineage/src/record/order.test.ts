import { describe, expect, test } from 'vitest'
import { TestLog } from '../../../../test/support/executions.ts'
import { contextKey, idKey, isParentRemote, orderSpans, type Source, type SpanInput } from './order.ts'

const NO_SOURCE: Source = {
  receipt: new Uint8Array(0),
  seed: new Uint8Array(32),
  body: new Uint8Array(0),
  contexts: new Map(),
}

/** A span without bytes, for orders in which no id repeats. Ids are single letters. */
function bare(id: string, parent: string, start = 0): SpanInput {
  return {
    source: NO_SOURCE,
    index: 0,
    spanStart: 0,
    spanEnd: 0,
    resourceStart: 0,
    resourceEnd: 0,
    scopeStart: 0,
    scopeEnd: 0,
    id,
    parent,
    startHigh: Math.floor(start / 2 ** 32),
    startLow: start % 2 ** 32,
    kind: 1,
    remote: false,
    governed: false,
  }
}

function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length <= 1) return yield [...items]
  for (const [at, item] of items.entries())
    for (const rest of permutations(items.filter((_, other) => other !== at))) yield [item, ...rest]
}

/** `a(b c) |d(e)`: children in brackets, `|` before whoever opens a cycle. */
function drawn(input: readonly SpanInput[]): string {
  const { spans, duplicates } = orderSpans(input)
  expect(duplicates).toEqual([])
  const children = new Map<number, number[]>()
  for (const [place, { parentAt }] of spans.entries()) {
    expect(parentAt).toBeLessThan(place)
    children.set(parentAt, [...(children.get(parentAt) ?? []), place])
  }
  const draw = (parent: number): string =>
    (children.get(parent) ?? [])
      .map((place) => {
        const below = draw(place)
        return `${spans[place]!.opensCycle ? '|' : ''}${spans[place]!.span.id}${below === '' ? '' : `(${below})`}`
      })
      .join(' ')
  return draw(-1)
}

/** The order as the page says it, by recursion and without thought for cost. */
function expectedOf(input: readonly SpanInput[]): string {
  const ids = new Set(input.map(({ id }) => id))
  const sorted = input.toSorted((a, b) => a.startLow - b.startLow || (a.id < b.id ? -1 : 1))
  const placed = new Set<string>()
  const draw = (span: SpanInput): string => {
    placed.add(span.id)
    const below = sorted.filter(({ parent, id }) => parent === span.id && !placed.has(id)).map(draw)
    return `${span.id}${below.length === 0 ? '' : `(${below.join(' ')})`}`
  }
  const out = sorted.filter(({ parent }) => !ids.has(parent)).map(draw)
  const onCycle = (span: SpanInput): boolean => {
    let at: SpanInput | undefined = span
    for (let steps = 0; steps <= input.length; steps++) {
      at = input.find(({ id }) => id === at!.parent)
      if (at === undefined) return false
      if (at === span) return true
    }
    return false
  }
  for (const span of sorted) if (!placed.has(span.id) && onCycle(span)) out.push(`|${draw(span)}`)
  return out.join(' ')
}

describe('every small graph, in every order', () => {
  test.each([1, 2, 3, 4])('%i spans', (count) => {
    const ids = ['a', 'b', 'c', 'd'].slice(0, count)
    const parents = ['', 'x', ...ids]
    // Two ways to start: all at once, and against the order of ids with one pair at once.
    for (const starts of [
      [0, 0, 0, 0],
      [3, 2, 2, 1],
    ])
      for (let graph = 0; graph < parents.length ** count; graph++) {
        const spans = ids.map((id, at) =>
          bare(id, parents[Math.floor(graph / parents.length ** at) % parents.length]!, starts[at]),
        )
        const expected = expectedOf(spans)
        for (const order of permutations(spans)) expect(drawn(order)).toBe(expected)
      }
  })
})

describe('larger ones', () => {
  test.each<[string, string, string]>([
    // spans as id:parent@start
    ['depth first', 'a: b:a@1 c:a@2 d:b@9 e:c@0', 'a(b(d) c(e))'],
    ['roots by start, those whose parent is elsewhere among them', 'a:@5 b:x@3 c:b d:@1 e:y@2', 'd e b(c) a'],
    [
      'two cycles with tails, after the roots',
      'a:b@5 b:a@6 c:b d:e@1 e:d@2 f:e@0 g:@9',
      'g |d(e(f)) |a(b(c))',
    ],
    ['a tail on each span of a ring', 'a:c@1 b:a@2 c:b@3 d:a@4 e:b@4 f:c@4', '|a(b(c(f) e) d)'],
    ['itself its parent, with children', 'a:a b:a c:b', '|a(b(c))'],
    ['the smallest key opens, not the smallest id', 'a:b@9 b:c@3 c:a@4', '|b(a(c))'],
  ])('%s', (_, text, expected) => {
    const spans = text.split(' ').map((one) => {
      const [, id, parent, start] = /^(\w):(\w?)(?:@(\d+))?$/.exec(one)!
      return bare(id!, parent!, Number(start ?? 0))
    })
    expect(drawn(spans)).toBe(expected)
    expect(drawn(spans.toReversed())).toBe(expected)
  })

  test('start times of 64 bits, as unsigned numbers', () => {
    const times = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 52]
    const spans = times.map((time, at) => bare('gfedcba'[at]!, '', time))
    expect(drawn(spans.toReversed())).toBe('g f e d c b a')
    const high = { ...bare('z', ''), startHigh: 0xffff_ffff, startLow: 0 }
    const low = { ...bare('y', ''), startHigh: 0x7fff_ffff, startLow: 0xffff_ffff }
    expect(drawn([high, low])).toBe('y z')
  })

  test('ids compare as bytes, not as text', () => {
    const ids = [[0x7f], [0x80], [0xff], [0x00]].map((byte) => idKey(Uint8Array.from(byte)))
    expect(orderSpans(ids.map((id) => bare(id, ''))).spans.map(({ span }) => span.id)).toEqual([
      '\u0000',
      '\u007f',
      '\u0080',
      '\u00ff',
    ])
  })
})

describe('one id several times', () => {
  const log = new TestLog()
  const names = (input: readonly SpanInput[]) => {
    const { spans, duplicates } = orderSpans(input)
    const nameOf = (span: SpanInput) =>
      Buffer.from(span.source.body.subarray(span.spanStart, span.spanEnd))
        .toString('latin1')
        .match(/name:[a-z]+/)?.[0]
        .slice(5)
    return {
      order: spans.map(({ span, parentAt, equivocates }) => `${nameOf(span)}/${parentAt}/${equivocates}`),
      duplicates: duplicates.map(({ span, of }) => `${nameOf(span)} of ${of}`).sort(),
    }
  }

  test('the same content twice is one span, other content another one', () => {
    const spans = log.request(1, [
      { id: 1, name: 'name:a' },
      { id: 2, parent: 1, name: 'name:c' },
      { id: 1, name: 'name:a' },
      { id: 1, name: 'name:b' },
      { id: 1, name: 'name:b' },
    ])
    const first = names(spans)
    expect(first.order).toHaveLength(3)
    expect(first.order.filter((one) => one.endsWith('/-1'))).toHaveLength(2)
    expect(first.duplicates).toHaveLength(2)
    for (const order of permutations(spans)) expect(names(order)).toEqual(first)
  })

  test('children hang on the first of them, and only those of one kind equivocate', () => {
    const spans = log.request(1, [
      { id: 1, kind: 3, name: 'name:client', start: 1 },
      { id: 1, kind: 2, name: 'name:server', start: 2 },
      { id: 1, kind: 3, name: 'name:other', start: 3 },
      { id: 1, kind: 3, name: 'name:third', start: 4 },
      { id: 2, parent: 1, name: 'name:child', start: 9 },
    ])
    for (const order of permutations(spans))
      expect(names(order)).toEqual({
        order: ['client/-1/-1', 'child/0/-1', 'server/-1/-1', 'other/-1/0', 'third/-1/0'],
        duplicates: [],
      })
  })

  test('twins whose parent is each other', () => {
    const spans = log.request(1, [
      { id: 1, parent: 1, name: 'name:a', start: 1 },
      { id: 1, parent: 1, name: 'name:b', start: 2 },
    ])
    for (const order of permutations(spans))
      expect(names(order)).toEqual({ order: ['a/-1/-1', 'b/0/0'], duplicates: [] })
  })

  test('20,000 of one id with other content each, and as many of one content', () => {
    const many = Array.from({ length: 20_000 }, (_, at) => ({ id: 1, start: 20_000 - at }))
    const order = orderSpans(log.request(1, many))
    expect(order.spans).toHaveLength(20_000)
    expect(order.spans.every(({ equivocates }, place) => equivocates === (place === 0 ? -1 : 0))).toBe(true)
    const same = orderSpans(log.request(1, many.fill({ id: 1, start: 5 })))
    expect([same.spans.length, same.duplicates.length]).toEqual([1, 19_999])
  }, 120_000)
})

describe('what a parent is', () => {
  test.each<[number, number, boolean]>([
    [0x000, 1, false],
    [0x000, 2, true], // server
    [0x000, 3, false],
    [0x000, 5, true], // consumer
    [0x100, 2, false], // the flags say that it is here
    [0x300, 3, true],
    [0x200, 1, false], // without the first bit the second says nothing
    [0x200, 2, true],
  ])('flags %i and kind %i: %s', (flags, kind, expected) => {
    expect(isParentRemote(flags, kind)).toBe(expected)
  })

  test('a context is named by its scope, or without one by its resource', () => {
    const at = (resourceStart: number, resourceEnd: number, scopeStart: number, scopeEnd: number) =>
      contextKey({ ...bare('a', ''), resourceStart, resourceEnd, scopeStart, scopeEnd })
    const keys = [at(0, 0, 0, 0), at(5, 5, 0, 0), at(5, 9, 12, 12), at(0, 0, 5, 9), at(6, 9, 0, 0)]
    expect(new Set(keys).size).toBe(keys.length)
  })
})
