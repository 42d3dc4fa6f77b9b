/**
 * The example server of the Model Context Protocol's SDK, as it is published, with its OAuth server: who called a tool,
 * with which token, and what was refused.
 */
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { freePort } from '../support/port.ts'
import { above } from './foreign.ts'
import {
  type Answer,
  type Application,
  fingerprint,
  recordsOf,
  type Shown,
  select,
  startApplication,
  startQuickCollector,
  startService,
} from './support.ts'

const SERVER = join(
  root,
  'node_modules/@modelcontextprotocol/sdk/dist/esm/examples/server/simpleStreamableHttp.js',
)

let collector: CollectorProcess
let client: Application
let server: Application
let issuer: string

beforeAll(async () => {
  const [port, authPort] = [await freePort(), await freePort()]
  issuer = `http://localhost:${authPort}`
  collector = await startQuickCollector()
  client = await startApplication(collector, 'mcp-client.app.mjs')
  server = await startService(collector, {
    name: 'example',
    file: SERVER,
    args: ['--oauth'],
    env: { MCP_PORT: String(port), MCP_AUTH_PORT: String(authPort) },
    listening: /(MCP Streamable HTTP Server listening)/,
    url: `http://localhost:${port}/mcp`,
  })
}, 60_000)

afterAll(async () => {
  await client?.stop()
  await server?.stop()
  await collector?.stop()
  await cleanUp()
})

/** Registers a client and takes it through the authorization code flow with PKCE (RFC 6749, 4.1; RFC 7636). */
async function authorize(): Promise<{ clientId: string; token: string }> {
  const redirect = 'http://localhost/callback'
  const registered = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [redirect], token_endpoint_auth_method: 'none' }),
  })
  const { client_id: clientId } = (await registered.json()) as { client_id: string }
  const verifier = randomBytes(32).toString('base64url')
  const asked = new URLSearchParams({
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirect,
    scope: 'mcp:tools',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  const authorized = await fetch(`${issuer}/authorize?${asked}`, { redirect: 'manual' })
  const code = new URL(authorized.headers.get('location')!).searchParams.get('code')!
  const exchanged = await fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code',
      client_id: clientId,
      redirect_uri: redirect,
      code,
      code_verifier: verifier,
    }),
  })
  const { access_token: token } = (await exchanged.json()) as { access_token: string }
  return { clientId, token }
}

function greet(token: string): Promise<Answer> {
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ url: server.url, token, tool: 'greet', arguments: { name: 'a secret name' } })
  return client.request('/call', { method: 'POST', headers, body, sampled: false })
}

const ofServer = (records: readonly Shown[]): Shown[] =>
  records.filter(({ resource }) => resource['service.name'] === 'example')

test('a tool that is called with a token of the OAuth server: token, check and action, in one trace', async () => {
  const { clientId, token } = await authorize()
  const answer = await greet(token)
  expect(answer.body).toContain('Hello, a secret name!')
  const records = await recordsOf(collector, answer, { spans: 6 })
  const mine = ofServer(records)
  const [artifact] = select(mine, 'authorization', { 'authorization.verification': 'verified' })
  expect(artifact!.claims).toMatchObject({
    'authorization.fingerprint': fingerprint(token),
    'authorization.client.id': fingerprint(clientId),
    'authorization.scope': ['mcp:tools'],
  })
  expect(select(mine, 'verification', { 'verification.result': 'pass' })[0]!.claims).toMatchObject({
    'verification.target.fingerprint': fingerprint(token),
  })
  const [action, ...others] = select(mine, 'action', { 'action.name': 'greet' })
  expect(others).toEqual([])
  expect(action!.claims).toMatchObject({
    'action.type': 'execute',
    'action.outcome': 'success',
    'action.arguments.commitment': expect.stringMatching(/^hmac-sha256:/),
  })
  expect(action!.causes.map(({ claims }) => claims['authorization.fingerprint'])).toContain(
    fingerprint(token),
  )
  const asked = select(records, 'action', { 'action.name': 'greet' }).find((one) => one !== action)
  expect(asked!.resource['service.name']).toBe('mcp-client')
  expect(above(action!)).toContain(asked)
  expect(JSON.stringify(records.map(({ attributes }) => attributes))).not.toContain('a secret name')
})

test('a token that it never issued: presented, not verified, and no action', async () => {
  const answer = await greet('not-issued')
  // The example throws an error of its own there, which the SDK takes for one of the server: nobody has judged the token.
  expect(answer.status).toBe(500)
  const mine = ofServer(await recordsOf(collector, answer, { spans: 3 }))
  expect(select(mine, 'authorization').map(({ claims }) => claims)).toMatchObject([
    {
      'authorization.fingerprint': fingerprint('not-issued'),
      'authorization.verification': 'unverified',
    },
  ])
  expect(select(mine, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'unknown', 'verification.reason.code': 'verifier_error' },
  ])
  expect(select(mine, 'action', { 'action.name': 'greet' })).toEqual([])
})
