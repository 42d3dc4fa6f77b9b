/** GC-D, whether a decision was followed: D01 to D05, D13. */
import type { Action } from '../facts.ts'
import type { Execution, Joined, Node } from '../model.ts'
import { oncePerExecution, type Report, type Rule } from '../rule.ts'
import {
  actionsThatRan,
  binds,
  decidedActions,
  isCertain,
  secondsText,
  serviceOf,
  spanOf,
  surroundingsOf,
  tolerance,
} from '../surroundings.ts'

/** Guards of rules about actions that went on without permission. */
const DOUBTS = [
  'Unknown where it is not certain on which decision the action rests and another one around it is an allow.',
  'Unknown for inferred actions: they may be a consequence of the answer; silent if the service answered 401 or 403.',
]

const absent: Rule = {
  id: 'GC-D01',
  version: 1,
  title: 'action without decision',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Every action that was begun: fails where no decision is joined to it, and none was taken in the parts of the execution that its service and those above did.',
  guards: [
    'An action below one that has a decision rests on that.',
    'Unknown where decisions were taken around it, and nothing says on which it rests.',
    'Unknown unless every service from the action up to the root can see decisions: it has an effective hook for a policy engine, or says what was decided.',
    'Unknown where a span above has not come, where the decision that it names has not, or where a segment was erased.',
    'Unknown for an action that was told from ordinary attributes; silent if its service sees no decisions, or answered 401 or 403.',
  ],
  remedy: 'Ask a policy before the action, or record by `recordDecision` why it may be done.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const { joins } = execution
    for (const action of actionsThatRan(execution)) {
      const { on } = action
      if (joins.has(action) || surroundings.isBelowDecided(on)) report.pass()
      else if (action.inferred) {
        if (surroundings.seesDecisions(on.service))
          report.unknown(`whether inferred actions of ${serviceOf(on)} need a decision`)
      } else {
        const hidden = surroundings.hiddenDecisions(on)
        if (surroundings.near(on).count > 0) report.unknown(`on which decision ${serviceOf(on)} acted`)
        else if (action.decisionId !== undefined) report.unknown('a decision that an action names')
        else if (hidden !== undefined) report.unknown(hidden)
        else report.fail([action], `${spanOf(on)} acted without any decision`)
      }
    }
  },
}

const denied: Rule = {
  id: 'GC-D02',
  version: 1,
  title: 'denied but executed',
  severity: 'critical',
  scope: 'local',
  looksAt: 'Actions whose decision is a denial that binds: fails where the action was begun.',
  guards: [
    'Answers that do not bind (`dry_run`, `advisory`) are GC-D03’s; one that does not say binds.',
    ...DOUBTS,
  ],
  remedy: 'Do not go on after a denial; `governedAction` refuses by itself.',
  evaluate(execution, report) {
    for (const [action, joined] of decidedActions(execution)) {
      if (!binds(joined.decision.enforcement)) continue
      if (joined.decision.outcome !== 'deny') report.pass()
      else judge(execution, action, joined, `${spanOf(action.on)} acted although it had been denied`, report)
    }
  },
}

const shadowDenied: Rule = {
  id: 'GC-D03',
  version: 1,
  title: 'would have been denied',
  severity: 'low',
  scope: 'local',
  looksAt: 'Actions whose decision is a denial that does not bind: a note where the action was begun.',
  guards: [
    'Only answers that say `dry_run` or `advisory`.',
    'Silent where it is not certain on which decision the action rests, and about inferred actions.',
  ],
  remedy: 'Look at these before the policy is enforced.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    for (const [action, joined] of decidedActions(execution)) {
      const { decision } = joined
      if (binds(decision.enforcement)) continue
      if (decision.outcome !== 'deny') report.pass()
      else if (!action.inferred && isCertain(surroundings, action, joined))
        report.fail([action, decision], `${spanOf(action.on)} would have been denied`)
    }
  },
}

const late: Rule = {
  id: 'GC-D04',
  version: 1,
  title: 'decision after the action',
  severity: 'critical',
  scope: 'local',
  looksAt: 'When an action began, and when the decision on which it rests was taken: fails if that is later.',
  guards: [
    'A decision on the action’s own span, or below it, guards what is inside.',
    'Clocks of different processes may differ by the skew; of one process by 5 ms, because SDKs cut the starts of spans.',
    'A note (low) about answers that do not bind: they may be given afterwards.',
    'Unknown where it is not certain on which decision the action rests, and for inferred actions.',
  ],
  remedy: 'Wait for the decision before the action is begun.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    for (const [action, joined] of decidedActions(execution)) {
      const { decision } = joined
      const { on } = action
      const isTimely = decision.at <= on.start + tolerance(decision.on, on)
      if (isTimely || (surroundings.isWithin(decision.on, on) && decision.at <= on.end)) report.pass()
      else if (action.inferred || !isCertain(surroundings, action, joined))
        report.unknown(`on which decision ${serviceOf(on)} acted`)
      else
        report.fail(
          [action, decision],
          `${spanOf(on)} acted ${secondsText(decision.at - on.start)} before it was decided`,
          binds(decision.enforcement) ? undefined : 'low',
        )
    }
  },
}

const failedOpen: Rule = {
  id: 'GC-D05',
  version: 1,
  title: 'failed open',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Actions whose decision is an error, or that no policy had an answer: fails where the action was begun.',
  guards: ['Silent about answers that do not bind (`dry_run`, `advisory`).', ...DOUBTS],
  remedy: 'Treat errors of the policy engine, and questions that no policy answers, as denials.',
  evaluate(execution, report) {
    for (const [action, joined] of decidedActions(execution)) {
      const { decision } = joined
      if (!binds(decision.enforcement)) continue
      const isOpen = decision.outcome === 'error' || decision.outcome === 'not_applicable'
      if (!isOpen) report.pass()
      else
        judge(
          execution,
          action,
          joined,
          `${spanOf(action.on)} acted although ${decision.outcome === 'error' ? 'deciding had failed' : 'no policy had an answer'}`,
          report,
        )
    }
  },
}

const unrecorded: Rule = {
  id: 'GC-D13',
  version: 1,
  title: 'refusal without a record',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Actions that were refused, and requests that were answered with 403: fails where an action says that a decision refused it, and no decision is in the execution that could have.',
  guards: [
    'A denial, a failed check of a credential or an approval, and a gate that stayed closed are records of why.',
    'Actions that say no reason, or another one than a decision, were refused for reasons that are not policy’s, such as wrong arguments.',
    'Of requests only unknown: frameworks refuse for many reasons. Silent if the service sees no decisions.',
    'Unknown where a span above has not come, or a segment was erased.',
  ],
  remedy: 'Record the decision that refuses as well as those that permit.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const { joins } = execution
    for (const action of execution.actions) {
      const { on, reason } = action
      if (action.inferred || action.outcome !== 'refused') continue
      if (reason === undefined || !/^(?:decision_|denied$)/.test(reason)) continue
      const hidden = surroundings.hiddenDecisions(on)
      if (joins.has(action) || explainedIn(execution).has(surroundings.entryOf(on))) report.pass()
      else if (hidden !== undefined) report.unknown(hidden)
      else report.fail([action], `${spanOf(on)} was refused by a decision that is not here`)
    }
    for (const { on } of execution.requests) {
      if (on.httpStatus !== 403 || on.kind !== 2 || !surroundings.seesDecisions(on.service)) continue
      if (explainedIn(execution).has(surroundings.entryOf(on))) report.pass()
      else report.unknown(`why ${serviceOf(on)} refused a request`)
    }
  },
}

/** Parts of the execution in which something is recorded that is a reason to refuse. */
const explainedIn = oncePerExecution((execution): ReadonlySet<Node> => {
  const surroundings = surroundingsOf(execution)
  const reasons = [
    ...execution.decisions.filter((one) => one.outcome !== 'allow'),
    ...execution.verifications.filter((one) => one.outcome !== 'pass'),
    ...execution.authorizations.filter((one) => one.verification === 'failed'),
  ]
  return new Set(reasons.map(({ on }) => surroundings.entryOf(on)))
})

/** A failure, unless there is doubt that the action rests on this decision. */
export function judge(
  execution: Execution,
  action: Action,
  joined: Joined,
  detail: string,
  report: Report,
  severity?: 'high',
): void {
  const surroundings = surroundingsOf(execution)
  if (action.inferred) report.unknown(`whether inferred actions of ${serviceOf(action.on)} were decided on`)
  else if (!isCertain(surroundings, action, joined) && surroundings.near(action.on).allows)
    report.unknown(`on which decision ${serviceOf(action.on)} acted`)
  else report.fail([action, joined.decision], detail, severity)
}

export const DECISION: readonly Rule[] = [absent, denied, shadowDenied, late, failedOpen, unrecorded]
