import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anyRequests, encodeAnyValue, encodeRequest, encodeSpan } from '../../../../test/fuzz/otlp.ts'
import { scanChecked } from '../../../../test/fuzz/otlp-check.ts'
import { concatBytes, formatHex } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { WireWriter } from '../wire.ts'
import type { AnyValue, Span } from './decode.ts'
import { decodeSpan } from './decode.ts'
import {
  createSpanTable,
  DROPPED,
  FAULT,
  FAULT_NONE,
  FAULT_PARENT_ID,
  FAULT_SPAN_ID,
  FAULT_TRACE_ID,
  faultText,
  GOVERNED,
  MARKS,
  PARENT_ID,
  SPAN_END,
  SPAN_START,
  scanTraces,
  TRACE_ID,
  WORDS_PER_SPAN,
} from './scan.ts'
import { MAX_ITEMS, MAX_KEY_BYTES, MAX_SPANS, MAX_VALUE_DEPTH } from './schema.ts'

Error.stackTraceLimit = 1 // tens of thousands of refusals: their stacks would be most of the time

const TRACE = Uint8Array.from({ length: 16 }, (_, i) => i + 1)
const SPAN = Uint8Array.from({ length: 8 }, (_, i) => i + 65)

const STRANGER = new WireWriter().varint(100, 1).finish() // three bytes that are a field in any message

function blank(over: Partial<Span> = {}): Span {
  return {
    ...decodeSpan(new Uint8Array(0)),
    traceId: TRACE,
    spanId: SPAN,
    ...over,
  }
}

/** A request with these Span messages, in one scope. */
function request(...spans: Uint8Array[]): Uint8Array {
  const scope = new WireWriter()
  for (const span of spans) scope.bytes(2, span)
  return new WireWriter().bytes(1, new WireWriter().bytes(2, scope.finish()).finish()).finish()
}

function word(body: Uint8Array, column: number): number {
  const table = scanChecked(body)
  expect(table.count).toBe(1)
  return table.words[column]!
}

const marksOf = (over: Partial<Span>) => word(request(encodeSpan(blank(over))), MARKS)

function nested(levels: number, list: boolean): AnyValue {
  let value: AnyValue = { type: 'bool', value: true }
  for (let i = 1; i < levels; i++)
    value = list ? { type: 'kvlist', value: [{ key: 'k', value }] } : { type: 'array', value: [value] }
  return value
}

function withValue(value: Uint8Array): Uint8Array {
  const attribute = new WireWriter().string(1, 'k').bytes(2, value).finish()
  return request(new WireWriter().bytes(9, attribute).finish())
}

describe('scanTraces', () => {
  test('agrees with the decoder on random requests', () => {
    const table = createSpanTable(1)
    fc.assert(
      fc.property(anyRequests, (groups) => {
        const body = encodeRequest(groups)
        const { count } = scanChecked(body, table)
        expect(count).toBe(groups.flatMap((group) => group.scopes.flatMap((scope) => scope.spans)).length)
      }),
      { numRuns: 300 },
    )
  })

  test('agrees with the decoder on every single-byte change and every truncation of random requests', () => {
    const judge = (body: Uint8Array) => {
      try {
        scanChecked(body)
      } catch (error) {
        if (!(error instanceof MalformedError)) throw new Error(formatHex(body), { cause: error })
      }
    }
    fc.assert(
      fc.property(anyRequests, fc.integer({ min: 1, max: 255 }), (groups, change) => {
        const body = encodeRequest(groups)
        for (let at = 0; at < body.length; at++) {
          const changed = body.slice()
          changed[at]! ^= change
          judge(changed)
          judge(body.slice(0, at))
        }
      }),
      { numRuns: 2, seed: 7 },
    )
  })

  test('agrees with the decoder on every small attribute', () => {
    const table = createSpanTable()
    let accepted = 0
    const judge = (attribute: readonly number[]) => {
      const span = concatBytes(Uint8Array.of(0x4a, attribute.length), Uint8Array.from(attribute))
      try {
        scanChecked(concatBytes(request(span), STRANGER, STRANGER, STRANGER), table)
        accepted++
      } catch (error) {
        if (!(error instanceof MalformedError)) throw new Error(`${attribute}`, { cause: error })
      }
    }
    const alphabet = [0x00, 0x01, 0x02, 0x0a, 0x10, 0x80]
    const extend = (prefix: readonly number[], most: number) => {
      judge(prefix)
      if (prefix.length < most) for (const byte of alphabet) extend([...prefix, byte], most)
    }
    extend([], 4)
    for (const size of [0, 1, 2, 3, 4]) extend([0x0a, 0x01, 0x6b, 0x12, size], 5 + 4)
    for (const tag of [0x0a, 0x10, 0x18, 0x21, 0x3a])
      for (let size = 0; size < 14; size++)
        for (const fill of [0x00, 0x80, 0xff])
          for (const last of [0x00, 0x01, 0x02, 0x7f, 0x80])
            for (const second of [fill, Math.max(size - 2, 0), size]) {
              const value = [tag, second, ...new Array(size).fill(fill), last].slice(0, size)
              if (value.length > 1) value[value.length - 1] = last
              judge([0x0a, 0x00, 0x12, value.length, ...value])
            }
    expect(accepted).toBeGreaterThan(1000)
  })

  test('an empty request has no spans, and a table is emptied before it is used', () => {
    const table = scanTraces(request(encodeSpan(blank()), encodeSpan(blank())))
    expect(table.count).toBe(2)
    expect(scanTraces(new Uint8Array(0), table)).toBe(table)
    expect(table.count).toBe(0)
  })

  test('a table grows, and is empty after a malformed request', () => {
    const table = createSpanTable(0)
    const spans = Array.from({ length: 300 }, () => encodeSpan(blank()))
    expect(scanTraces(request(...spans), table).count).toBe(300)
    expect(table.words.length).toBeGreaterThanOrEqual(300 * WORDS_PER_SPAN)
    const row = table.words.subarray(299 * WORDS_PER_SPAN)
    expect(row[SPAN_END]! - row[SPAN_START]!).toBe(spans[0]!.length)
    expect(() => scanTraces(request(...spans, Uint8Array.of(0x0a)), table)).toThrow(MalformedError)
    expect(table.count).toBe(0)
  })

  test('a body may be a view into a larger buffer', () => {
    const body = request(encodeSpan(blank()))
    const inside = concatBytes(Uint8Array.of(0xff, 0xff, 0xff), body, Uint8Array.of(0xff)).subarray(3, -1)
    expect(scanChecked(inside).words[TRACE_ID]).toBe(scanTraces(body).words[TRACE_ID])
  })
})

describe('faults of one span', () => {
  const cases: [string, Partial<Span>, number][] = [
    ['none', {}, FAULT_NONE],
    ['no trace id', { traceId: new Uint8Array(0) }, FAULT_TRACE_ID],
    ['a zero trace id', { traceId: new Uint8Array(16) }, FAULT_TRACE_ID],
    ['a short trace id', { traceId: TRACE.subarray(1) }, FAULT_TRACE_ID],
    ['a long trace id', { traceId: concatBytes(TRACE, TRACE) }, FAULT_TRACE_ID],
    ['no span id', { spanId: new Uint8Array(0) }, FAULT_SPAN_ID],
    ['a zero span id', { spanId: new Uint8Array(8) }, FAULT_SPAN_ID],
    ['a short span id', { spanId: SPAN.subarray(1) }, FAULT_SPAN_ID],
    ['a short parent id', { parentSpanId: SPAN.subarray(1) }, FAULT_PARENT_ID],
    ['a long parent id', { parentSpanId: TRACE }, FAULT_PARENT_ID],
    ['a parent', { parentSpanId: SPAN }, FAULT_NONE],
    ['a zero parent id', { parentSpanId: new Uint8Array(8) }, FAULT_NONE],
  ]
  for (const [name, over, fault] of cases)
    test(name, () => {
      const body = request(encodeSpan(blank(over)))
      expect(word(body, FAULT)).toBe(fault)
      expect(word(body, PARENT_ID) !== 0).toBe(name === 'a parent')
      expect(faultText(fault)).toMatch(/^the /)
    })

  test('the last id counts', () => {
    const twice = (field: number, first: Uint8Array, second: Uint8Array) =>
      word(
        request(
          concatBytes(
            encodeSpan(blank()),
            new WireWriter().bytes(field, first).bytes(field, second).finish(),
          ),
        ),
        FAULT,
      )
    expect(twice(1, new Uint8Array(3), TRACE)).toBe(FAULT_NONE)
    expect(twice(1, TRACE, new Uint8Array(3))).toBe(FAULT_TRACE_ID)
    expect(twice(4, new Uint8Array(3), new Uint8Array(0))).toBe(FAULT_NONE)
    expect(twice(4, SPAN, new Uint8Array(3))).toBe(FAULT_PARENT_ID)
  })

  test('an unknown code is a bug', () => {
    expect(() => faultText(99)).toThrow('bad fault code')
  })
})

describe('marks', () => {
  const value: AnyValue = { type: 'int', value: 1n }
  const event = { timeUnixNano: 1n, name: 'e', attributes: [], droppedAttributesCount: 0, unknown: [] }
  const link = {
    traceId: TRACE,
    spanId: SPAN,
    traceState: '',
    attributes: [],
    droppedAttributesCount: 0,
    flags: 0,
    unknown: [],
  }

  test('governance is in keys of the span, keys of events and names of events', () => {
    const attributes = [{ key: 'governance.x', value }]
    expect(marksOf({ attributes })).toBe(GOVERNED)
    expect(marksOf({ attributes: [{ key: 'a', value }, ...attributes, { key: 'z', value }] })).toBe(GOVERNED)
    expect(marksOf({ events: [event, { ...event, attributes }] })).toBe(GOVERNED)
    expect(marksOf({ events: [{ ...event, name: 'governance.decision' }, event] })).toBe(GOVERNED)
  })

  test('of two names or keys, the last counts', () => {
    const named = (...names: string[]) => {
      const out = new WireWriter()
      for (const name of names) out.string(2, name)
      return word(request(new WireWriter().bytes(11, out.finish()).finish()), MARKS)
    }
    expect(named('governance.x', 'x')).toBe(0)
    expect(named('x', 'governance.x')).toBe(GOVERNED)
    const keyed = (...keys: string[]) => {
      const out = new WireWriter()
      for (const key of keys) out.string(1, key)
      return word(request(new WireWriter().bytes(9, out.finish()).finish()), MARKS)
    }
    expect(keyed('governance.x', 'x')).toBe(0)
    expect(keyed('x', 'governance.x')).toBe(GOVERNED)
    const dropped = concatBytes(
      ...[10, 12, 14].map((field) => new WireWriter().varint(field, 3).varint(field, 0).finish()),
    )
    expect(word(request(dropped), MARKS)).toBe(0)
  })

  test('it is nowhere else', () => {
    const attributes = [{ key: 'governance.x', value }]
    expect(marksOf({ links: [{ ...link, attributes }] })).toBe(0)
    expect(marksOf({ name: 'governance.x', traceState: 'governance.x' })).toBe(0)
    expect(marksOf({ attributes: [{ key: 'k', value: { type: 'kvlist', value: attributes } }] })).toBe(0)
    expect(marksOf({ attributes: [{ key: 'k', value: { type: 'string', value: 'governance.x' } }] })).toBe(0)
  })

  test('a key has to begin with the whole prefix', () => {
    const prefix = 'governance.'
    for (let i = 0; i < prefix.length; i++) {
      const near = `${prefix.slice(0, i)}x${prefix.slice(i + 1)}rest`
      expect(marksOf({ attributes: [{ key: near, value }] }), near).toBe(0)
      expect(marksOf({ attributes: [{ key: prefix.slice(0, i), value }] })).toBe(0)
    }
    expect(marksOf({ attributes: [{ key: prefix, value }] })).toBe(GOVERNED)
    expect(marksOf({ attributes: [{ key: `a${prefix}`, value }] })).toBe(0)
  })

  test('anything dropped is marked', () => {
    expect(marksOf({ droppedAttributesCount: 1 })).toBe(DROPPED)
    expect(marksOf({ droppedEventsCount: 0xffff_ffff })).toBe(DROPPED)
    expect(marksOf({ droppedLinksCount: 300 })).toBe(DROPPED)
    expect(marksOf({ events: [{ ...event, droppedAttributesCount: 1 }] })).toBe(DROPPED)
    expect(marksOf({ links: [{ ...link, droppedAttributesCount: 1 }] })).toBe(DROPPED)
    expect(marksOf({ events: [event], links: [link] })).toBe(0)
  })
})

describe('limits', () => {
  for (const list of [false, true])
    test(`${list ? 'kvlists' : 'arrays'} nest ${MAX_VALUE_DEPTH} levels`, () => {
      expect(scanChecked(withValue(encodeAnyValue(nested(MAX_VALUE_DEPTH, list)))).count).toBe(1)
      const deeper = withValue(encodeAnyValue(nested(MAX_VALUE_DEPTH + 1, list)))
      expect(() => scanChecked(deeper)).toThrow(/nested too deeply/)
    })

  test('depth is bounded in resources, scopes, events and links too', () => {
    const deep = new WireWriter()
      .string(1, 'k')
      .bytes(2, encodeAnyValue(nested(33, true)))
      .finish()
    const attribute = (field: number) => new WireWriter().bytes(field, deep).finish()
    const bodies = [
      new WireWriter().bytes(1, new WireWriter().bytes(1, attribute(1)).finish()).finish(),
      new WireWriter().bytes(
        1,
        new WireWriter().bytes(2, new WireWriter().bytes(1, attribute(3)).finish()).finish(),
      ),
      request(new WireWriter().bytes(11, attribute(3)).finish()),
      request(new WireWriter().bytes(13, attribute(4)).finish()),
    ]
    for (const body of bodies)
      expect(() => scanChecked(body instanceof Uint8Array ? body : body.finish())).toThrow(
        /nested too deeply/,
      )
  })

  test('a nest of a hundred thousand levels is refused, not a crash', () => {
    const levels = 100_000
    const sizes: number[] = []
    let size = 0
    const length = (value: number) => (value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4)
    for (let i = 0; i < levels; i++) {
      sizes.push(size)
      size += 1 + length(size)
    }
    const out = new WireWriter()
    // each level: array_value = 5 around values = 1 around the next level's size, from the outside in
    for (let i = levels - 1; i >= 0; i--) {
      let rest = sizes[i]!
      const bytes = [i % 2 === 0 ? 0x0a : 0x2a]
      while (rest > 0x7f) {
        bytes.push((rest & 0x7f) | 0x80)
        rest >>>= 7
      }
      bytes.push(rest)
      out.raw(Uint8Array.from(bytes))
    }
    expect(() => scanChecked(withValue(out.finish()))).toThrow(/nested too deeply/)
  })

  test(`a request has at most ${MAX_SPANS} spans`, () => {
    const spans = (count: number) => {
      const empty = new Uint8Array(count * 2)
      for (let i = 0; i < empty.length; i += 2) empty[i] = 0x12
      return new WireWriter().bytes(1, new WireWriter().bytes(2, empty).finish()).finish()
    }
    expect(scanTraces(spans(MAX_SPANS)).count).toBe(MAX_SPANS)
    expect(() => scanTraces(spans(MAX_SPANS + 1))).toThrow(`a request has over ${MAX_SPANS} spans`)
  })

  test(`a span, a resource and a scope have at most ${MAX_ITEMS} items`, () => {
    const many = (tag: number[], count: number) => {
      const out = new Uint8Array((tag.length + 1) * count)
      for (let at = 0; at < out.length; at += tag.length + 1) out.set(tag, at)
      return out
    }
    const message = (field: number) => (bytes: Uint8Array) => new WireWriter().bytes(field, bytes).finish()
    const resource = message(1)
    const scope = (bytes: Uint8Array) => message(2)(message(1)(bytes))
    const span = (bytes: Uint8Array) => message(2)(message(2)(bytes))
    const cases: [wrap: (bytes: Uint8Array) => Uint8Array, tag: number[], others: number][] = [
      [span, [0x4a], 0], // attributes
      [span, [0x5a], 0], // events
      [span, [0x6a], 0], // links
      [span, [0x88, 0x01], 0], // unknown fields
      [(bytes) => span(message(11)(bytes)), [0x1a], 1], // attributes of an event
      [(bytes) => span(message(13)(bytes)), [0x22], 1], // attributes of a link
      [(bytes) => span(message(9)(message(2)(message(5)(bytes)))), [0x0a], 1], // members of an array
      [(bytes) => span(message(9)(message(2)(message(6)(bytes)))), [0x0a], 1], // members of a list
      [resource, [0x0a], 0],
      [resource, [0x1a], 0], // entity refs
      [(bytes) => resource(message(3)(bytes)), [0x22], 1], // keys of one
      [scope, [0x1a], 0],
    ]
    for (const [wrap, tag, others] of cases) {
      const most = MAX_ITEMS - others
      const body = (count: number) => message(1)(wrap(many(tag, count)))
      expect(() => scanTraces(body(most)), `${tag}`).not.toThrow()
      expect(() => scanChecked(body(most + 1)), `${tag}`).toThrow(`a message has over ${MAX_ITEMS} items`)
    }
  })

  test('items are counted for each message anew', () => {
    const half = Uint8Array.from({ length: MAX_ITEMS + 2 }, (_, i) => (i % 2 === 0 ? 0x4a : 0))
    expect(scanChecked(request(half, half)).count).toBe(2)
  })

  test('a key has at most 65535 bytes', () => {
    const keyed = (size: number) =>
      request(new WireWriter().bytes(9, new WireWriter().string(1, 'k'.repeat(size)).finish()).finish())
    expect(scanChecked(keyed(MAX_KEY_BYTES)).count).toBe(1)
    expect(() => scanChecked(keyed(MAX_KEY_BYTES + 1))).toThrow(/over 65535 bytes/)
  })
})

/** Fields from the request down to a field of wire type 2: every way into the schema. */
const PATHS = [
  [1, 1, 1, 2, 5, 1, 6, 1, 2, 1],
  [1, 1, 1, 2, 7],
  [1, 1, 1, 1],
  [1, 1, 3, 4],
  [1, 2, 1, 3, 2, 1],
  [1, 2, 1, 2],
  [1, 2, 2, 9, 2, 6, 1, 2, 5, 1, 1],
  [1, 2, 2, 9, 2, 1],
  [1, 2, 2, 9, 1],
  [1, 2, 2, 11, 3, 2, 1],
  [1, 2, 2, 11, 2],
  [1, 2, 2, 13, 4, 2, 1],
  [1, 2, 2, 13, 1],
  [1, 2, 2, 15, 2],
  ...[1, 2, 3, 4, 5, 17].map((field) => [1, 2, 2, field]),
  [1, 2, 3],
  [1, 3],
  [1000],
]

describe('what runs past the end of its message', () => {
  test('is refused at every level, although the bytes behind it would do', () => {
    for (const path of PATHS)
      for (let level = 0; level < path.length; level++)
        for (const steal of [0, STRANGER.length]) {
          let content: Uint8Array = new Uint8Array(0)
          for (let i = path.length - 1; i >= 0; i--) {
            const tag = path[i]! * 8 + 2
            const tagBytes = tag < 0x80 ? [tag] : [(tag & 0x7f) | 0x80, tag >>> 7]
            content = concatBytes(
              Uint8Array.of(...tagBytes, content.length + (i === level ? steal : 0)),
              content,
              i < level ? STRANGER : new Uint8Array(0),
            )
          }
          const scan = () => scanChecked(content)
          if (steal === 0) expect(scan, `${path} ${level}`).not.toThrow()
          else expect(scan, `${path} ${level}`).toThrow(/^a length runs past the end of its message$/)
        }
  })

  test('is refused for fixed values and varints too', () => {
    const span = (bytes: Uint8Array) => request(bytes)
    const inside = (field: number) => (bytes: Uint8Array) =>
      request(new WireWriter().bytes(field, bytes).finish())
    const value = (bytes: Uint8Array) => withValue(bytes)
    const cases: [(bytes: Uint8Array) => Uint8Array, tag: number[], size: number][] = [
      [value, [0x21], 8],
      [span, [0x39], 8],
      [span, [0x41], 8],
      [span, [0x85, 0x01], 4],
      [span, [0xa1, 0x06], 8],
      [span, [0xa5, 0x06], 4],
      [inside(11), [0x09], 8],
      [inside(13), [0x35], 4],
    ]
    for (const [wrap, tag, size] of cases)
      for (let short = 0; short <= size; short++) {
        const fixed = concatBytes(Uint8Array.from(tag), new Uint8Array(size - short).fill(1))
        const body = concatBytes(wrap(fixed), ...new Array(4).fill(STRANGER))
        if (short === 0) expect(scanChecked(body).count).toBe(1)
        else expect(() => scanChecked(body), `${tag} ${short}`).toThrow(/past the end|cut off/)
      }
    for (const [wrap, tag] of [
      [value, 0x10],
      [value, 0x18],
      [span, 0x30],
      [span, 0x50],
      [span, 0x60],
      [span, 0x70],
      [inside(15), 0x18],
      [inside(11), 0x20],
      [inside(13), 0x28],
    ] as const)
      for (const bytes of [[], [0x80], [0xff, 0xff]]) {
        const body = concatBytes(wrap(Uint8Array.of(tag, ...bytes)), STRANGER)
        expect(() => scanChecked(body), `${tag} ${bytes}`).toThrow(/^a varint is cut off$/)
      }
  })
})

describe('what is refused', () => {
  const twice = (field: number, message: Uint8Array) =>
    new WireWriter().bytes(field, message).bytes(field, message).finish()
  const nothing = new Uint8Array(0)
  const cases: [string, Uint8Array, RegExp][] = [
    ['two resources', new WireWriter().bytes(1, twice(1, nothing)).finish(), /occurs twice: resource/],
    [
      'two scopes',
      new WireWriter().bytes(1, new WireWriter().bytes(2, twice(1, nothing)).finish()).finish(),
      /occurs twice: scope/,
    ],
    ['two statuses', request(twice(15, nothing)), /occurs twice: status/],
    ['two values', request(new WireWriter().bytes(9, twice(2, nothing)).finish()), /occurs twice: value/],
    ['two arrays in one value', withValue(twice(5, nothing)), /occurs twice: array_value/],
    ['two lists in one value', withValue(twice(6, nothing)), /occurs twice: kvlist_value/],
    ['a group', Uint8Array.of(0x7b, 0x7c), /unknown wire type/],
    ['wire type 7', Uint8Array.of(0x7f), /unknown wire type/],
    ['field number 0', Uint8Array.of(0x02, 0x00), /number 0/],
    ['a field number of 30 bits', Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x10, 0x00), /over 29 bits/],
    ['a varint of 11 bytes', Uint8Array.of(0x78, ...new Array(10).fill(0x80), 0x00), /over 64 bits/],
    ['a varint of 65 bits', Uint8Array.of(0x78, ...new Array(9).fill(0x80), 0x02), /over 64 bits/],
    ['a length of 2^32', Uint8Array.of(0x0a, 0x80, 0x80, 0x80, 0x80, 0x10), /past the end/],
    ['a known field of another type', request(new WireWriter().varint(1, 1).finish()), /wrong wire type/],
  ]
  for (const [name, body, message] of cases)
    test(name, () => {
      expect(() => scanChecked(body)).toThrow(message)
    })

  test('one array and one list in one value are fine: the last member counts', () => {
    expect(scanChecked(withValue(new WireWriter().bytes(5, nothing).bytes(6, nothing).finish())).count).toBe(
      1,
    )
  })
})
