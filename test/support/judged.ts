/** Executions in the form of the continuity vectors, judged in process by all rules: for tests of single rules. */
import { createHash } from 'node:crypto'
import { formatHex } from '@rootspan/lineage/bytes'
import { type Context, EMPTY_CONTEXT } from '@rootspan/lineage/continuity/context'
import { parseJudgement, type Result } from '@rootspan/lineage/continuity/judgement'
import { type Execution, ExecutionBuilder } from '@rootspan/lineage/continuity/model'
import { Parent, parseEntry } from '@rootspan/lineage/record/entry'
import type { SpanInput } from '@rootspan/lineage/record/order'
import { parsePayload } from '@rootspan/lineage/record/payload'
import {
  INSTRUMENTED,
  numberSpans,
  pushedDecision,
  type Vector,
  type VectorSpan,
} from '../vectors/continuity/spec.ts'
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
    log.seal(1, inputsOf(log, spans, services))
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

/**
 * An execution of one segment as rules see it, without a log: leaf hashes are made up, and spans are linked to parents
 * in the order in which they are given.
 */
export function executionOf(
  specs: readonly VectorSpan[],
  services: Vector['services'] = {},
  context: Context = EMPTY_CONTEXT,
): Execution {
  const spans = numberSpans(specs, () => formatHex(traceIdOf(1)))
  const builder = new ExecutionBuilder('kept')
  const seen = new Set<number>()
  const log = new TestLog(undefined, EPOCH + 60_000_000_000n)
  const inputs = inputsOf(log, spans, services)
  builder.add({
    segment: 0,
    isWhole: true,
    spans: spans.map(({ id, parent = 0, events = [] }, at) => {
      const isLinked = seen.has(parent)
      seen.add(id)
      return {
        input: inputs[at]!,
        leaf: madeUp(id, 0),
        factLeaves: Array.from({ length: events.length + 4 }, (_, fact) => madeUp(id, fact + 1)),
        parent: spans[at]!.pushed
          ? Parent.unsaid
          : isLinked
            ? Parent.linked
            : parent === 0
              ? Parent.root
              : Parent.awaiting,
        parentLeaf: madeUp(isLinked ? parent : 0, 0),
      }
    }),
  })
  return builder.execution({ tenant: '', traceId: traceIdOf(1), evaluatedAt: EPOCH }, context)
}

/** Spans as requests give them, one for each door and peer; in the order of the spans. */
function inputsOf(
  log: TestLog,
  spans: readonly VectorSpan[],
  services: NonNullable<Vector['services']>,
): SpanInput[] {
  const specs = spans.map((span) => specOf(span, services))
  const inputs = new Map<SpanSpec, SpanInput>()
  const sources = Map.groupBy(specs, ({ receiver, peer }) => JSON.stringify([receiver, peer]))
  for (const same of sources.values())
    for (const [at, input] of log.request(1, same).entries()) inputs.set(same[at]!, input)
  return specs.map((spec) => inputs.get(spec)!)
}

export function madeUp(span: number, fact: number): Uint8Array {
  const leaf = new Uint8Array(32)
  new DataView(leaf.buffer).setUint32(0, span)
  new DataView(leaf.buffer).setUint32(4, fact)
  return leaf
}

function leafOf(entry: Uint8Array): string {
  return createHash('sha256').update(Uint8Array.of(0)).update(entry).digest('hex')
}

function idOf(entry: Uint8Array): number {
  return Number(`0x0${formatHex(parseEntry(entry).spanId)}`)
}

const KINDS = ['', 'internal', 'server', 'client', 'producer', 'consumer']

export function specOf(span: VectorSpan, services: NonNullable<Vector['services']>): SpanSpec {
  const { id, at = id / 100, takes = 0.005, service = 'api', kind = 'internal', failed, remote, peer } = span
  if (span.pushed !== undefined)
    return {
      id,
      log: true,
      receiver: 'opa',
      peer: peer ?? 'opa',
      service: 'opa',
      name: 'governance.decision',
      start: nanos(at),
      attributes: pushedDecision(span.pushed),
    }
  return {
    ...(peer !== undefined && { peer }),
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
