import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { anySpans, encodeSpan } from '../../../../test/fuzz/otlp.ts'
import { utf8 } from '../bytes.ts'
import { WireWriter } from '../wire.ts'
import { decodeSpan, type KeyValue } from './decode.ts'
import { KeyNames } from './key-names.ts'

const find = (names: KeyNames, key: string): string | undefined => {
  const bytes = utf8(`<${key}>`)
  return names.find(bytes, 1, bytes.length - 1)
}

test('keys that were named, and those behind the prefix, are found, and no others', () => {
  const names = new KeyNames(['http.route', 'url.full'], 'governance.')
  for (const key of ['http.route', 'url.full', 'governance.decision.id', 'governance.', 'governance.é'])
    expect(find(names, key)).toBe(key)
  for (const key of ['', 'http.rout', 'http.routes', 'governance', 'xgovernance.decision.id'])
    expect(find(names, key)).toBeUndefined()
})

test('what is remembered changes no answer, however many keys there are', () => {
  const names = new KeyNames([], 'g.')
  const keys = Array.from({ length: 2000 }, (_, at) => `g.${at}${'x'.repeat(at % 100)}`)
  for (let round = 0; round < 2; round++) for (const key of keys) expect(find(names, key)).toBe(key)
  const broken = Uint8Array.of(0x67, 0x2e, 0xff)
  expect(names.find(broken, 0, 3)).toBe('g.\udcff')
})

test('keys that share a hash are told apart', () => {
  // Two words with one FNV-1a of 32 bits.
  const both = new KeyNames(['costarring', 'liquid'], 'g.')
  expect([find(both, 'costarring'), find(both, 'liquid')]).toEqual(['costarring', 'liquid'])
  expect(find(new KeyNames(['costarring'], 'g.'), 'liquid')).toBeUndefined()
})

describe('a span of which only some attributes are wanted', () => {
  const names = new KeyNames(['a', 'key'], 'governance.')
  const isWanted = ({ key }: KeyValue): boolean =>
    key === 'a' || key === 'key' || key.startsWith('governance.')

  test('is the whole span without the others', () => {
    const key = fc.constantFrom('a', 'b', 'key', 'keys', 'governance.x', 'governance', 'http.route')
    let kept = 0
    fc.assert(
      fc.property(anySpans, fc.array(key, { minLength: 30, maxLength: 30 }), (any, keys) => {
        const named = (attributes: readonly KeyValue[]): KeyValue[] =>
          attributes.map((attribute, at) => ({ ...attribute, key: keys[at % keys.length]! }))
        const withKeys = <T extends { attributes: KeyValue[] }>(one: T): T => ({
          ...one,
          attributes: named(one.attributes),
        })
        const span = {
          ...withKeys(any),
          events: any.events.map(withKeys),
          links: any.links.map(withKeys),
        }
        const without = <T extends { attributes: KeyValue[] }>(one: T): T => ({
          ...one,
          attributes: one.attributes.filter(isWanted),
        })
        const expected = {
          ...without(span),
          events: span.events.map(without),
          links: span.links.map(without),
        }
        kept += expected.attributes.length
        expect(decodeSpan(encodeSpan(span), names)).toEqual(expected)
      }),
      { numRuns: 200 },
    )
    expect(kept).toBeGreaterThan(0)
  })

  test('the last of several keys of one attribute counts, wherever it stands', () => {
    const value = new WireWriter().string(1, 'v').finish()
    const attribute = (...write: ((writer: WireWriter) => void)[]): Uint8Array => {
      const writer = new WireWriter()
      for (const one of write) one(writer)
      return new WireWriter().bytes(9, writer.finish()).finish()
    }
    const key = (name: string) => (writer: WireWriter) => void writer.string(1, name)
    const content = (writer: WireWriter) => void writer.bytes(2, value)
    expect(decodeSpan(attribute(key('a'), content, key('other')), names).attributes).toEqual([])
    for (const bytes of [attribute(key('other'), key('a'), content), attribute(content, key('a'))])
      expect(decodeSpan(bytes, names).attributes).toEqual(decodeSpan(bytes).attributes)
  })
})
