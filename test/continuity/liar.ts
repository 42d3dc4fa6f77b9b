/** A log whose collector is honest, but for what it says in one execution: for tests of lies. */
import type { Context } from '@rootspan/lineage/continuity/context'
import type { Execution } from '@rootspan/lineage/continuity/model'
import { VerificationError } from '@rootspan/lineage/errors'
import { verify } from '@rootspan/lineage/verify'
import { Knowledge } from '../../packages/collector/src/knowledge.ts'
import { type SpanSpec, TestLog } from '../support/executions.ts'

export const SECOND = 1e9
export const ISSUER = 'https://issuer.example'

export const event = (at: number, name: string, values: Record<string, string | number>) => ({
  name: `governance.${name}`,
  at: at * SECOND,
  attributes: Object.fromEntries(Object.entries(values).map(([key, value]) => [`governance.${key}`, value])),
})
export const token = (status: string) => ({
  'authorization.id': 'token-1',
  'authorization.issuer': ISSUER,
  'authorization.subject': 'alice',
  'authorization.status': status,
})
const approval = { 'approval.id': 'approval-1', 'authorization.type': 'approval' }
const numbered = (seq: number, prev?: string) => ({
  'governance.emitter.id': 'process-1',
  'governance.emitter.seq': seq,
  ...(prev !== undefined && { 'governance.emitter.prev': prev }),
})
const decided = (version: string) => ({
  'decision.outcome': 'permit',
  'decision.engine.name': 'opa',
  'policy.id': 'refunds',
  'policy.version': version,
})

/** Traces by their numbers: others that make a difference to trace 9, and some that do not. */
export const OTHERS: readonly (readonly [trace: number, spans: readonly SpanSpec[]])[] = [
  [1, [{ id: 1, start: SECOND, events: [event(1, 'authorization', token('revoked'))] }]],
  [2, [{ id: 2, start: SECOND, events: [event(1, 'approval', approval)] }]],
  [3, [{ id: 3, service: 'web', start: SECOND, events: [event(1, 'decision', decided('1'))] }]],
  [4, [{ id: 4, service: 'api', start: SECOND, events: [event(2, 'decision', decided('2'))] }]],
  [5, [{ id: 5, start: SECOND, attributes: numbered(7) }]],
  // Of the same sorts, and no concern of trace 9.
  [
    6,
    [
      {
        id: 6,
        start: SECOND,
        events: [event(1, 'authorization', { ...token('revoked'), 'authorization.id': 'x' })],
      },
    ],
  ],
  [
    7,
    [
      { id: 7, start: SECOND, attributes: numbered(3, 'ab') },
      { id: 8, parent: 7 },
    ],
  ],
]
export const OWN: readonly SpanSpec[] = [
  {
    id: 10,
    service: 'web',
    start: 600 * SECOND,
    end: 601 * SECOND,
    attributes: { ...numbered(7), 'governance.action.name': 'refund' },
    events: [
      event(600, 'authorization', token('active')),
      event(600, 'approval', approval),
      event(600, 'decision', decided('1')),
    ],
  },
]

export type Lie = (context: Context, leafOf: (trace: number, place?: number) => Uint8Array) => Context

/** The log of a collector that is honest but for trace 9. */
export function logOf(lie: Lie = (context) => context): TestLog {
  const log = new TestLog()
  const knowledge = new Knowledge()
  const honest = {
    sealing: { gather: (execution: Execution, since: number) => knowledge.contextOf(execution, since) },
  }
  for (const [trace, spans] of OTHERS) log.settle(trace, [spans], honest)
  const leafOf = (trace: number, place = 0): Uint8Array =>
    log.segments(trace)[0]!.leaves.slice(place * 32, place * 32 + 32)
  log.settle(9, [OWN], {
    sealing: { gather: (execution, since) => lie(knowledge.contextOf(execution, since), leafOf) },
  })
  return log
}

export function failureOf(evidence: Uint8Array, log: TestLog): VerificationError {
  try {
    verify(evidence, log.policy)
  } catch (error) {
    if (error instanceof VerificationError) return error
    throw error
  }
  throw new Error('it was believed')
}
