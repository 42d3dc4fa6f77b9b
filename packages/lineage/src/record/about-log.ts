/**
 * Records about the log: what was erased, and what is held (docs/formats/record.md, "Records about the log").
 * They stand between segments, have no trace id, and their claims have random salts.
 */
import { utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { Claim } from '../governance/attributes.ts'
import { Kind } from '../governance/kind.ts'
import type { AnyValue } from '../otlp/decode.ts'
import { decodeValue } from '../otlp/encoded-value.ts'
import { decodeText } from '../otlp/text.ts'
import { encodeValue } from '../otlp/value.ts'
import { Committer, SALT_SIZE } from './commitment.ts'
import { type Entry, emptyEntry, encodeEntry, Persistence, Role } from './entry.ts'
import { type Opening, sortOpenings } from './opening.ts'

/** What an erased record says. */
export interface ErasureTerms {
  /** `execution`: all of each segment; `attributes`: the spans that had one of `keys`, and the claims with them. */
  readonly scope: 'execution' | 'attributes'
  /** Kinds of what was asked for, never a value. */
  readonly selector: readonly Selector[]
  readonly keys: readonly string[]
  /**
   * For each seal that the record names: how many spans and claims are gone that were there before. Keys, and the
   * numbers of claims, come with scope `attributes` only.
   */
  readonly spans: readonly number[]
  readonly claims: readonly number[]
  readonly reason: string
  readonly by: string
  /** Nanoseconds since 1970. */
  readonly at: bigint
}

export const SELECTORS = ['trace', 'subject', 'attribute', 'service', 'age', 'retention'] as const
export type Selector = (typeof SELECTORS)[number]

/** What a held record says. */
export interface HoldTerms {
  readonly state: 'held' | 'released'
  readonly selector: 'trace' | 'subject'
  readonly reason: string
  readonly by: string
  /** Nanoseconds since 1970. */
  readonly at: bigint
}

/** A record about the log, and what opens its claims. */
export interface LogRecord {
  readonly entry: Uint8Array
  readonly claims: readonly Opening[]
}

/** `seals` are leaf hashes, at most 32; `random` gives bytes that nobody can guess. */
export function erasedRecord(
  tenant: string,
  seals: readonly Uint8Array[],
  terms: ErasureTerms,
  random: (size: number) => Uint8Array,
): LogRecord {
  const claims: (readonly [string, AnyValue])[] = [
    [Claim.erasureScope, text(terms.scope)],
    [Claim.erasureSelector, list(terms.selector.map(text))],
    [Claim.erasureSpans, list(terms.spans.map(int))],
    ...(terms.scope === 'execution'
      ? []
      : ([
          [Claim.erasureKeys, list(terms.keys.map(text))],
          [Claim.erasureClaims, list(terms.claims.map(int))],
        ] as const)),
    [Claim.erasureReason, text(terms.reason)],
    [Claim.erasureBy, text(terms.by)],
    [Claim.erasureAt, { type: 'int', value: terms.at }],
  ]
  return logRecord(tenant, Persistence.erased, seals, claims, random)
}

/** `subjects` are the seals of what is held, or the record that began a hold that ends: at most 32. */
export function heldRecord(
  tenant: string,
  subjects: readonly Uint8Array[],
  terms: HoldTerms,
  random: (size: number) => Uint8Array,
): LogRecord {
  return logRecord(
    tenant,
    Persistence.held,
    subjects,
    [
      [Claim.holdState, text(terms.state)],
      [Claim.holdSelector, text(terms.selector)],
      [Claim.holdReason, text(terms.reason)],
      [Claim.holdBy, text(terms.by)],
      [Claim.holdAt, { type: 'int', value: terms.at }],
    ],
    random,
  )
}

function logRecord(
  tenant: string,
  persistence: Persistence,
  subjects: readonly Uint8Array[],
  claims: readonly (readonly [string, AnyValue])[],
  random: (size: number) => Uint8Array,
): LogRecord {
  const committer = new Committer()
  const openings = claims.map(([key, value]) => ({
    salt: random(SALT_SIZE),
    key: utf8(key),
    value: encodeValue(value),
  }))
  const entry = emptyEntry(Kind.persistence)
  entry.tenant = tenant
  entry.persistence = persistence
  entry.causes = subjects.map((leaf) => ({ role: Role.subject, leaf, origin: '' }))
  entry.claims = committer.claims(openings.map((one) => committer.saltedClaim(one.salt, one.key, one.value)))
  return { entry: encodeEntry(entry), claims: sortOpenings(openings, committer) }
}

/** What the shown claims of an erased record say; throws a MalformedError where that is not of this form. */
export function readErasure(entry: Entry, claims: readonly Opening[]): ErasureTerms {
  const values = valuesOf(claims)
  const scope = oneOf(values, Claim.erasureScope, ['execution', 'attributes'] as const)
  const terms: ErasureTerms = {
    scope,
    selector: strings(values, Claim.erasureSelector).map((one) => {
      const selector = SELECTORS.find((known) => known === one)
      if (selector === undefined) throw bad(Claim.erasureSelector)
      return selector
    }),
    keys: scope === 'attributes' ? strings(values, Claim.erasureKeys) : [],
    spans: counts(values, Claim.erasureSpans, entry.causes.length),
    claims: scope === 'attributes' ? counts(values, Claim.erasureClaims, entry.causes.length) : [],
    reason: string(values, Claim.erasureReason),
    by: string(values, Claim.erasureBy),
    at: time(values, Claim.erasureAt),
  }
  if (values.size > 0) throw new MalformedError('an erased record has another claim')
  return terms
}

function valuesOf(claims: readonly Opening[]): Map<string, AnyValue> {
  const values = new Map<string, AnyValue>()
  for (const claim of claims) {
    if ('commitment' in claim) throw new MalformedError('a claim of an erased record is not shown')
    const key = decodeText(claim.key)
    if (values.has(key)) throw bad(key)
    values.set(key, decodeValue(claim.value))
  }
  return values
}

/** Takes a value out, so that what is left over shows. */
function take(values: Map<string, AnyValue>, key: string): AnyValue {
  const value = values.get(key)
  if (value === undefined) throw bad(key)
  values.delete(key)
  return value
}

function string(values: Map<string, AnyValue>, key: string): string {
  const value = take(values, key)
  if (value.type !== 'string') throw bad(key)
  return value.value
}

function oneOf<T extends string>(values: Map<string, AnyValue>, key: string, known: readonly T[]): T {
  const text = string(values, key)
  const found = known.find((one) => one === text)
  if (found === undefined) throw bad(key)
  return found
}

function strings(values: Map<string, AnyValue>, key: string): string[] {
  const value = take(values, key)
  if (value.type !== 'array') throw bad(key)
  return value.value.map((item) => {
    if (item.type !== 'string') throw bad(key)
    return item.value
  })
}

function counts(values: Map<string, AnyValue>, key: string, length: number): number[] {
  const value = take(values, key)
  if (value.type !== 'array' || value.value.length !== length) throw bad(key)
  return value.value.map((item) => {
    if (item.type !== 'int' || item.value < 0n || item.value > 0xffff_ffffn) throw bad(key)
    return Number(item.value)
  })
}

function time(values: Map<string, AnyValue>, key: string): bigint {
  const value = take(values, key)
  if (value.type !== 'int') throw bad(key)
  return value.value
}

function bad(key: string): MalformedError {
  return new MalformedError('a claim of an erased record is missing or not of its form', key)
}

function text(value: string): AnyValue {
  return { type: 'string', value }
}

function int(value: number): AnyValue {
  return { type: 'int', value: BigInt(value) }
}

function list(value: readonly AnyValue[]): AnyValue {
  return { type: 'array', value }
}
