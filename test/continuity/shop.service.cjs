// An ordinary service: verifies a JWT, asks casbin, and has another service do what was permitted. It knows no tracing.
const casbin = require('casbin')
const express = require('express')
const jwt = require('jsonwebtoken')

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
const POLICY = ['read', 'refund'].map((act) => `p, alice, orders, ${act}`).join('\n')

const { SERVICE: service, JWT_KEY: key, PAY: pay } = process.env

async function start() {
  const enforcer = await casbin.newEnforcer(
    casbin.newModelFromString(MODEL),
    new casbin.StringAdapter(POLICY),
  )
  const app = express()

  app.get('/health', (_, response) => response.json({ ok: true }))

  app.use((request, response, next) => {
    try {
      const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
      request.user = jwt.verify(token, key, { algorithms: ['HS256'], audience: service })
      next()
    } catch (error) {
      response.status(401).json({ error: error.name })
    }
  })

  const may = (act) => async (request, response, next) => {
    if (await enforcer.enforce(request.user.sub, 'orders', act)) next()
    else response.status(403).json({ error: 'forbidden' })
  }

  app.get('/orders/:id', may('read'), (request, response) => response.json({ id: request.params.id }))

  app.post('/orders/:id/refund', may('refund'), async (request, response) => {
    const { authorization } = request.headers
    if (pay === undefined) {
      response.json({ refunded: true })
      return
    }
    const answer = await fetch(`${pay}/orders/7/refund`, { method: 'POST', headers: { authorization } })
    response.status(answer.status).json(await answer.json())
  })

  const server = app.listen(0, '127.0.0.1', () =>
    console.log(`listening on http://127.0.0.1:${server.address().port}`),
  )
}

void start()
