// Decides in a loop for as long as it is told to, each time `count` times within a span as of a request: with libraries
// that were loaded before there were hooks, and with the same ones loaded once more, in turns. In two processes the same
// code differs by more than a hook costs, by what the compilers and the memory make of it.
const { context, SpanKind, trace } = require('@opentelemetry/api')
const { createHmac, createSecretKey } = require('node:crypto')
const { CEDAR, MODEL, POLICY } = require('./policies.cjs')

const KEY = 'the key of the service that signs tokens'
const ISSUER = 'https://login.example.com/'
const END = Math.floor(Date.now() / 1000) + 7200
const USERS = 100

function tokenOf(user) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { iss: ISSUER, sub: user, aud: 'orders', iat: END - 7200, exp: END }
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', kid: 'key-1' })}.${encode({ ...claims, scope: 'orders:read', jti: user })}`
  return `${signed}.${createHmac('sha256', KEY).update(signed).digest('base64url')}`
}

/** When a middleware lets a request through. */
function passed(middleware, token) {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}` }
    const next = (error) => (error === undefined ? resolve() : reject(error))
    middleware({ method: 'GET', url: '/', headers, is: () => false, logIn: undefined }, {}, next)
  })
}

/** Functions that decide, of libraries as they are loaded now. */
async function load() {
  for (const file of Object.keys(require.cache))
    if (!file.includes('@opentelemetry')) delete require.cache[file]
  const cedar = require('@cedar-policy/cedar-wasm/nodejs')
  const casbin = require('casbin')
  const { defineAbility } = require('@casl/ability')
  const jwt = require('jsonwebtoken')
  const jose = require('jose')
  const { auth, requiredScopes } = require('express-oauth2-jwt-bearer')
  const { expressjwt } = require('express-jwt')
  const { Passport } = require('passport')
  const { Strategy } = require('passport-http-bearer')
  const { requireBearerAuth } = require('@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js')
  const secret = createSecretKey(KEY, 'utf8')
  const checkScopes = requiredScopes('orders:read')
  const checkToken = auth({ issuer: ISSUER, audience: 'orders', secret: KEY, tokenSigningAlg: 'HS256' })
  const checkRevoked = expressjwt({ secret: KEY, algorithms: ['HS256'], isRevoked: async () => false })
  const passport = new Passport()
  const info = { scope: 'orders:read' }
  passport.use(new Strategy((token, done) => done(null, { id: token.slice(-8) }, info)))
  const authenticate = passport.authenticate('bearer', { session: false })
  const verifier = {
    verifyAccessToken: async (token) => ({ token, clientId: 'client', scopes: ['orders:read'], expiresAt: END }),
  }
  const checkBearer = requireBearerAuth({ verifier, requiredScopes: ['orders:read'] })
  const users = Array.from({ length: USERS }, (_, at) => `user-${at}`)
  const tokens = users.map(tokenOf)
  const enforcer = await casbin.newEnforcer(
    casbin.newModelFromString(MODEL),
    new casbin.StringAdapter(POLICY),
  )
  const ability = defineAbility((can, cannot) => {
    can('read', 'Order')
    can('update', 'Order', { owner: 'user-1' })
    cannot('delete', 'Order').because('orders are kept')
  })
  class Order {
    owner = 'user-1'
  }
  const order = new Order()
  const entities = [
    { uid: { type: 'User', id: 'u' }, attrs: {}, parents: [{ type: 'Role', id: 'viewer' }] },
    {
      uid: { type: 'Order', id: 'o' },
      attrs: { isSecret: false, owner: { __entity: { type: 'User', id: 'x' } } },
      parents: [],
    },
  ]
  cedar.preparsePolicySet('orders', CEDAR)
  return {
    jsonwebtoken: (at) => jwt.verify(tokens[at % USERS], KEY, { algorithms: ['HS256'], audience: 'orders' }),
    'express-jwt, with isRevoked': (at) => passed(checkRevoked, tokens[at % USERS]),
    jose: (at) => jose.jwtVerify(tokens[at % USERS], secret, { algorithms: ['HS256'], audience: 'orders' }),
    'express-oauth2-jwt-bearer, auth': (at) => passed(checkToken, tokens[at % USERS]),
    'the same, requiredScopes': (at) =>
      checkScopes({ auth: { payload: { sub: users[at % USERS], scope: 'orders:read' } } }, {}, () => {}),
    'passport, http-bearer': (at) => passed(authenticate, tokens[at % USERS]),
    'MCP, requireBearerAuth': (at) => passed(checkBearer, tokens[at % USERS]),
    casbin: (at) => enforcer.enforce(users[at % USERS], 'orders', 'read'),
    'casbin, synchronous': (at) => enforcer.enforceSync(users[at % USERS], 'orders', 'read'),
    CASL: () => ability.can('update', order),
    Cedar: (at) =>
      cedar.statefulIsAuthorized({
        principal: { type: 'User', id: 'u' },
        action: { type: 'Action', id: 'read' },
        resource: { type: 'Order', id: 'o' },
        context: { at: at % USERS },
        preparsedPolicySetId: 'orders',
        entities,
      }),
  }
}

/** Engines that answer with a promise. */
const ASYNC = new Set([
  'express-jwt, with isRevoked',
  'jose',
  'express-oauth2-jwt-bearer, auth',
  'passport, http-bearer',
  'MCP, requireBearerAuth',
  'casbin',
])
/** Decisions in a row before it is the other ones' turn. */
const TURN = 20

async function main() {
  const plain = await load()
  await import(process.env.REGISTER)
  const hooked = await load()
  const tracer = trace.getTracer('bench')

  /** Requests with one set of libraries, of `count` decisions each. */
  function client(decide, isAsync, count) {
    let request = 0
    let left = 0
    let span
    let inside
    const some = (many) => {
      for (let one = 0; one < many; one++) decide(request)
    }
    const someAsync = async (many) => {
      for (let one = 0; one < many; one++) await decide(request)
    }
    /** Takes its turn; returns nanoseconds. The user is the same for all of a request. */
    return async function turn() {
      const begin = process.hrtime.bigint()
      for (let done = 0; done < TURN; ) {
        if (left === 0) {
          span = tracer.startSpan('GET /', { kind: SpanKind.SERVER })
          inside = trace.setSpan(context.active(), span)
          left = count
        }
        const many = Math.min(left, TURN - done)
        if (isAsync) await context.with(inside, someAsync, undefined, many)
        else context.with(inside, some, undefined, many)
        done += many
        left -= many
        if (left > 0) continue
        span.end()
        request++
      }
      return Number(process.hrtime.bigint() - begin)
    }
  }

  /** Microseconds a decision, of whole requests. */
  async function measure(library, count, millis) {
    const sides = [plain, hooked].map((libraries) => client(libraries[library], ASYNC.has(library), count))
    const turns = Math.ceil(count / TURN)
    const without = []
    const added = []
    const end = performance.now() + millis
    for (let round = 0; performance.now() < end; ) {
      const nanos = [0, 0]
      for (let turn = 0; turn < turns; turn++, round++)
        for (const side of round % 2 === 0 ? [0, 1] : [1, 0]) nanos[side] += await sides[side]()
      const decisions = 1000 * turns * TURN
      without.push(nanos[0] / decisions)
      added.push((nanos[1] - nanos[0]) / decisions)
    }
    return { without, added }
  }

  process.on('message', async ({ library, count, millis }) => {
    process.send(await measure(library, count, millis))
  })
  process.on('disconnect', () => process.exit())
  process.send({ libraries: Object.keys(plain) })
}

void main()
