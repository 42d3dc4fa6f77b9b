/**
 * The active context and span. The API looks its context manager up among the globals, and who put it there, each time that
 * it is asked; while that manager is ours, it is asked itself.
 */
import {
  type Context,
  type ContextManager,
  context as contexts,
  createContextKey,
  type Span,
  trace,
} from '@opentelemetry/api'

/** Ours, while it is the API's. */
let own: ContextManager | undefined

export function activeContext(): Context {
  return own === undefined ? contexts.active() : own.active()
}

export function activeSpan(): Span | undefined {
  return trace.getSpan(activeContext())
}

/** Asks `manager` from now on, if it is what the API asks: nobody else can take its place before it is disabled. */
export function askOwn(manager: ContextManager): void {
  const probe = contexts.active().setValue(createContextKey('rootspan probe'), true)
  if (manager.with(probe, () => contexts.active()) === probe) own = manager
}

/** Asks the API again, if it was `manager` that was asked. */
export function askOther(manager: ContextManager): void {
  if (own === manager) own = undefined
}
