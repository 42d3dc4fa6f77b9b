/** Packs against vectors that another program made (test/vectors/pack/make.py). */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nodeFiles } from './files.ts'
import { MAX_BLOCK_BYTES, PACK_HEADER_BYTES, PackReader } from './pack.ts'

interface Vectors {
  readonly names: {
    readonly valid: readonly { name: string; id: number }[]
    readonly invalid: readonly string[]
  }
  readonly packs: {
    /** `raw`: what is in each block. */
    readonly valid: readonly { name: string; file: string; id: number; hex: string; raw: readonly string[] }[]
    readonly invalid: readonly {
      readonly name: string
      readonly file: string
      readonly hex: string
      readonly ref: { readonly offset: number; readonly length: number }
      readonly reason: string
    }[]
  }
}

const path = join(import.meta.dirname, '../../../test/vectors/pack/pack.json')
const { names, packs }: Vectors = JSON.parse(readFileSync(path, 'utf8'))

let directory: string
let reader: PackReader
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rootspan-pack-'))
  reader = new PackReader({ directory, files: nodeFiles })
})
afterEach(() => {
  reader.close()
  rmSync(directory, { recursive: true })
})

test('names of packs, and those that are left alone', () => {
  for (const name of [...names.valid.map(({ name }) => name), ...names.invalid])
    writeFileSync(join(directory, name), '')
  expect(reader.packs()).toEqual(names.valid.map(({ id }) => id).sort((a, b) => a - b))
  for (const { name, id } of names.valid) expect(reader.path(id)).toBe(join(directory, name))
})

describe('packs', () => {
  test.each(packs.valid)('$name', async ({ file, id, hex, raw }) => {
    writeFileSync(join(directory, file), Buffer.from(hex, 'hex'))
    const blocks = [...reader.walk(id)]
    expect(blocks.map((block) => Buffer.from(block.raw).toString('hex'))).toEqual(raw)
    let end = PACK_HEADER_BYTES
    for (const [at, { ref, rawLength }] of blocks.entries()) {
      expect(ref).toMatchObject({ pack: id, offset: end })
      expect(rawLength).toBe(raw[at]!.length / 2)
      expect(Buffer.from(await reader.read(ref, rawLength)).toString('hex')).toBe(raw[at])
      end += ref.length
    }
    expect(end).toBe(hex.length / 2)
  })

  test.each(packs.invalid)('refused: $name', async ({ file, hex, ref, reason }) => {
    writeFileSync(join(directory, file), Buffer.from(hex, 'hex'))
    const inHeader = reason.startsWith('pack ')
    const refusal = { name: 'PackCorruption', file: join(directory, file), reason }
    const at = { ...refusal, offset: inHeader ? 0 : ref.offset }
    const block = { pack: 258, ...ref }
    expect(errorOf(() => reader.readSync(block, MAX_BLOCK_BYTES))).toMatchObject(at)
    // This one leaves the header of the pack to whoever opens them: fsck and the start.
    if (!inHeader) await expect(reader.read(block, MAX_BLOCK_BYTES)).rejects.toMatchObject(at)
  })
})

function errorOf(act: () => unknown): unknown {
  try {
    act()
  } catch (error) {
    return error
  }
  return undefined
}
