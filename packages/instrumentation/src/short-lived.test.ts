import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { emptyList, listOf, numbersOf, PlainSpanContext, pairOf } from './short-lived.ts'

test('lists have what they were made of, and are nobody else', () => {
  expect(emptyList()).toEqual([])
  expect(listOf('a')).toEqual(['a'])
  expect(pairOf('a', undefined)).toEqual(['a', undefined])
  expect(numbersOf(1_764_000_000, 999_999_999)).toEqual([1_764_000_000, 999_999_999])
  for (const list of [emptyList<number>(), listOf(1), pairOf(1, 2), numbersOf(1, 2)]) list.push(3)
  expect([emptyList(), listOf(1), pairOf(1, 2), numbersOf(1, 2)]).toEqual([[], [1], [1, 2], [1, 2]])
})

test('a span context is a plain object', () => {
  const made = new PlainSpanContext('trace', 'span', 1, undefined)
  expect(made).toStrictEqual({ traceId: 'trace', spanId: 'span', traceFlags: 1, traceState: undefined })
  expect(Object.getPrototypeOf(made)).toBe(Object.prototype)
})

/**
 * In a process of its own, whose space for what lives short is as large as it may get: only then does the engine judge.
 * Many are made, and outlive collections; then one more, by optimized code.
 */
const PROGRAM = `
import { emptyList, listOf, numbersOf, PlainSpanContext, pairOf } from ${JSON.stringify(import.meta.resolve('./short-lived.ts'))}
const makers = {
  emptyList: () => emptyList(),
  listOf: (at) => listOf(at),
  pairOf: (at) => pairOf(at, at),
  numbersOf: (at) => numbersOf(at, at),
  PlainSpanContext: (at) => new PlainSpanContext('trace', 'span', at, undefined),
  literal: (at) => [at, at],
}
const isYoung = {}
for (const [name, make] of Object.entries(makers)) {
  %PrepareFunctionForOptimization(make)
  const kept = []
  for (let round = 0; round < 5; round++) {
    for (let at = 0; at < 2000; at++) kept.push(make(at))
    gc({ type: 'minor' })
  }
  %OptimizeFunctionOnNextCall(make)
  make(1)
  isYoung[name] = %InYoungGeneration(make(1))
}
console.log(JSON.stringify(isYoung))
`

test('what lives short is made where it is taken away soon, whatever lived long before', () => {
  const flags = [
    '--allow-natives-syntax',
    '--expose-gc',
    '--min-semi-space-size=1',
    '--max-semi-space-size=1',
  ]
  const args = [...flags, '--input-type=module', '--eval', PROGRAM]
  const isYoung = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as unknown
  expect(isYoung).toEqual({
    emptyList: true,
    listOf: true,
    pairOf: true,
    numbersOf: true,
    PlainSpanContext: true,
    // What all this is about.
    literal: false,
  })
})
