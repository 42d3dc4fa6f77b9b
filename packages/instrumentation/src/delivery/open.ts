/** Opens the ways of a process's spans to the collector, by its configuration. */
import { createLog, type Log } from '../log.ts'
import type { Runtime } from '../runtime.ts'
import { createDelivery } from './delivery.ts'
import { endpointOf } from './endpoint.ts'
import { createExporter, type SpanExporter } from './exporter.ts'
import { createPack, encodeSpans } from './request.ts'
import { createSender } from './send.ts'
import { sendAtExit } from './send-at-exit.ts'

/** Does nothing if it is open. Without it, governed spans go the SDK's way like all others. */
export function openDelivery(runtime: Runtime, env: NodeJS.ProcessEnv = process.env): void {
  if (runtime.delivery !== undefined) return
  const { config, log, emitter, continuity } = runtime
  const endpoint = endpointOf(config, log, env)
  if (endpoint === undefined) return
  const number = (name: string, fallback: number): number => {
    const value = Number(env[name] || Number.NaN)
    return Number.isSafeInteger(value) && value > 0 ? value : fallback
  }
  runtime.delivery = createDelivery({
    encode: encodeSpans,
    pack: createPack(log),
    log,
    sender: createSender(endpoint),
    sendAtExit: endpoint.isGrpc ? undefined : (bodies, millis) => sendAtExit(endpoint, bodies, millis),
    emitter: emitter.id,
    spool: config.spool,
    maxSpans: number('OTEL_BSP_MAX_QUEUE_SIZE', 8192),
    delayMillis: number('OTEL_BSP_SCHEDULE_DELAY', 1000),
    onRecovery: continuity.recovered,
  })
}

/** The exporter of spans that are not governed; undefined where only the SDK's own knows the way, such as gRPC. */
export function openExporter(log: Log, env: NodeJS.ProcessEnv = process.env): SpanExporter | undefined {
  const { OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: traces, OTEL_EXPORTER_OTLP_PROTOCOL: all } = env
  if ((traces || all || 'http/protobuf').trim() !== 'http/protobuf') return undefined
  const { OTEL_EXPORTER_OTLP_TRACES_COMPRESSION: ours, OTEL_EXPORTER_OTLP_COMPRESSION: every } = env
  if ((ours || every || 'none').trim() !== 'none') return undefined
  // What is wrong with it is said by `openDelivery`, or by the SDK's exporter.
  const endpoint = endpointOf({ endpoint: undefined }, createLog('silent'), env)
  if (endpoint === undefined) return undefined
  const { timeoutMillis } = endpoint
  return createExporter({ encode: encodeSpans, sender: createSender(endpoint), log, timeoutMillis })
}
