// Decides in a loop for as long as it is told to, each time `count` times within a span as of a request: with libraries
// that were loaded before there were hooks, and with the same ones loaded once more, in turns. In two processes the same
// code differs by more than a hook costs, by what the compilers and the memory make of it.
const { context, SpanKind, trace } = require('@opentelemetry/api')
const { createHmac, createSecretKey } = require('node:crypto')
const { CEDAR, MODEL, POLICY } = require('./policies.cjs')

const KEY = 'the key of the service that signs tokens'
const USERS = 100

function tokenOf(user) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: 'https://login.example.com', sub: user, aud: 'orders', iat: now, exp: now + 3600 }
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', kid: 'key-1' })}.${encode({ ...claims, scope: 'orders:read', jti: user })}`
  return `${signed}.${createHmac('sha256', KEY).update(signed).digest('base64url')}`
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
  const { requiredScopes } = require('express-oauth2-jwt-bearer')
  const secret = createSecretKey(KEY, 'utf8')
  const checkScopes = requiredScopes('orders:read')
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
    jose: (at) => jose.jwtVerify(tokens[at % USERS], secret, { algorithms: ['HS256'], audience: 'orders' }),
    'express-oauth2-jwt-bearer': (at) =>
      checkScopes({ auth: { payload: { sub: users[at % USERS], scope: 'orders:read' } } }, {}, () => {}),
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
const ASYNC = new Set(['casbin', 'jose'])
/** Decisions in a row before it is the other ones' turn. */
const TURN = 20

async function main() {
  const plain = await load()
  await import(process.env.REGISTER)
  const hooked = await load()
  const tracer = trace.getTracer('bench')
  let requests = 0

  /** Microseconds a decision, of so many requests in a row. */
  async function turn(decide, isAsync, count, most) {
    const begin = process.hrtime.bigint()
    for (let request = 0; request < most; request++) {
      const span = tracer.startSpan('GET /', { kind: SpanKind.SERVER })
      const inside = trace.setSpan(context.active(), span)
      // The user is the same for all of a request.
      const user = requests + request
      if (isAsync)
        await context.with(inside, async () => {
          for (let one = 0; one < count; one++) await decide(user)
        })
      else
        context.with(inside, () => {
          for (let one = 0; one < count; one++) decide(user)
        })
      span.end()
    }
    return Number(process.hrtime.bigint() - begin) / 1000 / (most * count)
  }

  async function measure(library, count, millis) {
    const isAsync = ASYNC.has(library)
    const most = Math.ceil(TURN / count)
    const without = []
    const added = []
    const end = performance.now() + millis
    for (let round = 0; performance.now() < end; round++) {
      const isFirst = round % 2 === 0
      const first = await turn((isFirst ? plain : hooked)[library], isAsync, count, most)
      const second = await turn((isFirst ? hooked : plain)[library], isAsync, count, most)
      requests += most
      without.push(isFirst ? first : second)
      added.push(isFirst ? second - first : first - second)
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
