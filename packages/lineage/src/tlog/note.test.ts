import { generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import {
  formatSignerKey,
  formatVerifierKey,
  isKeyName,
  parseSignerKey,
  parseVerifierKey,
  type VerifierKey,
  verifierKey,
} from './key.ts'
import { formatNote, MAX_NOTE_SIZE, openNote, parseNote, type Signer, signNote } from './note.ts'

function makeSigner(name: string): { signer: Signer; key: VerifierKey } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const key = verifierKey(name, 1, publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
  return { key, signer: { name, keyId: key.keyId, sign: (message) => sign(null, message, privateKey) } }
}

const { signer, key } = makeSigner('example.com/log')
const vkey = 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k'

describe('keys', () => {
  test('no other piece of a verifier key is one', () => {
    for (let start = 0; start < vkey.length; start++)
      for (let end = start; end <= vkey.length; end++) {
        const piece = vkey.slice(start, end)
        if (piece !== vkey) expect(() => parseVerifierKey(piece)).toThrow(MalformedError)
      }
  })

  test('no character of a verifier key may change', () => {
    for (let i = 0; i < vkey.length; i++)
      for (const change of [1, -1, 32, -32, 256])
        expect(() =>
          parseVerifierKey(
            vkey.slice(0, i) + String.fromCharCode(vkey.charCodeAt(i) + change) + vkey.slice(i + 1),
          ),
        ).toThrow(MalformedError)
  })

  test('a private key says nothing of its seed when it is refused', () => {
    const seed = utf8('0123456789abcdef0123456789abcdef')
    const good = formatSignerKey({ name: key.name, keyId: key.keyId, seed })
    const derive = (of: Uint8Array) => (of.length === 32 ? key.publicKey : of)
    expect(parseSignerKey(good, derive)).toEqual({ name: key.name, keyId: key.keyId, seed })
    const bad = [
      good.slice(8),
      good.toLowerCase(),
      `${good}=`,
      good.slice(0, -4),
      good.replace('/log', '/gol'),
    ]
    for (const text of [
      ...bad,
      '',
      'PRIVATE+KEY+',
      formatVerifierKey(key),
      `PRIVATE+KEY+${formatVerifierKey(key)}`,
    ]) {
      if (text.endsWith(formatVerifierKey(key)) && text.startsWith('PRIVATE')) continue // a public key as the seed
      expect(() => parseSignerKey(text, derive)).toThrow(MalformedError)
      try {
        parseSignerKey(text, derive)
      } catch (error) {
        expect(String(error)).not.toMatch(/MDEyMzQ1|0123456/)
      }
    }
  })

  test('names', () => {
    for (const name of ['a', 'example.com/log', '例え', '\u200b', '-', '/'])
      expect(isKeyName(name)).toBe(true)
    const spaces = [...'\t\n\v\f\r \u0085\u00a0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000']
    for (const name of [
      '',
      '+',
      'a+b',
      '\0',
      '\x1f',
      '\ud800',
      ...spaces,
      ...spaces.map((space) => `a${space}b`),
    ])
      expect(isKeyName(name)).toBe(false)
  })

  test('what is no key is our own bug', () => {
    expect(() => verifierKey('a b', 1, key.publicKey)).toThrow('bad key name')
    expect(() => verifierKey('a', 1, new Uint8Array(31))).toThrow('bad key')
    expect(() => verifierKey('a', 9, key.publicKey)).toThrow('bad key')
  })
})

describe('notes', () => {
  const text = 'first\n\n\u2014 second\n'
  const note = signNote(text, [signer])

  test('whatever is signed opens, by its key alone', () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((part) => !/\p{Cc}/u.test(part))
    fc.assert(
      fc.property(fc.array(line, { maxLength: 5 }), (lines) => {
        const body = lines.map((part) => `${part}\n`).join('') || '\n'
        const bytes = signNote(body, [signer])
        expect(openNote(bytes, [key]).text).toBe(body)
        expect(() => openNote(bytes, [makeSigner(key.name).key])).toThrow('no known key')
        expect(() => openNote(bytes, [])).toThrow('no known key')
      }),
    )
  })

  test('no byte may change, go or come', () => {
    const open = (bytes: Uint8Array) => expect(() => openNote(bytes, [key])).toThrow(/./)
    for (let i = 0; i < note.length; i++) {
      for (const change of [1, 0x80, 0x20, 0xff]) open(note.with(i, (note[i]! + change) % 256))
      open(new Uint8Array([...note.subarray(0, i), ...note.subarray(i + 1)]))
      for (const byte of [0, 0x0a, 0x20, 0x3d, 0x41, 0xff])
        open(new Uint8Array([...note.subarray(0, i), byte, ...note.subarray(i)]))
      open(note.subarray(0, i))
      open(note.subarray(i + 1))
    }
  })

  test('only the three ranks of failure come out', () => {
    for (let i = 0; i < note.length; i++)
      try {
        openNote(note.with(i, (note[i]! + 1) % 256), [key])
      } catch (error) {
        expect(error instanceof MalformedError || error instanceof VerificationError).toBe(true)
      }
  })

  test('two keys of one name and id cannot both be known', () => {
    // Ids are 32 bits and can be made to collide; here the second key just claims the id of the first.
    const twin = { ...makeSigner(key.name).key, keyId: key.keyId }
    expect(() => openNote(note, [key, twin])).toThrow('two keys are known')
    expect(openNote(note, [key, key]).signatures).toHaveLength(1)
  })

  test('an Ed25519 key of another type checks nothing', () => {
    expect(() => openNote(note, [{ ...key, type: 4 }])).toThrow('no known key')
  })

  test('a note that is too long', () => {
    expect(() => parseNote(new Uint8Array(MAX_NOTE_SIZE + 1))).toThrow(MalformedError)
    expect(() => signNote(`${'x'.repeat(MAX_NOTE_SIZE)}\n`, [signer])).toThrow('bad note')
  })

  test('what is no note is our own bug, and is not signed', () => {
    let signed = 0
    const counting = {
      ...signer,
      sign: (message: Uint8Array) => [signed++, signer.sign(message)][1] as Uint8Array,
    }
    for (const bad of ['', 'x', 'x\ty\n', 'x\0\n', '\ud800\n', 'x\r\n'])
      expect(() => signNote(bad, [counting])).toThrow('bad note text')
    expect(signed).toBe(0)
    expect(() => signNote(text, [])).toThrow('bad number of signatures')
    expect(() => signNote(text, [{ ...signer, name: 'a b' }])).toThrow('bad signature')
    expect(() => signNote(text, [{ ...signer, sign: () => new Uint8Array(0) }])).toThrow('bad signature')
  })

  test('notes taken apart go together again', () => {
    const two = signNote(text, [signer, makeSigner('other').signer])
    const parts = parseNote(two)
    expect(parseUtf8(formatNote(parts.text, parts.signatures))).toBe(parseUtf8(two))
    expect(openNote(two, [key]).unverified).toEqual([parts.signatures[1]])
  })
})
