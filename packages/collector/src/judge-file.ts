/**
 * Judges executions that lie in a file, as a collector would have that received nothing else: OTLP requests as protobuf,
 * as JSON, as JSON lines, or as a JSON array with `{"settle": true}` between what comes in different segments, in which
 * `{"opa": [...]}` is an upload of OPA's decision log.
 *
 * It is judged as of an hour after the last span ended: what has not come by then does not come. No log is needed and
 * nothing is written.
 */
import { randomBytes } from 'node:crypto'
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { type Judgement, NOT_JUDGED, parseJudgement } from '@rootspan/lineage/continuity/judgement'
import { MalformedError } from '@rootspan/lineage/errors'
import { tracesFromJson } from '@rootspan/lineage/otlp/json'
import { LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import {
  END_HIGH,
  END_LOW,
  FAULT,
  FAULT_NONE,
  FLAGS,
  GOVERNED,
  KIND,
  LOG,
  MARKS,
  PARENT_ID,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_ID,
  SPAN_START,
  START_HIGH,
  START_LOW,
  scanTraces,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { scanLogs } from '@rootspan/lineage/otlp/scan-logs'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { idKey, isParentRemote, type Source, type SpanInput } from '@rootspan/lineage/record/order'
import { Closed, encodePayload, parsePayload } from '@rootspan/lineage/record/payload'
import { encodeReceipt, type Receipt } from '@rootspan/lineage/record/receipt'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { splitEntries } from './fsck/entries.ts'
import { Knowledge } from './knowledge.ts'
import { opaRequest } from './receiver/opa.ts'

export interface JudgedExecution {
  /** 32 hex digits. */
  readonly traceId: string
  readonly spans: number
  readonly judgement: Judgement
  /** Id of the span that a record is of, by the record's leaf hash, both in hex. */
  readonly spanOf: ReadonlyMap<string, string>
}

/** Nanoseconds after the last end. */
const AFTER = 3_600_000_000_000n

interface Growing {
  readonly traceId: Uint8Array
  readonly history: TraceHistory
  readonly spanOf: Map<string, string>
  spans: number
  judgement: Judgement
}

/** In the order in which they first appear. Throws a MalformedError for anything but such a file. */
export function judgeRequests(file: Uint8Array): JudgedExecution[] {
  const knowledge = new Knowledge()
  const committer = new Committer()
  const traces = new Map<string, Growing>()
  for (const requests of readGroups(file)) {
    const { byTrace, lastEnd } = spansOf(requests, committer)
    for (const [id, spans] of byTrace) {
      let trace = traces.get(id)
      if (trace === undefined) {
        const traceId = Buffer.from(id, 'hex')
        trace = { traceId, history: new TraceHistory(), spanOf: new Map(), spans: 0, judgement: NOT_JUDGED }
        traces.set(id, trace)
      }
      seal(trace, spans, lastEnd + AFTER, committer, knowledge)
    }
  }
  return [...traces].map(([traceId, { spans, judgement, spanOf }]) => ({ traceId, spans, judgement, spanOf }))
}

function seal(
  trace: Growing,
  spans: readonly SpanInput[],
  evaluatedAt: bigint,
  committer: Committer,
  knowledge: Knowledge,
): void {
  const { traceId, history, spanOf } = trace
  const sink = new LeafSink()
  const head = { tenant: '', traceId, closed: Closed.settled, evaluatedAt }
  const derived = deriveSegment(head, spans, history, committer, sink, {
    gather: (execution, since) => knowledge.contextOf(execution, since),
  })
  if (derived.count === 0) return
  const entries = splitEntries([sink.copyFrom(0).entries]).map((entry) => parseEntry(entry))
  for (const [number, { spanId }] of entries.entries())
    spanOf.set(formatHex(sink.leaf(number)), formatHex(spanId))
  const payload = encodePayload(
    { ...head, segment: history.segment, context: derived.context, ruleset: derived.ruleset },
    derived.spans,
    derived.judgement,
  )
  history.add(0, entries, new Uint8Array(sink.hashes), head.closed, () => parsePayload(payload))
  trace.spans += derived.spans.length
  trace.judgement = parseJudgement(derived.judgement)
}

/** A request as protobuf, with the door that it came through. */
interface Read extends Pick<Receipt, 'receiver' | 'peer' | 'signal'> {
  readonly body: Uint8Array
}

const traces = (body: Uint8Array): Read => ({ body, receiver: 'otlp/http', peer: '', signal: 'traces' })

/** Requests in groups that are committed one after another. */
function readGroups(file: Uint8Array): Read[][] {
  const first = file.find((byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0d && byte !== 0x0a)
  // A protobuf request begins with the tag of its first field, which is a line feed.
  if (first === undefined || (first !== 0x7b && first !== 0x5b)) return [[traces(file)]]
  const text = new TextDecoder('utf-8', { fatal: true }).decode(file)
  if (first === 0x7b) return [jsonBodies(text).map(traces)]
  const groups: Read[][] = [[]]
  for (const request of parseArray(text)) {
    const { settle, opa } = (request ?? {}) as { settle?: unknown; opa?: unknown }
    if (settle === true) groups.push([])
    else if (opa === undefined) groups.at(-1)!.push(traces(tracesFromJson(JSON.stringify(request))))
    else {
      const body = opaRequest(utf8(JSON.stringify(opa)))
      if (body !== undefined) groups.at(-1)!.push({ body, receiver: 'opa', peer: 'opa', signal: 'logs' })
    }
  }
  return groups
}

/** One request, or one on each line, as the OpenTelemetry Collector writes them into files. */
function jsonBodies(text: string): Uint8Array[] {
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  if (lines.length > 1 && lines.every((line) => line.startsWith('{') && line.trimEnd().endsWith('}')))
    return lines.map((line) => tracesFromJson(line))
  return [tracesFromJson(text)]
}

function parseArray(text: string): unknown[] {
  try {
    return JSON.parse(text) as unknown[]
  } catch (error) {
    throw new MalformedError(`the file is no JSON: ${(error as Error).message}`)
  }
}

interface Spans {
  /** By trace id in hex, in the order of arrival. */
  readonly byTrace: ReadonlyMap<string, SpanInput[]>
  readonly lastEnd: bigint
}

/** The spans of some requests, all received when the last of them had ended. Those with a bad id are left out. */
function spansOf(requests: readonly Read[], committer: Committer): Spans {
  const tables = requests.map((request) => ({
    ...request,
    table: request.signal === 'logs' ? scanLogs(request.body).table : scanTraces(request.body),
  }))
  let lastEnd = 0n
  for (const { table } of tables)
    for (let row = 0; row < table.count; row++) {
      const at = row * WORDS_PER_SPAN
      const end = (BigInt(table.words[at + END_HIGH]!) << 32n) | BigInt(table.words[at + END_LOW]!)
      if (end > lastEnd) lastEnd = end
    }
  const byTrace = new Map<string, SpanInput[]>()
  for (const { body, table, receiver, peer, signal = 'traces' } of tables) {
    const about = { receiver, peer, signal, tenant: '', receivedAt: lastEnd, tracked: false }
    const receipt = encodeReceipt(about)
    const seed = new Uint8Array(randomBytes(32))
    const sources = new Map<string, Source>()
    for (let row = 0; row < table.count; row++) {
      const words = table.words.subarray(row * WORDS_PER_SPAN, (row + 1) * WORDS_PER_SPAN)
      if (words[FAULT] !== FAULT_NONE) continue
      const traceId = body.subarray(words[TRACE_ID]!, words[TRACE_ID]! + 16)
      const id = formatHex(traceId)
      let source = sources.get(id)
      if (source === undefined) {
        source = { receipt, seed: committer.traceSeed(seed, utf8(''), traceId), body, contexts: new Map() }
        sources.set(id, source)
      }
      const spans = byTrace.get(id)
      const input = inputOf(words, row, source)
      if (spans === undefined) byTrace.set(id, [input])
      else spans.push(input)
    }
  }
  return { byTrace, lastEnd }
}

function inputOf(words: Uint32Array, index: number, source: Source): SpanInput {
  const id = (at: number): string => idKey(source.body.subarray(at, at + 8))
  return {
    source,
    index,
    spanStart: words[SPAN_START]!,
    spanEnd: words[SPAN_END]!,
    resourceStart: words[RESOURCE_START]!,
    resourceEnd: words[RESOURCE_END]!,
    scopeStart: words[SCOPE_START]!,
    scopeEnd: words[SCOPE_END]!,
    id: id(words[SPAN_ID]!),
    parent: words[PARENT_ID] === 0 ? '' : id(words[PARENT_ID]!),
    startHigh: words[START_HIGH]!,
    startLow: words[START_LOW]!,
    kind: (words[MARKS]! & LOG) === 0 ? words[KIND]! : LOG_RECORD,
    remote: isParentRemote(words[FLAGS]!, words[KIND]!),
    governed: (words[MARKS]! & GOVERNED) !== 0,
  }
}
