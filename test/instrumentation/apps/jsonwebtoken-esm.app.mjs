// A plain HTTP service that verifies bearer tokens, as an ES module. It knows nothing of tracing.
import { createServer } from 'node:http'
import jwt from 'jsonwebtoken'

const server = createServer((request, response) => {
  try {
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
    response.end(jwt.verify(token, process.env.JWT_KEY).sub)
  } catch {
    response.writeHead(401).end()
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
