// A service that asks everything that has a hook, and has a secret in every place where one can be: tokens, attributes
// of subjects, contexts, arguments, results, messages of errors. It knows nothing of tracing but what an agent SDK does.

import { v1 } from '@authzed/authzed-node'
import * as casl from '@casl/ability'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import { OPAClient } from '@open-policy-agent/opa'
import { OpenFgaClient } from '@openfga/sdk'
import * as casbin from 'casbin'
import express from 'express'
import { createAgent } from './secrets.agent.mjs'
import { createMcp } from './secrets.mcp.mjs'

const { OPA, OPENFGA, STORE, SPICEDB } = process.env

/** `planted-<library>-<place>`: what the test looks for. */
const planted = (library, place) => `planted-${library}-${place}`

/** A question as AuthZEN has it. */
const question = (library) => ({
  subject: {
    type: 'user',
    id: planted(library, 'subject'),
    properties: { tax: planted(library, 'attribute') },
  },
  action: { name: 'reader', properties: { why: planted(library, 'action-property') } },
  resource: {
    type: 'document',
    id: planted(library, 'resource'),
    properties: { text: planted(library, 'content') },
  },
  context: { address: planted(library, 'context') },
})

const post = async (library, url, body) => {
  const headers = { authorization: `Bearer ${planted(library, 'token')}`, 'content-type': 'application/json' }
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  return answer.json()
}

const opa = new OPAClient(OPA, { headers: { authorization: `Bearer ${planted('opa', 'token')}` } })
const openfga = new OpenFgaClient({
  apiUrl: OPENFGA,
  storeId: STORE,
  retryParams: { maxRetry: 0 },
  credentials: { method: 'api_token', config: { token: planted('openfga', 'token') } },
})
const spicedb = v1.NewClient(
  planted('spicedb', 'token'),
  SPICEDB,
  v1.ClientSecurity.INSECURE_PLAINTEXT_CREDENTIALS,
)
const text = (stringValue) => ({ kind: { oneofKind: 'stringValue', stringValue } })
const check = (user) =>
  spicedb.promises.checkPermission(
    v1.CheckPermissionRequest.create({
      resource: { objectType: 'document', objectId: planted('spicedb', 'resource') },
      permission: 'read',
      subject: { object: { objectType: 'user', objectId: user }, optionalRelation: '' },
      context: { fields: { day: text(planted('spicedb', 'context')) } },
    }),
  )

const POLICY = {
  staticPolicies: 'permit(principal, action, resource) when { resource.text != context.address };',
}
const cedarCall = (attrs) => ({
  principal: { type: 'User', id: planted('cedar', 'subject') },
  action: { type: 'Action', id: 'read' },
  resource: { type: 'Order', id: planted('cedar', 'resource') },
  context: { address: planted('cedar', 'context') },
  entities: [{ uid: { type: 'Order', id: planted('cedar', 'resource') }, attrs, parents: [] }],
  policies: POLICY,
})

const MODEL = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj.text != r.sub.tax && r.act == p.act`
const ROW = `p, ${planted('casbin', 'row')}, orders, read`
const enforcer = await casbin.newEnforcer(casbin.newModelFromString(MODEL), new casbin.StringAdapter(ROW))

const ability = casl.defineAbility((can, cannot) => {
  can('read', 'Order', { owner: planted('casl', 'condition') })
  cannot('delete', 'Order')
})
const order = casl.subject('Order', { owner: planted('casl', 'object') })

const fail = (library) => {
  throw new Error(`no: ${planted(library, 'message')}\n  with more: ${planted(library, 'second-line')}`)
}

const app = express()
app.use(express.json())
const origin = () => `http://127.0.0.1:${server.address().port}`
const callTool = createMcp(app, origin, planted)
const runAgent = createAgent(planted)

const routes = {
  opa: () => opa.evaluate('orders/verdict', question('opa')),
  'opa-fails': () => opa.evaluate('orders/broken', question('opa')),
  'opa-http': () => post('opa-http', `${OPA}/v1/data/orders/verdict`, { input: question('opa-http') }),
  authzen: () => post('authzen', `${OPENFGA}/stores/${STORE}/access/v1/evaluation`, question('authzen')),
  openfga: () =>
    openfga.check({
      user: `user:${planted('openfga', 'subject')}`,
      relation: 'reader',
      object: `document:${planted('openfga', 'resource')}`,
      context: { address: planted('openfga', 'context') },
      contextualTuples: [
        { user: `user:${planted('openfga', 'other')}`, relation: 'reader', object: 'document:plan' },
      ],
    }),
  'openfga-fails': () =>
    openfga.check({ user: planted('openfga', 'malformed'), relation: 'reader', object: 'document:plan' }),
  spicedb: () => check(planted('spicedb', 'subject')),
  'spicedb-fails': () => check(`${planted('spicedb', 'invalid')} !`),
  cedar: () => cedar.isAuthorized(cedarCall({ text: planted('cedar', 'attribute') })),
  'cedar-fails': () => cedar.isAuthorized(cedarCall({ other: { [planted('cedar', 'member')]: null } })),
  casbin: () =>
    enforcer.enforce(
      { id: planted('casbin', 'subject'), tax: planted('casbin', 'attribute') },
      { text: planted('casbin', 'content') },
      'read',
    ),
  'casbin-fails': () => enforcer.enforce(planted('casbin', 'subject')),
  casl: () => ability.can('read', order),
  'casl-fails': () =>
    casl.ForbiddenError.from(ability).setMessage(planted('casl', 'message')).throwUnlessCan('delete', order),
  mcp: () => callTool('pay'),
  'mcp-fails': () => callTool('broken'),
  'mcp-refused': () => callTool('pay', 'a token of nobody'),
  agent: runAgent,
  'agent-fails': () => runAgent(fail),
  fails: () => fail('handler'),
}

app.post('/:route', async (request, response) => {
  const value = await routes[request.params.route]()
  response.json({ value })
})

const server = app.listen(0, '127.0.0.1', () => console.log(`listening on ${origin()}`))
