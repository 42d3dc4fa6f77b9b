// A service that hands odd values to each library that is hooked, as `/<library>?value=<name>`, and answers with what the
// library made of them. The same with and without the register flag.
import { createServer } from 'node:http'
import { createMongoAbility } from '@casl/ability'
import cedar from '@cedar-policy/cedar-wasm/nodejs'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { OPAClient } from '@open-policy-agent/opa'
import * as casbin from 'casbin'
import { jwtVerify, SignJWT } from 'jose'
import jwt from 'jsonwebtoken'
import passport from 'passport'
import { z } from 'zod'
import { actionDigest, governedAction, recordDecision } from '../../../packages/instrumentation/src/index.ts'

const fails = (what) => () => {
  throw new Error(what)
}

/** Made anew for each request: a library may change what it is given. */
const VALUES = {
  plain: () => ({ id: 'alice' }),
  cyclic: () => {
    const value = { id: 'alice' }
    return Object.assign(value, { self: value, all: [value] })
  },
  array: () => Array(100_000).fill('x'),
  object: () => Object.fromEntries(Array.from({ length: 60_000 }, (_, at) => [`k${at}`, at])),
  buffer: () => Buffer.alloc(3 << 20, 'x'),
  string: () => 'x'.repeat(8 << 20),
  file: () => Buffer.alloc(100 << 20),
  broken: () => new Proxy({}, new Proxy({}, { get: (_, trap) => fails(`trap ${String(trap)}`) })),
  revoked: () => {
    const { proxy, revoke } = Proxy.revocable({ id: 'alice' }, {})
    revoke()
    return proxy
  },
  // Of a kind that is found in applications: what it does not have must not be asked for, but by the language itself.
  strict: () =>
    new Proxy(
      { id: 'alice', constructor: Object },
      {
        get(target, name) {
          if (typeof name === 'string' && !(name in target) && !/^(?:then|toJSON)$/.test(name))
            throw new Error(`there is no ${name}`)
          return target[name]
        },
      },
    ),
  getter: () => Object.defineProperty({ id: 'alice' }, 'secret', { enumerable: true, get: fails('secret') }),
  'getter of id': () => Object.defineProperty({}, 'id', { enumerable: true, get: fails('id') }),
  bare: () => Object.assign(Object.create(null), { id: 'alice' }),
}

// OPA's client leaves a rejection of its own behind where an input has no JSON.
let unhandled = 0
process.on('unhandledRejection', () => {
  unhandled++
})

const KEY = Buffer.alloc(32, 'k')
const TOKEN = jwt.sign({ sub: 'alice' }, KEY)

const casbinModel = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj == p.obj
`
const enforcer = await casbin.newEnforcer(
  casbin.newModelFromString(casbinModel),
  new casbin.StringAdapter('p, alice, orders, read'),
)
const ability = createMongoAbility([{ action: 'read', subject: 'Object', conditions: { id: 'alice' } }])
const cedarPolicies = { staticPolicies: 'permit(principal, action, resource) when { context has id };' }
const uid = (type, id) => ({ type, id })

const [clientSide, serverSide] = InMemoryTransport.createLinkedPair()
const server = new McpServer({ name: 'odd', version: '1.0.0' })
server.registerTool('names', { inputSchema: z.looseObject({}) }, (given) => ({
  content: [{ type: 'text', text: String(Object.keys(given).length) }],
}))
const client = new Client({ name: 'asking', version: '1.0.0' })
await Promise.all([server.connect(serverSide), client.connect(clientSide)])

const opa = new OPAClient(process.env.OPA)
const authzen = createServer(async (request, response) => {
  let length = 0
  for await (const part of request) length += part.length
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ decision: length > 0 }))
})
await new Promise((resolve) => authzen.listen(0, '127.0.0.1', resolve))

/** Runs passport by a strategy that says `user`, with `info`. */
function authenticate(request, response, user, info) {
  const strategy = { name: 'odd', authenticate: () => {} }
  strategy.authenticate = function () {
    this.success(user, info)
  }
  return new Promise((resolve, reject) => {
    const done = (error) => (error ? reject(error) : resolve(request.user === user))
    passport.authenticate(strategy, { session: false })(request, response, done)
  })
}

const routes = {
  casbin: (value) => enforcer.enforce(value, 'orders', 'read'),
  'casbin resource': (value) => enforcer.enforce({ id: 'alice' }, value, 'read'),
  casl: (value) => ability.can('read', value),
  cedar: (value) =>
    cedar.isAuthorized({
      principal: uid('User', 'alice'),
      action: uid('Action', 'read'),
      resource: uid('Order', 'o1'),
      context: value,
      entities: [],
      policies: cedarPolicies,
    }),
  'cedar principal': (value) =>
    cedar.isAuthorized({
      principal: value,
      action: uid('Action', 'read'),
      resource: uid('Order', 'o1'),
      context: {},
      entities: [],
      policies: cedarPolicies,
    }),
  'cedar call': (value) => cedar.isAuthorized(value),
  opa: (value) => opa.evaluate('orders/allow', value),
  jsonwebtoken: (value) => jwt.verify(value, KEY),
  'jsonwebtoken options': (value) => jwt.verify(TOKEN, KEY, value).sub,
  'jsonwebtoken key': (value) => jwt.verify(TOKEN, value),
  jose: async (value) => (await jwtVerify(value, KEY)).payload.sub,
  'jose options': async (value) => (await jwtVerify(TOKEN, KEY, value)).payload.sub,
  'jose claims': async (value) => {
    const token = await new SignJWT({ sub: 'alice', more: value })
      .setProtectedHeader({ alg: 'HS256' })
      .sign(KEY)
    return (await jwtVerify(token, KEY)).payload.sub
  },
  mcp: (value) => client.callTool({ name: 'names', arguments: value }),
  'mcp parameters': (value) => client.callTool(value),
  passport: (value, { request, response }) => authenticate(request, response, value, undefined),
  'passport info': (value, { request, response }) => authenticate(request, response, 'alice', value),
  governedAction: (value) =>
    governedAction({ name: 'odd', arguments: value, resourceId: value, resultOf: () => value }, () => 'done'),
  actionDigest: (value) => typeof actionDigest({ name: 'odd', arguments: value }),
  recordDecision: (value) =>
    recordDecision({
      id: 'odd',
      outcome: 'allow',
      subject: value,
      input: value,
      output: [value],
      ruleIds: value,
    }).id,
  authzen: (value) => {
    const url = `http://127.0.0.1:${authzen.address().port}/access/v1/evaluation`
    const body = typeof value === 'object' && !Buffer.isBuffer(value) ? JSON.stringify(value) : value
    return fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body }).then((one) =>
      one.json(),
    )
  },
}

const service = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://service')
  const route = routes[decodeURIComponent(pathname.slice(1))]
  try {
    const value = await route(VALUES[searchParams.get('value')](), { request, response })
    response.end(JSON.stringify({ value, unhandled }))
  } catch (error) {
    response.end(
      JSON.stringify({ error: String(error?.name), message: String(error?.message).slice(0, 500) }),
    )
  }
})
service.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${service.address().port}`))
