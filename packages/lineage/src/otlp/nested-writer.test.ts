import fc from 'fast-check'
import { expect, test } from 'vitest'
import { formatHex } from '../bytes.ts'
import { WireReader, WireWriter } from '../wire.ts'
import { NestedWriter } from './nested-writer.ts'

test('fields come out ascending, each as it was written last', () => {
  const anyWrites = fc.array(
    fc.record({
      field: fc.integer({ min: 1, max: 16 }),
      text: fc.string({ maxLength: 200 }),
      drop: fc.boolean(),
    }),
  )
  fc.assert(
    fc.property(anyWrites, anyWrites, (outer, inner) => {
      const out = new NestedWriter()
      const write = (writes: typeof outer) => {
        out.openMessage()
        for (const { field, text, drop } of writes) {
          if (drop) out.dropField(field)
          else {
            out.openField(field)
            if (text !== '') out.string(field, text)
            out.closeField(field)
          }
        }
      }
      const expected = (writes: typeof outer) => {
        const last = new Map(writes.map((each) => [each.field, each.drop ? '' : each.text]))
        const wire = new WireWriter()
        for (const [field, text] of [...last].sort(([a], [b]) => a - b))
          if (text !== '') wire.string(field, text)
        return wire
      }
      write(outer)
      out.openField(5)
      const mark = out.openBytes(5)
      write(inner)
      out.closeMessage()
      out.closeBytes(mark)
      out.closeField(5)
      out.closeMessage()

      const wire = new WireWriter()
      const reader = new WireReader(expected(outer.filter((each) => each.field !== 5)).finish())
      const rest: [number, Uint8Array][] = []
      while (reader.next()) rest.push([reader.field, reader.value()])
      for (const [field, bytes] of [...rest, [5, expected(inner).finish()] as const].sort(
        ([a], [b]) => a - b,
      ))
        wire.bytes(field, bytes)
      expect(formatHex(out.finish())).toBe(formatHex(wire.finish()))
    }),
  )
})

test('lengths of every size', () => {
  for (const size of [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
    const text = 'x'.repeat(size)
    const out = new NestedWriter()
    out.string(1, text)
    out.varint(2, 7)
    expect(out.finish()).toEqual(new WireWriter().string(1, text).varint(2, 7).finish())
  }
})

test('scalars are what WireWriter makes of them', () => {
  for (const value of [0, 127, 128, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1, -(2n ** 63n), 2n ** 64n - 1n]) {
    const out = new NestedWriter()
    out.varint(1, value)
    out.fixed64(2, value)
    out.double(3, 0.1)
    out.fixed32(16, 2 ** 32 - 1)
    const wire = new WireWriter().varint(1, value).fixed64(2, BigInt(value)).double(3, 0.1)
    expect(formatHex(out.finish())).toBe(formatHex(wire.fixed32(16, 2 ** 32 - 1).finish()))
  }
})

test('text is UTF-8, whatever comes after its ASCII', () => {
  for (const text of ['é', 'aé', 'a😀b', 'a\ud800', '\udcffé', 'é'.repeat(4000)]) {
    const out = new NestedWriter()
    out.string(1, text)
    expect(out.finish()).toEqual(new WireWriter().string(1, text).finish())
  }
})

test('dropFields takes back the innermost message only', () => {
  const out = new NestedWriter()
  out.openMessage()
  out.openField(1)
  const mark = out.openBytes(1)
  out.openMessage()
  out.openField(2)
  out.string(2, 'gone')
  out.closeField(2)
  out.dropFields()
  out.openField(3)
  out.string(3, 'kept')
  out.closeField(3)
  out.closeMessage()
  out.closeBytes(mark)
  expect(() => out.finish()).toThrow('bad nesting')
  out.closeField(1)
  out.closeMessage()
  expect(out.finish()).toEqual(
    new WireWriter().bytes(1, new WireWriter().string(3, 'kept').finish()).finish(),
  )
})
