/**
 * The OpenTelemetry SDK that the application has installed, of whichever version, set up by the usual `OTEL_*`
 * variables as its own entry point would, with our sampler, processor and hooks added.
 *
 * NodeSDK takes sampler and processors from the environment only while none are given; as ours are given, those of the
 * environment are made here, out of the parts that NodeSDK itself is made of.
 */

import { askOwn } from './active.ts'
import { contextManager } from './context-manager.ts'
import { packed, type SpanProcessor } from './delivery/exporter.ts'
import { openDelivery, openExporter } from './delivery/open.ts'
import { idGenerator } from './ids.ts'
import type { Log } from './log.ts'
import { exceptGoverned, RootspanSpanProcessor } from './processor.ts'
import { apisOf, startWatched } from './provider.ts'
import { type Packages, packagesOf } from './require.ts'
import type { Runtime } from './runtime.ts'
import { belowSampled, rootspanSampler, type Sampler } from './sampler.ts'
import { shorten } from './short-context.ts'
import { quicken, type TracerProvider } from './tracer.ts'

export interface Sdk {
  start(): void
  shutdown(): Promise<void>
  /** Sends what waits. */
  flush(): Promise<void>
}

type Make<T> = new (...args: unknown[]) => T

/** What of the SDK's packages is used; the same in 2.x and 3.x. */
interface TraceSdk {
  readonly BatchSpanProcessor: Make<SpanProcessor>
  readonly SimpleSpanProcessor: Make<SpanProcessor>
  readonly ConsoleSpanExporter: Make<object>
  readonly AlwaysOnSampler: Make<Sampler>
  readonly AlwaysOffSampler: Make<Sampler>
  readonly ParentBasedSampler: Make<Sampler>
  readonly TraceIdRatioBasedSampler: Make<Sampler>
}

interface Resources {
  defaultResource(): { merge(other: unknown): unknown }
  resourceFromAttributes(attributes: Record<string, unknown>): unknown
}

/** Packages that patch modules say which in a field that is theirs alone. */
interface Instrumentation {
  readonly _modules?: readonly { readonly name: string }[]
}

export interface Instrumentations {
  readonly list: readonly object[]
  /** Names of the modules that they patch; undefined if it cannot be told. */
  readonly modules: readonly string[] | undefined
}

/** The application's own auto-instrumentations, or none. */
export async function autoInstrumentations(packages: Packages, log: Log): Promise<Instrumentations> {
  const name = '@opentelemetry/auto-instrumentations-node'
  const found = await load<{ getNodeAutoInstrumentations(): Instrumentation[] }>(
    packages,
    name,
    'getNodeAutoInstrumentations',
  )
  if (found === undefined) {
    log.warn(`${name} is not installed: requests and outgoing calls are not spans`)
    return { list: [], modules: [] }
  }
  const list = found.getNodeAutoInstrumentations()
  const known = list.every(({ _modules }) => Array.isArray(_modules))
  return {
    list,
    modules: known ? list.flatMap(({ _modules }) => _modules!.map((one) => one.name)) : undefined,
  }
}

/** Makes the SDK; undefined, with a warning, if the application has none. `attributes` may be promises. */
export async function createSdk(
  packages: Packages,
  runtime: Runtime,
  instrumentations: readonly object[],
  attributes: Record<string, unknown>,
): Promise<Sdk | undefined> {
  const { log } = runtime
  const name = '@opentelemetry/sdk-node'
  const sdkNode = await load<{ NodeSDK: Make<Pick<Sdk, 'start' | 'shutdown'>> }>(packages, name, 'NodeSDK')
  if (sdkNode === undefined) {
    log.warn('@opentelemetry/sdk-node is not installed: nothing is recorded')
    return undefined
  }
  // Its own dependencies, not those that the application may have beside it.
  const inner = packagesOf(packages.require.resolve(name))
  const current = await load<TraceSdk>(inner, '@opentelemetry/sdk-trace', 'BatchSpanProcessor')
  const trace =
    current ?? (await load<TraceSdk>(inner, '@opentelemetry/sdk-trace-base', 'BatchSpanProcessor'))
  const resources = await load<Resources>(inner, '@opentelemetry/resources', 'defaultResource')
  if (trace === undefined || resources === undefined) {
    log.warn('this version of @opentelemetry/sdk-node is not supported: nothing is recorded')
    return undefined
  }
  const own = new RootspanSpanProcessor(runtime)
  const processors = [
    // The goodbye is that of the process, which serves on while the SDK shuts down.
    Object.assign(own, { shutdown: () => own.forceFlush() }),
    ...(await processorsFromEnv(inner, trace, current !== undefined, runtime)),
  ]
  const ids = idGenerator()
  const sampler = rootspanSampler(samplerFromEnv(trace, log), runtime)
  const manager = contextManager()
  const sdk = new sdkNode.NodeSDK({
    instrumentations,
    contextManager: manager,
    idGenerator: ids,
    resource: resources.defaultResource().merge(resources.resourceFromAttributes(attributes)),
    sampler,
    spanProcessors: processors,
    // Log records hold what the application writes, tokens too: without being asked for they do not leave the process.
    ...(words(process.env.OTEL_LOGS_EXPORTER).length === 0 && { logRecordProcessors: [] }),
  })
  withoutArguments(sdk, log)
  const apis = await apisOf([packages, inner])
  return {
    start() {
      const ours = (provider: object): void => {
        if (!countsSpans()) quicken(provider as TracerProvider, { sampler, ids })
      }
      for (const { ROOT_CONTEXT } of apis) shorten(ROOT_CONTEXT)
      startWatched(
        apis.map(({ trace }) => trace),
        () => sdk.start(),
        log,
        ours,
      )
      askOwn(manager)
    },
    shutdown: () => sdk.shutdown(),
    flush: async () => {
      await Promise.all(processors.map((one) => one.forceFlush()))
    },
  }
}

/** Whether the SDK's tracers count their spans for metrics of the SDK itself, which others would not. */
function countsSpans(): boolean {
  return (process.env.OTEL_NODE_EXPERIMENTAL_SDK_METRICS ?? '').trim().toLowerCase() === 'true'
}

/** What a command line holds may be a secret: `--api-key=...`. */
const ARGUMENTS = ['process.command_args', 'process.command_line']

interface Detector {
  detect(config?: unknown): { attributes?: Record<string, unknown> }
}

/**
 * Takes the arguments of the process out of what the SDK's detectors find, whichever those are. The list is a member of
 * the SDK's that it does not document: where it is another one, this is said.
 */
function withoutArguments(sdk: object, log: Log): void {
  const own = sdk as { _resourceDetectors?: Detector[] }
  if (!Array.isArray(own._resourceDetectors)) {
    log.warn(
      'arguments of the process may be on its resource: OTEL_NODE_RESOURCE_DETECTORS=env,host prevents it',
    )
    return
  }
  own._resourceDetectors = own._resourceDetectors.map((detector) => ({
    detect(config) {
      const found = detector.detect(config)
      const attributes = { ...found.attributes }
      for (const name of ARGUMENTS) delete attributes[name]
      return { ...found, attributes }
    },
  }))
}

/**
 * `OTEL_TRACES_EXPORTER`: otlp (by `OTEL_EXPORTER_OTLP_PROTOCOL`), console, none. With otlp, governed spans go their own
 * path to the same endpoint.
 */
async function processorsFromEnv(
  inner: Packages,
  trace: TraceSdk,
  isCurrent: boolean,
  runtime: Runtime,
): Promise<SpanProcessor[]> {
  const { log, config } = runtime
  // sdk-trace-base took the exporter itself, sdk-trace takes options.
  const options = (exporter: object): object => (isCurrent ? { exporter } : exporter)
  const names = new Set(words(process.env.OTEL_TRACES_EXPORTER))
  if (names.size === 0) names.add('otlp')
  const processors: SpanProcessor[] = []
  for (const name of names) {
    if (name === 'none') continue
    if (name === 'console')
      processors.push(new trace.SimpleSpanProcessor(options(new trace.ConsoleSpanExporter())))
    else if (name === 'otlp') {
      const own = openExporter(log)
      const exporter = own ?? (await otlpExporter(inner, log))
      if (exporter === undefined) continue
      openDelivery(runtime)
      const batch = new trace.BatchSpanProcessor(batching(exporter, isCurrent))
      const processor = own === undefined ? batch : packed(batch, log)
      const isElsewhere = config.endpoint !== undefined
      processors.push(isElsewhere ? processor : exceptGoverned(processor, runtime))
    } else log.warn(`OTEL_TRACES_EXPORTER: ${name.slice(0, 40)} is not supported here`)
  }
  return processors
}

/** The former SDK reads `OTEL_BSP_*` itself; for the current one NodeSDK does, and so this. */
function batching(exporter: object, isCurrent: boolean): object {
  if (!isCurrent) return exporter
  const number = (name: string): number | undefined => {
    const value = Number(process.env[name] || Number.NaN)
    return Number.isFinite(value) && value >= 0 ? value : undefined
  }
  return {
    exporter,
    maxQueueSize: number('OTEL_BSP_MAX_QUEUE_SIZE'),
    scheduledDelayMillis: number('OTEL_BSP_SCHEDULE_DELAY'),
    exportTimeoutMillis: number('OTEL_BSP_EXPORT_TIMEOUT'),
    maxExportBatchSize: number('OTEL_BSP_MAX_EXPORT_BATCH_SIZE'),
  }
}

async function otlpExporter(inner: Packages, log: Log): Promise<object | undefined> {
  const { OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: traces, OTEL_EXPORTER_OTLP_PROTOCOL: all } = process.env
  const protocol = (traces || all || 'http/protobuf').trim()
  const kind = { grpc: 'grpc', 'http/json': 'http', 'http/protobuf': 'proto' }[protocol]
  if (kind === undefined) log.warn('OTEL_EXPORTER_OTLP_PROTOCOL is not known; http/protobuf is used')
  const name = `@opentelemetry/exporter-trace-otlp-${kind ?? 'proto'}`
  const found = await load<{ OTLPTraceExporter: Make<object> }>(inner, name, 'OTLPTraceExporter')
  if (found === undefined) log.warn(`${name} is not installed: nothing is sent`)
  return found && new found.OTLPTraceExporter()
}

/** `OTEL_TRACES_SAMPLER` and its argument; by default what a parent says, and everything without one. */
function samplerFromEnv(trace: TraceSdk, log: Log): Sampler {
  const { OTEL_TRACES_SAMPLER: name = 'parentbased_always_on', OTEL_TRACES_SAMPLER_ARG: argument } =
    process.env
  const ratio = argument === undefined || argument === '' ? 1 : Number(argument)
  const roots: Readonly<Record<string, () => Sampler>> = {
    always_on: () => new trace.AlwaysOnSampler(),
    always_off: () => new trace.AlwaysOffSampler(),
    traceidratio: () => new trace.TraceIdRatioBasedSampler(ratio >= 0 && ratio <= 1 ? ratio : 1),
  }
  const root = roots[name.trim().replace(/^parentbased_/, '')]
  if (root === undefined) log.warn('OTEL_TRACES_SAMPLER is not known; parentbased_always_on is used')
  if (root !== undefined && !name.trim().startsWith('parentbased_')) return root()
  return belowSampled(new trace.ParentBasedSampler({ root: (root ?? roots.always_on!)() }))
}

/**
 * A package as ES modules if it has them, and `sign` is among what they export. As CommonJS, OpenTelemetry's current
 * packages reach each other through getters, which costs a service some 10 microseconds a request.
 */
async function load<T>(
  { require, import: load }: Packages,
  name: string,
  sign: string,
): Promise<T | undefined> {
  try {
    const namespace = await load(name)
    if (namespace !== undefined && sign in (namespace as object)) return namespace as T
  } catch {
    // Not installed, or not for `import`.
  }
  try {
    return require(name) as T
  } catch {
    return undefined
  }
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(',').flatMap((word) => (word.trim() === '' ? [] : [word.trim()]))
}
