/** GC-D, whether a decision fits what was done, and what other decisions say: D06 to D12. */
import { artifactsOf } from '../artifacts.ts'
import type { Action, Authorization, Decision, Transition, Verification } from '../facts.ts'
import type { Execution, Joined, Node, Service } from '../model.ts'
import { oncePerExecution, type Report, type Rule, type Subject } from '../rule.ts'
import {
  binds,
  decidedActions,
  fromSeconds,
  isCertain,
  permits,
  secondsText,
  serviceOf,
  spanOf,
  surroundingsOf,
  tolerance,
} from '../surroundings.ts'
import { engineWords, wordAbout } from '../tier.ts'
import { judge } from './decision.ts'

const notBound: Rule = {
  id: 'GC-D06',
  version: 1,
  title: 'decision for another action',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Decisions that are bound to one action by its digest (`governance.action.digest`), and the actions that rest on them: fails where the digests differ.',
  guards: [
    'Silent about decisions that are bound to nothing.',
    'Unknown where the action has no digest.',
    'Where an action does not name its decision, and an action with the decision’s digest is in the execution, the decision was for that one.',
    'Digests of different services may be made with different keys: unknown where they differ.',
    'Unknown for inferred actions.',
  ],
  remedy: 'Decide again when arguments change, and do exactly what was decided.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    for (const [action, joined] of decidedActions(execution)) {
      const { decision, method } = joined
      const bound = decision.actionDigest
      if (bound === undefined) continue
      const isNamed = method === 'id' || method === 'link'
      if (action.digest === bound) report.pass()
      else if (action.digest === undefined) report.unknown(`digests of actions of ${serviceOf(action.on)}`)
      else if (
        action.inferred ||
        (!isNamed && (digestsOf(execution).has(bound) || action.on.decisions.length > 1))
      )
        report.unknown(`on which decision ${serviceOf(action.on)} acted`)
      else if (decision.on.service !== action.on.service && bound.startsWith('hmac-'))
        report.unknown('whether services make digests with one key')
      else if (!isNamed && !isCertain(surroundings, action, joined) && surroundings.near(action.on).allows)
        report.unknown(`on which decision ${serviceOf(action.on)} acted`)
      else report.fail([action, decision], `${spanOf(action.on)} is not the action that was decided on`)
    }
  },
}

const digestsOf = oncePerExecution(
  ({ actions }): ReadonlySet<string | undefined> => new Set(actions.map(({ digest }) => digest)),
)

const stale: Rule = {
  id: 'GC-D07',
  version: 1,
  title: 'stale decision',
  severity: 'high',
  scope: 'local',
  looksAt:
    'How long a decision may be used (`governance.decision.ttl`), and when the action on which it rests began: fails where that was later, or where the policy that decided was replaced in between.',
  guards: [
    'Silent about decisions without a time to live, as long as their policy stays.',
    'Only a transition of the type `policy`, of the same engine in the same service, from the digest or version that decided, replaces a policy; what happens within the action does not count.',
    'Clocks of different processes may differ by the skew.',
    'Unknown where it is not certain on which decision the action rests, and for inferred actions.',
  ],
  remedy: 'Decide again when the answer is older than its time to live, or the policy is another.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const changes = changesIn(execution)
    for (const [action, joined] of decidedActions(execution)) {
      const { decision } = joined
      const { on } = action
      const { ttl } = decision
      const slack = tolerance(decision.on, on)
      const isOld = ttl !== undefined && ttl >= 0 && on.start > decision.at + fromSeconds(ttl) + slack
      const change = isOld ? undefined : changes.between(decision, on.start)
      if (!isOld && change === undefined) {
        if (ttl !== undefined) report.pass()
      } else if (action.inferred || !isCertain(surroundings, action, joined))
        report.unknown(`on which decision ${serviceOf(on)} acted`)
      else if (change !== undefined)
        report.fail([action, decision, change], `${spanOf(on)} acted on a policy that had been replaced`)
      else
        report.fail(
          [action, decision],
          `${spanOf(on)} acted ${secondsText(on.start - decision.at)} after a decision that held for ${ttl} s`,
        )
    }
  },
}

/** Replacements of policies, in the order of time, by service, engine and what was replaced. */
class Changes {
  readonly #of = new Map<Service, Map<string, Transition[]>>()

  constructor(transitions: readonly Transition[]) {
    for (const transition of transitions) {
      const { type, engine, from, on } = transition
      if (engine === undefined || from === undefined || type !== 'policy') continue
      const known = this.#of.get(on.service) ?? new Map<string, Transition[]>()
      this.#of.set(on.service, known)
      const key = JSON.stringify([engine, from])
      const list = known.get(key)
      if (list === undefined) known.set(key, [transition])
      else list.push(transition)
    }
    for (const known of this.#of.values())
      for (const list of known.values()) list.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
  }

  /** The first replacement of a decision's policy after it, if that was before `until`. */
  between({ engine, policyDigest, policyVersion, on, at }: Decision, until: bigint): Transition | undefined {
    const known = this.#of.get(on.service)
    const from = policyDigest ?? policyVersion
    if (known === undefined || engine === undefined || from === undefined) return undefined
    const list = known.get(JSON.stringify([engine, from])) ?? []
    let low = 0
    let high = list.length
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (list[middle]!.at <= at) low = middle + 1
      else high = middle
    }
    const first = list[low]
    return first !== undefined && first.at < until ? first : undefined
  }
}

const changesIn = oncePerExecution(({ transitions }) => new Changes(transitions))

const approvalMissing: Rule = {
  id: 'GC-D08',
  version: 1,
  title: 'approval missing',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Actions whose decision asks for an approval: fails where none was given before the action began, or where the requester gave it (high).',
  guards: [
    'An approval is an authorization of the type `approval`, an authorization that names one, or a verification of the type `approval` that passed. It is the one that the decision names, or, where it names none, one in the part of the execution that the action belongs to or in those above.',
    'Unknown where an approval in the execution is not certain to be meant, and who approved where nobody says it.',
    'Silent about answers that do not bind (`dry_run`, `advisory`).',
    'Clocks of different processes may differ by the skew.',
    'Unknown for inferred actions; silent if the service answered 401 or 403.',
  ],
  remedy: 'Wait until somebody else has approved, and record the approval before the action.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    for (const [action, joined] of decidedActions(execution)) {
      const { decision } = joined
      if (decision.outcome !== 'approval_required' || !binds(decision.enforcement)) continue
      const approvals = approvalsOf(execution)
      const inTime = approvals
        .slice(0, MAX_APPROVALS)
        .filter((one) => one.at <= action.on.start + tolerance(one.on, action.on))
      const given = inTime.filter((one) =>
        decision.approvalId === undefined
          ? surroundings.isWithin(action.on, surroundings.entryOf(one.on))
          : one.id === decision.approvalId,
      )
      if (given.length > 0) judgeApprovers(execution, action, joined, given, report)
      else if (inTime.length > 0 || approvals.length > MAX_APPROVALS)
        report.unknown('which approval an action rests on')
      else
        judge(execution, action, joined, `${spanOf(action.on)} acted without the approval it needed`, report)
    }
  },
}

/** Approvals of one execution that are looked at. */
const MAX_APPROVALS = 64

interface Approval extends Subject {
  readonly on: Node
  readonly at: bigint
  readonly id: string | undefined
  readonly approver: string | undefined
}

const approvalsOf = oncePerExecution(({ authorizations, verifications }): readonly Approval[] => {
  const ofAuthorization = (one: Authorization): Approval => ({
    leaf: one.leaf,
    on: one.on,
    at: one.at,
    id: one.approvalId ?? one.id,
    approver: one.approver,
  })
  const ofVerification = (one: Verification): Approval => ({
    leaf: one.leaf,
    on: one.on,
    at: one.at,
    id: one.targetId,
    approver: undefined,
  })
  return [
    ...authorizations
      .filter(
        ({ type, approvalId, inherited }) => !inherited && (type === 'approval' || approvalId !== undefined),
      )
      .filter(({ verification }) => verification !== 'failed')
      .map(ofAuthorization),
    ...verifications
      .filter(({ type, outcome }) => type === 'approval' && outcome === 'pass')
      .map(ofVerification),
  ]
})

function judgeApprovers(
  execution: Execution,
  action: Action,
  joined: Joined,
  given: readonly Approval[],
  report: Report,
): void {
  const approvers = given.flatMap(({ approver }) => (approver === undefined ? [] : [approver]))
  const own =
    artifactsOf(execution)
      .at(action.on)
      ?.artifacts.filter(({ isApproval }) => !isApproval) ?? []
  const isRequester = (one: string): boolean =>
    joined.decision.subject === one || own.some(({ record }) => record.subject === one)
  if (!approvers.every(isRequester)) report.pass()
  else if (approvers.length === 0 || approvers.length < given.length) report.unknown('who approved')
  else
    judge(execution, action, joined, `${spanOf(action.on)} was approved by its own requester`, report, 'high')
}

const obligationUnmet: Rule = {
  id: 'GC-D09',
  version: 1,
  title: 'obligation not met',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Obligations of decisions (`governance.decision.obligations`), and verifications of the type `enforcement` whose target is an obligation: fails where one has none that passed before the action ended.',
  guards: [
    'Where no service records the enforcement of any obligation in the execution: unknown, unless one is said to have failed.',
    'Silent about answers that do not bind (`dry_run`, `advisory`), and about decisions without obligations.',
    'Clocks of different processes may differ by the skew.',
    'Unknown where it is not certain on which decision the action rests, and for inferred actions.',
  ],
  remedy:
    'Do what the decision obliges to, and record it: `recordVerification` with the obligation as its target.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    for (const [action, joined] of decidedActions(execution)) {
      const { obligations, enforcement } = joined.decision
      if (obligations.length === 0 || !binds(enforcement)) continue
      const { met, failed } = enforcedIn(execution)
      const unmet = obligations.slice(0, MAX_OBLIGATIONS).filter((obligation) => {
        const by = met.get(obligation)
        return by === undefined || by.at > action.on.end + tolerance(by.on, action.on)
      })
      if (unmet.length === 0) report.pass()
      else if (action.inferred || !isCertain(surroundings, action, joined))
        report.unknown(`on which decision ${serviceOf(action.on)} acted`)
      else if (met.size === 0 && !unmet.some((one) => failed.has(one)))
        report.unknown('whether obligations were met')
      else
        report.fail(
          [action, joined.decision],
          `${spanOf(action.on)} ended with ${unmet.length} of ${obligations.length} obligations not met`,
        )
    }
  },
}

/** The first time that each obligation was met, and those of which somebody says that they were not. */
const enforcedIn = oncePerExecution(({ verifications }) => {
  const met = new Map<string, Verification>()
  const failed = new Set<string>()
  for (const one of verifications) {
    if (one.type !== 'enforcement' || one.targetId === undefined) continue
    if (one.outcome === 'fail') failed.add(one.targetId)
    const known = met.get(one.targetId)
    if (one.outcome === 'pass' && (known === undefined || one.at < known.at)) met.set(one.targetId, one)
  }
  return { met, failed }
})

/** Obligations of one decision that are looked at. */
const MAX_OBLIGATIONS = 64

const conflicting: Rule = {
  id: 'GC-D10',
  version: 1,
  title: 'conflicting decisions',
  severity: 'medium',
  scope: 'local',
  looksAt: 'Decisions with one action digest that bind: fails where some allow and some deny.',
  guards: [
    'A later answer supersedes an earlier one if an approval, or a transition of policy, authority, oversight or mode, lies between them, or if they were given by different versions of the policy or for different subjects.',
    'Silent about decisions that are bound to no action, and about those on the span of the action itself.',
  ],
  remedy:
    'Find out which of the policies is meant to decide; a human who overrides one says so by a transition.',
  evaluate(execution, report) {
    const byTime = execution.decisions
      .filter((one) => one.outcome !== undefined && binds(one.enforcement) && isBound(one))
      .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
    if (byTime.length < 2) return
    const last = new Map<string, Decision>()
    const turns = turnsOf(execution)
    for (const decision of byTime) {
      if (!permits(decision) && decision.outcome !== 'deny') continue
      const key = decision.actionDigest!
      const before = last.get(key)
      last.set(key, decision)
      if (before === undefined) continue
      if (permits(before) === permits(decision) || isSuperseded(before, decision, turns)) report.pass()
      else
        report.fail(
          [decision, before],
          `${spanOf(decision.on)} and ${spanOf(before.on)} were given different answers about one action`,
        )
    }
  },
}

/** By itself: a decision on the span of an action has that action's digest, unless it says another one. */
function isBound({ actionDigest, on }: Decision): boolean {
  return actionDigest !== undefined && actionDigest !== on.action?.digest
}

/** Times, ascending, at which something happened that gives reason to decide anew. */
function turnsOf(execution: Execution): bigint[] {
  const kinds: ReadonlySet<string | undefined> = new Set(['policy', 'authority', 'oversight', 'mode'])
  return [
    ...execution.transitions.filter(({ type }) => kinds.has(type)).map(({ at }) => at),
    ...approvalsOf(execution).map(({ at }) => at),
  ].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
}

function isSuperseded(before: Decision, after: Decision, turns: readonly bigint[]): boolean {
  if (before.subject !== after.subject) return true
  const isSameEngine = before.engine === after.engine && before.policyId === after.policyId
  const isSameVersion =
    before.policyVersion === after.policyVersion && before.policyDigest === after.policyDigest
  if (isSameEngine && !isSameVersion) return true
  let low = 0
  let high = turns.length
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (turns[middle]! < before.at) low = middle + 1
    else high = middle
  }
  return turns[low] !== undefined && turns[low]! <= after.at
}

const contradicted: Rule = {
  id: 'GC-D11',
  version: 2,
  title: 'decision contradicted by its engine',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Decisions of which the policy engine’s own log tells under the same id, as its receipt shows: fails where the outcomes differ.',
  guards: [
    'Only what an engine delivered itself, authenticated, is its word; that a span or log record of a service claims to be it counts as the service’s.',
    'Silent where no engine’s word is in the execution, or where the peer who sent the decision delivered it.',
    'Only the first word about an id is compared, and only outcomes that are known on both sides.',
  ],
  remedy:
    'Look at what stands between the policy engine and the service: one of them does not say what happened.',
  evaluate(execution, report) {
    const words = engineWords(execution)
    if (words.size === 0) return
    for (const decision of execution.decisions) {
      const word = wordAbout(decision, words)
      if (word === undefined) continue
      if (decision.outcome === word.outcome) report.pass()
      else
        report.fail(
          [decision, word],
          `${spanOf(decision.on)} says another answer than the log of its policy engine`,
        )
    }
  },
}

const withErrors: Rule = {
  id: 'GC-D12',
  version: 1,
  title: 'allowed with errors',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Decisions that count the errors of their evaluation: fails where one allows although there were any, since a rule that forbids may be among those that failed.',
  guards: [
    'Only engines that say how many errors there were, such as Cedar.',
    'A note (low) about answers that do not bind (`dry_run`, `advisory`).',
  ],
  remedy: 'Correct the rules that fail; validate policies against the schema before they are used.',
  evaluate({ decisions }, report) {
    for (const decision of decisions) {
      const { errors, outcome, enforcement } = decision
      if (outcome !== 'allow' && outcome !== 'transform') continue
      if (errors === 0) report.pass()
      else
        report.fail(
          [decision],
          `${spanOf(decision.on)} was allowed while ${errors} ${errors === 1 ? 'error' : 'errors'} kept rules from counting`,
          binds(enforcement) ? undefined : 'low',
        )
    }
  },
}

export const DECISION_BINDING: readonly Rule[] = [
  notBound,
  stale,
  approvalMissing,
  obligationUnmet,
  conflicting,
  contradicted,
  withErrors,
]
