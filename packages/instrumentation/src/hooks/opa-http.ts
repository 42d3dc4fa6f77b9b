/**
 * Open Policy Agent by plain HTTP: `POST /v1/data/<path>`, with fetch, undici, node:http and what stands on them.
 *
 * Nothing is asked for: the decision's id is there if OPA logs decisions, provenance if the application asks for it.
 */
import type { Recorder } from '../recorder.ts'
import type { Exchange, HttpHook } from './http/exchange.ts'
import { opaDecision } from './opa-answer.ts'
import { type Fields, isFields, textOf } from './values.ts'

export const opaHttpHook: HttpHook = {
  name: 'opa-http',
  matches: (path) => path === '/v1/data' || path.startsWith('/v1/data/'),
  record,
}

/** Members that OPA's answers have; whatever has others is another service with such a path. */
const ANSWER: ReadonlySet<string> = new Set([
  'result',
  'decision_id',
  'provenance',
  'metrics',
  'explanation',
  'warning',
])

function record({ path, request, answer, failure }: Exchange, recorder: Recorder): void {
  if (request !== undefined && !isQuery(request)) return
  const policy = path.slice('/v1/data/'.length).replace(/\/$/, '')
  const decide = (...said: [Fields | undefined, string?]): void => {
    recorder.decision(opaDecision(policy === '' ? undefined : decoded(policy), request?.input, ...said))
  }
  if (answer === undefined) {
    // With fetch, a question that finds no server is not seen; the path alone tells that it was for OPA.
    decide(undefined, failure)
    return
  }
  const { status, body } = answer
  if (status === 200) {
    if (!isFields(body) || !Object.keys(body).every((key) => ANSWER.has(key))) return
    const { result, decision_id: decisionId, provenance } = body
    decide({ result, decisionId, provenance })
  } else if (request !== undefined || (isFields(body) && textOf(body.code) !== undefined)) {
    const code = isFields(body) ? textOf(body.code) : undefined
    decide(undefined, code !== undefined && /^\w{1,64}$/.test(code) ? code : `status_${status}`)
  }
}

/** `{"input": ...}`, or `{}`. */
function isQuery(request: unknown): request is { readonly input?: unknown } {
  return isFields(request) && Object.keys(request).every((key) => key === 'input')
}

/** Segments of the URL as OPA reads them. */
function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}
