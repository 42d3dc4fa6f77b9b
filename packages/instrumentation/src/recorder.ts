/**
 * Where facts go: events on the span that is active, one for each fact.
 *
 * Without a span that records, a short span of our own carries the fact. The SDK drops the oldest of more than 128
 * events, so each span takes a bounded number; decisions beyond it are aggregated, one event for all that are alike,
 * and what does not fit even then is counted on the span. No call here throws.
 */
import {
  type Attributes,
  type Context,
  context as contexts,
  type Span,
  SpanKind,
  type SpanOptions,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { createBackground } from './background.ts'
import type { SpanEvent } from './delivery/encode.ts'
import { SUPPRESS_TRACING } from './delivery/send.ts'
import type { Endings } from './ending.ts'
import {
  type Action,
  type Authorization,
  type Decision,
  type FactEncoder,
  type FactKind,
  NAMESPACE,
  Name,
  TABLE,
  type Transition,
  type Verification,
} from './facts.ts'
import type { Log } from './log.ts'
import { MAX_IN_FORCE, type Scope, type Scopes } from './scope.ts'
import { stateOf } from './span-state.ts'

export interface Recorder {
  /**
   * An artifact that was presented. With `verification: 'verified'` it is in force from now on for the whole
   * execution: later actions and decisions in it repeat its identity. With `status: 'revoked'` it is so no longer. On
   * one span, an equal one is recorded once.
   */
  authorization(fact: Authorization): void
  verification(fact: Verification): void
  /** Returns the decision's id, made here if the engine gave none. */
  decision(fact: Decision): string
  /**
   * A decision of an engine that is asked many times per request: all that are alike on one span (engine, policy,
   * rules, action, resource type, outcome) give one event with their number when the span ends. What differs between
   * them, such as resource or input, is left out of it. Outside any span, those of a second share one.
   */
  repeatedDecision(fact: Decision): void
  /** Ends what is held back until a second is over. */
  flush(): void
  transition(fact: Transition): void
  /** Marks a span as an action, or says more about one. */
  action(span: Span, fact: Action): void
  /** Starts a span that is an action, for side effects that no instrumentation makes a span of. */
  startAction(name: string, fact: Action, options?: SpanOptions, context?: Context): Span
  /** Starts a span that says what is about to be done and why it may be; you end it at once. */
  startIntent(action: Action, decision: Decision | undefined): Span
}

export interface RecorderParts {
  readonly scopes: Scopes
  readonly endings: Endings
  readonly encode: FactEncoder
  readonly log: Log
  readonly tracer: () => Tracer
  /** Told of every span that carries facts. */
  readonly govern: (span: Span) => void
  /** A decision id that no other has. */
  readonly nextId: () => string
  /**
   * Told of an open span that carries a decision or is an action, so that it can be kept should the process die.
   * `events` are those that it will get when it ends.
   */
  readonly keep: (span: Span, events: readonly SpanEvent[]) => void
  /** Told of a fact for which no span could be had. */
  readonly onUnrecorded: () => void
}

/** Events that facts may have on one span: well under the SDK's 128, which others use too. */
export const MAX_EVENTS = 64
/** Kinds of decision that are aggregated on one span. */
export const MAX_GROUPS = 32

/** What this recorder has put on one span. */
export interface Ledger {
  events: number
  omitted: number
  /** Authorizations that are on it, by key and verification. */
  readonly authorizations: string[]
  groups: Group[] | undefined
}

/** Decisions that are alike. */
interface Group {
  /** The first of them. */
  readonly fact: Decision
  readonly attributes: Attributes
  readonly since: Date
  /** Fields of the first in which the others may differ, and have not yet. */
  varying: (keyof Decision)[]
  count: number
}

export function createRecorder(parts: RecorderParts): Recorder {
  const { scopes, endings, encode, log, tracer, govern, nextId, keep, onUnrecorded } = parts

  const ledgerOf = (span: Span): Ledger => {
    const state = stateOf(span)
    if (state.ledger === undefined) {
      state.ledger = { events: 0, omitted: 0, authorizations: [], groups: undefined }
      govern(span)
    }
    return state.ledger
  }

  /** Counts a fact that has no event, and says so on the span when it ends. */
  const omit = (span: Span, ledger: Ledger): void => {
    if (ledger.omitted++ === 0) endings.before(span, () => span.setAttribute(Name.omitted, ledger.omitted))
  }

  const put = (span: Span, ledger: Ledger, kind: FactKind, attributes: Attributes, since?: Date): boolean => {
    if (ledger.events >= MAX_EVENTS) return false
    ledger.events++
    span.addEvent(NAMESPACE + kind, attributes, since)
    return true
  }

  /** Calls `use` with the active span if it records, else with a short one of our own. */
  const onSpan = (kind: FactKind, use: (span: Span) => void): void => {
    try {
      const active = trace.getActiveSpan()
      if (active?.isRecording()) {
        use(active)
        return
      }
      // Evidence is recorded where others ask for no spans.
      const context = contexts.active().deleteValue(SUPPRESS_TRACING)
      const attributes = { [Name.recordKind]: kind }
      const span = tracer().startSpan(NAMESPACE + kind, { attributes }, context)
      if (!span.isRecording()) onUnrecorded()
      try {
        use(span)
      } finally {
        span.end()
      }
    } catch (error) {
      log.failed(`recording a fact (${kind})`, error)
    }
  }

  /** Puts what is in force for the execution on a span that does not have it yet. */
  const inherit = (span: Span, ledger: Ledger, scope: Scope | undefined): void => {
    for (const { key, attributes } of scope?.authorizations ?? []) {
      if (ledger.authorizations.includes(key)) continue
      ledger.authorizations.push(key)
      if (!put(span, ledger, 'authorization', attributes)) omit(span, ledger)
    }
  }

  const authorize = (span: Span, fact: Authorization): void => {
    const attributes = encode('authorization', fact)
    const key = keyOf(attributes)
    const ledger = ledgerOf(span)
    const scope = scopes.of(span)
    const isVerified = fact.verification === 'verified'
    if (key !== undefined) {
      const seen = isVerified ? key : `${key} ${fact.verification}`
      if (ledger.authorizations.includes(seen)) return
      ledger.authorizations.push(seen)
    }
    if (!put(span, ledger, 'authorization', attributes)) omit(span, ledger)
    if (key === undefined || scope === undefined) return
    if (fact.status === 'revoked') takeOutOfForce(scope, key, attributes)
    else if (isVerified) bringIntoForce(scope, key, attributes)
  }

  const identified = (fact: Decision): Decision & { readonly id: string } => ({
    ...fact,
    id: fact.id || nextId(),
  })

  const decide = (span: Span, fact: Decision & { readonly id: string }): void => {
    const ledger = ledgerOf(span)
    const scope = scopes.of(span)
    inherit(span, ledger, scope)
    const attributesOf = () => Object.assign(encode('decision', fact), inForceAt(scope))
    if (ledger.events < MAX_EVENTS) put(span, ledger, 'decision', attributesOf())
    else group(span, ledger, fact, attributesOf)
    note(scope, fact.id)
    keep(span, groupEvents(ledger))
  }

  /** Counts a decision to those like it; `attributesOf` is called for the first. Returns whether it is the first. */
  const group = (span: Span, ledger: Ledger, fact: Decision, attributesOf: () => Attributes): boolean => {
    if (ledger.groups === undefined) {
      ledger.groups = []
      endings.before(span, () => endGroups(span, ledger))
    }
    for (const known of ledger.groups) {
      if (!areAlike(known.fact, fact)) continue
      known.count++
      if (known.varying.length > 0 && vary(known, fact)) note(scopes.of(span), undefined)
      return false
    }
    if (ledger.groups.length >= MAX_GROUPS) {
      omit(span, ledger)
      return false
    }
    const varying = VARYING.filter((field) => fact[field] !== undefined)
    ledger.groups.push({ fact, attributes: attributesOf(), since: new Date(), varying, count: 1 })
    return true
  }

  /** The events of the groups come above the bound: MAX_EVENTS + MAX_GROUPS are under 128. */
  const endGroups = (span: Span, ledger: Ledger): void => {
    for (const { name, attributes, time } of groupEvents(ledger)) span.addEvent(name, attributes, time)
  }

  const background = createBackground(tracer)

  const repeat = (span: Span, fact: Decision): void => {
    const ledger = ledgerOf(span)
    const isFirst = group(span, ledger, fact, () => {
      const scope = scopes.of(span)
      inherit(span, ledger, scope)
      const one = identified(fact)
      note(scope, one.id)
      return Object.assign(encode('decision', one), inForceAt(scope))
    })
    if (isFirst) keep(span, groupEvents(ledger))
  }

  return {
    authorization: (fact) => onSpan('authorization', (span) => authorize(span, fact)),
    verification: (fact) =>
      onSpan('verification', (span) => {
        const ledger = ledgerOf(span)
        if (!put(span, ledger, 'verification', encode('verification', fact))) omit(span, ledger)
      }),
    decision(fact) {
      const one = identified(fact)
      onSpan('decision', (span) => decide(span, one))
      return one.id
    },
    repeatedDecision(fact) {
      try {
        const active = trace.getActiveSpan()
        repeat(active?.isRecording() ? active : background.span(), fact)
      } catch (error) {
        log.failed('recording a fact (decision)', error)
      }
    },
    flush: background.end,
    transition: (fact) =>
      onSpan('transition', (span) => {
        const ledger = ledgerOf(span)
        if (!put(span, ledger, 'transition', encode('transition', fact))) omit(span, ledger)
      }),
    action(span, fact) {
      try {
        if (!span.isRecording()) return
        const scope = scopes.of(span)
        span.setAttributes({ [Name.recordKind]: 'action', ...encode('action', fact) })
        inherit(span, ledgerOf(span), scope)
        const certain = certainDecision(scope)
        if (certain !== undefined) span.setAttribute(Name.decisionId, certain)
        keep(span, [])
      } catch (error) {
        log.failed('marking an action', error)
      }
    },
    startAction(name, fact, options, context = contexts.active()) {
      const attributes = { ...options?.attributes, [Name.recordKind]: 'action' }
      const span = tracer().startSpan(name, { kind: SpanKind.INTERNAL, ...options, attributes }, context)
      this.action(span, fact)
      return span
    },
    startIntent(action, decision) {
      const context = contexts.active().deleteValue(SUPPRESS_TRACING)
      const attributes = { [Name.recordKind]: 'transition' }
      const span = tracer().startSpan(`${NAMESPACE}intent`, { attributes }, context)
      try {
        const scope = scopes.of(span)
        const ledger = ledgerOf(span)
        inherit(span, ledger, scope)
        const causeId = decision?.id ?? certainDecision(scope)
        put(span, ledger, 'transition', {
          ...encode('transition', {
            type: 'state',
            from: 'permitted',
            to: 'executing',
            trigger: 'gate',
            causeId,
          }),
          ...(causeId !== undefined && { [Name.decisionId]: causeId }),
          ...(decision !== undefined && encode('decision', decision)),
          ...encode('action', action),
        })
      } catch (error) {
        log.failed('recording an intent', error)
      }
      return span
    },
  }
}

/** The events that a span's groups give. */
function groupEvents({ groups = [] }: Ledger): SpanEvent[] {
  return groups.map(({ attributes, since, count }) => {
    const millis = since.getTime()
    return {
      name: `${NAMESPACE}decision`,
      time: [Math.floor(millis / 1000), (millis % 1000) * 1_000_000],
      attributes: { ...attributes, [Name.decisionCount]: count },
    }
  })
}

/** Fingerprint of an artifact, or its id; of one that has neither, such as a password, whom it stands for. */
function keyOf(attributes: Attributes): string | undefined {
  const { token, id, subject, method } = TABLE.authorization
  const own = attributes[token[0]] ?? attributes[id[0]]
  if (own !== undefined) return own as string
  const whom = attributes[subject[0]]
  return whom === undefined ? undefined : `${attributes[method[0]]} ${whom}`
}

/** What a span that inherits an artifact says of it: enough to tell which it is and whether it still holds. */
const INHERITED = (['token', 'id', 'type', 'issuer', 'subject', 'expiresAt', 'verification'] as const).map(
  (field) => TABLE.authorization[field][0],
)

function bringIntoForce(scope: Scope, key: string, attributes: Attributes): void {
  if (scope.authorizations.length >= MAX_IN_FORCE || scope.authorizations.some((one) => one.key === key))
    return
  const inherited: Attributes = { [Name.authorizationInherited]: true }
  for (const name of INHERITED) if (attributes[name] !== undefined) inherited[name] = attributes[name]
  scope.authorizations.push({ key, attributes: inherited })
}

/** Of an artifact that is known by its id alone, that one is taken that has it. */
function takeOutOfForce(scope: Scope, key: string, attributes: Attributes): void {
  const { token, id } = TABLE.authorization
  const isKnownById = attributes[token[0]] === undefined && attributes[id[0]] !== undefined
  const at = scope.authorizations.findIndex(
    (one) => one.key === key || (isKnownById && one.attributes[id[0]] === attributes[id[0]]),
  )
  if (at !== -1) scope.authorizations.splice(at, 1)
}

/** The fingerprint of the one artifact in force, where there is exactly one. */
function inForceAt(scope: Scope | undefined): Attributes | undefined {
  if (scope?.authorizations.length !== 1) return undefined
  const fingerprint = scope.authorizations[0]!.attributes[Name.authorizationFingerprint]
  return fingerprint === undefined ? undefined : { [Name.authorizationFingerprint]: fingerprint }
}

/** The decision on which an action of this scope relies, where there is no other that it could be. */
function certainDecision(scope: Scope | undefined): string | undefined {
  return scope?.decisionCount === 1 ? scope.decisions[0] : undefined
}

/** Counts a decision; `undefined` for one that has no id of its own. */
function note(scope: Scope | undefined, id: string | undefined): void {
  if (scope === undefined) return
  if (scope.decisionCount++ === 0 && id !== undefined) scope.decisions.push(id)
}

function areAlike(a: Decision, b: Decision): boolean {
  return (
    a.outcome === b.outcome &&
    a.action === b.action &&
    a.resourceType === b.resourceType &&
    a.reason === b.reason &&
    a.engine === b.engine &&
    a.policyDigest === b.policyDigest &&
    a.policyId === b.policyId &&
    a.policyVersion === b.policyVersion &&
    a.policySetId === b.policySetId &&
    a.cached === b.cached &&
    a.errors === b.errors &&
    isSame(a.ruleIds, b.ruleIds)
  )
}

/** Every field of a decision that `areAlike` does not look at, but for its id. */
const VARYING = (Object.keys(TABLE.decision) as (keyof Decision)[]).filter(
  (field) =>
    ![
      'id',
      'outcome',
      'action',
      'resourceType',
      'reason',
      'engine',
      'policyDigest',
      'policyId',
      'policyVersion',
      'policySetId',
      'cached',
      'errors',
      'ruleIds',
    ].includes(field),
)

/** Takes out of a group what is not so of `fact`; whether anything was. */
function vary(group: Group, fact: Decision): boolean {
  const { attributes } = group
  const kept = group.varying.filter((field) => isSame(group.fact[field], fact[field]))
  if (kept.length === group.varying.length) return false
  for (const field of group.varying) if (!kept.includes(field)) delete attributes[TABLE.decision[field][0]]
  group.varying = kept
  return true
}

/** The same value, or lists of the same. */
function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false
  return a.every((one, at) => one === b[at])
}
