// Serves routes: what a route returns as JSON, and what it throws as an error. It knows nothing of tracing.
const { createServer } = require('node:http')

module.exports = (routes) => {
  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://service')
    try {
      const value = await routes[pathname](Object.fromEntries(searchParams))
      response.end(JSON.stringify(value))
    } catch (error) {
      response.writeHead(500).end(String(error.message))
    }
  })
  server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
}
