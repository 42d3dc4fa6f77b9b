import { compareBytes, formatHex } from '@rootspan/lineage/bytes'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as keys from './keys.ts'

const number = fc.maxSafeNat()
const id = fc
  .tuple(fc.uint8Array({ maxLength: 255 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map(([tenant, trace]) => keys.traceId(tenant, trace))
const time = fc.bigInt(0n, 2n ** 64n - 1n)
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

  test('of times, the newest first, services and tenants apart', () => {
    fc.assert(
      fc.property(time, time, id, (a, b, trace) => {
        expect(sign(compareBytes(keys.byTimeKey(a, trace), keys.byTimeKey(b, trace)))).toBe(sign(b - a))
        const service = Uint8Array.of(0x61)
        const [x, y] = [keys.byServiceKey(service, a, trace), keys.byServiceKey(service, b, trace)]
        expect(sign(compareBytes(x, y))).toBe(sign(b - a))
      }),
    )
  })
})

describe('no two things have one key', () => {
  test('traces of different tenants, and services', () => {
    fc.assert(
      fc.property(
        id,
        id,
        time,
        fc.uint8Array({ maxLength: 9 }),
        fc.uint8Array({ maxLength: 9 }),
        (a, b, at, x, y) => {
          const same = formatHex(a) === formatHex(b)
          expect(formatHex(keys.traceKey(a)) === formatHex(keys.traceKey(b))).toBe(same)
          const sameService = same && formatHex(x) === formatHex(y)
          expect(formatHex(keys.byServiceKey(x, at, a)) === formatHex(keys.byServiceKey(y, at, b))).toBe(
            sameService,
          )
        },
      ),
    )
  })

  test('the walk over one service meets no other one', () => {
    const walk = (service: number[]) => Uint8Array.of(keys.Prefix.byService, service.length, ...service)
    const trace = keys.traceId(new Uint8Array(0), new Uint8Array(16))
    const of = (service: number[]) => keys.byServiceKey(Uint8Array.from(service), 5n, trace)
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
