// An Express service as an ES module, with the three packages that verify tokens in front of routes.
import express from 'express'
import { expressjwt } from 'express-jwt'
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer'
import passport from 'passport'
import { Strategy as BearerStrategy } from 'passport-http-bearer'

const secret = process.env.JWT_KEY
const app = express()
passport.use(
  new BearerStrategy((token, done) => done(null, token === process.env.TOKEN ? { id: 'alice' } : false)),
)
passport.use('broken', new BearerStrategy((_, done) => done(new Error('the token store is not there'))))

app.get('/express-jwt', expressjwt({ secret, algorithms: ['HS256'], isRevoked: () => false }))
app.get(
  '/express-oauth2-jwt-bearer',
  auth({ issuer: 'https://login.example.com', audience: 'orders', secret, tokenSigningAlg: 'HS256' }),
  requiredScopes('orders:read'),
)
app.get('/passport', passport.authenticate('bearer', { session: false }))
// Where tokens cannot be judged: no key, no key server, no store.
app.get('/express-jwt/broken', expressjwt({ secret: async () => undefined, algorithms: ['HS256'] }))
app.get(
  '/express-oauth2-jwt-bearer/broken',
  auth({ issuer: 'https://login.example.com', audience: 'orders', jwksUri: 'http://127.0.0.1:2/keys' }),
)
app.get('/passport/broken', passport.authenticate('broken', { session: false }))
app.use((_, response) => response.json({ ok: true }))
app.use((error, _request, response, _next) => response.status(error.status ?? 500).end())

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
