// An Express service with passport: passwords, bearer tokens, sessions. It knows nothing of tracing.
const { randomBytes } = require('node:crypto')
const express = require('express')
const passport = require('passport')
const { Strategy: BearerStrategy } = require('passport-http-bearer')
const { Strategy: LocalStrategy } = require('passport-local')

const { PASSWORD, TOKEN } = process.env
const alice = { id: 'alice', name: 'Alice' }

// As a model of a database may be whose fields were not read.
const odd = {
  get id() {
    throw new Error('the field was not read')
  },
  get scope() {
    throw new Error('the field was not read')
  },
  username: 'alice',
}

// Answers come from a pool that was made at start: in another context than the request's.
const waiting = []
setInterval(() => {
  for (const answer of waiting.splice(0)) answer()
}, 5)

passport.use(
  new LocalStrategy((username, password, done) => {
    if (username === 'broken') done(new Error('the user directory is not there'))
    else if (username === 'thrown') throw new Error('the user directory is not there')
    else if (password !== PASSWORD) waiting.push(() => done(null, false, { message: `${password} is wrong` }))
    else waiting.push(() => done(null, username === 'alice' ? alice : { name: username }))
  }),
)
passport.use(
  new BearerStrategy((token, done) => {
    if (token === 'odd') return done(null, odd, odd)
    if (token === 'broken') return done(new Error('the token store is not there'))
    if (token !== TOKEN) return done(null, false, 'unknown token')
    return done(null, alice, { scope: 'orders:read orders:write' })
  }),
)
passport.serializeUser((user, done) => done(null, user.id))
passport.deserializeUser((id, done) => done(null, id === 'alice' ? alice : false))

/** Sessions as express-session keeps them, in memory. */
const sessions = new Map()
function session(request, response, next) {
  const known = /sid=(\w+)/.exec(request.headers.cookie ?? '')?.[1]
  const open = (id) => {
    request.sessionID = id
    request.session = sessions.get(id) ?? { cookie: { expires: new Date(1_900_000_000_000) } }
    request.session.save = (done) => {
      sessions.set(id, request.session)
      done()
    }
    request.session.regenerate = (done) => {
      open(randomBytes(16).toString('hex'))
      response.setHeader('set-cookie', `sid=${request.sessionID}`)
      done()
    }
  }
  open(known ?? randomBytes(16).toString('hex'))
  next()
}

const app = express()
const whoami = (request, response) => response.json({ user: request.user?.id ?? null })
const stateless = { session: false }

app.use(express.json())
app.post('/password', passport.authenticate('local', stateless), whoami)
app.post('/pay', passport.authenticate('local', stateless), async (_, response) => {
  const paid = await fetch(`${origin}/payments`, { method: 'POST' })
  response.json({ paid: paid.status })
})
app.post('/payments', (_, response) => response.json({ ok: true }))
app.get('/token', passport.authenticate('bearer', stateless), whoami)
app.get('/name', passport.authenticate('bearer', stateless), (request, response) =>
  response.json({ user: request.user.username }),
)
app.post('/either', passport.authenticate(['bearer', 'local'], stateless), whoami)
app.post('/callback', (request, response, next) => {
  passport.authenticate('local', (error, user) => {
    if (error) next(error)
    else response.json({ user: user ? user.id : null })
  })(request, response, next)
})
app.post(
  '/inline',
  passport.authenticate(new LocalStrategy((_, __, done) => done(null, alice)), stateless),
  whoami,
)
app.post('/login', session, passport.session(), passport.authenticate('local'), whoami)
app.get('/me', session, passport.session(), whoami)
app.post('/forget', session, (request, response) => {
  request.session.passport.user = 'gone'
  response.json({})
})
app.use((error, _request, response, _next) =>
  response.status(error.status ?? 500).json({ error: error.name }),
)

let origin
const server = app.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`
  console.log(`listening on ${origin}`)
})
