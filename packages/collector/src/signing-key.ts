/** The log's private key: made, read and used here and nowhere else. */
import { createPrivateKey, createPublicKey, type KeyObject, sign as signBytes } from 'node:crypto'
import { join } from 'node:path'
import { concatBytes, equalBytes, parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import {
  ED25519,
  formatSignerKey,
  formatVerifierKey,
  parseSignerKey,
  type SignerKey,
  type VerifierKey,
  verifierKey,
} from '@rootspan/lineage/tlog/key'
import type { Signer } from '@rootspan/lineage/tlog/note'
import { writeFileDurably } from './durable.ts'
import type { Files } from './files.ts'
import { OperatorError } from './operator-error.ts'
import { readSmallFile } from './read-file.ts'

/** The private key's file in the signer directory: one line, `PRIVATE+KEY+name+id+seed`. */
export const KEY_FILE = 'key'

const MAX_KEY_FILE_BYTES = 4096

// RFC 8410, section 7: what precedes the 32 bytes of the seed in the PKCS #8 form of an Ed25519 key.
const PKCS8_PREFIX = Uint8Array.of(
  ...[0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20],
)

/** A key that signs, with the text form of both halves. `privateText` is secret. */
export interface SigningKey {
  readonly verifier: VerifierKey
  readonly signer: Signer
  readonly privateText: string
}

/** The key of this name over a secret seed of 32 random bytes. Throws a plain error when the name can be none. */
export function createSigningKey(name: string, seed: Uint8Array): SigningKey {
  const verifier = verifierKey(name, ED25519, publicKeyOf(seed))
  return signingKey({ name, keyId: verifier.keyId, seed })
}

/** Parses the content of a key file; throws a {@link MalformedError} that holds no part of it. */
export function parseKeyFile(bytes: Uint8Array): SigningKey {
  const text = parseUtf8(bytes, 'a private key')
  if (!text.endsWith('\n')) throw new MalformedError('a private key does not end in a newline')
  const key = parseSignerKey(text.slice(0, -1), publicKeyOf)
  if (!equalBytes(formatKeyFile(signingKey(key)), bytes))
    throw new MalformedError('a private key is not in its canonical form')
  return signingKey(key)
}

/** The content of a key file. Secret. */
export function formatKeyFile(key: SigningKey): Uint8Array {
  return utf8(`${key.privateText}\n`)
}

/**
 * Reads the private key of a signer directory; undefined when there is none. Throws an {@link OperatorError} when
 * others than its owner may read it (except on Windows, which has no such bits) or when it is damaged.
 */
export async function readSigningKey(files: Files, directory: string): Promise<SigningKey | undefined> {
  const path = join(directory, KEY_FILE)
  const stat = await files.stat(path)
  if (stat === undefined) return undefined
  if (process.platform !== 'win32' && stat.permissions % 0o100 !== 0)
    throw new OperatorError(
      `${path}: others than its owner may use this private key (mode ${stat.permissions.toString(8).padStart(4, '0')})`,
      `Run: chmod 600 ${path}`,
    )
  try {
    const bytes = await readSmallFile(files, path, MAX_KEY_FILE_BYTES)
    return bytes === undefined ? undefined : parseKeyFile(bytes)
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    throw new OperatorError(
      `${path} is damaged: ${error.message}`,
      `Restore ${path} from a copy. Without its key a log cannot go on.`,
      { cause: error },
    )
  }
}

/** Writes the private key durably, readable for its owner only. Replaces what is there: ask first. */
export async function writeSigningKey(files: Files, directory: string, key: SigningKey): Promise<void> {
  await writeFileDurably(files, join(directory, KEY_FILE), formatKeyFile(key), 0o600)
}

/** Throws an {@link OperatorError} when the signer's key is not the one (as text) that the log was made with. */
export function checkSigningKey(key: SigningKey, expected: string, directory: string): void {
  if (formatVerifierKey(key.verifier) === expected) return
  throw new OperatorError(
    `${join(directory, KEY_FILE)} is the key ${formatVerifierKey(key.verifier)}, but the log is signed by ${expected}`,
    'Point signer.directory at the signer that was made with this log, or storage.directory at the log of this key.',
  )
}

function signingKey(key: SignerKey): SigningKey {
  const secret = privateKeyOf(key.seed)
  return {
    verifier: verifierKey(key.name, ED25519, publicKeyOf(key.seed)),
    privateText: formatSignerKey(key),
    signer: {
      name: key.name,
      keyId: key.keyId,
      sign: (message) => new Uint8Array(signBytes(null, message, secret)),
    },
  }
}

function privateKeyOf(seed: Uint8Array): KeyObject {
  const key = Buffer.from(concatBytes(PKCS8_PREFIX, seed))
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
}

function publicKeyOf(seed: Uint8Array): Uint8Array {
  const { x } = createPublicKey(privateKeyOf(seed)).export({ format: 'jwk' })
  return new Uint8Array(Buffer.from(x!, 'base64url'))
}
