/**
 * Some of the mutations, each of a clean execution of its own, through the whole pipeline to offline verification: the
 * rule that is meant for it finds it, and the clean one has no finding.
 */
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp } from '../e2e/process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  startCollectorProcess,
  waitForTrace,
} from '../e2e/support.ts'
import { filesOf, pathOf, traceIdOf } from '../vectors/continuity/make.ts'
import type { VectorSpan } from '../vectors/continuity/spec.ts'
import { cleanExecution, SERVICES } from './clean-execution.ts'
import { MUTATIONS } from './mutations.ts'
import { findingsOf, moveTimes, secondsSince } from './vectors.ts'

/** Those that one look at an execution shows: without an hour between, or versions of a policy seen before. */
const SAMPLE = MUTATIONS.filter(
  ({ rule, isUnknown = false }) => !isUnknown && !['GC-C01', 'GC-P04', 'GC-R01', 'GC-R07'].includes(rule),
)
/** Seconds that an execution begins before it is sent. */
const AGO = 120

let collector: CollectorProcess

beforeAll(async () => {
  // A trace with a parent that never comes waits for its maximum age.
  collector = await startCollectorProcess({ config: 'assembler:\n  quiet_period: 500ms\n  max_age: 4s\n' })
})

afterAll(async () => {
  await collector.stop()
  await cleanUp()
})

/** Sends an execution under a name of its own and verifies what becomes of it. */
async function through(
  name: string,
  change: (spans: readonly VectorSpan[]) => readonly VectorSpan[],
): Promise<VerifiedExecution> {
  const vector = { rule: 'sample', name }
  const traceId = traceIdOf(vector, 0)
  const spans = change(cleanExecution(traceId))
  const files = filesOf({ ...vector, requests: [spans], services: SERVICES, findings: [] })
  const [request] = JSON.parse(files.get(`${pathOf(vector)}.json`)!)
  const body = moveTimes(JSON.stringify(request), secondsSince(Date.now()) - AGO)
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${collector.http}/v1/traces`, { method: 'POST', headers, body })
  expect({ status: response.status, answer: await response.text() }).toEqual({ status: 200, answer: '{}' })
  await waitForTrace(collector, traceId, spans.length)
  return verify(await downloadEvidence(collector, traceId), policyOfLogs(parseVerifierKey(collector.vkey)))
}

test('the clean execution is intact', async () => {
  const execution = await through('clean', (spans) => spans)
  expect(findingsOf(execution)).toEqual([])
})

test('each lie is found by its rule', async () => {
  const found = await Promise.all(
    SAMPLE.map(async ({ name, rule, places, apply }) => {
      const execution = await through(name, (spans) => {
        const where = places(spans)
        return apply(spans, where[where.length >> 1]!)
      })
      return { name, rule, found: findingsOf(execution).some((finding) => finding.rule === rule) }
    }),
  )
  expect(found).toEqual(SAMPLE.map(({ name, rule }) => ({ name, rule, found: true })))
})
