/**
 * What `scanTraces` costs: microseconds per span over requests of 512 spans of about 600 bytes and 12 attributes.
 *
 * `node --conditions=source test/bench/scan.ts [rounds]`. CPU time of the main thread where Node tells it.
 */
import { createSpanTable, scanTraces } from '@rootspan/lineage/otlp/scan'
import { WireWriter } from '@rootspan/lineage/wire'

const SPANS = 512
const REQUESTS = 64

function attribute(key: string, value: string | number | boolean): Uint8Array {
  const any = new WireWriter(64)
  if (typeof value === 'string') any.string(1, value)
  else if (typeof value === 'boolean') any.varint(2, value ? 1 : 0)
  else any.varint(3, value)
  return new WireWriter(128).string(1, key).bytes(2, any.finish()).finish()
}

/** A span as an HTTP server's instrumentation writes it; a fifth of them carry governance. */
function span(index: number): Uint8Array {
  const id = new Uint8Array(16).map((_, i) => 1 + ((index * 31 + i * 7) & 0x7f))
  const out = new WireWriter(1024)
    .bytes(1, id)
    .bytes(2, id.subarray(0, 8))
    .bytes(4, id.subarray(8))
    .string(5, 'GET /api/orders/:id')
    .varint(6, 2)
    .fixed64(7, 1_764_000_000_000_000_123n + BigInt(index))
    .fixed64(8, 1_764_000_000_004_000_123n + BigInt(index))
  const attributes: [string, string | number | boolean][] = [
    ['http.request.method', 'GET'],
    ['url.full', `https://shop.example.com/api/orders/${100_000 + index}?expand=lines&tenant=42`],
    ['http.response.status_code', 200],
    ['server.address', 'shop.example.com'],
    ['server.port', 443],
    ['network.protocol.version', '1.1'],
    ['user_agent.original', 'Mozilla/5.0 (X11; Linux x86_64)'],
    ['http.route', '/api/orders/:id'],
    ['client.address', '203.0.113.7'],
    ['url.scheme', 'https'],
    ['app.cached', index % 2 === 0],
    index % 5 === 0 ? ['governance.decision.outcome', 'allow'] : ['app.order.total_cents', 1_234_567],
  ]
  for (const [key, value] of attributes) out.bytes(9, attribute(key, value))
  const event = new WireWriter(64).fixed64(1, 1_764_000_000_001_000_123n).string(2, 'cache.miss')
  return out
    .bytes(11, event.bytes(3, attribute('cache.key', `orders:${index}`)).finish())
    .bytes(15, new WireWriter(8).varint(3, 1).finish())
    .fixed32(16, 0x301)
    .finish()
}

function request(): Uint8Array {
  const scope = new WireWriter(64)
    .string(1, '@opentelemetry/instrumentation-http')
    .string(2, '0.220.0')
    .finish()
  const spans = new WireWriter(1 << 19).bytes(1, scope)
  for (let i = 0; i < SPANS; i++) spans.bytes(2, span(i))
  const resource = new WireWriter(256).bytes(1, attribute('service.name', 'orders')).finish()
  const group = new WireWriter(1 << 19).bytes(1, resource).bytes(2, spans.finish()).finish()
  return new WireWriter(1 << 19).bytes(1, group).finish()
}

const rounds = Number(process.argv[2] ?? 12)
const body = request()
const bodies = Array.from({ length: REQUESTS }, () => body.slice())
const table = createSpanTable()
const results: number[] = []
for (let round = 0; round < rounds; round++) {
  const before = process.threadCpuUsage()
  for (const each of bodies) scanTraces(each, table)
  const { user, system } = process.threadCpuUsage(before)
  results.push((user + system) / (REQUESTS * SPANS))
}
results.sort((a, b) => a - b)
console.log(
  `${(body.length / SPANS).toFixed(0)} B a span; CPU us/span: median ${results[rounds >> 1]!.toFixed(3)}, ` +
    `best ${results[0]!.toFixed(3)}, worst ${results[rounds - 1]!.toFixed(3)}`,
)
