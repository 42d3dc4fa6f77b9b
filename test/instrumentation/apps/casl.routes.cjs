// Routes that ask CASL, for an application that has loaded it either way.
module.exports = (casl) => {
  class Order {
    constructor(owner) {
      this.owner = owner
    }
  }
  const abilityOf = (user) =>
    casl.defineAbility((can, cannot) => {
      can('read', 'Order')
      can('update', 'Order', { owner: user })
      cannot('delete', 'Order').because('orders are kept')
    })
  return {
    '/read': ({ user }) => abilityOf(user).can('read', 'Order'),
    '/update': ({ user, owner }) => abilityOf(user).can('update', new Order(owner)),
    '/delete': ({ user }) => abilityOf(user).cannot('delete', 'Order'),
    '/pay': ({ user }) => abilityOf(user).can('pay', 'Order'),
    '/class': () => {
      const ability = casl.defineAbility((can) => can('read', Order))
      return [ability.can('read', new Order('alice')), ability.can('pay', Order)]
    },
    '/ensure': ({ user }) => {
      casl.ForbiddenError.from(abilityOf(user)).throwUnlessCan('delete', 'Order')
      return 'deleted'
    },
    '/many': ({ user }) => {
      const ability = abilityOf(user)
      let allowed = 0
      for (let at = 0; at < 5000; at++)
        if (ability.can('update', new Order(at % 5 === 0 ? 'eve' : user))) allowed++
      return allowed
    },
    '/misuse': ({ user }) => abilityOf(user).can('read', 'Order', { not: 'a field' }),
    '/widen': ({ user }) => {
      const ability = abilityOf(user)
      const before = ability.can('pay', 'Order')
      ability.update([...ability.rules, { action: 'pay', subject: 'Order' }])
      return [before, ability.can('pay', 'Order')]
    },
  }
}
