/**
 * Every vector through the whole pipeline: sent to a collector, committed, signed, downloaded and verified offline, it
 * gives exactly the findings that were written down for it, and no others.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { RULES } from '@rootspan/lineage/continuity/ruleset'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cleanUp, makeDirectory } from '../e2e/process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  startCollectorProcess,
  waitForTrace,
} from '../e2e/support.ts'
import { findingRecordsOf, findingsOf, moveTimes, readVectors, secondsSince, type Upload } from './vectors.ts'

const vectors = await readVectors()
const TOKEN = 'a-token-for-these-tests'
/** Seconds that a vector's beginning lies before it is sent. */
const AGO = 60
const verified = new Map<string, VerifiedExecution>()
let collector: CollectorProcess

beforeAll(async () => {
  // A trace with a parent that never comes waits for its maximum age.
  const directory = await makeDirectory()
  await writeFile(join(directory, 'opa.token'), TOKEN)
  const config = [
    'assembler: { max_age: 4s }',
    'receivers: { opa: { enabled: true, token_file: opa.token } }',
    '',
  ].join('\n')
  collector = await startCollectorProcess({ directory, config })
  const policy = policyOfLogs(parseVerifierKey(collector.vkey))
  const seconds = secondsSince(Date.now()) - AGO
  const rounds = Math.max(...vectors.map(({ groups }) => groups.length))
  for (let round = 0; round < rounds; round++) {
    for (const { groups } of vectors)
      for (const body of groups[round] ?? []) await send(moveTimes(body, seconds))
    for (const { groups, spans } of vectors) {
      if (groups[round] === undefined) continue
      for (const [traceId, count] of spans[round]!) await waitForTrace(collector, traceId, count)
      // At once: what is unknown now is found out half a minute later.
      if (round === groups.length - 1)
        for (const traceId of spans[round]!.keys())
          verified.set(traceId, verify(await downloadEvidence(collector, traceId), policy))
    }
  }
})

afterAll(async () => {
  await collector.stop()
  await cleanUp()
})

async function send(body: string): Promise<void> {
  const { opa } = JSON.parse(body) as Partial<Upload>
  const headers = { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}` }
  const response = await (opa === undefined
    ? fetch(`${collector.http}/v1/traces`, { method: 'POST', headers, body })
    : fetch(`${collector.http}/opa/logs`, { method: 'POST', headers, body: JSON.stringify(opa) }))
  const answer = await response.text()
  expect({ status: response.status, answer }).toEqual({ status: 200, answer: '{}' })
}

describe.each(vectors)('$name', ({ findings, unknown, spans }) => {
  const traces = [...spans.at(-1)!.keys()]
  const [main] = traces

  test('gives these findings and no others', () => {
    const expected = findings.map((one) => ({
      ...one,
      traceId: one.traceId ?? main,
      spans: [...new Set(one.spans.map((span) => (span.includes('/') ? 'elsewhere' : span)))],
    }))
    const found = traces.flatMap((traceId) => findingsOf(verified.get(traceId)!))
    const inOrder = (list: readonly object[]): string[] => list.map((one) => JSON.stringify(one, KEYS)).sort()
    expect(inOrder(found)).toEqual(inOrder(expected))
  })

  test('has a record for each finding', () => {
    for (const traceId of traces) {
      const execution = verified.get(traceId)!
      const records = findingRecordsOf(execution).map(String)
      for (const { subjects } of execution.judgement.findings)
        expect(records).toContain(String(subjects.map(formatHex)))
      if (execution.segments.length === 1) expect(records.length).toBe(execution.judgement.findings.length)
    }
  })

  if (unknown.length > 0)
    test('says what it cannot know', () => {
      for (const { traceId = main, rule, missing } of unknown) {
        const result = verified.get(traceId!)!.judgement.results.find((one) => one.rule === rule)
        expect(result).toMatchObject({ rule, result: 'unknown', missing: expect.arrayContaining([missing]) })
      }
    })
})

const KEYS = ['traceId', 'rule', 'severity', 'spans', 'detail']

test.each(RULES.map(({ id }) => id))('%s has a violating and a clean vector', (id) => {
  const own = vectors.filter(({ name }) => name.startsWith(`${id}/`))
  const isThere = (sort: string): boolean => own.some(({ name }) => name.startsWith(`${id}/${sort}`))
  expect({ id, violating: isThere('violating'), clean: isThere('clean') }).toEqual({
    id,
    violating: true,
    clean: true,
  })
  for (const { name, findings } of own)
    if (name.startsWith(`${id}/violating`)) expect(findings.map(({ rule }) => rule)).toContain(id)
})
