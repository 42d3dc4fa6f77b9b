/** Proofs of one leaf's inclusion as a file of their own, `.tlog-proof` (c2sp.org/tlog-proof). */
import {
  concatBytes,
  equalBytes,
  formatBase64,
  parseBase64,
  parseDecimal,
  parseUtf8,
  utf8,
} from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { type OpenCheckpoint, openCheckpoint } from './checkpoint.ts'
import { MAX_NOTE_SIZE } from './note.ts'
import type { Policy } from './policy.ts'
import { verifyInclusion } from './proof.ts'
import { HASH_SIZE } from './tile.ts'

/** The first line of a proof. */
const TLOG_PROOF_HEADER = 'c2sp.org/tlog-proof@v1'

/** How long an audit path may be. Sizes of 64 bits have paths of at most 63 or 64 hashes. */
const MAX_PATH_LENGTH = 63

/** How long `extra` may be, in bytes: readers that go by lines stop at 64 KiB of base64. */
const MAX_EXTRA_SIZE = 48_000

/** A proof that some leaf is in a log. The leaf itself is not in it. */
export interface TlogProof {
  readonly index: number
  /** The audit path, the leaf's sibling first. */
  readonly path: readonly Uint8Array[]
  /** Opaque, and covered by nothing. */
  readonly extra: Uint8Array | undefined
  /** The checkpoint as its log and others signed it, byte for byte. */
  readonly checkpoint: Uint8Array
}

/** The bytes of a proof. Throws a plain error on what {@link parseTlogProof} refuses. */
export function formatTlogProof({ index, path, extra, checkpoint }: TlogProof): Uint8Array {
  if (!Number.isSafeInteger(index) || index < 0) throw new Error(`bad leaf index ${index}`)
  if (path.length > MAX_PATH_LENGTH || path.some((hash) => hash.length !== HASH_SIZE))
    throw new Error('bad audit path')
  if (extra !== undefined && (extra.length === 0 || extra.length > MAX_EXTRA_SIZE))
    throw new Error('bad extra data')
  const lines = [
    TLOG_PROOF_HEADER,
    ...(extra === undefined ? [] : [`extra ${formatBase64(extra)}`]),
    `index ${index}`,
    ...path.map((hash) => formatBase64(hash)),
    '',
  ]
  return concatBytes(utf8(lines.map((line) => `${line}\n`).join('')), checkpoint)
}

/** Parses a proof, its checkpoint left unopened; throws a {@link MalformedError}. */
export function parseTlogProof(bytes: Uint8Array): TlogProof {
  // The most that the lines before the checkpoint can take, rounded up.
  if (bytes.length > MAX_NOTE_SIZE + 2 * MAX_EXTRA_SIZE) throw new MalformedError('a proof is too long')
  const text = parseUtf8(bytes, 'a proof')
  const blank = text.indexOf('\n\n')
  if (blank < 0) throw new MalformedError('a proof has no blank line before its checkpoint')
  const lines = text.slice(0, blank).split('\n')
  if (lines.shift() !== TLOG_PROOF_HEADER)
    throw new MalformedError(`a proof does not begin with ${TLOG_PROOF_HEADER}`)
  const extra = lines[0]?.startsWith('extra ')
    ? parseBase64(lines.shift()!.slice(6), 'the extra data')
    : undefined
  if (extra !== undefined && (extra.length === 0 || extra.length > MAX_EXTRA_SIZE))
    throw new MalformedError(`the extra data is not 1 to ${MAX_EXTRA_SIZE} bytes long`)
  const index = lines.shift()
  if (!index?.startsWith('index ')) throw new MalformedError('a proof has no leaf index')
  if (lines.length > MAX_PATH_LENGTH) throw new MalformedError(`a proof has over ${MAX_PATH_LENGTH} hashes`)
  const proof: TlogProof = {
    index: parseDecimal(index.slice(6), 'a leaf index'),
    path: lines.map((line) => parseBase64(line, 'a hash in a proof', HASH_SIZE)),
    extra,
    checkpoint: utf8(text.slice(blank + 2)),
  }
  if (!equalBytes(formatTlogProof(proof), bytes))
    throw new MalformedError('a proof is not in its canonical form')
  return proof
}

/**
 * Checks that `leafHash` is in a log of the policy, and gives the checkpoint that it is under.
 *
 * Throws what {@link openCheckpoint} throws, and a {@link VerificationError} with `inclusion`.
 */
export function verifyTlogProof(
  proof: TlogProof,
  leafHash: Uint8Array,
  policy: Policy,
  where = 'checkpoint',
): OpenCheckpoint {
  const open = openCheckpoint(proof.checkpoint, policy, where)
  verifyInclusion(leafHash, proof.index, open.checkpoint.size, proof.path, open.checkpoint.root)
  return open
}
