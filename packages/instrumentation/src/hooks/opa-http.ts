/**
 * Open Policy Agent by plain HTTP: `POST /v1/data/<path>`, and `GET` with `?input=`, with fetch, undici, node:http and
 * what stands on them.
 *
 * Nothing is asked for: the decision's id is there if OPA logs decisions, provenance if the application asks for it.
 */
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { OPA_PATH } from './http/asks.ts'
import type { Answer, Exchange, HttpHook, Question } from './http/exchange.ts'
import { opaDecision, opaQuestion } from './opa-answer.ts'
import { type Fields, isFields, textOf } from './values.ts'

export const opaHttpHook: HttpHook = {
  name: 'opa-http',
  matches: (path) => OPA_PATH.test(path),
  questionIn,
  record,
}

/** Members that OPA's answers have, and those of its failures; whatever has others is another service with such a path. */
const ANSWER: ReadonlySet<string> = new Set([
  'result',
  'decision_id',
  'provenance',
  'metrics',
  'explanation',
  'warning',
])
const ANSWER_BEGINS = new RegExp(`^\\s*\\{\\s*"(?:${[...ANSWER].join('|')})"\\s*:`)
const FAILURE: ReadonlySet<string> = new Set(['code', 'message', 'errors'])

function record({ path, request, answer, failure }: Exchange, recorder: Recorder): boolean {
  if (request !== undefined && !isQuery(request)) return false
  const policy = path.slice('/v1/data/'.length).replace(/\/$/, '')
  const decide = (change: Partial<Decision>, ...said: [Fields | undefined, string?]): true => {
    const id = policy === '' ? undefined : decoded(policy)
    recorder.decision({ ...opaDecision(opaQuestion(id, request?.input), ...said), ...change })
    return true
  }
  /** It was asked in OPA's words, whatever answered. */
  const isAsked = request !== undefined && 'input' in request
  if (answer === undefined) return isAsked && decide({}, undefined, failure)
  const { status, body, size, beginning } = answer
  if (status !== 200) {
    const code = isFields(body) && hasOnly(body, FAILURE) ? textOf(body.code) : undefined
    if (code === undefined) return isAsked && decide({}, undefined, `status_${status}`)
    return decide({}, undefined, /^\w{1,64}$/.test(code) ? code : `status_${status}`)
  }
  if (size === 'too large')
    return ANSWER_BEGINS.test(beginning) && decide({ outcome: undefined, reason: 'answer_too_large' }, {})
  if (!isFields(body) || !hasOnly(body, ANSWER)) return false
  // Without decision logs, OPA's answer for an undefined document is `{}`; so may be those of others.
  if (Object.keys(body).length === 0 && !(isAsked && isOpaJson(answer))) return false
  const { result, decision_id: decisionId, provenance } = body
  return decide(size === 'large' ? { output: undefined } : {}, { result, decisionId, provenance })
}

function hasOnly(body: Fields, members: ReadonlySet<string>): boolean {
  return Object.keys(body).every((key) => members.has(key))
}

/** OPA names JSON without a parameter, where most servers add their charset. */
function isOpaJson({ header }: Answer): boolean {
  return header('content-type')?.trim().toLowerCase() === 'application/json'
}

/** Of other services' queries a member `input` that is a JSON object is hardly one. */
function questionIn(query: string): Question | undefined {
  const text = new URLSearchParams(query).get('input')
  if (text === null) return undefined
  try {
    const input: unknown = JSON.parse(text)
    return { body: isFields(input) ? { input } : undefined }
  } catch {
    return { body: undefined }
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
