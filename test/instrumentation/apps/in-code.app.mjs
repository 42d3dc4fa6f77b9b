// A service with a set-up of its own: NodeSDK in code, no flag.
import { trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { NodeSDK } from '@opentelemetry/sdk-node'
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace'
import {
  exceptGoverned,
  governedAction,
  RootspanSpanProcessor,
  recordDecision,
  rootspanSampler,
  withExecution,
} from '../../../packages/instrumentation/src/index.ts'

/** Lets nothing through but what says that this process lives, and a span without which it would not begin. */
const signsOfLife = {
  shouldSample: (_context, _traceId, name, _kind, attributes) => ({
    decision: name === 'ordinary' || 'governance.emitter.id' in attributes ? 2 : 0,
  }),
}
const own = new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })
const processor = process.env.WRAPPED === 'yes' ? exceptGoverned(own) : own
const sdk = new NodeSDK({
  sampler: process.env.SAMPLER === 'signs' ? signsOfLife : rootspanSampler(),
  spanProcessors: [new RootspanSpanProcessor(), processor],
})
sdk.start()
trace.getTracer('service').startSpan('ordinary').end()
await withExecution({ name: 'job', kind: 'job' }, () => {
  const decision = recordDecision({ outcome: 'allow' })
  return governedAction({ name: 'write', type: 'write', decision }, () => 'done')
})
await sdk.shutdown()
// A service that serves on while it is shut down.
if (process.env.LATE === 'yes')
  withExecution({ name: 'late', kind: 'job' }, () => recordDecision({ outcome: 'allow' }))
