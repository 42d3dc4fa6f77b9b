/** GC-A09 and GC-A11: what became of an artifact elsewhere. */
import type { Authorization } from '../facts.ts'
import { type Execution, type Node, SKEW } from '../model.ts'
import type { Rule, Subject } from '../rule.ts'
import { oneTimeNames } from '../testimony.ts'

/** What an artifact may be revoked by, in the order in which it is looked for; several values where there are. */
export function revocableBy(artifact: Authorization): (readonly [by: string, value: string])[] {
  const values: [string, string | undefined][] = [
    ['fingerprint', artifact.fingerprint],
    ['id', artifact.id],
    ['subject', artifact.subject],
    ['transaction', artifact.transaction],
  ]
  return values.flatMap(([by, value]) => (value === undefined ? [] : [[by, value] as const]))
}

const revoked: Rule = {
  id: 'GC-A09',
  version: 1,
  title: 'revoked while it ran',
  severity: 'critical',
  scope: 'contextual',
  looksAt: 'Actions that began after the artifact in force was revoked, by its issuer or in this execution.',
  guards: [
    'Two seconds are left for the news to arrive.',
    'An action that was running when the news came is a high finding, not a critical one.',
    'Revocations count as far as the collector had received them when it judged.',
  ],
  remedy: 'Check artifacts again during long executions, and end what rests on a revoked one.',
  evaluate(execution, report) {
    const revocations = revocationsOf(execution)
    if (revocations.size === 0) {
      if (execution.actions.some(({ on }) => on.authority !== undefined)) report.pass()
      return
    }
    const known = new Map<Node, Revoked | undefined>()
    for (const action of execution.actions) {
      if ((action.inferred && !action.on.governed) || action.outcome === 'refused') continue
      const { authority } = action.on
      if (authority === undefined) continue
      if (!known.has(authority)) known.set(authority, firstRevoked(authority, revocations))
      const revoked = known.get(authority)
      if (revoked === undefined) {
        report.pass()
        continue
      }
      const { artifact, by } = revoked
      if (action.on.start > by.at + SKEW)
        report.fail([action, artifact, by], `the artifact was revoked before span ${action.on.id} began`)
      else if (action.on.end > by.at + SKEW)
        report.fail([action, artifact, by], `the artifact was revoked while span ${action.on.id} ran`, 'high')
      else report.pass()
    }
  },
}

interface RevokedAt extends Subject {
  readonly issuer: string
  readonly at: bigint
}

interface Revoked {
  readonly artifact: Authorization
  readonly by: RevokedAt
}

/** What was revoked, here and elsewhere, by what it is known by; of each the first time. */
function revocationsOf({ authorizations, context }: Execution): ReadonlyMap<string, RevokedAt> {
  if (context.revocations.length === 0 && !authorizations.some(({ status }) => status === 'revoked'))
    return NO_REVOCATIONS
  const found = new Map<string, RevokedAt>()
  const put = (by: string, value: string, at: RevokedAt): void => {
    const key = JSON.stringify([by, value])
    const known = found.get(key)
    if (known === undefined || at.at < known.at) found.set(key, at)
  }
  for (const one of context.revocations) put(one.by, one.value, one)
  for (const artifact of authorizations)
    if (artifact.status === 'revoked')
      for (const [by, value] of revocableBy(artifact))
        put(by, value, { leaf: artifact.leaf, issuer: artifact.issuer ?? '', at: artifact.at })
  return found
}

const NO_REVOCATIONS: ReadonlyMap<string, RevokedAt> = new Map()

/** The artifact in force at a span that was revoked first. */
function firstRevoked(
  { authorizations }: Node,
  revocations: ReadonlyMap<string, RevokedAt>,
): Revoked | undefined {
  let first: Revoked | undefined
  for (const artifact of authorizations) {
    if (artifact.status === 'revoked') continue
    for (const name of revocableBy(artifact)) {
      const by = revocations.get(JSON.stringify(name))
      if (by === undefined || (first !== undefined && first.by.at <= by.at)) continue
      if (by.issuer === '' || artifact.issuer === undefined || artifact.issuer === by.issuer)
        first = { artifact, by }
    }
  }
  return first
}

const replayed: Rule = {
  id: 'GC-A11',
  version: 1,
  title: 'one-time artifact used again',
  severity: 'high',
  scope: 'contextual',
  looksAt:
    'Approvals and transaction tokens that were used in another execution, or for two different actions.',
  guards: [
    'Only what is meant for one use counts: approvals, and tokens with a transaction id.',
    'Later segments of one execution are the same execution.',
  ],
  remedy: 'Let whoever accepts an approval or a transaction token remember what was used.',
  evaluate(execution, report) {
    const { authorizations } = execution
    if (!authorizations.some((artifact) => oneTimeNames(artifact).length > 0)) return
    const uses = new Map(execution.context.uses.map((use) => [JSON.stringify([use.by, use.value]), use]))
    const seen = new Set<string>()
    for (const artifact of authorizations)
      for (const [by, value] of oneTimeNames(artifact)) {
        const key = JSON.stringify([by, value])
        if (seen.has(key)) continue
        seen.add(key)
        const other = uses.get(key)
        if (other === undefined) report.pass()
        else report.fail([artifact, other], `the ${by} was used in another execution before`)
      }
    const approvals = new Map<Node, readonly (readonly [string, Authorization])[]>()
    const digests = new Map<string, string>()
    for (const { digest, on, leaf } of execution.actions) {
      const { authority } = on
      if (digest === undefined || authority === undefined) continue
      const inForce = approvals.get(authority) ?? approvalsAt(authority)
      approvals.set(authority, inForce)
      for (const [approval, artifact] of inForce) {
        const known = digests.get(approval)
        if (known === undefined) digests.set(approval, digest)
        else if (known !== digest)
          report.fail([{ leaf }, artifact], 'one approval was used for two different actions')
      }
    }
  },
}

/** Approvals in force at a span that are looked at, so that an execution with a great many stays linear. */
const MAX_APPROVALS = 32

function approvalsAt({ authorizations }: Node): (readonly [string, Authorization])[] {
  const found: (readonly [string, Authorization])[] = []
  for (const artifact of authorizations) {
    const approval = oneTimeNames(artifact).find(([by]) => by === 'approval')?.[1]
    if (approval !== undefined) found.push([approval, artifact])
    if (found.length === MAX_APPROVALS) break
  }
  return found
}

export const REUSE: readonly Rule[] = [revoked, replayed]
