/** The index: what the traces' rows imply is there, and nothing else. */
import { equalBytes, formatHex, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import { encodeRows, parseRows, type SegmentRow } from '../store/rows.ts'
import type { Findings, Progress } from './report.ts'

const NEXT =
  'The log itself is not affected: searches may miss executions. Restore the data directory from a copy.'
const BATCH = 256

/**
 * Checks the traces against the number of segments and traces that the commits have, which hold each row already, and
 * the search terms against the traces. Rows are held against commits where these are walked.
 */
export async function checkIndex(
  reader: LogReader,
  committed: { readonly segments: number; readonly traces: number },
  findings: Findings,
  progress: Progress,
): Promise<void> {
  const terms = new Terms(reader, findings)
  let traces = 0
  let segments = 0
  for await (const [key, value] of walk(reader, keys.Prefix.trace)) {
    traces++
    const where = `index, trace key ${formatHex(key)}`
    const rows = rowsOf(key, value)
    if (rows === undefined) findings.problem(where, 'is malformed', NEXT, 'index, trace')
    else {
      segments += rows.length
      for (const term of searchTerms(rows)) await terms.expect(term)
    }
    if (traces % 1000 === 0) progress('index', traces)
  }
  await terms.flush()
  if (traces !== committed.traces || segments !== committed.segments)
    findings.problem(
      'index, traces',
      `has ${segments} segments of ${traces} traces, the commits ${committed.segments} of ${committed.traces}`,
      NEXT,
    )
  findings.count('traces', traces)
  let found = 0
  for (const prefix of [keys.Prefix.byTime, keys.Prefix.byService])
    for await (const [key, value] of walk(reader, prefix)) {
      found++
      if (value.length !== 0)
        findings.problem(`index, search key ${formatHex(key)}`, 'has a value', NEXT, 'index, search')
    }
  const missing = terms.missing
  if (found !== terms.expected - missing)
    findings.problem('index, search keys', `${found - terms.expected + missing} belong to no trace`, NEXT)
  findings.count('search keys', found)
  await checkPrefixes(reader, findings)
}

/** Looks terms up, many at once. */
class Terms {
  readonly #reader: LogReader
  readonly #findings: Findings
  #batch: Uint8Array[] = []
  expected = 0
  missing = 0

  constructor(reader: LogReader, findings: Findings) {
    this.#reader = reader
    this.#findings = findings
  }

  async expect(key: Uint8Array): Promise<void> {
    this.expected++
    this.#batch.push(key)
    if (this.#batch.length >= BATCH) await this.flush()
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    const values = await this.#reader.database.getMany(batch)
    for (const [at, value] of values.entries()) {
      if (value !== undefined) continue
      this.missing++
      this.#findings.problem(
        `index, search key ${formatHex(batch[at]!)}`,
        'is missing',
        NEXT,
        'index, search',
      )
    }
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

/** The search keys of a trace: one by time, one for each service. */
function searchTerms(rows: readonly SegmentRow[]): Uint8Array[] {
  const { tenant, traceId, start } = rows[0]!
  const id = keys.traceId(utf8(tenant), traceId)
  const terms = new Map<string, Uint8Array>()
  for (const { services } of rows)
    for (const service of services) {
      const key = keys.byServiceKey(utf8(service).subarray(0, 255), start, id)
      terms.set(formatHex(key), key)
    }
  return [keys.byTimeKey(start, id), ...terms.values()]
}

function walk(reader: LogReader, prefix: number): AsyncIterable<[Uint8Array, Uint8Array]> {
  const range = { gte: Uint8Array.of(prefix), lt: Uint8Array.of(prefix + 1) }
  return reader.database.iterator({ ...range, highWaterMarkBytes: 1024 * 1024 })
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
