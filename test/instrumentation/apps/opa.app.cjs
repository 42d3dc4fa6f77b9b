// A plain HTTP service that asks OPA by its client, as CommonJS. It knows nothing of tracing.
const { createServer } = require('node:http')
const { OPAClient } = require('@open-policy-agent/opa')

const client = new OPAClient(process.env.OPA)
const server = createServer(async (_, response) => {
  response.end(String(await client.evaluate('orders/allow', { subject: 'alice', action: 'read' })))
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
