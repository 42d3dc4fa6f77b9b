import {
  type Context,
  createContextKey,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import { AlwaysOffSampler, AlwaysOnSampler, ParentBasedSampler } from '@opentelemetry/sdk-trace'
import { expect, test } from 'vitest'
import { belowSampled, type Sampler } from './sampler.ts'

const TRACE = 'a'.repeat(32)

/** Contexts with each kind of parent, and without one. */
function* contexts(): Generator<Context> {
  yield ROOT_CONTEXT
  yield ROOT_CONTEXT.setValue(createContextKey('x'), 1)
  for (const isRemote of [undefined, false, true])
    for (const traceFlags of [TraceFlags.NONE, TraceFlags.SAMPLED]) {
      const parent: SpanContext = {
        traceId: TRACE,
        spanId: 'b'.repeat(16),
        traceFlags,
        ...(isRemote !== undefined && { isRemote }),
      }
      yield trace.setSpanContext(ROOT_CONTEXT, parent)
    }
}

test.each([
  ['always on', new AlwaysOnSampler()],
  ['always off', new AlwaysOffSampler()],
])('a parent-based sampler over %s answers as it does by itself', (_, root) => {
  const sampler = new ParentBasedSampler({ root }) as unknown as Sampler
  let asked = 0
  const counted: Sampler = {
    shouldSample(...of) {
      asked++
      return sampler.shouldSample(...of)
    },
    toString: () => String(sampler),
  }
  const quick = belowSampled(counted)
  let count = 0
  for (const context of contexts()) {
    const of = [context, TRACE, 'name', SpanKind.INTERNAL, {}, []] as Parameters<Sampler['shouldSample']>
    expect(quick.shouldSample(...of)).toEqual(sampler.shouldSample(...of))
    count++
  }
  // Two were below a sampled span of this process.
  expect([count, asked]).toEqual([8, 6])
  expect(String(quick)).toBe(String(sampler))
})
