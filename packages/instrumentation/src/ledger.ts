/** What the facts of one open span come to: its events, and the decisions that are aggregated. */
import type { Span } from '@opentelemetry/api'
import type { SpanEvent } from './delivery/span.ts'
import type { FactEvent } from './fact-event.ts'
import { Commitment, type Decision, NAMESPACE, Name, TABLE } from './facts.ts'
import { isSame } from './hooks/values.ts'
import { listOf } from './short-lived.ts'
import { addEvents, knownStateOf, setAttribute } from './span-state.ts'

/** Events that facts may have on one span. */
export const MAX_EVENTS = 64
/** Kinds of decision that are aggregated on one span. */
export const MAX_GROUPS = 32

/** What facts have put on one span that is open. */
export class Ledger {
  events: FactEvent[] = NONE
  omitted = 0
  /** Authorizations that are on it, by key and verification: the first, and mostly the only one, and others. */
  authorization: string | undefined = undefined
  authorizations: string[] | undefined = undefined
  groups: Group[] | undefined = undefined
  /** It will be kept once the code that runs now has ended. */
  isToBeKept = false
  /** Its counts have grown, and it will be kept with them within a second. */
  isGrowing = false
}

/** Of all ledgers that have none: never added to, and not put on a span. */
const NONE: FactEvent[] = []

/** Names of the events of facts. */
export const EventName = {
  authorization: `${NAMESPACE}authorization`,
  verification: `${NAMESPACE}verification`,
  decision: `${NAMESPACE}decision`,
  transition: `${NAMESPACE}transition`,
} as const

/** Decisions that are alike. */
export class Group {
  /** The first of them. */
  readonly fact: Decision
  readonly event: FactEvent
  /** Fields of the first in which the others may differ, and have not yet. Undefined while there are no others. */
  varying: readonly (keyof Decision)[] | undefined = undefined
  count = 1

  constructor(fact: Decision, event: FactEvent) {
    this.fact = fact
    this.event = event
  }
}

/** Adds events that have room. The first ones stay the list that they are: one that grows takes room for seventeen. */
export function addTo(ledger: Ledger, events: FactEvent[]): void {
  if (ledger.events.length === 0) ledger.events = events
  else ledger.events.push(...events)
}

/** Whether the ledger has taken an authorization of this key before; it has now. */
export function hasTaken(ledger: Ledger, key: string): boolean {
  if (ledger.authorization === key || ledger.authorizations?.includes(key) === true) return true
  if (ledger.authorization === undefined) ledger.authorization = key
  else if (ledger.authorizations === undefined) ledger.authorizations = listOf(key)
  else ledger.authorizations.push(key)
  return false
}

/** Puts the facts of a span that ends on it. */
export function putFacts(span: Span): void {
  const ledger = knownStateOf(span)?.ledger
  if (ledger === undefined) return
  const events = eventsOf(ledger)
  if (events.length > 0) addEvents(span, events)
  if (ledger.omitted > 0) setAttribute(span, Name.omitted, ledger.omitted)
}

/** All that a ledger gives. */
export function eventsOf({ events, groups }: Ledger): SpanEvent[] {
  if (groups === undefined) return events
  for (const { event, count } of groups) event.count = count
  return events.concat(groups.map(({ event }) => event))
}

export function areAlike(a: Decision, b: Decision): boolean {
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

/** Every field of a decision that {@link areAlike} does not look at, but for its id. */
const VARYING = (Object.keys(TABLE.decision) as (keyof Decision)[]).filter(
  (field) =>
    field !== 'id' &&
    areAlike({ [field]: 'a' } as unknown as Decision, { [field]: 'b' } as unknown as Decision),
)

/** Takes out of a group what is not so of `fact`; whether anything was. */
export function vary(group: Group, fact: Decision): boolean {
  group.varying ??= VARYING.filter((field) => group.fact[field] !== undefined)
  for (const field of group.varying)
    if (!isSameStill(group.fact[field], fact[field])) {
      takeOut(group, fact)
      return true
    }
  return false
}

/** Whether two decisions have the same; an object, or a list of any, may have been changed between them. */
function isSameStill(one: unknown, other: unknown): boolean {
  if (Commitment.is(one)) return Commitment.is(other) && one.text === other.text
  if (Array.isArray(one)) return one !== other && one.every(isPlain) && isSame(one, other)
  return isPlain(one) && one === other
}

function isPlain(value: unknown): boolean {
  return typeof value !== 'object' || value === null
}

function takeOut(group: Group, fact: Decision): void {
  const attributes = group.event.separate()
  const { varying = [] } = group
  group.varying = varying.filter((field) => isSameStill(group.fact[field], fact[field]))
  for (const field of varying) if (!group.varying.includes(field)) delete attributes[TABLE.decision[field][0]]
}
