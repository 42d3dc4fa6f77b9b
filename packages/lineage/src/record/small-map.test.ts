import { expect, test } from 'vitest'
import { SmallMap } from './small-map.ts'

// More than it compares one by one.
const KEYS = Array.from({ length: 100 }, (_, i) => `key ${(i * 37) % 100}`)

test('a small map gives what was added, few or many', () => {
  const map = new SmallMap<string, number>()
  for (const [at, key] of KEYS.entries()) {
    expect(map.get(key)).toBe(undefined)
    map.add(key, at)
    for (let before = 0; before <= at; before++) expect(map.get(KEYS[before]!)).toBe(before)
  }
})
