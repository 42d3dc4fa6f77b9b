import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { spanIdOf, TestLog, traceIdOf } from '../../../../test/support/executions.ts'
import { concatBytes, formatHex, parseHex, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { WireWriter } from '../wire.ts'
import type { Source, SpanInput } from './order.ts'
import { Closed, encodePayload, parsePayload, type SegmentHead, tabulate } from './payload.ts'

const TRACE = traceIdOf(1)
const SEED = new Uint8Array(32).fill(0xab)
const HEAD: SegmentHead = { tenant: '', traceId: TRACE, segment: 0, closed: Closed.settled, evaluatedAt: 0n }
const FULL: SegmentHead = {
  ...HEAD,
  tenant: 'größe',
  segment: 300,
  closed: Closed.drained,
  evaluatedAt: 7n,
  context: utf8('context'),
  ruleset: SEED,
}
const JUDGEMENT = utf8('judgement')

const w = (): WireWriter => new WireWriter()
const spanBytes = (id = 2) => w().bytes(1, TRACE).bytes(2, spanIdOf(id)).finish()
const sourceBytes = (receipt = 'r') => w().string(1, receipt).bytes(2, SEED).finish()
/** The row of a span: places of its source, resource and scope, its index, its bytes. */
function row(
  source: number,
  index: number,
  resource: number,
  scope: number,
  bytes = spanBytes(),
): Uint8Array {
  const out = w()
  for (const [at, value] of [source, index, resource, scope].entries())
    if (value !== 0) out.varint(at + 1, value)
  return out.bytes(5, bytes).finish()
}

/** Everything about a span that its bytes in the payload determine. */
function told(spans: readonly SpanInput[]) {
  const sources = [...new Set(spans.map(({ source }) => source))]
  return spans.map((span) => {
    const { source, contexts: _, ...rest } = { ...span, contexts: undefined }
    const { spanStart, spanEnd, resourceStart, resourceEnd, scopeStart, scopeEnd, ...fields } = rest
    const part = (start: number, end: number) =>
      end === 0 ? 'absent' : formatHex(source.body.subarray(start, end))
    return {
      ...fields,
      source: sources.indexOf(source),
      receipt: formatHex(source.receipt),
      seed: formatHex(source.seed),
      span: part(spanStart, spanEnd),
      resource: part(resourceStart, resourceEnd),
      scope: part(scopeStart, scopeEnd),
    }
  })
}

function refused(bytes: Uint8Array): void {
  expect(() => parsePayload(bytes)).toThrow(MalformedError)
}

describe('byte by byte', () => {
  test('a payload of two spans', () => {
    const span = spanBytes()
    const body = concatBytes(utf8('......'), utf8('RES'), utf8('SC'), span, span)
    const source: Source = { receipt: utf8('r'), seed: SEED, body, contexts: new Map() }
    const at = (index: number, start: number, scopeEnd: number): SpanInput => ({
      ...parsePayload(
        w()
          .bytes(1, TRACE)
          .bytes(6, sourceBytes())
          .bytes(9, row(0, 0, 0, 0))
          .finish(),
      ).spans[0]!,
      source,
      index,
      spanStart: start,
      spanEnd: start + span.length,
      resourceStart: 6,
      resourceEnd: 9,
      scopeStart: scopeEnd === 0 ? 0 : 9,
      scopeEnd,
    })
    const bytes = encodePayload(FULL, [at(0, 11, 11), at(200, 11 + span.length, 0)], JUDGEMENT)
    expect(formatHex(bytes)).toBe(
      [
        `0a10${formatHex(TRACE)}`,
        `1207${formatHex(utf8('größe'))}`,
        '18ac02', // 3 segment: 300
        '2002', // 4 closed: drained
        '290700000000000000', // 5 evaluated at
        `32250a01721220${'ab'.repeat(32)}`, // 6 source
        `3a03${formatHex(utf8('RES'))}`,
        `4202${formatHex(utf8('SC'))}`,
        `4a22180120012a1c${formatHex(span)}`, // 9 span: resource row 1, scope row 1
        `4a2310c80118012a1c${formatHex(span)}`, // index 200, no scope
        `5207${formatHex(utf8('context'))}`,
        `5a09${formatHex(utf8('judgement'))}`,
        `6220${'ab'.repeat(32)}`,
      ].join(''),
    )
  })

  test('a parsed one encodes to the same bytes, its ranges pointing into itself', () => {
    const log = new TestLog()
    const spans = [
      ...log.request(1, [
        { id: 1, service: 'a', kind: 2, flags: 0x301, parent: 9 },
        { id: 2, service: 'b', start: 2 ** 40, attributes: { 'governance.action.name': 'x' } },
        { id: 3, service: 'a', parent: 2 },
      ]),
      ...log.request(1, [{ id: 4, service: 'a' }]),
    ]
    const bytes = encodePayload({ ...FULL, traceId: TRACE }, spans, JUDGEMENT)
    const { spans: parsed, judgement, ...head } = parsePayload(bytes)
    expect(formatHex(judgement)).toBe(formatHex(JUDGEMENT))
    const readable = ({ traceId, context, ruleset, ...rest }: SegmentHead) => ({
      ...rest,
      bytes: [traceId, context!, ruleset!].map(formatHex),
    })
    expect(readable(head)).toEqual(readable({ ...FULL, traceId: TRACE }))
    expect(told(parsed)).toEqual(told(spans))
    expect(parsed.every(({ source }) => source.body === bytes)).toBe(true)
    expect(encodePayload(head, parsed, judgement)).toEqual(bytes)
    // One row for each resource and scope of each request, though their bytes are the same.
    const rows = [...new Set(parsed.map(({ resourceStart }) => resourceStart))]
    expect(rows).toHaveLength(3)
  })

  test('an empty resource is another thing than none', () => {
    const bytes = w()
      .bytes(1, TRACE)
      .bytes(6, sourceBytes())
      .bytes(7, new Uint8Array(0))
      .bytes(8, new Uint8Array(0))
      .bytes(9, row(0, 0, 1, 1))
      .bytes(9, row(0, 1, 0, 0, spanBytes(3)))
      .finish()
    const { spans } = parsePayload(bytes)
    expect(told(spans).map(({ resource, scope }) => [resource, scope])).toEqual([
      ['', ''],
      ['absent', 'absent'],
    ])
  })
})

test('sources, resources and scopes are numbered as they first come, of few spans and of many', () => {
  const sources = Array.from({ length: 5 }, () => ({}) as Source)
  const spanOf = fc.record({
    source: fc.constantFrom(...sources),
    resource: fc.nat(3),
    scope: fc.nat(3),
  })
  fc.assert(
    fc.property(fc.array(spanOf, { maxLength: 60, size: 'max' }), (given) => {
      const spans = given.map(({ source, resource, scope }) => ({
        source,
        // 0 is absent: a range that is there may begin at 0 as well, and ends behind it.
        resourceStart: Math.max(0, resource - 1) * 10,
        resourceEnd: resource === 0 ? 0 : resource * 10,
        scopeStart: Math.max(0, scope - 1) * 10,
        scopeEnd: scope === 0 ? 0 : scope * 10,
      })) as SpanInput[]
      const keys: string[][] = [[], [], []]
      const numbered = given.map(({ source, resource, scope }) => {
        const from = sources.indexOf(source)
        return [
          `${from}`,
          resource === 0 ? '' : `${from} ${resource}`,
          scope === 0 ? '' : `${from} ${scope}`,
        ].map((key, column) => {
          if (key === '') return 0
          const known = keys[column]!
          if (!known.includes(key)) known.push(key)
          return known.indexOf(key) + (column === 0 ? 0 : 1)
        })
      })
      expect([...tabulate(spans).subarray(0, given.length * 3)]).toEqual(numbered.flat())
    }),
    { seed: 20261127, numRuns: 300 },
  )
})

describe('refused', () => {
  const good = (): WireWriter =>
    w()
      .bytes(1, TRACE)
      .bytes(6, sourceBytes())
      .bytes(9, row(0, 0, 0, 0))
  const head = (): WireWriter => w().bytes(1, TRACE)

  test('the pattern is good', () => {
    expect(parsePayload(good().finish()).spans).toHaveLength(1)
  })

  test.each<[string, WireWriter]>([
    ['nothing at all', w()],
    [
      'no trace id',
      w()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 0, 0)),
    ],
    ['a trace id of 15 bytes', w().bytes(1, TRACE.subarray(1))],
    ['the trace id twice', head().bytes(1, TRACE)],
    ['an empty tenant', head().string(2, '')],
    ['a tenant of 256 bytes', head().string(2, 't'.repeat(256))],
    ['a tenant that is no UTF-8', head().bytes(2, parseHex('ff'))],
    ['segment 0 in words', head().varint(3, 0)],
    ['a segment of 33 bits', head().varint(3, 2 ** 32)],
    ['closed 0 in words', head().varint(4, 0)],
    ['closed 3', head().varint(4, 3)],
    ['a time of zero in words', head().fixed64(5, 0n)],
    ['a time as a varint', head().varint(5, 1)],
    ['fields out of order', w().string(2, 't').bytes(1, TRACE)],
    [
      'a span before its source',
      head()
        .bytes(9, row(0, 0, 0, 0))
        .bytes(6, sourceBytes()),
    ],
    ['an unknown field', good().varint(10, 1)],
    ['a source without a seed', head().bytes(6, w().string(1, 'r').finish())],
    [
      'a source without a receipt',
      head()
        .bytes(6, w().bytes(2, SEED).finish())
        .bytes(9, row(0, 0, 0, 0)),
    ],
    ['a seed of 31 bytes', head().bytes(6, w().string(1, 'r').bytes(2, SEED.subarray(1)).finish())],
    ['a source with a field more', head().bytes(6, w().raw(sourceBytes()).bytes(3, SEED).finish())],
    ['a source that nobody uses', head().bytes(6, sourceBytes())],
    [
      'sources in another order than that of their use',
      head()
        .bytes(6, sourceBytes('a'))
        .bytes(6, sourceBytes('b'))
        .bytes(9, row(1, 0, 0, 0))
        .bytes(9, row(0, 0, 0, 0, spanBytes(3))),
    ],
    [
      'a resource that nobody uses',
      head()
        .bytes(6, sourceBytes())
        .string(7, '')
        .bytes(9, row(0, 0, 0, 0)),
    ],
    [
      'a scope that nobody uses',
      head()
        .bytes(6, sourceBytes())
        .string(8, '')
        .bytes(9, row(0, 0, 0, 0)),
    ],
    [
      'a source that is not there',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(1, 0, 0, 0)),
    ],
    [
      'a resource that is not there',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 1, 0)),
    ],
    [
      'a scope that is not there',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 0, 1)),
    ],
    ['a span without bytes', head().bytes(6, sourceBytes()).bytes(9, w().varint(2, 1).finish())],
    [
      'a span with a field more',
      head()
        .bytes(6, sourceBytes())
        .bytes(
          9,
          w()
            .raw(row(0, 0, 0, 0))
            .varint(6, 1)
            .finish(),
        ),
    ],
    [
      'a span with index 0 in words',
      head().bytes(6, sourceBytes()).bytes(9, w().varint(2, 0).bytes(5, spanBytes()).finish()),
    ],
    [
      'an index of 33 bits',
      head()
        .bytes(6, sourceBytes())
        .bytes(
          9,
          w()
            .varint(2, 2 ** 32)
            .bytes(5, spanBytes())
            .finish(),
        ),
    ],
    [
      'a span that is no span',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 0, 0, parseHex('0a'))),
    ],
    [
      'a span with a trace id of zeros',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 0, 0, w().bytes(1, new Uint8Array(16)).bytes(2, spanIdOf(1)).finish())),
    ],
    [
      'a span with a span id of zeros',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 0, 0, w().bytes(1, TRACE).bytes(2, spanIdOf(0)).finish())),
    ],
    [
      'a span with a parent id of 7 bytes',
      head()
        .bytes(6, sourceBytes())
        .bytes(9, row(0, 0, 0, 0, w().raw(spanBytes()).bytes(4, TRACE.subarray(9)).finish())),
    ],
    [
      'a resource of two requests in one row',
      head()
        .bytes(6, sourceBytes('a'))
        .bytes(6, sourceBytes('b'))
        .string(7, '')
        .bytes(9, row(0, 0, 1, 0))
        .bytes(9, row(1, 0, 1, 0, spanBytes(3))),
    ],
    [
      'a scope under two resources',
      head()
        .bytes(6, sourceBytes())
        .string(7, '')
        .string(7, '')
        .string(8, '')
        .bytes(9, row(0, 0, 1, 1))
        .bytes(9, row(0, 1, 2, 1, spanBytes(3))),
    ],
    [
      'a scope under a resource and under none',
      head()
        .bytes(6, sourceBytes())
        .string(7, '')
        .string(8, '')
        .bytes(9, row(0, 0, 1, 1))
        .bytes(9, row(0, 1, 0, 1, spanBytes(3))),
    ],
  ])('%s', (_, out) => {
    refused(out.finish())
  })

  test('every cut, and every change of a byte that does not say something else', () => {
    const log = new TestLog()
    const spans = log.request(1, [
      { id: 1, attributes: { 'governance.action.name': 'x' } },
      { id: 2, parent: 1 },
    ])
    const bytes = new Uint8Array(encodePayload(FULL, spans, JUDGEMENT))
    const same = JSON.stringify(told(parsePayload(bytes).spans))
    for (let cut = 0; cut < bytes.length; cut++) {
      let parsed: readonly SpanInput[] = []
      try {
        parsed = parsePayload(bytes.slice(0, cut)).spans
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error
      }
      // Context and judgement come last; both belong to the seal.
      expect(parsed.length < spans.length || cut >= bytes.length - 54).toBe(true)
    }
    let headers = 0
    for (let at = 0; at < bytes.length; at++)
      for (const bit of [1, 2, 4, 8, 16, 32, 64, 128]) {
        const changed = bytes.slice()
        changed[at]! ^= bit
        try {
          const parsed = parsePayload(changed)
          expect(formatHex(encodePayload(parsed, parsed.spans, parsed.judgement))).toBe(formatHex(changed))
          if (JSON.stringify(told(parsed.spans)) === same) headers++ // trace id, tenant, segment, closed, time, context, judgement
        } catch (error) {
          if (!(error instanceof MalformedError)) throw error
        }
      }
    expect(headers).toBeLessThan(8 * (18 + 9 + 3 + 2 + 9 + 9 + 11 + 34))
  })
})
