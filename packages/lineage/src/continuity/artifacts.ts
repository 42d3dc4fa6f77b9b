/**
 * Artifacts of an execution, for rules: all that its spans say of one token, session or approval, taken together; and
 * which of them are in force at a span. Everything is worked out once for an execution, in linear time.
 */

import { SmallMap } from '../record/small-map.ts'
import { descend } from './descend.ts'
import type { Authorization, Verification } from './facts.ts'
import type { Execution, Node } from './model.ts'
import { oncePerExecution } from './rule.ts'
import { surroundingsOf } from './surroundings.ts'

export interface Artifact {
  /** In {@link Artifacts.all}. */
  readonly place: number
  /** The record that presents it, a verified one before others; undefined where it is only ever inherited. */
  readonly origin: Authorization | undefined
  /** The origin, or the first record that inherits it. */
  readonly record: Authorization
  /** A record that does not inherit it says that it was verified, or a verification of it passed. */
  readonly isVerified: boolean
  /** How it was verified, where nobody verified it: worst first. Undefined where nobody says. */
  readonly flaw: 'failed' | 'skipped' | 'unverified' | undefined
  /** Seconds since 1970; the earliest that is said. */
  readonly expiresAt: number | undefined
  /** Seconds since 1970; the latest that is said. */
  readonly notBefore: number | undefined
  /** What verifications that passed looked at, and what they say that they did not. */
  readonly checks: ReadonlySet<string>
  readonly unchecked: ReadonlySet<string>
  /** The last reason of a verification that failed. */
  readonly refusal: string | undefined
  /** Whom it is about, who acts, and through which client. */
  readonly principals: ReadonlySet<string>
  /** What it permits; undefined where nothing says it. */
  readonly scope: ReadonlySet<string> | undefined
  /** Another principal's consent to one action: it authorizes beside the requester's own artifact. */
  readonly isApproval: boolean
}

/** What is in force at a span. */
export interface Authority {
  /** Those that are good, or where none is, all; the first {@link MAX_IN_FORCE}. */
  readonly artifacts: readonly Artifact[]
  /** There are more. */
  readonly isCut: boolean
  readonly isVerified: boolean
  /** Somebody says that nobody needs to be authorized. */
  readonly isPublic: boolean
  /** Seconds since 1970: when the last of them expires; undefined if one does not, or does not say. */
  readonly expiresAt: number | undefined
  /** Seconds since 1970: from when on the first of them holds; undefined if one holds at once, or does not say. */
  readonly notBefore: number | undefined
  /** Groups of artifacts of which one comes from the other. */
  readonly families: ReadonlySet<number>
}

/** More in force at one span than this are not told apart, so that judging stays linear. */
const MAX_IN_FORCE = 64

interface Growing {
  place: number
  origin: Authorization | undefined
  record: Authorization
  isVerified: boolean
  flaw: Artifact['flaw']
  expiresAt: number | undefined
  notBefore: number | undefined
  checks: Set<string>
  unchecked: Set<string>
  refusal: string | undefined
  principals: Set<string>
  scope: Set<string> | undefined
  isApproval: boolean
}

export class Artifacts {
  readonly #execution: Execution
  readonly #all: Growing[] = []
  readonly #byFingerprint = new SmallMap<string, Growing>()
  readonly #byId = new SmallMap<string, Growing>()
  /** Those that have neither. */
  readonly #bySubject = new SmallMap<string, Growing>()
  readonly #ofRecord = new SmallMap<Authorization, Growing>()
  /** For each artifact another of its family, or itself. */
  readonly #family: number[] = []
  readonly #above = new SmallMap<Node, Authority>()
  readonly #besides = new SmallMap<Node, Authority>()
  #beside: readonly (Node | undefined)[] | undefined
  readonly #byEntry = new SmallMap<Node, Authorization[]>()

  constructor(execution: Execution) {
    this.#execution = execution
    for (const record of execution.authorizations) this.#add(record)
    this.#verify()
    this.#relate()
    for (const record of execution.authorizations) {
      const entry = surroundingsOf(execution).entryOf(record.on)
      const records = this.#byEntry.get(entry)
      if (records === undefined) this.#byEntry.add(entry, [record])
      else records.push(record)
    }
  }

  get all(): readonly Artifact[] {
    return this.#all
  }

  of(record: Authorization): Artifact {
    return this.#ofRecord.get(record)!
  }

  byFingerprint(fingerprint: string | undefined): Artifact | undefined {
    return fingerprint === undefined ? undefined : this.#byFingerprint.get(fingerprint)
  }

  /** The artifact from which one says that it comes, if it is known here. */
  parentOf({ record: { parentFingerprint, parentId } }: Artifact): Artifact | undefined {
    return this.byFingerprint(parentFingerprint) ?? this.#byIdOf(parentId)
  }

  #byIdOf(id: string | undefined): Artifact | undefined {
    return id === undefined ? undefined : this.#byId.get(id)
  }

  familyOf({ place }: Artifact): number {
    const family = this.#family
    let at = place
    while (family[at] !== at) at = family[at] = family[family[at]!]!
    return at
  }

  /**
   * What is in force at a span: what is on it or on the nearest span above that has any; if all of that was refused,
   * what was presented beside it to the same service, or to one above. Undefined if nothing was.
   */
  at(node: Node): Authority | undefined {
    const { authority } = node
    const above = authority && this.#authorityOf(this.#above, authority, authority.authorizations)
    if (above?.artifacts.some(isUsable)) return above
    const entry = this.#entryBeside(node)
    const beside = entry && this.#authorityOf(this.#besides, entry, this.#byEntry.get(entry)!)
    return beside?.artifacts.some(isUsable) || above === undefined ? beside : above
  }

  #authorityOf(known: SmallMap<Node, Authority>, node: Node, records: readonly Authorization[]): Authority {
    let found = known.get(node)
    if (found === undefined) {
      found = this.#sum(records)
      known.add(node, found)
    }
    return found
  }

  /** The nearest part of the execution, at a span or above it, to which anything was presented. */
  #entryBeside(node: Node): Node | undefined {
    const surroundings = surroundingsOf(this.#execution)
    this.#beside ??= descend<Node | undefined>(this.#execution.spans, (one, above) =>
      surroundings.entryOf(one) === one && this.#byEntry.get(one) !== undefined ? one : above,
    )
    return this.#beside[node.place]
  }

  #sum(records: readonly Authorization[]): Authority {
    const presented =
      records.length === 1 ? [this.of(records[0]!)] : [...new Set(records.map((record) => this.of(record)))]
    const good = presented.filter(isUsable)
    const artifacts = good.length > 0 ? good : presented
    const verified = artifacts.filter((one) => one.isVerified)
    const inForce = verified.length > 0 ? verified : artifacts
    const own = inForce.filter((one) => !one.isApproval)
    const bound = own.length > 0 ? own : inForce
    const kept = artifacts.slice(0, MAX_IN_FORCE)
    return {
      artifacts: kept,
      isCut: kept.length < artifacts.length,
      isVerified: verified.length > 0,
      isPublic: artifacts.some(({ record }) => record.type === 'anonymous'),
      expiresAt: ofAll(
        bound.map((one) => one.expiresAt),
        larger,
      ),
      notBefore: ofAll(
        bound.map((one) => one.notBefore),
        smaller,
      ),
      families: new Set(kept.map((one) => this.familyOf(one))),
    }
  }

  #add(record: Authorization): void {
    const { fingerprint, id, subject } = record
    // A password has neither fingerprint nor id: it is known by whom it stands for.
    const [index, key] =
      fingerprint !== undefined
        ? [this.#byFingerprint, fingerprint]
        : id !== undefined
          ? [this.#byId, id]
          : [this.#bySubject, subject]
    const known = key === undefined ? undefined : index.get(key)
    const artifact = known ?? this.#create(record)
    if (key !== undefined && known === undefined) index.add(key, artifact)
    if (id !== undefined && this.#byId.get(id) === undefined) this.#byId.add(id, artifact)
    this.#ofRecord.add(record, artifact)
    const isBetter = record.verification === 'verified' && artifact.origin?.verification !== 'verified'
    if (!record.inherited && (artifact.origin === undefined || isBetter)) {
      artifact.origin = record
      artifact.record = record
    }
    if (!record.inherited) {
      artifact.isVerified ||= record.verification === 'verified'
      artifact.flaw = worse(artifact.flaw, record.verification)
    }
    artifact.expiresAt = smaller(artifact.expiresAt, record.expiresAt)
    artifact.notBefore = larger(artifact.notBefore, record.notBefore)
    const isApproval =
      record.approvalId !== undefined && record.type === undefined && fingerprint === undefined
    artifact.isApproval ||= isApproval || record.type === 'approval'
    if (subject !== undefined) artifact.principals.add(subject)
    if (record.clientId !== undefined) artifact.principals.add(record.clientId)
    for (const one of record.actorChain) artifact.principals.add(one)
    if (record.scope !== undefined) {
      artifact.scope ??= new Set()
      for (const one of record.scope) artifact.scope.add(one)
    }
  }

  #create(record: Authorization): Growing {
    const artifact: Growing = {
      place: this.#all.length,
      origin: undefined,
      record,
      isVerified: false,
      flaw: undefined,
      expiresAt: undefined,
      notBefore: undefined,
      checks: new Set(),
      unchecked: new Set(),
      refusal: undefined,
      principals: new Set(),
      scope: undefined,
      isApproval: false,
    }
    this.#all.push(artifact)
    this.#family.push(artifact.place)
    return artifact
  }

  /** A verification is of the artifact that it names; one that names none, of all that are on its span. */
  #verify(): void {
    let unnamed: Map<Node, Verification[]> | undefined
    for (const verification of this.#execution.verifications) {
      const { type, targetFingerprint, targetId, on } = verification
      if (type !== undefined && type !== 'credential' && type !== 'revocation' && type !== 'approval')
        continue
      const named = (this.byFingerprint(targetFingerprint) ?? this.#byIdOf(targetId)) as Growing | undefined
      if (named !== undefined) take(named, verification)
      else if (targetFingerprint === undefined && targetId === undefined) {
        unnamed ??= new Map()
        const before = unnamed.get(on)
        if (before === undefined) unnamed.set(on, [verification])
        else before.push(verification)
      }
    }
    for (const [on, verifications] of unnamed ?? []) {
      const [first] = on.authorizations
      if (first === undefined) continue
      const artifacts = new Set(on.authorizations.map((record) => this.#ofRecord.get(record)!))
      // All of many for each of many would be quadratic: the last ones say it.
      for (const artifact of artifacts) for (const one of verifications.slice(-4)) take(artifact, one)
    }
  }

  /** Joins artifacts into families: exchanged, of one transaction, of one subject and presented anew, said to follow. */
  #relate(): void {
    if (this.#all.length < 2) return
    const first = new Map<string, Artifact>()
    const join = (key: string, artifact: Artifact): void => {
      const other = first.get(key)
      if (other === undefined) first.set(key, artifact)
      else this.#union(other, artifact)
    }
    for (const artifact of this.#all) {
      const { record, origin } = artifact
      const parent = this.parentOf(artifact)
      if (parent !== undefined) this.#union(parent, artifact)
      if (record.parentFingerprint !== undefined) join(`parent ${record.parentFingerprint}`, artifact)
      if (record.transaction !== undefined) join(`transaction ${record.transaction}`, artifact)
      if (origin?.issuer !== undefined && origin.subject !== undefined)
        join(`subject ${JSON.stringify([origin.issuer, origin.subject])}`, artifact)
    }
    for (const { type, targetFingerprint, causeId } of this.#execution.transitions) {
      if (type !== 'authority' || causeId === undefined) continue
      const target = this.byFingerprint(targetFingerprint)
      const cause = this.#byId.get(causeId)
      if (target !== undefined && cause !== undefined) this.#union(target, cause)
    }
  }

  #union(a: Artifact, b: Artifact): void {
    this.#family[this.familyOf(b)] = this.familyOf(a)
  }
}

function isUsable({ isVerified, flaw }: Artifact): boolean {
  return isVerified || flaw !== 'failed'
}

function take(artifact: Growing, { outcome, checks, unchecked, reason }: Verification): void {
  if (outcome === 'pass') {
    artifact.isVerified = true
    for (const one of checks) artifact.checks.add(one)
    for (const one of unchecked) artifact.unchecked.add(one)
  } else if (outcome === 'fail') {
    artifact.refusal = reason ?? artifact.refusal
    artifact.flaw = worse(artifact.flaw, 'failed')
  }
}

function worse(a: Artifact['flaw'], b: string | undefined): Artifact['flaw'] {
  if (a === 'failed' || b === 'failed') return 'failed'
  if (a === 'skipped' || b === 'skipped') return 'skipped'
  return a === 'unverified' || b === 'unverified' ? 'unverified' : undefined
}

/** Undefined where one of them is. */
function ofAll(times: readonly (number | undefined)[], which: typeof smaller): number | undefined {
  return times.includes(undefined) ? undefined : times.reduce(which, undefined)
}

function smaller(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || (b !== undefined && b < a) ? b : a
}

function larger(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || (b !== undefined && b > a) ? b : a
}

export const artifactsOf = oncePerExecution((execution) => new Artifacts(execution))
