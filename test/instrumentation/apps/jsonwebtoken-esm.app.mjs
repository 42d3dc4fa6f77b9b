// A plain HTTP service that verifies bearer tokens, as an ES module. It knows nothing of tracing.
import { createServer } from 'node:http'
import jwt from 'jsonwebtoken'

const server = createServer((request, response) => {
  try {
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
    const key = request.url === '/keyless' ? undefined : process.env.JWT_KEY
    response.end(jwt.verify(token, key).sub)
  } catch {
    response.writeHead(401).end()
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
