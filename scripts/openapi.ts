/**
 * `docs/openapi.json`: the description of the collector's HTTP API, as `/openapi.json` serves it. Written by
 * `node --conditions=source scripts/openapi.ts`; with `--check` it fails instead where the file is out of date.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createServer } from '../packages/collector/src/api/server.ts'
import { root } from './workspace.ts'

/** Path from the repository's root. */
export const OPENAPI_FILE = 'docs/openapi.json'

/** The description as text. The routes are made and none is called, so that they need nothing to read from. */
export async function openapiText(): Promise<string> {
  const nothing = {} as Parameters<typeof createServer>[0]
  const key = { name: 'example.com/log/v0', keyId: 0, type: 1, publicKey: new Uint8Array(32) }
  const app = await createServer({ ...nothing, key, version: '0' })
  await app.ready()
  const { info, ...rest } = app.swagger()
  await app.close()
  // Without the version: the API's is in its paths, the package's changes with every release.
  return formatJson({ ...rest, info: { ...info, version: 'v1' } })
}

/** JSON as the formatter wants it: a list of words is on one line where it fits. */
function formatJson(value: object): string {
  const text = JSON.stringify(value, undefined, 2)
  const joined = text.replace(/^( *)(.*)\[\n([^[\]{}]*)\n *\](,?)$/gm, (whole, indent, start, items, end) => {
    const line = `${indent}${start}[${items.trim().replace(/\n */g, ' ')}]${end}`
    return line.length <= 110 ? line : whole
  })
  return `${joined}\n`
}

if (import.meta.main) {
  const text = await openapiText()
  const path = join(root, OPENAPI_FILE)
  if (!process.argv.includes('--check')) await writeFile(path, text)
  else if ((await readFile(path, 'utf8').catch(() => undefined)) !== text) {
    console.error(`${OPENAPI_FILE} is out of date: run npm run generate`)
    process.exitCode = 1
  }
}
