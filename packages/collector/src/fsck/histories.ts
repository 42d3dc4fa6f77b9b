/** Histories of the traces that have several segments, the most recent ones kept. */
import { formatHex } from '@rootspan/lineage/bytes'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { heldOf } from '@rootspan/lineage/record/erase'
import { TraceHistory } from '@rootspan/lineage/record/history'
import type { PackReader } from '../pack.ts'
import { loadHistory, readPayload } from '../sequencer.ts'
import type { LogReader } from '../store/log-store.ts'
import type { SegmentRow } from '../store/rows.ts'
import { splitEntries } from './entries.ts'

/** Leaves that are remembered, about 300 bytes each. */
const MAX_LEAVES = 200_000

export class Histories {
  readonly #reader: LogReader
  readonly #packs: PackReader
  /** By tenant and trace, least recently used first. */
  readonly #kept = new Map<string, { history: TraceHistory; leaves: number }>()
  #leaves = 0

  constructor(reader: LogReader, packs: PackReader) {
    this.#reader = reader
    this.#packs = packs
  }

  /** What the segments before `row` hold. Throws what damaged data throws. */
  async before(row: SegmentRow, rows: readonly SegmentRow[]): Promise<TraceHistory> {
    const kept = this.#kept.get(keyOf(row))
    if (kept?.history.segment === row.segment) return kept.history
    return loadHistory(this.#reader, this.#packs, rows.slice(0, row.segment))
  }

  /** Remembers a segment that was walked, if a later one of its trace follows. */
  add(
    row: SegmentRow,
    rows: readonly SegmentRow[],
    before: TraceHistory | undefined,
    chunks: readonly Uint8Array[],
    leaves: Uint8Array,
  ): void {
    const key = keyOf(row)
    const kept = this.#kept.get(key)
    if (kept !== undefined) {
      this.#kept.delete(key)
      this.#leaves -= kept.leaves
    }
    if (rows.length <= row.segment + 1) return
    const history = before ?? new TraceHistory()
    try {
      const entries = splitEntries(chunks).map(parseEntry)
      history.add(row.first, entries, leaves, row.closed, () =>
        heldOf({ entries: splitEntries(chunks) }, readPayload(this.#packs, row)),
      )
    } catch {
      return // was reported where it was walked; whoever needs it loads it, and meets the damage
    }
    const count = (kept?.leaves ?? 0) + row.count
    this.#kept.set(key, { history, leaves: count })
    this.#leaves += count
    for (const [oldest, { leaves }] of this.#kept) {
      if (this.#leaves <= MAX_LEAVES) break
      this.#kept.delete(oldest)
      this.#leaves -= leaves
    }
  }
}

function keyOf(row: SegmentRow): string {
  return `${row.tenant}\n${formatHex(row.traceId)}`
}
