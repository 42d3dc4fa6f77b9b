/** The two services under the real OpenTelemetry SDK, a wire tap, and what the SDK itself says that it exported. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import { type Running, startProgram } from './process.ts'

export const PROTOCOLS = ['grpc', 'http/protobuf', 'http/json'] as const
export const COMPRESSIONS = ['none', 'gzip'] as const

export interface Exporting {
  readonly endpoint: string
  readonly protocol: (typeof PROTOCOLS)[number]
  readonly compression: (typeof COMPRESSIONS)[number]
}

/** A span as the SDK's console exporter printed it. Ids are hex. */
export interface ExportedSpan {
  readonly service: string
  readonly traceId: string
  readonly id: string
  /** Empty for none. */
  readonly parent: string
  readonly isParentRemote: boolean
  readonly name: string
}

/** A service that runs. */
export interface Service {
  readonly url: string
  readonly process: Running
  /** SIGTERM, as an orchestrator would, and its whole standard output and error. */
  stop(): Promise<{ stdout: string; stderr: string }>
}

/** Starts `apps/<name>.service.cjs` with all three signals on, by nothing but environment and `--require`. */
export async function startService(
  name: 'orders' | 'stock',
  { endpoint, protocol, compression }: Exporting,
  env: Readonly<Record<string, string>> = {},
): Promise<Service> {
  const file = join(import.meta.dirname, 'apps', `${name}.service.cjs`)
  const child = startProgram(
    process.execPath,
    ['--require', '@opentelemetry/auto-instrumentations-node/register', file],
    {
      name,
      env: {
        NODE_ENV: 'test',
        OTEL_SERVICE_NAME: name,
        OTEL_TRACES_EXPORTER: 'otlp,console',
        OTEL_METRICS_EXPORTER: 'otlp',
        OTEL_LOGS_EXPORTER: 'otlp',
        OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_EXPORTER_OTLP_COMPRESSION: compression,
        OTEL_BSP_SCHEDULE_DELAY: '200',
        OTEL_BLRP_SCHEDULE_DELAY: '200',
        OTEL_METRIC_EXPORT_INTERVAL: '500',
        OTEL_METRIC_EXPORT_TIMEOUT: '500',
        // Those of the clouds ask the network.
        OTEL_NODE_RESOURCE_DETECTORS: 'env,host,os,process,serviceinstance',
        OTEL_LOG_LEVEL: 'warn',
        ...env,
      },
    },
  )
  const url = (await child.says(/listening on (http:\S+)$/m))[1]!
  return {
    url,
    process: child,
    async stop() {
      child.signal('SIGTERM')
      const { code, stdout, stderr } = await child.ends()
      if (code !== 0) throw new Error(`${name} ended with ${code}: ${stderr}`)
      return { stdout, stderr }
    },
  }
}

/** What a service said, taken apart: the spans that the SDK exported, and every line that nobody expects. */
export function readOutput(
  service: string,
  stdout: string,
  stderr: string,
): { spans: ExportedSpan[]; noise: string[] } {
  const spans: ExportedSpan[] = []
  const noise: string[] = []
  let block: string[] | undefined
  for (const line of `${stdout}\n${stderr}`.split('\n')) {
    if (line === '{') block = []
    else if (line === '}' && block !== undefined) {
      spans.push(readSpan(service, block.join('\n')))
      block = undefined
    } else if (block !== undefined) block.push(line)
    else if (!EXPECTED.some((pattern) => pattern.test(line))) noise.push(line)
  }
  return { spans, noise }
}

/** The SDK's greeting and goodbye (its own entry point shuts down twice), and what the services log. */
const EXPECTED = [
  /^$/,
  /^OpenTelemetry automatic instrumentation started successfully$/,
  /^shutdown may only be called once per (?:Logger|Meter|Tracer)Provider$/,
  /^listening on http:/,
  /^\{"level":(?:30|50),/,
]

/** Reads one object of `console.dir`: members of the span itself are indented by two spaces, those below by more. */
function readSpan(service: string, text: string): ExportedSpan {
  const member = (name: string): string | undefined => {
    const quoted = new RegExp(`^  ${name}: (?:'([^']*)'|"([^"]*)"),?$`, 'm').exec(text)
    return quoted?.[1] ?? quoted?.[2]
  }
  const parent = /^ {2}parentSpanContext: (\{[^}]*\}|undefined)/m.exec(text)?.[1]
  const [traceId, id, name] = [member('traceId'), member('id'), member('name')]
  if (traceId === undefined || id === undefined || name === undefined || parent === undefined)
    throw new Error(`the console exporter printed something else than a span:\n${text}`)
  return {
    service,
    traceId,
    id,
    parent: /spanId: '([0-9a-f]{16})'/.exec(parent)?.[1] ?? '',
    isParentRemote: parent.includes('isRemote: true'),
    name,
  }
}

/** A TCP proxy in front of a receiver that keeps what senders sent. */
export interface Tap {
  readonly url: string
  /** Everything sent so far. */
  sent(): Buffer
  close(): Promise<void>
}

export async function tap(target: string): Promise<Tap> {
  const { hostname, port } = new URL(target)
  const parts: Buffer[] = []
  const server = createServer((socket) => {
    const onward = connect(Number(port), hostname)
    socket.on('data', (part) => parts.push(part as Buffer))
    socket.pipe(onward).pipe(socket)
    for (const end of [socket, onward]) {
      end.on('error', () => undefined)
      // A pipe does not end when the other side just goes.
      end.on('close', () => [socket.destroy(), onward.destroy()])
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sent: () => Buffer.concat(parts),
    async close() {
      server.close()
      await once(server, 'close')
    },
  }
}
