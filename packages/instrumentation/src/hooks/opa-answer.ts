/** Answers of Open Policy Agent as decisions, for its client and for plain HTTP alike. */
import type { Decision } from '../facts.ts'
import { type Fields, isFields, textOf } from './values.ts'

/** What OPA's Data API answers, in either spelling: the client renames `decision_id`. */
export interface OpaAnswer {
  readonly result?: unknown
  readonly decisionId?: unknown
  readonly provenance?: unknown
}

const UNDEFINED = 'undefined_document'

/**
 * The decision at a path such as `authz/allow`. `answer` is absent when there was none, and `reason` then says why.
 *
 * OPA has no notion of allow and deny: a policy is a document. A boolean is taken for what it says, as is the one
 * under `allow`, `allowed` or `decision` of an object; any other document is `conditional`: what it means is known to
 * the application alone. An undefined document is `not_applicable`.
 */
export function opaDecision(
  path: string | undefined,
  input: unknown,
  answer: OpaAnswer | undefined,
  reason?: string,
): Decision {
  const asked = { ...partiesOf(input), engine: 'opa', policyId: path, input }
  // For the default policy OPA answers 404 with this code where it would leave out the result.
  if (answer === undefined && reason === UNDEFINED) return { ...asked, outcome: 'not_applicable', reason }
  if (answer === undefined) return { ...asked, outcome: 'error', errors: 1, reason }
  const { result, decisionId, provenance } = answer
  return {
    ...asked,
    ...identityOf(provenance),
    id: textOf(decisionId),
    outcome: outcomeOf(result),
    output: typeof result === 'boolean' ? undefined : result,
    reason: result === undefined ? UNDEFINED : undefined,
  }
}

function outcomeOf(result: unknown): Decision['outcome'] {
  if (result === undefined) return 'not_applicable'
  const said = isFields(result) ? (result.allow ?? result.allowed ?? result.decision) : result
  return said === true ? 'allow' : said === false ? 'deny' : 'conditional'
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
  if (!isFields(input)) return {}
  const { subject, action, resource } = input
  return {
    subject: isFields(subject) ? textOf(subject.id) : textOf(subject),
    subjectType: isFields(subject) ? textOf(subject.type) : undefined,
    action: isFields(action) ? textOf(action.name) : textOf(action),
    resourceId: isFields(resource) ? textOf(resource.id) : textOf(resource),
    resourceType: isFields(resource) ? textOf(resource.type) : undefined,
  }
}
