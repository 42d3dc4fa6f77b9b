/**
 * Cedar in WebAssembly: `isAuthorized`, `statefulIsAuthorized`, `isAuthorizedPartial`, and policy sets that are parsed
 * beforehand.
 *
 * A policy that fails is skipped, so that an answer is `allow` although a `forbid` could not be evaluated: the number of
 * such errors is on the decision. Entities are the data of the policy and are not committed to; they may be large.
 */
import { createCache } from '../cache.ts'
import { canonicalJson } from '../canonical.ts'
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { digestOf } from '../secrets.ts'
import type { Hook } from './hook.ts'
import type { CallOutcome } from './observe.ts'
import { MAX_KEY_LENGTH, MAX_PREPARED, type PreparedDecisions, preparedDecision } from './prepared.ts'
import { attempt, type Fields, failure, isFields, member } from './values.ts'

/** Policy sets that are remembered: those that were parsed beforehand, by id, and others by their text. */
const MAX_SETS = 1000
const MAX_TEXTS = 16

type Policy = Pick<Decision, 'policySetId' | 'policyDigest'>

export const cedarHook: Hook = {
  library: '@cedar-policy/cedar-wasm',
  entry: '@cedar-policy/cedar-wasm/nodejs',
  files: ['nodejs/cedar_wasm'],
  versions: { from: '4.1.0', before: '5.0.0' },
  patch(library, recorder) {
    const digestOfSet = createDigest()
    /** Digests by the id under which a set was parsed. */
    const parsed = new Map<string, string | undefined>()
    const known: PreparedDecisions = createCache(MAX_PREPARED)
    const decided = (call: unknown, outcome: CallOutcome, policy: Policy): void => {
      const key = outcome.ok
        ? attempt(() => keyOf(call as Fields, outcome.value as Fields, policy))
        : undefined
      recorder.decision(
        preparedDecision(recorder, known, key, () => ({
          ...requestOf(call),
          ...answerOf(outcome),
          ...policy,
          engine: 'cedar',
          engineVersion: library.version,
        })),
      )
    }
    const observe = (name: string, policyOf: (call: Fields) => Policy, optional = false): void =>
      library.observe(
        name,
        ({ args: [call] }) =>
          (outcome) =>
            decided(call, outcome, attempt(() => policyOf(fieldsOf(call) ?? {})) ?? {}),
        { optional },
      )
    observe('isAuthorized', ({ policies }) => ({ policyDigest: digestOfSet(policies) }))
    observe('isAuthorizedPartial', ({ policies }) => ({ policyDigest: digestOfSet(policies) }), true)
    observe(
      'statefulIsAuthorized',
      ({ preparsedPolicySetId: id }) => ({
        policySetId: text(id),
        policyDigest: typeof id === 'string' ? parsed.get(id) : undefined,
      }),
      true,
    )
    library.observe(
      'preparsePolicySet',
      ({ args: [id, policies] }) =>
        (outcome) => {
          const isTaken = outcome.ok && fieldsOf(outcome.value)?.type === 'success'
          if (!isTaken || typeof id !== 'string') return
          replaceSet(
            recorder,
            parsed,
            id,
            attempt(() => digestOfSet(policies)),
          )
        },
      { optional: true },
    )
  },
}

function replaceSet(
  recorder: Recorder,
  parsed: Map<string, string | undefined>,
  id: string,
  to: string | undefined,
): void {
  const from = parsed.get(id)
  parsed.delete(id)
  parsed.set(id, to)
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

/**
 * Stands for a question and its answer: the same facts under the same policy. Undefined for anything but ids, a context of
 * plain values, and an answer without errors. May throw.
 */
function keyOf(call: Fields, { response }: Fields, policy: Policy): string | undefined {
  const { decision, diagnostics } = response as Fields
  const { reason, errors } = diagnostics as Fields
  if (!Array.isArray(reason) || !Array.isArray(errors) || errors.length > 0) return undefined
  let key = ''
  for (const text of [policy.policySetId ?? '', policy.policyDigest ?? '', decision, ...reason]) {
    if (typeof text !== 'string') return undefined
    key += `${text.length} ${text}`
  }
  for (const part of ['principal', 'action', 'resource', 'context']) {
    const fields = call[part]
    if (!isPlain(fields)) return undefined
    key += '\n'
    for (const name of Object.keys(fields)) {
      const value = fields[name]
      if (typeof value === 'string') key += `${name.length} ${name} ${value.length} ${value}`
      else if (Number.isFinite(value) || typeof value === 'boolean') key += `${name.length} ${name} ${value},`
      else return undefined
    }
  }
  return key.length > MAX_KEY_LENGTH ? undefined : key
}

/** Its members, as they can be listed, are all that canonical JSON has of it. */
function isPlain(value: unknown): value is Fields {
  return isFields(value) && Object.getPrototypeOf(value) === Object.prototype && !('toJSON' in value)
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

/**
 * `sha256:` over the canonical JSON of a policy set as the application gives it. Kept by the text of its policies, where
 * it has nothing else, or by its object for as long as policies, templates and links are the same ones. Known hole:
 * policies in JSON that are changed in place.
 */
function createDigest(): (policies: unknown) => string | undefined {
  const texts = createCache<string, string>(MAX_TEXTS)
  const sets = new WeakMap<
    object,
    { readonly parts: readonly unknown[]; readonly digest: string | undefined }
  >()
  const digestOfSet = (policies: Fields): string | undefined => {
    const canonical = canonicalJson(policies)
    return canonical === undefined ? undefined : digestOf(canonical)
  }
  return (policies) => {
    const set = fieldsOf(policies)
    if (set === undefined) return undefined
    const only = Object.keys(set).length === 1 ? set.staticPolicies : undefined
    if (typeof only === 'string') {
      const digest = texts.get(only) ?? digestOfSet(set)
      if (digest !== undefined) texts.set(only, digest)
      return digest
    }
    const parts = partsOf(set)
    const known = sets.get(set)
    if (known !== undefined && areSame(known.parts, parts)) return known.digest
    const digest = digestOfSet(set)
    sets.set(set, { parts, digest })
    return digest
  }
}

/** Everything in a set down to the single policies. */
function partsOf({ staticPolicies, templates, templateLinks }: Fields): unknown[] {
  return [staticPolicies, templates, templateLinks].flatMap((part) => {
    const fields = fieldsOf(part)
    return fields === undefined ? [part] : [part, ...Object.entries(fields).flat()]
  })
}

function areSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((one, at) => one === b[at])
}
