import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anyValues, encodeAnyValue } from '../../../../test/fuzz/otlp.ts'
import { formatHex, parseHex, utf8 } from '../bytes.ts'
import { WireWriter } from '../wire.ts'
import { type AnyValue, decodeSpan } from './decode.ts'
import { doubleOfBits, encodeKey, encodeValue, equalValues, formatValue } from './value.ts'

const cases: [AnyValue, encoded: string, formatted: string][] = [
  [{ type: 'empty' }, '00', 'null'],
  [{ type: 'string', value: '' }, '01', '""'],
  [{ type: 'string', value: 'aé"' }, '0161c3a922', '"aé\\""'],
  [{ type: 'string', value: 'a\udcffb' }, '0161ff62', '"a\ufffdb"'],
  [{ type: 'bool', value: false }, '0200', 'false'],
  [{ type: 'bool', value: true }, '0201', 'true'],
  [{ type: 'int', value: 0n }, '030000000000000000', '0'],
  [{ type: 'int', value: -1n }, '03ffffffffffffffff', '-1'],
  [{ type: 'int', value: 9007199254740993n }, '030020000000000001', '9007199254740993'],
  [{ type: 'int', value: -(2n ** 63n) }, '038000000000000000', '-9223372036854775808'],
  [{ type: 'double', value: 1 }, '043ff0000000000000', '1.0'],
  [{ type: 'double', value: 0.1 }, '043fb999999999999a', '0.1'],
  [{ type: 'double', value: -0 }, '048000000000000000', '-0.0'],
  [{ type: 'double', value: 1e21 }, '04444b1ae4d6e2ef50', '1e+21'],
  [{ type: 'double', value: Number.NaN }, '047ff8000000000000', 'NaN'],
  [{ type: 'double', value: Number.NEGATIVE_INFINITY }, '04fff0000000000000', '-Infinity'],
  [{ type: 'double', value: Number.NaN, bits: 0x7ff4_0000_dead_beefn }, '047ff40000deadbeef', 'NaN'],
  [{ type: 'bytes', value: parseHex('00ff') }, '0700ff', '0x00ff'],
  [{ type: 'array', value: [] }, '0500000000', '[]'],
  [
    { type: 'array', value: [{ type: 'bool', value: true }, { type: 'empty' }] },
    '0500000002' + '00000002' + '0201' + '00000001' + '00',
    '[true, null]',
  ],
  [
    {
      type: 'kvlist',
      value: [
        { key: 'b', value: { type: 'string', value: 'x' } },
        { key: 'a', value: { type: 'array', value: [] } },
      ],
    },
    '0600000002' + '0001' + '62' + '00000002' + '0178' + '0001' + '61' + '00000005' + '0500000000',
    '{"b": "x", "a": []}',
  ],
]

describe('encodeValue and formatValue', () => {
  for (const [value, encoded, formatted] of cases)
    test(formatted, () => {
      expect(formatHex(encodeValue(value))).toBe(encoded)
      expect(formatValue(value)).toBe(formatted)
    })

  test('no two of these are equal, and each equals itself', () => {
    cases.forEach(([a], i) => {
      cases.forEach(([b], j) => {
        expect(equalValues(a, b)).toBe(i === j)
      })
    })
  })

  test('different values have different encodings', () => {
    fc.assert(
      fc.property(anyValues, anyValues, (a, b) => {
        const same = formatHex(encodeAnyValue(a)) === formatHex(encodeAnyValue(b))
        expect(equalValues(a, b)).toBe(same)
      }),
      { numRuns: 500 },
    )
  })

  test('received bits are kept, of every kind of NaN', () => {
    for (const bits of [
      0x7ff8_0000_0000_0000n,
      0x7ff0_0000_0000_0001n,
      0xffff_ffff_ffff_ffffn,
      1n,
      2n ** 63n,
    ]) {
      const attribute = new WireWriter().bytes(2, new WireWriter().fixed64(4, bits).finish()).finish()
      const [item] = decodeSpan(new WireWriter().bytes(9, attribute).finish()).attributes
      expect(formatHex(encodeValue(item!.value))).toBe(`04${bits.toString(16).padStart(16, '0')}`)
      expect(encodeValue(doubleOfBits(bits))).toEqual(encodeValue(item!.value))
    }
  })

  test('a value deeper than the scan allows, or a longer key, is refused', () => {
    let value: AnyValue = { type: 'empty' }
    for (let i = 1; i < 32; i++) value = { type: 'array', value: [value] }
    expect(encodeValue(value).length).toBe(1 + 31 * 9)
    expect(() => encodeValue({ type: 'array', value: [value] })).toThrow(/nested too deeply/)
    expect(encodeKey('é'.repeat(32_767))).toEqual(utf8('é'.repeat(32_767)))
    expect(() => encodeKey('é'.repeat(32_768))).toThrow(/65535/)
  })
})
