/** GC-T03: late spans that cannot be as old as they say. */
import { type Node, SKEW } from '../model.ts'
import type { Rule } from '../rule.ts'
import { byEmitter } from './emitter.ts'

const backdated: Rule = {
  id: 'GC-T03',
  version: 1,
  title: 'backdated',
  severity: 'medium',
  scope: 'local',
  looksAt:
    'Governed spans that came after a seal, and say that they ended before another of their process that has a lower number.',
  guards: [
    'To be late is no fault: a spool or an outage may be why. Numbers are given in the order in which spans end.',
    'Two seconds are left for a clock that is set.',
    'Unknown for late governed spans without a number, unless their process died before they ended.',
  ],
  remedy: 'Compare with the spool of the process: somebody may have added to an execution that was over.',
  evaluate(execution, report) {
    const isLate = ({ governed, segment }: Node): boolean => governed && segment > 0
    const late = execution.spans.filter(isLate)
    if (late.length === 0) return
    if (late.some(({ emitter, unfinished }) => emitter === undefined && !unfinished))
      report.unknown('the number of a late span')
    for (const nodes of byEmitter(execution).values()) {
      /** Of those with lower numbers the one that ended last. */
      let latest = nodes[0]!
      for (const node of nodes) {
        if (isLate(node)) {
          if (node.end + SKEW < latest.end)
            report.fail(
              [node, latest],
              `span ${node.id} says that it ended before number ${latest.emitter.seq} did`,
            )
          else report.pass()
        }
        if (node.end > latest.end) latest = node
      }
    }
  },
}

export const LATE: readonly Rule[] = [backdated]
