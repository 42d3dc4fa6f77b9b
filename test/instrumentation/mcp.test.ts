/** MCP servers and clients: what the collector's records say of tool calls and of the tokens that came with them. */
import { createHmac, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import {
  type Answer,
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
  UNDER_FLAG,
} from './support.ts'

const JWT_KEY = 'the key of the service that signs tokens'
const RESOURCE = 'https://accounts.example.com/mcp'
const NOW = Math.floor(Date.now() / 1000)
const CLAIMS = { azp: 'assistant', scope: 'pay read', exp: NOW + 600 }

let collector: CollectorProcess
let server: Application
let client: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  server = await startApplication(collector, 'mcp-server.app.mjs', { JWT_KEY })
  client = await startApplication(collector, 'mcp-client.app.mjs')
})

afterAll(async () => {
  for (const application of [client, server]) await application?.stop()
  await collector?.stop()
  await cleanUp()
})

function sign(claims: object, key = JWT_KEY): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`
}

interface ToolCall {
  readonly token?: string
  readonly arguments?: object
  readonly meta?: object
  readonly sampled?: boolean
}

/** Calls a tool as a client without instrumentation would; a stateless server needs no greeting. */
function call(path: string, name: string, given: ToolCall = {}): Promise<Answer> {
  const { token, arguments: args, meta: _meta, sampled = true } = given
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  }
  const message = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name, arguments: args, _meta } }
  return server.request(path, { method: 'POST', headers, body: JSON.stringify(message), sampled })
}

/** Lets the client's service call a tool. */
function ask(body: object): Promise<Answer> {
  const headers = { 'content-type': 'application/json' }
  return client.request('/call', { method: 'POST', headers, body: JSON.stringify(body) })
}

const shown = (answer: Pick<Answer, 'traceId'>, spans = 1): Promise<Shown[]> =>
  recordsOf(collector, answer, { spans })

const tools = (records: readonly Shown[], name: string): Shown[] =>
  select(records, 'action', { 'action.name': name })

test('a tool call is an action that relies on the token that requireBearerAuth let through', async () => {
  const token = sign(CLAIMS)
  const answer = await call('/mcp', 'transfer', { token, arguments: { amount: 5 } })
  expect(answer.body).toContain('paid 1')
  const records = await shown(answer)
  const [check] = select(records, 'verification', { 'verification.method': 'requireBearerAuth' })
  expect(check!.claims).toMatchObject({
    'verification.result': 'pass',
    'verification.checks': ['expiry', 'scope'],
    'verification.unchecked': ['audience'],
    'verification.target.fingerprint': fingerprint(token),
  })
  const [action, ...others] = tools(records, 'transfer')
  expect(others).toEqual([])
  expect(action!.claims).toMatchObject({ 'action.type': 'execute', 'action.outcome': 'success' })
  expect(action!.claims['action.arguments.commitment']).toMatch(/^hmac-sha256:/)
  expect(action!.claims['action.result.commitment']).toMatch(/^hmac-sha256:/)
  expect(action!.claims['action.inferred']).toBeUndefined()
  expect(action!.causes.map(({ kind, claims }) => [kind, claims['authorization.fingerprint']])).toEqual([
    ['authorization', fingerprint(token)],
  ])
  expect(action!.causes[0]!.claims['authorization.verification']).toBe('verified')
  // What the tool does is an action below it, for which the token is in force as well.
  const [effect] = select(records, 'action', { 'action.name': 'POST 127.0.0.1' })
  expect(effect!.above).toBe(action)
  expect(effect!.causes[0]!.claims).toMatchObject({
    'authorization.inherited': true,
    'authorization.fingerprint': fingerprint(token),
  })
  expect(records.some(({ attributes }) => 'mcp.session.id' in attributes)).toBe(false)
})

test('with an expected resource the audience is checked, and the record says so', async () => {
  const good = await call('/strict', 'balance', { token: sign({ ...CLAIMS, aud: RESOURCE }) })
  expect(good.status).toBe(200)
  const bad = await call('/strict', 'balance', { token: sign({ ...CLAIMS, aud: 'https://other.example/' }) })
  expect(bad.status).toBe(401)
  const method = { 'verification.method': 'requireBearerAuth' }
  expect(select(await shown(good), 'verification', method)[0]!.claims).toMatchObject({
    'verification.result': 'pass',
    'verification.checks': ['expiry', 'audience'],
    'verification.unchecked': ['scope'],
  })
  const records = await shown(bad)
  expect(select(records, 'verification', method)[0]!.claims).toMatchObject({
    'verification.result': 'fail',
    'verification.reason.code': 'audience_mismatch',
  })
  expect(select(records, 'action')).toEqual([])
})

test.each([
  ['expired', sign({ ...CLAIMS, exp: NOW - 60 }), 401, 'fail', 'expired', 'failed'],
  ['without the scope', sign({ ...CLAIMS, scope: 'read' }), 403, 'fail', 'insufficient_scope', 'failed'],
  ['signed by another key', sign(CLAIMS, 'another key'), 401, 'fail', 'invalid', 'failed'],
  ['missing', undefined, 401, 'fail', 'token_missing', undefined],
  ['beyond judgement', 'no-key-server', 500, 'unknown', 'verifier_error', 'unverified'],
])('a token that is %s: no tool is called', async (_, token, status, result, reason, state) => {
  const answer = await call('/mcp', 'transfer', { ...(token && { token }), arguments: { amount: 5 } })
  expect(answer.status).toBe(status)
  const records = await shown(answer)
  const [check, ...more] = select(records, 'verification', { 'verification.method': 'requireBearerAuth' })
  expect(more).toEqual([])
  expect(check!.claims).toMatchObject({ 'verification.result': result, 'verification.reason.code': reason })
  expect(check!.causes.at(-1)?.claims['authorization.verification']).toBe(state)
  expect(select(records, 'action')).toEqual([])
})

test.each([
  ['throws', 'transfer', { amount: 5 }, { ...CLAIMS, azp: 'broken' }, 'failure'],
  ['does not exist', 'nothing', {}, CLAIMS, 'refused'],
  ['gets the wrong arguments', 'transfer', { amount: 5000 }, CLAIMS, 'refused'],
  ['breaks its own schema', 'odd', {}, CLAIMS, 'failure'],
])('a tool that %s', async (_, name, given, claims, outcome) => {
  const answer = await call('/mcp', name, { token: sign(claims), arguments: given })
  expect(answer.status).toBe(200)
  const records = await shown(answer)
  const [action, ...others] = tools(records, name)
  expect(others).toEqual([])
  expect(action!.claims['action.outcome']).toBe(outcome)
  expect(action!.attributes['error.type']).toBe('tool_error')
  expect(action!.causes).toHaveLength(1)
  expect(JSON.stringify(records.map(({ attributes }) => attributes))).not.toContain('a secret')
})

test('auth info that cannot be read in part is there in part, and so is the call', async () => {
  const token = sign({ ...CLAIMS, azp: 'odd' })
  const records = await shown(await call('/mcp', 'balance', { token }))
  const [action, ...others] = tools(records, 'balance')
  expect(others).toEqual([])
  expect(action!.claims['action.outcome']).toBe('success')
  expect(action!.causes[0]!.claims['authorization.fingerprint']).toBe(fingerprint(token))
  const presented = { 'authorization.client.id': fingerprint('odd') }
  const [accepted] = select(records, 'authorization', presented)
  expect(accepted!.claims).toMatchObject({
    'authorization.verification': 'verified',
    'authorization.scope': ['pay', 'read'],
  })
  expect(accepted!.claims['authorization.audience']).toBeUndefined()
})

test('without authentication there is an action, and nothing that it relies on', async () => {
  const answer = await call('/open', 'balance')
  const records = await shown(answer)
  expect(tools(records, 'balance')[0]!.causes).toEqual([])
  expect(select(records, 'authorization')).toEqual([])
})

test('a caller cannot switch evidence off, neither by HTTP nor by _meta', async () => {
  const answer = await call('/mcp', 'balance', { token: sign(CLAIMS), sampled: false })
  expect(answer.status).toBe(200)
  const records = await shown(answer)
  expect(select(records, 'request')[0]!.claims['emitter.sampling']).toBe('parent_not_sampled')
  expect(tools(records, 'balance')[0]!.causes).toHaveLength(1)

  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  const token = sign(CLAIMS)
  const traceparent = `00-${traceId}-${spanId}-00`
  const carrying = await call('/mcp', 'balance', { token, meta: { traceparent } })
  expect(carrying.status).toBe(200)
  // The call is in the trace that `_meta` names, with its token; the request that brought it is in its own.
  const [action, ...others] = tools(await shown({ traceId }), 'balance')
  expect(others).toEqual([])
  expect(action!.claims).toMatchObject({
    'action.outcome': 'success',
    'emitter.sampling': 'parent_not_sampled',
    'execution.id': traceId,
  })
  expect(action!.causes[0]!.claims).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.client.id': fingerprint('assistant'),
    'authorization.scope': ['pay', 'read'],
    'authorization.expires_at': CLAIMS.exp,
    'authorization.verification': 'verified',
  })
  expect(select(await shown(carrying), 'request')).toHaveLength(1)
})

test('what is in _meta and no trace does no harm', async () => {
  for (const traceparent of ['x'.repeat(100_000), { deep: {} }, '00-0-0-00']) {
    const answer = await call('/open', 'balance', { meta: { traceparent } })
    expect(tools(await shown(answer), 'balance')).toHaveLength(1)
  }
})

test('over HTTP, the call of the client is above the call in the server', async () => {
  const token = sign(CLAIMS)
  const answer = await ask({ url: `${server.url}/mcp`, token, tool: 'transfer', arguments: { amount: 1 } })
  expect(answer.status).toBe(200)
  const records = await shown(answer, 8)
  const [one, two, ...others] = tools(records, 'transfer')
  expect(others).toEqual([])
  const [asked, served] = one!.resource['service.name'] === 'mcp-client' ? [one!, two!] : [two!, one!]
  expect(asked.claims['action.outcome']).toBe('success')
  expect(served.claims['action.outcome']).toBe('success')
  expect(above(served)).toContain(asked)
  expect(served.causes[0]!.claims['authorization.fingerprint']).toBe(fingerprint(token))
  // The requests that carry the protocol are no actions: the only other one is the payment.
  expect(select(records, 'action', { 'action.name': 'POST 127.0.0.1' }).map(({ above }) => above)).toEqual([
    served,
  ])
})

test.each(['token', 'provided'])(
  'a client’s action has what it presents, as a header or by its provider: %s',
  async (how) => {
    const token = sign({ ...CLAIMS, jti: how })
    const answer = await ask({ url: `${server.url}/mcp`, [how]: token, tool: 'balance' })
    expect(answer.status).toBe(200)
    const asked = tools(await shown(answer, 7), 'balance').find(
      ({ resource }) => resource['service.name'] === 'mcp-client',
    )
    const [presented, ...others] = asked!.causes
    expect(others).toEqual([])
    expect(presented!.claims).toMatchObject({
      'authorization.fingerprint': fingerprint(token),
      'authorization.type': 'jwt',
      'authorization.method': 'mcp client',
    })
    // Nobody verified it here, and what it says of itself is nobody's word.
    for (const unknown of ['verification', 'subject', 'id', 'expires_at'])
      expect(presented!.claims[`authorization.${unknown}`]).toBeUndefined()
  },
)

test('a client that is refused, that is told of a failure, and that is told nothing', async () => {
  const url = `${server.url}/open`
  const refused = await ask({ url, tool: 'nothing' })
  const failed = await ask({ url, tool: 'odd' })
  const forbidden = await ask({ url: `${server.url}/mcp`, tool: 'balance' })
  expect([refused.status, failed.status, forbidden.status]).toEqual([200, 200, 500])
  const ofClient = (records: Shown[], name: string) =>
    tools(records, name).find(({ resource }) => resource['service.name'] === 'mcp-client')
  expect(ofClient(await shown(refused, 4), 'nothing')!.claims['action.outcome']).toBe('refused')
  expect(ofClient(await shown(failed, 4), 'odd')!.claims['action.outcome']).toBe('failure')
  // The connection was refused before any tool was called.
  expect(select(await shown(forbidden), 'action', { 'action.type': 'execute' })).toEqual([])
})

test('over stdio, _meta alone carries the trace to a server that answers too late', async () => {
  const args = [...UNDER_FLAG, join(import.meta.dirname, 'apps', 'mcp-stdio.service.mjs')]
  const answer = await ask({ command: process.execPath, args, tool: 'sleep', timeout: 300 })
  expect(answer.status).toBe(500)
  const records = await shown(answer, 3)
  const [asked, served, ...others] = tools(records, 'sleep')
  expect(others).toEqual([])
  expect(served!.above).toBe(asked)
  // The client does not know whether the tool has run. It has.
  expect(asked!.claims['action.outcome']).toBe('unknown')
  expect(served!.claims['action.outcome']).toBe('success')
})

test('in memory, what the tool does is still its own', async () => {
  const answer = await ask({ tool: 'notify' })
  expect(answer.status).toBe(200)
  const records = await shown(answer)
  const [asked, served] = tools(records, 'notify')
  expect(served!.above).toBe(asked)
  const [effect] = select(records, 'action', { 'action.name': 'POST 127.0.0.1' })
  expect(effect!.above).toBe(served)
})

test('as CommonJS the same, on both sides: a call that succeeds, one that fails, and two that are refused', async () => {
  const service = await startApplication(collector, 'mcp.app.cjs')
  const told = async (query: string, status: number): Promise<Shown[]> => {
    const answer = await service.request(`/call?${query}`)
    expect(answer.status).toBe(status)
    return shown(answer, 6)
  }
  const records = await told('tool=balance&token=pay', 200)
  const [asked, served, ...others] = tools(records, 'balance')
  expect(others).toEqual([])
  expect(above(served!)).toContain(asked)
  for (const one of [asked!, served!]) {
    expect(one.claims['action.outcome']).toBe('success')
    expect(one.causes[0]!.claims['authorization.fingerprint']).toBe(fingerprint('pay'))
  }
  expect(select(records, 'verification', { 'verification.result': 'pass' })).toHaveLength(1)
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain(
    '@modelcontextprotocol/sdk@1.32.2 effective',
  )

  const broken = tools(await told('tool=broken&token=pay', 200), 'broken')
  expect(broken.map(({ claims }) => claims['action.outcome'])).toEqual(['failure', 'failure'])

  // The connection stands, and the call alone is refused: by 403 for a token without the scope, by 401 without one.
  for (const [query, code, reason] of [
    ['tool=balance&token=read', '403', 'insufficient_scope'],
    ['tool=balance', '401', 'token_missing'],
  ] as const) {
    const refused = await told(query, 500)
    const [action, ...more] = tools(refused, 'balance')
    expect(more).toEqual([])
    expect(action!.claims['action.outcome']).toBe('refused')
    expect(action!.attributes['error.type']).toBe(code)
    expect(select(refused, 'verification').map(({ claims }) => claims)).toMatchObject([
      { 'verification.result': 'fail', 'verification.reason.code': reason },
    ])
  }
  await service.stop()
})

test('the self-test says that the hook has taken hold', async () => {
  const records = await shown(await call('/open', 'balance'))
  expect(records[0]!.resource['governance.instrumentation.hooks']).toContain(
    '@modelcontextprotocol/sdk@1.32.2 effective',
  )
  expect(server.process.stderr).not.toContain('warning')
})

function above(one: Shown): Shown[] {
  return one.above === undefined ? [] : [one.above, ...above(one.above)]
}
