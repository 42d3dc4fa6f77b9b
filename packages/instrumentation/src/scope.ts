/**
 * Governance scopes: what is in force for everything that one request, message or job does in this process.
 *
 * A scope belongs to a local root span and is found from any span below it, so that what a middleware's span learned
 * is known to its siblings. Scopes live as long as their spans are referenced.
 */
import { type Attributes, type Context, type Span, trace } from '@opentelemetry/api'
import { type PreparedFact, SharedAttributes } from './fact-event.ts'
import { type Authorization, Name, TABLE } from './facts.ts'
import { knownStateOf, stateOf } from './span-state.ts'

/** An artifact that was verified, as later spans repeat it. */
export interface InForce {
  /** Fingerprint, or the id of an artifact without one. */
  readonly key: string
  readonly shared: SharedAttributes
}

export interface Scope {
  readonly root: Span
  /** In the order in which they were verified; bounded. */
  readonly authorizations: InForce[]
  /** Ids of the first decisions; the count goes on. */
  readonly decisions: string[]
  decisionCount: number
}

/** More artifacts than this in one request are not inherited by later spans. */
const MAX_IN_FORCE = 8

export interface Scopes {
  of(span: Span): Scope | undefined
  /** The scope of the context's span. */
  in(context: Context): Scope | undefined
  /** Files a span that starts: under its local parent's scope, or as the root of a new one. */
  enter(span: Span, parent: Context): Scope
  /** The context in which a span was started. */
  callerOf(span: Span): Context | undefined
  /** Makes a span that started the root of a scope within its own: its artifacts are not in force below, decisions are. */
  nest(span: Span): void
}

export function createScopes(): Scopes {
  const of = (span: Span): Scope | undefined => knownStateOf(span)?.scope
  const find = (context: Context): Scope | undefined => {
    const span = trace.getSpan(context)
    return span === undefined ? undefined : of(span)
  }
  return {
    of,
    in: find,
    enter(span, parent) {
      const scope = find(parent) ?? { root: span, authorizations: [], decisions: [], decisionCount: 0 }
      const state = stateOf(span)
      state.scope = scope
      state.caller = parent
      return scope
    },
    callerOf: (span) => knownStateOf(span)?.caller,
    nest(span) {
      const { decisions = [], decisionCount = 0 } = of(span) ?? {}
      stateOf(span).scope = { root: span, authorizations: [], decisions: [...decisions], decisionCount }
    },
  }
}

/** Fingerprint of an artifact, or its id; of one that has neither, such as a password, whom it stands for. */
export function artifactKeyOf(attributes: Attributes): string | undefined {
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

export function bringIntoForce(
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
export function takeOutOfForce(scope: Scope, key: string, attributes: Attributes): void {
  const { token, id } = TABLE.authorization
  const isKnownById = attributes[token[0]] === undefined && attributes[id[0]] !== undefined
  const at = scope.authorizations.findIndex(
    (one) => one.key === key || (isKnownById && one.shared.attributes[id[0]] === attributes[id[0]]),
  )
  if (at !== -1) scope.authorizations.splice(at, 1)
}

/** The fingerprint of the one artifact in force, where there is exactly one. */
export function fingerprintInForce(scope: Scope | undefined): string | undefined {
  if (scope?.authorizations.length !== 1) return undefined
  return scope.authorizations[0]!.shared.attributes[Name.authorizationFingerprint] as string | undefined
}

/** The decision on which an action of this scope relies, where there is no other that it could be. */
export function certainDecision(scope: Scope | undefined): string | undefined {
  return scope?.decisionCount === 1 ? scope.decisions[0] : undefined
}

/** Counts a decision; `undefined` for one that has no id of its own. */
export function noteDecision(scope: Scope | undefined, id: string | undefined): void {
  if (scope === undefined) return
  if (scope.decisionCount++ === 0 && id !== undefined) scope.decisions.push(id)
}
