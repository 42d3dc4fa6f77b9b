/** GC-N: who caused whom. */
import { action, decision, inherited, REQUEST, token, type Vector } from '../spec.ts'

const entry = { id: 1, kind: 'server', takes: 0.1, attributes: REQUEST, events: [token('t')] } as const
const act = {
  id: 2,
  parent: 1,
  kind: 'client',
  attributes: action('refund', { 'decision.id': 'd1' }),
  events: [inherited('t')],
} as const
const decides = { id: 3, parent: 1, at: 0.015, takes: 0.001, events: [inherited('t'), decision('d1', {}, 0.016)] } as const

export const ANCESTRY: readonly Vector[] = [
  {
    rule: 'GC-N03',
    name: 'clean',
    // The last request is sent again: a retry.
    requests: [[entry, decides, act], [act]],
    findings: [],
  },
  {
    rule: 'GC-N03',
    name: 'violating',
    requests: [[entry, decides, act], [{ ...act, name: 'the same span with another name' }]],
    findings: [
      {
        rule: 'GC-N03',
        severity: 'critical',
        spans: [2],
        detail: 'span 0000000000000002 was sent before with other content',
      },
    ],
  },
]
