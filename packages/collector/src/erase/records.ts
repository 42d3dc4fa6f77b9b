/** Records about the log with their openings, out of the store. */
import type { Opening } from '@rootspan/lineage/record/opening'
import { parseRun } from '@rootspan/lineage/record/opening'
import { MAX_BLOCK_BYTES, type PackReader } from '../pack.ts'
import { readSegment } from '../sequencer.ts'
import { type LogReader, StoreError } from '../store/log-store.ts'

/** A record about the log, with its place and what opens its claims. */
export interface StoredRecord {
  readonly index: number
  /** Leaf hash. */
  readonly leaf: Uint8Array
  readonly entry: Uint8Array
  readonly claims: readonly Opening[]
}

/** The records with these leaf indexes. Throws a StoreError where one is in no run, and what damaged data throws. */
export async function readErasures(
  reader: LogReader,
  packs: Pick<PackReader, 'readSync'>,
  indexes: readonly number[],
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = []
  for (const index of indexes) {
    const row = await reader.run(index)
    if (row === undefined) throw new StoreError(`leaf ${index} is no record about the log`)
    const run = parseRun(packs.readSync(row.block, MAX_BLOCK_BYTES).slice(row.at, row.at + row.size))
    const claims = run.find(({ leaf }) => leaf === index - row.first)?.claims
    const { entries, leaves } = await readSegment(reader, { first: index, count: 1 })
    if (claims === undefined) throw new StoreError(`leaf ${index} has no openings`)
    records.push({ index, leaf: leaves, entry: entries[0]!, claims })
  }
  return records
}
