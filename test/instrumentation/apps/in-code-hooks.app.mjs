// A service that verifies tokens with jsonwebtoken and jose, asks casbin, and calls a tool. It knows nothing of tracing.
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { InMemoryTransport } from '@modelcontextprotocol/sdk/inMemory.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import * as casbin from 'casbin'
import { jwtVerify } from 'jose'

const jwt = createRequire(import.meta.url)('jsonwebtoken')
const key = process.env.JWT_KEY
const MODEL = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act`
const policy = new casbin.StringAdapter('p, alice, orders, read')
const enforcer = await casbin.newEnforcer(casbin.newModelFromString(MODEL), policy)

async function callTool() {
  const [mine, theirs] = InMemoryTransport.createLinkedPair()
  const server = new McpServer({ name: 'memory', version: '1.0.0' })
  server.registerTool('notify', {}, () => ({ content: [] }))
  await server.connect(theirs)
  const client = new Client({ name: 'service', version: '1.0.0' })
  await client.connect(mine)
  await client.callTool({ name: 'notify' })
  await client.close()
}

const server = createServer(async (request, response) => {
  const token = request.headers.authorization?.replace(/^Bearer /, '')
  try {
    const { sub } = jwt.verify(token, key, { algorithms: ['HS256'] })
    await jwtVerify(token, Buffer.from(key), { algorithms: ['HS256'] })
    const may = await enforcer.enforce(sub, 'orders', 'read')
    if (may) await callTool()
    response.end(String(may))
  } catch (error) {
    response.writeHead(401).end(error.name)
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
