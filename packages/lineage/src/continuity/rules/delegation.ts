/** GC-L: what was handed on, and to whom. */
import { type Artifact, type Artifacts, artifactsOf } from '../artifacts.ts'
import type { Execution } from '../model.ts'
import { SKEW } from '../model.ts'
import type { Rule } from '../rule.ts'
import { fromSeconds, spanOf } from '../surroundings.ts'

/** Artifacts that say where they come from, with their parent where that is known here. */
function handedOn(execution: Execution): (readonly [Artifact, Artifact | undefined])[] {
  const found: (readonly [Artifact, Artifact | undefined])[] = []
  const artifacts = artifactsOf(execution)
  for (const artifact of artifacts.all) {
    const { parentFingerprint, parentId } = artifact.record
    if (parentFingerprint === undefined && parentId === undefined) continue
    found.push([artifact, artifacts.parentOf(artifact)])
  }
  return found
}

const broken: Rule = {
  id: 'GC-L01',
  version: 1,
  title: 'delegation broken',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Artifacts with a chain of actors that were exchanged for another: fails where the one before it was about somebody else, or its actors are not the rest of the chain.',
  guards: [
    'Unknown where the artifact that it came from is not in the execution, or says neither its subject nor its actors.',
    'An issuer may leave out the actors before (RFC 8693, 4.1): unknown where the chain is only shorter.',
    'Silent about artifacts without a chain of actors: that is impersonation, or a credential of its own.',
  ],
  remedy: 'Exchange the token that was presented, and have the issuer put its actors into the new one.',
  evaluate(execution, report) {
    for (const [{ record }, parent] of handedOn(execution)) {
      const { actorChain, subject } = record
      if (actorChain.length === 0) continue
      if (parent === undefined) report.unknown('an artifact from which another one came')
      else {
        const before = parent.record.actorChain
        const rest = actorChain.slice(1)
        const isOther = rest.some((actor, at) => at < before.length && before[at] !== actor)
        const isLonger = rest.length > before.length && parent.record.subject !== undefined
        if (parent.record.subject === undefined && before.length === 0)
          report.unknown('whom an artifact is about')
        else if (
          subject !== undefined &&
          parent.record.subject !== undefined &&
          subject !== parent.record.subject
        )
          report.fail(
            [record, parent.record],
            `${spanOf(record.on)} took an authorization that was handed on for another principal`,
          )
        else if (isOther || isLonger)
          report.fail(
            [record, parent.record],
            `${spanOf(record.on)} took an authorization whose actors are not those it came from`,
          )
        else if (rest.length < before.length) report.unknown('actors that an issuer left out')
        else report.pass()
      }
    }
  },
}

const widened: Rule = {
  id: 'GC-L02',
  version: 1,
  title: 'delegation widened',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Artifacts that came from another one: fails where one has a scope that the one before did not have, or, where it was narrowed by its holder, holds longer.',
  guards: [
    'Unknown where the artifact that it came from is not in the execution.',
    'Silent where one of the two says no scope.',
    'Unknown where they are for different audiences: scopes of another service have other names.',
    'An issuer may let a token that it exchanges hold longer; only artifacts that their holders narrow (`biscuit`, `macaroon`, `ucan`, `zcap`) cannot.',
  ],
  remedy: 'Hand on no more than was given; have the issuer refuse to exchange for more.',
  evaluate(execution, report) {
    for (const [artifact, parent] of handedOn(execution)) {
      const { record, scope } = artifact
      if (parent === undefined) report.unknown('an artifact from which another one came')
      else {
        const end = parent.expiresAt
        const isLonger =
          NARROWED.has(record.type ?? '') &&
          end !== undefined &&
          artifact.expiresAt !== undefined &&
          fromSeconds(artifact.expiresAt) > fromSeconds(end) + SKEW
        const isWider = isOutside(scope, parent.scope)
        if (isLonger)
          report.fail(
            [record, parent.record],
            `${spanOf(record.on)} took an authorization that holds longer than the one it came from`,
          )
        else if (!isWider) {
          if (scope !== undefined && parent.scope !== undefined) report.pass()
        } else if (!areForOne(record.audience, parent.record.audience))
          report.unknown('what scopes of another audience mean')
        else
          report.fail(
            [record, parent.record],
            `${spanOf(record.on)} took an authorization with more scopes than the one it came from`,
          )
      }
    }
  },
}

const NARROWED: ReadonlySet<string> = new Set(['biscuit', 'macaroon', 'ucan', 'zcap'])

function isOutside(scope: ReadonlySet<string> | undefined, of: ReadonlySet<string> | undefined): boolean {
  if (scope === undefined || of === undefined) return false
  for (const one of scope) if (!of.has(one)) return true
  return false
}

/** More are not compared: an artifact may be the parent of a great many. */
const MAX_AUDIENCES = 64

function areForOne(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  if (a === undefined || b === undefined) return true
  if (b.length > MAX_AUDIENCES) return false
  const before = new Set(b)
  return a.every((one) => before.has(one))
}

const deep: Rule = {
  id: 'GC-L03',
  version: 1,
  title: 'delegation too deep',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'How often an artifact was handed on (`governance.delegation.depth`, or its chain of actors): fails over 8 times.',
  guards: ['Silent about artifacts that were not handed on.'],
  remedy: 'Begin again with a token of the principal’s own.',
  evaluate(execution, report) {
    for (const { record } of artifactsOf(execution).all) {
      const depth = Math.max(record.delegationDepth ?? 0, record.actorChain.length)
      if (depth > MAX_DEPTH)
        report.fail([record], `${spanOf(record.on)} took an authorization that was handed on ${depth} times`)
      else if (depth > 0) report.pass()
    }
  },
}

const MAX_DEPTH = 8

const rootless: Rule = {
  id: 'GC-L04',
  version: 1,
  title: 'delegation without a root',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Artifacts that were handed on, back to the one that they began with: fails where that says nobody whom it is about, or where they came from each other.',
  guards: [
    'A subject, a client or `governance.delegation.root` is a root.',
    'Unknown where an artifact on the way is not in the execution, or the first is opaque: whom it is about is known to its issuer.',
  ],
  remedy: 'Accept no artifact whose chain does not end in a person or a workload that is known.',
  evaluate(execution, report) {
    const rootOf = rootsOf(artifactsOf(execution))
    for (const artifact of artifactsOf(execution).all) {
      const { record } = artifact
      const { delegationDepth = 0, actorChain, parentFingerprint, parentId } = record
      const isNamed = parentFingerprint !== undefined || parentId !== undefined
      if (delegationDepth <= 0 && actorChain.length === 0 && !isNamed) continue
      const root = rootOf(artifact)
      if (root === 'cycle')
        report.fail([record], `${spanOf(record.on)} took an authorization that came from itself`)
      else if (
        record.subject !== undefined ||
        record.delegationRoot !== undefined ||
        root.principals.size > 0
      )
        report.pass()
      else if (root.record.parentFingerprint !== undefined || root.record.parentId !== undefined)
        report.unknown('an artifact from which another one came')
      else if (root !== artifact || record.type === 'opaque') report.unknown('whom an artifact is about')
      else report.fail([record], `${spanOf(record.on)} took an authorization that was handed on by nobody`)
    }
  },
}

/** The artifact with which each one began, or that there is none. Linear: ways that were walked are remembered. */
function rootsOf(artifacts: Artifacts): (artifact: Artifact) => Artifact | 'cycle' {
  const roots = new Map<Artifact, Artifact | 'cycle'>()
  return (start) => {
    const path = new Set<Artifact>()
    let at = start
    let found = roots.get(at)
    while (found === undefined) {
      path.add(at)
      const parent = artifacts.parentOf(at)
      if (parent === undefined) found = at
      else if (path.has(parent)) found = 'cycle'
      else {
        at = parent
        found = roots.get(at)
      }
    }
    for (const one of path) roots.set(one, found)
    return found
  }
}

export const DELEGATION: readonly Rule[] = [broken, widened, deep, rootless]
