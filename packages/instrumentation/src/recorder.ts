/**
 * Where facts go: events on the span that is active, one for each fact, which are put there when the span ends.
 *
 * Without a span that records, a short span of our own carries the fact. Each span takes a bounded number; decisions
 * beyond it are aggregated, one event for all that are alike, and what does not fit even then is counted on the span.
 * No call here throws.
 */
import { type Context, type Span, SpanKind, type SpanOptions, type Tracer } from '@opentelemetry/api'
import { activeContext, activeSpan } from './active.ts'
import { createBackground, startOwn } from './background.ts'
import { cutOf, FactEvent, PreparedDecision } from './fact-event.ts'
import {
  type Action,
  type Authorization,
  Commitment,
  type Decision,
  type FactEncoder,
  type FactKind,
  Name,
  TABLE,
  type Transition,
  type Verification,
} from './facts.ts'
import { createKeeping, type KeepingParts } from './keeping.ts'
import {
  addTo,
  areAlike,
  EventName,
  Group,
  hasTaken,
  Ledger,
  MAX_EVENTS,
  MAX_GROUPS,
  vary,
} from './ledger.ts'
import {
  type Artifact,
  artifactOf,
  bringIntoForce,
  certainDecision,
  fingerprintInForce,
  noteDecision,
  PreparedToken,
  repeatedOf,
  type Scope,
  type Scopes,
  takeOutOfForce,
} from './scope.ts'
import { emptyList, listOf, pairOf } from './short-lived.ts'
import { knownStateOf, setAttribute, setAttributes, stateOf } from './span-state.ts'
import { now } from './time.ts'

export interface Recorder {
  /**
   * What an engine is asked, as it is now: for whoever hears of the answer later, when the application may have made
   * something else of the input.
   */
  asked(question: Partial<Decision>): Partial<Decision>
  /** Encodes a decision once, for whoever has the same again and again and can tell at little cost. */
  prepareDecision(fact: Decision): PreparedDecision
  /**
   * As `prepareDecision`, an artifact, where there is one, and a verification of it. The rest is for whoever looks it up.
   */
  prepareToken(facts: TokenFacts, text?: string, isMac?: boolean, found?: unknown): PreparedToken
  /**
   * An artifact that was presented. With `verification: 'verified'` it is in force from now on for the whole
   * execution: later actions and decisions in it repeat its identity. With `status: 'revoked'` it is so no longer. On
   * one span, an equal one is recorded once.
   */
  authorization(fact: Authorization): void
  verification(fact: Verification): void
  /**
   * An artifact and a verification of it, as the two above, in less time; without a span, on one of our own. `span` is
   * the one that is active, for whoever has asked for it already.
   */
  verified(token: PreparedToken, span?: Span): void
  /** Returns the decision's id, made here if the engine gave none. */
  decision(fact: Decision | PreparedDecision): string
  /**
   * A decision of an engine that is asked many times per request: all that are alike on one span (engine, policy,
   * rules, action, resource type, outcome) give one event with their number when the span ends. What differs between
   * them, such as resource or input, is left out of it. Outside any span, those of a second share one.
   */
  repeatedDecision(fact: Decision | PreparedDecision): void
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

/** What is recorded of a token that was verified. */
export interface TokenFacts {
  /** Undefined where another hook records it. */
  readonly authorization?: Authorization | undefined
  readonly verification: Verification
}

export interface RecorderParts extends KeepingParts {
  readonly scopes: Scopes
  readonly encode: FactEncoder
  readonly tracer: () => Tracer
  /** Told of every span that carries facts: `putFacts` is called when it ends. */
  readonly govern: (span: Span) => void
  /** A decision id that no other has. */
  readonly nextId: () => string
  /** Told of a fact for which no span could be had. */
  readonly onUnrecorded: () => void
  /** Told of facts that had no room on their span, and of values of facts that were cut: how many. */
  readonly onTruncated: (count: number) => void
}

export function createRecorder(parts: RecorderParts): Recorder {
  const { scopes, encode, log, tracer, govern, nextId, onUnrecorded, onTruncated } = parts
  const keeping = createKeeping(parts)

  const ledgerOf = (span: Span): Ledger => {
    const state = stateOf(span)
    if (state.ledger === undefined) {
      state.ledger = new Ledger()
      govern(span)
    }
    return state.ledger
  }

  const omit = (ledger: Ledger): void => {
    ledger.omitted++
    onTruncated(1)
  }

  /** Whether there is room for one more; counts one for which there is none. */
  const hasRoom = (ledger: Ledger): boolean => {
    if (ledger.events.length < MAX_EVENTS) return true
    omit(ledger)
    return false
  }

  const countCut = (cut: number): void => {
    if (cut > 0) onTruncated(cut)
  }

  /**
   * Takes facts, in a list that is the ledger's from now on, or counts those for which there is no room. `isCut` is false
   * where it is known that none of their values were.
   */
  const put = (ledger: Ledger, events: FactEvent[], isCut = true): void => {
    const room = MAX_EVENTS - ledger.events.length
    while (events.length > room) {
      events.pop()
      omit(ledger)
    }
    if (isCut) for (const { cut } of events) countCut(cut)
    addTo(ledger, events)
  }

  /** Calls `use` with the active span if it records, else with a short one of our own. */
  const onSpan = <F>(
    kind: FactKind,
    use: (span: Span, fact: F, id: string) => void,
    fact: F,
    id = '',
    active = activeSpan(),
  ): void => {
    try {
      if (active?.isRecording()) {
        use(active, fact, id)
        return
      }
      const span = startOwn(tracer(), kind, kind)
      if (!span.isRecording()) onUnrecorded()
      try {
        use(span, fact, id)
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
    for (const artifact of scope.authorizations) {
      if (!hasTaken(ledger, artifact.key))
        put(ledger, listOf(new FactEvent(EventName.authorization, now(), repeatedOf(artifact))))
    }
  }

  /** Takes an artifact, which is in force from now on or no longer; false where the span has an equal one. */
  const isNewOn = (span: Span, ledger: Ledger, artifact: Artifact | undefined): boolean => {
    if (artifact === undefined) return true
    const { key, found, isVerified, isRevoked } = artifact
    if (hasTaken(ledger, found)) return false
    if (isVerified && found !== key) hasTaken(ledger, key)
    const scope = scopes.of(span)
    if (scope !== undefined && isRevoked) takeOutOfForce(scope, artifact)
    else if (scope !== undefined && isVerified) bringIntoForce(scope, artifact)
    return true
  }

  /** As {@link isNewOn}, for the artifact of a token, of which mostly nothing else needs to be looked at. */
  const isNewTokenOn = (span: Span, ledger: Ledger, { key, inForce, artifact }: PreparedToken): boolean => {
    if (inForce === undefined) return isNewOn(span, ledger, artifact)
    if (ledger.authorization === key) return false
    const scope = scopes.of(span)
    if (ledger.authorization !== undefined || scope === undefined || scope.authorizations.length > 0)
      return isNewOn(span, ledger, artifact)
    ledger.authorization = key
    scope.authorizations = inForce
    return true
  }

  const recordAuthorization = (span: Span, fact: Authorization): void => {
    const ledger = ledgerOf(span)
    const attributes = encode('authorization', fact)
    if (!isNewOn(span, ledger, artifactOf(attributes))) return
    put(ledger, listOf(new FactEvent(EventName.authorization, now(), attributes)))
    keeping.soon(span, ledger)
  }

  const recordVerification = (span: Span, fact: Verification): void => {
    const ledger = ledgerOf(span)
    if (!hasRoom(ledger)) return
    put(ledger, listOf(new FactEvent(EventName.verification, now(), encode('verification', fact))))
    keeping.soon(span, ledger)
  }

  const recordToken = (span: Span, token: PreparedToken): void => {
    const { authorization, verification, isCut } = token
    const ledger = ledgerOf(span)
    const isNew = authorization !== undefined && isNewTokenOn(span, ledger, token)
    if (!isNew && !hasRoom(ledger)) return
    const time = now()
    const check = new FactEvent(EventName.verification, time, verification)
    put(
      ledger,
      isNew ? pairOf(new FactEvent(EventName.authorization, time, authorization), check) : listOf(check),
      isCut,
    )
    keeping.soon(span, ledger)
  }

  const recordTransition = (span: Span, fact: Transition): void => {
    const ledger = ledgerOf(span)
    put(ledger, listOf(new FactEvent(EventName.transition, now(), encode('transition', fact))))
    keeping.soon(span, ledger)
  }

  /** What a decision becomes: with an id, and with the artifact in force where it is certain. */
  const decisionEvent = (
    given: Decision | PreparedDecision,
    id: string,
    scope: Scope | undefined,
  ): FactEvent => {
    const attributes = given instanceof PreparedDecision ? given : encode('decision', given)
    // An engine's own id is among its attributes, and would be sent twice beside those that are shared.
    const hasOwnId = attributes instanceof PreparedDecision && attributes.id !== undefined
    const fingerprint = fingerprintInForce(scope)
    return new FactEvent(
      EventName.decision,
      now(),
      hasOwnId ? attributes.attributes : attributes,
      id,
      fingerprint,
    )
  }

  const decide = (span: Span, fact: Decision | PreparedDecision, id: string): void => {
    const ledger = ledgerOf(span)
    const scope = scopes.of(span)
    inherit(ledger, scope)
    let isNew = ledger.events.length < MAX_EVENTS
    if (isNew) put(ledger, listOf(decisionEvent(fact, id, scope)))
    else isNew = group(span, ledger, fact, () => id)
    noteDecision(scope, id)
    if (isNew) keeping.now(span, ledger)
  }

  /** Counts a decision to those like it; `idOf` is called for the first. Returns whether it is the first. */
  const group = (
    span: Span,
    ledger: Ledger,
    given: Decision | PreparedDecision,
    idOf: (scope: Scope | undefined) => string,
  ): boolean => {
    ledger.groups ??= emptyList()
    const fact = factOf(given)
    for (const known of ledger.groups) {
      if (!areAlike(known.fact, fact)) continue
      known.count++
      keeping.grown(span, ledger)
      if (known.fact !== fact && vary(known, fact)) noteDecision(scopes.of(span), undefined)
      return false
    }
    if (ledger.groups.length >= MAX_GROUPS) {
      omit(ledger)
      return false
    }
    const scope = scopes.of(span)
    const event = decisionEvent(given, idOf(scope), scope)
    countCut(event.cut)
    ledger.groups.push(new Group(given instanceof PreparedDecision ? fact : ownCopyOf(fact), event))
    return true
  }

  const background = createBackground(tracer)

  const repeat = (span: Span, given: Decision | PreparedDecision): void => {
    const ledger = ledgerOf(span)
    const isFirst = group(span, ledger, given, (scope) => {
      inherit(ledger, scope)
      const id = given.id || nextId()
      noteDecision(scope, id)
      return id
    })
    if (isFirst) keeping.now(span, ledger)
  }

  return {
    asked(question) {
      if (question.input === undefined || question.input === null) return question
      const { [TABLE.decision.input[0]]: commitment } = encode('decision', {
        outcome: undefined,
        input: question.input,
      })
      return { ...question, input: new Commitment(commitment as string | undefined) }
    },
    prepareDecision: (fact) => new PreparedDecision(fact, encode('decision', fact)),
    prepareToken: ({ authorization, verification }, text, isMac = false, found) =>
      new PreparedToken(
        text,
        isMac,
        found,
        authorization && encode('authorization', authorization),
        encode('verification', verification),
      ),
    authorization: (fact) => onSpan('authorization', recordAuthorization, fact),
    verification: (fact) => onSpan('verification', recordVerification, fact),
    verified(token, span) {
      const kind = token.authorization === undefined ? 'verification' : 'authorization'
      onSpan(kind, recordToken, token, undefined, span)
    },
    decision(fact) {
      const id = fact.id || nextId()
      onSpan('decision', decide, fact, id)
      return id
    },
    repeatedDecision(fact) {
      try {
        const active = activeSpan()
        const span = active?.isRecording() ? active : background.span()
        if (!span.isRecording()) onUnrecorded()
        repeat(span, fact)
      } catch (error) {
        log.failed('recording a fact (decision)', error)
      }
    },
    together: keeping.together,
    flush: background.end,
    keep: (span) => keeping.safely(span, knownStateOf(span)?.ledger),
    transition: (fact) => onSpan('transition', recordTransition, fact),
    action(span, fact) {
      try {
        if (!span.isRecording()) return
        const scope = scopes.of(span)
        setAttribute(span, Name.recordKind, 'action')
        const attributes = encode('action', fact)
        setAttributes(span, attributes)
        countCut(cutOf(attributes))
        const ledger = ledgerOf(span)
        inherit(ledger, scope)
        const certain = certainDecision(scope)
        if (certain !== undefined) setAttribute(span, Name.decisionId, certain)
        keeping.now(span, ledger)
      } catch (error) {
        log.failed('marking an action', error)
      }
    },
    startAction(name, fact, options, context = activeContext()) {
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
        const fact: Transition = {
          type: 'state',
          from: 'permitted',
          to: 'executing',
          trigger: 'gate',
          causeId,
        }
        const attributes = {
          ...encode('transition', fact),
          ...(causeId !== undefined && { [Name.decisionId]: causeId }),
          ...(decision !== undefined && encode('decision', decision)),
          ...encode('action', action),
        }
        put(ledger, [new FactEvent(EventName.transition, now(), attributes)])
      } catch (error) {
        log.failed('recording an intent', error)
      }
      return span
    },
  }
}

/** Of an application's own, which it may change before the next one is compared with it. */
function ownCopyOf(fact: Decision): Decision {
  return Array.isArray(fact.ruleIds) ? { ...fact, ruleIds: [...fact.ruleIds] } : { ...fact }
}

function factOf(given: Decision | PreparedDecision): Decision {
  return given instanceof PreparedDecision ? given.fact : given
}
