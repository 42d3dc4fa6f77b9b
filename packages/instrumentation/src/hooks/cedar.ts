/**
 * Cedar in WebAssembly: `isAuthorized`, `statefulIsAuthorized`, `isAuthorizedPartial`, and policy sets that are parsed
 * beforehand.
 *
 * A policy that fails is skipped, so that an answer is `allow` although a `forbid` could not be evaluated: the number of
 * such errors is on the decision. Entities are the data of the policy and are not committed to; they may be large.
 */
import { createCache } from '../cache.ts'
import { canonicalJson } from '../canonical.ts'
import type { PreparedDecision } from '../fact-event.ts'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { digestOf } from '../secrets.ts'
import { isAbout, numberOf, partsOf } from './cedar-question.ts'
import type { Hook } from './hook.ts'
import type { CallOutcome } from './observe.ts'
import { keepDecision, MAX_PREPARED, type PreparedDecisions } from './prepared.ts'
import { areSame, attempt, type Fields, failure, member } from './values.ts'

/** Policy sets that are remembered: those that were parsed beforehand, by id, and others by their text. */
const MAX_SETS = 1000
const MAX_TEXTS = 16

/** A policy set, as decisions name it. */
interface Policy {
  /** No other one of this process has it. */
  readonly serial: number
  readonly policySetId: string | undefined
  readonly policyDigest: string | undefined
}

export const cedarHook: Hook = {
  library: '@cedar-policy/cedar-wasm',
  entry: '@cedar-policy/cedar-wasm/nodejs',
  files: ['nodejs/cedar_wasm'],
  versions: { from: '4.1.0', before: '5.0.0' },
  patch(library, recorder) {
    const policies = createPolicies()
    /** By the id under which they were parsed. */
    const parsed = new Map<string, Policy>()
    const known: PreparedDecisions = createCache(MAX_PREPARED)
    const decided = (call: unknown, outcome: CallOutcome, policy: Policy | undefined): void => {
      const decide = (): Decision => decisionOf(call, outcome, policy, library.version)
      if (policy === undefined || !outcome.ok) recorder.decision(decide())
      else recorder.decision(knownDecision(recorder, known, call, outcome.value, policy.serial, decide))
    }
    for (const name of ['isAuthorized', 'isAuthorizedPartial'])
      library.listen(
        name,
        ([call]) =>
          (outcome) =>
            decided(call, outcome, policies.of(member(call, 'policies'))),
        { optional: name !== 'isAuthorized' },
      )
    library.listen(
      'statefulIsAuthorized',
      ([call]) =>
        (outcome) => {
          const id = member(call, 'preparsedPolicySetId')
          if (typeof id !== 'string') decided(call, outcome, undefined)
          else decided(call, outcome, parsed.get(id) ?? policies.named(id))
        },
      { optional: true },
    )
    library.listen(
      'preparsePolicySet',
      ([id, set]) =>
        (outcome) => {
          const isTaken = outcome.ok && fieldsOf(outcome.value)?.type === 'success'
          if (isTaken && typeof id === 'string') replaceSet(recorder, parsed, policies.named(id, set))
        },
      { optional: true },
    )
  },
}

function replaceSet(recorder: Recorder, parsed: Map<string, Policy>, policy: Policy): void {
  const { policySetId: id = '', policyDigest: to } = policy
  const from = parsed.get(id)?.policyDigest
  parsed.delete(id)
  parsed.set(id, policy)
  if (parsed.size > MAX_SETS) parsed.delete(parsed.keys().next().value!)
  if (to !== undefined && to === from) return
  recorder.transition({
    type: 'policy',
    from,
    to: to ?? 'unknown',
    trigger: 'preparsePolicySet',
    engine: 'cedar',
    policyId: id,
    policyDigest: to,
  })
}

/** Made once for what comes again and again; see cedar-question.ts. */
function knownDecision(
  recorder: Recorder,
  known: PreparedDecisions,
  call: unknown,
  answer: unknown,
  policy: number,
  decide: () => Decision,
): Decision | PreparedDecision {
  const number = numberOf(call, answer, policy)
  if (number === undefined) return decide()
  const kept = known.get(number)
  if (kept !== undefined && isAbout(kept.parts, call, answer, policy)) return kept.fact
  return keepDecision(recorder, known, number, partsOf(call, answer, policy), decide())
}

function decisionOf(
  call: unknown,
  outcome: CallOutcome,
  policy: Policy | undefined,
  engineVersion: string | undefined,
): Decision {
  return {
    ...requestOf(call),
    ...answerOf(outcome),
    policySetId: policy?.policySetId,
    policyDigest: policy?.policyDigest,
    engine: 'cedar',
    engineVersion,
  }
}

function requestOf(call: unknown): Partial<Decision> {
  const [principal, action, resource, context] = ['principal', 'action', 'resource', 'context'].map((name) =>
    member(call, name),
  )
  const subject = uidOf(principal)
  const object = uidOf(resource)
  return {
    subject: text(member(subject, 'id')),
    subjectType: text(member(subject, 'type')),
    action: text(member(uidOf(action), 'id')),
    resourceType: text(member(object, 'type')),
    resourceId: text(member(object, 'id')),
    input: { principal, action, resource, context },
  }
}

/** An answer of Cedar's: a response, residuals of a partial evaluation, or what was wrong with the call. */
function answerOf(outcome: CallOutcome): Pick<Decision, 'outcome' | 'ruleIds' | 'errors' | 'reason'> {
  if (!outcome.ok) return failure(outcome.error)
  const answer = fieldsOf(outcome.value)
  const response = fieldsOf(answer?.response)
  if (response === undefined) {
    const errors = Array.isArray(answer?.errors) ? answer.errors.length : 1
    return { outcome: 'error', errors, reason: 'request_invalid' }
  }
  const { decision } = response
  const diagnostics = fieldsOf(response.diagnostics)
  const [determining, failed] =
    answer?.type === 'residuals'
      ? [response.mustBeDetermining, response.errored]
      : [diagnostics?.reason, diagnostics?.errors]
  return {
    outcome: decision === 'allow' || decision === 'deny' ? decision : 'conditional',
    ruleIds: Array.isArray(determining) && determining.length > 0 ? determining : undefined,
    errors: Array.isArray(failed) ? failed.length : undefined,
  }
}

function uidOf(value: unknown): Fields | undefined {
  return fieldsOf(member(value, '__entity')) ?? fieldsOf(value)
}

function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null ? (value as Fields) : undefined
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

interface Policies {
  /** The one that a call brings with it. */
  of(set: unknown): Policy | undefined
  /** Without its text, one of which no more is known. */
  named(id: string, set?: unknown): Policy
}

/**
 * Their digest is `sha256:` over the canonical JSON of a policy set as the application gives it. Kept by the text of its
 * policies, where it has nothing else, or by its object for as long as policies, templates and links are the same ones.
 * Known hole: policies in JSON that are changed in place.
 */
function createPolicies(): Policies {
  const texts = createCache<string, Policy>(MAX_TEXTS)
  const sets = new WeakMap<object, { readonly parts: readonly unknown[]; readonly policy: Policy }>()
  let serial = 0
  const policy = (policySetId: string | undefined, set: Fields | undefined): Policy => {
    const canonical = set && canonicalJson(set)
    const policyDigest = canonical === undefined ? undefined : digestOf(canonical)
    return { serial: serial++, policySetId, policyDigest }
  }
  const of = (set: unknown): Policy | undefined => {
    const fields = fieldsOf(set)
    if (fields === undefined) return undefined
    const only = Object.keys(fields).length === 1 ? fields.staticPolicies : undefined
    if (typeof only === 'string') {
      let known = texts.get(only)
      if (known === undefined) {
        known = policy(undefined, fields)
        texts.set(only, known)
      }
      return known
    }
    const parts = policiesIn(fields)
    const known = sets.get(fields)
    if (known !== undefined && areSame(known.parts, parts)) return known.policy
    const made = policy(undefined, fields)
    sets.set(fields, { parts, policy: made })
    return made
  }
  return {
    of: (set) => attempt(() => of(set)),
    named: (id, set) => attempt(() => policy(id, fieldsOf(set))) ?? policy(id, undefined),
  }
}

/** Everything in a set down to the single policies. */
function policiesIn({ staticPolicies, templates, templateLinks }: Fields): unknown[] {
  return [staticPolicies, templates, templateLinks].flatMap((part) => {
    const fields = fieldsOf(part)
    return fields === undefined ? [part] : [part, ...Object.entries(fields).flat()]
  })
}
