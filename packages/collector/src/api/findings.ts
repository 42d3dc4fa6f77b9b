/**
 * Findings of committed executions, newest execution first. Rows say which executions have any, and by which rules; what
 * they say is read from the judgement in the payload of the last segment.
 */
import { formatHex } from '@rootspan/lineage/bytes'
import { type Judgement, NOT_JUDGED, parseJudgement } from '@rootspan/lineage/continuity/judgement'
import { SEVERITIES, type Severity } from '@rootspan/lineage/continuity/rule'
import { ruleOf } from '@rootspan/lineage/continuity/ruleset'
import { NO_BYTES, parseEntry } from '@rootspan/lineage/record/entry'
import { parseAnyPayload } from '@rootspan/lineage/record/opened'
import { readSegment } from '../sequencer.ts'
import type { LogReader } from '../store/log-store.ts'
import { isErased, type SegmentRow } from '../store/rows.ts'
import { type Payloads, segmentsUnder } from './evidence.ts'
import { findTraces, type Search } from './executions.ts'

/** Executions that are read from the index at once. */
const CHUNK = 200
/** A page ends behind the execution with which it has looked at so many executions, read so many leaves, or found so much. */
const MAX_LOOKED_AT = 4000
const MAX_LEAVES = 200_000
const MAX_FINDINGS = 2000

/** A record that a finding is about. */
export interface SubjectSummary {
  readonly leafHash: string
  /** Absent where it is of another execution, or cannot be told any more. */
  leafIndex?: number | undefined
  spanId?: string | undefined
}

/** A finding of an execution. */
export interface FindingSummary {
  readonly rule: string
  readonly severity: Severity
  readonly title: string
  readonly detail: string
  readonly traceId: string
  /** Name of the execution's first span. */
  readonly name: string
  readonly services: readonly string[]
  /** As executions have it: what they are ordered by. */
  readonly startTimeUnixNano: string
  /** The latest checkpoint covers the execution, judgement included. */
  readonly signed: boolean
  readonly subjects: readonly SubjectSummary[]
}

export interface FindingSearch extends Search {
  readonly rule: string | undefined
  /** This or more severe. */
  readonly severity: Severity | undefined
}

/**
 * The last judgement of an execution, which its last segment holds, or one before those that were sealed without one;
 * {@link NOT_JUDGED} where what would hold it was erased.
 */
export async function judgementOf(payloads: Payloads, rows: readonly SegmentRow[]): Promise<Judgement> {
  for (const row of rows.toReversed()) {
    if (isErased(row)) return NOT_JUDGED
    const payload = parseAnyPayload(new Uint8Array(await payloads.of(row)))
    if (payload.form !== 'whole') return NOT_JUDGED
    if ((payload.ruleset ?? NO_BYTES).length > 0) return parseJudgement(payload.judgement)
    // What is sealed without a judgement keeps the rules of the row before it, and only finding some is worth the way.
    if (row.rules.length === 0) return NOT_JUDGED
  }
  return NOT_JUDGED
}

export function countFindings({ findings }: Judgement): Record<Severity, number> {
  const counts = { critical: 0, high: 0, medium: 0, low: 0 }
  for (const { severity } of findings) counts[severity]++
  return counts
}

/**
 * One page: whole executions, until `limit` of them have something to show or a bound is reached. A page may be empty
 * and have a next one.
 */
export async function findFindings(
  reader: LogReader,
  payloads: Payloads,
  search: FindingSearch,
  size: number,
): Promise<{ findings: FindingSummary[]; next: string | undefined }> {
  const findings: FindingSummary[] = []
  let executions = 0
  let lookedAt = 0
  let leaves = 0
  let { after } = search
  for (;;) {
    const page = await findTraces(reader, { ...search, after, limit: CHUNK })
    for (const [at, { place, rows }] of page.traces.entries()) {
      after = place
      const isLast = at === page.traces.length - 1 && !page.more
      lookedAt++
      if (mayHold(rows, search)) {
        const found = await findingsOf(reader, payloads, rows, search, size)
        for (const { count } of rows) leaves += count
        if (found.length > 0) executions++
        findings.push(...found)
      }
      const isFull =
        executions >= search.limit ||
        lookedAt >= MAX_LOOKED_AT ||
        leaves >= MAX_LEAVES ||
        findings.length >= MAX_FINDINGS
      if (isFull && !isLast) return { findings, next: Buffer.from(place).toString('base64url') }
    }
    if (!page.more) return { findings, next: undefined }
  }
}

/** By the row alone: what it rules out is not read. */
function mayHold(rows: readonly SegmentRow[], { rule }: FindingSearch): boolean {
  const rules = rows.at(-1)?.rules ?? []
  return rule === undefined ? rules.length > 0 : rules.includes(rule)
}

async function findingsOf(
  reader: LogReader,
  payloads: Payloads,
  rows: readonly SegmentRow[],
  { rule, severity = 'low' }: FindingSearch,
  size: number,
): Promise<FindingSummary[]> {
  const { findings } = await judgementOf(payloads, rows)
  const wanted = findings.filter(
    (one) =>
      (rule === undefined || one.rule === rule) &&
      SEVERITIES.indexOf(one.severity) <= SEVERITIES.indexOf(severity),
  )
  if (wanted.length === 0) return []
  const places = await placesOf(
    reader,
    rows,
    wanted.flatMap(({ subjects }) => subjects),
  )
  const [{ traceId, name, start }] = rows as [SegmentRow]
  const services = [...new Set(rows.flatMap((row) => row.services))]
  const signed = segmentsUnder(rows, size).length === rows.length
  return wanted.map((one) => ({
    rule: one.rule,
    severity: one.severity,
    title: ruleOf(one.rule)?.title ?? '',
    detail: one.detail,
    traceId: formatHex(traceId),
    name,
    services,
    startTimeUnixNano: String(start),
    signed,
    subjects: one.subjects.map((leaf) => places.get(formatHex(leaf)) ?? { leafHash: formatHex(leaf) }),
  }))
}

/** Where records of an execution lie, by their leaf hashes in hex. */
export async function placesOf(
  reader: LogReader,
  rows: readonly SegmentRow[],
  wanted: readonly Uint8Array[],
): Promise<Map<string, SubjectSummary>> {
  const missing = new Set(wanted.map(formatHex))
  const places = new Map<string, SubjectSummary>()
  for (const row of rows) {
    if (missing.size === 0) break
    const { entries, leaves } = await readSegment(reader, row)
    for (const [at, entry] of entries.entries()) {
      const leafHash = formatHex(leaves.subarray(at * 32, at * 32 + 32))
      if (!missing.delete(leafHash)) continue
      const { spanId } = parseEntry(entry)
      places.set(leafHash, {
        leafHash,
        leafIndex: row.first + at,
        ...(spanId.length > 0 && { spanId: formatHex(spanId) }),
      })
    }
  }
  return places
}
