/**
 * One lie at a time in an execution that is in order, at every place where it can be told: the rule that is meant for it
 * finds it. The execution itself gives no finding at all. In process, with the collector's own knowledge of what came
 * before; a sample goes through the whole pipeline with the vectors.
 */
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import { type Judgement, parseJudgement } from '@rootspan/lineage/continuity/judgement'
import { ruleOf } from '@rootspan/lineage/continuity/ruleset'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { Closed, encodePayload, parsePayload } from '@rootspan/lineage/record/payload'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { describe, expect, test } from 'vitest'
import { Knowledge } from '../../packages/collector/src/knowledge.ts'
import type { KnowledgeRow } from '../../packages/collector/src/store/log-store.ts'
import { EPOCH, splitEntries, TestLog } from '../support/executions.ts'
import { specOf } from '../support/judged.ts'
import { decision, REQUEST, type VectorSpan } from '../vectors/continuity/spec.ts'
import { cleanExecution, SERVICES, TRACE, VERSIONS } from './clean-execution.ts'
import { MUTATIONS } from './mutations.ts'

/** Seconds after the beginning: when it is judged first, and again when a last span has come. */
const FIRST = 120n
const AGAIN = 10_000n
const NANOS = 1_000_000_000n

const committer = new Committer()
const requests = new TestLog(undefined, EPOCH + FIRST * NANOS)

/** What a collector knows that has seen both versions of the policy decide. */
const rows = ((): KnowledgeRow[] => {
  const knowledge = new Knowledge()
  for (const [at, version] of VERSIONS.entries()) {
    const before = -1000 + at * 500
    const decides = (id: number, service: string): VectorSpan => ({
      id,
      service,
      kind: 'server',
      at: before,
      attributes: REQUEST,
      events: [decision(`earlier-${id}`, { 'policy.id': 'shop/refunds', 'policy.version': version }, before)],
    })
    seal(2 + at, [decides(1, 'api'), decides(2, 'billing')], 0n, new TraceHistory(), knowledge)
  }
  return knowledge.takeRows()
})()

function judge(spans: readonly VectorSpan[]): Judgement {
  return seal(1, spans, AGAIN, new TraceHistory(), new Knowledge(rows))
}

/** Judges an execution of two segments, the second of which is one span that says nothing. */
function judgeAgain(spans: readonly VectorSpan[]): Judgement {
  const knowledge = new Knowledge(rows)
  const history = new TraceHistory()
  seal(1, spans, FIRST, history, knowledge)
  return seal(1, [{ id: 10_000, parent: 1, service: 'web', at: 0.006 }], AGAIN, history, knowledge)
}

function seal(
  trace: number,
  spans: readonly VectorSpan[],
  after: bigint,
  history: TraceHistory,
  knowledge: Knowledge,
): Judgement {
  const head = {
    tenant: '',
    traceId: parseHex(TRACE.slice(0, -1) + trace),
    closed: Closed.settled,
    evaluatedAt: EPOCH + after * NANOS,
  }
  const input = requests.request(
    trace,
    spans.map((span) => specOf(span, SERVICES)),
  )
  const sink = new LeafSink()
  const derived = deriveSegment(head, input, history, committer, sink, {
    gather: (execution, since) => knowledge.contextOf(execution, since),
  })
  const entries = splitEntries(sink.entries).map((entry) => parseEntry(entry))
  const { context, ruleset } = derived
  const payload = encodePayload(
    { ...head, segment: history.segment, context, ruleset },
    derived.spans,
    derived.judgement,
  )
  history.add(0, entries, new Uint8Array(sink.hashes), head.closed, () => parsePayload(payload))
  return parseJudgement(derived.judgement)
}

const clean = cleanExecution()

test('the execution has 200 spans, and no rule finds anything', () => {
  expect(clean.length).toBe(200)
  expect(judgeAgain(clean).findings).toEqual([])
  const { findings, results } = judge(clean)
  expect(findings).toEqual([])
  expect(results.filter(({ result }) => result === 'pass').map(({ rule }) => rule)).toEqual(
    expect.arrayContaining(['GC-A03', 'GC-C01', 'GC-C03', 'GC-D01', 'GC-N01', 'GC-N03', 'GC-R01', 'GC-T01']),
  )
})

describe.each(MUTATIONS)('$name', ({ rule, places, apply, isUnknown = false }) => {
  test(`is found by ${rule} wherever it is done`, () => {
    expect(ruleOf(rule), `there is no rule ${rule}`).toBeDefined()
    const where = places(clean)
    expect(where.length).toBeGreaterThan(0)
    const missed = where.filter((place) => {
      const changed = apply(clean, place)
      // A number is missed only after a while.
      const { findings, results } = rule === 'GC-C01' ? judgeAgain(changed) : judge(changed)
      if (isUnknown) return !results.some((one) => one.rule === rule && one.missing.length > 0)
      return !findings.some((finding) => finding.rule === rule)
    })
    expect(missed).toEqual([])
  }, 600_000)
})

test('what is judged twice is the same', () => {
  const of = (): string[] => judge(clean).results.map(({ rule, result }) => `${rule} ${result}`)
  expect(of()).toEqual(of())
  expect(formatHex(parseHex(TRACE))).toBe(TRACE)
})
