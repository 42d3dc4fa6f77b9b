/** Answers of Open Policy Agent as decisions, for its client and for plain HTTP alike. */
import type { Decision } from '../facts.ts'
import { type Fields, isFields, member, textOf } from './values.ts'

/** What OPA's Data API answers, in either spelling: the client renames `decision_id`. */
export interface OpaAnswer {
  readonly result?: unknown
  readonly decisionId?: unknown
  readonly provenance?: unknown
}

const UNDEFINED = 'undefined_document'

/** What OPA is asked at a path such as `authz/allow`. */
export function opaQuestion(path: string | undefined, input: unknown): Partial<Decision> {
  return { ...partiesOf(input), engine: 'opa', policyId: path, input }
}

/**
 * What it has decided. `answer` is absent when there was none, and `reason` then says why.
 *
 * OPA has no notion of allow and deny: a policy is a document. A boolean is taken for what the last part of its path
 * calls it, or the name of the member of an object that it is; any other document is `conditional`: what it means is
 * known to the application alone. An undefined document is `not_applicable`.
 */
export function opaDecision(
  asked: Partial<Decision>,
  answer: OpaAnswer | undefined,
  reason?: string,
): Decision {
  // For the default policy OPA answers 404 with this code where it would leave out the result.
  if (answer === undefined && reason === UNDEFINED) return { ...asked, outcome: 'not_applicable', reason }
  if (answer === undefined) return { ...asked, outcome: 'error', errors: 1, reason }
  const { result, decisionId, provenance } = answer
  const outcome = outcomeOf(asked.policyId, result)
  return {
    ...asked,
    ...identityOf(provenance),
    id: textOf(decisionId),
    outcome,
    output: typeof result === 'boolean' && outcome !== 'conditional' ? undefined : result,
    reason: result === undefined ? UNDEFINED : undefined,
  }
}

/** Names of documents and members that say what a boolean under them means. All others leave that to the application. */
const MEANINGS: ReadonlyMap<string, 'allow' | 'deny'> = new Map([
  ...['allow', 'allowed', 'is_allowed', 'permit', 'permitted', 'is_permitted'].map(
    (name) => [name, 'allow'] as const,
  ),
  ...['authorized', 'is_authorized'].map((name) => [name, 'allow'] as const),
  ...['deny', 'denied', 'is_denied', 'forbid', 'forbidden', 'is_forbidden'].map(
    (name) => [name, 'deny'] as const,
  ),
])

function outcomeOf(path: string | undefined, result: unknown): Decision['outcome'] {
  if (result === undefined) return 'not_applicable'
  const name = path?.slice(path.lastIndexOf('/') + 1) ?? ''
  if (!isFields(result)) return judgement(name, result) ?? 'conditional'
  if (typeof result.decision === 'boolean' && isAuthZen(result)) return result.decision ? 'allow' : 'deny'
  const said = new Set<Decision['outcome']>()
  for (const key of MEANINGS.keys()) {
    const meant = judgement(key, result[key])
    if (meant !== undefined) said.add(meant)
  }
  // Where members contradict each other, the application alone knows which of them it goes by.
  const [outcome = 'conditional'] = said
  return said.size > 1 ? 'conditional' : outcome
}

/** Undefined: it says neither. What is not denied need not be allowed; a set of reasons under `deny` denies if it has any. */
function judgement(name: string, value: unknown): 'allow' | 'deny' | undefined {
  const meaning = MEANINGS.get(name)
  if (value === true) return meaning
  if (meaning === 'allow') return value === false ? 'deny' : undefined
  return meaning === 'deny' && Array.isArray(value) && value.length > 0 ? 'deny' : undefined
}

/** An answer as AuthZEN has it, where `true` permits. */
function isAuthZen(result: Fields): boolean {
  return Object.keys(result).every((name) => name === 'decision' || name === 'context')
}

/** Version of the server, and the bundles that were active with their revisions, in the order of their names. */
function identityOf(provenance: unknown): Pick<Decision, 'engineVersion' | 'policySetId' | 'policyVersion'> {
  if (!isFields(provenance)) return {}
  const engineVersion = textOf(provenance.version)
  const names = isFields(provenance.bundles) ? Object.keys(provenance.bundles).sort() : []
  if (names.length === 0) return { engineVersion, policyVersion: textOf(provenance.revision) }
  const bundles = provenance.bundles as Fields
  const revisions = names.map((name) => {
    const bundle = bundles[name]
    return (isFields(bundle) ? textOf(bundle.revision) : undefined) ?? ''
  })
  const isKnown = revisions.some((revision) => revision !== '')
  const policyVersion =
    names.length === 1 ? revisions[0] : names.map((name, at) => `${name}@${revisions[at]}`).join(' ')
  return { engineVersion, policySetId: names.join(' '), policyVersion: isKnown ? policyVersion : undefined }
}

/** Subject, action and resource where the input is laid out as AuthZEN has it; other inputs only OPA understands. */
function partiesOf(
  input: unknown,
): Pick<Decision, 'subject' | 'subjectType' | 'action' | 'resourceId' | 'resourceType'> {
  const [subject, action, resource] = ['subject', 'action', 'resource'].map((name) => member(input, name))
  return {
    subject: textOf(subject) ?? textOf(member(subject, 'id')),
    subjectType: textOf(member(subject, 'type')),
    action: textOf(action) ?? textOf(member(action, 'name')),
    resourceId: textOf(resource) ?? textOf(member(resource, 'id')),
    resourceType: textOf(member(resource, 'type')),
  }
}
