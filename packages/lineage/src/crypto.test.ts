/** Holds the two variants of `#crypto` equal, and both to what others published. */
import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concatBytes, formatHex, parseHex, utf8 } from './bytes.ts'
import * as node from './crypto.node.ts'
import * as web from './crypto.ts'

const { Point } = ed25519
const ORDER = Point.Fn.ORDER
const PRIME = 2n ** 255n - 19n

test('both export the same names', () => {
  expect(Object.keys(node).toSorted()).toEqual(Object.keys(web).toSorted())
})

describe.each([
  ['node', node],
  ['web', web],
])('%s: SHA-256', (_, crypto) => {
  test('published digests', () => {
    expect(formatHex(crypto.sha256(new Uint8Array(0)))).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    )
    expect(formatHex(crypto.sha256(utf8('abc')))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    )
  })

  test('any text, as its UTF-8', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('a\ud800', '\udc00b')), (text) => {
        expect(crypto.sha256OfText(text)).toBe(formatHex(crypto.sha256(utf8(text))))
      }),
    )
  })

  test('any length, any view, plain or Buffer', () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => (i * 7) % 256)
    for (let size = 0; size < 200; size++) {
      const view = bytes.subarray(3, 3 + size)
      const want = createHash('sha256').update(view).digest('hex')
      expect(formatHex(crypto.sha256(view))).toBe(want)
      expect(formatHex(crypto.sha256(Buffer.from(view)))).toBe(want)
      for (const backing of [new Uint8Array(80), Buffer.alloc(80), crypto.scratch(80)]) {
        const out = backing.subarray(5, 75)
        crypto.sha256Into(view, out, 11)
        expect(formatHex(backing)).toBe('00'.repeat(16) + want + '00'.repeat(32))
      }
    }
  })

  test('the output may lie in the input', () => {
    for (const at of [0, 1, 20, 33]) {
      const bytes = crypto.scratch(65)
      bytes.fill(7)
      const want = createHash('sha256').update(bytes).digest('hex')
      crypto.sha256Into(bytes, bytes, at)
      expect(formatHex(bytes.subarray(at, at + 32))).toBe(want)
    }
  })

  test('scratch is zero and alone in its memory', () => {
    const bytes = crypto.scratch(65)
    expect([bytes.length, bytes.byteOffset, bytes.buffer.byteLength]).toEqual([65, 0, 65])
    expect(bytes.every((byte) => byte === 0)).toBe(true)
  })
})

function littleEndian(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) % 256n))
}

function fromLittleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => value * 256n + BigInt(byte), 0n)
}

/** Both variants' answer; fails if there are two. */
function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const answer = node.verifyEd25519(publicKey, message, signature)
  if (web.verifyEd25519(publicKey, message, signature) !== answer)
    expect.fail(
      `Node says ${answer} to ${[publicKey, message, signature].map(formatHex).join(' ')}, noble does not`,
    )
  return answer
}

/** RFC 8032, section 7.1: seed, public key, message, signature. */
const RFC_8032 = [
  [
    '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    '',
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
  ],
  [
    '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    '72',
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  ],
  [
    'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    'af82',
    '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
  ],
] as const

/** Signs with a secret scalar and a chosen R, so that key and R may have parts of small order. */
function signOddly(
  scalar: bigint,
  key: Uint8Array,
  r: bigint,
  encodedR: Uint8Array,
  message: Uint8Array,
): Uint8Array {
  const digest = createHash('sha512')
    .update(concatBytes(encodedR, key, message))
    .digest()
  const k = fromLittleEndian(digest) % ORDER
  return concatBytes(encodedR, littleEndian((r + k * scalar) % ORDER))
}

/** The eight points of small order: multiples of one of order 8. */
function smallOrderPoints() {
  const generator = Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')
  const points = [Point.ZERO]
  while (points.length < 8) points.push(points.at(-1)!.add(generator))
  expect(points[7]!.add(generator).equals(Point.ZERO)).toBe(true)
  return points
}

describe('Ed25519', () => {
  const message = utf8('a message')
  const key = createPrivateKey({
    key: Buffer.from(`302e020100300506032b657004220420${RFC_8032[0][0]}`, 'hex'),
    format: 'der',
    type: 'pkcs8',
  })
  const publicKey = new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32))
  const signature = new Uint8Array(sign(null, message, key))

  test('the vectors of RFC 8032', () => {
    for (const [, publicHex, messageHex, signatureHex] of RFC_8032)
      expect(verify(parseHex(publicHex), parseHex(messageHex), parseHex(signatureHex))).toBe(true)
  })

  test('any message signed by Node', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(verify(publicKey, bytes, sign(null, bytes, key))).toBe(true)
      }),
      { numRuns: 30 },
    )
  })

  test('a flipped bit anywhere', () => {
    for (let bit = 0; bit < 512; bit += 3) {
      const flip = (bytes: Uint8Array) => {
        const at = Math.floor(bit / 8) % bytes.length
        return bytes.with(at, bytes[at]! ^ (1 << (bit % 8)))
      }
      expect(verify(publicKey, message, flip(signature))).toBe(false)
      if (bit < 256) expect(verify(flip(publicKey), message, signature)).toBe(false)
      if (bit < 72) expect(verify(publicKey, flip(message), signature)).toBe(false)
    }
  })

  test('wrong lengths', () => {
    for (const size of [0, 1, 31, 33, 64])
      expect(verify(new Uint8Array(size), message, signature)).toBe(false)
    for (const size of [0, 1, 32, 63])
      expect(verify(publicKey, message, signature.subarray(0, size))).toBe(false)
    expect(verify(publicKey, message, concatBytes(signature, new Uint8Array(1)))).toBe(false)
  })

  test('S at or above the order', () => {
    const s = fromLittleEndian(signature.subarray(32))
    const withS = (value: bigint) => concatBytes(signature.subarray(0, 32), littleEndian(value))
    expect(verify(publicKey, message, withS(s))).toBe(true)
    for (let value = s + ORDER; value < 2n ** 256n; value += ORDER)
      expect(verify(publicKey, message, withS(value))).toBe(false)
    for (const value of [ORDER, ORDER - 1n, ORDER + 1n, 0n, 2n ** 253n, 2n ** 255n, 2n ** 256n - 1n])
      expect(verify(publicKey, message, withS(value))).toBe(false)
  })

  test('keys of small order sign nothing, in any encoding', () => {
    for (const point of smallOrderPoints()) {
      const canonical = point.toBytes()
      const y = fromLittleEndian(canonical) % 2n ** 255n
      for (const encodedY of [y, y + PRIME].filter((value) => value < 2n ** 255n))
        for (const sign of [0n, 2n ** 255n]) {
          const smallKey = littleEndian(encodedY + sign)
          // With S = 0 the equation asks for R = -kA, one of the eight points, whatever the message.
          for (const r of smallOrderPoints())
            for (let i = 0; i < 4; i++)
              expect(verify(smallKey, Uint8Array.of(i), concatBytes(r.toBytes(), new Uint8Array(32)))).toBe(
                false,
              )
        }
    }
  })

  test('keys that are no points, or written in two ways', () => {
    for (let i = 0n; i < 40n; i++)
      for (const y of [i, PRIME - 1n - i, PRIME + (i % 19n), 2n ** 255n - 1n - i])
        for (const sign of [0n, 2n ** 255n])
          expect(verify(littleEndian((y % 2n ** 255n) + sign), message, signature)).toBe(false)
  })

  test('parts of small order in key or R: the equation without the cofactor decides', () => {
    const scalar = 12345678901234567890n
    const r = 98765432109876543210n
    let good = 0
    for (const [i, keyPart] of smallOrderPoints().entries())
      for (const [j, rPart] of smallOrderPoints().entries()) {
        const oddKey = Point.BASE.multiply(scalar).add(keyPart).toBytes()
        const oddR = Point.BASE.multiply(r).add(rPart).toBytes()
        for (let n = 0; n < 3; n++) {
          const bytes = Uint8Array.of(i, j, n)
          if (verify(oddKey, bytes, signOddly(scalar, oddKey, r, oddR, bytes))) good += 1
        }
      }
    // All 192 hold with the cofactor. Without it, those whose parts cancel: about one in eight.
    expect(good).toBeGreaterThan(8)
    expect(good).toBeLessThan(60)
  })

  test('an R of small order, in any encoding', () => {
    const scalar = 7n
    for (const keyPart of smallOrderPoints()) {
      const oddKey = Point.BASE.multiply(scalar).add(keyPart).toBytes()
      for (const point of smallOrderPoints()) {
        const y = fromLittleEndian(point.toBytes()) % 2n ** 255n
        for (const encodedY of [y, y + PRIME].filter((value) => value < 2n ** 255n))
          for (const sign of [0n, 2n ** 255n]) {
            const encodedR = littleEndian(encodedY + sign)
            expect(verify(oddKey, message, signOddly(scalar, oddKey, 0n, encodedR, message))).toBe(false)
          }
      }
    }
  })
})
