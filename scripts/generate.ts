/**
 * `npm run generate` writes what is generated from code and kept in the repository; with `--check` it fails
 * instead where a file is not what would be written.
 */
import { glob, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { filesOf, readSpecs, VECTORS } from '../test/vectors/continuity/make.ts'
import { NAMES_FILE, namesText, REFERENCE_FILE, referenceText } from './conventions.ts'
import { ENTRY_FILE, entryText } from './instrument-pages.ts'
import { OPENAPI_FILE, openapiText } from './openapi.ts'
import { root } from './workspace.ts'

/** Path from the repository's root, and how its text is made. Deterministic: no clock, no machine. */
const generated: ReadonlyMap<string, () => Promise<string>> = new Map([
  [OPENAPI_FILE, openapiText],
  [NAMES_FILE, namesText],
  [REFERENCE_FILE, referenceText],
  [ENTRY_FILE, entryText],
  ...(await readSpecs()).flatMap((vector) =>
    [...filesOf(vector)].map(([path, text]) => [path, async () => text] as const),
  ),
])

const check = process.argv.includes('--check')
for (const [path, generate] of generated) {
  const text = await generate()
  const current = await readFile(join(root, path), 'utf8').catch(() => undefined)
  if (text === current) continue
  if (check) {
    console.error(`${path} is out of date: run npm run generate`)
    process.exitCode = 1
  } else {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
    console.log(path)
  }
}

// A vector whose spec is gone goes too.
for await (const path of glob(`${VECTORS}/*/*.json`, { cwd: root })) {
  if (generated.has(path)) continue
  if (check) {
    console.error(`${path} has no spec: run npm run generate`)
    process.exitCode = 1
  } else {
    await rm(join(root, path))
    console.log(`${path} is gone`)
  }
}
