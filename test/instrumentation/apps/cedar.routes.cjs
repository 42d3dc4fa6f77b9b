// Routes that ask Cedar, for an application that has loaded it either way.
const POLICIES = {
  staticPolicies: {
    read: 'permit(principal == User::"alice", action == Action::"read", resource);',
    secret: 'forbid(principal, action, resource) when { resource.isSecret };',
  },
}

module.exports = (cedar) => {
  const call = ({ sub = 'alice', act = 'read', obj = 'o1', secret }) => ({
    principal: { type: 'User', id: sub },
    action: { type: 'Action', id: act },
    resource: { type: 'Order', id: obj },
    context: {},
    entities: [
      {
        uid: { type: 'Order', id: obj },
        // Without `isSecret` the second policy cannot be evaluated.
        attrs: secret === undefined ? {} : { isSecret: secret === 'yes' },
        parents: [],
      },
    ],
  })
  const stateful = (query) => cedar.statefulIsAuthorized({ ...call(query), preparsedPolicySetId: 'orders' })
  return {
    '/authorize': (query) => cedar.isAuthorized({ ...call(query), policies: POLICIES }),
    '/text': (query) =>
      cedar.isAuthorized({
        ...call(query),
        policies: { staticPolicies: 'permit(principal, action, resource);' },
      }),
    '/broken': (query) =>
      cedar.isAuthorized({ ...call(query), policies: { staticPolicies: 'permit(nobody' } }),
    '/throws': () => cedar.isAuthorized(undefined),
    '/partial': (query) => cedar.isAuthorizedPartial({ ...call(query), resource: null, policies: POLICIES }),
    '/parse': ({ policy }) =>
      cedar.preparsePolicySet('orders', policy === undefined ? POLICIES : { staticPolicies: policy }),
    '/stateful': stateful,
  }
}
