/** Verified executions as tests compare them. */
import { formatHex } from '@rootspan/lineage/bytes'
import type { ExecutionNode, VerifiedExecution } from '@rootspan/lineage/verify'

/** Parent ids by span id, as the verified records hang; empty for roots. Throws when a span comes twice. */
export function parentsOf(execution: VerifiedExecution): Record<string, string> {
  const parents: Record<string, string> = {}
  const walk = ({ record, children }: ExecutionNode, parent: string): void => {
    const id = formatHex(record.entry.spanId)
    if (parents[id] !== undefined) throw new Error(`span ${id} has two records`)
    parents[id] = parent
    for (const child of children) walk(child, id)
  }
  for (const root of execution.roots) walk(root, '')
  return parents
}
