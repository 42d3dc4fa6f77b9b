import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { makeDirectory, writeFileDurably } from './durable.ts'
import { type Files, nodeFiles, readFully, writeFully } from './files.ts'

const root = fs.mkdtempSync(join(tmpdir(), 'rootspan-durable-'))
afterAll(() => fs.rmSync(root, { recursive: true }))

test('a file is replaced as a whole, with its permissions, over what an earlier crash left', async () => {
  const path = join(root, 'key')
  fs.writeFileSync(`${path}.tmp`, 'half of something', { mode: 0o666 })
  await writeFileDurably(nodeFiles, path, Buffer.from('one'))
  expect(fs.readFileSync(path, 'utf8')).toBe('one')
  expect(await nodeFiles.stat(path)).toEqual({ size: 3, permissions: 0o600 })
  await writeFileDurably(nodeFiles, path, Buffer.from(''), 0o640)
  expect(await nodeFiles.stat(path)).toEqual({ size: 0, permissions: 0o640 })
  expect(fs.readdirSync(root)).toEqual(['key'])
})

test('directories are made durable in each parent that got a new name', async () => {
  const synced: string[] = []
  const files: Files = { ...nodeFiles, fsyncDirectory: async (path) => void synced.push(path) }
  await makeDirectory(files, join(root, 'a', 'b', 'c'))
  expect(synced).toEqual([join(root, 'a', 'b'), join(root, 'a'), root])
  await makeDirectory(files, join(root, 'a', 'b', 'c'))
  expect(synced).toHaveLength(3)
})

test('short writes and short reads are carried on', async () => {
  const path = join(await mkdtemp(join(root, 's-')), 'file')
  const file = await nodeFiles.open(path, 'create')
  for (let limit = 1; limit < 12; limit++) {
    const short = {
      ...file,
      write: async (buffers: readonly Uint8Array[], offset: number) => {
        const bytes = Buffer.concat(buffers).subarray(0, limit)
        return file.write([bytes], offset)
      },
      read: (into: Uint8Array, offset: number) => file.read(into.subarray(0, limit), offset),
    }
    await file.truncate(0)
    const parts = [Buffer.from('abc'), Buffer.from(''), Buffer.from('defgh'), Buffer.from('ij')]
    expect(await writeFully(short, parts, 2)).toBe(10)
    const into = Buffer.alloc(20)
    expect(await readFully(short, into, 2)).toBe(10)
    expect(into.subarray(0, 10).toString()).toBe('abcdefghij')
  }
  await expect(writeFully({ ...file, write: async () => 0 }, [Buffer.from('a')], 0)).rejects.toThrow('EIO')
  await file.close()
})
