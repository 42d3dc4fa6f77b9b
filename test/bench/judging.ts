/**
 * What judging costs: microseconds of one thread's CPU a span, beside deriving the same segments without it.
 *
 *     node --conditions=source test/bench/judging.ts
 *
 * Three shapes: executions as an instrumented service sends them, 8 spans of which 3 are governed; one execution of
 * 100,000 spans; one that lasts for hours and comes in segments. Ordinary traffic without governance is not judged.
 */

import { EMPTY_CONTEXT } from '@rootspan/lineage/continuity/context'
import { judge } from '@rootspan/lineage/continuity/judge'
import { encodeJudgement } from '@rootspan/lineage/continuity/judgement'
import { RULES } from '@rootspan/lineage/continuity/ruleset'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import type { SpanInput } from '@rootspan/lineage/record/order'
import { Closed } from '@rootspan/lineage/record/payload'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { Knowledge } from '../../packages/collector/src/knowledge.ts'
import { defersJudging } from '../../packages/collector/src/reviews.ts'
import { EPOCH, type SpanSpec, splitEntries, TestLog, traceIdOf } from '../support/executions.ts'
import { INSTRUMENTED } from '../vectors/continuity/spec.ts'

const log = new TestLog()
const committer = new Committer()
const sink = new LeafSink()
const knowledge = new Knowledge()

/** One request of a service, its spans from `id` on under `parent`: verified, decided, done, and what a database needs. */
function request(id: number, parent?: number): SpanSpec[] {
  const at = id * 1_000_000
  const seconds = Number(EPOCH / 1_000_000_000n)
  const token = {
    'governance.authorization.fingerprint':
      'hmac-sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08',
    'governance.authorization.type': 'jwt',
    'governance.authorization.issuer': 'https://issuer.example',
    'governance.authorization.subject':
      'hmac-sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752',
    'governance.authorization.issued_at': seconds - 60,
    'governance.authorization.expires_at': seconds + 3_600_000,
    'governance.authorization.verification': 'verified',
  }
  const base = { service: 'api', resource: INSTRUMENTED }
  return [
    {
      ...base,
      id,
      ...(parent !== undefined && { parent }),
      kind: parent === undefined ? 2 : 1,
      start: at,
      end: at + 900_000,
      attributes: {
        'governance.record.kind': 'request',
        'governance.execution.id': 'e',
        'governance.execution.kind': 'request',
      },
      events: [
        { name: 'governance.authorization', attributes: token },
        {
          name: 'governance.verification',
          attributes: {
            'governance.verification.type': 'credential',
            'governance.verification.result': 'pass',
          },
        },
        {
          name: 'governance.decision',
          attributes: {
            'governance.decision.id': `d${id}`,
            'governance.decision.outcome': 'allow',
            'governance.decision.engine.name': 'casbin',
            'governance.policy.id': 'casbin',
            'governance.policy.digest':
              'sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae',
          },
        },
      ],
    },
    {
      ...base,
      id: id + 1,
      parent: id,
      kind: 3,
      start: at + 100_000,
      end: at + 800_000,
      attributes: {
        'governance.record.kind': 'action',
        'governance.action.name': 'POST payments',
        'governance.action.outcome': 'success',
        'governance.decision.id': `d${id}`,
      },
      events: [
        {
          name: 'governance.authorization',
          attributes: { ...token, 'governance.authorization.inherited': true },
        },
      ],
    },
    ...Array.from({ length: 6 }, (_, at2) => ({
      ...base,
      id: id + 2 + at2,
      parent: at2 % 2 === 0 ? id : id + 1,
      start: at + 200_000 + at2,
      end: at + 300_000,
      attributes: {
        'http.route': '/orders/:id',
        'server.address': 'db.internal',
        'db.system.name': 'postgresql',
      },
    })),
  ]
}

interface Cost {
  derive: number
  judge: number
  spans: number
}

/** Derives the segments of one execution with judging, and judges the last of it once more to see what that takes. */
function run(segments: readonly (readonly SpanInput[])[], cost: Cost): void {
  let history: TraceHistory | undefined
  for (const spans of segments) {
    const head = {
      tenant: '',
      traceId: traceIdOf(1),
      closed: Closed.settled,
      evaluatedAt: EPOCH + 10_000_000_000n,
    }
    sink.reset()
    let inside = 0
    const start = process.threadCpuUsage()
    const derived = deriveSegment(head, spans, history, committer, sink, {
      defers: defersJudging,
      gather(execution, since) {
        const before = process.threadCpuUsage()
        const context = knowledge.contextOf(execution, since)
        encodeJudgement(judge({ ...execution, context }, RULES))
        const used = process.threadCpuUsage(before)
        inside += used.user + used.system
        return EMPTY_CONTEXT
      },
    })
    const used = process.threadCpuUsage(start)
    // The derivation judges by itself after `gather`: what was measured in it is there a second time.
    cost.derive += used.user + used.system - inside
    cost.judge += inside
    cost.spans += spans.length
    if (segments.length === 1) continue
    history ??= new TraceHistory()
    history.add(
      0,
      splitEntries(sink.entries).map(parseEntry),
      new Uint8Array(sink.hashes),
      head.closed,
      () => derived,
    )
  }
}

function show(name: string, { derive, judge, spans }: Cost): void {
  const of = (micros: number): string => (micros / spans).toFixed(2)
  console.log(
    `${name.padEnd(34)} derive and judge ${of(derive)} us a span, rules and context ${of(judge)} of them`,
  )
}

const ordinary: Cost = { derive: 0, judge: 0, spans: 0 }
for (let round = 0; round < 4_000; round++) {
  const spans = log.request(1, request(1))
  run([spans], round < 1_000 ? { derive: 0, judge: 0, spans: 0 } : ordinary)
}
show('requests of 8 spans', ordinary)

const bare: Cost = { derive: 0, judge: 0, spans: 0 }
for (let round = 0; round < 4_000; round++) {
  const plain = request(1).map(({ attributes: _, events: __, ...rest }) => ({
    ...rest,
    attributes: { 'http.route': '/' },
  }))
  run([log.request(1, plain)], round < 1_000 ? { derive: 0, judge: 0, spans: 0 } : bare)
}
show('the same without governance', bare)

const large: Cost = { derive: 0, judge: 0, spans: 0 }
const many = [...request(1), ...Array.from({ length: 12_499 }, (_, at) => request(9 + at * 8, 1)).flat()]
run([log.request(1, many)], large)
show('one of 100,000 spans', large)

const long: Cost = { derive: 0, judge: 0, spans: 0 }
const segments = Array.from({ length: 480 }, (_, at) =>
  log.request(
    1,
    Array.from({ length: 8 }, (_, i) =>
      at + i === 0 ? request(1) : request(1 + (at * 8 + i) * 8, 1),
    ).flat(),
  ),
)
run(segments, long)
show('one of 480 segments of 64 spans', long)
