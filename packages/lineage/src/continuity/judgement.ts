/**
 * The judgement of an execution: what each rule came to, and the findings (docs/formats/judgement.md). The payload holds
 * its encoding, the seal its digest, and a verifier makes it again and compares.
 */
import { sha256 } from '#crypto'
import { concatBytes, equalBytes, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { NO_BYTES } from '../record/entry.ts'
import { BYTES, VARINT, WireReader, WireWriter } from '../wire.ts'
import { SEVERITIES, type Severity } from './rule.ts'

export const RESULTS = ['pass', 'fail', 'unknown'] as const
export type Result = (typeof RESULTS)[number]

export const CONTINUITIES = ['unknown', 'intact', 'broken'] as const
export type Continuity = (typeof CONTINUITIES)[number]

/** Different things that a rule may say are missing. */
export const MAX_MISSING = 16

export interface RuleResult {
  /** `GC-A01` */
  readonly rule: string
  readonly result: Result
  /** Where it is unknown, or failed and is also unknown: what would have to be known, ascending. */
  readonly missing: readonly string[]
}

export interface Finding {
  readonly rule: string
  readonly severity: Severity
  readonly detail: string
  /** Leaf hashes of the records that it is about, 32 bytes each; at least one. */
  readonly subjects: readonly Uint8Array[]
}

export interface Judgement {
  /** Of the rules that had something to look at, by their ids ascending. */
  readonly results: readonly RuleResult[]
  readonly findings: readonly Finding[]
  /** {@link encodeResults} of these results, where whoever made them has that. Not to be changed. */
  readonly told?: Uint8Array | undefined
}

/** No rule had anything to look at: no service of the execution says what governs it. */
export const NOT_JUDGED: Judgement = { results: [], findings: [], told: NO_BYTES }

/**
 * `broken` with a finding over low; else `unknown` where a rule is or nothing was judged; else `intact`. Findings that
 * are low are notes.
 */
export function continuityOf({ results, findings }: Judgement): Continuity {
  if (findings.some(({ severity }) => severity !== 'low')) return 'broken'
  if (
    results.length === 0 ||
    results.some(({ result, missing }) => result === 'unknown' || missing.length > 0)
  )
    return 'unknown'
  return 'intact'
}

/** Empty for {@link NOT_JUDGED}. */
export function encodeJudgement({ results, findings, told = encodeResults(results) }: Judgement): Uint8Array {
  if (findings.length === 0) return told
  const out = new WireWriter().raw(told)
  for (const { rule, severity, detail, subjects } of findings) {
    const one = new WireWriter()
      .string(1, rule)
      .varint(2, SEVERITIES.indexOf(severity) + 1)
      .string(3, detail)
    for (const leaf of subjects) one.bytes(4, leaf)
    out.bytes(2, one.finish())
  }
  return out.finish()
}

export function encodeResults(results: readonly RuleResult[]): Uint8Array {
  const out = new WireWriter()
  for (const { rule, result, missing } of results) {
    const one = new WireWriter().string(1, rule).varint(2, RESULTS.indexOf(result) + 1)
    for (const text of missing) one.string(3, text)
    out.bytes(1, one.finish())
  }
  return out.finish()
}

/** Throws a MalformedError for anything but the encoding of a judgement. */
export function parseJudgement(bytes: Uint8Array): Judgement {
  const results: RuleResult[] = []
  const findings: Finding[] = []
  const reader = new WireReader(bytes)
  while (reader.next()) {
    reader.expect(BYTES, 'a part of a judgement')
    if (reader.field === 1) results.push(parseResult(new WireReader(bytes, reader.start, reader.end)))
    else if (reader.field === 2) findings.push(parseFinding(new WireReader(bytes, reader.start, reader.end)))
    else throw new MalformedError('a judgement has an unknown field')
  }
  const judgement = { results, findings }
  if (
    !ascends(results, (a, b) => a.rule < b.rule) ||
    !ascends(findings, (a, b) => a.rule <= b.rule) ||
    results.some(({ missing }) => missing.length > MAX_MISSING || !ascends(missing, (a, b) => a < b))
  )
    throw new MalformedError('a judgement is out of order')
  if (!equalBytes(encodeJudgement(judgement), bytes))
    throw new MalformedError('a judgement is not in canonical form')
  return judgement
}

function ascends<T>(values: readonly T[], follows: (a: T, b: T) => boolean): boolean {
  return values.every((value, at) => at === 0 || follows(values[at - 1]!, value))
}

function parseResult(reader: WireReader): RuleResult {
  let rule = ''
  let result: Result | undefined
  const missing: string[] = []
  while (reader.next()) {
    if (reader.field === 1) rule = textOf(reader)
    else if (reader.field === 2) result = RESULTS[numberOf(reader) - 1]
    else if (reader.field === 3) missing.push(textOf(reader))
    else throw new MalformedError('a result has an unknown field')
  }
  if (result === undefined) throw new MalformedError('a result is none that is known')
  return { rule, result, missing }
}

function parseFinding(reader: WireReader): Finding {
  let rule = ''
  let severity: Severity | undefined
  let detail = ''
  const subjects: Uint8Array[] = []
  while (reader.next()) {
    if (reader.field === 1) rule = textOf(reader)
    else if (reader.field === 2) severity = SEVERITIES[numberOf(reader) - 1]
    else if (reader.field === 3) detail = textOf(reader)
    else if (reader.field === 4 && reader.end - reader.start === 32) {
      reader.expect(BYTES, 'a leaf hash')
      subjects.push(reader.value().slice())
    } else throw new MalformedError('a finding has an unknown field')
  }
  if (severity === undefined || subjects.length === 0) throw new MalformedError('a finding is incomplete')
  return { rule, severity, detail, subjects }
}

function textOf(reader: WireReader): string {
  reader.expect(BYTES, 'a text')
  return parseUtf8(reader.value(), 'a text')
}

function numberOf(reader: WireReader): number {
  reader.expect(VARINT, 'a number')
  return reader.safe('a number')
}

const TAG = utf8('rootspan/judgement/v0\n')

/** SHA-256(tag, judgement): what the seal holds of it. */
export function judgementDigest(judgement: Uint8Array): Uint8Array {
  return sha256(concatBytes(TAG, judgement))
}
