import {
  type Attributes,
  type Context,
  diag,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type SpanOptions,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { TracerProvider } from '@opentelemetry/sdk-trace'
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { SUPPRESS_TRACING } from './delivery/send.ts'
import type { ReadableSpan } from './delivery/span.ts'
import { idGenerator } from './ids.ts'
import { NOT_RECORD, RECORD_AND_SAMPLED, type Sampler, type SamplingResult } from './sampler.ts'
import { quicken } from './tracer.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  diag.disable()
})

const RECORD_ONLY = 1

/** Decides by the name of a span, and notes what it was asked. */
class NotingSampler implements Sampler {
  readonly asked: unknown[] = []

  shouldSample(
    ...[, traceId, name, kind, attributes, links]: Parameters<Sampler['shouldSample']>
  ): SamplingResult {
    this.asked.push([traceId, name, kind, { ...attributes }, [...links]])
    if (name === 'off') return { decision: NOT_RECORD }
    if (name === 'recorded') return { decision: RECORD_ONLY }
    if (name === 'said') return { decision: RECORD_AND_SAMPLED, attributes: { 'sampler.said': 'so' } }
    return { decision: RECORD_AND_SAMPLED }
  }
}

interface Provided {
  readonly tracer: Tracer
  /** What processors and sampler were told, in order. */
  readonly told: unknown[]
  readonly sampler: NotingSampler
}

/** Its ids are numbers that go up. */
function provided(isQuick: boolean, spanLimits = {}): Provided {
  const told: unknown[] = []
  const sampler = new NotingSampler()
  let last = 0
  const idOf = (length: number): string => (++last).toString(16).padStart(length, '0')
  const ids = { generateTraceId: () => idOf(32), generateSpanId: () => idOf(16) }
  const noting = (what: string) => (span: unknown, parent?: Context) => {
    const { traceId, spanId } = (span as Span).spanContext()
    told.push([
      what,
      traceId,
      spanId,
      parent && trace.getSpanContext(parent)?.spanId,
      (span as Span).isRecording(),
    ])
  }
  const provider = new TracerProvider({
    sampler: sampler as never,
    idGenerator: ids,
    spanLimits,
    spanProcessors: [
      {
        onStart: noting('start'),
        onEnding: noting('ending'),
        onEnd: noting('end'),
        forceFlush: async () => {},
        shutdown: async () => {},
      },
    ],
  })
  if (isQuick) quicken(provider, { sampler, ids })
  const tracer = provider.getTracer('one', '1.2', { schemaUrl: 'https://example.com/schema' })
  return { tracer, told, sampler }
}

/** All that processors and exporters see of a span. */
function seen(span: Span): unknown {
  const { kind, name, attributes, links, events, status, startTime, endTime, parentSpanContext } =
    span as unknown as ReadableSpan
  const { droppedAttributesCount, droppedEventsCount, droppedLinksCount } = span as unknown as ReadableSpan
  const { duration, ended, resource, instrumentationScope } = span as Span & Record<string, unknown>
  return {
    kind,
    name,
    attributes: Object.entries(attributes ?? {}),
    links,
    events,
    status,
    startTime,
    endTime,
    droppedAttributesCount,
    droppedEventsCount,
    droppedLinksCount,
    duration,
    ended,
    parentSpanContext,
    resource: (resource as { attributes?: unknown } | undefined)?.attributes,
    instrumentationScope,
    context: span.spanContext(),
    isRecording: span.isRecording(),
  }
}

const name = fc.constantFrom('a', 'b', 'off', 'recorded', 'said', '')
const plain = fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.integer())
const odd = fc.oneof(
  fc.constantFrom(undefined, null, Number.NaN, 1n, Symbol('s'), () => 1, new Date(0), /x/),
  fc.array(fc.oneof(plain, fc.constant(null))),
  fc.uint8Array({ maxLength: 3 }),
  fc.dictionary(fc.string(), plain, { maxKeys: 3 }),
  fc.constant([[1, ['x']], { a: undefined }]),
)
const key = fc.oneof(fc.constantFrom('k', 'http.route', '', 'constructor', '1'), fc.string({ maxLength: 3 }))
const value = fc.oneof({ weight: 4, arbitrary: plain }, { weight: 1, arbitrary: odd })
const attributes = fc.oneof(
  { weight: 6, arbitrary: fc.dictionary(key, value, { maxKeys: 6 }) },
  { weight: 1, arbitrary: fc.constantFrom(undefined, null, 'text', [1, 'x']) },
  {
    weight: 1,
    arbitrary: fc.dictionary(key, plain).map((own) => Object.assign(Object.create({ above: 1 }), own)),
  },
) as fc.Arbitrary<Attributes>
const time = fc.constantFrom(undefined, 5, 1_700_000_000_000, new Date(1_700_000_000_001), [
  1_700_000_001, 5,
] as never)
const link: fc.Arbitrary<Link> = fc.record({
  context: fc.constant({ traceId: 'a'.repeat(32), spanId: 'b'.repeat(16), traceFlags: TraceFlags.SAMPLED }),
  attributes,
})
const options: fc.Arbitrary<SpanOptions> = fc.record(
  {
    kind: fc.integer({ min: 0, max: 4 }),
    attributes,
    root: fc.boolean(),
    links: fc.oneof(
      { weight: 3, arbitrary: fc.constant([]) },
      { weight: 1, arbitrary: fc.array(link, { maxLength: 3 }) },
    ),
    startTime: time,
  } as never,
  { requiredKeys: [] },
)

/** One call of a span's. */
const call = fc.oneof(
  fc.tuple(fc.constant('setAttribute'), key, value),
  fc.tuple(
    fc.constant('setAttributes'),
    attributes.filter((one) => typeof one === 'object' && one !== null),
  ),
  fc.tuple(fc.constant('addEvent'), name, fc.oneof(attributes, time), time),
  fc.tuple(fc.constant('addLink'), link),
  fc.tuple(fc.constant('addLinks'), fc.array(link, { maxLength: 3 })),
  fc.tuple(
    fc.constant('setStatus'),
    fc.record({ code: fc.nat({ max: 2 }), message: fc.constantFrom('why', 7) }, { requiredKeys: ['code'] }),
  ),
  fc.tuple(fc.constant('updateName'), name),
  fc.tuple(fc.constant('recordException'), fc.constantFrom(new Error('why'), 'why', {}, { name: 'E' })),
  fc.tuple(fc.constant('end')),
  fc.tuple(fc.constant('end'), time),
) as fc.Arbitrary<[string, ...unknown[]]>

interface Step {
  readonly name: string
  readonly options: SpanOptions
  /** Below which: a number is that of one of the spans before it. */
  readonly place: 'root' | 'remote' | 'suppressed' | 'invalid' | number
  readonly calls: readonly [string, ...unknown[]][]
  /** Milliseconds until it is called. */
  readonly passed: number
}

const step: fc.Arbitrary<Step> = fc.record({
  name,
  options,
  place: fc.oneof(
    fc.constantFrom('root' as const, 'remote' as const, 'suppressed' as const, 'invalid' as const),
    fc.nat({ max: 5 }),
  ),
  calls: fc.array(call, { maxLength: 8 }),
  passed: fc.nat({ max: 3000 }),
})

const REMOTE = {
  traceId: 'c'.repeat(32),
  spanId: 'd'.repeat(16),
  traceFlags: TraceFlags.SAMPLED,
  isRemote: true,
}
const INVALID = { traceId: 'not one', spanId: '', traceFlags: TraceFlags.NONE }

function contextOf(place: Step['place'], spans: readonly Span[]): Context {
  if (place === 'remote') return trace.setSpanContext(ROOT_CONTEXT, REMOTE)
  if (place === 'invalid') return trace.setSpanContext(ROOT_CONTEXT, INVALID)
  if (place === 'suppressed') return ROOT_CONTEXT.setValue(SUPPRESS_TRACING, true)
  const above = place === 'root' ? undefined : spans[place]
  return above === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, above)
}

/** Does it all with a clock that stands still between the steps; gives everything that can be told of it. */
function run({ tracer, told, sampler }: Provided, steps: readonly Step[]): unknown {
  const said: unknown[] = []
  const note = (...what: unknown[]): void => void said.push(what.map(String))
  diag.setLogger({ error: note, warn: note, info: note, debug: note, verbose: note })
  said.length = 0
  vi.useFakeTimers({ now: 1_750_000_000_999, toFake: ['Date'] })
  let millis = 1000
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => millis)
  const pass = (passed: number): void => {
    vi.advanceTimersByTime(passed)
    millis += passed + 0.125
  }
  const spans: Span[] = []
  for (const { name, options, place, calls, passed } of steps) {
    const span = tracer.startSpan(name, options, contextOf(place, spans))
    spans.push(span)
    pass(passed)
    for (const [method, ...args] of calls) {
      Reflect.apply(Reflect.get(span, method) as () => void, span, args)
      pass(7)
    }
  }
  for (const span of spans) if (span.isRecording()) span.end()
  vi.useRealTimers()
  clock.mockRestore()
  diag.disable()
  return { spans: spans.map(seen), told, asked: sampler.asked, said }
}

/** Whether a span was not put together by the SDK's tracer: its prototype is not that of the first. */
function isUsual(first: Span, span: Span): boolean {
  return Object.getPrototypeOf(span) !== Object.getPrototypeOf(first)
}

describe.each([
  ['usual limits', {}, true],
  [
    'few attributes, events and links',
    { attributeCountLimit: 3, eventCountLimit: 2, linkCountLimit: 1 },
    true,
  ],
  ['short values', { attributeValueLengthLimit: 2 }, false],
] as const)('%s', (_, limits, isQuick) => {
  test('spans, and what processors, sampler and diagnostics are told, are those of the SDK', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 2, maxLength: 6 }), (steps) => {
        // What a sampler says is not cut here, and is there.
        const cut = 'attributeCountLimit' in limits ? steps.filter((one) => one.name !== 'said') : steps
        expect(run(provided(true, limits), cut)).toEqual(run(provided(false, limits), cut))
      }),
      { numRuns: 2000 },
    )
  })

  test(`spans are ${isQuick ? 'put together here' : 'all started by the SDK'}`, () => {
    const { tracer } = provided(true, limits)
    const first = tracer.startSpan('a')
    expect(
      isUsual(first, tracer.startSpan('a', { attributes: { a: 'text', b: 1, c: true, d: undefined } })),
    ).toBe(isQuick)
  })
})

test('what is unusual is started by the SDK', () => {
  const { tracer } = provided(true)
  const first = tracer.startSpan('a')
  const usual = tracer.startSpan('a')
  expect(isUsual(first, usual)).toBe(true)
  expect(usual).toBeInstanceOf(first.constructor)
  const link = { context: REMOTE }
  for (const options of [{ attributes: { a: ['x'] } }, { links: [link] }, { root: true }, { startTime: 5 }])
    expect(isUsual(first, tracer.startSpan('a', options))).toBe(false)
})

test('what the sampler says of a span is not cut', () => {
  const { tracer } = provided(true, { attributeCountLimit: 1 })
  const first = tracer.startSpan('a')
  const span = tracer.startSpan('said', { attributes: { a: 1 } })
  expect(isUsual(first, span)).toBe(true)
  expect(span.setAttribute('b', 2)).toMatchObject({
    attributes: { a: 1, 'sampler.said': 'so' },
    droppedAttributesCount: 1,
  })
})

test('a tracer is one and the same for its name, and starts active spans', () => {
  const provider = new TracerProvider({})
  quicken(provider, { sampler: new NotingSampler(), ids: idGenerator() })
  const tracer = provider.getTracer('one')
  expect(provider.getTracer('one')).toBe(tracer)
  expect(provider.getTracer('other')).not.toBe(tracer)
  const first = tracer.startSpan('a')
  const found = tracer.startActiveSpan('b', { kind: SpanKind.CLIENT }, ROOT_CONTEXT, (span) => span)
  expect(isUsual(first, found)).toBe(true)
  expect(found).toMatchObject({ name: 'b', kind: SpanKind.CLIENT })
})

test('a class of spans with other fields is left to the SDK', () => {
  const provider = new TracerProvider({})
  const { getTracer } = provider
  provider.getTracer = function (...named) {
    const tracer = getTracer.apply(this, named)
    const { startSpan } = tracer
    tracer.startSpan = (...args) => Object.assign(startSpan.apply(tracer, args), { _new: 1 })
    return tracer
  }
  quicken(provider, { sampler: new NotingSampler(), ids: idGenerator() })
  const tracer = provider.getTracer('one')
  const first = tracer.startSpan('a')
  for (let times = 0; times < 2; times++) expect(isUsual(first, tracer.startSpan('a'))).toBe(false)
})
