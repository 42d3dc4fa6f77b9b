/**
 * The log's signer and its memory.
 *
 * The memory is the newest checkpoint that was signed for an origin, as the signed note itself, in a file outside
 * the data directory. It is what stops a log from forking: a store that was restored from an old copy is behind
 * it, a store that took another turn disagrees with it, and neither gets a signature.
 *
 * One signature, in this order:
 *
 * 1. read the memory from the disk and check it, so that a damaged one, or one that another process advanced, is
 *    noticed before it is relied on;
 * 2. demand a consistency proof from the remembered tree to the offered one, and check it;
 * 3. sign, and replace the memory durably by the signed note;
 * 4. only now hand the signature out.
 *
 * A crash between 3 and 4 leaves a memory that is ahead of what was published, never of what was committed: the
 * store was committed before it asked. The same size and root may be signed again, and since Ed25519 is
 * deterministic that gives the same bytes.
 *
 * BUG: two processes that sign with the same directory in the same millisecond may both pass step 2. LevelDB's lock
 * keeps two collectors off one data directory, not two copies of one data directory off one signer.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { equalBytes, formatBase64 } from '@rootspan/lineage/bytes'
import { MalformedError, VerificationError } from '@rootspan/lineage/errors'
import { type Checkpoint, formatCheckpoint, openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import type { VerifierKey } from '@rootspan/lineage/tlog/key'
import { EMPTY_ROOT } from '@rootspan/lineage/tlog/merkle'
import { signNote } from '@rootspan/lineage/tlog/note'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { verifyConsistency } from '@rootspan/lineage/tlog/proof'
import { writeFileDurably } from './durable.ts'
import type { Files } from './files.ts'
import { OperatorError } from './operator-error.ts'
import { readSmallFile } from './read-file.ts'
import { checkSigningKey, KEY_FILE, readSigningKey, type SigningKey } from './signing-key.ts'

/** Below the signer directory: one file per origin, named by the SHA-256 of the origin in hex. */
export const MEMORY_DIRECTORY = 'memory'

const MAX_MEMORY_BYTES = 16 * 1024

/** Size and root of a tree. */
export interface TreeHead {
  readonly size: number
  readonly root: Uint8Array
}

/** The proof that the tree of `oldSize` leaves is a prefix of that of `newSize`, from the store that asks. */
export type ProveConsistency = (oldSize: number, newSize: number) => Promise<readonly Uint8Array[]>

/**
 * Why the signer refuses a tree. `behind`: it is smaller than one that was signed. `fork`: it is not an extension of
 * one that was signed. The signer stays usable, but nothing that the store offers later can be trusted before
 * an operator has looked: stop.
 */
export type SignerRefusalCode = 'behind' | 'fork'

/** A tree that is not signed. `remembered` was signed before, `offered` was not and must not be. */
export class SignerRefusal extends OperatorError {
  override readonly name = 'SignerRefusal'
  readonly code: SignerRefusalCode
  readonly remembered: TreeHead
  readonly offered: TreeHead

  constructor(
    code: SignerRefusalCode,
    origin: string,
    remembered: TreeHead,
    offered: TreeHead,
    options?: ErrorOptions,
  ) {
    super(...describeRefusal(code, origin, remembered, offered), options)
    this.code = code
    this.remembered = remembered
    this.offered = offered
  }
}

/** Signs the checkpoints of one log. */
export interface CheckpointSigner {
  readonly origin: string
  readonly key: VerifierKey
  /** What was signed last, read from the disk. */
  remembered(): Promise<Checkpoint>
  /**
   * Whether the tree may be signed, without signing it: the question to ask before anything is served or committed.
   * Throws what {@link CheckpointSigner.sign} throws.
   */
  check(head: TreeHead, prove: ProveConsistency): Promise<void>
  /**
   * The signed note of the tree's checkpoint. When it resolves, the memory holds it durably.
   *
   * The tree must be committed already. Throws a {@link SignerRefusal}; an {@link OperatorError} when the memory is
   * damaged or gone; what `prove` and the file layer throw. After an error of the file layer the memory may hold
   * the old note or the new one; asking again is safe. Calls are served one after another.
   */
  sign(head: TreeHead, prove: ProveConsistency): Promise<Uint8Array>
}

/**
 * Opens the signer of a log: key and memory are there, undamaged, and belong to the log. `origin` and `key` (a
 * verifier key as text) are those of `log.json`. Throws an {@link OperatorError} that names the file and says what
 * to do.
 */
export async function openSigner(options: {
  readonly directory: string
  readonly origin: string
  readonly key: string
  readonly files: Files
}): Promise<CheckpointSigner> {
  const { directory, origin, files } = options
  const key = await readSigningKey(files, directory)
  if (key === undefined)
    throw new OperatorError(
      `${join(directory, KEY_FILE)}: there is no private key`,
      `Point signer.directory at the signer that was made with ${origin}.`,
    )
  checkSigningKey(key, options.key, directory)
  const signer = new FileSigner(directory, key, files)
  await signer.remembered()
  return signer
}

/** Where the memory for an origin is. */
export function memoryPath(directory: string, origin: string): string {
  return join(directory, MEMORY_DIRECTORY, createHash('sha256').update(origin).digest('hex'))
}

/**
 * Reads and checks what was signed last under a key; undefined when there is no memory. Throws an
 * {@link OperatorError} when the file is not exactly what this key would have written.
 */
export async function readMemory(
  files: Files,
  directory: string,
  key: SigningKey,
): Promise<Checkpoint | undefined> {
  const path = memoryPath(directory, key.verifier.name)
  try {
    const bytes = await readSmallFile(files, path, MAX_MEMORY_BYTES)
    if (bytes === undefined) return undefined
    const { checkpoint } = openCheckpoint(bytes, policyOfLogs(key.verifier), path)
    // Ed25519 is deterministic, so that signing again finds what a signature does not cover.
    if (!equalBytes(signNote(formatCheckpoint(checkpoint), [key.signer]), bytes))
      throw new MalformedError('it is not what this key signs')
    return checkpoint
  } catch (error) {
    if (!(error instanceof MalformedError) && !(error instanceof VerificationError)) throw error
    throw new OperatorError(
      `${path}: the signer's memory is damaged: ${error.message}`,
      "Put the newest checkpoint that was published or archived into it, after comparing it with an auditor's.",
      { cause: error },
    )
  }
}

/**
 * Starts the memory of a new log with the empty tree. Only for `init`: a log without a memory never signs, so that
 * losing the file is noticed and not taken for a new beginning.
 */
export async function createMemory(files: Files, directory: string, key: SigningKey): Promise<void> {
  const path = memoryPath(directory, key.verifier.name)
  await files.mkdir(join(directory, MEMORY_DIRECTORY))
  await files.fsyncDirectory(directory)
  await writeFileDurably(files, path, signHead(key, { size: 0, root: EMPTY_ROOT }))
}

class FileSigner implements CheckpointSigner {
  readonly #directory: string
  readonly #signing: SigningKey
  readonly #files: Files
  /** Settles when the last call has; never rejects. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(directory: string, signing: SigningKey, files: Files) {
    this.#directory = directory
    this.#signing = signing
    this.#files = files
  }

  get origin(): string {
    return this.#signing.verifier.name
  }

  get key(): VerifierKey {
    return this.#signing.verifier
  }

  remembered(): Promise<Checkpoint> {
    return this.#inTurn(() => this.#read())
  }

  check(head: TreeHead, prove: ProveConsistency): Promise<void> {
    return this.#inTurn(async () => checkExtends(await this.#read(), head, prove))
  }

  sign(head: TreeHead, prove: ProveConsistency): Promise<Uint8Array> {
    return this.#inTurn(async () => {
      await checkExtends(await this.#read(), head, prove)
      const note = signHead(this.#signing, head)
      // Also for the tree that is remembered: what was read may be in a cache and not yet on the disk.
      await writeFileDurably(this.#files, memoryPath(this.#directory, this.origin), note)
      return note
    })
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#last.then(task)
    this.#last = result.catch(() => {})
    return result
  }

  async #read(): Promise<Checkpoint> {
    const checkpoint = await readMemory(this.#files, this.#directory, this.#signing)
    if (checkpoint !== undefined) return checkpoint
    throw new OperatorError(
      `${memoryPath(this.#directory, this.origin)}: the signer's memory is gone`,
      'Put the newest checkpoint of this log that was published or archived there; without one, it must not sign.',
    )
  }
}

async function checkExtends(
  remembered: Checkpoint,
  offered: TreeHead,
  prove: ProveConsistency,
): Promise<void> {
  const { origin } = remembered
  if (offered.size < remembered.size) throw new SignerRefusal('behind', origin, remembered, offered)
  const proof = offered.size === remembered.size ? [] : await prove(remembered.size, offered.size)
  try {
    verifyConsistency(remembered.size, remembered.root, offered.size, offered.root, proof)
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error
    throw new SignerRefusal('fork', origin, remembered, offered, { cause: error })
  }
}

function signHead(key: SigningKey, { size, root }: TreeHead): Uint8Array {
  return signNote(formatCheckpoint({ origin: key.verifier.name, size, root, extensions: [] }), [key.signer])
}

function describeRefusal(
  code: SignerRefusalCode,
  origin: string,
  remembered: TreeHead,
  offered: TreeHead,
): [message: string, hint: string] {
  if (code === 'behind')
    return [
      `${origin}: not signing. This store has ${offered.size} leaves, but ${remembered.size} leaves were signed already: it is an old copy, or it has lost data`,
      `Put the newest data directory back, one with at least ${remembered.size} leaves, and keep this one aside. Never delete the signer's memory.`,
    ]
  return [
    `${origin}: not signing. The tree of ${offered.size} leaves with root ${formatBase64(offered.root)} is not an extension of the signed tree of ${remembered.size} leaves with root ${formatBase64(remembered.root)}`,
    'Stop, keep both the data directory and the signer directory, and run rootspan fsck: this store took another turn than the log that was signed.',
  ]
}
