/** GC-L: what was handed on, and to whom. */
import {
  action,
  type Attributes,
  decision,
  fact,
  fingerprint,
  inherited,
  REQUEST,
  token,
  type Vector,
  type VectorEvent,
  type VectorFinding,
  type VectorSpan,
} from '../spec.ts'

/** A request under `t`, within which another artifact is taken on span 4. */
const request = (artifact: VectorEvent, first: Attributes = {}): VectorSpan[] => [
  { id: 1, kind: 'server', takes: 1, attributes: REQUEST, events: [token('t', first)] },
  { id: 2, parent: 1, events: [inherited('t'), decision('d1')] },
  {
    id: 3,
    parent: 1,
    at: 0.05,
    attributes: action('refund', { 'decision.id': 'd1' }),
    events: [inherited('t')],
  },
  { id: 4, parent: 1, at: 0.06, events: [artifact] },
]

const FROM_T = { 'authorization.parent.fingerprint': fingerprint('t') }
const HERE = 'span 0000000000000004 of api took an authorization'

const found = (
  rule: string,
  severity: VectorFinding['severity'],
  spans: readonly number[],
  detail: string,
): VectorFinding => ({ rule, severity, spans, detail })

export const DELEGATION: readonly Vector[] = [
  {
    rule: 'GC-L01',
    name: 'violating',
    // The one that it came from has no actor, and here there is one more than who exchanged it.
    requests: [
      request(
        token('x', {
          ...FROM_T,
          'authorization.actor.chain': [fingerprint('api'), fingerprint('somebody else')],
        }),
      ),
    ],
    findings: [found('GC-L01', 'critical', [4, 1], `${HERE} whose actors are not those it came from`)],
  },
  {
    rule: 'GC-L01',
    name: 'violating-2',
    requests: [
      request(
        token('x', {
          ...FROM_T,
          'authorization.subject': fingerprint('mallory'),
          'authorization.actor.chain': [fingerprint('api')],
        }),
      ),
    ],
    findings: [found('GC-L01', 'critical', [4, 1], `${HERE} that was handed on for another principal`)],
  },
  {
    rule: 'GC-L01',
    name: 'clean',
    requests: [
      request(
        token('x', {
          ...FROM_T,
          'authorization.actor.chain': [fingerprint('api'), fingerprint('gateway')],
        }),
        { 'authorization.actor.chain': [fingerprint('gateway')] },
      ),
    ],
    findings: [],
  },
  {
    rule: 'GC-L01',
    name: 'unknown',
    requests: [
      request(
        token('x', {
          'authorization.parent.fingerprint': fingerprint('one that nobody saw'),
          'authorization.actor.chain': [fingerprint('api')],
        }),
      ),
    ],
    findings: [],
    unknown: [{ rule: 'GC-L01', missing: 'an artifact from which another one came' }],
  },
  {
    rule: 'GC-L02',
    name: 'violating',
    requests: [
      request(token('x', { ...FROM_T, 'authorization.scope': ['orders:read', 'orders:write'] }), {
        'authorization.scope': ['orders:read'],
      }),
    ],
    findings: [found('GC-L02', 'critical', [4, 1], `${HERE} with more scopes than the one it came from`)],
  },
  {
    rule: 'GC-L02',
    name: 'clean',
    requests: [
      request(token('x', { ...FROM_T, 'authorization.scope': ['orders:read'] }), {
        'authorization.scope': ['orders:read', 'orders:write'],
      }),
    ],
    findings: [],
  },
  {
    rule: 'GC-L02',
    name: 'unknown',
    requests: [
      request(
        token('x', {
          ...FROM_T,
          'authorization.scope': ['billing:read'],
          'authorization.audience': ['https://billing.example'],
        }),
        { 'authorization.scope': ['orders:read'], 'authorization.audience': ['https://api.example'] },
      ),
    ],
    findings: [],
    unknown: [{ rule: 'GC-L02', missing: 'what scopes of another audience mean' }],
  },
  {
    rule: 'GC-L03',
    name: 'violating',
    requests: [request(token('x', { 'delegation.depth': 9 }))],
    findings: [found('GC-L03', 'medium', [4], `${HERE} that was handed on 9 times`)],
  },
  {
    rule: 'GC-L03',
    name: 'clean',
    requests: [request(token('x', { 'delegation.depth': 2 }))],
    findings: [],
  },
  {
    rule: 'GC-L04',
    name: 'violating',
    requests: [
      request(
        fact('authorization', {
          'authorization.fingerprint': fingerprint('x'),
          'authorization.type': 'biscuit',
          'authorization.verification': 'verified',
          'delegation.depth': 1,
        }),
      ),
    ],
    findings: [found('GC-L04', 'high', [4], `${HERE} that was handed on by nobody`)],
  },
  {
    rule: 'GC-L04',
    name: 'clean',
    requests: [
      request(
        fact('authorization', {
          ...FROM_T,
          'authorization.fingerprint': fingerprint('x'),
          'authorization.type': 'biscuit',
          'authorization.verification': 'verified',
          'delegation.depth': 1,
        }),
      ),
    ],
    findings: [],
  },
]
