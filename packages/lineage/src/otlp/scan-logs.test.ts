import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anyLogs, encodeLogs, scanLogsChecked } from '../../../../test/fuzz/logs.ts'
import { formatHex, parseHex } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { WireWriter } from '../wire.ts'
import { logContentDigest } from './content.ts'
import { logsFromJson } from './json.ts'
import { decodeLogSpan, LOG_RECORD } from './log-record.ts'
import { FAULT, faultText, WORDS_PER_SPAN } from './scan.ts'
import { scanLogs } from './scan-logs.ts'

const TRACE = parseHex('5b8efff798038103d269b633813fc60c')
const SPAN = parseHex('eee19b7ec3c1b174')
const w = () => new WireWriter()
const text = (value: string) => w().string(1, value).finish()
const attribute = (key: string, value: Uint8Array) => w().string(1, key).bytes(2, value).finish()
const ids = () => w().bytes(9, TRACE).bytes(10, SPAN)
const named = (name: string) => ids().string(12, name).finish()
const request = (...records: Uint8Array[]): Uint8Array => {
  const scope = w()
  for (const record of records) scope.bytes(2, record)
  return w().bytes(1, w().bytes(2, scope.finish()).finish()).finish()
}
const kept = (...records: Uint8Array[]) => {
  const { table, others } = scanLogsChecked(request(...records))
  return [table.count, others]
}

test('random requests are scanned as they are decoded', () => {
  fc.assert(fc.property(anyLogs, (groups) => void scanLogsChecked(encodeLogs(groups))))
})

describe('what is about governance', () => {
  test.each<[string, Uint8Array, boolean]>([
    ['an event name', named('governance.execution.started'), true],
    ['an event name alone', named('governance.'), true],
    ['another event name', named('user.login'), false],
    ['no name', ids().finish(), false],
    [
      'an attribute',
      ids()
        .bytes(6, attribute('event.name', text('governance.x')))
        .finish(),
      true,
    ],
    [
      'an attribute that says something else',
      ids()
        .bytes(6, attribute('event.name', text('other')))
        .finish(),
      false,
    ],
    [
      'an attribute that is no string',
      ids()
        .bytes(6, attribute('event.name', w().bytes(7, text('governance.x')).finish()))
        .finish(),
      false,
    ],
    [
      'attributes of the namespace alone',
      ids()
        .bytes(6, attribute('governance.decision.id', text('d')))
        .finish(),
      false,
    ],
    [
      'an event name over an attribute',
      ids()
        .bytes(6, attribute('event.name', text('governance.x')))
        .string(12, 'other')
        .finish(),
      false,
    ],
    ['the last event name', w().string(12, 'other').raw(named('governance.x')).finish(), true],
    [
      'a key of which another one counts',
      ids()
        .bytes(
          6,
          w()
            .string(1, 'x')
            .raw(attribute('event.name', text('governance.x')))
            .finish(),
        )
        .finish(),
      true,
    ],
    [
      'a value of which another member counts',
      ids()
        .bytes(6, attribute('event.name', w().string(1, 'governance.x').varint(3, 1).finish()))
        .finish(),
      false,
    ],
    [
      'a value with an unknown field',
      ids()
        .bytes(6, attribute('event.name', w().string(1, 'governance.x').varint(99, 1).finish()))
        .finish(),
      true,
    ],
    [
      'a long value',
      ids()
        .bytes(6, attribute('event.name', text(`governance.${'x'.repeat(300)}`)))
        .finish(),
      true,
    ],
  ])('%s', (_, record, isKept) => {
    expect(kept(record)).toEqual(isKept ? [1, 0] : [0, 1])
  })
})

test('a record about governance without ids is at fault; others need none', () => {
  const { table } = scanLogs(
    request(w().string(12, 'governance.a').finish(), w().bytes(9, TRACE).string(12, 'governance.b').finish()),
  )
  const faults = [0, 1].map((row) => faultText(table.words[row * WORDS_PER_SPAN + FAULT]!))
  expect(faults).toEqual([
    'the trace id is not 16 bytes or is all zero',
    'the span id is not 8 bytes or is all zero',
  ])
  expect(kept(w().string(12, 'other').bytes(9, Uint8Array.of(1)).finish())).toEqual([0, 1])
})

test.each<[string, Uint8Array]>([
  ['a body that occurs twice', w().bytes(5, text('a')).bytes(5, text('b')).finish()],
  ['a time of another wire type', w().varint(1, 5).finish()],
  ['an event name of another wire type', w().varint(12, 5).finish()],
  ['an attribute that is cut off', w().bytes(6, Uint8Array.of(0x0a, 5)).finish()],
  ['a body nested too deeply', nestedBody(33)],
])('refused, whatever it is about: %s', (_, record) => {
  expect(() => scanLogsChecked(request(record))).toThrow(MalformedError)
})

function nestedBody(depth: number): Uint8Array {
  let value = text('x')
  for (let i = 1; i < depth; i++) value = w().bytes(5, w().bytes(1, value).finish()).finish()
  return w().bytes(5, value).finish()
}

test('a body of 32 levels is taken', () => {
  expect(kept(nestedBody(32))).toEqual([0, 1])
})

describe('as a span', () => {
  const record = ids().fixed64(1, 7n).fixed64(11, 9n).string(12, 'governance.execution.started')
  test('it has a time and no end, and a kind that no span can have', () => {
    const span = decodeLogSpan(record.finish())
    expect(span).toMatchObject({
      name: 'governance.execution.started',
      kind: LOG_RECORD,
      startTimeUnixNano: 7n,
      endTimeUnixNano: 7n,
    })
    expect(decodeLogSpan(ids().fixed64(11, 9n).finish()).startTimeUnixNano).toBe(9n)
    expect(LOG_RECORD).toBeGreaterThan(0xffff_ffff)
  })
})

describe('content', () => {
  const none = new Uint8Array(0)
  const digest = (record: Uint8Array) => formatHex(logContentDigest(none, none, record))
  test('says nothing of how it is encoded', () => {
    expect(digest(w().fixed64(1, 5n).raw(named('governance.x')).finish())).toBe(
      digest(w().string(12, 'governance.x').raw(ids().finish()).fixed64(1, 5n).varint(2, 0).finish()),
    )
  })
  test('every field counts', () => {
    const one = named('governance.x')
    const others = [
      w().fixed64(1, 1n),
      w().varint(2, 1),
      w().string(3, 's'),
      w().bytes(5, text('b')),
      w().bytes(5, none),
      w().bytes(6, attribute('k', none)),
      w().varint(7, 1),
      w().fixed32(8, 1),
      w().fixed64(11, 1n),
      w().varint(50, 1),
    ]
    const digests = others.map((more) => digest(w().raw(one).raw(more.finish()).finish()))
    // An empty body is no body: both are the empty value.
    expect(digests[4]).toBe(digest(one))
    expect(new Set([digest(one), ...digests]).size).toBe(others.length)
  })
})

test('JSON becomes the same protobuf as an exporter writes', () => {
  const json = {
    resourceLogs: [
      {
        scopeLogs: [
          {
            logRecords: [
              {
                timeUnixNano: '7',
                severityNumber: 'SEVERITY_NUMBER_INFO2',
                body: { stringValue: 'b' },
                traceId: formatHex(TRACE),
                spanId: formatHex(SPAN).toUpperCase(),
                eventName: 'governance.x',
                attributes: [{ key: 'k', value: { intValue: '3' } }],
              },
            ],
          },
        ],
      },
    ],
  }
  const record = w()
    .fixed64(1, 7n)
    .varint(2, 10)
    .bytes(5, text('b'))
    .bytes(6, attribute('k', w().varint(3, 3).finish()))
    .raw(named('governance.x'))
    .finish()
  expect(formatHex(logsFromJson(JSON.stringify(json)))).toBe(formatHex(request(record)))
  expect(() => logsFromJson('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xy"}]}]}]}')).toThrow(
    /logRecords\[0\].traceId/,
  )
})
