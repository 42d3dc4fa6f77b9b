// A plain HTTP service that asks OPA by its client, as CommonJS. It knows nothing of tracing.
const { createServer } = require('node:http')
const { OPAClient } = require('@open-policy-agent/opa')

const client = new OPAClient(process.env.OPA)
const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  try {
    const input = { subject: searchParams.get('subject'), action: 'read' }
    response.end(String(await client.evaluate(pathname.slice(1), input)))
  } catch (error) {
    response.writeHead(500).end(error.name)
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
