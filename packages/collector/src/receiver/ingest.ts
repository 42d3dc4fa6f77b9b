/**
 * What happens to a request behind its transport: pushed back or scanned, its bad spans set aside, the rest
 * journalled, and only then acknowledged.
 */
import {
  createSpanTable,
  FAULT,
  faultText,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_START,
  type SpanTable,
  scanTraces,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { scanLogs } from '@rootspan/lineage/otlp/scan-logs'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { WireReader } from '@rootspan/lineage/wire'
import { type FullReason, JournalFull } from '../journal/errors.ts'
import type { Quarantine, QuarantinedSpan } from './quarantine.ts'
import { type Accepted, type Counters, type Ingest, type Received, Refusal } from './receiver.ts'

/** One accepted request on its way into the journal. */
export interface JournalFrame {
  /** 32 random bytes, drawn on receipt. */
  readonly seed: Uint8Array
  /** Encoded `rootspan.v0.Receipt`. */
  readonly receipt: Uint8Array
  /** The `ExportTraceServiceRequest` or `ExportLogsServiceRequest` as received; the receipt says which. */
  readonly body: Uint8Array
}

export interface IngestOptions {
  /** Resolves with the frame's position when the frame is durable; may throw a `Refusal` of its own. */
  readonly journal: { append(frame: JournalFrame): Promise<number> }
  readonly quarantine: Pick<Quarantine, 'keep'>
  readonly counters: Counters
  /** Nanoseconds since the Unix epoch. */
  readonly now: () => bigint
  /** That many random bytes, fit for secrets. */
  readonly random: (size: number) => Uint8Array
  /**
   * Computes what the pipeline will need of the request; what it returns is called with the frame's position and
   * takes the body away, or with nothing where the frame was not journalled.
   */
  readonly workAhead?: (frame: JournalFrame, table: SpanTable) => (position: number | undefined) => void
  /** Spans that one request may bring of one trace. Default {@link MAX_TRACE_SPANS}. */
  readonly maxTraceSpans?: number
  /** Says whether senders must be pushed back, because of lag or a full disk. */
  readonly gate: () => Refusal | undefined
}

const SEED_BYTES = 32
/** Senders have names and no tenants yet, so everything belongs to the one tenant without a name. */
export const DEFAULT_TENANT = ''

// A table that one large request has grown is not kept for the small ones after it.
const KEPT_WORDS = 65_536 * WORDS_PER_SPAN

/** Nothing to store, nothing to say. */
const TAKEN: Accepted = { rejectedSpans: 0, message: '', position: undefined }

export function createIngest(options: IngestOptions): Ingest {
  let table = createSpanTable()
  return async (request) => {
    const refusal = options.gate()
    if (refusal !== undefined) throw refusal
    const { signal } = request
    if (signal === 'metrics') {
      checkFields(request.body)
      count(options.counters, signal, request.body.length)
      return TAKEN
    }
    // The table is shared by all requests, so nothing of it is read after the first await.
    if (table.words.length > KEPT_WORDS) table = createSpanTable()
    if (signal === 'traces') scanTraces(request.body, table)
    else {
      const { others } = scanLogs(request.body, table)
      options.counters.add('log_records_passed_over', others)
    }
    boundSpread(request.body, table)
    boundTraces(request.body, table, options.maxTraceSpans ?? MAX_TRACE_SPANS)
    return store(options, { ...request, signal }, table)
  }
}

/** What a request may grow to in payloads: this many times its size, or {@link MIN_SPREAD_BYTES}. */
const MAX_SPREAD = 16
const MIN_SPREAD_BYTES = 64 * 1024 * 1024

/**
 * The payload of every trace holds the resource and scope of its spans, so a large resource over many traces would
 * take far more disk than it took to send. Refuses such a request; what exporters send stays below once its size.
 */
function boundSpread(body: Uint8Array, { words, count }: SpanTable): void {
  let spread = 0
  let before = -1
  for (let row = 0, end = count * WORDS_PER_SPAN; row < end; row += WORDS_PER_SPAN) {
    if (before !== -1 && sameTraceAndScope(body, words, before, row)) continue
    before = row
    spread += words[row + RESOURCE_END]! - words[row + RESOURCE_START]!
    spread += words[row + SCOPE_END]! - words[row + SCOPE_START]!
  }
  if (spread > Math.max(MIN_SPREAD_BYTES, body.length * MAX_SPREAD))
    throw new Refusal('too_large', 'a resource is repeated over too many traces')
}

/**
 * A trace that grows over its bound is cut between two requests, and what is left of it is derived at once. A request
 * of 64 MiB with a million spans of one trace takes gigabytes there, and takes them again after each restart.
 */
export const MAX_TRACE_SPANS = 131_072

/** Costs nothing for a request that has no more spans in all. */
function boundTraces(body: Uint8Array, { words, count }: SpanTable, max: number): void {
  if (count <= max) return
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
  const counts = new Map<string, number>()
  for (let row = 0, end = count * WORDS_PER_SPAN; row < end; row += WORDS_PER_SPAN) {
    if (words[row + FAULT] !== 0) continue
    const id = text.toString('latin1', words[row + TRACE_ID]!, words[row + TRACE_ID]! + 16)
    const spans = (counts.get(id) ?? 0) + 1
    if (spans > max) throw new Refusal('too_large', `a request has over ${max} spans of one trace`)
    counts.set(id, spans)
  }
}

function sameTraceAndScope(body: Uint8Array, words: Uint32Array, a: number, b: number): boolean {
  if (
    words[a + SCOPE_START] !== words[b + SCOPE_START] ||
    words[a + RESOURCE_START] !== words[b + RESOURCE_START]
  )
    return false
  const first = words[a + TRACE_ID]!
  const second = words[b + TRACE_ID]!
  for (let i = 0; i < 16; i++) if (body[first + i] !== body[second + i]) return false
  return true
}

type Kept = Received & { readonly signal: 'traces' | 'logs' }

const ACCEPTED = { traces: 'spans_accepted', logs: 'log_records_accepted' } as const
const QUARANTINED = { traces: 'spans_quarantined', logs: 'log_records_quarantined' } as const

async function store(options: IngestOptions, request: Kept, table: SpanTable): Promise<Accepted> {
  const { journal, quarantine, counters, now, random, workAhead } = options
  const time = now()
  const spans = table.count
  const bad = badSpans(request, table, time)
  const rejectedSpans = bad.total
  const message = describe(bad, request.signal)
  const receipt = encodeReceipt({ ...request, tenant: DEFAULT_TENANT, receivedAt: time })
  const frame = { seed: random(SEED_BYTES), receipt, body: request.body }
  const bytes = request.body.length

  let handOver: ReturnType<NonNullable<typeof workAhead>> | undefined
  let position: number | undefined
  try {
    // The quarantine first: if it fails nothing is stored yet, and the sender's retry stores everything once. The
    // other way round the good spans would come twice.
    if (rejectedSpans > 0) {
      // The table is the request's own only as long as nothing was awaited.
      if (spans > rejectedSpans) handOver = workAhead?.(frame, table)
      await storing(() => quarantine.keep(bad.kept))
      counters.add(QUARANTINED[request.signal], rejectedSpans)
      if (rejectedSpans > bad.kept.length)
        counters.add('quarantine_records_dropped', rejectedSpans - bad.kept.length)
    }
    if (spans > rejectedSpans) {
      position = await storing(() => {
        const appended = journal.append(frame)
        // While the disk works.
        handOver ??= workAhead?.(frame, table)
        return appended
      })
    }
  } finally {
    // From here on the body is the pipeline's.
    handOver?.(position)
  }
  if (spans > rejectedSpans) counters.add(ACCEPTED[request.signal], spans - rejectedSpans)
  count(counters, request.signal, bytes)
  return { rejectedSpans, message, position }
}

interface BadSpans {
  readonly total: number
  /** The first of them, for the quarantine. */
  readonly kept: QuarantinedSpan[]
  /** How many, by fault. */
  readonly faults: ReadonlyMap<number, number>
}

// An empty span takes two bytes, so a request can hold millions of bad ones; that many objects would be an attack.
const MAX_KEPT = 10_000

function badSpans(request: Kept, { words, count }: SpanTable, time: bigint): BadSpans {
  const kept: QuarantinedSpan[] = []
  const faults = new Map<number, number>()
  const { body, receiver, signal } = request
  let total = 0
  for (let row = 0, end = count * WORDS_PER_SPAN; row < end; row += WORDS_PER_SPAN) {
    const fault = words[row + FAULT]!
    if (fault === 0) continue
    total++
    faults.set(fault, (faults.get(fault) ?? 0) + 1)
    if (kept.length === MAX_KEPT) continue
    kept.push({
      time,
      receiver,
      signal,
      reason: faultText(fault),
      span: body.subarray(words[row + SPAN_START], words[row + SPAN_END]),
      resource: body.subarray(words[row + RESOURCE_START], words[row + RESOURCE_END]),
      scope: body.subarray(words[row + SCOPE_START], words[row + SCOPE_END]),
    })
  }
  return { total, kept, faults }
}

/** The reasons and how often each, most frequent first. */
function describe({ total, faults }: BadSpans, signal: Kept['signal']): string {
  if (total === 0) return ''
  const parts = [...faults]
    .sort((a, b) => b[1] - a[1])
    .map(([fault, times]) => `${faultText(fault)} (${times})`)
  const what = signal === 'traces' ? 'span' : 'log record'
  return `${total === 1 ? `1 ${what} was` : `${total} ${what}s were`} rejected: ${parts.join(', ')}`
}

// A storage error is the sender's cue to try again: only `unavailable` and `busy` keep the data with it. Whatever
// went wrong is the storage's to report.
async function storing<T>(store: () => Promise<T>): Promise<T> {
  try {
    return await store()
  } catch (error) {
    if (error instanceof Refusal) throw error
    if (error instanceof JournalFull) throw journalFull(error.reason)
    throw new Refusal('unavailable', 'the request cannot be stored now', { cause: error })
  }
}

/** Pushes back while the journal or its disk has no room, which passes. */
export function journalFull(reason: FullReason): Refusal {
  return new Refusal('busy', `the journal is full (${reason})`)
}

/** Walks the outermost fields of a metrics request, which is not kept: enough to tell it from noise. */
function checkFields(body: Uint8Array): void {
  const reader = new WireReader(body)
  while (reader.next()) {
    if (reader.field === 1) reader.expect(2, 'a resource group')
  }
}

function count(counters: Counters, signal: Received['signal'], bytes: number): void {
  counters.add(`requests_accepted_${signal}`, 1)
  counters.add('bytes_received', bytes)
}
