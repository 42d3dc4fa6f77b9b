// An MCP server on standard input and output, with a tool that takes its time.
import { setTimeout as sleep } from 'node:timers/promises'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'

const server = new McpServer({ name: 'sleeper', version: '1.0.0' })
server.registerTool('sleep', {}, async () => {
  await sleep(600)
  return { content: [{ type: 'text', text: 'awake' }] }
})
await server.connect(new StdioServerTransport())
