import { compareBytes, formatHex } from '@rootspan/lineage/bytes'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as keys from './keys.ts'

const number = fc.maxSafeNat()
const id = fc
  .tuple(fc.uint8Array({ maxLength: 255 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map(([tenant, trace]) => keys.traceId(tenant, trace))
const span = fc.nat(keys.MAX_SPAN)
const sign = (value: number | bigint) => (value < 0 ? -1 : value > 0 ? 1 : 0)

describe('byte order is the natural order', () => {
  test('of numbers', () => {
    fc.assert(
      fc.property(number, number, (a, b) => {
        for (const keyOf of [keys.entriesKey, keys.commitKey, keys.checkpointKey]) {
          expect(sign(compareBytes(keyOf(a), keyOf(b)))).toBe(sign(a - b))
          expect(keys.keyNumber(keyOf(a))).toBe(a)
        }
        const [x, y] = [keys.receiptKey(a, 1), keys.receiptKey(b, 0)]
        expect(sign(compareBytes(x, y))).toBe(sign(a - b) || 1)
      }),
    )
  })

  test('of spans of time, the newest first, and of commits in them', () => {
    fc.assert(
      fc.property(span, span, number, number, (a, b, x, y) => {
        const expected = sign(b - a) || sign(x - y)
        expect(sign(compareBytes(keys.termsKey(a, x), keys.termsKey(b, y)))).toBe(expected)
        const service = Uint8Array.of(0x61)
        const [one, other] = [keys.serviceKey(service, a, x), keys.serviceKey(service, b, y)]
        expect(sign(compareBytes(one, other))).toBe(expected)
        expect([keys.keySpan(one), keys.keySpan(keys.termsKey(b, y))]).toEqual([a, b])
      }),
    )
  })
})

describe('no two things have one key', () => {
  test('traces of different tenants, and services', () => {
    const name = fc.uint8Array({ maxLength: 9 })
    fc.assert(
      fc.property(id, id, span, number, name, name, (a, b, at, commit, x, y) => {
        const [one, other] = [keys.traceKey(a), keys.traceKey(b)].map(formatHex)
        expect(one === other).toBe(formatHex(a) === formatHex(b))
        const [p, q] = [keys.serviceKey(x, at, commit), keys.serviceKey(y, at, commit)].map(formatHex)
        expect(p === q).toBe(formatHex(x) === formatHex(y))
      }),
    )
  })

  test('the walk over one service meets no other one', () => {
    const walk = (service: number[]) => Uint8Array.of(keys.Prefix.byService, service.length, ...service)
    const of = (service: number[]) => keys.serviceKey(Uint8Array.from(service), 5, 7)
    const within = (service: number[], other: number[]) =>
      compareBytes(of(other), walk(service)) >= 0 && compareBytes(of(other), keys.after(walk(service))) < 0
    const names = [[], [0], [0x61], [0x61, 0], [0x61, 0x62], [0xff], [0xff, 0xff], [0x62]]
    for (const one of names) for (const other of names) expect(within(one, other)).toBe(one === other)
  })
})

test('what comes after a prefix is the first key beyond all that begin with it', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 6 }),
      fc.uint8Array({ maxLength: 6 }),
      (prefix, more) => {
        fc.pre(prefix.some((byte) => byte < 255))
        const end = keys.after(prefix)
        expect(compareBytes(Uint8Array.from([...prefix, ...more]), end)).toBeLessThan(0)
        expect(compareBytes(end, prefix)).toBeGreaterThan(0)
        expect(prefix.length).toBeGreaterThanOrEqual(end.length)
      },
    ),
  )
  expect(() => keys.after(Uint8Array.of(255, 255))).toThrow(/^bad key/)
})
