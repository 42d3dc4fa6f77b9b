/** What the main thread computes ahead is what the pipeline would compute by itself. */
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { FAULT, scanTraces, TRACE_ID, WORDS_PER_SPAN } from '@rootspan/lineage/otlp/scan'
import { Committer } from '@rootspan/lineage/record/commitment'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import type { Source } from '@rootspan/lineage/record/order'
import { Closed } from '@rootspan/lineage/record/payload'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { WireWriter } from '@rootspan/lineage/wire'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { workAhead } from '../../packages/collector/src/ahead.ts'
import { Assembler, type OpenFrame } from '../../packages/collector/src/assembler.ts'
import { START } from '../../packages/collector/src/store/cursor.ts'
import { Traffic } from '../bench/traffic.ts'
import { anyRequests, encodeRequest } from '../fuzz/otlp.ts'
import { EPOCH, encodeSpan } from '../support/executions.ts'
import { RECEIPT, seedOf } from './support.ts'

const LIMITS = { quietMillis: 1, maxAgeMillis: 1, maxSegmentSpans: 1e6 }
/** One for all requests: what it keeps between them must not show. */
const committer = new Committer()

/** All records of a request, trace by trace, with or without what was computed ahead. Returns their leaf hashes. */
function leavesOf(body: Uint8Array, tenant: string, ahead: boolean): string[] {
  const table = scanTraces(body)
  const request = { position: 0, seed: seedOf(body), receipt: RECEIPT, body }
  const done = ahead ? workAhead(request, tenant, table, committer) : undefined
  if (ahead) table.words.fill(0xdead) // the scan's table is used again for the next request
  const assembler = new Assembler(LIMITS, START)
  const frame = request as Parameters<Assembler['add']>[0]
  assembler.add(frame, tenant, false, done?.table ?? table, 0, done)
  const sink = new LeafSink()
  const own = new Committer()
  for (const trace of assembler.all(0).sort((a, b) => Buffer.compare(a.id, b.id))) {
    const { id } = trace
    const sources = new Map<OpenFrame, Source>()
    const spans = assembler.spans(trace, (of, index) => {
      const seed = own.traceSeed(of.seed, utf8(tenant), id)
      const at = (of.ahead?.seedOf[index] ?? 0) * 32
      if (of.ahead !== undefined)
        expect(formatHex(of.ahead.seeds.subarray(at, at + 32))).toBe(formatHex(seed))
      const evidence = of.ahead?.evidence
      const source = sources.get(of) ?? { receipt: RECEIPT, seed, body, contexts: of.contexts, evidence }
      sources.set(of, source)
      return source
    })
    expect(spans.every(({ source }) => (source.evidence !== undefined) === ahead)).toBe(true)
    deriveSegment(
      { tenant, traceId: id, closed: Closed.settled, evaluatedAt: EPOCH },
      spans,
      undefined,
      own,
      sink,
    )
  }
  const hashes = sink.hashes
  return Array.from({ length: sink.count }, (_, at) => formatHex(hashes.subarray(at * 32, at * 32 + 32)))
}

/** Gives the spans of a random request a good id here and there, and few traces. */
function mended(body: Uint8Array): Uint8Array {
  const { words, count } = scanTraces(body)
  const out = body.slice()
  for (let row = 0; row < count * WORDS_PER_SPAN; row += WORDS_PER_SPAN)
    if (words[row + FAULT] === 0)
      out.fill((row / WORDS_PER_SPAN) % 3, words[row + TRACE_ID]! + 1, words[row + TRACE_ID]! + 16)
  return out
}

test('on random requests, spans at fault, absent resources and several traces among them', () => {
  let records = 0
  fc.assert(
    fc.property(anyRequests, fc.constantFrom('', 'acme', 'größe'), (groups, tenant) => {
      const body = mended(encodeRequest(groups))
      const alone = leavesOf(body, tenant, false)
      expect(leavesOf(body, tenant, true)).toEqual(alone)
      records += alone.length
    }),
    { seed: 20260102, numRuns: 300 },
  )
  expect(records).toBeGreaterThan(300)
})

test('on real traffic', () => {
  for (const { body } of new Traffic({ spansPerRequest: 100, requests: 4, seed: 3 }).requests)
    expect(leavesOf(body, '', true)).toEqual(leavesOf(body, '', false))
})

test('where a resource has no scopes, scopes no resource, and an empty one is not an absent one', () => {
  const span = (id: number) => encodeSpan(1 + (id % 2), { id })
  const scope = (name: string | undefined, ...ids: number[]) => {
    const out = new WireWriter()
    if (name !== undefined)
      out.bytes(1, name === '' ? new Uint8Array(0) : new WireWriter().string(1, name).finish())
    for (const id of ids) out.bytes(2, span(id))
    return out.finish()
  }
  const group = (resource: string | undefined, ...scopes: Uint8Array[]) => {
    const out = new WireWriter()
    if (resource !== undefined)
      out.bytes(1, resource === '' ? new Uint8Array(0) : new WireWriter().string(9, resource).finish())
    for (const one of scopes) out.bytes(2, one)
    return out.finish()
  }
  const body = new WireWriter()
  for (const one of [
    group(undefined, scope(undefined, 1, 2), scope('', 3), scope('a', 4, 5)),
    group('', scope(undefined, 6), scope(undefined, 7)),
    group('r', scope(undefined, 8), scope('a', 9)),
    group('r', scope(undefined, 10), scope('a', 11), scope('b', 12, 13)),
    group(undefined, scope(undefined, 14)),
  ])
    body.bytes(1, one)
  const bytes = body.finish()
  expect(leavesOf(bytes, '', true)).toEqual(leavesOf(bytes, '', false))
})

test('bad spans have no evidence, and take none of others', () => {
  const scope = new WireWriter()
  for (const id of [1, 0, 2]) scope.bytes(2, encodeSpan(1, { id }))
  const body = new WireWriter().bytes(1, new WireWriter().bytes(2, scope.finish()).finish()).finish()
  const { evidence } = workAhead(
    { seed: seedOf(body), receipt: RECEIPT, body },
    '',
    scanTraces(body),
    committer,
  )
  expect(evidence.length).toBe(96)
  expect(evidence.subarray(32, 64).every((byte) => byte === 0)).toBe(true)
  expect(leavesOf(body, '', true)).toEqual(leavesOf(body, '', false))
})
