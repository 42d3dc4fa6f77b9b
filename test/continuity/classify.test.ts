/** What the core takes a span for, and that the instrumentation comes to the same. */
import { type Attributes, SpanKind } from '@opentelemetry/api'
import { infer } from '@rootspan/lineage/continuity/classify'
import { decodeSpan, type Span } from '@rootspan/lineage/otlp/decode'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { inferAction } from '../../packages/instrumentation/src/actions.ts'
import { type AttributeValue, encodeSpan } from '../support/executions.ts'

const [INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER] = [1, 2, 3, 4, 5] as const

function span(
  kind: number,
  name: string,
  attributes: Readonly<Record<string, AttributeValue>>,
  parent: number | undefined = 1,
): Span {
  return decodeSpan(encodeSpan(1, { id: 2, kind, name, attributes, ...(parent !== 0 && { parent }) }))
}

describe('actions', () => {
  test.each([
    [CLIENT, { 'http.request.method': 'POST', 'server.address': 'pay.example' }, 'POST pay.example', 'write'],
    [CLIENT, { 'http.method': 'delete', 'net.peer.name': 'files.example' }, 'DELETE files.example', 'delete'],
    [CLIENT, { 'db.system.name': 'postgresql', 'db.operation.name': 'INSERT' }, 'postgresql INSERT', 'write'],
    [CLIENT, { 'db.system': 'mysql', 'db.statement': ' drop table t' }, 'mysql DROP', 'delete'],
    [INTERNAL, { 'db.system': 'sqlite', 'db.query.text': 'GRANT all' }, 'sqlite GRANT', 'grant'],
    [PRODUCER, { 'messaging.system': 'kafka' }, 'kafka send', 'communicate'],
    [
      INTERNAL,
      { 'gen_ai.operation.name': 'execute_tool', 'gen_ai.tool.name': 'refund' },
      'refund',
      'execute',
    ],
    [CLIENT, { 'mcp.method.name': 'tools/call', 'gen_ai.tool.name': 'refund' }, 'refund', 'execute'],
  ])('%i %j', (kind, attributes, name, type) => {
    expect(infer(span(kind, 'a span', attributes))).toEqual({ kind: 'action', name, type })
  })

  test.each([
    ['a read', CLIENT, { 'http.request.method': 'GET', 'server.address': 'pay.example' }],
    ['a query', CLIENT, { 'db.system.name': 'postgresql', 'db.operation.name': 'SELECT' }],
    [
      'OPA',
      CLIENT,
      { 'http.request.method': 'POST', 'url.full': 'http://opa:8181/v1/data/shop/allow?metrics' },
    ],
    ['AuthZEN', CLIENT, { 'http.request.method': 'POST', 'url.full': 'https://pdp/access/v1/evaluation' }],
    [
      'AuthZEN in a batch',
      CLIENT,
      { 'http.request.method': 'POST', 'http.url': 'https://pdp/x/access/v1/evaluations' },
    ],
    ['OpenFGA', CLIENT, { 'http.request.method': 'POST', 'url.path': '/stores/01H/check' }],
    [
      'SpiceDB',
      CLIENT,
      {
        'rpc.system': 'grpc',
        'rpc.service': 'authzed.api.v1.PermissionsService',
        'rpc.method': 'CheckPermission',
      },
    ],
    ['nothing at all', INTERNAL, {}],
  ])('%s is none', (_, kind, attributes) => {
    expect(infer(span(kind, 'a span', attributes))).toBeUndefined()
  })
})

describe('requests', () => {
  test.each([
    [SERVER, 'GET /', {}, 1, 'request'],
    [CONSUMER, 'orders process', {}, 1, 'message'],
    [INTERNAL, 'invoke_agent shop', {}, 0, 'agent'],
    [INTERNAL, 'a run', { 'gen_ai.operation.name': 'invoke_workflow' }, 0, 'workflow'],
    [INTERNAL, 'nightly', { 'faas.trigger': 'timer' }, 0, 'job'],
  ])('%i %s %j', (kind, name, attributes, parent, expected) => {
    expect(infer(span(kind, name, attributes, parent))).toEqual({
      kind: 'request',
      name: expected,
      type: undefined,
    })
  })

  test('an agent within a request is none', () => {
    expect(infer(span(INTERNAL, 'invoke_agent shop', {}))).toBeUndefined()
  })
})

const word = fc.constantFrom(
  'POST',
  'get',
  'DELETE',
  'insert into t',
  'SELECT 1',
  'drop',
  'hset',
  'kafka',
  'pay.example',
  '',
)
const path = fc.constantFrom(
  'http://opa/v1/data/a',
  '/v1/data',
  '/stores/1/check',
  'https://a/access/v1/search',
  '/orders',
  'no url',
)
const attributes = fc.dictionary(
  fc.constantFrom(
    ...[
      'http.request.method',
      'http.method',
      'db.system',
      'db.system.name',
      'db.operation',
      'db.operation.name',
    ],
    ...['db.statement', 'db.query.text', 'messaging.system', 'server.address', 'gen_ai.tool.name'],
    ...['url.full', 'http.url', 'url.path', 'http.target', 'mcp.method.name', 'gen_ai.operation.name'],
  ),
  fc.oneof(word, path, fc.constantFrom('tools/call', 'execute_tool', 'chat'), fc.integer()),
  { maxKeys: 6 },
)

test('is what the instrumentation comes to', () => {
  const kinds = { [INTERNAL]: SpanKind.INTERNAL, [CLIENT]: SpanKind.CLIENT, [PRODUCER]: SpanKind.PRODUCER }
  let actions = 0
  fc.assert(
    fc.property(
      fc.constantFrom(INTERNAL, CLIENT, PRODUCER),
      fc.constantFrom('a span', 'execute_tool refund', 'execute_tool', 'POST'),
      attributes,
      (kind, name, given) => {
        const theirs = inferAction(kinds[kind], name, given as Attributes)
        const ours = infer(span(kind, name, given))
        expect(ours).toEqual(theirs && { kind: 'action', name: theirs.name, type: theirs.type })
        if (ours !== undefined) actions++
      },
    ),
    { numRuns: 2000, seed: 7 },
  )
  expect(actions).toBeGreaterThan(300)
})
