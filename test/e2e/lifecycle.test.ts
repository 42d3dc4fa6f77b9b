/** What a newcomer and an operator see of the command: first start, second start, refusals, shutdown, receipts. */
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { parseNote } from '@rootspan/lineage/tlog/note'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { verify } from '@rootspan/lineage/verify'
import { expect, test } from 'vitest'
import {
  downloadEvidence,
  readCheckpoint,
  runRootspan,
  startCollectorProcess,
  waitForTrace,
} from './support.ts'

const TRACE = '5b8efff798038103d269b633813fc60c'

function oneSpan(traceId: string, spanId: string): string {
  const span = {
    traceId,
    spanId,
    name: 'GET /orders',
    kind: 2,
    startTimeUnixNano: '1764000000000000001',
    endTimeUnixNano: '1764000000500000001',
  }
  return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] })
}

async function send(http: string, body: string, headers: Record<string, string> = {}): Promise<Response> {
  const response = await fetch(`${http}/v1/traces`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  expect(response.status).toBe(200)
  return response
}

function checkpointOf(note: Uint8Array) {
  return parseCheckpoint(parseNote(note).text)
}

test('a second start goes on with the same log', { timeout: 120_000 }, async () => {
  const first = await startCollectorProcess()
  await send(first.http, oneSpan(TRACE, 'eee19b7ec3c1b174'))
  await waitForTrace(first, TRACE, 1)
  const before = checkpointOf(await readCheckpoint(first))
  await first.stop()

  const second = await startCollectorProcess({ directory: first.directory })
  expect(second.vkey).toBe(first.vkey)
  const after = checkpointOf(await readCheckpoint(second))
  expect(after.size).toBe(before.size)
  expect(after.root).toEqual(before.root)
  await send(second.http, oneSpan('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'))
  await waitForTrace(second, '0af7651916cd43dd8448eb211c80319c', 1)
  expect(checkpointOf(await readCheckpoint(second)).size).toBe(before.size + 2) // a span and a seal
  await second.stop()
})

test('what was sent right before the shutdown is in the log and signed', { timeout: 120_000 }, async () => {
  const collector = await startCollectorProcess({ quietPeriod: '60s' })
  await send(collector.http, oneSpan(TRACE, 'eee19b7ec3c1b174'))
  await collector.stop()
  const again = await startCollectorProcess({ directory: collector.directory })
  const summary = await waitForTrace(again, TRACE, 1)
  expect(summary.closed).toBe('drained')
  const policy = policyOfLogs(parseVerifierKey(collector.vkey))
  const execution = verify(await downloadEvidence(again, TRACE), policy)
  expect(execution.roots.map(({ record }) => record.span?.name)).toEqual(['GET /orders'])
  await again.stop()
})

test('a receipt says when its spans are committed, and where', { timeout: 120_000 }, async () => {
  const collector = await startCollectorProcess({ quietPeriod: '2s' })
  const response = await send(collector.http, oneSpan(TRACE, 'eee19b7ec3c1b174'), { 'rootspan-receipt': '1' })
  const position = response.headers.get('rootspan-receipt')
  expect(position).toBe('0')
  const ask = async () =>
    (await (await fetch(`${collector.api}/api/v1/receipts/${position}`)).json()) as {
      state: string
      leaves: { span: number; leaf: number }[]
    }
  expect((await ask()).state).toBe('journalled')
  await waitForTrace(collector, TRACE, 1)
  const receipt = await ask()
  expect(receipt.state).toBe('committed')
  expect(receipt.leaves).toEqual([{ span: 0, leaf: 0 }])
  await collector.stop()
})

test('run refuses without a log, and says what to do', { timeout: 60_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-e2e-'))
  const { code, stderr } = await runRootspan(['run'], directory)
  expect(code).not.toBe(0)
  expect(stderr).toMatch(/rootspan init/)
})

test('an endpoint that others can reach is refused', { timeout: 60_000 }, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-e2e-'))
  const { code, stderr } = await runRootspan(['run', '--init', '--http', '0.0.0.0:4318'], directory)
  expect(code).toBe(2)
  expect(stderr).toMatch(/allow_remote/)
})
