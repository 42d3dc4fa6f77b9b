/**
 * The load generator, a process of its own: sends traffic at a fixed rate or as fast as it is acknowledged,
 * and prints one JSON line a second and one at the end.
 *
 *     node --conditions=source test/bench/load.ts '{"port":4317,"spans":3000000}'
 */
import { type Client, grpcClient, httpClient } from './client.ts'
import { RecordedTraffic } from './recorded.ts'
import { Traffic } from './traffic.ts'

interface LoadOptions {
  readonly host: string
  readonly port: number
  readonly transport: 'grpc' | 'http'
  readonly connections: number
  /** Requests on their way at once, over all connections. */
  readonly inFlight: number
  readonly spansPerRequest: number
  /** Spans to send in all, and those that belong to the last ones' traces. */
  readonly spans: number
  /** Spans a second; 0 is as fast as it goes. */
  readonly rate: number
  readonly seed: number
  /** What instrumented services sent (`recorded.ts`) instead of traffic without governance. */
  readonly recorded: boolean
}

const DEFAULTS: LoadOptions = {
  host: '127.0.0.1',
  port: 4317,
  transport: 'grpc',
  connections: 4,
  inFlight: 32,
  spansPerRequest: 512,
  spans: 1_000_000,
  rate: 0,
  seed: 7,
  recorded: false,
}

export interface LoadResult {
  readonly sent: number
  readonly acknowledged: number
  readonly pushedBack: number
  readonly failed: number
  /** When the first request was sent, milliseconds since 1970: making the traffic takes seconds before that. */
  readonly startedAt: number
  readonly seconds: number
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly cpuSeconds: number
  readonly bytesPerSpan: number
}

/** Two sets of requests take turns, so that one is refreshed only when nothing of it is on its way. */
async function load(options: LoadOptions): Promise<LoadResult> {
  const make = options.transport === 'grpc' ? grpcClient : httpClient
  const clients: Client[] = Array.from({ length: options.connections }, () =>
    make(options.host, options.port),
  )
  const perRound = Math.max(options.inFlight * 2, Math.ceil(16_384 / options.spansPerRequest))
  const Made = options.recorded ? RecordedTraffic : Traffic
  const sets = [0, 1].map(
    (at) =>
      new Made({
        spansPerRequest: options.spansPerRequest,
        requests: perRound,
        seed: options.seed + at,
      }),
  )
  const latencies: number[] = []
  let sent = 0
  let acknowledged = 0
  let pushedBack = 0
  let failed = 0
  let resumeAt = 0
  const begin = performance.now()
  const cpu = process.cpuUsage()
  let last = 0
  const reporter = setInterval(() => {
    console.log(
      JSON.stringify({
        second: Math.round((performance.now() - begin) / 1000),
        acknowledged: acknowledged - last,
      }),
    )
    last = acknowledged
  }, 1000)

  const sendOne = async (client: Client, body: Buffer, spans: number): Promise<void> => {
    for (;;) {
      const wait = resumeAt - performance.now()
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
      const start = performance.now()
      const answer = await client.send(body).catch(() => undefined)
      if (answer?.ok) {
        latencies.push(performance.now() - start)
        acknowledged += spans
        return
      }
      if (answer === undefined) failed++
      else pushedBack++
      resumeAt = performance.now() + (answer?.retryAfter ?? 1) * 1000
    }
  }

  let turn = 0
  const free: Promise<void>[][] = [[], []]
  const slots: Set<Promise<void>> = new Set()
  while (sent < options.spans) {
    const at = turn++ % 2
    await Promise.all(free[at]!)
    free[at] = []
    sets[at]!.refresh(BigInt(Date.now()) * 1_000_000n)
    for (const [number, { body, spans }] of sets[at]!.requests.entries()) {
      if (options.rate > 0) {
        const ahead = (sent / options.rate) * 1000 - (performance.now() - begin)
        if (ahead > 1) await new Promise((resolve) => setTimeout(resolve, ahead))
      }
      while (slots.size >= options.inFlight) await Promise.race(slots)
      const done: Promise<void> = sendOne(clients[number % clients.length]!, body, spans).finally(() =>
        slots.delete(done),
      )
      slots.add(done)
      free[at]!.push(done)
      sent += spans
    }
  }
  await Promise.all(slots)
  clearInterval(reporter)
  const seconds = (performance.now() - begin) / 1000
  const used = process.cpuUsage(cpu)
  for (const client of clients) client.close()
  latencies.sort((a, b) => a - b)
  const quantile = (q: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * q))] ?? 0
  return {
    sent,
    acknowledged,
    pushedBack,
    failed,
    startedAt: performance.timeOrigin + begin,
    seconds,
    p50: quantile(0.5),
    p99: quantile(0.99),
    max: latencies.at(-1) ?? 0,
    cpuSeconds: (used.user + used.system) / 1e6,
    bytesPerSpan: sets[0]!.bytes / sets[0]!.spans,
  }
}

console.log(
  JSON.stringify(
    await load({ ...DEFAULTS, ...(JSON.parse(process.argv[2] ?? '{}') as Partial<LoadOptions>) }),
  ),
)
