/**
 * Open Policy Agent by plain HTTP: `POST /v1/data/<path>`, with fetch, undici, node:http and what stands on them.
 *
 * Nothing is asked for: the decision's id is there if OPA logs decisions, provenance if the application asks for it.
 */
import type { Decision } from '../facts.ts'
import type { Recorder } from '../recorder.ts'
import { OPA_PATH } from './http/asks.ts'
import type { Exchange, HttpHook } from './http/exchange.ts'
import { opaDecision } from './opa-answer.ts'
import { type Fields, isFields, textOf } from './values.ts'

export const opaHttpHook: HttpHook = {
  name: 'opa-http',
  matches: (path) => OPA_PATH.test(path),
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
    recorder.decision({ ...opaDecision(id, request?.input, ...said), ...change })
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
  // Without decision logs, OPA's answer for an undefined document is `{}`; so are those of others.
  if (!isFields(body) || !hasOnly(body, ANSWER) || Object.keys(body).length === 0) return false
  const { result, decision_id: decisionId, provenance } = body
  return decide(size === 'large' ? { output: undefined } : {}, { result, decisionId, provenance })
}

function hasOnly(body: Fields, members: ReadonlySet<string>): boolean {
  return Object.keys(body).every((key) => members.has(key))
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
