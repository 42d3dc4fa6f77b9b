/** What a newcomer and an operator see of the command: first start, second start, refusals, shutdown, receipts. */
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { formatHex } from '@rootspan/lineage/bytes'
import { type Checkpoint, openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { verify } from '@rootspan/lineage/verify'
import { afterAll, describe, expect, test } from 'vitest'
import { root } from '../../scripts/workspace.ts'
import { cleanUp, makeDirectory, runProgram, startProgram, waitFor } from './process.ts'
import {
  type CollectorProcess,
  downloadEvidence,
  initialise,
  readCheckpoint,
  readIdentity,
  runArguments,
  runRootspan,
  runVerifier,
  startCollectorProcess,
  startRootspan,
  waitForTrace,
} from './support.ts'
import { sendTrace } from './traffic.ts'
import { parentsOf } from './tree.ts'

const LONG = { timeout: 120_000 }

afterAll(cleanUp)

function policyOf({ vkey }: CollectorProcess) {
  return policyOfLogs(parseVerifierKey(vkey))
}

async function checkpointOf(collector: CollectorProcess): Promise<Checkpoint> {
  return openCheckpoint(await readCheckpoint(collector), policyOf(collector)).checkpoint
}

describe('npm start', () => {
  test('makes a log and says so, shows what one needs, and the line to try works', LONG, async () => {
    const directory = await makeDirectory()
    const config = join(directory, 'rootspan.yaml')
    await writeFile(config, 'logs: { format: pretty }\n')
    const places = ['--data', join(directory, 'data'), '--signer', join(directory, 'signer')]
    const args = ['start', '--', ...runArguments().slice(2), ...places, '-c', config]
    const started = startProgram('npm', args, { group: true })
    const [, line] = await started.says(/see it verified:\n +(\S.*)\n/)

    const { origin, key } = await readIdentity(directory, 'data')
    expect(started.stdout).toContain(`Made a new log ${origin}\n`)
    for (const text of [join(directory, 'data'), join(directory, 'signer'), `log ${key}`])
      expect(started.stdout).toContain(text)
    for (const pattern of [
      /OTLP\/gRPC +127\.0\.0\.1:\d+/,
      /OTLP\/HTTP +http:\/\/127\.0\.0\.1:\d+/,
      /API +http:\/\/127\.0\.0\.1:\d+/,
    ])
      expect(started.stdout).toMatch(pattern)
    expect(started.stdout).toContain(` ${origin}\n`)
    expect(started.stdout).toContain(` ${key}\n`)

    const tried = await runProgram('sh', ['-c', line!], { cwd: root })
    expect(tried.code, tried.stdout + tried.stderr).toBe(0)
    expect(tried.stdout).toMatch(/^sent +3 spans of trace [0-9a-f]{32}/m)
    expect(tried.stdout).toMatch(/^verified +\d+ records/m)
    expect(tried.stdout).toContain('POST /refunds')
    expect(tried.stdout).toContain("the collector's own word for its own key")

    // As Ctrl-C does.
    started.signal('SIGINT')
    await started.ends()
    expect(started.stdout).toMatch(/ stopped\n$/)
  })

  test('SIGTERM to npm alone, as a supervisor sends it, ends the collector, too', LONG, async () => {
    const directory = await makeDirectory()
    const places = ['--data', join(directory, 'data'), '--signer', join(directory, 'signer')]
    const args = ['start', '--', ...runArguments().slice(2), ...places]
    const started = startProgram('npm', args, { group: true })
    await started.says(/"msg":"running"/)
    started.signal('SIGTERM', { alone: true })
    // Its output ends when the collector has ended, not only npm.
    await started.ends(20_000)
    expect(started.stdout).toMatch(/"msg":"stopped"\}\n$/)
  })

  test('a second start goes on with the same log', LONG, async () => {
    const directory = await makeDirectory()
    const first = await startCollectorProcess({ directory })
    expect(first.process.stdout).toContain('"msg":"made a new log"')
    const made = await readIdentity(directory)
    expect({ origin: first.origin, key: first.vkey }).toEqual({ origin: made.origin, key: made.key })
    await first.stop()

    const second = await startCollectorProcess({ directory })
    expect(second.process.stdout).not.toContain('made a new log')
    expect(second.vkey).toBe(first.vkey)
    expect(await readIdentity(directory)).toEqual(made)
    await second.stop()
  })
})

describe('a start that is refused says why, and what to do', LONG, () => {
  test('run without a log', async () => {
    const directory = await makeDirectory()
    const { code, stdout, stderr } = await runRootspan(runArguments({ init: false }), directory)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      'error: there is no log in ./rootspan-data yet, and none is made by accident\nRun: rootspan init\n',
    )
    expect(await readdir(directory)).toEqual([])
  })

  test('init where a log is', async () => {
    const directory = await makeDirectory()
    const { said } = await initialise(directory)
    expect(said).toContain('Start the collector with: rootspan run')
    const before = await readIdentity(directory)
    const { code, stderr } = await runRootspan(['init'], directory)
    expect(code).toBe(1)
    expect(stderr).toContain(`the log ${before.origin} is there already`)
    expect(await readIdentity(directory)).toEqual(before)
  })

  test.each([
    ['an unknown key', 'assembler: { quiet_perod: 1s }', 'did you mean assembler.quiet_period?'],
    ['a key of another table', 'quiet_period: 1s', 'did you mean assembler.quiet_period?'],
    ['a value that is none', 'assembler: { quiet_period: soon }', 'expected a duration such as'],
    ['an endpoint that others can reach', 'api: { endpoint: "0.0.0.0:0" }', 'set api.allow_remote: true'],
    [
      'a variable that is not set',
      `storage: { directory: "\${env:NOT_SET_AT_ALL}" }`,
      'has no NOT_SET_AT_ALL',
    ],
  ])('%s in the configuration', async (_what, text, message) => {
    const directory = await makeDirectory()
    await writeFile(join(directory, 'rootspan.yaml'), `${text}\n`)
    const args = ['run', '--init', '--config', 'rootspan.yaml']
    const { code, stdout, stderr } = await runRootspan(args, directory)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^error: rootspan\.yaml:1:\d+: /)
    expect(stderr).toContain(message)
    expect(await readdir(directory)).toEqual(['rootspan.yaml'])
  })

  test.each(['--grpc', '--http', '--api'])('%s that others can reach', async (flag) => {
    const directory = await makeDirectory()
    const { code, stderr } = await runRootspan(['run', '--init', flag, '0.0.0.0:0'], directory)
    expect(code).toBe(2)
    expect(stderr).toMatch(`error: ${flag}: other machines could reach 0.0.0.0:0`)
    expect(await readdir(directory)).toEqual([])
  })

  test.each(['--grpc', '--http', '--api'])('%s with a port that is taken', async (flag) => {
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => taken.once('listening', resolve))
    const { port } = taken.address() as { port: number }
    const directory = await makeDirectory()
    await initialise(directory)
    const flags = [flag, `127.0.0.1:${port}`]
    const { code, stderr } = await runRootspan(runArguments({ init: false, flags }), directory)
    taken.close()
    expect(code, stderr).toBe(1)
    expect(stderr).toMatch(new RegExp(`^error: .*127\\.0\\.0\\.1:${port}`))
    expect(stderr).toContain('Another program listens there')
    expect(stderr).not.toContain('    at ')
  })

  test('a data directory that another collector has open', async () => {
    const collector = await startCollectorProcess()
    const { code, stderr } = await runRootspan(runArguments({ init: false }), collector.directory)
    expect(code).toBe(1)
    expect(stderr).toContain('Another process has the data directory open: stop it first.')
    const { traceId } = await sendTrace(collector, 2)
    await waitForTrace(collector, traceId, 2)
    await collector.stop()
  })

  test('a log whose key is another one', async () => {
    const [directory, other] = [await makeDirectory(), await makeDirectory()]
    await initialise(directory)
    await initialise(other)
    const flags = ['--signer', join(other, 'rootspan-signer')]
    const { code, stderr } = await runRootspan(runArguments({ init: false, flags }), directory)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: .*key/)
  })
})

describe('SIGTERM', () => {
  test('what was acknowledged right before it is in the log and signed', LONG, async () => {
    const collector = await startCollectorProcess({ quietPeriod: '1m' })
    const traces = await Promise.all([1, 2, 3, 50].map((spans) => sendTrace(collector, spans)))
    await collector.stop()

    const again = await startCollectorProcess({ directory: collector.directory })
    for (const { traceId, spanIds } of traces) {
      const response = await fetch(`${again.api}/api/v1/executions/${traceId}`)
      expect(await response.json()).toMatchObject({
        spans: spanIds.length,
        segments: 1,
        signedSegments: 1,
        closed: 'drained',
      })
      const execution = verify(await downloadEvidence(again, traceId), policyOf(collector))
      expect(parentsOf(execution)).toEqual(
        Object.fromEntries(spanIds.map((id, at) => [id, at === 0 ? '' : spanIds[0]])),
      )
    }
    await again.stop()
  })

  test('while senders keep sending: everything that was acknowledged is there', LONG, async () => {
    const collector = await startCollectorProcess()
    const acknowledged: string[] = []
    let isRefused = false
    const senders = Array.from({ length: 4 }, async () => {
      while (!isRefused) {
        try {
          acknowledged.push((await sendTrace(collector, 3)).traceId)
        } catch {
          isRefused = true
        }
      }
    })
    await waitFor('some traces to be acknowledged', () => (acknowledged.length > 50 ? true : undefined))
    await collector.stop()
    await Promise.all(senders)

    const again = await startCollectorProcess({ directory: collector.directory })
    for (const traceId of acknowledged)
      expect(await waitForTrace(again, traceId, 3)).toMatchObject({ spans: 3 })
    await again.stop()
  })

  test('twice ends it at once, and the next start takes up what was acknowledged', LONG, async () => {
    const collector = await startCollectorProcess({ quietPeriod: '1m' })
    const { traceId } = await sendTrace(collector, 3)
    // A request that never ends: the first signal lets it have the grace period.
    const { port, hostname } = new URL(collector.http)
    const sender = connect(Number(port), hostname).on('error', () => {})
    sender.write(
      'POST /v1/traces HTTP/1.1\r\nhost: collector\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n',
    )
    await once(sender, 'data')
    collector.process.signal('SIGTERM')
    await collector.process.says(/"msg":"stopping"/)
    // What comes within a second is one signal that took two ways.
    collector.process.signal('SIGTERM')
    await new Promise((resolve) => setTimeout(resolve, 1200))
    expect(collector.process.stdout).not.toContain('stopped')
    collector.process.signal('SIGTERM')
    const { code, stdout } = await collector.process.ends()
    expect(code).toBe(143)
    expect(stdout).toContain('"msg":"stopped at once"')
    sender.destroy()

    const again = await startCollectorProcess({ directory: collector.directory })
    await waitForTrace(again, traceId, 3)
    await again.stop()
  })

  test('while it starts', LONG, async () => {
    const directory = await makeDirectory()
    const child = startRootspan(runArguments(), directory)
    await child.says(/made a new log/)
    child.signal('SIGTERM')
    const { code, stdout, stderr } = await child.ends()
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toContain('"msg":"stopped"')
    await (await startCollectorProcess({ directory })).stop()
  })
})

describe('a restart', () => {
  test('goes on with the same log: every checkpoint of both runs is audited as one', LONG, async () => {
    const first = await startCollectorProcess({ quietPeriod: '50ms' })
    const early = await sendTrace(first, 5)
    await waitForTrace(first, early.traceId, 5)
    const oldEvidence = await downloadEvidence(first, early.traceId)
    const before = await checkpointOf(first)
    await first.stop()

    const second = await startCollectorProcess({ directory: first.directory, quietPeriod: '50ms' })
    expect(second.vkey).toBe(first.vkey)
    const idle = await checkpointOf(second)
    expect({ size: idle.size, root: formatHex(idle.root) }).toEqual({
      size: before.size,
      root: formatHex(before.root),
    })
    const late = await sendTrace(second, 300)
    await waitForTrace(second, late.traceId, 300)
    const after = await checkpointOf(second)
    expect(after.size).toBe(before.size + 301)

    await writeFile(join(second.directory, 'auditor.policy'), `log ${first.vkey}\nquorum none\n`)
    const audited = await runVerifier(
      ['audit', `${second.api}/log`, '--policy', 'auditor.policy', '--json'],
      second.directory,
    )
    expect(audited.code, audited.stderr).toBe(0)
    expect(JSON.parse(audited.stdout)).toMatchObject({ treeSize: after.size, root: base64(after.root) })
    const sizes = (await (await fetch(`${second.api}/log/checkpoints`)).json()) as { sizes: number[] }
    expect(sizes.sizes).toContain(before.size)
    expect(sizes.sizes).toContain(after.size)

    // Evidence of before is as good as it was, and new evidence of the same execution says the same.
    const old = verify(oldEvidence, policyOf(second))
    const fresh = verify(await downloadEvidence(second, early.traceId), policyOf(second))
    expect(fresh.checkpoint.size).toBe(after.size)
    expect(fresh.records.map(({ leaf }) => formatHex(leaf))).toEqual(
      old.records.map(({ leaf }) => formatHex(leaf)),
    )
    await second.stop()

    const { code, stdout } = await runRootspan(['fsck'], first.directory)
    expect(code, stdout).toBe(0)
  })
})

describe('receipts', () => {
  interface Receipt {
    readonly state: string
    readonly leaves: readonly { readonly span: number; readonly leaf: number }[]
    readonly treeSize: number
    readonly checkpointSize: number
  }

  async function receiptOf({ api }: CollectorProcess, position: number | undefined): Promise<Receipt> {
    const response = await fetch(`${api}/api/v1/receipts/${position}`)
    expect(response.status).toBe(200)
    return (await response.json()) as Receipt
  }

  test('a sender who asks gets a position, and then its leaves', LONG, async () => {
    const collector = await startCollectorProcess({ quietPeriod: '6s' })
    const unasked = await sendTrace(collector, 2)
    expect(unasked.position).toBeUndefined()
    const { traceId, spanIds, position } = await sendTrace(collector, 4, { receipt: true })
    expect(position).toBe(1)
    expect(await receiptOf(collector, position)).toMatchObject({ state: 'journalled', leaves: [] })
    expect(await receiptOf(collector, 2)).toMatchObject({ state: 'unknown', leaves: [] })

    await waitForTrace(collector, traceId, 4)
    const receipt = await receiptOf(collector, position)
    expect(receipt.state).toBe('committed')
    expect(receipt.checkpointSize).toBeLessThanOrEqual(receipt.treeSize)
    const { records } = verify(await downloadEvidence(collector, traceId), policyOf(collector))
    const leaves = new Map(records.map(({ index, entry }) => [formatHex(entry.spanId), index]))
    expect(receipt.leaves).toEqual(spanIds.map((id, span) => ({ span, leaf: leaves.get(id) })))
    // Nobody asked for that one: it is known to be committed, and where is not kept.
    expect(await receiptOf(collector, 0)).toMatchObject({ state: 'committed', leaves: [] })
    await collector.stop()

    const again = await startCollectorProcess({ directory: collector.directory })
    expect(await receiptOf(again, position)).toMatchObject({ state: 'committed', leaves: receipt.leaves })
    expect((await sendTrace(again, 1, { receipt: true })).position).toBe(2)
    await again.stop()
  })
})

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}
