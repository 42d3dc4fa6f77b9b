/**
 * The three ranks of failure of the core.
 *
 * - A bug of ours throws a plain `Error('bad ...')` and is meant to crash the batch.
 * - Malformed input throws a {@link MalformedError}: somebody sent bytes that are not what they claim.
 * - Evidence that does not hold throws a {@link VerificationError} with a closed code.
 */

/** Input that does not follow its grammar or breaks a limit. The message is fixed; `detail` varies. */
export class MalformedError extends Error {
  override readonly name = 'MalformedError'
  readonly detail: string | undefined

  constructor(message: string, detail?: string, options?: ErrorOptions) {
    super(detail === undefined ? message : `${message}: ${detail}`, options)
    this.detail = detail
  }
}

/** What failed in a verification. The set is closed: tools may switch over it. */
export type VerificationCode =
  | 'malformed' // a part of the evidence does not parse
  | 'unsupported' // a newer format version: could not check, which is not the same as bad
  | 'untrusted' // no signature by a key of the policy
  | 'signature' // a signature by a key of the policy that does not verify
  | 'inclusion' // entries are not under the checkpoint's root
  | 'consistency' // two checkpoints of one log that are not prefixes of each other
  | 'tile' // a tile or an entry bundle disagrees with the tree
  | 'link' // a record names a parent or cause that does not hold
  | 'order' // records are not in the one order their spans allow
  | 'seal' // a seal does not close what lies before it
  | 'evidence' // payload bytes do not match their commitment
  | 'claims' // disclosed claims do not match their commitment
  | 'erasure' // something is missing that no erased record accounts for, or an erased record is none
  | 'record' // a record is not what its payload derives to
  | 'context' // a statement of the context is not what the record that it names says
  | 'verdict' // the recorded verdict is not the recomputed one

/** Evidence that does not hold. `where` names the part, e.g. `segment 0, leaf 17, evidence`. */
export class VerificationError extends Error {
  override readonly name = 'VerificationError'
  readonly code: VerificationCode
  readonly where: string
  /** The message without `where`. */
  readonly reason: string

  constructor(code: VerificationCode, where: string, reason: string, options?: ErrorOptions) {
    super(`${where}: ${reason}`, options)
    this.code = code
    this.where = where
    this.reason = reason
  }
}

/** Runs a step; a parser's complaint becomes a verification error that says where. */
export function atPlace<T>(where: string, step: () => T): T {
  try {
    return step()
  } catch (error) {
    if (error instanceof MalformedError)
      throw new VerificationError('malformed', where, error.message, { cause: error })
    if (error instanceof VerificationError && !error.where.startsWith(where))
      throw new VerificationError(error.code, `${where}, ${error.where}`, error.reason, { cause: error })
    throw error
  }
}
