/** A service whose hooks were put in by code, with whatever version of the SDK, as its records show it. */
import { expect } from 'vitest'
import type { CollectorProcess } from '../e2e/support.ts'
import { fingerprint, recordsOf, type Service, type Shown, select, startService } from './support.ts'
import { claimsOf, sign } from './tokens.ts'

const JWT_KEY = 'the key of the service that signs tokens'

/**
 * Starts `apps/in-code-hooks.app.mjs`, wherever it is, and asks it as somebody who may, who may not, and who is nobody.
 * SIGTERM then ends it as `ends` says.
 */
export async function expectHooks(
  collector: CollectorProcess,
  given: Pick<Service, 'file' | 'flags' | 'cwd' | 'node'> & { readonly name?: string },
  ends: { readonly code: number | null; readonly stderr: string } = { code: 0, stderr: '' },
): Promise<void> {
  const env = { JWT_KEY, ROOTSPAN_ENDPOINT: collector.http }
  const service = await startService(collector, { name: 'in-code-hooks', env, ...given })
  const ask = async (token: string): Promise<{ body: string; records: Shown[] }> => {
    const headers = { authorization: `Bearer ${token}` }
    const answer = await service.request('/', { headers, sampled: false })
    return { body: answer.body, records: await recordsOf(collector, answer) }
  }
  const methods = (records: readonly Shown[], result: string) =>
    select(records, 'verification', { 'verification.result': result }).map(
      ({ claims }) => claims['verification.method'],
    )
  const token = sign(claimsOf({ sub: 'alice' }), JWT_KEY)
  const good = await ask(token)
  expect(good.body).toBe('true')
  expect(select(good.records, 'request', { 'emitter.sampling': 'parent_not_sampled' })).toHaveLength(1)
  expect(methods(good.records, 'pass')).toEqual(['jsonwebtoken.verify', 'jose.jwtVerify'])
  const [decision] = select(good.records, 'decision', { 'decision.outcome': 'allow' })
  expect(decision!.claims).toMatchObject({
    'decision.engine.name': 'casbin',
    'decision.subject.id': fingerprint('alice'),
    'authorization.fingerprint': fingerprint(token),
  })
  const tools = select(good.records, 'action', { 'action.name': 'notify', 'action.outcome': 'success' })
  expect(tools).toHaveLength(2)
  for (const { causes } of tools)
    expect(causes.map(({ claims }) => claims['authorization.fingerprint'])).toEqual([fingerprint(token)])

  const denied = await ask(sign(claimsOf({ sub: 'bob' }), JWT_KEY))
  expect(denied.body).toBe('false')
  expect(select(denied.records, 'decision', { 'decision.outcome': 'deny' })).toHaveLength(1)
  expect(select(denied.records, 'action')).toEqual([])

  const refused = await ask(sign(claimsOf(), 'another key'))
  expect(refused.body).toBe('JsonWebTokenError')
  expect(methods(refused.records, 'fail')).toEqual(['jsonwebtoken.verify'])
  expect(select(refused.records, 'decision')).toEqual([])

  const { code, stderr } = await service.stop()
  expect({ code, stderr }).toEqual(ends)
}
