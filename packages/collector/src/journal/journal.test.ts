import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type Files, type Log, nodeFiles, systemError } from '../files.ts'
import { journalContract } from './contract.ts'
import { JournalCorruption, JournalFailed, JournalFull } from './errors.ts'
import { type Entry, encodeFrame, FRAME_HEADER_BYTES, payloadCrc, SEGMENT_HEADER_BYTES } from './frame.ts'
import { type Journal, type JournalOptions, openJournal } from './journal.ts'
import { JournalReader } from './reader.ts'
import { segmentName } from './segments.ts'

const root = fs.mkdtempSync(join(tmpdir(), 'rootspan-journal-'))
afterAll(() => fs.rmSync(root, { recursive: true }))
const directory = () => mkdtemp(join(root, 'j-'))

const BODY = 12
const FRAME = FRAME_HEADER_BYTES + 2 + BODY

function entry(number: number, size = BODY): Entry {
  return {
    seed: new Uint8Array(32).fill(number),
    receipt: new Uint8Array([8, number % 100]),
    body: new Uint8Array(size).map((_, i) => (number * 31 + i) % 256),
  }
}

function log(): Log & { lines: { fields: Record<string, unknown>; message: string }[] } {
  const lines: { fields: Record<string, unknown>; message: string }[] = []
  const line = (fields: object, message: string) => void lines.push({ fields: { ...fields }, message })
  return { lines, info: line, warn: line }
}

function options(path: string, more: Partial<JournalOptions> = {}): JournalOptions {
  return {
    directory: path,
    files: nodeFiles,
    log: log(),
    segmentBytes: 700,
    maxBytes: 1e6,
    minFreeBytes: 0,
    ...more,
  }
}

const open = (path: string, more?: Partial<JournalOptions>) => openJournal(options(path, more))

function readAll(path: string, from: number, until: number): ReturnType<JournalReader['read']> {
  const reader = new JournalReader({ directory: path, from, chunkBytes: 300 })
  try {
    const frames = []
    while (reader.next < until) frames.push(...reader.read(until, 500))
    return frames
  } finally {
    reader.close()
  }
}

/** Groups of so many frames each, one segment, left without the mark of a clean shutdown unless `clean`. */
async function written(groups: readonly number[], clean = false): Promise<{ path: string; file: string }> {
  const path = await directory()
  const leaked: { close(): Promise<void> }[] = []
  const files: Files = {
    ...nodeFiles,
    async open(...args) {
      const file = await nodeFiles.open(...args)
      leaked.push(file)
      return file
    },
  }
  const journal = await open(path, { segmentBytes: 100_000, files })
  let number = 0
  for (const count of groups)
    await Promise.all(Array.from({ length: count }, () => journal.append(entry(number++))))
  if (clean) await journal.close()
  else for (const file of leaked) await file.close().catch(() => {})
  return { path, file: join(path, segmentName(0)) }
}

describe('embedded journal', () => {
  journalContract(test, async () => {
    const path = await directory()
    return {
      open: (more) => open(path, more),
      read: async (from, until) => readAll(path, from, until),
      kill: async () => {},
    }
  })
})

describe('what is written', () => {
  test('appends that wait for a sync share the next one', async () => {
    let syncs = 0
    const files: Files = {
      ...nodeFiles,
      async open(...args) {
        const file = await nodeFiles.open(...args)
        return { ...file, fdatasync: () => file.fdatasync().then(() => void syncs++) }
      },
    }
    const journal = await open(await directory(), { files, segmentBytes: 100_000 })
    syncs = 0
    const first = journal.append(entry(0))
    await new Promise((resolve) => setImmediate(resolve))
    const rest = Array.from({ length: 50 }, (_, i) => journal.append(entry(i + 1)))
    await Promise.all([first, ...rest])
    expect(syncs).toBe(2)
    await journal.close()
  })

  test('a group is no larger than it may be', async () => {
    const sizes: number[] = []
    const files: Files = {
      ...nodeFiles,
      async open(...args) {
        const file = await nodeFiles.open(...args)
        return {
          ...file,
          write: (buffers, offset) => {
            sizes.push(buffers.reduce((sum, { length }) => sum + length, 0))
            return file.write(buffers, offset)
          },
        }
      },
    }
    const journal = await open(await directory(), { files, segmentBytes: 100_000, maxGroupBytes: 3 * FRAME })
    sizes.length = 0
    await Promise.all(Array.from({ length: 10 }, (_, i) => journal.append(entry(i))))
    expect(sizes).toEqual([3 * FRAME, 3 * FRAME, 3 * FRAME, FRAME])
    await journal.close()
  })

  test('segments are named by their first position and end in time', async () => {
    const path = await directory()
    const journal = await open(path)
    for (let i = 0; i < 12; i++) await journal.append(entry(i, 40))
    expect(fs.readdirSync(path).sort()).toEqual([0, 5, 10].map(segmentName))
    for (const name of fs.readdirSync(path))
      expect(fs.statSync(join(path, name)).size).toBeLessThanOrEqual(700)
    expect(journal.bytes).toBe(
      fs.readdirSync(path).reduce((sum, name) => sum + fs.statSync(join(path, name)).size, 0),
    )
    await journal.trim(12)
    expect(fs.readdirSync(path)).toEqual([segmentName(10)])
    await journal.close()
  })

  test('a frame larger than a segment is refused for good', async () => {
    const journal = await open(await directory())
    await expect(journal.append(entry(0, 700))).rejects.toThrow(RangeError)
    expect(await journal.append(entry(0, 700 - SEGMENT_HEADER_BYTES - FRAME_HEADER_BYTES - 2))).toBe(0)
    await journal.close()
  })
})

describe('pushing back', () => {
  test('at its size limit, until it is trimmed', async () => {
    const journal = await open(await directory(), { maxBytes: 2000 })
    let count = 0
    while (journal.full(FRAME) === undefined) await journal.append(entry(count++))
    expect(journal.full(FRAME)).toBe('journal')
    await expect(journal.append(entry(99))).rejects.toMatchObject({ name: 'JournalFull', reason: 'journal' })
    await journal.trim(count)
    expect(journal.full(FRAME)).toBeUndefined()
    expect(await journal.append(entry(count))).toBe(count)
    await journal.close()
  })

  test('when too much waits, but never for a single frame', async () => {
    const journal = await open(await directory(), { maxQueueBytes: 2 * FRAME - 1 })
    const first = journal.append(entry(0))
    await expect(journal.append(entry(1))).rejects.toMatchObject({ reason: 'queue' })
    expect(await first).toBe(0)
    expect(await journal.append(entry(1, 500))).toBe(1)
    await journal.close()
  })

  test('when the disk is short of its reserve, asked at most once a second', async () => {
    let free = 10_000
    let asked = 0
    let now = 0
    const files: Files = { ...nodeFiles, freeBytes: async () => ++asked && free }
    const journal = await open(await directory(), { files, minFreeBytes: 9_500, now: () => now })
    expect(asked).toBe(1)
    for (let i = 0; i < 4; i++) await journal.append(entry(i, 40))
    // What was written since is counted without asking.
    expect(journal.full(100)).toBe('disk')
    expect(asked).toBe(1)
    free = 20_000
    now = 1000
    journal.full()
    await new Promise((resolve) => setImmediate(resolve))
    expect(asked).toBe(2)
    expect(await journal.append(entry(4))).toBe(4)
    await journal.close()
  })

  test('no room on write: cut back, refuse, carry on', async () => {
    const path = await directory()
    let room = true
    let now = 0
    const files: Files = {
      ...nodeFiles,
      async open(...args) {
        const file = await nodeFiles.open(...args)
        return {
          ...file,
          async write(buffers, offset) {
            if (room) return file.write(buffers, offset)
            await file.write(buffers.slice(0, 1), offset)
            throw systemError('ENOSPC', 'write', file.path)
          },
        }
      },
    }
    const journal = await open(path, { files, segmentBytes: 10_000, now: () => now })
    await journal.append(entry(0))
    room = false
    const refused = await Promise.allSettled([journal.append(entry(50)), journal.append(entry(51))])
    for (const one of refused)
      expect(one.status === 'rejected' && one.reason instanceof JournalFull && one.reason.reason).toBe('disk')
    expect(fs.statSync(join(path, segmentName(0))).size).toBe(SEGMENT_HEADER_BYTES + FRAME)
    room = true
    expect(journal.full()).toBe('disk')
    now = 1001
    journal.full()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(await journal.append(entry(1))).toBe(1)
    await journal.close()
    expect(readAll(path, 0, 2).map(({ body }) => Buffer.from(body))).toEqual(
      [0, 1].map((i) => Buffer.from(entry(i).body)),
    )
  })

  test('a failed sync ends the journal, for what waits and for what comes', async () => {
    let broken = false
    const failures: Error[] = []
    const files: Files = {
      ...nodeFiles,
      async open(...args) {
        const file = await nodeFiles.open(...args)
        return {
          ...file,
          fdatasync: () =>
            broken ? Promise.reject(systemError('ENOSPC', 'fdatasync', '')) : file.fdatasync(),
        }
      },
    }
    const journal = await open(await directory(), { files, onFailure: (error) => failures.push(error) })
    await journal.append(entry(0))
    broken = true
    const lost = await Promise.allSettled([journal.append(entry(1)), journal.append(entry(2))])
    for (const one of lost) expect(one.status === 'rejected' && one.reason).toBeInstanceOf(JournalFailed)
    broken = false
    await expect(journal.append(entry(3))).rejects.toBeInstanceOf(JournalFailed)
    expect(failures).toHaveLength(1)
    expect(journal.durableEnd).toBe(1)
    await journal.close()
  })
})

describe('recovery', () => {
  /** Nothing here cuts the power, so nothing has to reach the disk: thousands of restarts in a second. */
  const unsynced: Files = {
    ...nodeFiles,
    fsyncDirectory: async () => {},
    open: async (...args) => ({ ...(await nodeFiles.open(...args)), fdatasync: async () => {} }),
  }

  /** Opens a changed journal: what became of it, and which frames are left. */
  async function outcome(path: string, more: Partial<JournalOptions> = {}) {
    const lines = log()
    let journal: Journal
    try {
      journal = await open(path, { segmentBytes: 100_000, log: lines, files: unsynced, ...more })
    } catch (error) {
      if (!(error instanceof JournalCorruption)) throw error
      return { corruption: error }
    }
    const end = journal.durableEnd
    await journal.close()
    return {
      end,
      frames: readAll(path, 0, end),
      cut: lines.lines.find(({ message }) => message.includes('torn')),
    }
  }

  function expectPrefix(frames: ReturnType<typeof readAll>): void {
    for (const [i, frame] of frames.entries()) {
      expect(frame.position).toBe(i)
      expect(Buffer.from(frame.body)).toEqual(Buffer.from(entry(i).body))
    }
  }

  test('every flipped byte of what was acknowledged is corruption; in the last group it is cut and said', async () => {
    const { path, file } = await written([1, 2, 2])
    const good = fs.readFileSync(file)
    const lastGroup = SEGMENT_HEADER_BYTES + 3 * FRAME
    expect(good.length).toBe(lastGroup + 2 * FRAME)
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good)
      bad[at]! ^= 1 << (at % 8)
      fs.writeFileSync(file, bad)
      const { corruption, end, frames, cut } = await outcome(path)
      if (at < lastGroup) {
        expect(corruption, `byte ${at}`).toBeDefined()
        expect(corruption!.file).toBe(file)
        expect(corruption!.offset).toBeLessThanOrEqual(at)
        expect(corruption!.offset).toBeGreaterThan(at - FRAME)
        expect(fs.readFileSync(file).equals(bad)).toBe(true)
      } else {
        const kept = Math.floor((at - SEGMENT_HEADER_BYTES) / FRAME)
        expect(end, `byte ${at}`).toBe(kept)
        expectPrefix(frames!)
        const offset = SEGMENT_HEADER_BYTES + kept * FRAME
        expect(cut?.fields).toMatchObject({ file, offset, bytes: good.length - offset })
      }
    }
  })

  test('after a clean shutdown every flipped byte of a frame is corruption', async () => {
    const { path, file } = await written([1, 2], true)
    const good = fs.readFileSync(file)
    const frames = good.length - FRAME_HEADER_BYTES
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good)
      bad[at]! ^= 0x80
      fs.writeFileSync(file, bad)
      const { corruption, end, cut } = await outcome(path)
      if (at < frames) {
        expect(corruption, `byte ${at}`).toBeDefined()
      } else {
        // The mark itself holds nothing.
        expect(end).toBe(3)
        expect(cut).toBeDefined()
      }
    }
  })

  test('below what the caller committed, nothing is cut', async () => {
    const { path, file } = await written([2, 3])
    const bad = fs.readFileSync(file)
    bad[SEGMENT_HEADER_BYTES + 4 * FRAME + 85]! ^= 1
    fs.writeFileSync(file, bad)
    expect((await outcome(path, { committedEnd: 5 })).corruption?.offset).toBe(
      SEGMENT_HEADER_BYTES + 4 * FRAME,
    )
    expect(fs.readFileSync(file).equals(bad)).toBe(true)
    expect((await outcome(path, { committedEnd: 4 })).end).toBe(4)
  })

  test('every truncation of the last segment gives the frames before it', async () => {
    const { path, file } = await written([2, 2, 1])
    const good = fs.readFileSync(file)
    for (let size = 0; size < good.length; size++) {
      fs.writeFileSync(file, good.subarray(0, size))
      const { end, frames, cut } = await outcome(path)
      const kept = Math.max(0, Math.floor((size - SEGMENT_HEADER_BYTES) / FRAME))
      expect(end, `size ${size}`).toBe(kept)
      expectPrefix(frames!)
      const whole = size <= SEGMENT_HEADER_BYTES || (size - SEGMENT_HEADER_BYTES) % FRAME === 0
      expect(cut === undefined).toBe(whole)
    }
  })

  test('what a cut journal takes next is read back', async () => {
    const { path, file } = await written([1, 2])
    fs.truncateSync(file, fs.statSync(file).size - 1)
    const journal = await open(path)
    expect(await journal.append(entry(2))).toBe(2)
    await journal.close()
    expectPrefix(readAll(path, 0, 3))
  })

  test('a sender cannot plant a frame that vouches for a torn one', async () => {
    const path = await directory()
    const fake = Buffer.concat(
      encodeFrame(entry(7), payloadCrc(entry(7).receipt, entry(7).body), {
        tag: Buffer.alloc(8, 1),
        position: 9,
        durable: 9,
      }),
    )
    const journal = await open(path, { segmentBytes: 100_000 })
    await journal.append(entry(0))
    await Promise.all([journal.append(entry(1)), journal.append({ ...entry(2), body: fake })])
    const file = join(path, segmentName(0))
    const bytes = fs.readFileSync(file)
    bytes[SEGMENT_HEADER_BYTES + FRAME + 90]! ^= 1
    fs.writeFileSync(file, bytes)
    expect((await outcome(path)).end).toBe(1)
    await journal.close()
  })

  test('holes and impostors among the segments are corruption', async () => {
    const path = await directory()
    const journal = await open(path)
    for (let i = 0; i < 17; i++) await journal.append(entry(i, 40))
    await journal.close()
    const names = fs.readdirSync(path).sort()
    expect(names).toHaveLength(4)
    const kept = names.map((name) => [name, fs.readFileSync(join(path, name))] as const)
    const restore = () => {
      fs.rmSync(path, { recursive: true })
      fs.mkdirSync(path)
      for (const [name, bytes] of kept) fs.writeFileSync(join(path, name), bytes)
    }

    fs.unlinkSync(join(path, names[1]!))
    await expect(open(path)).rejects.toMatchObject({ name: 'JournalCorruption', file: join(path, names[2]!) })
    restore()
    fs.unlinkSync(join(path, names[0]!))
    await expect(open(path, { committedEnd: 4 })).rejects.toBeInstanceOf(JournalCorruption)
    await (await open(path, { committedEnd: 5 })).close()
    restore()
    // A torn end anywhere but in the last segment is no torn tail.
    fs.truncateSync(join(path, names[1]!), 300)
    await expect(open(path)).rejects.toMatchObject({ file: join(path, names[1]!) })
    restore()
    fs.copyFileSync(join(path, names[3]!), join(path, segmentName(17)))
    fs.unlinkSync(join(path, names[3]!))
    await expect(open(path)).rejects.toBeInstanceOf(JournalCorruption)
    restore()
    fs.unlinkSync(join(path, names[3]!))
    await expect(open(path, { committedEnd: 16 })).rejects.toBeInstanceOf(JournalCorruption)
    for (const name of names) fs.rmSync(join(path, name), { force: true })
    await expect(open(path, { committedEnd: 1 })).rejects.toBeInstanceOf(JournalCorruption)
    restore()
    await (await open(path, { committedEnd: 17 })).close()
  })
})
