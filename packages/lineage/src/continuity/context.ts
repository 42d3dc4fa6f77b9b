/**
 * The context: what contextual rules know of other executions. The collector gathers it, the payload holds it, the seal
 * has its digest, and whoever verifies judges with it again. Every statement names the record that it was read from; what
 * is absent from a context was not checked.
 */
import { sha256 } from '#crypto'
import { concatBytes, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import type { Subject } from './rule.ts'

/** A statement with the record that it was read from. */
interface FromRecord extends Subject {
  /** Index of the record in the log. */
  readonly index: number
}

/** An artifact, session or subject was revoked. */
export interface Revocation extends FromRecord {
  /** What `value` is. */
  readonly by: 'id' | 'fingerprint' | 'subject' | 'transaction'
  readonly issuer: string | undefined
  readonly value: string
  /** Since when: nanoseconds since 1970. */
  readonly at: bigint
}

/** A one-time artifact was used in another execution. */
export interface Use extends FromRecord {
  readonly by: 'id' | 'transaction' | 'approval'
  readonly value: string
  readonly traceId: Uint8Array
  readonly actionDigest: string | undefined
}

/** A version of a policy as the log has seen it before. */
export interface PolicyVersion extends FromRecord {
  readonly engine: string
  readonly policy: string
  readonly version: string | undefined
  readonly digest: string | undefined
  /** When a decision by it was seen first and last: nanoseconds since 1970. */
  readonly since: bigint
  readonly until: bigint
}

/** What is known of an emitter besides the spans of this execution. */
export interface EmitterState extends FromRecord {
  readonly id: string
  /** The record is of the span with this number, whose link is `link` (64 hex digits). */
  readonly seq: bigint
  readonly link: string
  /** Numbers below the highest of this execution that had not come when it was judged, as inclusive ranges. */
  readonly missing: readonly { readonly from: bigint; readonly to: bigint }[]
  /** How many spans the emitter itself says it lost, as of that record. */
  readonly dropped: number
}

/** How far the clock of a peer is off, as learned from its requests. */
export interface Skew extends FromRecord {
  readonly service: string
  /** Nanoseconds to add to the service's times. */
  readonly offset: bigint
  /** And by how much it may differ from that. */
  readonly bound: bigint
}

export interface Context {
  readonly revocations: readonly Revocation[]
  readonly uses: readonly Use[]
  readonly policies: readonly PolicyVersion[]
  readonly emitters: readonly EmitterState[]
  readonly skews: readonly Skew[]
}

export const EMPTY_CONTEXT: Context = { revocations: [], uses: [], policies: [], emitters: [], skews: [] }

/** Empty for a context that says nothing. */
export function encodeContext(_context: Context): Uint8Array {
  return new Uint8Array(0)
}

/** Throws a MalformedError for anything but the encoding of a context. */
export function parseContext(bytes: Uint8Array): Context {
  if (bytes.length > 0) throw new MalformedError('a context is not in canonical form')
  return EMPTY_CONTEXT
}

const TAG = utf8('rootspan/judgement-context/v0\n')

/** SHA-256(tag, context): what the seal holds of it. */
export function contextDigest(context: Uint8Array): Uint8Array {
  return sha256(concatBytes(TAG, context))
}
