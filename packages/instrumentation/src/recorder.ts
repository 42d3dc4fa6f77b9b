/**
 * Where facts go: events on the span that is active, one for each fact, which are put there when the span ends.
 *
 * Without a span that records, a short span of our own carries the fact. Each span takes a bounded number; decisions
 * beyond it are aggregated, one event for all that are alike, and what does not fit even then is counted on the span.
 * No call here throws.
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
import { createBackground, startOwn } from './background.ts'
import type { SpanEvent } from './delivery/span.ts'
import type { Endings } from './ending.ts'
import { cutOf, FactEvent, PreparedFact, SharedAttributes } from './fact-event.ts'
import {
  type Action,
  type Authorization,
  type Decision,
  type FactEncoder,
  type FactKind,
  type FactTypes,
  NAMESPACE,
  Name,
  TABLE,
  type Transition,
  type Verification,
} from './facts.ts'
import type { Log } from './log.ts'
import { MAX_IN_FORCE, type Scope, type Scopes } from './scope.ts'
import { addEvents, knownStateOf, now, setAttribute, setAttributes, stateOf } from './span-state.ts'

export interface Recorder {
  /** Encodes a fact once, for whoever has the same again and again and can tell at little cost. */
  prepare<K extends 'authorization' | 'verification' | 'decision'>(
    kind: K,
    fact: FactTypes[K],
  ): PreparedFact<FactTypes[K]>
  /**
   * An artifact that was presented. With `verification: 'verified'` it is in force from now on for the whole
   * execution: later actions and decisions in it repeat its identity. With `status: 'revoked'` it is so no longer. On
   * one span, an equal one is recorded once.
   */
  authorization(fact: Authorization | PreparedFact<Authorization>): void
  verification(fact: Verification | PreparedFact<Verification>): void
  /** Returns the decision's id, made here if the engine gave none. */
  decision(fact: Decision | PreparedFact<Decision>): string
  /**
   * A decision of an engine that is asked many times per request: all that are alike on one span (engine, policy,
   * rules, action, resource type, outcome) give one event with their number when the span ends. What differs between
   * them, such as resource or input, is left out of it. Outside any span, those of a second share one.
   */
  repeatedDecision(fact: Decision | PreparedFact<Decision>): void
  /** Decisions that come in one answer: the span is kept once with all of them. Runs `work` at once. */
  together(work: () => void): void
  /** Ends what is held back until a second is over. */
  flush(): void
  /** Keeps an open span as it is now, should it never end. */
  keep(span: Span): void
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
  /** Whether open spans are kept: else `keep` is not called. */
  readonly isKeeping: () => boolean
  /**
   * Told of an open span that carries facts or is an action, so that it can be kept should the process die; and of the
   * events that it will get when it ends.
   */
  readonly keep: (span: Span, events: readonly SpanEvent[]) => void
  /** Told of a fact for which no span could be had. */
  readonly onUnrecorded: () => void
  /** Told of facts that had no room on their span, and of values of facts that were cut: how many. */
  readonly onTruncated: (count: number) => void
}

/** Events that facts may have on one span. */
export const MAX_EVENTS = 64
/** How long counts that have grown are not kept. */
const GROWN_MILLIS = 1000
/** Kinds of decision that are aggregated on one span. */
export const MAX_GROUPS = 32

/** What this recorder has put on one span. */
export interface Ledger {
  readonly events: SpanEvent[]
  omitted: number
  /** Authorizations that are on it, by key and verification. */
  readonly authorizations: string[]
  groups: Group[] | undefined
  /** It will be kept once the code that runs now has ended. */
  isToBeKept: boolean
  /** Its counts have grown, and it will be kept with them within a second. */
  isGrowing: boolean
}

const EVENT_NAMES: Readonly<Record<FactKind, string>> = {
  authorization: `${NAMESPACE}authorization`,
  verification: `${NAMESPACE}verification`,
  decision: `${NAMESPACE}decision`,
  transition: `${NAMESPACE}transition`,
  action: `${NAMESPACE}action`,
  execution: `${NAMESPACE}execution`,
}

/** Decisions that are alike. */
interface Group {
  /** The first of them. */
  readonly fact: Decision
  readonly event: FactEvent
  /** Fields of the first in which the others may differ, and have not yet. Undefined while there are no others. */
  varying: readonly (keyof Decision)[] | undefined
  count: number
}

export function createRecorder(parts: RecorderParts): Recorder {
  const { scopes, endings, encode, log, tracer, govern, nextId, isKeeping, keep, onUnrecorded, onTruncated } =
    parts

  const ledgerOf = (span: Span): Ledger => {
    const state = stateOf(span)
    if (state.ledger === undefined) {
      state.ledger = {
        events: [],
        omitted: 0,
        authorizations: [],
        groups: undefined,
        isToBeKept: false,
        isGrowing: false,
      }
      govern(span)
      endings.before(span, close)
    }
    return state.ledger
  }

  /** Puts all of it on a span that ends. */
  const close = (span: Span): void => {
    const { ledger } = stateOf(span)
    if (ledger === undefined) return
    addEvents(span, eventsOf(ledger))
    if (ledger.omitted > 0) setAttribute(span, Name.omitted, ledger.omitted)
  }

  const omit = (ledger: Ledger): void => {
    ledger.omitted++
    onTruncated(1)
  }

  const countCut = (attributes: Attributes, shared?: SharedAttributes): void => {
    const cut = shared === undefined ? cutOf(attributes) : shared.cut
    if (cut > 0) onTruncated(cut)
  }

  /** Takes a fact, or counts it where there are too many. `attributes` are not changed afterwards. */
  const put = (ledger: Ledger, kind: FactKind, attributes: Attributes, shared?: SharedAttributes): void => {
    if (ledger.events.length < MAX_EVENTS) {
      ledger.events.push(eventOf(kind, attributes, shared))
      countCut(attributes, shared)
    } else omit(ledger)
  }

  /** Those that wait until what comes together is there. */
  let waiting: Map<Span, Ledger> | undefined

  const keepNow = (span: Span, ledger: Ledger): void => {
    if (!isKeeping()) return
    if (waiting === undefined) keep(span, eventsOf(ledger))
    else waiting.set(span, ledger)
  }

  const together = (work: () => void): void => {
    if (waiting !== undefined) {
      work()
      return
    }
    const own = new Map<Span, Ledger>()
    waiting = own
    try {
      work()
    } finally {
      waiting = undefined
      for (const [span, ledger] of own) keepSafely(span, ledger)
    }
  }

  /**
   * Keeps what says who was there and what was checked, once for all that comes together: a token and the verification of
   * it. Decisions and actions are kept at once, since what they permit may follow in the same breath.
   */
  const keepSoon = (span: Span, ledger: Ledger): void => {
    if (ledger.isToBeKept || !isKeeping()) return
    ledger.isToBeKept = true
    queueMicrotask(() => {
      ledger.isToBeKept = false
      keepSafely(span, ledger)
    })
  }

  const growing = new Map<Span, Ledger>()

  /** Keeps what was aggregated since the first of a kind, once a second. */
  const keepGrown = (span: Span, ledger: Ledger): void => {
    if (ledger.isGrowing || !isKeeping()) return
    ledger.isGrowing = true
    growing.set(span, ledger)
    if (growing.size > 1) return
    setTimeout(() => {
      for (const [one, grown] of growing) {
        grown.isGrowing = false
        keepSafely(one, grown)
      }
      growing.clear()
    }, GROWN_MILLIS).unref()
  }

  const keepSafely = (span: Span, ledger: Ledger | undefined): void => {
    try {
      if (span.isRecording()) keep(span, ledger === undefined ? [] : eventsOf(ledger))
    } catch (error) {
      log.failed('keeping a fact', error)
    }
  }

  /** Calls `use` with the active span if it records, else with a short one of our own. */
  const onSpan = (kind: FactKind, use: (span: Span) => void): void => {
    try {
      const active = trace.getActiveSpan()
      if (active?.isRecording()) {
        use(active)
        return
      }
      const span = startOwn(tracer(), kind, kind)
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
  const inherit = (ledger: Ledger, scope: Scope | undefined): void => {
    if (scope === undefined) return
    for (const { key, shared } of scope.authorizations) {
      if (ledger.authorizations.includes(key)) continue
      ledger.authorizations.push(key)
      put(ledger, 'authorization', shared.attributes, shared)
    }
  }

  const attributesOf = <K extends FactKind>(
    kind: K,
    given: FactTypes[K] | PreparedFact<FactTypes[K]>,
  ): Attributes => (given instanceof PreparedFact ? given.attributes : encode(kind, given))

  const authorize = (span: Span, given: Authorization | PreparedFact<Authorization>): void => {
    const shared = given instanceof PreparedFact ? given : undefined
    const { verification, status } = factOf(given)
    const attributes = attributesOf('authorization', given)
    const key = keyOf(attributes)
    const ledger = ledgerOf(span)
    const scope = scopes.of(span)
    const isVerified = verification === 'verified'
    if (key !== undefined) {
      const { authorizations } = ledger
      const seen = isVerified && status === undefined ? key : `${key} ${verification} ${status}`
      if (authorizations.includes(seen)) return
      authorizations.push(seen)
      if (isVerified && seen !== key) authorizations.push(key)
    }
    put(ledger, 'authorization', attributes, shared)
    keepSoon(span, ledger)
    if (key === undefined || scope === undefined) return
    if (status === 'revoked') takeOutOfForce(scope, key, attributes)
    else if (isVerified) bringIntoForce(scope, key, attributes, shared)
  }

  /** What a decision becomes: with an id, and with the artifact in force where it is certain. */
  const decisionEvent = (
    given: Decision | PreparedFact<Decision>,
    id: string,
    scope: Scope | undefined,
  ): FactEvent => {
    // An engine's own id is among what is shared.
    const shared = given instanceof PreparedFact && given.fact.id === undefined ? given : undefined
    const attributes: Attributes = { ...attributesOf('decision', given), [Name.decisionId]: id }
    const fingerprint = fingerprintInForce(scope)
    if (fingerprint !== undefined) attributes[Name.authorizationFingerprint] = fingerprint
    countCut(attributes, shared)
    return eventOf('decision', attributes, shared)
  }

  const decide = (span: Span, fact: Decision | PreparedFact<Decision>, id: string): void => {
    const ledger = ledgerOf(span)
    const scope = scopes.of(span)
    inherit(ledger, scope)
    let isNew = ledger.events.length < MAX_EVENTS
    if (isNew) ledger.events.push(decisionEvent(fact, id, scope))
    else isNew = group(span, ledger, fact, () => id)
    note(scope, id)
    if (isNew) keepNow(span, ledger)
  }

  /** Counts a decision to those like it; `idOf` is called for the first. Returns whether it is the first. */
  const group = (
    span: Span,
    ledger: Ledger,
    given: Decision | PreparedFact<Decision>,
    idOf: (scope: Scope | undefined) => string,
  ): boolean => {
    ledger.groups ??= []
    const fact = factOf(given)
    for (const known of ledger.groups) {
      if (!areAlike(known.fact, fact)) continue
      known.count++
      keepGrown(span, ledger)
      if (known.fact !== fact && vary(known, fact)) note(scopes.of(span), undefined)
      return false
    }
    if (ledger.groups.length >= MAX_GROUPS) {
      omit(ledger)
      return false
    }
    const scope = scopes.of(span)
    const event = decisionEvent(given, idOf(scope), scope)
    ledger.groups.push({ fact, event, varying: undefined, count: 1 })
    return true
  }

  const background = createBackground(tracer)

  const repeat = (span: Span, given: Decision | PreparedFact<Decision>): void => {
    const ledger = ledgerOf(span)
    const isFirst = group(span, ledger, given, (scope) => {
      inherit(ledger, scope)
      const id = factOf(given).id || nextId()
      note(scope, id)
      return id
    })
    if (isFirst) keepNow(span, ledger)
  }

  return {
    prepare: (kind, fact) => new PreparedFact(fact, encode(kind, fact)),
    authorization: (fact) => onSpan('authorization', (span) => authorize(span, fact)),
    verification: (fact) =>
      onSpan('verification', (span) => {
        const ledger = ledgerOf(span)
        const shared = fact instanceof PreparedFact ? fact : undefined
        put(ledger, 'verification', attributesOf('verification', fact), shared)
        keepSoon(span, ledger)
      }),
    decision(fact) {
      const id = factOf(fact).id || nextId()
      onSpan('decision', (span) => decide(span, fact, id))
      return id
    },
    repeatedDecision(fact) {
      try {
        const active = trace.getActiveSpan()
        const span = active?.isRecording() ? active : background.span()
        if (!span.isRecording()) onUnrecorded()
        repeat(span, fact)
      } catch (error) {
        log.failed('recording a fact (decision)', error)
      }
    },
    together,
    flush: background.end,
    keep: (span) => keepSafely(span, knownStateOf(span)?.ledger),
    transition: (fact) =>
      onSpan('transition', (span) => {
        const ledger = ledgerOf(span)
        put(ledger, 'transition', encode('transition', fact))
        keepSoon(span, ledger)
      }),
    action(span, fact) {
      try {
        if (!span.isRecording()) return
        const scope = scopes.of(span)
        setAttribute(span, Name.recordKind, 'action')
        const attributes = encode('action', fact)
        setAttributes(span, attributes)
        countCut(attributes)
        const ledger = ledgerOf(span)
        inherit(ledger, scope)
        const certain = certainDecision(scope)
        if (certain !== undefined) setAttribute(span, Name.decisionId, certain)
        keepNow(span, ledger)
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
      const span = startOwn(tracer(), 'intent', 'transition')
      try {
        const scope = scopes.of(span)
        const ledger = ledgerOf(span)
        inherit(ledger, scope)
        const causeId = decision?.id ?? certainDecision(scope)
        put(ledger, 'transition', {
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

function eventOf(kind: FactKind, attributes: Attributes, shared?: SharedAttributes): FactEvent {
  return new FactEvent(EVENT_NAMES[kind], now(), attributes, shared)
}

function factOf<F>(given: F | PreparedFact<F>): F {
  return given instanceof PreparedFact ? given.fact : given
}

/** All that a ledger gives. */
function eventsOf({ events, groups }: Ledger): readonly SpanEvent[] {
  if (groups === undefined) return events
  for (const { event, count } of groups) event.attributes[Name.decisionCount] = count
  return [...events, ...groups.map(({ event }) => event)]
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

function bringIntoForce(
  scope: Scope,
  key: string,
  attributes: Attributes,
  prepared: PreparedFact<Authorization> | undefined,
): void {
  if (scope.authorizations.length >= MAX_IN_FORCE || scope.authorizations.some((one) => one.key === key))
    return
  const shared = prepared?.repeated ?? repeatedOf(attributes)
  if (prepared !== undefined) prepared.repeated = shared
  scope.authorizations.push({ key, shared })
}

function repeatedOf(attributes: Attributes): SharedAttributes {
  const repeated: Attributes = { [Name.authorizationInherited]: true }
  for (const name of INHERITED) if (attributes[name] !== undefined) repeated[name] = attributes[name]
  return new SharedAttributes(repeated)
}

/** Of an artifact that is known by its id alone, that one is taken that has it. */
function takeOutOfForce(scope: Scope, key: string, attributes: Attributes): void {
  const { token, id } = TABLE.authorization
  const isKnownById = attributes[token[0]] === undefined && attributes[id[0]] !== undefined
  const at = scope.authorizations.findIndex(
    (one) => one.key === key || (isKnownById && one.shared.attributes[id[0]] === attributes[id[0]]),
  )
  if (at !== -1) scope.authorizations.splice(at, 1)
}

/** The fingerprint of the one artifact in force, where there is exactly one. */
function fingerprintInForce(scope: Scope | undefined): string | undefined {
  if (scope?.authorizations.length !== 1) return undefined
  return scope.authorizations[0]!.shared.attributes[Name.authorizationFingerprint] as string | undefined
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
  const { attributes } = group.event
  group.varying ??= VARYING.filter((field) => group.fact[field] !== undefined)
  if (group.varying.length === 0) return false
  const kept = group.varying.filter((field) => isSame(group.fact[field], fact[field]))
  if (kept.length === group.varying.length) return false
  group.event.separate()
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
