/** Ids of an emitter; what it does to spans is tested with the SDK, in recorder.test.ts and under test/instrumentation. */
import { expect, test } from 'vitest'
import { createEmitter } from './emitter.ts'

const ENDINGS = { before() {}, last() {} }

test('no two ids are the same, of one emitter or of two', () => {
  const count = 3 * 36 ** 2 + 1
  const ids = [createEmitter(ENDINGS, () => false), createEmitter(ENDINGS, () => false)].flatMap((emitter) =>
    Array.from({ length: count }, () => emitter.nextId()),
  )
  expect(new Set(ids).size).toBe(2 * count)
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{16}-[0-9a-z]{2,3}$/)
})

test('an id says whose it is', () => {
  const emitter = createEmitter(ENDINGS, () => false)
  expect(emitter.nextId().split('-')[0]).toBe(emitter.id.slice(0, 16))
})
