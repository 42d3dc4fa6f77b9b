import { generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concatBytes, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { formatCheckpoint, openCheckpoint, parseCheckpoint } from './checkpoint.ts'
import { formatVerifierKey, verifierKey } from './key.ts'
import { EMPTY_ROOT, leafHash, treeRoot } from './merkle.ts'
import { signNote } from './note.ts'
import { formatPolicy, parsePolicy, policyOfLogs } from './policy.ts'
import { proveInclusion } from './proof.ts'
import { formatTlogProof, parseTlogProof, verifyTlogProof } from './tlog-proof.ts'

const origin = 'example.com/log'
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const key = verifierKey(
  origin,
  1,
  new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
)
const signer = {
  name: origin,
  keyId: key.keyId,
  sign: (message: Uint8Array) => sign(null, message, privateKey),
}
const policy = policyOfLogs(key)
const hashes = Array.from({ length: 5 }, (_, i) => leafHash(utf8(`entry ${i}`)))
const root = treeRoot(hashes)
const checkpoint = signNote(formatCheckpoint({ origin, size: 5, root, extensions: [] }), [signer])

function expectRefused(run: () => unknown): void {
  let thrown: unknown
  try {
    run()
  } catch (error) {
    thrown = error
  }
  if (!(thrown instanceof MalformedError || thrown instanceof VerificationError))
    expect.fail(`not refused: ${thrown}`)
}

/** Every byte string that is one byte away, some of the many. */
function* neighbours(bytes: Uint8Array): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i++) {
    yield bytes.with(i, (bytes[i]! + 1) % 256)
    yield bytes.with(i, bytes[i]! ^ 0x80)
    yield concatBytes(bytes.subarray(0, i), bytes.subarray(i + 1))
    yield concatBytes(bytes.subarray(0, i), Uint8Array.of(0x0a), bytes.subarray(i))
    yield concatBytes(bytes.subarray(0, i), bytes.subarray(i, i + 1), bytes.subarray(i))
  }
}

describe('checkpoints', () => {
  test('whatever is formatted parses back', () => {
    const line = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 20 })
      .filter((text) => !/\p{Cc}/u.test(text))
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(
        line,
        fc.maxSafeNat(),
        bytes,
        fc.array(line, { maxLength: 3 }),
        (name, size, random, extensions) => {
          const value = { origin: name, size, root: size === 0 ? EMPTY_ROOT : random, extensions }
          expect(parseCheckpoint(formatCheckpoint(value))).toEqual(value)
        },
      ),
    )
  })

  test('whatever parses formats back', () => {
    const pieces = fc.constantFrom(
      'example.com/log',
      '5',
      '05',
      '',
      ' ',
      'x',
      `${'A'.repeat(43)}=`,
      'A'.repeat(44),
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 6 }), (lines) => {
        const text = lines.map((line) => `${line}\n`).join('')
        try {
          expect(formatCheckpoint(parseCheckpoint(text))).toBe(text)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('no byte of a signed one may change', () => {
    expect(openCheckpoint(checkpoint, policy).checkpoint).toEqual({ origin, size: 5, root, extensions: [] })
    for (const other of neighbours(checkpoint)) expectRefused(() => openCheckpoint(other, policy))
  })

  test('the failure says which part', () => {
    expect(() => openCheckpoint(checkpoint, policyOfLogs(), 'segment 0')).toThrow(
      'segment 0: no known key signed it',
    )
  })

  test('what is no checkpoint is our own bug', () => {
    const good = { origin, size: 5, root, extensions: [] }
    for (const bad of [
      { origin: '' },
      { origin: 'a\nb' },
      { origin: 'x'.repeat(256) },
      { origin: '\ud800' },
      { size: -1 },
      { size: 0.5 },
      { size: 2 ** 53 },
      { size: 0 },
      { root: root.subarray(1) },
      { extensions: [''] },
      { extensions: ['a\n'] },
    ])
      expect(() => formatCheckpoint({ ...good, ...bad })).toThrow('bad checkpoint')
  })
})

describe('tlog-proofs', () => {
  const tile = concatBytes(...hashes)

  test('no byte of one may change, but for what nobody signed', async () => {
    for (const extra of [undefined, utf8('opaque')]) {
      const path = await proveInclusion(2, 5, () => tile)
      const bytes = formatTlogProof({ index: 2, path, extra, checkpoint })
      expect(verifyTlogProof(parseTlogProof(bytes), hashes[2]!, policy).checkpoint.size).toBe(5)
      for (const other of neighbours(bytes)) {
        let parsed: ReturnType<typeof parseTlogProof>
        try {
          parsed = parseTlogProof(other)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
          continue
        }
        expect(formatTlogProof(parsed)).toEqual(other)
        if (String(parsed.extra) === String(extra))
          expectRefused(() => verifyTlogProof(parsed, hashes[2]!, policy))
      }
    }
  })

  test('every leaf of every tree up to 5 leaves, and no other leaf', async () => {
    for (let size = 1; size <= 5; size++) {
      const value = { origin, size, root: treeRoot(hashes.slice(0, size)), extensions: [] }
      const signed = signNote(formatCheckpoint(value), [signer])
      for (let index = 0; index < size; index++) {
        const path = await proveInclusion(index, size, () => concatBytes(...hashes.slice(0, size)))
        const proof = parseTlogProof(formatTlogProof({ index, path, extra: undefined, checkpoint: signed }))
        for (const [i, hash] of hashes.entries()) {
          if (i === index) verifyTlogProof(proof, hash, policy)
          else expectRefused(() => verifyTlogProof(proof, hash, policy))
        }
      }
    }
  })

  test('what is no proof is our own bug', () => {
    const good = { index: 0, path: [], extra: undefined, checkpoint }
    for (const bad of [
      { index: -1 },
      { index: 2 ** 53 },
      { path: [new Uint8Array(31)] },
      { path: Array(64).fill(root) },
      { extra: new Uint8Array(0) },
      { extra: new Uint8Array(48_001) },
    ])
      expect(() => formatTlogProof({ ...good, ...bad })).toThrow('bad')
  })
})

describe('policies', () => {
  test('a policy of logs is what its text says', () => {
    expect(formatPolicy(policy)).toBe(`log ${formatVerifierKey(key)}\nquorum none\n`)
    expect(parsePolicy(formatPolicy(policy))).toEqual(policy)
  })

  test('any lines parse to a policy that formats and parses to itself, or not at all', () => {
    const witness = formatVerifierKey({ ...verifierKey('w', 4, key.publicKey) })
    const words = fc.constantFrom(
      'log',
      'witness',
      'group',
      'quorum',
      'none',
      'A',
      'G',
      'all',
      '1',
      'any',
      witness,
    )
    const line = fc.oneof(
      fc.array(words, { maxLength: 5 }).map((list) => list.join(' ')),
      fc.constantFrom(`witness A ${witness}`, 'group G all A', 'quorum G', 'quorum none', '', '# x'),
    )
    fc.assert(
      fc.property(fc.array(line, { maxLength: 5 }), (lines) => {
        try {
          const parsed = parsePolicy(lines.map((text) => `${text}\n`).join(''))
          expect(parsePolicy(formatPolicy(parsed))).toEqual(parsed)
        } catch (error) {
          expect(error).toBeInstanceOf(MalformedError)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('the failure names the line', () => {
    expect(() => parsePolicy('# one\n\nlog x\nquorum none\n')).toThrow('policy line 3')
  })
})
