/** GC-D: what was decided, and what was done. */
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

const API = 'span 0000000000000003 of api'

const entry: VectorSpan = { id: 1, kind: 'server', takes: 10, attributes: REQUEST, events: [token('t')] }

const decides = (more: Attributes = {}, at = 0.025): VectorSpan => ({
  id: 2,
  parent: 1,
  at: Math.min(at, 0.02),
  takes: 0.01 + at,
  events: [inherited('t'), decision('d1', more, at)],
})

const acts = (more: Attributes = {}, rest: Partial<VectorSpan> = {}): VectorSpan => ({
  id: 3,
  parent: 1,
  at: 0.05,
  attributes: action('refund', { 'decision.id': 'd1', ...more }),
  events: [inherited('t')],
  ...rest,
})

const records = (id: number, ...events: readonly VectorEvent[]): VectorSpan => ({
  id,
  parent: 1,
  takes: 0.005,
  events,
})

const found = (
  rule: string,
  severity: VectorFinding['severity'],
  spans: readonly number[],
  detail: string,
): VectorFinding => ({ rule, severity, spans, detail })

const enforced = (target: string, result = 'pass'): VectorEvent =>
  fact('verification', {
    'verification.type': 'enforcement',
    'verification.result': result,
    'verification.target.id': target,
  })

const approval = (id: string, approver: string): VectorEvent =>
  fact('authorization', {
    'authorization.type': 'approval',
    'authorization.verification': 'verified',
    'approval.id': id,
    'approval.approver.id': fingerprint(approver),
  })

const contradicted = found(
  'GC-D11',
  'critical',
  [2, 4],
  'span 0000000000000002 of api says another answer than the log of its policy engine',
)

export const DECISION: readonly Vector[] = [
  {
    rule: 'GC-D01',
    name: 'violating',
    requests: [[entry, { ...acts(), attributes: action('refund') }]],
    findings: [found('GC-D01', 'high', [3], `${API} acted without any decision`)],
  },
  {
    rule: 'GC-D01',
    name: 'clean',
    // A call inside the action is a part of it.
    requests: [
      [
        entry,
        decides(),
        acts({}, { takes: 0.5 }),
        {
          id: 4,
          parent: 3,
          at: 0.06,
          kind: 'client',
          attributes: action('POST bank.example', { 'action.inferred': true }),
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D01',
    name: 'clean-2',
    // Not begun.
    requests: [
      [
        entry,
        {
          ...acts(),
          attributes: action('refund', {
            'action.outcome': 'refused',
            'action.reason.code': 'not_acknowledged',
          }),
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D01',
    name: 'unknown',
    // Its only hook is for tokens.
    requests: [[entry, { ...acts(), attributes: action('refund') }]],
    services: {
      api: {
        resource: {
          'governance.instrumentation.version': '0.1.0',
          'governance.instrumentation.hooks': ['jsonwebtoken@9.0.3 effective', 'casbin@5.51.1 ineffective'],
        },
      },
    },
    findings: [],
    unknown: [{ rule: 'GC-D01', missing: 'how it is decided in api' }],
  },
  {
    rule: 'GC-D02',
    name: 'violating',
    requests: [[entry, decides({ 'decision.outcome': 'deny' }), acts()]],
    findings: [found('GC-D02', 'critical', [3, 2], `${API} acted although it had been denied`)],
  },
  {
    rule: 'GC-D02',
    name: 'clean',
    requests: [
      [
        entry,
        decides({ 'decision.outcome': 'deny' }),
        acts({ 'action.outcome': 'refused', 'action.reason.code': 'decision_deny' }),
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D02',
    name: 'clean-2',
    // Denied what it asked for first, allowed what it did; a line about the denial was written as well.
    requests: [
      [
        entry,
        decides(),
        acts(),
        records(4, decision('d2', { 'decision.outcome': 'deny' })),
        {
          id: 5,
          parent: 1,
          attributes: action('postgresql INSERT', { 'action.inferred': true, 'decision.id': 'd2' }),
        },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D03',
    name: 'violating',
    requests: [[entry, decides({ 'decision.outcome': 'deny', 'decision.enforcement': 'dry_run' }), acts()]],
    findings: [found('GC-D03', 'low', [3, 2], `${API} would have been denied`)],
  },
  {
    rule: 'GC-D03',
    name: 'clean',
    requests: [[entry, decides({ 'decision.enforcement': 'dry_run' }), acts()]],
    findings: [],
  },
  {
    rule: 'GC-D04',
    name: 'violating',
    requests: [[entry, decides({}, 3), acts()]],
    findings: [found('GC-D04', 'critical', [3, 2], `${API} acted 2.950 s before it was decided`)],
  },
  {
    rule: 'GC-D04',
    name: 'clean',
    // Decided inside of the action, before what it does.
    requests: [[entry, acts({}, { takes: 5 }), { ...decides({}, 3), parent: 3, at: 0.06, takes: 4 }]],
    findings: [],
  },
  {
    rule: 'GC-D05',
    name: 'violating',
    requests: [[entry, decides({ 'decision.outcome': 'error', 'decision.errors.count': 1 }), acts()]],
    findings: [found('GC-D05', 'high', [3, 2], `${API} acted although deciding had failed`)],
  },
  {
    rule: 'GC-D05',
    name: 'violating-2',
    requests: [[entry, decides({ 'decision.outcome': 'not_applicable' }), acts()]],
    findings: [found('GC-D05', 'high', [3, 2], `${API} acted although no policy had an answer`)],
  },
  {
    rule: 'GC-D05',
    name: 'clean',
    requests: [
      [
        entry,
        decides({ 'decision.outcome': 'error', 'decision.errors.count': 1 }),
        acts({ 'action.outcome': 'refused', 'action.reason.code': 'decision_error' }),
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D13',
    name: 'violating',
    requests: [
      [
        entry,
        {
          ...acts(),
          attributes: action('refund', {
            'action.outcome': 'refused',
            'action.reason.code': 'decision_deny',
            'decision.id': 'd9',
          }),
        },
      ],
    ],
    findings: [found('GC-D13', 'medium', [3], `${API} was refused by a decision that is not here`)],
  },
  {
    rule: 'GC-D13',
    name: 'clean',
    requests: [
      [
        { ...entry, attributes: { ...REQUEST, 'http.response.status_code': 403 } },
        decides({ 'decision.outcome': 'deny' }),
        acts({ 'action.outcome': 'refused', 'action.reason.code': 'decision_deny' }),
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D13',
    name: 'unknown',
    requests: [[{ ...entry, attributes: { ...REQUEST, 'http.response.status_code': 403 } }]],
    findings: [],
    unknown: [{ rule: 'GC-D13', missing: 'why api refused a request' }],
  },
]

export const DECISION_BINDING: readonly Vector[] = [
  {
    rule: 'GC-D06',
    name: 'violating',
    requests: [[entry, decides({ 'action.digest': 'sha256:aa' }), acts({ 'action.digest': 'sha256:bb' })]],
    findings: [found('GC-D06', 'critical', [3, 2], `${API} is not the action that was decided on`)],
  },
  {
    rule: 'GC-D06',
    name: 'clean',
    requests: [[entry, decides({ 'action.digest': 'sha256:aa' }), acts({ 'action.digest': 'sha256:aa' })]],
    findings: [],
  },
  {
    rule: 'GC-D06',
    name: 'unknown',
    requests: [[entry, decides({ 'action.digest': 'sha256:aa' }), acts()]],
    findings: [],
    unknown: [{ rule: 'GC-D06', missing: 'digests of actions of api' }],
  },
  {
    rule: 'GC-D07',
    name: 'violating',
    requests: [[entry, decides({ 'decision.ttl': 1 }), acts({}, { at: 5.025 })]],
    findings: [found('GC-D07', 'high', [3, 2], `${API} acted 5.000 s after a decision that held for 1 s`)],
  },
  {
    rule: 'GC-D07',
    name: 'violating-2',
    requests: [
      [
        entry,
        decides({ 'policy.id': 'refunds of GC-D07', 'policy.digest': 'sha256:old' }),
        {
          id: 4,
          parent: 1,
          at: 1,
          events: [
            fact('transition', {
              'transition.type': 'policy',
              'transition.from': 'sha256:old',
              'transition.to': 'sha256:new',
              'transition.trigger': 'loadPolicy',
              'transition.engine.name': 'casbin',
            }),
          ],
        },
        acts({}, { at: 2 }),
      ],
    ],
    findings: [found('GC-D07', 'high', [3, 2, 4], `${API} acted on a policy that had been replaced`)],
  },
  {
    rule: 'GC-D07',
    name: 'clean',
    requests: [[entry, decides({ 'decision.ttl': 60 }), acts({}, { at: 5.025 })]],
    findings: [],
  },
  {
    rule: 'GC-D08',
    name: 'violating',
    requests: [[entry, decides({ 'decision.outcome': 'approval_required' }), acts()]],
    findings: [found('GC-D08', 'critical', [3, 2], `${API} acted without the approval it needed`)],
  },
  {
    rule: 'GC-D08',
    name: 'violating-2',
    requests: [
      [
        entry,
        decides({ 'decision.outcome': 'approval_required' }),
        records(4, approval('GC-D08 violating-2', 'alice')),
        acts(),
      ],
    ],
    findings: [found('GC-D08', 'high', [3, 2], `${API} was approved by its own requester`)],
  },
  {
    rule: 'GC-D08',
    name: 'clean',
    requests: [
      [
        entry,
        decides({ 'decision.outcome': 'approval_required' }),
        records(4, approval('GC-D08 clean', 'bob')),
        acts(),
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D09',
    name: 'violating',
    requests: [
      [
        entry,
        decides({ 'decision.obligations': ['redact:ssn', 'notify:owner'] }),
        acts({}, { takes: 0.5 }),
        { ...records(4, enforced('notify:owner')), at: 0.1 },
      ],
    ],
    findings: [found('GC-D09', 'medium', [3, 2], `${API} ended with 1 of 2 obligations not met`)],
  },
  {
    rule: 'GC-D09',
    name: 'clean',
    requests: [
      [
        entry,
        decides({ 'decision.obligations': ['redact:ssn', 'notify:owner'] }),
        acts({}, { takes: 0.5 }),
        { ...records(4, enforced('notify:owner'), enforced('redact:ssn')), at: 0.1 },
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D09',
    name: 'unknown',
    requests: [[entry, decides({ 'decision.obligations': ['redact:ssn'] }), acts()]],
    findings: [],
    unknown: [{ rule: 'GC-D09', missing: 'whether obligations were met' }],
  },
  {
    rule: 'GC-D10',
    name: 'violating',
    requests: [
      [
        entry,
        decides({ 'action.digest': 'sha256:aa' }),
        records(
          4,
          decision('d2', {
            'decision.outcome': 'deny',
            'decision.engine.name': 'opa',
            'action.digest': 'sha256:aa',
          }),
        ),
        acts({ 'action.digest': 'sha256:aa' }),
      ],
    ],
    findings: [
      found(
        'GC-D10',
        'medium',
        [4, 2],
        'span 0000000000000004 of api and span 0000000000000002 of api were given different answers about one action',
      ),
    ],
  },
  {
    rule: 'GC-D10',
    name: 'clean',
    // Denied, then overridden by a human, then allowed.
    requests: [
      [
        entry,
        records(
          4,
          decision('d2', { 'decision.outcome': 'deny', 'action.digest': 'sha256:aa' }, 0.012),
          fact('transition', { 'transition.type': 'oversight', 'transition.to': 'overridden' }, 0.015),
        ),
        decides({ 'action.digest': 'sha256:aa' }),
        acts({ 'action.digest': 'sha256:aa' }),
      ],
    ],
    findings: [],
  },
  {
    rule: 'GC-D11',
    name: 'violating',
    requests: [[entry, decides(), acts(), { id: 4, at: 0.02, pushed: { id: 'd1', result: false } }]],
    findings: [contradicted],
  },
  {
    // A word that anybody can send says what the decision says, before the engine does.
    rule: 'GC-D11',
    name: 'violating-2',
    requests: [
      [
        entry,
        decides(),
        { ...records(5, decision('d1', { 'corroboration.source': 'opa' }, 0.02)), at: 0.02, service: 'opa' },
        acts(),
        { id: 4, at: 0.06, pushed: { id: 'd1', result: false } },
      ],
    ],
    services: { opa: { resource: {} } },
    findings: [
      contradicted,
      found(
        'GC-D11',
        'critical',
        [5, 4],
        'span 0000000000000005 of opa says another answer than the log of its policy engine',
      ),
    ],
  },
  {
    rule: 'GC-D11',
    name: 'clean',
    requests: [[entry, decides(), acts(), { id: 4, at: 0.02, pushed: { id: 'd1', result: true } }]],
    findings: [],
  },
  {
    // Another word about it that no engine delivered.
    rule: 'GC-D11',
    name: 'clean-2',
    requests: [
      [
        entry,
        decides(),
        acts(),
        {
          ...records(4, decision('d1', { 'decision.outcome': 'deny', 'corroboration.source': 'opa' }, 0.06)),
          at: 0.06,
          service: 'opa',
        },
      ],
    ],
    services: { opa: { resource: {} } },
    findings: [],
  },
  {
    rule: 'GC-D12',
    name: 'violating',
    requests: [[entry, decides({ 'decision.engine.name': 'cedar', 'decision.errors.count': 1 }), acts()]],
    findings: [
      found(
        'GC-D12',
        'high',
        [2],
        'span 0000000000000002 of api was allowed while 1 error kept rules from counting',
      ),
    ],
  },
  {
    rule: 'GC-D12',
    name: 'clean',
    requests: [[entry, decides({ 'decision.engine.name': 'cedar', 'decision.errors.count': 0 }), acts()]],
    findings: [],
  },
]
