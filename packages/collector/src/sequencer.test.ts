import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { scanTraces } from '@rootspan/lineage/otlp/scan'
import { Committer } from '@rootspan/lineage/record/commitment'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { TraceHistory } from '@rootspan/lineage/record/history'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import { Closed, parsePayload } from '@rootspan/lineage/record/payload'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { leafHash } from '@rootspan/lineage/tlog/merkle'
import { parseEntryBundle } from '@rootspan/lineage/tlog/tile'
import { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type SpanSpec, traceIdOf } from '../../../test/support/executions.ts'
import { encodeRequest, StoredLog } from '../../../test/support/stored-log.ts'
import { Assembler } from './assembler.ts'
import { Knowledge } from './knowledge.ts'
import { MAX_BLOCK_BYTES, type Packs } from './pack.ts'
import { Reviews } from './reviews.ts'
import { type Committed, loadHistory, readSegment, Sequencer } from './sequencer.ts'
import { type Bundle, parseFullBundle } from './store/bundles.ts'
import { START } from './store/cursor.ts'
import { traceId } from './store/keys.ts'
import { type Batch, type Head, type LogReader, openDatabase } from './store/log-store.ts'
import { TraceFilter } from './store/trace-filter.ts'

const LIMITS = { quietMillis: 0, maxAgeMillis: 1000, maxSegmentSpans: 1000 }

async function withDatabase<T>(
  use: (database: Awaited<ReturnType<typeof openDatabase>>) => Promise<T>,
): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-sequencer-'))
  const database = await openDatabase(directory, 'create')
  try {
    return await use(database)
  } finally {
    await database.close()
    await rm(directory, { recursive: true })
  }
}

/** A sequencer over memory, whose commits end when they are told to. What happens is noted in `events`. */
class Bench {
  readonly events: string[] = []
  readonly batches: Batch[] = []
  readonly done: Committed[] = []
  readonly assembler = new Assembler(LIMITS, START)
  /** It has learned of nothing, so that everything is asked for. */
  readonly known = new TraceFilter()
  /** Traces that the store was asked for. */
  asked = 0
  readonly tree = new TileTree()
  readonly sequencer: Sequencer
  readonly #bodies: Buffer[] = []
  readonly #rows = new Map<string, Batch['rows'][number][]>()
  readonly #bundles = new Map<number, Bundle>()
  readonly #tiles = new Map<string, Uint8Array>()
  /** Blocks by their place, which is their offset. */
  readonly #blocks: Uint8Array[] = []
  #ends: { resolve: () => void; reject: (error: Error) => void }[] = []

  constructor(faults: { append?: boolean } = {}) {
    const note = (event: string): void => void this.events.push(event)
    const store = {
      head: undefined as Head | undefined,
      commit: async (expected: Head | undefined, batch: Batch): Promise<Head> => {
        note(`commit ${batch.size}`)
        expect(expected).toBe(store.head)
        await new Promise<void>((resolve, reject) => this.#ends.push({ resolve, reject }))
        note(`durable ${batch.size}`)
        this.#keep(batch)
        store.head = { commit: { size: batch.size } as Head['commit'], digest: new Uint8Array(32) }
        return store.head
      },
    }
    const packs = {
      append: async (blocks: readonly Uint8Array[], day: string) => {
        note(`append ${blocks.length} ${day}`)
        if (faults.append) throw new Error('no room')
        return blocks.map((block) => {
          const ref = { pack: 1, offset: this.#blocks.length, length: block.length }
          this.#blocks.push(Uint8Array.from(block))
          return ref
        })
      },
      readSync: ({ offset }: { offset: number }) => this.#blocks[offset]!,
      sync: async () => note('sync'),
      tails: () => [{ pack: 1, end: 5 }],
    }
    const reader = {
      traces: async (ids: readonly Uint8Array[]) => {
        this.asked += ids.length
        return ids.map((id) => this.#rows.get(formatHex(id)) ?? [])
      },
      entries: async (index: number) => this.#bundles.get(index)?.entries,
      tile: async (level: number, index: number, width: number) =>
        (level === 0 ? this.#bundles.get(index)?.hashes : this.#tiles.get(`${level}/${index}`))?.subarray(
          0,
          width * 32,
        ),
    }
    const frames = {
      frame: (position: number) => ({ body: this.#bodies[position]! }),
      release: () => {},
      free: () => {},
    }
    this.sequencer = new Sequencer({
      assembler: this.assembler,
      frames,
      store,
      reader: reader as unknown as LogReader,
      packs: packs as unknown as Packs,
      tree: this.tree,
      knowledge: new Knowledge(),
      reviews: new Reviews(),
      known: this.known,
      partialBundle: new Uint8Array(0),
      now: () => 1_767_323_045_000_000_000n,
      onCommit: (done) => void this.done.push(done),
    })
  }

  receive(trace: number, specs: readonly SpanSpec[], tracked = false): void {
    const body = Buffer.from(encodeRequest(trace, specs))
    const position = this.#bodies.push(body) - 1
    const frame = { position, seed: Buffer.alloc(32, position), receipt: Buffer.alloc(0), body }
    this.assembler.add(frame, '', tracked, scanTraces(body), 0)
  }

  settle(trace: number, closed: Closed = Closed.settled, dueAt = 0): Promise<void> {
    const open = this.assembler.all(0).find(({ id }) => Buffer.compare(id, traceIdOf(trace)) === 0)!
    return this.sequencer.settle([{ trace: { ...open, dueAt }, closed }])
  }

  /** Ends the oldest commit under way, once it has begun. */
  async end(error?: Error): Promise<void> {
    while (this.#ends.length === 0) await new Promise(setImmediate)
    const [first] = this.#ends.splice(0, 1)
    if (error === undefined) first!.resolve()
    else first!.reject(error)
  }

  #keep(batch: Batch): void {
    this.batches.push(batch)
    for (const row of batch.rows)
      this.#rows.set(formatHex(traceId(utf8(row.tenant), row.traceId)), [...batch.earlier.get(row)!, row])
    for (const { index, block } of batch.bundles)
      this.#bundles.set(index, parseFullBundle(this.#blocks[block.offset]!))
    if (batch.partial !== undefined) this.#bundles.set(batch.partial.index, batch.partial)
    for (const { level, index, data } of batch.tiles) this.#tiles.set(`${level}/${index}`, data)
  }
}

async function finish(bench: Bench, settled: Promise<void>): Promise<void> {
  await settled
  await bench.end()
  await bench.sequencer.flush()
}

describe('a commit', () => {
  test('comes after its payloads are synced, and says what it added', async () => {
    const bench = new Bench()
    bench.receive(1, [
      { id: 1, service: 'a' },
      { id: 2, parent: 1, service: 'b' },
    ])
    await bench.settle(1)
    await bench.end()
    await bench.sequencer.flush()
    expect(bench.events).toEqual(['append 1 20260102', 'sync', 'commit 3', 'durable 3'])
    expect(bench.batches).toMatchObject([
      {
        size: 3,
        cursor: { next: 1 },
        packs: [{ pack: 1, end: 5 }],
        rows: [{ segment: 0, first: 0, count: 3, spans: 2, services: ['a', 'b'], block: { pack: 1 }, at: 0 }],
        receipts: [],
      },
    ])
    expect(bench.done).toMatchObject([
      { segments: 1, spans: 2, leaves: 3, duplicates: 0, size: 3, keepFrom: 1 },
    ])
  })

  test('says since when each of its segments was due, however late it is derived', async () => {
    const bench = new Bench()
    for (const trace of [1, 2, 3]) bench.receive(trace, [{ id: 1, parent: trace === 2 ? 9 : 0 }])
    const [first, orphan, third] = bench.assembler.all(0)
    const settle = bench.sequencer.settle([
      { trace: { ...first!, dueAt: -60_000 }, closed: Closed.settled },
      { trace: { ...orphan!, dueAt: -50_000 }, closed: Closed.settled },
      { trace: { ...third!, dueAt: -40_000 }, closed: Closed.cut },
    ])
    await finish(bench, settle)
    expect(bench.done).toMatchObject([{ segments: 2, dueAt: [-60_000, -40_000] }])
  })

  test('is on its way while the next one is derived, and is waited for before that one is written', async () => {
    const bench = new Bench()
    bench.receive(1, [{ id: 1 }])
    bench.receive(2, [{ id: 2 }])
    await bench.settle(1)
    let settled = false
    const second = bench.settle(2).then(() => {
      settled = true
    })
    for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
    expect([settled, bench.tree.size, bench.events.at(-1)]).toEqual([false, 4, 'commit 2'])
    await bench.end()
    await second
    await bench.end()
    await bench.sequencer.flush()
    expect(bench.events.filter((one) => /commit|durable/.test(one))).toEqual([
      'commit 2',
      'durable 2',
      'commit 4',
      'durable 4',
    ])
  })

  test('holds its traces until it is durable', async () => {
    const bench = new Bench()
    bench.receive(1, [{ id: 1 }])
    await bench.settle(1)
    bench.receive(1, [{ id: 2, parent: 1 }])
    const due = () => bench.assembler.due(1e9, 1e9, true).cut.map(({ count }) => count)
    expect([bench.assembler.openTraces, bench.assembler.all(0), due()]).toEqual([1, [], []])
    await bench.end()
    await bench.sequencer.flush()
    expect([bench.assembler.openTraces, bench.assembler.all(0).length, due()]).toEqual([1, 1, [1]])
  })

  test('that fails is the end: nothing after it is written', async () => {
    const bench = new Bench()
    bench.receive(1, [{ id: 1 }])
    bench.receive(2, [{ id: 2 }])
    await bench.settle(1)
    const second = bench.settle(2)
    await bench.end(new Error('disk on fire'))
    await expect(second).rejects.toThrow('disk on fire')
    await expect(bench.sequencer.flush()).rejects.toThrow('disk on fire')
    expect(bench.events.filter((one) => one.startsWith('commit'))).toEqual(['commit 2'])
    expect(bench.done).toEqual([])
  })

  test('never names payloads that could not be written', async () => {
    const bench = new Bench({ append: true })
    bench.receive(1, [{ id: 1 }])
    await bench.settle(1)
    await expect(bench.sequencer.flush()).rejects.toThrow('no room')
    expect(bench.events).toEqual(['append 1 20260102'])
  })
})

describe('what is settled', () => {
  test('a quiet trace without one of its parents waits, until that is in the log', async () => {
    const bench = new Bench()
    bench.receive(1, [{ id: 2, parent: 1 }])
    await bench.settle(1)
    const { cut, quiet } = bench.assembler.due(50, 1e9, true)
    expect([cut.length, quiet.length, bench.events]).toEqual([1, 0, []])
    // At its maximum age it is cut all the same.
    await finish(bench, bench.settle(1, Closed.cut))
    expect(bench.batches[0]!.rows).toMatchObject([{ closed: Closed.cut, count: 3 }])
    // A child of what is in the log misses nothing.
    bench.receive(1, [{ id: 3, parent: 2 }])
    await finish(bench, bench.settle(1))
    expect(bench.batches[1]!.rows).toMatchObject([{ segment: 1, first: 3, count: 2, closed: Closed.settled }])
  })

  test('nothing but what has a record gives a commit without leaves, which moves the cursor and tells the sender', async () => {
    const bench = new Bench()
    bench.receive(1, [{ id: 1 }, { id: 2, parent: 1 }])
    await finish(bench, bench.settle(1))
    bench.receive(1, [{ id: 2, parent: 1 }, { id: 1 }, { id: 1 }], true)
    await finish(bench, bench.settle(1))
    expect(bench.batches[1]).toMatchObject({
      size: 3,
      root: bench.batches[0]!.root,
      rows: [],
      bundles: [],
      tiles: [],
      cursor: { next: 2 },
      receipts: [
        {
          position: 1,
          leaves: [
            [0, 1],
            [1, 0],
            [2, 0],
          ],
        },
      ],
    })
    expect(bench.events.slice(-2)).toEqual(['commit 3', 'durable 3'])
    expect(bench.done[1]).toMatchObject({ segments: 0, leaves: 0, duplicates: 3 })
  })

  test('the store is asked for those traces of which it may hold rows, and no others', async () => {
    const bench = new Bench()
    await withDatabase((empty) => bench.known.learn(empty))
    for (const trace of [1, 2]) {
      bench.receive(trace, [{ id: 1 }])
      await finish(bench, bench.settle(trace))
      expect(bench.asked).toBe(0)
    }
    bench.receive(2, [{ id: 2, parent: 1 }])
    await finish(bench, bench.settle(2))
    expect(bench.asked).toBe(1)
    expect(bench.batches.map(({ rows }) => rows.map(({ segment }) => segment))).toEqual([[0], [0], [1]])
  })

  test('a tracked request is told of the leaf that stands for each delivery', async () => {
    const bench = new Bench()
    bench.receive(1, [{ id: 1 }, { id: 2, parent: 1 }])
    bench.receive(
      1,
      [
        { id: 2, parent: 1 },
        { id: 3, parent: 1 },
      ],
      true,
    )
    await finish(bench, bench.settle(1))
    expect(bench.batches[0]!.receipts).toEqual([
      {
        position: 1,
        leaves: [
          [1, 2],
          [0, 1],
        ],
      },
    ])
    expect(bench.done[0]!.duplicates).toBe(1)
  })
})

describe('on disk', () => {
  let directory: string
  let log: StoredLog
  /** Ids of the traces that were committed. */
  const traces: number[] = []

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'rootspan-sequencer-'))
    log = await StoredLog.create(directory)
    // Sizes that end before, at and after the end of an entry bundle, and segments over several of them.
    const sizes = [1, 100, 152, 1, 2, 255, 254, 600, 3, 1200]
    for (const [at, size] of sizes.entries()) {
      const trace = at + 1
      traces.push(trace)
      const specs = Array.from({ length: size }, (_, i) => ({
        id: trace * 10_000 + i + 1,
        ...(i === 0 ? {} : { parent: trace * 10_000 + Math.ceil(i / 2) }),
        service: `s${i % 3}`,
      }))
      await log.receive(trace, specs.slice(0, size / 2))
      await log.receive(trace, specs.slice(size / 2))
      await log.commit()
    }
    for (const trace of [2, 8, 10]) {
      await log.receive(trace, [{ id: 5, parent: trace * 10_000 + 1 }, { id: trace * 10_000 + 1 }])
      await log.commit()
    }
  }, 120_000)

  afterAll(async () => {
    await log.close()
    await rm(directory, { recursive: true })
  })

  test('entry bundles and tiles hold one gapless log', async () => {
    let next = 0
    for (let index = 0; next < log.size; index++) {
      const width = Math.min(256, log.size - next)
      const bundle = await log.reader.entries(index, width)
      const tile = await log.reader.tile(0, index, width)
      for (const [at, entry] of parseEntryBundle(new Uint8Array(bundle!), width).entries())
        expect(formatHex(leafHash(entry))).toBe(formatHex(tile!.subarray(at * 32, at * 32 + 32)))
      next += width
    }
    expect(next).toBe(log.size)
    expect(log.size).toBeGreaterThan(2500)
  })

  test('every segment derives again from its payload, after the segments before it', async () => {
    const found = await log.reader.traces(traces.map((trace) => traceId(new Uint8Array(0), traceIdOf(trace))))
    const runs: [number, number][] = []
    for (const rows of found) {
      expect(rows.length).toBeGreaterThan(0)
      const history = new TraceHistory()
      for (const [number, row] of rows.entries()) {
        expect(row.segment).toBe(number)
        runs.push([row.first, row.count])
        const { entries, leaves } = await readSegment(log.reader, row)
        const block = log.packs.readSync(row.block, MAX_BLOCK_BYTES)
        const payload = parsePayload(new Uint8Array(block.subarray(row.at, row.at + row.size)))
        const sink = new LeafSink()
        const derived = deriveSegment(payload, payload.spans, history, new Committer(), sink)
        expect(derived.spans).toHaveLength(row.spans)
        expect(formatHex(sink.hashes)).toBe(formatHex(leaves))
        history.add(row.first, entries.map(parseEntry), leaves, row.closed, () => payload)
      }
      const loaded = await loadHistory(log.reader, log.packs, rows)
      expect(loaded.segment).toBe(rows.length)
      expect(formatHex(loaded.previousSeal)).toBe(formatHex(history.previousSeal))
    }
    // The runs tile the log.
    let next = 0
    for (const [first, count] of runs.sort(([a], [b]) => a - b)) {
      expect(first).toBe(next)
      next += count
    }
    expect(next).toBe(log.size)
  })

  test('a delivery again is known from the payload, whole requests of them change nothing', async () => {
    const before = log.size
    await log.receive(3, [{ id: 30_001, service: 's0' }])
    const position = await log.receive(3, [{ id: 30_001, service: 's0' }], true)
    await log.commit()
    expect(log.size).toBe(before)
    const [rows] = await log.reader.traces([traceId(new Uint8Array(0), traceIdOf(3))])
    expect(await log.reader.receipt(position)).toEqual([[0, rows![0]!.first]])
  })
})
