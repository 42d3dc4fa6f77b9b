// An MCP server over HTTP with bearer tokens, and one without, as the SDK's documentation has them. Knows no tracing.
import { createServer } from 'node:http'
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js'
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import express from 'express'
import jwt from 'jsonwebtoken'
import { z } from 'zod'

let payments = 0
const ledger = createServer((_, response) => {
  payments++
  response.end(String(payments))
})
ledger.listen(0, '127.0.0.1')

function makeServer() {
  const server = new McpServer({ name: 'accounts', version: '1.0.0' })
  const amount = { amount: z.number().max(1000) }
  server.registerTool('balance', {}, () => ({ content: [{ type: 'text', text: `balance ${payments}` }] }))
  server.registerTool('transfer', { inputSchema: amount }, async ({ amount }, { authInfo }) => {
    if (authInfo?.clientId === 'broken') throw new Error('the ledger is closed: a secret')
    const target = `http://127.0.0.1:${ledger.address().port}/payments`
    const answer = await fetch(target, { method: 'POST', body: String(amount) })
    return { content: [{ type: 'text', text: `paid ${await answer.text()}` }] }
  })
  server.registerTool('odd', { outputSchema: amount }, () => ({ content: [] }))
  return server
}

const verifier = {
  async verifyAccessToken(token) {
    if (token === 'no-key-server') throw new Error('the key server is away')
    try {
      const { azp, scope, exp, aud } = jwt.verify(token, process.env.JWT_KEY, { ignoreExpiration: true })
      const resource = aud === undefined ? undefined : new URL(aud)
      const info = { token, clientId: azp, scopes: scope.split(' '), expiresAt: exp, resource }
      if (azp !== 'odd') return info
      return Object.defineProperty(info, 'resource', {
        get: () => {
          throw new Error('no resource')
        },
      })
    } catch {
      throw new InvalidTokenError('This token is not ours')
    }
  },
}

const app = express()
app.use(express.json())

async function serve(request, response) {
  const server = makeServer()
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
  response.on('close', () => server.close())
  await server.connect(transport)
  await transport.handleRequest(request, response, request.body)
}

const expectedResource = 'https://accounts.example.com/mcp'
app.post('/open', serve)
app.post('/mcp', requireBearerAuth({ verifier, requiredScopes: ['pay'] }), serve)
app.post('/strict', requireBearerAuth({ verifier, expectedResource }), serve)

const server = app.listen(0, '127.0.0.1', () =>
  console.log(`listening on http://127.0.0.1:${server.address().port}`),
)
