/**
 * @open-policy-agent/opa: what `OPAClient` asks by `evaluate`, `evaluateDefault` and `evaluateBatch`.
 *
 * Observed one level down, at the client of the REST API that `OPAClient` holds: `evaluate` returns the result alone,
 * and the decision's id and provenance end there. OPA sends provenance (its version, revisions of its bundles) only when
 * asked. With `ROOTSPAN_OPA_PROVENANCE=on` it is asked for, and taken out of the answer again if the application did not
 * want it. That is not the default: the client refuses the provenance of an OPA that was built without a timestamp.
 */
import type { Recorder } from '../recorder.ts'
import { runtime } from '../runtime.ts'
import type { Hook } from './hook.ts'
import type { Call, CallOutcome, Observer } from './observe.ts'
import { opaDecision, opaQuestion } from './opa-answer.ts'
import { type Fields, isFields, member, reasonOf, textOf } from './values.ts'

/** The class of the REST client; the main module does not export it. */
const FILES = ['dist/commonjs/sdk/sdk', 'dist/esm/sdk/sdk']

export const opaHook: Hook = {
  library: '@open-policy-agent/opa',
  versions: { from: '2.0.0', before: '3.0.0' },
  files: FILES,
  patch(library, recorder) {
    if (library.file === '') return
    const observe = (method: string, observer: Observer): void =>
      library.observe(`OpaApiClient.prototype.${method}`, observer, { asks: true })
    observe('executePolicy', (call) => single(recorder, call))
    observe('executePolicyWithInput', (call) => single(recorder, call))
    observe('executeBatchPolicyWithInput', (call) => batch(recorder, call))
    observe('executeDefaultPolicyWithInput', ({ args: [input] }) => {
      const asked = recorder.asked(opaQuestion(undefined, input))
      return (outcome) => {
        const answer = outcome.ok && isFields(outcome.value) ? { result: outcome.value.result } : undefined
        recorder.decision(opaDecision(asked, answer, failureOf(outcome)))
      }
    })
  },
}

function single(recorder: Recorder, call: Call): (outcome: CallOutcome) => void {
  const [request] = call.args
  const input = member(member(request, 'requestBody'), 'input')
  const asked = recorder.asked(opaQuestion(textOf(member(request, 'path')), input))
  const isOurs = askForProvenance(call)
  return (outcome) => {
    const value = outcome.ok && isFields(outcome.value) ? outcome.value : {}
    const answer = taken(value.successfulPolicyResponse, isOurs)
    recorder.decision(opaDecision(asked, answer, failureOf(outcome)))
  }
}

function batch(recorder: Recorder, call: Call): (outcome: CallOutcome) => void {
  const [request] = call.args
  const path = textOf(member(request, 'path'))
  const inputs = member(member(request, 'requestBody'), 'inputs')
  const keys = isFields(inputs) ? Object.keys(inputs) : []
  const asked = keys.map((key) => recorder.asked(opaQuestion(path, member(inputs, key))))
  const isOurs = askForProvenance(call)
  return (outcome) => {
    if (willFallBack(call, outcome)) return
    const value = outcome.ok && isFields(outcome.value) ? outcome.value : {}
    const results = value.batchMixedResults ?? value.batchSuccessfulPolicyEvaluation
    const responses = isFields(results) && isFields(results.responses) ? results.responses : {}
    const answers = keys.map((key) => taken(responses[key], isOurs))
    recorder.together(() => {
      for (const [at, found] of answers.entries()) {
        const failure = found !== undefined && 'code' in found ? found : undefined
        const answer = failure === undefined ? found : undefined
        const reason = failure === undefined ? failureOf(outcome) : reasonOf(failure)
        // A batch at an undefined path has no answers at all, and has not failed.
        const said = answer ?? (outcome.ok && failure === undefined ? {} : undefined)
        recorder.decision(opaDecision(asked[at]!, said, reason))
      }
    })
  }
}

/** A server without the batch API; the client goes on with single questions, which are recorded. */
function willFallBack({ args: [, options] }: Call, outcome: CallOutcome): boolean {
  if (outcome.ok || member(options, 'fallback') !== true) return false
  return member(member(member(outcome.error, 'httpMeta'), 'response'), 'status') === 404
}

function failureOf(outcome: CallOutcome): string | undefined {
  return outcome.ok ? undefined : reasonOf(outcome.error)
}

/** If the operator wants it and the application has not said. Whether provenance in the answer is then for us alone. */
function askForProvenance(call: Call): boolean {
  const [request] = call.args
  if (!isFields(request) || request.provenance !== undefined || !runtime().config.opaProvenance) return false
  call.substitute(0, { ...request, provenance: true })
  return true
}

/** An answer to look at, after what is for us alone was taken out of the application's. */
function taken(answer: unknown, isOurs: boolean): Fields | undefined {
  if (!isFields(answer)) return undefined
  const seen = { ...answer }
  if (isOurs) delete (answer as { provenance?: unknown }).provenance
  return seen
}
