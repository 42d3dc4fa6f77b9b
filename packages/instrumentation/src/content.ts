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
import type { ReadableSpan, SpanEvent } from './delivery/span.ts'
import { FactEvent } from './fact-event.ts'
import { NAMESPACE } from './facts.ts'
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
/** Of PostgreSQL, up to the same tag again. Behind a letter the dollar is part of a name. */
const DOLLAR_QUOTED =
  /\$\$.*?(?:\$\$|$)|(?<![A-Za-z_$\x80-\uffff])\$(?<tag>[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)\$.*?(?:\$\k<tag>\$|$)/s
/** In decimal, with an exponent, without a zero before the point, hexadecimal, octal, binary; neither parameters nor parts of names. */
const NUMBER =
  /(?<![\w$:@.])(?:0[xX][\da-fA-F_]+|0[bBoO][\d_]+|\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d+)?)(?!\w)|(?<![\w$:@.)\]"`])\.\d[\d_]*(?:[eE][+-]?\d+)?(?!\w)/
/** Texts, also such as end too early, and numbers. */
const LITERAL = new RegExp(`'(?:[^'\\\\]|\\\\.|'')*'?|${DOLLAR_QUOTED.source}|${NUMBER.source}`, 'gs')
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
 * in place; events and status are shared with others and replaced. If it throws, nothing but our own facts is left on the
 * span.
 */
export function commitContent(span: Span, secrets: Secrets): void {
  try {
    commitAll(span, secrets)
  } catch (error) {
    const attributes: Attributes = {}
    for (const name of Object.keys(span.attributes))
      if (name.startsWith(NAMESPACE)) attributes[name] = span.attributes[name]
    const events = span.events.filter((event) => event instanceof FactEvent)
    Object.assign(span, { attributes, events, status: { code: span.status.code } })
    throw error
  }
}

function commitAll(span: Span, secrets: Secrets): void {
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
    if (isContent(name)) attributes[name] = commitValue(name, attributes, secrets)
}

function committedEvent(event: SpanEvent, secrets: Secrets): SpanEvent | undefined {
  // Said by its name, too, which takes a microsecond longer to find.
  if (event instanceof FactEvent) return undefined
  const { name } = event
  if (name.startsWith(NAMESPACE)) return undefined
  const { attributes } = event
  const isWhole = CONTENT_EVENT.test(name)
  let changed: Attributes | undefined
  for (const key in attributes) {
    if (!(isWhole ? !SAID_OF_EVENTS.has(key) : isContent(key))) continue
    changed ??= { ...attributes }
    changed[key] = commitValue(key, attributes, secrets)
  }
  return changed && { ...event, attributes: changed }
}

const LETTERS = { c: 0x63, g: 0x67, h: 0x68, n: 0x6e, o: 0x6f, r: 0x72, s: 0x73, u: 0x75 } as const

/** What was said of the other names before: each is asked for on every span, and there are few. */
const known = new Map<string, boolean>()
const MAX_KNOWN = 2048

function isContent(name: string): boolean {
  switch (name.charCodeAt(0)) {
    // `client`, `http`, `network`, `server`, `url` and others: no name of content begins with one of these letters.
    case LETTERS.c:
    case LETTERS.h:
    case LETTERS.n:
    case LETTERS.s:
    case LETTERS.u:
      return false
    // `governance`, `router`.
    case LETTERS.g:
    case LETTERS.r:
      if (name.charCodeAt(1) === LETTERS.o) return false
  }
  let is = known.get(name)
  if (is === undefined) {
    is = CONTENT.test(name) || MESSAGES.has(name) || STATEMENTS.has(name) || name === STACK
    if (known.size < MAX_KNOWN) known.set(name, is)
  }
  return is
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
