/**
 * A long execution under the real OpenTelemetry SDK: its start enters the log before it ends, its children link to it
 * at once, its end is linked to its start, and a collector that was killed in between loses nothing.
 */
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { Kind } from '@rootspan/lineage/governance/kind'
import { nameOf, Parent, Persistence, Role } from '@rootspan/lineage/record/entry'
import { parsePolicy } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cleanUp, makeDirectory, startProgram } from './process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  readMetrics,
  runRootspan,
  startCollectorProcess,
  waitForTrace,
} from './support.ts'

let collector: CollectorProcess
beforeAll(async () => {
  collector = await startCollectorProcess({ directory: await makeDirectory(), quietPeriod: '1s' })
}, 120_000)
afterAll(async () => {
  await collector?.stop()
  await cleanUp()
})

async function startJob(protocol: 'grpc' | 'http/protobuf' | 'http/json') {
  const file = join(import.meta.dirname, 'apps/job.service.cjs')
  const child = startProgram(
    process.execPath,
    ['--require', '@opentelemetry/auto-instrumentations-node/register', file],
    {
      name: 'job',
      env: {
        OTEL_SERVICE_NAME: 'jobs',
        OTEL_METRICS_EXPORTER: 'none',
        OTEL_LOGS_EXPORTER: 'otlp',
        OTEL_EXPORTER_OTLP_ENDPOINT: protocol === 'grpc' ? collector.grpc : collector.http,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_BSP_SCHEDULE_DELAY: '200',
        OTEL_BLRP_SCHEDULE_DELAY: '200',
        OTEL_NODE_ENABLED_INSTRUMENTATIONS: 'pino',
        OTEL_NODE_RESOURCE_DETECTORS: 'env',
      },
    },
  )
  const url = (await child.says(/listening on (http:\S+)$/m))[1]!
  const tell = async (what: 'begin' | 'step' | 'end'): Promise<{ traceId: string; spanId: string }> => {
    const response = await fetch(`${url}/${what}`)
    return (await response.json()) as { traceId: string; spanId: string }
  }
  const stop = () => {
    child.signal('SIGTERM')
    return child.ends()
  }
  return { tell, stop }
}

async function evidenceOf(traceId: string, spans: number): Promise<VerifiedExecution> {
  await waitForTrace(collector, traceId, spans)
  const policy = parsePolicy(`log ${collector.vkey}\nquorum none\n`)
  return verify(await downloadEvidence(collector, traceId), policy)
}

function shown({ records }: VerifiedExecution) {
  const names = new Map(
    records.map(({ leaf, entry, span }) => [formatHex(leaf), span?.name ?? nameOf(Kind, entry.kind)]),
  )
  return records
    .filter(({ span }) => span !== undefined)
    .map(({ entry, span }) => ({
      name: span!.name,
      kind: nameOf(Kind, entry.kind),
      parent: nameOf(Parent, entry.parent),
      ...(entry.parentLeaf.length > 0 && { above: names.get(formatHex(entry.parentLeaf)) }),
      causes: entry.causes.map(({ role, leaf }) => `${nameOf(Role, role)}: ${names.get(formatHex(leaf))}`),
    }))
}

test.each(['grpc', 'http/protobuf', 'http/json'] as const)('%s', { timeout: 180_000 }, async (protocol) => {
  const job = await startJob(protocol)
  const { traceId, spanId } = await job.tell('begin')
  const started = { name: 'governance.execution.started', kind: 'request', parent: 'unsaid', causes: [] }

  const begun = await evidenceOf(traceId, 1)
  expect(shown(begun)).toEqual([started])
  expect(formatHex(begun.records[0]!.entry.spanId)).toBe(spanId)

  await job.tell('step')
  const going = await evidenceOf(traceId, 3)
  const decided = {
    name: 'governance.decision',
    kind: 'span',
    parent: 'unsaid',
    causes: ['decision: decision'],
  }
  const step = { name: 'step', kind: 'action', parent: 'linked', above: decided.name, causes: [] }
  expect(going.segments.map(({ segment }) => segment)).toEqual([0, 1])
  // The job's own span has not come: the step hangs on what was said of it last.
  expect(shown(going)).toEqual(expect.arrayContaining([started, decided, step]))
  expect(going.records.map(({ entry }) => entry.persistence)).toContain(Persistence.joined)
  expect(going.verdict.completeness.state).toBe('not provable')

  await job.tell('end')
  const ended = await evidenceOf(traceId, 4)
  expect(shown(ended).at(-1)).toEqual({
    name: 'nightly job',
    kind: 'span',
    parent: 'root',
    causes: [`logRecord: ${started.name}`, `logRecord: ${decided.name}`],
  })
  // The job is one tree: its span, what was said of it, and what it did.
  expect(ended.roots.map(({ record }) => record.span?.name)).toEqual(['nightly job'])
  expect(ended.roots[0]!.children.map(({ record }) => record.span?.name)).toEqual([
    started.name,
    decided.name,
  ])
  expect(await job.stop()).toMatchObject({ code: 0 })
  const metrics = await readMetrics(collector)
  expect(metrics.get('rootspan_log_records_total{result="passed_over"}')).toBeGreaterThan(0)
  expect(metrics.get('rootspan_log_records_total{result="accepted"}')).toBeGreaterThanOrEqual(2)
})

test('a start that was acknowledged survives a kill before it was committed', {
  timeout: 180_000,
}, async () => {
  const directory = await makeDirectory()
  const first = await startCollectorProcess({ directory, quietPeriod: '1m' })
  const traceId = 'ab'.repeat(16)
  const logRecords = [
    { traceId, spanId: 'cd'.repeat(8), eventName: 'governance.execution.started', timeUnixNano: '5' },
  ]
  const response = await fetch(`${first.http}/v1/logs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'rootspan-receipt': '1' },
    body: JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] }),
  })
  expect([response.status, await response.text(), response.headers.get('rootspan-receipt')]).toEqual([
    200,
    '{}',
    '0',
  ])
  first.process.signal('SIGKILL')
  await first.process.ends()
  const second = await startCollectorProcess({ directory, quietPeriod: '500ms' })
  await waitForTrace(second, traceId, 1)
  const { executions } = (await (await fetch(`${second.api}/api/v1/executions`)).json()) as {
    executions: { name: string }[]
  }
  expect(executions.map(({ name }) => name)).toEqual(['governance.execution.started'])
  await second.stop()
  const checked = await runRootspan(['fsck'], directory)
  expect(checked.code, checked.stdout).toBe(0)
})
