// A service with a set-up of its own: NodeSDK in code, no flag.
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

const own = new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })
const processor = process.env.WRAPPED === 'yes' ? exceptGoverned(own) : own
const sdk = new NodeSDK({
  sampler: rootspanSampler(),
  spanProcessors: [new RootspanSpanProcessor(), processor],
})
sdk.start()
await withExecution({ name: 'job', kind: 'job' }, () => {
  const decision = recordDecision({ outcome: 'allow' })
  return governedAction({ name: 'write', type: 'write', decision }, () => 'done')
})
await sdk.shutdown()
// A service that serves on while it is shut down.
if (process.env.LATE === 'yes')
  withExecution({ name: 'late', kind: 'job' }, () => recordDecision({ outcome: 'allow' }))
