/** `/api/v1/findings`, `why`, and proofs of single records: what filters and pages give, and what is refused. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import { continuityOf } from '@rootspan/lineage/continuity/judgement'
import { Closed } from '@rootspan/lineage/record/payload'
import { parseTlogProof, verifyTlogProof } from '@rootspan/lineage/tlog/tlog-proof'
import { verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Execution, Executions, Findings, Why } from '../../packages/collector/src/api/schema.ts'
import type { ApiServer } from '../../packages/collector/src/api/server.ts'
import { EPOCH, traceIdOf } from '../support/executions.ts'
import { specOf } from '../support/judged.ts'
import { StoredLog } from '../support/stored-log.ts'
import { action, decision, REQUEST, token, type VectorSpan } from '../vectors/continuity/spec.ts'
import { apiOf, errorOf } from './support.ts'

let directory: string
let log: StoredLog
let api: ApiServer

const hexOf = (trace: number): string => formatHex(traceIdOf(trace))
const get = (path: string) => api.inject({ url: path })
const findingsAt = async (query = '') => Findings.parse((await get(`/api/v1/findings?${query}`)).json())

/** Traces that act in spite of a denial, the first one `twice`. */
const BROKEN = [1, 2, 3, 4, 5]
const CLEAN = 6
const PLAIN = 7
const UNSIGNED = 8

/** A request to `service`, which begins `trace` tenths of a second after the epoch. */
function spansOf(trace: number, outcome: string, service = 'shop'): VectorSpan[] {
  const at = trace / 10
  const times = trace === 1 ? 2 : 1
  const acts = Array.from({ length: times }, (_, number) => [
    {
      id: 2 + 2 * number,
      parent: 1,
      service,
      at: at + 0.02,
      takes: 0.001,
      events: [decision(`d${trace}-${number}`, { 'decision.outcome': outcome })],
    },
    {
      id: 3 + 2 * number,
      parent: 1,
      service,
      at: at + 0.05,
      attributes: action(`refund ${number}`, { 'decision.id': `d${trace}-${number}` }),
    },
  ]).flat()
  return [
    { id: 1, service, kind: 'server', at, takes: 0.09, attributes: REQUEST, events: [token(`t${trace}`)] },
    ...acts,
  ]
}

async function receive(trace: number, spans: readonly VectorSpan[]): Promise<void> {
  await log.receive(
    trace,
    spans.map((span) => specOf(span, {})),
  )
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-findings-'))
  log = await StoredLog.create(directory)
  api = await apiOf(log)
  for (const trace of BROKEN) await receive(trace, spansOf(trace, 'deny', trace === 3 ? 'bank' : 'shop'))
  await receive(CLEAN, spansOf(CLEAN, 'allow'))
  await log.receive(PLAIN, [{ id: 1, name: 'work' }])
  await log.commit(Closed.settled)
  await log.checkpoint()
  await receive(UNSIGNED, spansOf(UNSIGNED, 'deny'))
  await log.commit(Closed.settled)
})

afterAll(async () => {
  await api.close()
  await log.close()
  await rm(directory, { recursive: true })
})

test('findings come by the newest execution, and only those of executions that have some', async () => {
  const { findings, next } = await findingsAt()
  expect(next).toBeUndefined()
  expect(findings.filter(({ traceId }) => traceId === hexOf(CLEAN))).toEqual([])
  const traces = [...new Set(findings.map(({ traceId }) => traceId))]
  expect(traces).toEqual([UNSIGNED, ...BROKEN.toReversed()].map(hexOf))
  for (const { traceId, signed, subjects } of findings) {
    expect(signed).toBe(traceId !== hexOf(UNSIGNED))
    expect(subjects[0]!.leafIndex).toBeLessThan(log.size)
    expect(subjects[0]!.spanId).toMatch(/^[0-9a-f]{16}$/)
  }
})

test('they are those that a verifier comes to', async () => {
  const { findings } = await findingsAt()
  for (const trace of BROKEN) {
    const { rawPayload } = await get(`/api/v1/executions/${hexOf(trace)}/evidence`)
    const { judgement, records } = verify(rawPayload, log.policy)
    const own = findings.filter(({ traceId }) => traceId === hexOf(trace))
    expect(own.map(({ rule, severity, detail }) => ({ rule, severity, detail }))).toEqual(
      judgement.findings.map(({ rule, severity, detail }) => ({ rule, severity, detail })),
    )
    const indexOf = new Map(records.map(({ leaf, index }) => [formatHex(leaf), index]))
    for (const { subjects } of own)
      for (const { leafHash, leafIndex } of subjects) expect(leafIndex).toBe(indexOf.get(leafHash))
    const execution = Execution.parse((await get(`/api/v1/executions/${hexOf(trace)}`)).json())
    expect(execution.continuity).toBe(continuityOf(judgement))
    expect(execution.rules).toEqual([...new Set(judgement.findings.map(({ rule }) => rule))].sort())
    expect(Object.values(execution.findings).reduce((sum, count) => sum + count)).toBe(own.length)
  }
  const { executions } = Executions.parse((await get('/api/v1/executions')).json())
  const continuity = new Map(executions.map((one) => [one.traceId, one.continuity]))
  expect(BROKEN.map((trace) => continuity.get(hexOf(trace)))).toEqual(BROKEN.map(() => 'broken'))
  expect(continuity.get(hexOf(PLAIN))).toBe('unknown')
})

test('pages of every size join to the same list', async () => {
  const whole = (await findingsAt()).findings
  for (let limit = 1; limit <= 7; limit++) {
    const paged: unknown[] = []
    let cursor = ''
    for (;;) {
      const page = await findingsAt(`limit=${limit}${cursor}`)
      paged.push(...page.findings)
      expect(new Set(page.findings.map(({ traceId }) => traceId)).size).toBeLessThanOrEqual(limit)
      if (page.next === undefined) break
      cursor = `&cursor=${page.next}`
    }
    expect(paged, `limit ${limit}`).toEqual(whole)
  }
})

test('rule, severity, service and time choose', async () => {
  const whole = (await findingsAt()).findings
  const tracesAt = async (query: string) =>
    [...new Set((await findingsAt(query)).findings.map(({ traceId }) => traceId))].sort()
  for (const rule of new Set(whole.map((one) => one.rule)))
    expect((await findingsAt(`rule=${rule}`)).findings).toEqual(whole.filter((one) => one.rule === rule))
  expect((await findingsAt('rule=GC-NONE')).findings).toEqual([])
  expect((await findingsAt('severity=low')).findings).toEqual(whole)
  expect((await findingsAt('severity=critical')).findings).toEqual(
    whole.filter(({ severity }) => severity === 'critical'),
  )
  expect(await tracesAt('service=bank')).toEqual([hexOf(3)])
  const at = (trace: number) => EPOCH + BigInt(trace) * 100_000_000n
  expect(await tracesAt(`from=${at(2)}&to=${at(4)}`)).toEqual([hexOf(2), hexOf(3)])
})

test('why answers five questions, and its proofs hold under the checkpoint that it names', async () => {
  const answer = Why.parse((await get(`/api/v1/executions/${hexOf(1)}/why`)).json())
  expect(answer.continuity).toBe('broken')
  expect(answer.answers.map(({ question }) => question)).toEqual([
    'why',
    'who',
    'policy',
    'trust',
    'continuity',
  ])
  const named = answer.answers.flatMap(({ clauses }) => clauses.flatMap(({ records }) => records))
  expect(named.length).toBeGreaterThan(5)
  for (const { leafHash, leafIndex, proof } of named) {
    const response = await get(proof!)
    expect(response.headers['rootspan-leaf-index']).toBe(String(leafIndex))
    const parsed = parseTlogProof(response.rawPayload)
    const verified = verifyTlogProof(parsed, parseHex(leafHash), log.policy)
    expect(verified).toBeDefined()
    expect(parsed.index).toBe(leafIndex)
  }
})

test('what is not signed, not there, or not of the execution says so', async () => {
  const unsigned = await get(`/api/v1/executions/${hexOf(UNSIGNED)}/why`)
  expect(unsigned.statusCode).toBe(409)
  expect(errorOf(unsigned).code).toBe('not_signed')
  const nobody = await get(`/api/v1/executions/${hexOf(99)}/why`)
  expect(nobody.statusCode).toBe(404)
  const { firstLeaf, records } = Execution.parse((await get(`/api/v1/executions/${hexOf(2)}`)).json())
  for (const leaf of [firstLeaf - 1, firstLeaf + records, log.size]) {
    const response = await get(`/api/v1/executions/${hexOf(2)}/records/${leaf}/proof`)
    expect(response.statusCode, String(leaf)).toBe(404)
    expect(errorOf(response).code).toBe('no_record')
  }
})

test.each(['rule=a', 'severity=bad', 'limit=0', 'limit=201', 'cursor=AAAA', 'since=1'])(
  'findings with %s are refused by name',
  async (query) => {
    const response = await get(`/api/v1/findings?${query}`)
    expect(response.statusCode).toBe(400)
    expect(errorOf(response).message).toContain(query.split('=')[0])
  },
)

test('of an execution that was erased the verdict is left as it was recorded, and no finding', async () => {
  await log.commitErasure({ trace: traceIdOf(5) })
  await log.checkpoint()
  const execution = Execution.parse((await get(`/api/v1/executions/${hexOf(5)}`)).json())
  expect(execution.continuity).toBe('broken')
  expect(execution.rules.length).toBeGreaterThan(0)
  expect(execution.findings).toEqual({ critical: 0, high: 0, medium: 0, low: 0 })
  expect((await findingsAt()).findings.some(({ traceId }) => traceId === hexOf(5))).toBe(false)
  const answer = Why.parse((await get(`/api/v1/executions/${hexOf(5)}/why`)).json())
  expect(answer.continuity).toBe('unknown')
  expect(answer.answers.at(-1)!.clauses[0]).toMatchObject({ basis: 'unknown' })
})
