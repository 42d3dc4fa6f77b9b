import { describe, expect, test } from 'vitest'
import { defersJudging, encodeDue, Reviews } from './reviews.ts'
import { reviewKey, traceId } from './store/keys.ts'
import { encodeName } from './store/rows.ts'

const ids = Array.from({ length: 5 }, (_, at) =>
  traceId(encodeName(at === 4 ? 'acme' : ''), new Uint8Array(16).fill(at)),
)
const [a, b, c, d, e] = ids as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array]
const hex = (found: readonly Uint8Array[]): string[] =>
  found.map((id) => Buffer.from(id).toString('hex')).sort()

describe('what waits', () => {
  test('is due when its time has come, some at a time', () => {
    const reviews = new Reviews()
    reviews.note(a, 10n)
    reviews.note(b, 20n)
    reviews.note(e, 5n)
    expect(reviews.due(4n, 9)).toEqual([])
    expect(hex(reviews.due(10n, 9))).toEqual(hex([a, e]))
    expect(reviews.due(20n, 2)).toHaveLength(2)
    expect(hex(reviews.due(20n, 9))).toEqual(hex([a, b, e]))
  })

  test('is forgotten, put off, or due before', () => {
    const reviews = new Reviews()
    for (const id of [a, b, c]) reviews.note(id, 10n)
    reviews.note(a, undefined)
    reviews.note(b, 3n)
    reviews.postpone(c, 30n)
    reviews.postpone(d, 1n)
    expect(hex(reviews.due(9n, 9))).toEqual(hex([b]))
    expect(hex(reviews.due(29n, 9))).toEqual(hex([b]))
    expect(hex(reviews.due(30n, 9))).toEqual(hex([b, c]))
    expect([reviews.count, reviews.dueOf(b), reviews.dueOf(a)]).toEqual([2, 3n, undefined])
  })

  test('comes back from the store as it was noted', () => {
    const reviews = new Reviews()
    reviews.note(a, 10n)
    reviews.note(e, 2n ** 70n)
    reviews.note(b, -5n)
    reviews.note(c, 1n)
    reviews.note(c, undefined)
    const changes = reviews.takeChanges()
    expect(reviews.takeChanges()).toEqual([])
    expect(changes).toEqual([
      [reviewKey(a), encodeDue(10n)],
      [reviewKey(e), encodeDue(2n ** 64n - 1n)],
      [reviewKey(b), encodeDue(0n)],
      [reviewKey(c), undefined],
    ])
    const again = new Reviews(changes.flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])))
    expect([a, b, c, e].map((id) => again.dueOf(id))).toEqual([10n, 0n, undefined, 2n ** 64n - 1n])
    // What is known already is not written again.
    again.note(b, -7n)
    expect(again.takeChanges()).toEqual([])
  })

  test('is bounded: what is more is not noted', () => {
    const reviews = new Reviews()
    for (let at = 0; at < 100_001; at++) {
      const id = new Uint8Array(16)
      new DataView(id.buffer).setUint32(0, at)
      reviews.note(traceId(encodeName(''), id), 1n)
    }
    expect(reviews.count).toBe(100_000)
    expect(reviews.takeChanges()).toHaveLength(100_000)
  })
})

test('an execution that grows by one span a segment is judged some hundred times, and at each eighth', () => {
  let judged = 0
  let last = 4096
  for (let born = 4097; born <= 1_000_000; born++) {
    if (defersJudging(born, 1)) continue
    judged++
    expect(born / last).toBeLessThan(1.13)
    last = born
  }
  expect(judged).toBeLessThan(50)
  expect(defersJudging(5000, 5000)).toBe(false)
  expect(defersJudging(8000, 2000)).toBe(false)
})
