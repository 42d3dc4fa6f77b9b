// The service under measurement: Express verifies a JWT and asks casbin on each request, and does as much other work as
// it is told to. It knows nothing of tracing.
const casbin = require('casbin')
const express = require('express')
const jwt = require('jsonwebtoken')
const { pbkdf2Sync } = require('node:crypto')
const { MODEL, POLICY } = require('./policies.cjs')

/** Of the other work. */
let rounds = 0

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
    if (rounds > 0) pbkdf2Sync('work', 'salt', rounds, 32, 'sha256')
    if (await enforcer.enforce(request.user.sub, 'orders', 'read'))
      response.json({ id: request.params.id, user: request.user.sub })
    else response.status(403).json({ error: 'forbidden' })
  })

  const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }))
  process.on('message', (message) => {
    rounds = message.rounds ?? rounds
    process.send({ cpu: process.cpuUsage() })
  })
  process.on('disconnect', () => process.exit())
}

void start()
