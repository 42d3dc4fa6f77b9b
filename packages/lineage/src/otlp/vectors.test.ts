/** The scan, the decoder and the JSON reader against vectors made with Google's protobuf (test/vectors/otlp). */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex } from '../bytes.ts'
import { sha256 } from '../crypto.ts'
import { MalformedError } from '../errors.ts'
import { WireReader } from '../wire.ts'
import { type AnyValue, decodeResource, decodeScope, decodeSpan, type KeyValue } from './decode.ts'
import { tracesFromJson } from './json.ts'
import { RESOURCE_END, RESOURCE_START, SPAN_START, scanTraces, WORDS_PER_SPAN } from './scan.ts'
import { encodeText } from './text.ts'

const VECTORS = new URL('../../../../test/vectors/otlp/', import.meta.url)

function read<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(name, VECTORS), 'utf8')) as T
}

// The dump of make.py, built from our own decoder.

function dump(body: Uint8Array): unknown {
  return fields(body, 1).map((group) => [
    optional(group, 1, (bytes) => {
      const each = decodeResource(bytes)
      const refs = each.entityRefs.map((ref) => [
        hex(ref.schemaUrl),
        hex(ref.type),
        ref.idKeys.map(hex),
        ref.descriptionKeys.map(hex),
      ])
      return [keyValues(each.attributes), each.droppedAttributesCount, refs]
    }),
    fields(group, 2).map((inner) => [
      optional(inner, 1, (bytes) => {
        const each = decodeScope(bytes)
        return [hex(each.name), hex(each.version), keyValues(each.attributes), each.droppedAttributesCount]
      }),
      fields(inner, 2).map(span),
    ]),
  ])
}

function fields(message: Uint8Array, number: number): Uint8Array[] {
  const out: Uint8Array[] = []
  const reader = new WireReader(message)
  while (reader.next()) if (reader.field === number) out.push(reader.value())
  return out
}

function optional(message: Uint8Array, number: number, then: (bytes: Uint8Array) => unknown): unknown {
  const [only] = fields(message, number)
  return only === undefined ? null : then(only)
}

function span(bytes: Uint8Array): unknown {
  const each = decodeSpan(bytes)
  return [
    formatHex(each.traceId),
    formatHex(each.spanId),
    hex(each.traceState),
    formatHex(each.parentSpanId),
    hex(each.name),
    each.kind,
    String(each.startTimeUnixNano),
    String(each.endTimeUnixNano),
    keyValues(each.attributes),
    each.droppedAttributesCount,
    each.events.map((event) => [
      String(event.timeUnixNano),
      hex(event.name),
      keyValues(event.attributes),
      event.droppedAttributesCount,
    ]),
    each.droppedEventsCount,
    each.links.map((link) => [
      formatHex(link.traceId),
      formatHex(link.spanId),
      hex(link.traceState),
      keyValues(link.attributes),
      link.droppedAttributesCount,
      link.flags,
    ]),
    each.droppedLinksCount,
    [hex(each.status.message), each.status.code],
    each.flags,
  ]
}

function keyValues(list: readonly KeyValue[]): unknown {
  return list.map((item) => [hex(item.key), value(item.value)])
}

function value(each: AnyValue): unknown {
  switch (each.type) {
    case 'empty':
      return ['empty']
    case 'string':
      return ['string', hex(each.value)]
    case 'bool':
      return ['bool', each.value]
    case 'int':
      return ['int', String(each.value)]
    case 'double': {
      const view = new DataView(new ArrayBuffer(8))
      view.setFloat64(0, each.value)
      return ['double', (each.bits ?? view.getBigUint64(0)).toString(16).padStart(16, '0')]
    }
    case 'bytes':
      return ['bytes', formatHex(each.value)]
    case 'array':
      return ['array', each.value.map(value)]
    case 'kvlist':
      return ['kvlist', keyValues(each.value)]
  }
}

function hex(text: string): string {
  return formatHex(encodeText(text))
}

/** The scan's verdict; what it accepts must decode. */
function parse(body: Uint8Array): { dump: unknown } | { refused: string } {
  try {
    scanTraces(body)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    return { refused: error.message }
  }
  return { dump: dump(body) }
}

/** Why we refuse what protobuf's rules would let through. */
const STRICTER =
  /^a field has the wrong wire type$|^a field has an unknown wire type$|^a varint is over 64 bits$|occurs twice/

describe('requests', () => {
  for (const each of read<{ name: string; request: string; dump: unknown }[]>('requests.json'))
    test(each.name, () => {
      expect(parse(parseHex(each.request))).toEqual({ dump: each.dump })
    })

  test('a resource and a scope after the spans are theirs', () => {
    const [each] = read<{ name: string; request: string }[]>('requests.json').filter(({ name }) =>
      name.startsWith('resource and scope after'),
    )
    const { words, count } = scanTraces(parseHex(each!.request))
    expect(count).toBe(1)
    expect(words.length).toBeGreaterThanOrEqual(WORDS_PER_SPAN)
    expect(words[RESOURCE_START]).toBeGreaterThan(words[SPAN_START]!)
    expect(words[RESOURCE_END]! - words[RESOURCE_START]!).toBe(2)
  })
})

describe('JSON', () => {
  for (const each of read<{ file: string; request: string }[]>('json.json'))
    test(each.file, () => {
      expect(formatHex(tracesFromJson(readFileSync(new URL(each.file, VECTORS))))).toBe(each.request)
    })

  const refused = read<{ name: string; json?: string; hex?: string; reason: string }[]>('json-refused.json')
  test.each(refused)('refused: $name', ({ json, hex, reason }) => {
    const bytes = json === undefined ? parseHex(hex!) : new TextEncoder().encode(json)
    let problem: unknown
    try {
      tracesFromJson(bytes)
    } catch (error) {
      problem = error
    }
    expect(problem).toBeInstanceOf(MalformedError)
    const { message } = problem as MalformedError
    expect(message.replace(/^bad OTLP\/JSON: |(?<=^not JSON): .*/g, '')).toBe(reason)
  })
})

describe('changes of a small request', () => {
  const changes = read<{ request: string; truncations: string; bitFlips: string[] }>('changes.json')
  const body = parseHex(changes.request)

  test('every truncation is judged as protobuf judges it', () => {
    expect(changes.truncations.length).toBe(body.length + 1)
    const ours = Array.from(changes.truncations, (_, size) =>
      'dump' in parse(body.slice(0, size)) ? '1' : '0',
    )
    expect(ours.join('')).toBe(changes.truncations)
  })

  test('every bit flip parses to what protobuf reads, or is refused for a known reason', () => {
    expect(changes.bitFlips.length).toBe(body.length * 8)
    let stricter = 0
    changes.bitFlips.forEach((theirs, index) => {
      const changed = body.slice()
      changed[index >> 3]! ^= 1 << (index & 7)
      const ours = parse(changed)
      if ('dump' in ours) {
        const digest = sha256(new TextEncoder().encode(JSON.stringify(ours.dump)))
        expect(formatHex(digest).slice(0, 8), `bit ${index}`).toBe(theirs)
      } else if (theirs !== '-') {
        expect(ours.refused, `bit ${index}`).toMatch(STRICTER)
        stricter++
      }
    })
    expect(stricter).toBeGreaterThan(0)
    expect(stricter).toBeLessThan(body.length * 3)
  })
})
