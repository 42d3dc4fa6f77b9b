// An Express service that leaves its tokens to express-oauth2-jwt-bearer. It knows nothing of tracing.
const express = require('express')
const { auth, claimCheck, requiredScopes } = require('express-oauth2-jwt-bearer')
const { jwtVerify } = require('jose')

const app = express()
const issuer = 'https://login.example.com'
const shared = { issuer, audience: 'orders', secret: process.env.JWT_KEY, tokenSigningAlg: 'HS256' }
const whoami = (request, response) => response.json({ user: request.auth?.payload.sub })

app.get('/orders', auth(shared), whoami)
app.get('/public', auth({ ...shared, authRequired: false }), whoami)
app.get('/lenient', auth({ ...shared, validators: { aud: false } }), whoami)
app.get('/read', auth(shared), requiredScopes('orders:read'), whoami)
app.get('/admin', auth(shared), requiredScopes('orders:admin'), whoami)
app.get(
  '/broken',
  auth(shared),
  claimCheck((payload) => payload.missing.member),
  whoami,
)
app.get('/keys', auth({ issuer, audience: 'orders', jwksUri: process.env.JWKS_URL }), whoami)
app.get('/unreachable', auth({ issuer, audience: 'orders', jwksUri: 'http://127.0.0.1:1/keys' }), whoami)

// What the application does with jose of its own behind the middleware is its own.
app.get('/twice', auth(shared), async (request, response) => {
  const second = await jwtVerify(request.get('x-second'), new TextEncoder().encode(process.env.JWT_KEY))
  response.json({ user: second.payload.sub })
})

app.use((error, _request, response, _next) =>
  response.status(error.status ?? 500).json({ error: error.message }),
)

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
