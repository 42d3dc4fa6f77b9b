/** GC-N: who caused whom. */
import {
  action,
  decision,
  governance,
  INSTRUMENTED,
  inherited,
  REQUEST,
  token,
  type Vector,
  type VectorSpan,
} from '../spec.ts'

/** A request, the decision in it, and what was done, beginning `at`. */
const request = (at = 0): VectorSpan[] => [
  { id: 1, kind: 'server', at, takes: 0.1, attributes: REQUEST, events: [token('t')] },
  { id: 3, parent: 1, at: at + 0.01, takes: 0.001, events: [decision('d1')] },
  {
    id: 2,
    parent: 1,
    kind: 'client',
    at: at + 0.02,
    attributes: action('refund', { 'decision.id': 'd1' }),
    events: [inherited('t')],
  },
]
const [entry, decides, act] = request() as [VectorSpan, VectorSpan, VectorSpan]

/** A script or job that decides and acts. */
const script = (more: VectorSpan['attributes'] = {}): VectorSpan[] => [
  { id: 1, name: 'nightly', takes: 0.1, attributes: more, events: [token('t'), decision('d1')] },
  { id: 2, parent: 1, attributes: action('refund', { 'decision.id': 'd1' }), events: [inherited('t')] },
]

const INSIDE = { resource: { ...INSTRUMENTED, 'governance.domain': 'shop' } }
const OUTSIDE = { resource: { ...INSTRUMENTED, 'governance.domain': 'partner' } }

/** `web` calls `api`, which acts. */
const call: VectorSpan[] = [
  { id: 8, service: 'web', kind: 'server', takes: 0.5, at: 0, attributes: REQUEST, events: [token('t')] },
  { id: 9, service: 'web', kind: 'client', parent: 8, at: 0.001, takes: 0.4 },
  ...request(0.01).map((span) => (span.id === 1 ? { ...span, parent: 9, remote: true } : span)),
]

export const ANCESTRY: readonly Vector[] = [
  { rule: 'GC-N01', name: 'clean', requests: [request()], findings: [] },
  {
    rule: 'GC-N01',
    name: 'clean-2',
    // The caller of the service sends nothing here; that is no business of ours.
    requests: [request().map((span) => (span.id === 1 ? { ...span, parent: 77, remote: true } : span))],
    findings: [],
  },
  {
    rule: 'GC-N01',
    name: 'clean-3',
    // The span of the request comes late: then all is well again.
    requests: [request(-600).slice(1), 'settle', request(-600).slice(0, 1)],
    findings: [],
  },
  {
    rule: 'GC-N01',
    name: 'violating',
    requests: [
      request(-600)
        .slice(0, 2)
        .concat(request(-600).slice(2).map((span) => ({ ...span, parent: 7 }))),
    ],
    findings: [
      {
        rule: 'GC-N01',
        severity: 'high',
        spans: [2],
        detail: 'the parent of span 0000000000000002, 0000000000000007, never came',
      },
    ],
  },
  {
    rule: 'GC-N01',
    name: 'unknown',
    // It may still run; a vector begins a minute before it is sent.
    requests: [
      request(60)
        .slice(0, 2)
        .concat(request(60).slice(2).map((span) => ({ ...span, parent: 7 }))),
    ],
    findings: [],
    unknown: [{ rule: 'GC-N01', missing: 'span 0000000000000007, which may still run' }],
  },
  {
    rule: 'GC-N02',
    name: 'clean',
    requests: [script(governance({ 'execution.id': 'job 7', 'execution.kind': 'job' }))],
    findings: [],
  },
  {
    rule: 'GC-N02',
    name: 'violating',
    requests: [script()],
    findings: [
      {
        rule: 'GC-N02',
        severity: 'medium',
        spans: [2],
        detail: 'nothing says what began span 0000000000000002',
      },
    ],
  },
  {
    rule: 'GC-N02',
    name: 'unknown',
    // Something that the instrumentation took for an action, in a process that nobody asked for anything.
    requests: [
      [{ id: 1, kind: 'client', name: 'POST', attributes: action('POST metrics.example', { 'action.inferred': true }) }],
    ],
    findings: [],
    unknown: [{ rule: 'GC-N02', missing: 'what began span 0000000000000001' }],
  },
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
  {
    rule: 'GC-N03',
    name: 'violating-2',
    // Two spans that are each other's parents, beside an execution that is in order.
    requests: [
      [
        ...request(),
        { id: 5, parent: 6, at: 0.03, takes: 0.01 },
        { id: 6, parent: 5, at: 0.03, takes: 0.01 },
      ],
    ],
    findings: [
      {
        rule: 'GC-N03',
        severity: 'critical',
        spans: [5],
        detail: 'span 0000000000000005 is its own ancestor',
      },
    ],
  },
  {
    rule: 'GC-N04',
    name: 'clean',
    requests: [[entry, decides, { ...act, links: [3], linksRemote: false }]],
    findings: [],
  },
  {
    rule: 'GC-N04',
    name: 'violating',
    requests: [
      request(-600).map((span) => (span.id === 2 ? { ...span, links: [7], linksRemote: false } : span)),
    ],
    findings: [
      {
        rule: 'GC-N04',
        severity: 'medium',
        spans: [2],
        detail: 'span 0000000000000002 links to 0000000000000007, which never came',
      },
    ],
  },
  {
    rule: 'GC-N04',
    name: 'unknown',
    requests: [request(-600).map((span) => (span.id === 2 ? { ...span, links: [7], linksRemote: true } : span))],
    findings: [],
    unknown: [
      { rule: 'GC-N04', missing: 'span 0000000000000007 of another service, to which a link leads' },
    ],
  },
  {
    rule: 'GC-N05',
    name: 'clean',
    services: { web: INSIDE, api: INSIDE },
    requests: [call],
    findings: [],
  },
  {
    rule: 'GC-N05',
    name: 'violating',
    services: { web: OUTSIDE, api: INSIDE },
    requests: [call],
    findings: [
      {
        rule: 'GC-N05',
        severity: 'medium',
        spans: [1, 9],
        detail: 'span 0000000000000001 of api continues one of web, of another trust domain',
      },
    ],
  },
  {
    rule: 'GC-N05',
    name: 'unknown',
    services: { api: INSIDE },
    requests: [request().map((span) => (span.id === 1 ? { ...span, parent: 77, remote: true } : span))],
    findings: [],
    unknown: [{ rule: 'GC-N05', missing: 'the caller of service api, which sent no span' }],
  },
]
