/** What no open SpiceDB answers today but the protocol has; the rest is tested against the real one. */
import { expect, test } from 'vitest'
import type { Decision } from '../facts.ts'
import { createLog } from '../log.ts'
import type { Recorder } from '../recorder.ts'
import { LoadedModule } from './loaded-module.ts'
import { spicedbHook } from './spicedb.ts'

type Callback = (error: unknown, value?: unknown) => void

/** Decisions that come of one answer to one check. */
function decisionsOf(...answer: Parameters<Callback>): Decision[] {
  class PermissionsServiceClient {
    checkPermission(_request: unknown, callback: Callback): void {
      callback(...answer)
    }
    checkBulkPermissions(): void {}
  }
  const decisions: Decision[] = []
  const recorder = {
    asked: (question: Partial<Decision>) => question,
    decision: (fact: Decision) => decisions.push(fact),
  } as unknown as Recorder
  const module = new LoadedModule(
    { v1: { PermissionsServiceClient } },
    'require',
    '1.6.1',
    '',
    createLog('silent'),
  )
  spicedbHook.patch(module, recorder)
  expect(module.missing()).toEqual([])
  new PermissionsServiceClient().checkPermission({ permission: 'read' }, () => {})
  return decisions
}

test('an answer that expires has a time to live, one that has expired none left', () => {
  const now = Math.floor(Date.now() / 1000)
  const [decision] = decisionsOf(null, {
    permissionship: 2,
    optionalExpiresAt: { seconds: String(now + 3600), nanos: 0 },
  })
  expect(decision!.outcome).toBe('allow')
  expect(decision!.ttl).toBeGreaterThan(3500)
  expect(decision!.ttl).toBeLessThanOrEqual(3600)
  const [expired] = decisionsOf(null, { permissionship: 2, optionalExpiresAt: { seconds: '1' } })
  expect(expired!.ttl).toBe(0)
})

test.each([undefined, null, {}, { permissionship: 0 }, { permissionship: '2' }])(
  'an answer that says nothing is an error: %j',
  (value) => {
    expect(decisionsOf(null, value)).toMatchObject([{ outcome: 'error', reason: 'malformed' }])
  },
)

test('an error without a code of gRPC is an error without one', () => {
  expect(decisionsOf(new Error('secret'))).toMatchObject([{ outcome: 'error', reason: 'error' }])
})
