/** GC-A, whether anybody was authorized, and when: A01 to A05. */
import { formatHex } from '../../bytes.ts'
import { type Artifact, artifactsOf } from '../artifacts.ts'
import type { Action, Authorization } from '../facts.ts'
import { type Execution, type Node, SKEW } from '../model.ts'
import { oncePerExecution, type Report, type Rule } from '../rule.ts'
import {
  actionsThatRan,
  fromSeconds,
  secondsText,
  serviceOf,
  spanOf,
  surroundingsOf,
} from '../surroundings.ts'

const absent: Rule = {
  id: 'GC-A01',
  version: 1,
  title: 'action without authorization',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Every action that was begun: fails where no authorization is on its span, on a span above it, or beside it in the part of the execution that one of these services did.',
  guards: [
    'Unknown unless every service from the action up to the root can see authorizations: it has an effective hook for a library that verifies credentials, or says what it verified.',
    'Unknown where a span above has not come, or a segment was erased.',
    'Unknown for jobs, messages and other executions that no caller with a credential begins, until the code says under whose authority they run.',
    'Unknown for an action that was told from ordinary attributes; silent if its service sees no authorizations, or answered 401 or 403.',
    'An authorization of the type `anonymous` says that nobody needs one.',
    'Authorizations that are only linked, by a link of the action’s span within the execution, count.',
  ],
  remedy:
    'Verify who is calling before the action, or say by `withAuthorization` under whose authority it runs; for what is open to everybody record an authorization of the type `anonymous`.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const artifacts = artifactsOf(execution)
    for (const action of actionsThatRan(execution)) {
      const { on } = action
      if (artifacts.at(on) !== undefined || isLinked(on, execution)) report.pass()
      else if (action.inferred) {
        if (surroundings.seesCredentials(on.service))
          report.unknown(`whether inferred actions of ${serviceOf(on)} need an authorization`)
      } else {
        const { request } = surroundings.entryOf(on)
        const hidden = surroundings.hiddenCredentials(on)
        if (hidden !== undefined) report.unknown(hidden)
        else if (request?.kind !== undefined && request.kind !== 'request')
          report.unknown(`under whose authority executions that are no requests run in ${serviceOf(on)}`)
        else report.fail([action], `${spanOf(on)} acted without any authorization`)
      }
    }
  },
}

/** A link of the span leads to one of the execution that has an authorization. */
function isLinked({ links }: Node, execution: Execution): boolean {
  if (links.length === 0) return false
  const trace = formatHex(execution.traceId)
  return links.some(({ traceId, spanId }) => traceId === trace && authorizedIn(execution).has(spanId))
}

const authorizedIn = oncePerExecution(
  ({ authorizations }): ReadonlySet<string> => new Set(authorizations.map(({ on }) => on.id)),
)

const unverified: Rule = {
  id: 'GC-A02',
  version: 1,
  title: 'authorization not verified',
  severity: 'high',
  scope: 'local',
  looksAt:
    'The authorizations in force at every action: fails where all of them were refused, not checked, or their check was skipped, and the action was begun nevertheless.',
  guards: [
    'One that was verified is enough, wherever in the execution it was.',
    'Unknown where nobody says whether it was verified, where it is only inherited and its verification is not here, and for inferred actions.',
    'Of one that was not checked here: unknown unless every service above can see authorizations.',
    'Authorizations of the type `anonymous` are not verified.',
  ],
  remedy:
    'Refuse the request when its token is not verified; do not read claims of a token whose check was skipped.',
  evaluate(execution, report) {
    const artifacts = artifactsOf(execution)
    for (const action of actionsThatRan(execution)) {
      const authority = artifacts.at(action.on)
      if (authority === undefined) continue
      if (authority.isVerified || authority.isPublic) report.pass()
      else if (action.inferred)
        report.unknown(`whether inferred actions of ${serviceOf(action.on)} rely on it`)
      else judgeFlaw(execution, action, authority.artifacts, report)
    }
  },
}

function judgeFlaw(
  execution: Execution,
  action: Action,
  artifacts: readonly Artifact[],
  report: Report,
): void {
  const { on } = action
  const hidden = artifacts.some(({ flaw }) => flaw === 'unverified')
    ? surroundingsOf(execution).hiddenCredentials(on)
    : undefined
  if (artifacts.some(({ origin }) => origin === undefined))
    report.unknown('where an inherited authorization was verified')
  else if (artifacts.some(({ flaw }) => flaw === undefined))
    report.unknown('whether an authorization was verified')
  else if (hidden !== undefined) report.unknown(hidden)
  else
    report.fail(
      [action, artifacts[0]!.record],
      `${spanOf(on)} acted on an authorization that ${howOf(artifacts[0]!)}`,
    )
}

function howOf({ flaw, refusal }: Artifact): string {
  if (flaw === 'failed') return `was refused${WORD.test(refusal ?? '') ? ` (${refusal})` : ''}`
  return flaw === 'skipped' ? 'was not to be checked' : 'was not checked'
}

/** Reasons of our hooks' closed lists; anything else may be the application's own text. */
const WORD =
  /^(?:expired|not_active|invalid_signature|audience_mismatch|issuer_mismatch|inactive|insufficient_scope)$/

const expired: Rule = {
  id: 'GC-A03',
  version: 1,
  title: 'expired authorization',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'The start of every action, and when the last of the authorizations in force expired: fails if that is earlier by more than the skew.',
  guards: [
    'Of several records of one artifact the earliest expiry counts.',
    'Silent where one in force does not expire, or does not say when.',
    'One that was refused as expired is GC-A02’s.',
    'Clocks may differ by the skew.',
    'Unknown for inferred actions.',
  ],
  remedy: 'Verify the token again, or get a new one, before an action that comes late.',
  evaluate(execution, report) {
    for (const [action, record, expiresAt] of bounded(execution, 'expiresAt')) {
      const { on } = action
      const end = fromSeconds(expiresAt)
      if (on.start <= end + SKEW) report.pass()
      else if (action.inferred)
        report.unknown(`whether inferred actions of ${serviceOf(on)} need an authorization`)
      else
        report.fail(
          [action, record],
          `${spanOf(on)} acted ${secondsText(on.start - end)} after its authorization had expired`,
        )
    }
  },
}

const expiredMeanwhile: Rule = {
  id: 'GC-A04',
  version: 1,
  title: 'authorization expired during the action',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Actions that began under a valid authorization: fails where the last in force expired before the action ended, by more than the skew.',
  guards: [
    'Silent where one in force does not expire, or does not say when.',
    'Silent about inferred actions: a call that takes long is not begun again.',
    'Clocks may differ by the skew.',
  ],
  remedy: 'Check the authorization again in actions that last longer than tokens do, such as streams.',
  evaluate(execution, report) {
    for (const [action, record, expiresAt] of bounded(execution, 'expiresAt')) {
      const { on } = action
      const end = fromSeconds(expiresAt)
      if (action.inferred || on.start > end + SKEW) continue
      if (on.end <= end + SKEW) report.pass()
      else
        report.fail(
          [action, record],
          `${spanOf(on)} went on for ${secondsText(on.end - end)} after its authorization had expired`,
        )
    }
  },
}

const early: Rule = {
  id: 'GC-A05',
  version: 1,
  title: 'authorization not yet valid',
  severity: 'high',
  scope: 'local',
  looksAt:
    'The start of every action, and from when on the first of the authorizations in force holds: fails if that is later by more than the skew.',
  guards: [
    'Silent where one in force says no beginning.',
    'Clocks may differ by the skew.',
    'Unknown for inferred actions.',
  ],
  remedy: 'Look at `nbf` when verifying, and at the clock of the issuer.',
  evaluate(execution, report) {
    for (const [action, record, notBefore] of bounded(execution, 'notBefore')) {
      const { on } = action
      const begin = fromSeconds(notBefore)
      if (on.start >= begin - SKEW) report.pass()
      else if (action.inferred)
        report.unknown(`whether inferred actions of ${serviceOf(on)} need an authorization`)
      else
        report.fail(
          [action, record],
          `${spanOf(on)} acted ${secondsText(begin - on.start)} before its authorization held`,
        )
    }
  },
}

/** Actions under authorizations that are bounded in time, with the record that says so. */
function bounded(
  execution: Execution,
  which: 'expiresAt' | 'notBefore',
): (readonly [Action, Authorization, number])[] {
  const found: (readonly [Action, Authorization, number])[] = []
  const artifacts = artifactsOf(execution)
  for (const action of actionsThatRan(execution)) {
    const authority = artifacts.at(action.on)
    const at = authority?.[which]
    if (authority === undefined || at === undefined) continue
    if (!authority.isVerified && authority.artifacts.every(({ flaw }) => flaw === 'failed')) continue
    const artifact = authority.artifacts.find((one) => one[which] === at) ?? authority.artifacts[0]!
    found.push([action, artifact.record, at])
  }
  return found
}

export const AUTHORIZATION: readonly Rule[] = [absent, unverified, expired, expiredMeanwhile, early]
