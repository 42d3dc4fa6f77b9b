/**
 * Histories of executions that go on, the most recently used ones kept: reading one back costs as much as the execution
 * is long, for each segment that comes.
 */
import { formatHex } from '@rootspan/lineage/bytes'
import type { TraceHistory } from '@rootspan/lineage/record/history'
import type { SegmentRow } from './store/rows.ts'

/**
 * Bytes that are kept, counted generously: a leaf takes some 300, and of what its payload holds, names and facts may be
 * kept, which a sender can make as large as it likes.
 */
const MAX_BYTES = 128 * 1024 * 1024
const LEAF_BYTES = 320

type OfTrace = Pick<SegmentRow, 'tenant' | 'traceId'>

export class Histories {
  /** By tenant and trace, least recently used first. */
  readonly #kept = new Map<string, { readonly history: TraceHistory; readonly bytes: number }>()
  #bytes = 0

  /** The history of a trace of so many segments; undefined where it is not kept. */
  get(trace: OfTrace, segments: number): TraceHistory | undefined {
    const history = this.#kept.get(keyOf(trace))?.history
    return history?.segment === segments ? history : undefined
  }

  /** Keeps a history of these segments, if it is no larger than all that is kept. */
  keep(trace: OfTrace, history: TraceHistory, segments: readonly Pick<SegmentRow, 'count' | 'size'>[]): void {
    this.drop(trace)
    const bytes = segments.reduce((sum, { count, size }) => sum + count * LEAF_BYTES + size, 0)
    if (bytes > MAX_BYTES) return
    this.#kept.set(keyOf(trace), { history, bytes })
    this.#bytes += bytes
    for (const [oldest, { bytes }] of this.#kept) {
      if (this.#bytes <= MAX_BYTES) break
      this.#kept.delete(oldest)
      this.#bytes -= bytes
    }
  }

  drop(trace: OfTrace): void {
    const key = keyOf(trace)
    this.#bytes -= this.#kept.get(key)?.bytes ?? 0
    this.#kept.delete(key)
  }

  /** Nothing that is kept is true any more. */
  clear(): void {
    this.#kept.clear()
    this.#bytes = 0
  }
}

function keyOf({ tenant, traceId }: OfTrace): string {
  return `${tenant}\n${formatHex(traceId)}`
}
