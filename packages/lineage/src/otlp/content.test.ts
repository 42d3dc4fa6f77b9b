import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  anyRequests,
  anyResources,
  anyScopes,
  anySpans,
  encodeRequest,
  encodeResource,
  encodeScope,
  encodeSpan,
  formatJson,
  RESOURCE_NESTING,
  reencode,
  SCOPE_NESTING,
  SPAN_NESTING,
} from '../../../../test/fuzz/otlp.ts'
import { concatBytes, formatHex, parseHex, utf8 } from '../bytes.ts'
import { sha256 } from '../crypto.ts'
import { WireWriter } from '../wire.ts'
import { contentDigest } from './content.ts'
import { decodeSpan } from './decode.ts'
import { tracesFromJson } from './json.ts'
import {
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_START,
  scanTraces,
  WORDS_PER_SPAN,
} from './scan.ts'
import { MAX_ITEMS } from './schema.ts'

const NOTHING = new Uint8Array(0)

const digest = (resource: Uint8Array, scope: Uint8Array, span: Uint8Array) =>
  formatHex(contentDigest(resource, scope, span))

/** The digests of all spans of a request. */
function digests(body: Uint8Array): string[] {
  const { words, count } = scanTraces(body)
  return Array.from({ length: count }, (_, index) => {
    const row = words.subarray(index * WORDS_PER_SPAN)
    const part = (start: number, end: number) => body.subarray(row[start]!, row[end]!)
    return digest(
      part(RESOURCE_START, RESOURCE_END),
      part(SCOPE_START, SCOPE_END),
      part(SPAN_START, SPAN_END),
    )
  })
}

/** A tiny generator for shuffles: the same from the same seed. */
function randomOf(seed: number): () => number {
  let state = seed | 1
  return () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9
    return ((state ^ (state >>> 12)) >>> 0) / 2 ** 32
  }
}

describe('equal', () => {
  test('the bytes under the digest, by hand', () => {
    const span = concatBytes(
      new WireWriter().fixed64(7, 0x0102n).string(5, 'n').varint(17, 5).finish(),
      new WireWriter().bytes(9, new WireWriter().string(1, 'k').finish()).finish(),
    )
    const fields = [
      '00000005' + '00000001' + '6e',
      '00000007' + '00000008' + '0000000000000102',
      '00000009' + '0000000a' + '00000001' + '6b' + '00000001' + '00',
      '00000011' + '00000009' + '00' + '0000000000000005',
    ].join('')
    const size = (fields.length / 2).toString(16).padStart(8, '0')
    const preimage = concatBytes(utf8('rootspan/content/v0\n'), parseHex(`0000000000000000${size}${fields}`))
    expect(digest(NOTHING, NOTHING, span)).toBe(formatHex(sha256(preimage)))
  })

  test('whatever the order of fields and attributes and the length of varints', () => {
    fc.assert(
      fc.property(anyResources, anyScopes, anySpans, fc.integer(), (resource, scope, span, seed) => {
        const random = randomOf(seed)
        const parts = [encodeResource(resource), encodeScope(scope), encodeSpan(span)] as const
        expect(
          digest(
            reencode(parts[0], RESOURCE_NESTING, random),
            reencode(parts[1], SCOPE_NESTING, random),
            reencode(parts[2], SPAN_NESTING, random),
          ),
        ).toBe(digest(...parts))
      }),
      { numRuns: 300 },
    )
  })

  test('with unknown fields too', () => {
    for (let seed = 0; seed < 50; seed++)
      expect(digest(NOTHING, NOTHING, reencode(rich, SPAN_NESTING, randomOf(seed)))).toBe(
        digest(NOTHING, NOTHING, rich),
      )
  })

  test('whether it came as JSON', () => {
    const spelling = { snake: false, upperHex: true, numbers: false, names: true }
    fc.assert(
      fc.property(anyRequests, (groups) => {
        expect(digests(tracesFromJson(formatJson(groups, spelling)))).toEqual(digests(encodeRequest(groups)))
      }),
    )
  })

  test('whether defaults are written', () => {
    const plain = encodeSpan(decodeSpan(NOTHING))
    const defaults = new WireWriter()
    for (const field of [1, 2, 3, 4, 5, 15]) defaults.bytes(field, NOTHING)
    for (const field of [6, 10, 12, 14]) defaults.varint(field, 0)
    defaults.fixed64(7, 0n).fixed64(8, 0n).fixed32(16, 0)
    expect(digest(NOTHING, NOTHING, defaults.finish())).toBe(digest(NOTHING, NOTHING, plain))
    const status = new WireWriter()
      .bytes(15, new WireWriter().bytes(2, NOTHING).varint(3, 0).finish())
      .finish()
    expect(digest(NOTHING, NOTHING, status)).toBe(digest(NOTHING, NOTHING, plain))
    const attribute = (value: Uint8Array) => new WireWriter().bytes(9, value).finish()
    expect(digest(NOTHING, NOTHING, attribute(new WireWriter().bytes(2, NOTHING).finish()))).toBe(
      digest(NOTHING, NOTHING, attribute(NOTHING)),
    )
  })
})

const stranger = new WireWriter().string(1001, 'x').finish()
const value = (bytes: Uint8Array) => new WireWriter().bytes(2, bytes).finish()

/** A span with something everywhere, unknown fields included. */
const rich = new WireWriter()
  .bytes(1, new Uint8Array(16).fill(1))
  .bytes(2, new Uint8Array(8).fill(2))
  .string(3, 'a=b')
  .bytes(4, new Uint8Array(8).fill(3))
  .string(5, 'name')
  .varint(6, 1)
  .fixed64(7, 7n)
  .fixed64(8, 8n)
  .bytes(9, concatBytes(parseHex('0a016b12030a0176'), stranger)) // an unknown field in a KeyValue
  .bytes(9, parseHex('0a016b12030a0176')) // the same without
  .bytes(9, value(new WireWriter().varint(3, 300).raw(stranger).finish())) // in an AnyValue
  .bytes(9, value(new WireWriter().bytes(5, concatBytes(parseHex('0a021801'), stranger)).finish())) // in a list
  .varint(10, 10)
  .bytes(
    11,
    new WireWriter().fixed64(1, 1n).string(2, 'e').bytes(3, parseHex('0a0161')).varint(4, 4).finish(),
  )
  .varint(12, 12)
  .bytes(13, new WireWriter().bytes(1, parseHex('01')).bytes(4, parseHex('0a0162')).fixed32(6, 6).finish())
  .varint(14, 14)
  .bytes(15, new WireWriter().varint(1, 1).string(2, 'm').varint(3, 2).finish())
  .fixed32(16, 16)
  .string(17, 'type')
  .fixed32(9999, 1)
  .fixed64(9998, 1n)
  .finish()

describe('different', () => {
  test('any single-bit change that still decodes', () => {
    const first = digest(NOTHING, NOTHING, rich)
    let decoded = 0
    for (let bit = 0; bit < rich.length * 8; bit++) {
      const changed = rich.slice()
      changed[bit >> 3]! ^= 1 << (bit & 7)
      let other: string
      try {
        other = digest(NOTHING, NOTHING, changed)
      } catch {
        continue
      }
      decoded++
      expect(other, `bit ${bit}`).not.toBe(first)
    }
    expect(decoded).toBeGreaterThan(rich.length)
  })

  test('random spans with random resources and scopes', () => {
    const seen = new Map<string, string>()
    fc.assert(
      fc.property(anyResources, anyScopes, anySpans, (resource, scope, span) => {
        // with two attributes, other bytes may be the same content
        fc.pre([resource, scope, span].every((each) => each.attributes.length < 2))
        fc.pre([...span.events, ...span.links].every((each) => each.attributes.length < 2))
        const parts = [encodeResource(resource), encodeScope(scope), encodeSpan(span)] as const
        const id = parts.map(formatHex).join('/')
        const result = digest(...parts)
        expect(seen.get(result) ?? id).toBe(id)
        seen.set(result, id)
      }),
      { numRuns: 200 },
    )
  })

  test('the same bytes as resource, as scope and as span', () => {
    const bytes = new WireWriter().bytes(17, parseHex('01')).finish()
    const all = [
      digest(bytes, NOTHING, NOTHING),
      digest(NOTHING, bytes, NOTHING),
      digest(NOTHING, NOTHING, bytes),
    ]
    expect(new Set(all).size).toBe(3)
  })

  test('a span of as many attributes as there may be', () => {
    const many = Uint8Array.from({ length: MAX_ITEMS * 2 }, (_, i) => (i % 2 === 0 ? 0x4a : 0))
    expect(digest(NOTHING, NOTHING, many)).not.toBe(digest(NOTHING, NOTHING, many.subarray(2)))
    const list = new WireWriter()
      .bytes(5, many.map((byte) => (byte === 0x4a ? 0x0a : 0)).subarray(2))
      .finish()
    const attribute = new WireWriter().bytes(9, new WireWriter().bytes(2, list).finish()).finish()
    expect(digest(NOTHING, NOTHING, attribute)).toMatch(/^[0-9a-f]{64}$/)
  })

  test('an attribute that occurs twice is not one that occurs once', () => {
    const attribute = parseHex('0a016b12030a0176')
    const once = new WireWriter().bytes(9, attribute).finish()
    expect(digest(NOTHING, NOTHING, concatBytes(once, once))).not.toBe(digest(NOTHING, NOTHING, once))
  })

  test('events in another order', () => {
    const event = (name: string) =>
      new WireWriter().bytes(11, new WireWriter().string(2, name).finish()).finish()
    expect(digest(NOTHING, NOTHING, concatBytes(event('a'), event('b')))).not.toBe(
      digest(NOTHING, NOTHING, concatBytes(event('b'), event('a'))),
    )
  })

  test('strings that differ only in broken UTF-8', () => {
    const named = (hex: string) => digest(NOTHING, NOTHING, new WireWriter().bytes(5, parseHex(hex)).finish())
    expect(named('ff')).not.toBe(named('fe'))
    expect(named('ff')).not.toBe(named('efbfbd'))
  })
})
