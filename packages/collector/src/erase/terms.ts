/** The search keys of a trace that change with its rows: names that were erased are in no key. */
import * as keys from '../store/keys.ts'
import { encodeName, type SegmentRow } from '../store/rows.ts'

/** Search keys that rows of one trace had and do not have any more. A value of undefined removes the key. */
export function termChanges(
  before: readonly SegmentRow[],
  after: readonly SegmentRow[],
): (readonly [key: Uint8Array, value: undefined])[] {
  const left = new Set(after.flatMap(({ services }) => services))
  const gone = new Set(before.flatMap(({ services }) => services).filter((service) => !left.has(service)))
  const { tenant, traceId, start } = before[0]!
  const id = keys.traceId(encodeName(tenant), traceId)
  return [...gone].map((service) => [
    keys.byServiceKey(encodeName(service).subarray(0, 255), start, id),
    undefined,
  ])
}
