/**
 * Packs with each of their durable operations failing: whatever a commit was told to be durable is there after a
 * crash and a cut, and nothing else is.
 */
import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  type BlockRef,
  openPacks,
  PackFailed,
  type Packs,
  type PackTail,
} from '../../packages/collector/src/pack.ts'
import { type Fault, type FaultyFiles, faultyFiles, unsyncedFiles } from './files.ts'

const base = fs.mkdtempSync(join(tmpdir(), 'rootspan-pack-faults-'))
afterAll(() => fs.rmSync(base, { recursive: true }))

/** What a store would keep: written at once after each sync, as a commit is. */
interface Commit {
  tails: PackTail[]
  readonly blocks: { ref: BlockRef; number: number }[]
}

const bodyOf = (number: number) => Buffer.alloc(90, `block ${number}. `)

async function open(directory: string, files: FaultyFiles, commit: Commit): Promise<Packs> {
  const packs = await openPacks({ directory, files, log: { info() {}, warn() {} }, maxPackBytes: 220 })
  await packs.cut(commit.tails)
  return packs
}

let number = 0

/** Some commits of some blocks each; a batch that finds no room is not committed, and may be tried again. */
async function scenario(directory: string, files: FaultyFiles, commit: Commit): Promise<void> {
  for (const day of ['20261122', '20261122', '20261123']) {
    const packs = await open(directory, files, commit)
    for (const count of [1, 3, 2]) {
      const numbers = Array.from({ length: count }, () => number++)
      const blocks: Commit['blocks'] = []
      try {
        const refs = await packs.append(numbers.map(bodyOf), day)
        for (const [i, ref] of refs.entries()) blocks.push({ ref, number: numbers[i]! })
      } catch (error) {
        if (error instanceof PackFailed) throw error
        continue
      }
      await packs.sync()
      commit.tails = packs.tails()
      commit.blocks.push(...blocks)
    }
    await packs.shutdown()
  }
}

async function check(directory: string, files: FaultyFiles, commit: Commit): Promise<void> {
  const packs = await open(directory, files, commit)
  const walked = packs.packs().flatMap((pack) => [...packs.walk(pack)])
  expect(walked.map(({ ref }) => ref)).toEqual(
    commit.blocks.map(({ ref }) => ref).sort((a, b) => a.pack - b.pack || a.offset - b.offset),
  )
  for (const { ref, number } of commit.blocks)
    expect(Buffer.from(await packs.read(ref, 1000)).equals(bodyOf(number))).toBe(true)
  const [ref] = await packs.append([bodyOf(number)], '20261124')
  await packs.sync()
  commit.blocks.push({ ref: ref!, number: number++ })
  commit.tails = packs.tails()
  await packs.shutdown()
}

async function runWith(fault: Fault, cut: 'killed' | 'power cut' | 'sectors'): Promise<boolean> {
  const directory = await mkdtemp(join(base, 'p-'))
  const files = faultyFiles(unsyncedFiles, directory)
  const commit: Commit = { tails: [], blocks: [] }
  files.fail(fault)
  try {
    await scenario(directory, files, commit)
  } catch (error) {
    if (!(error instanceof Error && ('code' in error || error instanceof PackFailed))) throw error
  }
  const { struck } = files
  let state = fault.at + 1
  const coin = () => {
    state = (state * 48_271) % 0x7fff_ffff
    return state % 2 === 0
  }
  for (let round = 0; struck && round < 2; round++) {
    files.fail(undefined)
    if (cut === 'killed') await files.kill()
    else await files.powerCut(cut === 'power cut' ? () => false : coin)
    await check(directory, files, commit)
  }
  fs.rmSync(directory, { recursive: true })
  return struck
}

describe('packs, each durable operation failing', () => {
  for (const code of ['EIO', 'ENOSPC'])
    for (const how of ['lost', 'kept', 'torn'] as const)
      for (const cut of ['killed', 'power cut', 'sectors'] as const)
        test(`${code}, ${how}, then ${cut}`, async () => {
          let at = 0
          while (await runWith({ at, how, code }, cut)) at++
          expect(at).toBeGreaterThan(25)
        })
})
