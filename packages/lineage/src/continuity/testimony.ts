/**
 * Testimony: what a record says that the context of another execution may name it for (docs/formats/record.md,
 * "Testimony"). It is one claim more on that record, so that one opening proves a statement and shows nothing else:
 * time and service are in it, which no other claim has, and what was not said is empty in it, which no opening of
 * single claims could show.
 */
import { equalBytes } from '../bytes.ts'
import { type Claim, type Fact, factsOf, type SpanFacts } from '../governance/facts.ts'
import { Kind } from '../governance/kind.ts'
import type { AnyValue, KeyValue, Span } from '../otlp/decode.ts'
import { encodeText } from '../otlp/text.ts'
import { encodeValue } from '../otlp/value.ts'
import type { SpanInput } from '../record/order.ts'
import { ClaimReader, readEmitter } from './facts.ts'
import { describedBy } from './sources.ts'

/** Keys of the claims, by what they are for. */
export const Testimony = {
  revocation: 'rootspan.revocation',
  use: 'rootspan.use',
  policy: 'rootspan.policy',
  emitter: 'rootspan.emitter',
} as const
export type Testimony = (typeof Testimony)[keyof typeof Testimony]

const AUTHORIZATION_ID = 'governance.authorization.id'
const AUTHORIZATION_TYPE = 'governance.authorization.type'
const FINGERPRINT = 'governance.authorization.fingerprint'
const ISSUER = 'governance.authorization.issuer'
const STATUS = 'governance.authorization.status'
const SUBJECT = 'governance.authorization.subject'
const TRANSACTION = 'governance.authorization.transaction.id'
const APPROVAL = 'governance.approval.id'
const POLICY_ID = 'governance.policy.id'
const EMITTER_SEQ = 'governance.emitter.seq'
const SERVICE_NAME = 'service.name'

/** The attributes that each testimony is made of: who erases one of them erases the testimony. */
const MADE_OF: Readonly<Record<Testimony, readonly string[]>> = {
  [Testimony.revocation]: [STATUS, FINGERPRINT, AUTHORIZATION_ID, SUBJECT, TRANSACTION, ISSUER],
  [Testimony.use]: [STATUS, TRANSACTION, APPROVAL, AUTHORIZATION_TYPE, AUTHORIZATION_ID],
  [Testimony.policy]: [
    'governance.decision.engine.name',
    POLICY_ID,
    'governance.policy.version',
    'governance.policy.digest',
    SERVICE_NAME,
  ],
  [Testimony.emitter]: ['governance.emitter.id', EMITTER_SEQ, 'governance.emitter.prev'],
}

/** Attributes that the claim with this key is made of, beside the one of its own name. */
export function sourcesOf(key: string): readonly string[] {
  return Object.hasOwn(MADE_OF, key) ? MADE_OF[key as Testimony] : []
}

/** What an artifact is known by, as far as others may be told. */
export interface Named {
  readonly fingerprint: string | undefined
  readonly id: string | undefined
  readonly subject: string | undefined
  readonly transaction: string | undefined
  readonly type: string | undefined
  readonly approvalId: string | undefined
}

type Name = readonly [by: string, value: string]
const NO_NAMES: readonly Name[] = []

/**
 * What a revocation revokes. An artifact with a name of its own is that artifact; only without one is everything of its
 * subject or transaction meant.
 */
export function revokedNames({ fingerprint, id, subject, transaction }: Named): Name[] {
  const own = said([
    ['fingerprint', fingerprint],
    ['id', id],
  ])
  return own.length > 0
    ? own.slice(0, 1)
    : said([
        ['subject', subject],
        ['transaction', transaction],
      ])
}

/** Names under which an artifact may be used in one execution only. */
export function oneTimeNames({ transaction, approvalId, type, id }: Named): readonly Name[] {
  if (transaction === undefined && approvalId === undefined && type !== 'approval') return NO_NAMES
  return said([
    ['transaction', transaction],
    ['approval', approvalId ?? (type === 'approval' ? id : undefined)],
  ])
}

function said(names: readonly (readonly [by: string, value: string | undefined])[]): Name[] {
  return names.flatMap(([by, value]) => (value === undefined ? [] : [[by, value] as const]))
}

/** {@link factsOf} a span, with the testimony of each record: what its records commit to. */
export function testifiedFacts(span: Span, input: SpanInput): SpanFacts {
  const { kind, claims, facts } = factsOf(span)
  return {
    kind,
    claims: withClaim(claims, emitterOf(claims)),
    facts: facts.map((fact) => ({ ...fact, claims: withClaim(fact.claims, testimonyOf(fact, span, input)) })),
  }
}

function withClaim(claims: readonly Claim[], more: Claim | undefined): readonly Claim[] {
  return more === undefined ? claims : [...claims, more]
}

function testimonyOf(fact: Fact, span: Span, input: SpanInput): Claim | undefined {
  if (fact.kind === Kind.authorization) return authorizationOf(fact, span)
  return fact.kind === Kind.decision ? policyOf(fact, span, input) : undefined
}

/** Looks at the keys first: hardly any artifact is revoked, or for one use. */
function authorizationOf({ claims, time }: Fact, span: Span): Claim | undefined {
  if (!claims.some(isTold)) return undefined
  const reader = new ClaimReader(claims)
  const named: Named = {
    fingerprint: reader.text('governance.authorization.fingerprint'),
    id: reader.text('governance.authorization.id'),
    subject: reader.text('governance.authorization.subject'),
    transaction: reader.text('governance.authorization.transaction.id'),
    type: reader.text('governance.authorization.type'),
    approvalId: reader.text('governance.approval.id'),
  }
  if (reader.text('governance.authorization.status') !== 'revoked') {
    const names = oneTimeNames(named)
    return names.length === 0 ? undefined : claimOf(Testimony.use, names.map(member))
  }
  const names = revokedNames(named)
  if (names.length === 0) return undefined
  return claimOf(Testimony.revocation, [
    { key: 'at', value: { type: 'int', value: time !== 0n ? time : span.startTimeUnixNano } },
    member(['issuer', reader.text('governance.authorization.issuer') ?? '']),
    ...names.map(member),
  ])
}

const TOLD: ReadonlySet<string> = new Set([STATUS, TRANSACTION, APPROVAL])
const APPROVAL_TYPE = encodeValue({ type: 'string', value: 'approval' })

function isTold({ key, value }: Claim): boolean {
  return TOLD.has(key) || (key === AUTHORIZATION_TYPE && equalBytes(value, APPROVAL_TYPE))
}

function policyOf({ claims, time }: Fact, span: Span, input: SpanInput): Claim | undefined {
  if (!claims.some(({ key }) => key === POLICY_ID)) return undefined
  const reader = new ClaimReader(claims)
  const policy = reader.text('governance.policy.id')
  const version = reader.text('governance.policy.version')
  const digest = reader.text('governance.policy.digest')
  if (policy === undefined || (version === undefined && digest === undefined)) return undefined
  return claimOf(Testimony.policy, [
    { key: 'at', value: { type: 'int', value: time !== 0n ? time : span.endTimeUnixNano } },
    member(['engine', reader.text('governance.decision.engine.name') ?? '']),
    member(['policy', policy]),
    member(['version', version ?? '']),
    member(['digest', digest ?? '']),
    member(['service', describedBy(input).name]),
  ])
}

function emitterOf(claims: readonly Claim[]): Claim | undefined {
  if (!claims.some(({ key }) => key === EMITTER_SEQ)) return undefined
  const mark = readEmitter(new ClaimReader(claims))
  if (mark === undefined) return undefined
  return claimOf(Testimony.emitter, [
    member(['id', mark.id]),
    { key: 'seq', value: { type: 'int', value: mark.seq } },
    member(['prev', mark.prev ?? '']),
  ])
}

function member([key, value]: Name): KeyValue {
  return { key, value: { type: 'string', value } }
}

const KEY_BYTES = new Map<string, Uint8Array>(Object.values(Testimony).map((key) => [key, encodeText(key)]))

function claimOf(key: Testimony, members: readonly KeyValue[]): Claim {
  const value: AnyValue = { type: 'kvlist', value: members }
  return { key, keyBytes: KEY_BYTES.get(key)!, value: encodeValue(value), said: value }
}
