/** `/api/v1`: finding executions, and evidence that verifies without the collector. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { concatBytes, formatHex, parseHex } from '@rootspan/lineage/bytes'
import { parseBundle } from '@rootspan/lineage/evidence/bundle'
import { Kind } from '@rootspan/lineage/governance/kind'
import { isSpanBorn, nameOf } from '@rootspan/lineage/record/entry'
import { Closed } from '@rootspan/lineage/record/payload'
import { parseTlogProof, verifyTlogProof } from '@rootspan/lineage/tlog/tlog-proof'
import { type ExecutionNode, verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Execution, Executions, Receipt } from '../../packages/collector/src/api/schema.ts'
import type { ApiServer } from '../../packages/collector/src/api/server.ts'
import { EPOCH, spanHex, traceIdOf } from '../support/executions.ts'
import { encodeRequest, StoredLog } from '../support/stored-log.ts'
import { apiOf, errorOf } from './support.ts'

let directory: string
let log: StoredLog
let api: ApiServer

const SECOND = 1_000_000_000
const hexOf = (trace: number): string => formatHex(traceIdOf(trace))
const get = (path: string) => api.inject({ url: path })

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-api-'))
  log = await StoredLog.create(directory)
  api = await apiOf(log)

  // Trace 1: two services, a governed span. Trace 2: two segments. Trace 3: in one request's place of its own.
  await log.receive(
    1,
    [
      { id: 1, name: 'GET /buy', service: 'front', kind: 2, start: 0, end: 5 * SECOND },
      { id: 2, parent: 1, name: 'pay', service: 'bank', start: SECOND, end: 2 * SECOND },
      {
        id: 3,
        parent: 2,
        name: 'charge',
        service: 'bank',
        start: SECOND,
        attributes: { 'governance.decision.id': 'd-1', 'governance.decision.outcome': 'permit' },
      },
    ],
    true,
  )
  await log.receive(2, [{ id: 1, name: 'long', start: 10 * SECOND }])
  await log.commit(Closed.cut)
  await log.receive(2, [{ id: 2, parent: 1, name: 'later', service: 'bank', start: 11 * SECOND }])
  await log.receive(3, [{ id: 7, name: 'only <one>', start: 20 * SECOND }])
  await log.commit(Closed.settled)
  await log.checkpoint()

  // Not signed: trace 4, and the third segment of trace 2.
  await log.receive(2, [{ id: 3, parent: 2, start: 12 * SECOND }])
  await log.receive(4, [{ id: 1, start: 30 * SECOND }])
  await log.commit(Closed.settled)
  // Journalled only.
  await log.receive(5, [{ id: 1 }], true)
})

afterAll(async () => {
  await api.close()
  await log.close()
  await rm(directory, { recursive: true })
})

test('executions come newest first, with what they are', async () => {
  const body = Executions.parse((await get('/api/v1/executions')).json())
  expect(body.executions.map((one) => one.traceId)).toEqual([4, 3, 2, 1].map(hexOf))
  expect(body).not.toHaveProperty('next')
  const [fourth, , second, first] = body.executions
  expect(first).toEqual({
    traceId: hexOf(1),
    tenant: '',
    name: 'GET /buy',
    services: ['front', 'bank'],
    startTimeUnixNano: String(EPOCH),
    earliestTimeUnixNano: String(EPOCH),
    endTimeUnixNano: String(EPOCH + 5n * BigInt(SECOND)),
    durationNanos: String(5 * SECOND),
    spans: 3,
    records: 5,
    firstLeaf: 0,
    segments: 1,
    signedSegments: 1,
    closed: 'cut',
    continuity: 'intact',
    rules: [],
  })
  expect(second).toMatchObject({ segments: 3, signedSegments: 2, spans: 3, name: 'long', closed: 'settled' })
  expect(second!.services).toEqual(['checkout', 'bank'])
  expect(fourth).toMatchObject({ segments: 1, signedSegments: 0 })
})

test('pages of every size join to the same list', async () => {
  for (const filter of [
    '',
    '&service=bank',
    '&service=checkout',
    `&from=${EPOCH + 1n}`,
    '&to=2026-01-02T03:04:25Z',
  ]) {
    const whole = Executions.parse((await get(`/api/v1/executions?limit=200${filter}`)).json()).executions
    expect(whole.length, filter).toBeGreaterThan(1)
    for (let limit = 1; limit <= whole.length; limit++) {
      const paged: unknown[] = []
      let next: string | undefined
      do {
        const cursor = next === undefined ? '' : `&cursor=${next}`
        const page = Executions.parse(
          (await get(`/api/v1/executions?limit=${limit}${filter}${cursor}`)).json(),
        )
        expect(page.executions.length).toBeLessThanOrEqual(limit)
        paged.push(...page.executions)
        next = page.next
      } while (next !== undefined)
      expect(paged, `limit ${limit}${filter}`).toEqual(whole)
    }
  }
})

test('by service, and by time from the first moment to before the last', async () => {
  const tracesOf = async (query: string): Promise<string[]> =>
    Executions.parse((await get(`/api/v1/executions?${query}`)).json()).executions.map((one) => one.traceId)
  expect(await tracesOf('service=bank')).toEqual([2, 1].map(hexOf))
  expect(await tracesOf('service=ban')).toEqual([])
  expect(await tracesOf('service=front')).toEqual([1].map(hexOf))
  const at = (seconds: number): string => String(EPOCH + BigInt(seconds * SECOND))
  expect(await tracesOf(`from=${at(10)}&to=${at(20)}`)).toEqual([2].map(hexOf))
  expect(await tracesOf(`from=${at(10)}&to=${at(10)}`)).toEqual([])
  expect(await tracesOf(`from=${at(20)}&to=${at(10)}`)).toEqual([])
  expect(await tracesOf('from=2026-01-02T03:04:15Z&to=2026-01-02T03:04:25.000000001Z')).toEqual(
    [3, 2].map(hexOf),
  )
  expect(await tracesOf('from=2026-01-02T04:04:15%2B01:00&service=bank')).toEqual([2].map(hexOf))
  expect(await tracesOf('to=0')).toEqual([])
})

test('a span that comes later and began earlier moves its execution in no list', async () => {
  const other = await mkdtemp(join(tmpdir(), 'rootspan-api-'))
  const late = await StoredLog.create(other)
  const server = await apiOf(late)
  await late.receive(1, [{ id: 2, parent: 1, start: 10 * SECOND }])
  await late.receive(2, [{ id: 1, start: 5 * SECOND }])
  await late.commit(Closed.cut)
  const page = async (query: string) =>
    Executions.parse((await server.inject({ url: `/api/v1/executions?${query}` })).json())
  const first = await page('limit=1')
  await late.receive(1, [{ id: 1, start: 0, end: 20 * SECOND }])
  await late.commit(Closed.settled)
  const second = await page(`limit=1&cursor=${first.next}`)
  const at = (seconds: number): string => String(EPOCH + BigInt(seconds * SECOND))
  const shown = [...first.executions, ...second.executions]
  expect(shown.map((one) => [one.traceId, one.startTimeUnixNano])).toEqual([
    [hexOf(1), at(10)],
    [hexOf(2), at(5)],
  ])
  const [one] = (await page(`from=${at(10)}`)).executions
  expect(one).toMatchObject({
    traceId: hexOf(1),
    segments: 2,
    startTimeUnixNano: at(10),
    earliestTimeUnixNano: at(0),
    endTimeUnixNano: at(20),
    durationNanos: String(20 * SECOND),
  })
  expect((await page(`to=${at(5)}`)).executions).toEqual([])
  await server.close()
  await late.close()
  await rm(other, { recursive: true })
})

test('an execution shows its segments and its records as they lie in the log', async () => {
  const body = Execution.parse((await get(`/api/v1/executions/${hexOf(2)}`)).json())
  expect(body.segmentList.map(({ segment, closed, signed }) => [segment, closed, signed])).toEqual([
    [0, 'cut', true],
    [1, 'settled', true],
    [2, 'settled', false],
  ])
  const entries = await Promise.all(
    body.recordList.map(async ({ leafIndex }) => {
      const bundle = await log.reader.entries(0, leafIndex + 1)
      const before = await log.reader.entries(0, leafIndex)
      return bundle!.subarray((before?.length ?? 0) + 2)
    }),
  )
  const hashes = entries.map((entry) =>
    createHash('sha256').update(Uint8Array.of(0)).update(entry).digest('hex'),
  )
  expect(body.recordList.map((record) => record.leafHash)).toEqual(hashes)
  const spans = body.recordList.filter((record) => record.parent !== undefined)
  expect(spans.map(({ name, service, parent, spanId }) => [name, service, parent, spanId])).toEqual([
    ['long', 'checkout', 'root', spanHex(1)],
    ['later', 'bank', 'linked', spanHex(2)],
    ['span 3', 'checkout', 'linked', spanHex(3)],
  ])
  expect(spans[1]!.parentLeaf).toBe(spans[0]!.leafHash)
  expect(spans[1]!.startTimeUnixNano).toBe(String(EPOCH + 11n * BigInt(SECOND)))
  expect(body.recordList.filter((record) => record.statement === 'sealed').length).toBe(3)
})

test('pages of records join to the same list', async () => {
  for (const trace of [1, 2]) {
    const whole = Execution.parse((await get(`/api/v1/executions/${hexOf(trace)}?limit=2000`)).json())
    expect(whole.recordList.length).toBe(whole.records)
    for (let limit = 1; limit <= whole.records; limit++) {
      const paged: unknown[] = []
      let next: number | undefined = 0
      while (next !== undefined) {
        const page: ReturnType<typeof Execution.parse> = Execution.parse(
          (await get(`/api/v1/executions/${hexOf(trace)}?from=${next}&limit=${limit}`)).json(),
        )
        paged.push(...page.recordList)
        next = page.next
      }
      expect(paged).toEqual(whole.recordList)
    }
  }
})

test('evidence verifies offline, and is of what the checkpoint covers', async () => {
  for (const [trace, spans, segments] of [
    [1, 3, 1],
    [2, 2, 2],
    [3, 1, 1],
  ] as const) {
    const response = await get(`/api/v1/executions/${hexOf(trace)}/evidence`)
    expect(response.statusCode).toBe(200)
    expect(response.headers['content-type']).toBe('application/vnd.rootspan.evidence+json')
    expect(response.headers['content-disposition']).toBe(`attachment; filename="${hexOf(trace)}.rootspan"`)
    const execution = verify(response.rawPayload, log.policy)
    expect(formatHex(execution.traceId)).toBe(hexOf(trace))
    expect(execution.segments.length).toBe(segments)
    expect(execution.records.filter(({ entry }) => isSpanBorn(entry)).length).toBe(spans)
    expect(response.headers['rootspan-checkpoint-size']).toBe(String(execution.checkpoint.size))
  }
  const two = verify((await get(`/api/v1/executions/${hexOf(2)}/evidence`)).rawPayload, log.policy)
  const names = (node: ExecutionNode): unknown => [node.record.span!.name, node.children.map(names)]
  expect(two.roots.map(names)).toEqual([['long', [['later', []]]]])
})

test('every record has a proof that other tools understand', async () => {
  const { records } = verify((await get(`/api/v1/executions/${hexOf(1)}/evidence`)).rawPayload, log.policy)
  const bundle = parseBundle((await get(`/api/v1/executions/${hexOf(1)}/evidence`)).rawPayload)
  let proven = 0
  for (const record of records.filter(({ entry }) => entry.spanId.length > 0)) {
    const query = isSpanBorn(record.entry) ? '' : `?kind=${nameOf(Kind, record.entry.kind)}`
    const path = `/api/v1/executions/${hexOf(1)}/spans/${formatHex(record.entry.spanId)}/proof${query}`
    const response = await get(path)
    expect(response.statusCode, path).toBe(200)
    expect(response.headers['rootspan-leaf-index']).toBe(String(record.index))
    expect(response.headers['rootspan-leaf-hash']).toBe(formatHex(record.leaf))
    const proof = parseTlogProof(response.rawPayload)
    expect(proof.index).toBe(record.index)
    expect(proof.extra).toBeUndefined()
    expect(new TextDecoder().decode(proof.checkpoint)).toBe(bundle.checkpoint)
    verifyTlogProof(proof, record.leaf, log.policy)
    expect(() => verifyTlogProof(proof, parseHex('00'.repeat(32)), log.policy)).toThrow()
    proven++
  }
  expect(proven).toBe(4)
})

test('what is committed and not signed says to come again; what is unknown says so', async () => {
  for (const path of ['evidence', `spans/${spanHex(1)}/proof`]) {
    const unsigned = await get(`/api/v1/executions/${hexOf(4)}/${path}`)
    expect(unsigned.statusCode).toBe(409)
    expect(unsigned.headers['retry-after']).toBe('1')
    expect(errorOf(unsigned).code).toBe('not_signed')
    const unknown = await get(`/api/v1/executions/${hexOf(99)}/${path}`)
    expect([unknown.statusCode, errorOf(unknown).code]).toEqual([404, 'no_execution'])
  }
  expect((await get(`/api/v1/executions/${hexOf(99)}`)).statusCode).toBe(404)
  const noSpan = await get(`/api/v1/executions/${hexOf(1)}/spans/${spanHex(9)}/proof`)
  expect([noSpan.statusCode, errorOf(noSpan).code]).toEqual([404, 'no_record'])
  const noKind = await get(`/api/v1/executions/${hexOf(1)}/spans/${spanHex(1)}/proof?kind=decision`)
  expect([noKind.statusCode, errorOf(noKind).code]).toEqual([404, 'no_record'])
})

test('receipts follow a request from the journal to its leaves', async () => {
  const receipt = async (position: number) =>
    Receipt.parse((await get(`/api/v1/receipts/${position}`)).json())
  const { records } = verify((await get(`/api/v1/executions/${hexOf(1)}/evidence`)).rawPayload, log.policy)
  const leafOf = (id: number): number =>
    records.find(({ entry }) => isSpanBorn(entry) && formatHex(entry.spanId) === spanHex(id))!.index
  expect(await receipt(0)).toMatchObject({
    position: 0,
    state: 'committed',
    leaves: [1, 2, 3].map((id, span) => ({ span, leaf: leafOf(id) })),
    treeSize: log.size,
  })
  expect(await receipt(1)).toMatchObject({ state: 'committed', leaves: [] })
  expect(await receipt(6)).toMatchObject({ state: 'journalled', leaves: [] })
  expect(await receipt(7)).toMatchObject({ state: 'unknown', leaves: [] })
  expect(await receipt(Number.MAX_SAFE_INTEGER)).toMatchObject({ state: 'unknown' })
})

test('a request of which one span is open is not committed, and names the leaves that are', async () => {
  const body = concatBytes(encodeRequest(6, [{ id: 1 }]), encodeRequest(7, [{ id: 1 }]))
  const position = await log.receiveBody(body, true)
  await log.commit(Closed.settled, [7])
  const partly = Receipt.parse((await get(`/api/v1/receipts/${position}`)).json())
  expect([partly.state, partly.leaves.map(({ span }) => span)]).toEqual(['journalled', [1]])
  expect(Receipt.parse((await get('/api/v1/receipts/6')).json()).state).toBe('journalled')
  await log.commit(Closed.settled)
  const whole = Receipt.parse((await get(`/api/v1/receipts/${position}`)).json())
  expect([whole.state, whole.leaves.map(({ span }) => span)]).toEqual(['committed', [0, 1]])
  expect(whole.leaves[1]).toEqual(partly.leaves[0])
  expect(whole.leaves.every(({ leaf }) => leaf >= whole.checkpointSize && leaf < whole.treeSize)).toBe(true)
})

test.each([
  '/api/v1/executions?limit=0',
  '/api/v1/executions?limit=201',
  '/api/v1/executions?service=',
  `/api/v1/executions?service=${'s'.repeat(256)}`,
  '/api/v1/executions?from=yesterday',
  '/api/v1/executions?from=2026-02-30T00:00:00Z',
  '/api/v1/executions?from=2026-01-02T03:04:05',
  '/api/v1/executions?cursor=AAAA',
  `/api/v1/executions?cursor=${Buffer.alloc(26).toString('base64url')}`,
  `/api/v1/executions?cursor=${Buffer.alloc(25).toString('base64')}`,
  '/api/v1/executions?servcie=a',
  `/api/v1/executions/${hexOf(1).slice(1)}`,
  `/api/v1/executions/${hexOf(0xabc).toUpperCase()}`,
  `/api/v1/executions/${hexOf(1)}?limit=2001`,
  `/api/v1/executions/${hexOf(1)}/spans/12/proof`,
  `/api/v1/executions/${hexOf(1)}/spans/${spanHex(1)}/proof?kind=plan`,
  '/api/v1/receipts/-1',
  '/api/v1/receipts/1.0',
  '/api/v1/receipts/00',
])('%s is refused by name', async (path) => {
  const response = await get(path)
  expect(response.statusCode).toBe(400)
  expect(errorOf(response).code).toBe('bad_parameter')
})
