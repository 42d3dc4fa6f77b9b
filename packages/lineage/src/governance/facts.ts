/**
 * Facts: what the `governance.*` attributes of a span and of its events say (docs/formats/record.md, "Facts").
 *
 * The attributes of a span give at most one fact per kind; each governance event gives one more. What
 * concerns the span itself (its request, its action, its emitter) stays on the span-born record.
 *
 * Deliveries that differ in the order of attributes are equal (otlp/content.ts), so that order says nothing here
 * either: claims are in the order of key and encoded value, and of several with one key the first counts.
 */
import { compareBytes } from '../bytes.ts'
import type { KeyValue, Span, SpanEvent } from '../otlp/decode.ts'
import { LOG_RECORD } from '../otlp/log-record.ts'
import { encodeText } from '../otlp/text.ts'
import { type AnyValue, encodeValue } from '../otlp/value.ts'
import { Claim as ClaimKey, DECISION_OUTCOME, NAMESPACE, RECORD_KIND } from './attributes.ts'
import { Kind } from './kind.ts'

export interface Claim {
  readonly key: string
  /** Bytes of the key as received. */
  readonly keyBytes: Uint8Array
  /** Encoded value (otlp/value.ts). */
  readonly value: Uint8Array
  /** What is encoded. */
  readonly said: AnyValue
}

export interface Fact {
  readonly kind: Kind
  readonly claims: readonly Claim[]
  /** Of its event, in nanoseconds since the Unix epoch; 0 where attributes of the span say it. No part of the record. */
  readonly time: bigint
}

export interface SpanFacts {
  /** Kind of the span-born record: request, action or span. */
  readonly kind: Kind
  /** Claims of the span-born record. */
  readonly claims: readonly Claim[]
  /** Facts with records of their own, in record order. */
  readonly facts: readonly Fact[]
}

/** The second word of an attribute name decides what it belongs to; what is not here belongs to the span. */
const KIND_OF_GROUP: ReadonlyMap<string, Kind> = new Map([
  ['authorization', Kind.authorization],
  ['delegation', Kind.authorization],
  ['approval', Kind.authorization],
  ['decision', Kind.decision],
  ['policy', Kind.decision],
  ['verification', Kind.verification],
  ['transition', Kind.transition],
  ['action', Kind.action],
  ['execution', Kind.request],
])

const KIND_OF_NAME: ReadonlyMap<string, Kind> = new Map([
  ['request', Kind.request],
  ['authorization', Kind.authorization],
  ['decision', Kind.decision],
  ['verification', Kind.verification],
  ['action', Kind.action],
  ['transition', Kind.transition],
])

/** Facts of one span come in this order: causes before what relied on them. */
const FACT_ORDER = [Kind.authorization, Kind.verification, Kind.decision, Kind.transition] as const

/** The facts of a decoded span. A span without governance gives the kind `span`, no claims and no facts. */
export function factsOf(span: Span): SpanFacts {
  if (span.kind === LOG_RECORD) return factsOfLog(span)
  const own: Claim[] = []
  const groups = new Map<Kind, Claim[]>()
  let marked: Kind | undefined
  for (const claim of claimsOf(span.attributes)) {
    if (claim.key === RECORD_KIND) marked ??= kindOfName(claim.said)
    const kind = kindOfKey(claim.key)
    if (kind === undefined || kind === Kind.request || kind === Kind.action) own.push(claim)
    else {
      const group = groups.get(kind)
      if (group === undefined) groups.set(kind, [claim])
      else group.push(claim)
    }
  }
  // Without an outcome nothing was decided here: the span refers to a decision taken elsewhere.
  const decision = groups.get(Kind.decision)
  if (decision !== undefined && !decision.some((claim) => claim.key === DECISION_OUTCOME)) {
    for (const claim of decision) own.push(claim)
    groups.delete(Kind.decision)
  }
  const facts: Fact[] = []
  for (const kind of FACT_ORDER) {
    const claims = groups.get(kind)
    if (claims !== undefined) facts.push({ kind, claims, time: 0n })
  }
  for (const event of span.events) {
    const fact = factOfEvent(event)
    if (fact !== undefined) facts.push(fact)
  }
  return { kind: spanKind(own, marked), claims: own, facts }
}

/**
 * A log record says what one event says. What begins an execution, or tells of an action, is its record's own; what
 * is no fact at all, such as a heartbeat, too.
 */
function factsOfLog({ name, attributes, startTimeUnixNano }: Span): SpanFacts {
  const fact = factOfEvent({ name, attributes, timeUnixNano: startTimeUnixNano })
  if (fact === undefined) {
    const eventName = claimOf({ key: ClaimKey.eventName, value: { type: 'string', value: name } })
    return { kind: Kind.span, claims: [...claimsOf(attributes), eventName], facts: [] }
  }
  if (fact.kind === Kind.request || fact.kind === Kind.action) return { ...fact, facts: [] }
  return { kind: Kind.span, claims: [], facts: [fact] }
}

/** Whether a span carries governance: any attribute or event name, or attribute of an event, in the namespace. */
export function isGoverned(span: Span): boolean {
  const governed = (attribute: KeyValue): boolean => attribute.key.startsWith(NAMESPACE)
  return (
    span.attributes.some(governed) ||
    span.events.some((event) => event.name.startsWith(NAMESPACE) || event.attributes.some(governed))
  )
}

function spanKind(own: readonly Claim[], marked: Kind | undefined): Kind {
  if (marked === Kind.action || marked === Kind.request) return marked
  if (own.some((claim) => kindOfKey(claim.key) === Kind.action)) return Kind.action
  if (own.some((claim) => kindOfKey(claim.key) === Kind.request)) return Kind.request
  return Kind.span
}

/** A governance event: named in the namespace, or carrying attributes of it. Its kind is said, named or inferred. */
function factOfEvent({
  name,
  attributes,
  timeUnixNano,
}: Pick<SpanEvent, 'name' | 'attributes' | 'timeUnixNano'>): Fact | undefined {
  const claims = claimsOf(attributes)
  const found = (kindOf: (claim: Claim) => Kind | undefined): Kind | undefined =>
    claims.map(kindOf).find((kind) => kind !== undefined)
  const kind =
    found(({ key, said }) => (key === RECORD_KIND ? kindOfName(said) : undefined)) ??
    (name.startsWith(NAMESPACE) ? KIND_OF_GROUP.get(groupOf(name)) : undefined) ??
    found(({ key }) => kindOfKey(key))
  if (kind === undefined) return undefined
  const eventName = claimOf({ key: ClaimKey.eventName, value: { type: 'string', value: name } })
  return { kind, claims: [...claims, eventName], time: timeUnixNano }
}

/** The kind that a value names. */
function kindOfName(value: AnyValue): Kind | undefined {
  return value.type === 'string' ? KIND_OF_NAME.get(value.value) : undefined
}

function kindOfKey(key: string): Kind | undefined {
  return KIND_OF_GROUP.get(groupOf(key))
}

/** `decision` of `governance.decision.id`. */
function groupOf(key: string): string {
  const end = key.indexOf('.', NAMESPACE.length)
  return key.slice(NAMESPACE.length, end === -1 ? undefined : end)
}

function claimOf({ key, value }: KeyValue): Claim {
  return { key, keyBytes: encodeText(key), value: encodeValue(value), said: value }
}

/** The attributes of the namespace as claims, in the order of key, then value. */
function claimsOf(attributes: readonly KeyValue[]): Claim[] {
  return attributes
    .filter(({ key }) => key.startsWith(NAMESPACE))
    .map(claimOf)
    .sort((a, b) => compareBytes(a.keyBytes, b.keyBytes) || compareBytes(a.value, b.value))
}
