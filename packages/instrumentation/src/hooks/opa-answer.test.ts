/** What OPA's documents mean, and what is known of a question whatever the application put into it. */
import { expect, test } from 'vitest'
import { opaDecision, opaQuestion } from './opa-answer.ts'

test.each([
  ['authz/allow', true, 'allow'],
  ['authz/allow', false, 'deny'],
  ['allowed', true, 'allow'],
  ['authz/is_authorized', false, 'deny'],
  ['authz/deny', true, 'deny'],
  ['authz/denied', true, 'deny'],
  ['authz/deny', ['no quota'], 'deny'],
  // Not denied is not allowed.
  ['authz/deny', false, 'conditional'],
  ['authz/deny', [], 'conditional'],
  // What these mean is the application's.
  ['authz/violation', true, 'conditional'],
  ['authz/is_blocked', true, 'conditional'],
  ['authz/is_blocked', false, 'conditional'],
  ['allow/reason', true, 'conditional'],
  ['authz/allow', ['read'], 'conditional'],
  ['authz/allow', null, 'conditional'],
  [undefined, true, 'conditional'],
  ['authz/allow', undefined, 'not_applicable'],
  ['authz', { allow: true }, 'allow'],
  ['authz', { allow: false, deny: ['no quota'] }, 'deny'],
  ['authz', { allow: true, deny: [] }, 'allow'],
  ['authz', { allow: true, deny: false }, 'allow'],
  ['authz', { deny: true }, 'deny'],
  ['authz', { deny: false }, 'conditional'],
  ['authz', { allow: true, deny: true }, 'conditional'],
  ['authz', { allow: true, deny: ['no quota'] }, 'conditional'],
  ['authz', { allow: 'yes' }, 'conditional'],
  ['authz/allow', { max: 10 }, 'conditional'],
  ['authz', { decision: true, context: { why: 'x' } }, 'allow'],
  ['authz', { decision: false }, 'deny'],
  ['fraud', { decision: true, score: 7 }, 'conditional'],
])('%s is %j: %s', (path, result, outcome) => {
  expect(opaDecision(opaQuestion(path, {}), { result })).toMatchObject({ outcome })
})

test('what cannot be read of an input is absent, and the rest is there', () => {
  const input = {
    get subject(): unknown {
      throw new Error('mine')
    },
    action: 'read',
    resource: { type: 'document', id: 'plan' },
  }
  const { input: kept, ...rest } = opaDecision(opaQuestion('authz/allow', input), { result: true })
  expect(kept).toBe(input)
  expect(rest).toMatchObject({
    outcome: 'allow',
    action: 'read',
    resourceId: 'plan',
    resourceType: 'document',
  })
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  expect(opaDecision(opaQuestion('authz/allow', proxy), { result: true }).outcome).toBe('allow')
})

test('a boolean is committed to where the outcome does not say it', () => {
  expect(opaDecision(opaQuestion('authz/allow', {}), { result: true }).output).toBeUndefined()
  expect(opaDecision(opaQuestion('authz/is_blocked', {}), { result: true }).output).toBe(true)
})
