/** Other people's code, and our auditor, read the log of a collector that runs, while it grows. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import type { Policy } from '@rootspan/lineage/tlog/policy'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasGo, pairsOf, runGoAudit } from '../interop/go.ts'
import { cleanUp, makeDirectory, waitFor } from './process.ts'
import {
  type CollectorProcess,
  initialise,
  readCheckpoint,
  runVerifier,
  startCollectorProcess,
} from './support.ts'
import { sendTrace } from './traffic.ts'

let collector: CollectorProcess
let policy: Policy

beforeAll(async () => {
  const directory = await makeDirectory()
  const made = await initialise(directory)
  policy = made.policy
  await writeFile(join(directory, 'auditor.policy'), made.text)
  collector = await startCollectorProcess({ directory, init: false, quietPeriod: '50ms' })
}, 120_000)

afterAll(async () => {
  await collector?.stop()
  await cleanUp()
}, 120_000)

/** Tree size of the latest checkpoint; 0 before the first. */
async function signedSize(): Promise<number> {
  const note = await readCheckpoint(collector)
  return Buffer.from(note).includes('\n\n') ? openCheckpoint(note, policy).checkpoint.size : 0
}

/** Sends traces until the signed log is at least so long. A trace has one leaf more than spans: its seal. */
async function growTo(size: number): Promise<void> {
  const signed = await signedSize()
  for (let leaves = signed; leaves < size; leaves += 201) await sendTrace(collector, 200)
  await waitFor(`the log to grow from ${signed} to ${size} leaves`, async () =>
    (await signedSize()) >= size ? true : undefined,
  )
}

/** Sends small traces without a pause until it is told to stop; resolves to how many there were. */
function keepSending(): () => Promise<number> {
  let isStopped = false
  const sending = (async () => {
    let sent = 0
    for (; !isStopped; sent++) await sendTrace(collector, 1 + (sent % 5))
    return sent
  })()
  sending.catch(() => {})
  return () => {
    isStopped = true
    return sending
  }
}

async function audit(): Promise<{ origin: string; treeSize: number }> {
  const { code, stdout, stderr } = await runVerifier(
    ['audit', `${collector.api}/log`, '--policy', 'auditor.policy', '--json'],
    collector.directory,
  )
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  return JSON.parse(stdout)
}

describe.each([2, 300, 1000, 5000, 70_000])('a log of %i leaves and more', (size) => {
  beforeAll(() => growTo(size), 120_000)

  test.skipIf(!hasGo())('is read by Go, every leaf, while it grows', { timeout: 180_000 }, async () => {
    const stop = keepSending()
    const found = await runGoAudit(`${collector.api}/log/`, collector.vkey)
    expect(await stop()).toBeGreaterThan(0)
    expect(found.origin).toBe(collector.origin)
    expect(found.size).toBeGreaterThanOrEqual(size)
    expect(found).toMatchObject({ entries: found.size, inclusions: found.size })
    expect(found.bundles).toBe(Math.ceil(found.size / 256))
    expect(found.consistencies).toBe(found.size)
    expect(found.checkpoints).toBeGreaterThanOrEqual(1)
    expect(found.pairs).toBe(pairsOf(found.checkpoints))
  })

  test('is audited by the command, every checkpoint, while it grows', { timeout: 180_000 }, async () => {
    const stop = keepSending()
    const found = await audit()
    expect(await stop()).toBeGreaterThan(0)
    expect(found.origin).toBe(collector.origin)
    expect(found.treeSize).toBeGreaterThanOrEqual(size)
  })
})

test('neither takes another log’s key', { timeout: 120_000 }, async () => {
  const other = (await initialise(await makeDirectory())).text
  const vkey = /\S+\+[0-9a-f]{8}\+\S+/.exec(other)![0]
  if (hasGo()) await expect(runGoAudit(`${collector.api}/log/`, vkey)).rejects.toThrow('checkpoint')
  await writeFile(join(collector.directory, 'other.policy'), other)
  const args = ['audit', `${collector.api}/log`, '--policy', 'other.policy']
  const { code, stderr } = await runVerifier(args, collector.directory)
  expect(code).toBe(1)
  expect(stderr).toContain('checkpoint')
})
