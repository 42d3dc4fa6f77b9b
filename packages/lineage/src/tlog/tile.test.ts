import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHex, parseHex, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import {
  encodeEntryBundle,
  entriesPath,
  MAX_ENTRY_SIZE,
  parseEntriesPath,
  parseEntryBundle,
  parseTilePath,
  tilePath,
  tilesOf,
  tileWidth,
} from './tile.ts'

const indexes = fc.oneof(fc.maxSafeNat(), fc.nat(2_000_000))
const widths = fc.integer({ min: 1, max: 256 })

describe('paths', () => {
  test('whatever is formatted parses back', () => {
    fc.assert(
      fc.property(fc.nat(63), indexes, widths, (level, index, width) => {
        expect(parseTilePath(tilePath(level, index, width))).toEqual({ level, index, width })
        expect(parseEntriesPath(entriesPath(index, width))).toEqual({ index, width })
      }),
    )
  })

  test('whatever parses formats back', () => {
    const place = fc.stringMatching(/^(x?[0-9]{2,4}\/){0,6}[0-9]{2,4}(\.p\/[0-9]{0,4})?$/)
    fc.assert(
      fc.property(fc.stringMatching(/^[0-9]{1,3}$/), place, (level, text) => {
        const path = `tile/${level}/${text}`
        try {
          const tile = parseTilePath(path)
          expect(tilePath(tile.level, tile.index, tile.width)).toBe(path)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('numbers that are none are our own bug', () => {
    for (const level of [-1, 64, 0.5, Number.NaN])
      expect(() => tilePath(level, 0, 1)).toThrow('bad tile level')
    for (const index of [-1, 0.5, 2 ** 53]) expect(() => entriesPath(index, 1)).toThrow('bad tile index')
    for (const width of [0, 257, 1.5]) expect(() => tilePath(0, 0, width)).toThrow('bad tile width')
  })
})

describe('tilesOf', () => {
  test('the examples of the specification', () => {
    expect([...tilesOf(0)]).toEqual([])
    expect([...tilesOf(256)].map((tile) => tilePath(tile.level, tile.index, tile.width))).toEqual([
      'tile/0/000',
      'tile/1/000.p/1',
    ])
    const paths = [...tilesOf(70_000)].map((tile) => tilePath(tile.level, tile.index, tile.width))
    expect(paths).toHaveLength(277)
    expect(paths.filter((path) => !/^tile\/0\/[0-9]+$/.test(path))).toEqual([
      'tile/0/273.p/112',
      'tile/1/000',
      'tile/1/001.p/17',
      'tile/2/000.p/1',
    ])
  })

  test('every leaf is in one tile, every full tile in one of the level above', () => {
    fc.assert(
      fc.property(fc.nat(300_000), (size) => {
        let below = size
        for (let level = 0; below > 0; level++) {
          const tiles = [...tilesOf(size)].filter((tile) => tile.level === level)
          expect(tiles.reduce((sum, tile) => sum + tile.width, 0)).toBe(below)
          expect(tiles.map((tile) => tile.index)).toEqual(tiles.map((_, i) => i))
          expect(tiles.slice(0, -1).every((tile) => tile.width === 256)).toBe(true)
          for (const tile of tiles) expect(tileWidth(size, level, tile.index)).toBe(tile.width)
          expect(tileWidth(size, level, tiles.length)).toBe(0)
          below = tiles.filter((tile) => tile.width === 256).length
        }
      }),
      { numRuns: 20 },
    )
  })

  test('a size that is none is our own bug', () => {
    for (const size of [-1, 0.5, 2 ** 53]) expect(() => [...tilesOf(size)]).toThrow('bad tree size')
  })
})

describe('entry bundles', () => {
  test('bytes', () => {
    expect(formatHex(encodeEntryBundle([utf8('ab'), new Uint8Array(0), utf8('c')]))).toBe(
      '00026162' + '0000' + '000163',
    )
    const long = encodeEntryBundle([new Uint8Array(MAX_ENTRY_SIZE)])
    expect([long.length, long[0], long[1]]).toEqual([65_537, 255, 255])
  })

  test('whatever is encoded parses back, and in no other width', () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 256 })
    fc.assert(
      fc.property(entries, widths, (list, width) => {
        const bytes = encodeEntryBundle(list)
        expect(parseEntryBundle(bytes, list.length).map(formatHex)).toEqual(list.map(formatHex))
        if (width !== list.length) expect(() => parseEntryBundle(bytes, width)).toThrow(MalformedError)
      }),
    )
  })

  test('every cut and every byte more is refused', () => {
    const bytes = encodeEntryBundle([utf8('first'), utf8(''), utf8('third')])
    for (let size = 0; size < bytes.length; size++)
      expect(() => parseEntryBundle(bytes.subarray(0, size), 3)).toThrow('ends early')
    expect(() => parseEntryBundle(parseHex(`${formatHex(bytes)}00`), 3)).toThrow('bytes after')
  })

  test('any bytes parse to entries that encode to them, or not at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.integer({ min: 1, max: 9 }), (bytes, width) => {
        const tame = bytes.map((byte, i) => (i % 3 === 0 ? 0 : byte % 8))
        try {
          expect(formatHex(encodeEntryBundle(parseEntryBundle(tame, width)))).toBe(formatHex(tame))
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('what cannot be encoded is our own bug', () => {
    expect(() => encodeEntryBundle([])).toThrow('bad bundle')
    expect(() => encodeEntryBundle(Array(257).fill(new Uint8Array(0)))).toThrow('bad bundle')
    expect(() => encodeEntryBundle([new Uint8Array(MAX_ENTRY_SIZE + 1)])).toThrow('bad entry')
    for (const width of [0, 257, 1.5])
      expect(() => parseEntryBundle(new Uint8Array(2), width)).toThrow('bad bundle')
  })
})
