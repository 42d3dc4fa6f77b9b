import { describe, expect, test } from 'vitest'
import { longFiles, wrongArrows } from '../../scripts/rules.ts'
import { sourceFiles } from '../../scripts/workspace.ts'

test('no import of the repository goes the wrong way, and the core stays pure', async () => {
  const files = await sourceFiles()
  expect(files.size).toBeGreaterThan(50)
  expect(wrongArrows(files)).toEqual([])
})

test('no file is over 700 lines', async () => {
  expect(longFiles(await sourceFiles())).toEqual([])
})

test('a file of 701 lines is seen, one of 700 is not', () => {
  const lines = (count: number) => 'x\n'.repeat(count)
  expect(longFiles(new Map([['a.ts', lines(700)]]))).toEqual([])
  expect(longFiles(new Map([['a.ts', lines(701)]]))).toHaveLength(1)
  expect(longFiles(new Map([['a.ts', `${lines(700)}x`]]))).toHaveLength(1)
})

const lineage = (inside: string) => `packages/lineage/src/${inside}`

describe('a wrong arrow is seen', () => {
  test.each([
    ['packages/collector/src/a.ts', "import { b } from '@rootspan/verifier/b'"],
    ['packages/verifier/src/deep/a.ts', "import { b } from '@rootspan/collector/b'"],
    ['packages/verifier/src/a.ts', "import { b } from '../../collector/src/b.ts'"],
    ['packages/verifier/src/a.ts', "const b = await import('@rootspan/collector/b')"],
    ['packages/collector/src/a.ts', "import { b } from '../../lineage/src/bytes.ts'"],
    ['packages/collector/src/a.ts', "import { b } from '../../../test/fuzz/otlp.ts'"],
    ['packages/collector/src/a.test.ts', "import { b } from '../../verifier/src/b.ts'"],
    [lineage('record/a.ts'), "import { b } from '@rootspan/lineage/bytes'"],
    [lineage('tlog/a.ts'), "import { b } from '@rootspan/collector/b'"],
    [lineage('tlog/a.ts'), "import { b } from '../otlp/scan.ts'"],
    [lineage('tlog/a.ts'), "import type { B } from '../otlp/scan.ts'"],
    [lineage('otlp/a.ts'), "export * from '../tlog/merkle.ts'"],
    [lineage('otlp/deep/a.ts'), "export { b } from '../../tlog/merkle.ts'"],
    [lineage('otlp/a.test.ts'), "import '../tlog/merkle.ts'"],
    [lineage('record/a.ts'), "import { b } from '../evidence/bundle.ts'"],
    [lineage('evidence/a.ts'), "import { b } from '../verify.ts'"],
    [lineage('bytes.ts'), "import { b } from './tlog/merkle.ts'"],
    [lineage('newroom/a.ts'), "import { b } from '../bytes.ts'"],
    [lineage('tlog/a.ts'), "import { sha256 } from '../crypto.ts'"],
    [lineage('tlog/a.ts'), "import { sha256 } from '../crypto.node.ts'"],
    [lineage('tlog/a.ts'), "import { hash } from 'node:crypto'"],
    [lineage('tlog/a.ts'), "import { readFileSync } from 'fs'"],
    [lineage('tlog/a.ts'), "import pino from 'pino'"],
    [lineage('tlog/a.ts'), "new Worker(new URL('../otlp/worker.ts', import.meta.url))"],
  ])('%s: %s', (path, text) => {
    expect(wrongArrows(new Map([[path, `// first\n${text}\n`]]))).toHaveLength(1)
  })
})

describe('what is not pure is seen', () => {
  test.each([
    'const a = Buffer.from(b)',
    'let a: Buffer',
    'const a = Date.now()',
    'const a = new Date()',
    'const a = Math.random()',
    "if (process.env['A'] === '1') b()",
    "const a = await fetch('x')",
    'const a = performance.now()',
    'crypto.getRandomValues(a)',
    'setTimeout(a, 1)',
    'globalThis.a = 1',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: code within a template is code
    'const a = `${Date.now()}`',
    'const quote = /[\'"]/; const a = Date.now(); const b = "\'"',
  ])('%s', (text) => {
    expect(wrongArrows(new Map([[lineage('record/a.ts'), text]]))).toHaveLength(1)
  })
})

describe('what is allowed is not', () => {
  test.each([
    [lineage('record/a.ts'), "import { b } from '../tlog/merkle.ts'\nimport { c } from '../otlp/scan.ts'"],
    [lineage('verify.ts'), "import { b } from './evidence/bundle.ts'"],
    [
      lineage('tlog/a.ts'),
      "import { sha256 } from '#crypto'\nimport { x } from '../bytes.ts'\nimport { y } from './b.ts'",
    ],
    [lineage('crypto.ts'), "import { ed25519 } from '@noble/curves/ed25519.js'"],
    [lineage('crypto.node.ts'), "import { hash } from 'node:crypto'\nconst a = Buffer.alloc(1)"],
    [lineage('crypto.test.ts'), "import * as a from './crypto.ts'\nimport * as b from './crypto.node.ts'"],
    [lineage('tlog/a.test.ts'), "import { hash } from 'node:crypto'\nconst a = Buffer.alloc(1)"],
    [lineage('otlp/a.test.ts'), "import { b } from '../../../../test/fuzz/otlp.ts'"],
    [lineage('record/a.ts'), "// Date.now() and Buffer\n/* process.env */ const a = 'Math.random()'"],
    [lineage('record/a.ts'), "throw new Error('a length from Buffer')"],
    [lineage('record/a.ts'), 'const date = new Date(milliseconds); this.process(a); a.fetch(b)'],
    ['packages/collector/src/a.ts', "import { b } from '@rootspan/lineage/tlog/merkle'\nimport 'node:fs'"],
    ['test/conformance/a.ts', "import { b } from '../../packages/collector/src/a.ts'"],
  ])('%s: %s', (path, text) => {
    expect(wrongArrows(new Map([[path, text]]))).toEqual([])
  })
})
