// A plain HTTP service that asks OPA by its client, as an ES module. It knows nothing of tracing.
import { createServer } from 'node:http'
import { OPAClient } from '@open-policy-agent/opa'

const client = new OPAClient(process.env.OPA)
const unreachable = new OPAClient('http://127.0.0.1:2')

// Of such an input only OPA's client can make something: what is sent is what `toJSON` says.
class Odd {
  get subject() {
    throw new Error('the subject is not there')
  }
  toJSON = () => ({ subject: 'alice', action: 'read' })
}

const routes = {
  '/evaluate': (query, input) => client.evaluate(query.get('path'), input),
  '/changed': (query, input) => {
    const answer = client.evaluate(query.get('path'), input)
    input.subject = 'nobody'
    return answer
  },
  '/no-input': (query) => client.evaluate(query.get('path')),
  '/default': (_, input) => client.evaluateDefault(input),
  '/batch': (query, input) => client.evaluateBatch(query.get('path'), input, { fallback: true }),
  // All that OPA answered, as far as the client knows it.
  '/odd': (query) =>
    client.opa.executePolicyWithInput({ path: query.get('path'), requestBody: { input: new Odd() } }),
  '/unreachable': (query, input) => unreachable.evaluate(query.get('path'), input),
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  try {
    const chunks = await request.toArray()
    const input = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks)) : undefined
    response.end(JSON.stringify(await routes[pathname](searchParams, input)) ?? 'undefined')
  } catch (error) {
    response.writeHead(500).end(String(error.name ?? error))
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
