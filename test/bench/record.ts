/**
 * Records what two instrumented services send: `test/bench/recorded/shop.otlp`, which the benchmark sends again and again.
 *
 *     node --conditions=source test/bench/record.ts
 *
 * The services are those of `test/continuity`, unchanged programs under the register flag. Of ten requests six read an
 * order, two refund one, for which the first service asks the second, one is refused by the policy and one needs nobody's
 * permission. A request of OTLP may be any number of them, one after the other, so that the file is one request, too.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { buffer } from 'node:stream/consumers'
import { claimsOf, sign } from '../instrumentation/tokens.ts'
import { RECORDED } from './recorded.ts'

const REGISTER = join(import.meta.dirname, '../../packages/instrumentation/src/register.ts')
const FILE = join(import.meta.dirname, '../continuity/shop.service.cjs')
const JWT_KEY = 'the key of the service that signs tokens'
/** So that what is recorded can be sent in any year. */
const NEVER = 4_000_000_000

interface Service {
  readonly url: string
  stop(): Promise<void>
}

async function start(
  name: string,
  collector: string,
  env: Readonly<Record<string, string>>,
): Promise<Service> {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, ['--import', REGISTER, FILE], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH,
      HOME,
      OTEL_SERVICE_NAME: name,
      OTEL_RESOURCE_ATTRIBUTES: `service.version=2026.11.3,service.instance.id=${name}-7d9f6c5b8-x2x9k,deployment.environment.name=production`,
      OTEL_NODE_RESOURCE_DETECTORS: 'env',
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector,
      ROOTSPAN_FINGERPRINT_KEY: 'a key of sixteen bytes or more',
      ROOTSPAN_LOG_LEVEL: 'warn',
      SERVICE: name,
      JWT_KEY,
      ...env,
    },
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /^listening on (http:\S+)$/.exec(line)?.[1]
    if (url === undefined) continue
    const stop = async (): Promise<void> => {
      child.kill('SIGTERM')
      await once(child, 'exit')
    }
    return { url, stop }
  }
  throw new Error(`${name} ended before it listened`)
}

const bodies: Buffer[] = []
const sink = createServer(async (request, response) => {
  const body = await buffer(request)
  if (request.url === '/v1/traces') bodies.push(body)
  response.setHeader('content-type', 'application/x-protobuf').end()
})
sink.listen(0, '127.0.0.1')
await once(sink, 'listening')
const collector = `http://127.0.0.1:${(sink.address() as AddressInfo).port}`
const pay = await start('pay', collector, {})
const shop = await start('shop', collector, { PAY: pay.url })

const bearer = (sub: string): Record<string, string> => ({
  authorization: `Bearer ${sign(claimsOf({ aud: ['shop', 'pay'], sub, exp: NEVER }), JWT_KEY)}`,
})
const read = { path: '/orders/7', headers: bearer('alice') }
const refund = { path: '/orders/7/refund', method: 'POST', headers: bearer('alice') }
const refused = { path: '/orders/7', headers: bearer('mallory') }
const health = { path: '/health' }
for (const { path, ...init } of [read, read, refund, read, health, read, refund, refused, read, read])
  await (await fetch(shop.url + path, init)).arrayBuffer()

await shop.stop()
await pay.stop()
sink.close()
sink.closeAllConnections()
await writeFile(RECORDED, Buffer.concat(bodies))
console.log(`${RECORDED}: ${Buffer.concat(bodies).length} bytes of ${bodies.length} requests`)
