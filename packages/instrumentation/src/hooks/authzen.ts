/**
 * Any AuthZEN endpoint over HTTP: `POST .../access/v1/evaluation` and `.../evaluations`
 * (OpenID AuthZEN Authorization API 1.0).
 *
 * A batch gives a decision for each answer; in a long one, those after the first that are alike share an event. Under
 * `deny_on_first_deny` and `permit_on_first_permit` the engine stops at the first such answer, and sends no others: what
 * was not evaluated is not a decision.
 */
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { AUTHZEN_PATH } from './http/asks.ts'
import type { Answer, Exchange, HttpHook } from './http/exchange.ts'
import { type Fields, isFields, textOf } from './values.ts'

/** Evaluations of one batch that are recorded one by one. The recorder aggregates the others, and counts what it leaves out. */
const MAX_SINGLE = 256

export const authzenHook: HttpHook = {
  name: 'authzen',
  matches: (path) => AUTHZEN_PATH.test(path),
  record,
}

function record({ path, request, sentHeader, answer, failure }: Exchange, recorder: Recorder): boolean {
  if (request !== undefined && !isFields(request)) return false
  // Not seen are questions over the bound, and with fetch those that found no server.
  const questions = request === undefined ? undefined : questionsOf(request, path.endsWith('s'))
  const known = answer === undefined ? { engine: 'authzen' } : engineOf(path, answer)
  const answers = answersOf(answer)
  const decide = (at: number, said: Omit<Decision, 'input'>): void => {
    const question = questions?.[at]
    const fact = { ...known, ...partiesOf(question ?? {}), input: question, ...said }
    if (at < MAX_SINGLE) recorder.decision(fact)
    else recorder.repeatedDecision(fact)
  }
  if (answer === undefined || answers === undefined) {
    const said = whyNone(answer, failure)
    recorder.together(() => {
      for (const at of (questions ?? [undefined]).keys()) decide(at, said)
    })
    return true
  }
  const requestId = idOf(answer, sentHeader)
  recorder.together(() => {
    for (const [at, said] of answers.entries()) {
      if (questions !== undefined && at >= questions.length) break
      const id = requestId === undefined || answers.length === 1 ? requestId : `${requestId}/${at}`
      const output = answer.size === 'small' ? {} : { output: undefined }
      decide(at, { ...judgement(said), id, ...output })
    }
  })
  return true
}

/** What is recorded where there are no answers. One that was too large to look into may have been any. */
function whyNone(answer: Answer | undefined, failure: string | undefined): Omit<Decision, 'input'> {
  const error = { outcome: 'error', errors: 1 } as const
  if (answer === undefined) return { ...error, reason: failure }
  if (answer.status !== 200) return { ...error, reason: `status_${answer.status}` }
  if (answer.size === 'too large') return { outcome: undefined, reason: 'answer_too_large' }
  return { ...error, reason: 'malformed' }
}

/** A request id is the server's own unless it is the one that was sent, which the protocol has it repeat. */
function idOf({ header }: Answer, sentHeader: Exchange['sentHeader']): string | undefined {
  const id = header('x-request-id')
  return id === sentHeader('x-request-id') ? undefined : id
}

/** The evaluations that a request asks for, with the defaults of a batch put in (6.2 of the specification). */
function questionsOf(request: Fields, isBatch: boolean): Fields[] {
  const { evaluations, options: _options, ...defaults } = request
  // A batch without evaluations is a single one.
  if (!isBatch || !Array.isArray(evaluations) || evaluations.length === 0) return [defaults]
  return evaluations.map((one: unknown) => (isFields(one) ? { ...defaults, ...one } : defaults))
}

/** Answers in the order of the questions; undefined if the body is none of the specification's. */
function answersOf(answer: Answer | undefined): Fields[] | undefined {
  if (answer?.status !== 200 || !isFields(answer.body)) return undefined
  const { evaluations, decision } = answer.body
  if (Array.isArray(evaluations)) return evaluations.map((one: unknown) => (isFields(one) ? one : {}))
  return typeof decision === 'boolean' ? [answer.body] : undefined
}

function judgement({
  decision,
  context,
}: Fields): Pick<Decision, 'outcome' | 'output' | 'reason' | 'errors'> {
  // An evaluation that failed within a batch is `false` with the error in its context.
  const error = isFields(context) ? context.error : undefined
  if (error !== undefined || typeof decision !== 'boolean') {
    const status = isFields(error) ? error.status : undefined
    const reason =
      typeof status === 'number' ? `status_${status}` : error === undefined ? 'malformed' : 'error'
    return { outcome: 'error', errors: 1, reason, output: context }
  }
  return { outcome: decision ? 'allow' : 'deny', output: context }
}

function partiesOf({
  subject,
  action,
  resource,
}: Fields): Pick<Decision, 'subject' | 'subjectType' | 'action' | 'resourceId' | 'resourceType'> {
  return {
    subject: isFields(subject) ? textOf(subject.id) : undefined,
    subjectType: isFields(subject) ? textOf(subject.type) : undefined,
    action: isFields(action) ? textOf(action.name) : undefined,
    resourceId: isFields(resource) ? textOf(resource.id) : undefined,
    resourceType: isFields(resource) ? textOf(resource.type) : undefined,
  }
}

/** The protocol names neither engine nor policy. OpenFGA says which of its models decided, in a header of its own. */
function engineOf(path: string, { header }: Answer): Pick<Decision, 'engine' | 'policyId' | 'policyVersion'> {
  const model = header('openfga-authorization-model-id')
  if (model === undefined) return { engine: 'authzen' }
  return { engine: 'openfga', policyId: /(?:^|\/)stores\/([^/]+)\//.exec(path)?.[1], policyVersion: model }
}
