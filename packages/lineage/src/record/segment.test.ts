/** The claims of the collector's own records, by hand, and what a derivation leaves alone. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  EPOCH,
  GOVERNED,
  type SpanSpec,
  spanIdOf,
  TestLog,
  traceIdOf,
} from '../../../../test/support/executions.ts'
import { concatBytes, dataView, formatHex } from '../bytes.ts'
import { continuityOf, encodeJudgement, parseJudgement } from '../continuity/judgement.ts'
import { RULESET_TEXT } from '../continuity/ruleset.ts'
import { Kind } from '../governance/kind.ts'
import { type AnyValue, encodeValue } from '../otlp/value.ts'
import { Committer } from './commitment.ts'
import { type Entry, Persistence, parseEntry, Role } from './entry.ts'
import { TraceHistory } from './history.ts'
import { LeafSink } from './leaf-sink.ts'
import type { SpanInput } from './order.ts'
import { Closed } from './payload.ts'
import { type DerivedSegment, deriveSegment } from './segment.ts'

const HEAD = { tenant: '', traceId: traceIdOf(1), closed: Closed.settled as Closed, evaluatedAt: EPOCH }
const committer = new Committer()

interface Result {
  readonly derived: DerivedSegment
  readonly entries: readonly Entry[]
  readonly leaves: Uint8Array
  readonly bytes: readonly string[]
}

function derive(
  input: readonly SpanInput[],
  history?: TraceHistory,
  sink = new LeafSink(),
  head = HEAD,
): Result {
  const first = sink.count
  const derived = deriveSegment(head, input, history, committer, sink)
  const bytes = Array.from({ length: sink.count - first }, (_, at) => new Uint8Array(sink.entry(first + at)))
  expect(bytes).toHaveLength(derived.count)
  return {
    derived,
    entries: bytes.map((one) => parseEntry(one)),
    leaves: sink.copyFrom(first).hashes,
    bytes: bytes.map(formatHex),
  }
}

function remember(
  history: TraceHistory,
  first: number,
  { entries, leaves, derived }: Result,
  erased = false,
): void {
  history.add(first, entries, leaves, Closed.settled, () =>
    erased ? undefined : { spans: derived.spans, judgement: derived.judgement, ruleset: derived.ruleset },
  )
}

/** Digest of claims with running ordinals. */
function claimsOf(span: SpanInput, from: number, claims: readonly (readonly [string, AnyValue])[]): string {
  const u32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
  const sha = (...parts: (string | Uint8Array)[]) => {
    const hash = createHash('sha256')
    for (const part of parts) hash.update(part)
    return hash.digest()
  }
  const commitments = claims.map(([key, value], at) => {
    const salt = sha('rs/salt\n', span.source.seed, u32(span.index), u32(from + at)).subarray(0, 16)
    const size = Uint8Array.of(key.length >>> 8, key.length)
    return sha('rootspan/claim/v0\n', salt, size, key, encodeValue(value))
  })
  return formatHex(sha('rootspan/claims/v0\n', u32(claims.length), ...commitments.sort(Buffer.compare)))
}

const OWN = 0x8000_0000
const text = (value: string): AnyValue => ({ type: 'string', value })
const int = (value: number): AnyValue => ({ type: 'int', value: BigInt(value) })
const bytes = (...parts: Uint8Array[]): AnyValue => ({ type: 'bytes', value: concatBytes(...parts) })
const digest = (...parts: (string | Uint8Array)[]): AnyValue => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return bytes(hash.digest())
}

function sealOf(
  counts: Record<string, number>,
  closed: string,
  completeness: string,
  judgement?: Uint8Array,
): [string, AnyValue] {
  const members: [string, AnyValue][] = [
    [
      'counts',
      { type: 'kvlist', value: Object.entries(counts).map(([key, count]) => ({ key, value: int(count) })) },
    ],
    ['closed', text(closed)],
    ['evaluated_at', { type: 'int', value: EPOCH }],
    ...(judgement === undefined
      ? []
      : ([
          ['ruleset', digest(RULESET_TEXT)],
          ['context', digest('rootspan/judgement-context/v0\n')],
          ['judgement', digest('rootspan/judgement/v0\n', judgement)],
        ] as [string, AnyValue][])),
    ['continuity', text(continuityOf(parseJudgement(judgement ?? new Uint8Array(0))))],
    ['completeness', text(completeness)],
  ]
  return ['rootspan.seal', { type: 'kvlist', value: members.map(([key, value]) => ({ key, value })) }]
}

const log = new TestLog()
const spansOf = (...specs: SpanSpec[]) => log.request(1, specs)

describe('claims', () => {
  test('of facts and of their span, with running ordinals', () => {
    const { entries, derived } = derive(spansOf(...GOVERNED))
    const [root, action] = derived.spans as [SpanInput, SpanInput]
    const held = entries.map((entry) => formatHex(entry.claims))
    const g = (key: string, value: AnyValue): [string, AnyValue] => [`governance.${key}`, value]
    expect(held.slice(0, 6)).toEqual([
      claimsOf(root, 1, [
        g('authorization.scheme', text('bearer')),
        g('authorization.subject', text('user:alice')),
      ]),
      claimsOf(root, 3, [g('verification.method', text('signature'))]),
      claimsOf(root, 4, [
        g('decision.id', text('d-1')),
        g('decision.outcome', text('permit')),
        g('policy.id', text('refunds')),
        g('policy.version', int(3)),
      ]),
      claimsOf(root, 8, [
        g('transition.to', text('approved')),
        ['rootspan.event.name', text('governance.transition')],
      ]),
      claimsOf(root, 10, [g('execution.purpose', text('refund a customer'))]),
      claimsOf(action, 1, [
        g('action.irreversible', { type: 'bool', value: true }),
        g('action.name', text('payment.refund')),
      ]),
    ])
    // The records of the collector take theirs from the first span.
    expect(held[6]).toBe(claimsOf(root, OWN, [['rootspan.join.method', text('ancestor')]]))
    const counts = {
      request: 1,
      authorization: 1,
      decision: 1,
      verification: 1,
      action: 1,
      transition: 1,
      persistence: 1,
    }
    expect(held[7]).toBe(
      claimsOf(root, OWN + 1, [sealOf(counts, 'settled', 'not provable', derived.judgement)]),
    )
  })

  test('of a gap, in the order of ids, and what the seal says of it', () => {
    const input = spansOf({ id: 3, parent: 9, start: 0 }, { id: 4, parent: 8 }, { id: 5, parent: 9 })
    const { entries, derived } = derive(input, undefined, new LeafSink(), { ...HEAD, closed: Closed.drained })
    expect(derived.missing).toBe(2)
    expect(entries.slice(3).map((entry) => formatHex(entry.claims))).toEqual([
      claimsOf(input[0]!, OWN, [
        ['rootspan.gap.count', int(2)],
        ['rootspan.gap.parents', bytes(spanIdOf(8), spanIdOf(9))],
      ]),
      claimsOf(input[0]!, OWN + 2, [sealOf({ persistence: 1, span: 3 }, 'drained', 'gaps')]),
    ])
  })

  test('of 1,500 missing parents the first 1,000 and their full number', () => {
    const input = spansOf(...Array.from({ length: 1500 }, (_, at) => ({ id: 5000 + at, parent: 1 + at })))
    const { entries } = derive(input)
    const ids = Array.from({ length: 1000 }, (_, at) => spanIdOf(1 + at))
    expect(formatHex(entries[1500]!.claims)).toBe(
      claimsOf(input[0]!, OWN, [
        ['rootspan.gap.count', int(1500)],
        ['rootspan.gap.parents', bytes(...ids)],
      ]),
    )
  })

  test('of an adoption, a late segment and findings', () => {
    const history = new TraceHistory()
    const first = derive(spansOf({ id: 2, parent: 1 }, { id: 3, parent: 1 }))
    remember(history, 0, first)
    const input = spansOf({ id: 1 }, { id: 2, parent: 1, name: 'other' }, { id: 8, parent: 8 })
    const second = derive(input, history)
    const [root] = input
    const leaf = (at: number) => first.leaves.slice(at * 32, at * 32 + 32)
    const finding = (detail: string): [string, AnyValue][] => [
      ['rootspan.finding.rule', text('GC-N03')],
      ['rootspan.finding.result', text('fail')],
      ['rootspan.finding.severity', text('critical')],
      ['rootspan.finding.detail', text(detail)],
    ]
    expect(second.entries.slice(3).map((entry) => formatHex(entry.claims))).toEqual([
      claimsOf(root!, OWN, [['rootspan.adopted.children', bytes(leaf(0), leaf(1))]]),
      claimsOf(root!, OWN + 1, finding('span 0000000000000002 was sent before with other content')),
      claimsOf(root!, OWN + 5, finding('span 0000000000000008 is its own ancestor')),
      claimsOf(root!, OWN + 9, [['rootspan.late.count', int(3)]]),
      claimsOf(root!, OWN + 10, [
        sealOf(
          { verification: 2, persistence: 2, span: 3 },
          'settled',
          'not provable',
          second.derived.judgement,
        ),
      ]),
    ])
  })

  test('what was erased may have been the same: no finding, and nobody knows', () => {
    const history = new TraceHistory()
    remember(history, 0, derive(spansOf({ id: 1 })), true)
    const { entries, derived } = derive(spansOf({ id: 1 }), history)
    expect(derived.duplicates).toEqual([])
    expect(entries.filter((entry) => entry.kind === Kind.verification)).toEqual([])
    const { results, findings } = parseJudgement(derived.judgement)
    expect(findings).toEqual([])
    expect(results.find(({ rule }) => rule === 'GC-N03')).toMatchObject({ result: 'unknown' })
  })

  test('a finding that holds still is not told again, and one that does not is withdrawn', () => {
    const first = derive(spansOf({ id: 1 }, { id: 1, name: 'other' }))
    const { results, findings } = parseJudgement(first.derived.judgement)
    expect(findings).toHaveLength(1)
    const gone = { ...findings[0]!, rule: 'GC-X01', detail: 'was so' }
    const history = new TraceHistory()
    history.add(0, first.entries, first.leaves, Closed.settled, () => ({
      spans: first.derived.spans,
      judgement: encodeJudgement({ results, findings: [...findings, gone] }),
      ruleset: first.derived.ruleset,
    }))
    const input = spansOf({ id: 5 })
    const second = derive(input, history)
    const told = second.entries.filter((entry) => entry.kind === Kind.verification)
    expect(told.map(({ causes, claims }) => [causes, formatHex(claims)])).toEqual([
      [
        gone.subjects.map((leaf) => ({ role: Role.subject, leaf, origin: '' })),
        claimsOf(input[0]!, OWN, [
          ['rootspan.finding.rule', text('GC-X01')],
          ['rootspan.finding.result', text('withdrawn')],
          ['rootspan.finding.severity', text('critical')],
          ['rootspan.finding.detail', text('was so')],
        ]),
      ],
    ])
    expect(parseJudgement(second.derived.judgement).findings).toEqual(findings)
  })
})

describe('what a derivation leaves alone', () => {
  test('a sink in which others lie already, and its salts do not depend on the place', () => {
    const input = spansOf(...GOVERNED)
    const alone = derive(input)
    const sink = new LeafSink()
    derive(spansOf({ id: 7 }, { id: 8, parent: 7 }), undefined, sink)
    expect(derive(input, undefined, sink).bytes).toEqual(alone.bytes)
    sink.reset()
    expect(sink.count).toBe(0)
    expect(derive(input, undefined, sink).bytes).toEqual(alone.bytes)
  })

  test('the sink, when every span has a record', () => {
    const history = new TraceHistory()
    const input = spansOf({ id: 1 }, { id: 2, parent: 1 })
    remember(history, 40, derive(input))
    const sink = new LeafSink()
    const { derived } = derive(input.toReversed(), history, sink)
    expect([derived.count, derived.spans, sink.count, sink.entries.length]).toEqual([0, [], 0, 0])
    expect(derived.duplicates.map(({ of }) => typeof of === 'object' && of.index)).toEqual([41, 40])
  })

  test('evidence that was computed ahead is taken as it is', () => {
    const evidence = Uint8Array.from({ length: 64 }, (_, at) => at)
    const spans = spansOf({ id: 1 }, { id: 2, parent: 1 })
    const ahead = spans.map((span) => ({ ...span, source: { ...span.source, evidence: dataView(evidence) } }))
    expect(
      derive(ahead)
        .entries.slice(0, 2)
        .map((entry) => entry.evidence),
    ).toEqual([evidence.subarray(0, 32), evidence.subarray(32)])
  })

  test('leaf hashes are those of RFC 6962, large sinks included', () => {
    const sink = new LeafSink()
    const specs = Array.from({ length: 3000 }, (_, at) => ({
      id: at + 1,
      ...(at === 0 ? {} : { parent: at }),
    }))
    const result = derive(spansOf(...specs), undefined, sink)
    for (const [at, hex] of result.bytes.entries()) {
      const hash = createHash('sha256').update(Uint8Array.of(0)).update(Buffer.from(hex, 'hex')).digest()
      if (!hash.equals(result.leaves.subarray(at * 32, at * 32 + 32))) throw new Error(`leaf ${at} differs`)
    }
    expect(result.bytes).toHaveLength(3001)
  })
})

describe('history', () => {
  test('asks for a payload once, and only when a span comes again', () => {
    const history = new TraceHistory()
    let asked = 0
    const first = derive(spansOf({ id: 1 }, { id: 2, parent: 1 }))
    history.add(0, first.entries, first.leaves, Closed.settled, () => {
      asked++
      return first.derived
    })
    derive(spansOf({ id: 3, parent: 1 }), history)
    expect(asked).toBe(0)
    derive(spansOf({ id: 1 }, { id: 2, parent: 1 }), history)
    expect(asked).toBe(1)
  })

  test('knows the first record of an id, who waits, and the last seal', () => {
    const history = new TraceHistory()
    const first = derive(spansOf({ id: 2, parent: 1 }, { id: 3, parent: 9, kind: 2 }, { id: 4, parent: 4 }))
    remember(history, 0, first)
    const key = (id: number) => String.fromCharCode(...spanIdOf(id))
    const leaf = ({ leaves }: Result, at: number) => formatHex(leaves.slice(at * 32, at * 32 + 32))
    expect(history.waitingFor(key(1)).map(formatHex)).toEqual([leaf(first, 0)])
    expect(history.waitingFor(key(9)).map(formatHex)).toEqual([leaf(first, 1)])
    expect(history.waitingFor(key(4))).toEqual([]) // it opens a cycle
    expect([history.segment, formatHex(history.previousSeal)]).toEqual([
      1,
      leaf(first, first.entries.length - 1),
    ])
    const second = derive(spansOf({ id: 1 }, { id: 2, parent: 1, name: 'other' }), history)
    remember(history, first.entries.length, second)
    expect(history.waitingFor(key(1))).toEqual([])
    expect(formatHex(history.leafOf(key(2))!)).toBe(leaf(first, 0))
    expect(history.leafOf(key(77))).toBeUndefined()
    expect(history.earlier(key(77))).toBeUndefined()
    expect(history.segment).toBe(2)
  })

  test('a segment without a seal is our own mistake', () => {
    const { entries, leaves } = derive(spansOf({ id: 1 }))
    const add = () => new TraceHistory().add(0, entries.slice(0, -1), leaves, Closed.settled, () => undefined)
    expect(add).toThrow(/^bad history/)
    expect(entries.at(-1)!.persistence).toBe(Persistence.sealed)
  })
})
