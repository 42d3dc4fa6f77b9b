// A plain HTTP service that asks SpiceDB, as anybody would write it. It knows nothing of tracing.
const { createServer } = require('node:http')
const { v1 } = require('@authzed/authzed-node')

const { INSECURE_PLAINTEXT_CREDENTIALS } = v1.ClientSecurity
const client = v1.NewClient('token', process.env.SPICEDB, INSECURE_PLAINTEXT_CREDENTIALS)

/** What was written a moment ago counts: by default SpiceDB may answer as of some seconds before. */
const consistency = { requirement: { oneofKind: 'fullyConsistent', fullyConsistent: true } }

function question(query) {
  return {
    resource: { objectType: 'document', objectId: query.get('document') },
    permission: query.get('permission') ?? 'read',
    subject: { object: { objectType: 'user', objectId: query.get('user') }, optionalRelation: '' },
  }
}

const routes = {
  '/promise': (query) =>
    client.promises.checkPermission(v1.CheckPermissionRequest.create({ ...question(query), consistency })),
  '/changed': (query) => {
    const request = v1.CheckPermissionRequest.create({ ...question(query), consistency })
    const answer = client.promises.checkPermission(request)
    request.subject.object.objectId = 'nobody'
    return answer
  },
  '/callback': (query) =>
    new Promise((resolve, reject) => {
      client.checkPermission(
        v1.CheckPermissionRequest.create({ ...question(query), consistency }),
        (error, value) => (error ? reject(error) : resolve(value)),
      )
    }),
  '/bulk': (query) => {
    const items = query
      .getAll('user')
      .map((user) => question(new URLSearchParams({ ...Object.fromEntries(query), user })))
    const request = v1.CheckBulkPermissionsRequest.create({ items, consistency })
    const answer = client.promises.checkBulkPermissions(request)
    // What is recorded is what was asked.
    for (const item of request.items) item.subject.object.objectId = 'nobody'
    return answer
  },
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://localhost')
  try {
    response.end(JSON.stringify(await routes[pathname](searchParams)))
  } catch (error) {
    response.writeHead(500).end(String(error.code))
  }
})
server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
