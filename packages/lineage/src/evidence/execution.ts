/**
 * An execution as records and as a tree, from a bundle's parts. Nothing here verifies anything: `verify.ts` does,
 * and hands out the same shapes; {@link readUnverified} is for looking at a file without believing it.
 */
import { utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import type { Span } from '../otlp/decode.ts'
import { decodeEither } from '../otlp/log-record.ts'
import { type Entry, isSpanBorn, Parent, parseEntry } from '../record/entry.ts'
import { type AnyPayload, parseAnyPayload } from '../record/opened.ts'
import type { Opening } from '../record/opening.ts'
import { idKey, type SpanInput } from '../record/order.ts'
import type { SegmentHead } from '../record/payload.ts'
import { parseCheckpoint } from '../tlog/checkpoint.ts'
import { leafHash } from '../tlog/merkle.ts'
import { parseNote } from '../tlog/note.ts'
import { parseBundle } from './bundle.ts'
import { type Missing, sealValue } from './erasure.ts'

export interface ExecutionRecord {
  /** Leaf index in the log. */
  readonly index: number
  readonly leaf: Uint8Array
  readonly entry: Entry
  readonly segment: number
  /** The received span, or the span that stands for a log record (otlp/log-record.ts): on span-born records. */
  readonly span: Span | undefined
  readonly input: SpanInput | undefined
  /** Claims that are shown one by one, where something of the segment was erased or is withheld. */
  readonly claims?: readonly Opening[]
}

/** A span-born record with what hangs on it. */
export interface ExecutionNode {
  readonly record: ExecutionRecord
  /** Records of the facts of this span, in record order. */
  readonly facts: readonly ExecutionRecord[]
  /** In record order; whoever was adopted comes after whoever was linked. */
  readonly children: readonly ExecutionNode[]
}

/** What is known of a segment beside its spans. */
export interface ExecutionSegment extends SegmentHead {
  /** Index of its first leaf. */
  readonly first: number
  /** How many leaves it has, the seal included. */
  readonly count: number
  /** `opened`: something of it was erased or is withheld. Then `evaluatedAt` may be 0, which means unknown. */
  readonly form: 'whole' | 'opened'
  /** What is missing in it; nothing where it is whole. */
  readonly missing: Missing
  readonly withheld: boolean
}

/** What a bundle says, believed by nobody: signature, proofs, commitments, order and seals were not looked at. */
export interface UnverifiedExecution {
  readonly origin: string
  /** Tree size of the checkpoint in the bundle. */
  readonly size: number
  readonly tenant: string
  readonly traceId: Uint8Array
  readonly segments: readonly ExecutionSegment[]
  readonly records: readonly ExecutionRecord[]
  readonly roots: readonly ExecutionNode[]
}

/** Parses a bundle and grows its tree. Throws a MalformedError; never says that anything is true. */
export function readUnverified(evidence: Uint8Array): UnverifiedExecution {
  const bundle = parseBundle(evidence)
  const { origin, size } = parseCheckpoint(parseNote(utf8(bundle.checkpoint)).text)
  const records: ExecutionRecord[] = []
  const segments: ExecutionSegment[] = []
  for (const [number, { first, entries, payload: bytes }] of bundle.segments.entries()) {
    const payload = parseAnyPayload(bytes)
    const parsed = entries.map(parseEntry)
    segments.push(describeSegment(payload, first, entries.length, missingIn(payload, parsed)))
    const shown = shownIn(payload, parsed)
    for (const [at, entry] of parsed.entries()) {
      const leaf = new Uint8Array(leafHash(entries[at]!))
      records.push(
        executionRecord(first + at, leaf, entry, number, shown.inputs.get(at), shown.claims.get(at)),
      )
    }
  }
  const [head] = segments
  if (head === undefined) throw new MalformedError('a bundle holds no segment')
  return {
    origin,
    size,
    tenant: head.tenant,
    traceId: head.traceId,
    segments,
    records,
    roots: growTree(records),
  }
}

export function executionRecord(
  index: number,
  leaf: Uint8Array,
  entry: Entry,
  segment: number,
  input: SpanInput | undefined,
  claims?: readonly Opening[],
): ExecutionRecord {
  const span = input === undefined ? undefined : decodeInput(input)
  return { index, leaf, entry, segment, span, input, ...(claims !== undefined && { claims }) }
}

export function describeSegment(
  payload: AnyPayload,
  first: number,
  count: number,
  missing: Missing,
): ExecutionSegment {
  const { tenant, traceId, segment, closed, evaluatedAt, form } = payload
  const withheld = form === 'opened' && payload.withheld
  return { tenant, traceId, segment, closed, evaluatedAt, first, count, form, missing, withheld }
}

export const NOTHING_MISSING: Missing = { spans: 0, claims: 0, records: 0, seal: false }

function missingIn(payload: AnyPayload, entries: readonly Entry[]): Missing {
  if (payload.form === 'whole') return NOTHING_MISSING
  return {
    spans: entries.filter(isSpanBorn).length - payload.spans.length,
    claims: payload.records.flatMap(({ claims }) => claims).filter((claim) => 'commitment' in claim).length,
    records: entries.filter(({ claims }) => claims.length > 0).length - payload.records.length,
    seal: sealValue(payload.records.at(-1)) === undefined,
  }
}

/** The spans that a payload shows by the places of their records, and claims that are shown one by one. */
function shownIn(
  payload: AnyPayload,
  entries: readonly Entry[],
): { inputs: Map<number, SpanInput>; claims: Map<number, readonly Opening[]> } {
  if (payload.form === 'opened')
    return {
      inputs: new Map(payload.spans.map(({ leaf, input }) => [leaf, input])),
      claims: new Map(payload.records.map(({ leaf, claims }) => [leaf, claims])),
    }
  const born = [...entries.keys()].filter((at) => isSpanBorn(entries[at]!))
  return { inputs: new Map(payload.spans.map((span, place) => [born[place] ?? -1, span])), claims: new Map() }
}

function decodeInput(input: SpanInput): Span {
  return decodeEither(input.kind, input.source.body.subarray(input.spanStart, input.spanEnd))
}

/**
 * The trees of span-born records: by linked parents, and by adoption where the parent came in a later segment. Log
 * records hang on their span.
 *
 * A record whose parent is not there is a root. So is the first record of a cycle that spans several segments,
 * which adoption alone would close. About linear, and never recursive: a chain may be 100,000 spans long.
 */
export function growTree(records: readonly ExecutionRecord[]): ExecutionNode[] {
  const nodes: Growing[] = []
  /** Places in `nodes`: by leaf, and by span id for the record that stands for it. */
  const byLeaf = new Map<string, number>()
  const bySpan = new Map<string, number>()
  /** The first finished span of each id. */
  const finished = new Map<string, number>()
  let facts: ExecutionRecord[] = []
  for (const record of records) {
    const { entry } = record
    if (isSpanBorn(entry)) {
      byLeaf.set(idKey(record.leaf), nodes.length)
      const id = idKey(entry.spanId)
      const known = bySpan.get(id)
      const isLog = entry.parent === Parent.unsaid
      // A span stands before the log records that lie right before it.
      if (known === undefined || (!finished.has(id) && nodes[known]!.record.segment === record.segment))
        bySpan.set(id, nodes.length)
      if (!isLog && !finished.has(id)) finished.set(id, nodes.length)
      nodes.push({ record, facts, children: [] })
      facts = []
    } else if (entry.kind === Kind.persistence || entry.spanId.length === 0) facts = []
    else facts.push(record)
  }
  /** For each node one above it in its tree, or itself at the root; paths are halved as they are walked. */
  const above = nodes.map((_, place) => place)
  const rootOf = (place: number): number => {
    let at = place
    while (above[at] !== at) at = above[at] = above[above[at]!]!
    return at
  }
  const hang = (place: number, parent: number | undefined): void => {
    if (parent === undefined || rootOf(parent) === place) return
    above[place] = parent
    nodes[parent]!.children.push(nodes[place]!)
    isRoot[place] = false
  }
  const isRoot = nodes.map(() => true)
  for (const [place, { record }] of nodes.entries())
    if (record.entry.parent === Parent.unsaid) hang(place, finished.get(idKey(record.entry.spanId)))
    else if (record.entry.parent === Parent.linked) hang(place, byLeaf.get(idKey(record.entry.parentLeaf)))
  for (const [place, { record }] of nodes.entries()) {
    const { parent: state, parentSpanId } = record.entry
    if (state !== Parent.awaiting && state !== Parent.remote) continue
    // Who waited for a parent that came in a later segment was adopted there, as the derivation shows.
    const parent = bySpan.get(idKey(parentSpanId))
    if (parent !== undefined && nodes[parent]!.record.segment > record.segment) hang(place, parent)
  }
  return nodes.filter((_, place) => isRoot[place])
}

interface Growing extends ExecutionNode {
  readonly children: Growing[]
}
