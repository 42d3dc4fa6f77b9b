// Policies of the measurements: small ones, as in the engines' own examples.
const ROLES = ['viewer', 'editor', 'auditor', 'owner', 'admin']
const RESOURCES = ['orders', 'invoices', 'users', 'reports']

exports.MODEL = `
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act
`

/** 20 permissions for five roles, and 100 users. */
exports.POLICY = [
  ...ROLES.flatMap((role) => RESOURCES.map((resource) => `p, ${role}, ${resource}, read`)),
  ...Array.from({ length: 100 }, (_, at) => `g, user-${at}, ${ROLES[at % ROLES.length]}`),
].join('\n')

exports.CEDAR = {
  staticPolicies: {
    read: 'permit(principal in Role::"viewer", action == Action::"read", resource);',
    own: 'permit(principal, action, resource) when { resource.owner == principal };',
    secret: 'forbid(principal, action, resource) when { resource.isSecret };',
  },
}
