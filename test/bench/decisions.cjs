// What each library decides, in memory and without a server. Each loads it when it is called, as it is then; a decision
// is given the number of its user.
const { createHmac, createSecretKey } = require('node:crypto')
const { CEDAR, MODEL, POLICY } = require('./policies.cjs')

const KEY = 'the key of the service that signs tokens'
const ISSUER = 'https://login.example.com/'
const END = Math.floor(Date.now() / 1000) + 7200

const users = Array.from({ length: 100 }, (_, at) => `user-${at}`)
const tokens = users.map(tokenOf)
const userOf = (at) => users[at % users.length]
const tokenAt = (at) => tokens[at % tokens.length]

function tokenOf(user) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const claims = { iss: ISSUER, sub: user, aud: 'orders', iat: END - 7200, exp: END }
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', kid: 'key-1' })}.${encode({ ...claims, scope: 'orders:read', jti: user })}`
  return `${signed}.${createHmac('sha256', KEY).update(signed).digest('base64url')}`
}

/** When a middleware lets the request of a user through. */
function passed(middleware, at) {
  return new Promise((resolve, reject) => {
    // A text of its own, as that of each request is.
    const authorization = Buffer.from(`Bearer ${tokenAt(at)}`, 'latin1').toString('latin1')
    const headers = { host: 'orders.example.com', authorization }
    const get = (name) => headers[name.toLowerCase()]
    const request = { method: 'GET', url: '/', protocol: 'http', headers, get, is: () => false }
    middleware(request, {}, (error) => (error === undefined ? resolve() : reject(error)))
  })
}

const CHECKS = { algorithms: ['HS256'], audience: 'orders' }

/**
 * Functions that give the decision, or a promise of it. Of most, `places` are objects and names of the members on which
 * hooks are, which can be put back for a while; they may be inherited. With `atOnce`, the decisions of a turn are asked for
 * at once: one by one, a library that decides in another thread has its own one sleep for each, and how long it takes to
 * wake up differs by more than a hook costs.
 */
const DECIDERS = {
  'jsonwebtoken, verify'() {
    const jwt = require('jsonwebtoken')
    return hookedAt([[jwt, 'verify']], (at) => jwt.verify(tokenAt(at), KEY, CHECKS))
  },
  'jose, jwtVerify': joseVerify,
  'jose, jwtVerify, 20 at once': () => Object.assign(joseVerify(), { atOnce: true }),
  'express-jwt'() {
    const { expressjwt } = require('express-jwt')
    const middleware = expressjwt({ secret: KEY, algorithms: ['HS256'] })
    return hookedAt([[require('jsonwebtoken'), 'verify']], (at) => passed(middleware, at))
  },
  'express-jwt, with isRevoked'() {
    const { expressjwt } = require('express-jwt')
    const options = { secret: KEY, algorithms: ['HS256'], isRevoked: async () => false }
    const middleware = expressjwt(options)
    const places = [
      [require('jsonwebtoken'), 'verify'],
      [options, 'isRevoked'],
    ]
    return hookedAt(places, (at) => passed(middleware, at))
  },
  'express-oauth2-jwt-bearer, auth'() {
    const { auth } = require('express-oauth2-jwt-bearer')
    const middleware = auth({ issuer: ISSUER, audience: 'orders', secret: KEY, tokenSigningAlg: 'HS256' })
    return (at) => passed(middleware, at)
  },
  'express-oauth2-jwt-bearer, requiredScopes'() {
    const { requiredScopes } = require('express-oauth2-jwt-bearer')
    const middleware = requiredScopes('orders:read')
    return (at) => middleware({ auth: { payload: { sub: userOf(at), scope: 'orders:read' } } }, {}, () => {})
  },
  'passport, bearer'() {
    const { Passport } = require('passport')
    const { Strategy } = require('passport-http-bearer')
    const passport = new Passport()
    const known = new Map(tokens.map((token, at) => [token, { id: users[at] }]))
    const info = { scope: 'orders:read' }
    passport.use(new Strategy((token, done) => done(null, known.get(token), info)))
    const middleware = passport.authenticate('bearer', { session: false })
    return (at) => passed(middleware, at)
  },
  'MCP, requireBearerAuth'() {
    const { requireBearerAuth } = require('@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js')
    const verifyAccessToken = async (token) => ({
      token,
      clientId: 'client',
      scopes: ['orders:read'],
      expiresAt: END,
    })
    const middleware = requireBearerAuth({ verifier: { verifyAccessToken }, requiredScopes: ['orders:read'] })
    return (at) => passed(middleware, at)
  },
  async 'casbin, enforce'() {
    const enforcer = await casbinEnforcer()
    const places = [[enforcer, 'enforce']]
    return hookedAt(places, (at) => enforcer.enforce(userOf(at), 'orders', 'read'))
  },
  async 'casbin, enforceSync'() {
    const enforcer = await casbinEnforcer()
    const places = [[enforcer, 'enforceSync']]
    return hookedAt(places, (at) => enforcer.enforceSync(userOf(at), 'orders', 'read'))
  },
  CASL() {
    const { defineAbility } = require('@casl/ability')
    const ability = defineAbility((can, cannot) => {
      can('read', 'Order')
      can('update', 'Order', { owner: 'user-1' })
      cannot('delete', 'Order').because('orders are kept')
    })
    class Order {
      owner = 'user-1'
    }
    const order = new Order()
    const places = [[ability, 'relevantRuleFor']]
    return hookedAt(places, () => ability.can('update', order))
  },
  Cedar() {
    const cedar = require('@cedar-policy/cedar-wasm/nodejs')
    cedar.preparsePolicySet('orders', CEDAR)
    const entities = [
      { uid: { type: 'User', id: 'u' }, attrs: {}, parents: [{ type: 'Role', id: 'viewer' }] },
      {
        uid: { type: 'Order', id: 'o' },
        attrs: { isSecret: false, owner: { __entity: { type: 'User', id: 'x' } } },
        parents: [],
      },
    ]
    return hookedAt([[cedar, 'statefulIsAuthorized']], (at) =>
      cedar.statefulIsAuthorized({
        principal: { type: 'User', id: 'u' },
        action: { type: 'Action', id: 'read' },
        resource: { type: 'Order', id: 'o' },
        context: { at: at % users.length },
        preparsedPolicySetId: 'orders',
        entities,
      }),
    )
  },
}

function joseVerify() {
  // Of an ES module the members cannot be put back.
  const jose = { ...require('jose') }
  const key = createSecretKey(KEY, 'utf8')
  return hookedAt([[jose, 'jwtVerify']], (at) => jose.jwtVerify(tokenAt(at), key, CHECKS))
}

function hookedAt(places, decide) {
  return Object.assign(decide, { places })
}

function casbinEnforcer() {
  const casbin = require('casbin')
  return casbin.newEnforcer(casbin.newModelFromString(MODEL), new casbin.StringAdapter(POLICY))
}

module.exports = { DECIDERS }
