/**
 * Whether the context of a judgement is borne out (docs/formats/bundle.md, "Context"): each statement that names a record
 * comes with that record, its proof, and the one opened claim that it is read from.
 *
 * What this cannot show: that the record itself is what its execution derives to, which that execution's own bundle
 * shows; and that nothing was left out, which only the whole log shows.
 */
import { equalBytes, formatHex } from '../bytes.ts'
import type { Context, FromRecord, Neighbour, PolicyVersion, Revocation, Use } from '../continuity/context.ts'
import { sourcesOf, Testimony } from '../continuity/testimony.ts'
import { atPlace, type VerificationCode, VerificationError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import type { AnyValue } from '../otlp/decode.ts'
import { decodeValue } from '../otlp/encoded-value.ts'
import { decodeText } from '../otlp/text.ts'
import { Committer } from '../record/commitment.ts'
import { type Entry, isSpanBorn, NO_BYTES, Persistence, parseEntry } from '../record/entry.ts'
import { openClaims, parseRun } from '../record/opening.ts'
import { leafHash } from '../tlog/merkle.ts'
import type { BundleSegment } from './bundle.ts'
import type { Erasure } from './erasure.ts'

/** What one segment was judged with. */
export interface SegmentContext {
  readonly segment: number
  /** Index of the segment's first leaf. */
  readonly first: number
  readonly context: Context
}

/** A record that a statement names. */
export interface Witness {
  /** Leaf index in the log. */
  readonly index: number
  readonly leaf: Uint8Array
  readonly traceId: Uint8Array
  /**
   * Leaf of the record that says that it was erased, so that its statements were not checked; and the leaf hash of the
   * seal that this names.
   */
  readonly erased?: { readonly by: number; readonly seal: Uint8Array }
}

/** What came of the statements of all segments. */
export interface CheckedContext {
  /** Statements that their records bear out. */
  readonly proven: number
  /** Statements whose records were erased: not checked. */
  readonly erased: number
  /** Statements that name no record, of gaps and clocks: the collector's own word. */
  readonly unproven: number
  /** Each once, by ascending index. */
  readonly witnesses: readonly Witness[]
}

/** A statement that names a record, and how it follows from what that says. */
export interface Naming {
  /** Its sort and place among those: `revocation 2`. */
  readonly what: string
  readonly record: FromRecord
  /** Key of the claim that it is read from. */
  readonly key: Testimony
  /** What is not as the record says; undefined where all of it is. */
  differs(says: Said, entry: Entry): string | undefined
  isKind(entry: Entry): boolean
}

/** The statements of a context that name records. */
export function* namingStatements({ revocations, uses, policies, neighbours }: Context): Generator<Naming> {
  const isFact = (kind: Kind) => (entry: Entry) => entry.kind === kind && !isSpanBorn(entry)
  for (const [at, record] of revocations.entries())
    yield {
      what: `revocation ${at}`,
      record,
      key: Testimony.revocation,
      isKind: isFact(Kind.authorization),
      differs: (says) => revocationDiffers(record, says),
    }
  for (const [at, record] of uses.entries())
    yield {
      what: `use ${at}`,
      record,
      key: Testimony.use,
      isKind: isFact(Kind.authorization),
      differs: (says) => useDiffers(record, says),
    }
  for (const [at, record] of policies.entries())
    yield {
      what: `policy version ${at}`,
      record,
      key: Testimony.policy,
      isKind: isFact(Kind.decision),
      differs: (says) => policyDiffers(record, says),
    }
  for (const [at, record] of neighbours.entries())
    yield {
      what: `neighbour ${at}`,
      record,
      key: Testimony.emitter,
      isKind: isSpanBorn,
      differs: (says, entry) => neighbourDiffers(record, says, entry),
    }
}

const REVOKED_BY: ReadonlySet<string> = new Set(['fingerprint', 'id', 'subject', 'transaction'])

function revocationDiffers({ by, value, issuer, at }: Revocation, says: Said): string | undefined {
  if (!REVOKED_BY.has(by) || !says.text(by, value)) return `another ${by}`
  if (!says.text('issuer', issuer)) return 'another issuer'
  return says.number('at', at) ? undefined : 'another time'
}

function useDiffers({ by, value }: Use, says: Said): string | undefined {
  return says.text(by, value) ? undefined : `another ${by}`
}

function policyDiffers(statement: PolicyVersion, says: Said): string | undefined {
  for (const name of ['engine', 'policy', 'version', 'digest', 'service'] as const)
    if (!says.text(name, statement[name])) return `another ${name}`
  return says.number('at', statement.since) ? undefined : 'another time'
}

function neighbourDiffers(statement: Neighbour, says: Said, { spanId }: Entry): string | undefined {
  if (!says.text('id', statement.emitter)) return 'another emitter'
  if (!says.number('seq', statement.seq)) return 'another number'
  if (!says.text('prev', statement.prev)) return 'another link'
  return equalBytes(spanId, statement.spanId) ? undefined : 'another span'
}

/** The members of a testimony. Texts are compared as a context can hold them, which is as well-formed Unicode. */
class Said {
  readonly #members: ReadonlyMap<string, AnyValue>

  constructor(value: AnyValue) {
    this.#members = new Map(value.type === 'kvlist' ? value.value.map((one) => [one.key, one.value]) : [])
  }

  text(name: string, wanted: string): boolean {
    const value = this.#members.get(name)
    return value?.type === 'string' && value.value.toWellFormed() === wanted
  }

  number(name: string, wanted: bigint): boolean {
    const value = this.#members.get(name)
    return value?.type === 'int' && value.value === BigInt.asIntN(64, wanted)
  }
}

interface Part {
  readonly number: number
  readonly index: number
  readonly leaf: Uint8Array
  readonly entry: Entry
  readonly payload: Uint8Array
}

/** What a record shows of its claims: the one testimony. */
interface Shown {
  readonly key: string
  readonly says: Said
}

/**
 * Checks the member `context` of a bundle against the contexts of its segments. `prove` checks that the entry of a part,
 * which has this leaf hash, is in the log. Throws a VerificationError that names the statement; a part that nothing
 * names is refused, too, so that they are no more than there are statements, and their seals.
 */
export function checkContext(
  bundled: readonly BundleSegment[],
  contexts: readonly SegmentContext[],
  tenant: string,
  erasures: readonly Erasure[],
  prove: (part: BundleSegment, leaf: Uint8Array, where: string) => void,
): CheckedContext {
  const statements = contexts.flatMap(({ segment, first, context }) =>
    [...namingStatements(context)].map((one) => ({
      ...one,
      first,
      where: `segment ${segment}, ${one.what}`,
    })),
  )
  const namedAt = new Map<string, string>()
  const brought = new Set(bundled.map(({ entries }) => formatHex(leafHash(entries[0] ?? NO_BYTES))))
  for (const { record, where } of statements) {
    if (!brought.has(formatHex(record.leaf)))
      throw new VerificationError('malformed', where, 'the bundle does not bring the record that it names')
    if (!namedAt.has(formatHex(record.leaf))) namedAt.set(formatHex(record.leaf), where)
  }
  const parts = readParts(bundled, namedAt, prove)
  const accounts = new Erasures(parts.values(), erasures)
  const isUsed = new Set<number>()
  const shown = new Map<number, Shown>()
  const witnesses = new Map<number, Witness>()
  let proven = 0
  let erased = 0
  for (const { record, where, first, key, differs, isKind } of statements) {
    const fail = (code: VerificationCode, reason: string) => new VerificationError(code, where, reason)
    const part = parts.get(formatHex(record.leaf))!
    isUsed.add(part.number)
    const { entry, index, leaf, payload } = part
    if (entry.tenant !== tenant || !equalBytes(entry.traceId, record.traceId))
      throw fail('context', 'its record is of another execution')
    if (index >= first) throw fail('context', 'its record came after the segment was judged')
    if (!isKind(entry)) throw fail('context', 'its record is of another kind')
    const witness = { index, leaf, traceId: record.traceId }
    if (payload.length === 0) {
      const gone = accounts.of(part, key)
      if (gone === undefined)
        throw fail('erasure', 'its record shows nothing, and no erased record of the log accounts for it')
      isUsed.add(gone.seal.number)
      witnesses.set(index, { ...witness, erased: { by: gone.erasure.index, seal: gone.seal.leaf } })
      erased++
      continue
    }
    const known = shown.get(index) ?? showOf(part, where)
    shown.set(index, known)
    const what = known.key === key ? differs(known.says, entry) : 'nothing of that sort'
    if (what !== undefined) throw fail('context', `its record says ${what}`)
    witnesses.set(index, witness)
    proven++
  }
  for (const { number } of parts.values())
    if (!isUsed.has(number))
      throw new VerificationError('malformed', `context ${number}`, 'no statement names it')
  return {
    proven,
    erased,
    unproven: contexts.reduce((sum, { context }) => sum + context.gaps.length + context.skews.length, 0),
    witnesses: [...witnesses.values()].sort((a, b) => a.index - b.index),
  }
}

/** The parts by the leaf hash of their entry. */
function readParts(
  bundled: readonly BundleSegment[],
  namedAt: ReadonlyMap<string, string>,
  prove: (part: BundleSegment, leaf: Uint8Array, where: string) => void,
): Map<string, Part> {
  const parts = new Map<string, Part>()
  let end = 0
  for (const [number, bundle] of bundled.entries()) {
    const { first, entries, payload } = bundle
    const place = `context ${number}`
    if (entries.length !== 1 || first < end)
      throw new VerificationError('malformed', place, 'it is not one record, after the one before it')
    end = first + 1
    const leaf = new Uint8Array(leafHash(entries[0]!))
    const named = namedAt.get(formatHex(leaf))
    const where = named ?? place
    if (parts.has(formatHex(leaf)))
      throw new VerificationError('malformed', where, 'its record is there twice')
    if (named === undefined && payload.length > 0)
      throw new VerificationError('malformed', where, 'it shows something, and no statement names it')
    prove(bundle, leaf, where)
    parts.set(formatHex(leaf), {
      number,
      index: first,
      leaf,
      entry: atPlace(where, () => parseEntry(entries[0]!)),
      payload,
    })
  }
  return parts
}

/** The one claim that a record shows. */
function showOf({ entry, payload }: Part, where: string): Shown {
  const run = atPlace(where, () => parseRun(payload))
  const [record] = run
  if (run.length !== 1 || record?.leaf !== 0)
    throw new VerificationError('malformed', where, 'what its record shows is not of one record')
  if (!openClaims(record.claims, entry.claims, new Committer()))
    throw new VerificationError('claims', where, 'the claims of its record do not match the commitment')
  const open = record.claims.filter((claim) => 'key' in claim)
  if (open.length !== 1) throw new VerificationError('malformed', where, 'its record does not show one claim')
  const { key, value } = open[0]!
  return { key: decodeText(key), says: new Said(atPlace(where, () => decodeValue(value))) }
}

/** Finds what accounts for records that show nothing. Linear to make, a search for each record. */
class Erasures {
  /** Seals by their execution, ascending. */
  readonly #seals: Map<string, Part[]>
  readonly #bySeal = new Map<string, Erasure[]>()

  constructor(parts: Iterable<Part>, erasures: readonly Erasure[]) {
    const seals = [...parts].filter(({ entry }) => entry.persistence === Persistence.sealed)
    this.#seals = Map.groupBy(seals, ({ entry }) => executionOf(entry))
    for (const erasure of erasures)
      for (const leaf of erasure.seals) {
        const known = this.#bySeal.get(formatHex(leaf))
        if (known === undefined) this.#bySeal.set(formatHex(leaf), [erasure])
        else known.push(erasure)
      }
  }

  /** The seal of the segment that a record lies in, and an erasure of it that took the claim with this key. */
  of({ index, entry }: Part, key: Testimony): { seal: Part; erasure: Erasure } | undefined {
    const seals = this.#seals.get(executionOf(entry)) ?? []
    const seal = seals[firstAfter(seals, index)]
    if (seal === undefined || index < seal.index - seal.entry.leaves) return undefined
    const erasure = this.#bySeal
      .get(formatHex(seal.leaf))
      ?.find(
        ({ scope, keys, index: at }) =>
          at > seal.index &&
          (scope === 'execution' || sourcesOf(key).some((source) => keys.includes(source))),
      )
    return erasure === undefined ? undefined : { seal, erasure }
  }
}

function executionOf({ tenant, traceId }: Entry): string {
  return `${formatHex(traceId)} ${tenant}`
}

/** Place of the first part that lies after a leaf. */
function firstAfter(parts: readonly Part[], index: number): number {
  let low = 0
  let high = parts.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (parts[middle]!.index <= index) low = middle + 1
    else high = middle
  }
  return low
}
