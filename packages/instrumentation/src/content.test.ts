/** What stands for content on a span of the SDK when it is exported, and what stays as it is. */
import { createHmac } from 'node:crypto'
import { type Span, SpanStatusCode } from '@opentelemetry/api'
import { InMemorySpanExporter, SimpleSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace'
import { expect, test } from 'vitest'
import { readConfig } from './config.ts'
import { createLog } from './log.ts'
import { RootspanSpanProcessor } from './processor.ts'
import { createRuntime } from './runtime.ts'

const KEY = 'sixteen bytes and more'
const commitment = (canonical: string): string =>
  `hmac-sha256:${createHmac('sha256', KEY).update(canonical).digest('hex')}`

/** The span, as it is exported, on which `write` has written. */
function exported(write: (span: Span) => void, env: NodeJS.ProcessEnv = {}) {
  const exporter = new InMemorySpanExporter()
  const config = readConfig({ ROOTSPAN_FINGERPRINT_KEY: KEY, ...env })
  const provider = new TracerProvider({
    spanProcessors: [
      new RootspanSpanProcessor(createRuntime(config, createLog('silent'))),
      new SimpleSpanProcessor({ exporter }),
    ],
  })
  const span = provider.getTracer('test').startSpan('a span')
  write(span)
  span.end()
  return exporter.getFinishedSpans().find(({ name }) => name === 'a span')!
}

test.each([
  ['gen_ai.tool.call.arguments', '{"b": 1, "a": "é"}', '{"a":"é","b":1}'],
  ['gen_ai.output.messages', 'no JSON', '"no JSON"'],
  ['gen_ai.prompt.0.content', 'hello', '"hello"'],
  ['ai.toolCall.result', '5', '5'],
  ['llm.input_messages.3.message.content', 'hello', '"hello"'],
  ['mcp.request.argument.amount', 5, '5'],
  ['gen_ai.tool.call.result', ['a', 'b'], '["a","b"]'],
  ['grpc.error_message', '5', '"5"'],
])('%s', (name, value, canonical) => {
  expect(exported((span) => span.setAttribute(name, value)).attributes[name]).toBe(commitment(canonical))
})

test.each([
  'gen_ai.tool.name',
  'gen_ai.prompt.name',
  'gen_ai.request.model',
  'ai.model.id',
  'llm.model_name',
  'exception.type',
  'input.value.type',
  'a.gen_ai.input.messages',
])('%s stays', (name) => {
  expect(exported((span) => span.setAttribute(name, 'text')).attributes[name]).toBe('text')
})

test.each([
  ['mysql', "INSERT INTO t VALUES ('a ''secret''', 42, -1.5)", 'INSERT INTO t VALUES (?, ?, -?)'],
  ['mysql', 'SELECT a FROM t WHERE b = "a secret" LIMIT 10', 'SELECT a FROM t WHERE b = ? LIMIT ?'],
  [
    'postgresql',
    'SELECT "Name1" FROM t2 WHERE a = $1 AND b = :p2',
    'SELECT "Name1" FROM t2 WHERE a = $1 AND b = :p2',
  ],
  ['postgresql', "SELECT E'it\\'s' || $$a 'secret'$$", 'SELECT E? || ?'],
  ['mysql', `VALUES ('a"', "b'", 'a secret')`, 'VALUES (?, ?, ?)'],
  ['postgresql', "SELECT $tag$it's a $$secret$$ $other$$tag$, 'a'", 'SELECT ?, ?'],
  ['postgresql', 'SELECT $_é1$a secret$_É1$ b $_é1$ FROM t', 'SELECT ? FROM t'],
  ['postgresql', 'DO $body$a secret that is cut off', 'DO ?'],
  ['postgresql', 'SELECT $1, $2 FROM a$b$c WHERE d = $3', 'SELECT $1, $2 FROM a$b$c WHERE d = $3'],
  ['mysql', 'INSERT INTO t (a) VALUES (0xDEADBEEF, -0x1f)', 'INSERT INTO t (a) VALUES (?, -?)'],
  ['postgresql', 'VALUES (0b1010, 0o17, 1_000_000, 1.5e-3, 2E10, .5)', 'VALUES (?, ?, ?, ?, ?, ?)'],
  ['mysql', 'SELECT t.2fa, x0x1 FROM 2fa_codes, t1', 'SELECT t.2fa, x0x1 FROM 2fa_codes, t1'],
  ['mysql', "SELECT 'cut off", 'SELECT ?'],
  ['redis', 'SET user:1 [1 other arguments]', 'SET user:1 [1 other arguments]'],
])('literals of a statement, %s: %s', (system, text, expected) => {
  for (const name of ['db.query.text', 'db.statement'])
    expect(
      exported((span) => span.setAttributes({ 'db.system': system, [name]: text })).attributes[name],
    ).toBe(expected)
})

test('a hostile statement takes no longer than a long one', () => {
  for (const piece of ['$a', '$a$b', "'", '$', '1_', 'a$a$', '0x', '.1'])
    exported((span) => {
      span.setAttributes({ 'db.system': 'postgresql', 'db.query.text': piece.repeat(500_000 / piece.length) })
    })
}, 5000)

test('what was committed to is not committed to again; what is too large is not there', () => {
  const known = commitment('"x"')
  const large = 'x'.repeat(5 << 20)
  const { attributes } = exported((span) =>
    span.setAttributes({ 'gen_ai.input.messages': known, 'gen_ai.output.messages': large }),
  )
  expect(attributes).toMatchObject({ 'gen_ai.input.messages': known, 'gen_ai.output.messages': 'REDACTED' })
})

test('of an exception its kind and its frames are left', () => {
  const error = new TypeError('a secret\n    at the second line')
  const { events, status } = exported((span) => {
    span.recordException(error)
    span.setStatus({ code: SpanStatusCode.ERROR, message: error.message })
  })
  const message = commitment(JSON.stringify(error.message))
  expect(status).toEqual({ code: SpanStatusCode.ERROR, message })
  expect(events[0]!.attributes).toMatchObject({ 'exception.type': 'TypeError', 'exception.message': message })
  const frames = String(events[0]!.attributes!['exception.stacktrace']).split('\n')
  expect(frames[0]).toContain('content.test.ts')
  expect(frames.join()).not.toMatch(/secret|second line/)
})

test('an event that is content as a whole, and the object that was given for it', () => {
  const given = { content: 'hello', 'gen_ai.system': 'x', id: 7 }
  const { events } = exported((span) => span.addEvent('gen_ai.user.message', given))
  expect(events[0]!.attributes).toEqual({
    content: commitment('"hello"'),
    'gen_ai.system': 'x',
    id: commitment('7'),
  })
  expect(given.content).toBe('hello')
})

test('of a span that cannot be looked through nothing is left in clear', () => {
  const span = exported((one) => {
    one.setAttributes({ 'gen_ai.prompt': 'a secret', 'governance.action.name': 'pay' })
    one.recordException(new Error('a secret'))
    one.setStatus({ code: SpanStatusCode.ERROR, message: 'a secret' })
    const { attributes } = one as Span & { attributes: object }
    Object.defineProperty(attributes, 'gen_ai.completion', {
      enumerable: true,
      get() {
        throw new Error('odd')
      },
    })
    one.setAttribute('gen_ai.system_instructions', 'a secret')
  })
  const { attributes, events, status, name } = span
  expect({ attributes, events, status, name }).toEqual({
    attributes: { 'governance.action.name': 'pay' },
    events: [],
    status: { code: SpanStatusCode.ERROR },
    name: 'a span',
  })
})

test('all of it in clear, where the operator wants that', () => {
  const { attributes, status } = exported(
    (span) => {
      span.setAttribute('gen_ai.input.messages', 'hello')
      span.setStatus({ code: SpanStatusCode.ERROR, message: 'no' })
    },
    { ROOTSPAN_CONTENT: 'clear' },
  )
  expect({ attributes, status }).toMatchObject({
    attributes: { 'gen_ai.input.messages': 'hello' },
    status: { message: 'no' },
  })
})
