/**
 * Signed notes (c2sp.org/signed-note): a text, a blank line, and signature lines.
 *
 * Nothing is signed here: a {@link Signer} is passed in. Of the signature types only Ed25519 (0x01) is
 * checked; a signature of another type counts as one by an unknown key.
 */
import { verifyEd25519 } from '#crypto'
import { concatBytes, equalBytes, formatBase64, parseBase64, parseHex, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { ED25519, formatKeyId, isKeyName, readKeyId, type VerifierKey } from './key.ts'

/** How many signatures a note may have. The specification demands at least 16; Go's reader stops at 100. */
const MAX_SIGNATURES = 100

/** How large a note may be, in bytes. */
export const MAX_NOTE_SIZE = 1_048_576

const PREFIX = '\u2014 '

/** One signature line. `signature` is what follows the key id. */
export interface NoteSignature {
  readonly name: string
  readonly keyId: number
  readonly signature: Uint8Array
}

/** A note taken apart, nothing checked. `text` ends in a newline. */
export interface Note {
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/** A note with at least one good signature by a known key and no bad one. */
export interface OpenNote {
  readonly text: string
  /** Those that were checked, one per key. */
  readonly signatures: readonly NoteSignature[]
  /** Those by keys that are not known: they say nothing. */
  readonly unverified: readonly NoteSignature[]
}

/** Whoever signs. `sign` takes the text's bytes and gives the signature without the key id. */
export interface Signer {
  readonly name: string
  readonly keyId: number
  sign(message: Uint8Array): Uint8Array
}

/** Takes a note apart; throws a {@link MalformedError}. Trust nothing in it before {@link openNote}. */
export function parseNote(bytes: Uint8Array): Note {
  if (bytes.length > MAX_NOTE_SIZE) throw new MalformedError(`a note is over ${MAX_NOTE_SIZE} bytes long`)
  const whole = parseUtf8(bytes, 'a note')
  const problem = findProblem(whole)
  if (problem !== undefined) throw new MalformedError(`a note ${problem}`)
  const split = whole.lastIndexOf('\n\n')
  if (split < 0) throw new MalformedError('a note has no blank line before its signatures')
  const lines = whole.slice(split + 2).split('\n')
  if (lines.length < 2 || lines.pop() !== '')
    throw new MalformedError('a note does not end with a signature line')
  if (lines.length > MAX_SIGNATURES) throw new MalformedError(`a note has over ${MAX_SIGNATURES} signatures`)
  return { text: whole.slice(0, split + 1), signatures: lines.map(parseSignatureLine) }
}

/** The bytes of a note; throws a plain error on what {@link parseNote} would refuse. */
export function formatNote(text: string, signatures: readonly NoteSignature[]): Uint8Array {
  checkText(text)
  if (signatures.length < 1 || signatures.length > MAX_SIGNATURES) throw new Error('bad number of signatures')
  const bytes = utf8(
    `${text}\n${signatures.map((signature) => `${formatSignatureLine(signature)}\n`).join('')}`,
  )
  if (bytes.length > MAX_NOTE_SIZE) throw new Error(`bad note of ${bytes.length} bytes`)
  return bytes
}

/** One signature line without its newline. */
export function formatSignatureLine({ name, keyId, signature }: NoteSignature): string {
  if (!isKeyName(name) || signature.length === 0) throw new Error('bad signature')
  return `${PREFIX}${name} ${formatBase64(concatBytes(parseHex(formatKeyId(keyId), 'a key id', 4), signature))}`
}

/** Signs a text, which ends in a newline, with every signer, in their order. */
export function signNote(text: string, signers: readonly Signer[]): Uint8Array {
  checkText(text)
  const message = utf8(text)
  return formatNote(
    text,
    signers.map((signer) => ({ name: signer.name, keyId: signer.keyId, signature: signer.sign(message) })),
  )
}

/**
 * Opens a note with the keys that are known.
 *
 * Signatures by unknown keys are set aside. Throws a {@link VerificationError} with `signature` if any
 * signature by a known key is wrong, whatever others there are, and with `untrusted` if no known key signed;
 * a {@link MalformedError} if it is no note. Equal lines count once; two good signatures by one key, too.
 */
export function openNote(bytes: Uint8Array, verifiers: readonly VerifierKey[], where = 'note'): OpenNote {
  const { text, signatures } = parseNote(bytes)
  const message = utf8(text)
  const verified: NoteSignature[] = []
  const unverified: NoteSignature[] = []
  for (const signature of signatures) {
    const keys = verifiers.filter((key) => key.type === ED25519 && signedBy(signature, key))
    if (keys.length > 1 && !keys.every((key) => equalBytes(key.publicKey, keys[0]!.publicKey)))
      throw new VerificationError('untrusted', where, `two keys are known as ${describeKey(signature)}`)
    const known = keys[0] === undefined ? unverified : verified
    if (known.some((other) => sameSignature(other, signature))) continue
    if (keys[0] !== undefined && !verifyEd25519(keys[0].publicKey, message, signature.signature))
      throw new VerificationError(
        'signature',
        where,
        `the signature by ${describeKey(signature)} does not verify`,
      )
    if (keys[0] === undefined || !verified.some((other) => signedBy(other, keys[0]!))) known.push(signature)
  }
  if (verified.length === 0) throw new VerificationError('untrusted', where, 'no known key signed it')
  return { text, signatures: verified, unverified }
}

/** Whether a signature names this key. It may still not be by it. */
export function signedBy(signature: NoteSignature, key: Pick<VerifierKey, 'name' | 'keyId'>): boolean {
  return signature.name === key.name && signature.keyId === key.keyId
}

function describeKey({ name, keyId }: NoteSignature): string {
  return `${name}+${formatKeyId(keyId)}`
}

function sameSignature(a: NoteSignature, b: NoteSignature): boolean {
  return signedBy(a, b) && equalBytes(a.signature, b.signature)
}

function parseSignatureLine(line: string): NoteSignature {
  const space = line.indexOf(' ', PREFIX.length)
  const name = line.slice(PREFIX.length, space)
  if (!line.startsWith(PREFIX) || space < 0 || !isKeyName(name))
    throw new MalformedError('a signature line is not a dash, a key name and a signature')
  const blob = parseBase64(line.slice(space + 1), 'a signature')
  if (blob.length < 5) throw new MalformedError('a signature is shorter than 5 bytes')
  return { name, keyId: readKeyId(blob), signature: blob.subarray(4) }
}

function checkText(text: string): void {
  const problem = text.endsWith('\n') ? findProblem(text) : 'does not end in a newline'
  if (problem !== undefined) throw new Error(`bad note text: it ${problem}`)
}

function findProblem(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[\u0000-\u0009\u000b-\u001f]/.test(text)) return 'has a control character'
  return text.isWellFormed() ? undefined : 'is not well-formed Unicode'
}
