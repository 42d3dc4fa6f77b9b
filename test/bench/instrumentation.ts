/**
 * What the instrumentation costs: microseconds that a hook adds to a decision, and requests a second that it takes from
 * an Express service.
 *
 *     npm run bench -- --only decisions,service
 *
 * Services run in processes of their own and take turns in short slices, so that what else the machine does meets all
 * of them; libraries with and without hooks do so within one process. Figures are medians of the differences within a
 * turn, and of services means of those of their processes. Load, and the receiver of spans, are in this process.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { createHmac, pbkdf2Sync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSpanTable, scanTraces } from '@rootspan/lineage/otlp/scan'

const REGISTER = join(import.meta.dirname, '../../packages/instrumentation/src/register.ts')
const PLAIN = '@opentelemetry/auto-instrumentations-node/register'
const JWT_KEY = 'the key of the service that signs tokens'

/** Hooks that the measured programs meet. */
const HOOKS = 'jsonwebtoken,casbin,@casl/ability,@cedar-policy/cedar-wasm'

interface DecisionFigures {
  readonly library: string
  /** Decisions within one request. */
  readonly perRequest: number
  readonly microsWithout: number
  readonly microsAdded: number
  /** The least and the most that any of the processes gave. */
  readonly range: readonly [number, number]
}

interface ServiceFigures {
  readonly variant: string
  /** What else the service does for a request. */
  readonly workMillis: number
  readonly requestsPerSecond: number
  readonly cpuMicrosPerRequest: number
  /** Against the plain SDK; positive is more. */
  readonly requestsPercent: Mean
  readonly cpuMicrosAdded: Mean
  /** Delivered ones. */
  readonly spansPerRequest: number
}

/** Of what processes differ by: one that is the same in all else is up to 5 % slower or faster than the next. */
interface Mean {
  readonly mean: number
  /** Standard error of the mean. */
  readonly error: number
}

/** Starts a program of this directory, with modules imported before it. */
function start(
  file: string,
  imports: readonly string[],
  env: Readonly<Record<string, string>>,
): ChildProcess {
  const { PATH = '', HOME = '' } = process.env
  return fork(join(import.meta.dirname, file), {
    execArgv: imports.flatMap((name) => ['--import', name]),
    env: {
      PATH,
      HOME,
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
      OTEL_NODE_RESOURCE_DETECTORS: 'env',
      ROOTSPAN_FINGERPRINT_KEY: 'a key of sixteen bytes or more',
      ROOTSPAN_SELF_TEST: 'off',
      ROOTSPAN_LOG_LEVEL: 'warn',
      ...env,
    },
  })
}

function answer<T>(child: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const gone = (): void => reject(new Error('a measured process has ended'))
    child.once('exit', gone)
    child.once('message', (message) => {
      child.removeListener('exit', gone)
      resolve(message as T)
    })
  })
}

async function ask<T>(child: ChildProcess, message: object): Promise<T> {
  const answered = answer<T>(child)
  child.send(message)
  return answered
}

function stop(children: readonly ChildProcess[]): void {
  for (const child of children) child.disconnect()
}

/** Of each library, as the compiler does not treat two alike. */
const DECISION_PROCESSES = 9
/**
 * Of them count those in which the library took the least by itself: where the machine is shared, others make all of it half
 * as slow again for minutes. Not by what the hook adds, which must not choose its own figure.
 */
const QUIET_PROCESSES = 5
/** Until the compiler is done: hooks take twice as long for the first second, and get faster for two more. */
const DECISION_WARM_UP_MILLIS = 3000
/** By decisions a request: a thousand of the slower libraries' take 0.2 s. */
const DECISION_MILLIS = { 1: 1500, 1000: 3000 } as const

/**
 * Each library whose name has this, in processes of its own, as a service has one or two of them. Spans are made and
 * governed with and without hooks, and exported in neither case: the difference is the hooks.
 */
export async function measureDecisions(named: string): Promise<DecisionFigures[]> {
  const lister = start('decisions.child.cjs', [], {})
  const libraries = (await answer<string[]>(lister)).filter((library) => library.includes(named))
  stop([lister])
  if (libraries.length === 0) throw new Error(`no library's name has ${named}`)
  const counts = [1, 1000] as const
  const cases = libraries.flatMap((library) => counts.map((perRequest) => ({ library, perRequest })))
  const figures = cases.map((one) => ({ ...one, processes: [] as Process[] }))
  for (let process = 0; process < DECISION_PROCESSES; process++)
    for (const library of libraries) {
      const child = start('decisions.child.cjs', [], {
        OTEL_TRACES_EXPORTER: 'none',
        REGISTER,
        LIBRARY: library,
      })
      await answer(child)
      await ask(child, { count: 1, millis: DECISION_WARM_UP_MILLIS })
      for (const figure of figures) {
        if (figure.library !== library) continue
        const { perRequest: count } = figure
        const measured = await ask<Measured>(child, { count, millis: DECISION_MILLIS[count] })
        figure.processes.push({ without: median(measured.without), added: median(measured.added) })
      }
      stop([child])
    }
  return figures.map(({ library, perRequest, processes }) => {
    const quiet = processes.toSorted((a, b) => a.without - b.without).slice(0, QUIET_PROCESSES)
    const added = quiet.map((one) => one.added)
    return {
      library,
      perRequest,
      microsWithout: median(quiet.map((one) => one.without)),
      microsAdded: median(added),
      range: [Math.min(...added), Math.max(...added)],
    }
  })
}

/** Medians of one process. */
interface Process {
  readonly without: number
  readonly added: number
}

/** Microseconds a decision, of samples. */
interface Measured {
  readonly without: number[]
  readonly added: number[]
}

const VARIANTS = [
  { name: 'plain SDK', imports: [PLAIN], env: {} },
  { name: 'with Rootspan', imports: [REGISTER], env: {} },
  { name: 'no library hooked', imports: [REGISTER], env: { ROOTSPAN_DISABLED_HOOKS: HOOKS } },
  { name: 'no OpenTelemetry', imports: [], env: {} },
] as const

/** Processes of each variant, one after the other: they differ in all that they do. */
const GENERATIONS = 8
/**
 * Until the compiler is nearly done with a service. One that is hooked has more code and takes longer: with some 5,000
 * requests it is the compiler that is measured, for a third of the CPU, and up to 30,000 it still gets faster.
 */
const WARM_UP_REQUESTS = 40_000
const WARM_UP_SLICE_MILLIS = 1000
/** After its turn a service still sends spans and collects garbage, which must not meet the next one's turn. */
const SETTLE_MILLIS = 200
/** Longer than the SDK waits before it sends the last spans. */
const END_MILLIS = 7000
const CONNECTIONS = 16

/**
 * What else the service does for a request, and how it is asked. Short turns meet all variants alike; in turns
 * of 250 ms hooks cost more than in these, perhaps as a service then comes back to caches that are full of the others.
 */
const LOADS = [
  { work: 0, rounds: 12, millis: 500 },
  { work: 5, rounds: 6, millis: 500 },
] as const

interface Slice {
  readonly rate: number
  readonly cpu: number
}

interface Service {
  readonly child: ChildProcess
  readonly port: number
  readonly path: string
  /** Requests that it is sent, in turns. Users come again with the same token. */
  readonly asked: readonly Buffer[]
  requests: number
  /** Microseconds of CPU until the end of its last turn. */
  cpu: number
}

export async function measureService(): Promise<ServiceFigures[]> {
  const sink = await startSink()
  /** By load, generation, turn and variant. */
  const turns: Slice[][][][] = LOADS.map(() => [])
  const delivered = VARIANTS.map((): number[] => [])
  const rounds = roundsOfWork()
  for (let generation = 0; generation < GENERATIONS; generation++) {
    const services: Service[] = []
    for (const [at, { imports, env }] of VARIANTS.entries()) {
      const path = `/${generation}/${at}`
      const child = start('express.service.cjs', imports, {
        ...env,
        OTEL_EXPORTER_OTLP_ENDPOINT: sink.url + path,
        JWT_KEY,
      })
      const { port } = await answer<{ port: number }>(child)
      services.push({ child, path, port, asked: requestsOf(port), requests: 0, cpu: 0 })
    }
    for (const service of services)
      while (service.requests < WARM_UP_REQUESTS)
        service.requests += await load(service, WARM_UP_SLICE_MILLIS)
    for (const [which, one] of LOADS.entries()) {
      for (const service of services) {
        const asked = { rounds: Math.round(rounds * one.work) }
        const { cpu } = await ask<{ cpu: NodeJS.CpuUsage }>(service.child, asked)
        service.cpu = cpu.user + cpu.system
      }
      const own: Slice[][] = []
      turns[which]!.push(own)
      for (let round = 0; round < one.rounds; round++) {
        const turn: Slice[] = []
        const order = [...services.entries()]
        // Whoever comes after a busy one is at a disadvantage, so that the order changes.
        for (const [at, service] of round % 2 === 0 ? order : order.reverse())
          turn[at] = await slice(service, one.millis)
        own.push(turn)
      }
    }
    await sleep(END_MILLIS)
    for (const [at, { path, requests }] of services.entries())
      delivered[at]!.push((sink.spans.get(path) ?? 0) / requests)
    stop(services.map(({ child }) => child))
  }
  sink.close()
  return LOADS.flatMap(({ work }, which) =>
    VARIANTS.map(({ name }, at) => ({
      variant: name,
      workMillis: work,
      requestsPerSecond: median(turns[which]!.flat().map((turn) => turn[at]!.rate)),
      cpuMicrosPerRequest: median(turns[which]!.flat().map((turn) => turn[at]!.cpu)),
      requestsPercent: meanOf(turns[which]!, (turn) => (turn[at]!.rate / turn[0]!.rate - 1) * 100),
      cpuMicrosAdded: meanOf(turns[which]!, (turn) => turn[at]!.cpu - turn[0]!.cpu),
      spansPerRequest: median(delivered[at]!),
    })),
  )
}

/** Of the medians of generations. */
function meanOf(generations: readonly Slice[][][], of: (turn: readonly Slice[]) => number): Mean {
  const medians = generations.map((turns) => median(turns.map(of)))
  const mean = medians.reduce((sum, one) => sum + one, 0) / medians.length
  const squares = medians.reduce((sum, one) => sum + (one - mean) ** 2, 0)
  return { mean, error: Math.sqrt(squares / (medians.length - 1) / medians.length) }
}

/** How often the service's work is to be done over, for a millisecond. Measured once, so that all do the same. */
function roundsOfWork(): number {
  const count = 20_000
  let best = Number.POSITIVE_INFINITY
  for (let time = 0; time < 10; time++) {
    const begin = performance.now()
    pbkdf2Sync('work', 'salt', count, 32, 'sha256')
    best = Math.min(best, performance.now() - begin)
  }
  return count / best
}

/**
 * Loads a service for a while. CPU time is that since its last turn: what it does afterwards, such as sending spans,
 * counts, but requests do not wait for it.
 */
async function slice(service: Service, millis: number): Promise<Slice> {
  const { child } = service
  const begin = performance.now()
  const requests = await load(service, millis)
  const seconds = (performance.now() - begin) / 1000
  await sleep(SETTLE_MILLIS)
  const { cpu } = await ask<{ cpu: NodeJS.CpuUsage }>(child, {})
  const micros = cpu.user + cpu.system - service.cpu
  service.cpu += micros
  service.requests += requests
  return { rate: requests / seconds, cpu: micros / requests }
}

/**
 * Requests on kept connections, each sent when the one before it is answered; returns how many were. This process does
 * not sleep meanwhile: a service would have to wake it for each answer, which costs the slower one more, and it is the
 * service that is to be measured.
 */
async function load({ port, asked }: Pick<Service, 'port' | 'asked'>, millis: number): Promise<number> {
  let done = 0
  let isOver = false
  const stayAwake = (): void => {
    if (!isOver) setImmediate(stayAwake)
  }
  stayAwake()
  const run = (socket: Socket, first: number): Promise<void> =>
    new Promise((resolve, reject) => {
      let at = first
      const send = (): void => {
        socket.write(asked[at++ % asked.length]!)
      }
      socket.setNoDelay(true)
      socket.on('error', reject)
      socket.on('close', () => reject(new Error('the service has closed a connection')))
      socket.on('data', (chunk) => {
        // Answers are small and come in one piece; anything but 200 ends the measurement.
        if (chunk.subarray(9, 12).toString('latin1') !== '200') {
          reject(new Error(`the service answered ${chunk.subarray(0, 40).toString('latin1')}`))
          return
        }
        done++
        if (!isOver) {
          send()
          return
        }
        socket.end()
        resolve()
      })
      socket.once('connect', send)
    })
  const sockets = Array.from({ length: CONNECTIONS }, () => connect(port, '127.0.0.1'))
  const all = Promise.all(sockets.map((socket, at) => run(socket, at * 7)))
  await Promise.race([sleep(millis), all])
  isOver = true
  await all
  return done
}

/** One request for each of 100 users, as bytes. */
function requestsOf(port: number): Buffer[] {
  const now = Math.floor(Date.now() / 1000)
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const header = encode({ alg: 'HS256', typ: 'JWT', kid: 'key-1' })
  return Array.from({ length: 100 }, (_, at) => {
    const claims = {
      iss: 'https://login.example.com',
      sub: `user-${at}`,
      aud: 'orders',
      scope: 'orders:read',
      jti: `token-${at}`,
      iat: now,
      exp: now + 3600,
    }
    const signed = `${header}.${encode(claims)}`
    const token = `${signed}.${createHmac('sha256', JWT_KEY).update(signed).digest('base64url')}`
    return Buffer.from(
      `GET /orders/${at} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    )
  })
}

interface Sink {
  readonly url: string
  /** Spans that came, by the path of who sent them. */
  readonly spans: ReadonlyMap<string, number>
  close(): void
}

/** Takes OTLP requests, and counts their spans: a variant that loses some must not look cheap. */
async function startSink(): Promise<Sink> {
  const spans = new Map<string, number>()
  const table = createSpanTable()
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const path = request.url!.replace(/\/v1\/traces$/, '')
      spans.set(path, (spans.get(path) ?? 0) + scanTraces(Buffer.concat(parts), table).count)
      response.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function printDecisions(decisions: readonly DecisionFigures[]): void {
  console.log('\ninstrumentation: microseconds a decision, and what the hook adds')
  for (const { library, perRequest, microsWithout, microsAdded, range } of decisions) {
    const [least, most] = range.map((micros) => micros.toFixed(2))
    console.log(
      `  ${library.padEnd(42)} ${String(perRequest).padStart(5)} a request  ${microsWithout.toFixed(2).padStart(8)}  + ${microsAdded.toFixed(2)} (${least} to ${most})`,
    )
  }
}

export function printService(service: readonly ServiceFigures[]): void {
  console.log('\ninstrumentation: Express, a JWT and casbin for each request, and ms of other work')
  for (const one of service)
    console.log(
      `  ${one.workMillis} ms  ${one.variant.padEnd(20)} ${one.requestsPerSecond.toFixed(0).padStart(6)} requests/s (${range(one.requestsPercent)} %)  ${one.cpuMicrosPerRequest.toFixed(0)} us CPU a request (${range(one.cpuMicrosAdded)})  ${one.spansPerRequest.toFixed(2)} spans a request`,
    )
}

function range({ mean, error }: Mean): string {
  return `${mean < 0 ? '' : '+'}${mean.toFixed(1)} ± ${error.toFixed(1)}`
}
