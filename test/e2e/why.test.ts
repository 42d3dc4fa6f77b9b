/**
 * Findings and the five answers from outside: a real service behind a real collector, and executions by OTLP/JSON, asked
 * for over the API, with `rootspan` and with `rootspan-verify`.
 */
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { Execution, Findings, Why } from '../../packages/collector/src/api/schema.ts'
import { type Application, startQuickCollector, startService } from '../instrumentation/support.ts'
import { claimsOf, sign } from '../instrumentation/tokens.ts'
import { cleanUp } from './process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  readMetrics,
  runRootspan,
  runVerifier,
  waitForTrace,
} from './support.ts'

const JWT_KEY = 'the key of these tests'
const SHOP = join(import.meta.dirname, '../continuity/shop.service.cjs')

/** What the self-test of an instrumented service says, so that silence about authorization means something. */
const HOOKS = {
  key: 'governance.instrumentation.hooks',
  value: {
    arrayValue: {
      values: ['jsonwebtoken@9.0.2 effective', 'casbin@5.51.1 effective'].map((stringValue) => ({
        stringValue,
      })),
    },
  },
}

let collector: CollectorProcess
let shop: Application

/** Of an execution that acts without any authorization, and of one that carries no governance. */
const unauthorized = randomBytes(16).toString('hex')
const plain = randomBytes(16).toString('hex')
let governed: string

const rootspan = (...args: string[]) => runRootspan([...args, '--url', collector.api], collector.directory)
const verifier = (...args: string[]) => runVerifier(args, collector.directory)
const get = async (path: string): Promise<unknown> => (await fetch(`${collector.api}${path}`)).json()

beforeAll(async () => {
  collector = await startQuickCollector()
  shop = await startService(collector, {
    name: 'shop',
    file: SHOP,
    env: { SERVICE: 'shop', JWT_KEY, PAY: 'http://127.0.0.1:9' },
  })
  const token = sign(claimsOf({ aud: ['shop', 'pay'] }), JWT_KEY)
  const answer = await shop.request('/orders/7', { headers: { authorization: `Bearer ${token}` } })
  expect(answer.status).toBe(200)
  governed = answer.traceId
  await send(plain, {}, {})
  await send(
    unauthorized,
    { 'governance.record.kind': 'request', 'governance.execution.kind': 'request' },
    {
      'governance.record.kind': 'action',
      'governance.action.name': 'order.\u001b[2Jrefund',
      'governance.action.type': 'write',
      'governance.action.outcome': 'success',
    },
  )
  for (const traceId of [plain, unauthorized, governed]) {
    await waitForTrace(collector, traceId, 1)
    await writeFile(
      join(collector.directory, `${traceId}.rootspan`),
      await downloadEvidence(collector, traceId),
    )
  }
  await writeFile(join(collector.directory, 'log.policy'), `log ${collector.vkey}\nquorum none\n`)
}, 120_000)

afterAll(async () => {
  await shop?.stop()
  await collector?.stop()
  await cleanUp()
})

/** A request and what it calls, with these attributes. */
async function send(
  traceId: string,
  request: Record<string, string>,
  called: Record<string, string>,
): Promise<void> {
  const attributesOf = (attributes: Record<string, string>) =>
    Object.entries(attributes).map(([key, stringValue]) => ({ key, value: { stringValue } }))
  const end = BigInt(Date.now()) * 1_000_000n
  const ids = [1, 2].map(() => randomBytes(8).toString('hex'))
  const spans = [request, called].map((attributes, at) => ({
    traceId,
    spanId: ids[at],
    ...(at > 0 && { parentSpanId: ids[0] }),
    name: at === 0 ? 'POST /refunds' : 'refund',
    kind: at === 0 ? 2 : 1,
    startTimeUnixNano: String(end - 1_000_000n + BigInt(at)),
    endTimeUnixNano: String(end),
    attributes: attributesOf(attributes),
  }))
  const isGoverned = Object.keys(request).length > 0
  const resource = {
    attributes: [
      ...attributesOf({ 'service.name': 'refunds' }),
      ...(isGoverned ? [...attributesOf({ 'governance.instrumentation.version': '0.1.0' }), HOOKS] : []),
    ],
  }
  const response = await fetch(`${collector.http}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans }] }] }),
  })
  expect(await response.text()).toBe('{}')
}

test('a real request is answered for, and every clause that is recorded has proved records', async () => {
  const { code, stdout, stderr } = await verifier('why', `${governed}.rootspan`, '--policy', 'log.policy')
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })

  const titles = [
    'Why did it run?',
    'Who authorized it?',
    'What policy permitted it?',
    'How did trust persist while it ran?',
    'Did governance stay continuous?',
  ]
  const lines = stdout.split('\n')
  expect(lines.filter((line) => titles.includes(line))).toEqual(titles)
  expect(stdout).toMatch(/It began with the request "GET \/orders\/:id" of shop at /)
  expect(stdout).toMatch(/\n {4}leaf [0-9]+, proved under the checkpoint of size [0-9]+\n/)

  const json = await verifier('why', `${governed}.rootspan`, '--policy', 'log.policy', '--json')
  const said = JSON.parse(json.stdout) as z.output<typeof Why> & { result: string; treeSize: number }
  expect(said.result).toBe('verified')
  const recorded = said.answers.flatMap(({ clauses }) => clauses).filter(({ basis }) => basis === 'recorded')
  expect(recorded.length).toBeGreaterThanOrEqual(3)
  for (const { records } of recorded) {
    expect(records.length).toBeGreaterThan(0)
    for (const { leafIndex } of records) expect(leafIndex).toBeLessThan(said.treeSize)
  }

  const api = Why.parse(await get(`/api/v1/executions/${governed}/why`))
  const textsOf = (answers: (typeof api)['answers']) =>
    answers.map(({ clauses }) => clauses.map(({ text }) => text))
  expect(textsOf(api.answers)).toEqual(textsOf(said.answers))
  const { records } = api.answers[0]!.clauses[0]!
  const proof = await fetch(`${collector.api}${records[0]!.proof}`)
  expect(proof.headers.get('rootspan-leaf-hash')).toBe(records[0]!.leafHash)
  expect(await proof.text()).toMatch(/^c2sp\.org\/tlog-proof@v1\n/)
})

test('what nothing is known about is said so', async () => {
  const { code, stdout } = await rootspan('why', plain)
  expect(code).toBe(0)

  expect(stdout).toContain('No authorization was recorded')
  expect(stdout).toContain('[unknown]')
  expect(Why.parse(await get(`/api/v1/executions/${plain}/why`)).continuity).toBe('unknown')
})

test('a broken execution is told by all who are asked, with nothing that steers a terminal', async () => {
  const text = await rootspan('why', unauthorized)

  expect(text.stdout).toMatch(/\n {2}No, by [0-9]+ finding/)
  expect(text.stdout).not.toContain('\u001b')
  const verified = await verifier('why', `${unauthorized}.rootspan`, '--policy', 'log.policy')
  expect(verified.stdout).not.toContain('\u001b')
  expect(verified.stdout).toMatch(/GC-A01 \(/)
  const checked = await verifier('verify', `${unauthorized}.rootspan`, '--policy', 'log.policy')

  expect(checked.stdout).toMatch(/continuity +broken: GC-/)

  const execution = Execution.parse(await get(`/api/v1/executions/${unauthorized}`))
  expect(execution.continuity).toBe('broken')
  expect(execution.rules).toContain('GC-A01')
  const { findings } = Findings.parse(await get('/api/v1/findings'))
  const own = findings.filter(({ traceId }) => traceId === unauthorized)
  expect(own.length).toBe(Object.values(execution.findings).reduce((sum, count) => sum + count))
  expect(findings.some(({ traceId }) => traceId === governed || traceId === plain)).toBe(false)
})

test('pipelines are told by the exit code', async () => {
  const of = async (...args: string[]) => (await rootspan('findings', ...args)).code
  expect(await of('--fail-on', 'critical', '--service', 'nobody')).toBe(0)
  expect(await of()).toBe(0)
  expect(await of('--fail-on', 'low')).toBe(1)
  expect(await of('--fail-on', 'low', '--since', '2100-01-01T00:00:00Z')).toBe(0)
  expect(await of('--fail-on', 'low', '--since', '1h')).toBe(1)
  expect(await of('--since', 'yesterday')).toBe(2)
  const nobody = await runRootspan(['findings', '--url', 'http://127.0.0.1:9'], collector.directory)
  expect(nobody.code).toBe(2)
  expect(nobody.stderr).toContain('no answer from http://127.0.0.1:9')
  const bad = await verifier('why', 'log.policy', '--policy', 'log.policy')
  expect(bad.code).toBe(1)
  const list = await rootspan('findings')

  expect(list.stdout).toContain(unauthorized)
})

/** What the published schema of SARIF 2.1.0 asks of the parts that are used. */
const text = z.strictObject({ text: z.string().min(1) })
const level = z.enum(['none', 'note', 'warning', 'error'])
const Sarif = z.strictObject({
  $schema: z.url(),
  version: z.literal('2.1.0'),
  runs: z.tuple([
    z.strictObject({
      tool: z.strictObject({
        driver: z.strictObject({
          name: z.string(),
          version: z.string(),
          rules: z.array(
            z.strictObject({
              id: z.string(),
              shortDescription: text,
              fullDescription: text,
              help: text,
              defaultConfiguration: z.strictObject({ level }),
              properties: z.record(z.string(), z.unknown()),
            }),
          ),
        }),
      }),
      results: z.array(
        z.strictObject({
          ruleId: z.string(),
          ruleIndex: z.number().int().min(0),
          level,
          message: text,
          locations: z.array(
            z.strictObject({
              logicalLocations: z.array(z.strictObject({ fullyQualifiedName: z.string(), kind: z.string() })),
            }),
          ),
          partialFingerprints: z.record(z.string(), z.string()),
          properties: z.record(z.string(), z.unknown()),
        }),
      ),
    }),
  ]),
})

test('SARIF names rules, levels, and traces and spans as logical locations', async () => {
  const { stdout } = await rootspan('findings', '--sarif', '--rule', 'gc-a01')
  const [{ tool, results }] = Sarif.parse(JSON.parse(stdout)).runs
  expect(results.length).toBeGreaterThan(0)
  for (const { ruleId, ruleIndex, level, locations } of results) {
    expect(ruleId).toBe('GC-A01')
    expect(tool.driver.rules[ruleIndex]!.id).toBe(ruleId)
    expect(level).toBe(tool.driver.rules[ruleIndex]!.defaultConfiguration.level)
    for (const { logicalLocations } of locations)
      expect(logicalLocations[0]!.fullyQualifiedName).toMatch(new RegExp(`^${unauthorized}/[0-9a-f]{16}$`))
  }
})

test('metrics count judgements by what they came to, and findings by rule', async () => {
  const metrics = await readMetrics(collector)
  const { findings } = Findings.parse(await get('/api/v1/findings'))
  expect(metrics.get('rootspan_executions_judged_total{continuity="broken"}')).toBeGreaterThanOrEqual(1)
  for (const { rule, severity } of findings)
    expect(
      metrics.get(`rootspan_findings_total{rule="${rule}",severity="${severity}"}`),
    ).toBeGreaterThanOrEqual(1)
})
