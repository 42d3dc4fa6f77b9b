/**
 * Derives the records of one segment from its spans (docs/formats/record.md).
 *
 * A pure function: the collector runs it to make the records, the verifier runs it again over the payload
 * and compares. What comes out, in this order: for each span its facts and then its own record; joins;
 * adoptions; findings; late; gap; the seal.
 */
import { concatBytes, copyWords, equalBytes, formatHex, utf8 } from '../bytes.ts'
import { type Context, contextDigest, encodeContext, parseContext } from '../continuity/context.ts'
import { type Judged, judge } from '../continuity/judge.ts'
import {
  continuityOf,
  encodeJudgement,
  type Finding,
  type Judgement,
  judgementDigest,
  NOT_JUDGED,
  parseJudgement,
} from '../continuity/judgement.ts'
import { decodeInput, type Execution, ExecutionBuilder, type PartSpan } from '../continuity/model.ts'
import { RULES, RULESET_DIGEST } from '../continuity/ruleset.ts'
import { testifiedFacts } from '../continuity/testimony.ts'
import { MalformedError } from '../errors.ts'
import { Claim } from '../governance/attributes.ts'
import type { Fact } from '../governance/facts.ts'
import { Kind } from '../governance/kind.ts'
import type { AnyValue } from '../otlp/decode.ts'
import { LOG_RECORD } from '../otlp/log-record.ts'
import { encodeValue } from '../otlp/value.ts'
import { COLLECTOR_ORDINAL, type Committer } from './commitment.ts'
import { type Cause, type Entry, emptyEntry, NO_BYTES, nameOf, Parent, Persistence, Role } from './entry.ts'
import type { EarlierSpan, TraceHistory } from './history.ts'
import { type GovernedSpan, joinDecisions } from './join.ts'
import { splitKnown } from './known-spans.ts'
import { type LeafSink, NOT_HERE } from './leaf-sink.ts'
import { contextKey, type Ordered, orderSpans, putId, type SpanInput } from './order.ts'
import { Closed, type SegmentHead } from './payload.ts'
import { RELIES_ON, RecentCauses } from './recent-causes.ts'

/** Children that one `adopted` record names at most. */
const MAX_ADOPTED = 1000
/** Missing parents that a `gap` record names at most; their full number is said beside them. */
const MAX_MISSING = 1000

/**
 * An execution with more spans than this may be sealed without being judged: it is judged when it has grown by a part,
 * or is reviewed, so that judging it all along costs a multiple of judging it once.
 */
const MAY_DEFER_ABOVE = 4096

/** More spans than that, or records of the collector's own, no payload has room for. */
const MOST = 2 ** 24

const SEAL_CLAIM = utf8(Claim.seal)
const NO_CAUSES: readonly Cause[] = []

export interface DerivedSegment<S extends SpanInput = SpanInput> {
  /** How many leaves it has, the seal included. */
  readonly count: number
  /** The spans that have a record, in record order: what the payload holds. */
  readonly spans: readonly S[]
  /** For each of `spans` its record's number, counted from the segment's first leaf. */
  readonly leaves: readonly number[]
  /** Deliveries of spans that have a record: in this segment (a place in `spans`), or an earlier one. */
  readonly duplicates: readonly { readonly span: S; readonly of: number | EarlierSpan }[]
  /** Parents that are awaited. */
  readonly missing: number
  /** Encoded judgement of the execution so far, and context that it was judged with; both may be empty. */
  readonly judgement: Uint8Array
  readonly context: Uint8Array
  /** Digest of the rules that it was judged by; empty where it was not judged. */
  readonly ruleset: Uint8Array
  /** `judgement`, before it was encoded; and those of its findings that the judgement before did not have. */
  readonly judged: Judgement
  readonly fresh: readonly Finding[]
  /** The execution is one that is judged, and this segment was sealed without. */
  readonly isDeferred: boolean
  /** When it is to be judged again though nothing comes: nanoseconds since 1970. Undefined where that is never. */
  readonly due: bigint | undefined
  /** What judging took by the clock of whoever seals; 0 without one. */
  readonly judgingMillis: number
}

/** How an execution is judged that is being sealed. */
export interface Sealing {
  /** Asked for the context if the execution is judged. Its segments from number `since` on were not judged before. */
  readonly gather: (execution: Execution, since: number) => Context
  /** Asked whether a large execution is left for later: `born` spans and log records with those of this segment, `now`. */
  readonly defers?: ((born: number, now: number) => boolean) | undefined
  /** Milliseconds, to measure what judging takes. */
  readonly clock?: (() => number) | undefined
}

/**
 * Derives the records of `input`, spans of one trace in any order, and adds them to `sink`.
 *
 * Returns a result with a count of 0, and adds nothing, where every span has a record already; and of a review, which
 * has no spans, where whoever seals comes to the judgement that there is.
 *
 * Whoever seals says how; whoever verifies has context, rules and judgement of the payload in the head. Where these are
 * other rules than are known here, the judgement is taken as it was recorded. Throws a MalformedError for a review of
 * what is not judged.
 */
export function deriveSegment<S extends SpanInput>(
  head: DerivedHead,
  input: readonly S[],
  history: TraceHistory | undefined,
  committer: Committer,
  sink: LeafSink,
  sealing?: Sealing,
): DerivedSegment<S> {
  if (head.closed === Closed.reviewed) return deriveReview(head, history, committer, sink, sealing)
  const again = history === undefined ? undefined : splitKnown(input, history)
  const order = orderSpans(again === undefined ? input : again.fresh)
  const spans = order.spans.map((ordered) => ordered.span)
  const duplicates = again === undefined ? order.duplicates : [...order.duplicates, ...again.known]
  if (spans.length === 0) return { count: 0, spans, leaves: [], duplicates, missing: 0, ...NOT_SAID }
  const writer = new SegmentWriter(head, order.spans, history, committer, sink)
  writer.writeSpans()
  writer.writeJoins()
  writer.writeAdoptions()
  const isJudged = writer.isJudged(again?.changed === true)
  const clock = isJudged ? sealing?.clock : undefined
  const begun = clock?.() ?? 0
  const judgement = isJudged ? writer.judge(sealing) : NOT_JUDGED_YET
  const encoded = encodeJudgement(judgement)
  const fresh = writer.writeFindings(judgement)
  const judgingMillis = (clock?.() ?? 0) - begun
  writer.writeLate()
  writer.writeGap()
  const count = writer.writeSeal(judgement, encoded)
  const { leaves, missing, context, ruleset, isDeferred } = writer
  return {
    count,
    spans,
    leaves,
    duplicates,
    missing: missing?.size ?? 0,
    judgement: encoded,
    context,
    ruleset,
    judged: judgement,
    fresh,
    isDeferred,
    due: judgement.due,
    judgingMillis,
  }
}

/** A segment without spans: what the judgement comes to at another time, or of what was sealed without one. */
function deriveReview<S extends SpanInput>(
  head: DerivedHead,
  history: TraceHistory | undefined,
  committer: Committer,
  sink: LeafSink,
  sealing: Sealing | undefined,
): DerivedSegment<S> {
  if (head.seed === undefined || history?.judged !== true)
    throw new MalformedError('a review of an execution that is not judged')
  const begun = sealing?.clock?.() ?? 0
  const writer = new SegmentWriter(head, [], history, committer, sink)
  const judgement = writer.judge(sealing)
  const encoded = encodeJudgement(judgement)
  const judgingMillis = (sealing?.clock?.() ?? 0) - begun
  const nothing = { spans: [], leaves: [], duplicates: [], missing: 0, isDeferred: false, judgingMillis }
  const before = history.lastJudged()
  const isSame = before?.segment === history.segment - 1 && equalBytes(before.judgement, encoded)
  if (sealing !== undefined && isSame) return { ...NOT_SAID, ...nothing, count: 0, due: judgement.due }
  const fresh = writer.writeFindings(judgement)
  const count = writer.writeSeal(judgement, encoded)
  const { context, ruleset } = writer
  return {
    ...nothing,
    count,
    judgement: encoded,
    context,
    ruleset,
    judged: judgement,
    fresh,
    due: judgement.due,
  }
}

/** A segment as far as it is known before its records are; of a payload, with what was recorded of its judgement. */
type DerivedHead = Omit<SegmentHead, 'segment'> & { readonly judgement?: Uint8Array }

const NOT_SAID = {
  judgement: NO_BYTES,
  context: NO_BYTES,
  ruleset: NO_BYTES,
  judged: NOT_JUDGED,
  fresh: [],
  isDeferred: false,
  due: undefined,
  judgingMillis: 0,
}

const NO_LEAVES: readonly Uint8Array[] = []
/** In the place of a leaf hash that the sink puts there. */
const LEAF_TO_COME = new Uint8Array(32)

const NOT_JUDGED_YET: Judged = { ...NOT_JUDGED, due: undefined }

/** State of one derivation: where each span's record is, and the running number of collector claims. */
class SegmentWriter {
  /** For each place its record's number, counted from the segment's first leaf. */
  readonly leaves: number[] = []
  /** Span ids of parents that are awaited; most segments have none, and no governed spans. */
  missing: Set<string> | undefined
  /** Encoded context that the execution is judged with, and digest of the rules; empty where it is not judged. */
  context: Uint8Array
  ruleset: Uint8Array = NO_BYTES
  isDeferred = false
  readonly #head: DerivedHead
  readonly #ordered: readonly Ordered[]
  readonly #history: TraceHistory | undefined
  readonly #committer: Committer
  readonly #sink: LeafSink
  readonly #first: number
  /** By the place of the span or log record itself, ascending. */
  #governed: Map<number, GovernedSpan & NonNullable<PartSpan['decoded']>> | undefined
  readonly #counts: number[] = []
  /** The entry that is filled again for each span that is no plain one, and what its fields are filled with. */
  #spanEntry: Entry | undefined
  #parentId: Uint8Array = NO_BYTES
  #ordinal = COLLECTOR_ORDINAL
  /** The span that is being written, or whose log records are, and what was said about it before. */
  #about = -1
  #said: RecentCauses | undefined

  constructor(
    head: DerivedHead,
    ordered: readonly Ordered[],
    history: TraceHistory | undefined,
    committer: Committer,
    sink: LeafSink,
  ) {
    this.#head = head
    this.context = head.context ?? NO_BYTES
    this.#ordered = ordered
    this.#history = history
    this.#committer = committer
    this.#sink = sink
    this.#first = sink.count
  }

  writeSpans(): void {
    this.#sink.beginTrace(this.#head.tenant, this.#head.traceId)
    for (let place = 0; place < this.#ordered.length; place++) {
      const ordered = this.#ordered[place]!
      const { span, parentAt, aboutAt } = ordered
      const before = this.#saidBefore(place, ordered)
      const earlier = this.#earlierParent(ordered)
      const link = parentOf(ordered, earlier)
      if (link === Parent.awaiting && !ordered.opensCycle) {
        this.missing ??= new Set()
        this.missing.add(span.parent)
      }
      const parent = parentAt === -1 ? NOT_HERE : this.#first + this.leaves[parentAt]!
      const leaf =
        span.governed || before !== undefined || earlier !== undefined
          ? this.#addSpanEntry(place, ordered, before, link, earlier, parent)
          : this.#addPlainSpan(span, link, parent)
      this.leaves.push(leaf)
      if (aboutAt !== -1) before?.add({ role: Role.logRecord, leaf: this.#leaf(leaf), origin: '' })
    }
  }

  /** Adds the record of a span without facts and without log records, which most are. */
  #addPlainSpan(span: SpanInput, link: Parent, parent: number): number {
    this.#count(Kind.span)
    const { evidence } = span.source
    if (evidence === undefined) putEvidence(span, this.#committer)
    const from = evidence ?? this.#committer.scratchData
    const at = evidence === undefined ? 0 : span.index * 32
    return this.#sink.addSpan(span.id, link, span.parent, parent, from, at) - this.#first
  }

  /** Adds the records of a span's facts, if it has any, and its own. */
  #addSpanEntry(
    place: number,
    ordered: Ordered,
    before: RecentCauses | undefined,
    link: Parent,
    earlier: Uint8Array | undefined,
    parent: number,
  ): number {
    const { span } = ordered
    if (this.#spanEntry === undefined) {
      this.#spanEntry = this.#entry(Kind.span)
      this.#spanEntry.spanId = new Uint8Array(8)
      this.#spanEntry.evidence = this.#committer.scratchHash
      this.#parentId = new Uint8Array(8)
    }
    const entry = this.#spanEntry
    entry.kind = Kind.span
    entry.causes = NO_CAUSES
    entry.claims = NO_BYTES
    putId(entry.spanId, 0, span.id)
    if (span.governed) this.#writeFacts(place, ordered, entry, before ?? new RecentCauses())
    else if (before !== undefined) entry.causes = before.last()
    entry.parent = link
    if (span.parent === '') entry.parentSpanId = NO_BYTES
    else {
      putId(this.#parentId, 0, span.parent)
      entry.parentSpanId = this.#parentId
    }
    entry.parentLeaf = parent === NOT_HERE ? (earlier ?? NO_BYTES) : LEAF_TO_COME
    putEvidence(span, this.#committer)
    return this.#add(entry, parent)
  }

  /**
   * What lies before the facts of a span and is about it: its log records in earlier segments and, right before it,
   * in this one. They share one list with it; undefined where there are none.
   */
  #saidBefore(place: number, { span, aboutAt }: Ordered): RecentCauses | undefined {
    const about = aboutAt === -1 ? place : aboutAt
    if (about === this.#about) return this.#said
    this.#about = about
    const isAlone = aboutAt === -1 && span.kind === LOG_RECORD
    const earlier = isAlone ? undefined : this.#history?.logsOf(span.id)
    const isSaid = aboutAt !== -1 || (earlier !== undefined && earlier.length > 0)
    this.#said = isSaid ? new RecentCauses() : undefined
    for (const leaf of earlier ?? []) this.#said?.add({ role: Role.logRecord, leaf, origin: '' })
    return this.#said
  }

  /** Writes the facts of a governed span and puts its kind, claims and causes on its own entry. */
  #writeFacts(place: number, ordered: Ordered, own: Entry, written: RecentCauses): void {
    const { span: input, aboutAt } = ordered
    const { seed } = input.source
    const span = decodeInput(input)
    const facts = testifiedFacts(span, input)
    let ordinal = 1
    const claims = (fact: Pick<Fact, 'claims'>): Uint8Array =>
      this.#committer.claims(
        fact.claims.map((claim) =>
          this.#committer.claim(seed, input.index, ordinal++, claim.keyBytes, claim.value),
        ),
      )
    const isLog = input.kind === LOG_RECORD
    const ownFacts: Cause[] = []
    const factLeaves: number[] = []
    for (const fact of facts.facts) {
      const entry = this.#entry(fact.kind)
      entry.spanId = own.spanId.slice()
      entry.causes = written.last(RELIES_ON[fact.kind] ?? [])
      if (fact.claims.length > 0) entry.claims = claims(fact)
      const leaf = this.#add(entry)
      factLeaves.push(leaf)
      const cause = { role: ROLE_OF_KIND[fact.kind]!, leaf: this.#leaf(leaf), origin: '' }
      written.add(cause)
      if (isLog) ownFacts.push(cause)
    }
    own.kind = facts.kind
    own.causes = isLog ? ownFacts : written.last()
    if (facts.claims.length > 0) own.claims = claims(facts)
    this.#governed ??= new Map()
    this.#governed.set(place, {
      // What a log record says counts as said on its span.
      place: aboutAt === -1 ? place : aboutAt,
      parentAt: aboutAt === -1 ? ordered.parentAt : this.#ordered[aboutAt]!.parentAt,
      span,
      facts,
      leaf: this.#sink.count - this.#first, // of the record that is written next
      factLeaves,
    })
  }

  /** Leaf of the parent's record where that is in an earlier segment. */
  #earlierParent({ span, parentAt, opensCycle }: Ordered): Uint8Array | undefined {
    return parentAt === -1 && !opensCycle && span.parent !== ''
      ? this.#history?.leafOf(span.parent)
      : undefined
  }

  writeJoins(): void {
    if (this.#governed === undefined || this.#governed.size < 2) return
    const parents = this.#ordered.map((ordered) => ordered.parentAt)
    for (const join of joinDecisions([...this.#governed.values()], parents))
      this.#addCollected(
        this.#persistence(Persistence.joined, [
          { role: Role.action, leaf: this.#leaf(join.action), origin: '' },
          { role: Role.decision, leaf: this.#leaf(join.decision), origin: '' },
        ]),
        [[Claim.joinMethod, { type: 'string', value: join.method }]],
      )
  }

  /** Whoever waited in an earlier segment for a span of this one is named beside it. */
  writeAdoptions(): void {
    const history = this.#history
    if (history === undefined) return
    const seen = new Set<string>()
    for (const [place, { span, aboutAt }] of this.#ordered.entries()) {
      if (aboutAt !== -1 || seen.has(span.id)) continue
      seen.add(span.id)
      const children = history.waitingFor(span.id)
      for (let at = 0; at < children.length; at += MAX_ADOPTED)
        this.#addCollected(
          this.#persistence(Persistence.adopted, [
            { role: Role.parent, leaf: this.#leaf(this.leaves[place]!), origin: '' },
          ]),
          [[Claim.children, { type: 'bytes', value: concatBytes(...children.slice(at, at + MAX_ADOPTED)) }]],
        )
    }
  }

  /**
   * Whether the execution so far is one that is judged. One that carries no governance is not, so that it costs nothing;
   * unless a span is there twice or is its own ancestor, which is a lie whoever says it.
   */
  isJudged(changed: boolean): boolean {
    return (
      changed ||
      this.#governed !== undefined ||
      this.#history?.judged === true ||
      this.#ordered.some((one) => one.equivocates !== -1 || one.opensCycle)
    )
  }

  /** Judges the execution so far. */
  judge(sealing: Sealing | undefined): Judged {
    const history = this.#history
    const { ruleset = NO_BYTES, judgement } = this.#head
    this.isDeferred = this.#defers(sealing)
    // Who has no model of it yet reads it when it is judged.
    if (this.isDeferred && history?.isBuilt === false) return NOT_JUDGED_YET
    const builder = history?.builder() ?? new ExecutionBuilder('dropped')
    builder.add({ segment: history?.segment ?? 0, spans: this.#partSpans(), isWhole: true })
    if (this.isDeferred) return NOT_JUDGED_YET
    this.ruleset = ruleset.length === 0 ? RULESET_DIGEST : ruleset
    if (!equalBytes(this.ruleset, RULESET_DIGEST))
      return { ...parseJudgement(judgement ?? NO_BYTES), due: undefined }
    const execution = builder.execution(this.#head, parseContext(this.context))
    if (sealing === undefined) return judge(execution, RULES)
    const last = history?.lastJudged()
    const since = last === undefined ? (history?.segment ?? 0) : last.segment + 1
    this.context = encodeContext(sealing.gather(execution, since))
    // As whoever verifies reads it: what an encoding cannot hold must not make a difference.
    const context = parseContext(this.context)
    return judge(context === execution.context ? execution : { ...execution, context }, RULES)
  }

  /** Whoever seals decides, within what verifiers let pass. */
  #defers(sealing: Sealing | undefined): boolean {
    const { closed, ruleset } = this.#head
    const now = this.#ordered.length
    const born = (this.#history?.born ?? 0) + now
    if (closed === Closed.reviewed || born <= MAY_DEFER_ABOVE) return false
    return sealing === undefined ? ruleset?.length === 0 : sealing.defers?.(born, now) === true
  }

  #partSpans(): PartSpan[] {
    return this.#ordered.map((ordered, place) => {
      const decoded = this.#governed?.get(place)
      const earlier = this.#earlierParent(ordered)
      return {
        input: ordered.span,
        decoded,
        leaf: this.#copyLeaf(this.leaves[place]!),
        factLeaves: decoded?.factLeaves.map((number) => this.#copyLeaf(number)) ?? NO_LEAVES,
        parent: parentOf(ordered, earlier),
        parentAt: ordered.parentAt === -1 ? undefined : ordered.parentAt,
        parentLeaf: earlier ?? NO_BYTES,
      }
    })
  }

  /**
   * One record for each finding that the judgement before did not have, and for each that does not hold any more. Returns
   * the former.
   */
  writeFindings(judgement: Judgement): Finding[] {
    if (judgement === NOT_JUDGED_YET) return []
    const { findings } = judgement
    const earlier = this.#history?.lastJudged()
    if (earlier === undefined && findings.length === 0) return []
    const last = parseJudgement(earlier?.judgement ?? NO_BYTES)
    const before = new Map(last.findings.map((one) => [identityOf(one), one]))
    const fresh = findings.filter((finding) => !before.delete(identityOf(finding)))
    for (const finding of fresh) this.#finding(finding, 'fail')
    for (const finding of before.values()) this.#finding(finding, 'withdrawn')
    return fresh
  }

  #finding({ rule, severity, detail, subjects }: Finding, result: 'fail' | 'withdrawn'): void {
    const entry = this.#entry(Kind.verification)
    entry.causes = subjects.map((leaf) => ({ role: Role.subject, leaf, origin: '' }))
    const texts = [
      [Claim.rule, rule],
      [Claim.result, result],
      [Claim.severity, severity],
      [Claim.detail, detail],
    ] as const
    this.#addCollected(
      entry,
      texts.map(([key, value]) => [key, { type: 'string', value }]),
    )
  }

  /** Spans that came after their trace had settled. */
  writeLate(): void {
    const history = this.#history
    if (history === undefined || history.segment === 0 || history.previousClosed !== Closed.settled) return
    this.#addCollected(this.#persistence(Persistence.late, []), [
      [Claim.lateCount, { type: 'int', value: BigInt(this.#ordered.length) }],
    ])
  }

  writeGap(): void {
    if (this.missing === undefined) return
    const ids = [...this.missing].sort().slice(0, MAX_MISSING).map(idBytes)
    this.#addCollected(this.#persistence(Persistence.gap, []), [
      [Claim.missingCount, { type: 'int', value: BigInt(this.missing.size) }],
      [Claim.missingParents, { type: 'bytes', value: concatBytes(...ids) }],
    ])
  }

  /** Returns how many leaves the segment has. */
  writeSeal(judgement: Judgement, judged: Uint8Array): number {
    const history = this.#history
    const previous = history !== undefined && history.segment > 0
    const seal = this.#persistence(
      Persistence.sealed,
      previous ? [{ role: Role.previousSeal, leaf: history.previousSeal, origin: '' }] : [],
    )
    seal.segment = history?.segment ?? 0
    seal.leaves = this.#sink.count - this.#first
    this.#addClaims(seal, [[SEAL_CLAIM, this.#sealValue(judgement, judged)]])
    return this.#sink.count - this.#first
  }

  /** Encoded value of the seal's claim. Those of executions without governance are mostly the same, and remembered. */
  #sealValue(judgement: Judgement, judged: Uint8Array): Uint8Array {
    const { closed, evaluatedAt } = this.#head
    const { context, ruleset } = this
    const counts = this.#counts
    const completeness = this.missing === undefined ? 'not provable' : 'gaps'
    const isJudged = ruleset.length > 0
    const make = (): Uint8Array =>
      encodeValue(
        map([
          [
            'counts',
            map(
              [...counts.entries()]
                .filter(([, count]) => count !== undefined)
                .map(([kind, count]) => [nameOf(Kind, kind), { type: 'int', value: BigInt(count) }]),
            ),
          ],
          ['closed', { type: 'string', value: nameOf(Closed, closed) }],
          ['evaluated_at', { type: 'int', value: evaluatedAt }],
          ...(isJudged
            ? ([
                ['ruleset', { type: 'bytes', value: ruleset }],
                ['context', { type: 'bytes', value: contextDigest(context) }],
                ['judgement', { type: 'bytes', value: judgementDigest(judged) }],
              ] as const)
            : []),
          ['continuity', { type: 'string', value: continuityOf(judgement) }],
          ['completeness', { type: 'string', value: completeness }],
        ]),
      )
    if (isJudged || this.#governed !== undefined) return make()
    // Without governance there are spans and the collector's own records, and a number is found faster than a text.
    const key = ((counts[Kind.span] ?? 0) * MOST + (counts[Kind.persistence] ?? 0)) * 16 + closed * 2
    return this.#committer.remember(evaluatedAt, this.missing === undefined ? key : key + 1, make)
  }

  #entry(kind: Kind): Entry {
    const entry = emptyEntry(kind)
    entry.tenant = this.#head.tenant
    entry.traceId = this.#head.traceId
    return entry
  }

  #persistence(persistence: Persistence, causes: Cause[]): Entry {
    const entry = this.#entry(Kind.persistence)
    entry.persistence = persistence
    entry.causes = causes
    return entry
  }

  /** Adds a record of the collector's own. */
  #addCollected(entry: Entry, claims: readonly (readonly [string, AnyValue])[]): void {
    this.#addClaims(
      entry,
      claims.map(([key, value]) => [utf8(key), encodeValue(value)]),
    )
  }

  /** Its salts come from the seed of the segment's first span, or that of the review. */
  #addClaims(entry: Entry, claims: readonly (readonly [Uint8Array, Uint8Array])[]): void {
    const first = this.#ordered[0]?.span
    const seed = first?.source.seed ?? this.#head.seed!
    entry.claims = this.#committer.claims(
      claims.map(([key, value]) =>
        this.#committer.claim(seed, first?.index ?? 0, this.#ordinal++, key, value),
      ),
    )
    this.#add(entry)
  }

  /** Returns the record's number, counted from the segment's first leaf. `parent` is as the sink numbers it. */
  #add(entry: Entry, parent = NOT_HERE): number {
    this.#count(entry.kind)
    return this.#sink.add(entry, parent) - this.#first
  }

  #count(kind: Kind): void {
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1
  }

  #copyLeaf(number: number): Uint8Array {
    return new Uint8Array(this.#leaf(number))
  }

  #leaf(number: number): Uint8Array {
    return this.#sink.leaf(this.#first + number)
  }
}

/** Findings of two judgements are one if they say the same of the same first record. */
function identityOf({ rule, detail, subjects }: Finding): string {
  return `${rule} ${formatHex(subjects[0]!)} ${detail}`
}

/** `earlier` is the leaf of its parent's record in an earlier segment. */
function parentOf({ span, parentAt, opensCycle }: Ordered, earlier: Uint8Array | undefined): Parent {
  if (span.parent === '') return span.kind === LOG_RECORD ? Parent.unsaid : Parent.root
  if (parentAt !== -1 || earlier !== undefined) return Parent.linked
  return span.remote && !opensCycle ? Parent.remote : Parent.awaiting
}

/** Puts the evidence commitment of one span into the committer's `scratchHash`. */
function putEvidence(span: SpanInput, committer: Committer): void {
  const { source, index } = span
  const { evidence } = source
  if (evidence === undefined) {
    const bytes = source.body.subarray(span.spanStart, span.spanEnd)
    committer.evidence(source.seed, index, contextOf(span, committer), bytes, committer.scratchHash, 0)
  } else copyWords(evidence, index * 32, committer.scratchData, 0, 32)
}

function contextOf(span: SpanInput, committer: Committer): Uint8Array {
  const { receipt, body, contexts } = span.source
  const key = contextKey(span)
  let context = contexts.get(key)
  if (context === undefined) {
    const resource = body.subarray(span.resourceStart, span.resourceEnd)
    context = committer.context(receipt, resource, body.subarray(span.scopeStart, span.scopeEnd))
    contexts.set(key, context)
  }
  return context
}

const ROLE_OF_KIND: Readonly<Partial<Record<Kind, Role>>> = {
  [Kind.authorization]: Role.authorization,
  [Kind.decision]: Role.decision,
  [Kind.verification]: Role.verification,
  [Kind.action]: Role.action,
  [Kind.transition]: Role.transition,
  [Kind.request]: Role.request,
}

function map(members: readonly (readonly [string, AnyValue])[]): AnyValue {
  return { type: 'kvlist', value: members.map(([key, value]) => ({ key, value })) }
}

/** The inverse of idKey. */
function idBytes(id: string): Uint8Array {
  const bytes = new Uint8Array(8)
  putId(bytes, 0, id)
  return bytes
}
