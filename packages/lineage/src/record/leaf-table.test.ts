import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { LeafTable, NO_TRACE, TraceTable } from './leaf-table.ts'

const hashOf = (text: string): Uint8Array => new Uint8Array(createHash('sha256').update(text).digest())

describe('leaves', () => {
  test('are found by hash with what was said of them, however many there are', () => {
    const table = new LeafTable()
    const count = 9000 // grows several times, over several chunks
    const spanIds = new Uint8Array(8 * count)
    for (let at = 0; at < spanIds.length; at++) spanIds[at] = (at * 31) & 255
    for (let row = 0; row < count; row++)
      table.add(
        hashOf(`leaf ${row}`),
        0,
        spanIds,
        row % 5 === 0 ? -1 : row * 8,
        row % 7 === 0 ? NO_TRACE : row,
        row % 32,
      )
    expect(table.count).toBe(count)
    for (let row = 0; row < count; row++) {
      const hash = hashOf(`leaf ${row}`)
      expect(table.find(hash, 0)).toBe(row)
      expect(table.trace(row)).toBe(row % 7 === 0 ? NO_TRACE : row)
      expect(table.classOf(row)).toBe(row % 32)
      if (row % 5 !== 0) expect(table.hasSpanId(row, spanIds, row * 8)).toBe(true)
      hash[15]! ^= 1
      expect(table.find(hash, 0)).toBe(-1)
    }
  })

  test('that share a slot do not hide each other', () => {
    const table = new LeafTable()
    const hash = (number: number): Uint8Array => {
      const bytes = new Uint8Array(32)
      bytes[15] = number
      return bytes
    }
    for (let number = 0; number < 100; number++) table.add(hash(number), 0, hash(0), -1, number, 0)
    for (let number = 0; number < 100; number++) expect(table.find(hash(number), 0)).toBe(number)
    expect(table.find(hash(100), 0)).toBe(-1)
    table.add(hash(5), 0, hash(0), -1, 1, 0)
    expect(table.find(hash(5), 0)).toBe(5)
  })
})

describe('traces', () => {
  test.each([0, 0xffff_ffff, 12_345])('are one for each tenant and id, under the seed %i', (seed) => {
    const table = new TraceTable(seed)
    const acme = table.tenant('acme')
    const none = table.tenant('')
    expect(table.tenant('acme')).toBe(acme)
    const ids = Array.from({ length: 5000 }, (_, at) => {
      const id = new Uint8Array(16)
      id[at % 16] = at >>> 4 // ids that differ little
      id[(at + 1) % 16] = at >>> 9
      return id
    })
    const known = new Map<string, number>()
    for (const id of ids)
      for (const tenant of [acme, none]) {
        const key = `${tenant} ${id.join()}`
        const row = table.trace(tenant, id, 0)
        expect(row).toBe(known.get(key) ?? known.size)
        known.set(key, row)
        expect(table.is(row, tenant, id, 0)).toBe(true)
        expect(table.is(row, tenant === acme ? none : acme, id, 0)).toBe(false)
      }
    expect(table.count).toBe(known.size)
  })

  test('remember their last seal', () => {
    const table = new TraceTable(1)
    const row = table.trace(table.tenant(''), new Uint8Array(16), 0)
    expect(table.nextSegment(row)).toBe(0)
    for (const segment of [0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER - 1]) {
      table.seal(row, segment, 77)
      expect(table.nextSegment(row)).toBe(segment + 1)
      expect(table.lastSeal(row)).toBe(77)
    }
  })
})
