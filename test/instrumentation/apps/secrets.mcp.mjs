// The part of secrets.app.mjs that calls tools by the Model Context Protocol, and serves them.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js'
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { z } from 'zod'

/** Serves tools on `app`, and gives what calls one of them. */
export function createMcp(app, origin, planted) {
  const verifier = {
    async verifyAccessToken(token) {
      if (token !== planted('mcp', 'token')) throw new InvalidTokenError(planted('mcp', 'refusal'))
      const extra = { note: planted('mcp', 'extra') }
      return { token, clientId: planted('mcp', 'client'), scopes: ['pay'], expiresAt: Date.now(), extra }
    },
  }
  app.post('/tools/mcp', requireBearerAuth({ verifier }), async (request, response) => {
    const server = new McpServer({ name: 'accounts', version: '1.0.0' })
    const inputSchema = { to: z.string() }
    server.registerTool('pay', { inputSchema }, () => ({
      content: [{ type: 'text', text: planted('mcp', 'result') }],
    }))
    server.registerTool('broken', { inputSchema }, () => {
      throw new Error(planted('mcp', 'message'))
    })
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
    response.on('close', () => server.close())
    await server.connect(transport)
    await transport.handleRequest(request, response, request.body)
  })
  return async (name, token = planted('mcp', 'token')) => {
    const client = new Client({ name: 'service', version: '1.0.0' })
    const authProvider = { tokens: () => ({ access_token: token, token_type: 'bearer' }) }
    // Without the flow for another token.
    const withheld = async (url, init) => {
      const answer = await fetch(url, init)
      return answer.status === 401 ? new Response(await answer.text(), { status: 403 }) : answer
    }
    const url = new URL(`${origin()}/tools/mcp`)
    const transport = new StreamableHTTPClientTransport(url, { authProvider, fetch: withheld })
    await client.connect(transport)
    const _meta = { progressToken: planted('mcp', 'meta') }
    try {
      return await client.callTool({ name, arguments: { to: planted('mcp', 'argument') }, _meta })
    } finally {
      await client.close()
    }
  }
}
