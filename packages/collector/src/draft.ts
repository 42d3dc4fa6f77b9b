/** A commit that is being derived: payloads in blocks by their retention class, rows, and what was found. */
import { type Continuity, continuityOf, type Finding } from '@rootspan/lineage/continuity/judgement'
import type { LogRecord } from '@rootspan/lineage/record/about-log'
import { type SegmentHead, writePayload } from '@rootspan/lineage/record/payload'
import type { DerivedSegment } from '@rootspan/lineage/record/segment'
import type { Sink } from '@rootspan/lineage/record/sink'
import { describeJudgement } from './describe.ts'
import type { Batch } from './store/log-store.ts'
import type { SegmentRow } from './store/rows.ts'

/** Payloads share a block up to about this size: small segments compress badly and cost a call each alone. */
export const BLOCK_BYTES = 256 * 1024

/** Payloads of segments of one retention class. */
export interface DraftBlock {
  readonly sink: Sink
  readonly retention: string
}

export interface DraftSegment {
  readonly row: Omit<SegmentRow, 'block'>
  /** Which of the draft's blocks holds its payload. */
  readonly block: number
  readonly earlier: readonly SegmentRow[]
  /** Told the row as it is written. */
  onWritten?: (row: SegmentRow) => void
}

/** A commit that was derived and is not written yet. */
export interface Draft
  extends Pick<Batch, 'time' | 'size' | 'root' | 'tiles' | 'partial' | 'knowledge' | 'cursor'> {
  /** Tree size before it. */
  readonly first: number
  /** When the trace of each segment became due: milliseconds of `performance.now`. */
  readonly dueAt: readonly number[]
  /** Bundles that became full: where each is in `fullBytes`. */
  readonly full: readonly { readonly index: number; readonly start: number; readonly end: number }[]
  readonly fullBytes: Sink
  readonly segments: DraftSegments
  readonly receipts: ReadonlyMap<number, [number, number][]>
  readonly duplicates: number
  /** What becomes true with it beside its segments. */
  readonly changes: NonNullable<Batch['changes']>
  /** Records about the log, after its segments. */
  readonly records?: readonly LogRecord[]
}

/** What was derived of one segment, and where it belongs. */
export interface Derived {
  readonly head: SegmentHead
  readonly derived: DerivedSegment
  /** Index of its first leaf. */
  readonly first: number
  readonly earlier: readonly SegmentRow[]
  readonly described: Pick<SegmentRow, 'start' | 'end' | 'services' | 'name'>
  readonly retention: string
}

export class DraftSegments {
  readonly blocks: DraftBlock[] = []
  readonly rows: DraftSegment[] = []
  /** What each judgement came to; an execution is judged with each of its segments that is. */
  readonly judged: Continuity[] = []
  /** Those that the judgement before did not have. */
  readonly findings: Finding[] = []
  /** What judging them took. */
  judgingMillis = 0
  readonly #emptyBlock: () => Sink
  /** The block of each retention class that takes more, by its place. */
  readonly #open = new Map<string, number>()

  constructor(emptyBlock: () => Sink) {
    this.#emptyBlock = emptyBlock
  }

  add({ head, derived, first, earlier, described, retention }: Derived): DraftSegment {
    const { context, ruleset, judgement, spans, count } = derived
    const isJudged = ruleset.length > 0
    if (isJudged) this.judged.push(continuityOf(derived.judged))
    for (const finding of derived.fresh) this.findings.push(finding)
    this.judgingMillis += derived.judgingMillis
    const place = this.#open.get(retention) ?? this.blocks.push({ sink: this.#emptyBlock(), retention }) - 1
    this.#open.set(retention, place)
    const { sink } = this.blocks[place]!
    const at = sink.at
    writePayload(sink, { ...head, context, ruleset }, spans, judgement)
    const { tenant, traceId, segment, closed } = head
    const { continuity, rules } = describeJudgement(isJudged ? derived.judged : undefined, earlier.at(-1))
    const added: DraftSegment = {
      block: place,
      earlier,
      row: {
        tenant,
        traceId,
        segment,
        first,
        count,
        closed,
        at,
        size: sink.at - at,
        spans: spans.length,
        erasures: [],
        continuity,
        rules,
        start: described.start,
        end: described.end,
        services: described.services,
        name: described.name,
      },
    }
    this.rows.push(added)
    if (sink.at >= BLOCK_BYTES) this.#open.delete(retention)
    return added
  }
}
