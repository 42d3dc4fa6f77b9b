/**
 * Facts with their values read: what rules, `why` and people look at. Which claims make a fact is decided in
 * `governance/facts.ts`; here their values become text and numbers. A value of another type than expected is absent.
 */

import { NAMESPACE } from '../governance/attributes.ts'
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

/** Reads the claims of one record. Of several with one key the first counts. Keys are without the namespace. */
export class ClaimReader {
  readonly #values = new Map<string, AnyValue>()

  /** Claims of later lists count where earlier ones do not have the key. */
  constructor(...lists: readonly (readonly Claim[])[]) {
    for (const claims of lists)
      for (const { key, said } of claims) {
        const name = key.startsWith(NAMESPACE) ? key.slice(NAMESPACE.length) : undefined
        if (name !== undefined && !this.#values.has(name)) this.#values.set(name, said)
      }
  }

  text(key: string): string | undefined {
    const value = this.#values.get(key)
    return value?.type === 'string' ? value.value : undefined
  }

  /** An integer as a number, or undefined outside of what a number holds exactly. */
  number(key: string): number | undefined {
    const value = this.integer(key)
    const number = Number(value)
    return value !== undefined && Number.isSafeInteger(number) ? number : undefined
  }

  integer(key: string): bigint | undefined {
    const value = this.#values.get(key)
    return value?.type === 'int' ? value.value : undefined
  }

  flag(key: string): boolean | undefined {
    const value = this.#values.get(key)
    return value?.type === 'bool' ? value.value : undefined
  }

  /** An array's strings, or a single string as an array of one. */
  list(key: string): string[] | undefined {
    const value = this.#values.get(key)
    if (value?.type === 'string') return [value.value]
    if (value?.type !== 'array') return undefined
    return value.value.flatMap((item) => (item.type === 'string' ? [item.value] : []))
  }
}

export function readAuthorization(base: FactBase, claims: ClaimReader): Authorization {
  return {
    ...base,
    id: claims.text('authorization.id'),
    type: claims.text('authorization.type'),
    fingerprint: claims.text('authorization.fingerprint'),
    issuer: claims.text('authorization.issuer'),
    subject: claims.text('authorization.subject'),
    clientId: claims.text('authorization.client.id'),
    actorChain: claims.list('authorization.actor.chain') ?? [],
    audience: claims.list('authorization.audience'),
    scope: claims.list('authorization.scope'),
    issuedAt: claims.number('authorization.issued_at'),
    notBefore: claims.number('authorization.not_before'),
    expiresAt: claims.number('authorization.expires_at'),
    confirmation: claims.text('authorization.confirmation'),
    verification: claims.text('authorization.verification'),
    status: claims.text('authorization.status'),
    transaction: claims.text('authorization.transaction.id'),
    parentId: claims.text('authorization.parent.id'),
    parentFingerprint: claims.text('authorization.parent.fingerprint'),
    delegationDepth: claims.number('delegation.depth'),
    delegationRoot: claims.text('delegation.root'),
    inherited: claims.flag('authorization.inherited') === true,
    method: claims.text('authorization.method'),
    approvalId: claims.text('approval.id'),
    approver: claims.text('approval.approver.id'),
  }
}

export function readDecision(base: FactBase, claims: ClaimReader): Decision {
  return {
    ...base,
    id: claims.text('decision.id'),
    outcome: claims.text('decision.outcome'),
    enforcement: claims.text('decision.enforcement'),
    effect: claims.text('decision.effect'),
    reason: claims.text('decision.reason.code'),
    ruleIds: claims.list('decision.rule.ids') ?? [],
    errors: claims.number('decision.errors.count') ?? 0,
    ttl: claims.number('decision.ttl'),
    cached: claims.flag('decision.cached') === true,
    engine: claims.text('decision.engine.name'),
    engineVersion: claims.text('decision.engine.version'),
    policyId: claims.text('policy.id'),
    policyVersion: claims.text('policy.version'),
    policyDigest: claims.text('policy.digest'),
    policySet: claims.text('policy.set.id'),
    policyEffectiveAt: claims.number('policy.effective_at'),
    policyPinned: claims.flag('policy.pinned'),
    subject: claims.text('decision.subject.id'),
    action: claims.text('action.name') ?? claims.text('decision.action.name'),
    actionDigest: claims.text('action.digest'),
    resourceType: claims.text('decision.resource.type'),
    resourceId: claims.text('decision.resource.id'),
    obligations: claims.list('decision.obligations') ?? [],
    fingerprint: claims.text('authorization.fingerprint'),
    approvalId: claims.text('approval.id'),
  }
}

export function readVerification(base: FactBase, claims: ClaimReader): Verification {
  return {
    ...base,
    type: claims.text('verification.type'),
    outcome: claims.text('verification.result'),
    method: claims.text('verification.method'),
    reason: claims.text('verification.reason.code'),
    checks: claims.list('verification.checks') ?? [],
    unchecked: claims.list('verification.unchecked') ?? [],
    targetId: claims.text('verification.target.id'),
    targetFingerprint: claims.text('verification.target.fingerprint'),
  }
}

export function readTransition(base: FactBase, claims: ClaimReader): Transition {
  return {
    ...base,
    type: claims.text('transition.type'),
    from: claims.text('transition.from'),
    to: claims.text('transition.to'),
    trigger: claims.text('transition.trigger'),
    causeId: claims.text('transition.cause.id'),
    targetFingerprint: claims.text('transition.target.fingerprint'),
    engine: claims.text('transition.engine.name'),
  }
}

export function readAction(base: FactBase, claims: ClaimReader): Action {
  return {
    ...base,
    inferred: claims.flag('action.inferred') === true,
    name: claims.text('action.name'),
    type: claims.text('action.type'),
    outcome: claims.text('action.outcome'),
    digest: claims.text('action.digest'),
    decisionId: claims.text('decision.id'),
    resourceType: claims.text('action.resource.type'),
    resourceId: claims.text('action.resource.id'),
    reason: claims.text('action.reason.code'),
    risk: claims.text('action.risk'),
    reversible: claims.flag('action.reversible'),
    requiredScope: claims.list('action.required_scope') ?? [],
  }
}

export function readRequest(base: FactBase, claims: ClaimReader): Request {
  return {
    ...base,
    inferred: false,
    id: claims.text('execution.id'),
    kind: claims.text('execution.kind'),
    state: claims.text('execution.state'),
    parentId: claims.text('execution.parent.id'),
  }
}

/** Of a span's own claims; undefined where they name no emitter or no number. */
export function readEmitter(claims: ClaimReader): EmitterMark | undefined {
  const id = claims.text('emitter.id')
  const seq = claims.integer('emitter.seq')
  if (id === undefined || seq === undefined) return undefined
  return {
    id,
    seq,
    prev: claims.text('emitter.prev'),
    dropped: claims.number('emitter.dropped'),
    rejected: claims.number('emitter.rejected'),
    interval: claims.number('emitter.interval'),
  }
}
