import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  anyResources,
  anyScopes,
  anySpans,
  encodeResource,
  encodeScope,
  encodeSpan,
} from '../../../../test/fuzz/otlp.ts'
import { concatBytes, parseHex } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { WireWriter } from '../wire.ts'
import { type AnyValue, decodeResource, decodeScope, decodeSpan } from './decode.ts'

/** The value of the only attribute of a span. */
function valueFrom(bytes: Uint8Array): AnyValue {
  const attribute = new WireWriter().bytes(2, bytes).finish()
  return decodeSpan(new WireWriter().bytes(9, attribute).finish()).attributes[0]!.value
}

describe('what was encoded', () => {
  test('spans, resources and scopes come back', () => {
    fc.assert(
      fc.property(anySpans, anyResources, anyScopes, (span, resource, scope) => {
        expect(decodeSpan(encodeSpan(span))).toEqual(span)
        expect(decodeResource(encodeResource(resource))).toEqual(resource)
        expect(decodeScope(encodeScope(scope))).toEqual(scope)
      }),
      { numRuns: 200 },
    )
  })

  test('nothing is the defaults', () => {
    const nothing = new Uint8Array(0)
    expect(decodeResource(nothing)).toEqual({
      attributes: [],
      droppedAttributesCount: 0,
      entityRefs: [],
      unknown: [],
    })
    expect(decodeScope(nothing)).toEqual({
      name: '',
      version: '',
      attributes: [],
      droppedAttributesCount: 0,
      unknown: [],
    })
    expect(decodeSpan(nothing).status).toEqual({ message: '', code: 0, unknown: [] })
  })

  test('byte fields are views into the input', () => {
    const bytes = new WireWriter().bytes(1, parseHex('0102')).finish()
    expect(decodeSpan(bytes).traceId.buffer).toBe(bytes.buffer)
  })
})

describe('scalars', () => {
  test('enums are signed 32 bits, counts unsigned ones, whatever the varint holds above', () => {
    const span = (value: bigint) => decodeSpan(new WireWriter().varint(6, value).varint(10, value).finish())
    expect(span(-1n)).toMatchObject({ kind: -1, droppedAttributesCount: 0xffff_ffff })
    expect(span(2n ** 32n + 3n)).toMatchObject({ kind: 3, droppedAttributesCount: 3 })
    expect(span(2n ** 31n)).toMatchObject({ kind: -(2 ** 31), droppedAttributesCount: 2 ** 31 })
  })

  test('a bool is true when any bit is set', () => {
    expect(valueFrom(new WireWriter().varint(2, 2n ** 40n).finish())).toEqual({ type: 'bool', value: true })
    expect(valueFrom(new WireWriter().varint(2, 2n).finish())).toEqual({ type: 'bool', value: true })
    expect(valueFrom(new WireWriter().varint(2, 0n).finish())).toEqual({ type: 'bool', value: false })
  })

  test('64 bits are exact', () => {
    const span = decodeSpan(
      new WireWriter()
        .fixed64(7, 1764000000000000123n)
        .fixed64(8, 2n ** 64n - 1n)
        .finish(),
    )
    expect(span).toMatchObject({ startTimeUnixNano: 1764000000000000123n, endTimeUnixNano: 2n ** 64n - 1n })
    expect(valueFrom(new WireWriter().varint(3, -(2n ** 63n)).finish())).toEqual({
      type: 'int',
      value: -(2n ** 63n),
    })
  })
})

describe('unknown fields', () => {
  const strange = [new WireWriter().string(17, 'type').finish(), new WireWriter().fixed32(9999, 7).finish()]
  const all = concatBytes(...strange)

  test('are kept whole and in order, at every level', () => {
    const inner = new WireWriter()
      .bytes(2, concatBytes(parseHex('1801'), all))
      .raw(all)
      .finish()
    const list = new WireWriter().bytes(5, concatBytes(parseHex('0a00'), all)).finish()
    const keyed = new WireWriter().bytes(6, concatBytes(parseHex('0a00'), all)).finish()
    const span = decodeSpan(
      new WireWriter()
        .raw(strange[0]!)
        .bytes(9, inner)
        .bytes(9, new WireWriter().bytes(2, list).finish())
        .bytes(9, new WireWriter().bytes(2, keyed).finish())
        .bytes(11, all)
        .bytes(13, all)
        .bytes(15, concatBytes(parseHex('0801'), all)) // field 1 of Status is reserved
        .raw(strange[1]!)
        .finish(),
    )
    expect(span.unknown).toEqual(strange)
    expect(span.attributes).toEqual([
      { key: '', value: { type: 'int', value: 1n, unknown: strange }, unknown: strange },
      { key: '', value: { type: 'array', value: [{ type: 'empty' }], listUnknown: strange } },
      {
        key: '',
        value: { type: 'kvlist', value: [{ key: '', value: { type: 'empty' } }], listUnknown: strange },
      },
    ])
    expect(span.events[0]!.unknown).toEqual(strange)
    expect(span.links[0]!.unknown).toEqual(strange)
    expect(span.status.unknown).toEqual([parseHex('0801'), ...strange])
    const resource = decodeResource(new WireWriter().raw(all).bytes(3, all).finish())
    expect(resource.unknown).toEqual(strange)
    expect(resource.entityRefs[0]!.unknown).toEqual(strange)
    expect(decodeScope(all).unknown).toEqual(strange)
  })

  test('string indexes of profiles count as absent, and are kept while they count', () => {
    const index = new WireWriter().varint(8, 5).finish()
    const text = new WireWriter().string(1, 'x').finish()
    expect(valueFrom(index)).toEqual({ type: 'empty', unknown: [index] })
    expect(valueFrom(concatBytes(text, index))).toEqual({ type: 'empty', unknown: [index] })
    expect(valueFrom(concatBytes(index, text))).toEqual({ type: 'string', value: 'x' })
    const keyIndex = new WireWriter().varint(3, 5).finish()
    expect(decodeSpan(new WireWriter().bytes(9, keyIndex).finish()).attributes).toEqual([
      { key: '', value: { type: 'empty' }, unknown: [keyIndex] },
    ])
  })
})

test('a message that may occur once is refused when it occurs twice', () => {
  expect(() => decodeSpan(parseHex('7a007a00'))).toThrow(
    new MalformedError('a message that may occur once occurs twice', 'status'),
  )
  expect(() => decodeSpan(parseHex('4a0412001200'))).toThrow(/occurs twice: value/)
  expect(() => valueFrom(parseHex('2a000a002a00'))).toThrow(/occurs twice: array_value/)
  expect(() => valueFrom(parseHex('32003200'))).toThrow(/occurs twice: kvlist_value/)
})
