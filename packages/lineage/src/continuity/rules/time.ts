/** GC-T01 and GC-T02: clocks. */
import type { Skew } from '../context.ts'
import { type Node, SKEW } from '../model.ts'
import type { Rule } from '../rule.ts'

const PRODUCER = 4
const CONSUMER = 5
/** Times of one process that are farther apart than this contradict each other: nanoseconds. Some SDKs round to 1 ms. */
const ONE_CLOCK = 5_000_000n
/** What comes later than this after its end is told: nanoseconds. */
const LATE = 3_600_000_000_000n

function skewOf(parent: Node, child: Node, skews: readonly Skew[]): bigint {
  const known = skews.find(
    ({ caller, callee }) => caller === parent.service.name && callee === child.service.name,
  )
  return known?.offset ?? 0n
}

const regression: Rule = {
  id: 'GC-T01',
  version: 1,
  title: 'clock regression',
  severity: 'medium',
  scope: 'contextual',
  looksAt: 'Spans that end before they begin, and children that begin before their parent did.',
  guards: [
    'What a producer or a consumer has to do with is left out: it may happen at any time.',
    'Clocks of different services may differ by two seconds, and by what was learned of them.',
    'Only governed spans are looked at.',
  ],
  remedy: 'Synchronise the clocks of the services; times that contradict each other prove no order.',
  evaluate(execution, report) {
    for (const node of execution.spans) {
      if (!node.governed || node.kind > CONSUMER) continue
      if (node.end !== 0n && node.end < node.start) {
        report.fail([node], `span ${node.id} ends before it begins`)
        continue
      }
      const { parent } = node
      if (parent === undefined || parent.kind > CONSUMER) continue
      if (node.kind === CONSUMER || node.kind === PRODUCER || parent.kind === PRODUCER) continue
      const isOneClock = parent.service === node.service && parent.emitter?.id === node.emitter?.id
      const allowed = isOneClock ? ONE_CLOCK : SKEW
      const start = node.start - (isOneClock ? 0n : skewOf(parent, node, execution.context.skews))
      if (start < parent.start - allowed)
        report.fail([node, parent], `span ${node.id} begins before its parent`)
      else report.pass()
    }
  },
}

const received: Rule = {
  id: 'GC-T02',
  version: 1,
  title: 'received at the wrong time',
  severity: 'low',
  scope: 'local',
  looksAt:
    'Governed spans that end after the collector received them, or were received more than an hour after their end.',
  guards: [
    'Two seconds are allowed between the clocks.',
    'An end in the future is a high finding; a late delivery is a note: the spool may have held it.',
    'The first span of each service is named, and not each one.',
  ],
  remedy: 'Synchronise the clock of the service with that of the collector.',
  evaluate(execution, report) {
    let told: Set<string> | undefined
    for (const node of execution.spans) {
      if (!node.governed || node.end === 0n || node.receivedAt === 0n) continue
      const isEarly = node.end > node.receivedAt + SKEW
      if (!isEarly && node.receivedAt - node.end <= LATE) {
        report.pass()
        continue
      }
      const detail = isEarly ? 'end in the future' : 'came over an hour late'
      const key = JSON.stringify([node.service.name, detail])
      told ??= new Set()
      if (told.has(key)) continue
      told.add(key)
      report.fail(
        [node],
        `spans of ${node.service.name || 'a service'} ${detail}`,
        isEarly ? 'high' : undefined,
      )
    }
  },
}

export const TIME: readonly Rule[] = [regression, received]
