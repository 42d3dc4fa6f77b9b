import { describe, expect, test } from 'vitest'
import { nearest } from './descend.ts'
import type { Node } from './model.ts'
import { HELD, isState, mayFollow, NEXT_STATES, TERMINAL } from './state.ts'

describe('mayFollow', () => {
  test.each([
    ['requested', 'authorized'],
    ['authorized', 'permitted'],
    ['permitted', 'executing'],
    ['executing', 'suspended'],
    ['suspended', 'executing'],
    ['executing', 'completed'],
    ['completed', 'sealed'],
    ['completed', 'overridden'],
    ['executing', 'executing'],
  ])('%s to %s', (from, to) => expect(mayFollow(from, to)).toBe(true))

  test.each([
    ['requested', 'executing'],
    ['authorized', 'executing'],
    ['refused', 'executing'],
    ['completed', 'executing'],
    ['suspended', 'completed'],
    ['sealed', 'overridden'],
    ['executing', 'requested'],
  ])('not %s to %s', (from, to) => expect(mayFollow(from, to)).toBe(false))

  test('every state that is named is one, and whatever ends can only be sealed', () => {
    for (const [from, next] of Object.entries(NEXT_STATES)) {
      expect(next.filter((state) => !isState(state))).toEqual([])
      expect(next.every((state) => state === 'sealed')).toBe(TERMINAL.has(from))
    }
    expect([...HELD].filter((state) => !isState(state) || TERMINAL.has(state))).toEqual([])
    for (const name of ['constructor', '__proto__', '']) expect(isState(name)).toBe(false)
  })
})

test('the nearest span is found from any depth, each span looked at once', () => {
  const spans: Node[] = []
  for (let place = 0; place < 100_000; place++)
    spans.push({ place, parent: spans[place - 1], governed: place % 50_000 === 0 } as Node)
  let looks = 0
  const found = nearest(
    spans.toReversed().toSorted((a, b) => a.place - b.place),
    ({ governed }) => {
      looks++
      return governed
    },
  )
  expect(looks).toBe(100_000)
  expect([0, 1, 49_999, 50_000, 99_999].map((place) => found[place]?.place)).toEqual([
    0, 0, 0, 50_000, 50_000,
  ])
})
