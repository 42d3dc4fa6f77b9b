import { expect, test } from 'vitest'
import { crc32c, unmaskCrc } from './crc32c.ts'

const ascending = Uint8Array.from({ length: 32 }, (_, i) => i)

test.each([
  ['zeros', new Uint8Array(32), 0x8a9136aa],
  ['ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['ascending', ascending, 0x46dd794e],
  ['descending', ascending.toReversed(), 0x113fdb5c],
  ['the check value', new TextEncoder().encode('123456789'), 0xe3069283],
  ['nothing', new Uint8Array(0), 0],
])('RFC 3720 and the catalogue of CRCs: %s', (_, bytes, expected) => {
  expect(crc32c(bytes)).toBe(expected)
})

test('every start, length and split agrees with the bit by bit definition', () => {
  const bytes = Uint8Array.from({ length: 80 }, (_, i) => (i * 167 + 13) & 0xff)
  for (let start = 0; start < 9; start++) {
    for (let end = start; end <= bytes.length; end++) {
      const expected = bitwise(bytes.subarray(start, end))
      expect(crc32c(bytes, start, end)).toBe(expected)
      const middle = (start + end) >> 1
      expect(crc32c(bytes, middle, end, crc32c(bytes, start, middle))).toBe(expected)
    }
  }
})

test('unmasks what LevelDB masks', () => {
  for (const crc of [0, 1, 0xffffffff, 0xe3069283, 0x80000000, 0x12345678]) {
    const masked = ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) % 2 ** 32
    expect(unmaskCrc(masked)).toBe(crc)
  }
})

function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}
