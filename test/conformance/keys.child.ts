/** Takes security event tokens from the command line with keys that are fetched, and says what became of each. */
import { openRoutes } from '../../packages/collector/src/receiver/push.ts'
import { Refusal } from '../../packages/collector/src/receiver/receiver.ts'

const [jwksUrl, tokenFile, ...sets] = process.argv.slice(2) as [string, string, ...string[]]
const routes = await openRoutes(
  {
    opa: { enabled: false, path: '/opa', tokenFile: undefined, peer: 'opa', maxRequestBytes: 1 },
    ssf: {
      enabled: true,
      path: '/ssf',
      tokenFile,
      issuer: 'https://idp.example',
      audience: 'https://collector.example',
      jwksFile: undefined,
      jwksUrl,
      fingerprintKeyFile: undefined,
    },
  },
  async () => ({ rejectedSpans: 0, message: '', position: 0 }),
  () => BigInt(Date.now()) * 1_000_000n,
)
for (const set of sets)
  try {
    console.log((await routes.get('/ssf')!.take(Buffer.from(set))).status)
  } catch (error) {
    console.log(error instanceof Refusal ? `${error.code}: ${error.message}` : String(error))
  }
