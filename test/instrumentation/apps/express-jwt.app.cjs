// An Express service that leaves its tokens to express-jwt. It knows nothing of tracing.
const express = require('express')
const { expressjwt } = require('express-jwt')

const app = express()
const options = { secret: process.env.JWT_KEY, algorithms: ['HS256'], audience: 'orders' }
const whoami = (request, response) => response.json({ user: request.auth?.sub })

app.get('/orders', expressjwt(options), whoami)
app.get('/public', expressjwt({ ...options, credentialsRequired: false }), whoami)
app.get('/lenient', expressjwt({ ...options, onExpired: () => {} }), whoami)
app.get('/keyless', expressjwt({ ...options, secret: async () => undefined }), whoami)

const isRevoked = async (_, token) => {
  if (token.payload.jti === 'broken') throw new Error('no list of revoked tokens')
  return token.payload.jti === 'revoked'
}
app.get('/listed', expressjwt({ ...options, isRevoked }), whoami)

// A query that runs when it is awaited, and refuses to be run twice, as Mongoose's does.
const queryOf = (find) => {
  let isDone = false
  return {
    // biome-ignore lint/suspicious/noThenProperty: it is a thenable.
    then(resolve, reject) {
      if (isDone) return reject(new Error('Query was already executed'))
      isDone = true
      return find().then(resolve, reject)
    },
  }
}
const isRevokedLazily = (request, token) => queryOf(() => isRevoked(request, token))
const getTokenLazily = (request) => queryOf(async () => request.headers['x-token'])
app.get('/queried', expressjwt({ ...options, isRevoked: isRevokedLazily, getToken: getTokenLazily }), whoami)

// What it does after a token was refused: not on the authority of that token.
const notify = async (error, _request, _response, next) => {
  const { url } = await fetch(process.env.AUDIT_URL, { method: 'POST' })
  next(url && error)
}
app.get('/audited', expressjwt({ ...options, isRevoked }), whoami, notify)
const getToken = (request) => request.headers.cookie?.split('=')[1]
app.get('/cookie', expressjwt({ ...options, isRevoked, getToken }), whoami, notify)

app.use((error, _request, response, _next) =>
  response.status(error.status ?? 500).json({ error: error.code }),
)

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
