import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { ManyHasher } from './crypto.simd.ts'

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const expected = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

test.each([0, 1, 47, 48, 54, 55, 56, 63, 64, 65, 118, 119, 120, 128, 200])(
  'messages of %i bytes hash as OpenSSL hashes them, one by one and in every group',
  (length) => {
    const hasher = new ManyHasher(length, 13)
    expect(hasher.capacity).toBe(16)
    const messages = Array.from({ length: hasher.capacity }, (_, at) =>
      Uint8Array.from({ length }, (_, i) => (at * 31 + i * 7 + (i >> 3) * at) & 255),
    )
    for (const [at, message] of messages.entries()) hasher.messages.set(message, at * hasher.stride)
    for (let count = 1; count <= hasher.capacity; count++) {
      const digests = hasher.hash(count)
      for (let at = 0; at < count; at++)
        expect(hexOf(digests.subarray(at * 32, at * 32 + 32))).toBe(expected(messages[at]!))
    }
  },
)

test('the published vectors of FIPS 180-4', () => {
  const vectors = {
    abc: 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq:
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    '': 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  }
  for (const [message, digest] of Object.entries(vectors)) {
    const hasher = new ManyHasher(message.length, 1)
    hasher.messages.set(Buffer.from(message))
    expect(hexOf(hasher.hash(1).subarray(0, 32))).toBe(digest)
  }
})

test('hashers do not share memory, and more than the capacity is refused', () => {
  const [a, b] = [new ManyHasher(3, 4), new ManyHasher(3, 4)]
  a.messages.set(Buffer.from('abc'))
  b.messages.set(Buffer.from('xyz'))
  const digests = [a.hash(1), b.hash(1)].map((bytes) => hexOf(bytes.subarray(0, 32)))
  expect(digests).toEqual([expected(Buffer.from('abc')), expected(Buffer.from('xyz'))])
  expect(() => a.hash(5)).toThrow('capacity')
})
