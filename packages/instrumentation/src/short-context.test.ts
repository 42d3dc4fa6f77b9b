import { type Context, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { shorten } from './short-context.ts'

const KEYS = ['a', 'b', 'c', 'd'].map((name) => createContextKey(name))

/** Another context of the API's own that holds nothing, as the root context does. */
const emptyContext = (): Context => ROOT_CONTEXT.deleteValue(KEYS[0]!)

test('contexts hold what those of the API hold, and stay what they were', () => {
  const [theirs, ours] = [emptyContext(), emptyContext()]
  shorten(ours)
  const key = fc.constantFrom(...KEYS)
  const change = fc.record({
    /** Which of the contexts that there are is changed. */
    of: fc.nat(),
    key,
    // Undefined is taken away, and a key may be a value.
    value: fc.oneof(fc.nat(), fc.constantFrom(undefined, null), key),
  })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 20 }), (changes) => {
      const pairs = [{ ours, theirs }]
      for (const { of, key, value } of changes) {
        const { ours, theirs } = pairs[of % pairs.length]!
        const change = (one: Context): Context =>
          value === undefined ? one.deleteValue(key) : one.setValue(key, value)
        pairs.push({ ours: change(ours), theirs: change(theirs) })
      }
      for (const { ours, theirs } of pairs)
        expect(KEYS.map((key) => ours.getValue(key))).toEqual(KEYS.map((key) => theirs.getValue(key)))
    }),
    { numRuns: 1000 },
  )
  expect(ours.setValue(KEYS[0]!, 1).constructor).not.toBe(theirs.setValue(KEYS[0]!, 1).constructor)
})

test('a root context that cannot be changed stays as it is', () => {
  const root = Object.freeze(emptyContext())
  shorten(root)
  expect(root.setValue(KEYS[0]!, 1).constructor).toBe(root.constructor)
})
