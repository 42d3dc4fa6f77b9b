/**
 * A sender that remembers what was acknowledged. It goes on over the deaths of collectors: what was not acknowledged is
 * sent again to the next one, as exporters do, or given up.
 */
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { type SpanSpec, spanHex, traceIdOf } from '../support/executions.ts'
import { encodeRequest } from '../support/stored-log.ts'
import type { Endpoints } from './process.ts'
import type { Memory } from './world.ts'

const EXPORT = '/opentelemetry.proto.collector.trace.v1.TraceService/Export'

interface Request {
  readonly body: Uint8Array
  readonly spans: readonly string[]
  readonly isTracked: boolean
}

/** A random number generator whose seed a failure can name (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export class Sender {
  readonly #memory: Memory
  readonly #random: () => number
  readonly #firstTrace: number
  /** Number of the next trace, and the next span id of each trace that is still added to. */
  #nextTrace: number
  readonly #nextSpan = new Map<number, number>()
  #unanswered: Request[] = []
  #stop = false
  #running: Promise<unknown> = Promise.resolve()
  acknowledged = 0

  /** Its traces have numbers from `firstTrace` on: those of two senders to one log must not meet. */
  constructor(memory: Memory, random: () => number, firstTrace = 1) {
    this.#memory = memory
    this.#random = random
    this.#firstTrace = firstTrace
    this.#nextTrace = firstTrace
  }

  /** Begins to load a collector, over both protocols. */
  start(endpoints: Endpoints): void {
    this.#stop = false
    const grpc = new Client(endpoints.grpc, credentials.createInsecure(), {
      'grpc.enable_retries': 0,
      'grpc.use_local_subchannel_pool': 1,
    })
    const http = (request: Request) => sendHttp(endpoints.http, request)
    const doors = [http, http, (request: Request) => sendGrpc(grpc, request)]
    this.#running = Promise.all(doors.map((send) => this.#loop(send))).finally(() => grpc.close())
  }

  /** Resolves when every request got its answer or its error. */
  async stop(): Promise<void> {
    this.#stop = true
    await this.#running
  }

  async #loop(send: (request: Request) => Promise<number | undefined>): Promise<void> {
    while (!this.#stop) {
      const request = this.#unanswered.pop() ?? this.#make()
      try {
        const position = await send(request)
        this.acknowledged++
        for (const span of request.spans) this.#memory.acknowledged.add(span)
        if (request.isTracked && position !== undefined) this.#memory.receipts.set(position, request.spans)
      } catch {
        // It may be in the log or not; most senders try again.
        if (this.#random() < 0.8) this.#unanswered.push(request)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
  }

  /** Some spans of a new trace, or late ones of an old one, whose parent may come after them. */
  #make(): Request {
    const random = this.#random
    const known = this.#nextTrace - this.#firstTrace
    const isLate = known > 2 && random() < 0.3
    const trace = isLate ? this.#firstTrace + Math.floor(random() * known) : this.#nextTrace++
    const first = this.#nextSpan.get(trace) ?? 1
    const count = 1 + Math.floor(random() * 12)
    this.#nextSpan.set(trace, first + count)
    const specs: SpanSpec[] = Array.from({ length: count }, (_, at) => ({
      id: first + at,
      // Any span of the trace may be the parent, one that is sent later, too.
      ...(first + at > 1 && { parent: 1 + Math.floor(random() * (first + count - 1)) }),
      ...(random() < 0.1 && { attributes: { 'governance.decision.outcome': 'permit' } }),
      service: random() < 0.5 ? 'checkout' : 'stock',
    }))
    const id = Buffer.from(traceIdOf(trace)).toString('hex')
    const spans = specs.map((spec) => `${id}/${spanHex(spec.id)}`)
    for (const span of spans) this.#memory.sent.add(span)
    return { body: encodeRequest(trace, specs), spans, isTracked: random() < 0.2 }
  }
}

async function sendHttp(host: string, { body, isTracked }: Request): Promise<number | undefined> {
  const response = await fetch(`http://${host}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-protobuf', ...(isTracked && { 'rootspan-receipt': '1' }) },
    body: new Uint8Array(body),
  })
  const answer = new Uint8Array(await response.arrayBuffer())
  if (response.status !== 200 || answer.length > 0) throw new Error(`not taken: ${response.status}`)
  const position = response.headers.get('rootspan-receipt')
  return position === null ? undefined : Number(position)
}

function sendGrpc(client: Client, { body, isTracked }: Request): Promise<number | undefined> {
  const metadata = new Metadata()
  if (isTracked) metadata.set('rootspan-receipt', '1')
  const asIs = (value: Buffer) => value
  return new Promise((resolve, reject) => {
    let position: number | undefined
    const call = client.makeUnaryRequest(
      EXPORT,
      asIs,
      asIs,
      Buffer.from(body),
      metadata,
      { deadline: Date.now() + 20_000 },
      (error, value) => {
        if (error !== null) reject(error)
        else if (value!.length > 0) reject(new Error('not taken'))
        else setImmediate(() => resolve(position))
      },
    )
    const look = (found: Metadata): void => {
      const [text] = found.get('rootspan-receipt')
      if (text !== undefined) position = Number(text)
    }
    call.on('metadata', look)
    call.on('status', ({ metadata: trailers }) => look(trailers))
  })
}
