import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex, utf8 } from './bytes.ts'
import { MalformedError } from './errors.ts'
import { BYTES, FIXED32, FIXED64, VARINT, WireReader, WireWriter } from './wire.ts'

const uint64 = fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.nat(300).map(BigInt))

/** A varint as the encoding guide describes it, with as many bytes as asked for. */
function varint(value: bigint, size = 0): number[] {
  const bytes: number[] = []
  let rest = value
  while (rest > 127n || bytes.length < size - 1) {
    bytes.push(Number(rest % 128n) + 128)
    rest /= 128n
  }
  return [...bytes, Number(rest)]
}

function read(hex: string | readonly number[]): WireReader {
  return new WireReader(typeof hex === 'string' ? parseHex(hex) : Uint8Array.from(hex))
}

function walk(bytes: Uint8Array): number {
  const reader = new WireReader(bytes)
  let fields = 0
  while (reader.next()) fields += 1
  return fields
}

describe('reading', () => {
  test('the examples of the encoding guide', () => {
    const number = read('089601')
    expect(number.next()).toBe(true)
    expect([number.field, number.type, number.safe('x'), number.uint64()]).toEqual([1, VARINT, 150, 150n])
    expect(number.next()).toBe(false)
    const text = read('120774657374696e67')
    expect(text.next()).toBe(true)
    expect([text.field, text.type, formatHex(text.value())]).toEqual([2, BYTES, formatHex(utf8('testing'))])
  })

  test('varints of any length, minimal or not', () => {
    fc.assert(
      fc.property(uint64, fc.integer({ min: 0, max: 10 }), (value, size) => {
        const reader = read([0x08, ...varint(value, size)])
        expect(reader.next()).toBe(true)
        expect(reader.uint64()).toBe(value)
        expect(reader.int64()).toBe(BigInt.asIntN(64, value))
        if (value <= Number.MAX_SAFE_INTEGER) expect(reader.safe('x')).toBe(Number(value))
        else expect(() => reader.safe('x')).toThrow('x is over 53 bits')
        expect(reader.next()).toBe(false)
      }),
    )
  })

  test('fixed values', () => {
    const reader = read('090102030405060708' + '1501020384')
    expect(reader.next()).toBe(true)
    expect([reader.type, reader.uint64()]).toEqual([FIXED64, 0x0807060504030201n])
    expect(reader.next()).toBe(true)
    expect([reader.field, reader.type, reader.uint64()]).toEqual([2, FIXED32, 0x84030201n])
  })

  test('a field keeps its range, tag included', () => {
    const reader = new WireReader(parseHex('ffff' + '120161' + '0805' + 'ff'), 2, 7)
    expect(reader.next()).toBe(true)
    expect([reader.tagStart, reader.start, reader.end]).toEqual([2, 4, 5])
    expect(reader.next()).toBe(true)
    expect([reader.tagStart, reader.start, reader.end]).toEqual([5, 6, 7])
    expect(reader.next()).toBe(false)
  })

  test('what is refused', () => {
    const table: readonly (readonly [string, string])[] = [
      ['00', 'number 0'],
      ['0008', 'number 0'],
      ['0b', 'unknown wire type'],
      ['0c', 'unknown wire type'],
      ['0e', 'unknown wire type'],
      ['0f', 'unknown wire type'],
      ['08', 'cut off'],
      ['0880', 'cut off'],
      ['80', 'cut off'],
      ['0880808080808080808002', 'over 64 bits'],
      ['08808080808080808080808001', 'over 64 bits'],
      ['808080801000', 'over 29 bits'],
      ['0901020304050607', 'past the end'],
      ['0d010203', 'past the end'],
      ['0a0261', 'past the end'],
      ['0affffffff0f', 'past the end'],
      ['0affffffffffffffffff01', 'past the end'],
    ]
    for (const [hex, message] of table) {
      expect(() => walk(parseHex(hex))).toThrow(MalformedError)
      expect(() => walk(parseHex(hex))).toThrow(message)
    }
    const reader = read('0801')
    reader.next()
    reader.expect(VARINT, 'x')
    expect(() => reader.expect(BYTES, 'x')).toThrow('x has the wrong wire type')
  })

  test('a length never reaches past the limit given', () => {
    const bytes = parseHex('0a03616263' + '00')
    for (let limit = 1; limit < 5; limit++)
      expect(() => new WireReader(bytes, 0, limit).next()).toThrow(MalformedError)
  })

  test('any bytes end or are refused, in order and in bounds', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const reader = new WireReader(bytes)
        let at = 0
        try {
          while (reader.next()) {
            expect(reader.tagStart).toBe(at)
            expect(reader.start).toBeGreaterThan(at)
            expect(reader.end).toBeGreaterThanOrEqual(reader.start)
            expect(reader.end).toBeLessThanOrEqual(bytes.length)
            at = reader.end
          }
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
      { numRuns: 3000 },
    )
  })
})

describe('writing', () => {
  test('the examples of the encoding guide', () => {
    expect(formatHex(new WireWriter().varint(1, 150).finish())).toBe('089601')
    expect(formatHex(new WireWriter().string(2, 'testing').finish())).toBe('120774657374696e67')
    expect(formatHex(new WireWriter().varint(1, -2).finish())).toBe('08feffffffffffffffff01')
    expect(formatHex(new WireWriter().double(3, 1).finish())).toBe('19000000000000f03f')
    expect(formatHex(new WireWriter().fixed32(1, 0x84030201).finish())).toBe('0d01020384')
    expect(formatHex(new WireWriter().varint(2 ** 29 - 1, 0).finish())).toBe('f8ffffff0f00')
  })

  test('whatever is written reads back, minimal, whatever the capacity', () => {
    const field = fc.integer({ min: 1, max: 2 ** 29 - 1 })
    const value = fc.oneof(
      fc.tuple(fc.constant('varint' as const), field, uint64),
      fc.tuple(fc.constant('fixed64' as const), field, uint64),
      fc.tuple(fc.constant('fixed32' as const), field, fc.nat(0xffff_ffff)),
      fc.tuple(fc.constant('bytes' as const), field, fc.uint8Array({ maxLength: 300 })),
    )
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), fc.nat(40), (values, capacity) => {
        const writer = new WireWriter(capacity)
        const want: number[] = []
        for (const [type, number, content] of values) {
          const tag = BigInt(number) * 8n
          if (type === 'varint') {
            writer.varint(number, content)
            want.push(...varint(tag), ...varint(content))
          } else if (type === 'fixed64') {
            writer.fixed64(number, content)
            const bytes = Buffer.alloc(8)
            bytes.writeBigUInt64LE(content)
            want.push(...varint(tag + 1n), ...bytes)
          } else if (type === 'fixed32') {
            writer.fixed32(number, content)
            const bytes = Buffer.alloc(4)
            bytes.writeUInt32LE(content)
            want.push(...varint(tag + 5n), ...bytes)
          } else {
            writer.bytes(number, content)
            want.push(...varint(tag + 2n), ...varint(BigInt(content.length)), ...content)
          }
        }
        const bytes = writer.finish()
        expect(formatHex(bytes)).toBe(formatHex(Uint8Array.from(want)))
        expect(walk(bytes)).toBe(values.length)
      }),
    )
  })

  test('a number that is none is our own bug', () => {
    expect(() => new WireWriter().varint(1, 0.5)).toThrow(RangeError)
  })

  test('what was finished is a copy', () => {
    const writer = new WireWriter(1).varint(1, 1)
    const bytes = writer.finish()
    writer.varint(1, 2)
    expect(formatHex(bytes)).toBe('0801')
    expect(formatHex(writer.finish())).toBe('08010802')
  })
})
