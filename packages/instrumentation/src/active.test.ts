import { context as contexts, createContextKey, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { afterEach, expect, test } from 'vitest'
import { activeContext, activeSpan, askOwn } from './active.ts'
import { contextManager } from './context-manager.ts'

const A = ROOT_CONTEXT.setValue(createContextKey('a'), 1)
const span = trace.wrapSpanContext({ traceId: '1'.repeat(32), spanId: '1'.repeat(16), traceFlags: 1 })

afterEach(() => contexts.disable())

/** Whether what is active is what the API says. */
function expectAsTheApi(): void {
  expect(activeContext()).toBe(contexts.active())
  contexts.with(trace.setSpan(A, span), () => {
    expect(activeContext()).toBe(contexts.active())
    expect(activeSpan()).toBe(trace.getActiveSpan())
  })
  expect(activeSpan()).toBeUndefined()
}

test('the active context is that of the API, without a manager, with ours, and with another in its place', () => {
  expectAsTheApi()
  const ours = contextManager().enable()
  contexts.setGlobalContextManager(ours)
  askOwn(ours)
  expectAsTheApi()
  ours.with(trace.setSpan(A, span), () => expect(activeSpan()).toBe(span))
  contexts.disable()
  expectAsTheApi()
  contexts.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  expectAsTheApi()
  ours.with(A, () => expect(activeContext()).toBe(ROOT_CONTEXT))
})

test('a manager of ours that the API does not ask is not asked', () => {
  contexts.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  const ours = contextManager().enable()
  askOwn(ours)
  ours.with(A, () => expect(activeContext()).toBe(ROOT_CONTEXT))
  expectAsTheApi()
})
