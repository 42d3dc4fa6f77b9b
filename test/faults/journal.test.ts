/**
 * The journal with each of its durable operations failing, one at a time, in every way; then the end of the process,
 * or of the power, and a restart. Nothing acknowledged is missing, nothing is there twice, nothing refused appears.
 */
import fs from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { journalContract } from '../../packages/collector/src/journal/contract.ts'
import { JournalFailed, JournalFull } from '../../packages/collector/src/journal/errors.ts'
import { type Journal, openJournal } from '../../packages/collector/src/journal/journal.ts'
import { JournalReader } from '../../packages/collector/src/journal/reader.ts'
import { type Fault, type FaultyFiles, faultyFiles, unsyncedFiles } from './files.ts'

const base = fs.mkdtempSync(join(tmpdir(), 'rootspan-faults-'))
afterAll(() => fs.rmSync(base, { recursive: true }))
const directory = () => mkdtemp(join(base, 'f-'))

const silent = { info() {}, warn() {} }
interface Run {
  readonly files: FaultyFiles
  now: number
  /** Body number by position, for what was acknowledged. */
  readonly acknowledged: Map<number, number>
  readonly refused: Set<number>
  next: number
  trimmed: number
}

function open(path: string, run: Run): Promise<Journal> {
  return openJournal({
    directory: path,
    files: run.files,
    log: silent,
    segmentBytes: 620,
    maxBytes: 1e6,
    minFreeBytes: 0,
    now: () => run.now,
  })
}

/** Three journals' worth of appends, trims and shutdowns; ends early when the journal does. */
async function scenario(path: string, run: Run): Promise<void> {
  for (const groups of [[1, 2, 3, 1], [3, 1, 4, 2], [2]]) {
    const journal = await open(path, run)
    for (const count of groups) {
      await appendGroup(journal, run, count)
      run.now += 2000
      journal.full()
      await new Promise((resolve) => setImmediate(resolve))
    }
    const before = journal.durableEnd - 3
    run.trimmed = Math.max(run.trimmed, before)
    await journal.trim(before)
    await journal.close()
  }
}

async function appendGroup(journal: Journal, run: Run, count: number): Promise<void> {
  const numbers = Array.from({ length: count }, () => run.next++)
  const results = await Promise.allSettled(
    numbers.map((number) =>
      journal.append({ seed: new Uint8Array(32), receipt: new Uint8Array(2), body: bodyOf(number) }),
    ),
  )
  let failure: unknown
  for (const [i, result] of results.entries()) {
    if (result.status === 'fulfilled') run.acknowledged.set(result.value, numbers[i]!)
    else if (result.reason instanceof JournalFull) run.refused.add(numbers[i]!)
    else failure = result.reason
  }
  if (failure !== undefined) throw failure
}

const bodyOf = (number: number) => Buffer.alloc(60, `body ${number}.`)

/**
 * Restarts on what is left and reads all of it; crashes at once and restarts again: what the first restart called
 * durable is. Then goes on.
 */
async function check(path: string, run: Run, how: Crash, seed: number): Promise<void> {
  run.files.fail(undefined)
  run.files.dieAfter(undefined)
  await restart(path, run)
  await crash(run, how === 'killed' ? 'power cut' : how, seed)
  const first = await restart(path, run)
  expect(first).toBeLessThanOrEqual(run.trimmed)
  const journal = await open(path, run)
  const end = journal.durableEnd
  await appendGroup(journal, run, 1)
  expect(run.acknowledged.get(end)).toBe(run.next - 1)
  await journal.close()
}

/** The first position that is left, after everything from there on was looked at. */
async function restart(path: string, run: Run): Promise<number> {
  const journal = await open(path, run)
  const end = journal.durableEnd
  const first = Number(fs.readdirSync(path).sort()[0]!.slice(0, 16))
  const seen = new Map<string, number>()
  const reader = new JournalReader({ directory: path, from: first })
  while (reader.next < end)
    for (const frame of reader.read(end, 1e6)) {
      const body = Buffer.from(frame.body).toString()
      expect(seen.has(body), `${body.slice(0, 8)} is twice`).toBe(false)
      seen.set(body, frame.position)
    }
  reader.close()
  for (const [position, number] of run.acknowledged)
    if (position >= first) expect(seen.get(bodyOf(number).toString())).toBe(position)
  for (const number of run.refused) expect(seen.has(bodyOf(number).toString())).toBe(false)
  expect(end).toBeGreaterThan(Math.max(-1, ...run.acknowledged.keys()))
  for (const [body, position] of seen) run.acknowledged.set(position, Number(/^body ([0-9]+)/.exec(body)![1]))
  return first
}

async function start(path: string): Promise<Run> {
  const files = faultyFiles(unsyncedFiles, path)
  files.setFree(1e12)
  return { files, now: 0, acknowledged: new Map(), refused: new Set(), next: 0, trimmed: 0 }
}

type Crash = 'killed' | 'power cut' | 'power cut, some sectors written'

async function crash(run: Run, how: Crash, seed: number): Promise<void> {
  if (how === 'killed') return run.files.kill()
  let state = seed + 1
  const coin = () => {
    state = (state * 48_271) % 0x7fff_ffff
    return state % 2 === 0
  }
  return run.files.powerCut(how === 'power cut' ? () => false : coin)
}

/** One scenario with a fault, and death so many operations after it; false when the fault never came. */
async function runWith(fault: Fault, how: Crash, alive?: number): Promise<boolean> {
  const path = await directory()
  const run = await start(path)
  run.files.fail(fault)
  if (alive !== undefined) run.files.dieAfter(fault.at + 1 + alive)
  try {
    await scenario(path, run)
  } catch (error) {
    // A failure is the journal's word, or the system's own where a call is not about frames.
    if (!(error instanceof JournalFailed) && !(error instanceof Error && 'code' in error)) throw error
  }
  const { struck } = run.files
  if (struck) {
    await crash(run, how, fault.at)
    await check(path, run, how, fault.at)
    await crash(run, how, fault.at + 1)
    await check(path, run, how, fault.at)
  }
  fs.rmSync(path, { recursive: true })
  return struck
}

const CRASHES = ['killed', 'power cut', 'power cut, some sectors written'] as const

describe('journal, each durable operation failing', () => {
  for (const code of ['EIO', 'ENOSPC'])
    for (const how of ['lost', 'kept', 'torn'] as const)
      for (const after of CRASHES)
        test(`${code}, ${how}, then ${after}`, async () => {
          let at = 0
          while (await runWith({ at, how, code }, after)) at++
          expect(at).toBeGreaterThan(40)
        })
})

describe('journal, no room, and dead a few operations later', () => {
  for (const how of ['lost', 'kept', 'torn'] as const)
    for (const alive of [1, 2, 4, 7])
      test(`${how}, ${alive} operations`, async () => {
        let at = 0
        while (await runWith({ at, how, code: 'ENOSPC' }, 'power cut, some sectors written', alive)) at++
      })
})

describe('journal, dying between any two operations', () => {
  for (const after of CRASHES.slice(1))
    test(after, async () => {
      let at = 0
      while (await runWith({ at, how: 'lost' }, after, 0)) at++
    })
})

describe('journal on short writes', () => {
  journalContract(test, async () => {
    const path = await directory()
    const files = faultyFiles(unsyncedFiles, path)
    files.shortWrites(33)
    return {
      open: (more) =>
        openJournal({
          directory: path,
          files,
          log: silent,
          segmentBytes: 700,
          maxBytes: 1e6,
          minFreeBytes: 0,
          ...more,
        }),
      async read(from, until) {
        const reader = new JournalReader({ directory: path, from })
        const frames = []
        while (reader.next < until) frames.push(...reader.read(until, 1000))
        reader.close()
        return frames
      },
      // The power goes with the process: only what was synced is left.
      kill: () => files.powerCut(),
    }
  })
})
