/** Receipts: every span whose sender asked for one is found under its request, and nothing else is. */
import { dataView } from '@rootspan/lineage/bytes'
import { isSpanBorn, parseEntry } from '@rootspan/lineage/record/entry'
import { parseEntryBundle, TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { parseCommit } from '../store/rows.ts'
import type { Findings, Progress } from './report.ts'

const NEXT =
  'It serves /api/v1/receipts alone: the log is not affected. Restore the data directory from a copy.'

/** The spans that were asked for, as the payloads say. Memory: 17 bytes each. */
export class TrackedSpans {
  #leaves = new Float64Array(1024)
  /** Place of each in its request. */
  #places = new Float64Array(1024)
  #count = 0

  /** Leaves come in ascending order. */
  add(leaf: number, place: number): void {
    if (this.#count === this.#leaves.length) {
      this.#leaves = grown(this.#leaves)
      this.#places = grown(this.#places)
    }
    this.#leaves[this.#count] = leaf
    this.#places[this.#count++] = place
  }

  get count(): number {
    return this.#count
  }

  leaf(at: number): number {
    return this.#leaves[at]!
  }

  place(at: number): number {
    return this.#places[at]!
  }

  /** Which one has this leaf, or -1. */
  find(leaf: number): number {
    let low = 0
    let high = this.#count
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.#leaves[middle]! < leaf) low = middle + 1
      else high = middle
    }
    return low < this.#count && this.#leaves[low] === leaf ? low : -1
  }
}

function grown(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(array.length * 2)
  larger.set(array)
  return larger
}

/**
 * Holds the receipt keys against the tracked spans. A receipt may also name the leaf of an earlier delivery of the
 * same span, which need not have been asked for: then it is a record of a span, committed no later.
 */
export async function checkReceipts(
  reader: LogReader,
  tracked: TrackedSpans,
  findings: Findings,
  progress: Progress,
): Promise<void> {
  const seen = new Uint8Array(tracked.count)
  let sizeOf: { commit: number; size: number | undefined } = { commit: -1, size: undefined }
  const range = { gte: Uint8Array.of(keys.Prefix.receipt), lt: Uint8Array.of(keys.Prefix.receipt + 1) }
  for await (const [key, value] of reader.database.iterator({ ...range, highWaterMarkBytes: 1024 * 1024 })) {
    const where = `receipt key ${Buffer.from(key).toString('hex')}`
    if (key.length !== 17 || value.length === 0 || value.length % 12 !== 0) {
      findings.problem(where, 'is malformed', NEXT, 'receipts')
      continue
    }
    const commit = Number(new DataView(key.buffer, key.byteOffset).getBigUint64(9))
    if (sizeOf.commit !== commit) sizeOf = { commit, size: await commitSize(reader, commit) }
    const view = dataView(value)
    for (let at = 0; at < value.length; at += 12) {
      const place = view.getUint32(at)
      const leaf = Number(view.getBigUint64(at + 4))
      const found = tracked.find(leaf)
      if (sizeOf.size === undefined || leaf >= sizeOf.size)
        findings.problem(
          where,
          `names leaf ${leaf}, which its commit ${commit} does not have`,
          NEXT,
          'receipts',
        )
      else if (found !== -1 && tracked.place(found) === place) seen[found] = 1
      else if (!(await isSpanLeaf(reader, leaf)))
        findings.problem(where, `names leaf ${leaf}, which is no record of a span`, NEXT, 'receipts')
    }
    findings.count('receipts')
    progress('receipts', 0)
  }
  for (let at = 0; at < tracked.count; at++)
    if (seen[at] === 0)
      findings.problem(
        `receipt of leaf ${tracked.leaf(at)}`,
        'is missing, though it was asked for',
        NEXT,
        'receipts',
      )
}

async function commitSize(reader: LogReader, number: number): Promise<number | undefined> {
  const value = await reader.database.get(keys.commitKey(number))
  return value === undefined ? undefined : parseCommit(value).commit.size
}

async function isSpanLeaf(reader: LogReader, leaf: number): Promise<boolean> {
  const width = (leaf % TILE_WIDTH) + 1
  const bundle = await reader.entries(Math.floor(leaf / TILE_WIDTH), width)
  return bundle !== undefined && isSpanBorn(parseEntry(parseEntryBundle(bundle, width)[width - 1]!))
}
