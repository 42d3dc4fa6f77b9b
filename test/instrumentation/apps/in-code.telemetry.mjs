// How a service of ES modules sets OpenTelemetry up in code, before its own modules are loaded, and Rootspan beside it.
import { register } from 'node:module'
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http'
import { NodeSDK } from '@opentelemetry/sdk-node'
import {
  RootspanSpanProcessor,
  rootspanInstrumentations,
  rootspanSampler,
} from '../../../packages/instrumentation/src/index.ts'

register('@opentelemetry/instrumentation/hook.mjs', import.meta.url)
const nothing = { shouldSample: () => ({ decision: 0 }), toString: () => 'nothing' }
const sdk = new NodeSDK({
  instrumentations: [new HttpInstrumentation(), ...rootspanInstrumentations()],
  sampler: rootspanSampler(nothing),
  spanProcessors: [new RootspanSpanProcessor()],
})
sdk.start()
process.once('SIGTERM', () => sdk.shutdown().then(() => process.exit(0)))
