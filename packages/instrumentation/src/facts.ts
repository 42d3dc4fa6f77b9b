/**
 * Facts: what hooks and the API say about authorization and policy, and the attribute that each part becomes.
 *
 * This table is the only place where a value of the application becomes an attribute, and it says in which form. A
 * hook passes tokens and identities as they are; it cannot leak them. What is absent stays absent.
 */
import type { Attributes } from '@opentelemetry/api'
import type { AttributeName } from './attributes.ts'
import type { Secrets } from './secrets.ts'

/** An authorization artifact: a token, a session, an approval, a certificate. */
export interface Authorization {
  /** The artifact itself, such as the token's text. Leaves as a fingerprint. */
  readonly token?: string | Uint8Array | undefined
  /** Identifier that its issuer gave it: `jti`, serial number, approval id. */
  readonly id?: string | undefined
  /** `jwt`, `opaque`, `session`, `basic`, `approval`, `svid`, ... */
  readonly type?: string | undefined
  readonly issuer?: string | undefined
  /** An identity. */
  readonly subject?: string | undefined
  /** OAuth client, if it is not the subject. An identity. */
  readonly clientId?: string | undefined
  /** Who acts for whom, current actor first (RFC 8693, `act`). Identities. */
  readonly actorChain?: readonly string[] | undefined
  readonly audience?: string | readonly string[] | undefined
  readonly scope?: string | readonly string[] | undefined
  /** `authorization_details` of RFC 9396. Leaves as a commitment. */
  readonly details?: unknown
  readonly keyId?: string | undefined
  readonly algorithm?: string | undefined
  /** Seconds since 1970. */
  readonly issuedAt?: number | undefined
  readonly notBefore?: number | undefined
  readonly expiresAt?: number | undefined
  readonly confirmation?: 'none' | 'dpop' | 'mtls' | 'pop' | undefined
  readonly verification?: 'verified' | 'failed' | 'unverified' | 'skipped' | undefined
  readonly status?: 'active' | 'expired' | 'revoked' | 'superseded' | undefined
  /** Transaction of a transaction token (`txn`). */
  readonly transactionId?: string | undefined
  /** Id or token of the artifact from which it was exchanged. */
  readonly parentId?: string | undefined
  readonly parentToken?: string | undefined
  readonly delegationDepth?: number | undefined
  /** Of an approval: who gave it. An identity. */
  readonly approver?: string | undefined
  /** Passport strategy, verifier or other part of the application that presented it. */
  readonly method?: string | undefined
}

/** A check and its result. */
export interface Verification {
  readonly type:
    | 'credential'
    | 'revocation'
    | 'attestation'
    | 'policy_bundle'
    | 'approval'
    | 'enforcement'
    | 'integrity'
  readonly result: 'pass' | 'fail' | 'unknown'
  /** What checked, such as `jsonwebtoken.verify`. */
  readonly method?: string | undefined
  /** Why it failed, in one word of a closed list of the hook's own. */
  readonly reason?: string | undefined
  /** What was looked at: `signature`, `expiry`, `audience`, ... */
  readonly checks?: readonly string[] | undefined
  /** What could have been looked at there and was not, such as `audience` without a setting for it. */
  readonly unchecked?: readonly string[] | undefined
  /** The artifact that was checked. Leaves as a fingerprint. */
  readonly token?: string | Uint8Array | undefined
  readonly targetId?: string | undefined
}

export type Outcome =
  | 'allow'
  | 'deny'
  | 'conditional'
  | 'approval_required'
  | 'transform'
  | 'not_applicable'
  | 'error'

/** What a policy engine answered. Subject, action and resource are AuthZEN's. */
export interface Decision {
  /** The engine's own id; one is made where it has none. */
  readonly id?: string | undefined
  /** Undefined: it is not known, as of an answer that could not be looked into. */
  readonly outcome: Outcome | undefined
  /** Whether the application is bound to the answer. Hooks that cannot know leave it out. */
  readonly enforcement?: 'enforced' | 'dry_run' | 'advisory' | undefined
  readonly effect?: 'permitted' | 'blocked' | 'modified' | 'deferred' | undefined
  /** An identity. */
  readonly subject?: string | undefined
  readonly subjectType?: string | undefined
  readonly action?: string | undefined
  readonly resourceType?: string | undefined
  /** An identity. */
  readonly resourceId?: string | undefined
  /** All that the engine was asked with. Leaves as a commitment. */
  readonly input?: unknown
  /** All that it answered, where that is more than the outcome. Leaves as a commitment. */
  readonly output?: unknown
  readonly reason?: string | undefined
  readonly ruleIds?: readonly string[] | undefined
  readonly errors?: number | undefined
  /** Seconds for which the answer may be used. */
  readonly ttl?: number | undefined
  readonly cached?: boolean | undefined
  readonly obligations?: readonly string[] | undefined
  readonly engine?: string | undefined
  readonly engineVersion?: string | undefined
  readonly policyId?: string | undefined
  readonly policyVersion?: string | undefined
  readonly policyDigest?: string | undefined
  readonly policySetId?: string | undefined
  /** Revision of the data that the policy looked at (ZedToken, tuple store). */
  readonly dataRevision?: string | undefined
  /** Whether the caller pinned the policy's version. */
  readonly policyPinned?: boolean | undefined
  readonly effectiveAt?: number | undefined
  /** Binds the decision to one action: the same digest is on the action. */
  readonly actionDigest?: string | undefined
  /** Name of the governed action that it is about, as that action names itself. */
  readonly actionName?: string | undefined
}

/** A change of what governs: policy loaded, authority swapped, oversight, mode. */
export interface Transition {
  readonly type: 'state' | 'policy' | 'authority' | 'oversight' | 'mode'
  readonly from?: string | undefined
  readonly to: string
  readonly trigger?: string | undefined
  readonly causeId?: string | undefined
  /** The artifact whose authority changed. Leaves as a fingerprint. */
  readonly token?: string | Uint8Array | undefined
  readonly engine?: string | undefined
  readonly policyId?: string | undefined
  readonly policyDigest?: string | undefined
}

/** A side effect. It is a span, not an event: these become the span's attributes. */
export interface Action {
  /** The id that who ordered it gave it, such as a model's id of a tool call. */
  readonly id?: string | undefined
  readonly name?: string | undefined
  readonly type?:
    | 'read'
    | 'write'
    | 'delete'
    | 'execute'
    | 'transfer'
    | 'grant'
    | 'configure'
    | 'communicate'
    | undefined
  readonly risk?: string | undefined
  /** Scopes that the authorization must have. */
  readonly requiredScope?: readonly string[] | undefined
  readonly effect?: string | undefined
  readonly reversible?: boolean | undefined
  readonly resourceType?: string | undefined
  /** An identity. */
  readonly resourceId?: string | undefined
  /** Leave as commitments. */
  readonly arguments?: unknown
  readonly result?: unknown
  readonly digest?: string | undefined
  readonly outcome?: 'success' | 'failure' | 'partial' | 'unknown' | 'refused' | undefined
  /** Why it was refused: `decision_deny`, `decision_for_another_action`, `not_acknowledged`, ... */
  readonly reason?: string | undefined
  /** Whether it was told from the span's ordinary attributes. */
  readonly inferred?: boolean | undefined
}

/** What runs: the local root of a request, a message, a job. Attributes of its span. */
export interface Execution {
  readonly id?: string | undefined
  readonly kind?: string | undefined
  readonly state?: string | undefined
  readonly parentId?: string | undefined
}

export interface FactTypes {
  authorization: Authorization
  verification: Verification
  decision: Decision
  transition: Transition
  action: Action
  execution: Execution
}

export type FactKind = keyof FactTypes

/**
 * text, texts, count (integer), flag: as they are, bounded. identity: as a fingerprint, unless the operator wants
 * them in clear. secret: always as a fingerprint. content: as a commitment to its canonical JSON.
 */
type Form = 'text' | 'texts' | 'count' | 'flag' | 'identity' | 'identities' | 'secret' | 'content'

/** Names are those of the registry, `docs/semantic-conventions/registry`: an entry there, and `npm run generate`. */
type Table = {
  readonly [K in FactKind]: { readonly [F in keyof FactTypes[K]]-?: readonly [AttributeName, Form] }
}

/** Prefix of all attributes and of the events that carry facts: `governance.decision`. */
export const NAMESPACE = 'governance.'

const A = 'governance.authorization.'
const D = 'governance.decision.'
const P = 'governance.policy.'
const V = 'governance.verification.'
const T = 'governance.transition.'
const X = 'governance.action.'

export const TABLE: Table = {
  authorization: {
    token: [`${A}fingerprint`, 'secret'],
    id: [`${A}id`, 'text'],
    type: [`${A}type`, 'text'],
    issuer: [`${A}issuer`, 'text'],
    subject: [`${A}subject`, 'identity'],
    clientId: [`${A}client.id`, 'identity'],
    actorChain: [`${A}actor.chain`, 'identities'],
    audience: [`${A}audience`, 'texts'],
    scope: [`${A}scope`, 'texts'],
    details: [`${A}details.commitment`, 'content'],
    keyId: [`${A}key.id`, 'text'],
    algorithm: [`${A}algorithm`, 'text'],
    issuedAt: [`${A}issued_at`, 'count'],
    notBefore: [`${A}not_before`, 'count'],
    expiresAt: [`${A}expires_at`, 'count'],
    confirmation: [`${A}confirmation`, 'text'],
    verification: [`${A}verification`, 'text'],
    status: [`${A}status`, 'text'],
    transactionId: [`${A}transaction.id`, 'text'],
    parentId: [`${A}parent.id`, 'text'],
    parentToken: [`${A}parent.fingerprint`, 'secret'],
    delegationDepth: ['governance.delegation.depth', 'count'],
    approver: ['governance.approval.approver.id', 'identity'],
    method: [`${A}method`, 'text'],
  },
  verification: {
    type: [`${V}type`, 'text'],
    result: [`${V}result`, 'text'],
    method: [`${V}method`, 'text'],
    reason: [`${V}reason.code`, 'text'],
    checks: [`${V}checks`, 'texts'],
    unchecked: [`${V}unchecked`, 'texts'],
    token: [`${V}target.fingerprint`, 'secret'],
    targetId: [`${V}target.id`, 'text'],
  },
  decision: {
    id: [`${D}id`, 'text'],
    outcome: [`${D}outcome`, 'text'],
    enforcement: [`${D}enforcement`, 'text'],
    effect: [`${D}effect`, 'text'],
    subject: [`${D}subject.id`, 'identity'],
    subjectType: [`${D}subject.type`, 'text'],
    action: [`${D}action.name`, 'text'],
    resourceType: [`${D}resource.type`, 'text'],
    resourceId: [`${D}resource.id`, 'identity'],
    input: [`${D}input.commitment`, 'content'],
    output: [`${D}output.commitment`, 'content'],
    reason: [`${D}reason.code`, 'text'],
    ruleIds: [`${D}rule.ids`, 'texts'],
    errors: [`${D}errors.count`, 'count'],
    ttl: [`${D}ttl`, 'count'],
    cached: [`${D}cached`, 'flag'],
    obligations: [`${D}obligations`, 'texts'],
    engine: [`${D}engine.name`, 'text'],
    engineVersion: [`${D}engine.version`, 'text'],
    policyId: [`${P}id`, 'text'],
    policyVersion: [`${P}version`, 'text'],
    policyDigest: [`${P}digest`, 'text'],
    policySetId: [`${P}set.id`, 'text'],
    dataRevision: [`${P}data.revision`, 'text'],
    policyPinned: [`${P}pinned`, 'flag'],
    effectiveAt: [`${P}effective_at`, 'count'],
    actionDigest: [`${X}digest`, 'text'],
    actionName: [`${X}name`, 'text'],
  },
  transition: {
    type: [`${T}type`, 'text'],
    from: [`${T}from`, 'text'],
    to: [`${T}to`, 'text'],
    trigger: [`${T}trigger`, 'text'],
    causeId: [`${T}cause.id`, 'text'],
    token: [`${T}target.fingerprint`, 'secret'],
    engine: [`${T}engine.name`, 'text'],
    policyId: [`${P}id`, 'text'],
    policyDigest: [`${P}digest`, 'text'],
  },
  action: {
    id: [`${X}id`, 'text'],
    name: [`${X}name`, 'text'],
    type: [`${X}type`, 'text'],
    risk: [`${X}risk`, 'text'],
    requiredScope: [`${X}required_scope`, 'texts'],
    effect: [`${X}effect`, 'text'],
    reversible: [`${X}reversible`, 'flag'],
    resourceType: [`${X}resource.type`, 'text'],
    resourceId: [`${X}resource.id`, 'identity'],
    arguments: [`${X}arguments.commitment`, 'content'],
    result: [`${X}result.commitment`, 'content'],
    digest: [`${X}digest`, 'text'],
    outcome: [`${X}outcome`, 'text'],
    reason: [`${X}reason.code`, 'text'],
    inferred: [`${X}inferred`, 'flag'],
  },
  execution: {
    id: ['governance.execution.id', 'text'],
    kind: ['governance.execution.kind', 'text'],
    state: ['governance.execution.state', 'text'],
    parentId: ['governance.execution.parent.id', 'text'],
  },
}

/** The last span of a process. */
export const GOODBYE = `${NAMESPACE}goodbye`

/** Attributes that are not part of a fact. */
export const Name = {
  recordKind: 'governance.record.kind',
  decisionId: 'governance.decision.id',
  /** Decisions that one event stands for, where they were too many to have one each. */
  decisionCount: 'governance.decision.count',
  authorizationFingerprint: 'governance.authorization.fingerprint',
  /** The artifact was verified elsewhere in this execution and is in force here. */
  authorizationInherited: 'governance.authorization.inherited',
  actionOutcome: 'governance.action.outcome',
  /** Values of this fact, or of this span, that were cut or left out because of their size. */
  truncated: 'governance.truncated.values',
  /** Facts of this span that were left out because there were too many. */
  omitted: 'governance.truncated.facts',
  emitterId: 'governance.emitter.id',
  emitterSequence: 'governance.emitter.seq',
  emitterPrevious: 'governance.emitter.prev',
  /** Counts since the process began, on heartbeats. Governed spans that are lost: no room, or refused for good. */
  emitterDropped: 'governance.emitter.dropped',
  emitterRejected: 'governance.emitter.rejected',
  /** Requests that were not taken, and sent again. */
  emitterFailures: 'governance.emitter.failures',
  /** Governed spans that have not ended, and that are not acknowledged. */
  emitterOpen: 'governance.emitter.open',
  /** On signs of life: milliseconds until the next heartbeat, 0 where none comes. */
  emitterInterval: 'governance.emitter.interval',
  emitterWaiting: 'governance.emitter.waiting',
  /** What the SDK dropped and cut, facts that had no room on their span, and values of facts that were cut. */
  emitterTruncated: 'governance.emitter.truncated',
  /** Facts for which no span could be had. */
  emitterUnrecorded: 'governance.emitter.unrecorded',
  /** Failures of the instrumentation itself. */
  emitterErrors: 'governance.emitter.errors',
  /** How governed spans are kept until they are acknowledged: `memory`, `spool`, or the SDK's own `batch`. */
  emitterDelivery: 'governance.emitter.delivery',
  /** Why the process said goodbye. */
  emitterReason: 'governance.emitter.reason',
  /** The span had not ended when its process died: this is what it said so far. */
  emitterUnfinished: 'governance.emitter.unfinished',
  /** A process that ended without a goodbye, and what of its spool was sent. */
  recoveredId: 'governance.emitter.recovered.id',
  recoveredSpans: 'governance.emitter.recovered.spans',
  recoveredUnfinished: 'governance.emitter.recovered.unfinished',
  recoveredTorn: 'governance.emitter.recovered.torn_bytes',
  /** Why the span was recorded although a sampler said no. */
  samplingOverride: 'governance.emitter.sampling',
  instrumentationVersion: 'governance.instrumentation.version',
  instrumentationHooks: 'governance.instrumentation.hooks',
} as const satisfies Readonly<Record<string, AttributeName>>

/** In the place of content that may have changed by the time of its fact: what was committed to before. */
export class Commitment {
  readonly #text: string | undefined

  constructor(text: string | undefined) {
    this.#text = text
  }

  /** Undefined of what was over the bounds. */
  get text(): string | undefined {
    return this.#text
  }

  /** Whether a value is one; whatever it is, it is not asked, as it would be by `instanceof`. */
  static is(value: unknown): value is Commitment {
    return typeof value === 'object' && value !== null && #text in value
  }
}

const MAX_TEXT = 1024
const MAX_TEXTS = 64
/** Longer identities and tokens are fingerprinted as they are; beyond this they are left out. */
const MAX_SECRET = 1 << 20

/** Encodes facts into attributes; never throws, whatever the values are. */
export type FactEncoder = <K extends FactKind>(kind: K, fact: FactTypes[K]) => Attributes

export function createEncoder(secrets: Secrets, identities: 'fingerprint' | 'clear'): FactEncoder {
  /** What a value becomes: undefined if it is not of its form, null if it is too large. */
  const encode = (form: Form, value: unknown): Attributes[string] | null => {
    switch (form) {
      case 'text':
        return textOf(value)
      case 'texts':
        return textsOf(value)
      case 'count':
        return typeof value === 'number' && Number.isFinite(value) ? Math.trunc(value) : undefined
      case 'flag':
        return typeof value === 'boolean' ? value : undefined
      case 'identity':
        return identities === 'clear' ? textOf(value) : fingerprintOf(value)
      case 'identities': {
        const texts = textsOf(value)
        return identities === 'clear' ? texts : texts?.map((text) => secrets.fingerprint(text))
      }
      case 'secret':
        return fingerprintOf(value)
      case 'content':
        return (Commitment.is(value) ? value.text : secrets.commit(value)) ?? null
    }
  }
  const fingerprintOf = (value: unknown): string | undefined | null => {
    const plain = typeof value === 'number' ? String(value) : value
    if (typeof plain !== 'string' && !(plain instanceof Uint8Array)) return undefined
    if (plain.length === 0) return undefined
    return plain.length > MAX_SECRET ? null : secrets.fingerprint(plain)
  }
  return (kind, fact) => {
    const attributes: Attributes = {}
    let truncated = 0
    const columns = TABLE[kind] as Readonly<Record<string, readonly [string, Form]>>
    for (const field in fact) {
      const column = columns[field]
      if (column === undefined) continue
      let encoded: Attributes[string] | null
      try {
        const value: unknown = fact[field]
        if (value === undefined || value === null) continue
        encoded = encode(column[1], value)
        if (isCut(column[1], value)) truncated++
      } catch {
        encoded = null
      }
      if (encoded === null) truncated++
      else if (encoded !== undefined) attributes[column[0]] = encoded
    }
    if (truncated > 0) attributes[Name.truncated] = truncated
    return attributes
  }
}

function textOf(value: unknown): string | undefined {
  const text = typeof value === 'number' || typeof value === 'boolean' ? String(value) : value
  if (typeof text !== 'string' || text === '') return undefined
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT).toWellFormed()}…` : text.toWellFormed()
}

function textsOf(value: unknown): string[] | undefined {
  const values = Array.isArray(value) ? value.slice(0, MAX_TEXTS) : [value]
  const texts = values.map(textOf).filter((text) => text !== undefined)
  return texts.length === 0 ? undefined : texts
}

function isCut(form: Form, value: unknown): boolean {
  const isLong = (one: unknown): boolean => typeof one === 'string' && one.length > MAX_TEXT
  if (form === 'text') return isLong(value)
  if (form === 'texts' || form === 'identities')
    return Array.isArray(value) ? value.length > MAX_TEXTS || value.some(isLong) : isLong(value)
  return false
}
