/**
 * Openings: claims that are shown one by one, with salts of their own, and the commitments to those that are not
 * (docs/formats/payload.md, "Opened payload"). Runs of records about the log hold them, too.
 */
import { compareBytes, equalBytes } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { BYTES, WireReader } from '../wire.ts'
import { type Committer, SALT_SIZE } from './commitment.ts'
import { NO_BYTES } from './entry.ts'
import { count, sized, sizedField, writeNumber } from './payload.ts'
import { Sink } from './sink.ts'

const MAX_KEY = 0xffff

/** A claim that is shown: `value` is encoded (otlp/value.ts); or one that is not, of which there is the commitment. */
export type Opening =
  | { readonly salt: Uint8Array; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly commitment: Uint8Array }

/** What is shown of the claims of one record, ascending by commitment. */
export interface RecordOpenings {
  /** Place of the record: in its segment, or in its run. */
  readonly leaf: number
  readonly claims: readonly Opening[]
}

function commitmentOf(opening: Opening, committer: Committer): Uint8Array {
  return 'commitment' in opening
    ? opening.commitment
    : committer.saltedClaim(opening.salt, opening.key, opening.value)
}

/** The openings of one record in their order. */
export function sortOpenings(claims: readonly Opening[], committer: Committer): Opening[] {
  return claims
    .map((claim) => ({ claim, commitment: commitmentOf(claim, committer) }))
    .sort((a, b) => compareBytes(a.commitment, b.commitment))
    .map(({ claim }) => claim)
}

/** Whether these are the openings of a record with this commitment to its claims: all of them, distinct, in order. */
export function openClaims(claims: readonly Opening[], committed: Uint8Array, committer: Committer): boolean {
  const commitments = claims.map((claim) => commitmentOf(claim, committer))
  for (let at = 1; at < commitments.length; at++)
    if (compareBytes(commitments[at - 1]!, commitments[at]!) >= 0) return false
  return commitments.length > 0 && equalBytes(committer.claims(commitments), committed)
}

/** Appends field `tag` of a message: one record with its openings. */
export function writeRecordOpenings(sink: Sink, tag: number, { leaf, claims }: RecordOpenings): void {
  const one = new Sink(256)
  writeNumber(one, 0x08, leaf)
  for (const claim of claims) {
    one.byte(0x12)
    if ('commitment' in claim) {
      one.varint(sizedField(claim.commitment.length))
      one.field(0x22, claim.commitment)
    } else {
      one.varint(
        sizedField(claim.salt.length) + sizedField(claim.key.length) + sizedField(claim.value.length),
      )
      one.field(0x0a, claim.salt)
      one.field(0x12, claim.key)
      one.field(0x1a, claim.value)
    }
  }
  sink.field(tag, one.view())
}

/** Reads the field that the reader is at; canonical form is checked by whoever encodes the whole again. */
export function parseRecordOpenings(outer: WireReader): RecordOpenings {
  outer.expect(BYTES, 'a record')
  const reader = new WireReader(outer.bytes, outer.start, outer.end)
  let leaf = 0
  const claims: Opening[] = []
  while (reader.next()) {
    if (reader.field === 1) leaf = count(reader, "a record's leaf")
    else if (reader.field === 2) claims.push(parseOpening(reader))
    else throw new MalformedError('a record has an unknown field')
  }
  if (claims.length === 0) throw new MalformedError('a record is listed without a claim')
  return { leaf, claims }
}

function parseOpening(outer: WireReader): Opening {
  outer.expect(BYTES, 'an opening')
  const reader = new WireReader(outer.bytes, outer.start, outer.end)
  let salt = NO_BYTES as Uint8Array
  let key: Uint8Array | undefined
  let value: Uint8Array | undefined
  let commitment = NO_BYTES as Uint8Array
  while (reader.next()) {
    reader.expect(BYTES, "an opening's field")
    if (reader.field === 1) salt = sized(reader, SALT_SIZE, 'a salt')
    else if (reader.field === 2) key = reader.value()
    else if (reader.field === 3) value = reader.value()
    else if (reader.field === 4) commitment = sized(reader, 32, 'a commitment')
    else throw new MalformedError('an opening has an unknown field')
  }
  if (commitment.length > 0) {
    if (salt.length > 0 || key !== undefined || value !== undefined)
      throw new MalformedError('an opening is of a claim that is shown and not shown')
    return { commitment }
  }
  if (salt.length === 0 || key === undefined || value === undefined)
    throw new MalformedError('an opening lacks a salt, a key or a value')
  if (key.length > MAX_KEY) throw new MalformedError('a key is over 65,535 bytes')
  return { salt, key, value }
}

/** A run: the claims of records about the log that one commit adds, by their places in it. */
export function encodeRun(records: readonly RecordOpenings[]): Uint8Array {
  const sink = new Sink(1024)
  for (const record of records) writeRecordOpenings(sink, 0x0a, record)
  return sink.copy()
}

/** Parses a run; throws a MalformedError for anything but the one encoding of its contents. */
export function parseRun(bytes: Uint8Array): RecordOpenings[] {
  const records: RecordOpenings[] = []
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (reader.field !== 1) throw new MalformedError('a run has an unknown field')
    const record = parseRecordOpenings(reader)
    if (record.leaf <= (records.at(-1)?.leaf ?? -1))
      throw new MalformedError('the records of a run do not ascend')
    records.push(record)
  }
  if (!equalBytes(encodeRun(records), bytes)) throw new MalformedError('a run is not in canonical form')
  return records
}
