// A set-up of OpenTelemetry that knows nothing of Rootspan: its own SDK, which says which spans it got.
import { NodeSDK } from '@opentelemetry/sdk-node'

const processor = {
  onStart() {},
  onEnd: ({ name }) => console.log(`got ${name}`),
  forceFlush: async () => {},
  shutdown: async () => {},
}
new NodeSDK({ spanProcessors: [processor] }).start()
