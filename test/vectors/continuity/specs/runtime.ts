/** GC-R: what happens while an execution runs. */
import {
  action,
  type Attributes,
  decision,
  governance,
  inherited,
  REQUEST,
  token,
  transition,
  type Vector,
  type VectorEvent,
  type VectorFinding,
  type VectorSpan,
} from '../spec.ts'

/** A request that says in which states it is, and acts `acts` seconds after it began at `at`. */
function request(
  states: readonly VectorEvent[],
  { at = 0, takes = 10, acts = 0.05, more = {} }: { at?: number; takes?: number; acts?: number; more?: Attributes } = {},
): VectorSpan[] {
  return [
    {
      id: 1,
      kind: 'server',
      at,
      takes,
      attributes: { ...REQUEST, ...more },
      events: [token('t', {}, at + 0.001), decision('d1', {}, at + 0.002), ...states],
    },
    {
      id: 2,
      parent: 1,
      at: at + acts,
      attributes: action('refund', { 'decision.id': 'd1' }),
      events: [inherited('t')],
    },
  ]
}

/** From the beginning to the end, `executing` from `at` and completed 9 seconds later. */
const run = (at = 0): VectorEvent[] => [
  transition('requested', 'authorized', at + 0.001),
  transition('authorized', 'permitted', at + 0.002),
  transition('permitted', 'executing', at + 0.003),
  transition('executing', 'completed', at + 9),
]

const found = (
  rule: string,
  severity: VectorFinding['severity'],
  spans: readonly number[],
  detail: string,
): VectorFinding => ({ rule, severity, spans, detail })

const ACTS = 'the action of span 0000000000000002'

/** A service that says what governs it, without the instrumentation. */
const BY_HAND = { api: { resource: {} } }

const INSERT: Attributes = { 'db.system.name': 'postgresql', 'db.operation.name': 'INSERT' }

export const RUNTIME: readonly Vector[] = [
  { rule: 'GC-R01', name: 'clean', requests: [request(run())], findings: [] },
  {
    rule: 'GC-R01',
    name: 'clean-2',
    // The gate's intent is about one action; the execution says nothing.
    requests: [request([transition('permitted', 'executing', -1999, { 'transition.trigger': 'gate' })], { at: -2000 })],
    findings: [],
  },
  {
    rule: 'GC-R01',
    name: 'violating',
    requests: [request(run(-2000).slice(0, 3), { at: -2000 })],
    findings: [found('GC-R01', 'high', [1], 'span 0000000000000001 said last that it is executing')],
  },
  {
    rule: 'GC-R01',
    name: 'unknown',
    requests: [request(run().slice(0, 3))],
    findings: [],
    unknown: [{ rule: 'GC-R01', missing: 'how the execution ends: it is executing' }],
  },
  {
    rule: 'GC-R02',
    name: 'clean',
    // A human stops it and lets it go on.
    requests: [
      request([
        ...run().slice(0, 3),
        transition('executing', 'suspended', 1),
        transition('suspended', 'overridden', 2),
        transition('overridden', 'executing', 3),
        transition('executing', 'completed', 9),
      ]),
    ],
    findings: [],
  },
  {
    rule: 'GC-R02',
    name: 'violating',
    requests: [request([transition('requested', 'executing', 0.003), transition('executing', 'completed', 9)])],
    findings: [found('GC-R02', 'high', [1], 'span 0000000000000001 goes from requested to executing')],
  },
  {
    rule: 'GC-R02',
    name: 'unknown',
    requests: [request([transition('cooking', 'eaten', 0.003)])],
    findings: [],
    unknown: [{ rule: 'GC-R02', missing: 'what a state means that span 0000000000000001 names' }],
  },
  {
    rule: 'GC-R03',
    name: 'clean',
    requests: [request(run(), { acts: 8 })],
    findings: [],
  },
  {
    rule: 'GC-R03',
    name: 'clean-2',
    // It was refused, and so was the action.
    requests: [
      [
        {
          id: 1,
          kind: 'server',
          takes: 10,
          attributes: REQUEST,
          events: [
            token('t'),
            decision('d1', { 'decision.outcome': 'deny', 'decision.effect': 'blocked' }),
            transition('requested', 'refused', 0.02),
          ],
        },
        {
          id: 2,
          parent: 1,
          at: 1,
          attributes: action('refund', { 'decision.id': 'd1', 'action.outcome': 'refused' }),
          events: [inherited('t')],
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-R03',
    name: 'violating',
    requests: [request(run(), { acts: 9.5 })],
    findings: [found('GC-R03', 'critical', [2, 1], `${ACTS} began after the execution was completed`)],
  },
  {
    rule: 'GC-R03',
    name: 'violating-2',
    // Work that was not waited for.
    requests: [request([], { acts: 11, more: governance({ 'execution.state': 'completed' }) })],
    findings: [found('GC-R03', 'medium', [2, 1], `${ACTS} began after the execution was completed`)],
  },
  {
    rule: 'GC-R04',
    name: 'clean',
    requests: [
      [
        ...request([]),
        { id: 3, parent: 2, at: 0.051, takes: 0.001, kind: 'client' },
        { id: 4, parent: 3, remote: true, at: 0.051, takes: 0.001, service: 'stock', kind: 'server' },
      ],
    ],
    // Stock has never said anything.
    services: { stock: { resource: {} } },
    findings: [],
  },
  {
    rule: 'GC-R04',
    name: 'violating',
    requests: [
      [
        ...request([]),
        { id: 3, parent: 2, at: 0.051, takes: 0.001, kind: 'client' },
        { id: 4, parent: 3, remote: true, at: 0.051, takes: 0.001, service: 'stock', kind: 'server' },
      ],
    ],
    findings: [
      found('GC-R04', 'high', [4], 'span 0000000000000004 came to stock and carries no governance'),
    ],
  },
  {
    rule: 'GC-R05',
    name: 'clean',
    requests: [
      request(
        [
          ...run().slice(0, 2),
          transition('permitted', 'awaiting_approval', 1),
          transition('awaiting_approval', 'permitted', 5),
          transition('permitted', 'executing', 5.1),
          transition('executing', 'completed', 9),
        ],
        { acts: 6 },
      ),
    ],
    findings: [],
  },
  {
    rule: 'GC-R05',
    name: 'violating',
    requests: [
      request(
        [
          ...run().slice(0, 3),
          transition('executing', 'suspended', 1),
          transition('suspended', 'executing', 5),
          transition('executing', 'completed', 9),
        ],
        { acts: 3 },
      ),
    ],
    findings: [found('GC-R05', 'critical', [2, 1], `${ACTS} began in state suspended`)],
  },
  {
    rule: 'GC-R06',
    name: 'clean',
    // The governed action is a wrapper around the statement; another statement has no counterpart.
    services: BY_HAND,
    requests: [
      [
        ...request([]),
        { id: 3, parent: 2, at: 0.051, takes: 0.001, kind: 'client', attributes: INSERT },
        { id: 4, parent: 1, at: 0.06, kind: 'client', attributes: { ...INSERT, 'db.operation.name': 'UPDATE' } },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-R06',
    name: 'violating',
    services: BY_HAND,
    requests: [
      [
        ...request([]),
        {
          id: 3,
          parent: 1,
          at: 0.06,
          kind: 'client',
          attributes: { ...INSERT, ...action('postgresql INSERT', { 'decision.id': 'd1' }) },
          events: [inherited('t')],
        },
        { id: 4, parent: 1, at: 0.07, kind: 'client', attributes: INSERT },
      ],
    ],
    findings: [
      found(
        'GC-R06',
        'medium',
        [4, 3],
        'span 0000000000000004 does without governance what span 0000000000000003 does under it',
      ),
    ],
  },
  {
    rule: 'GC-R07',
    name: 'clean',
    requests: [
      [
        ...request([], { at: -5000, takes: 4990, acts: 4900 }),
        { id: 3, parent: 1, at: -200, takes: 0.01, events: [token('t', {}, -200)] },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-R07',
    name: 'violating',
    requests: [request([], { at: -5000, takes: 4990, acts: 4900 })],
    findings: [
      found('GC-R07', 'medium', [2], `nothing was verified in the hour before ${ACTS}`),
    ],
  },
]
