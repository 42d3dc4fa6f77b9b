/** GC-A09 and GC-A11: what became of an artifact elsewhere. */
import type { Authorization } from '../facts.ts'
import { SKEW } from '../model.ts'
import { fail, PASS, type Rule } from '../rule.ts'

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

/** Names under which an artifact may be used in one execution only. */
export function oneTimeBy(artifact: Authorization): (readonly [by: string, value: string])[] {
  const approval = artifact.approvalId ?? (artifact.type === 'approval' ? artifact.id : undefined)
  const values: [string, string | undefined][] = [
    ['transaction', artifact.transaction],
    ['approval', approval],
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
  *evaluate(execution) {
    const here = execution.authorizations.filter(({ status }) => status === 'revoked')
    for (const action of execution.actions) {
      if (action.inferred && !action.on.governed) continue
      if (action.outcome === 'refused') continue
      const artifacts = action.on.authority?.authorizations ?? []
      for (const artifact of artifacts) {
        if (artifact.status === 'revoked') continue
        const names = revocableBy(artifact)
        const isMeant = (by: string, value: string, issuer: string): boolean =>
          names.some(([ownBy, own]) => ownBy === by && own === value) &&
          (issuer === '' || artifact.issuer === undefined || artifact.issuer === issuer)
        const elsewhere = execution.context.revocations.find(({ by, value, issuer }) =>
          isMeant(by, value, issuer),
        )
        const beside = here.find((other) =>
          revocableBy(other).some(([by, value]) => isMeant(by, value, other.issuer ?? '')),
        )
        const by = elsewhere ?? beside
        if (by === undefined) {
          yield PASS
          continue
        }
        if (action.on.start > by.at + SKEW)
          yield fail([action, artifact, by], `the artifact was revoked before span ${action.on.id} began`)
        else if (action.on.end > by.at + SKEW)
          yield fail(
            [action, artifact, by],
            `the artifact was revoked while span ${action.on.id} ran`,
            'high',
          )
        else yield PASS
      }
    }
  },
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
  *evaluate(execution) {
    const seen = new Set<string>()
    for (const artifact of execution.authorizations)
      for (const [by, value] of oneTimeBy(artifact)) {
        const key = JSON.stringify([by, value])
        if (seen.has(key)) continue
        seen.add(key)
        const other = execution.context.uses.find((use) => use.by === by && use.value === value)
        if (other === undefined) yield PASS
        else yield fail([artifact, other], `the ${by} was used in another execution before`)
      }
    const digests = new Map<string, { action: string; first: Authorization }>()
    for (const action of execution.actions) {
      if (action.digest === undefined) continue
      for (const artifact of action.on.authority?.authorizations ?? []) {
        const approval = oneTimeBy(artifact).find(([by]) => by === 'approval')?.[1]
        if (approval === undefined) continue
        const known = digests.get(approval)
        if (known === undefined) digests.set(approval, { action: action.digest, first: artifact })
        else if (known.action !== action.digest)
          yield fail([action, known.first], 'one approval was used for two different actions')
      }
    }
  },
}

export const REUSE: readonly Rule[] = [revoked, replayed]
