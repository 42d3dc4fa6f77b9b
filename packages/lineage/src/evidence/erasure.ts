/**
 * What is checked of segments of which something is missing (docs/formats/payload.md, "Opened payload"), and of the
 * erased records that account for it (docs/formats/bundle.md, "Erased segments"). The collector's own check of its
 * disk runs the same.
 */
import { equalBytes, formatHex } from '../bytes.ts'
import { testifiedFacts } from '../continuity/testimony.ts'
import { MalformedError, type VerificationCode, VerificationError } from '../errors.ts'
import { Claim } from '../governance/attributes.ts'
import { Kind } from '../governance/kind.ts'
import type { AnyValue, KeyValue } from '../otlp/decode.ts'
import { decodeValue } from '../otlp/encoded-value.ts'
import { decodeEither } from '../otlp/log-record.ts'
import { decodeText } from '../otlp/text.ts'
import { type ErasureTerms, readErasure } from '../record/about-log.ts'
import { Committer } from '../record/commitment.ts'
import {
  type Entry,
  isSpanBorn,
  KIND_OF_ROLE,
  nameOf,
  Parent,
  Persistence,
  parseEntry,
  Role,
} from '../record/entry.ts'
import type { OpenedPayload } from '../record/opened.ts'
import { type Opening, openClaims, type RecordOpenings } from '../record/opening.ts'
import { idKey, type SpanInput } from '../record/order.ts'
import { Closed } from '../record/payload.ts'
import { parseReceipt } from '../record/receipt.ts'

/** An erased record that holds. */
export interface Erasure extends ErasureTerms {
  /** Leaf index in the log. */
  readonly index: number
  readonly leaf: Uint8Array
  readonly tenant: string
  /** Leaf hashes of the seals that it names. */
  readonly seals: readonly Uint8Array[]
}

/** Checks an erased record and its openings; throws a VerificationError. `leaf` is its leaf hash. */
export function checkErasure(
  index: number,
  leaf: Uint8Array,
  bytes: Uint8Array,
  claims: readonly Opening[],
  where: string,
): Erasure {
  const entry = parseEntry(bytes)
  const isErased =
    entry.kind === Kind.persistence &&
    entry.persistence === Persistence.erased &&
    entry.traceId.length === 0 &&
    entry.causes.length > 0 &&
    entry.causes.every((cause) => cause.role === Role.subject && cause.origin === '')
  if (!isErased) throw new VerificationError('erasure', where, 'it is no record of an erasure')
  if (!openClaims(claims, entry.claims, new Committer()))
    throw new VerificationError('claims', where, 'its claims do not match the commitment')
  try {
    const terms = readErasure(entry, claims)
    return { ...terms, index, leaf, tenant: entry.tenant, seals: entry.causes.map((cause) => cause.leaf) }
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new VerificationError('malformed', where, error.message, { cause: error })
  }
}

/** What is missing in a segment. */
export interface Missing {
  readonly spans: number
  /** Claims of listed records that are not shown. */
  readonly claims: number
  /** Records with claims that are not listed. */
  readonly records: number
  /** The seal's claim is not shown, so that nothing vouches for why the segment was closed. */
  readonly seal: boolean
}

/** The records of an execution that were checked before: leaf hash to entry. */
export class SeenRecords {
  readonly #entries = new Map<string, Entry>()

  add(entries: readonly Entry[], leaves: Uint8Array): void {
    for (const [at, entry] of entries.entries())
      this.#entries.set(formatHex(leaves.subarray(at * 32, at * 32 + 32)), entry)
  }

  get(leaf: Uint8Array): Entry | undefined {
    return this.#entries.get(formatHex(leaf))
  }
}

/**
 * Checks an opened payload against the entries of its segment, and says what is missing in it. `seen` are the records
 * of the segments before, `previousSeal` the leaf hash of the last seal, empty before the first.
 */
export function checkOpened(
  payload: OpenedPayload,
  entries: readonly Entry[],
  leaves: Uint8Array,
  seen: SeenRecords,
  previousSeal: Uint8Array,
  where: string,
): Missing {
  checkRun(payload, entries, previousSeal, where)
  checkLinks(entries, leaves, seen, where)
  const shown = new Map(payload.records.map((record) => [record.leaf, record]))
  const committer = new Committer()
  let hidden = 0
  for (const { leaf, claims } of payload.records) {
    const entry = entries[leaf]
    if (entry === undefined || entry.claims.length === 0 || !openClaims(claims, entry.claims, committer))
      throw at('claims', where, leaf, 'the claims do not match the commitment')
    for (const claim of claims) if ('commitment' in claim) hidden++
  }
  checkHead(payload, shown.get(entries.length - 1), where)
  for (const { leaf, salt, input } of payload.spans)
    checkSpan(leaf, salt, input, payload, entries, shown, committer, where)
  return {
    spans: entries.filter(isSpanBorn).length - payload.spans.length,
    claims: hidden,
    records: entries.filter(({ claims }) => claims.length > 0).length - payload.records.length,
    seal: sealValue(shown.get(entries.length - 1)) === undefined,
  }
}

/** The segment is one sealed run of one execution, and follows from the one before it. */
function checkRun(
  payload: OpenedPayload,
  entries: readonly Entry[],
  previousSeal: Uint8Array,
  where: string,
): void {
  const last = entries.length - 1
  for (const [leaf, entry] of entries.entries()) {
    if (entry.tenant !== payload.tenant || !equalBytes(entry.traceId, payload.traceId))
      throw at('record', where, leaf, 'it is of another execution')
    const isSeal = entry.persistence === Persistence.sealed
    if (isSeal !== (leaf === last)) throw at('seal', where, leaf, 'the segment is not closed by its one seal')
  }
  const seal = entries[last]!
  if (seal.leaves !== last || seal.segment !== payload.segment)
    throw at('seal', where, last, 'it does not close what lies before it')
  const named = seal.causes.filter((cause) => cause.role === Role.previousSeal)
  const isNext =
    previousSeal.length === 0
      ? named.length === 0
      : named.length === 1 && named[0]!.origin === '' && equalBytes(named[0]!.leaf, previousSeal)
  if (!isNext) throw at('seal', where, last, 'it does not name the seal before it')
}

/** When and why the segment was judged is what its seal says, where that is shown; else only why is said. */
function checkHead(payload: OpenedPayload, seal: RecordOpenings | undefined, where: string): void {
  const said = sealValue(seal)
  const isSame =
    said === undefined
      ? payload.evaluatedAt === 0n
      : said.some(({ key, value }) => key === 'closed' && isText(value, nameOf(Closed, payload.closed))) &&
        said.some(
          ({ key, value }) =>
            key === 'evaluated_at' && value.type === 'int' && value.value === payload.evaluatedAt,
        )
  if (!isSame) throw new VerificationError('seal', where, 'its seal says another time or reason')
}

/** What a seal says, where that is shown. */
export function sealValue(seal: RecordOpenings | undefined): readonly KeyValue[] | undefined {
  for (const claim of seal?.claims ?? []) {
    if (!('key' in claim) || decodeText(claim.key) !== Claim.seal) continue
    const value = decodeValue(claim.value)
    return value.type === 'kvlist' ? value.value : []
  }
  return undefined
}

function isText(value: AnyValue, text: string): boolean {
  return value.type === 'string' && value.value === text
}

/** What records name is earlier in the execution, and of the kind that its role says. */
function checkLinks(entries: readonly Entry[], leaves: Uint8Array, seen: SeenRecords, where: string): void {
  const before = new Map<string, Entry>()
  const find = (leaf: Uint8Array): Entry | undefined => before.get(formatHex(leaf)) ?? seen.get(leaf)
  for (const [leaf, entry] of entries.entries()) {
    if (entry.parent === Parent.linked) {
      const parent = find(entry.parentLeaf)
      if (parent === undefined || !isSpanBorn(parent) || !equalBytes(parent.spanId, entry.parentSpanId))
        throw at('link', where, leaf, 'its parent is no earlier record of that span')
    }
    for (const { role, leaf: named, origin } of entry.causes) {
      if (origin !== '') continue
      const cause = find(named)
      // What a finding is about may be in another execution.
      if (cause === undefined && role === Role.subject) continue
      const kind = KIND_OF_ROLE[role]
      const fits =
        cause !== undefined &&
        (kind !== undefined
          ? cause.kind === kind
          : role === Role.parent
            ? isSpanBorn(cause)
            : role !== Role.previousSeal || cause.persistence === Persistence.sealed)
      if (!fits)
        throw at('link', where, leaf, `a cause of it is no earlier ${nameOf(Role, role)} of the execution`)
    }
    before.set(formatHex(leaves.subarray(leaf * 32, leaf * 32 + 32)), entry)
  }
}

function checkSpan(
  leaf: number,
  salt: Uint8Array,
  input: SpanInput,
  payload: OpenedPayload,
  entries: readonly Entry[],
  shown: ReadonlyMap<number, RecordOpenings>,
  committer: Committer,
  where: string,
): void {
  const entry = entries[leaf]
  if (entry === undefined || !isSpanBorn(entry)) throw at('record', where, leaf, 'it is no record of a span')
  const { source } = input
  const bytes = source.body.subarray(input.spanStart, input.spanEnd)
  const context = committer.context(
    source.receipt,
    source.body.subarray(input.resourceStart, input.resourceEnd),
    source.body.subarray(input.scopeStart, input.scopeEnd),
  )
  const evidence = new Uint8Array(32)
  committer.saltedEvidence(salt, 0, context, bytes, 0, bytes.length, evidence, 0)
  if (!equalBytes(evidence, entry.evidence))
    throw at('evidence', where, leaf, 'the payload bytes do not match the commitment')
  if (parseReceipt(source.receipt).tenant !== payload.tenant)
    throw at('record', where, leaf, 'its request is of another tenant')
  const span = decodeEither(input.kind, bytes)
  if (
    input.id !== idKey(entry.spanId) ||
    input.parent !== (entry.parentSpanId.length === 0 ? '' : idKey(entry.parentSpanId)) ||
    !equalBytes(span.traceId, payload.traceId)
  )
    throw at('record', where, leaf, 'it is the record of another span')
  const facts = testifiedFacts(span, input)
  const first = leaf - facts.facts.length
  const records = [...facts.facts, { kind: facts.kind, claims: facts.claims }]
  // Right before them comes the record of another span, if anything does.
  const other = entries[first - 1]
  const isWhole = first >= 0 && (other === undefined || isSpanBorn(other))
  for (const [i, fact] of records.entries()) {
    const record = entries[first + i]
    const isOfSpan =
      isWhole &&
      record !== undefined &&
      record.kind === fact.kind &&
      equalBytes(record.spanId, entry.spanId) &&
      isSpanBorn(record) === (i === records.length - 1) &&
      record.claims.length > 0 === fact.claims.length > 0
    if (!isOfSpan)
      throw at('record', where, leaf, 'the records of its facts are not those that the span gives')
    for (const claim of shown.get(first + i)?.claims ?? [])
      if (
        'key' in claim &&
        !fact.claims.some((one) => equalBytes(one.keyBytes, claim.key) && equalBytes(one.value, claim.value))
      )
        throw at('claims', where, first + i, 'a claim is not one that the span gives')
  }
}

/** Throws where something is missing that neither `erasures`, those that name the seal, nor `withheld` accounts for. */
export function checkMissing(
  { withheld }: Pick<OpenedPayload, 'withheld'>,
  missing: Missing,
  seal: Uint8Array,
  erasures: readonly Erasure[],
  where: string,
): void {
  if (withheld || erasures.some(({ scope }) => scope === 'execution')) return
  let spans = 0
  let claims = 0
  for (const erasure of erasures)
    for (const [at, named] of erasure.seals.entries())
      if (equalBytes(named, seal)) {
        spans += erasure.spans[at]!
        claims += erasure.claims[at] ?? 0
      }
  if (missing.spans > spans || missing.claims > claims || missing.records > 0)
    throw new VerificationError(
      'erasure',
      where,
      'something is missing, and no erased record of the log accounts for it',
    )
}

/** The erasures that name this seal. */
export function erasuresOf(seal: Uint8Array, erasures: readonly Erasure[]): Erasure[] {
  return erasures.filter(({ seals }) => seals.some((named) => equalBytes(named, seal)))
}

function at(code: VerificationCode, where: string, leaf: number, reason: string): VerificationError {
  return new VerificationError(code, `${where}, record ${leaf}`, reason)
}
