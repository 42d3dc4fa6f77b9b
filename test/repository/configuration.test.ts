/** docs/instrument/configuration.md says what the code reads. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root, sourceFiles } from '../../scripts/workspace.ts'

const page = await readFile(join(root, 'docs/instrument/configuration.md'), 'utf8')
/** Second columns by variable. */
const rows = new Map(
  [...page.matchAll(/^\| `(ROOTSPAN_\w+)` \| (.*?) \|/gm)].map(([, name, values]) => [name!, values!]),
)

const sources = [...(await sourceFiles())]
  .filter(([path]) => path.startsWith('packages/instrumentation/src/') && !path.endsWith('.test.ts'))
  .map(([, text]) => text)
  .join('\n')

test('every variable that is read is described, and no other', () => {
  // Names in messages and comments are among these, and are the same ones.
  const read = new Set([...sources.matchAll(/\bROOTSPAN_[A-Z_]*[A-Z]\b/g)].map(([name]) => name))
  expect(read.size).toBeGreaterThan(4)
  expect([...rows.keys()].sort()).toEqual([...read].sort())
})

test('values of choices are described, the default first', () => {
  const choices = [...sources.matchAll(/choice\(\s*'(ROOTSPAN_\w+)',\s*\[([^\]]*)\]/g)]
  expect(choices.length).toBeGreaterThan(2)
  for (const [, name, list] of choices)
    expect(rows.get(name!), name).toBe(
      [...list!.matchAll(/'(\w+)'/g)].map(([, value]) => `\`${value}\``).join(', '),
    )
})

test('sizes of the key are described', () => {
  const [, min, max] = /MIN_KEY_BYTES = (\d+)\s+const MAX_KEY_BYTES = (\d+)/.exec(sources)!
  expect(rows.get('ROOTSPAN_FINGERPRINT_KEY')).toBe(`${min} to ${max} bytes`)
})
