/**
 * Programs that nobody here wrote, from the registry and unchanged, under the flag: Verdaccio, an Express application
 * with bearer tokens (MIT), and the Model Context Protocol's own servers. foreign-policy.test.ts has one that asks a
 * policy engine.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { cleanUp, waitFor } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { freePort } from '../support/port.ts'
import { above, directoryOf, installPrograms, type Programs } from './foreign.ts'
import {
  type Answer,
  type Application,
  fingerprint,
  recordsOf,
  select,
  startApplication,
  startQuickCollector,
  startService,
  UNDER_FLAG,
} from './support.ts'

const PACKAGES = {
  verdaccio: '6.8.0',
  '@modelcontextprotocol/server-everything': '2026.8.31',
  '@modelcontextprotocol/server-filesystem': '2026.8.31',
}
/** A package of Verdaccio's asks for a tag of node-fetch that the registry does not have. */
const OVERRIDES = { 'node-fetch': '2.7.0' }
const FILESYSTEM = 'node_modules/@modelcontextprotocol/server-filesystem/dist/index.js'
const EVERYTHING = 'node_modules/@modelcontextprotocol/server-everything/dist/index.js'

let collector: CollectorProcess
let client: Application
let installed: Programs

beforeAll(async () => {
  installed = await installPrograms(PACKAGES, OVERRIDES)
  if (installed.directory === undefined) return
  collector = await startQuickCollector()
  client = await startApplication(collector, 'mcp-client.app.mjs')
}, 300_000)

afterAll(async () => {
  await client?.stop()
  await collector?.stop()
  await cleanUp()
})

const programs = (context: TestContext): string => directoryOf(installed, context)

test('Verdaccio: who publishes, with which token, and what that sets off', async (context) => {
  const directory = join(programs(context), 'registry')
  await mkdir(directory)
  const hook = await startApplication(collector, 'jsonwebtoken.app.cjs', { JWT_KEY: 'unused' })
  // Its documented settings for JSON Web Tokens, a private registry, and a message when a package was published.
  const config = {
    storage: './storage',
    auth: { htpasswd: { file: './htpasswd' } },
    security: { api: { legacy: false, jwt: { sign: { expiresIn: '1h' }, verify: {} } } },
    packages: { '**': { access: '$authenticated', publish: '$authenticated' } },
    notify: {
      hook: {
        method: 'POST',
        headers: [{ 'Content-Type': 'application/json' }],
        endpoint: `${hook.url}/payments`,
        content: '{"text":"published"}',
      },
    },
    log: { type: 'stdout', format: 'json', level: 'warn' },
  }
  await writeFile(join(directory, 'config.yaml'), JSON.stringify(config))
  const registry = await startService(collector, {
    name: 'verdaccio',
    file: join(directory, '../node_modules/verdaccio/bin/verdaccio'),
    args: ['--config', join(directory, 'config.yaml'), '--listen', `http://127.0.0.1:${await freePort()}`],
    cwd: directory,
    listening: /http address - (http:\/\/[^/]+)\//,
  })
  // It says so before it listens.
  await waitFor('the registry to answer', () => fetch(registry.url).catch(() => undefined))
  const send = (path: string, method: string, body: object, token?: string): Promise<Answer> =>
    registry.request(path, {
      method,
      body: JSON.stringify(body),
      headers: {
        'content-type': 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
    })
  const login = await send('/-/user/org.couchdb.user:alice', 'PUT', {
    name: 'alice',
    password: 'a-password-1',
  })
  expect(login.status).toBe(201)
  const { token } = JSON.parse(login.body) as { token: string }
  const name = 'ours'
  const tarball = { data: Buffer.from('a package').toString('base64'), length: 9 }
  const version = { name, version: '1.0.0', dist: { tarball: `${registry.url}/ours/-/ours-1.0.0.tgz` } }
  const publication = {
    _id: name,
    name,
    'dist-tags': { latest: '1.0.0' },
    versions: { '1.0.0': version },
    _attachments: { 'ours-1.0.0.tgz': tarball },
  }
  const good = await send('/ours', 'PUT', publication, token)
  expect(good.status).toBe(201)
  const forged = `${token.slice(0, -6)}AAAAAA`
  const bad = await send('/ours', 'PUT', publication, forged)
  expect(bad.status).toBe(401)

  const records = await recordsOf(collector, good, { spans: 3 })
  const [request] = select(records, 'request')
  expect(request!.resource['service.name']).toBe('verdaccio')
  const [artifact] = select(records, 'authorization', { 'authorization.fingerprint': fingerprint(token) })
  expect(artifact!.claims).toMatchObject({
    'authorization.type': 'jwt',
    'authorization.algorithm': 'HS256',
    'authorization.verification': 'verified',
  })
  expect(artifact!.claims['authorization.expires_at']).toBeGreaterThan(Date.now() / 1000)
  const [check] = select(records, 'verification', { 'verification.result': 'pass' })
  expect(check!.causes).toEqual([artifact])
  expect(above(check!)).toContain(request)
  // The message to the hook is the action, and the publisher's token is its cause.
  const [action, ...others] = select(records, 'action')
  expect(others).toEqual([])
  expect(action!.claims).toMatchObject({ 'action.name': 'POST 127.0.0.1', 'action.outcome': 'success' })
  expect(action!.causes.map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(token), 'authorization.inherited': true },
  ])
  expect(above(action!)).toContain(request)
  // Its own rules decide, in no engine that has a hook: nothing is made up.
  expect(select(records, 'decision')).toEqual([])

  const refused = await recordsOf(collector, bad)
  expect(select(refused, 'verification')[0]!.claims).toMatchObject({
    'verification.result': 'fail',
    'verification.reason.code': 'invalid_signature',
    'verification.target.fingerprint': fingerprint(forged),
  })
  expect(select(refused, 'action')).toEqual([])

  const evidence = JSON.stringify([records, refused].flat().map(({ attributes }) => attributes))
  for (const secret of [token, forged, 'a-password-1']) expect(evidence).not.toContain(secret)
  const { stderr } = await registry.stop()
  expect(stderr).not.toContain('rootspan: warning')
  await hook.stop()
})

test('the file system server over stdio: a file written, and one that it refuses to write', async (context) => {
  const directory = programs(context)
  const allowed = join(directory, 'allowed')
  await mkdir(allowed)
  const write = (path: string): Promise<Answer> =>
    ask({
      command: process.execPath,
      args: [...UNDER_FLAG, join(directory, FILESYSTEM), allowed],
      env: { OTEL_SERVICE_NAME: 'filesystem' },
      tool: 'write_file',
      arguments: { path, content: 'a confidential text' },
    })
  const good = await write(join(allowed, 'note.txt'))
  expect(good.status).toBe(200)
  expect(await readFile(join(allowed, 'note.txt'), 'utf8')).toBe('a confidential text')
  const bad = await write('/etc/note.txt')
  expect(bad.body).toContain('"isError":true')

  for (const [answer, outcome] of [
    [good, 'success'],
    [bad, 'failure'],
  ] as const) {
    const records = await recordsOf(collector, answer, { spans: 3 })
    const [request] = select(records, 'request')
    const [asked, served, ...others] = select(records, 'action', { 'action.name': 'write_file' })
    expect(others).toEqual([])
    expect(asked!.resource['service.name']).toBe('mcp-client')
    expect(served!.resource['service.name']).toBe('filesystem')
    expect(served!.above).toBe(asked)
    expect(above(asked!)).toContain(request)
    for (const action of [asked!, served!]) {
      expect(action.claims['action.outcome']).toBe(outcome)
      expect(action.claims['action.arguments.commitment']).toMatch(/^hmac-sha256:/)
      // Standard input and output have no tokens: nothing stands behind these actions, and nothing is made up.
      expect(action.causes).toEqual([])
    }
    // Both sides commit to the same arguments with the same key.
    expect(served!.claims['action.arguments.commitment']).toBe(asked!.claims['action.arguments.commitment'])
    expect(JSON.stringify(records.map(({ attributes }) => attributes))).not.toContain('confidential')
  }
})

test('the server with everything over HTTP: in one trace, and not to be switched off', async (context) => {
  const directory = programs(context)
  const port = await freePort()
  const server = await startService(collector, {
    name: 'everything',
    file: join(directory, EVERYTHING),
    args: ['streamableHttp'],
    env: { PORT: String(port) },
    listening: /(Starting Streamable HTTP server)/,
  })
  const url = `http://127.0.0.1:${port}/mcp`
  await waitFor('the server to answer', async () => {
    return await fetch(url, { method: 'DELETE' }).catch(() => undefined)
  })
  const answer = await ask({ url, tool: 'get-sum', arguments: { a: 2, b: 3 } }, false)
  expect(answer.body).toContain('5')
  const records = await recordsOf(collector, answer, { spans: 6 })
  const sums = select(records, 'action', { 'action.name': 'get-sum', 'action.outcome': 'success' })
  const served = sums.find(({ resource }) => resource['service.name'] === 'everything')
  const asked = sums.find(({ resource }) => resource['service.name'] === 'mcp-client')
  expect(above(served!)).toContain(asked)
  expect(select(records, 'action')).toHaveLength(2)
  const [first] = select(records, 'request', { 'emitter.sampling': 'parent_not_sampled' })
  expect(above(asked!)).toContain(first)
  await server.stop()
})

/** Lets the client's service call a tool. */
function ask(body: object, sampled = true): Promise<Answer> {
  const headers = { 'content-type': 'application/json' }
  return client.request('/call', { method: 'POST', headers, body: JSON.stringify(body), sampled })
}
