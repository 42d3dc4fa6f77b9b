import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BY_AGE, BY_TOUCH, BY_WAIT, type ListOf, NONE, OpenTraces } from './open-traces.ts'

type Id = readonly [number, number, number, number]

const listed = (traces: OpenTraces, list: ListOf): number[] => {
  const rows: number[] = []
  for (let row = traces.first(list); row !== NONE; row = traces.next(list, row)) rows.push(row)
  return rows
}

const hex = ([a, b, c, d]: Id): string => {
  const bytes = Buffer.alloc(16)
  for (const [at, word] of [a, b, c, d].entries()) bytes.writeInt32BE(word, at * 4)
  return bytes.toString('hex')
}

describe('open traces', () => {
  test('against a map and three arrays: found, listed, forgotten, and their rows taken again', () => {
    const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
    const id = fc.oneof(
      fc.tuple(word, word, word, word),
      fc.tuple(fc.nat(1), fc.nat(1), fc.nat(1), fc.nat(1)),
    )
    const step = fc.record({
      what: fc.constantFrom('add', 'touch', 'wait', 'remove'),
      tenant: fc.nat(2),
      id,
      pick: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const traces = new OpenTraces()
        const tenants = ['', 'a', 'b'].map((name) => traces.tenant(name))
        const model = new Map<string, { row: number; tenant: number; id: Id }>()
        let byTouch: number[] = []
        let byWait: number[] = []
        let byAge: number[] = []
        for (const { what, tenant, id, pick } of steps) {
          const number = tenants[tenant]!
          const key = `${tenant} ${id}`
          const one = [...model.values()][pick % Math.max(1, model.size)]
          if (what === 'add' && !model.has(key)) {
            const row = traces.add(number, ...id)
            model.set(key, { row, tenant, id })
            traces.append(BY_TOUCH, row)
            traces.append(BY_AGE, row)
            byTouch.push(row)
            byAge.push(row)
          } else if (what !== 'add' && one !== undefined) {
            traces.unlink(byWait.includes(one.row) ? BY_WAIT : BY_TOUCH, one.row)
            byTouch = byTouch.filter((row) => row !== one.row)
            byWait = byWait.filter((row) => row !== one.row)
          }
          if (what === 'touch' && one !== undefined) {
            traces.append(BY_TOUCH, one.row)
            byTouch.push(one.row)
          } else if (what === 'wait' && one !== undefined) {
            traces.append(BY_WAIT, one.row)
            byWait.push(one.row)
          } else if (what === 'remove' && one !== undefined) {
            traces.unlink(BY_AGE, one.row)
            traces.remove(one.row)
            byAge = byAge.filter((row) => row !== one.row)
            model.delete(`${one.tenant} ${one.id}`)
          }
          expect(traces.find(number, ...id)).toBe(model.get(key)?.row ?? NONE)
          const lists = [BY_TOUCH, BY_WAIT, BY_AGE].map((list) => listed(traces, list as ListOf))
          expect(lists).toEqual([byTouch, byWait, byAge])
        }
        for (const { row, tenant, id } of model.values()) {
          expect(traces.find(tenants[tenant]!, ...id)).toBe(row)
          expect(traces.tenantOf(row)).toBe(['', 'a', 'b'][tenant])
          expect(Buffer.from(traces.idOf(row)).toString('hex')).toBe(hex(id))
        }
      }),
      { seed: 20261127, numRuns: 300 },
    )
  })

  test('more than there was room for: all are found, also where their ids differ in one place only', () => {
    const traces = new OpenTraces()
    const ids: Id[] = []
    for (let i = 0; i < 5000; i++)
      ids.push(
        [[i, 0, 0, 0] as const, [0, i << 16, 0, 0] as const, [0, 0, -i, 0] as const, [7, 7, 7, i] as const][
          i & 3
        ]!,
      )
    const rows = ids.map((id) => traces.add(0, ...id))
    expect(new Set(rows).size).toBe(5000)
    expect(ids.map((id) => traces.find(0, ...id))).toEqual(rows)
    expect(ids.every((id) => traces.find(1, ...id) === NONE)).toBe(true)
    for (const row of rows.slice(0, 4000)) traces.remove(row)
    expect(ids.map((id) => traces.find(0, ...id))).toEqual([
      ...rows.slice(0, 4000).map(() => NONE),
      ...rows.slice(4000),
    ])
  })
})
