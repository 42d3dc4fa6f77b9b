/** Log records on both transports: what is about governance is kept as traces are, everything else is stepped over. */
import { parseReceipt } from '@rootspan/lineage/record/receipt'
import { WireWriter } from '@rootspan/lineage/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callJson } from './clients.ts'
import { spanId, stringValue, TRACE_ID } from './fixtures.ts'
import { type Journalled, type Subject, startSubject } from './subject.ts'
import { expectAccepted, expectRefused, TRANSPORTS } from './transports.ts'

let subject: Subject
beforeAll(async () => {
  subject = await startSubject()
})
afterAll(() => subject.stop())

async function added(act: () => Promise<void>): Promise<Journalled[]> {
  const before = (await subject.journalled()).length
  await act()
  return (await subject.journalled()).slice(before)
}

const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'))

function record(name: string, ids: { traceId?: Uint8Array; spanId?: Uint8Array } = {}): Uint8Array {
  return new WireWriter()
    .fixed64(1, 1_764_000_000_000_000_123n)
    .bytes(5, stringValue('said'))
    .bytes(9, ids.traceId ?? bytesOf(TRACE_ID))
    .bytes(10, ids.spanId ?? spanId(1))
    .string(12, name)
    .finish()
}

function logs(...records: Uint8Array[]): Uint8Array {
  const scope = new WireWriter(1024)
  for (const one of records) scope.bytes(2, one)
  return new WireWriter(1024).bytes(1, new WireWriter(1024).bytes(2, scope.finish()).finish()).finish()
}

describe.each(TRANSPORTS)('logs over $name', ({ send, receiver }) => {
  const signal = 'logs' as const

  test('a request with a record about governance is journalled as received, and receipted', async () => {
    const body = logs(record('user.login'), record('governance.execution.started'))
    let receipt: string | undefined
    const frames = await added(async () => {
      const outcome = await send(subject, body, { signal, tracked: true, gzip: true })
      expectAccepted(outcome)
      receipt = outcome.receipt
    })
    expect(frames.map((frame) => Buffer.from(frame.body))).toEqual([Buffer.from(body)])
    expect(receipt).toBe(String(frames[0]!.position))
    expect(parseReceipt(new Uint8Array(frames[0]!.receipt))).toMatchObject({
      receiver,
      signal,
      tracked: true,
    })
  })

  test('a request without one is accepted, not journalled, and gets no receipt', async () => {
    expect(
      await added(async () => {
        const outcome = await send(subject, logs(record('user.login'), record('')), { signal, tracked: true })
        expectAccepted(outcome)
        expect(outcome.receipt).toBeUndefined()
      }),
    ).toEqual([])
  })

  test('a record about governance without a trace is rejected in part and set aside', async () => {
    const before = (await subject.quarantined()).length
    const bad = record('governance.decision', { traceId: new Uint8Array(0) })
    const frames = await added(async () => {
      const outcome = await send(subject, logs(bad, record('governance.decision')), { signal })
      expect(outcome).toMatchObject({
        code: 0,
        rejected: 1,
        message: '1 log record was rejected: the trace id is not 16 bytes or is all zero (1)',
      })
    })
    expect(frames).toHaveLength(1)
    const kept = (await subject.quarantined()).slice(before)
    expect(kept).toMatchObject([{ receiver, signal, span: Buffer.from(bad).toString('base64') }])
  })

  test('a record of something else without a trace is no fault', async () => {
    const other = record('user.login', { traceId: new Uint8Array(3), spanId: new Uint8Array(0) })
    expect(await added(async () => expectAccepted(await send(subject, logs(other), { signal })))).toEqual([])
  })

  test('malformed bytes are refused wherever they are', async () => {
    const broken = new WireWriter().raw(record('user.login')).bytes(6, Uint8Array.of(0x0a, 9)).finish()
    expect(
      await added(async () =>
        expectRefused(
          await send(subject, logs(record('governance.decision'), broken), { signal }),
          'malformed',
        ),
      ),
    ).toEqual([])
  })
})

test('JSON is journalled as protobuf; what is rejected is counted as log records', async () => {
  const one = {
    timeUnixNano: '1764000000000000123',
    body: { stringValue: 'said' },
    eventName: 'governance.decision',
  }
  const logRecords = [one, { ...one, traceId: TRACE_ID, spanId: '0000000000000001' }]
  const frames = await added(async () => {
    const value = { resourceLogs: [{ scopeLogs: [{ logRecords }] }] }
    const answer = await callJson(subject.http, value, { path: '/v1/logs' })
    expect(answer.status).toBe(200)
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      partialSuccess: { rejectedLogRecords: '1' },
    })
  })
  const without = new WireWriter()
    .fixed64(1, 1_764_000_000_000_000_123n)
    .bytes(5, stringValue('said'))
    .string(12, 'governance.decision')
    .finish()
  expect(frames.map(({ body }) => Buffer.from(body))).toEqual([
    Buffer.from(logs(without, record('governance.decision'))),
  ])
})
