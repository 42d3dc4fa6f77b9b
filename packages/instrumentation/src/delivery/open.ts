/** Opens the own path of a process's governed spans, by its configuration. */
import type { Resolver } from '../require.ts'
import type { Runtime } from '../runtime.ts'
import { createDelivery } from './delivery.ts'
import { encoderOf } from './encode.ts'
import { endpointOf } from './endpoint.ts'
import { createSender } from './send.ts'

/** Does nothing if it is open. Without it, governed spans go the SDK's way like all others. */
export function openDelivery(
  runtime: Runtime,
  require: Resolver,
  env: NodeJS.ProcessEnv = process.env,
): void {
  if (runtime.delivery !== undefined) return
  const { config, log, emitter, continuity } = runtime
  const endpoint = endpointOf(config, log, env)
  if (endpoint === undefined) return
  const encode = encoderOf(require)
  if (encode === undefined) {
    log.warn('the SDK’s OTLP encoder is not found: there is neither spool nor gate')
    return
  }
  const number = (name: string, fallback: number): number => {
    const value = Number(env[name] || Number.NaN)
    return Number.isSafeInteger(value) && value > 0 ? value : fallback
  }
  runtime.delivery = createDelivery({
    encode,
    log,
    sender: createSender(endpoint),
    emitter: emitter.id,
    spool: config.spool,
    maxSpans: number('OTEL_BSP_MAX_QUEUE_SIZE', 8192),
    delayMillis: number('OTEL_BSP_SCHEDULE_DELAY', 1000),
    onRecovery: continuity.recovered,
  })
}
