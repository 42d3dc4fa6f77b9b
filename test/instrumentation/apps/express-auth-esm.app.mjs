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

app.get('/express-jwt', expressjwt({ secret, algorithms: ['HS256'], isRevoked: () => false }))
app.get(
  '/express-oauth2-jwt-bearer',
  auth({ issuer: 'https://login.example.com', audience: 'orders', secret, tokenSigningAlg: 'HS256' }),
  requiredScopes('orders:read'),
)
app.get('/passport', passport.authenticate('bearer', { session: false }))
app.use((_, response) => response.json({ ok: true }))

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
