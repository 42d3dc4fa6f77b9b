/**
 * Histories of executions that go on, the most recently used ones kept: reading one back costs as much as the execution
 * is long, for each segment that comes.
 */
import { formatHex } from '@rootspan/lineage/bytes'
import type { TraceHistory } from '@rootspan/lineage/record/history'
import type { SegmentRow } from './store/rows.ts'

/** Leaves that are kept; one takes about 300 bytes, and a governed span about a kilobyte where it is judged. */
const MAX_LEAVES = 200_000

type OfTrace = Pick<SegmentRow, 'tenant' | 'traceId'>

export class Histories {
  /** By tenant and trace, least recently used first. */
  readonly #kept = new Map<string, { readonly history: TraceHistory; readonly leaves: number }>()
  #leaves = 0

  /** The history of a trace of so many segments; undefined where it is not kept. */
  get(trace: OfTrace, segments: number): TraceHistory | undefined {
    const history = this.#kept.get(keyOf(trace))?.history
    return history?.segment === segments ? history : undefined
  }

  /** Keeps a history that has grown to so many leaves, if it is no larger than all that is kept. */
  keep(trace: OfTrace, history: TraceHistory, leaves: number): void {
    this.drop(trace)
    if (leaves > MAX_LEAVES) return
    this.#kept.set(keyOf(trace), { history, leaves })
    this.#leaves += leaves
    for (const [oldest, { leaves }] of this.#kept) {
      if (this.#leaves <= MAX_LEAVES) break
      this.#kept.delete(oldest)
      this.#leaves -= leaves
    }
  }

  drop(trace: OfTrace): void {
    const key = keyOf(trace)
    this.#leaves -= this.#kept.get(key)?.leaves ?? 0
    this.#kept.delete(key)
  }

  /** Nothing that is kept is true any more. */
  clear(): void {
    this.#kept.clear()
    this.#leaves = 0
  }
}

function keyOf({ tenant, traceId }: OfTrace): string {
  return `${tenant}\n${formatHex(traceId)}`
}
