/** Lines of the quarantine that hold something of what is erased. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MalformedError } from '@rootspan/lineage/errors'
import { BYTES, WireReader } from '@rootspan/lineage/wire'
import { writeFileDurably } from '../durable.ts'
import { listNames, nodeFiles } from '../files.ts'
import { QUARANTINE_FILE } from '../receiver/quarantine.ts'
import type { Found, Selection } from './select.ts'

/**
 * Takes out the lines that are of an erased execution, or hold the bytes of what was asked for; where only age was,
 * those that are older. Broken lines go, too. Returns how many.
 */
export async function cleanQuarantine(
  directory: string,
  selection: Selection,
  found: readonly Found[],
): Promise<number> {
  const traces = new Set(found.map(({ rows }) => Buffer.from(rows[0]!.traceId).toString('hex')))
  if (selection.trace !== undefined) traces.add(Buffer.from(selection.trace).toString('hex'))
  const words = [selection.subject, selection.service, ...(selection.attributes ?? [])]
    .filter((word) => word !== undefined)
    .map((word) => Buffer.from(word))
  let removed = 0
  for (const name of await listNames(directory)) {
    if (!QUARANTINE_FILE.test(name)) continue
    const path = join(directory, name)
    const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '')
    const kept = lines.filter((line) => !isGone(line, traces, words, selection.before))
    removed += lines.length - kept.length
    if (kept.length < lines.length)
      await writeFileDurably(nodeFiles, path, Buffer.from(kept.map((line) => `${line}\n`).join('')))
  }
  return removed
}

function isGone(
  line: string,
  traces: ReadonlySet<string>,
  words: readonly Buffer[],
  before: bigint | undefined,
): boolean {
  let parts: { time: string; span: string; resource: string; scope: string }
  try {
    parts = JSON.parse(line)
    const bytes = [parts.span, parts.resource, parts.scope].map((part) => Buffer.from(part, 'base64'))
    if (words.some((word) => bytes.some((part) => part.includes(word)))) return true
    if (traces.has(traceIdIn(bytes[0]!))) return true
    return words.length === 0 && before !== undefined && BigInt(parts.time) < before
  } catch {
    return true
  }
}

/** The trace id of a span that may be broken; empty where it cannot be told. */
function traceIdIn(span: Buffer): string {
  try {
    const reader = new WireReader(span)
    while (reader.next())
      if (reader.field === 1 && reader.type === BYTES) return Buffer.from(reader.value()).toString('hex')
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
  }
  return ''
}
