/**
 * The records that the contexts of an execution name, for its bundle (docs/formats/bundle.md, "Context"): each with the
 * one claim that it is named for, or with the seal of its segment where that was erased.
 *
 * Reads each segment that holds one, whole, one at a time. Executions that are named can be large: what is found by leaf
 * hash costs a read of the hashes of their segments.
 */
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import { type Context, parseContext } from '@rootspan/lineage/continuity/context'
import { namingStatements } from '@rootspan/lineage/evidence/witness'
import { type AnyPayload, parseAnyPayload, showClaims } from '@rootspan/lineage/record/opened'
import { BYTES, WireReader } from '@rootspan/lineage/wire'
import { readSegment } from '../sequencer.ts'
import { traceId } from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName, isErased, type SegmentRow } from '../store/rows.ts'
import { ApiError } from './errors.ts'
import type { Payloads } from './evidence.ts'

/** A record, with a run of what it shows; empty where it shows nothing. */
export interface WitnessPart {
  readonly index: number
  readonly entry: Uint8Array
  readonly payload: Uint8Array
}

export interface Witnesses {
  /** By ascending index. */
  readonly parts: readonly WitnessPart[]
  /** Leaves of erased records about segments of theirs. */
  readonly erasures: readonly number[]
}

export const NO_WITNESSES: Witnesses = { parts: [], erasures: [] }

/** Key of the claim that each record is named for, by leaf hash. */
type Wanted = Map<string, string>

/** `rows` are segments of one execution under the checkpoint of this size. */
export async function gatherWitnesses(
  reader: LogReader,
  payloads: Payloads,
  size: number,
  rows: readonly SegmentRow[],
): Promise<Witnesses> {
  const wanted = new Map<string, Wanted>()
  for (const row of rows) {
    if (isErased(row)) continue
    for (const { record, key } of namingStatements(contextIn(await payloads.of(row)))) {
      const trace = formatHex(record.traceId)
      const leaves = wanted.get(trace) ?? new Map()
      wanted.set(trace, leaves)
      if (!leaves.has(formatHex(record.leaf))) leaves.set(formatHex(record.leaf), key)
    }
  }
  const parts = new Map<number, WitnessPart>()
  const erasures = new Set<number>()
  for (const [trace, leaves] of wanted) {
    const id = traceId(encodeName(rows[0]!.tenant), parseHex(trace))
    const [others = []] = await reader.traces([id])
    for (const row of others) {
      const found = leaves.size === 0 ? [] : await witnessesIn(reader, payloads, row, leaves)
      for (const part of found) parts.set(part.index, part)
      if (!found.some(({ payload }) => payload.length === 0)) continue
      if (row.erasures.some((leaf) => leaf >= size)) throw notSigned('something that this execution rests on')
      for (const leaf of row.erasures) erasures.add(leaf)
    }
    if (leaves.size > 0)
      throw new Error(`the log does not hold what a judgement takes from execution ${trace}`)
  }
  return { parts: [...parts.values()].sort((a, b) => a.index - b.index), erasures: [...erasures] }
}

/** What was erased, and no checkpoint covers the record that says so. */
export function notSigned(what: string): ApiError {
  return new ApiError(
    503,
    'not_signed',
    `${what} was just erased, and no checkpoint covers that yet`,
    'Come again in a second: a checkpoint is signed every second in which the log grew.',
    1,
  )
}

/** The context in a payload, without parsing the rest of it; opened ones have none. */
function contextIn(payload: Uint8Array): Context {
  const reader = new WireReader(payload)
  let context: Uint8Array = new Uint8Array(0)
  while (reader.next()) if (reader.field === 10 && reader.type === BYTES) context = reader.value()
  return parseContext(context)
}

/** The wanted records of one segment, taken out of `leaves`; and its seal, if one of them shows nothing. */
async function witnessesIn(
  reader: LogReader,
  payloads: Payloads,
  row: SegmentRow,
  leaves: Wanted,
): Promise<WitnessPart[]> {
  const { entries, leaves: hashes } = await readSegment(reader, row)
  const found: { leaf: number; key: string }[] = []
  for (const leaf of entries.keys()) {
    const hash = formatHex(hashes.subarray(leaf * 32, leaf * 32 + 32))
    const key = leaves.get(hash)
    if (key === undefined) continue
    found.push({ leaf, key })
    leaves.delete(hash)
  }
  if (found.length === 0) return []
  const payload = await payloadOf(payloads, row)
  const parts = showClaims(payload, entries, found).map((shown, at) => {
    const { leaf } = found[at]!
    return { index: row.first + leaf, entry: entries[leaf]!, payload: shown }
  })
  const end = entries.length - 1
  const hidden = parts.find((part) => part.payload.length === 0)
  return hidden === undefined
    ? parts
    : [...parts, { ...hidden, index: row.first + end, entry: entries[end]! }]
}

/** A copy, so that offsets into it are those of the payload. */
async function payloadOf(payloads: Payloads, row: SegmentRow): Promise<AnyPayload | undefined> {
  return isErased(row) ? undefined : parseAnyPayload(new Uint8Array(await payloads.of(row)))
}
