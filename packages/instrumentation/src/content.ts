/**
 * Content on spans, whoever puts it there: what models were told and said, what tools were given and gave, and what
 * errors say, which may quote any of it. When a span ends, keyed commitments take the place of these values; the exporters
 * of all SDK versions, the own path and the spool come after that.
 *
 * The literals of statements in SQL give way to question marks, as OpenTelemetry's conventions recommend.
 *
 * Known for content are the names below: what else an SDK of agents calls its own stays. Frames of a stack stay, its
 * message goes.
 */
import type { Attributes, SpanStatus } from '@opentelemetry/api'
import type { ReadableSpan, SpanEvent } from './delivery/encode.ts'
import { REDACTED } from './redaction.ts'
import type { Secrets } from './secrets.ts'

/** The names of OpenTelemetry's conventions, and after them those of SDKs with conventions of their own. */
const CONTENT = new RegExp(
  `^(?:${[
    /gen_ai\.tool\.(?:call\.(?:arguments|result)|definitions)$/,
    /gen_ai\.(?:(?:input|output)\.messages|system_instructions|retrieval\.(?:query\.text|documents))$/,
    // As they were before, and in OpenLLMetry with places: `gen_ai.prompt.0.content`.
    /gen_ai\.(?:(?:prompt|completion)(?:\.\d.*)?|event\.content)$/,
    /mcp\.(?:request\.argument|tool\.result|prompt\.result)(?:\.|$)/,
    /ai\.(?:prompt(?:\..*)?|response\.(?:text|object|reasoning|toolCalls)|toolCall\.(?:args|result)|values?)$/,
    /(?:input|output)\.value$/,
    /llm\.(?:(?:input|output)_messages|prompts|completions|prompt_template\.variables)(?:\.|$)/,
    /retrieval\.documents\./,
    /traceloop\.entity\.(?:input|output)$/,
    /langfuse\.(?:trace|observation)\.(?:input|output)$/,
  ]
    .map(({ source }) => source)
    .join('|')})`,
)
/** Text of errors, for people. */
const MESSAGES: ReadonlySet<string> = new Set(['exception.message', 'grpc.error_message', 'error.message'])
const STACK = 'exception.stacktrace'
/** Statements of databases, into which some instrumentations put the values of parameters. */
const STATEMENTS: ReadonlySet<string> = new Set(['db.query.text', 'db.statement'])
const NO_SQL = /redis|memcached|mongo|elastic|dynamo/
/** Texts, also such as end too early, and numbers that are neither parameters nor parts of names. */
const LITERAL = /'(?:[^'\\]|\\.|'')*'?|\$\$.*?(?:\$\$|$)|(?<![\w$:@.])\d+(?:\.\d+)?(?!\w)/gs
/** MySQL has names in backticks, and texts in double quotes, too. */
const LITERAL_OF_MYSQL = new RegExp(`"(?:[^"\\\\]|\\\\.|"")*"?|${LITERAL.source}`, 'gs')
/** Events that are content as a whole: every attribute but those that say whose it is. */
const CONTENT_EVENT = /^gen_ai\.(?:(?:system|user|assistant|tool)\.message|choice)$/
const SAID_OF_EVENTS: ReadonlySet<string> = new Set(['gen_ai.system', 'gen_ai.provider.name', 'event.name'])

/** A value that this has put there. */
const COMMITMENT = /^hmac-sha256:[0-9a-f]{64}$/

type Span = Pick<ReadableSpan, 'attributes' | 'events' | 'status'>

/**
 * Puts commitments in the place of the content of a span that has ended, or of a copy of one. Its attributes are changed
 * in place; events and status are shared with others and replaced.
 */
export function commitContent(span: Span, secrets: Secrets): void {
  commitIn(span.attributes, secrets)
  const events = span.events as SpanEvent[]
  for (let at = 0; at < events.length; at++) {
    const changed = committedEvent(events[at]!, secrets)
    if (changed !== undefined) events[at] = changed
  }
  const { code, message } = span.status
  if (message !== undefined && !COMMITMENT.test(message))
    (span as { status: SpanStatus }).status = { code, message: secrets.commit(message) ?? REDACTED }
}

function commitIn(attributes: Attributes, secrets: Secrets): void {
  for (const name in attributes)
    if (isLikely(name) && isContent(name)) attributes[name] = commitValue(name, attributes, secrets)
}

function committedEvent(event: SpanEvent, secrets: Secrets): SpanEvent | undefined {
  const { name, attributes } = event
  if (attributes === undefined || name.startsWith('governance.')) return undefined
  const isWhole = CONTENT_EVENT.test(name)
  let changed: Attributes | undefined
  for (const key in attributes) {
    if (!(isWhole ? !SAID_OF_EVENTS.has(key) : isLikely(key) && isContent(key))) continue
    changed ??= { ...attributes }
    changed[key] = commitValue(key, attributes, secrets)
  }
  return changed && { ...event, attributes: changed }
}

/** Sorts most names out by their beginning: this is asked of every attribute of every span. */
function isLikely(name: string): boolean {
  switch (name.charCodeAt(0)) {
    case 0x67: // g, not as in governance
      return name.charCodeAt(1) !== 0x6f
    case 0x65: // not as in express
      return name.startsWith('exception.') || name === 'error.message'
    case 0x64: // db
      return name.charCodeAt(1) === 0x62
    case 0x61: // ai
    case 0x69: // input
    case 0x6c: // llm, langfuse
    case 0x6f: // output
    case 0x6d: // mcp
    case 0x72: // retrieval
    case 0x74: // traceloop
      return true
    default:
      return false
  }
}

function isContent(name: string): boolean {
  return CONTENT.test(name) || MESSAGES.has(name) || STATEMENTS.has(name) || name === STACK
}

function commitValue(name: string, attributes: Attributes, secrets: Secrets): Attributes[string] {
  const value = attributes[name]
  if (name === STACK) return framesOf(String(value), attributes['exception.message'])
  if (typeof value === 'string' && COMMITMENT.test(value)) return value
  if (STATEMENTS.has(name)) return withoutLiterals(String(value), attributes)
  return secrets.commit(MESSAGES.has(name) ? value : contentOf(value)) ?? REDACTED
}

/** Content is JSON, as text where the SDK's attributes can hold no more. */
export function contentOf(value: Attributes[string]): unknown {
  if (typeof value !== 'string') return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

function withoutLiterals(statement: string, attributes: Attributes): string {
  const system = String(attributes['db.system.name'] ?? attributes['db.system'])
  if (NO_SQL.test(system)) return statement
  return statement.replaceAll(/mysql|mariadb/.test(system) ? LITERAL_OF_MYSQL : LITERAL, '?')
}

/** The lines of a stack that say where; those of the message go, whatever they look like. */
function framesOf(stack: string, message: Attributes[string]): string {
  const at = typeof message === 'string' ? stack.indexOf(message) : -1
  const rest = at === -1 ? stack : stack.slice(at + String(message).length)
  const frames = rest.split('\n').filter((line) => /^ {4}at \S/.test(line))
  return frames.join('\n')
}
