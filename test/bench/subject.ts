/** The collector under measurement: the real command in a process of its own, watched through /metrics and /proc. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '../../packages/collector/src/main.cts')

export interface BenchCollector {
  readonly api: string
  /** How long a trace must be quiet before it settles: taken off the time of the last commit. */
  readonly quietSeconds: number
  port(transport: string): number
  metrics(): Promise<Metrics>
  /** Resident memory that is not backed by files, in bytes. */
  anonymousMemory(): Promise<number>
  diskPerSpan(spans: number): Promise<Record<string, number>>
  stop(): Promise<void>
}

/** Starts a collector on an empty store with its defaults, on free ports. */
export async function startBenchCollector(directory: string): Promise<BenchCollector> {
  const ports = { grpc: await freePort(), http: await freePort(), api: await freePort() }
  const data = join(directory, 'data')
  const child = spawn(
    process.execPath,
    [
      ...[
        '--conditions=source',
        MAIN,
        'run',
        '--init',
        '--data',
        data,
        '--signer',
        join(directory, 'signer'),
      ],
      ...['--log-level', 'warn'],
      ...Object.entries(ports).flatMap(([name, port]) => [`--${name}`, `127.0.0.1:${port}`]),
    ],
    // The environment of deploy/rootspan.service.
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { MALLOC_ARENA_MAX: '2', NODE_OPTIONS: '--max-semi-space-size=4', ...process.env },
    },
  )
  const api = `http://127.0.0.1:${ports.api}`
  for (let tries = 0; ; tries++) {
    const ready = await fetch(`${api}/health/ready`).catch(() => undefined)
    if (ready?.ok) break
    if (tries > 300 || child.exitCode !== null) throw new Error('the collector did not become ready')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return {
    api,
    quietSeconds: 5,
    port: (transport) => (transport === 'http' ? ports.http : ports.grpc),
    metrics: async () => parseMetrics(await (await fetch(`${api}/metrics`)).text()),
    async anonymousMemory() {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
      return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024
    },
    async diskPerSpan(spans) {
      const [log, packs] = await Promise.all([sizeOf(join(data, 'log')), sizeOf(join(data, 'packs'))])
      return { log: log / spans, packs: packs / spans, total: (log + packs) / spans }
    },
    async stop() {
      child.kill('SIGTERM')
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}

async function sizeOf(directory: string): Promise<number> {
  const names = await readdir(directory)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

export interface Metrics {
  /** Sum of the samples of a metric, or of those with a label such as `thread="main"`. */
  sum(name: string, label?: string): number
  /** Upper bound of the bucket that holds a quantile; NaN while there is nothing. */
  quantile(histogram: string, q: number): number
}

export function parseMetrics(text: string): Metrics {
  const samples = text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', labels = '', value = ''] = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)/.exec(line) ?? []
      return { name, labels, value: Number(value) }
    })
  return {
    sum: (name, label = '') =>
      samples
        .filter((sample) => sample.name === name && sample.labels.includes(label))
        .reduce((sum, { value }) => sum + value, 0),
    quantile(histogram, q) {
      const buckets = samples.filter(({ name }) => name === `${histogram}_bucket`)
      const total = Math.max(0, ...buckets.map(({ value }) => value))
      if (total === 0) return Number.NaN
      const found = buckets.find(({ value }) => value >= total * q)
      return Number(/le="([^"]+)"/.exec(found?.labels ?? '')?.[1]?.replace('+Inf', 'Infinity'))
    },
  }
}
