/** GC-P: which version of a policy decided. */

import type { PolicyVersion } from '../context.ts'
import type { Decision } from '../facts.ts'
import type { Execution } from '../model.ts'
import { oncePerExecution, type Rule } from '../rule.ts'

/** For so long after a new version was first seen, old ones may still decide elsewhere: nanoseconds. */
const ROLLOUT_GRACE = 300_000_000_000n

/** The policy that decided, as a key; undefined where the decision names none. */
export function policyOf({
  engine = '',
  policyId,
}: Pick<Decision, 'engine' | 'policyId'>): string | undefined {
  return policyId === undefined ? undefined : `${engine.length}:${engine}${policyId}`
}

/** Its version as a key: as the engine names it, else by its text; undefined where neither is known. */
export function versionOf({ policyVersion, policyDigest }: Decision): string | undefined {
  return policyVersion ?? policyDigest
}

function statementsOf(decision: Decision, { context }: Execution): readonly PolicyVersion[] {
  return context.policies.filter(
    ({ engine, policy }) => engine === (decision.engine ?? '') && policy === decision.policyId,
  )
}

const nameOf = ({ version, digest }: PolicyVersion): string => (version === '' ? digest : version)

/** Decisions that name a policy and its version. */
function versioned({ decisions }: Execution): readonly Decision[] {
  return decisions.filter((one) => one.policyId !== undefined && versionOf(one) !== undefined)
}

const stale: Rule = {
  id: 'GC-P01',
  version: 1,
  title: 'stale policy version',
  severity: 'high',
  scope: 'contextual',
  looksAt:
    'Decisions by a version of a policy although another service had gone over to a newer one more than five minutes before.',
  guards: [
    'Five minutes are left for a rollout.',
    'Which version is newer is told by when each was first seen to decide.',
    'Unknown for decisions that name a policy and no version.',
  ],
  remedy: 'Find out why this engine did not get the new version, and load it.',
  evaluate(execution, report) {
    for (const decision of execution.decisions) {
      if (decision.policyId === undefined) continue
      if (versionOf(decision) === undefined) {
        report.unknown('the version of a policy that decided')
        continue
      }
      const { service } = decision.on
      const statements = statementsOf(decision, execution)
      const own = statements.find((one) => nameOf(one) === versionOf(decision))
      const newer = statements.find(
        (other) =>
          own !== undefined &&
          other.service !== service.name &&
          other.since > own.since &&
          nameOf(other) !== nameOf(own) &&
          decision.at - other.since > ROLLOUT_GRACE,
      )
      if (newer === undefined) report.pass()
      else report.fail([decision, newer], 'a newer version of the policy was in force at another service')
    }
  },
}

/** Times at which the policy changed in this execution, to be asked often. */
const policyChanges = oncePerExecution(({ transitions }) => {
  const times = BigInt64Array.from(
    transitions.filter(({ type }) => type === 'policy').map(({ at }) => BigInt.asIntN(64, at)),
  ).sort()
  return {
    liesBetween(from: bigint, to: bigint): boolean {
      let low = 0
      let high = times.length
      while (low < high) {
        const middle = (low + high) >> 1
        if (times[middle]! < from) low = middle + 1
        else high = middle
      }
      return low < times.length && times[low]! <= to
    },
  }
})

const mixed: Rule = {
  id: 'GC-P02',
  version: 1,
  title: 'two policy versions in one execution',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Decisions of one execution by different versions of one policy, with no transition of the policy between them.',
  guards: ['A policy transition between both decisions explains it.'],
  remedy: 'Pin the version for the length of an execution, or record the change of the policy.',
  evaluate(execution, report) {
    const decisions = versioned(execution)
    if (decisions.length === 1) report.pass()
    if (decisions.length < 2) return
    const first = new Map<string, Decision>()
    for (const decision of decisions) {
      const key = policyOf(decision)!
      const known = first.get(key)
      if (known === undefined) {
        first.set(key, decision)
        report.pass()
        continue
      }
      if (versionOf(known) === versionOf(decision)) continue
      const [from, to] = known.at < decision.at ? [known.at, decision.at] : [decision.at, known.at]
      if (!policyChanges(execution).liesBetween(from, to))
        report.fail([decision, known], 'two versions of one policy decided in this execution')
    }
  },
}

const unlike: Rule = {
  id: 'GC-P03',
  version: 1,
  title: 'unknown policy',
  severity: 'high',
  scope: 'contextual',
  looksAt:
    'Decisions by a policy whose text is not the one that is known under its version, and policy bundles that were checked and refused.',
  guards: ['Texts are compared by their digest, where the engine gives version and digest.'],
  remedy: 'Load the policy from where it is signed, and give a changed policy a new version.',
  evaluate(execution, report) {
    for (const check of execution.verifications)
      if (check.type === 'policy_bundle' && check.outcome === 'fail')
        report.fail([check], 'a policy bundle was refused')
    for (const decision of versioned(execution)) {
      const { policyVersion, policyDigest } = decision
      if (policyVersion === undefined || policyDigest === undefined) continue
      const other = statementsOf(decision, execution).find(
        ({ version, digest }) => version === policyVersion && digest !== '' && digest !== policyDigest,
      )
      if (other === undefined) report.pass()
      else report.fail([decision, other], 'the policy has another text than the one known under its version')
    }
  },
}

const rollback: Rule = {
  id: 'GC-P04',
  version: 1,
  title: 'policy rolled back',
  severity: 'critical',
  scope: 'contextual',
  looksAt:
    'Decisions by a version of a policy that was in use before a newer one that the same service had already gone over to.',
  guards: ['A policy transition to this version, in this execution, explains it.'],
  remedy: 'Find out who loaded the old version again; if it was meant, record a policy transition.',
  evaluate(execution, report) {
    for (const decision of versioned(execution)) {
      const own = versionOf(decision)
      const statements = statementsOf(decision, execution).filter(
        ({ service }) => service === decision.on.service.name,
      )
      const before = statements.find((one) => nameOf(one) === own)
      const newer = statements.find(
        (one) =>
          nameOf(one) !== own && before !== undefined && one.since > before.since && one.since < decision.at,
      )
      if (newer === undefined || policiesWanted(execution).has(own)) report.pass()
      else report.fail([decision, newer, before!], 'an older version of the policy decides again')
    }
  },
}

/** Versions to which a transition in this execution leads. */
const policiesWanted = oncePerExecution(
  ({ transitions }): ReadonlySet<string | undefined> =>
    new Set(transitions.flatMap(({ type, to }) => (type === 'policy' ? [to] : []))),
)

const unpinned: Rule = {
  id: 'GC-P05',
  version: 1,
  title: 'unpinned policy',
  severity: 'low',
  scope: 'local',
  looksAt: 'Decisions by whatever policy was the newest, where the engine did not say which one that was.',
  guards: ['Silent where the engine tells version or digest.'],
  remedy: 'Name the version, the model or the bundle in the request.',
  evaluate(execution, report) {
    for (const decision of execution.decisions) {
      if (decision.policyPinned === undefined) continue
      if (decision.policyPinned || versionOf(decision) !== undefined) report.pass()
      else report.fail([decision], 'nobody said which version of the policy decided')
    }
  },
}

export const POLICY: readonly Rule[] = [stale, mixed, unlike, rollback, unpinned]
