/**
 * Node-RED, an Express application that runs flows (Apache-2.0), from the registry and unchanged, behind the published
 * middleware of express-jwt and casbin, as its documented setting `httpNodeMiddleware` puts them there: who asked, what
 * the policy said, and what the flow then did.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import jsonwebtoken from 'jsonwebtoken'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import type { CollectorProcess } from '../e2e/support.ts'
import { freePort } from '../support/port.ts'
import { above, directoryOf, installPrograms, type Programs } from './foreign.ts'
import { type Answer, fingerprint, recordsOf, select, startQuickCollector, startService } from './support.ts'

const PACKAGES = {
  'node-red': '5.0.7',
  'express-jwt': '8.5.1',
  casbin: '5.51.1',
  'casbin-express-authz': '3.0.1',
}
const KEY = 'the key of the tokens of this test'

/** The settings file, with each package used as its own page says. */
const SETTINGS = `
const { newEnforcer } = require('casbin')
const { authz } = require('casbin-express-authz')
const { expressjwt } = require('express-jwt')
module.exports = {
  uiHost: '127.0.0.1',
  uiPort: Number(process.env.PORT),
  flowFile: 'flows.json',
  disableEditor: true,
  telemetry: { enabled: false },
  httpNodeMiddleware: [
    expressjwt({ secret: process.env.JWT_KEY, algorithms: ['HS256'] }),
    (req, res, next) => {
      res.locals.username = req.auth.sub
      next()
    },
    authz({ newEnforcer: newEnforcer(__dirname + '/model.conf', __dirname + '/policy.csv') }),
  ],
}
`

/** Who may do what on which path. */
const MODEL = `
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
`
const POLICY = 'p, alice, /refund, POST\n'

let installed: Programs
let collector: CollectorProcess
let ledger: Server
const received: string[] = []

beforeAll(async () => {
  installed = await installPrograms(PACKAGES)
  if (installed.directory === undefined) return
  collector = await startQuickCollector()
  ledger = createServer((request, response) => {
    received.push(`${request.method} ${request.url}`)
    request.resume().on('end', () => response.writeHead(201).end('booked'))
  })
  await new Promise<void>((resolve) => ledger.listen(0, '127.0.0.1', resolve))
}, 300_000)

afterAll(async () => {
  ledger?.close()
  await collector?.stop()
  await cleanUp()
})

/** A flow: the request of a client sets off a request to the ledger, whose answer is the client's. */
function flow(url: string): object[] {
  const at = { x: 0, y: 0, z: 'flow' }
  return [
    { id: 'flow', type: 'tab', label: 'refunds' },
    { id: 'in', type: 'http in', url: '/refund', method: 'post', wires: [['ask']], ...at },
    { id: 'ask', type: 'http request', method: 'POST', ret: 'txt', url, wires: [['out']], ...at },
    { id: 'out', type: 'http response', wires: [], ...at },
  ]
}

test('Node-RED: authorization, decision and action of a flow, and what the policy refuses', async (context) => {
  const root = directoryOf(installed, context)
  const directory = join(root, 'flows')
  await mkdir(directory)
  const { port } = ledger.address() as AddressInfo
  await writeFile(join(directory, 'settings.js'), SETTINGS)
  await writeFile(join(directory, 'model.conf'), MODEL)
  await writeFile(join(directory, 'policy.csv'), POLICY)
  await writeFile(join(directory, 'flows.json'), JSON.stringify(flow(`http://127.0.0.1:${port}/bookings`)))
  const listen = await freePort()
  const service = await startService(collector, {
    name: 'node-red',
    file: join(root, 'node_modules/node-red/red.js'),
    args: ['--userDir', directory, '--settings', join(directory, 'settings.js')],
    cwd: directory,
    env: { PORT: String(listen), JWT_KEY: KEY },
    listening: /Started flows/,
    url: `http://127.0.0.1:${listen}`,
  })
  const token = (subject: string): string => jsonwebtoken.sign({ sub: subject }, KEY, { expiresIn: '1h' })
  const send = (bearer: string): Promise<Answer> =>
    service.request(`/refund`, {
      method: 'POST',
      body: '{"amount":5}',
      headers: { authorization: `Bearer ${bearer}`, 'content-type': 'application/json' },
    })
  const [alice, bob] = [token('alice'), token('bob')]
  const allowed = await send(alice)
  expect(allowed).toMatchObject({ status: 201, body: 'booked' })
  const denied = await send(bob)
  expect(denied.status).toBe(403)
  const forged = await send(`${alice.slice(0, -6)}AAAAAA`)
  // Node-RED answers so to every error of a middleware.
  expect(forged.status).toBe(500)
  // Only what the policy allows has an effect.
  expect(received).toEqual(['POST /bookings'])

  const records = await recordsOf(collector, allowed, { spans: 2 })
  const [request] = select(records, 'request')
  const [check] = select(records, 'verification', { 'verification.result': 'pass' })
  expect(check!.causes.map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(alice), 'authorization.verification': 'verified' },
  ])
  const [decision, ...others] = select(records, 'decision')
  expect(others).toEqual([])
  expect(decision!.claims).toMatchObject({
    'decision.outcome': 'allow',
    'decision.subject.id': fingerprint('alice'),
    'decision.action.name': 'POST',
    'decision.engine.name': 'casbin',
  })
  expect(decision!.causes).toContain(check)
  const [action, ...more] = select(records, 'action')
  expect(more).toEqual([])
  expect(action!.claims).toMatchObject({
    'action.name': 'POST 127.0.0.1',
    'action.outcome': 'success',
    'decision.id': decision!.claims['decision.id'],
  })
  expect(action!.causes.map(({ claims }) => claims)).toMatchObject([
    { 'authorization.fingerprint': fingerprint(alice), 'authorization.inherited': true },
  ])
  expect(above(action!)).toContain(request)
  const [joined] = select(records, 'joined')
  expect(joined!.causes).toEqual([action, decision])

  const refused = await recordsOf(collector, denied)
  expect(select(refused, 'decision').map(({ claims }) => claims)).toMatchObject([
    { 'decision.outcome': 'deny', 'decision.subject.id': fingerprint('bob') },
  ])
  expect(select(refused, 'action')).toEqual([])

  const broken = await recordsOf(collector, forged)
  expect(select(broken, 'verification').map(({ claims }) => claims)).toMatchObject([
    { 'verification.result': 'fail', 'verification.reason.code': 'invalid_signature' },
  ])
  expect(select(broken, 'decision')).toEqual([])
  expect(select(broken, 'action')).toEqual([])

  const evidence = JSON.stringify([records, refused, broken].flat().map(({ attributes }) => attributes))
  for (const secret of [alice, bob, KEY]) expect(evidence).not.toContain(secret)
  const { stderr } = await service.stop()
  expect(stderr).not.toContain('rootspan: warning')
})
