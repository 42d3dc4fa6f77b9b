/** The member `context` of the bundles of a log in memory: what the collector makes of its store. */
import { equalBytes } from '@rootspan/lineage/bytes'
import { parseContext } from '@rootspan/lineage/continuity/context'
import { namingStatements } from '@rootspan/lineage/evidence/witness'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { parseAnyPayload, showClaims } from '@rootspan/lineage/record/opened'
import type { Segment, Trace } from './executions.ts'

type Part = Pick<Segment, 'first' | 'entries' | 'payload'>
type Erased = Trace['erasures'][number]

/** The records that contexts of these segments name, out of all traces; those that are nowhere are left out. */
export function witnessesOf(
  segments: readonly Segment[],
  traces: readonly Trace[],
): { parts: Part[]; erasures: Erased[] } {
  const parts: Part[] = []
  const erasures: Erased[] = []
  for (const { payload: bytes } of segments) {
    const payload = parseAnyPayload(bytes)
    if (payload.form === 'opened') continue
    for (const { record, key } of namingStatements(parseContext(payload.context ?? new Uint8Array(0))))
      for (const trace of traces)
        for (const segment of trace.segments) {
          const leaf = placeOf(segment, record.leaf)
          if (leaf === -1) continue
          const { entries } = segment
          const [shown] = showClaims(parseAnyPayload(segment.payload), entries, [{ leaf, key }])
          parts.push({ first: segment.first + leaf, entries: [entries[leaf]!], payload: shown! })
          if (shown!.length > 0) continue
          const end = entries.length - 1
          parts.push({ first: segment.first + end, entries: [entries[end]!], payload: shown! })
          const seal = segment.leaves.slice(-32)
          erasures.push(...trace.erasures.filter(({ record }) => named(record, seal)))
        }
  }
  return { parts: ascending(parts), erasures }
}

/** In the order of the log, of each the first. */
export function ascending<T extends { readonly first: number }>(parts: readonly T[]): T[] {
  return [...new Map(parts.toReversed().map((part) => [part.first, part])).values()].sort(
    (a, b) => a.first - b.first,
  )
}

function named({ entry }: Erased['record'], seal: Uint8Array): boolean {
  return parseEntry(entry).causes.some((cause) => equalBytes(cause.leaf, seal))
}

function placeOf({ leaves, entries }: Segment, leaf: Uint8Array): number {
  return [...entries.keys()].findIndex((at) => equalBytes(leaves.subarray(at * 32, at * 32 + 32), leaf))
}
