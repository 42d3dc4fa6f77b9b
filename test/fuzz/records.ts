/** Fuzz targets of records: entries, receipts, payloads, and facts of spans. */
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { factsOf, isGoverned } from '@rootspan/lineage/governance/facts'
import { decodeSpan } from '@rootspan/lineage/otlp/decode'
import { Committer } from '@rootspan/lineage/record/commitment'
import { encodeEntry, parseEntry } from '@rootspan/lineage/record/entry'
import { EntryScan } from '@rootspan/lineage/record/entry-scan'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { encodePayload, parsePayload } from '@rootspan/lineage/record/payload'
import { encodeReceipt, parseReceipt } from '@rootspan/lineage/record/receipt'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { encodeSpan, TestLog } from '../support/executions.ts'
import { SHAPES } from '../support/shapes.ts'
import { mutateProtobuf } from './mutate.ts'
import type { Target } from './targets.ts'

/** A log with an execution of every shape. */
function everyShape(): TestLog {
  const log = new TestLog()
  let trace = 1
  for (const settle of SHAPES.values()) settle(log, trace++)
  return log
}

function payloadsOf(log: TestLog): Uint8Array[] {
  const payloads: Uint8Array[] = []
  for (let trace = 1; trace <= SHAPES.size; trace++)
    for (const { payload } of log.segments(trace, 'a tenant' === [...SHAPES.keys()][trace - 1] ? 'acme' : ''))
      payloads.push(new Uint8Array(payload))
  return payloads
}

function demandSame(again: Uint8Array, bytes: Uint8Array): void {
  if (again.length !== bytes.length || again.some((byte, at) => byte !== bytes[at]))
    throw new Error('accepted, and not the one encoding of what it says')
}

const committer = new Committer()

export const recordTargets: readonly Target[] = [
  {
    name: 'entries',
    maxMillis: 200,
    seeds: () => everyShape().entries,
    mutate: mutateProtobuf,
    run: (bytes) => {
      const scanned = new EntryScan().scan(bytes, 0, bytes.length)
      try {
        demandSame(encodeEntry(parseEntry(bytes)), bytes)
      } catch (error) {
        const refused = error instanceof MalformedError || error instanceof VerificationError
        if (refused && scanned) throw new Error('the scan accepts what the parser refuses', { cause: error })
        throw error
      }
      if (!scanned) throw new Error('the scan refuses what the parser accepts')
    },
  },
  {
    name: 'receipts',
    maxMillis: 200,
    seeds: () =>
      ['', 'acme', 'größe'].flatMap((tenant) =>
        [0n, 1n, 2n ** 64n - 1n].map((receivedAt) =>
          encodeReceipt({ receiver: 'otlp/grpc', peer: tenant, tenant, receivedAt, tracked: tenant !== '' }),
        ),
      ),
    mutate: mutateProtobuf,
    run: (bytes) => demandSame(encodeReceipt(parseReceipt(bytes)), bytes),
  },
  {
    name: 'payloads',
    maxMillis: 2000,
    seeds: () => payloadsOf(everyShape()),
    mutate: mutateProtobuf,
    run: (bytes) => {
      const payload = parsePayload(bytes)
      demandSame(encodePayload(payload, payload.spans, payload.judgement), bytes)
      // What parses derives: nothing that was accepted may stop a verifier, nor the collector's reading of history.
      const sink = new LeafSink()
      const { count } = deriveSegment(payload, payload.spans, undefined, committer, sink)
      if (count !== sink.count) throw new Error('a derivation lost count')
      const view = sink.entries
      for (let at = 0; at < view.length; ) {
        const start = at + 2
        at = start + view[at]! * 256 + view[at + 1]!
        parseEntry(view.subarray(start, at))
      }
    },
  },
  {
    name: 'facts',
    maxMillis: 2000,
    seeds: () => {
      const kinds = [
        'authorization',
        'decision',
        'verification',
        'action',
        'transition',
        'execution',
        'emitter',
      ]
      const all = Object.fromEntries(kinds.map((kind) => [`governance.${kind}.id`, kind]))
      const marked = { ...all, 'governance.record.kind': 'action', 'governance.decision.outcome': 'allow' }
      const events = kinds.map((kind) => ({ name: `governance.${kind}`, attributes: marked }))
      return [encodeSpan(1, { id: 1, attributes: all }), encodeSpan(1, { id: 1, attributes: marked, events })]
    },
    mutate: mutateProtobuf,
    run: (bytes) => {
      const span = decodeSpan(bytes)
      const facts = factsOf(span)
      const turned = factsOf({ ...span, attributes: span.attributes.toReversed() })
      const told = (of: typeof facts) =>
        JSON.stringify(of, (_, value) => {
          if (typeof value === 'bigint') return String(value)
          return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value
        })
      if (told(facts) !== told(turned)) throw new Error('the order of attributes says something')
      if (!isGoverned(span) && (facts.claims.length > 0 || facts.facts.length > 0))
        throw new Error('a span that is not governed has facts')
    },
  },
]
