import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anyRequests, encodeRequest, formatJson } from '../../../../test/fuzz/otlp.ts'
import { formatHex } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { decodeSpan, type Span } from './decode.ts'
import { tracesFromJson } from './json.ts'
import { FAULT, FAULT_TRACE_ID, SPAN_END, SPAN_START, scanTraces } from './scan.ts'
import { formatValue } from './value.ts'

/** OTLP/JSON of one span with these members. */
const withSpan = (members: string) => `{"resourceSpans":[{"scopeSpans":[{"spans":[{${members}}]}]}]}`
const withValue = (value: string) => withSpan(`"attributes":[{"key":"k","value":${value}}]`)
const SPAN_PATH = 'resourceSpans[0].scopeSpans[0].spans[0]'

function spanOf(json: string | Uint8Array): Span {
  const body = tracesFromJson(json)
  const { words, count } = scanTraces(body)
  expect(count).toBe(1)
  return decodeSpan(body.subarray(words[SPAN_START]!, words[SPAN_END]!))
}

const textOf = (json: string) => formatValue(spanOf(withValue(json)).attributes[0]!.value)

describe('tracesFromJson', () => {
  test('random requests, spelled in every way, are the same protobuf', () => {
    const spellings = fc.record({
      snake: fc.boolean(),
      upperHex: fc.boolean(),
      numbers: fc.boolean(),
      names: fc.boolean(),
    })
    fc.assert(
      fc.property(anyRequests, spellings, (groups, spelling) => {
        const json = formatJson(groups, spelling)
        expect(formatHex(tracesFromJson(json))).toBe(formatHex(encodeRequest(groups)))
        expect(tracesFromJson(new TextEncoder().encode(json))).toEqual(tracesFromJson(json))
      }),
      { numRuns: 300 },
    )
  })

  test('empty requests', () => {
    for (const json of ['{}', ' { "resourceSpans" : [ ] } ', '{"resourceSpans":null}', '{"other":{}}'])
      expect(tracesFromJson(json)).toEqual(new Uint8Array(0))
    expect(formatHex(tracesFromJson('{"resourceSpans":[{}]}'))).toBe('0a00')
  })

  test('a byte order mark is skipped, and broken UTF-8 refused', () => {
    expect(tracesFromJson(Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d))).toEqual(new Uint8Array(0))
    expect(() => tracesFromJson(Uint8Array.of(0x7b, 0xff, 0x7d))).toThrow(/not UTF-8/)
  })

  test('nanoseconds are exact, as numbers and as strings', () => {
    for (const nanos of ['1764000000000000123', '9007199254740993', '18446744073709551615', '0'])
      for (const json of [nanos, `"${nanos}"`])
        expect(spanOf(withSpan(`"startTimeUnixNano":${json},"endTimeUnixNano":${json}`))).toMatchObject({
          startTimeUnixNano: BigInt(nanos),
          endTimeUnixNano: BigInt(nanos),
        })
  })

  test('integers', () => {
    const good: [string, string][] = [
      ['"-9223372036854775808"', '-9223372036854775808'],
      ['9223372036854775807', '9223372036854775807'],
      ['-0', '0'],
      ['1.0', '1'],
      ['1.50e1', '15'],
      ['12e3', '12000'],
      ['1200e-2', '12'],
      ['"007"', '7'],
      ['0e999', '0'],
    ]
    for (const [json, text] of good) expect(textOf(`{"intValue":${json}}`)).toBe(text)
    for (const json of [
      '9223372036854775808',
      '"-9223372036854775809"',
      '1.5',
      '1e-1',
      '1e30',
      '1e999',
      '"1x"',
      '""',
    ])
      expect(() => tracesFromJson(withValue(`{"intValue":${json}}`)), json).toThrow(
        /intValue is not a 64-bit/,
      )
    expect(() => tracesFromJson(withValue(`{"intValue":"${'1'.repeat(1000)}"}`))).toThrow(/is not a 64-bit/)
  })

  test('doubles', () => {
    const good: [string, string][] = [
      ['1', '1.0'],
      ['-0.0', '-0.0'],
      ['"NaN"', 'NaN'],
      ['"Infinity"', 'Infinity'],
      ['"-Infinity"', '-Infinity'],
      ['"1.5e3"', '1500.0'],
      ['0.1', '0.1'],
    ]
    for (const [json, text] of good) expect(textOf(`{"doubleValue":${json}}`)).toBe(text)
    for (const json of ['1e999', '"nan"', '" 1"', '"0x10"', '""', 'true'])
      expect(() => tracesFromJson(withValue(`{"doubleValue":${json}}`)), json).toThrow(/doubleValue is /)
  })

  test('bytes are base64 of either alphabet', () => {
    for (const json of ['+/8=', '-_8=', '+/8', '-_8'])
      expect(textOf(`{"bytesValue":"${json}"}`)).toBe('0xfbff')
    expect(textOf('{"bytesValue":""}')).toBe('0x')
    for (const json of ['+', '+/9=', '+ /8', '+/8===', '====', '='])
      expect(() => tracesFromJson(withValue(`{"bytesValue":"${json}"}`)), json).toThrow(
        /bytesValue is not base64/,
      )
  })

  test('of several members of a value, the last counts', () => {
    expect(textOf('{"stringValue":"a","intValue":1}')).toBe('1')
    expect(textOf('{"intValue":1,"stringValue":"a"}')).toBe('"a"')
    expect(textOf('{"intValue":1,"stringValue":null}')).toBe('1')
    expect(textOf('{"intValue":1,"intValue":null}')).toBe('null')
    expect(textOf('{"arrayValue":{"values":[{}]},"arrayValue":{}}')).toBe('[]')
    expect(textOf('{"unknownValue":1}')).toBe('null')
    expect(textOf('null')).toBe('null')
  })

  test('of a repeated key, the last counts, in either spelling', () => {
    expect(spanOf(withSpan('"name":"a","name":"b"')).name).toBe('b')
    expect(spanOf(withSpan('"droppedLinksCount":1,"dropped_links_count":2')).droppedLinksCount).toBe(2)
    expect(spanOf(withSpan('"dropped_links_count":1,"droppedLinksCount":2')).droppedLinksCount).toBe(2)
    expect(spanOf(withSpan('"name":"a","name":null')).name).toBe('')
    expect(spanOf(withSpan('"attributes":[{},{}],"attributes":[{}]')).attributes.length).toBe(1)
  })

  test('enums are numbers, known or not, and names', () => {
    expect(spanOf(withSpan('"kind":"SPAN_KIND_CONSUMER"')).kind).toBe(5)
    expect(spanOf(withSpan('"kind":-7')).kind).toBe(-7)
    expect(spanOf(withSpan('"status":{"code":"STATUS_CODE_OK"}')).status.code).toBe(1)
    for (const json of ['"SERVER"', '"2"', '""', '2147483648', '1.5', 'true'])
      expect(() => tracesFromJson(withSpan(`"kind":${json}`)), json).toThrow(/spans\[0\]\.kind is /)
  })

  test('an id of a wrong length is for the scan to judge; one that is not hex is not', () => {
    const body = tracesFromJson(withSpan('"traceId":"abcd","spanId":"0102030405060708"'))
    expect(scanTraces(body).words[FAULT]).toBe(FAULT_TRACE_ID)
    expect(formatHex(spanOf(withSpan('"traceId":"aBcD"')).traceId)).toBe('abcd')
    for (const id of ['abc', 'xy', ' ab', 'q83v'])
      expect(() => tracesFromJson(withSpan(`"traceId":"${id}"`))).toThrow(`${SPAN_PATH}.traceId is not hex`)
  })

  test('keys of Object.prototype are unknown keys', () => {
    for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty'])
      expect(tracesFromJson(`{"${key}":{"polluted":true},"resourceSpans":[]}`)).toEqual(new Uint8Array(0))
    expect(textOf('{"__proto__":{"stringValue":"x"}}')).toBe('null')
    expect('polluted' in {}).toBe(false)
  })

  test('a bad member is named', () => {
    const cases: [string, string][] = [
      ['[]', 'the request is not an object'],
      ['{"resourceSpans":{}}', 'resourceSpans is not an array'],
      ['{"resourceSpans":[null]}', 'resourceSpans[0] is not an object'],
      ['{"resourceSpans":[{"resource":7}]}', 'resourceSpans[0].resource is not an object'],
      [withSpan('"name":7'), `${SPAN_PATH}.name is not a string`],
      [withSpan('"flags":-1'), `${SPAN_PATH}.flags is not an unsigned 32-bit integer`],
      [withSpan('"endTimeUnixNano":-1'), `${SPAN_PATH}.endTimeUnixNano is not an unsigned 64-bit integer`],
      [withSpan('"end_time_unix_nano":true'), `${SPAN_PATH}.end_time_unix_nano is not a number`],
      [withSpan('"events":[{},{"name":{}}]'), `${SPAN_PATH}.events[1].name is not a string`],
      [withValue('{"boolValue":"true"}'), `${SPAN_PATH}.attributes[0].value.boolValue is not a boolean`],
      [withValue('{"boolValue":0}'), `${SPAN_PATH}.attributes[0].value.boolValue is not a boolean`],
      [
        withSpan(`"attributes":[{"key":"${'k'.repeat(65_536)}"}]`),
        `${SPAN_PATH}.attributes[0].key is over 65535 bytes`,
      ],
    ]
    for (const [json, detail] of cases)
      expect(() => tracesFromJson(json)).toThrow(new MalformedError('bad OTLP/JSON', detail))
  })

  test('values nest as deep as in protobuf', () => {
    const nest = (levels: number, open: string, close: string) =>
      withValue(`${open.repeat(levels - 1)}{"boolValue":true}${close.repeat(levels - 1)}`)
    for (const [open, close] of [
      ['{"arrayValue":{"values":[', ']}}'],
      ['{"kvlistValue":{"values":[{"value":', '}]}}'],
    ] as const) {
      expect(scanTraces(tracesFromJson(nest(32, open, close))).count).toBe(1)
      expect(() => tracesFromJson(nest(33, open, close))).toThrow(/nested too deeply/)
    }
    for (const bomb of ['[', '{"a":'])
      expect(() => tracesFromJson(`{"x":${bomb.repeat(1_000_000)}`)).toThrow(/JSON is nested too deeply/)
  })

  test('a lone surrogate becomes U+FFFD', () => {
    expect(spanOf(withSpan('"name":"a\\ud800b\\udcff"')).name).toBe('a\ufffdb\ufffd')
  })
})
