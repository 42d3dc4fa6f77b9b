/**
 * SHA-256 and Ed25519 verification for runtimes without `node:crypto`.
 *
 * The package's `imports` map sends `#crypto` here, or to `crypto.node.ts` where Node runs; both export
 * the same names and a test holds them equal. Nothing else in the core knows that there are two.
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { sha256 as nobleSha256, sha512 } from '@noble/hashes/sha2.js'
import { concatBytes, equalBytes, formatHex, utf8 } from './bytes.ts'

/** SHA-256 of `input` as 32 fresh bytes. */
export function sha256(input: Uint8Array): Uint8Array {
  return nobleSha256(input)
}

/** SHA-256 of a text in UTF-8, in lower-case hex. */
export function sha256OfText(text: string): string {
  return formatHex(nobleSha256(utf8(text)))
}

/** Writes SHA-256 of `input` into `out` at `at`. `out` may hold `input`: it is read before it is written. */
export function sha256Into(input: Uint8Array, out: Uint8Array, at: number): void {
  out.set(nobleSha256(input), at)
}

/**
 * `size` zero bytes of the kind that {@link sha256Into} reads and writes fastest. For buffers that a hot
 * path keeps: the memory is its own, never part of a pool. In Node it is a Buffer, whose `slice` is a view:
 * copy with `new Uint8Array(view)`.
 */
export function scratch(size: number): Uint8Array {
  return new Uint8Array(size)
}

/** Copies bytes [start, end) of `source` into `out` at `at`. For more than a few: a call costs what a loop over 32 does. */
export function copyRange(source: Uint8Array, start: number, end: number, out: Uint8Array, at: number): void {
  out.set(source.subarray(start, end), at)
}

/**
 * Whether `signature` (64 bytes) is by `publicKey` (32 bytes) over `message`, by RFC 8032, section 5.1.7.
 *
 * Where the RFC leaves a choice, the strictest is taken, so that all verifiers that follow it accept what is
 * accepted here: the equation without the cofactor, encodings of R and of the key canonical, S below the
 * group's order, and neither the key nor R of small order (such a key "signs" everything).
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false
  const key = parsePoint(publicKey)
  const encodedR = signature.subarray(0, 32)
  const s = littleEndian(signature.subarray(32))
  if (key === undefined || key.isSmallOrder() || s >= ORDER) return false
  const k = littleEndian(sha512(concatBytes(encodedR, publicKey, message))) % ORDER
  const r = Point.BASE.multiplyUnsafe(s).subtract(key.multiplyUnsafe(k))
  return !r.isSmallOrder() && equalBytes(r.toBytes(), encodedR)
}

const { Point } = ed25519
const ORDER = Point.Fn.ORDER

function parsePoint(bytes: Uint8Array): InstanceType<typeof Point> | undefined {
  try {
    return Point.fromBytes(bytes, false)
  } catch {
    return undefined
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n
  for (let i = bytes.length - 1; i >= 0; i--) value = value * 256n + BigInt(bytes[i]!)
  return value
}
