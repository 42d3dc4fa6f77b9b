/** Segments of which something was erased, and records about the log. */

import { equalBytes } from '@rootspan/lineage/bytes'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import {
  checkErasure,
  checkMissing,
  checkOpened,
  type Erasure,
  erasuresOf,
  SeenRecords,
} from '@rootspan/lineage/evidence/erasure'
import { Kind } from '@rootspan/lineage/governance/kind'
import { Committer } from '@rootspan/lineage/record/commitment'
import { Persistence, parseEntry } from '@rootspan/lineage/record/entry'
import { type OpenedPayload, parseAnyPayload } from '@rootspan/lineage/record/opened'
import { openClaims, parseRun } from '@rootspan/lineage/record/opening'
import { readErasures } from '../erase/records.ts'
import type { PackReader } from '../pack.ts'
import { readSegment } from '../sequencer.ts'
import { traceId, traceKey } from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName, nothingOf, parseRows, type SegmentRow } from '../store/rows.ts'

/**
 * Checks that the erased records which a row names are there and name its seal, and that they account for everything
 * that is missing in what is left, `bytes`, if anything is. Throws what damaged data throws.
 */
export async function checkErased(
  reader: LogReader,
  packs: Pick<PackReader, 'readSync'>,
  row: SegmentRow,
  bytes: Uint8Array | undefined,
  entries: readonly Uint8Array[],
  leaves: Uint8Array,
  where: string,
): Promise<void> {
  const seal = leaves.subarray(-32)
  const erasures = (await readErasures(reader, packs, row.erasures)).map(
    ({ index, leaf, entry, claims }): Erasure =>
      checkErasure(index, leaf, entry, claims, `${where}, erasure`),
  )
  if (erasuresOf(seal, erasures).length !== erasures.length)
    throw new VerificationError(
      'erasure',
      where,
      'an erased record that its row names does not name its seal',
    )
  const payload = bytes === undefined ? nothingOf(row) : openedOf(bytes, row)
  const { seen, previousSeal } = await recordsBefore(reader, row)
  const parsed = entries.map(parseEntry)
  const missing = checkOpened(payload, parsed, leaves, seen, previousSeal, where)
  checkMissing(payload, missing, seal, erasures, where)
  const isWhole = erasures.some(({ scope }) => scope === 'execution')
  if (isWhole !== (bytes === undefined) || (isWhole && (row.name !== '' || row.services.length > 0)))
    throw new VerificationError('erasure', where, 'its row has something left of what was erased, or nothing')
}

function openedOf(bytes: Uint8Array, row: SegmentRow): OpenedPayload {
  const payload = parseAnyPayload(bytes)
  const isOfRow =
    payload.form === 'opened' &&
    !payload.withheld &&
    payload.tenant === row.tenant &&
    equalBytes(payload.traceId, row.traceId) &&
    payload.segment === row.segment &&
    payload.closed === row.closed
  if (!isOfRow) throw new MalformedError('what is left of its payload is of another segment than its row')
  return payload
}

async function recordsBefore(
  reader: LogReader,
  row: SegmentRow,
): Promise<{ seen: SeenRecords; previousSeal: Uint8Array }> {
  const seen = new SeenRecords()
  let previousSeal = new Uint8Array(0)
  if (row.segment === 0) return { seen, previousSeal }
  const value = await reader.database.get(traceKey(traceId(encodeName(row.tenant), row.traceId)))
  for (const before of parseRows(value ?? new Uint8Array(0)).slice(0, row.segment)) {
    const { entries, leaves } = await readSegment(reader, before)
    seen.add(entries.map(parseEntry), leaves)
    previousSeal = leaves.slice(-32) as Uint8Array<ArrayBuffer>
  }
  return { seen, previousSeal }
}

/** Checks the openings of a run against its entries. Throws what damaged data throws. */
export function checkRun(bytes: Uint8Array, entries: readonly Uint8Array[], where: string): void {
  const run = parseRun(bytes)
  if (run.length !== entries.length || run.some(({ leaf }, at) => leaf !== at))
    throw new MalformedError('a run is not of the records that its row says')
  for (const { leaf, claims } of run) {
    const entry = parseEntry(entries[leaf]!)
    const isAboutLog =
      entry.kind === Kind.persistence &&
      entry.persistence !== Persistence.sealed &&
      entry.traceId.length === 0
    if (!isAboutLog) throw new VerificationError('record', where, 'a record is not about the log')
    if (!openClaims(claims, entry.claims, new Committer()))
      throw new VerificationError('claims', where, 'the claims of a record do not match the commitment')
  }
}
