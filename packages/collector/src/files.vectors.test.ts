/** A collector's small files against vectors that another program made (test/vectors/files/make.py). */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { describe, expect, test } from 'vitest'
import { formatLogFile, parseLogFile } from './origin.ts'
import { findLineFault, QUARANTINE_FILE } from './receiver/quarantine.ts'
import { memoryPath } from './signer.ts'

interface Text {
  readonly name: string
  readonly text: string
}

interface Vectors {
  readonly logs: {
    readonly valid: readonly (Text & { origin: string; key: string; created: string })[]
    readonly invalid: readonly Text[]
  }
  readonly quarantine: {
    readonly names: { readonly valid: readonly string[]; readonly invalid: readonly string[] }
    readonly lines: { readonly valid: readonly Text[]; readonly invalid: readonly Text[] }
  }
  readonly memory: readonly { readonly origin: string; readonly file: string }[]
}

const FILE = join(import.meta.dirname, '../../../test/vectors/files/files.json')
const { logs, quarantine, memory } = JSON.parse(readFileSync(FILE, 'utf8')) as Vectors

describe('log.json', () => {
  test.each(logs.valid)('$name', ({ text, origin, key, created }) => {
    expect(parseLogFile(utf8(text))).toEqual({ origin, key, created })
    expect(Buffer.from(formatLogFile({ origin, key, created })).toString()).toBe(text)
  })

  test.each(logs.invalid)('refused: $name', ({ text }) => {
    expect(() => parseLogFile(utf8(text))).toThrow(MalformedError)
  })
})

describe('quarantine', () => {
  test('names of files', () => {
    const { valid, invalid } = quarantine.names
    expect(valid.filter((name) => !QUARANTINE_FILE.test(name))).toEqual([])
    expect(invalid.filter((name) => QUARANTINE_FILE.test(name))).toEqual([])
  })

  test.each(quarantine.lines.valid)('$name', ({ text }) => {
    expect(findLineFault(text)).toBeUndefined()
  })

  test.each(quarantine.lines.invalid)('refused: $name', ({ text }) => {
    expect(findLineFault(text)).toMatch(/./)
  })
})

test.each(memory)('the memory for $origin', ({ origin, file }) => {
  expect(memoryPath('signer', origin)).toBe(join('signer', file))
})
