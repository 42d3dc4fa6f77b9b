/** GC-A, whether an authorization is the right one for what is done with it: A06, A07, A08, A10, A12. */
import { type Artifact, type Artifacts, type Authority, artifactsOf } from '../artifacts.ts'
import type { Action, Decision } from '../facts.ts'
import type { Execution, Node, Service } from '../model.ts'
import { oncePerExecution, type Report, type Rule } from '../rule.ts'
import { actionsThatRan, isCertain, serviceOf, spanOf, surroundingsOf } from '../surroundings.ts'

const scopeExceeded: Rule = {
  id: 'GC-A06',
  version: 1,
  title: 'scope exceeded',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Actions that say which scopes they need (`governance.action.required_scope`): fails where one of them is in none of the verified authorizations in force.',
  guards: [
    'Silent about actions that do not say what they need.',
    'Unknown where one of the authorizations in force says no scopes.',
    'An action that was refused is fine.',
  ],
  remedy:
    'Check the scope before the action; ask for a token that has it, or take it from the list of what is needed.',
  evaluate(execution, report) {
    const artifacts = artifactsOf(execution)
    for (const action of actionsThatRan(execution)) {
      if (action.requiredScope.length === 0) continue
      const authority = artifacts.at(action.on)
      if (authority === undefined) continue
      const granting = authority.artifacts.filter((one) => one.isVerified && !one.isApproval)
      const isMet = action.requiredScope
        .slice(0, MAX_SCOPES)
        .every((scope) => granting.some((one) => one.scope?.has(scope)))
      if (isMet) report.pass()
      else if (
        authority.isCut ||
        granting.length === 0 ||
        granting.some((one) => one.scope === undefined) ||
        action.requiredScope.length > MAX_SCOPES
      )
        report.unknown('which scopes an authorization has')
      else
        report.fail(
          [action, ...granting.map(({ record }) => record)],
          `${spanOf(action.on)} needs a scope that no authorization in force has`,
        )
    }
  },
}

const MAX_SCOPES = 64

const audienceMismatch: Rule = {
  id: 'GC-A07',
  version: 1,
  title: 'audience mismatch',
  severity: 'high',
  scope: 'local',
  looksAt:
    'Artifacts that name an audience and on which a named action relied: fails where the service found itself not in it and went on, or did not look and the audience names only other services of this execution; a note where nobody looked.',
  guards: [
    'A note (low) where the audience was not among the checks: whether it is the right one is not known.',
    'Names of services are compared with the audience letter by letter; audiences that are addresses are not guessed at.',
    'Silent where the checker does not say what it looked at, and about artifacts that a client was issued.',
    'Silent about inferred actions.',
  ],
  remedy: 'Give the verifier the audience that this service expects.',
  evaluate(execution, report) {
    const artifacts = artifactsOf(execution)
    for (const [action, artifact] of relied(execution, artifacts)) {
      const { record, checks, unchecked, refusal } = artifact
      if (record.audience === undefined || record.audience.length === 0) continue
      if (checks.has('issued')) continue
      if (checks.has('audience')) report.pass()
      else if (!artifact.isVerified && refusal === 'audience_mismatch')
        report.fail([action, record], `${spanOf(action.on)} acted on an authorization for another audience`)
      else if (checks.size === 0 && !unchecked.has('audience')) continue
      else if (isForOthers(record.audience, record.on, execution))
        report.fail(
          [action, record],
          `${serviceOf(record.on)} took an authorization whose audience is another service, and did not look`,
        )
      else
        report.fail(
          [record],
          `${serviceOf(record.on)} did not look at the audience of an authorization`,
          'low',
        )
    }
  },
}

function isForOthers(audience: readonly string[], { service }: Node, execution: Execution): boolean {
  return !audience.includes(service.name) && audience.every((one) => namesOf(execution).has(one))
}

const namesOf = oncePerExecution(
  ({ services }): ReadonlySet<string> =>
    new Set(services.map(({ name }) => name).filter((name) => name !== '')),
)

const swapped: Rule = {
  id: 'GC-A08',
  version: 1,
  title: 'authorization swapped',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'The artifact that was in force when an action was decided, and those in force at the action in the same service: fails where it is none of them and nothing links them.',
  guards: [
    'Linked are: an exchange or attenuation that names its parent, one transaction, an `authority` transition, and another verified artifact of the same issuer for the same subject, such as a refreshed token.',
    'An approval stands beside the requester’s artifact and swaps nothing.',
    'Fingerprints of different services may be made with different keys and are not compared.',
    'Unknown where an artifact has no fingerprint, where the one at the action was presented openly and names no subject, where it is not certain on which decision the action rests, and for inferred actions.',
  ],
  remedy:
    'Decide again under the new token, or record where it comes from: `parentToken` of the authorization, or a transition of the type `authority`.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const artifacts = artifactsOf(execution)
    for (const action of actionsThatRan(execution)) {
      const joined = execution.joins.get(action)
      const before = artifacts.byFingerprint(joined?.decision.fingerprint)
      const fingerprint = joined?.decision.fingerprint
      if (joined === undefined || fingerprint === undefined) continue
      if (joined.decision.on.service !== action.on.service) continue
      const authority = artifacts.at(action.on)
      if (authority === undefined) continue
      const same = isSame(authority, fingerprint, before, artifacts)
      if (same) report.pass()
      else if (action.inferred || !isCertain(surroundings, action, joined))
        report.unknown(`on which decision ${serviceOf(action.on)} acted`)
      else judgeSwap(action, joined.decision, authority, before, report)
    }
  },
}

function isSame(
  { artifacts: inForce, families }: Authority,
  fingerprint: string,
  before: Artifact | undefined,
  artifacts: Artifacts,
): boolean {
  const others = inForce.filter(({ isApproval }) => !isApproval)
  if (others.length === 0 || others.some(({ record }) => record.fingerprint === fingerprint)) return true
  return before !== undefined && families.has(artifacts.familyOf(before))
}

function judgeSwap(
  action: Action,
  decision: Decision,
  { artifacts: inForce, isCut }: Authority,
  before: Artifact | undefined,
  report: Report,
): void {
  const others = inForce.filter(({ isApproval }) => !isApproval)
  const isOpen = others.every(({ origin }) => origin !== undefined)
  const areNamed =
    before?.record.subject !== undefined && others.every(({ record }) => record.subject !== undefined)
  if (isCut || others.some(({ record }) => record.fingerprint === undefined))
    report.unknown('which artifact an authorization is')
  else if (isOpen && !areNamed) report.unknown('where an authorization at an action comes from')
  else
    report.fail(
      [action, others[0]!.record, decision, ...(before === undefined ? [] : [before.record])],
      `${spanOf(action.on)} acted on another authorization than the one it was decided for`,
    )
}

const principalMismatch: Rule = {
  id: 'GC-A10',
  version: 1,
  title: 'principal mismatch',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Whom a decision was about and who is authorized, at actions that rest on it: fails where it was about somebody else.',
  guards: [
    'The subject, the client and everybody in the actor chain of an artifact are the same principal; so are those whose artifacts were presented further up, for whom this service acts.',
    'Policies may name principals in their own way, by roles or other ids: unknown, unless another decision of the same engine in the service named an authorized principal, or the decision names one that is authorized only elsewhere in the execution.',
    'Unknown where it is not certain on which decision the action rests, and for inferred actions.',
  ],
  remedy: 'Ask the policy about the subject of the verified token, not about one that the request names.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const artifacts = artifactsOf(execution)
    for (const action of actionsThatRan(execution)) {
      const joined = execution.joins.get(action)
      const authority = artifacts.at(action.on)
      const subject = joined?.decision.subject
      if (joined === undefined || subject === undefined || authority === undefined) continue
      const { decision } = joined
      const before = artifacts.byFingerprint(decision.fingerprint)
      const named = before?.principals.size ? [before, ...authority.artifacts] : authority.artifacts
      if (named.some((one) => !one.isApproval && one.principals.has(subject))) report.pass()
      else if (authority.isCut || named.every((one) => one.principals.size === 0)) {
        if (!authority.isPublic) report.unknown('whom an authorization is about')
      } else if (principalsOf(execution).isAbove(subject, action.on)) report.pass()
      else if (!principalsOf(execution).isComparable(decision, subject))
        report.unknown(`whether policies of ${serviceOf(decision.on)} name principals as authorizations do`)
      else if (action.inferred || !isCertain(surroundings, action, joined))
        report.unknown(`on which decision ${serviceOf(action.on)} acted`)
      else
        report.fail(
          [action, decision, named[0]!.record],
          `${spanOf(action.on)} acted for another principal than the one it was decided for`,
        )
    }
  },
}

/** Looked through for each principal that does not fit; more are taken as being above. */
const MAX_PRESENTED = 16

class Principals {
  readonly #execution: Execution
  /** Artifacts by principal: the first of them. */
  readonly #artifacts = new Map<string, Artifact[]>()
  /** Engines of services that name principals as artifacts do. */
  readonly #engines = new Map<Service, Set<string | undefined>>()

  constructor(execution: Execution) {
    this.#execution = execution
    for (const artifact of artifactsOf(execution).all)
      for (const principal of artifact.principals) {
        const known = this.#artifacts.get(principal)
        if (known === undefined) this.#artifacts.set(principal, [artifact])
        else if (known.length < MAX_PRESENTED) known.push(artifact)
      }
    for (const decision of execution.decisions)
      if (decision.subject !== undefined && this.#artifacts.has(decision.subject))
        this.#enginesOf(decision.on.service).add(decision.engine)
  }

  /** The principal's own artifact was presented to the service at the span, or to one above it. */
  isAbove(subject: string, node: Node): boolean {
    const surroundings = surroundingsOf(this.#execution)
    const presented = this.#artifacts.get(subject) ?? []
    return (
      presented.length >= MAX_PRESENTED ||
      presented.some(({ record }) => surroundings.isWithin(node, surroundings.entryOf(record.on)))
    )
  }

  isComparable({ on, engine }: Decision, subject: string): boolean {
    return this.#artifacts.has(subject) || this.#enginesOf(on.service).has(engine)
  }

  #enginesOf(service: Service): Set<string | undefined> {
    let engines = this.#engines.get(service)
    if (engines === undefined) {
      engines = new Set()
      this.#engines.set(service, engines)
    }
    return engines
  }
}

const principalsOf = oncePerExecution((execution) => new Principals(execution))

const confirmationLost: Rule = {
  id: 'GC-A12',
  version: 1,
  title: 'confirmation lost',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Artifacts that are bound to a key of their sender (DPoP, mutual TLS) and on which a named action relied: fails where the checks that were made have no proof of possession among them.',
  guards: [
    'A proof that was checked anywhere in the same part of the execution counts.',
    'Unknown where the checker does not say what it looked at, or cannot see a proof that something before it checked, such as a proxy.',
    'Silent about artifacts that a client was issued, and about inferred actions.',
  ],
  remedy: 'Check the DPoP proof or the client certificate where the token is verified.',
  evaluate(execution, report) {
    const surroundings = surroundingsOf(execution)
    const artifacts = artifactsOf(execution)
    for (const [action, { origin, checks, unchecked, isVerified }] of relied(execution, artifacts)) {
      if (origin === undefined || !isVerified || checks.has('issued')) continue
      if (!BOUND.has(origin.confirmation ?? '')) continue
      const { service } = origin.on
      if (checks.has(POSSESSION) || provenAt(execution).has(surroundings.entryOf(origin.on))) report.pass()
      else if (unchecked.has(POSSESSION) || (checks.size > 0 && service.instrumentation === undefined))
        report.fail(
          [action, origin],
          `${serviceOf(origin.on)} took an authorization that is bound to a key, without proof of the key`,
        )
      else report.unknown(`whether possession was proven to ${serviceOf(origin.on)}`)
    }
  },
}

/** Parts of the execution in which a proof of possession was checked. */
const provenAt = oncePerExecution((execution): ReadonlySet<Node> => {
  const surroundings = surroundingsOf(execution)
  return new Set(
    execution.verifications
      .filter(({ outcome, checks }) => outcome === 'pass' && checks.includes(POSSESSION))
      .map(({ on }) => surroundings.entryOf(on)),
  )
})

const POSSESSION = 'possession'
const BOUND: ReadonlySet<string> = new Set(['dpop', 'mtls', 'pop'])

/** Artifacts that a service took and on which an action of it that somebody named relied: each with the first of them. */
function relied(execution: Execution, artifacts: Artifacts): (readonly [Action, Artifact])[] {
  const found: (readonly [Action, Artifact])[] = []
  const seen = new Set<Artifact>()
  for (const action of actionsThatRan(execution)) {
    const authority = action.inferred ? undefined : artifacts.at(action.on)
    for (const artifact of authority?.artifacts ?? []) {
      if (seen.has(artifact) || artifact.record.on.service !== action.on.service) continue
      seen.add(artifact)
      found.push([action, artifact])
    }
  }
  return found
}

export const AUTHORIZATION_USE: readonly Rule[] = [
  scopeExceeded,
  audienceMismatch,
  swapped,
  principalMismatch,
  confirmationLost,
]
