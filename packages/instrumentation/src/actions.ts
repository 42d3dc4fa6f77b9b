/**
 * Which spans are actions when nobody says so: those whose ordinary attributes tell of a side effect.
 *
 * Looks at what is known when the span starts. Attribute names are OpenTelemetry's, stable and before.
 */
import { type Attributes, SpanKind } from '@opentelemetry/api'
import { contentOf } from './content.ts'
import type { Action } from './facts.ts'

/** HTTP methods with side effects (RFC 9110, 9.2.1: all but the safe ones). */
const HTTP: ReadonlyMap<string, Action['type']> = new Map([
  ['POST', 'write'],
  ['PUT', 'write'],
  ['PATCH', 'write'],
  ['DELETE', 'delete'],
])

/** First words of SQL and operations of other stores that change something. */
const STORE: ReadonlyMap<string, Action['type']> = new Map([
  ...[
    'INSERT',
    'UPDATE',
    'UPSERT',
    'REPLACE',
    'MERGE',
    'SET',
    'HSET',
    'INCR',
    'DECR',
    'LPUSH',
    'RPUSH',
    'SADD',
    'ZADD',
    'EXPIRE',
    'FINDANDMODIFY',
    'INSERTONE',
    'INSERTMANY',
    'UPDATEONE',
    'UPDATEMANY',
    'BULKWRITE',
    'CALL',
  ].map((word) => [word, 'write'] as const),
  ...['DELETE', 'TRUNCATE', 'DEL', 'UNLINK', 'REMOVE', 'DELETEONE', 'DELETEMANY', 'DROP'].map(
    (word) => [word, 'delete'] as const,
  ),
  ...['CREATE', 'ALTER'].map((word) => [word, 'configure'] as const),
  ...['GRANT', 'REVOKE'].map((word) => [word, 'grant'] as const),
])

/** The action that a span is by its attributes, or undefined. */
export function inferAction(kind: SpanKind, name: string, attributes: Attributes): Action | undefined {
  const action =
    ofTool(name, attributes) ??
    ofStore(kind, name, attributes) ??
    ofMessage(kind, attributes) ??
    ofHttp(kind, attributes)
  return action && { ...action, inferred: true }
}

/** An agent's operations that concern governance (OpenTelemetry's conventions for generative AI). */
export type AgentOperation = 'execute_tool' | 'invoke_agent' | 'invoke_workflow'

/**
 * Which of them a span is. Some agent SDKs set attributes only after the start; the conventions have the operation
 * begin the span's name, so that it is known then as well.
 */
export function agentOperation(name: string, attributes: Attributes): AgentOperation | undefined {
  const operation = attributes['gen_ai.operation.name'] ?? operationOf(name)
  if (operation === 'execute_tool' || operation === 'invoke_agent' || operation === 'invoke_workflow')
    return operation
  return attributes['mcp.method.name'] === 'tools/call' ? 'execute_tool' : undefined
}

const LETTER_E = 0x65
const LETTER_I = 0x69

/** Most names are told apart by their first letter, and not matched. */
function operationOf(name: string): string | undefined {
  const first = name.charCodeAt(0)
  if (first !== LETTER_E && first !== LETTER_I) return undefined
  return /^(?:execute_tool|invoke_agent|invoke_workflow)(?= |$)/.exec(name)?.[0]
}

/** What a tool span says of its action when it has all its attributes. Content is there only if an operator wants it. */
export function toolFacts(attributes: Attributes): Action {
  return {
    id: text(attributes['gen_ai.tool.call.id']),
    name: text(attributes['gen_ai.tool.name']),
    arguments: contentOf(attributes['gen_ai.tool.call.arguments']),
    result: contentOf(attributes['gen_ai.tool.call.result']),
  }
}

function ofTool(name: string, attributes: Attributes): Action | undefined {
  if (agentOperation(name, attributes) !== 'execute_tool') return undefined
  const tool = text(attributes['gen_ai.tool.name']) ?? /^\S+ (.+)/.exec(name)?.[1] ?? 'tool'
  return { id: text(attributes['gen_ai.tool.call.id']), name: tool, type: 'execute' }
}

function ofMessage(kind: SpanKind, attributes: Attributes): Action | undefined {
  if (kind !== SpanKind.PRODUCER) return undefined
  const system = text(attributes['messaging.system']) ?? 'messaging'
  return {
    name: `${system} send`,
    type: 'communicate',
    resourceType: 'destination',
    resourceId: text(attributes['messaging.destination.name']),
  }
}

function ofStore(kind: SpanKind, name: string, attributes: Attributes): Action | undefined {
  const system = text(attributes['db.system.name']) ?? text(attributes['db.system'])
  if (system === undefined || kind === SpanKind.SERVER) return undefined
  const said = text(attributes['db.operation.name']) ?? text(attributes['db.operation'])
  const query = text(attributes['db.query.text']) ?? text(attributes['db.statement'])
  // The instrumentation of pg puts the query on the span after its start, and what it does into the name.
  const first = query === undefined ? /^pg\.query:([A-Za-z]+)(?: |$)/ : /^\s*([A-Za-z]+)/
  const word = (said ?? first.exec(query?.slice(0, 200) ?? name)?.[1])?.toUpperCase()
  const type = word === undefined ? undefined : STORE.get(word)
  if (type === undefined) return undefined
  const resourceId = text(attributes['db.collection.name']) ?? text(attributes['db.sql.table'])
  return { name: `${system} ${word}`, type, resourceType: 'collection', resourceId }
}

function ofHttp(kind: SpanKind, attributes: Attributes): Action | undefined {
  if (kind !== SpanKind.CLIENT) return undefined
  const method = (text(attributes['http.request.method']) ?? text(attributes['http.method']))?.toUpperCase()
  const type = method === undefined ? undefined : HTTP.get(method)
  if (type === undefined) return undefined
  const host = text(attributes['server.address']) ?? text(attributes['net.peer.name'])
  return { name: host === undefined ? `${method}` : `${method} ${host}`, type }
}

/** The path of a request over HTTP; empty for other spans. */
export function pathOf(attributes: Attributes): string {
  const full = text(attributes['url.full']) ?? text(attributes['http.url'])
  if (full === undefined) return text(attributes['url.path']) ?? text(attributes['http.target']) ?? ''
  return URL.parse(full)?.pathname ?? ''
}

/** Outcome of an action by its span's end: what OpenTelemetry says, no more. */
export function inferOutcome(attributes: Attributes, isError: boolean): Action['outcome'] {
  if (isError || attributes['error.type'] !== undefined) return 'failure'
  const status = attributes['http.response.status_code'] ?? attributes['http.status_code']
  if (typeof status === 'number') return status < 400 ? 'success' : 'failure'
  const isHttp = attributes['http.request.method'] !== undefined || attributes['http.method'] !== undefined
  return isHttp ? 'unknown' : 'success'
}

function text(value: Attributes[string]): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
