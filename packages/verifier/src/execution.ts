/** What is shown of an execution, counted and named, for people and as JSON. */
import { formatBase64, formatHex } from '@rootspan/lineage/bytes'
import { type Tier, type Tiers, tiersOf } from '@rootspan/lineage/continuity/tier'
import type {
  ExecutionNode,
  ExecutionRecord,
  ExecutionSegment,
  UnverifiedExecution,
} from '@rootspan/lineage/evidence/execution'
import type { CheckedContext, Witness } from '@rootspan/lineage/evidence/witness'
import { factsOf } from '@rootspan/lineage/governance/facts'
import { Kind } from '@rootspan/lineage/governance/kind'
import { decodeResource } from '@rootspan/lineage/otlp/decode'
import { LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import { decodeText } from '@rootspan/lineage/otlp/text'
import { isSpanBorn, nameOf, Parent, Persistence, Role } from '@rootspan/lineage/record/entry'
import { Closed } from '@rootspan/lineage/record/payload'
import type { VerifiedExecution } from '@rootspan/lineage/verify'
import { formatCount, plural } from './text.ts'
import { formatEncoded } from './value.ts'

export interface Execution
  extends Pick<UnverifiedExecution, 'records' | 'roots' | 'segments' | 'tenant' | 'traceId'> {
  /** Evidence tiers of its records; absent where nothing was verified: receipts that nobody vouches for show no tier. */
  readonly tiers?: Tiers
}

/** The tiers of an execution that holds. */
export function tiersIn(execution: VerifiedExecution): Tiers {
  return tiersOf(execution.execution())
}

/** Whether a record is a fact, and so has a tier. */
export function isFact(record: ExecutionRecord): boolean {
  const { kind, spanId } = record.entry
  return kind !== Kind.span && kind !== Kind.persistence && spanId.length > 0
}

function tierJson(tiers: Tiers | undefined, leaf: Uint8Array): { tier?: Tier; standing?: string } {
  const standing = tiers?.ofLeaf(leaf)
  return standing === undefined ? {} : { tier: standing.tier, standing: standing.text }
}

/** `service.name` of the resource of a span-born record; empty where it has none. */
export function serviceOf({ input }: ExecutionRecord): string {
  if (input === undefined) return ''
  const { attributes } = decodeResource(input.source.body.subarray(input.resourceStart, input.resourceEnd))
  const value = attributes.findLast((attribute) => attribute.key === 'service.name')?.value
  return value?.type === 'string' ? value.value : ''
}

export interface Service {
  readonly name: string
  readonly spans: number
}

/** Services by the number of their spans, then by name. */
export function servicesOf(records: readonly ExecutionRecord[]): Service[] {
  const counts = new Map<string, number>()
  for (const record of records) {
    if (record.input === undefined) continue
    const name = serviceOf(record)
    counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  return [...counts]
    .map(([name, spans]) => ({ name, spans }))
    .sort((a, b) => b.spans - a.spans || (a.name < b.name ? -1 : 1))
}

/** Records by what they are: the name of the kind, for the collector's own of what they state. */
export function countRecords(records: readonly ExecutionRecord[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const record of records) {
    const name = recordName(record)
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}

export function recordName({ entry }: ExecutionRecord): string {
  if (entry.kind === Kind.persistence) return nameOf(Persistence, entry.persistence)
  return isFinding(entry) ? 'finding' : nameOf(Kind, entry.kind)
}

/** A verification record that is about records, and not a fact on a span. */
function isFinding(entry: ExecutionRecord['entry']): boolean {
  return entry.kind === Kind.verification && entry.spanId.length === 0
}

/** When the spans began and ended, in nanoseconds since 1970. */
export function timesOf(records: readonly ExecutionRecord[]): { start: bigint; end: bigint } {
  let start: bigint | undefined
  let end: bigint | undefined
  for (const { span } of records) {
    if (span === undefined) continue
    if (start === undefined || span.startTimeUnixNano < start) start = span.startTimeUnixNano
    if (end === undefined || span.endTimeUnixNano > end) end = span.endTimeUnixNano
  }
  return { start: start ?? 0n, end: end ?? 0n }
}

export interface ShownFact {
  readonly record: ExecutionRecord
  readonly claims: readonly { readonly key: string; readonly value: string }[]
}

/** The facts of a node, each with what it says. */
export function factsUnder({ record, facts }: ExecutionNode): ShownFact[] {
  const said = record.span === undefined ? undefined : factsOf(record.span).facts
  return facts.map((fact, at) => ({
    record: fact,
    claims:
      said === undefined
        ? shownClaims(fact)
        : (said[at]?.claims ?? []).map(({ key, value }) => ({ key, value: formatEncoded(value) })),
  }))
}

/** The claims of a record that are shown one by one, where its span is not. */
export function shownClaims({ claims = [] }: ExecutionRecord): ShownFact['claims'] {
  return claims.flatMap((claim) =>
    'key' in claim ? [{ key: decodeText(claim.key), value: formatEncoded(claim.value) }] : [],
  )
}

/** What is missing of an execution in a bundle, over all its segments. */
export function missingOf(segments: readonly ExecutionSegment[]): { spans: number; claims: number } {
  let spans = 0
  let claims = 0
  for (const { missing } of segments) {
    spans += missing.spans
    claims += missing.claims
  }
  return { spans, claims }
}

/** Whether more was left out than was erased. */
export function isDisclosure(segments: readonly ExecutionSegment[]): boolean {
  return segments.some(({ withheld }) => withheld)
}

/** The span came after its trace had settled, in a later segment. */
export function isLate({ segment }: ExecutionRecord, segments: readonly ExecutionSegment[]): boolean {
  return (
    segments.slice(0, segment).findLast(({ closed }) => closed !== Closed.reviewed)?.closed === Closed.settled
  )
}

/** A node of the tree in the order in which it is drawn. */
export interface Placed {
  readonly node: ExecutionNode
  readonly parent: ExecutionNode | undefined
  readonly depth: number
  /** It is the last child of its parent, or the last root. */
  readonly isLast: boolean
}

/** The nodes depth first, without recursion: a chain may be 100,000 spans long. */
export function* walkTree(roots: readonly ExecutionNode[]): Generator<Placed> {
  const stack: Placed[] = []
  const push = (nodes: readonly ExecutionNode[], parent: ExecutionNode | undefined, depth: number): void => {
    for (let at = nodes.length - 1; at >= 0; at--)
      stack.push({ node: nodes[at]!, parent, depth, isLast: at === nodes.length - 1 })
  }
  push(roots, undefined, 0)
  for (let placed = stack.pop(); placed !== undefined; placed = stack.pop()) {
    yield placed
    push(placed.node.children, placed.node, placed.depth + 1)
  }
}

/** What was verified under which root, and the verdict. */
export function verdictJson(execution: VerifiedExecution): object {
  const { checkpoint } = execution
  return {
    result: 'verified',
    origin: checkpoint.origin,
    treeSize: checkpoint.size,
    root: formatBase64(checkpoint.root),
    signedBy: execution.signedBy,
    tenant: execution.tenant,
    traceId: formatHex(execution.traceId),
    verdict: execution.verdict,
  }
}

/** What the judgement takes from other executions, counted; undefined where that is nothing. */
export function describeContext({ proven, erased, unproven }: CheckedContext): string | undefined {
  const counts: [number, string][] = [
    [proven, 'proven by their records'],
    [erased, 'not checked, as their records were erased'],
    [unproven, "the collector's own word"],
  ]
  const said = counts.filter(([count]) => count > 0)
  if (said.length === 0) return undefined
  const total = proven + erased + unproven
  return `${plural(total, 'statement')} about other executions: ${said.map(([count, what]) => `${formatCount(count)} ${what}`).join(', ')}`
}

function contextJson({ proven, erased, unproven, witnesses }: CheckedContext): object {
  return {
    statements: { proven, erased, unproven },
    records: witnesses.map(({ leaf, ...witness }) => ({
      leafHash: formatHex(leaf),
      ...witnessJson(witness),
    })),
  }
}

/** Where a record of another execution is, and whether what it is named for was checked. */
export function witnessJson({ index, traceId, erased }: Omit<Witness, 'leaf'>): object {
  return {
    leafIndex: index,
    traceId: formatHex(traceId),
    checked: erased === undefined,
    ...(erased !== undefined && { erasedBy: erased.by }),
  }
}

/** What `verify --json` says of an execution that holds. */
export function verifiedJson(execution: VerifiedExecution): object {
  const { records } = execution
  const indexOf = new Map(records.map(({ leaf, index }) => [formatHex(leaf), index]))
  const tiers = records.some(isFact) ? tiersIn(execution) : undefined
  return {
    ...verdictJson(execution),
    tiers: tiers?.count() ?? { E0: 0, E1: 0, E2: 0, E3: 0 },
    findings: execution.judgement.findings.map(({ rule, severity, detail, subjects }) => ({
      rule,
      severity,
      detail,
      subjects: subjects.map((leaf) => ({
        leafHash: formatHex(leaf),
        leafIndex: indexOf.get(formatHex(leaf)),
        ...tierJson(tiers, leaf),
      })),
    })),
    ...summaryJson(execution),
    context: contextJson(execution.context),
    records: { total: records.length, ...countRecords(records) },
    erasures: execution.erasures.map((erasure) => ({
      leafIndex: erasure.index,
      scope: erasure.scope,
      selector: erasure.selector,
      keys: erasure.keys,
      reason: erasure.reason,
      by: erasure.by,
      atUnixNano: String(erasure.at),
    })),
    notChecked: execution.notChecked,
  }
}

function summaryJson({ records, segments }: Execution): object {
  const { start, end } = timesOf(records)
  return {
    startUnixNano: String(start),
    endUnixNano: String(end),
    spans: records.filter((record) => isSpanBorn(record.entry)).length,
    services: servicesOf(records),
    segments: segments.map((segment) => ({
      segment: segment.segment,
      firstLeaf: segment.first,
      leaves: segment.count,
      closed: nameOf(Closed, segment.closed),
      evaluatedAtUnixNano: String(segment.evaluatedAt),
      ...(segment.form === 'opened' && {
        missing: segment.missing,
        withheld: segment.withheld,
      }),
    })),
  }
}

/** What `inspect --json` says: the tree as a list, depth first, each span with the leaf index of its parent. */
export function treeJson(execution: Execution): object {
  const { tiers } = execution
  const spans: object[] = []
  for (const { node, parent, depth } of walkTree(execution.roots)) {
    const { record } = node
    const { entry, span } = record
    spans.push({
      ...recordJson(record, tiers),
      spanId: formatHex(entry.spanId),
      depth,
      parent: nameOf(Parent, entry.parent),
      ...(entry.parentSpanId.length === 0 ? {} : { parentSpanId: formatHex(entry.parentSpanId) }),
      ...(parent === undefined ? {} : { parentLeafIndex: parent.record.index }),
      adopted: parent !== undefined && entry.parent !== Parent.linked,
      late: isLate(record, execution.segments),
      service: serviceOf(record).toWellFormed(),
      name: span?.name.toWellFormed(),
      spanKind: span?.kind === LOG_RECORD ? undefined : span?.kind,
      startUnixNano: span && String(span.startTimeUnixNano),
      endUnixNano: span && String(span.endTimeUnixNano),
      status: span?.status.code,
      ...(span === undefined && { claims: shownClaims(record) }),
      facts: factsUnder(node).map((fact) => ({
        ...recordJson(fact.record, tiers),
        claims: fact.claims.map(({ key, value }) => ({ key: key.toWellFormed(), value })),
      })),
    })
  }
  return {
    tenant: execution.tenant,
    traceId: formatHex(execution.traceId),
    ...summaryJson(execution),
    tree: spans,
    other: othersOf(execution).map((record) => recordJson(record, tiers)),
  }
}

/** Records that are about other records: joins, adoptions, findings, seals. */
export function othersOf({ records }: Execution): ExecutionRecord[] {
  return records.filter(({ entry }) => entry.kind === Kind.persistence || isFinding(entry))
}

function recordJson(record: ExecutionRecord, tiers: Tiers | undefined): object {
  const { entry } = record
  return {
    leafIndex: record.index,
    leaf: formatHex(record.leaf),
    segment: record.segment,
    record: recordName(record),
    ...(isFact(record) && tierJson(tiers, record.leaf)),
    ...(entry.causes.length === 0
      ? {}
      : {
          causes: entry.causes.map(({ role, leaf, origin }) => ({
            role: nameOf(Role, role),
            leaf: formatHex(leaf),
            ...(origin === '' ? {} : { origin }),
          })),
        }),
  }
}
