/** What comes late, from elsewhere, twice, in circles or in masses, over several segments: docs/formats/record.md. */
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { tracesFromJson } from '@rootspan/lineage/otlp/json'
import { Closed } from '@rootspan/lineage/record/payload'
import { verify } from '@rootspan/lineage/verify'
import { describe, expect, test } from 'vitest'
import { randomOf } from '../fuzz/mutate.ts'
import { reencode, SPAN_NESTING } from '../fuzz/otlp.ts'
import { type SpanSpec, spanHex, TestLog, traceIdOf } from '../support/executions.ts'
import { draw, Feed, type Sent, send, TRACE } from './support.ts'

interface Settled {
  readonly spans: readonly (SpanSpec | Sent)[]
  readonly closed?: Closed
}

const isSent = (one: SpanSpec | Sent): one is Sent => 'span' in one

/** Settles these segments, each span in a request of its own, verifies the execution, and draws its records. */
async function execution(
  ...segments: readonly (Settled | readonly (SpanSpec | Sent)[])[]
): Promise<string[]> {
  const log = new TestLog()
  const feed = new Feed()
  for (const segment of segments) {
    const { spans, closed = Closed.settled } = Array.isArray(segment)
      ? { spans: segment }
      : (segment as Settled)
    const requests = spans.map((one: SpanSpec | Sent) => [isSent(one) ? one : send(one)])
    log.seal(TRACE, feed.through(requests), { closed })
  }
  const verified = verify(await log.bundle(TRACE), log.policy)
  expect(verified.records).toHaveLength(log.size)
  return draw(log.entries)
}

describe('late', () => {
  test('spans hang on records of earlier segments, and are said to be late', async () => {
    expect(
      await execution(
        [{ id: 1 }],
        [
          { id: 2, parent: 1 },
          { id: 3, parent: 2 },
        ],
      ),
    ).toEqual([
      '0 span 1 root',
      '1 sealed +claims #0 closes 1',
      '2 span 2 under 0',
      '3 span 3 under 2',
      '4 late +claims',
      '5 sealed previousSeal>1 +claims #1 closes 3',
    ])
  })

  test('but not where the segment before was cut or drained', async () => {
    for (const closed of [Closed.cut, Closed.drained])
      expect(await execution({ spans: [{ id: 1 }], closed }, [{ id: 2, parent: 1 }])).toEqual([
        '0 span 1 root',
        '1 sealed +claims #0 closes 1',
        '2 span 2 under 0',
        '3 sealed previousSeal>1 +claims #1 closes 1',
      ])
  })

  test('a parent in the same segment comes before one in an earlier segment', async () => {
    expect(
      await execution(
        [{ id: 1 }],
        [
          { id: 1, name: 'again', start: 0 },
          { id: 2, parent: 1 },
        ],
      ),
    ).toEqual([
      '0 span 1 root',
      '1 sealed +claims #0 closes 1',
      '2 span 1 root',
      '3 span 2 under 2',
      '4 *verification subject>2 subject>0 +claims',
      '5 late +claims',
      '6 sealed previousSeal>1 +claims #1 closes 4',
    ])
  })

  test('every segment names the seal of the one before it', async () => {
    const records = await execution(...Array.from({ length: 5 }, (_, at) => [{ id: at + 2, parent: at + 1 }]))
    expect(records.filter((one) => one.includes('sealed'))).toEqual([
      '2 sealed +claims #0 closes 2',
      '5 sealed previousSeal>2 +claims #1 closes 2',
      '8 sealed previousSeal>5 +claims #2 closes 2',
      '11 sealed previousSeal>8 +claims #3 closes 2',
      '14 sealed previousSeal>11 +claims #4 closes 2',
    ])
  })
})

describe('awaited and remote', () => {
  test('a missing parent is awaited and named by a gap, a remote one holds nothing up', async () => {
    expect(
      await execution([
        { id: 2, parent: 1 },
        { id: 3, parent: 9, kind: 2 },
        { id: 4, parent: 9, flags: 0x300 },
      ]),
    ).toEqual([
      '0 span 2 awaiting 1',
      '1 span 3 remote 9',
      '2 span 4 remote 9',
      '3 gap +claims',
      '4 sealed +claims #0 closes 4',
    ])
  })

  test('whoever waited is adopted when the parent comes, once', async () => {
    expect(
      await execution(
        [
          { id: 2, parent: 1 },
          { id: 3, parent: 1, kind: 2 },
        ],
        [
          { id: 1, kind: 3 },
          { id: 4, parent: 1 },
        ],
        [{ id: 5, parent: 1 }],
      ),
    ).toEqual([
      '0 span 2 awaiting 1',
      '1 span 3 remote 1',
      '2 gap +claims',
      '3 sealed +claims #0 closes 3',
      '4 span 1 root',
      '5 span 4 under 4',
      '6 adopted parent>4 +claims',
      '7 late +claims',
      '8 sealed previousSeal>3 +claims #1 closes 4',
      '9 span 5 under 4',
      '10 late +claims',
      '11 sealed previousSeal>8 +claims #2 closes 2',
    ])
  })

  test('of two spans with the id of the awaited parent the first adopts', async () => {
    const records = await execution(
      [{ id: 2, parent: 1 }],
      [
        { id: 1, start: 9, kind: 3 },
        { id: 1, start: 3, kind: 2 },
      ],
    )
    expect(records.filter((one) => one.includes('adopted'))).toEqual(['5 adopted parent>3 +claims'])
    const later = await execution([{ id: 2, parent: 1 }], [{ id: 1 }], [{ id: 1, name: 'other' }])
    expect(later.filter((one) => one.includes('adopted'))).toEqual(['4 adopted parent>3 +claims'])
  })

  test('a verified tree hangs the adopted under their parent', async () => {
    const log = new TestLog()
    log.settle(TRACE, [
      [
        { id: 2, parent: 1 },
        { id: 3, parent: 2 },
      ],
    ])
    log.settle(TRACE, [[{ id: 1 }]])
    const { roots } = verify(await log.bundle(TRACE), log.policy)
    const ids = (nodes: typeof roots): unknown[] =>
      nodes.map((node) => [Buffer.from(node.record.entry.spanId).toString('hex'), ids(node.children)])
    expect(ids(roots)).toEqual([[spanHex(1), [[spanHex(2), [[spanHex(3), []]]]]]])
  })
})

describe('cycles', () => {
  const finding = (number: number, of: number) => `${number} *verification subject>${of} +claims`

  test('itself its parent, as a server too: what is here is not remote', async () => {
    for (const kind of [1, 2])
      expect(await execution([{ id: 1, parent: 1, kind }])).toEqual([
        '0 span 1 awaiting 1',
        finding(1, 0),
        '2 sealed +claims #0 closes 2',
      ])
  })

  test('two cycles with tails: each is opened at its smallest, and has its finding', async () => {
    expect(
      await execution([
        { id: 1, parent: 2, start: 5 },
        { id: 2, parent: 1, start: 4 },
        { id: 3, parent: 1, start: 0 },
        { id: 8, parent: 9, start: 1 },
        { id: 9, parent: 8, start: 1 },
        { id: 7 },
      ]),
    ).toEqual([
      '0 span 7 root',
      '1 span 8 awaiting 9',
      '2 span 9 under 1',
      '3 span 2 awaiting 1',
      '4 span 1 under 3',
      '5 span 3 under 4',
      finding(6, 1),
      finding(7, 3),
      '8 sealed +claims #0 closes 8',
    ])
  })

  test('who opens a cycle waits for nobody: nothing is adopted and nothing is missing', async () => {
    const records = await execution(
      [
        { id: 1, parent: 2 },
        { id: 2, parent: 1 },
      ],
      [{ id: 3, parent: 1 }],
    )
    expect(records.filter((one) => /adopted|gap/.test(one))).toEqual([])
  })

  test('over two segments: the second one hangs on the first, which it adopts', async () => {
    expect(await execution([{ id: 1, parent: 2 }], [{ id: 2, parent: 1 }])).toEqual([
      '0 span 1 awaiting 2',
      '1 gap +claims',
      '2 sealed +claims #0 closes 2',
      '3 span 2 under 0',
      '4 adopted parent>3 +claims',
      '5 late +claims',
      '6 sealed previousSeal>2 +claims #1 closes 3',
    ])
  })

  test('of 20,000 spans, with a tail as long', async () => {
    const size = 20_000
    const ring = Array.from({ length: size }, (_, at) => ({
      id: at + 1,
      parent: at === 0 ? size : at,
      start: at + 5,
    }))
    const tail = Array.from({ length: size }, (_, at) => ({ id: size + at + 1, parent: size + at, start: 0 }))
    const log = new TestLog()
    log.seal(TRACE, new Feed().through([[...tail, ...ring].map((spec) => send(spec))]))
    const records = draw(log.entries)
    expect(records.slice(0, 2)).toEqual(['0 span 1 awaiting 4e20', '1 span 2 under 0'])
    expect(records.slice(-3)).toEqual([
      `${2 * size - 1} span 9c40 under ${2 * size - 2}`,
      `${2 * size} *verification subject>0 +claims`,
      `${2 * size + 1} sealed +claims #0 closes ${2 * size + 1}`,
    ])
  }, 120_000)
})

describe('the same span again', () => {
  const SPEC: SpanSpec = {
    id: 2,
    parent: 1,
    attributes: { 'http.route': '/', 'governance.action.name': 'a', size: 5, list: ['x', true, 1.5] },
    events: [{ name: 'e', attributes: { k: 'v' } }],
    links: [1],
    status: 2,
  }
  const plain = send(SPEC)
  const reordered = Array.from({ length: 8 }, (_, seed) => ({
    ...plain,
    span: reencode(plain.span, SPAN_NESTING, randomOf(seed)),
  }))
  const once = ['0 span 1 root', '1 action 2 under 0 +claims', '2 sealed +claims #0 closes 2']

  test('is one record, however its encoder wrote it', async () => {
    expect(new Set(reordered.map(({ span }) => Buffer.from(span).toString('hex'))).size).toBeGreaterThan(4)
    expect(await execution([{ id: 1, kind: 2 }, plain, plain, ...reordered])).toEqual(once)
    expect(await execution([...reordered, { id: 1, kind: 2 }, plain])).toEqual(once)
  })

  test('is one record when one of the two came as JSON', async () => {
    const attribute = (key: string, value: object) => ({ key, value })
    const times = {
      startTimeUnixNano: '1767323045002000000',
      endTimeUnixNano: 1767323045002500000n.toString(),
    }
    const ids = { traceId: Buffer.from(traceIdOf(TRACE)).toString('hex'), spanId: spanHex(2) }
    const span = {
      ...ids,
      parentSpanId: spanHex(1),
      name: 'span 2',
      kind: 'SPAN_KIND_INTERNAL',
      ...times,
      status: { code: 2 },
      links: [{ ...ids, spanId: spanHex(1) }],
      events: [
        {
          timeUnixNano: times.startTimeUnixNano,
          name: 'e',
          attributes: [attribute('k', { stringValue: 'v' })],
        },
      ],
      attributes: [
        attribute('list', {
          arrayValue: { values: [{ stringValue: 'x' }, { boolValue: true }, { doubleValue: 1.5 }] },
        }),
        attribute('size', { intValue: '5' }),
        attribute('http.route', { stringValue: '/' }),
        attribute('governance.action.name', { stringValue: 'a' }),
      ],
    }
    const resource = { attributes: [attribute('service.name', { stringValue: 'checkout' })] }
    const body = tracesFromJson(
      utf8(
        JSON.stringify({
          resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'test' }, spans: [span] }] }],
        }),
      ),
    )
    const log = new TestLog()
    const feed = new Feed()
    feed.deliver(body)
    log.seal(TRACE, feed.through([[send({ id: 1, kind: 2 })], [plain]]))
    expect(draw(log.entries)).toEqual(once)
  })

  test('in a later segment gives nothing, and a segment of nothing else is none', async () => {
    expect(await execution([{ id: 1, kind: 2 }, plain], [...reordered, { id: 1, kind: 2 }])).toEqual(once)
    expect(await execution([{ id: 1, kind: 2 }, plain], [reordered[0]!, { id: 3, parent: 2 }])).toEqual([
      ...once,
      '3 span 3 under 1',
      '4 late +claims',
      '5 sealed previousSeal>2 +claims #1 closes 2',
    ])
  })

  test('under another service it is another one', async () => {
    const records = await execution([plain, { ...plain, service: 'other' }])
    expect(records.filter((one) => one.includes('subject'))).toHaveLength(1)
  })
})

describe('the same ids and other content', () => {
  const one = { id: 1, start: 0, name: 'a' }
  const other = { id: 1, start: 1, name: 'b' }

  test('in one segment: two records, and a finding about both', async () => {
    expect(await execution([one, other])).toEqual([
      '0 span 1 root',
      '1 span 1 root',
      '2 *verification subject>1 subject>0 +claims',
      '3 sealed +claims #0 closes 3',
    ])
  })

  test('over segments', async () => {
    expect(await execution([one], [other], [{ ...other, name: 'c' }])).toEqual([
      '0 span 1 root',
      '1 sealed +claims #0 closes 1',
      '2 span 1 root',
      '3 *verification subject>2 subject>0 +claims',
      '4 late +claims',
      '5 sealed previousSeal>1 +claims #1 closes 3',
      '6 span 1 root',
      '7 *verification subject>6 subject>0 +claims',
      '8 late +claims',
      '9 sealed previousSeal>5 +claims #2 closes 3',
    ])
  })

  test('of another kind it is no equivocation: client and server may share an id', async () => {
    expect(
      await execution([
        { ...one, kind: 3 },
        { ...other, kind: 2 },
      ]),
    ).toEqual(['0 span 1 root', '1 span 1 root', '2 sealed +claims #0 closes 2'])
    const later = await execution([{ ...one, kind: 3 }], [{ ...other, kind: 2 }])
    expect(later.filter((line) => line.includes('subject'))).toEqual([])
  })

  test('two at once in a later segment: each against the first of them all', async () => {
    const records = await execution([one], [other, { ...other, start: 2 }])
    expect(records.filter((line) => line.includes('subject'))).toEqual([
      '4 *verification subject>2 subject>0 +claims',
      '5 *verification subject>3 subject>0 +claims',
    ])
  })
})

describe('masses', () => {
  const many = (count: number, spec: (at: number) => SpanSpec): Sent[] =>
    Array.from({ length: count }, (_, at) => send(spec(at)))

  test('2,500 children of one late parent: three adopted records of 1,000 at most', async () => {
    const log = new TestLog()
    const feed = new Feed()
    log.seal(TRACE, feed.through([many(2500, (at) => ({ id: 10 + at, parent: 1 }))]))
    log.seal(TRACE, feed.through([[send({ id: 1 })]]))
    verify(await log.bundle(TRACE), log.policy)
    expect(draw(log.entries).slice(2500)).toEqual([
      '2500 gap +claims',
      '2501 sealed +claims #0 closes 2501',
      '2502 span 1 root',
      '2503 adopted parent>2502 +claims',
      '2504 adopted parent>2502 +claims',
      '2505 adopted parent>2502 +claims',
      '2506 late +claims',
      '2507 sealed previousSeal>2501 +claims #1 closes 5',
    ])
  })

  test('2,500 missing parents are one gap', async () => {
    const records = await execution(many(2500, (at) => ({ id: 10_000 + at, parent: 1 + at })))
    expect(records.slice(2500)).toEqual(['2500 gap +claims', '2501 sealed +claims #0 closes 2501'])
  })

  test('100 facts on one span: the last 32 are its causes', async () => {
    const events = Array.from({ length: 100 }, (_, at) => ({
      name: at % 2 === 0 ? 'governance.authorization' : 'governance.decision',
    }))
    const records = await execution([{ id: 1, events }])
    const causes = (from: number, step: number) =>
      Array.from({ length: 32 }, (_, at) => from + at * step)
        .map((leaf) => `${leaf % 2 === 0 ? 'authorization' : 'decision'}>${leaf}`)
        .join(' ')
    expect(records[99]).toBe(`99 *decision 1 ${causes(36, 2)} +claims`) // the last 32 authorizations of 50
    expect(records[100]).toBe(`100 span 1 root ${causes(68, 1)}`)
  })

  describe('100,000 spans', () => {
    const SIZE = 100_000
    const random = randomOf(7)
    test.each<[string, (at: number) => SpanSpec]>([
      ['one under the other', (at) => ({ id: at + 1, ...(at === 0 ? {} : { parent: at }) })],
      ['under one', (at) => ({ id: at + 1, start: at % 7, ...(at === 0 ? {} : { parent: 1 }) })],
      [
        'in a random tree, children often before parents',
        (at) => ({
          id: at + 1,
          start: Math.floor(random() * 1e6),
          ...(at === 0 ? {} : { parent: 1 + Math.floor(random() * at) }),
        }),
      ],
    ])(
      '%s',
      async (_, spec) => {
        const specs = Array.from({ length: SIZE }, (_, at) => spec(at))
        const spans = specs.map((one) => send(one)).reverse()
        const requests = Array.from({ length: 20 }, (_, at) =>
          spans.slice((at * SIZE) / 20, ((at + 1) * SIZE) / 20),
        )
        const log = new TestLog()
        log.seal(TRACE, new Feed().through(requests))
        expect(log.size).toBe(SIZE + 1)
        const { roots, records, verdict } = verify(await log.bundle(TRACE), log.policy)
        expect(records).toHaveLength(SIZE + 1)
        expect(verdict.integrity).toEqual({ state: 'verified', size: SIZE + 1 })
        // Every span is in the tree, once, under its parent.
        const parents = new Map<string, string | undefined>()
        const stack = roots.map((node) => ({ node, parent: undefined as string | undefined }))
        for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
          const id = formatHex(next.node.record.entry.spanId)
          parents.set(id, next.parent)
          for (const node of next.node.children) stack.push({ node, parent: id })
        }
        expect(parents.size).toBe(SIZE)
        const wrong = specs.filter(
          ({ id, parent }) =>
            parents.get(spanHex(id)) !== (parent === undefined ? undefined : spanHex(parent)),
        )
        expect(wrong).toEqual([])
      },
      180_000,
    )

    test('of one id, 10,000 with other content in each of two segments', () => {
      const log = new TestLog()
      const feed = new Feed()
      log.seal(TRACE, feed.through([many(10_000, (at) => ({ id: 1, start: at }))]))
      expect(log.size).toBe(10_000 + 64 + 1) // all but the first are found, the first 64 of these told; the seal
      log.seal(TRACE, feed.through([many(10_000, (at) => ({ id: 1, start: 10_000 + at }))]))
      expect(log.size).toBe(10_000 + 64 + 1 + 10_000 + 1 + 1) // nothing new to tell; late; the seal
    }, 180_000)

    test('30,000 facts of one span', () => {
      const events = Array.from({ length: 30_000 }, (_, at) => ({
        name: at === 0 ? 'governance.authorization' : 'governance.transition',
      }))
      const log = new TestLog()
      log.seal(TRACE, new Feed().through([[send({ id: 1, events })]]))
      expect(log.size).toBe(30_000 + 2)
    }, 120_000)
  })
})
