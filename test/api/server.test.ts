/** What all routes share: headers, methods, errors, health, metrics, the page and the description. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Live, Ready } from '../../packages/collector/src/api/schema.ts'
import { type ApiServer, createServer } from '../../packages/collector/src/api/server.ts'
import { PackCorruption } from '../../packages/collector/src/pack.ts'
import { spanHex, traceIdOf } from '../support/executions.ts'
import { StoredLog } from '../support/stored-log.ts'
import { type ApiFailure, apiOf, errorOf } from './support.ts'

let directory: string
let log: StoredLog
let api: ApiServer
const failures: ApiFailure[] = []

const trace = formatHex(traceIdOf(1))
const PATHS = [
  '/',
  '/openapi.json',
  '/metrics',
  '/health/live',
  '/log/checkpoint',
  '/log/checkpoints',
  '/log/checkpoint/3',
  '/log/tile/0/000.p/3',
  '/log/tile/entries/000.p/3',
  '/log/policy',
  '/api/v1/executions',
  `/api/v1/executions/${trace}`,
  `/api/v1/executions/${trace}/evidence`,
  `/api/v1/executions/${trace}/spans/${spanHex(1)}/proof`,
  '/api/v1/receipts/0',
]

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-api-'))
  log = await StoredLog.create(directory)
  api = await apiOf(log, failures)
  await log.receive(1, [
    { id: 1, name: '<b onclick="x">&' },
    { id: 2, parent: 1, service: "it's" },
  ])
  await log.commit()
  await log.checkpoint()
})

afterAll(async () => {
  await api.close()
  await log.close()
  await rm(directory, { recursive: true })
})

test.each(PATHS)('%s answers GET and HEAD alike, and no other method', async (url) => {
  const get = await api.inject({ url })
  const head = await api.inject({ url, method: 'HEAD' })
  expect(get.statusCode).toBe(200)
  expect(head.statusCode).toBe(200)
  expect(head.rawPayload.length).toBe(0)
  for (const name of ['content-type', 'cache-control', 'content-disposition', 'x-content-type-options'])
    expect(head.headers[name], name).toBe(get.headers[name])
  expect(get.headers['x-content-type-options']).toBe('nosniff')
  expect(get.headers['content-security-policy']).toContain("default-src 'none'")
  expect(get.headers).not.toHaveProperty('access-control-allow-origin')
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'] as const) {
    const refused = await api.inject({
      url,
      method,
      ...(method !== 'OPTIONS' && { headers: { 'content-type': 'application/json' }, payload: '{' }),
    })
    expect(refused.statusCode, method).toBe(405)
    expect(refused.headers.allow).toBe('GET, HEAD')
    expect(errorOf(refused).code).toBe('method_not_allowed')
  }
})

test.each([
  '/nothing',
  '/log',
  '/api/v1',
  '/health',
  '/%',
  '/%ff',
  '/api/v1/executions/',
  `/${'a'.repeat(2000)}`,
])('%s is an error that says what to do', async (url) => {
  const response = await api.inject({ url })
  expect([400, 404]).toContain(response.statusCode)
  expect(response.headers['content-type']).toBe('application/json; charset=utf-8')
  expect(errorOf(response).next).toContain('/openapi.json')
})

test('a failure of ours is 500, told to the log and not to the client', async () => {
  const packs = { read: () => Promise.reject(new PackCorruption('/secret/place', 7, 'block checksum')) }
  const broken = await createServer({
    ...depsOf(log),
    packs,
    onError: (error, { url }) => failures.push({ error, url }),
  })
  for (const path of ['', '/evidence']) {
    const url = `/api/v1/executions/${trace}${path}`
    const response = await broken.inject({ url })
    expect(response.statusCode).toBe(500)
    expect(errorOf(response).code).toBe('internal')
    expect(response.body).not.toMatch(/secret|checksum|at /)
    expect(failures.pop()).toMatchObject({ url, error: { reason: 'block checksum' } })
  }
  // A place is free again after each failure.
  for (let i = 0; i < 20; i++)
    expect((await broken.inject({ url: `/api/v1/executions/${trace}/evidence` })).statusCode).toBe(500)
  await broken.close()
  failures.length = 0
})

test('a checkpoint that is not of this log is not served', async () => {
  const other = await createServer({
    ...depsOf(log),
    key: { ...log.key.verifier, name: 'example.com/other/v0' },
  })
  for (const url of ['/log/checkpoint', '/log/tile/0/000.p/1', `/api/v1/executions/${trace}/evidence`])
    expect((await other.inject({ url })).statusCode).toBe(500)
  await other.close()
})

test('ready when pipeline and receivers are', async () => {
  expect(Live.parse((await api.inject({ url: '/health/live' })).json())).toEqual({ status: 'live' })
  const ready = async () => {
    const response = await api.inject({ url: '/health/ready' })
    return { code: response.statusCode, ...Ready.parse(response.json()) }
  }
  expect(await ready()).toMatchObject({ code: 503, status: 'not ready', reasons: { length: 2 } })
  log.board.set('pipeline_ready', 1)
  expect(await ready()).toMatchObject({ code: 503, reasons: ['the receivers are not listening'] })
  log.board.set('receivers_ready', 1)
  expect(await ready()).toEqual({ code: 200, status: 'ready', reasons: [] })
  log.board.set('pipeline_ready', 0)
  expect(await ready()).toMatchObject({ code: 503, status: 'not ready' })
})

test('metrics are in the text format, and the page lists each of them', async () => {
  log.board.add('spans_accepted', 42)
  log.board.observeAck(0.004)
  log.board.observeAck(100)
  for (let segment = 0; segment < 3; segment++) log.board.observeSeal(0.6)
  const response = await api.inject({ url: '/metrics' })
  expect(response.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
  const metrics = parseMetrics(response.body)
  const value = (key: string): number | undefined => metrics.samples.get(key)
  expect(value('rootspan_spans_accepted_total')).toBe(42)
  expect(value('otelcol_receiver_accepted_spans_total{receiver="otlp"}')).toBe(42)
  expect(value('rootspan_ack_seconds_bucket{le="0.0025"}')).toBe(0)
  expect(value('rootspan_ack_seconds_bucket{le="0.005"}')).toBe(1)
  expect(value('rootspan_ack_seconds_bucket{le="5"}')).toBe(1)
  expect(value('rootspan_ack_seconds_bucket{le="+Inf"}')).toBe(2)
  expect(value('rootspan_ack_seconds_count')).toBe(2)
  expect(value('rootspan_ack_seconds_sum')).toBeCloseTo(100.004)
  expect(value('rootspan_settle_to_checkpoint_seconds_bucket{le="0.75"}')).toBe(3)
  expect(value('rootspan_checkpoint_size')).toBe(3)
  expect(value('process_start_time_seconds')).toBe(1_767_323_045 - 60)
  expect(value('rootspan_thread_cpu_seconds_total{thread="api"}')).toBe(0.25)

  log.board.set('checkpoint_time', 1)
  const all = parseMetrics((await api.inject({ url: '/metrics' })).body)
  const page = await readFile(join(import.meta.dirname, '../../docs/operate/metrics.md'), 'utf8')
  const documented = [...page.matchAll(/^\| `([a-z_]+)/gm)].map(([, name]) => name!)
  expect(documented.sort()).toEqual([...all.names].sort())
})

test('the page escapes what came in, names the key, and needs no script', async () => {
  const { body, headers } = await api.inject({ url: '/', headers: { host: 'a"b<c' } })
  expect(body).toContain('&#60;b onclick=&#34;x&#34;&#62;&#38;')
  expect(body).toContain('it&#39;s')
  expect(body).toContain(log.key.verifier.name)
  expect(body).toContain(`/api/v1/executions/${trace}/evidence`)
  expect(body).not.toMatch(/<b |<script|a"b|b<c/)
  expect(headers['content-security-policy']).toMatch(
    /^default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='/,
  )
})

test('every route and parameter is described', async () => {
  const description = (await api.inject({ url: '/openapi.json' })).json()
  expect(description.openapi).toBe('3.1.0')
  expect(Object.keys(description.paths).sort()).toEqual([
    '/api/v1/executions',
    '/api/v1/executions/{traceId}',
    '/api/v1/executions/{traceId}/evidence',
    '/api/v1/executions/{traceId}/records/{leafIndex}/proof',
    '/api/v1/executions/{traceId}/spans/{spanId}/proof',
    '/api/v1/executions/{traceId}/why',
    '/api/v1/findings',
    '/api/v1/receipts/{position}',
    '/health/live',
    '/health/ready',
    '/log/checkpoint',
    '/log/checkpoint/{size}',
    '/log/checkpoints',
    '/log/policy',
    '/log/tile/entries/{path}',
    '/log/tile/{level}/{path}',
    '/metrics',
  ])
  for (const [path, { get }] of Object.entries<{ get: Operation }>(description.paths)) {
    const inPath = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name)
    const described = (get.parameters ?? []).filter((one) => one.in === 'path').map((one) => one.name)
    expect(described.sort(), path).toEqual(inPath.sort())
    expect(get.operationId, path).toMatch(/^[a-z][A-Za-z]+$/)
  }
  expect(description.paths['/log/checkpoints'].get.parameters[0].schema).toMatchObject({ type: 'integer' })
})

test('a bundle of many pieces is the same as one of a single piece', async () => {
  const specs = Array.from({ length: 2500 }, (_, at) => ({
    id: at + 1,
    ...(at > 0 && { parent: Math.ceil(at / 3) }),
    attributes: { text: `${at} `.repeat(40) },
  }))
  await log.receive(2, specs)
  await log.commit()
  await log.checkpoint()
  const { rawPayload } = await api.inject({ url: `/api/v1/executions/${formatHex(traceIdOf(2))}/evidence` })
  expect(rawPayload.length).toBeGreaterThan(500_000)
  expect(verify(rawPayload, log.policy).records.length).toBe(2501)
})

interface Operation {
  readonly operationId: string
  readonly parameters?: readonly { readonly name: string; readonly in: string }[]
}

function depsOf({ reader, packs, board, key }: StoredLog): Parameters<typeof createServer>[0] {
  const use = { cpuSeconds: 0, threadCpuSeconds: undefined, residentBytes: 0, uptimeSeconds: 0 }
  return { reader, packs, board, key: key.verifier, version: '1', now: () => 0, use: () => use, onError() {} }
}

/**
 * Parses Prometheus text as its format page defines it, and throws on anything else: help and type before the
 * samples of a name, no sample twice, buckets that only grow, a count that is the last of them.
 */
function parseMetrics(text: string): { names: Set<string>; samples: Map<string, number> } {
  const names = new Set<string>()
  const samples = new Map<string, number>()
  const lines = text.split('\n')
  expect(lines.pop()).toBe('')
  let current = ''
  let type = ''
  for (const [at, line] of lines.entries()) {
    const help = /^# HELP ([a-z_]+) \S.*\.$/.exec(line)
    const kind = /^# TYPE ([a-z_]+) (counter|gauge|histogram)$/.exec(line)
    if (help) {
      expect(names).not.toContain(help[1])
      expect(lines[at + 1]).toMatch(new RegExp(`^# TYPE ${help[1]} `))
      names.add(help[1]!)
    } else if (kind) [, current, type] = kind as unknown as [string, string, string]
    else {
      const sample = /^([a-z_]+)(\{[a-z_]+="[^"\\\n]*"(?:,[a-z_]+="[^"\\\n]*")*\})? (-?[0-9.e+-]+)$/.exec(
        line,
      )
      if (sample === null) throw new Error(`no sample: ${line}`)
      const [, name, labels = '', value] = sample
      if (type === 'histogram')
        expect([`${current}_bucket`, `${current}_sum`, `${current}_count`]).toContain(name)
      else expect(name).toBe(current)
      if (type === 'counter') expect(name).toMatch(/_total$/)
      expect(samples.has(name! + labels), line).toBe(false)
      samples.set(name! + labels, Number(value))
    }
  }
  for (const name of names) {
    const buckets = [...samples].filter(([key]) => key.startsWith(`${name}_bucket`)).map(([, value]) => value)
    expect(buckets).toEqual([...buckets].sort((a, b) => a - b))
    if (buckets.length > 0) expect(samples.get(`${name}_count`)).toBe(buckets.at(-1))
  }
  return { names, samples }
}
