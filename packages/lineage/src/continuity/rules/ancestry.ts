/** GC-N: who caused whom. */
import type { Node } from '../model.ts'
import { fail, PASS, type Rule, unknown } from '../rule.ts'

/** Two records say different things of one span, or a span is its own ancestor. */
const equivocation: Rule = {
  id: 'GC-N03',
  version: 1,
  title: 'equivocation',
  severity: 'critical',
  scope: 'local',
  looksAt:
    'Records with one span id and span kind and different content, and spans that are their own ancestors.',
  guards: [
    'Deliveries with equal content are one record.',
    'Client and server may share a span id: only records of one span kind are compared.',
  ],
  remedy: 'Find out which process sent each version; a span is sent once, and its id is random.',
  *evaluate(execution) {
    const first = new Map<string, Node>()
    for (const node of execution.spans) {
      const key = `${node.id} ${node.kind}`
      const known = first.get(key)
      if (known === undefined) first.set(key, node)
      else yield fail([node, known], `span ${node.id} was sent before with other content`)
      if (node.opensCycle) yield fail([node], `span ${node.id} is its own ancestor`)
    }
    for (const segment of execution.erased)
      yield unknown(`the spans of segment ${segment}, which were erased`)
    if (execution.spans.length > 0) yield PASS
  },
}

export const ANCESTRY: readonly Rule[] = [equivocation]
