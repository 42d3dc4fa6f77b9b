import { createHash } from 'node:crypto'
import { context, type Span, SpanKind, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AlwaysOffSampler,
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import fc from 'fast-check'
import { afterAll, beforeEach, expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { SUPPRESS_TRACING } from './delivery/send.ts'
import { beginAsk } from './hooks/http/asks.ts'
import { MAX_EVENTS, MAX_GROUPS } from './ledger.ts'
import { createLog } from './log.ts'
import { RootspanSpanProcessor } from './processor.ts'
import { createRuntime, type Runtime } from './runtime.ts'
import { rootspanSampler } from './sampler.ts'

/** Longer than the values of the SDK's own limits here. */
const LIMIT = 200

let exporter: InMemorySpanExporter
let runtime: Runtime

beforeEach(() => {
  trace.disable()
  context.disable()
  exporter = new InMemorySpanExporter()
  const config = readConfig({ ROOTSPAN_FINGERPRINT_KEY: 'sixteen bytes and more' })
  runtime = createRuntime(config, createLog('silent'))
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  trace.setGlobalTracerProvider(
    new TracerProvider({
      sampler: rootspanSampler(new AlwaysOffSampler(), runtime) as AlwaysOffSampler,
      spanLimits: { attributeValueLengthLimit: LIMIT },
      spanProcessors: [new RootspanSpanProcessor(runtime), new SimpleSpanProcessor({ exporter })],
    }),
  )
})

afterAll(() => {
  trace.disable()
  context.disable()
})

const tracer = () => trace.getTracer('test')

function inSpan(name: string, kind: SpanKind, fn: () => void, attributes = {}): void {
  tracer().startActiveSpan(name, { kind, attributes }, (span: Span) => {
    fn()
    span.end()
  })
}

/** Finished spans by name. */
function finished(name: string) {
  const [span] = exporter.getFinishedSpans().filter((one) => one.name === name)
  if (span === undefined) throw new Error(`no span ${name}`)
  return span
}

const TOKEN = { token: 'a.b.c', type: 'jwt', subject: 'alice', verification: 'verified' } as const
const POST = {
  'http.request.method': 'POST',
  'url.full': 'http://pay.example.com/x?key=1',
  'server.address': 'pay.example.com',
}

test('an artifact without token or id, such as a password, is told by whom it stands for', () => {
  const alice = { type: 'password', method: 'local', subject: 'alice', verification: 'verified' } as const
  inSpan('root', SpanKind.SERVER, () => {
    runtime.recorder.authorization(alice)
    runtime.recorder.authorization(alice)
    runtime.recorder.authorization({ type: 'password', method: 'local', verification: 'verified' })
    inSpan('pay', SpanKind.CLIENT, () => {}, POST)
  })
  expect(finished('root').events).toHaveLength(2)
  expect(finished('pay').events.map(({ attributes }) => attributes)).toEqual([
    {
      'governance.authorization.inherited': true,
      'governance.authorization.type': 'password',
      'governance.authorization.subject': runtime.secrets.fingerprint('alice'),
      'governance.authorization.verification': 'verified',
    },
  ])
})

test('what one sibling verified and decided is in force for the next', () => {
  let id = ''
  inSpan('root', SpanKind.SERVER, () => {
    inSpan('middleware', SpanKind.INTERNAL, () => runtime.recorder.authorization(TOKEN))
    inSpan('guard', SpanKind.INTERNAL, () => {
      id = runtime.recorder.decision({ outcome: 'allow', engine: 'casbin', action: 'pay' })
    })
    inSpan('pay', SpanKind.CLIENT, () => {}, POST)
  })
  const fingerprint = runtime.secrets.fingerprint('a.b.c')
  expect(finished('guard').events.map(({ name }) => name)).toEqual([
    'governance.authorization',
    'governance.decision',
  ])
  expect(finished('guard').events[1]!.attributes).toEqual({
    'governance.decision.id': id,
    'governance.decision.outcome': 'allow',
    'governance.decision.engine.name': 'casbin',
    'governance.decision.action.name': 'pay',
    'governance.authorization.fingerprint': fingerprint,
  })
  expect(finished('pay').attributes).toMatchObject({
    'governance.record.kind': 'action',
    'governance.action.name': 'POST pay.example.com',
    'governance.decision.id': id,
  })
  expect(finished('pay').events[0]!.attributes).toMatchObject({
    'governance.authorization.inherited': true,
    'governance.authorization.fingerprint': fingerprint,
  })
})

test('with two decisions it is not certain on which an action relies, and none is named', () => {
  inSpan('root', SpanKind.SERVER, () => {
    runtime.recorder.decision({ outcome: 'allow' })
    runtime.recorder.decision({ outcome: 'deny' })
    inSpan('pay', SpanKind.CLIENT, () => {}, POST)
  })
  expect(finished('pay').attributes['governance.decision.id']).toBeUndefined()
})

test('neither another request nor an artifact that failed is in force', () => {
  inSpan('first', SpanKind.SERVER, () => runtime.recorder.authorization(TOKEN))
  inSpan('second', SpanKind.SERVER, () => {
    runtime.recorder.authorization({ ...TOKEN, token: 'x', verification: 'failed' })
    inSpan('pay', SpanKind.CLIENT, () => {}, POST)
  })
  expect(finished('pay').events).toEqual([])
})

test.each([
  ['by its token', { token: 'a.b.c', id: 'elsewhere' }, []],
  ['by its id, where nothing else is known', { id: 'token-1' }, []],
  ['but not another', { token: 'x.y.z', id: 'token-1' }, ['governance.authorization']],
])('an artifact that is revoked is no longer in force, %s', (_, artifact, expected) => {
  inSpan('root', SpanKind.SERVER, () => {
    runtime.recorder.authorization({ ...TOKEN, id: 'token-1' })
    runtime.recorder.authorization({ ...artifact, verification: 'failed', status: 'revoked' })
    inSpan('pay', SpanKind.CLIENT, () => {}, POST)
  })
  expect(finished('root').events).toHaveLength(2)
  expect(finished('pay').events.map(({ name }) => name)).toEqual(expected)
})

test('what came into force while an action ran is on it at its end, beside events of its own', () => {
  const tool = { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'pay' }
  inSpan('root', SpanKind.SERVER, () => {
    const work = () => {
      trace.getActiveSpan()?.addEvent('own')
      inSpan('check', SpanKind.INTERNAL, () => runtime.recorder.authorization(TOKEN))
    }
    inSpan('execute_tool pay', SpanKind.INTERNAL, work, tool)
  })
  const { events, attributes } = finished('execute_tool pay')
  expect(attributes['governance.emitter.seq']).toBeTypeOf('number')
  expect(
    events.map(({ name, attributes }) => [name, attributes?.['governance.authorization.inherited']]),
  ).toEqual([
    ['own', undefined],
    ['governance.authorization', true],
  ])
})

test('a token and its verification in one go are what they are one after the other', () => {
  const check = { type: 'credential', result: 'pass', method: 'test.verify', token: TOKEN.token } as const
  const { recorder } = runtime
  const token = recorder.prepareToken({ authorization: TOKEN, verification: check })
  const fill = (count: number) => {
    for (let at = 0; at < count; at++)
      recorder.transition({ type: 'state', to: `state ${at}`, trigger: 'test' })
  }
  const ways = {
    together: () => recorder.verified(token),
    apart: () => {
      recorder.authorization(TOKEN)
      recorder.verification(check)
    },
  }
  const said = Object.entries(ways).map(([way, record]) =>
    [0, MAX_EVENTS - 1, MAX_EVENTS].map((before) => {
      const name = `${way} after ${before}`
      inSpan(name, SpanKind.SERVER, () => {
        fill(before)
        record()
        record()
        recorder.decision({ id: 'd', outcome: 'allow' })
      })
      const { events, attributes } = finished(name)
      const { 'governance.truncated.facts': omitted } = attributes
      return [omitted, events.map((event) => [event.name, event.attributes])]
    }),
  )
  expect(said[0]).toEqual(said[1])
  const [omitted, events] = said[0]![0]!
  expect(omitted).toBeUndefined()
  expect((events as unknown[][]).map(([name]) => name)).toEqual([
    'governance.authorization',
    'governance.verification',
    'governance.verification',
    'governance.decision',
  ])
})

test('tokens in one go are what they are one after the other, whatever came before and on which span', () => {
  const { recorder } = runtime
  const other = { token: 'd.e.f', type: 'jwt', subject: 'bob' } as const
  const check = { type: 'credential', result: 'pass', method: 'test.verify' } as const
  const tokens = (
    [
      TOKEN,
      { ...other, verification: 'verified' },
      { ...other, verification: 'unverified' },
      { ...TOKEN, verification: 'verified', status: 'expired' },
      { ...TOKEN, verification: 'verified', status: 'revoked' },
      { ...other, verification: 'failed', status: 'revoked' },
      { type: 'password', method: 'local', subject: 'carol', verification: 'verified' },
      { type: 'opaque', verification: 'verified' },
      undefined,
    ] as const
  ).map((authorization) => ({
    authorization,
    prepared: recorder.prepareToken({ authorization, verification: check }),
  }))
  const steps = fc.array(fc.tuple(fc.nat(tokens.length - 1), fc.constantFrom('root', 'inner', 'pay')))
  const saidBy = (record: (token: (typeof tokens)[number]) => void, of: readonly [number, string][]) => {
    exporter.reset()
    inSpan('root', SpanKind.SERVER, () => {
      for (const [at, where] of of) {
        const use = () => record(tokens[at]!)
        if (where === 'root') use()
        else if (where === 'inner') inSpan('inner', SpanKind.INTERNAL, use)
        else inSpan('pay', SpanKind.CLIENT, use, POST)
      }
      recorder.decision({ id: 'd', outcome: 'allow' })
    })
    return exporter
      .getFinishedSpans()
      .filter(({ name }) => name !== 'governance.hello')
      .map(({ name, events }) => [name, events.map((event) => [event.name, event.attributes])])
  }
  fc.assert(
    fc.property(steps, (of) => {
      const together = saidBy(({ prepared }) => recorder.verified(prepared), of)
      const apart = saidBy(({ authorization }) => {
        if (authorization !== undefined) recorder.authorization(authorization)
        recorder.verification(check)
      }, of)
      expect(together).toEqual(apart)
    }),
    { numRuns: 300 },
  )
})

test('without a span that records, a short one of our own carries the fact', () => {
  runtime.recorder.decision({ outcome: 'deny' })
  expect(finished('governance.decision').events[0]!.attributes).toMatchObject({
    'governance.decision.outcome': 'deny',
  })
})

test('decisions beyond the bound are aggregated, and kinds beyond that are counted', () => {
  inSpan('root', SpanKind.SERVER, () => {
    for (let at = 0; at < MAX_EVENTS; at++) runtime.recorder.decision({ outcome: 'allow' })
    for (let at = 0; at < 1000; at++) runtime.recorder.decision({ outcome: 'deny' })
    for (let at = 0; at < MAX_GROUPS; at++) runtime.recorder.decision({ outcome: 'allow', action: `a${at}` })
  })
  const { events, attributes, droppedEventsCount } = finished('root')
  expect(droppedEventsCount).toBe(0)
  expect(events).toHaveLength(MAX_EVENTS + MAX_GROUPS)
  expect(events[MAX_EVENTS]!.attributes).toMatchObject({
    'governance.decision.outcome': 'deny',
    'governance.decision.count': 1000,
  })
  expect(attributes?.['governance.truncated.facts']).toBe(1)
})

test('repeated decisions give one event for all that are alike', () => {
  inSpan('root', SpanKind.SERVER, () => {
    for (let at = 0; at < 1000; at++)
      runtime.recorder.repeatedDecision({ outcome: at % 10 === 0 ? 'deny' : 'allow', engine: 'casl' })
  })
  const counts = finished('root').events.map(({ attributes }) => attributes?.['governance.decision.count'])
  expect(counts).toEqual([100, 900])
})

test('of decisions that are alike, one input is said only where it cannot have been another', () => {
  const inputs: Record<string, (at: number) => unknown> = {
    text: () => 'orders',
    texts: () => ['alice', 'orders'],
    object: () => order,
    objects: () => ['alice', order],
    list: () => list,
  }
  const order = { id: 0 }
  const list = [0]
  for (const [name, inputOf] of Object.entries(inputs))
    inSpan(name, SpanKind.SERVER, () => {
      for (let at = 0; at < 2; at++) {
        order.id = at
        list[0] = at
        runtime.recorder.repeatedDecision({ outcome: 'allow', engine: 'casbin', input: inputOf(at) })
      }
    })
  const said = Object.keys(inputs).map((name) => {
    const { attributes = {} } = finished(name).events[0]!
    expect(attributes['governance.decision.count']).toBe(2)
    return attributes['governance.decision.input.commitment'] !== undefined
  })
  expect(said).toEqual([true, true, false, false, false])
})

test('a decision is compared with what others were when they were recorded', () => {
  const { recorder } = runtime
  inSpan('root', SpanKind.SERVER, () => {
    const fact = { outcome: 'allow' as 'allow' | 'deny', engine: 'ours', ruleIds: ['a'] }
    const record = (change: Partial<typeof fact>): void => {
      Object.assign(fact, change)
      recorder.repeatedDecision(fact)
    }
    record({})
    record({})
    record({ outcome: 'deny' })
    fact.ruleIds[0] = 'b'
    record({})
    recorder.repeatedDecision({ outcome: 'deny', engine: 'ours', ruleIds: 5 as never })
    for (const input of [{ order: 1 }, { order: 1 }])
      recorder.repeatedDecision({ outcome: 'allow', ...recorder.asked({ engine: 'opa', input }) })
  })
  const said = finished('root').events.map(({ attributes = {} }) => [
    attributes['governance.decision.outcome'],
    attributes['governance.decision.rule.ids'],
    attributes['governance.decision.count'],
    attributes['governance.decision.input.commitment'] !== undefined,
  ])
  expect(said).toEqual([
    ['allow', ['a'], 2, false],
    ['deny', ['a'], 1, false],
    ['deny', ['b'], 1, false],
    ['deny', ['5'], 1, false],
    ['allow', undefined, 2, true],
  ])
})

test('what an engine was asked is what it was at the call', () => {
  const { recorder } = runtime
  inSpan('root', SpanKind.SERVER, () => {
    const input = { order: 1 }
    const [asked, large] = [input, { text: 'x'.repeat(1 << 22) }].map((one) =>
      recorder.asked({ engine: 'opa', input: one }),
    )
    input.order = 2
    recorder.decision({ ...asked, outcome: 'allow' })
    recorder.decision({ outcome: 'allow', engine: 'opa', input: { order: 1 } })
    recorder.decision({ ...large, outcome: 'allow' })
    recorder.decision({ ...recorder.asked({ engine: 'opa', input: null }), outcome: 'allow' })
  })
  const [first, same, cut, none] = finished('root').events.map(({ attributes = {} }) => attributes)
  for (const absent of [`governance.decision.input.commitment`, 'governance.truncated.values'])
    expect(none![absent]).toBeUndefined()
  const name = 'governance.decision.input.commitment'
  expect(first![name]).toMatch(/^hmac-sha256:/)
  expect(first![name]).toBe(same![name])
  expect([cut![name], cut!['governance.truncated.values']]).toEqual([undefined, 1])
})

test.each([
  ['that was for it', true, undefined],
  ['that was for another service', false, 'action'],
  ['whose answer is not known yet', undefined, undefined],
  ['that nobody watches', 'unwatched', 'action'],
])('a request to the path of a policy engine %s', (_, isAsked, kind) => {
  const path = '/v1/data/orders/allow'
  inSpan('root', SpanKind.SERVER, () => {
    const caller = context.active()
    const work = (): void => {
      if (isAsked !== 'unwatched') beginAsk('watch', caller, path).isAsked = isAsked as boolean | undefined
    }
    inSpan('post', SpanKind.CLIENT, work, { ...POST, 'url.full': `http://opa.example.com${path}?x` })
  })
  const { attributes } = finished('post')
  expect(attributes['governance.record.kind']).toBe(kind)
  expect(attributes['governance.action.outcome']).toBe(kind && 'unknown')
})

test('values that the SDK cut are counted, on the span and by the process', () => {
  const long = 'x'.repeat(2 * LIMIT)
  inSpan('root', SpanKind.SERVER, () => {
    const span = trace.getActiveSpan()!
    span.setAttributes({ long, 'gen_ai.input.messages': long, texts: ['short', long], short: 'x' })
    span.addEvent('said', { long })
    runtime.recorder.decision({ outcome: 'allow', reason: 'r'.repeat(LIMIT) })
  })
  inSpan('other', SpanKind.SERVER, () => {})
  runtime.continuity.end('test')
  expect(finished('root').attributes['governance.truncated.values']).toBe(4)
  expect(finished('other').attributes['governance.truncated.values']).toBeUndefined()
  expect(finished('governance.goodbye').attributes['governance.emitter.truncated']).toBe(4)
})

test('facts that had no room, and values of facts that were cut, are counted by the process', () => {
  inSpan('root', SpanKind.SERVER, () => {
    runtime.recorder.decision({ outcome: 'deny', reason: 'r'.repeat(2000), ruleIds: Array(100).fill('r') })
    for (let at = 1; at < MAX_EVENTS + MAX_GROUPS; at++)
      runtime.recorder.decision({
        outcome: 'allow',
        action: `a${at}`,
        reason: 'r'.repeat(at === 80 ? 2000 : 1),
      })
    runtime.recorder.verification({ type: 'credential', result: 'pass' })
    runtime.recorder.decision({ outcome: 'allow', action: 'one more' })
    // Known before the span ends: it may never.
    runtime.continuity.end('test')
  })
  expect(finished('root').attributes['governance.truncated.facts']).toBe(2)
  expect(finished('governance.goodbye').attributes['governance.emitter.truncated']).toBe(2 + 3)
})

test('governed spans are numbered and chained in the order in which they end', () => {
  const request = (): void =>
    inSpan('root', SpanKind.SERVER, () => inSpan('pay', SpanKind.CLIENT, () => {}, POST))
  for (let at = 0; at < 10; at++) request()
  runtime.continuity.end('test')
  const all = exporter.getFinishedSpans()
  const { emitter } = runtime
  expect(all[0]!.spanContext().traceId).toBe(emitter.id)
  // Two spans for each request, the hello before and the goodbye behind them.
  expect(all.slice(0, 3).map(({ name }) => name)).toEqual(['governance.hello', 'pay', 'root'])
  expect(all).toHaveLength(22)
  expect(all.map(({ attributes }) => attributes['governance.emitter.seq'])).toEqual([...all.keys()])
  expect(new Set(all.map(({ attributes }) => attributes['governance.emitter.id']))).toEqual(
    new Set([emitter.id]),
  )
  let link = '0'.repeat(64)
  for (const [number, span] of all.entries()) {
    expect(span.attributes['governance.emitter.prev']).toBe(link)
    const { traceId, spanId } = span.spanContext()
    const text = `rootspan/emitter/v2\n${emitter.id}\n${number}\n${link}\n${traceId}${spanId}\n`
    link = createHash('sha256').update(text).digest('hex')
  }
})

test('where tracing is suppressed a fact has a span of its own; where nothing records it is counted', () => {
  const suppressed = context.active().setValue(SUPPRESS_TRACING, true)
  context.with(suppressed, () => runtime.recorder.decision({ outcome: 'deny' }))
  expect(finished('governance.decision').events).toHaveLength(1)
  expect(runtime.counts.unrecorded).toBe(0)
  trace.disable()
  runtime.recorder.decision({ outcome: 'deny' })
  expect(runtime.counts.unrecorded).toBe(1)
})

test('repeated decisions where tracing is suppressed have a span; where nothing records each is counted', () => {
  const { recorder } = runtime
  const suppressed = context.active().setValue(SUPPRESS_TRACING, true)
  context.with(suppressed, () => recorder.repeatedDecision({ outcome: 'deny', engine: 'casbin' }))
  recorder.repeatedDecision({ outcome: 'deny', engine: 'casbin' })
  recorder.flush()
  expect(finished('governance.decision').events[0]!.attributes).toMatchObject({
    'governance.decision.count': 2,
  })
  expect(runtime.counts.unrecorded).toBe(0)
  trace.disable()
  recorder.repeatedDecision({ outcome: 'deny', engine: 'casbin' })
  recorder.repeatedDecision({ outcome: 'deny', engine: 'casbin' })
  expect(runtime.counts.unrecorded).toBe(2)
})

test('a revocation on the span that has the artifact takes it out of force, whatever else was said of it', () => {
  const { recorder } = runtime
  inSpan('root', SpanKind.SERVER, () => {
    recorder.authorization(TOKEN)
    recorder.authorization({ ...TOKEN, verification: 'unverified' })
    recorder.authorization({ ...TOKEN, verification: 'unverified', status: 'revoked' })
    inSpan('pay', SpanKind.CLIENT, () => {}, POST)
  })
  const said = finished('root').events.map(({ attributes = {} }) => [
    attributes['governance.authorization.verification'],
    attributes['governance.authorization.status'],
  ])
  expect(said).toEqual([
    ['verified', undefined],
    ['unverified', undefined],
    ['unverified', 'revoked'],
  ])
  expect(finished('pay').events).toEqual([])
})

test('a fact of which a part cannot be read is recorded without it, and says so', () => {
  const fact = {
    outcome: 'deny',
    engine: 'own',
    get reason(): string {
      throw new Error('odd')
    },
  } as const
  inSpan('root', SpanKind.SERVER, () => runtime.recorder.decision(fact))
  expect(finished('root').events[0]!.attributes).toMatchObject({
    'governance.decision.outcome': 'deny',
    'governance.decision.engine.name': 'own',
    'governance.truncated.values': 1,
  })
})

test('prepared facts give the same events as those that are not', () => {
  const { recorder } = runtime
  const token = { ...TOKEN, scope: ['a', 'b'] } as const
  const check = { type: 'credential', result: 'pass', checks: ['signature'] } as const
  const decision = { outcome: 'allow', engine: 'casbin', action: 'pay' } as const
  const other = { ...decision, resourceId: 'other' }
  const all = {
    plain: [decision, other],
    prepared: [recorder.prepareDecision(decision), recorder.prepareDecision(other)],
  } as const
  const prepared = recorder.prepareToken({ authorization: token, verification: check })
  const bodies = Object.entries(all).map(([name, [first, second]]) => {
    // The second time what was prepared is there as bytes.
    for (const time of [1, 2])
      inSpan(`${name} ${time}`, SpanKind.SERVER, () => {
        if (name === 'prepared') recorder.verified(prepared)
        else {
          recorder.authorization(token)
          recorder.verification(check)
        }
        recorder.repeatedDecision(first)
        recorder.repeatedDecision(first)
        recorder.repeatedDecision(second)
        inSpan(`pay ${name} ${time}`, SpanKind.CLIENT, () => {}, POST)
      })
    return [1, 2].flatMap((time) =>
      [`${name} ${time}`, `pay ${name} ${time}`].map((one) => {
        const { events } = finished(one)
        // Ids differ, and times may; the encoder is given what the SDK's own is given in encode.test.ts.
        return events.map(({ name: kind, attributes = {} }) => ({
          kind,
          attributes: {
            ...attributes,
            'governance.decision.id': typeof attributes['governance.decision.id'],
          },
        }))
      }),
    )
  })
  expect(bodies[1]).toEqual(bodies[0])
  expect(bodies[0]!.map((events) => events.length)).toEqual([3, 1, 3, 1])
})

test('neither limits of the SDK nor its spans’ own events cut facts', () => {
  trace.disable()
  trace.setGlobalTracerProvider(
    new TracerProvider({
      sampler: rootspanSampler(new AlwaysOffSampler(), runtime) as AlwaysOffSampler,
      spanProcessors: [new RootspanSpanProcessor(runtime), new SimpleSpanProcessor({ exporter })],
      spanLimits: { attributeCountLimit: 3, attributeValueLengthLimit: 5, eventCountLimit: 1 },
    }),
  )
  inSpan('root', SpanKind.SERVER, () => {
    expect(runtime.emitter.open).toBe(1)
    runtime.recorder.decision({ outcome: 'allow', policyId: 'longer than five' })
    for (let at = 0; at < 3; at++) trace.getActiveSpan()!.addEvent('of the application')
    trace.getActiveSpan()!.setAttributes({ a: 1, b: 2, c: 3 })
  })
  expect(runtime.emitter.open).toBe(0)
  const { events, attributes } = finished('root')
  expect(events.map(({ name }) => name)).toEqual(['of the application', 'governance.decision'])
  expect(events[1]!.attributes).toMatchObject({ 'governance.policy.id': 'longer than five' })
  expect(attributes).toMatchObject({
    a: 1,
    b: 2,
    'governance.execution.kind': 'request',
    'governance.emitter.id': runtime.emitter.id,
  })
  // What the application itself lost is counted.
  expect(runtime.counts).toMatchObject({ droppedAttributes: 1, droppedEvents: 2 })
})

test('what is kept for a span is not seen on it', () => {
  inSpan('root', SpanKind.SERVER, () => {
    const span = trace.getActiveSpan()!
    runtime.recorder.decision({ outcome: 'allow' })
    const own = Reflect.ownKeys(span)
    expect(own).not.toContain('end')
    expect(own.filter((key) => typeof key === 'symbol')).toEqual([])
  })
  expect(finished('root').events).toHaveLength(1)
})

test('odd values neither throw nor leak', () => {
  const cyclic: Record<string, unknown> = { toString: () => expect.fail() }
  cyclic.self = cyclic
  const hostile = new Proxy({}, { ownKeys: () => expect.fail('read'), get: () => expect.fail('read') })
  inSpan('root', SpanKind.SERVER, () => {
    runtime.recorder.decision({
      outcome: 'allow',
      input: cyclic,
      output: hostile,
      subject: cyclic as never,
      policyId: 'p'.repeat(5000),
      ruleIds: hostile as never,
    })
  })
  const [event] = finished('root').events
  expect(event!.attributes).toMatchObject({
    'governance.decision.outcome': 'allow',
    'governance.decision.input.commitment': expect.stringMatching(/^hmac-sha256:[0-9a-f]{64}$/),
    'governance.truncated.values': expect.any(Number),
  })
  expect(event!.attributes?.['governance.policy.id']).toHaveLength(1025)
  expect(event!.attributes?.['governance.decision.subject.id']).toBeUndefined()
})
