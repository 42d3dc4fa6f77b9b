import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PackReader } from '../pack.ts'
import { START } from '../store/cursor.ts'
import { LevelLogStore, LogReader, openDatabase } from '../store/log-store.ts'
import type { SegmentRow } from '../store/rows.ts'
import { findExecutions, parsePlace, type Search } from './executions.ts'

const SPAN = 2n ** 28n
/** Starts that are alike, next to each other on both sides of what a list holds, and far away. */
const start = fc.oneof(
  fc.constantFrom(0n, SPAN - 1n, SPAN, 2n * SPAN - 1n, 2n * SPAN, 2n ** 64n - 1n),
  fc.bigInt(0n, 4n * SPAN),
)
/** The long ones begin with the same 255 bytes. */
const service = fc.constantFrom('a', 'b', 'ä'.repeat(200), `${'ä'.repeat(127)}äx`)
const segment = fc.record({
  trace: fc.nat(9),
  start,
  services: fc.uniqueArray(service, { maxLength: 3 }),
})
const commits = fc.array(fc.uniqueArray(segment, { selector: ({ trace }) => trace, maxLength: 6 }), {
  maxLength: 5,
})
const search = fc.record({
  service: fc.option(service, { nil: undefined }),
  from: fc.option(start, { nil: undefined }),
  to: fc.option(start, { nil: undefined }),
  limit: fc.integer({ min: 1, max: 4 }),
})

interface Known {
  readonly rows: SegmentRow[]
  readonly services: Set<string>
}

/** Cut as the index cuts them. */
const cut = (name: string): string => Buffer.from(name).subarray(0, 255).toString('latin1')

async function write(
  store: LevelLogStore,
  segments: readonly { trace: number; start: bigint; services: string[] }[],
  known: Map<string, Known>,
): Promise<void> {
  const earlier = new Map<SegmentRow, readonly SegmentRow[]>()
  for (const { trace, start, services } of segments) {
    const traceId = new Uint8Array(16).fill(trace)
    const key = formatHex(traceId)
    const { rows, services: named } = known.get(key) ?? { rows: [], services: new Set<string>() }
    const row: SegmentRow = {
      ...{ tenant: '', traceId, segment: rows.length, first: 0, count: 1, closed: 0, at: 0, size: 1 },
      ...{
        block: { pack: 0, offset: 32, length: 9 },
        start,
        end: start,
        spans: 1,
        services,
        name: '',
        erasures: [],
        continuity: 'unknown',
        rules: [],
      },
    }
    earlier.set(row, rows)
    for (const name of services) named.add(cut(name))
    known.set(key, { rows: [...rows, row], services: named })
  }
  await store.commit(store.head, {
    ...{ size: 0, root: new Uint8Array(32), time: 1n, bundles: [], partial: undefined, tiles: [], packs: [] },
    ...{
      rows: [...earlier.keys()],
      earlier,
      receipts: [],
      knowledge: [],
      cursor: START,
      runs: [],
      changes: [],
    },
  })
}

interface Shown {
  readonly id: string
  readonly start: bigint
}

/** All pages, one after another. */
async function allPages(reader: LogReader, wanted: Omit<Search, 'after'>): Promise<Shown[]> {
  const found: Shown[] = []
  for (let after: Uint8Array | undefined; ; ) {
    const page = await findExecutions(reader, { ...wanted, after }, 0)
    for (const { traceId, startTimeUnixNano } of page.executions)
      found.push({ id: traceId, start: BigInt(startTimeUnixNano) })
    if (page.next === undefined) return found
    expect(page.executions.length).toBe(wanted.limit)
    after = parsePlace(page.next)
  }
}

test('every search finds what was committed, the newest first, page by page', {
  timeout: 60_000,
}, async () => {
  const property = fc.asyncProperty(
    commits,
    fc.array(search, { minLength: 3, maxLength: 6 }),
    async (all, searches) => {
      const directory = await mkdtemp(join(tmpdir(), 'rootspan-search-'))
      const database = await openDatabase(join(directory, 'log'), 'create')
      const store = await LevelLogStore.open(database)
      const reader = new LogReader(database, new PackReader({ directory }))
      const known = new Map<string, Known>()
      for (const segments of all) await write(store, segments, known)
      for (const { service, from = 0n, to = 2n ** 64n, limit } of searches) {
        const expected = [...known]
          .map(([id, { rows, services }]) => ({ id, start: rows[0]!.start, services }))
          .filter(
            ({ start, services }) =>
              start >= from && start < to && (service === undefined || services.has(cut(service))),
          )
          .sort((a, b) => (a.start === b.start ? (a.id < b.id ? -1 : 1) : a.start > b.start ? -1 : 1))
        // Order, filter and what is shown are of one time, whatever later segments begin with.
        expect(await allPages(reader, { service, from, to, limit })).toEqual(
          expected.map(({ id, start }) => ({ id, start })),
        )
      }
      await database.close()
      await rm(directory, { recursive: true })
    },
  )
  await fc.assert(property, { numRuns: 40 })
})
