/**
 * @authzed/authzed-node: `checkPermission` and `checkBulkPermissions`, with a callback and by `.promises`.
 *
 * Both go through the generated client's prototype. SpiceDB names the revision of the data that it looked at (the
 * ZedToken) and neither its schema's identity nor its own version, so these are absent.
 */
import type { Decision } from '../facts.ts'
import type { Hook } from './hook.ts'
import type { CallOutcome } from './observe.ts'
import { type Fields, isFields, member, textOf } from './values.ts'

export const spicedbHook: Hook = {
  library: '@authzed/authzed-node',
  versions: { from: '1.2.2', before: '2.0.0' },
  patch(library, recorder) {
    const options = { callback: true, asks: true }
    library.observe(
      'v1.PermissionsServiceClient.prototype.checkPermission',
      ({ args: [request] }) => {
        const asked = recorder.asked(questionOf(request))
        return (outcome) => {
          const said = outcome.ok ? judgement(outcome.value) : failure(outcome.error)
          recorder.decision({ ...asked, ...said, ...revisionOf(outcome) })
        }
      },
      options,
    )
    library.observe(
      'v1.PermissionsServiceClient.prototype.checkBulkPermissions',
      ({ args: [request] }) => {
        const items = member(request, 'items')
        const questions = Array.isArray(items)
          ? Array.from(items, (item) => recorder.asked(questionOf(item)))
          : []
        return (outcome) => {
          const value = outcome.ok && isFields(outcome.value) ? outcome.value : {}
          const pairs: unknown[] = Array.isArray(value.pairs) ? value.pairs : []
          const revision = revisionOf(outcome)
          // Answers have the order of the questions, and repeat them.
          recorder.together(() => {
            for (const [at, asked] of questions.entries()) {
              const said = outcome.ok ? ofPair(pairs[at]) : failure(outcome.error)
              recorder.decision({ ...asked, ...said, ...revision })
            }
          })
        }
      },
      options,
    )
  },
}

type Judgement = Pick<Decision, 'outcome' | 'reason' | 'errors' | 'ttl'>

function questionOf(asked: unknown): Partial<Decision> {
  const [resource, permission, subject, context] = ['resource', 'permission', 'subject', 'context'].map(
    (name) => member(asked, name),
  )
  const whom = member(subject, 'object')
  const relation = textOf(member(subject, 'optionalRelation'))
  const id = textOf(member(whom, 'objectId'))
  return {
    engine: 'spicedb',
    subject: id !== undefined && relation !== undefined ? `${id}#${relation}` : id,
    subjectType: textOf(member(whom, 'objectType')),
    action: textOf(permission),
    resourceId: textOf(member(resource, 'objectId')),
    resourceType: textOf(member(resource, 'objectType')),
    input: { resource, permission, subject, context },
  }
}

function revisionOf(outcome: CallOutcome): Pick<Decision, 'dataRevision'> {
  const checkedAt = outcome.ok && isFields(outcome.value) ? outcome.value.checkedAt : undefined
  return { dataRevision: isFields(checkedAt) ? textOf(checkedAt.token) : undefined }
}

function ofPair(pair: unknown): Judgement {
  const { response } = isFields(pair) ? pair : ({} as Fields)
  if (!isFields(response)) return { outcome: 'error', errors: 1, reason: 'malformed' }
  return response.oneofKind === 'item' ? judgement(response.item) : failure(response.error)
}

/** `CheckPermissionResponse_Permissionship`. */
const OUTCOMES: ReadonlyMap<unknown, Decision['outcome']> = new Map([
  [1, 'deny'],
  [2, 'allow'],
  [3, 'conditional'],
])

function judgement(answer: unknown): Judgement {
  const { permissionship, optionalExpiresAt } = isFields(answer) ? answer : ({} as Fields)
  const outcome = OUTCOMES.get(permissionship)
  if (outcome === undefined) return { outcome: 'error', errors: 1, reason: 'malformed' }
  const reason = outcome === 'conditional' ? 'missing_context' : undefined
  return { outcome, reason, ttl: secondsUntil(optionalExpiresAt) }
}

/** Whole seconds from now until a `google.protobuf.Timestamp`. */
function secondsUntil(timestamp: unknown): number | undefined {
  if (!isFields(timestamp)) return undefined
  const seconds = Number(timestamp.seconds)
  return Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds - Date.now() / 1000)) : undefined
}

/** Names of gRPC's status codes that a check can end with (google.rpc.Code). */
const CODES: readonly string[] = [
  'ok',
  'cancelled',
  'unknown',
  'invalid_argument',
  'deadline_exceeded',
  'not_found',
  'already_exists',
  'permission_denied',
  'resource_exhausted',
  'failed_precondition',
  'aborted',
  'out_of_range',
  'unimplemented',
  'internal',
  'unavailable',
  'data_loss',
  'unauthenticated',
]

function failure(error: unknown): Judgement {
  const code = isFields(error) ? error.code : undefined
  return {
    outcome: 'error',
    errors: 1,
    reason: (typeof code === 'number' ? CODES[code] : undefined) ?? 'error',
  }
}
