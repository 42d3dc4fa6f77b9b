import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { WireWriter } from '@rootspan/lineage/wire'
import { expect, test } from 'vitest'
import { JournalFull } from '../journal/errors.ts'
import { createIngest, type IngestOptions, type JournalFrame } from './ingest.ts'
import type { QuarantinedSpan } from './quarantine.ts'
import { type CounterName, type Received, Refusal } from './receiver.ts'

const TRACE_ID = parseHex('000102030405060708090a0b0c0d0e0f')

function traces(...spanIds: string[]): Uint8Array {
  const scope = new WireWriter()
  for (const id of spanIds)
    scope.bytes(2, new WireWriter().bytes(1, TRACE_ID).bytes(2, parseHex(id)).finish())
  return new WireWriter().bytes(1, new WireWriter().bytes(2, scope.finish()).finish()).finish()
}

const GOOD = '0102030405060708'
const BAD = '0102'

function received(body: Uint8Array, signal: Received['signal'] = 'traces'): Received {
  return { receiver: 'otlp/http', signal, body, tracked: true, peer: '' }
}

/** An ingest that writes down what it does. */
function setUp(overrides: Partial<IngestOptions> = {}) {
  const steps: string[] = []
  const frames: JournalFrame[] = []
  const kept: QuarantinedSpan[] = []
  const counts: Partial<Record<CounterName, number>> = {}
  const ingest = createIngest({
    journal: {
      async append(frame) {
        frames.push(frame)
        steps.push('journal')
        return 41
      },
    },
    quarantine: {
      async keep(spans) {
        await Promise.resolve()
        kept.push(...spans)
        steps.push('quarantine')
      },
    },
    counters: {
      add(name, n) {
        counts[name] = (counts[name] ?? 0) + n
      },
    },
    now: () => 0x0102030405060708n,
    random: (size) => new Uint8Array(size).fill(9),
    gate: () => undefined,
    ...overrides,
  })
  return { ingest, steps, frames, kept, counts }
}

test('good spans are journalled with a seed and a receipt', async () => {
  const { ingest, frames, steps, counts } = setUp()
  const body = traces(GOOD, GOOD)
  expect(await ingest(received(body))).toEqual({ rejectedSpans: 0, message: '', position: 41 })
  expect(steps).toEqual(['journal'])
  expect(frames[0]!.body).toBe(body)
  expect(frames[0]!.seed).toEqual(new Uint8Array(32).fill(9))
  expect(formatHex(frames[0]!.receipt)).toBe('0a096f746c702f68747470' + '210807060504030201' + '2801')
  expect(counts).toEqual({ requests_accepted_traces: 1, spans_accepted: 2, bytes_received: body.length })
})

test('the quarantine is durable before anything is journalled', async () => {
  const { ingest, steps, kept, counts } = setUp()
  expect(await ingest(received(traces(BAD, GOOD, BAD)))).toMatchObject({ rejectedSpans: 2, position: 41 })
  expect(steps).toEqual(['quarantine', 'journal'])
  expect(kept.map(({ span }) => formatHex(span))).toEqual(Array(2).fill(`0a10${formatHex(TRACE_ID)}12020102`))
  expect(counts).toMatchObject({ spans_accepted: 1, spans_quarantined: 2 })
})

test('bad spans alone are not journalled', async () => {
  const { ingest, steps } = setUp()
  expect(await ingest(received(traces(BAD)))).toMatchObject({ rejectedSpans: 1, position: undefined })
  expect(steps).toEqual(['quarantine'])
})

test('of very many bad spans only the first are kept', async () => {
  const { ingest, steps, kept, counts } = setUp()
  const scope = new Uint8Array(2 * 30_000)
  for (let i = 0; i < scope.length; i += 2) scope[i] = 0x12
  const body = new WireWriter().bytes(1, new WireWriter().bytes(2, scope).finish()).finish()
  const { rejectedSpans, message } = await ingest(received(body))
  expect(rejectedSpans).toBe(30_000)
  expect(message).toMatch(/^30000 spans were rejected: .* \(30000\)$/)
  expect(steps).toEqual(['quarantine'])
  expect(kept.length).toBe(10_000)
  expect(counts).toMatchObject({ spans_quarantined: 30_000, quarantine_records_dropped: 20_000 })
})

test('a request with too many spans of one trace is refused, however it lists them', async () => {
  const span = (trace: number, id: number) => {
    const traceId = new Uint8Array(16).fill(trace)
    const spanId = new Uint8Array(8).fill(id)
    return new WireWriter().bytes(1, traceId).bytes(2, spanId).finish()
  }
  const request = (...spans: Uint8Array[]) => {
    const scope = new WireWriter()
    for (const one of spans) scope.bytes(2, one)
    return new WireWriter().bytes(1, new WireWriter().bytes(2, scope.finish()).finish()).finish()
  }
  const turns = [span(1, 1), span(2, 1), span(1, 2), span(2, 2), span(1, 3), span(2, 3)]
  const { ingest, steps, kept } = setUp({ maxTraceSpans: 3 })
  expect(await ingest(received(request(...turns)))).toMatchObject({ position: 41 })
  for (const fourth of [[span(2, 4)], [span(3, 1), span(1, 4)]])
    await expect(ingest(received(request(...turns, ...fourth)))).rejects.toMatchObject({
      code: 'too_large',
      message: 'a request has over 3 spans of one trace',
    })
  expect([steps, kept]).toEqual([['journal'], []])
  // Bad ones are of no trace.
  expect(await ingest(received(request(...turns, new Uint8Array(0))))).toMatchObject({ rejectedSpans: 1 })
})

test('a gate that is closed comes before everything', async () => {
  const refusal = new Refusal('busy', 'later')
  const { ingest, steps, counts } = setUp({ gate: () => refusal })
  for (const signal of ['traces', 'metrics', 'logs'] as const)
    await expect(ingest(received(Buffer.from('noise'), signal))).rejects.toBe(refusal)
  expect(steps).toEqual([])
  expect(counts).toEqual({})
})

test('a quarantine that fails leaves nothing journalled, and the sender tries again', async () => {
  const cause = new Error('EIO')
  const { ingest, frames } = setUp({ quarantine: { keep: () => Promise.reject(cause) } })
  await expect(ingest(received(traces(GOOD, BAD)))).rejects.toMatchObject({ code: 'unavailable', cause })
  expect(frames).toEqual([])
})

test('a journal that fails is unavailable, whether it throws or rejects', async () => {
  const cause = new Error('ENOSPC')
  const throwing = () => {
    throw cause
  }
  for (const append of [() => Promise.reject(cause), throwing]) {
    const { ingest, counts } = setUp({ journal: { append } })
    await expect(ingest(received(traces(GOOD)))).rejects.toMatchObject({ code: 'unavailable', cause })
    expect(counts).toEqual({})
  }
})

test('a journal that has no room after all pushes back', async () => {
  for (const reason of ['queue', 'journal', 'disk'] as const) {
    const { ingest } = setUp({ journal: { append: () => Promise.reject(new JournalFull(reason)) } })
    await expect(ingest(received(traces(GOOD)))).rejects.toMatchObject({
      code: 'busy',
      message: `the journal is full (${reason})`,
    })
  }
})

test('a refusal by the journal is passed on', async () => {
  const refusal = new Refusal('busy', 'full', { retryAfterSeconds: 2 })
  const { ingest } = setUp({ journal: { append: () => Promise.reject(refusal) } })
  await expect(ingest(received(traces(GOOD)))).rejects.toBe(refusal)
})

test('what was computed ahead is taken with the position, or let go of where nothing was journalled', async () => {
  const told: (number | undefined)[] = []
  const workAhead = () => (position: number | undefined) => void told.push(position)
  const refusing = { append: () => Promise.reject(new Refusal('busy', 'full')) }
  const failing = { keep: () => Promise.reject(new Error('disk')) }
  await setUp({ workAhead }).ingest(received(traces(GOOD)))
  await expect(setUp({ workAhead, journal: refusing }).ingest(received(traces(GOOD)))).rejects.toThrow()
  await expect(
    setUp({ workAhead, quarantine: failing }).ingest(received(traces(GOOD, BAD))),
  ).rejects.toThrow()
  await setUp({ workAhead }).ingest(received(traces(BAD)))
  expect(told).toEqual([41, undefined, undefined])
})

test('requests at the same time do not disturb each other', async () => {
  const { ingest, frames } = setUp()
  const bodies = [traces(GOOD), traces(BAD, GOOD, GOOD), traces(BAD), traces(GOOD, GOOD, BAD, BAD)]
  const answers = await Promise.all(bodies.map((body) => ingest(received(body))))
  expect(answers.map(({ rejectedSpans }) => rejectedSpans)).toEqual([0, 1, 1, 2])
  expect(frames.map(({ body }) => bodies.indexOf(body)).sort()).toEqual([0, 1, 3])
})

test('a receipt leaves out what is empty', () => {
  const receipt = { receiver: 'otlp/grpc', tracked: false, peer: 'spiffe://x', tenant: '', receivedAt: 1n }
  expect(formatHex(encodeReceipt(receipt))).toBe(
    '0a096f746c702f67727063' + '120a7370696666653a2f2f78' + '210100000000000000',
  )
})

test('a large resource over many traces is refused: each trace would keep a copy', async () => {
  const { ingest, frames } = setUp()
  const resource = new WireWriter().bytes(1, new WireWriter().string(1, 'x'.repeat(60_000)).finish()).finish()
  const request = (count: number): Uint8Array => {
    const scope = new WireWriter()
    for (let number = 1; number <= count; number++) {
      const trace = new Uint8Array(16)
      new DataView(trace.buffer).setUint32(0, number)
      scope.bytes(2, new WireWriter().bytes(1, trace).bytes(2, new Uint8Array(8).fill(1)).finish())
    }
    const group = new WireWriter().bytes(1, resource).bytes(2, scope.finish())
    return new WireWriter().bytes(1, group.finish()).finish()
  }
  await expect(ingest(received(request(1200)))).rejects.toMatchObject({ code: 'too_large' })
  expect(frames).toHaveLength(0)
  await ingest(received(request(1000)))
  expect(frames).toHaveLength(1)
})
