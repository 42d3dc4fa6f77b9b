/** Values of the application that cannot be read: the facts are there without them, and the calls end as they would. */
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import type { Decision } from '../facts.ts'
import { createLog } from '../log.ts'
import type { Recorder } from '../recorder.ts'
import { bearerOf } from './bearer.ts'
import { caslHook } from './casl.ts'
import { cedarHook } from './cedar.ts'
import type { Hook } from './hook.ts'
import { LoadedModule } from './loaded-module.ts'
import { attempt, member, reasonOf } from './values.ts'

const require = createRequire(import.meta.url)

const unreadable = (name: string): object =>
  Object.defineProperty({}, name, {
    enumerable: true,
    get: () => {
      throw new Error('mine')
    },
  })

const revoked = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  return proxy
}

/** The library with its hook, and the decisions that come of it. */
function hooked<T>(hook: Hook, name: string): { library: T; decisions: Decision[] } {
  const decisions: Decision[] = []
  const decision = (fact: Decision) => decisions.push(fact)
  const recorder = { decision, repeatedDecision: decision } as unknown as Recorder
  const module = new LoadedModule(require(name), 'require', '0.0.0', '', createLog('silent'))
  hook.patch(module, recorder)
  return { library: module.value as T, decisions }
}

test('a member that cannot be read is absent', () => {
  expect(member(unreadable('a'), 'a')).toBeUndefined()
  expect(member(revoked(), 'a')).toBeUndefined()
  expect(member(undefined, 'a')).toBeUndefined()
  expect(member('text', 'length')).toBeUndefined()
  expect(member({ a: 1 }, 'a')).toBe(1)
  expect(attempt(() => ({ ...unreadable('a') }))).toBeUndefined()
  expect(reasonOf(unreadable('code'))).toBe('error')
  expect(reasonOf(revoked())).toBe('error')
})

test('a query that cannot be parsed does not hide a token in the body', () => {
  const request = Object.assign(unreadable('query'), { body: { access_token: 't' } })
  expect(bearerOf(request)).toBe('t')
  expect(bearerOf(unreadable('headers'))).toBeUndefined()
})

test('CASL: a subject that it cannot look at is an error, with its action', () => {
  const { library, decisions } = hooked<typeof import('@casl/ability')>(caslHook, '@casl/ability')
  const ability = library.createMongoAbility([{ action: 'read', subject: 'Post' }])
  expect(() => ability.can('read', revoked() as never)).toThrow(TypeError)
  expect(decisions).toMatchObject([{ outcome: 'error', reason: 'TypeError', action: 'read', engine: 'casl' }])
  expect(decisions[0]!.resourceType).toBeUndefined()
})

test('Cedar: a call that it cannot read is an error, with all that can be read', () => {
  const name = '@cedar-policy/cedar-wasm/nodejs'
  const { library, decisions } = hooked<{ isAuthorized(call: object): unknown }>(cedarHook, name)
  const call = Object.assign(unreadable('context'), {
    principal: { type: 'User', id: 'alice' },
    action: { type: 'Action', id: 'read' },
    resource: { type: 'Document', id: 'plan' },
    policies: { staticPolicies: 'permit(principal, action, resource);' },
    entities: [],
  })
  expect(() => library.isAuthorized(call)).toThrow()
  expect(decisions).toMatchObject([
    { outcome: 'error', subject: 'alice', action: 'read', resourceId: 'plan' },
  ])
})
