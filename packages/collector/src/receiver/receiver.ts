/**
 * The narrow waist of the receivers: what a transport hands over, what it gets back, and how a request is refused.
 *
 * A transport (`grpc.ts`, `http.ts`) knows framing, sizes and headers and nothing of spans; `ingest.ts` knows
 * spans and nothing of transports. `status.ts` alone turns what comes back into codes and bodies.
 */
import type { BufferPool } from '../buffer-pool.ts'
import type { Budget } from './budget.ts'
import type { Routes } from './route.ts'
import type { Authenticate } from './senders.ts'

export type Signal = 'traces' | 'metrics' | 'logs'

/** Which door a request came through. Written into the receipt of every journalled request. */
export type ReceiverName = 'otlp/grpc' | 'otlp/http' | 'otlp/http+json' | 'opa' | 'ssf'

/** One request, read in full. */
export interface Received {
  readonly receiver: ReceiverName
  readonly signal: Signal
  /**
   * The protobuf `Export{Trace,Metrics,Logs}ServiceRequest`, decompressed; JSON traces and logs are converted already,
   * JSON metrics come as an empty message. Nobody writes to these bytes until the request is answered; then their
   * memory may be used again, unless it was handed over (buffer-pool.ts).
   */
  readonly body: Uint8Array
  /** The sender asked for a durability receipt (`rootspan-receipt: 1`). */
  readonly tracked: boolean
  /** The authenticated peer; empty where senders are not authenticated. */
  readonly peer: string
  /** Asks to be called when the sender goes away, for as long as the request is not journalled. */
  readonly onGone?: OnGone | undefined
}

export type OnGone = (leave: () => void) => void

/** What became of a request that was taken. */
export interface Accepted {
  /** Spans or log records refused for good. The sender must not retry them (OTLP, Partial Success). */
  readonly rejectedSpans: number
  /** For people; empty when there is nothing to say. */
  readonly message: string
  /** The journal position, durable; `undefined` where nothing had to be journalled. */
  readonly position: number | undefined
}

/** Takes one request. Resolves only when it is durable; throws a {@link Refusal}, `MalformedError` or {@link SenderGone}. */
export type Ingest = (request: Received) => Promise<Accepted>

/**
 * Why a request is refused. The set is closed; `status.ts` maps it onto both transports. `busy`, `unavailable` and
 * `timeout` may be retried, the others may not (OTLP, Failures).
 */
export type RefusalCode =
  | 'malformed' // the bytes are not what they claim
  | 'protocol' // the transport's own framing is broken
  | 'too_large' // over the limit before or after decompression
  | 'unsupported' // a media type, content coding or method that we do not take
  | 'unauthenticated' // no valid credentials, where some are asked for
  | 'not_found' // a path that is not ours
  | 'not_allowed' // a path that is ours, with another method
  | 'busy' // pushed back: too much at once, or no room
  | 'unavailable' // cannot store now, or shutting down
  | 'timeout' // the body did not arrive in time
  | 'internal' // our bug

/** More than this many seconds would exceed the patience of common exporters, which then drop the batch. */
const MAX_RETRY_AFTER = 2

/** What may be retried. */
const RETRYABLE: ReadonlySet<RefusalCode> = new Set(['busy', 'unavailable', 'timeout'])

/** Somewhere between one second and two: senders that are pushed back together are not to come back together. */
function spreadSeconds(): number {
  return 1 + Math.round(Math.random() * 1000) / 1000
}

/** A request that is refused whole. The message goes to the sender and holds no secrets; `cause` stays with us. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: RefusalCode
  /** When to come again, 1 to 2 s; present exactly when the request may be retried. */
  readonly retryAfterSeconds: number | undefined

  constructor(code: RefusalCode, message: string, options?: ErrorOptions & { retryAfterSeconds?: number }) {
    super(message, options)
    const { retryAfterSeconds = spreadSeconds() } = options ?? {}
    if (!(retryAfterSeconds >= 1 && retryAfterSeconds <= MAX_RETRY_AFTER))
      throw new RangeError(`bad time to come again: ${retryAfterSeconds} s`)
    this.code = code
    this.retryAfterSeconds = RETRYABLE.has(code) ? retryAfterSeconds : undefined
  }
}

/** The sender went away while its request waited: there is nobody to answer. */
export class SenderGone extends Error {
  override readonly name = 'SenderGone'
}

/** Names under which receivers and ingest count. Spans, requests and bytes are counted where they are decided. */
export type CounterName =
  | `requests_accepted_${Signal}`
  | `requests_refused_${RefusalCode}`
  | 'requests_aborted' // the sender went away before its request was complete, or while it waited
  | 'bytes_received' // bodies of accepted and partly accepted requests, decompressed
  | 'spans_accepted'
  | 'spans_quarantined' // rejected for good, whether or not the quarantine had room for them
  | 'log_records_accepted' // about governance
  | 'log_records_quarantined'
  | 'log_records_passed_over' // not about governance: not kept
  | 'quarantine_records_dropped' // too big, or too many at once, to keep
  | 'quarantine_files_dropped' // oldest files removed to stay within the bound

export interface Counters {
  add(name: CounterName, n: number): void
}

/** What both transports are started with. Times are milliseconds, sizes bytes. */
export interface ReceiverOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly ingest: Ingest
  /** Shared by all receivers of the process. */
  readonly budget: Budget
  /** Where bodies are joined, shared likewise. Without it they are allocated one by one. */
  readonly pool?: BufferPool
  readonly counters: Counters
  /** Asked before a body is read, so that nobody sends in vain; `ingest` asks again. */
  readonly gate?: () => Refusal | undefined
  /** Says who sends OTLP. Without it nobody is authenticated. Routes have their own. */
  readonly authenticate?: Authenticate | undefined
  /** What else is taken over HTTP. */
  readonly routes?: Routes
  /** Told of refusals with code `internal` and of nothing else: everything else is the sender's affair. */
  readonly onBug?: (error: unknown) => void
  /** Limit of one body before and after decompression. Default 64 MiB (OTLP, Message size limits). */
  readonly maxBodyBytes?: number
  /** A body that makes no progress for this long is given up. Default 15 s. */
  readonly bodyIdleMillis?: number
  /** A body that is not complete after this long is given up. Default 120 s. */
  readonly bodyTotalMillis?: number
  /** A connection without requests is closed after this long. Default 5 min. */
  readonly connectionIdleMillis?: number
  /** Default 4096. */
  readonly maxConnections?: number
}

export const DEFAULT_LIMITS = {
  maxBodyBytes: 64 * 1024 * 1024,
  bodyIdleMillis: 15_000,
  bodyTotalMillis: 120_000,
  connectionIdleMillis: 300_000,
  maxConnections: 4096,
} as const

/** A receiver that listens. */
export interface RunningReceiver {
  readonly address: { readonly host: string; readonly port: number }
  /**
   * Takes no new connections, finishes the requests under way, and cuts what is left after `graceMillis`. Resolves
   * when all connections are gone.
   */
  close(graceMillis: number): Promise<void>
}
