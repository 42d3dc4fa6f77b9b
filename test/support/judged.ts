/** Executions in the form of the continuity vectors, judged in process by all rules: for tests of single rules. */
import { createHash } from 'node:crypto'
import { formatHex } from '@rootspan/lineage/bytes'
import { parseJudgement, type Result } from '@rootspan/lineage/continuity/judgement'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { parsePayload } from '@rootspan/lineage/record/payload'
import { INSTRUMENTED, numberSpans, type Vector, type VectorSpan } from '../vectors/continuity/spec.ts'
import { EPOCH, type SpanSpec, TestLog, traceIdOf } from './executions.ts'

export interface Judged {
  /** Undefined where the rule had nothing to look at. */
  result(rule: string): Result | undefined
  missing(rule: string): readonly string[]
  findings(rule?: string): readonly JudgedFinding[]
}

export interface JudgedFinding {
  readonly rule: string
  readonly severity: string
  /** Ids of spans, the offending one first. */
  readonly spans: readonly number[]
  readonly detail: string
}

/** Judges one execution; each list of spans is a segment. */
export function judged(
  segments: readonly (readonly VectorSpan[])[],
  services: Vector['services'] = {},
): Judged {
  const log = new TestLog(undefined, EPOCH + 60_000_000_000n)
  const numbered = numberSpans(segments.flat(), () => formatHex(traceIdOf(1)))
  let next = 0
  for (const { length } of segments) {
    const spans = numbered.slice(next, next + length)
    next += length
    log.settle(1, [spans.map((span) => specOf(span, services))])
  }
  const spanOf = new Map(log.entries.map((entry) => [leafOf(entry), idOf(entry)]))
  const { judgement } = parsePayload(log.segments(1).at(-1)!.payload)
  const { results, findings } = parseJudgement(judgement)
  const of = (rule: string) => results.find((one) => one.rule === rule)
  return {
    result: (rule) => of(rule)?.result,
    missing: (rule) => of(rule)?.missing ?? [],
    findings: (only) =>
      findings
        .filter(({ rule }) => only === undefined || rule === only)
        .map(({ rule, severity, detail, subjects }) => ({
          rule,
          severity,
          spans: [...new Set(subjects.map((leaf) => spanOf.get(formatHex(leaf))!))],
          detail,
        })),
  }
}

function leafOf(entry: Uint8Array): string {
  return createHash('sha256').update(Uint8Array.of(0)).update(entry).digest('hex')
}

function idOf(entry: Uint8Array): number {
  return Number(`0x0${formatHex(parseEntry(entry).spanId)}`)
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer']

function specOf(span: VectorSpan, services: NonNullable<Vector['services']>): SpanSpec {
  const { id, at = id / 100, takes = 0.005, service = 'api', kind = 'internal', failed, remote } = span
  return {
    id,
    service,
    resource: services[service]?.resource ?? INSTRUMENTED,
    name: span.name ?? `${kind} ${id}`,
    kind: KINDS.indexOf(kind),
    start: nanos(at),
    end: nanos(at + takes),
    attributes: span.attributes ?? {},
    events: (span.events ?? []).map((event) => ({ ...event, at: nanos(event.at ?? at) })),
    links: span.links ?? [],
    ...(span.parent !== undefined && { parent: span.parent }),
    ...(failed === true && { status: 2 }),
    ...(span.linksRemote !== undefined && { linkFlags: span.linksRemote ? 0x300 : 0x100 }),
    ...(span.dropped !== undefined && { dropped: span.dropped }),
    ...(span.traceState !== undefined && { traceState: span.traceState }),
    ...(remote !== undefined && { flags: remote ? 0x300 : 0x100 }),
  }
}

function nanos(seconds: number): number {
  return Math.round(seconds * 1e6) * 1000
}
