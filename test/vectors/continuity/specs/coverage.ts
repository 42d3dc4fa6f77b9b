/** GC-C02, C05, T03: what of the evidence is whole, and what came late. */
import {
  action,
  decision,
  governance,
  inherited,
  REQUEST,
  token,
  type Vector,
  type VectorSpan,
} from '../spec.ts'

const request = (of: Partial<VectorSpan> = {}, at = 0): VectorSpan[] => [
  { id: 1, kind: 'server', at, takes: 0.1, attributes: REQUEST, events: [token('t', {}, at)] },
  { id: 2, parent: 1, at: at + 0.01, takes: 0.001, events: [decision('d1', {}, at + 0.01)] },
  {
    id: 3,
    parent: 1,
    kind: 'client',
    at: at + 0.02,
    events: [inherited('t')],
    ...of,
    attributes: { ...action('refund', { 'decision.id': 'd1' }), ...of.attributes },
  },
]

const EMITTER = 'b6f2c5b7a1e84d0c9c5b1f7e2d3a4c5b'

/** A process that numbers its spans in the order in which they end. */
const process: VectorSpan[] = [
  ...request().map((span) => ({ ...span, numbered: [EMITTER, [2, 0, 1][span.id - 1]!] as const })),
]

export const COVERAGE: readonly Vector[] = [
  {
    rule: 'GC-C02',
    name: 'clean',
    // What is dropped from a span that carries no governance is no evidence.
    requests: [[...request(), { id: 4, parent: 1, dropped: 7 }]],
    findings: [],
  },
  {
    rule: 'GC-C02',
    name: 'violating',
    requests: [request({ dropped: 7 })],
    findings: [
      {
        rule: 'GC-C02',
        severity: 'medium',
        spans: [3],
        detail: '7 attributes, events or links of span 0000000000000003 were dropped',
      },
    ],
  },
  {
    rule: 'GC-C02',
    name: 'violating-2',
    requests: [request({ attributes: governance({ 'truncated.facts': 12 }) })],
    findings: [
      {
        rule: 'GC-C02',
        severity: 'medium',
        spans: [3],
        detail: '12 values or facts of span 0000000000000003 were cut or left out',
      },
    ],
  },
  {
    rule: 'GC-C05',
    name: 'clean',
    requests: [request({ attributes: { 'url.full': 'https://pay.example/refund?order=7' } })],
    findings: [],
  },
  {
    rule: 'GC-C05',
    name: 'violating',
    requests: [request({ attributes: { 'url.full': 'https://pay.example/refund?token=REDACTED' } })],
    findings: [
      {
        rule: 'GC-C05',
        severity: 'low',
        spans: [3],
        detail: '1 attributes of span 0000000000000003 were redacted',
      },
    ],
  },
  {
    rule: 'GC-T03',
    name: 'clean',
    // Late, and as old as it says.
    requests: [process, 'settle', [{ id: 4, parent: 1, at: 5, events: [inherited('t')], numbered: [EMITTER, 3] }]],
    findings: [],
  },
  {
    rule: 'GC-T03',
    name: 'violating',
    requests: [
      process.map((span) => (span.id === 1 ? { ...span, takes: 30 } : span)),
      'settle',
      [{ id: 4, parent: 1, at: 5, events: [inherited('t')], numbered: [EMITTER, 3] }],
    ],
    findings: [
      {
        rule: 'GC-T03',
        severity: 'medium',
        spans: [4, 1],
        detail: 'span 0000000000000004 says that it ended before number 2 did',
      },
    ],
  },
  {
    rule: 'GC-T03',
    name: 'unknown',
    requests: [process, 'settle', [{ id: 4, parent: 1, at: 5, events: [inherited('t')] }]],
    findings: [],
    unknown: [{ rule: 'GC-T03', missing: 'the number of a late span' }],
  },
]
