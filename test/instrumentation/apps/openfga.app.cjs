// A plain HTTP service that asks OpenFGA, as anybody would write it. It knows nothing of tracing.
const { createServer } = require('node:http')
const { OpenFgaClient } = require('@openfga/sdk')

const { OPENFGA: apiUrl, STORE: storeId, MODEL: authorizationModelId } = process.env
const retryParams = { maxRetry: 0 }
const pinned = new OpenFgaClient({ apiUrl, storeId, authorizationModelId, retryParams })
const unpinned = new OpenFgaClient({ apiUrl, storeId, retryParams })
const unreachable = new OpenFgaClient({ apiUrl: 'http://127.0.0.1:2', storeId, retryParams })

const tuple = (query, user = query.get('user')) => ({
  user: `user:${user}`,
  relation: query.get('relation') ?? 'reader',
  object: `document:${query.get('document')}`,
})

const routes = {
  '/check': (query) => pinned.check(tuple(query)),
  '/changed': (query) => {
    const contextualTuples = [tuple(query)]
    const answer = pinned.check({ ...tuple(query), contextualTuples })
    contextualTuples.pop()
    return answer
  },
  '/unpinned': (query) => unpinned.check(tuple(query)),
  '/unreachable': (query) => unreachable.check(tuple(query)),
  '/batch': (query) =>
    unpinned.batchCheck({ checks: query.getAll('user').map((user) => tuple(query, user)) }),
  '/relations': (query) =>
    unpinned.listRelations({
      user: `user:${query.get('user')}`,
      object: `document:${query.get('document')}`,
      relations: query.getAll('relation'),
    }),
  '/client-batch': (query) => pinned.clientBatchCheck(query.getAll('user').map((user) => tuple(query, user))),
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  try {
    response.end(JSON.stringify(await routes[pathname](searchParams)))
  } catch (error) {
    response.writeHead(500).end(error.name)
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
