/**
 * What was learned from executions for others, and goes with them (docs/operate/erasure.md, "What is not erased"): the
 * use of a one-time artifact, and that a version of a policy decided. Revocations stay. They are there to protect
 * somebody from what was revoked, and are no less in force because the execution that told of it is gone.
 */
import { formatHex } from '@rootspan/lineage/bytes'
import { sourcesOf, Testimony } from '@rootspan/lineage/continuity/testimony'
import { parseKnowledge } from '../knowledge.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeName } from '../store/rows.ts'
import type { Found } from './select.ts'

/**
 * The rows to remove with the erasure of `found`: with that of attributes (`names`) those that are made of one. A look at
 * every row, of which there are some hundred thousand at most.
 */
export async function forgotten(
  reader: LogReader,
  found: readonly Found[],
  names: readonly string[] | undefined,
): Promise<(readonly [key: Uint8Array, value: undefined])[]> {
  const goes = (key: Testimony): boolean =>
    names === undefined || sourcesOf(key).some((source) => names.includes(source))
  const [goUses, goPolicies] = [goes(Testimony.use), goes(Testimony.policy)]
  if (!goUses && !goPolicies) return []
  const traces = new Set(found.map(({ key }) => formatHex(key)))
  return (await reader.knowledge()).flatMap(({ id, value }) => {
    if (value === undefined) return []
    const { tenant, context } = parseKnowledge(value)
    const of = [...(goUses ? context.uses : []), ...(goPolicies ? context.policies : [])]
    const isGone = of.some(({ traceId }) =>
      traces.has(formatHex(keys.traceKey(keys.traceId(encodeName(tenant), traceId)))),
    )
    return isGone ? [[keys.knowledgeKey(id), undefined] as const] : []
  })
}
