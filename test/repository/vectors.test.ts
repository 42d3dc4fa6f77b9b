/** Vectors that a program without anything of this project makes come out the same again. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const VECTORS = join(import.meta.dirname, '../vectors')
const PYTHON = 'python3'
const missing = spawnSync(PYTHON, ['--version']).status !== 0

test.for([
  ['store', 'values.json'],
  ['journal', 'journal.json'],
  ['pack', 'pack.json'],
  ['files', 'files.json'],
] as const)('those of the %s', ([directory, file], context) => {
  if (missing) context.skip(`no ${PYTHON} here to run: ${PYTHON} test/vectors/${directory}/make.py`)
  const made = mkdtempSync(join(tmpdir(), 'rootspan-vectors-'))
  try {
    const { status, stderr } = spawnSync(PYTHON, [join(VECTORS, directory, 'make.py'), made])
    expect({ status, stderr: String(stderr) }).toEqual({ status: 0, stderr: '' })
    expect(readFileSync(join(made, file), 'utf8')).toBe(readFileSync(join(VECTORS, directory, file), 'utf8'))
  } finally {
    rmSync(made, { recursive: true })
  }
})
