import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { nodeFiles, nodeReadFiles, type ReadFiles } from '../files.ts'
import { JournalCorruption } from './errors.ts'
import { type Entry, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from './frame.ts'
import { type Journal, openJournal } from './journal.ts'
import { FrameCache, JournalReader } from './reader.ts'
import { segmentName } from './segments.ts'

const root = fs.mkdtempSync(join(tmpdir(), 'rootspan-reader-'))
afterAll(() => fs.rmSync(root, { recursive: true }))

const sizeOf = (number: number) => (number * 37) % 300
const entry = (number: number): Entry => ({
  seed: new Uint8Array(32).fill(number),
  receipt: new Uint8Array(number % 5).fill(number),
  body: new Uint8Array(sizeOf(number)).fill(number),
})

const open = (directory: string, segmentBytes = 2000): Promise<Journal> =>
  openJournal({
    directory,
    files: nodeFiles,
    log: { info() {}, warn() {} },
    segmentBytes,
    maxBytes: 1e8,
    minFreeBytes: 0,
  })

async function filled(
  count: number,
  segmentBytes?: number,
): Promise<{ directory: string; journal: Journal }> {
  const directory = await mkdtemp(join(root, 'r-'))
  let journal = await open(directory, segmentBytes)
  for (let i = 0; i < count; i += 7) {
    await Promise.all(Array.from({ length: Math.min(7, count - i) }, (_, j) => journal.append(entry(i + j))))
    // A mark of a shutdown in the middle of things is nothing to stumble over.
    if (i === 21) {
      await journal.close()
      journal = await open(directory, segmentBytes)
    }
  }
  return { directory, journal }
}

function expectFrame(frame: { position: number; seed: Uint8Array; receipt: Uint8Array; body: Uint8Array }) {
  const { seed, receipt, body } = entry(frame.position)
  expect(Buffer.from(frame.seed).equals(seed)).toBe(true)
  expect(Buffer.from(frame.receipt).equals(receipt)).toBe(true)
  expect(Buffer.from(frame.body).equals(body)).toBe(true)
}

test('reads the same frames whatever the piece, the bound and the start', async () => {
  const { directory, journal } = await filled(60)
  await journal.close()
  for (const chunkBytes of [FRAME_HEADER_BYTES, 100, 333, 5000, 1 << 20])
    for (const maxBytes of [1, 400, 1e6])
      for (const from of [0, 1, 28, 29, 59, 60]) {
        const reader = new JournalReader({ directory, from, chunkBytes })
        const positions: number[] = []
        while (reader.next < 60) {
          const frames = reader.read(60, maxBytes)
          expect(frames.length).toBeGreaterThan(0)
          if (maxBytes === 1) expect(frames).toHaveLength(1)
          for (const frame of frames) expectFrame(frame)
          positions.push(...frames.map(({ position }) => position))
        }
        expect(positions).toEqual(Array.from({ length: 60 - from }, (_, i) => from + i))
        expect(reader.read(60, maxBytes)).toEqual([])
        reader.close()
      }
})

test('follows a writer, and never looks at or past what is not durable', async () => {
  const { directory, journal } = await filled(0)
  const reader = new JournalReader({ directory, from: 0 })
  expect(reader.read(0, 1000)).toEqual([])
  for (let i = 0; i < 42; i++) {
    await journal.append(entry(i))
    if (i % 3 === 0) {
      const frames = reader.read(journal.durableEnd, 1e6)
      for (const frame of frames) expectFrame(frame)
      expect(reader.next).toBe(i + 1)
    }
  }
  // Bytes past the durable end may be anything.
  const last = fs.readdirSync(directory).sort().at(-1)!
  fs.appendFileSync(join(directory, last), Buffer.alloc(500, 0x52))
  expect(reader.read(41, 1e6).map(({ position }) => position)).toEqual([40])
  expect(() => reader.readFrame(41)).toThrow(RangeError)
  expect(reader.read(42, 1e6)).toHaveLength(1)
  reader.close()
})

test('a frame places itself: its bytes are those of the file', async () => {
  const { directory } = await filled(30)
  for (const frame of new JournalReader({ directory, from: 0 }).read(30, 1e9)) {
    const file = fs.readFileSync(join(directory, segmentName(frame.segment)))
    expect(file.subarray(frame.fileOffset, frame.fileOffset + frame.bytes.length).equals(frame.bytes)).toBe(
      true,
    )
    expect(frame.durable).toBeLessThanOrEqual(frame.position)
  }
})

test('one frame by its position, with and without having read there before', async () => {
  const { directory, journal } = await filled(60)
  const passed = new JournalReader({ directory, from: 0 })
  while (passed.next < 60) passed.read(60, 1e6)
  const fresh = new JournalReader({ directory, from: 0, until: 60 })
  for (let i = 0; i < 60; i++) {
    const position = (i * 23) % 60
    for (const reader of [passed, fresh]) {
      const frame = reader.readFrame(position)
      expect(frame.position).toBe(position)
      expectFrame(frame)
      expect(frame.bytes.buffer.byteLength).toBe(frame.bytes.length)
    }
  }
  // A segment that the reader has not heard of.
  for (let i = 60; i < 90; i++) await journal.append(entry(i))
  passed.read(61, 1)
  const later = new JournalReader({ directory, from: 0, until: 90 })
  later.readFrame(3)
  for (let i = 90; i < 120; i++) await journal.append(entry(i))
  later.read(1, 1)
  const all = new JournalReader({ directory, from: 119, until: 120 })
  expectFrame(all.readFrame(119))
  expectFrame(all.readFrame(0))
  await journal.close()
})

test('a walk over many small frames uses the index that it leaves', async () => {
  const { directory, journal } = await filled(3000, 10_000_000)
  let reads = 0
  const files: ReadFiles = {
    ...nodeReadFiles,
    open(path) {
      const file = nodeReadFiles.open(path)
      const read = (into: Uint8Array, offset: number): number => {
        reads++
        return file.read(into, offset)
      }
      return { ...file, read }
    },
  }
  const reader = new JournalReader({ directory, files, from: 0, until: 3000 })
  expectFrame(reader.readFrame(2990))
  const walked = reads
  for (let i = 1500; i < 1510; i++) expectFrame(reader.readFrame(i))
  expect(walked).toBeLessThan(20)
  expect(reads - walked).toBeLessThanOrEqual(3 * 10)
  await journal.close()
})

test('trimming under a reader: what it has passed may go, what is gone is named', async () => {
  const { directory, journal } = await filled(60)
  const reader = new JournalReader({ directory, from: 0 })
  while (reader.next < 50) reader.read(50, 1)
  await journal.trim(50)
  reader.forget(50)
  expect(() => reader.readFrame(0)).toThrow(JournalCorruption)
  while (reader.next < 60) for (const frame of reader.read(60, 1e6)) expectFrame(frame)
  await journal.trim(60)
  reader.forget(60)
  for (let i = 60; i < 80; i++) await journal.append(entry(i))
  await journal.trim(60)
  expect(reader.read(80, 1e6)[0]?.position).toBe(60)
  expect(() => new JournalReader({ directory, from: 0 }).read(80, 1e6)).toThrow(JournalCorruption)
  await journal.close()
})

test('every flipped byte is found, and what lies before it is given out', async () => {
  const { directory, journal } = await filled(4)
  await journal.close()
  const file = join(directory, segmentName(0))
  const good = fs.readFileSync(file)
  const starts = new JournalReader({ directory, from: 0 }).read(4, 1e6).map(({ fileOffset }) => fileOffset)
  const end = good.length - FRAME_HEADER_BYTES
  for (let at = 0; at < end; at++) {
    const bad = Buffer.from(good)
    bad[at]! ^= 4
    fs.writeFileSync(file, bad)
    const reader = new JournalReader({ directory, from: 0 })
    const hit = starts.findLastIndex((start) => start <= at)
    if (hit > 0) expect(reader.read(4, 1e6)).toHaveLength(hit)
    expect(() => reader.read(4, 1e6)).toThrow(JournalCorruption)
    const random = new JournalReader({ directory, from: 0, until: 4 })
    if (at >= SEGMENT_HEADER_BYTES) expect(() => random.readFrame(hit)).toThrow(JournalCorruption)
    reader.close()
    random.close()
  }
})

test('the cache keeps what was used last, within its bytes', async () => {
  const { directory, journal } = await filled(30)
  const reader = new JournalReader({ directory, from: 0, until: 30 })
  const read: number[] = []
  const readFrame = (position: number) => {
    read.push(position)
    return reader.readFrame(position)
  }
  const cache = new FrameCache({ readFrame }, { readBytes: 1000, handedBytes: 0 })
  const expectBody = (position: number, cache: FrameCache) =>
    expect(cache.frame(position).body).toEqual(reader.readFrame(position).body)
  for (const position of [0, 1, 0, 1]) expectBody(position, cache)
  expect(read).toEqual([0, 1])
  for (let i = 2; i < 30; i++) {
    expectBody(i, cache)
    expect(cache.bytes).toBeLessThanOrEqual(1000)
    cache.frame(i)
  }
  expect(read).toHaveLength(30)
  cache.frame(0)
  expect(read).toHaveLength(31)
  // Of frames that are larger than all it may keep, the last two stay while a derivation lasts.
  const none = new FrameCache({ readFrame }, { readBytes: 10, handedBytes: 10 })
  read.length = 0
  for (const position of [5, 6, 5, 6, 5]) expectBody(position, none)
  expect(read).toEqual([5, 6])
  expectBody(7, none)
  expectBody(5, none)
  expect(read).toEqual([5, 6, 7])
  expectBody(6, none)
  expect(read).toEqual([5, 6, 7, 6])
  none.free()
  expect(none.bytes).toBe(0)
  await journal.close()
})

test('what was handed over is kept until it is released, as far as there is room, and then given back', async () => {
  const { directory, journal } = await filled(30)
  const reader = new JournalReader({ directory, from: 0, until: 30 })
  const read: number[] = []
  const readFrame = (position: number) => {
    read.push(position)
    return reader.readFrame(position)
  }
  const back: ArrayBuffer[] = []
  const cache = new FrameCache({ readFrame }, { readBytes: 1e6, handedBytes: 250 }, (buffer) =>
    back.push(buffer),
  )
  const bodies = [1, 2, 3].map((byte) => new Uint8Array(100).fill(byte))
  const kept = [0, 1, 2, 3].map(() => new Uint8Array(10))
  for (const [position, body] of bodies.entries()) cache.hand(position, body, kept[position]!)
  cache.hand(3, undefined, kept[3]!)
  expect([cache.frame(0).body, cache.frame(1).body]).toEqual([bodies[0], bodies[1]])
  expect(read).toEqual([])
  expect(back).toEqual([bodies[2]!.buffer])
  for (const position of [2, 3]) expect(cache.frame(position).body).toEqual(reader.readFrame(position).body)
  expect(read).toEqual([2, 3])
  for (const position of [0, 1, 2, 3, 7]) cache.release(position)
  expect(cache.bytes).toBe(0)
  expect(back).toHaveLength(1)
  cache.free()
  cache.free()
  const given = new Set(back)
  expect(back).toHaveLength(7)
  expect([...bodies, ...kept].every(({ buffer }) => given.has(buffer))).toBe(true)
  cache.hand(2, bodies[2]!, kept[2]!)
  expect(cache.frame(2).body).toBe(bodies[2])
  await journal.close()
})

test('what was read back is not written over before all is let go of, and then its buffer is used again', async () => {
  const { directory, journal } = await filled(30)
  const reader = new JournalReader({ directory, from: 0, until: 30 })
  const size = reader.readFrame(0).bytes.length
  const cache = new FrameCache(reader, { readBytes: 3 * size, handedBytes: 0 })
  const seen = Array.from({ length: 30 }, (_, position) => cache.frame(position).body)
  for (const [position, body] of seen.entries()) expect(body).toEqual(reader.readFrame(position).body)
  cache.free()
  const before = new Set(seen.map(({ buffer }) => buffer))
  const again: ArrayBufferLike[] = []
  for (const position of [0, 1, 2, 3]) {
    const { body } = cache.frame(position)
    expect(body).toEqual(reader.readFrame(position).body)
    again.push(body.buffer)
  }
  expect(again.some((buffer) => before.has(buffer))).toBe(true)
  await journal.close()
})

test('frames can be passed by, within files and from one to the next, and read on after them', async () => {
  const { directory, journal } = await filled(120)
  const all = new JournalReader({ directory, from: 0 }).read(120, 1e9)
  for (const passed of [1, 2, 7, 50, 119]) {
    const reader = new JournalReader({ directory, from: 0 })
    while (reader.next < passed) reader.pass(passed)
    expect(() => reader.pass(passed)).toThrow(RangeError)
    const rest: ReturnType<JournalReader['read']> = []
    while (reader.next < 120) rest.push(...reader.read(120, 500))
    expect(rest.map(({ position, body }) => [position, body])).toEqual(
      all.slice(passed).map(({ position, body }) => [position, body]),
    )
    expect(reader.readFrame(passed - 1).body).toEqual(all[passed - 1]!.body)
  }
  await journal.close()
})

test('a frame that was written after its place was looked at is passed by, a damaged one is not', async () => {
  const { directory, journal } = await filled(3)
  const reader = new JournalReader({ directory, from: 0 })
  for (const position of [0, 1, 2]) {
    expect(reader.next).toBe(position)
    reader.pass(3)
  }
  const at = await journal.append(entry(3))
  reader.pass(at + 1)
  expect(reader.next).toBe(4)
  await journal.close()
  const path = join(directory, segmentName(0))
  const bytes = fs.readFileSync(path)
  bytes[SEGMENT_HEADER_BYTES + 20]! ^= 1
  fs.writeFileSync(path, bytes)
  expect(() => new JournalReader({ directory, from: 0 }).pass(1)).toThrow(JournalCorruption)
})
