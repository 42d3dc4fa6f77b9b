// A service that calls tools of MCP servers for its users: over HTTP, over stdio, and in its own memory.
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import express from 'express'

const app = express()
app.use(express.json())

function transportOf({ url, token, provided, command, args, env }) {
  if (command !== undefined)
    return new StdioClientTransport({ command, args, env: { ...process.env, ...env }, stderr: 'inherit' })
  if (url !== undefined) {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
    const authProvider = provided && { tokens: () => ({ access_token: provided, token_type: 'bearer' }) }
    return new StreamableHTTPClientTransport(new URL(url), { authProvider, requestInit: { headers } })
  }
  const [mine, theirs] = InMemoryTransport.createLinkedPair()
  const server = new McpServer({ name: 'memory', version: '1.0.0' })
  server.registerTool('notify', {}, async () => {
    const answer = await fetch(`${origin}/hook`, { method: 'POST' })
    return { content: [{ type: 'text', text: String(answer.status) }] }
  })
  server.connect(theirs)
  return mine
}

app.post('/hook', (_, response) => response.end())

app.post('/call', async (request, response) => {
  const client = new Client({ name: 'service', version: '1.0.0' })
  try {
    await client.connect(transportOf(request.body))
    const { tool, arguments: given, timeout } = request.body
    response.json(await client.callTool({ name: tool, arguments: given }, undefined, { timeout }))
  } catch (error) {
    response.status(500).json({ error: error.message })
  } finally {
    await client.close()
  }
})

let origin
const server = app.listen(0, '127.0.0.1', () => {
  origin = `http://127.0.0.1:${server.address().port}`
  console.log(`listening on ${origin}`)
})
