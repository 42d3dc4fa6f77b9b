import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parsePolicy } from '@rootspan/lineage/tlog/policy'
import { describe, expect, test } from 'vitest'
import { DIRECTORY, type Expected, makeBundleVectors, outcomeOf } from '../../scripts/make-bundle-vectors.ts'

interface Case {
  readonly name: string
  readonly file: string
  readonly policy: string
}

const read = (name: string): Promise<Uint8Array> => readFile(join(DIRECTORY, name))
const cases = JSON.parse(String(await read('bundles.json'))) as (Case & Expected)[]

describe('vectors of evidence bundles', () => {
  test.each(cases.map((each) => [each.name, each] as const))(
    '%s',
    async (_, { name, file, policy, ...expected }) => {
      expect(outcomeOf(await read(file), parsePolicy(await read(policy)))).toEqual(expected)
    },
  )

  test('hold good ones and bad ones of every kind', () => {
    const codes = new Set(cases.map((each) => (each.result === 'verified' ? 'verified' : each.code)))
    expect([...codes].sort()).toEqual(
      [
        'claims',
        'context',
        'erasure',
        'evidence',
        'inclusion',
        'malformed',
        'order',
        'record',
        'seal',
        'signature',
        'unsupported',
        'untrusted',
        'verified',
      ].sort(),
    )
  })

  test('are what the script makes, byte for byte', async () => {
    const made = await makeBundleVectors()
    expect((await readdir(DIRECTORY)).sort()).toEqual([...made.keys(), 'README.md'].sort())
    for (const [name, bytes] of made)
      if (Buffer.compare(bytes, await read(name)) !== 0)
        throw new Error(`${name} is out of date: node --conditions=source scripts/make-bundle-vectors.ts`)
  })
})
