/**
 * Governance scopes: what is in force for everything that one request, message or job does in this process.
 *
 * A scope belongs to a local root span and is found from any span below it, so that what a middleware's span learned
 * is known to its siblings. Scopes live as long as their spans are referenced.
 */
import { type Attributes, type Context, type Span, trace } from '@opentelemetry/api'
import { SharedAttributes } from './fact-event.ts'
import { Name, TABLE } from './facts.ts'
import { listOf } from './short-lived.ts'
import { knownStateOf, stateOf } from './span-state.ts'

/** An artifact that was presented. */
export class Artifact {
  /** Fingerprint, or the id of an artifact without one, or whom it stands for. */
  readonly key: string
  /** What was found of it, after the key. Of one that is verified and no more, the key. */
  readonly found: string
  readonly isVerified: boolean
  readonly isRevoked: boolean
  readonly fingerprint: string | undefined
  readonly attributes: Attributes
  /** What later spans say of it, once one does. */
  repeated: SharedAttributes | undefined = undefined
  /** A list of it alone, which nobody changes. */
  readonly alone: readonly Artifact[]

  constructor(key: string, fingerprint: string | undefined, attributes: Attributes) {
    const { verification, status } = TABLE.authorization
    const [said, state] = [attributes[verification[0]], attributes[status[0]]]
    this.key = key
    this.isVerified = said === 'verified'
    this.isRevoked = state === 'revoked'
    this.found = this.isVerified && state === undefined ? key : `${key} ${said} ${state}`
    this.fingerprint = fingerprint
    this.attributes = attributes
    this.alone = listOf<Artifact>(this)
  }
}

/**
 * A token and a verification of it that come again and again. All that is looked at for each request is in this one object:
 * it is long out of the processor's caches, and each other one that it leads to is waited for.
 */
export class PreparedToken {
  /** By which it is found again, see verified.ts: the token, or its MAC, and what was found of it. */
  readonly text: string | undefined
  readonly isMac: boolean
  readonly found: unknown
  /** Another one with the same number, kept before. */
  earlier: PreparedToken | undefined = undefined
  readonly authorization: SharedAttributes | undefined
  readonly verification: SharedAttributes
  /** Whether values of either were cut. */
  readonly isCut: boolean
  readonly artifact: Artifact | undefined
  /** Of an artifact that is verified and no more: its key, and a list of it alone. */
  readonly key: string | undefined
  readonly inForce: readonly Artifact[] | undefined

  constructor(
    text: string | undefined,
    isMac: boolean,
    found: unknown,
    authorization: Attributes | undefined,
    verification: Attributes,
  ) {
    this.text = text
    this.isMac = isMac
    this.found = found
    this.authorization = authorization && new SharedAttributes(authorization)
    this.verification = new SharedAttributes(verification)
    this.isCut = this.verification.cut > 0 || (this.authorization !== undefined && this.authorization.cut > 0)
    this.artifact = authorization && artifactOf(authorization)
    const isUsual = this.artifact?.isVerified === true && this.artifact.found === this.artifact.key
    this.key = isUsual ? this.artifact!.key : undefined
    this.inForce = isUsual ? this.artifact!.alone : undefined
  }
}

export class Scope {
  readonly root: Span
  /** Those in force, in the order in which they were verified; bounded. */
  authorizations: readonly Artifact[] = NONE
  /** Id of the first decision, if it has one of its own. */
  decision: string | undefined
  decisionCount: number

  constructor(root: Span, decision?: string, decisionCount = 0) {
    this.root = root
    this.decision = decision
    this.decisionCount = decisionCount
  }
}

const NONE: readonly Artifact[] = []

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
      const scope = find(parent) ?? new Scope(span)
      const state = stateOf(span)
      state.scope = scope
      state.caller = parent
      return scope
    },
    callerOf: (span) => knownStateOf(span)?.caller,
    nest(span) {
      const around = of(span)
      stateOf(span).scope = new Scope(span, around?.decision, around?.decisionCount)
    },
  }
}

/** Undefined for one by which nobody could know it again. */
export function artifactOf(attributes: Attributes): Artifact | undefined {
  const { token, id, subject, method } = TABLE.authorization
  const fingerprint = attributes[token[0]] as string | undefined
  let key = fingerprint ?? (attributes[id[0]] as string | undefined)
  const whom = attributes[subject[0]]
  // A password, say, has neither.
  if (key === undefined && whom !== undefined) key = `${attributes[method[0]]} ${whom}`
  return key === undefined ? undefined : new Artifact(key, fingerprint, attributes)
}

export function bringIntoForce(scope: Scope, artifact: Artifact): void {
  const { authorizations } = scope
  const { length } = authorizations
  if (length >= MAX_IN_FORCE) return
  for (let at = 0; at < length; at++) if (authorizations[at]!.key === artifact.key) return
  scope.authorizations = length === 0 ? artifact.alone : authorizations.concat(artifact)
}

/** Of an artifact that is known by its id alone, that one is taken that has it. */
export function takeOutOfForce(scope: Scope, { key, fingerprint, attributes }: Artifact): void {
  const { authorizations } = scope
  const [id] = TABLE.authorization.id
  const isKnownById = fingerprint === undefined && attributes[id] !== undefined
  const at = authorizations.findIndex(
    (one) => one.key === key || (isKnownById && one.attributes[id] === attributes[id]),
  )
  if (at !== -1) scope.authorizations = authorizations.toSpliced(at, 1)
}

/** What a span that inherits an artifact says of it: enough to tell which it is and whether it still holds. */
const INHERITED = (['token', 'id', 'type', 'issuer', 'subject', 'expiresAt', 'verification'] as const).map(
  (field) => TABLE.authorization[field][0],
)

export function repeatedOf(artifact: Artifact): SharedAttributes {
  if (artifact.repeated !== undefined) return artifact.repeated
  const repeated: Attributes = { [Name.authorizationInherited]: true }
  for (const name of INHERITED)
    if (artifact.attributes[name] !== undefined) repeated[name] = artifact.attributes[name]
  artifact.repeated = new SharedAttributes(repeated)
  return artifact.repeated
}

/** The fingerprint of the one artifact in force, where there is exactly one. */
export function fingerprintInForce(scope: Scope | undefined): string | undefined {
  return scope?.authorizations.length === 1 ? scope.authorizations[0]!.fingerprint : undefined
}

/** The decision on which an action of this scope relies, where there is no other that it could be. */
export function certainDecision(scope: Scope | undefined): string | undefined {
  return scope?.decisionCount === 1 ? scope.decision : undefined
}

/** Counts a decision; `undefined` for one that has no id of its own. */
export function noteDecision(scope: Scope | undefined, id: string | undefined): void {
  if (scope === undefined) return
  if (scope.decisionCount++ === 0) scope.decision = id
}
