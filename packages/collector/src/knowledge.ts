/**
 * What the collector knows of other executions, for the rules that need it: revocations, one-time artifacts in use,
 * policy versions, the numbering of processes, clocks.
 *
 * It says of an execution only what makes a difference to it (lineage, continuity/context.ts), so that ordinary
 * executions carry nothing. Everything is bounded; the oldest is forgotten first. Values of artifacts are kept as hashes.
 * What must outlive a restart (revocations, uses, policy versions) is handed out as rows for the commit that it was
 * learned with; numbering and clocks are learned again.
 */
import { formatHex, parseHex, parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import {
  type Context,
  EMPTY_CONTEXT,
  encodeContext,
  type Gap,
  MAX_STATEMENTS,
  type Neighbour,
  type PolicyVersion,
  parseContext,
  type Revocation,
  type Skew,
  type Use,
} from '@rootspan/lineage/continuity/context'
import type { Authorization, Decision } from '@rootspan/lineage/continuity/facts'
import { type Execution, type Node, SKEW } from '@rootspan/lineage/continuity/model'
import { byEmitter } from '@rootspan/lineage/continuity/rules/emitter'
import { policyOf, versionOf } from '@rootspan/lineage/continuity/rules/policy'
import { revocableBy } from '@rootspan/lineage/continuity/rules/reuse'
import { oneTimeNames, revokedNames } from '@rootspan/lineage/continuity/testimony'
import { sha256 } from '@rootspan/lineage/crypto'
import { WireReader, WireWriter } from '@rootspan/lineage/wire'
import { Numbering } from './numbering.ts'
import type { KnowledgeRow } from './store/log-store.ts'

const MAX_REVOCATIONS = 100_000
const MAX_USES = 200_000
const MAX_POLICIES = 10_000
/** Versions of one policy at one service that are kept. */
const MAX_VERSIONS = 8
const MAX_EMITTERS = 4096
const MAX_CLOCKS = 4096
/** Samples of which the median is how far a clock is off; and how many there must be. */
const SAMPLES = 15
const ENOUGH_SAMPLES = 5
/** A clock that is off by less says nothing: nanoseconds. */
const TOLD_SKEW = SKEW / 2n

const CLIENT = 3
const SERVER = 2

export class Knowledge {
  readonly #revocations = new Bounded<Revocation>(MAX_REVOCATIONS)
  readonly #uses = new Bounded<Use>(MAX_USES)
  /** By policy; each by service, versions in the order in which they were seen first. */
  readonly #policies = new Bounded<Map<string, PolicyVersion[]>>(MAX_POLICIES)
  /** By emitter id; each by its tenant, which the configuration names. */
  readonly #emitters = new Bounded<Map<string, Numbering>>(MAX_EMITTERS)
  readonly #clocks = new Bounded<Clock>(MAX_CLOCKS)
  /** Emitters that may have gaps nobody has asked for. */
  readonly #gapped = new Set<string>()
  #rows: KnowledgeRow[] = []

  /** Rows as {@link takeRows} gave them, in any order. */
  constructor(rows: Iterable<KnowledgeRow> = []) {
    for (const { id, value } of rows) {
      if (value === undefined) continue
      const { tenant, context } = parseKnowledge(value)
      const { revocations, uses, policies } = context
      for (const one of revocations) this.#revocations.put(formatHex(id), one)
      for (const one of uses) this.#uses.put(formatHex(id), one)
      for (const one of policies)
        this.#versions(tenant, policyOf({ engine: one.engine, policyId: one.policy })!, one.service).push(one)
    }
    for (const services of this.#policies.values())
      for (const versions of services.values()) versions.sort((a, b) => (a.since < b.since ? -1 : 1))
  }

  /** What was learned since it was asked last: to be written with the commit of the executions it was learned from. */
  takeRows(): KnowledgeRow[] {
    const rows = this.#rows
    this.#rows = []
    return rows
  }

  /**
   * Learns from the segments of an execution from number `since` on, and says what the others mean to it. Each segment is
   * learned from once.
   */
  contextOf(execution: Execution, since: number): Context {
    const { neighbours, gaps } = this.#learnNumbers(execution, since)
    const revocations = this.#revocationsOf(execution)
    const uses = this.#usesOf(execution)
    const policies = this.#policiesOf(execution)
    const skews = this.#skewsOf(execution)
    const { spans } = execution
    for (let place = firstOf(execution, since); place < spans.length; place++)
      this.#learnFacts(spans[place]!, execution)
    const statements = revocations.length + uses.length + policies.length + neighbours.length
    if (statements + gaps.length + skews.length === 0) return EMPTY_CONTEXT
    return { revocations, uses, policies, neighbours, gaps, skews }
  }

  #learnFacts(node: Node, { tenant, traceId }: Execution): void {
    for (const artifact of node.authorizations)
      if (artifact.status === 'revoked') this.#learnRevocation(artifact, tenant, traceId)
      else
        for (const [by, value] of oneTimeNames(artifact)) {
          const key = hashedKey(tenant, 'use', by, value)
          if (this.#uses.get(key) !== undefined) continue
          const use: Use = { by, value: '', leaf: artifact.leaf, traceId }
          this.#forget(this.#uses.put(key, use))
          this.#rows.push({ id: parseHex(key), value: encodeValue(tenant, { uses: [use] }) })
        }
    for (const decision of node.decisions) {
      const policy = policyOf(decision)
      const version = versionOf(decision)
      if (policy === undefined || version === undefined) continue
      const service = decision.on.service.name
      const versions = this.#versions(tenant, policy, service)
      const digest = decision.policyDigest ?? ''
      const known = versions.find(
        (one) => one.version === (decision.policyVersion ?? '') && one.digest === digest,
      )
      if (known !== undefined) continue
      const learned: PolicyVersion = {
        engine: decision.engine ?? '',
        policy: decision.policyId!,
        version: decision.policyVersion ?? '',
        digest,
        service,
        since: decision.at,
        leaf: decision.leaf,
        traceId,
      }
      versions.push(learned)
      this.#rows.push({
        id: policyKey(tenant, learned),
        value: encodeValue(tenant, { policies: [learned] }),
      })
      if (versions.length > MAX_VERSIONS)
        this.#rows.push({ id: policyKey(tenant, versions.shift()!), value: undefined })
    }
    const caller = node.parent
    if (caller !== undefined && caller.kind === CLIENT && node.kind === SERVER)
      this.#learnClock(caller, node, tenant)
  }

  #learnRevocation(artifact: Authorization, tenant: string, traceId: Uint8Array): void {
    for (const [by, value] of revokedNames(artifact)) {
      const key = hashedKey(tenant, 'revoked', by, value)
      const issuer = artifact.issuer ?? ''
      const revocation: Revocation = { by, issuer, value: '', at: artifact.at, leaf: artifact.leaf, traceId }
      this.#forget(this.#revocations.put(key, revocation))
      this.#rows.push({
        id: parseHex(key),
        value: encodeValue(tenant, { revocations: [revocation] }),
      })
    }
  }

  #forget(key: string | undefined): void {
    if (key !== undefined) this.#rows.push({ id: parseHex(key), value: undefined })
  }

  #versions(tenant: string, policy: string, service: string): PolicyVersion[] {
    const key = keyOf(tenant, policy)
    let services = this.#policies.get(key)
    if (services === undefined) {
      services = new Map()
      this.#policies.put(key, services)
    }
    let versions = services.get(service)
    if (versions === undefined) {
      versions = []
      services.set(service, versions)
    }
    return versions
  }

  #learnClock(caller: Node, callee: Node, tenant: string): void {
    if (caller.service.name === callee.service.name) return
    const key = keyOf(tenant, caller.service.name, callee.service.name)
    let clock = this.#clocks.get(key)
    if (clock === undefined) {
      clock = new Clock()
      this.#clocks.put(key, clock)
    }
    clock.add((callee.start - caller.start + callee.end - caller.end) / 2n)
  }

  #begin(tenant: string, emitter: string, first: bigint): Numbering {
    let tenants = this.#emitters.get(emitter)
    if (tenants === undefined) {
      tenants = new Map()
      const forgotten = this.#emitters.put(emitter, tenants)
      if (forgotten !== undefined) this.#gapped.delete(forgotten)
    }
    const numbering = new Numbering(emitter, first)
    tenants.set(tenant, numbering)
    return numbering
  }

  /** Learns the numbers of segments from `since` on, and says what is missing or wrong around those of the execution. */
  #learnNumbers(execution: Execution, since: number): Pick<Context, 'neighbours' | 'gaps'> {
    const { tenant, evaluatedAt } = execution
    const traceId = formatHex(execution.traceId)
    const neighbours: Neighbour[] = []
    const gaps: Gap[] = []
    for (const [id, spans] of byEmitter(execution)) {
      let numbering = this.#emitters.get(id)?.get(tenant)
      // In the order of numbers, so that those below the first one in the log are missed, too.
      for (const { segment, id: spanId, leaf, emitter } of spans) {
        if (segment < since) continue
        numbering ??= this.#begin(tenant, id, emitter.seq)
        numbering.add({ seq: emitter.seq, prev: emitter.prev ?? '', traceId, spanId, leaf }, evaluatedAt)
      }
      if (numbering === undefined) continue
      if (numbering.hasNewGaps) this.#gapped.add(id)
      gaps.push(...numbering.gapsBetween(spans[0]!.emitter.seq, spans.at(-1)!.emitter.seq))
      neighbours.push(...numbering.against(traceId))
    }
    return { neighbours: neighbours.slice(0, MAX_STATEMENTS), gaps: gaps.slice(0, MAX_STATEMENTS) }
  }

  /**
   * Executions that have spans of a process on both sides of numbers that have been missing since `noticedBefore` or
   * longer: each gap is told once. They were judged while the numbers might still have come.
   */
  overdueGaps(noticedBefore: bigint): { readonly tenant: string; readonly traceId: Uint8Array }[] {
    const found: { tenant: string; traceId: Uint8Array }[] = []
    for (const id of this.#gapped) {
      let isOpen = false
      for (const [tenant, numbering] of this.#emitters.get(id) ?? []) {
        for (const traceId of numbering.aroundGaps(noticedBefore)) found.push({ tenant, traceId })
        isOpen ||= numbering.hasNewGaps
      }
      if (!isOpen) this.#gapped.delete(id)
    }
    return found
  }

  #revocationsOf({ tenant, authorizations }: Execution): Revocation[] {
    const found: Revocation[] = []
    if (this.#revocations.isEmpty) return found
    for (const artifact of authorizations)
      for (const [by, value] of revocableBy(artifact)) {
        if (artifact.status === 'revoked' || found.length === MAX_STATEMENTS) break
        const known = this.#revocations.get(hashedKey(tenant, 'revoked', by, value))
        if (known !== undefined && !found.some((one) => one.leaf === known.leaf && one.value === value))
          found.push({ ...known, value })
      }
    return found
  }

  #usesOf({ tenant, authorizations, traceId }: Execution): Use[] {
    const found: Use[] = []
    if (this.#uses.isEmpty) return found
    for (const artifact of authorizations)
      for (const [by, value] of oneTimeNames(artifact)) {
        const known = this.#uses.get(hashedKey(tenant, 'use', by, value))
        if (known === undefined || formatHex(known.traceId) === formatHex(traceId)) continue
        if (found.length < MAX_STATEMENTS && !found.some((one) => one.by === by && one.value === value))
          found.push({ ...known, value })
      }
    return found
  }

  /** All versions of the policies that decide here, where there are two. */
  #policiesOf({ tenant, decisions }: Execution): PolicyVersion[] {
    const found: PolicyVersion[] = []
    const seen = new Set<string>()
    for (const decision of decisions) {
      const policy = policyOf(decision)
      if (policy === undefined || seen.has(policy)) continue
      seen.add(policy)
      const services = this.#policies.get(keyOf(tenant, policy))
      if (services === undefined) continue
      if (hasOther(services, decision))
        found.push(...[...services.values()].flat().slice(0, MAX_STATEMENTS - found.length))
    }
    return found
  }

  #skewsOf({ tenant, spans }: Execution): Skew[] {
    const found = new Map<string, Skew>()
    for (const node of spans) {
      const caller = node.parent?.service.name
      if (caller === undefined || caller === node.service.name || !node.governed) continue
      const key = keyOf(tenant, caller, node.service.name)
      const offset = this.#clocks.get(key)?.offset ?? 0n
      if ((offset > TOLD_SKEW || offset < -TOLD_SKEW) && found.size < MAX_STATEMENTS)
        found.set(key, { caller, callee: node.service.name, offset })
    }
    return [...found.values()]
  }
}

/** Whether a policy is known in another version than the one that decided. */
function hasOther(
  services: ReadonlyMap<string, readonly PolicyVersion[]>,
  { policyVersion = '', policyDigest = '' }: Decision,
): boolean {
  for (const versions of services.values())
    for (const { version, digest } of versions)
      if (version !== policyVersion || digest !== policyDigest) return true
  return false
}

/** How far the clock of one service is off against that of another: of the latest samples the median. */
class Clock {
  /** In the order in which they came, round and round; and by their size. */
  readonly #samples: bigint[] = []
  readonly #sorted: bigint[] = []
  #next = 0

  add(offset: bigint): void {
    const sorted = this.#sorted
    if (sorted.length === SAMPLES) sorted.splice(sorted.indexOf(this.#samples[this.#next]!), 1)
    this.#samples[this.#next] = offset
    this.#next = (this.#next + 1) % SAMPLES
    let at = sorted.length
    while (at > 0 && sorted[at - 1]! > offset) at--
    sorted.splice(at, 0, offset)
  }

  /** Nanoseconds; undefined while there are too few samples. */
  get offset(): bigint | undefined {
    const { length } = this.#sorted
    return length < ENOUGH_SAMPLES ? undefined : this.#sorted[length >> 1]
  }
}

/** Several names as one: with the length of each, so that no others make the same. */
function keyOf(...names: readonly string[]): string {
  let key = ''
  for (const name of names) key += `${name.length}:${name}`
  return key
}

/** A map that forgets what was put into it first. */
class Bounded<V> {
  readonly #values = new Map<string, V>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get(key: string): V | undefined {
    return this.#values.get(key)
  }

  get isEmpty(): boolean {
    return this.#values.size === 0
  }

  values(): Iterable<V> {
    return this.#values.values()
  }

  /** Returns the key that was forgotten for it, if one was. */
  put(key: string, value: V): string | undefined {
    this.#values.set(key, value)
    if (this.#values.size <= this.#limit) return undefined
    const oldest = this.#values.keys().next().value!
    this.#values.delete(oldest)
    return oldest
  }
}

/** Place of the first span of a segment, or of one after it. */
function firstOf({ spans }: Execution, segment: number): number {
  let at = spans.length
  while (at > 0 && spans[at - 1]!.segment >= segment) at--
  return at
}

function hashedKey(...names: readonly string[]): string {
  return formatHex(sha256(utf8(JSON.stringify(names))).subarray(0, 16))
}

function policyKey(tenant: string, { engine, policy, version, digest, service }: PolicyVersion): Uint8Array {
  return parseHex(hashedKey(tenant, 'policy', engine, policy, service, version, digest))
}

function encodeValue(tenant: string, context: Partial<Context>): Uint8Array {
  return new WireWriter()
    .string(1, tenant)
    .bytes(2, encodeContext({ ...EMPTY_CONTEXT, ...context }))
    .finish()
}

/** The tenant and the one statement of a row. Throws a MalformedError. */
export function parseKnowledge(value: Uint8Array): { tenant: string; context: Context } {
  const reader = new WireReader(value)
  let tenant = ''
  let context = EMPTY_CONTEXT
  while (reader.next())
    if (reader.field === 1) tenant = parseUtf8(reader.value())
    else context = parseContext(reader.value())
  return { tenant, context }
}
