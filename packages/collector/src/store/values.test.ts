/** The store's values against vectors that another program made (test/vectors/store/make.py). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatHex, parseHex } from '@rootspan/lineage/bytes'
import type { Continuity } from '@rootspan/lineage/continuity/judgement'
import { sha256 } from '@rootspan/lineage/crypto'
import { MalformedError } from '@rootspan/lineage/errors'
import type { Closed } from '@rootspan/lineage/record/payload'
import { Sink } from '@rootspan/lineage/record/sink'
import { describe, expect, test } from 'vitest'
import { parseBundleValue, writeBundleRef, writePartialBundle } from './bundles.ts'
import { type Cursor, cursorEnd, encodeCursor, parseCursor } from './cursor.ts'
import * as keys from './keys.ts'
import {
  type Commit,
  type CommittedRow,
  encodeCommit,
  encodeRows,
  parseCommit,
  parseRows,
  type SegmentRow,
} from './rows.ts'
import { TermLists } from './terms.ts'

interface RowFields {
  readonly tenant: string
  readonly traceId: string
  readonly segment: number
  readonly first: number
  readonly count: number
  readonly closed: Closed
  readonly pack: number
  readonly offset: number
  readonly length: number
  readonly at: number
  readonly size: number
  readonly start: string
  readonly end: string
  readonly spans: number
  readonly services: readonly string[]
  readonly name: string
  readonly erasures: readonly number[]
  readonly continuity: Continuity
  readonly rules: readonly string[]
}

interface CommitFields {
  readonly number: number
  readonly previous: string
  readonly first: number
  readonly size: number
  readonly root: string
  readonly time: string
  readonly cursor: string
  readonly bytes: number
  readonly packs: readonly (readonly [number, number])[]
  readonly rows: readonly RowFields[]
  readonly nextPack: number
}

interface CursorFields {
  readonly next: number
  readonly whole: readonly (readonly [number, number])[]
  readonly partial: readonly (readonly [number, string])[]
}

type BundleFields =
  | { readonly pack: number; readonly offset: number; readonly length: number }
  | { readonly width: number; readonly hashes: string; readonly entries: string }

interface Invalid {
  readonly why: string
  readonly hex: string
}

interface Vectors {
  readonly cursors: readonly { fields: CursorFields; hex: string }[]
  readonly rows: readonly { fields: RowFields; hex: string }[]
  readonly commits: readonly { fields: CommitFields; hex: string; digest: string }[]
  readonly bundles: readonly { fields: BundleFields; hex: string }[]
  readonly invalidBundles: readonly Invalid[]
  readonly terms: {
    readonly rows: readonly { row: RowFields; earlier: readonly RowFields[] }[]
    readonly lists: readonly { quarter: number; services: readonly string[]; hex: string }[]
  }
  readonly invalidCursors: readonly Invalid[]
  readonly invalidRows: readonly Invalid[]
  readonly invalidCommits: readonly Invalid[]
}

const path = join(import.meta.dirname, '../../../../test/vectors/store/values.json')
const vectors: Vectors = JSON.parse(readFileSync(path, 'utf8'))

function rowOf(fields: RowFields): SegmentRow {
  const { pack, offset, length, traceId, start, end, ...rest } = fields
  return {
    ...rest,
    traceId: parseHex(traceId),
    block: { pack, offset, length },
    start: BigInt(start),
    end: BigInt(end),
  }
}

function committedOf(fields: RowFields): CommittedRow {
  const { tenant, traceId, segment, first, count, closed, spans } = rowOf(fields)
  return { tenant, traceId, segment, first, count, closed, spans }
}

function commitOf(fields: CommitFields): Commit {
  const { previous, root, time, cursor, bytes, packs, rows, ...rest } = fields
  return {
    ...rest,
    previous: parseHex(previous),
    root: parseHex(root),
    time: BigInt(time),
    cursorDigest: parseHex(cursor),
    batchBytes: bytes,
    packs: packs.map(([pack, end]) => ({ pack, end })),
    rows: rows.map(committedOf),
  }
}

function cursorOf({ next, whole, partial }: CursorFields): Cursor {
  return {
    next,
    whole: whole.map(([from, count]) => ({ from, count })),
    partial: new Map(partial.map(([position, bits]) => [position, parseHex(bits)])),
  }
}

/** The value of a trace with one row. */
function inTrace(hex: string): Uint8Array {
  const row = parseHex(hex)
  const size = row.length < 128 ? [row.length] : [(row.length & 0x7f) | 0x80, row.length >> 7]
  return Uint8Array.of(0x0a, ...size, ...row)
}

describe('vectors', () => {
  test.each(vectors.cursors)('cursor $fields.next', ({ fields, hex }) => {
    expect(formatHex(encodeCursor(cursorOf(fields)))).toBe(hex)
    expect(parseCursor(parseHex(hex))).toEqual(cursorOf(fields))
  })

  test.each(vectors.rows)('row of segment $fields.segment', ({ fields, hex }) => {
    expect(formatHex(encodeRows([rowOf(fields)]))).toBe(formatHex(inTrace(hex)))
    expect(parseRows(inTrace(hex))).toEqual([rowOf(fields)])
  })

  test.each(vectors.commits)('commit $fields.number', ({ fields, hex, digest }) => {
    const encoded = encodeCommit(commitOf(fields))
    expect(formatHex(encoded.value)).toBe(hex)
    expect(formatHex(encoded.digest)).toBe(digest)
    const parsed = parseCommit(parseHex(hex))
    expect(parsed.commit).toEqual(commitOf(fields))
    expect(formatHex(parsed.digest)).toBe(digest)
  })

  test('the second commit names the first and its cursor', () => {
    const [first, second] = vectors.commits
    expect(second!.fields.previous).toBe(first!.digest)
    expect(second!.fields.cursor).toBe(formatHex(sha256(parseHex(vectors.cursors[2]!.hex))))
  })

  test.each(vectors.invalidCursors)('cursor: $why', ({ hex }) => {
    expect(() => parseCursor(parseHex(hex))).toThrow(MalformedError)
  })

  test.each(vectors.invalidRows)('row: $why', ({ hex }) => {
    expect(() => parseRows(inTrace(hex))).toThrow(MalformedError)
  })

  test.each(vectors.invalidCommits)('commit: $why', ({ hex }) => {
    expect(() => parseCommit(parseHex(hex))).toThrow(MalformedError)
  })
})

test('no byte of a commit may change', () => {
  for (const { hex } of vectors.commits) {
    const value = parseHex(hex)
    for (let at = 0; at < value.length; at++) {
      const changed = value.slice()
      changed[at]! ^= 1 << (at % 8)
      expect(() => parseCommit(changed), `byte ${at}`).toThrow(MalformedError)
    }
  }
})

test('a cursor ends after everything that it knows', () => {
  expect(vectors.cursors.map(({ fields }) => cursorEnd(cursorOf(fields)))).toEqual([0, 5, 401])
  expect(cursorEnd({ next: 3, whole: [], partial: new Map([[9, new Uint8Array(1)]]) })).toBe(10)
})

describe('entry bundles', () => {
  test.each(vectors.bundles)('$hex', ({ fields, hex }) => {
    const sink = new Sink()
    if ('pack' in fields) {
      writeBundleRef(sink, fields)
      expect(parseBundleValue(parseHex(hex))).toEqual(fields)
    } else {
      const bundle = {
        width: fields.width,
        hashes: parseHex(fields.hashes),
        entries: parseHex(fields.entries),
      }
      writePartialBundle(sink, bundle)
      expect(parseBundleValue(parseHex(hex))).toEqual(bundle)
    }
    expect(formatHex(sink.view())).toBe(hex)
  })

  test.each(vectors.invalidBundles)('not $why', ({ hex }) => {
    expect(() => parseBundleValue(parseHex(hex))).toThrow(MalformedError)
  })
})

test('search terms of the rows of a commit', () => {
  const lists = new TermLists()
  for (const { row, earlier } of vectors.terms.rows) lists.add(rowOf(row), earlier.map(rowOf))
  const found = [...lists].map((list) => {
    const sink = new Sink()
    list.write(sink)
    return { quarter: list.span, services: list.services.map(formatHex), hex: formatHex(sink.view()) }
  })
  expect(found).toEqual(vectors.terms.lists)
})

describe('keys', () => {
  const id = keys.traceId(Uint8Array.of(97), new Uint8Array(16).fill(1))

  test('are in the order of their numbers, and nothing lies between a key and what comes after it', () => {
    const numbers = [0, 1, 255, 256, 65_536, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]
    for (const make of [keys.entriesKey, keys.commitKey, keys.checkpointKey]) {
      const made = numbers.map(make)
      expect(made.toSorted(Buffer.compare)).toEqual(made)
      expect(made.map(keys.keyNumber)).toEqual(numbers)
    }
    expect(Buffer.compare(keys.termsKey(2, 1), keys.termsKey(1, 1))).toBe(-1)
    expect(keys.after(Uint8Array.of(1, 255))).toEqual(Uint8Array.of(2))
    expect(() => keys.after(Uint8Array.of(255))).toThrow('nothing comes after')
  })

  test('are as the page says', () => {
    expect(formatHex(keys.tileKey(2, 258))).toBe('02020000000000000102')
    expect(formatHex(keys.traceKey(id))).toBe(`060161${'01'.repeat(16)}`)
    expect(formatHex(keys.termsKey(1, 6))).toBe('070000000ffffffffe0000000000000006')
    expect(formatHex(keys.serviceKey(Uint8Array.of(65, 66), 0, 258))).toBe(
      '080241420000000fffffffff0000000000000102',
    )
    expect(formatHex(keys.receiptKey(5, 6))).toBe('0900000000000000050000000000000006')
    expect(formatHex(keys.CURSOR_KEY)).toBe('04')
  })
})
