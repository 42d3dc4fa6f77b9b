import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { constants, crc32, zstdCompressSync } from 'node:zlib'
import { afterAll, describe, expect, test } from 'vitest'
import { type Files, nodeFiles } from './files.ts'
import {
  BLOCK_HEADER_BYTES,
  type BlockRef,
  openPacks,
  PACK_HEADER_BYTES,
  PackCorruption,
  type PackOptions,
  PackReader,
  type Packs,
  RECORDS,
} from './pack.ts'

const root = fs.mkdtempSync(join(tmpdir(), 'rootspan-pack-'))
afterAll(() => fs.rmSync(root, { recursive: true }))
const newDirectory = () => mkdtemp(join(root, 'p-'))

const silent = { info() {}, warn() {} }
const DAY = '20261122'
const MAX = 1 << 24

async function open(directory: string, more: Partial<PackOptions> = {}): Promise<Packs> {
  return openPacks({ directory, files: nodeFiles, log: silent, ...more })
}

/** Text that zstd makes smaller, different for each number. */
const block = (number: number, size = 200) => Buffer.alloc(size, `block ${number}; `)

async function opened(more?: Partial<PackOptions>): Promise<{ directory: string; packs: Packs }> {
  const directory = await newDirectory()
  const packs = await open(directory, more)
  await packs.cut([])
  return { directory, packs }
}

test('blocks come back from their references, in any thread-like reader and either way', async () => {
  const { directory, packs } = await opened()
  const sizes = [0, 1, 100, 65_536, 65_537, 300_000]
  const blocks = sizes.map((size, i) => block(i, size))
  const refs = [
    ...(await packs.append(blocks.slice(0, 2), DAY)),
    ...(await packs.append(blocks.slice(2), DAY)),
  ]
  await packs.sync()
  const reader = new PackReader({ directory, files: nodeFiles })
  for (const [i, ref] of refs.entries()) {
    expect(Buffer.from(await reader.read(ref, MAX)).equals(blocks[i]!)).toBe(true)
    expect(Buffer.from(reader.readSync(ref, MAX)).equals(blocks[i]!)).toBe(true)
    expect(Buffer.from(packs.readSync(ref, MAX)).equals(blocks[i]!)).toBe(true)
  }
  expect([...reader.walk(0)].map(({ ref }) => ref)).toEqual(refs)
  expect([...reader.walk(0)].map(({ rawLength }) => rawLength)).toEqual(sizes)
  expect([...reader.walk(0, MAX, refs[2]!.offset)]).toHaveLength(2)
  expect(refs.at(-1)!.length).toBeLessThan(1000)
  expect(await packs.append([], DAY)).toEqual([])
  await packs.shutdown()
  reader.close()
})

test('what compression does not make shorter, and what is of the class of records, is stored as it is', async () => {
  const { directory, packs } = await opened()
  const random = randomBytes(70_000)
  const [small, large] = await packs.append([random.subarray(0, 100), random], DAY)
  const [record] = await packs.append([block(1, 70_000)], DAY, RECORDS)
  expect([small, large, record].map((ref) => ref!.length)).toEqual([120, 70_020, 70_020])
  await packs.sync()
  const reader = new PackReader({ directory, files: nodeFiles })
  expect(Buffer.from(await reader.read(large!, MAX)).equals(random)).toBe(true)
  expect(Buffer.from(reader.readSync(record!, MAX)).equals(block(1, 70_000))).toBe(true)
  expect(reader.path(record!.pack)).toMatch(/\/records-\d{8}-0001\.pack$/)
  await expect(reader.read(large!, 1000)).rejects.toThrow(PackCorruption)
  reader.close()
  await packs.shutdown()
})

test('packs go by class and day, end in time, and have ids that never come back', async () => {
  const { directory, packs } = await opened({ maxPackBytes: 150, level: 3 })
  const refs: BlockRef[] = []
  for (const [day, retention] of [
    [DAY, 'default'],
    [DAY, 'default'],
    [DAY, 'short'],
    ['20261123', 'default'],
    [DAY, 'default'],
    [DAY, 'default'],
  ] as const)
    refs.push(...(await packs.append([block(refs.length)], day, retention)))
  expect(refs.map(({ pack }) => pack)).toEqual([0, 0, 1, 2, 3, 3])
  const names = [
    'default-20261122-0000.pack',
    'default-20261122-0003.pack',
    'default-20261123-0002.pack',
    'short-20261122-0001.pack',
  ]
  expect(fs.readdirSync(directory).sort()).toEqual(names)
  const tails = packs.tails()
  await packs.sync()
  await packs.shutdown()

  const again = await open(directory, { maxPackBytes: 150, nextPack: 4 })
  expect(again.packs()).toEqual([0, 1, 2, 3])
  // The newest pack is dropped on purpose: its id stays used.
  await again.cut(tails.filter(({ pack }) => pack !== 3))
  const [ref] = await again.append([block(9)], '20261124')
  expect(ref?.pack).toBe(4)
  expect((await again.append([block(10)], '20261123'))[0]?.pack).toBe(2)
  await again.shutdown()
})

test('one append goes into one pack, larger than a pack or not', async () => {
  const { packs } = await opened({ maxPackBytes: 100 })
  const refs = await packs.append([block(0), block(1), block(2), block(3)], DAY)
  expect(new Set(refs.map(({ pack }) => pack)).size).toBe(1)
  expect((await packs.append([block(4)], DAY))[0]?.pack).toBe(1)
  await packs.shutdown()
})

test('appends at the same time do not mix', async () => {
  const { packs } = await opened()
  const many = await Promise.all(
    Array.from({ length: 20 }, (_, i) => packs.append([block(i, 70_000 + i), block(i + 100, i)], DAY)),
  )
  for (const [i, [large, small]] of many.entries()) {
    expect(Buffer.from(packs.readSync(large!, MAX)).equals(block(i, 70_000 + i))).toBe(true)
    expect(Buffer.from(packs.readSync(small!, MAX)).equals(block(i + 100, i))).toBe(true)
  }
  await packs.shutdown()
})

test('nothing is appended before the cut, nor under a name that is none', async () => {
  const packs = await open(await newDirectory())
  await expect(packs.append([block(0)], DAY)).rejects.toThrow('bad use')
  await packs.cut([])
  await expect(packs.append([block(0)], '2026-11-22')).rejects.toThrow(RangeError)
  await expect(packs.append([block(0)], DAY, '../x')).rejects.toThrow(RangeError)
  await packs.shutdown()
  await expect(packs.sync()).rejects.toThrow('pack')
})

describe('cutting', () => {
  test('what the last commit does not know is gone, and the rest goes on', async () => {
    const { directory, packs } = await opened({ maxPackBytes: 200 })
    const kept = await packs.append([block(0), block(1)], DAY)
    await packs.sync()
    const tails = packs.tails()
    await packs.append([block(2)], DAY)
    await packs.append([block(3)], '20261123')
    expect(packs.tails()).not.toEqual(tails)
    await packs.shutdown()
    fs.writeFileSync(join(directory, 'default-20261124-0007.pack'), 'torn')
    fs.writeFileSync(join(directory, 'readme.txt'), 'not ours')

    const again = await open(directory)
    await again.cut(tails)
    expect(again.tails()).toEqual(tails)
    expect(fs.readdirSync(directory).sort()).toEqual(['default-20261122-0000.pack', 'readme.txt'])
    expect([...again.walk(0)].map(({ ref }) => ref)).toEqual(kept)
    const [next] = await again.append([block(4)], DAY)
    expect(next).toMatchObject({ pack: 0, offset: tails[0]!.end })
    expect(Buffer.from(again.readSync(next!, MAX)).equals(block(4))).toBe(true)
    await again.shutdown()
  })

  test('removes nothing when something committed is missing', async () => {
    const { directory, packs } = await opened()
    await packs.append([block(0)], DAY)
    await packs.append([block(0)], '20261123')
    const tails = packs.tails()
    await packs.shutdown()
    const names = fs.readdirSync(directory)
    const refuse = async (wanted: typeof tails, file: string) => {
      const again = await open(directory)
      await expect(again.cut(wanted)).rejects.toMatchObject({
        name: 'PackCorruption',
        file: join(directory, file),
      })
      await again.shutdown()
      expect(fs.readdirSync(directory)).toEqual(names)
    }
    await refuse([tails[0]!, { pack: 1, end: tails[1]!.end + 1 }], 'default-20261123-0001.pack')
    await refuse([tails[0]!, { pack: 5, end: 32 }], '')
    // A pack under the name of another one.
    fs.copyFileSync(join(directory, names[0]!), join(directory, names[1]!))
    await refuse(tails, names[1]!)
    fs.writeFileSync(join(directory, 'short-20261122-0001.pack'), '')
    await expect(open(directory)).rejects.toBeInstanceOf(PackCorruption)
  })
})

describe('damage', () => {
  test('every flipped byte and every truncation of a pack is found', async () => {
    const { directory, packs } = await opened()
    const refs = await packs.append([block(0), block(1, 50), block(2, 0)], DAY)
    await packs.shutdown()
    const file = join(directory, 'default-20261122-0000.pack')
    const good = fs.readFileSync(file)
    const walk = () => {
      const reader = new PackReader({ directory })
      try {
        return [...reader.walk(0, MAX, good.length)]
      } finally {
        reader.close()
      }
    }
    expect(walk()).toHaveLength(3)
    for (let at = 0; at < good.length; at++) {
      const bad = Buffer.from(good)
      bad[at]! ^= 1 << (at % 8)
      fs.writeFileSync(file, bad)
      expect(walk, `byte ${at}`).toThrow(PackCorruption)
      const hit = refs.find(({ offset, length }) => at >= offset && at < offset + length)
      if (hit === undefined) continue
      const reader = new PackReader({ directory, files: nodeFiles })
      expect(() => reader.readSync(hit, MAX)).toThrow(PackCorruption)
      await expect(reader.read(hit, MAX)).rejects.toMatchObject({
        name: 'PackCorruption',
        file,
        offset: hit.offset,
      })
      reader.close()
    }
    for (let size = 0; size < good.length; size++) {
      fs.writeFileSync(file, good.subarray(0, size))
      expect(walk, `size ${size}`).toThrow(PackCorruption)
    }
  })

  test('a block that would inflate to more than it says, or than is allowed, is refused', async () => {
    const { directory, packs } = await opened()
    const [ref] = await packs.append([block(0, 5000)], DAY)
    await packs.shutdown()
    const reader = new PackReader({ directory, files: nodeFiles })
    expect(() => reader.readSync(ref!, 4999)).toThrow('larger than allowed')
    await expect(reader.read(ref!, 4999)).rejects.toThrow('larger than allowed')
    expect(reader.readSync(ref!, 5000)).toHaveLength(5000)

    const bomb = zstdCompressSync(Buffer.alloc(50_000_000), {
      params: { [constants.ZSTD_c_compressionLevel]: 19 },
    })
    for (const rawLength of [0, 100, 70_000, 50_000_001]) {
      const head = Buffer.alloc(BLOCK_HEADER_BYTES)
      head.write('RSpb')
      head.writeUInt32BE(rawLength, 8)
      head.writeUInt32BE(bomb.length, 12)
      head.writeUInt32BE(crc32(bomb, crc32(head.subarray(0, 16))), 16)
      const file = join(directory, 'default-20261122-0000.pack')
      fs.writeFileSync(
        file,
        Buffer.concat([fs.readFileSync(file).subarray(0, PACK_HEADER_BYTES), head, bomb]),
      )
      const bad = { pack: 0, offset: PACK_HEADER_BYTES, length: head.length + bomb.length }
      expect(() => reader.readSync(bad, 1e9)).toThrow('does not inflate')
      await expect(reader.read(bad, 1e9)).rejects.toThrow('does not inflate')
    }
    reader.close()
  })

  test('a wild reference is refused before anything is allocated', async () => {
    const { directory, packs } = await opened()
    await packs.append([block(0)], DAY)
    const reader = new PackReader({ directory, files: nodeFiles })
    for (const ref of [
      { pack: 0, offset: 0, length: 50 },
      { pack: 0, offset: 32, length: 3 },
      { pack: 0, offset: 32, length: 1e12 },
      { pack: 0, offset: 1e9, length: 50 },
      { pack: 7, offset: 32, length: 50 },
    ]) {
      expect(() => reader.readSync(ref, MAX)).toThrow(PackCorruption)
      await expect(reader.read(ref, MAX)).rejects.toBeInstanceOf(PackCorruption)
    }
    reader.close()
    await packs.shutdown()
  })
})

test('no room: the blocks are not there, and the writer goes on', async () => {
  let room = true
  const files: Files = {
    ...nodeFiles,
    async open(...args) {
      const file = await nodeFiles.open(...args)
      return {
        ...file,
        async write(buffers, offset) {
          if (room) return file.write(buffers, offset)
          await file.write(buffers, offset)
          throw Object.assign(new Error('full'), { code: 'ENOSPC' })
        },
      }
    },
  }
  const { directory, packs } = await opened({ files })
  const [first] = await packs.append([block(0)], DAY)
  room = false
  await expect(packs.append([block(1), block(2)], DAY)).rejects.toMatchObject({ code: 'ENOSPC' })
  await expect(packs.append([block(1)], '20261125')).rejects.toMatchObject({ code: 'ENOSPC' })
  room = true
  const [second] = await packs.append([block(3)], DAY)
  await packs.sync()
  expect([...packs.walk(0)].map(({ ref }) => ref)).toEqual([first, second])
  expect(fs.readdirSync(directory)).toHaveLength(1)
  await packs.shutdown()
})
