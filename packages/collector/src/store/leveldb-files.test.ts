import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { checkLevelFiles } from './leveldb-files.ts'
import { checkTable, decompressSnappy } from './leveldb-table.ts'

let root: string
/** A few hundred bytes of everything, closed: a log, a manifest with several edits, tables. */
let small: string
/** Several levels, snappy and plain blocks, a log of several blocks with fragmented records. */
let large: string

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'rootspan-level-'))
  small = join(root, 'small')
  await fill(small, 20, 40)
  await fill(small, 12, 90)
  large = join(root, 'large')
  // All in compressed tables of level 1 or deeper; then, as the log is recovered, one plain table of level 0.
  await fill(large, 6000, 900, { maxFileSize: 1 << 20, compact: true })
  await fill(large, 1500, 700, { writeBufferSize: 16 << 20 })
  await fill(large, 500, 800, { writeBufferSize: 16 << 20, compression: false, big: true })
})

afterAll(() => rm(root, { recursive: true, force: true }))

describe('a clean database', () => {
  test('has no problems, and every file is checked or named', async () => {
    for (const directory of [small, large]) {
      const report = await checkLevelFiles(directory, { tables: true })
      expect(report.problems).toEqual([])
      expect(report.torn).toEqual([])
      const named = [...report.checked, ...report.notChecked].map(({ file }) => file)
      expect(named.toSorted()).toEqual((await readdir(directory)).toSorted())
      expect(report.notChecked.map(({ file }) => file).toSorted()).toEqual(['LOCK', 'LOG', 'LOG.old'])
    }
  })

  test('the large one is what it is meant to be', async () => {
    const { checked } = await checkLevelFiles(large, { tables: true })
    const tables = checked.filter(({ file }) => file.endsWith('.ldb'))
    const log = checked.find(({ file }) => file.endsWith('.log'))
    expect(tables.length).toBeGreaterThan(3)
    expect(log?.bytes).toBeGreaterThan(10 * 32_768)
    const db = new ClassicLevel(await copy(large), { createIfMissing: false })
    await db.open()
    const levels = [0, 1, 2, 3].filter(
      (level) => db.getProperty(`leveldb.num-files-at-level${level}`) !== '0',
    )
    await db.close()
    expect(levels.length).toBeGreaterThan(1)
  })

  test('without tables their sizes are still compared', async () => {
    const directory = await copy(large)
    const report = await checkLevelFiles(directory, { tables: false })
    expect(report.problems).toEqual([])
    const table = report.notChecked.find(({ file }) => file.endsWith('.ldb'))!.file
    await truncate(join(directory, table), 1000)
    const { problems } = await checkLevelFiles(directory, { tables: false })
    expect(problems).toMatchObject([{ file: table, offset: 1000 }])
  })
})

describe('a changed byte', () => {
  test('is found wherever it is in a small database', async () => {
    const directory = await copy(small)
    const { checked } = await checkLevelFiles(directory, { tables: true })
    let tried = 0
    for (const { file, bytes } of checked) {
      const original = await readFile(join(directory, file))
      expect(original.length).toBe(bytes)
      const handle = await open(join(directory, file), 'r+')
      for (let at = 0; at < bytes; at++) {
        await handle.write(Uint8Array.of(original[at]! ^ (1 << (tried % 8))), 0, 1, at)
        const { problems } = await checkLevelFiles(directory, { tables: true })
        if (problems.length === 0) expect.fail(`${file}: byte ${at} of ${bytes} is not found`)
        // A changed CURRENT or manifest makes other files suspect; the changed one is named among them.
        if (!problems.some((problem) => problem.file === file && problem.offset <= at))
          expect.fail(`${file}: byte ${at} is blamed on ${JSON.stringify(problems)}`)
        await handle.write(original, at, 1, at)
        tried++
      }
      await handle.close()
    }
    expect(tried).toBeGreaterThan(2000)
    expect((await checkLevelFiles(directory, { tables: true })).problems).toEqual([])
  })

  test('is found as any of its 255 other values in the length of every record of the log', async () => {
    const directory = await copy(small)
    const log = (await readdir(directory)).find((file) => file.endsWith('.log'))!
    const original = await readFile(join(directory, log))
    for (let at = 0; at < original.length; at += 7 + original.readUInt16LE(at + 4)) {
      for (const offset of [at + 4, at + 5]) {
        for (let value = 0; value < 256; value++) {
          if (value === original[offset]) continue
          const changed = Buffer.from(original)
          changed[offset] = value
          await writeFile(join(directory, log), changed)
          const { problems } = await checkLevelFiles(directory, { tables: false })
          expect(problems).toMatchObject([{ file: log, offset: at }])
        }
      }
    }
  })

  test('is found in a spread over a large database', async () => {
    const directory = await copy(large)
    const { checked } = await checkLevelFiles(directory, { tables: true })
    for (const { file, bytes } of checked) {
      const original = await readFile(join(directory, file))
      // Odd steps, the ends, and what lies around the borders of the log's blocks.
      const places = new Set(Array.from({ length: 40 }, (_, i) => Math.floor((bytes * (i + 0.37)) / 40)))
      for (let i = 0; i < 12; i++) places.add(i).add(bytes - 1 - i)
      if (file.endsWith('.log')) for (let i = -12; i < 12; i++) places.add(32_768 + i).add(65_536 + i)
      for (const at of places) {
        if (at < 0 || at >= bytes) continue
        const changed = Buffer.from(original)
        changed[at]! ^= 0x10
        const problems = file.endsWith('.ldb')
          ? checkTable(changed)
          : await withFile(directory, file, changed)
        if (problems.length === 0) expect.fail(`${file}: byte ${at} of ${bytes} is not found`)
      }
      await writeFile(join(directory, file), original)
    }
  })

  async function withFile(directory: string, file: string, bytes: Uint8Array) {
    await writeFile(join(directory, file), bytes)
    return (await checkLevelFiles(directory, { tables: false })).problems
  }
})

describe('a table', () => {
  test('has no byte outside its blocks and its footer', async () => {
    const tables = (await readdir(large)).filter((file) => file.endsWith('.ldb'))
    for (const file of tables) {
      const bytes = await readFile(join(large, file))
      expect(checkTable(bytes)).toEqual([])
      const footer = bytes.subarray(-48)
      const inserted = Buffer.concat([bytes.subarray(0, -48), Buffer.from('spare'), footer])
      expect(checkTable(inserted)).toMatchObject([
        { offset: bytes.length - 48, what: 'bytes that no block covers' },
      ])
      for (const size of [0, 7, 47, 48, 4096, bytes.length - 1])
        expect(checkTable(bytes.subarray(0, size))).not.toEqual([])
    }
  })

  test('has both compressed and plain blocks here', async () => {
    const types = new Set<number>()
    for (const file of await readdir(large)) {
      if (!file.endsWith('.ldb')) continue
      const bytes = await readFile(join(large, file))
      types.add(bytes[indexTypeAt(bytes)]!)
    }
    expect([...types].toSorted()).toEqual([0, 1])
  })

  function indexTypeAt(bytes: Buffer): number {
    return bytes.length - 48 - 5
  }
})

describe('the end of the log', () => {
  test('cut off anywhere is torn or complete, and never a problem', async () => {
    const directory = await copy(small)
    const log = (await readdir(directory)).find((file) => file.endsWith('.log'))!
    const original = await readFile(join(directory, log))
    const ends = new Set<number>([0])
    for (let at = 0; at < original.length; ends.add(at)) at += 7 + original.readUInt16LE(at + 4)
    for (let size = original.length - 1; size >= 0; size--) {
      await truncate(join(directory, log), size)
      const { problems, torn } = await checkLevelFiles(directory, { tables: false })
      expect(problems).toEqual([])
      const start = Math.max(...[...ends].filter((end) => end <= size))
      expect(torn.map(({ offset }) => offset)).toEqual(start === size ? [] : [start])
    }
  })

  test('cut off within a record of many blocks is torn where the record begins', async () => {
    const directory = await copy(large)
    const log = (await readdir(directory)).find((file) => file.endsWith('.log'))!
    const { size } = await open(join(directory, log)).then(async (handle) => {
      const stats = await handle.stat()
      await handle.close()
      return stats
    })
    await truncate(join(directory, log), size - 40_000)
    const { problems, torn } = await checkLevelFiles(directory, { tables: false })
    expect(problems).toEqual([])
    expect(torn).toHaveLength(1)
    expect(size - 40_000 - torn[0]!.offset).toBeGreaterThan(32_768)
  })

  test('of zeros is torn; zeros before a record are a problem', async () => {
    const directory = await copy(small)
    const log = (await readdir(directory)).find((file) => file.endsWith('.log'))!
    const original = await readFile(join(directory, log))
    for (const zeros of [7, 512, 40_000, 65_536 - original.length + 3]) {
      await writeFile(join(directory, log), Buffer.concat([original, Buffer.alloc(zeros)]))
      const report = await checkLevelFiles(directory, { tables: false })
      expect(report.problems).toEqual([])
      expect(report.torn).toMatchObject([{ file: log, offset: original.length }])
    }
    for (const zeros of [7, 512, 40_000]) {
      await writeFile(join(directory, log), Buffer.concat([original, Buffer.alloc(zeros), Buffer.from('x')]))
      const report = await checkLevelFiles(directory, { tables: false })
      expect(report.problems).toMatchObject([{ file: log, offset: original.length }])
    }
  })

  test('torn in a log that a newer one follows is a problem', async () => {
    const directory = await copy(small)
    const log = (await readdir(directory)).find((file) => file.endsWith('.log'))!
    const original = await readFile(join(directory, log))
    await writeFile(join(directory, '000999.log'), original)
    expect((await checkLevelFiles(directory, { tables: false })).problems).toEqual([])
    await truncate(join(directory, log), original.length - 1)
    const { problems, torn } = await checkLevelFiles(directory, { tables: false })
    expect(problems).toMatchObject([{ file: log }])
    expect(torn).toEqual([])
  })
})

describe('a missing file', () => {
  test.each(['CURRENT', '.log', '.ldb', 'MANIFEST'])('%s is named', async (kind) => {
    const directory = await copy(small)
    const file = (await readdir(directory)).find((name) => name.includes(kind))!
    await rm(join(directory, file))
    const { problems } = await checkLevelFiles(directory, { tables: true })
    expect(problems.length).toBeGreaterThan(0)
    if (kind === 'MANIFEST') expect(problems[0]?.what).toContain('does not name a manifest')
    else expect(problems[0]).toMatchObject({ file, what: expect.stringContaining('missing') })
  })

  test('an empty directory is no database, and a missing one throws', async () => {
    const empty = await mkdtemp(join(root, 'empty-'))
    expect((await checkLevelFiles(empty, { tables: true })).problems).toMatchObject([{ file: 'CURRENT' }])
    await expect(checkLevelFiles(join(empty, 'none'), { tables: true })).rejects.toThrow('ENOENT')
  })
})

test('a database whose process is killed while it writes has no problems', { timeout: 60_000 }, async () => {
  let torn = 0
  for (let round = 0; round < 6; round++) {
    const directory = join(root, `killed-${round}`)
    const script = `
      import { ClassicLevel } from 'classic-level'
      const db = new ClassicLevel(${JSON.stringify(directory)}, { writeBufferSize: 65536 })
      await db.open()
      for (let n = 0; ; n++) {
        const batch = db.batch()
        for (let i = 0; i < 50; i++) batch.put(String((n * 7919 + i * 104729) % 20000), 'v'.repeat(n % 997) + n)
        await batch.write()
        if (n === 20) console.log('writing')
      }`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { cwd: import.meta.dirname })
    await once(child.stdout, 'data')
    await new Promise((resolve) => setTimeout(resolve, 100 + round * 60))
    child.kill('SIGKILL')
    await once(child, 'exit')
    const report = await checkLevelFiles(directory, { tables: true })
    expect(report.problems).toEqual([])
    torn += report.torn.length
    const db = new ClassicLevel(directory, { createIfMissing: false })
    await db.open()
    await db.close()
    const after = await checkLevelFiles(directory, { tables: true })
    expect(after.problems).toEqual([])
    expect(after.torn).toEqual([])
  }
  expect(torn).toBeLessThanOrEqual(12)
})

describe('snappy', () => {
  const hex = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))

  test.each([
    ['nothing', '00', ''],
    ['a literal', '03 08 616263', 'abc'],
    ['a literal with its length in a byte', '03 f0 02 616263', 'abc'],
    ['a copy with a one-byte offset, overlapping', '08 04 6162 09 02', 'abababab'],
    ['a copy with a two-byte offset', '06 08 616263 0a 0300', 'abcabc'],
    ['a copy with a four-byte offset', '06 08 616263 0b 03000000', 'abcabc'],
  ])('%s', (_, input, expected) => {
    expect(Buffer.from(decompressSnappy(hex(input)) ?? 'failed').toString()).toBe(expected)
  })

  test.each([
    ['no length', ''],
    ['an endless length', 'ffffffffffff'],
    ['a length over the limit', 'ffffffff0f 00'],
    ['too little output', '04 08 616263'],
    ['too much output', '02 08 616263'],
    ['a literal cut off', '03 08 6162'],
    ['a copy from before the start', '06 08 616263 09 04'],
    ['a copy of offset zero', '06 08 616263 09 00'],
    ['an offset cut off', '06 08 616263 0a 03'],
  ])('refuses %s', (_, input) => {
    expect(decompressSnappy(hex(input))).toBeUndefined()
  })
})

/** Writes a database with overwrites and deletions, the way that the options say, and closes it. */
async function fill(
  directory: string,
  keys: number,
  valueSize: number,
  options: {
    writeBufferSize?: number
    maxFileSize?: number
    compression?: boolean
    compact?: boolean
    big?: boolean
  } = {},
): Promise<void> {
  const { compact, big, ...level } = options
  const db = new ClassicLevel<string, Uint8Array>(directory, { valueEncoding: 'view', ...level })
  await db.open()
  // xorshift32: the same database every time.
  let state = keys
  const random = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
  for (let at = 0; at < keys; at += 10) {
    const batch = db.batch()
    for (let i = at; i < Math.min(at + 10, keys); i++) {
      const value = Buffer.alloc(valueSize, `value ${i} `)
      // Half of a value does not compress.
      for (let j = 0; j < valueSize / 2; j++) value[j] = random() >>> 24
      batch.put(`key ${random() % (keys * 2)}`, value)
      if (i % 17 === 0) batch.del(`key ${random() % (keys * 2)}`)
    }
    await batch.write({ sync: at % 100 === 0 })
  }
  if (compact) await db.compactRange('a', 'z')
  if (big) await db.put('big', Buffer.alloc(150_000, 'a record of many blocks '))
  await db.close()
}

async function copy(directory: string): Promise<string> {
  const target = await mkdtemp(join(root, 'copy-'))
  await cp(directory, target, { recursive: true })
  return target
}
