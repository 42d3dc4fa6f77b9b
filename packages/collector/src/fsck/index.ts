/** The index: what the traces' rows imply is there, and nothing else. */
import { equalBytes, formatHex, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { listHolds } from '../erase/holds.ts'
import { Knowledge } from '../knowledge.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeRows, parseRows, type SegmentRow } from '../store/rows.ts'
import type { Findings, Progress } from './report.ts'
import { INDEX_HINT } from './terms.ts'

/**
 * Checks that there are no more traces, segments and search keys than the commits have: those that these imply were
 * looked at where they were walked.
 */
export async function checkIndex(
  reader: LogReader,
  committed: { readonly segments: number; readonly traces: number; readonly terms: number },
  findings: Findings,
  progress: Progress,
): Promise<void> {
  let traces = 0
  let segments = 0
  for await (const [key, value] of walk(reader, keys.Prefix.trace)) {
    traces++
    const where = `index, trace key ${formatHex(key)}`
    const rows = rowsOf(key, value)
    if (rows === undefined) findings.problem(where, 'is malformed', INDEX_HINT, 'index, trace')
    else segments += rows.length
    if (traces % 1000 === 0) progress('index', traces)
  }
  if (traces !== committed.traces || segments !== committed.segments)
    findings.problem(
      'index, traces',
      `has ${segments} segments of ${traces} traces, the commits ${committed.segments} of ${committed.traces}`,
      INDEX_HINT,
    )
  findings.count('traces', traces)
  let found = 0
  for (const prefix of [keys.Prefix.byTime, keys.Prefix.byService])
    for await (const _ of walk(reader, prefix)) found++
  if (found > committed.terms)
    findings.problem('index, search keys', `${found - committed.terms} belong to no commit`, INDEX_HINT)
  findings.count('search keys', found)
  await checkHolds(reader, findings)
  for await (const [key, value] of walk(reader, keys.Prefix.knowledge))
    if (!isKnowledge(key, value))
      findings.problem(`knowledge ${formatHex(key)}`, 'is malformed', KNOWLEDGE_HINT, 'knowledge')
  await checkReviews(reader, findings)
  await checkPrefixes(reader, findings)
}

/** Each is of an execution that is there. */
async function checkReviews(reader: LogReader, findings: Findings): Promise<void> {
  for await (const [key, value] of walk(reader, keys.Prefix.review)) {
    const isThere = (await reader.database.get(keys.traceKey(key.subarray(1)))) !== undefined
    if (value.length === 8 && isThere) findings.count('reviews')
    else
      findings.problem(
        `review ${formatHex(key)}`,
        isThere ? 'is malformed' : 'is of no execution',
        'No record depends on it; what is due is judged when something of it comes.',
        'reviews',
      )
  }
}

const KNOWLEDGE_HINT = 'No record depends on it; rules that look at other executions may miss something.'

function isKnowledge(key: Uint8Array, value: Uint8Array): boolean {
  try {
    new Knowledge([{ id: key.slice(1), value }])
    return key.length === 17 && value.length > 0
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    return false
  }
}

/** The rows of a trace, when they are the canonical value of their key; else undefined. */
function rowsOf(key: Uint8Array, value: Uint8Array): SegmentRow[] | undefined {
  try {
    const rows = parseRows(value)
    const isInPlace = rows.every(
      (row, at) =>
        row.segment === at && equalBytes(keys.traceKey(keys.traceId(utf8(row.tenant), row.traceId)), key),
    )
    return rows.length > 0 && isInPlace && equalBytes(encodeRows(rows), value) ? rows : undefined
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    return undefined
  }
}

function walk(reader: LogReader, prefix: number): AsyncIterable<[Uint8Array, Uint8Array]> {
  const range = { gte: Uint8Array.of(prefix), lt: Uint8Array.of(prefix + 1) }
  return reader.database.iterator({ ...range, highWaterMarkBytes: 1024 * 1024 })
}

/** Holds parse, and each began with a record about the log. */
async function checkHolds(reader: LogReader, findings: Findings): Promise<void> {
  try {
    for (const { leaf } of await listHolds(reader.database))
      if ((await reader.run(leaf)) === undefined)
        findings.problem(`hold of leaf ${leaf}`, 'no record about the log began it', undefined, 'holds')
      else findings.count('holds')
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    findings.problem('holds', error.message)
  }
}

/** No key lies outside of the known prefixes, and the cursor is one key. */
async function checkPrefixes(reader: LogReader, findings: Findings): Promise<void> {
  const prefixes = Object.values(keys.Prefix)
  const outside = [
    { lt: Uint8Array.of(Math.min(...prefixes)) },
    { gt: keys.CURSOR_KEY, lt: Uint8Array.of(keys.Prefix.cursor + 1) },
    { gte: Uint8Array.of(Math.max(...prefixes) + 1) },
  ]
  for (const range of outside)
    for await (const key of reader.database.keys(range))
      findings.problem(`key ${formatHex(key)}`, 'is no key of this format', undefined, 'keys')
}
