import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatHex } from '../bytes.ts'
import { decodeText, encodeText } from './text.ts'

test('every one- and two-byte string comes back, and as UTF-8 where it is', () => {
  const lenient = new TextDecoder('utf-8', { ignoreBOM: true })
  for (let first = 0; first < 256; first++)
    for (let second = -1; second < 256; second++) {
      const bytes = second < 0 ? Uint8Array.of(first) : Uint8Array.of(first, second)
      const text = decodeText(bytes)
      expect(formatHex(encodeText(text))).toBe(formatHex(bytes))
      if (text.isWellFormed()) expect(text).toBe(lenient.decode(bytes))
      else expect(lenient.decode(bytes)).toContain('\ufffd')
    }
})

test('any bytes come back', () => {
  const bytes = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 3 }),
      fc.string({ unit: 'grapheme', maxLength: 3 }).map((text) => new TextEncoder().encode(text)),
      // the edges of the table: overlong forms, surrogates, beyond U+10FFFF, a byte order mark, cut-off sequences
      fc
        .constantFrom(
          ...[
            'c080',
            'c1bf',
            'e09fbf',
            'e0a080',
            'eda080',
            'edbfbf',
            'ed9fbf',
            'f08fbfbf',
            'f0908080',
            'f48fbfbf',
          ],
          ...['f4908080', 'f5808080', 'efbbbf', 'efbfbd', 'e282', 'f09f98', 'ff', 'edb2ff'],
        )
        .map((text) => Uint8Array.from(Buffer.from(text, 'hex'))),
    ),
  )
  fc.assert(
    fc.property(bytes, (parts) => {
      const all = Uint8Array.from(parts.flatMap((part) => [...part]))
      const text = decodeText(all)
      expect(formatHex(encodeText(text))).toBe(formatHex(all))
      let valid = true
      try {
        new TextDecoder('utf-8', { fatal: true }).decode(all)
      } catch {
        valid = false
      }
      expect(text.isWellFormed()).toBe(valid)
    }),
    { numRuns: 1000 },
  )
})

test('any string without lone surrogates comes back', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      fc.pre(text.isWellFormed())
      expect(decodeText(encodeText(text))).toBe(text)
    }),
  )
})

test('a lone surrogate that no byte gives becomes U+FFFD', () => {
  expect(formatHex(encodeText('a\ud800b'))).toBe('61efbfbd62')
  expect(formatHex(encodeText('a\udc80b', 2))).toBe('0000618062')
  expect(formatHex(encodeText('\udc7f'))).toBe('efbfbd')
})
