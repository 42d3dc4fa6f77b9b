/** Runs the files of test/vectors/tlog: what other people published first, then our own. */
import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { concatBytes, formatBase64, formatHex, parseBase64, parseHex, parseUtf8, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { formatCheckpoint, openCheckpoint, parseCheckpoint } from './checkpoint.ts'
import {
  formatKeyId,
  formatSignerKey,
  formatVerifierKey,
  parseSignerKey,
  parseVerifierKey,
  verifierKey,
} from './key.ts'
import { leafHash, treeRoot } from './merkle.ts'
import { formatNote, openNote, parseNote, signNote } from './note.ts'
import { formatPolicy, parsePolicy } from './policy.ts'
import { proveRange, verifyConsistency, verifyInclusion, verifyRange } from './proof.ts'
import { entriesPath, parseEntriesPath, parseTilePath, tilePath, tilesOf } from './tile.ts'
import { TileTree } from './tile-tree.ts'
import { formatTlogProof, parseTlogProof, verifyTlogProof } from './tlog-proof.ts'

// biome-ignore lint/suspicious/noExplicitAny: JSON, whose shape the tests themselves check
type Json = any

/** A list of cases; {@link loadLists} for the files that hold several lists. */
function load(name: string): Json[] {
  return read(name)
}

function loadLists(name: string): Record<string, Json[]> {
  return read(name)
}

function read(name: string): Json {
  return JSON.parse(
    readFileSync(new URL(`../../../../test/vectors/tlog/${name}.json`, import.meta.url), 'utf8'),
  )
}

/** What comes of a call: its value, `malformed`, or the code of a failed verification. */
function outcome<T>(run: () => T): { result: string; value?: T } {
  try {
    return { result: 'ok', value: run() }
  } catch (error) {
    if (error instanceof MalformedError) return { result: 'malformed' }
    if (error instanceof VerificationError) return { result: error.code }
    throw error
  }
}

function ed25519Key(seed: Uint8Array) {
  const pkcs8 = concatBytes(parseHex('302e020100300506032b657004220420'), seed)
  return createPrivateKey({ key: Buffer.from(pkcs8), format: 'der', type: 'pkcs8' })
}

function publicKeyOf(seed: Uint8Array): Uint8Array {
  return createPublicKey(ed25519Key(seed)).export({ format: 'der', type: 'spki' }).subarray(-32)
}

describe('merkle', () => {
  const { ct, sequence } = read('merkle')

  test('the tree of Certificate Transparency', () => {
    const leaves = ct.entriesHex.map((entry: string) => leafHash(parseHex(entry)))
    for (const [size, root] of ct.rootsHex.entries())
      expect(formatHex(treeRoot(leaves.slice(0, size)))).toBe(root)
  })

  test('70,000 entries, and the checkpoint over them', () => {
    const tree = new TileTree()
    for (let i = 0; i < sequence.size; i++)
      tree.append(leafHash(utf8(JSON.stringify({ i, span: 'x'.repeat(i % 40) }))))
    expect(formatBase64(tree.root())).toBe(sequence.root)
    expect(tree.takeChanged()).toHaveLength(sequence.tiles)
    expect([...tilesOf(sequence.size)]).toHaveLength(sequence.tiles)
    const seed = parseHex(sequence.seedHex)
    const { name, keyId } = verifierKey('example.com/gov-log', 1, publicKeyOf(seed))
    const text = formatCheckpoint({ origin: name, size: tree.size, root: tree.root(), extensions: [] })
    const note = signNote(text, [{ name, keyId, sign: (message) => sign(null, message, ed25519Key(seed)) }])
    expect(parseUtf8(note)).toBe(
      `example.com/gov-log\n70000\n${sequence.root}\n\n\u2014 ${name} ${sequence.signature}\n`,
    )
    expect(openNote(note, [parseVerifierKey(sequence.vkey)]).signatures).toHaveLength(1)
  })
})

test.each(load('inclusion'))('inclusion: $name', (v) => {
  const proof = (v.proof ?? []).map((hash: string) => parseBase64(hash))
  const verify = () =>
    verifyInclusion(parseBase64(v.leafHash), v.leafIdx, v.treeSize, proof, parseBase64(v.root))
  expect(outcome(verify).result).toBe(v.wantErr ? 'inclusion' : 'ok')
})

test.each(load('consistency'))('consistency: $name', (v) => {
  const proof = (v.proof ?? []).map((hash: string) => parseBase64(hash))
  const verify = () => verifyConsistency(v.size1, parseBase64(v.root1), v.size2, parseBase64(v.root2), proof)
  // One case holds two equal roots of 11 bytes to be consistent; here a root is 32 bytes.
  const isHash = parseBase64(v.root1).length === 32
  expect(outcome(verify).result).toBe(v.wantErr || !isHash ? 'consistency' : 'ok')
})

test.each(load('ranges'))('range: $name', async (v) => {
  const leaves = concatBytes(...v.leafHashes.map((hash: string) => parseBase64(hash)))
  const proof = v.proof.map((hash: string) => parseBase64(hash))
  const verify = () => verifyRange(leaves, v.start, v.size, proof, parseBase64(v.root))
  expect(outcome(verify).result).toBe(v.valid ? 'ok' : 'inclusion')
  if (!v.valid) return
  const tile = concatBytes(...Array.from({ length: v.size }, (_, i) => leafHash(utf8(`entry ${i}`))))
  const own = await proveRange(v.start, v.start + v.leafHashes.length, v.size, () => tile)
  expect(own.map(formatBase64)).toEqual(v.proof)
})

describe('paths', () => {
  const { tiles, entries, invalidTiles, invalidEntries } = loadLists('paths')

  test.each(tiles!)('$path', ({ path, level, index, width }) => {
    expect(parseTilePath(path)).toEqual({ level, index, width })
    expect(tilePath(level, index, width)).toBe(path)
  })

  test.each(entries!)('$path', ({ path, index, width }) => {
    expect(parseEntriesPath(path)).toEqual({ index, width })
    expect(entriesPath(index, width)).toBe(path)
  })

  test.each(invalidTiles!)('no tile: %j', (path) => {
    expect(() => parseTilePath(path)).toThrow(MalformedError)
  })

  test.each(invalidEntries!)('no bundle: %j', (path) => {
    expect(() => parseEntriesPath(path)).toThrow(MalformedError)
  })
})

describe('keys', () => {
  const { valid, invalid, private: secret } = loadLists('keys')

  test.each(valid!)('$name', ({ vkey, keyName, keyIdHex, type }) => {
    const key = parseVerifierKey(vkey)
    expect([key.name, formatKeyId(key.keyId), key.type]).toEqual([keyName, keyIdHex, type])
    expect(formatVerifierKey(key)).toBe(vkey)
  })

  test.each(invalid!)('refused: $name', ({ vkey }) => {
    expect(() => parseVerifierKey(vkey)).toThrow(MalformedError)
  })

  test.each(secret!)('private: $name', ({ skey, vkey }) => {
    const key = parseSignerKey(skey, publicKeyOf)
    expect(formatSignerKey(key)).toBe(skey)
    expect(formatVerifierKey(verifierKey(key.name, 1, publicKeyOf(key.seed)))).toBe(vkey)
  })
})

test.each(load('notes'))('note: $name', (v) => {
  const bytes = parseBase64(v.note)
  const { result, value } = outcome(() => openNote(bytes, v.vkeys.map(parseVerifierKey)))
  expect(result).toBe(v.result)
  if (value === undefined) return
  expect(formatBase64(utf8(value.text))).toBe(v.text)
  expect([value.signatures.length, value.unverified.length]).toEqual([v.verified, v.unverified])
  const note = parseNote(bytes)
  expect(formatBase64(formatNote(note.text, note.signatures))).toBe(v.note)
})

test.each(load('checkpoints'))('checkpoint: $name', (v) => {
  const { result, value } = outcome(() => openCheckpoint(parseBase64(v.checkpoint), parsePolicy(v.policy)))
  expect(result).toBe(v.result)
  if (value === undefined) return
  const { origin, size, root, extensions } = value.checkpoint
  expect([origin, size, formatBase64(root), extensions]).toEqual([v.origin, v.size, v.root, v.extensions])
  expect(value.unverified).toHaveLength(v.unverified)
  const { text } = parseNote(parseBase64(v.checkpoint))
  expect(formatCheckpoint(parseCheckpoint(text))).toBe(text)
})

describe('policies', () => {
  const { valid, invalid } = loadLists('policies')
  const parse = (v: Json) => parsePolicy(v.policy ?? parseBase64(v.policyBytes))

  test.each(valid!)('$name', (v) => {
    const policy = parse(v)
    expect([policy.logs.length, policy.witnesses.length]).toEqual([v.logs, v.witnesses])
    expect(policy.groups).toEqual(v.groups)
    expect(policy.quorum ?? null).toBe(v.quorum)
    expect(parsePolicy(formatPolicy(policy))).toEqual(policy)
  })

  test.each(invalid!)('refused: $name', (v) => {
    expect(() => parse(v)).toThrow(MalformedError)
  })
})

test.each(load('tlog-proofs'))('tlog-proof: $name', (v) => {
  const bytes = parseBase64(v.proof)
  const policy = parsePolicy(v.policy)
  const { result, value } = outcome(() =>
    verifyTlogProof(parseTlogProof(bytes), parseBase64(v.leafHash), policy),
  )
  expect(result).toBe(v.result)
  if (value === undefined) return
  const proof = parseTlogProof(bytes)
  expect([proof.index, value.checkpoint.size]).toEqual([v.index, v.size])
  expect(proof.extra && formatBase64(proof.extra)).toBe(v.extra)
  expect(formatBase64(formatTlogProof(proof))).toBe(v.proof)
})
