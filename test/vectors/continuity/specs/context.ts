/** Rules that look at other executions: what became of an artifact, which policy decides elsewhere, numbers and clocks. */
import {
  action,
  type Attributes,
  decision,
  fact,
  fingerprint,
  governance,
  inherited,
  REQUEST,
  token,
  type Vector,
  type VectorEvent,
  type VectorSpan,
} from '../spec.ts'

interface Told {
  /** Of the token. */
  readonly name?: string
  readonly artifact?: VectorEvent
  readonly policy?: Attributes
}

/**
 * A request, the decision in it, and what was done, beginning `at`. All vectors are sent to one collector: names of what
 * other executions may know are the vector's own.
 */
function request(
  trace: number,
  at = 0,
  { name = 't', artifact = token(name), policy = {} }: Told = {},
): VectorSpan[] {
  return [
    { id: 1, trace, kind: 'server', at, takes: 0.1, attributes: REQUEST, events: [artifact] },
    { id: 3, trace, parent: 1, at: at + 0.01, takes: 0.001, events: [decision('d1', policy)] },
    {
      id: 2,
      trace,
      parent: 1,
      kind: 'client',
      at: at + 0.02,
      attributes: action('refund', { 'decision.id': 'd1' }),
      events: [inherited(name)],
    },
  ]
}

/** The news that an artifact was revoked, as a receiver of security events tells it. */
const revocation = (name: string, at: number): VectorSpan[] => [
  {
    id: 1,
    trace: 1,
    name: 'revoked',
    at,
    events: [
      fact('authorization', {
        'authorization.fingerprint': fingerprint(name),
        'authorization.type': 'jwt',
        'authorization.status': 'revoked',
      }),
    ],
  },
]

const transacted = (trace: number, transaction: string): VectorSpan[] =>
  request(trace, 0, { artifact: token('t', { 'authorization.transaction.id': transaction }) })

const policy = (id: string, version: string, more: Attributes = {}): { policy: Attributes } => ({
  policy: { 'policy.id': id, 'policy.version': version, ...more },
})

/** The same policy at another service. */
const elsewhere = (trace: number, at: number, id: string, version: string): VectorSpan[] =>
  request(trace, at, policy(id, version)).map((span) => ({ ...span, service: 'web' }))

/** A request whose spans have numbers. */
const numbered = (trace: number, numbers: readonly (readonly [number, string?])[], emitter: string): VectorSpan[] =>
  request(trace).map((span, at) => {
    const [seq, prev] = numbers[at]!
    return { ...span, numbered: prev === undefined ? [emitter, seq] : [emitter, seq, prev] }
  })

const sign = (name: string, counts: Attributes): VectorSpan => ({
  id: 1,
  name,
  attributes: governance(counts),
  numbered: [`${name} of a life`, 0],
})

export const REUSE: readonly Vector[] = [
  {
    rule: 'GC-A09',
    name: 'violating',
    requests: [revocation('before', -30), 'settle', request(0, 0, { name: 'before' })],
    findings: [
      {
        rule: 'GC-A09',
        severity: 'critical',
        spans: [2, '1/1'],
        detail: 'the artifact was revoked before span 0000000000000002 began',
      },
    ],
  },
  {
    rule: 'GC-A09',
    name: 'violating-2',
    // It was running when the news came.
    requests: [
      revocation('running', -30),
      'settle',
      request(0, -40, { name: 'running' }).map((span) => (span.id === 3 ? span : { ...span, takes: 30 })),
    ],
    findings: [
      {
        rule: 'GC-A09',
        severity: 'high',
        spans: [2, '1/1'],
        detail: 'the artifact was revoked while span 0000000000000002 ran',
      },
    ],
  },
  {
    rule: 'GC-A09',
    name: 'clean',
    // Another artifact was revoked.
    requests: [revocation('another', -30), 'settle', request(0, 0, { name: 'this' })],
    findings: [],
  },
  {
    rule: 'GC-A09',
    name: 'clean-2',
    // All was over when it was revoked.
    requests: [revocation('over', -30), 'settle', request(0, -50, { name: 'over' })],
    findings: [],
  },
  {
    rule: 'GC-A11',
    name: 'violating',
    requests: [transacted(1, 'txn-1'), 'settle', transacted(0, 'txn-1')],
    findings: [
      {
        rule: 'GC-A11',
        severity: 'high',
        spans: [1, '1/1'],
        detail: 'the transaction was used in another execution before',
      },
    ],
  },
  {
    rule: 'GC-A11',
    name: 'clean',
    requests: [transacted(1, 'txn-2'), 'settle', transacted(0, 'txn-3')],
    findings: [],
  },
]

export const POLICY: readonly Vector[] = [
  {
    rule: 'GC-P01',
    name: 'violating',
    requests: [
      request(1, -2000, policy('GC-P01 violating', '7')),
      elsewhere(2, -1000, 'GC-P01 violating', '8'),
      'settle',
      request(0, 0, policy('GC-P01 violating', '7')),
    ],
    findings: [
      {
        rule: 'GC-P01',
        severity: 'high',
        spans: [3, '2/3'],
        detail: 'a newer version of the policy was in force at another service',
      },
    ],
  },
  {
    rule: 'GC-P01',
    name: 'clean',
    // The rollout is under way.
    requests: [request(1, -2000, policy('GC-P01 clean', '7')), elsewhere(2, -200, 'GC-P01 clean', '8'), 'settle', request(0, 0, policy('GC-P01 clean', '7'))],
    findings: [],
  },
  {
    rule: 'GC-P01',
    name: 'clean-2',
    requests: [request(0, 0, { policy: { 'policy.id': 'GC-P01 clean-2' } })],
    findings: [],
    unknown: [{ rule: 'GC-P01', missing: 'the version of a policy that decided' }],
  },
  {
    rule: 'GC-P02',
    name: 'violating',
    requests: [
      [
        ...request(0, 0, policy('GC-P02 violating', '7')),
        { id: 4, parent: 1, at: 0.05, events: [decision('d2', policy('GC-P02 violating', '8').policy)] },
      ],
    ],
    findings: [
      {
        rule: 'GC-P02',
        severity: 'medium',
        spans: [4, 3],
        detail: 'two versions of one policy decided in this execution',
      },
    ],
  },
  {
    rule: 'GC-P02',
    name: 'clean',
    // The change is recorded.
    requests: [
      [
        ...request(0, 0, policy('GC-P02 clean', '7')),
        {
          id: 4,
          parent: 1,
          at: 0.05,
          events: [
            fact('transition', { 'transition.type': 'policy', 'transition.to': '8' }, 0.04),
            decision('d2', policy('GC-P02 clean', '8').policy),
          ],
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-P03',
    name: 'violating',
    requests: [
      request(1, -100, policy('GC-P03 violating', '7', { 'policy.digest': 'sha256:aaaa' })),
      'settle',
      request(0, 0, policy('GC-P03 violating', '7', { 'policy.digest': 'sha256:bbbb' })),
    ],
    findings: [
      {
        rule: 'GC-P03',
        severity: 'high',
        spans: [3, '1/3'],
        detail: 'the policy has another text than the one known under its version',
      },
    ],
  },
  {
    rule: 'GC-P03',
    name: 'violating-2',
    requests: [
      [
        ...request(0),
        {
          id: 4,
          parent: 1,
          at: 0.05,
          events: [
            fact('verification', { 'verification.type': 'policy_bundle', 'verification.result': 'fail' }),
          ],
        },
      ],
    ],
    findings: [{ rule: 'GC-P03', severity: 'high', spans: [4], detail: 'a policy bundle was refused' }],
  },
  {
    rule: 'GC-P03',
    name: 'clean',
    requests: [
      request(1, -100, policy('GC-P03 clean', '7', { 'policy.digest': 'sha256:aaaa' })),
      'settle',
      request(0, 0, policy('GC-P03 clean', '7', { 'policy.digest': 'sha256:aaaa' })),
    ],
    findings: [],
  },
  {
    rule: 'GC-P04',
    name: 'violating',
    requests: [
      request(1, -2000, policy('GC-P04 violating', '7')),
      'settle',
      request(2, -1000, policy('GC-P04 violating', '8')),
      'settle',
      request(0, 0, policy('GC-P04 violating', '7')),
    ],
    findings: [
      {
        rule: 'GC-P04',
        severity: 'critical',
        spans: [3, '2/3', '1/3'],
        detail: 'an older version of the policy decides again',
      },
    ],
  },
  {
    rule: 'GC-P04',
    name: 'clean',
    requests: [
      request(1, -2000, policy('GC-P04 clean', '7')),
      'settle',
      request(2, -1000, policy('GC-P04 clean', '8')),
      'settle',
      request(0, 0, policy('GC-P04 clean', '8')),
    ],
    findings: [],
  },
  {
    rule: 'GC-P04',
    name: 'clean-2',
    // It was meant, and says so.
    requests: [
      request(1, -2000, policy('GC-P04 clean-2', '7')),
      'settle',
      request(2, -1000, policy('GC-P04 clean-2', '8')),
      'settle',
      [
        ...request(0, 0, policy('GC-P04 clean-2', '7')),
        {
          id: 4,
          parent: 1,
          at: 0.005,
          events: [fact('transition', { 'transition.type': 'policy', 'transition.to': '7' })],
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-P05',
    name: 'violating',
    requests: [request(0, 0, { policy: { 'policy.id': 'GC-P05 violating', 'policy.pinned': false } })],
    findings: [
      {
        rule: 'GC-P05',
        severity: 'low',
        spans: [3],
        detail: 'nobody said which version of the policy decided',
      },
    ],
  },
  {
    rule: 'GC-P05',
    name: 'clean',
    requests: [request(0, 0, policy('GC-P05 clean', '7', { 'policy.pinned': true }))],
    findings: [],
  },
]

export const EMITTER: readonly Vector[] = [
  {
    rule: 'GC-C01',
    name: 'violating',
    requests: [[sign('governance.heartbeat', { 'emitter.dropped': 3 })]],
    findings: [
      {
        rule: 'GC-C01',
        severity: 'high',
        spans: [1],
        detail: 'emitter governance.heartbeat of a life says that it lost 3 governed spans',
      },
    ],
  },
  {
    rule: 'GC-C01',
    name: 'violating-2',
    requests: [request(0).map((span) => (span.id === 2 ? { ...span, traceState: 'ot=th:8' } : span))],
    findings: [
      {
        rule: 'GC-C01',
        severity: 'high',
        spans: [2],
        detail: 'span 0000000000000002 was sampled: others of its kind were left out',
      },
    ],
  },
  {
    rule: 'GC-C01',
    name: 'clean',
    requests: [[sign('governance.goodbye', { 'emitter.dropped': 0, 'emitter.rejected': 0 })]],
    findings: [],
  },
  {
    rule: 'GC-C01',
    name: 'clean-2',
    // The hole is of another execution, which may still come.
    requests: [numbered(0, [[4], [2], [7]], 'holes')],
    findings: [],
  },
  {
    rule: 'GC-C03',
    name: 'violating',
    requests: [numbered(0, [[2], [0], [1, 'f'.repeat(64)]], 'broken')],
    findings: [
      {
        rule: 'GC-C03',
        severity: 'critical',
        spans: [2, 3],
        detail: 'the link of number 1 of emitter broken does not stand for what came before it',
      },
    ],
  },
  {
    rule: 'GC-C03',
    name: 'violating-2',
    // The neighbour is in another execution.
    requests: [
      numbered(1, [[2], [0], [1]], 'broken between'),
      'settle',
      numbered(0, [[5], [3, 'f'.repeat(64)], [4]], 'broken between'),
    ],
    findings: [
      {
        rule: 'GC-C03',
        severity: 'critical',
        spans: [3, '1/1'],
        detail: 'the link of number 3 of emitter broken between does not stand for what came before it',
      },
    ],
  },
  {
    rule: 'GC-C03',
    name: 'clean',
    requests: [
      numbered(1, [[2], [0], [1]], 'whole'),
      'settle',
      numbered(0, [[5], [3], [4]], 'whole'),
    ],
    findings: [],
  },
]

export const TIME: readonly Vector[] = [
  {
    rule: 'GC-T01',
    name: 'violating',
    requests: [request(0).map((span) => (span.id === 3 ? { ...span, at: -1 } : span))],
    findings: [
      {
        rule: 'GC-T01',
        severity: 'medium',
        spans: [3, 1],
        detail: 'span 0000000000000003 begins before its parent',
      },
    ],
  },
  {
    rule: 'GC-T01',
    name: 'clean',
    // The clock of the other service is a second behind.
    requests: [
      [
        ...request(0),
        {
          id: 4,
          service: 'stock',
          kind: 'server',
          parent: 2,
          remote: true,
          at: -0.9,
          takes: 0.001,
          attributes: REQUEST,
          events: [inherited('t')],
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-T02',
    name: 'violating',
    requests: [request(0, 3600)],
    findings: [{ rule: 'GC-T02', severity: 'high', spans: [1], detail: 'spans of api end in the future' }],
  },
  {
    rule: 'GC-T02',
    name: 'violating-2',
    requests: [request(0, -5000)],
    findings: [{ rule: 'GC-T02', severity: 'low', spans: [1], detail: 'spans of api came over an hour late' }],
  },
  { rule: 'GC-T02', name: 'clean', requests: [request(0)], findings: [] },
]
