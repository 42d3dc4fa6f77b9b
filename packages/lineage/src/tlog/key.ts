/** Keys of signed notes, as text: verifier keys (c2sp.org/signed-note) and Go's form of private keys. */
import { sha256 } from '#crypto'
import { concatBytes, equalBytes, formatBase64, formatHex, parseBase64, parseHex, utf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'

/** Signature types of signed-note that are known here. Only {@link ED25519} signatures are checked so far. */
export const ED25519 = 0x01
export const ED25519_COSIGNATURE = 0x04
export const ML_DSA_44 = 0x06

/** Bytes of a public key, by signature type. */
const KEY_SIZES: ReadonlyMap<number, number> = new Map([
  [ED25519, 32],
  [ED25519_COSIGNATURE, 32],
  [ML_DSA_44, 1312],
])

/** A public key with the name that it signs under. */
export interface VerifierKey {
  readonly name: string
  /** The first 32 bits of a hash over name, type and key: tells keys apart and protects nothing. */
  readonly keyId: number
  readonly type: number
  readonly publicKey: Uint8Array
}

/** An Ed25519 private key with the name that it signs under. `seed` is secret. */
export interface SignerKey {
  readonly name: string
  readonly keyId: number
  readonly seed: Uint8Array
}

/** Whether a string may name a key: not empty, without Unicode spaces, control characters and `+`. */
export function isKeyName(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  return name !== '' && name.isWellFormed() && !/[\p{White_Space}\u0000-\u001f+]/u.test(name)
}

/** The key of this name, type and public key, its id computed; throws a plain error if one is no such thing. */
export function verifierKey(name: string, type: number, publicKey: Uint8Array): VerifierKey {
  if (!isKeyName(name)) throw new Error('bad key name')
  if (KEY_SIZES.get(type) !== publicKey.length) throw new Error(`bad key of type ${type}`)
  return { name, keyId: computeKeyId(name, type, publicKey), type, publicKey }
}

/** The text of a verifier key: `name+id+key`. */
export function formatVerifierKey(key: VerifierKey): string {
  return `${key.name}+${formatKeyId(key.keyId)}+${formatBase64(concatBytes(Uint8Array.of(key.type), key.publicKey))}`
}

/** Parses `name+id+key`; throws a {@link MalformedError}, also when the id is not that of name and key. */
export function parseVerifierKey(text: string): VerifierKey {
  const [name, keyId, typed] = splitKey(text, 'a verifier key')
  const type = typed[0]
  const size = type === undefined ? undefined : KEY_SIZES.get(type)
  if (type === undefined || size === undefined)
    throw new MalformedError('a verifier key is of an unknown type')
  if (typed.length !== 1 + size) throw new MalformedError(`a verifier key is not ${size} bytes long`)
  const key = verifierKey(name, type, typed.subarray(1))
  if (key.keyId !== keyId) throw new MalformedError('a verifier key has the id of another key')
  return key
}

/** The text of a private key: `PRIVATE+KEY+name+id+seed`, as golang.org/x/mod/sumdb/note has it. */
export function formatSignerKey(key: SignerKey): string {
  return `PRIVATE+KEY+${key.name}+${formatKeyId(key.keyId)}+${formatBase64(concatBytes(Uint8Array.of(ED25519), key.seed))}`
}

/**
 * Parses `PRIVATE+KEY+name+id+seed`. `derive` gives the Ed25519 public key of a seed, which the id covers.
 * Throws a {@link MalformedError}, also when the id does not match; no message holds any part of the seed.
 */
export function parseSignerKey(text: string, derive: (seed: Uint8Array) => Uint8Array): SignerKey {
  const prefix = 'PRIVATE+KEY+'
  if (!text.startsWith(prefix)) throw new MalformedError('a private key does not begin with PRIVATE+KEY+')
  const [name, keyId, typed] = splitKey(text.slice(prefix.length), 'a private key')
  if (typed[0] !== ED25519) throw new MalformedError('a private key is of an unknown type')
  if (typed.length !== 33) throw new MalformedError('a private key is not 32 bytes long')
  const seed = typed.subarray(1)
  if (verifierKey(name, ED25519, derive(seed)).keyId !== keyId)
    throw new MalformedError('a private key has the id of another key')
  return { name, keyId, seed }
}

/** Whether two keys are the same public key, under whatever name and type. */
export function samePublicKey(a: VerifierKey, b: VerifierKey): boolean {
  return equalBytes(a.publicKey, b.publicKey)
}

/** A key id as eight hex digits. */
export function formatKeyId(keyId: number): string {
  return keyId.toString(16).padStart(8, '0')
}

/** A key id from its four bytes, the high one first. */
export function readKeyId(bytes: Uint8Array): number {
  return Number.parseInt(formatHex(bytes.subarray(0, 4)), 16)
}

function computeKeyId(name: string, type: number, publicKey: Uint8Array): number {
  return readKeyId(sha256(concatBytes(utf8(name), Uint8Array.of(0x0a, type), publicKey)))
}

function splitKey(text: string, what: string): [name: string, keyId: number, typed: Uint8Array] {
  const first = text.indexOf('+')
  const second = text.indexOf('+', first + 1)
  if (first < 0 || second < 0) throw new MalformedError(`${what} is not name, id and key between plus signs`)
  const name = text.slice(0, first)
  if (!isKeyName(name)) throw new MalformedError(`${what} has a name that no key may have`)
  const keyId = readKeyId(parseHex(text.slice(first + 1, second), `the id of ${what}`, 4))
  return [name, keyId, parseBase64(text.slice(second + 1), what)]
}
