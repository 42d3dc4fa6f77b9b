import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  compareBytes,
  concatBytes,
  copyBytes,
  equalBytes,
  formatBase64,
  formatHex,
  parseBase64,
  parseDecimal,
  parseDecimal64,
  parseHex,
  parseUtf8,
  utf8,
} from './bytes.ts'
import { MalformedError } from './errors.ts'

const bytes = fc.uint8Array({ maxLength: 100 })

describe('hex', () => {
  test('is what Buffer writes, and parses back', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(formatHex(value)).toBe(Buffer.from(value).toString('hex'))
        expect(parseHex(formatHex(value))).toEqual(value)
      }),
    )
  })

  test('one spelling only', () => {
    for (const text of ['0', 'AB', 'aB', '0x', 'g0', ' 00', '00 ', '00\n', '٠٠', '-1', '0'.repeat(63)])
      expect(() => parseHex(text)).toThrow(MalformedError)
  })

  test('a size', () => {
    expect(parseHex('0001', 'x', 2)).toEqual(Uint8Array.of(0, 1))
    for (const size of [0, 1, 3])
      expect(() => parseHex('0001', 'x', size)).toThrow(`x is not ${size} bytes long`)
  })
})

describe('base64', () => {
  test('is what Buffer writes, and parses back', () => {
    fc.assert(
      fc.property(bytes, (value) => {
        expect(formatBase64(value)).toBe(Buffer.from(value).toString('base64'))
        expect(parseBase64(formatBase64(value))).toEqual(value)
      }),
    )
  })

  test('of all strings of up to four characters, those that some bytes have, no other', () => {
    const digits = [...'ABgw/+=_- \n\u0000é']
    const spell = (size: number): string[] =>
      size === 0 ? [''] : spell(size - 1).flatMap((text) => digits.map((digit) => text + digit))
    for (const text of [0, 1, 2, 3, 4].flatMap(spell)) {
      let parsed: string | undefined
      try {
        parsed = formatBase64(parseBase64(text))
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error
      }
      const canonical = Buffer.from(text, 'base64').toString('base64') === text
      if (parsed !== (canonical ? text : undefined)) expect.fail(`${JSON.stringify(text)} gives ${parsed}`)
    }
  })

  test('every change to a long one is seen', () => {
    const text = formatBase64(Uint8Array.from({ length: 31 }, (_, i) => i * 8))
    for (let i = 0; i <= text.length; i++)
      for (const other of ['=', ' ', '\n', '-', '*', 'é', '==', 'A', 'AA', 'AAA'])
        expect(() => parseBase64(text.slice(0, i) + other + text.slice(i))).toThrow(MalformedError)
  })

  test('megabytes', () => {
    // A pattern with a repeated group would overflow the stack.
    const large = new Uint8Array(6_000_000).fill(0xa5)
    expect(equalBytes(parseBase64(formatBase64(large)), large)).toBe(true)
    expect(() => parseBase64(`${'A'.repeat(8_000_000)}===`)).toThrow(MalformedError)
  })

  test('a size', () => {
    expect(parseBase64('AAE=', 'x', 2)).toEqual(Uint8Array.of(0, 1))
    for (const size of [0, 1, 3])
      expect(() => parseBase64('AAE=', 'x', size)).toThrow(`x is not ${size} bytes long`)
  })
})

describe('decimals', () => {
  const refused = [
    '',
    ' ',
    '-1',
    '+1',
    '01',
    '00',
    '1.0',
    '1e3',
    '0x10',
    ' 1',
    '1 ',
    '1\n',
    '1_0',
    '١',
    'NaN',
    'Infinity',
  ]

  test('up to 53 bits', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (value) => parseDecimal(String(value)) === value))
    expect(parseDecimal('0')).toBe(0)
    expect(parseDecimal('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER)
    for (const text of [...refused, '9007199254740992', '9007199254740993', '9'.repeat(400)])
      expect(() => parseDecimal(text)).toThrow(MalformedError)
  })

  test('up to 64 bits', () => {
    fc.assert(fc.property(fc.bigInt(0n, 2n ** 64n - 1n), (value) => parseDecimal64(String(value)) === value))
    for (const text of [...refused, '18446744073709551616', '9'.repeat(21)])
      expect(() => parseDecimal64(text)).toThrow(MalformedError)
  })
})

describe('UTF-8', () => {
  test('well-formed text comes back, a byte order mark too', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => parseUtf8(utf8(text)) === text.toWellFormed()),
    )
    expect(parseUtf8(Uint8Array.of(0xef, 0xbb, 0xbf))).toBe('\ufeff')
  })

  test('anything else is refused', () => {
    for (const hex of ['ff', '80', 'c0af', 'e28094'.slice(0, 4), 'eda080', 'f4908080', '61ff62'])
      expect(() => parseUtf8(parseHex(hex))).toThrow(MalformedError)
  })
})

test('bytes are joined, compared and ordered', () => {
  fc.assert(
    fc.property(bytes, bytes, bytes, (a, b, c) => {
      expect(concatBytes(a, b, c)).toEqual(Uint8Array.from([...a, ...b, ...c]))
      expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0)
      expect(equalBytes(a, new Uint8Array(a))).toBe(true)
      expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b))
      expect(compareBytes(a, new Uint8Array(a))).toBe(0)
    }),
  )
})

describe('text as bytes', () => {
  const encoder = new TextEncoder()

  test.each([0, 1, 5])('is what TextEncoder makes of it, behind %i zeros', (before) => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 100 }),
      fc.string({ minLength: 40, maxLength: 80 }),
    )
    fc.assert(
      fc.property(texts, (text) => {
        expect(formatHex(utf8(text, before))).toBe('00'.repeat(before) + formatHex(encoder.encode(text)))
      }),
    )
  })

  test('a copy has memory of its own, also of a Buffer', () => {
    const buffer = Buffer.from('abcdef')
    const copy = copyBytes(buffer, 1, 4)
    buffer.fill(0)
    expect(String.fromCharCode(...copy)).toBe('bcd')
    expect(copy.buffer.byteLength).toBe(3)
  })
})
