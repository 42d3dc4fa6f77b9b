import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { WireWriter } from '../wire.ts'
import { encodeReceipt, parseReceipt, type Receipt } from './receipt.ts'

const NONE: Required<Receipt> = {
  receiver: '',
  peer: '',
  tenant: '',
  receivedAt: 0n,
  tracked: false,
  signal: 'traces',
}
const FULL: Required<Receipt> = {
  receiver: 'otlp/http+json',
  peer: 'spiffe://example/büro',
  tenant: 'acme',
  receivedAt: 0xfedc_ba98_7654_3210n,
  tracked: true,
  signal: 'logs',
}

test('byte by byte', () => {
  expect(formatHex(encodeReceipt({ ...FULL, receiver: 'otlp/grpc', peer: 'p' }))).toBe(
    `0a09${formatHex(utf8('otlp/grpc'))}1201701a04${formatHex(utf8('acme'))}211032547698badcfe28013001`,
  )
  expect(encodeReceipt(NONE).length).toBe(0)
})

test('any receipt comes back as it was', () => {
  const text = fc.string({ unit: 'grapheme' })
  fc.assert(
    fc.property(
      text,
      text,
      text,
      fc.bigInt(0n, 2n ** 64n - 1n),
      fc.boolean(),
      fc.constantFrom('traces', 'logs'),
      (receiver, peer, tenant, receivedAt, tracked, signal) => {
        const receipt = { receiver, peer, tenant, receivedAt, tracked, signal }
        expect(parseReceipt(encodeReceipt(receipt))).toEqual(receipt)
      },
    ),
  )
})

describe('refused', () => {
  const w = () => new WireWriter()
  test.each<[string, WireWriter]>([
    ['fields out of order', w().string(2, 'p').string(1, 'r')],
    ['a field twice', w().string(3, 'a').string(3, 'a')],
    ['an empty tenant in words', w().string(3, '')],
    ['a receiver that is no UTF-8', w().bytes(1, parseHex('ff'))],
    ['a time as a varint', w().varint(4, 1)],
    ['a time of zero in words', w().fixed64(4, 0n)],
    ['a tracking mark of 0', w().varint(5, 0)],
    ['a tracking mark of 2', w().varint(5, 2)],
    ['a tracking mark of 2^32', w().varint(5, 2n ** 32n)],
    ['a signal of 0', w().varint(6, 0)],
    ['a signal of 2', w().varint(6, 2)],
    ['an unknown field', w().string(1, 'r').varint(7, 1)],
    ['a tenant as a number', w().varint(3, 1)],
  ])('%s', (_, out) => {
    expect(() => parseReceipt(out.finish())).toThrow(MalformedError)
  })

  test('every change of a byte is refused or says something else', () => {
    const good = encodeReceipt(FULL)
    for (let at = 0; at < good.length; at++)
      for (let value = 0; value < 256; value++) {
        if (value === good[at]) continue
        const bytes = good.slice()
        bytes[at] = value
        try {
          const parsed = parseReceipt(bytes)
          expect(parsed).not.toEqual(FULL)
          expect(formatHex(encodeReceipt(parsed))).toBe(formatHex(bytes))
        } catch (error) {
          if (!(error instanceof MalformedError)) throw error
        }
      }
  })
})
