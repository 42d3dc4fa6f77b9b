/** SHA-256 and Ed25519 verification where Node runs: the contract is that of `crypto.ts`. */
import { createPublicKey, hash, verify } from 'node:crypto'

export function sha256(input: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafeSlow(32)
  out.write(hash('sha256', input, 'binary'), 0, 32, 'latin1')
  return out
}

export function sha256OfText(text: string): string {
  return hash('sha256', text, 'hex')
}

/** A string of one byte a character costs a third of a Buffer result, which allocates an ArrayBuffer. */
export function sha256Into(input: Uint8Array, out: Uint8Array, at: number): void {
  const digest = hash('sha256', input, 'binary')
  for (let i = 0; i < 32; i++) out[at + i] = digest.charCodeAt(i)
}

export function scratch(size: number): Uint8Array {
  return Buffer.alloc(size)
}

/** Without a view, which is garbage and as dear as the copy. */
export function copyRange(source: Uint8Array, start: number, end: number, out: Uint8Array, at: number): void {
  Buffer.prototype.copy.call(source, out, at, start, end)
}

const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex') // RFC 8410, section 4

/** 2^255 - 19, the field's prime, big-endian. */
const PRIME = Buffer.from('7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed', 'hex')

/** The y coordinates of the eight points of small order, little-endian: 0, 1, -1 and the two of order 8. */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
])

/**
 * OpenSSL compares R without the cofactor and demands S below the order. Keys in a second encoding it lets
 * pass, and points of small order in some of its versions.
 */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false
  const y = coordinate(publicKey)
  const smallOrder =
    SMALL_ORDER.has(y.toString('hex')) || SMALL_ORDER.has(coordinate(signature).toString('hex'))
  if (smallOrder || y.reverse().compare(PRIME) >= 0) return false
  try {
    const key = createPublicKey({
      key: Buffer.concat([SPKI_ED25519, publicKey]),
      format: 'der',
      type: 'spki',
    })
    return verify(null, message, key, signature)
  } catch {
    return false
  }
}

/** The y coordinate of an encoded point: all of it but the sign of x. */
function coordinate(encoded: Uint8Array): Buffer {
  const y = Buffer.from(encoded.subarray(0, 32))
  y[31] = y[31]! & 0x7f
  return y
}
