import { createPublicKey, verify } from 'node:crypto'
import { chmod, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from '@rootspan/lineage/bytes'
import { MalformedError } from '@rootspan/lineage/errors'
import { formatVerifierKey } from '@rootspan/lineage/tlog/key'
import { expect, test } from 'vitest'
import { nodeFiles } from './files.ts'
import { OperatorError } from './operator-error.ts'
import {
  checkSigningKey,
  createSigningKey,
  formatKeyFile,
  KEY_FILE,
  parseKeyFile,
  readSigningKey,
  writeSigningKey,
} from './signing-key.ts'

const SEED = new Uint8Array(32).fill(7)
const key = createSigningKey('example.com/gov-log', SEED)

// Made with golang.org/x/mod/sumdb/note.
const GO_VERIFIER = 'example.com/gov-log+ab5f961c+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs'
const GO_TEXT = 'example.com/gov-log\n70000\nDBUTmvy+RR1MuHWmEI9DZQMV7E7FfVcu3qw+fGymFJo=\n'
const GO_SIGNATURE =
  'q1+WHL3mKsb1Va5YQv6rafjDMFJHFLeqhjfkJCzSRHVMnaRnw7//cgwIFSjWb6BDVF4mcCO/nWa+j52ba8UvqxJCuwc='

const directory = () => mkdtemp(join(tmpdir(), 'rootspan-key-'))

test('gives the key and the signature that Go gives', () => {
  expect(formatVerifierKey(key.verifier)).toBe(GO_VERIFIER)
  // The key id comes first on a note's signature line.
  const signature = Buffer.from(GO_SIGNATURE, 'base64').subarray(4)
  expect(Buffer.from(key.signer.sign(utf8(GO_TEXT))).equals(signature)).toBe(true)
})

test('signs what node:crypto verifies with the public half', () => {
  const x = Buffer.from(key.verifier.publicKey).toString('base64url')
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  expect(verify(null, utf8('abc'), publicKey, key.signer.sign(utf8('abc')))).toBe(true)
})

test('parses back what it formats, and no text with another byte', () => {
  const bytes = formatKeyFile(key)
  expect(parseKeyFile(bytes).privateText).toBe(key.privateText)
  for (let at = 0; at < bytes.length; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const flipped = bytes.slice()
      flipped[at]! ^= 1 << bit
      expect(() => parseKeyFile(flipped), `byte ${at}, bit ${bit}`).toThrow(MalformedError)
    }
    expect(() => parseKeyFile(bytes.subarray(0, at))).toThrow(MalformedError)
  }
  expect(() => parseKeyFile(utf8(`${key.privateText}\n\n`))).toThrow(MalformedError)
})

test('no error holds a part of the private key', () => {
  const bytes = formatKeyFile(key)
  const secret = key.privateText.slice(-44)
  for (let at = 0; at < bytes.length; at++) {
    const flipped = bytes.slice()
    flipped[at]! ^= 1
    try {
      parseKeyFile(flipped)
    } catch (error) {
      for (let i = 0; i + 8 <= secret.length; i++) expect(String(error)).not.toContain(secret.slice(i, i + 8))
    }
  }
})

test('is written for its owner only, and read back', async () => {
  const path = await directory()
  await writeSigningKey(nodeFiles, path, key)
  expect((await stat(join(path, KEY_FILE))).mode & 0o777).toBe(0o600)
  expect((await readSigningKey(nodeFiles, path))?.privateText).toBe(key.privateText)
  expect(await readFile(join(path, KEY_FILE), 'utf8')).toBe(`${key.privateText}\n`)
})

test('is undefined where there is none', async () => {
  expect(await readSigningKey(nodeFiles, await directory())).toBeUndefined()
  expect(await readSigningKey(nodeFiles, '/does/not/exist')).toBeUndefined()
})

test.each([0o604, 0o640, 0o660, 0o602, 0o601, 0o610, 0o644, 0o666, 0o777])(
  'is refused with mode %o, and the command that helps is named',
  async (mode) => {
    const path = await directory()
    await writeSigningKey(nodeFiles, path, key)
    await chmod(join(path, KEY_FILE), mode)
    const error = await readSigningKey(nodeFiles, path).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(OperatorError)
    expect((error as OperatorError).hint).toBe(`Run: chmod 600 ${join(path, KEY_FILE)}`)
  },
)

test.each([0o600, 0o400])('is taken with mode %o', async (mode) => {
  const path = await directory()
  await writeSigningKey(nodeFiles, path, key)
  await chmod(join(path, KEY_FILE), mode)
  expect(await readSigningKey(nodeFiles, path)).toBeDefined()
})

test('a damaged or oversized file is named', async () => {
  const path = await directory()
  for (const content of ['', 'x', 'A'.repeat(5000)]) {
    await writeFile(join(path, KEY_FILE), content, { mode: 0o600 })
    const error = await readSigningKey(nodeFiles, path).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(OperatorError)
    expect((error as OperatorError).message).toContain(join(path, KEY_FILE))
  }
})

test('another key, or the same under another name, is not the key of a log', () => {
  expect(() => checkSigningKey(key, GO_VERIFIER, 'd')).not.toThrow()
  const other = createSigningKey('example.com/gov-log', new Uint8Array(32).fill(8))
  const renamed = createSigningKey('example.com/other', SEED)
  for (const { verifier } of [other, renamed])
    expect(() => checkSigningKey(key, formatVerifierKey(verifier), 'd')).toThrow(OperatorError)
})
