/**
 * Ordinary traffic of ordinary services under the register flag: no rule finds anything in it, neither in the requests
 * nor in the lives of the processes.
 */
import { join } from 'node:path'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, waitFor } from '../e2e/process.ts'
import { type CollectorProcess, downloadEvidence, type ExecutionSummary } from '../e2e/support.ts'
import {
  type Answer,
  type Application,
  startQuickCollector,
  startService,
} from '../instrumentation/support.ts'
import { claimsOf, sign } from '../instrumentation/tokens.ts'
import { findingsOf } from './vectors.ts'

const JWT_KEY = 'the key of these tests'
const FILE = join(import.meta.dirname, 'shop.service.cjs')

let collector: CollectorProcess
let pay: Application
let shop: Application

beforeAll(async () => {
  collector = await startQuickCollector()
  const start = (name: string, env: Record<string, string>): Promise<Application> =>
    startService(collector, { name, file: FILE, env: { SERVICE: name, JWT_KEY, ...env } })
  pay = await start('pay', {})
  shop = await start('shop', { PAY: pay.url })
})

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

const bearer = (changed: object = {}, key = JWT_KEY): Record<string, string> => ({
  authorization: `Bearer ${sign(claimsOf({ aud: ['shop', 'pay'], ...changed }), key)}`,
})

const REQUESTS: readonly (readonly [name: string, path: string, init: RequestInit, status: number])[] = [
  ['nobody needs to be known', '/health', {}, 200],
  ['read', '/orders/7', { headers: bearer() }, 200],
  ['act', '/orders/7/refund', { method: 'POST', headers: bearer() }, 200],
  ['no token', '/orders/7', {}, 401],
  ['a token of another issuer', '/orders/7', { headers: bearer({}, 'another key') }, 401],
  ['an expired token', '/orders/7', { headers: bearer({ iat: 1, exp: 2 }) }, 401],
  ['a token for another audience', '/orders/7', { headers: bearer({ aud: 'billing' }) }, 401],
  ['somebody who may not read', '/orders/7', { headers: bearer({ sub: 'mallory' }) }, 403],
  [
    'somebody who may not act',
    '/orders/7/refund',
    { method: 'POST', headers: bearer({ sub: 'mallory' }) },
    403,
  ],
  ['a path that is not there', '/nothing', { headers: bearer() }, 404],
]

test('no rule finds anything in it', async () => {
  const answers = new Map<string, Answer>()
  for (let round = 0; round < 5; round++)
    for (const [name, path, init, status] of REQUESTS) {
      const answer = await shop.request(path, init)
      expect({ name, status: answer.status }).toEqual({ name, status })
      answers.set(answer.traceId, answer)
    }
  await shop.stop()
  await pay.stop()

  const executions = await waitFor('every request and both goodbyes', async () => {
    const response = await fetch(`${collector.api}/api/v1/executions?limit=200`)
    const { executions } = (await response.json()) as { executions: ExecutionSummary[] }
    const isThere = (traceId: string): boolean => executions.some((one) => one.traceId === traceId)
    const isSigned = executions.every(({ segments, signedSegments }) => segments === signedSegments)
    const lives = executions.filter(({ name }) => name === 'governance.hello')
    const isOver = lives.length === 2 && lives.every(({ spans }) => spans >= 2)
    return isSigned && isOver && [...answers.keys()].every(isThere) ? executions : undefined
  })
  const policy = policyOfLogs(parseVerifierKey(collector.vkey))
  const verified: VerifiedExecution[] = []
  for (const { traceId } of executions)
    verified.push(verify(await downloadEvidence(collector, traceId), policy))
  expect(verified.flatMap(findingsOf)).toEqual([])

  // All of it was looked at, and nothing had to be left open.
  const acted = verified.filter(({ judgement }) =>
    judgement.results.some(({ rule, result }) => rule === 'GC-D02' && result === 'pass'),
  )
  expect(acted.length).toBeGreaterThanOrEqual(5)
  const unknown = verified.flatMap(({ judgement }) =>
    judgement.results.flatMap(({ rule, missing }) => missing.map((what) => `${rule} ${what}`)),
  )
  expect([...new Set(unknown)].sort()).toEqual([])
})
