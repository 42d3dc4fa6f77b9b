// Routes that ask casbin, for an application that has loaded it either way.
const MODEL = `
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
const POLICY = 'p, admin, orders, write\np, alice, orders, read\ng, bob, admin'

/** Without `isSynced` the synced enforcer is left out: casbin's ES module cannot make one. */
module.exports = async (casbin, isSynced) => {
  const fresh = (make) => make(casbin.newModelFromString(MODEL), new casbin.StringAdapter(POLICY))
  const enforcer = await fresh(casbin.newEnforcer)
  const cached = await fresh(casbin.newCachedEnforcer)
  const synced = isSynced ? await fresh(casbin.newSyncedEnforcer) : undefined
  return {
    '/enforce': ({ sub, obj, act }) => enforcer.enforce(sub, obj, act),
    '/sync': ({ sub, obj, act }) => enforcer.enforceSync(sub, obj, act),
    '/explain': ({ sub, obj, act }) => enforcer.enforceEx(sub, obj, act),
    '/synced': ({ sub, obj, act }) => synced.enforce(sub, obj, act),
    '/matcher': ({ sub, obj, act }) => enforcer.enforceWithMatcher('r.sub == p.sub', sub, obj, act),
    '/batch': () =>
      enforcer.batchEnforce([
        ['alice', 'orders', 'read'],
        ['alice', 'orders', 'write'],
        ['bob', 'orders', 'write'],
      ]),
    '/cached': async () => [
      await cached.enforce('alice', 'orders', 'read'),
      await cached.enforce('alice', 'orders', 'read'),
    ],
    '/many': async () => {
      let allowed = 0
      for (let at = 0; at < 2000; at++) if (await enforcer.enforce('bob', 'orders', 'write')) allowed++
      return allowed
    },
    '/incomplete': () => enforcer.enforce('alice'),
    '/grant': async ({ sub }) => {
      const before = await enforcer.enforce(sub, 'orders', 'read')
      await enforcer.addPolicy(sub, 'orders', 'read')
      await new Promise(setImmediate)
      return [before, await enforcer.enforce(sub, 'orders', 'read')]
    },
    '/reload': async () => {
      await enforcer.loadPolicy()
      await new Promise(setImmediate)
      return 'loaded'
    },
    '/off': async () => {
      enforcer.enableEnforce(false)
      const allowed = await enforcer.enforce('mallory', 'orders', 'write')
      enforcer.enableEnforce(true)
      return allowed
    },
  }
}
