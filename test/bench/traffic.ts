/**
 * Realistic traces for load: requests are built once, with fresh ids and times put into them for each round.
 *
 * A trace is a tree of spans over several services. Every service exports its own spans, so the spans of one
 * trace are spread over the requests of its services, as real SDKs do it. Sizes: about 600 bytes a span, 12
 * attributes, an event on every second one.
 */
import { putU32 } from '@rootspan/lineage/bytes'
import { WireWriter } from '@rootspan/lineage/wire'

export interface TrafficOptions {
  /** Spans in one request. */
  readonly spansPerRequest: number
  /** Requests of one round, over all services. */
  readonly requests: number
  readonly seed: number
}

export interface TrafficRequest {
  readonly service: string
  readonly body: Buffer
  readonly spans: number
}

const SERVICES = ['checkout', 'inventory', 'payments', 'gateway'] as const
/** Which service each span of a trace is in, and its parent: three shapes that real systems have. */
const SHAPES: readonly (readonly { service: number; parent: number }[])[] = [
  // A request through gateway and checkout with database calls, a payment and stock checks.
  shape([3, -1], [3, 0], [0, 1], [0, 2], [0, 2], [1, 3], [1, 5], [2, 4], [2, 7], [2, 7], [0, 2], [0, 2]),
  // A fan-out.
  shape([3, -1], [1, 0], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1]),
  // A short call.
  shape([3, -1], [0, 0], [0, 1], [2, 2], [2, 3]),
]

function shape(...spans: readonly (readonly [number, number])[]): { service: number; parent: number }[] {
  return spans.map(([service, parent]) => ({ service, parent }))
}

interface Place {
  readonly body: Buffer
  /** Offsets of the trace id, span id, parent id (0: none), start and end time in `body`. */
  readonly trace: number
  readonly span: number
  readonly parent: number
  readonly start: number
  readonly end: number
}

interface TemplateTrace {
  readonly shape: readonly { readonly service: number; readonly parent: number }[]
  readonly places: Place[]
}

/** Requests that are used over and over: `refresh` makes their spans new ones. */
export class Traffic {
  readonly requests: readonly TrafficRequest[]
  readonly spans: number
  readonly bytes: number
  readonly #traces: readonly TemplateTrace[]
  readonly #random: Random

  constructor(options: TrafficOptions) {
    this.#random = new Random(options.seed)
    const { requests, traces } = build(options, () => this.#random.next())
    this.requests = requests
    this.#traces = traces
    this.spans = requests.reduce((sum, request) => sum + request.spans, 0)
    this.bytes = requests.reduce((sum, request) => sum + request.body.length, 0)
    this.refresh(BigInt(Date.now()) * 1_000_000n)
  }

  /** Puts new ids and times into all requests, in place: none of them may be on its way. */
  refresh(now: bigint): void {
    const ids = new Uint32Array(32 * 2)
    const high = Number(now >> 32n)
    const low = Number(now & 0xffff_ffffn)
    for (const { shape, places } of this.#traces) {
      const t0 = this.#random.next()
      const t1 = this.#random.next()
      const t2 = this.#random.next()
      const t3 = this.#random.next()
      for (let i = 0; i < places.length; i++) {
        const { body, trace, span, parent, start, end } = places[i]!
        ids[i * 2] = this.#random.next()
        ids[i * 2 + 1] = this.#random.next()
        putU32(body, trace, t0)
        putU32(body, trace + 4, t1)
        putU32(body, trace + 8, t2)
        putU32(body, trace + 12, t3)
        putU32(body, span, ids[i * 2]!)
        putU32(body, span + 4, ids[i * 2 + 1]!)
        if (parent !== 0) {
          const above = shape[i]!.parent
          putU32(body, parent, ids[above * 2]!)
          putU32(body, parent + 4, ids[above * 2 + 1]!)
        }
        const at = (low + i * 1_000_003 + (t0 & 0xfffff)) >>> 0
        putLittle(body, start, at)
        putLittle(body, start + 4, high)
        putLittle(body, end, (at + 500_000 + (t1 & 0xfffff)) >>> 0)
        putLittle(body, end + 4, high)
      }
    }
  }
}

/** xorshift32: fast, and random enough that nothing compresses it. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 1
  }

  /** 32 bits. */
  next(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x
    return x >>> 0
  }
}

export function putLittle(body: Buffer, at: number, value: number): void {
  body[at] = value
  body[at + 1] = value >>> 8
  body[at + 2] = value >>> 16
  body[at + 3] = value >>> 24
}

interface Draft {
  readonly service: number
  readonly spans: { bytes: Uint8Array; trace: TemplateTrace; at: number }[]
}

function build(
  options: TrafficOptions,
  random: () => number,
): { requests: TrafficRequest[]; traces: TemplateTrace[] } {
  const full: Draft[] = []
  const open: Draft[] = SERVICES.map((_, service) => ({ service, spans: [] }))
  const traces: TemplateTrace[] = []
  while (full.length < options.requests) {
    const of = SHAPES[traces.length % SHAPES.length]!
    const trace: TemplateTrace = { shape: of, places: [] }
    traces.push(trace)
    for (const [at, { service, parent }] of of.entries()) {
      const draft = open[service]!
      draft.spans.push({ bytes: encodeSpan(random, parent, of, at), trace, at })
      if (draft.spans.length === options.spansPerRequest) {
        full.push(draft)
        open[service] = { service, spans: [] }
      }
    }
  }
  for (const draft of open) if (draft.spans.length > 0) full.push(draft)
  return { requests: full.map(encodeRequest), traces }
}

function encodeRequest(draft: Draft): TrafficRequest {
  const service = SERVICES[draft.service]!
  const resource = new WireWriter()
  for (const [key, value] of [
    ['service.name', service],
    ['service.version', '2026.11.3'],
    ['service.instance.id', `${service}-7d9f6c5b8-x2x9k`],
    ['deployment.environment.name', 'production'],
    ['k8s.namespace.name', 'shop'],
    ['host.name', 'node-17.eu-central.example.internal'],
    ['telemetry.sdk.language', 'nodejs'],
    ['telemetry.sdk.version', '3.1.1'],
  ])
    resource.bytes(1, attribute(key!, value!))
  const scope = new WireWriter()
    .string(1, '@opentelemetry/instrumentation-http')
    .string(2, '0.301.0')
    .finish()
  const spans = new WireWriter(draft.spans.length * 700).bytes(1, scope)
  for (const { bytes } of draft.spans) spans.bytes(2, bytes)
  const group = new WireWriter(draft.spans.length * 700).bytes(1, resource.finish()).bytes(2, spans.finish())
  const body = Buffer.from(new WireWriter(draft.spans.length * 700).bytes(1, group.finish()).finish())
  let from = 0
  for (const { bytes, trace, at } of draft.spans) {
    const start = body.indexOf(bytes, from)
    from = start + bytes.length
    const hasParent = trace.shape[at]!.parent !== -1
    const timesAt = start + 28 + (hasParent ? 10 : 0)
    trace.places[at] = {
      body,
      trace: start + 2,
      span: start + 20,
      parent: hasParent ? start + 30 : 0,
      start: timesAt + 1,
      end: timesAt + 10,
    }
  }
  return { service, body, spans: draft.spans.length }
}

const ROUTES = ['/api/orders/{id}', '/api/cart', '/api/stock/{sku}', '/api/payments', '/api/customers/{id}']

/** Ids first, then times, so that they are at known offsets. */
function encodeSpan(
  random: () => number,
  parent: number,
  shape: readonly { service: number; parent: number }[],
  at: number,
): Uint8Array {
  const { service } = shape[at]!
  const route = ROUTES[random() % ROUTES.length]!
  const remote = parent !== -1 && shape[parent]!.service !== service
  const id = Uint8Array.from({ length: 16 }, () => random() & 255)
  const span = new WireWriter(900).bytes(1, id).bytes(2, id.subarray(0, 8))
  if (parent !== -1) span.bytes(4, id.subarray(8, 16))
  span.fixed64(7, 1n).fixed64(8, 2n)
  const server = parent === -1 || remote
  span.string(5, server ? `GET ${route}` : `SELECT ${SERVICES[service]}.orders`).varint(6, server ? 2 : 3)
  const values: [string, string | number][] = [
    ['http.request.method', 'GET'],
    ['url.path', route.replace(/\{\w+\}/, String(random() % 1_000_000))],
    ['url.scheme', 'https'],
    ['http.route', route],
    ['http.response.status_code', random() % 20 === 0 ? 404 : 200],
    ['server.address', `${SERVICES[service]}.shop.svc.cluster.local`],
    ['server.port', 8443],
    ['client.address', `10.${random() % 256}.${random() % 256}.${random() % 256}`],
    ['user_agent.original', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36'],
    ['network.protocol.version', '1.1'],
    ['session.id', (random() * 4096 + random()).toString(36)],
    ['thread.id', random() % 64],
    ['code.function.name', 'shop.orders.OrderController.handle'],
  ]
  for (const [key, value] of values) span.bytes(9, attribute(key, value))
  if (at % 2 === 0)
    span.bytes(
      11,
      new WireWriter()
        .fixed64(1, 1n)
        .string(2, 'cache.lookup')
        .bytes(3, attribute('cache.key', `item:${random() % 100_000}`))
        .finish(),
    )
  span.fixed32(16, remote ? 0x301 : 0x101)
  return span.finish()
}

/** A `KeyValue`. */
function attribute(key: string, value: string | number): Uint8Array {
  const any = new WireWriter()
  if (typeof value === 'string') any.string(1, value)
  else any.varint(3, value)
  return new WireWriter().string(1, key).bytes(2, any.finish()).finish()
}
