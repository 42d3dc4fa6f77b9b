import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { leafHash } from '@rootspan/lineage/tlog/merkle'
import { encodeEntryBundle } from '@rootspan/lineage/tlog/tile'
import { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nodeFiles } from '../files.ts'
import { openPacks, PackReader, type Packs, RECORDS } from '../pack.ts'
import { START } from './cursor.ts'
import * as keys from './keys.ts'
import {
  type Batch,
  type Database,
  LevelLogStore,
  LogReader,
  loadCursor,
  loadTree,
  openDatabase,
  readChain,
  StoreError,
} from './log-store.ts'
import { type Commit, encodeCommit, parseCommit, type SegmentRow } from './rows.ts'
import { readTerms } from './terms.ts'

let directory: string
let database: Database
let store: LevelLogStore
let packs: Packs
let reader: LogReader
let tree: TileTree
let entries: Uint8Array[]

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-store-'))
  database = await openDatabase(join(directory, 'log'), 'create')
  store = await LevelLogStore.open(database)
  const files = { directory: join(directory, 'packs'), files: nodeFiles }
  packs = await openPacks({ ...files, log: { info() {}, warn() {} } })
  await packs.cut([])
  reader = new LogReader(database, new PackReader(files))
  tree = new TileTree()
  entries = []
})

afterEach(async () => {
  await packs.shutdown()
  await database.close()
  await rm(directory, { recursive: true })
})

const NONE = new Uint8Array(0)
const trace = (number: number) => new Uint8Array(16).fill(number)
const idOf = (number: number) => keys.traceId(NONE, trace(number))

function row(number: number, more: Partial<SegmentRow> = {}): SegmentRow {
  return {
    tenant: '',
    traceId: trace(number),
    segment: 0,
    first: 0,
    count: 1,
    closed: 0,
    block: { pack: 1, offset: 32, length: 100 },
    at: 0,
    size: 10,
    start: BigInt(number),
    end: 100n,
    spans: 1,
    services: [],
    erasures: [],
    continuity: 'unknown',
    rules: [],
    name: '',
    ...more,
  }
}

/** A commit of `count` leaves more; its full bundles are written. */
async function batch(count: number, more: Partial<Batch> = {}): Promise<Batch> {
  const first = entries.length
  for (let at = 0; at < count; at++) entries.push(utf8(`entry ${entries.length}`))
  tree.append(Buffer.concat(entries.slice(first).map((entry) => leafHash(entry))))
  const changed = tree.takeChanged()
  const bundles: Batch['bundles'][number][] = []
  let partial: Batch['partial']
  for (const { level, index, width, data } of changed) {
    if (level > 0) continue
    const bundle = encodeEntryBundle(entries.slice(index * 256, index * 256 + width))
    if (width < 256) partial = { index, width, hashes: data, entries: bundle }
    else {
      const [block] = await packs.append([Buffer.concat([data, bundle])], '20261126', RECORDS)
      bundles.push({ index, block: block! })
    }
  }
  return {
    size: tree.size,
    root: tree.root(),
    time: 5n,
    bundles,
    partial,
    tiles: changed.filter(({ level }) => level > 0),
    rows: [],
    earlier: new Map(),
    receipts: [],
    knowledge: [],
    cursor: { ...START, next: tree.size },
    packs: [{ pack: 1, end: 32 + tree.size }],
    ...more,
  }
}

async function list(prefix: number): Promise<string[]> {
  const found: string[] = []
  for await (const key of database.keys({ gte: Uint8Array.of(prefix), lt: Uint8Array.of(prefix + 1) }))
    found.push(formatHex(key))
  return found
}

describe('commits', () => {
  test('are a chain from nothing on, and are read again as they were', async () => {
    expect(store.head).toBeUndefined()
    const first = await store.commit(undefined, await batch(3))
    const second = await store.commit(first, await batch(300))
    const third = await store.commit(second, await batch(0))
    expect([first, second, third].map(({ commit }) => [commit.number, commit.first, commit.size])).toEqual([
      [0, 0, 3],
      [1, 3, 303],
      [2, 303, 303],
    ])
    expect(formatHex(second.commit.previous)).toBe(formatHex(first.digest))
    expect(formatHex(first.commit.previous)).toBe('00'.repeat(32))
    const again = await LevelLogStore.open(database)
    expect(formatHex(again.head!.digest)).toBe(formatHex(third.digest))
    expect(again.head!.commit).toMatchObject({
      number: 2,
      size: 303,
      time: 5n,
      packs: [{ pack: 1, end: 335 }],
    })
  })

  test('only go on top of the head', async () => {
    const first = await store.commit(undefined, await batch(1))
    await expect(store.commit(undefined, await batch(1))).rejects.toThrow(StoreError)
    await store.commit(first, await batch(1))
    await expect(store.commit(first, await batch(1))).rejects.toThrow(StoreError)
    const other = await LevelLogStore.open(database)
    await expect(other.commit(store.head, await batch(1))).rejects.toThrow(StoreError) // not its own head object
  })

  test('hold bundles and tiles as C2SP readers want them, of every width', async () => {
    let head = store.head
    for (const count of [1, 200, 54, 1, 1, 255, 100]) head = await store.commit(head, await batch(count))
    for (const index of [0, 1, 2]) {
      const held = Math.min(256, entries.length - index * 256)
      for (const width of [1, 2, held - 1, held]) {
        const expected = entries.slice(index * 256, index * 256 + width)
        expect(formatHex((await reader.entries(index, width))!)).toBe(formatHex(encodeEntryBundle(expected)))
        expect(formatHex((await reader.tile(0, index, width))!)).toBe(
          expected.map((entry) => formatHex(leafHash(entry))).join(''),
        )
      }
      if (held < 256) {
        expect(await reader.entries(index, held + 1)).toBeUndefined()
        expect(await reader.tile(0, index, held + 1)).toBeUndefined()
      }
    }
    expect(await reader.entries(3, 1)).toBeUndefined()
    expect((await reader.tile(1, 0, 2))!.length).toBe(64)
    await expect(reader.tileReader(1, 0, 3)).rejects.toThrow('tile 1/0 with 3 hashes is missing')
    expect(formatHex((await loadTree(reader, store.head)).root())).toBe(formatHex(tree.root()))
  })
})

describe('a chain that does not hold', () => {
  beforeEach(async () => {
    for (let at = 0; at < 5; at++) await store.commit(store.head, await batch(2))
  })

  const all = () => readChain(database, Number.POSITIVE_INFINITY)
  const change = async (number: number, to: (commit: Commit) => Commit) => {
    const { commit } = parseCommit((await database.get(keys.commitKey(number)))!)
    await database.put(keys.commitKey(number), encodeCommit(to(commit)).value)
  }

  test('is told by each commit that was walked', async () => {
    const seen: number[] = []
    const head = await readChain(database, Number.POSITIVE_INFINITY, (commit) => seen.push(commit.number))
    expect([head!.commit.number, seen]).toEqual([4, [4, 3, 2, 1, 0]])
  })

  test('is walked back only as far as it was asked for', async () => {
    await database.del(keys.commitKey(0))
    expect((await readChain(database, 1))!.commit.number).toBe(4)
    await expect(all()).rejects.toThrow('commit 0 is missing')
  })

  test.each<[string, () => Promise<void>, string]>([
    ['a commit in the middle is gone', () => database.del(keys.commitKey(2)), 'commit 2 is missing'],
    [
      'a commit was written again, with a sound digest',
      () => change(2, (one) => ({ ...one, time: 9n })),
      'commit 3 does not follow from commit 2',
    ],
    [
      'a commit has another one’s number',
      () => change(2, (one) => ({ ...one, number: 7 })),
      'commit 2 is damaged',
    ],
    [
      'a byte of a commit is another one',
      async () => {
        const value = (await database.get(keys.commitKey(1)))!.slice()
        value[3]! ^= 1
        await database.put(keys.commitKey(1), value)
      },
      'commit 1 is damaged',
    ],
    [
      'the last one does not begin where the one before ends',
      () => change(4, (one) => ({ ...one, first: one.first - 1 })),
      'commit 4 does not begin where commit 3 ends',
    ],
  ])('%s', async (_, damage, message) => {
    await damage()
    const failure = await all().catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(StoreError)
    expect((failure as Error).message).toBe(message)
  })

  test('the cursor and the tree are those of the head, or nothing starts', async () => {
    expect(await loadCursor(database, store.head)).toMatchObject({ next: 10 })
    expect(await reader.cursor()).toMatchObject({ next: 10 })
    await expect(loadCursor(database, undefined)).rejects.toThrow('there is a journal cursor and no commit')
    const old = await database.get(keys.CURSOR_KEY)
    await database.put(keys.CURSOR_KEY, Uint8Array.of(8, 9))
    await expect(loadCursor(database, store.head)).rejects.toThrow('not the one of commit 4')
    await database.del(keys.CURSOR_KEY)
    await expect(loadCursor(database, store.head)).rejects.toThrow('not the one of commit 4')
    await database.put(keys.CURSOR_KEY, old!)
    const bundle = (await database.get(keys.entriesKey(0)))!.slice()
    bundle[40]! ^= 1
    await database.put(keys.entriesKey(0), bundle)
    await expect(loadTree(reader, store.head)).rejects.toThrow(/^the tree's root is /)
  })
})

describe('what is found', () => {
  test('an empty store has nothing', async () => {
    expect(await loadCursor(database, undefined)).toEqual(START)
    expect((await loadTree(reader, undefined)).size).toBe(0)
    expect(await reader.traces([idOf(1)])).toEqual([[]])
    expect(await reader.receipt(0)).toEqual([])
    expect(await reader.checkpoint()).toBeUndefined()
  })

  test('rows of a trace grow, and its search terms stay under the start of its first segment', async () => {
    const one = row(1, { services: ['a', 'b'], start: 50n })
    const two = row(1, { segment: 1, services: ['b', 'c'], start: 7n })
    const other = row(2, { services: ['a'], start: 60n })
    await store.commit(undefined, await batch(1, { rows: [one, other] }))
    await store.commit(store.head, await batch(1, { rows: [two], earlier: new Map([[two, [one]]]) }))
    const found = await reader.traces([idOf(2), idOf(9), idOf(1)])
    const plain = found.map((rows) =>
      rows.map((held) => ({ ...held, traceId: new Uint8Array(held.traceId) })),
    )
    expect(plain).toEqual([[other], [], [one, two]])
    const at = (commit: number) => `0000000fffffffff${commit.toString(16).padStart(16, '0')}`
    expect(await list(keys.Prefix.byTime)).toEqual([`07${at(0)}`, `07${at(1)}`])
    expect(await list(keys.Prefix.byService)).toEqual([
      ...[`080161${at(0)}`, `080162${at(0)}`],
      `080163${at(1)}`,
    ])
    const terms = async (commit: number, service?: string) =>
      [
        ...readTerms(
          0,
          (await database.get(keys.termsKey(0, commit)))!,
          service === undefined ? undefined : utf8(service),
        ),
      ].map(({ start, id }) => [start, id.at(-1)])
    expect(await terms(0)).toEqual([
      [50n, 1],
      [60n, 2],
    ])
    expect(await terms(0, 'b')).toEqual([[50n, 1]])
    expect(await terms(1)).toEqual([])
    expect(await terms(1, 'c')).toEqual([[50n, 1]])
    expect(await terms(1, 'b')).toEqual([])
  })

  test('one tenant does not find what another one has', async () => {
    await store.commit(undefined, await batch(1, { rows: [row(1, { tenant: 'acme' })] }))
    expect(await reader.traces([idOf(1), keys.traceId(utf8('acme'), trace(1))])).toMatchObject([
      [],
      [{ tenant: 'acme' }],
    ])
  })

  test('receipts of a position gather over commits, and of no other position', async () => {
    const far = 2 ** 40
    await store.commit(
      undefined,
      await batch(1, {
        receipts: [
          { position: 255, leaves: [[3, far]] },
          { position: 256, leaves: [[0, 1]] },
        ],
      }),
    )
    await store.commit(
      store.head,
      await batch(1, {
        receipts: [
          {
            position: 255,
            leaves: [
              [0, 7],
              [1, 8],
            ],
          },
        ],
      }),
    )
    expect(await reader.receipt(255)).toEqual([
      [3, far],
      [0, 7],
      [1, 8],
    ])
    expect(await reader.receipt(256)).toEqual([[0, 1]])
    expect(await reader.receipt(254)).toEqual([])

    // More than a function takes as its arguments.
    const many = Array.from({ length: 200_000 }, (_, span) => [span, 5] as [number, number])
    await store.commit(store.head, await batch(1, { receipts: [{ position: 300, leaves: many }] }))
    expect((await reader.receipt(300)).length).toBe(many.length)
  })

  test('the last checkpoint, or the last up to a size', async () => {
    for (const size of [1, 255, 256, 70_000]) await store.putCheckpoint(size, utf8(`size ${size}`))
    const at = async (size?: number) => {
      const note = await reader.checkpoint(size)
      return note && new TextDecoder().decode(note)
    }
    expect(await Promise.all([at(), at(0), at(1), at(254), at(255), at(65_536), at(70_000)])).toEqual([
      'size 70000',
      undefined,
      'size 1',
      'size 1',
      'size 255',
      'size 256',
      'size 70000',
    ])
  })
})
