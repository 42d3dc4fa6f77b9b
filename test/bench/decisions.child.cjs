// Decides in a loop for as long as it is told to, each time `count` times within a span as of a request.
const { context, SpanKind, trace } = require('@opentelemetry/api')
const cedar = require('@cedar-policy/cedar-wasm/nodejs')
const casbin = require('casbin')
const { createHmac } = require('node:crypto')
const { defineAbility } = require('@casl/ability')
const jwt = require('jsonwebtoken')
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

async function main() {
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
  const decide = {
    jsonwebtoken: (at) => jwt.verify(tokens[at % USERS], KEY, { algorithms: ['HS256'], audience: 'orders' }),
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
  const tracer = trace.getTracer('bench')

  /** Microseconds a decision. */
  async function measure(library, count, millis) {
    const one = decide[library]
    const isAsync = one(0) instanceof Promise
    const begin = process.hrtime.bigint()
    const end = begin + BigInt(millis * 1e6)
    let requests = 0
    let now = begin
    while (now < end) {
      for (let at = 0; at < 20; at++) {
        const span = tracer.startSpan('GET /', { kind: SpanKind.SERVER })
        const inside = trace.setSpan(context.active(), span)
        // The user is the same for all of a request.
        const user = requests++
        if (isAsync)
          await context.with(inside, async () => {
            for (let one = 0; one < count; one++) await decide[library](user)
          })
        else
          context.with(inside, () => {
            for (let one = 0; one < count; one++) decide[library](user)
          })
        span.end()
      }
      now = process.hrtime.bigint()
    }
    return Number(now - begin) / 1000 / (requests * count)
  }

  process.on('message', async ({ library, count, millis }) => {
    process.send({ micros: await measure(library, count, millis) })
  })
  process.on('disconnect', () => process.exit())
  process.send({ libraries: Object.keys(decide) })
}

void main()
