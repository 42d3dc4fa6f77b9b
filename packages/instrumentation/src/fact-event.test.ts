/** That events of facts look to everybody like those that the SDK makes; their bytes are tested in delivery/request.test.ts. */
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { FactEvent, SharedAttributes } from './fact-event.ts'

const shared = new SharedAttributes({ 'governance.decision.outcome': 'allow', roles: ['a', 'b'] })
const whole = {
  'governance.decision.outcome': 'allow',
  roles: ['a', 'b'],
  'governance.decision.id': 'e-1',
  'governance.authorization.fingerprint': 'hmac-sha256:1',
  'governance.decision.count': 3,
}

function eventWithAll(): FactEvent {
  const event = new FactEvent('governance.decision', [1, 2], shared, 'e-1', 'hmac-sha256:1')
  event.count = 3
  return event
}

test('what is shared and what is not are put together in their order', () => {
  expect(Object.entries(eventWithAll().attributes)).toEqual(Object.entries(whole))
  expect(new FactEvent('governance.decision', [1, 2], shared).attributes).toEqual(shared.attributes)
  expect(new FactEvent('governance.decision', [1, 2], { roles: [] }, 'e-2').attributes).toEqual({
    roles: [],
    'governance.decision.id': 'e-2',
  })
})

test('attributes are the same object each time, with a count that grows', () => {
  const event = eventWithAll()
  const { attributes } = event
  event.count = 4
  expect(event.attributes).toBe(attributes)
  expect(attributes).toEqual({ ...whole, 'governance.decision.count': 4 })
})

test('who changes the attributes of one event changes no other, and what is shared least of all', () => {
  const event = eventWithAll()
  event.attributes['governance.decision.outcome'] = 'deny'
  event.separate().roles = []
  expect(event.shared).toBeUndefined()
  expect(eventWithAll().attributes).toEqual(whole)
  expect(shared.attributes).toEqual({ 'governance.decision.outcome': 'allow', roles: ['a', 'b'] })
})

test('attributes that a processor of the application puts in the place of ours are what is sent', () => {
  const event = eventWithAll()
  event.attributes = { roles: ['redacted'] }
  expect(event.attributes).toEqual({ roles: ['redacted'] })
  expect(event.shared).toBeUndefined()
})

test('JSON and the console show what they show of an event of the SDK', () => {
  const plain = { name: 'governance.decision', attributes: whole, time: [1, 2], droppedAttributesCount: 0 }
  expect(JSON.stringify([eventWithAll()])).toBe(JSON.stringify([plain]))
  expect(inspect([eventWithAll()], { depth: 4 })).toBe(inspect([plain], { depth: 4 }))
})
