/** OTLP/JSON (OTLP specification, "JSON Protobuf Encoding"), over HTTP and into the journal as protobuf. */
import { status as grpcStatus } from '@grpc/grpc-js'
import { formatBase64, utf8 } from '@rootspan/lineage/bytes'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callHttp, callJson, type HttpAnswer, type HttpCall, JSON_TYPE } from './clients.ts'
import { readReceipt, START, spansOf, TRACE_ID } from './fixtures.ts'
import { type Journalled, type Subject, startSubject } from './subject.ts'

let subject: Subject
beforeAll(async () => {
  subject = await startSubject()
})
afterAll(() => subject.stop())

const SPAN = {
  traceId: TRACE_ID,
  spanId: 'eee19b7ec3c1b174',
  name: 'checkout',
  kind: 2,
  startTimeUnixNano: String(START),
  endTimeUnixNano: String(START + 5n),
}

function request(...spans: object[]): object {
  const scopeSpans = [{ scope: { name: 'test' }, spans }]
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] }
  return { resourceSpans: [{ resource, scopeSpans }] }
}

function attributes(value: unknown): object {
  return request({ ...SPAN, attributes: [{ key: 'a', value }] })
}

async function accepted(value: unknown, call: HttpCall = {}): Promise<Journalled[]> {
  const before = (await subject.journalled()).length
  const answer = await callJson(subject.http, value, call)
  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toBe(JSON_TYPE)
  expect(answer.body.toString()).toBe('{}')
  return (await subject.journalled()).slice(before)
}

function expectMalformed(answer: HttpAnswer): void {
  expect(answer.status).toBe(400)
  expect(answer.headers['content-type']).toBe(JSON_TYPE)
  const status = JSON.parse(answer.body.toString())
  expect(status).toMatchObject({
    code: grpcStatus.INVALID_ARGUMENT,
    details: [{ '@type': 'type.googleapis.com/google.rpc.BadRequest', fieldViolations: [{ field: 'body' }] }],
  })
  expect(status.message).not.toBe('')
}

const EXPECTED = { traceId: TRACE_ID, spanId: SPAN.spanId, name: 'checkout', kind: 2, start: START }

describe('traces', () => {
  test('a request becomes protobuf', async () => {
    const [frame] = await accepted(request(SPAN))
    expect(spansOf(frame!.body)).toEqual([EXPECTED])
    expect(readReceipt(frame!.receipt).receiver).toBe('otlp/http+json')
  })

  test.each(['{}', '{"resourceSpans":[]}', '{"resourceSpans":null}'])(
    'an empty request is accepted: %s',
    async (text) => {
      expect(await accepted(text)).toEqual([])
    },
  )

  test.each([
    ['upper-case ids', { ...SPAN, traceId: TRACE_ID.toUpperCase(), spanId: SPAN.spanId.toUpperCase() }],
    ['unknown keys', { ...SPAN, fromTheFuture: { deep: [1, 'x', null] } }],
    ['the name of an enum value', { ...SPAN, kind: 'SPAN_KIND_SERVER' }],
    [
      'keys in snake case',
      {
        trace_id: TRACE_ID,
        span_id: SPAN.spanId,
        name: 'checkout',
        kind: 2,
        start_time_unix_nano: String(START),
      },
    ],
  ])('is taken: %s', async (_what, span) => {
    const [frame] = await accepted(request(span))
    expect(spansOf(frame!.body)).toEqual([EXPECTED])
  })

  test('nanoseconds as numbers keep every digit', async () => {
    const text = JSON.stringify(request(SPAN)).replaceAll(/"(17640\d+)"/g, '$1')
    expect(text).toContain(`:${START},`)
    const [frame] = await accepted(text)
    expect(spansOf(frame!.body)).toEqual([EXPECTED])
  })

  test('unknown keys around the spans are ignored', async () => {
    const [frame] = await accepted({ ...request(SPAN), fromTheFuture: true })
    expect(spansOf(frame!.body)).toEqual([EXPECTED])
  })

  test.each([
    ['bytes', { bytesValue: formatBase64(utf8('seven')) }, 'seven'],
    [
      'nested lists',
      {
        kvlistValue: {
          values: [{ key: 'k', value: { arrayValue: { values: [{ stringValue: 'seven' }] } } }],
        },
      },
      'seven',
    ],
    ['an integer as a string', { intValue: '9007199254740993' }, undefined],
    ['an integer as a number', { intValue: 7 }, undefined],
    ['nothing', {}, undefined],
  ])('an attribute value is taken: %s', async (_what, value, contains) => {
    const [frame] = await accepted(attributes(value))
    expect(spansOf(frame!.body)).toEqual([EXPECTED])
    if (contains !== undefined) expect(Buffer.from(frame!.body).includes(contains)).toBe(true)
  })

  test('a depth bomb is refused', async () => {
    const depth = 20_000
    const open = '{"kvlistValue":{"values":[{"key":"k","value":'
    const bomb = `${open.repeat(depth)}{}${'}]}}'.repeat(depth)}`
    const text = JSON.stringify(attributes('BOMB')).replace('"BOMB"', bomb)
    expectMalformed(await callJson(subject.http, text))
  })

  test('a depth bomb under an unknown key does no harm', async () => {
    const depth = 100_000
    const text = `{"x":${'['.repeat(depth)}${']'.repeat(depth)}}`
    expect([200, 400]).toContain((await callJson(subject.http, text)).status)
    await accepted(request(SPAN))
  })

  test.each([
    ['nothing', ''],
    ['not JSON', '{"resourceSpans":'],
    ['an array', '[]'],
    ['a string', '"x"'],
    ['a number', '1'],
    ['null', 'null'],
    ['a second value', '{}{}'],
    ['spans that are no list', '{"resourceSpans":{}}'],
    [
      'an id that is not hex',
      JSON.stringify(request({ ...SPAN, traceId: 'zz8efff798038103d269b633813fc60c' })),
    ],
    ['a time that is no number', JSON.stringify(request({ ...SPAN, startTimeUnixNano: 'today' }))],
    ['an unknown enum name', JSON.stringify(request({ ...SPAN, kind: 'SPAN_KIND_NONSENSE' }))],
  ])('what is malformed is refused: %s', async (_what, text) => {
    const before = (await subject.journalled()).length
    expectMalformed(await callJson(subject.http, text))
    expect((await subject.journalled()).length).toBe(before)
  })

  test('bytes that are not UTF-8 are refused', async () => {
    const text = Buffer.from(JSON.stringify(request({ ...SPAN, name: 'X' })))
    text[text.indexOf('"X"') + 1] = 0xff
    expectMalformed(await callHttp(subject.http, text, { headers: { 'content-type': JSON_TYPE } }))
  })

  test('bad spans are rejected in part, as a string', async () => {
    const answer = await callJson(subject.http, request(SPAN, { ...SPAN, spanId: 'abcd' }))
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe(JSON_TYPE)
    expect(JSON.parse(answer.body.toString())).toEqual({
      partialSuccess: { rejectedSpans: '1', errorMessage: expect.stringContaining('span id') },
    })
  })

  test.each([
    'application/json; charset=utf-8',
    'application/json;charset=UTF-8',
    'Application/JSON',
    'application/json; x=y',
  ])('the content type may have parameters: %s', async (type) => {
    const [frame] = await accepted(request(SPAN), { headers: { 'content-type': type } })
    expect(spansOf(frame!.body)).toEqual([EXPECTED])
  })

  test('another charset is refused', async () => {
    const answer = await callJson(subject.http, '{}', {
      headers: { 'content-type': 'application/json; charset=utf-16' },
    })
    expect(answer.status).toBe(415)
  })

  test('a receipt', async () => {
    const answer = await callJson(subject.http, request(SPAN), { headers: { 'rootspan-receipt': '1' } })
    const frames = await subject.journalled()
    expect(answer.headers['rootspan-receipt']).toBe(String(frames.at(-1)!.position))
    expect(readReceipt(frames.at(-1)!.receipt).tracked).toBe(true)
  })

  test('push-back', async () => {
    subject.disturb({ kind: 'push-back', retryAfterSeconds: 2 })
    const answer = await callJson(subject.http, request(SPAN))
    subject.disturb(undefined)
    expect(answer.status).toBe(503)
    expect(answer.headers).toMatchObject({ 'content-type': JSON_TYPE, 'retry-after': '2' })
    expect(JSON.parse(answer.body.toString())).toMatchObject({
      code: grpcStatus.UNAVAILABLE,
      details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '2s' }],
    })
  })
})

describe.each(['metrics', 'logs'])('%s', (signal) => {
  const path = `/v1/${signal}`

  test.each(['{}', '{"resourceMetrics":[{}],"resourceLogs":[{}]}'])(
    'is accepted and not journalled: %s',
    async (text) => {
      expect(await accepted(text, { path })).toEqual([])
    },
  )

  test.each(['', 'x', '[]', 'null', '{'])('is refused: %j', async (text) => {
    expectMalformed(await callJson(subject.http, text, { path }))
  })
})
