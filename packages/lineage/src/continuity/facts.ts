/**
 * Facts with their values read: what rules, `why` and people look at. Which claims make a fact is decided in
 * `governance/facts.ts`; here their values become text and numbers. A value of another type than expected is absent.
 */

import type { Claim } from '../governance/facts.ts'
import type { AnyValue } from '../otlp/value.ts'
import type { Node } from './model.ts'
import type { Subject } from './rule.ts'

interface FactBase extends Subject {
  /** The span that it is on. */
  readonly on: Node
  /** Nanoseconds since 1970: of its event; else the start of the span, of a decision or verification its end. */
  readonly at: bigint
}

/** An artifact that was presented, issued, inherited, approved or revoked. Times are seconds since 1970. */
export interface Authorization extends FactBase {
  readonly id: string | undefined
  readonly type: string | undefined
  readonly fingerprint: string | undefined
  readonly issuer: string | undefined
  readonly subject: string | undefined
  readonly clientId: string | undefined
  /** The current actor first. */
  readonly actorChain: readonly string[]
  readonly audience: readonly string[] | undefined
  readonly scope: readonly string[] | undefined
  readonly issuedAt: number | undefined
  readonly notBefore: number | undefined
  readonly expiresAt: number | undefined
  readonly confirmation: string | undefined
  readonly verification: string | undefined
  readonly status: string | undefined
  readonly transaction: string | undefined
  readonly parentId: string | undefined
  readonly parentFingerprint: string | undefined
  readonly delegationDepth: number | undefined
  readonly delegationRoot: string | undefined
  readonly inherited: boolean
  readonly method: string | undefined
  readonly approvalId: string | undefined
  readonly approver: string | undefined
}

export interface Decision extends FactBase {
  readonly id: string | undefined
  readonly outcome: string | undefined
  readonly enforcement: string | undefined
  readonly effect: string | undefined
  readonly reason: string | undefined
  readonly ruleIds: readonly string[]
  readonly errors: number
  /** Seconds. */
  readonly ttl: number | undefined
  readonly cached: boolean
  readonly engine: string | undefined
  readonly engineVersion: string | undefined
  readonly policyId: string | undefined
  readonly policyVersion: string | undefined
  readonly policyDigest: string | undefined
  readonly policySet: string | undefined
  readonly policyEffectiveAt: number | undefined
  readonly policyPinned: boolean | undefined
  readonly subject: string | undefined
  readonly action: string | undefined
  readonly actionDigest: string | undefined
  readonly resourceType: string | undefined
  readonly resourceId: string | undefined
  readonly obligations: readonly string[]
  /** The artifact that was in force, if exactly one was. */
  readonly fingerprint: string | undefined
  readonly approvalId: string | undefined
}

export interface Verification extends FactBase {
  readonly type: string | undefined
  readonly outcome: string | undefined
  readonly method: string | undefined
  readonly reason: string | undefined
  readonly checks: readonly string[]
  readonly unchecked: readonly string[]
  readonly targetId: string | undefined
  readonly targetFingerprint: string | undefined
}

export interface Transition extends FactBase {
  readonly type: string | undefined
  readonly from: string | undefined
  readonly to: string | undefined
  readonly trigger: string | undefined
  readonly causeId: string | undefined
  readonly targetFingerprint: string | undefined
  readonly engine: string | undefined
}

/** A side effect: said, or inferred from ordinary attributes. It is on the record of its span. */
export interface Action extends FactBase {
  /** Nobody said that it is an action. */
  readonly inferred: boolean
  readonly name: string | undefined
  readonly type: string | undefined
  readonly outcome: string | undefined
  readonly digest: string | undefined
  readonly decisionId: string | undefined
  readonly resourceType: string | undefined
  readonly resourceId: string | undefined
  readonly reason: string | undefined
  readonly risk: string | undefined
  readonly reversible: boolean | undefined
  /** Scopes that it needs; empty where nobody says. */
  readonly requiredScope: readonly string[]
}

/** What an execution began with. It is on the record of its span. */
export interface Request extends FactBase {
  readonly inferred: boolean
  readonly id: string | undefined
  readonly kind: string | undefined
  readonly state: string | undefined
  readonly parentId: string | undefined
}

/** A span's place in the numbering of the process that sent it. */
export interface EmitterMark {
  readonly id: string
  readonly seq: bigint
  readonly prev: string | undefined
  /** What signs of life say was lost so far; undefined on other spans. */
  readonly dropped: number | undefined
  readonly rejected: number | undefined
  /** On signs of life: milliseconds until the next one; 0 where none comes. */
  readonly interval: number | undefined
}

const NO_CLAIMS: readonly Claim[] = []
const NO_TEXTS: readonly string[] = []

/** So many claims are looked through; of more a table is made. */
const FEW = 24

/** Reads the claims of one record. Of several with one key the first counts. */
export class ClaimReader {
  readonly #claims: readonly Claim[]
  readonly #table: ReadonlyMap<string, AnyValue> | undefined

  /** `more` counts where `claims` do not have the key. */
  constructor(claims: readonly Claim[], more: readonly Claim[] = NO_CLAIMS) {
    this.#claims = more.length === 0 ? claims : [...claims, ...more]
    if (this.#claims.length > FEW)
      this.#table = new Map(this.#claims.toReversed().map(({ key, said }) => [key, said]))
  }

  #said(key: string): AnyValue | undefined {
    if (this.#table !== undefined) return this.#table.get(key)
    const claims = this.#claims
    for (let at = 0; at < claims.length; at++) if (claims[at]!.key === key) return claims[at]!.said
    return undefined
  }

  text(key: string): string | undefined {
    const value = this.#said(key)
    return value?.type === 'string' ? value.value : undefined
  }

  /** An integer as a number, or undefined outside of what a number holds exactly. */
  number(key: string): number | undefined {
    const value = this.integer(key)
    const number = Number(value)
    return value !== undefined && Number.isSafeInteger(number) ? number : undefined
  }

  integer(key: string): bigint | undefined {
    const value = this.#said(key)
    return value?.type === 'int' ? value.value : undefined
  }

  flag(key: string): boolean | undefined {
    const value = this.#said(key)
    return value?.type === 'bool' ? value.value : undefined
  }

  /** An array's strings, or a single string as an array of one. */
  list(key: string): string[] | undefined {
    const value = this.#said(key)
    if (value?.type === 'string') return [value.value]
    if (value?.type !== 'array') return undefined
    return value.value.flatMap((item) => (item.type === 'string' ? [item.value] : []))
  }
}

export function readAuthorization({ on, leaf, at }: FactBase, claims: ClaimReader): Authorization {
  return {
    on,
    leaf,
    at,
    id: claims.text('governance.authorization.id'),
    type: claims.text('governance.authorization.type'),
    fingerprint: claims.text('governance.authorization.fingerprint'),
    issuer: claims.text('governance.authorization.issuer'),
    subject: claims.text('governance.authorization.subject'),
    clientId: claims.text('governance.authorization.client.id'),
    actorChain: claims.list('governance.authorization.actor.chain') ?? NO_TEXTS,
    audience: claims.list('governance.authorization.audience'),
    scope: claims.list('governance.authorization.scope'),
    issuedAt: claims.number('governance.authorization.issued_at'),
    notBefore: claims.number('governance.authorization.not_before'),
    expiresAt: claims.number('governance.authorization.expires_at'),
    confirmation: claims.text('governance.authorization.confirmation'),
    verification: claims.text('governance.authorization.verification'),
    status: claims.text('governance.authorization.status'),
    transaction: claims.text('governance.authorization.transaction.id'),
    parentId: claims.text('governance.authorization.parent.id'),
    parentFingerprint: claims.text('governance.authorization.parent.fingerprint'),
    delegationDepth: claims.number('governance.delegation.depth'),
    delegationRoot: claims.text('governance.delegation.root'),
    inherited: claims.flag('governance.authorization.inherited') === true,
    method: claims.text('governance.authorization.method'),
    approvalId: claims.text('governance.approval.id'),
    approver: claims.text('governance.approval.approver.id'),
  }
}

export function readDecision({ on, leaf, at }: FactBase, claims: ClaimReader): Decision {
  return {
    on,
    leaf,
    at,
    id: claims.text('governance.decision.id'),
    outcome: claims.text('governance.decision.outcome'),
    enforcement: claims.text('governance.decision.enforcement'),
    effect: claims.text('governance.decision.effect'),
    reason: claims.text('governance.decision.reason.code'),
    ruleIds: claims.list('governance.decision.rule.ids') ?? NO_TEXTS,
    errors: claims.number('governance.decision.errors.count') ?? 0,
    ttl: claims.number('governance.decision.ttl'),
    cached: claims.flag('governance.decision.cached') === true,
    engine: claims.text('governance.decision.engine.name'),
    engineVersion: claims.text('governance.decision.engine.version'),
    policyId: claims.text('governance.policy.id'),
    policyVersion: claims.text('governance.policy.version'),
    policyDigest: claims.text('governance.policy.digest'),
    policySet: claims.text('governance.policy.set.id'),
    policyEffectiveAt: claims.number('governance.policy.effective_at'),
    policyPinned: claims.flag('governance.policy.pinned'),
    subject: claims.text('governance.decision.subject.id'),
    action: claims.text('governance.action.name') ?? claims.text('governance.decision.action.name'),
    actionDigest: claims.text('governance.action.digest'),
    resourceType: claims.text('governance.decision.resource.type'),
    resourceId: claims.text('governance.decision.resource.id'),
    obligations: claims.list('governance.decision.obligations') ?? NO_TEXTS,
    fingerprint: claims.text('governance.authorization.fingerprint'),
    approvalId: claims.text('governance.approval.id'),
  }
}

export function readVerification({ on, leaf, at }: FactBase, claims: ClaimReader): Verification {
  return {
    on,
    leaf,
    at,
    type: claims.text('governance.verification.type'),
    outcome: claims.text('governance.verification.result'),
    method: claims.text('governance.verification.method'),
    reason: claims.text('governance.verification.reason.code'),
    checks: claims.list('governance.verification.checks') ?? NO_TEXTS,
    unchecked: claims.list('governance.verification.unchecked') ?? NO_TEXTS,
    targetId: claims.text('governance.verification.target.id'),
    targetFingerprint: claims.text('governance.verification.target.fingerprint'),
  }
}

export function readTransition({ on, leaf, at }: FactBase, claims: ClaimReader): Transition {
  return {
    on,
    leaf,
    at,
    type: claims.text('governance.transition.type'),
    from: claims.text('governance.transition.from'),
    to: claims.text('governance.transition.to'),
    trigger: claims.text('governance.transition.trigger'),
    causeId: claims.text('governance.transition.cause.id'),
    targetFingerprint: claims.text('governance.transition.target.fingerprint'),
    engine: claims.text('governance.transition.engine.name'),
  }
}

export function readAction({ on, leaf, at }: FactBase, claims: ClaimReader): Action {
  return {
    on,
    leaf,
    at,
    inferred: claims.flag('governance.action.inferred') === true,
    name: claims.text('governance.action.name'),
    type: claims.text('governance.action.type'),
    outcome: claims.text('governance.action.outcome'),
    digest: claims.text('governance.action.digest'),
    decisionId: claims.text('governance.decision.id'),
    resourceType: claims.text('governance.action.resource.type'),
    resourceId: claims.text('governance.action.resource.id'),
    reason: claims.text('governance.action.reason.code'),
    risk: claims.text('governance.action.risk'),
    reversible: claims.flag('governance.action.reversible'),
    requiredScope: claims.list('governance.action.required_scope') ?? NO_TEXTS,
  }
}

export function readRequest({ on, leaf, at }: FactBase, claims: ClaimReader): Request {
  return {
    on,
    leaf,
    at,
    inferred: false,
    id: claims.text('governance.execution.id'),
    kind: claims.text('governance.execution.kind'),
    state: claims.text('governance.execution.state'),
    parentId: claims.text('governance.execution.parent.id'),
  }
}

/** Of a span's own claims; undefined where they name no emitter or no number. */
export function readEmitter(claims: ClaimReader): EmitterMark | undefined {
  const id = claims.text('governance.emitter.id')
  const seq = claims.integer('governance.emitter.seq')
  if (id === undefined || seq === undefined) return undefined
  return {
    id,
    seq,
    prev: claims.text('governance.emitter.prev'),
    dropped: claims.number('governance.emitter.dropped'),
    rejected: claims.number('governance.emitter.rejected'),
    interval: claims.number('governance.emitter.interval'),
  }
}
