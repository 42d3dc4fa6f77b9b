/**
 * `npm run bench`: the collector under load, measured from outside.
 *
 *     npm run bench                       all scenarios
 *     npm run bench -- --only sustained   one of them
 *     npm run bench -- --spans 500000     less of it
 *     npm run bench -- --only stages      CPU microseconds a span by stage, without sockets and disk
 *     npm run bench -- --only decisions   what each hook adds to a decision, about fifteen minutes
 *     npm run bench -- --only decisions --library jose   of libraries with such names
 *     npm run bench -- --only service     what all of them take from an Express service, about fourteen minutes
 *
 * Every scenario starts the real collector on an empty store in a temporary directory, and a load generator in
 * another process on the same machine. It prints a table, and all figures as JSON with --json FILE.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { measureDecisions, measureService, printDecisions, printService } from './instrumentation.ts'
import type { LoadResult } from './load.ts'
import { measureAllStages, printStages } from './stages.ts'
import { type BenchCollector, startBenchCollector } from './subject.ts'
import { measureAudit, measureVerify } from './verifying.ts'

interface Scenario {
  readonly name: string
  readonly what: string
  readonly load: Record<string, string | number | boolean>
  /** Spans as a share of --spans. */
  readonly share: number
  readonly audit?: boolean
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'sustained',
    what: 'OTLP/gRPC, 512 spans a request, as fast as acknowledged',
    load: { transport: 'grpc', spansPerRequest: 512 },
    share: 1,
    audit: true,
  },
  {
    name: 'steady',
    what: 'OTLP/gRPC, 512 spans a request, 40,000 spans/s',
    load: { transport: 'grpc', spansPerRequest: 512, rate: 40_000, inFlight: 64 },
    share: 0.4,
  },
  {
    name: 'governed',
    what: 'as sustained, recorded of two instrumented services: every trace governed and judged',
    load: { transport: 'grpc', spansPerRequest: 512, recorded: true },
    share: 0.2,
  },
  {
    name: 'http',
    what: 'OTLP/HTTP protobuf, 512 spans a request, as fast as acknowledged',
    load: { transport: 'http', spansPerRequest: 512 },
    share: 0.25,
  },
  {
    name: 'small',
    what: 'OTLP/gRPC, 8 spans a request, as fast as acknowledged',
    load: { transport: 'grpc', spansPerRequest: 8, inFlight: 128 },
    share: 0.1,
  },
  {
    name: 'small-http',
    what: 'OTLP/HTTP protobuf, 8 spans a request, as fast as acknowledged',
    load: { transport: 'http', spansPerRequest: 8, inFlight: 128 },
    share: 0.1,
  },
  {
    name: 'single',
    what: 'OTLP/gRPC, 1 span a request, as fast as acknowledged',
    load: { transport: 'grpc', spansPerRequest: 1, inFlight: 128 },
    share: 0.02,
  },
  {
    name: 'single-http',
    what: 'OTLP/HTTP protobuf, 1 span a request, as fast as acknowledged',
    load: { transport: 'http', spansPerRequest: 1, inFlight: 128 },
    share: 0.02,
  },
]

/** What is measured without a collector under load. */
const OTHERS = ['stages', 'decisions', 'service']
const NAMES = [...SCENARIOS.map(({ name }) => name), ...OTHERS]

interface Figures {
  readonly scenario: string
  readonly spans: number
  readonly bytesPerSpan: number
  readonly acknowledgedPerSecond: number
  /** Over the time until the last commit, less that for which the last traces had to be quiet. */
  readonly committedPerSecond: number
  readonly slowestSecond: { readonly acknowledged: number; readonly committed: number }
  /** In which nothing was acknowledged, and in which nothing was committed. */
  readonly secondsWithoutProgress: number
  readonly cpuMicrosPerSpan: Record<string, number>
  readonly ackMillis: { readonly p50: number; readonly p99: number; readonly max: number }
  readonly sealSeconds: { readonly p50: number; readonly p99: number }
  readonly peakAnonMiB: number
  readonly diskBytesPerSpan: Record<string, number>
  readonly pushedBack: number
}

async function runScenario(scenario: Scenario, spans: number): Promise<{ figures: Figures; extra: object }> {
  const directory = await mkdtemp(join(os.tmpdir(), 'rootspan-bench-'))
  const collector = await startBenchCollector(directory)
  try {
    const figures = await measureLoad(scenario, collector, Math.round(spans * scenario.share))
    const extra =
      scenario.audit === true
        ? { audit: await measureAudit(collector), verify: await measureVerify(collector) }
        : {}
    return { figures, extra }
  } finally {
    await collector.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

async function measureLoad(scenario: Scenario, collector: BenchCollector, spans: number): Promise<Figures> {
  const before = await collector.metrics()
  const accepted: number[] = []
  const committed: number[] = []
  let peakAnon = 0
  let finished = false
  const sampler = setInterval(() => {
    void collector.metrics().then((metrics) => {
      if (finished) return
      accepted.push(
        metrics.sum('rootspan_spans_accepted_total') - before.sum('rootspan_spans_accepted_total'),
      )
      committed.push(
        metrics.sum('rootspan_committed_spans_total') - before.sum('rootspan_committed_spans_total'),
      )
    })
    void collector.anonymousMemory().then((bytes) => {
      peakAnon = Math.max(peakAnon, bytes)
    })
  }, 1000)
  const result = await runLoad({
    ...scenario.load,
    spans,
    port: collector.port(String(scenario.load.transport)),
  })
  const target = before.sum('rootspan_spans_accepted_total') + result.acknowledged
  let after = await collector.metrics()
  while (after.sum('rootspan_committed_spans_total') + after.sum('rootspan_duplicate_spans_total') < target) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    after = await collector.metrics()
  }
  const seconds = (Date.now() - result.startedAt) / 1000 - collector.quietSeconds
  finished = true
  clearInterval(sampler)
  await new Promise((resolve) => setTimeout(resolve, 1500)) // the last checkpoint
  const last2 = await collector.metrics()
  const acknowledged = steps(accepted)
  const followed = steps(committed)
  const perSpan = (name: string, label?: string): number =>
    ((last2.sum(name, label) - before.sum(name, label)) / result.acknowledged) * 1e6
  const main = perSpan('rootspan_thread_cpu_seconds_total', 'thread="main"')
  const pipeline = perSpan('rootspan_thread_cpu_seconds_total', 'thread="pipeline"')
  const api = perSpan('rootspan_thread_cpu_seconds_total', 'thread="api"')
  const all = perSpan('process_cpu_seconds_total')
  return {
    scenario: scenario.name,
    spans: result.acknowledged,
    bytesPerSpan: result.bytesPerSpan,
    acknowledgedPerSecond: result.acknowledged / result.seconds,
    committedPerSecond: result.acknowledged / Math.max(seconds, result.seconds),
    slowestSecond: {
      acknowledged: Math.min(...acknowledged),
      committed: Math.min(...followed),
    },
    secondsWithoutProgress: [...acknowledged, ...followed].filter((done) => done === 0).length,
    cpuMicrosPerSpan: {
      collector: all,
      main,
      pipeline,
      'of it judging': perSpan('rootspan_judging_seconds_total'),
      api,
      pool: all - main - pipeline - api,
      generator: (result.cpuSeconds / result.acknowledged) * 1e6,
    },
    ackMillis: { p50: result.p50, p99: result.p99, max: result.max },
    sealSeconds: {
      p50: last2.quantile('rootspan_settle_to_checkpoint_seconds', 0.5),
      p99: last2.quantile('rootspan_settle_to_checkpoint_seconds', 0.99),
    },
    peakAnonMiB: peakAnon / 1024 / 1024,
    diskBytesPerSpan: await collector.diskPerSpan(result.acknowledged),
    pushedBack: result.pushedBack,
  }
}

/** What each whole second between the first and the last growth of a count has added to it. */
function steps(counts: readonly number[]): number[] {
  const first = counts.findIndex((count) => count > 0)
  const last = counts.indexOf(counts.at(-1) ?? 0)
  return counts.slice(first + 1, last).map((count, at) => count - counts[first + at]!)
}

async function runLoad(options: object): Promise<LoadResult> {
  const child = spawn(
    process.execPath,
    ['--conditions=source', join(import.meta.dirname, 'load.ts'), JSON.stringify(options)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let result: LoadResult | undefined
  for await (const line of createInterface({ input: child.stdout })) {
    const value = JSON.parse(line) as LoadResult | { second: number }
    if ('seconds' in value) result = value
    else if (process.stderr.isTTY) process.stderr.write(`\r${line.padEnd(60)}`)
  }
  if (child.exitCode === null) await once(child, 'exit')
  if (result === undefined) throw new Error('the load generator ended without a result')
  return result
}

function print(figures: Figures, what: string, extra: object): void {
  const round = (value: number, digits = 0): string =>
    value.toLocaleString('en', { maximumFractionDigits: digits })
  const list = (values: Record<string, number>, digits: number): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${round(value, digits)}`)
      .join(', ')
  console.log(`
${figures.scenario}: ${what}
  spans                    ${round(figures.spans)} of ${round(figures.bytesPerSpan)} bytes
  acknowledged             ${round(figures.acknowledgedPerSecond)} spans/s (durable), pushed back ${round(figures.pushedBack)} times
  committed                ${round(figures.committedPerSecond)} spans/s from the first byte to the last commit, less the quiet period
  seconds without progress ${figures.secondsWithoutProgress}; in the slowest ${round(figures.slowestSecond.acknowledged)} spans acknowledged, ${round(figures.slowestSecond.committed)} committed
  CPU, microseconds a span ${list(figures.cpuMicrosPerSpan, 2)}
  ack latency, ms          p50 ${round(figures.ackMillis.p50, 1)}, p99 ${round(figures.ackMillis.p99, 1)}, max ${round(figures.ackMillis.max, 1)}
  settle to checkpoint, s  p50 <= ${figures.sealSeconds.p50}, p99 <= ${figures.sealSeconds.p99}
  resident memory          ${round(figures.peakAnonMiB)} MiB without page cache (peak)
  disk bytes a span        ${list(figures.diskBytesPerSpan, 0)}`)
  for (const [name, value] of Object.entries(extra))
    console.log(`  ${name.padEnd(24)} ${JSON.stringify(value)}`)
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    spans: { type: 'string', default: '3000000' },
    library: { type: 'string', default: '' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(
    `npm run bench -- [--only NAME,...] [--spans N] [--library TEXT] [--json FILE]\nNAME: ${NAMES.join(', ')}\nTEXT: of decisions, libraries whose names have it`,
  )
} else {
  const wanted = values.only?.split(',') ?? NAMES
  const unknown = wanted.filter((name) => !NAMES.includes(name))
  if (unknown.length > 0) throw new Error(`no scenario ${unknown.join(', ')}: ${NAMES.join(', ')}`)
  const spans = Number(values.spans)
  const cpu = os.cpus()[0]?.model ?? 'unknown'
  const machine = `${os.availableParallelism()} x ${cpu}, Node ${process.version}, load ${os.loadavg()[0]?.toFixed(1)}`
  console.log(`machine: ${machine}`)
  const results: object[] = []
  for (const scenario of SCENARIOS.filter(({ name }) => wanted.includes(name))) {
    const { figures, extra } = await runScenario(scenario, spans)
    print(figures, scenario.what, extra)
    results.push({ ...figures, ...extra })
  }
  if (wanted.includes('stages')) {
    const figures = measureAllStages(spans)
    for (const [kind, each] of Object.entries(figures)) printStages(kind, each)
    results.push({ scenario: 'stages', ...figures })
  }
  if (wanted.includes('decisions')) {
    const decisions = await measureDecisions(values.library)
    printDecisions(decisions)
    results.push({ scenario: 'decisions', decisions })
  }
  if (wanted.includes('service')) {
    const service = await measureService()
    printService(service)
    results.push({ scenario: 'service', service })
  }
  if (values.json !== undefined)
    await writeFile(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`)
}
