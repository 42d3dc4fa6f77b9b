import { TraceHistory } from '@rootspan/lineage/record/history'
import { expect, test } from 'vitest'
import { Histories } from './histories.ts'

const MIB = 1024 * 1024
const trace = (number: number) => ({ tenant: '', traceId: new Uint8Array(16).fill(number) })
const of = (size: number) => [{ count: 10, size }]

test('a history is there for as many segments as it has', () => {
  const histories = new Histories()
  const history = new TraceHistory()
  histories.keep(trace(1), history, of(100))
  expect(histories.get(trace(1), 0)).toBe(history)
  expect(histories.get(trace(1), 1)).toBeUndefined()
  expect(histories.get({ ...trace(1), tenant: 'other' }, 0)).toBeUndefined()
  histories.drop(trace(1))
  expect(histories.get(trace(1), 0)).toBeUndefined()
})

test('the ones that were kept first go when there is too much, by the bytes of their payloads too', () => {
  const histories = new Histories()
  for (const number of [1, 2, 3]) histories.keep(trace(number), new TraceHistory(), of(40 * MIB))
  histories.keep(trace(1), new TraceHistory(), of(41 * MIB))
  histories.keep(trace(4), new TraceHistory(), of(10 * MIB))
  const kept = () => [1, 2, 3, 4, 5].filter((number) => histories.get(trace(number), 0) !== undefined)
  expect(kept()).toEqual([1, 3, 4])
  // What is larger than all that is kept makes room for nothing.
  histories.keep(trace(5), new TraceHistory(), of(129 * MIB))
  expect(kept()).toEqual([1, 3, 4])
  histories.clear()
  expect(kept()).toEqual([])
  histories.keep(trace(5), new TraceHistory(), of(128 * MIB - 3200))
  expect(kept()).toEqual([5])
})
