/** GC-A: who was authorized to what, and when. */
import {
  action,
  type Attributes,
  decision,
  fact,
  fingerprint,
  INSTRUMENTED,
  inherited,
  REQUEST,
  token,
  type Vector,
  type VectorEvent,
  type VectorFinding,
  type VectorSpan,
  when,
} from '../spec.ts'

const API = 'span 0000000000000003 of api'

/** A check of `t` that passed. */
const checked = (checks: readonly string[], more: Attributes = {}): VectorEvent =>
  fact('verification', {
    'verification.type': 'credential',
    'verification.result': 'pass',
    'verification.method': 'jsonwebtoken.verify',
    'verification.checks': checks,
    'verification.target.fingerprint': fingerprint('t'),
    ...more,
  })

/** A request with these facts, a decision that permits, and the action that rests on it. */
function request(
  events: readonly VectorEvent[],
  acts: Partial<VectorSpan> & { readonly with?: Attributes } = {},
  decides: readonly VectorEvent[] = [decision('d1')],
): VectorSpan[] {
  const { with: more = {}, ...rest } = acts
  return [
    { id: 1, kind: 'server', takes: 10, attributes: REQUEST, events },
    { id: 2, parent: 1, at: 0.02, takes: 0.01, events: decides },
    { id: 3, parent: 1, at: 0.05, attributes: action('refund', { 'decision.id': 'd1', ...more }), ...rest },
  ]
}

const found = (
  rule: string,
  severity: VectorFinding['severity'],
  spans: readonly number[],
  detail: string,
): VectorFinding => ({ rule, severity, spans, detail })

/** A service that says what governs it, in whatever language it is written. */
const BY_HAND = { api: { resource: {} } }

export const AUTHORIZATION: readonly Vector[] = [
  {
    rule: 'GC-A01',
    name: 'violating',
    requests: [request([])],
    findings: [found('GC-A01', 'critical', [3], `${API} acted without any authorization`)],
  },
  {
    rule: 'GC-A01',
    name: 'clean',
    requests: [request([token('t')], { events: [inherited('t')] })],
    findings: [],
  },
  {
    rule: 'GC-A01',
    name: 'clean-2',
    // The middleware that verified has a span of its own, beside the handler's, and nothing is repeated.
    requests: [[...request([]), { id: 4, parent: 1, at: 0.012, events: [token('t')] }]],
    findings: [],
  },
  {
    rule: 'GC-A01',
    name: 'clean-3',
    // Open to everybody, and says so.
    requests: [
      request([
        fact('authorization', {
          'authorization.type': 'anonymous',
          'authorization.verification': 'skipped',
        }),
      ]),
    ],
    findings: [],
  },
  {
    rule: 'GC-A01',
    name: 'unknown',
    // It names its action and nothing else: how it authorizes nobody can see.
    requests: [
      [
        { id: 1, kind: 'server', takes: 1, attributes: REQUEST },
        { id: 3, parent: 1, attributes: action('refund') },
      ],
    ],
    services: BY_HAND,
    findings: [],
    unknown: [
      { rule: 'GC-A01', missing: 'how callers are authorized in api' },
      { rule: 'GC-D01', missing: 'how it is decided in api' },
    ],
  },
  {
    rule: 'GC-A01',
    name: 'unknown-2',
    // Told from ordinary attributes.
    requests: [request([], { with: { 'action.inferred': true } })],
    findings: [],
    unknown: [{ rule: 'GC-A01', missing: 'whether inferred actions of api need an authorization' }],
  },
  {
    rule: 'GC-A02',
    name: 'violating',
    requests: [
      request([
        token('t', { 'authorization.verification': 'failed' }),
        checked([], { 'verification.result': 'fail', 'verification.reason.code': 'invalid_signature' }),
      ]),
    ],
    findings: [
      found(
        'GC-A02',
        'high',
        [3, 1],
        `${API} acted on an authorization that was refused (invalid_signature)`,
      ),
    ],
  },
  {
    rule: 'GC-A02',
    name: 'violating-2',
    requests: [request([token('t', { 'authorization.verification': 'skipped' })])],
    findings: [
      found('GC-A02', 'high', [3, 1], `${API} acted on an authorization that was not to be checked`),
    ],
  },
  {
    rule: 'GC-A02',
    name: 'clean',
    // One of two ways to log in did not hold, the other did.
    requests: [
      request(
        [
          token('other', { 'authorization.verification': 'failed' }),
          token('t'),
          checked(['signature', 'expiry']),
        ],
        { events: [inherited('t')] },
      ),
    ],
    findings: [],
  },
  {
    rule: 'GC-A02',
    name: 'clean-2',
    // It was refused, and the service writes down that it was.
    requests: [
      [
        {
          id: 1,
          kind: 'server',
          takes: 1,
          attributes: { ...REQUEST, 'http.response.status_code': 401 },
          events: [token('t', { 'authorization.verification': 'failed' })],
        },
        { id: 3, parent: 1, attributes: action('postgresql INSERT', { 'action.inferred': true }) },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-A03',
    name: 'violating',
    requests: [
      request([token('t', { 'authorization.expires_at': when(1) })], {
        at: 4,
        events: [inherited('t', { 'authorization.expires_at': when(1) })],
      }),
    ],
    findings: [
      found('GC-A03', 'critical', [3, 1], `${API} acted 3.000 s after its authorization had expired`),
    ],
  },
  {
    rule: 'GC-A03',
    name: 'clean',
    // Within what clocks may differ.
    requests: [
      request([token('t', { 'authorization.expires_at': when(3) })], {
        at: 4,
        events: [inherited('t', { 'authorization.expires_at': when(3) })],
      }),
    ],
    findings: [],
  },
  {
    rule: 'GC-A04',
    name: 'violating',
    requests: [request([token('t', { 'authorization.expires_at': when(2) })], { takes: 8 })],
    findings: [
      found('GC-A04', 'medium', [3, 1], `${API} went on for 6.050 s after its authorization had expired`),
    ],
  },
  {
    rule: 'GC-A04',
    name: 'clean',
    requests: [request([token('t', { 'authorization.expires_at': when(9) })], { takes: 8 })],
    findings: [],
  },
  {
    rule: 'GC-A05',
    name: 'violating',
    requests: [request([token('t', { 'authorization.not_before': when(5) })])],
    findings: [found('GC-A05', 'high', [3, 1], `${API} acted 4.950 s before its authorization held`)],
  },
  {
    rule: 'GC-A05',
    name: 'clean',
    requests: [request([token('t', { 'authorization.not_before': when(1) })])],
    findings: [],
  },
  {
    rule: 'GC-A06',
    name: 'violating',
    requests: [
      request([token('t', { 'authorization.scope': ['refunds:read'] })], {
        with: { 'action.required_scope': ['refunds:read', 'refunds:write'] },
      }),
    ],
    findings: [
      found('GC-A06', 'critical', [3, 1], `${API} needs a scope that no authorization in force has`),
    ],
  },
  {
    rule: 'GC-A06',
    name: 'clean',
    requests: [
      request([token('t', { 'authorization.scope': ['refunds:write', 'orders:read'] })], {
        events: [inherited('t')],
        with: { 'action.required_scope': ['refunds:write'] },
      }),
    ],
    findings: [],
  },
  {
    rule: 'GC-A06',
    name: 'unknown',
    requests: [request([token('t')], { with: { 'action.required_scope': ['refunds:write'] } })],
    findings: [],
    unknown: [{ rule: 'GC-A06', missing: 'which scopes an authorization has' }],
  },
  {
    rule: 'GC-A07',
    name: 'violating',
    // A token for billing, taken by api, which does not look at audiences and goes on to billing with it.
    requests: [
      [
        ...request(
          [token('t', { 'authorization.audience': ['billing'] }), checked(['signature', 'expiry'])],
          {
            kind: 'client',
          },
        ),
        { id: 4, parent: 3, at: 0.051, takes: 0.002, kind: 'server', service: 'billing', attributes: REQUEST },
      ],
    ],
    services: { billing: { resource: INSTRUMENTED } },
    findings: [
      found(
        'GC-A07',
        'high',
        [3, 1],
        'api took an authorization whose audience is another service, and did not look',
      ),
    ],
  },
  {
    rule: 'GC-A07',
    name: 'violating-2',
    requests: [
      request([
        token('t', { 'authorization.audience': ['https://api.example'] }),
        checked(['signature', 'expiry']),
      ]),
    ],
    findings: [found('GC-A07', 'low', [1], 'api did not look at the audience of an authorization')],
  },
  {
    rule: 'GC-A07',
    name: 'violating-3',
    requests: [
      request([
        token('t', {
          'authorization.audience': ['https://other.example'],
          'authorization.verification': 'failed',
        }),
        checked([], { 'verification.result': 'fail', 'verification.reason.code': 'audience_mismatch' }),
      ]),
    ],
    findings: [
      found(
        'GC-A02',
        'high',
        [3, 1],
        `${API} acted on an authorization that was refused (audience_mismatch)`,
      ),
      found('GC-A07', 'high', [3, 1], `${API} acted on an authorization for another audience`),
    ],
  },
  {
    rule: 'GC-A07',
    name: 'clean',
    requests: [
      request([
        token('t', { 'authorization.audience': ['https://api.example'] }),
        checked(['signature', 'expiry', 'audience']),
      ]),
    ],
    findings: [],
  },
]

const decidedUnder = (name: string): VectorEvent =>
  decision('d1', { 'authorization.fingerprint': fingerprint(name) })

export const AUTHORIZATION_USE: readonly Vector[] = [
  {
    rule: 'GC-A08',
    name: 'violating',
    requests: [
      request([token('t')], { events: [inherited('another')] }, [inherited('t'), decidedUnder('t')]),
    ],
    findings: [
      found(
        'GC-A08',
        'critical',
        [3, 2, 1],
        `${API} acted on another authorization than the one it was decided for`,
      ),
    ],
  },
  {
    rule: 'GC-A08',
    name: 'violating-2',
    // Presented openly, but for somebody else, and nothing says where it comes from.
    requests: [
      [
        ...request(
          [token('t')],
          {
            parent: 4,
            events: [inherited('another', { 'authorization.subject': fingerprint('mallory') })],
          },
          [inherited('t'), decidedUnder('t')],
        ),
        {
          id: 4,
          parent: 1,
          takes: 0.5,
          events: [token('another', { 'authorization.subject': fingerprint('mallory') })],
        },
      ],
    ],
    findings: [
      found(
        'GC-A08',
        'critical',
        [3, 4, 2, 1],
        `${API} acted on another authorization than the one it was decided for`,
      ),
    ],
  },
  {
    rule: 'GC-A08',
    name: 'clean',
    // Exchanged, and says for which.
    requests: [
      [
        ...request([token('t')], { parent: 4, events: [inherited('another')] }, [
          inherited('t'),
          decidedUnder('t'),
        ]),
        {
          id: 4,
          parent: 1,
          takes: 0.5,
          events: [
            token('another', {
              'authorization.subject': fingerprint('api'),
              'authorization.parent.fingerprint': fingerprint('t'),
            }),
          ],
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-A08',
    name: 'clean-2',
    // Refreshed: the same subject of the same issuer.
    requests: [
      [
        ...request([token('t')], { parent: 4, events: [inherited('another')] }, [
          inherited('t'),
          decidedUnder('t'),
        ]),
        { id: 4, parent: 1, takes: 0.5, events: [token('another')] },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-A10',
    name: 'violating',
    requests: [
      [
        ...request([token('t')], { with: { 'decision.id': 'd2' }, events: [inherited('t')] }),
        {
          id: 4,
          parent: 1,
          takes: 0.005,
          events: [decision('d2', { 'decision.subject.id': fingerprint('mallory') })],
        },
      ],
    ],
    findings: [
      found(
        'GC-A10',
        'critical',
        [3, 4, 1],
        `${API} acted for another principal than the one it was decided for`,
      ),
    ],
  },
  {
    rule: 'GC-A10',
    name: 'clean',
    // orders is called by api with api's own credential, and asks about alice, for whom api acts.
    requests: [
      [
        { id: 1, kind: 'server', takes: 10, attributes: REQUEST, events: [token('t')] },
        { id: 4, parent: 1, takes: 1, kind: 'client' },
        {
          id: 5,
          parent: 4,
          takes: 0.9,
          kind: 'server',
          service: 'orders',
          attributes: REQUEST,
          events: [token('of api', { 'authorization.subject': fingerprint('api') })],
        },
        {
          id: 6,
          parent: 5,
          service: 'orders',
          events: [inherited('of api', { 'authorization.subject': fingerprint('api') }), decision('d1')],
        },
        {
          id: 7,
          parent: 5,
          at: 0.08,
          service: 'orders',
          attributes: action('refund', { 'decision.id': 'd1' }),
          events: [inherited('of api', { 'authorization.subject': fingerprint('api') })],
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-A10',
    name: 'clean-2',
    // The policy was asked about the actor.
    requests: [
      request([token('t', { 'authorization.actor.chain': [fingerprint('gateway')] })], {}, [
        decision('d1', { 'decision.subject.id': fingerprint('gateway') }),
      ]),
    ],
    findings: [],
  },
  {
    rule: 'GC-A10',
    name: 'unknown',
    // The policy names a role.
    requests: [request([token('t')], {}, [decision('d1', { 'decision.subject.id': fingerprint('clerk') })])],
    findings: [],
    unknown: [{ rule: 'GC-A10', missing: 'whether policies of api name principals as authorizations do' }],
  },
  {
    rule: 'GC-A12',
    name: 'violating',
    requests: [
      request([token('t', { 'authorization.confirmation': 'dpop' }), checked(['signature', 'expiry'])]),
    ],
    services: BY_HAND,
    findings: [
      found(
        'GC-A12',
        'medium',
        [3, 1],
        'api took an authorization that is bound to a key, without proof of the key',
      ),
    ],
  },
  {
    rule: 'GC-A12',
    name: 'clean',
    requests: [
      request([
        token('t', { 'authorization.confirmation': 'dpop' }),
        checked(['signature', 'expiry', 'possession']),
      ]),
    ],
    services: BY_HAND,
    findings: [],
  },
  {
    rule: 'GC-A12',
    name: 'unknown',
    // jsonwebtoken does not look at proofs; something before it may have.
    requests: [request([token('t', { 'authorization.confirmation': 'mtls' }), checked(['signature'])])],
    findings: [],
    unknown: [{ rule: 'GC-A12', missing: 'whether possession was proven to api' }],
  },
]
