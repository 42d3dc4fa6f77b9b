// An MCP server over HTTP with bearer tokens, and a client of it, as CommonJS. It knows nothing of tracing.
const { Client } = require('@modelcontextprotocol/sdk/client/index.js')
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js')
const { requireBearerAuth } = require('@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js')
const { McpServer } = require('@modelcontextprotocol/sdk/server/mcp.js')
const { StreamableHTTPServerTransport } = require('@modelcontextprotocol/sdk/server/streamableHttp.js')
const express = require('express')

const expiresAt = Math.floor(Date.now() / 1000) + 600
const verifier = {
  verifyAccessToken: async (token) => ({ token, clientId: 'assistant', scopes: [token], expiresAt }),
}

const app = express()
app.use(express.json())

// Greetings are for everybody; tools are for those with the scope.
const authenticate = requireBearerAuth({ verifier, requiredScopes: ['pay'] })
const guard = (request, response, next) =>
  request.body?.method === 'tools/call' ? authenticate(request, response, next) : next()

app.post('/mcp', guard, async (request, response) => {
  const server = new McpServer({ name: 'accounts', version: '1.0.0' })
  server.registerTool('balance', {}, () => ({ content: [{ type: 'text', text: '5' }] }))
  server.registerTool('broken', {}, () => {
    throw new Error('the ledger is closed')
  })
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
  response.on('close', () => server.close())
  await server.connect(transport)
  await transport.handleRequest(request, response, request.body)
})

app.get('/call', async (request, response) => {
  const { token, tool } = request.query
  const client = new Client({ name: 'service', version: '1.0.0' })
  try {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    await client.connect(
      new StreamableHTTPClientTransport(new URL(`${origin}/mcp`), { requestInit: { headers } }),
    )
    response.json(await client.callTool({ name: tool }))
  } catch (error) {
    response.status(500).json({ error: error.code })
  } finally {
    await client.close()
  }
})

let origin
const server = app.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`
  console.log(`listening on ${origin}`)
})
