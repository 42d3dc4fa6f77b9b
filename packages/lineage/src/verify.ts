/**
 * Verification: evidence and the auditor's policy in, a verified execution out, or an error that names what
 * failed and where.
 *
 * The order of the steps is the argument: the policy's key vouches for a root; the root for the entries; the
 * entries for the payload bytes; and the payload bytes derive, by the same function that the collector ran, to
 * exactly these entries, so links, order, facts, joins and seals are recomputed and not believed.
 */
import { equalBytes, formatHex, utf8 } from './bytes.ts'
import { parseContext } from './continuity/context.ts'
import { continuityOf, type Judgement, NOT_JUDGED, parseJudgement } from './continuity/judgement.ts'
import type { Execution, ExecutionHead } from './continuity/model.ts'
import { RULESET_DIGEST } from './continuity/ruleset.ts'
import { atPlace, VerificationError } from './errors.ts'
import { type BundleSegment, parseBundle } from './evidence/bundle.ts'
import { type Completeness, completenessOf } from './evidence/completeness.ts'
import {
  checkErasure,
  checkMissing,
  checkOpened,
  type Erasure,
  erasuresOf,
  SeenRecords,
  sealValue,
} from './evidence/erasure.ts'
import {
  describeSegment,
  type ExecutionNode,
  type ExecutionRecord,
  type ExecutionSegment,
  executionRecord,
  growTree,
  NOTHING_MISSING,
} from './evidence/execution.ts'
import { type CheckedContext, checkContext, type SegmentContext } from './evidence/witness.ts'
import { Kind } from './governance/kind.ts'
import { LOG_RECORD } from './otlp/log-record.ts'
import { Committer } from './record/commitment.ts'
import { type Entry, isSpanBorn, NO_BYTES, nameOf, Persistence, parseEntry } from './record/entry.ts'
import { TraceHistory } from './record/history.ts'
import { LeafSink } from './record/leaf-sink.ts'
import { type OpenedPayload, parseAnyPayload } from './record/opened.ts'
import { parseRun } from './record/opening.ts'
import { type Source, type SpanInput, traceIdOf } from './record/order.ts'
import { Closed, type SegmentHead, type SegmentPayload } from './record/payload.ts'
import { parseReceipt } from './record/receipt.ts'
import { type DerivedSegment, deriveSegment } from './record/segment.ts'
import { type Checkpoint, type OpenCheckpoint, openCheckpoint } from './tlog/checkpoint.ts'
import { formatKeyId } from './tlog/key.ts'
import { leafHash } from './tlog/merkle.ts'
import { formatSignatureLine, parseNote } from './tlog/note.ts'
import type { Policy } from './tlog/policy.ts'
import { verifyRange } from './tlog/proof.ts'

export type { Erasure } from './evidence/erasure.ts'
export type { ExecutionNode } from './evidence/execution.ts'

/** A record whose place in the log, payload and links hold. */
export type VerifiedRecord = ExecutionRecord

/** Four axes, always all four. What was not checked is listed beside them. */
export interface Verdict {
  readonly integrity: { readonly state: 'verified'; readonly size: number }
  readonly continuity: { readonly state: 'intact' | 'broken' | 'unknown'; readonly detail: readonly string[] }
  readonly completeness: Completeness
  readonly assurance: {
    readonly state: 'local' | 'anchored' | 'witnessed'
    readonly detail: readonly string[]
  }
}

export interface VerifiedExecution {
  readonly tenant: string
  readonly traceId: Uint8Array
  readonly checkpoint: Checkpoint
  /** The policy's keys whose signatures hold, each as name and key id: `example.com/log/v0+ab5f961c`. */
  readonly signedBy: readonly string[]
  readonly segments: readonly ExecutionSegment[]
  readonly records: readonly VerifiedRecord[]
  readonly roots: readonly ExecutionNode[]
  /** Made again from the evidence, and equal to what the log has; unless it was made by other rules than are known here. */
  readonly judgement: Judgement
  /** Number of the first segment that was sealed after that judgement, without one; undefined where none was. */
  readonly pendingFrom: number | undefined
  /** What rules and answers look at, built when it is asked for. */
  readonly execution: () => Execution
  /** What came of the statements about other executions that it was judged with. */
  readonly context: CheckedContext
  /** The erased records that name segments of it, in the order of the log. */
  readonly erasures: readonly Erasure[]
  readonly verdict: Verdict
  readonly notChecked: readonly string[]
}

/**
 * Verifies an evidence bundle offline. `policy` is the auditor's own and is required.
 *
 * Throws a VerificationError with a closed code. Cost: about the derivation of the spans once.
 */
export function verify(evidence: Uint8Array, policy: Policy): VerifiedExecution {
  const bundle = atPlace('bundle', () => parseBundle(evidence))
  const opened = atPlace('checkpoint', () => openCheckpoint(utf8(bundle.checkpoint), policy))
  const { checkpoint } = opened
  if (bundle.segments.length === 0) throw new VerificationError('malformed', 'bundle', 'it holds no segment')

  const history = new TraceHistory()
  const records: VerifiedRecord[] = []
  const segments: ExecutionSegment[] = []
  let judged: Judged = { ruleset: NO_BYTES, context: NO_BYTES, judgement: NOT_JUDGED, recorded: undefined }
  const erasures = verifyErasures(bundle.erasures, checkpoint)
  const contexts: SegmentContext[] = []
  const seen = new SeenRecords()
  let end = 0
  for (const [number, part] of bundle.segments.entries()) {
    const where = `segment ${number}`
    if (part.first < end)
      throw new VerificationError('order', where, 'it lies before the end of the one before it')
    end = part.first + part.entries.length
    const leaves = hashLeaves(part.entries)
    verifyIncluded(part, leaves, checkpoint, where)
    const entries = part.entries.map((bytes, at) =>
      atPlace(`${where}, leaf ${part.first + at}`, () => parseEntry(bytes)),
    )
    const payload = atPlace(`${where}, payload`, () => parseAnyPayload(part.payload))
    checkHead(payload, entries[0]!, segments[0], number, where)
    if (payload.form === 'opened') {
      const missing = atPlace(where, () =>
        checkOpened(payload, entries, leaves, seen, history.previousSeal, where),
      )
      const seal = leaves.slice(-32)
      checkMissing(payload, missing, seal, erasuresOf(seal, erasures), where)
      const shown = collectOpened(records, entries, leaves, payload, part.first, number)
      history.add(part.first, entries, leaves, payload.closed, () => ({ spans: shown }))
      judged = recordedOf(payload, entries.length)
      segments.push(describeSegment(payload, part.first, part.entries.length, missing))
    } else {
      checkSources(payload, where)
      const derived = verifyDerived(part, leaves, entries, payload, history, where)
      history.add(part.first, entries, leaves, payload.closed, () => payload)
      collect(records, entries, leaves, derived, part.first, number)
      if (derived.isDeferred) judged = { ...judged, since: judged.since ?? number }
      else judged = { ...derived, judgement: parseJudgement(derived.judgement), recorded: undefined }
      contexts.push({ segment: number, first: part.first, context: parseContext(derived.context) })
      segments.push(describeSegment(payload, part.first, part.entries.length, NOTHING_MISSING))
    }
    seen.add(entries, leaves)
  }
  const { tenant, traceId } = segments[0]!
  const context = checkContext(bundle.context, contexts, tenant, erasures, (part, leaf, where) =>
    verifyIncluded(part, leaf, checkpoint, where),
  )
  const own = ownErasures(erasures, records, context, tenant)
  return {
    tenant,
    traceId,
    checkpoint,
    signedBy: opened.signatures.map(({ name, keyId }) => `${name}+${formatKeyId(keyId)}`),
    segments,
    records,
    roots: growTree(records),
    judgement: judged.judgement,
    pendingFrom: judged.since,
    execution: () =>
      history.builder().execution(headOf(segments, judged.since), parseContext(judged.context)),
    context,
    erasures: own,
    verdict: verdictOf(checkpoint, records, judged),
    notChecked: [
      ...notRecomputed(segments),
      ...notChecked(opened, utf8(bundle.checkpoint)),
      ...notJudged(judged),
      ...notBorneOut(context),
    ],
  }
}

/** Erased records are leaves of the log, and say what their claims say. */
function verifyErasures(parts: readonly BundleSegment[], checkpoint: Checkpoint): Erasure[] {
  let end = 0
  return parts.map((part, number) => {
    const where = `erasure ${number}`
    const leaf = hashLeaves(part.entries)
    verifyIncluded(part, leaf, checkpoint, where)
    if (part.entries.length !== 1 || part.first < end)
      throw new VerificationError('malformed', where, 'it is not one record, after the one before it')
    end = part.first + 1
    return atPlace(where, () => {
      const run = parseRun(part.payload)
      if (run.length !== 1 || run[0]!.leaf !== 0)
        throw new VerificationError('malformed', where, 'its payload is not of one record')
      return checkErasure(part.first, leaf, part.entries[0]!, run[0]!.claims, where)
    })
  })
}

/** The erasures that are about this execution; others must be about a record that its context names. */
function ownErasures(
  erasures: readonly Erasure[],
  records: readonly VerifiedRecord[],
  { witnesses }: CheckedContext,
  tenant: string,
): Erasure[] {
  const seals = records.filter(({ entry }) => entry.persistence === Persistence.sealed)
  const named = new Set(
    witnesses.flatMap(({ erased }) => (erased === undefined ? [] : [formatHex(erased.seal)])),
  )
  return erasures.filter((erasure, number) => {
    const isOwn =
      erasure.tenant === tenant &&
      seals.some(({ leaf, index }) => index < erasure.index && erasuresOf(leaf, [erasure]).length > 0)
    if (!isOwn && !erasure.seals.some((seal) => named.has(formatHex(seal))))
      throw new VerificationError('erasure', `erasure ${number}`, 'it names no segment of this execution')
    return isOwn
  })
}

function notRecomputed(segments: readonly ExecutionSegment[]): string[] {
  return segments.flatMap(({ segment, form, withheld, missing, closed }) =>
    form === 'whole'
      ? []
      : [
          `order, joins, findings and verdict of segment ${segment}: recorded, not recomputed, because something of it ${withheld ? 'is withheld' : 'was erased'}`,
          ...(missing.seal ? [`that segment ${segment} was closed as ${nameOf(Closed, closed)}`] : []),
        ],
  )
}

/** The entries are the leaves that they say they are, under the checkpoint's root. */
function verifyIncluded(
  part: BundleSegment,
  leaves: Uint8Array,
  checkpoint: Checkpoint,
  where: string,
): void {
  if (part.entries.length === 0) throw new VerificationError('malformed', where, 'it holds no entry')
  if (part.first + part.entries.length > checkpoint.size)
    throw new VerificationError('inclusion', where, 'it lies past the end of the tree')
  atPlace(`${where}, range proof`, () =>
    verifyRange(leaves, part.first, checkpoint.size, part.proof, checkpoint.root),
  )
}

function hashLeaves(entries: readonly Uint8Array[]): Uint8Array {
  const leaves = new Uint8Array(entries.length * 32)
  for (const [at, entry] of entries.entries()) leaves.set(leafHash(entry), at * 32)
  return leaves
}

function checkHead(
  payload: SegmentHead,
  entry: Entry,
  first: ExecutionSegment | undefined,
  number: number,
  where: string,
): void {
  if (payload.segment !== number)
    throw new VerificationError('seal', where, `its payload is of segment ${payload.segment}`)
  if (payload.tenant !== entry.tenant || !equalBytes(payload.traceId, entry.traceId))
    throw new VerificationError('record', where, 'its payload is of another execution than its entries')
  if (first !== undefined && (first.tenant !== payload.tenant || !equalBytes(first.traceId, payload.traceId)))
    throw new VerificationError('record', where, 'it is of another execution')
}

/** Every span is of this trace, every request came from this tenant, and held what its rows are. */
function checkSources(payload: SegmentPayload, where: string): void {
  for (const [at, span] of payload.spans.entries())
    if (!equalBytes(traceIdOf(span), payload.traceId))
      throw new VerificationError('record', `${where}, span ${at}`, 'it is of another trace')
  const signals = new Map<Source, string>()
  for (const [at, { source, kind }] of payload.spans.entries()) {
    let signal = signals.get(source)
    if (signal === undefined) {
      const receipt = atPlace(`${where}, receipt`, () => parseReceipt(source.receipt))
      if (receipt.tenant !== payload.tenant)
        throw new VerificationError('record', `${where}, receipt`, 'it is of another tenant')
      signal = receipt.signal
      signals.set(source, signal)
    }
    if ((signal === 'logs') !== (kind === LOG_RECORD))
      throw new VerificationError('record', `${where}, span ${at}`, 'it is not of the signal of its receipt')
  }
}

/** Derives the segment again and compares entry by entry. */
function verifyDerived(
  part: BundleSegment,
  leaves: Uint8Array,
  entries: readonly Entry[],
  payload: SegmentPayload,
  history: TraceHistory,
  where: string,
): DerivedSegment {
  const sink = new LeafSink()
  const derived = atPlace(where, () => deriveSegment(payload, payload.spans, history, new Committer(), sink))
  if (derived.duplicates.length > 0)
    throw new VerificationError('record', where, 'its payload holds a span that has a record already')
  for (const [at, entry] of entries.entries()) {
    if (at < sink.count && equalBytes(leaves.subarray(at * 32, at * 32 + 32), sink.leaf(at))) continue
    const expected = at < sink.count ? parseEntry(sink.entry(at)) : undefined
    throw difference(entry, expected, `${where}, leaf ${part.first + at}`)
  }
  if (sink.count !== entries.length)
    throw new VerificationError('seal', where, `it has ${entries.length} of ${sink.count} leaves`)
  // The seal's claim has its digest: this only keeps what the payload says of itself from being another thing.
  const { judgement, context = NO_BYTES, ruleset = NO_BYTES } = payload
  const isSame = equalBytes(derived.judgement, judgement) && equalBytes(derived.context, context)
  if (!isSame || !equalBytes(derived.ruleset, ruleset))
    throw new VerificationError(
      'verdict',
      where,
      'the rules come to another judgement than its payload holds',
    )
  for (const [at, span] of derived.spans.entries())
    if (span !== payload.spans[at])
      throw new VerificationError('order', `${where}, span ${at}`, 'the payload is not in record order')
  return derived
}

/** Names the first field in which a committed entry is not what its payload derives to. */
function difference(actual: Entry, expected: Entry | undefined, where: string): VerificationError {
  const error = (code: ConstructorParameters<typeof VerificationError>[0], message: string) =>
    new VerificationError(code, where, message)
  if (expected === undefined) return error('seal', 'the payload does not derive to this record')
  if (actual.kind !== expected.kind || actual.persistence !== expected.persistence)
    return error('record', `it is ${named(actual)}, the payload derives to ${named(expected)}`)
  if (!equalBytes(actual.spanId, expected.spanId))
    return error('order', 'the payload derives to another span here')
  if (
    actual.parent !== expected.parent ||
    !equalBytes(actual.parentSpanId, expected.parentSpanId) ||
    !equalBytes(actual.parentLeaf, expected.parentLeaf)
  )
    return error('link', "its parent is not the one that the payload's spans have")
  if (!equalBytes(actual.evidence, expected.evidence))
    return error('evidence', 'the payload bytes do not match the commitment')
  if (actual.persistence === Persistence.sealed) return error('seal', 'it does not close what lies before it')
  if (!equalBytes(actual.claims, expected.claims))
    return error('claims', 'the claims do not match the commitment')
  return error('record', 'it is not what the payload derives to')
}

function named(entry: Entry): string {
  return entry.kind === Kind.persistence ? nameOf(Persistence, entry.persistence) : nameOf(Kind, entry.kind)
}

function collect(
  records: VerifiedRecord[],
  entries: readonly Entry[],
  leaves: Uint8Array,
  derived: DerivedSegment,
  first: number,
  segment: number,
): void {
  const inputs = new Map(derived.leaves.map((leaf, place) => [leaf, derived.spans[place]]))
  for (const [at, entry] of entries.entries())
    records.push(
      executionRecord(first + at, leaves.slice(at * 32, at * 32 + 32), entry, segment, inputs.get(at)),
    )
}

/** Returns the spans that are shown, in record order. */
function collectOpened(
  records: VerifiedRecord[],
  entries: readonly Entry[],
  leaves: Uint8Array,
  payload: OpenedPayload,
  first: number,
  segment: number,
): (SpanInput | undefined)[] {
  const inputs = new Map(payload.spans.map(({ leaf, input }) => [leaf, input]))
  const claims = new Map(payload.records.map((record) => [record.leaf, record.claims]))
  for (const [at, entry] of entries.entries()) {
    const leaf = leaves.slice(at * 32, at * 32 + 32)
    records.push(executionRecord(first + at, leaf, entry, segment, inputs.get(at), claims.get(at)))
  }
  return [...entries.keys()].filter((at) => isSpanBorn(entries[at]!)).map((at) => inputs.get(at))
}

function verdictOf(checkpoint: Checkpoint, records: readonly VerifiedRecord[], judged: Judged): Verdict {
  const { judgement } = judged
  return {
    integrity: { state: 'verified', size: checkpoint.size },
    continuity: isRecomputed(judged)
      ? continuityOfLast(judged, records)
      : {
          state: 'unknown',
          detail:
            judged.recorded === undefined
              ? [
                  `recorded as ${continuityOf(judgement)}, by rules that are not known here: not recomputed`,
                  ...continuityDetail(judgement, records),
                ]
              : [`recorded as ${judged.recorded}, not recomputed: something of it was erased or is withheld`],
        },
    completeness: completenessOf(records, isRecomputed(judged) ? judgement.findings : []),
    assurance: { state: 'local', detail: ['signed by the log alone; no witness cosignature was asked for'] },
  }
}

/** What was found stands; that nothing was holds only of what was judged. */
function continuityOfLast(
  { judgement, since }: Judged,
  records: readonly VerifiedRecord[],
): Verdict['continuity'] {
  const state = continuityOf(judgement)
  const detail = continuityDetail(judgement, records)
  if (since === undefined) return { state, detail }
  const waiting = `segment ${since} and what came after it: sealed without a judgement, which a later segment brings`
  return { state: state === 'broken' ? state : 'unknown', detail: [...detail, waiting] }
}

function continuityDetail(judgement: Judgement, records: readonly VerifiedRecord[]): string[] {
  if (judgement.results.length === 0) return ['no service of this execution says what governs it']
  const indexOf = new Map(records.map(({ leaf, index }) => [formatHex(leaf), index]))
  return [
    ...judgement.findings.map(({ rule, severity, detail, subjects }) => {
      const at = indexOf.get(formatHex(subjects[0]!))
      return `${rule} (${severity}): ${detail}${at === undefined ? '' : `, leaf ${at}`}`
    }),
    ...judgement.results.flatMap(({ rule, missing }) => missing.map((what) => `${rule} unknown: ${what}`)),
  ]
}

function notChecked({ checkpoint, signatures, unverified }: OpenCheckpoint, note: Uint8Array): string[] {
  const repeated = parseNote(note).signatures.length - signatures.length - unverified.length
  return [
    `whether the execution has later segments, or a second chain of seals: provable only against the whole log up to size ${checkpoint.size}`,
    'who asserted the facts on the spans: in-process evidence is believed as far as its service is',
    ...checkpoint.extensions.map(
      (line) => `an extension line of the checkpoint, which means nothing here: ${JSON.stringify(line)}`,
    ),
    ...unverified.map(
      (one) =>
        `a signature by a key that the policy does not name: ${JSON.stringify(formatSignatureLine(one))}`,
    ),
    ...(repeated === 0 ? [] : [`signature lines that say again what another one says: ${repeated}`]),
  ]
}

/** What the last segment was judged with, and what came out. */
interface Judged extends Pick<DerivedSegment, 'ruleset' | 'context'> {
  readonly judgement: Judgement
  /** What the seal says of continuity, where something of the segment was erased and the judgement is not there. */
  readonly recorded: string | undefined
  /** Number of the first segment that was sealed after it without a judgement. */
  readonly since?: number | undefined
}

/** Of a segment whose payload was opened. */
function recordedOf(payload: OpenedPayload, count: number): Judged {
  const seal = sealValue(payload.records.find(({ leaf }) => leaf === count - 1))
  const said = seal?.find(({ key }) => key === 'continuity')?.value
  return {
    ruleset: NO_BYTES,
    context: NO_BYTES,
    judgement: NOT_JUDGED,
    recorded: said?.type === 'string' ? said.value : 'withheld',
  }
}

function isRecomputed({ ruleset, recorded }: Judged): boolean {
  if (recorded !== undefined) return false
  return ruleset.length === 0 || equalBytes(ruleset, RULESET_DIGEST)
}

function notJudged(judged: Judged): string[] {
  const { ruleset, recorded } = judged
  return [
    ...(isRecomputed(judged) || recorded !== undefined
      ? []
      : [`the judgement, which was made by the rules ${formatHex(ruleset)} that are not known here`]),
    ...(ruleset.length === 0
      ? []
      : ['whether other executions would make a difference that the collector left out']),
  ]
}

/** Statements about other executions that no record of theirs bears out here. */
function notBorneOut({ proven, unproven, witnesses }: CheckedContext): string[] {
  return [
    ...witnesses.flatMap(({ index, traceId, erased }) =>
      erased === undefined
        ? []
        : [
            `what the judgement takes from leaf ${index} of execution ${formatHex(traceId)}, which was erased, as leaf ${erased.by} says`,
          ],
    ),
    ...(unproven === 0
      ? []
      : [
          `numbers that had not come and clocks that differ: ${unproven} statements of the judgement are the collector's own word`,
        ]),
    ...(proven === 0
      ? []
      : ['whether the records of other executions are what those derive to: their own evidence shows it']),
  ]
}

/** As of the last judgement. */
function headOf(segments: readonly ExecutionSegment[], pendingFrom: number | undefined): ExecutionHead {
  const { tenant, traceId } = segments[0]!
  const { evaluatedAt } = segments[Math.max(0, (pendingFrom ?? segments.length) - 1)]!
  return { tenant, traceId, evaluatedAt }
}
