/**
 * What a span is when nobody says so, by its ordinary attributes: a request, an action, or neither. What comes out is
 * marked as inferred wherever it is shown, and no rule takes it for more.
 *
 * The names are OpenTelemetry's, stable and before. The instrumentation looks at the same attributes when a span starts
 * (`packages/instrumentation/src/actions.ts`) and must come to the same: `test/continuity/classify.test.ts` compares.
 */
import type { KeyValue, Span } from '../otlp/decode.ts'

export interface Inferred {
  readonly kind: 'request' | 'action'
  /** Of a request its kind, of an action its name. */
  readonly name: string
  /** Of an action: its type. */
  readonly type: string | undefined
}

const SERVER = 2
const CLIENT = 3
const PRODUCER = 4
const CONSUMER = 5

const OPERATION = 'gen_ai.operation.name'

/** Attributes that are looked at, all of them texts. */
export const CLASSIFYING: ReadonlySet<string> = new Set([
  ...['db.operation', 'db.operation.name', 'db.query.text', 'db.statement', 'db.system', 'db.system.name'],
  ...['http.method', 'http.request.method', 'http.target', 'http.url', 'url.full', 'url.path'],
  ...['server.address', 'net.peer.name', 'messaging.system', 'mcp.method.name'],
  ...[OPERATION, 'gen_ai.tool.name', 'faas.trigger', 'cicd.pipeline.name'],
])

type Attributes = ReadonlyMap<string, string>

/** A span of this kind is a request, whatever its attributes are. */
export function isRequestKind(kind: number): boolean {
  return kind === SERVER || kind === CONSUMER
}

/** Never for a span that says itself what it is; only a request unless `mayAct`. Linear in the attributes. */
export function infer(span: Span, mayAct = true): Inferred | undefined {
  const { kind, name } = span
  if (kind === CONSUMER) return request('message')
  if (kind === SERVER) return request('request')
  if (!mayAct && span.parentSpanId.length > 0) return undefined
  const attributes = textsOf(span.attributes)
  if (span.parentSpanId.length === 0) {
    const operation = operationOf(name, attributes)
    if (operation === 'invoke_agent') return request('agent')
    if (operation === 'invoke_workflow') return request('workflow')
    if (attributes.has('faas.trigger') || attributes.has('cicd.pipeline.name')) return request('job')
  }
  if (!mayAct) return undefined
  return (
    ofTool(name, attributes) ?? ofStore(attributes) ?? ofMessage(kind, attributes) ?? ofHttp(kind, attributes)
  )
}

function textsOf(attributes: readonly KeyValue[]): Attributes {
  const texts = new Map<string, string>()
  for (const { key, value } of attributes) {
    if (!CLASSIFYING.has(key) || texts.has(key)) continue
    if (value.type === 'string' && value.value !== '') texts.set(key, value.value)
    // Whatever it is, the name of the span does not say it then.
    else if (key === OPERATION) texts.set(key, '')
  }
  return texts
}

function request(name: string): Inferred {
  return { kind: 'request', name, type: undefined }
}

function action(name: string, type: string): Inferred {
  return { kind: 'action', name, type }
}

/** An agent's operation: as an attribute, or as the first word of the name, which the conventions ask for. */
function operationOf(name: string, attributes: Attributes): string | undefined {
  const said = attributes.get(OPERATION)
  if (said !== undefined) return said
  const word = /^(execute_tool|invoke_agent|invoke_workflow)(?= |$)/.exec(name)?.[1]
  return word ?? (attributes.get('mcp.method.name') === 'tools/call' ? 'execute_tool' : undefined)
}

function ofTool(name: string, attributes: Attributes): Inferred | undefined {
  if (
    operationOf(name, attributes) !== 'execute_tool' &&
    // Of an operation that is none of an agent's the method still counts.
    attributes.get('mcp.method.name') !== 'tools/call'
  )
    return undefined
  return action(attributes.get('gen_ai.tool.name') ?? /^\S+ (.+)/.exec(name)?.[1] ?? 'tool', 'execute')
}

/** First words of SQL, and operations of other stores, that change something. */
const STORE_TYPES: readonly (readonly [type: string, words: string])[] = [
  ['write', 'INSERT UPDATE UPSERT REPLACE MERGE CALL'],
  ['write', 'SET HSET INCR DECR LPUSH RPUSH SADD ZADD EXPIRE'],
  ['write', 'FINDANDMODIFY INSERTONE INSERTMANY UPDATEONE UPDATEMANY BULKWRITE'],
  ['delete', 'DELETE TRUNCATE DROP DEL UNLINK REMOVE DELETEONE DELETEMANY'],
  ['configure', 'CREATE ALTER'],
  ['grant', 'GRANT REVOKE'],
]
const STORE: ReadonlyMap<string, string> = new Map(
  STORE_TYPES.flatMap(([type, words]) => words.split(' ').map((word) => [word, type] as const)),
)

function ofStore(attributes: Attributes): Inferred | undefined {
  const system = attributes.get('db.system.name') ?? attributes.get('db.system')
  if (system === undefined) return undefined
  const said = attributes.get('db.operation.name') ?? attributes.get('db.operation')
  const query = attributes.get('db.query.text') ?? attributes.get('db.statement') ?? ''
  const word = (said ?? /^\s*([A-Za-z]+)/.exec(query.slice(0, 200))?.[1])?.toUpperCase()
  const type = word === undefined ? undefined : STORE.get(word)
  return type === undefined ? undefined : action(`${system} ${word}`, type)
}

function ofMessage(kind: number, attributes: Attributes): Inferred | undefined {
  if (kind !== PRODUCER) return undefined
  return action(`${attributes.get('messaging.system') ?? 'messaging'} send`, 'communicate')
}

/** Methods with side effects (RFC 9110, section 9.2.1: all but the safe ones). */
const METHODS: ReadonlyMap<string, string> = new Map([
  ['POST', 'write'],
  ['PUT', 'write'],
  ['PATCH', 'write'],
  ['DELETE', 'delete'],
])

/** Where policy engines are asked by POST, which is no side effect: OPA, AuthZEN, OpenFGA. */
const ASKED: readonly RegExp[] = [
  /^\/v1\/(?:data|query|compile)(?:\/|$)/,
  /access\/v1\/(?:evaluations?|search)(?:\/|$)/,
  /^\/stores\/[^/]+\/(?:check|batch-check|expand|list-objects|list-users)$/,
]

function ofHttp(kind: number, attributes: Attributes): Inferred | undefined {
  if (kind !== CLIENT) return undefined
  const method = (attributes.get('http.request.method') ?? attributes.get('http.method'))?.toUpperCase()
  const type = method === undefined ? undefined : METHODS.get(method)
  if (type === undefined) return undefined
  const path = pathOf(attributes)
  if (ASKED.some((pattern) => pattern.test(path))) return undefined
  const host = attributes.get('server.address') ?? attributes.get('net.peer.name')
  return action(host === undefined ? `${method}` : `${method} ${host}`, type)
}

/** Without a query or a fragment. */
function pathOf(attributes: Attributes): string {
  const full = attributes.get('url.full') ?? attributes.get('http.url')
  const target =
    full === undefined
      ? (attributes.get('url.path') ?? attributes.get('http.target') ?? '')
      : (/^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^/?#]*([^?#]*)/.exec(full)?.[1] ?? '')
  return /^[^?#]*/.exec(target)![0]
}
