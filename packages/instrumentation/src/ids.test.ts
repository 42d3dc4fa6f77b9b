import { expect, test } from 'vitest'
import { idGenerator } from './ids.ts'

test('ids of traces and spans are hex of 16 and 8 bytes, and no two are alike', () => {
  const ids = idGenerator()
  const all = new Set<string>()
  for (let count = 0; count < 5000; count++) {
    const trace = ids.generateTraceId()
    const span = ids.generateSpanId()
    expect(trace).toMatch(/^[\da-f]{32}$/)
    expect(span).toMatch(/^[\da-f]{16}$/)
    all.add(trace).add(span)
  }
  expect(all.size).toBe(10_000)
})

test('every byte that is drawn is used once, in its order, and zeros are no id', () => {
  const drawn: Buffer[] = []
  const ids = idGenerator((count) => {
    const bytes = Buffer.alloc(count)
    // One span id of zeros, and others that begin with some.
    for (let at = 8; at < count; at += 4) bytes.writeUInt32BE(at + drawn.length * count, at)
    drawn.push(bytes)
    return bytes
  })
  const first = Array.from({ length: 511 }, () => ids.generateSpanId())
  expect(first.join('')).toBe(drawn[0]!.subarray(8).toString('hex'))
  expect(drawn).toHaveLength(1)
  expect(ids.generateTraceId()).toBe(drawn[1]!.subarray(0, 16).toString('hex'))
  expect(ids.generateSpanId()).toBe(drawn[1]!.subarray(16, 24).toString('hex'))
})
