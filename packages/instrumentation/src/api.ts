/**
 * What no hook can know, said in code: what runs, under whose authority, what was decided, and what was done.
 *
 * Nothing here throws for reasons of its own. What throws is what was asked for: a refused action, a closed gate.
 */
import {
  type Attributes,
  type Context,
  context as contexts,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { Action, Authorization, Decision, Transition, Verification } from './facts.ts'
import { Name } from './facts.ts'
import { type GateOptions, gate } from './gate.ts'
import { ownTracer, runtime } from './runtime.ts'
import { setAttribute, setAttributes } from './span-state.ts'

export interface ExecutionOptions {
  /** Name of its span. */
  readonly name: string
  /** `job`, `message`, `agent_run`, `workflow`, `deployment`, ... */
  readonly kind: string
  /** Default: the trace id. */
  readonly id?: string | undefined
  /** The execution that started this one. */
  readonly parentId?: string | undefined
}

/** Runs a job, a message or an agent run as an execution of its own: a span that is a request, ended with `run`. */
export function withExecution<T>({ name, kind, id, parentId }: ExecutionOptions, run: (span: Span) => T): T {
  const { encode, emitter } = runtime()
  const span = startSpan(name, { [Name.recordKind]: 'request' })
  emitter.govern(span)
  setAttributes(span, encode('execution', { id: id ?? span.spanContext().traceId, kind, parentId }))
  return within(span, run, (failed) => {
    setAttributes(span, encode('execution', { state: failed ? 'failed' : 'completed' }))
  })
}

/**
 * Runs `run` under one artifact, instead of those that are in force around it: a token that was exchanged, an approval,
 * a service's own credential. Only a verified artifact comes into force.
 */
export function withAuthorization<T>(
  authorization: Authorization & { readonly verification: NonNullable<Authorization['verification']> },
  run: (span: Span) => T,
): T {
  const { recorder, scopes } = runtime()
  const span = startSpan('governance.authorization', { [Name.recordKind]: 'authorization' })
  scopes.nest(span)
  return within(
    span,
    (own) => {
      recorder.authorization(authorization)
      return run(own)
    },
    () => {},
  )
}

/** A decision with its id, as {@link governedAction} takes it. */
export type RecordedDecision = Decision & { readonly id: string }

/** Records what a policy answered, on the active span. */
export function recordDecision(decision: Decision): RecordedDecision {
  return { ...decision, id: runtime().recorder.decision(decision) }
}

/** Records a check and its result, on the active span. */
export function recordVerification(verification: Verification): void {
  runtime().recorder.verification(verification)
}

/** Records a change of what governs, on the active span. */
export function recordTransition(transition: Transition): void {
  runtime().recorder.transition(transition)
}

export interface GovernedAction<T = unknown>
  extends Omit<Action, 'name' | 'result' | 'digest' | 'outcome' | 'reason' | 'inferred'> {
  readonly name: string
  /** The decision on which it rests, or its id. Without one, that of the request if there was exactly one. */
  readonly decision?: RecordedDecision | string | undefined
  /** What of the result is committed to. Without it, nothing is. */
  readonly resultOf?: ((result: T) => unknown) | undefined
  /** Waits for the collector's durable acknowledgement first. */
  readonly gate?: boolean | GateOptions | undefined
}

/** The action was not done: its decision does not permit it. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
  /** `decision_deny`, `decision_error`, ..., or `decision_for_another_action`. */
  readonly reason: string
  readonly decisionId: string

  constructor(action: string, reason: string, decisionId: string) {
    super(`${action} is refused: ${reason}`)
    this.reason = reason
    this.decisionId = decisionId
  }
}

/**
 * Binds a decision to one action: put it on the decision as `actionDigest`, and {@link governedAction} refuses what is
 * not the same in name, resource and arguments. Undefined for arguments that are too large to commit to.
 */
export function actionDigest(
  action: Pick<GovernedAction, 'name' | 'type' | 'resourceType' | 'resourceId' | 'arguments'>,
): string | undefined {
  const { name, type, resourceType, resourceId } = action
  return runtime().secrets.commit({ name, type, resourceType, resourceId, arguments: action.arguments })
}

/**
 * Does a side effect as an action: names it, commits to its arguments, joins it to its decision, says how it ended.
 *
 * With a decision that does not permit it, or is about another action, it is not done: that is recorded as refused, and
 * a {@link RefusedError} thrown. A closed gate is recorded as refused as well, and throws a `GateError`.
 */
export async function governedAction<T>(
  action: GovernedAction<T>,
  run: (span: Span) => T | PromiseLike<T>,
): Promise<T> {
  const { recorder, encode } = runtime()
  const { decision, resultOf, gate: gated = false, ...fact } = action
  const id = typeof decision === 'string' ? decision : decision?.id
  const digest = actionDigest(action)
  const span = recorder.startAction(action.name, { ...fact, digest })
  if (id !== undefined) setAttribute(span, Name.decisionId, id)
  const conclude = (end: Action): void => {
    setAttributes(span, encode('action', end))
    if (end.outcome !== 'success') span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }
  const inside = trace.setSpan(contexts.active(), span)
  const refusal = typeof decision === 'object' ? refusalOf(decision, digest) : undefined
  if (refusal !== undefined) {
    conclude({ outcome: 'refused', reason: refusal })
    throw new RefusedError(action.name, refusal, id!)
  }
  if (gated !== false) {
    const options = gated === true ? {} : gated
    const known = typeof decision === 'string' ? { id: decision } : decision
    const intent = { action: { ...fact, digest }, decision: known as Decision | undefined, ...options }
    try {
      await contexts.with(inside, gate, undefined, intent)
    } catch (error) {
      conclude({ outcome: 'refused', reason: 'not_acknowledged' })
      throw error
    }
  }
  let result: T
  try {
    result = await contexts.with(inside, run, undefined, span)
  } catch (error) {
    conclude({ outcome: 'failure' })
    throw error
  }
  conclude({ outcome: 'success', ...committed(result, resultOf) })
  return result
}

/** A selector that throws must not turn a success into a failure. */
function committed<T>(result: T, resultOf: ((result: T) => unknown) | undefined): Action {
  try {
    return resultOf === undefined ? {} : { result: resultOf(result) }
  } catch (error) {
    runtime().log.failed('selecting a result', error)
    return {}
  }
}

/** Only what was decided, and is binding, refuses. */
function refusalOf(decision: RecordedDecision, digest: string | undefined): string | undefined {
  const { outcome, enforcement = 'enforced', actionDigest: bound } = decision
  if (enforcement !== 'enforced') return undefined
  if (outcome !== 'allow' && outcome !== 'transform') return `decision_${outcome ?? 'unknown'}`
  return bound === undefined || bound === digest ? undefined : 'decision_for_another_action'
}

function startSpan(name: string, attributes: Attributes, context: Context = contexts.active()): Span {
  return ownTracer().startSpan(name, { kind: SpanKind.INTERNAL, attributes }, context)
}

/** Runs `run` with the span active, and ends it when `run` or its promise has. */
function within<T>(span: Span, run: (span: Span) => T, before: (failed: boolean) => void): T {
  const end = (failed: boolean): void => {
    before(failed)
    if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }
  let result: T
  try {
    result = contexts.with(trace.setSpan(contexts.active(), span), run, undefined, span)
  } catch (error) {
    end(true)
    throw error
  }
  if (!(result instanceof Promise)) {
    end(false)
    return result
  }
  return result.then(
    (value: unknown) => {
      end(false)
      return value
    },
    (error: unknown) => {
      end(true)
      throw error
    },
  ) as T
}
