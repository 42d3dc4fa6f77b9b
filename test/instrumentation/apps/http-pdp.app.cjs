// A plain HTTP service that passes what it is sent on to a policy server, by fetch or by node:http, and the answer
// back; with `?act` it then does something itself. It knows nothing of tracing.
const http = require('node:http')

const clients = {
  fetch: async (url, body, headers) => {
    const answer = await fetch(url, { method: 'POST', body, headers })
    return { status: answer.status, text: await answer.text() }
  },
  http: (url, body, headers) =>
    new Promise((resolve, reject) => {
      const request = http.request(url, { method: 'POST', headers }, async (answer) => {
        const chunks = await answer.toArray()
        resolve({ status: answer.statusCode, text: Buffer.concat(chunks).toString() })
      })
      request.on('error', reject)
      request.write(body.slice(0, 3))
      request.end(body.slice(3))
    }),
}

const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  if (pathname === '/payments') return response.end()
  if (pathname.startsWith('/v1/data/')) return response.end('{}')
  try {
    const body = Buffer.concat(await request.toArray()).toString()
    const headers = { 'content-type': 'application/json' }
    const { status, text } = await clients[pathname.slice(1)](searchParams.get('to'), body, headers)
    if (searchParams.has('act')) await fetch(`${origin()}/payments`, { method: 'POST' })
    response.writeHead(status).end(text)
  } catch (error) {
    response.writeHead(599).end(String(error.cause?.code ?? error.code ?? error))
  }
})
const origin = () => `http://127.0.0.1:${server.address().port}`
server.listen(0, '127.0.0.1', () => console.log(`listening on ${origin()}`))
