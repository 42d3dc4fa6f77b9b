/** Requests on both transports: what is taken, what is rejected in part, what is refused. */
import { randomBytes } from 'node:crypto'
import { WireWriter } from '@rootspan/lineage/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  attribute,
  messages,
  nested,
  ONE_GROUP,
  readReceipt,
  span,
  spanId,
  spansOf,
  stringValue,
  traces,
} from './fixtures.ts'
import { type Journalled, type Subject, startSubject } from './subject.ts'
import { expectAccepted, expectRefused, TRANSPORTS } from './transports.ts'

let subject: Subject
beforeAll(async () => {
  subject = await startSubject()
})
afterAll(() => subject.stop())

/** What `act` journalled. */
async function added(act: () => Promise<void>): Promise<Journalled[]> {
  const before = (await subject.journalled()).length
  await act()
  return (await subject.journalled()).slice(before)
}

describe.each(TRANSPORTS)('traces over $name', ({ send, receiver }) => {
  const taken = async (body: Uint8Array) => {
    const frames = await added(async () => expectAccepted(await send(subject, body)))
    expect(frames.map((frame) => Buffer.from(frame.body).toString('hex'))).toEqual([
      Buffer.from(body).toString('hex'),
    ])
  }
  const refused = async (body: Uint8Array) =>
    expect(await added(async () => expectRefused(await send(subject, body), 'malformed'))).toEqual([])

  test('a request is journalled as received, with its receiver and time', async () => {
    const before = BigInt(Date.now()) * 1_000_000n
    const body = traces(span(), span({ spanId: spanId(2) }))
    const frames = await added(async () => expectAccepted(await send(subject, body)))
    expect(frames).toHaveLength(1)
    expect(Buffer.from(frames[0]!.body)).toEqual(Buffer.from(body))
    const receipt = readReceipt(frames[0]!.receipt)
    expect(receipt).toMatchObject({ receiver, tracked: false })
    expect(receipt.received >= before && receipt.received <= BigInt(Date.now() + 1) * 1_000_000n).toBe(true)
  })

  test('an empty request is accepted and not journalled', async () => {
    expect(await added(async () => expectAccepted(await send(subject, new Uint8Array(0))))).toEqual([])
  })

  test('a request without spans is accepted and not journalled', async () => {
    expect(await added(async () => expectAccepted(await send(subject, traces())))).toEqual([])
  })

  test.each([17, 9999])('unknown field %i of a span survives', async (field) => {
    const extra = new WireWriter().string(field, 'from the future').finish()
    const body = traces(span({ extra }))
    await taken(body)
  })

  test('unknown fields of other messages survive', async () => {
    const unknown = new WireWriter().string(9999, 'from the future').varint(9998, 1).fixed32(9997, 1).finish()
    await taken(new WireWriter().raw(traces(span())).raw(unknown).finish())
  })

  test('the reserved field 1000 of a resource group is carried along', async () => {
    const group = messages(traces(span()), 1)[0]!
    const old = new WireWriter().raw(group).bytes(1000, randomBytes(20)).finish()
    await taken(new WireWriter().bytes(1, old).finish())
  })

  test('a duplicate attribute key is carried along', async () => {
    const twice = new WireWriter()
      .bytes(9, attribute('user', stringValue('a')))
      .bytes(9, attribute('user', stringValue('b')))
      .finish()
    await taken(traces(span({ extra: twice })))
  })

  test.each([
    ['bytes', new WireWriter().bytes(7, randomBytes(40)).finish()],
    ['empty', new Uint8Array(0)],
    [
      'array of mixed values',
      new WireWriter()
        .bytes(
          5,
          new WireWriter()
            .bytes(1, stringValue('a'))
            .bytes(1, new WireWriter().varint(3, 7).finish())
            .finish(),
        )
        .finish(),
    ],
    ['key-value list', nested(3)],
    ['string_value_strindex', new WireWriter().varint(8, 3).finish()],
  ])('an attribute value is taken: %s', async (_what, value) => {
    await taken(traces(span({ extra: new WireWriter().bytes(9, attribute('value', value)).finish() })))
  })

  test('key_strindex is carried along', async () => {
    const value = new WireWriter().varint(3, 5).bytes(2, stringValue('x')).finish()
    await taken(traces(span({ extra: new WireWriter().bytes(9, value).finish() })))
  })

  test('a depth bomb is refused', async () => {
    await refused(
      traces(span({ extra: new WireWriter().bytes(9, attribute('bomb', nested(1000))).finish() })),
    )
  })

  test.each([
    ['text', Buffer.from('this is not protobuf at all')],
    ['a length past the end', Buffer.from('0aff01', 'hex')],
    ['a varint of 11 bytes', Buffer.from('88ffffffffffffffffffff01', 'hex')],
    ['field number 0', Buffer.from('0000', 'hex')],
    ['a group', Buffer.from('0b0c', 'hex')],
    ['JSON under the wrong media type', Buffer.from('{"resourceSpans":[]}')],
  ])('what is not protobuf is refused: %s', async (_what, body) => {
    await refused(body)
  })

  test('a prefix of a request is refused', async () => {
    const body = traces(span())
    for (let size = 1; size < body.length; size += 7) await refused(body.subarray(0, size))
  })

  test('bad spans are rejected in part and quarantined, the rest is journalled', async () => {
    const quarantined = (await subject.quarantined()).length
    const bad = [
      span({ traceId: randomBytes(15) }),
      span({ spanId: new Uint8Array(8) }),
      span({ traceId: randomBytes(8) }),
    ]
    const body = traces(bad[0]!, span({ spanId: spanId(7) }), bad[1]!, bad[2]!)
    const frames = await added(async () => {
      const outcome = await send(subject, body)
      expect(outcome).toMatchObject({ code: 0, rejected: 3 })
      expect(outcome.message).toMatch(/^3 spans were rejected: .*trace id.* \(2\), .*span id.* \(1\)$/)
    })
    expect(frames.map((frame) => Buffer.from(frame.body))).toEqual([Buffer.from(body)])
    const kept = (await subject.quarantined()).slice(quarantined)
    expect(kept.map((line) => line.span)).toEqual(bad.map((one) => Buffer.from(one).toString('base64')))
    for (const line of kept) {
      expect(line.receiver).toBe(receiver)
      expect(line.reason).toMatch(/(?:trace|span) id/)
      expect(Buffer.from(line.resource, 'base64').includes('service.name')).toBe(true)
      expect(Buffer.from(line.scope, 'base64').includes('test')).toBe(true)
    }
  })

  test('a request of bad spans alone is rejected in part, with nothing journalled', async () => {
    const frames = await added(async () => {
      const outcome = await send(subject, traces(span({ spanId: randomBytes(4) })), { tracked: true })
      expect(outcome).toMatchObject({ code: 0, rejected: 1, receipt: undefined })
      expect(outcome.message).toMatch(/^1 span was rejected: /)
    })
    expect(frames).toEqual([])
  })

  test('a duplicate delivery is accepted', async () => {
    const body = traces(span({ spanId: spanId(0xd) }))
    await taken(body)
    await taken(body)
  })

  test('the same ids with another body are accepted', async () => {
    await taken(traces(span({ spanId: spanId(0xe), name: 'one' })))
    await taken(traces(span({ spanId: spanId(0xe), name: 'other' })))
  })

  test('a durability receipt names the journal position', async () => {
    const body = traces(span({ spanId: spanId(0xf) }))
    const frames = await added(async () => {
      const outcome = await send(subject, body, { tracked: true })
      expectAccepted(outcome)
      expect(outcome.receipt).toMatch(/^(?:0|[1-9][0-9]*)$/)
      const frame = (await subject.journalled()).find(({ position }) => position === Number(outcome.receipt))!
      expect(spansOf(frame.body)).toEqual(spansOf(body))
    })
    expect(frames.map((frame) => readReceipt(frame.receipt).tracked)).toEqual([true])
  })

  test('nobody gets a receipt unasked', async () => {
    expect((await send(subject, traces(span()))).receipt).toBeUndefined()
  })

  test('gzip', async () => {
    const body = traces(...Array.from({ length: 100 }, (_, i) => span({ spanId: spanId(i + 1) })))
    const frames = await added(async () => expectAccepted(await send(subject, body, { gzip: true })))
    expect(frames.map((frame) => Buffer.from(frame.body))).toEqual([Buffer.from(body)])
  })

  describe.each(['metrics', 'logs'] as const)('%s', (signal) => {
    test.each([
      ['an empty request', new Uint8Array(0)],
      ['a request', ONE_GROUP],
    ])('%s is accepted and not journalled', async (_what, body) => {
      expect(
        await added(async () => expectAccepted(await send(subject, body, { signal, tracked: true }))),
      ).toEqual([])
    })

    test('noise is refused', async () => {
      expectRefused(await send(subject, Buffer.from('noise'), { signal }), 'malformed')
    })
  })
})
