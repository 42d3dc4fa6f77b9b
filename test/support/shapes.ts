/** One execution of each shape that the format knows. */
import { Closed } from '@rootspan/lineage/record/payload'
import { DECIDED, EPOCH, GOVERNED, JOINED, STARTED, type TestLog } from './executions.ts'

/** Executions of every shape that the format knows, each as what to settle, by name. */
export const SHAPES: ReadonlyMap<string, (log: TestLog, trace: number) => void> = new Map([
  ['one span', (log, trace) => void log.settle(trace, [[{ id: 1 }]])],
  [
    'two services',
    (log, trace) =>
      void log.settle(trace, [
        [
          { id: 1, service: 'gateway', kind: 2 },
          { id: 2, parent: 1, service: 'gateway', kind: 3 },
        ],
        [
          { id: 3, parent: 2, service: 'orders', kind: 2 },
          { id: 4, parent: 3, service: 'orders' },
        ],
      ]),
  ],
  ['facts', (log, trace) => void log.settle(trace, [GOVERNED])],
  ['joins', (log, trace) => void log.settle(trace, [JOINED])],
  [
    'late spans',
    (log, trace) => {
      log.settle(trace, [[{ id: 1 }, { id: 2, parent: 1 }]])
      log.settle(trace, [
        [
          { id: 3, parent: 2 },
          { id: 4, parent: 3 },
        ],
      ])
    },
  ],
  [
    'cut in three segments',
    (log, trace) => {
      log.settle(trace, [[{ id: 1 }, { id: 2, parent: 1 }]], { closed: Closed.cut })
      log.settle(trace, [[{ id: 3, parent: 2 }]], { closed: Closed.cut })
      log.settle(trace, [[{ id: 4, parent: 1 }]], { closed: Closed.drained })
    },
  ],
  [
    'adoption',
    (log, trace) => {
      log.settle(trace, [
        [
          { id: 2, parent: 1 },
          { id: 3, parent: 1 },
          { id: 4, parent: 3 },
        ],
      ])
      log.settle(trace, [[{ id: 1 }]])
    },
  ],
  [
    'judged again',
    (log, trace) => {
      const at = (seconds: number) => EPOCH + BigInt(seconds) * 1_000_000_000n
      const action = { id: 2, parent: 1, attributes: { 'governance.action.name': 'pay' } }
      log.settle(trace, [[action]], { at: at(10) })
      log.settle(trace, [], { closed: Closed.reviewed, at: at(70) })
      log.settle(trace, [[{ id: 1 }]], { at: at(80) })
      log.settle(trace, [], { closed: Closed.reviewed, at: at(140) })
    },
  ],
  [
    'awaiting',
    (log, trace) =>
      void log.settle(trace, [
        [
          { id: 2, parent: 1 },
          { id: 4, parent: 3 },
        ],
      ]),
  ],
  [
    'remote',
    (log, trace) =>
      void log.settle(trace, [
        [
          { id: 2, parent: 1, kind: 2, flags: 0x301 },
          { id: 3, parent: 2 },
        ],
      ]),
  ],
  [
    'remote, then adopted',
    (log, trace) => {
      log.settle(trace, [[{ id: 2, parent: 1, kind: 2, flags: 0x301 }]])
      log.settle(trace, [[{ id: 1, kind: 3 }]])
    },
  ],
  [
    'duplicate and equivocal',
    (log, trace) => {
      log.settle(trace, [
        [{ id: 1 }, { id: 2, parent: 1 }],
        [
          { id: 2, parent: 1 },
          { id: 2, parent: 1, name: 'other' },
        ],
      ])
      log.settle(trace, [[{ id: 2, parent: 1 }]]) // nothing new
      log.settle(trace, [[{ id: 1, name: 'changed' }]])
    },
  ],
  [
    'same id, two kinds',
    (log, trace) =>
      void log.settle(trace, [
        [
          { id: 1, kind: 3 },
          { id: 1, kind: 2 },
          { id: 2, parent: 1 },
        ],
      ]),
  ],
  [
    'cycle',
    (log, trace) =>
      void log.settle(trace, [
        [
          { id: 1, parent: 3 },
          { id: 2, parent: 1 },
          { id: 3, parent: 2 },
          { id: 4, parent: 3 },
          { id: 9, parent: 9 },
        ],
      ]),
  ],
  [
    'cycle over two segments',
    (log, trace) => {
      log.settle(trace, [
        [
          { id: 1, parent: 2 },
          { id: 5, parent: 1 },
        ],
      ])
      log.settle(trace, [[{ id: 2, parent: 1 }]])
    },
  ],
  ['several roots', (log, trace) => void log.settle(trace, [[{ id: 5 }, { id: 1 }, { id: 3, parent: 5 }]])],
  [
    'a tenant',
    (log, trace) => void log.settle(trace, [[{ id: 1 }, { id: 2, parent: 1 }]], { tenant: 'acme' }),
  ],
  [
    'log records',
    (log, trace) => {
      log.settle(trace, [[STARTED]])
      log.settle(trace, [[DECIDED], [{ id: 2, parent: 1, attributes: { 'governance.action.name': 'a' } }]])
      log.settle(trace, [[{ id: 1 }, { id: 3, parent: 2 }]])
    },
  ],
])
