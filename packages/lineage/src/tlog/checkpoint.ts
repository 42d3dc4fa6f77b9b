/** Checkpoints (c2sp.org/tlog-checkpoint): what a log signs about its tree. */
import { equalBytes, formatBase64, parseBase64, parseDecimal, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { ED25519 } from './key.ts'
import { EMPTY_ROOT } from './merkle.ts'
import { type NoteSignature, openNote, parseNote, signedBy } from './note.ts'
import type { Policy } from './policy.ts'
import { HASH_SIZE } from './tile.ts'

/** How long an origin may be, in bytes of UTF-8: what other readers of checkpoints accept. */
const MAX_ORIGIN_SIZE = 255

/** A log's name, and the size and root of its tree. */
export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
  /** Lines after the root; empty in our own logs. */
  readonly extensions: readonly string[]
}

/** A checkpoint signed by its log. */
export interface OpenCheckpoint {
  readonly checkpoint: Checkpoint
  /** The log's signatures, all checked. */
  readonly signatures: readonly NoteSignature[]
  /** Signatures by keys that the policy does not have for this log, not checked. */
  readonly unverified: readonly NoteSignature[]
}

/** The text of the note that is a checkpoint. Throws a plain error on what {@link parseCheckpoint} refuses. */
export function formatCheckpoint(checkpoint: Checkpoint): string {
  const { origin, size, root, extensions } = checkpoint
  const problem = findProblem(checkpoint)
  if (problem !== undefined) throw new Error(`bad checkpoint: ${problem}`)
  return [origin, String(size), formatBase64(root), ...extensions].map((line) => `${line}\n`).join('')
}

/** Parses the text of a checkpoint, without signatures; throws a {@link MalformedError}. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n')
  if (lines.pop() !== '') throw new MalformedError('a checkpoint does not end in a newline')
  const [origin, size, root, ...extensions] = lines
  if (origin === undefined || size === undefined || root === undefined)
    throw new MalformedError('a checkpoint has fewer than three lines')
  const checkpoint: Checkpoint = {
    origin,
    size: parseDecimal(size, 'the size in a checkpoint'),
    root: parseBase64(root, 'the root in a checkpoint', HASH_SIZE),
    extensions,
  }
  const problem = findProblem(checkpoint)
  if (problem !== undefined) throw new MalformedError(`in a checkpoint, ${problem}`)
  return checkpoint
}

/**
 * Opens a signed checkpoint under a policy: at least one key of its log signed it, and no signature by a key
 * of its log is wrong. A log's keys are those whose name is the checkpoint's origin.
 *
 * Throws a {@link MalformedError}, or a {@link VerificationError}: `untrusted` (no key of the policy signed
 * it), `signature` (one did, wrongly), `unsupported` (could not check: only a key of a type that is not
 * implemented signed it, or the policy demands witnesses).
 */
export function openCheckpoint(bytes: Uint8Array, policy: Policy, where = 'checkpoint'): OpenCheckpoint {
  const note = parseNote(bytes)
  const checkpoint = parseCheckpoint(note.text)
  const keys = policy.logs.map((log) => log.key).filter((key) => key.name === checkpoint.origin)
  const usable = keys.filter((key) => key.type === ED25519)
  const others = keys.filter((key) => key.type !== ED25519)
  const signed = (signature: NoteSignature) => usable.some((key) => signedBy(signature, key))
  const signedOtherwise = (signature: NoteSignature) => others.some((key) => signedBy(signature, key))
  if (!note.signatures.some(signed) && note.signatures.some(signedOtherwise))
    throw new VerificationError('unsupported', where, 'could not check: its log signed it with ML-DSA only')
  const { signatures, unverified } = openNote(bytes, usable, where)
  if (policy.quorum !== undefined)
    throw new VerificationError(
      'unsupported',
      where,
      'could not check: witness cosignatures are not supported yet',
    )
  return { checkpoint, signatures, unverified }
}

function findProblem({ origin, size, root, extensions }: Checkpoint): string | undefined {
  const originSize = utf8(origin).length
  if (originSize < 1 || originSize > MAX_ORIGIN_SIZE)
    return `the origin is not 1 to ${MAX_ORIGIN_SIZE} bytes long`
  if (!Number.isSafeInteger(size) || size < 0) return 'the size is not a safe integer'
  if (root.length !== HASH_SIZE) return 'the root is not 32 bytes long'
  if (size === 0 && !equalBytes(root, EMPTY_ROOT)) return 'the empty tree has another root'
  if (extensions.some((line) => line === '')) return 'an extension line is empty'
  for (const line of [origin, ...extensions]) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
    if (/[\u0000-\u001f]/.test(line) || !line.isWellFormed())
      return 'a line has a character that notes refuse'
  }
  return undefined
}
