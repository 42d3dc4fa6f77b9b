import { createHash } from 'node:crypto'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { formatVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { afterAll, describe, expect, test } from 'vitest'
import { type Files, nodeFiles } from './files.ts'
import { OperatorError } from './operator-error.ts'
import {
  type CheckpointSigner,
  createMemory,
  memoryPath,
  openSigner,
  type ProveConsistency,
  SignerRefusal,
  type TreeHead,
} from './signer.ts'
import { createSigningKey, writeSigningKey } from './signing-key.ts'

const ORIGIN = 'logs.example.com/a/v0'
const key = createSigningKey(ORIGIN, new Uint8Array(32).fill(7))
const identity = { origin: ORIGIN, key: formatVerifierKey(key.verifier) }
const directories: string[] = []

afterAll(() => Promise.all(directories.map((path) => rm(path, { recursive: true }))))

/** A log in memory, by the recursive definitions of RFC 6962, sections 2.1 and 2.1.2. */
class Tree {
  readonly leaves: string[]

  constructor(count: number, name = 'leaf') {
    this.leaves = Array.from({ length: count }, (_, i) => `${name} ${i}`)
  }

  head(size = this.leaves.length): TreeHead {
    return { size, root: hashTree(this.leaves.slice(0, size)) }
  }

  readonly prove: ProveConsistency = async (oldSize, newSize) =>
    oldSize === 0 || oldSize === newSize ? [] : subproof(oldSize, this.leaves.slice(0, newSize), true)
}

function hashTree(leaves: readonly string[]): Uint8Array {
  const hash = createHash('sha256')
  if (leaves.length === 1) hash.update('\0').update(leaves[0]!)
  if (leaves.length > 1) {
    const split = splitPoint(leaves.length)
    hash
      .update('\x01')
      .update(hashTree(leaves.slice(0, split)))
      .update(hashTree(leaves.slice(split)))
  }
  return new Uint8Array(hash.digest())
}

function subproof(m: number, leaves: readonly string[], whole: boolean): Uint8Array[] {
  if (m === leaves.length) return whole ? [] : [hashTree(leaves)]
  const split = splitPoint(leaves.length)
  const [left, right] = [leaves.slice(0, split), leaves.slice(split)]
  if (m <= split) return [...subproof(m, left, whole), hashTree(right)]
  return [...subproof(m - split, right, false), hashTree(left)]
}

function splitPoint(n: number): number {
  let split = 1
  while (split * 2 < n) split *= 2
  return split
}

async function signerDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-signer-'))
  directories.push(directory)
  await writeSigningKey(nodeFiles, directory, key)
  await createMemory(nodeFiles, directory, key)
  return directory
}

const open = (directory: string, files = nodeFiles): Promise<CheckpointSigner> =>
  openSigner({ directory, ...identity, files })

const refusal = async (promise: Promise<unknown>): Promise<SignerRefusal> => {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(SignerRefusal)
  return error as SignerRefusal
}

const never: ProveConsistency = async () => {
  throw new Error('no proof was expected to be asked for')
}

describe('signs', () => {
  test('every tree that extends the one before it, over every pair of sizes up to 9', async () => {
    const tree = new Tree(9)
    const directory = await signerDirectory()
    const memory = memoryPath(directory, ORIGIN)
    for (let from = 0; from <= 9; from++) {
      for (let to = from; to <= 9; to++) {
        await createMemory(nodeFiles, directory, key)
        const signer = await open(directory)
        await signer.sign(tree.head(from), tree.prove)
        const note = await signer.sign(tree.head(to), tree.prove)
        const { checkpoint } = openCheckpoint(note, policyOfLogs(key.verifier))
        expect(checkpoint).toEqual({ origin: ORIGIN, ...tree.head(to), extensions: [] })
        expect(new Uint8Array(await readFile(memory))).toEqual(note)
        expect(await signer.remembered()).toEqual(checkpoint)
      }
    }
  })

  test('the same tree again, with the same bytes and without a proof', async () => {
    const tree = new Tree(5)
    const signer = await open(await signerDirectory())
    const note = await signer.sign(tree.head(), tree.prove)
    expect(await signer.sign(tree.head(), never)).toEqual(note)
  })

  test('one after another when called at once, in the order of the calls', async () => {
    const tree = new Tree(30)
    const signer = await open(await signerDirectory())
    const asked: string[] = []
    const prove: ProveConsistency = async (oldSize, newSize) => {
      asked.push(`${oldSize}-${newSize}`)
      await new Promise((resolve) => setTimeout(resolve, 30 - newSize))
      return tree.prove(oldSize, newSize)
    }
    const sizes = [3, 7, 12, 30]
    await Promise.all(sizes.map((size) => signer.sign(tree.head(size), prove)))
    expect(asked).toEqual(['0-3', '3-7', '7-12', '12-30'])
    const settled = await Promise.allSettled([29, 30].map((size) => signer.sign(tree.head(size), prove)))
    expect(settled.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
  })
})

describe('refuses, and keeps its memory', () => {
  test('every smaller tree', async () => {
    const tree = new Tree(9)
    const directory = await signerDirectory()
    const signer = await open(directory)
    const note = await signer.sign(tree.head(), tree.prove)
    for (let size = 0; size < 9; size++) {
      for (const asked of [signer.sign(tree.head(size), never), signer.check(tree.head(size), never)]) {
        const error = await refusal(asked)
        expect(error).toMatchObject({
          code: 'behind',
          offered: { size },
          remembered: { size: 9 },
          exitCode: 1,
        })
        expect(error.hint).not.toBe('')
      }
    }
    expect(new Uint8Array(await readFile(memoryPath(directory, ORIGIN)))).toEqual(note)
  })

  test('another tree of the same size, and every extension of another tree', async () => {
    const [tree, other] = [new Tree(16), new Tree(16, 'other')]
    const directory = await signerDirectory()
    const signer = await open(directory)
    const note = await signer.sign(tree.head(7), tree.prove)
    for (let size = 7; size <= 16; size++) {
      expect((await refusal(signer.sign(other.head(size), other.prove))).code).toBe('fork')
      expect((await refusal(signer.check(other.head(size), other.prove))).code).toBe('fork')
      expect((await refusal(signer.sign(other.head(size), tree.prove))).code).toBe('fork')
    }
    expect(new Uint8Array(await readFile(memoryPath(directory, ORIGIN)))).toEqual(note)
  })

  test('a proof that is changed in any hash, too short or too long', async () => {
    const tree = new Tree(13)
    const signer = await open(await signerDirectory())
    await signer.sign(tree.head(6), tree.prove)
    const proof = await tree.prove(6, 13)
    const wrong = [
      proof.slice(1),
      proof.slice(0, -1),
      [],
      [...proof, proof[0]!],
      [...proof.slice(1), proof[0]!.subarray(1)],
      ...proof.map((_, at) => proof.map((hash, i) => (i === at ? hash.map((byte) => byte ^ 1) : hash))),
    ]
    for (const proof of wrong)
      expect((await refusal(signer.sign(tree.head(13), async () => proof))).code).toBe('fork')
    await signer.sign(tree.head(13), tree.prove)
  })

  test('an empty tree with a root, and a root of another length', async () => {
    const signer = await open(await signerDirectory())
    expect((await refusal(signer.sign({ size: 0, root: new Uint8Array(32) }, never))).code).toBe('fork')
    const short = { size: 3, root: new Uint8Array(31) }
    expect((await refusal(signer.sign(short, async () => []))).code).toBe('fork')
  })

  test('an old copy of a store, also when a copy of it went on elsewhere', async () => {
    const tree = new Tree(40)
    const directory = await signerDirectory()
    const first = await open(directory)
    await first.sign(tree.head(10), tree.prove)
    const copy = new Tree(10)
    await first.sign(tree.head(40), tree.prove)
    // A restart with the old copy of the data directory.
    const second = await open(directory)
    expect((await refusal(second.check(copy.head(), copy.prove))).code).toBe('behind')
    // It goes on with spans of its own, and is behind for as long as it is, and a fork from then on.
    for (let i = 10; i < 60; i++) copy.leaves.push(`after the restore ${i}`)
    expect((await refusal(second.sign(copy.head(39), copy.prove))).code).toBe('behind')
    expect((await refusal(second.sign(copy.head(40), copy.prove))).code).toBe('fork')
    expect((await refusal(second.sign(copy.head(60), copy.prove))).code).toBe('fork')
  })

  test('what another process has overtaken', async () => {
    const tree = new Tree(20)
    const directory = await signerDirectory()
    const [one, two] = [await open(directory), await open(directory)]
    await one.sign(tree.head(20), tree.prove)
    expect((await refusal(two.sign(tree.head(19), tree.prove))).code).toBe('behind')
  })

  test('nothing for long: what cannot be proven now may be proven later', async () => {
    const tree = new Tree(4)
    const signer = await open(await signerDirectory())
    await signer.sign(tree.head(2), tree.prove)
    await expect(signer.sign(tree.head(4), async () => Promise.reject(new Error('closed')))).rejects.toThrow(
      'closed',
    )
    await signer.sign(tree.head(4), tree.prove)
  })
})

describe('the memory is durable before the signature leaves', () => {
  /** Fails at the n-th write, sync, rename or directory sync, doing it first or not. */
  function failing(at: number, persist: boolean): { files: Files; calls: () => number } {
    let calls = 0
    const step = async <T>(work: () => Promise<T>): Promise<T> => {
      calls += 1
      if (calls !== at) return work()
      if (persist) await work()
      throw Object.assign(new Error('EIO: injected'), { code: 'EIO' })
    }
    const files: Files = {
      ...nodeFiles,
      rename: (from, to) => step(() => nodeFiles.rename(from, to)),
      fsyncDirectory: (path) => step(() => nodeFiles.fsyncDirectory(path)),
      async open(path, mode, permissions) {
        const file = await nodeFiles.open(path, mode, permissions)
        if (mode === 'read') return file
        return {
          ...file,
          write: (buffers, offset) => step(() => file.write(buffers, offset)),
          fdatasync: () => step(() => file.fdatasync()),
        }
      },
    }
    return { files, calls: () => calls }
  }

  test('whatever fails, no signature leaves, and the next attempt and a restart both go on', async () => {
    const tree = new Tree(8)
    const counter = failing(Number.NaN, false)
    const probe = await open(await signerDirectory(), counter.files)
    await probe.sign(tree.head(5), tree.prove)
    expect(counter.calls()).toBe(4)
    for (let at = 1; at <= counter.calls(); at++) {
      for (const persist of [false, true]) {
        const directory = await signerDirectory()
        await (await open(directory)).sign(tree.head(3), tree.prove)
        const signer = await open(directory, failing(at, persist).files)
        await expect(signer.sign(tree.head(5), tree.prove)).rejects.toThrow('injected')

        const restarted = await open(directory)
        const { size } = await restarted.remembered()
        expect([3, 5]).toContain(size)
        await restarted.check(tree.head(5), tree.prove)
        const note = await signer.sign(tree.head(5), tree.prove)
        expect(await restarted.sign(tree.head(5), never)).toEqual(note)
        expect((await signer.sign(tree.head(8), tree.prove)).length).toBeGreaterThan(0)
      }
    }
  })

  test('a crash after the memory and before publication: the same bytes are signed again', async () => {
    const tree = new Tree(6)
    const directory = await signerDirectory()
    const lost = await (await open(directory)).sign(tree.head(), tree.prove)
    const restarted = await open(directory)
    await restarted.check(tree.head(), never)
    expect(await restarted.sign(tree.head(), never)).toEqual(lost)
  })

  test('the same tree is synced again before it is signed again', async () => {
    const tree = new Tree(6)
    const directory = await signerDirectory()
    const counter = failing(Number.NaN, false)
    const signer = await open(directory, counter.files)
    await signer.sign(tree.head(), tree.prove)
    const before = counter.calls()
    await signer.sign(tree.head(), never)
    expect(counter.calls()).toBe(2 * before)
  })
})

describe('opening', () => {
  const failure = async (directory: string): Promise<OperatorError> => {
    const error = await open(directory).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(OperatorError)
    expect((error as OperatorError).hint).not.toBe('')
    return error as OperatorError
  }

  test('any changed or missing byte of the memory is found and the file named', async () => {
    const tree = new Tree(3)
    const directory = await signerDirectory()
    const signer = await open(directory)
    const note = await signer.sign(tree.head(), tree.prove)
    const path = memoryPath(directory, ORIGIN)
    for (let at = 0; at < note.length; at++) {
      for (const mask of [0x01, 0x20, 0x80]) {
        const flipped = note.slice()
        flipped[at]! ^= mask
        await writeFile(path, flipped)
        expect((await failure(directory)).message).toContain(path)
      }
      await writeFile(path, note.subarray(0, at))
      expect((await failure(directory)).message).toContain(path)
    }
    for (const more of [
      '\n',
      'x',
      '— other.example/log aaaaaaaa\n',
      Buffer.from(note).toString().split('\n\n')[1]!,
    ]) {
      await writeFile(path, Buffer.concat([note, Buffer.from(more)]))
      expect((await failure(directory)).message).toContain(path)
    }
    await writeFile(path, note)
    await open(directory)
  })

  test('damage while it runs is found before the next signature', async () => {
    const tree = new Tree(3)
    const directory = await signerDirectory()
    const signer = await open(directory)
    await writeFile(memoryPath(directory, ORIGIN), 'x')
    await expect(signer.sign(tree.head(), tree.prove)).rejects.toThrow(OperatorError)
  })

  test('a memory that is gone is no new beginning', async () => {
    const directory = await signerDirectory()
    const signer = await open(directory)
    await rm(join(directory, 'memory'), { recursive: true })
    expect((await failure(directory)).message).toContain(memoryPath(directory, ORIGIN))
    await expect(signer.sign(new Tree(1).head(), never)).rejects.toThrow(OperatorError)
  })

  test('the memory of another origin, put in its place, is not taken', async () => {
    const directory = await signerDirectory()
    const other = createSigningKey('logs.example.com/b/v0', new Uint8Array(32).fill(7))
    await createMemory(nodeFiles, directory, other)
    expect(await readdir(join(directory, 'memory'))).toHaveLength(2)
    await cp(memoryPath(directory, 'logs.example.com/b/v0'), memoryPath(directory, ORIGIN))
    await failure(directory)
  })

  test('no key, and the key of another log', async () => {
    const directory = await signerDirectory()
    await writeSigningKey(nodeFiles, directory, createSigningKey(ORIGIN, new Uint8Array(32).fill(8)))
    expect((await failure(directory)).message).toContain(join(directory, 'key'))
    await rm(join(directory, 'key'))
    expect((await failure(directory)).message).toContain(join(directory, 'key'))
  })
})
