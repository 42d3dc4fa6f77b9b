// The service under measurement: Express verifies a JWT and asks casbin on each request. It knows nothing of tracing.
const casbin = require('casbin')
const express = require('express')
const jwt = require('jsonwebtoken')
const { MODEL, POLICY } = require('./policies.cjs')

async function start() {
  const enforcer = await casbin.newEnforcer(
    casbin.newModelFromString(MODEL),
    new casbin.StringAdapter(POLICY),
  )
  const app = express()

  app.use((request, response, next) => {
    try {
      const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
      request.user = jwt.verify(token, process.env.JWT_KEY, { algorithms: ['HS256'], audience: 'orders' })
      next()
    } catch (error) {
      response.status(401).json({ error: error.name })
    }
  })

  app.get('/orders/:id', async (request, response) => {
    if (await enforcer.enforce(request.user.sub, 'orders', 'read'))
      response.json({ id: request.params.id, user: request.user.sub })
    else response.status(403).json({ error: 'forbidden' })
  })

  const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }))
  process.on('message', () => process.send({ cpu: process.cpuUsage() }))
  process.on('disconnect', () => process.exit())
}

void start()
