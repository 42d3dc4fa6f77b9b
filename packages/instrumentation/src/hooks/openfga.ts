/**
 * @openfga/sdk: `check`, `batchCheck`, `clientBatchCheck` and `listRelations`, by `OpenFgaClient` and `OpenFgaApi`.
 *
 * Observed at `OpenFgaApi`, through which they all go. A store is the policy, and its authorization model the version:
 * which one decided is in a header of the answer, also where the application has not pinned one. `listObjects` and
 * `listUsers` answer no question about one action, and are no decisions.
 */
import type { Decision } from '../facts.ts'
import type { Hook } from './hook.ts'
import type { CallOutcome } from './observe.ts'
import { isFields, member, reasonOf, textOf } from './values.ts'

export const openfgaHook: Hook = {
  library: '@openfga/sdk',
  versions: { from: '0.8.0', before: '0.10.0' },
  patch(library, recorder) {
    library.observe(
      'OpenFgaApi.prototype.check',
      ({ args: [store, body] }) => {
        const asked = recorder.asked(questionOf(body))
        const policy = policyOf(store, body)
        return (outcome) => {
          const value = outcome.ok ? outcome.value : undefined
          const said = outcome.ok ? (isFields(value) ? value : {}) : outcome.error
          recorder.decision({ ...asked, ...policy, ...versionOf(outcome), ...judgement(said) })
        }
      },
      { asks: true },
    )
    library.observe(
      'OpenFgaApi.prototype.batchCheck',
      ({ args: [store, body] }) => {
        const checks = member(body, 'checks')
        const questions = Array.isArray(checks)
          ? Array.from(checks, (check: unknown) => ({
              id: textOf(member(check, 'correlation_id')),
              asked: recorder.asked(questionOf(check)),
            }))
          : []
        const policy = policyOf(store, body)
        return (outcome) => {
          const value = outcome.ok && isFields(outcome.value) ? outcome.value : {}
          const results = isFields(value.result) ? value.result : {}
          const decided = { ...policy, ...versionOf(outcome) }
          recorder.together(() => {
            for (const { id, asked } of questions) {
              const found = id === undefined ? undefined : results[id]
              const said = outcome.ok ? (isFields(found) ? found : {}) : outcome.error
              recorder.decision({ ...asked, ...decided, ...judgement(said) })
            }
          })
        }
      },
      { asks: true },
    )
  },
}

function questionOf(asked: unknown): Partial<Decision> {
  const tuple = member(asked, 'tuple_key')
  const [subjectType, subject] = reference(member(tuple, 'user'))
  const [resourceType, resourceId] = reference(member(tuple, 'object'))
  return {
    subject,
    subjectType,
    action: textOf(member(tuple, 'relation')),
    resourceId,
    resourceType,
    input: {
      tuple_key: tuple,
      contextual_tuples: member(asked, 'contextual_tuples'),
      context: member(asked, 'context'),
    },
  }
}

/** `said` is the answer for one tuple, or what was thrown. */
function judgement(said: unknown): Pick<Decision, 'outcome' | 'reason' | 'errors'> {
  const { allowed, error } =
    isFields(said) && !(said instanceof Error) ? said : { allowed: undefined, error: said }
  if (error === undefined && typeof allowed === 'boolean') return { outcome: allowed ? 'allow' : 'deny' }
  return { outcome: 'error', errors: 1, reason: codeOf(error) }
}

/** The server's own code, such as `validation_error`: on an error of the SDK, or in an answer of a batch. */
function codeOf(error: unknown): string {
  if (!isFields(error)) return 'malformed'
  for (const code of [error.apiErrorCode, error.input_error, error.internal_error])
    if (typeof code === 'string' && /^\w{1,64}$/.test(code)) return code
  return reasonOf(error)
}

function policyOf(
  store: unknown,
  body: unknown,
): Pick<Decision, 'engine' | 'policyId' | 'policyVersion' | 'policyPinned'> {
  const pinned = textOf(member(body, 'authorization_model_id'))
  return {
    engine: 'openfga',
    policyId: textOf(store),
    policyVersion: pinned,
    policyPinned: pinned !== undefined,
  }
}

/** The SDK keeps the response on what it returns, in a member that is not enumerable. */
function versionOf(outcome: CallOutcome): Pick<Decision, 'policyVersion'> {
  const response = outcome.ok && isFields(outcome.value) ? outcome.value.$response : undefined
  const headers = isFields(response) ? response.headers : undefined
  const model = isFields(headers) ? textOf(headers['openfga-authorization-model-id']) : undefined
  return model === undefined ? {} : { policyVersion: model }
}

/** `document:readme` as type and id. A user may be a set, `group:staff#member`, or all of a type, `user:*`. */
function reference(text: unknown): [type: string | undefined, id: string | undefined] {
  if (typeof text !== 'string') return [undefined, undefined]
  const at = text.indexOf(':')
  return at < 0 ? [undefined, textOf(text)] : [textOf(text.slice(0, at)), textOf(text.slice(at + 1))]
}
