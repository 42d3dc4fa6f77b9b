/**
 * Erasing within one execution: which of its segments' payloads change, and how (docs/formats/record.md, "Records
 * about the log"). Pure: the collector stores what comes out.
 */
import { utf8 } from '../bytes.ts'
import { sourcesOf } from '../continuity/testimony.ts'
import { decodeText } from '../otlp/text.ts'
import { Committer } from './commitment.ts'
import { isSpanBorn, parseEntry } from './entry.ts'
import { type Held, TraceHistory } from './history.ts'
import { LeafSink } from './leaf-sink.ts'
import { type AnyPayload, equalEntries, type OpenedPayload, openPayload, reduceOpened } from './opened.ts'
import type { SpanInput } from './order.ts'
import type { Closed } from './payload.ts'
import { deriveSegment } from './segment.ts'

/** A segment as it is stored. `payload` is undefined where all of it was erased. */
export interface StoredSegment {
  readonly first: number
  readonly closed: Closed
  readonly entries: readonly Uint8Array[]
  /** Leaf hashes, 32 bytes each. */
  readonly leaves: Uint8Array
  readonly payload: AnyPayload | undefined
}

/** What to erase of a segment: nothing, all of it, or spans and claims. What is made of such a claim goes with it. */
export type Cut =
  | 'nothing'
  | 'all'
  | { readonly hasSpan: (span: SpanInput) => boolean; readonly hasClaim: (key: Uint8Array) => boolean }

/** What becomes of a segment. */
export interface CutSegment {
  readonly segment: number
  /** The new payload; undefined where nothing is left. */
  readonly payload: OpenedPayload | undefined
  /** Spans and claims that are gone. Both are 0 where the segment only cannot be derived any more. */
  readonly spans: number
  readonly claims: number
}

/**
 * Cuts the segments of one execution, all of them in order. Returns those that change: the ones that lose something,
 * and whole ones after them whose records do not derive any more without it, which are opened.
 */
export function cutExecution(segments: readonly StoredSegment[], cuts: readonly Cut[]): CutSegment[] {
  const changed: CutSegment[] = []
  const before = new TraceHistory()
  const after = new TraceHistory()
  for (const [number, segment] of segments.entries()) {
    const cut = cutSegment(segment, cuts[number]!, before, changed.length === 0 ? undefined : after)
    const old = heldOf(segment, segment.payload)
    before.add(segment.first, segment.entries.map(parseEntry), segment.leaves, segment.closed, () => old)
    if (cut !== undefined) changed.push({ segment: number, ...cut })
    const left = cut === undefined ? old : heldOf(segment, opened(cut.payload))
    after.add(segment.first, segment.entries.map(parseEntry), segment.leaves, segment.closed, () => left)
  }
  return changed
}

function opened(payload: OpenedPayload | undefined): AnyPayload | undefined {
  return payload === undefined ? undefined : { form: 'opened', ...payload }
}

function cutSegment(
  { payload, entries }: StoredSegment,
  cut: Cut,
  before: TraceHistory,
  after: TraceHistory | undefined,
): Omit<CutSegment, 'segment'> | undefined {
  if (payload === undefined) return undefined
  if (cut === 'all') return { payload: undefined, spans: payload.spans.length, claims: 0 }
  const isDerived = payload.form === 'opened' || after === undefined || derives(payload, after, entries)
  const isCut =
    cut !== 'nothing' && (payload.form === 'opened' || payload.spans.some((span) => cut.hasSpan(span)))
  if (!isCut && isDerived) return undefined
  const whole = payload.form === 'opened' ? payload : openPayload(payload, before, entries)
  if (whole === undefined) throw new Error('bad segment: its payload does not derive to its records')
  if (!isCut) return { payload: whole, spans: 0, claims: 0 }
  const reduced = reduceOpened(
    whole,
    (span) => !cut.hasSpan(span),
    (key) => !cut.hasClaim(key) && !sourcesOf(decodeText(key)).some((source) => cut.hasClaim(utf8(source))),
  )
  return reduced.spans + reduced.claims === 0 && isDerived ? undefined : reduced
}

function derives(
  payload: AnyPayload & { readonly form: 'whole' },
  history: TraceHistory,
  entries: readonly Uint8Array[],
): boolean {
  const sink = new LeafSink()
  deriveSegment(payload, payload.spans, history, new Committer(), sink)
  return equalEntries(sink, entries)
}

/** What is held of a segment; nothing where all of it was erased. */
export function heldOf(
  { entries }: Pick<StoredSegment, 'entries'>,
  payload: AnyPayload | undefined,
): Held | undefined {
  if (payload === undefined) return undefined
  if (payload.form === 'whole') return payload
  const inputs = new Map(payload.spans.map(({ leaf, input }) => [leaf, input]))
  const born = [...entries.keys()].filter((at) => isSpanBorn(parseEntry(entries[at]!)))
  return { spans: born.map((at) => inputs.get(at)) }
}
