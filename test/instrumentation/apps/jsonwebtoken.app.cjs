// An Express service that verifies bearer tokens, as anybody would write it. It knows nothing of tracing.
const express = require('express')
const jwt = require('jsonwebtoken')

const app = express()
const key = process.env.JWT_KEY

function bearer(request) {
  return (request.headers.authorization ?? '').replace(/^Bearer /, '')
}

function authenticate(request, response, next) {
  try {
    request.user = jwt.verify(bearer(request), key, { algorithms: ['HS256'], audience: 'orders' })
    next()
  } catch (error) {
    response.status(401).json({ error: error.name })
  }
}

app.get('/orders', authenticate, (request, response) => {
  response.json({ user: request.user.sub })
})

app.post('/orders', authenticate, async (_, response) => {
  const paid = await fetch(`${origin}/payments`, { method: 'POST' })
  response.json({ paid: paid.status })
})

app.get('/waiting', (request) => {
  jwt.verify(bearer(request), key, { algorithms: ['HS256'] })
  setImmediate(() => console.log('waiting'))
})

app.post('/payments', (_, response) => response.json({ ok: true }))

app.get('/callback', (request, response) => {
  const keyOf = (_header, done) =>
    setImmediate(() =>
      request.query.broken === undefined ? done(null, key) : done(new Error('no key server')),
    )
  const options = { algorithms: ['HS256'] }
  jwt.verify(bearer(request), keyOf, options, (error, claims) => {
    if (error) response.status(401).json({ error: error.name })
    else response.json({ user: claims.sub })
  })
  // What the library was asked is what is recorded.
  options.audience = 'billing'
})

// By a wrapper that passes on what it was not given.
app.get('/wrapped', (request, response) => {
  const behind = request.query.behind === undefined ? [] : [request.query.behind]
  const verify = (token, options, done) => jwt.verify(token, key, options, done, ...behind)
  const answer = (error, claims) => {
    if (error) response.status(401).json({ error: error.name })
    else response.json({ user: claims.sub })
  }
  if (behind.length === 0) verify(bearer(request), answer)
  else verify(bearer(request), {}, answer)
})

// As one should not: what the options say goes into them as it came.
app.get('/careless', (request, response) => {
  const { secret, ...options } = JSON.parse(request.query.with)
  try {
    response.json({ user: jwt.verify(bearer(request), secret ? key : undefined, options).sub })
  } catch (error) {
    response.status(401).json({ error: error.message })
  }
})

let origin
const server = app.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`
  console.log(`listening on ${origin}`)
})
