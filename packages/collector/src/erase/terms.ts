/** The search terms that change with rows: names that were erased are in no list and no key. */
import { formatHex } from '@rootspan/lineage/bytes'
import { Sink } from '@rootspan/lineage/record/sink'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName, parseCommit, parseRows, type SegmentRow } from '../store/rows.ts'
import { TermLists } from '../store/terms.ts'

/** A trace whose rows change. */
interface ChangedTrace {
  readonly key: Uint8Array
  readonly before: readonly SegmentRow[]
  readonly after: readonly SegmentRow[]
}

type Change = readonly [key: Uint8Array, value: Uint8Array | undefined]

/**
 * What becomes of the lists of the commits that these traces are in. They are made again from all rows of each such
 * commit, as it made them, and what it had and has no more is removed. Walks all commits once.
 */
export async function termChanges(reader: LogReader, traces: Iterable<ChangedTrace>): Promise<Change[]> {
  const changed = new Map([...traces].map((trace) => [formatHex(trace.key), trace]))
  const changes: Change[] = []
  const range = { gte: Uint8Array.of(keys.Prefix.commit), lt: Uint8Array.of(keys.Prefix.commit + 1) }
  for await (const [, value] of reader.database.iterator({ ...range, highWaterMarkBytes: 1024 * 1024 })) {
    const { commit } = parseCommit(value)
    const rows = commit.rows.filter(({ traceId }) => traceId.length > 0)
    const traceKeys = rows.map((row) => keys.traceKey(keys.traceId(encodeName(row.tenant), row.traceId)))
    if (!traceKeys.some((key) => changed.has(formatHex(key)))) continue
    const stored = await reader.database.getMany(traceKeys)
    const before = new TermLists()
    const after = new TermLists()
    for (const [at, { segment }] of rows.entries()) {
      const trace = changed.get(formatHex(traceKeys[at]!))
      const held = trace?.before ?? parseRows(stored[at]!)
      const left = trace?.after ?? held
      before.add(held[segment]!, held.slice(0, segment))
      after.add(left[segment]!, left.slice(0, segment))
    }
    const kept = new Map(termsOf(after, commit.number).map((term) => [formatHex(term[0]), term]))
    for (const [key] of termsOf(before, commit.number))
      if (!kept.has(formatHex(key))) changes.push([key, undefined])
    changes.push(...kept.values())
  }
  return changes
}

/** Keys and values of the lists of one commit. */
function termsOf(lists: TermLists, commit: number): Change[] {
  const value = new Sink()
  const terms: Change[] = []
  for (const list of lists) {
    value.at = 0
    list.write(value)
    terms.push([keys.termsKey(list.span, commit), new Uint8Array(value.view())])
    for (const service of list.services)
      terms.push([keys.serviceKey(service, list.span, commit), new Uint8Array(0)])
  }
  return terms
}
