/**
 * Joins decisions to actions (docs/formats/record.md, "Joins").
 *
 * An action with a decision on its own span needs no join. Otherwise the first method that finds a decision
 * decides: explicit id, link, ancestor, earlier sibling, action digest, and an ancestor that decided too late.
 */

import { sha256 } from '#crypto'
import { equalBytes, formatHex } from '../bytes.ts'
import { ACTION_DIGEST, ACTION_NAME, DECISION_ID } from '../governance/attributes.ts'
import type { Claim, SpanFacts } from '../governance/facts.ts'
import { Kind } from '../governance/kind.ts'
import type { Span, SpanLink } from '../otlp/decode.ts'
import { idKey } from './order.ts'

export type JoinMethod = 'id' | 'link' | 'ancestor' | 'sibling' | 'digest'

/** What joining looks at of a span. */
export interface JoinedSpan
  extends Pick<Span, 'traceId' | 'spanId' | 'startTimeUnixNano' | 'endTimeUnixNano'> {
  readonly links: readonly Pick<SpanLink, 'traceId' | 'spanId'>[]
}

/** A governed span in its segment. */
export interface GovernedSpan {
  /** Place in the segment's order; of a log record beside its span, that of the span. */
  readonly place: number
  readonly parentAt: number
  readonly span: JoinedSpan
  readonly facts: SpanFacts
  /** Leaf of the span-born record, and of each fact, counted from the segment's first leaf. */
  readonly leaf: number
  readonly factLeaves: readonly number[]
}

export interface Join {
  readonly action: number
  readonly decision: number
  readonly method: JoinMethod
}

interface Decision {
  readonly leaf: number
  readonly on: GovernedSpan
  /** When it was taken, in nanoseconds since the Unix epoch; 0 where nothing says it. */
  readonly time: bigint
  /** Name of the action that it says it is about, as a key. */
  readonly action: string | undefined
}

/**
 * The joins of one segment, in the order of their actions. Leaves are counted from the segment's first;
 * `parents` holds for each place the place of the parent, or -1. Linear in spans, decisions and actions.
 */
export function joinDecisions(governed: readonly GovernedSpan[], parents: ArrayLike<number>): Join[] {
  if (!governed.some(({ facts }) => facts.kind === Kind.action)) return []
  const index = indexDecisions(governed)
  if (index === undefined) return []
  const above = nearestAbove(parents, index.bySpan)
  const joins: Join[] = []
  for (const on of governed) {
    if (on.facts.kind !== Kind.action || index.bySpan.has(on.place)) continue
    const found = find(on, index, above)
    if (found !== undefined) joins.push({ action: on.leaf, decision: found[0].leaf, method: found[1] })
  }
  return joins
}

interface Index {
  /** Decisions of each span, never none, by their time. */
  readonly bySpan: Map<number, Decision[]>
  readonly byId: Map<string, Decision>
  readonly byDigest: Map<string, Decision>
  /** Decisions under each parent, by the end of their spans. */
  readonly byParent: Map<number, Decision[]>
  readonly spanOfId: Map<string, GovernedSpan>
}

function indexDecisions(governed: readonly GovernedSpan[]): Index | undefined {
  const index: Index = {
    bySpan: new Map(),
    byId: new Map(),
    byDigest: new Map(),
    byParent: new Map(),
    spanOfId: new Map(),
  }
  for (const on of governed) {
    putFirst(index.spanOfId, idKey(on.span.spanId), on)
    for (const [at, fact] of on.facts.facts.entries()) {
      if (fact.kind !== Kind.decision) continue
      // What the event of a decision does not say, its span may.
      const key = (name: string) => claimKey(fact.claims, name) ?? claimKey(on.facts.claims, name)
      const decision = { leaf: on.factLeaves[at]!, on, time: fact.time, action: key(ACTION_NAME) }
      putAlso(index.bySpan, on.place, decision)
      putFirst(index.byId, key(DECISION_ID), decision)
      putFirst(index.byDigest, key(ACTION_DIGEST), decision)
      if (on.parentAt !== -1) putAlso(index.byParent, on.parentAt, decision)
    }
  }
  if (index.bySpan.size === 0) return undefined
  for (const decisions of index.bySpan.values()) sortBy(decisions, timeOf)
  for (const siblings of index.byParent.values()) sortBy(siblings, endOf)
  return index
}

/** For each place that of the nearest parent with a decision, or -1. Parents come before children, so one pass does. */
function nearestAbove(parents: ArrayLike<number>, bySpan: Map<number, Decision[]>): Int32Array {
  const above = new Int32Array(parents.length)
  for (let place = 0; place < parents.length; place++) {
    const parent = parents[place]!
    above[place] = parent === -1 || bySpan.has(parent) ? parent : above[parent]!
  }
  return above
}

function find(on: GovernedSpan, index: Index, above: Int32Array): [Decision, JoinMethod] | undefined {
  const byId = lookup(index.byId, claimKey(on.facts.claims, DECISION_ID))
  if (byId) return [byId, 'id']
  for (const link of on.span.links) {
    // Ids in links are as the sender wrote them, of any length.
    if (link.spanId.length !== 8 || !equalBytes(link.traceId, on.span.traceId)) continue
    const target = index.spanOfId.get(idKey(link.spanId))
    const linked = target && index.bySpan.get(target.place)
    if (linked) return [linked[before(linked, on, timeOf) - 1] ?? linked[0]!, 'link']
  }
  const ancestor = lastAbove(on, index, above)
  if (ancestor) return [ancestor, 'ancestor']
  const sibling = lastBeside(index.byParent.get(on.parentAt) ?? [], on)
  if (sibling) return [sibling, 'sibling']
  const byDigest = lookup(index.byDigest, claimKey(on.facts.claims, ACTION_DIGEST))
  if (byDigest) return [byDigest, 'digest']
  // Too late, or the clocks differ: the least late one, for whoever judges times to see.
  const [late] = index.bySpan.get(above[on.place]!) ?? []
  return late && [late, 'ancestor']
}

/** How many parents or earlier siblings with decisions are looked at, so that a segment stays linear. */
const LOOKED_AT = 256

/** The last decision before the action began, of the nearest parent that has one. */
function lastAbove(on: GovernedSpan, index: Index, above: Int32Array): Decision | undefined {
  let place = above[on.place]!
  for (let looked = 0; place !== -1 && looked < LOOKED_AT; looked++) {
    const decisions = index.bySpan.get(place)!
    const count = before(decisions, on, timeOf)
    if (count > 0) return decisions[count - 1]
    place = above[place]!
  }
  return undefined
}

/** The last decision on a span that ended before the action began that does not name another action. */
function lastBeside(siblings: readonly Decision[], on: GovernedSpan): Decision | undefined {
  const name = claimKey(on.facts.claims, ACTION_NAME)
  const count = before(siblings, on, endOf)
  for (let at = count - 1; at >= Math.max(0, count - LOOKED_AT); at--) {
    const named = siblings[at]!.action
    if (named === undefined || name === undefined || named === name) return siblings[at]
  }
  return undefined
}

/**
 * How many of `decisions`, sorted by `time`, are not after the start of an action.
 *
 * Some SDKs cut the start of a span to whole milliseconds, but not the time of an event or end. A start of whole
 * milliseconds therefore stands for its whole millisecond.
 */
function before(
  decisions: readonly Decision[],
  on: GovernedSpan,
  time: (decision: Decision) => bigint,
): number {
  const { startTimeUnixNano: start } = on.span
  const last = start % 1_000_000n === 0n ? start + 999_999n : start
  let low = 0
  let high = decisions.length
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (time(decisions[middle]!) <= last) low = middle + 1
    else high = middle
  }
  return low
}

/** Equal times stay in record order: every engine must come to the same joins. */
function sortBy(decisions: Decision[], time: (decision: Decision) => bigint): void {
  if (decisions.length > 1) decisions.sort((a, b) => (time(a) < time(b) ? -1 : time(a) > time(b) ? 1 : 0))
}

function timeOf(decision: Decision): bigint {
  return decision.time
}

function endOf(decision: Decision): bigint {
  return decision.on.span.endTimeUnixNano
}

function putAlso<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key)
  if (values === undefined) map.set(key, [value])
  else values.push(value)
}

function putFirst<K, V>(map: Map<K, V>, key: K | undefined, value: V): void {
  if (key !== undefined && !map.has(key)) map.set(key, value)
}

function lookup<V>(map: Map<string, V>, key: string | undefined): V | undefined {
  return key === undefined ? undefined : map.get(key)
}

/** The value of a claim as a map key, short however long the value is. */
function claimKey(claims: readonly Claim[], key: string): string | undefined {
  const value = claims.find((claim) => claim.key === key)?.value
  if (value === undefined) return undefined
  return value.length <= 64 ? formatHex(value) : `#${formatHex(sha256(value))}`
}
