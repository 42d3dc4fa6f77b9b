/** What becomes of a pack that has expired: its segments are erased, but for those that stay, which are moved. */

import type { RecordBatch } from '../sequencer.ts'
import { encodeRows, isErased, type SegmentRow } from '../store/rows.ts'
import { type Change, erasedRow, Movers, type Order, type PlanParts, recordsOf } from './plan.ts'
import { type Found, LastBlock } from './select.ts'
import { termChanges } from './terms.ts'

/**
 * Makes the commit after which nothing names the pack. `found` are the executions with a payload in it, `stays` says
 * for one of them the day to whose pack it is moved, or that it does not stay. Memory: some kilobytes an execution.
 */
export async function planExpiry(
  parts: PlanParts,
  pack: number,
  found: readonly Found[],
  stays: (rows: readonly SegmentRow[]) => string | undefined,
  order: Omit<Order, 'keys'>,
  first: number,
): Promise<{ readonly batch: RecordBatch; readonly segments: number }> {
  const { reader, packs } = parts
  const blocks = new LastBlock(packs)
  const movers = new Movers(packs)
  const traces: { key: Uint8Array; before: readonly SegmentRow[]; after: SegmentRow[] }[] = []
  const changes: (Change & { readonly after: SegmentRow[] })[] = []
  await packs.retire(new Set([pack]))
  for (const { key, rows } of found) {
    const after = [...rows]
    traces.push({ key, before: rows, after })
    const day = stays(rows)
    for (const row of rows) {
      if (isErased(row) || row.block.pack !== pack) continue
      if (day === undefined) changes.push({ row, left: undefined, spans: row.spans, claims: 0, after })
      else
        await movers.move(
          pack,
          blocks.payload(row),
          (block, at) => {
            after[row.segment] = { ...row, block, at }
          },
          day,
        )
    }
  }
  await movers.end()
  await packs.sync()
  changes.sort((a, b) => a.row.first - b.row.first)
  const { records, leaves } = await recordsOf(parts, changes, { ...order, keys: undefined }, first)
  for (const [at, { row, after }] of changes.entries()) after[row.segment] = erasedRow(row, leaves[at]!)
  return {
    segments: changes.length,
    batch: {
      records,
      changes: [
        ...traces.map(({ key, after }) => [key, encodeRows(after)] as const),
        ...(await termChanges(reader, traces)),
      ],
    },
  }
}
