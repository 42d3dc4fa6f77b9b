// A plain HTTP service that passes what it is sent on to a policy server, by fetch or by node:http, and the answer
// back; with `?get` by the address alone, with `?act` it then does something itself. It knows nothing of tracing.
const http = require('node:http')

const clients = {
  fetch: async (url, body, headers, isGet) => {
    const answer = await fetch(url, isGet ? {} : { method: 'POST', body, headers })
    return { status: answer.status, text: await answer.text() }
  },
  http: (url, body, headers, isGet) =>
    new Promise((resolve, reject) => {
      const request = http.request(url, isGet ? {} : { method: 'POST', headers }, async (answer) => {
        const chunks = await answer.toArray()
        resolve({ status: answer.statusCode, text: Buffer.concat(chunks).toString() })
      })
      request.on('error', reject)
      if (isGet) return request.end()
      request.write(body.slice(0, 3))
      request.end(body.slice(3))
    }),
}

const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  if (pathname === '/payments') return response.end()
  if (pathname.startsWith('/v1/data/'))
    return response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' }).end('{}')
  try {
    const body = Buffer.concat(await request.toArray()).toString()
    const headers = { 'content-type': 'application/json' }
    const ask = clients[pathname.slice(1)]
    const { status, text } = await ask(searchParams.get('to'), body, headers, searchParams.has('get'))
    if (searchParams.has('act')) await fetch(`${origin()}/payments`, { method: 'POST' })
    response.writeHead(status).end(text)
  } catch (error) {
    response.writeHead(599).end(String(error.cause?.code ?? error.code ?? error))
  }
})
const origin = () => `http://127.0.0.1:${server.address().port}`
server.listen(0, '127.0.0.1', () => console.log(`listening on ${origin()}`))
