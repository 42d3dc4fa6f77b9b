/**
 * What the earlier segments of a trace hold: which spans have records, who still waits for a parent.
 *
 * Built from entries alone, so that everybody who has the log builds the same; payloads are asked for only
 * where a span comes again.
 */
import { copyBytes, formatHex } from '../bytes.ts'
import { ExecutionBuilder, type Part, type PartSpan } from '../continuity/model.ts'
import { Kind } from '../governance/kind.ts'
import { type Entry, isSpanBorn, Parent, Persistence } from './entry.ts'
import { idKey, type SpanInput, spanContent } from './order.ts'
import { Closed } from './payload.ts'

/** What the payload of a segment holds. */
export interface Held {
  /** In record order; those that were erased are undefined. */
  readonly spans: readonly (SpanInput | undefined)[]
  /** Encoded judgement, and digest of the rules that it was made by; absent where they were not kept, or not made. */
  readonly judgement?: Uint8Array
  readonly ruleset?: Uint8Array
}

export interface EarlierSpan {
  /** Leaf hash of its record, and the leaf's index in the log. */
  readonly leaf: Uint8Array
  readonly index: number
  /** It is the record of a log record. */
  readonly isLog: boolean
  /** The span itself; undefined where it was erased. */
  span(): SpanInput | undefined
}

/** History of one trace; grows a segment at a time. The segments are added in order. */
export class TraceHistory {
  /** Number of the next segment. */
  segment = 0
  /** Leaf hash of the last seal; empty before the first. */
  previousSeal: Uint8Array = new Uint8Array(0)
  /** Why the last segment was closed that has spans. */
  previousClosed: Closed = Closed.settled
  /** Records of spans and log records. */
  born = 0
  readonly #spans = new Map<string, EarlierSpan[]>()
  /** The record that stands for a span id: of the first finished span or, until there is one, the first log record. */
  readonly #standing = new Map<string, EarlierSpan>()
  /** Leaf hashes of the records of log records. */
  readonly #logs = new Map<string, Uint8Array[]>()
  readonly #waiting = new Map<string, Uint8Array[]>()
  /** The execution is judged: a record so far carries governance, or is a finding. */
  judged = false
  /** The execution as far as it was added, once somebody has asked for it. */
  #builder: ExecutionBuilder | undefined
  /** Ways to what the builder is built from. */
  #parts: (() => Part)[] = []
  /** Ways to what the segments hold, in their order. */
  readonly #held: (() => Held | undefined)[] = []
  /** What `earlier` has answered since a segment was added. */
  readonly #earlier = new Map<string, EarlierSpans>()

  /**
   * Adds a sealed segment: the index of its first leaf, its entries in order, their leaf hashes (32 bytes
   * each), and a way to what its payload holds, undefined where that was erased. `payload` is called only when a span of the
   * segment comes again or the execution is judged, and more than once where memory is short.
   */
  add(
    first: number,
    entries: readonly Entry[],
    leaves: Uint8Array,
    closed: Closed,
    payload: () => Held | undefined,
  ): void {
    // Held weakly: a history that is kept for long is not to keep what all its segments hold.
    let kept: WeakRef<Held> | undefined
    const load = (): Held | undefined => {
      const held = kept?.deref() ?? payload()
      if (held !== undefined) kept = new WeakRef(held)
      return held
    }
    let born = 0
    this.#earlier.clear()
    for (const [at, entry] of entries.entries()) {
      this.judged ||= isJudged(entry)
      if (!isSpanBorn(entry)) continue
      const leaf = copyBytes(leaves, at * 32, at * 32 + 32)
      const id = idKey(entry.spanId)
      const place = born++
      const earlier: EarlierSpan = {
        leaf,
        index: first + at,
        isLog: entry.parent === Parent.unsaid,
        span() {
          return load()?.spans[place]
        },
      }
      const standing = this.#standing.get(id)
      if (standing === undefined || (standing.isLog && !earlier.isLog)) this.#standing.set(id, earlier)
      const others = this.#spans.get(id)
      if (others === undefined) this.#spans.set(id, [earlier])
      else others.push(earlier)
      if (entry.parent === Parent.unsaid) {
        const logs = this.#logs.get(id)
        if (logs === undefined) this.#logs.set(id, [leaf])
        else logs.push(leaf)
      }
      if (entry.parent === Parent.awaiting || entry.parent === Parent.remote) {
        const parent = idKey(entry.parentSpanId)
        const waiting = this.#waiting.get(parent)
        if (waiting === undefined) this.#waiting.set(parent, [leaf])
        else waiting.push(leaf)
      }
    }
    this.born += born
    // Whoever came in this segment has adopted who waited for it; what opens a cycle waits for nobody.
    for (const entry of entries) if (isSpanBorn(entry)) this.#waiting.delete(idKey(entry.spanId))
    const seal = entries.at(-1)
    if (seal?.kind !== Kind.persistence || seal.persistence !== Persistence.sealed)
      throw new Error('bad history: a segment without a seal')
    const { segment } = seal
    const all = copyBytes(leaves, 0, leaves.length)
    // Whoever has the builder has added this segment to it.
    if (this.#builder === undefined) this.#parts.push(() => partOf(segment, entries, all, load()?.spans))
    this.#held.push(load)
    this.previousSeal = copyBytes(leaves, leaves.length - 32, leaves.length)
    if (closed !== Closed.reviewed) this.previousClosed = closed
    this.segment = seal.segment + 1
  }

  /** Whether {@link builder} costs no more than was already paid. */
  get isBuilt(): boolean {
    return this.#builder !== undefined || this.segment === 0
  }

  /**
   * The execution up to the last segment that was added. Whoever asks adds the next segment to it, before it is added
   * here.
   */
  builder(): ExecutionBuilder {
    if (this.#builder === undefined) {
      this.#builder = new ExecutionBuilder('kept')
      for (const part of this.#parts) this.#builder.add(part())
      this.#parts = []
    }
    return this.#builder
  }

  /**
   * The last judgement and the segment that it was made with; those after it were sealed without one. Undefined where there
   * is none, or its payload was erased.
   */
  lastJudged(): { readonly judgement: Uint8Array; readonly segment: number } | undefined {
    for (let segment = this.#held.length - 1; segment >= 0; segment--) {
      const { judgement, ruleset } = this.#held[segment]!() ?? {}
      if (judgement === undefined || ruleset === undefined) return undefined
      if (ruleset.length > 0) return { judgement, segment }
    }
    return undefined
  }

  /** Leaf hash of the record that stands for a span id. */
  leafOf(id: string): Uint8Array | undefined {
    return this.#standing.get(id)?.leaf
  }

  /** Leaf hashes of the records of log records about a span, in log order. */
  logsOf(id: string): readonly Uint8Array[] {
    return this.#logs.get(id) ?? []
  }

  /** Leaf hashes of earlier records whose parent has this id and had not come. */
  waitingFor(id: string): readonly Uint8Array[] {
    return this.#waiting.get(id) ?? []
  }

  /** The earlier records of a span id; undefined where there is none. Looks into payloads on the first call. */
  earlier(id: string): EarlierSpans | undefined {
    const known = this.#earlier.get(id)
    const held = known === undefined ? this.#spans.get(id) : undefined
    if (held === undefined) return known
    const earlier = new EarlierSpans(held)
    this.#earlier.set(id, earlier)
    return earlier
  }
}

/** The records that earlier segments hold of one span id. */
class EarlierSpans {
  /** By content digest. */
  readonly #byContent = new Map<string, EarlierSpan>()
  /** The first that has this kind, or whose kind cannot be told. */
  readonly #byKind = new Map<number, EarlierSpan>()
  #erased: EarlierSpan | undefined

  constructor(earlier: readonly EarlierSpan[]) {
    for (const one of earlier) {
      const span = one.span()
      if (span === undefined) {
        if (!one.isLog) this.#erased ??= one
      } else {
        const content = formatHex(spanContent(span))
        if (!this.#byContent.has(content)) this.#byContent.set(content, one)
        if (!this.#byKind.has(span.kind)) this.#byKind.set(span.kind, this.#erased ?? one)
      }
    }
  }

  /** The record of a span that equals this one. */
  twin(span: SpanInput): EarlierSpan | undefined {
    return this.#byContent.get(formatHex(spanContent(span)))
  }

  /** The first record of a span of this kind, or of one that was erased and may have had it. */
  ofKind(kind: number): EarlierSpan | undefined {
    return this.#byKind.get(kind) ?? this.#erased
  }
}

/** A record that an execution which is not judged does not have: of a governed span, or a finding. */
function isJudged({ kind, spanId, claims }: Entry): boolean {
  return spanId.length === 0 ? kind === Kind.verification : kind !== Kind.span || claims.length > 0
}

/** A segment with the records of its spans; facts lie right before the record of their span. */
function partOf(
  segment: number,
  entries: readonly Entry[],
  leaves: Uint8Array,
  spans: readonly (SpanInput | undefined)[] = [],
): Part {
  const parts: PartSpan[] = []
  let factLeaves: Uint8Array[] = []
  let place = 0
  let isWhole = true
  for (const [at, entry] of entries.entries()) {
    if (entry.spanId.length === 0) continue
    const leaf = leaves.subarray(at * 32, at * 32 + 32)
    if (!isSpanBorn(entry)) {
      factLeaves.push(leaf)
      continue
    }
    const { parent, parentLeaf } = entry
    const input = spans[place++]
    if (input === undefined) isWhole = false
    else parts.push({ input, leaf, factLeaves, parent, parentLeaf })
    factLeaves = []
  }
  return { segment, spans: parts, isWhole }
}
