/** Ours against the SDK's own serializer: the same bytes for the same spans. */
import { createRequire } from 'node:module'
import { type SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FactEvent, SharedAttributes } from '../fact-event.ts'
import { createLog } from '../log.ts'
import { encodeSpan } from './encode.ts'
import { createPack, encodeSpans } from './request.ts'
import type { ReadableSpan } from './span.ts'

const pack = createPack(createLog('silent'))

const exporter = createRequire(import.meta.url).resolve('@opentelemetry/exporter-trace-otlp-proto')
const { ProtobufTraceSerializer } = createRequire(exporter)('@opentelemetry/otlp-transformer') as {
  ProtobufTraceSerializer: { serializeRequest(spans: readonly ReadableSpan[]): Uint8Array }
}

const hex = (digits: number): fc.Arbitrary<string> =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'), { minLength: digits, maxLength: digits })
    .map((all) => all.join(''))

/** ASCII of lengths on both sides of every bound, and anything else. */
const text = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 120 }),
)

const number = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }),
  fc.constantFrom(0, 127, 128, 16_383, 16_384, 2 ** 53, 2 ** 63, -(2 ** 63), -1, Number.NaN),
)

const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    text,
    fc.boolean(),
    number,
    fc.uint8Array({ maxLength: 40 }),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(text, tie('value'), { maxKeys: 4 }),
  ),
}))

const attributes = fc.dictionary(text, value, { maxKeys: 6 }) as fc.Arbitrary<Record<string, string>>
const count = fc.nat({ max: 300 })
const time = fc.tuple(fc.nat({ max: 4_000_000_000 }), fc.nat({ max: 999_999_999 }))

const spanContext = fc.record({
  traceId: hex(32),
  spanId: hex(16),
  traceFlags: fc.constantFrom(TraceFlags.NONE, TraceFlags.SAMPLED, 0xff),
  isRemote: fc.boolean(),
  traceState: fc.option(
    text.map((one) => ({ serialize: () => one }) as never),
    { nil: undefined },
  ),
})

const places = fc
  .tuple(
    fc.array(fc.record({ attributes, schemaUrl: fc.option(text, { nil: undefined }) }), {
      minLength: 1,
      maxLength: 2,
    }),
    fc.array(
      fc.record({
        name: text,
        version: fc.option(text, { nil: undefined }),
        schemaUrl: fc.option(text, { nil: undefined }),
      }),
      { minLength: 1, maxLength: 3 },
    ),
  )
  .map(([resources, scopes]) => ({ resources, scopes }))

const spans = places.chain(({ resources, scopes }) =>
  fc.array(
    fc
      .record({
        name: text,
        kind: fc.constantFrom(...[0, 1, 2, 3, 4]) as fc.Arbitrary<SpanKind>,
        parentSpanContext: fc.option(spanContext, { nil: undefined }),
        startTime: time,
        endTime: time,
        status: fc.record({
          code: fc.constantFrom(SpanStatusCode.UNSET, SpanStatusCode.OK, SpanStatusCode.ERROR),
          message: fc.option(text, { nil: undefined }),
        }),
        attributes,
        links: fc.array(fc.record({ context: spanContext, attributes, droppedAttributesCount: count }), {
          maxLength: 2,
        }),
        events: fc.array(fc.record({ name: text, time, attributes, droppedAttributesCount: count }), {
          maxLength: 3,
        }),
        resource: fc.constantFrom(...resources),
        instrumentationScope: fc.constantFrom(...scopes),
        droppedAttributesCount: count,
        droppedEventsCount: count,
        droppedLinksCount: count,
        context: spanContext,
      })
      .map(({ context, ...span }) => ({ ...span, spanContext: () => context }) as unknown as ReadableSpan),
    { maxLength: 6 },
  ),
)

test('the same bytes as the SDK’s own exporter sends', () => {
  fc.assert(
    fc.property(spans, (some) => {
      const expected = Buffer.from(ProtobufTraceSerializer.serializeRequest(some)).toString('hex')
      expect(Buffer.from(encodeSpans(some)).toString('hex')).toBe(expected)
      expect(Buffer.from(encodeSpans(some.map(pack))).toString('hex')).toBe(expected)
    }),
    { numRuns: 500 },
  )
})

test('spans of one name: the same bytes, whatever they have in common and whichever comes first', () => {
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  const common = {
    'http.route': '/',
    'express.type': 'middleware',
    large: 'x'.repeat(700),
    also: 'y'.repeat(700),
  }
  const of = (name: string, attributes: object): ReadableSpan => ({
    ...one!,
    name,
    attributes: attributes as never,
  })
  const some = [
    ...[1, 2, 3].map((seq) => of('number last', { ...common, large: 'short', also: 1, seq })),
    ...[1, 2, 3].map((seq) => of('number first', { seq, ...common })),
    ...[{}, common, {}, common].map((attributes) => of('none at first', attributes)),
    ...[common, common, {}, common].map((attributes) => of('none later', attributes)),
    ...[common, common, { ...common, list: ['a'] }].map((attributes) => of('too long to keep', attributes)),
    ...[['a'], ['b']].map((list) => of('another list', { same: 1, also: 2, list, last: true })),
    ...[0, -0, Number.NaN, Number.NaN].map((value) => of('odd numbers', { same: 1, value })),
    ...[1, 2, 3, 3, 2, 2, 3].map((value) => of('in the middle', { a: 1, b: 2, value, c: 3, d: 4 })),
    ...['é', 'x', 'x', 'é'].map((value) => of('at both ends', { value, b: 2, c: 3, also: value })),
    ...[1, 2, 2, 1].map((kind) => ({ ...of('of two kinds', common), kind })),
    ...['x', 'y'].map((type) =>
      of('another order', type === 'x' ? { a: 1, b: 2, c: 3 } : { b: 2, a: 1, c: 3 }),
    ),
  ]
  for (let round = 0; round < 3; round++) {
    const expected = some.map((span) => Buffer.from(ProtobufTraceSerializer.serializeRequest([span])))
    expect(some.map((span) => Buffer.from(encodeSpans([pack(span)])))).toEqual(expected)
    some.reverse()
  }
})

test('many spans of a trace that wait together: the same bytes, across blocks, with what changes on each of them', () => {
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`many.${at}`, at]))
  const idOf = (at: number): string => at.toString(16).padStart(16, '0')
  const some = Array.from({ length: 600 }, (_, at): ReadableSpan => {
    const context = { traceId: idOf(at % 7 === 0 ? 1 : 2).repeat(2), spanId: idOf(at), traceFlags: 1 }
    // Ids of other lengths, and none, come from other SDKs.
    const parents = [idOf(1), idOf(1), idOf(2), 'abcd', '', undefined]
    const parent = parents[(at >> 2) % parents.length]
    const attributes = {
      first: 'a',
      seq: at,
      odd: at % 2,
      text: 'x'.repeat(100),
      ...(at % 3 === 0 && many),
      last: at,
    }
    return {
      ...one!,
      name: ['one', 'two'][at % 2]!,
      attributes,
      parentSpanContext: parent === undefined ? undefined : { ...context, spanId: parent },
      spanContext: () => context,
    } as ReadableSpan
  })
  const expected = Buffer.from(ProtobufTraceSerializer.serializeRequest(some))
  expect(expected.length).toBeGreaterThan(3 * (64 << 10))
  const packed = some.map(pack)
  expect(Buffer.from(encodeSpans(packed)).equals(expected)).toBe(true)
  // They are there for another attempt.
  expect(Buffer.from(encodeSpans(packed)).equals(expected)).toBe(true)
})

test('spans that wait are encoded before many do, and one that cannot be does not keep the others from it', () => {
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  const lines: string[] = []
  const own = createPack({ ...createLog('silent'), failed: (what) => lines.push(what) })
  const some = Array.from({ length: 16 }, (_, at) => ({ ...one!, name: `span ${at}` }))
  some[7] = { ...one!, name: 'x'.repeat(65 << 20) }
  const packed = some.map(own)
  expect(lines).toEqual(['encoding a span'])
  expect(() => encodeSpans(packed)).toThrow('too large')
  const others = some.toSpliced(7, 1)
  const expected = Buffer.from(encodeSpans(others))
  // They are encoded already.
  for (const span of others) span.name = 'later'
  expect(Buffer.from(encodeSpans(packed.toSpliced(7, 1)))).toEqual(expected)
  // One that was sent before, or could not be, is not among those that are encoded together later.
  const large = own({ ...one!, name: 'x'.repeat(65 << 20) })
  expect(() => encodeSpans([large])).toThrow('too large')
  for (let at = 0; at < 32; at++) own(one!)
  expect(lines).toEqual(['encoding a span'])
})

test('a large span takes no more memory once it is gone', () => {
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  const large = encodeSpan({ ...one!, name: 'x'.repeat(3 << 20) })
  const small = encodeSpan(one!)
  expect(large.block.length).toBeGreaterThan(3 << 20)
  expect(small.block.length).toBe(64 << 10)
})

test('events that share attributes: the same bytes the first time and later, alone, and with own ones', () => {
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  const shared = new SharedAttributes({ 'governance.decision.outcome': 'allow', roles: ['a', 'b'] })
  const id = { 'governance.decision.id': 'e-1' }
  const counted = new FactEvent('shared', [1, 2], shared, 'e-2', 'hmac-sha256:1')
  counted.count = 3
  const changed = new FactEvent('changed', [1, 2], shared, 'e-3')
  delete changed.separate().roles
  const replaced = new FactEvent('replaced', [1, 2], shared, 'e-5')
  replaced.attributes = { last: true }
  const events = [
    new FactEvent('shared', [1, 2], shared),
    new FactEvent('shared', [1, 2], shared, 'e-1'),
    counted,
    new FactEvent('nothing shared', [1, 2], id),
    new FactEvent('nothing shared', [1, 2], { roles: ['a'] }, 'e-4', 'hmac-sha256:2'),
    changed,
    replaced,
  ]
  const span = { ...one!, events }
  const plain = { ...one!, events: events.map(({ name, time, attributes }) => ({ name, time, attributes })) }
  const expected = Buffer.from(ProtobufTraceSerializer.serializeRequest([plain])).toString('hex')
  for (let time = 0; time < 3; time++)
    expect(Buffer.from(encodeSpans([pack(span)])).toString('hex')).toBe(expected)
})

test('a request that is larger than any buffer grows it; after one that is too large the next is whole', () => {
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  const large = { ...one!, name: 'x'.repeat(1 << 20) }
  expect(Buffer.from(encodeSpans([large, one!]))).toEqual(
    Buffer.from(ProtobufTraceSerializer.serializeRequest([large, one!])),
  )
  expect(() => encodeSpans([one!, { ...large, name: 'x'.repeat(65 << 20) }])).toThrow('too large')
  expect(Buffer.from(encodeSpans([one!]))).toEqual(
    Buffer.from(ProtobufTraceSerializer.serializeRequest([one!])),
  )
})

test('values without end are cut where they are too deep', () => {
  const endless: Record<string, unknown> = {}
  endless.again = endless
  const [one] = fc.sample(
    spans.filter((some) => some.length > 0),
    1,
  )[0]!
  expect(encodeSpans([{ ...one!, attributes: endless as never }]).length).toBeGreaterThan(32)
})
