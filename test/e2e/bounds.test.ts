/** What a running collector keeps to, whoever sends: how many spans are open, and how often it signs. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { cleanUp, waitFor } from './process.ts'
import { readMetrics, startCollectorProcess, waitForTrace } from './support.ts'
import { sendTrace } from './traffic.ts'

afterAll(cleanUp)

test('past max_open_spans those that wait for a parent are cut, and nothing more is read meanwhile', {
  timeout: 120_000,
}, async () => {
  const most = 200
  const collector = await startCollectorProcess({
    config: `assembler: { max_open_spans: ${most}, max_segment_spans: 100, max_age: 10m }\n`,
    quietPeriod: '1s',
  })
  const waiting = []
  for (let at = 0; at < 30; at++) waiting.push(await sendTrace(collector, 4, { isRootless: true }))
  // Longer than the quiet period: what waits for a parent stays open.
  await sleep(2500)
  const before = await readMetrics(collector)
  expect(before.get('rootspan_open_spans')).toBe(120)
  expect(before.get('rootspan_committed_spans_total')).toBe(0)

  const peaks: number[] = []
  let isOver = false
  const watching = (async () => {
    while (!isOver) {
      peaks.push((await readMetrics(collector)).get('rootspan_open_spans')!)
      await sleep(20)
    }
  })()
  const whole = await Promise.all(Array.from({ length: 40 }, () => sendTrace(collector, 25)))
  for (const { traceId } of waiting) {
    const { closed, spans } = await waitForTrace(collector, traceId, 4)
    expect([closed, spans]).toEqual(['cut', 4])
  }
  for (const { traceId } of whole) {
    const { closed, spans } = await waitForTrace(collector, traceId, 25)
    expect([closed, spans]).toEqual(['settled', 25])
  }
  isOver = true
  await watching
  // The request that reaches the bound is taken whole.
  expect(Math.max(...peaks)).toBeLessThan(most + 25)
  expect(Math.max(...peaks)).toBeGreaterThan(120)
  const after = await readMetrics(collector)
  expect(after.get('rootspan_open_spans')).toBe(0)
  expect(after.get('rootspan_committed_spans_total')).toBe(30 * 4 + 40 * 25)
  await collector.stop()
})

test('checkpoints are signed every interval while the tree grows, and not while it does not', {
  timeout: 120_000,
}, async () => {
  const interval = 500
  const collector = await startCollectorProcess({
    config: `log: { checkpoint_interval: ${interval}ms }\n`,
    quietPeriod: '20ms',
  })
  const sizes = async (): Promise<number[]> =>
    (await (await fetch(`${collector.api}/log/checkpoints`)).json()).sizes
  const begun = performance.now()
  const sent = []
  while (performance.now() - begun < 4000) {
    sent.push(await sendTrace(collector, 2))
    await sleep(30)
  }
  const last = sent.at(-1)!
  await waitForTrace(collector, last.traceId, 2)
  const grown = await sizes()
  const intervals = (performance.now() - begun) / interval
  expect(grown.length).toBeLessThanOrEqual(Math.ceil(intervals) + 1)
  // A busy machine may miss some.
  expect(grown.length).toBeGreaterThan(intervals / 4)

  const signed = async (): Promise<number> =>
    (await readMetrics(collector)).get('rootspan_checkpoint_timestamp_seconds')!
  const then = await waitFor('everything to be signed', async () => {
    const metrics = await readMetrics(collector)
    return metrics.get('rootspan_checkpoint_size') === metrics.get('rootspan_tree_size')
      ? signed()
      : undefined
  })
  const [time, idle] = [then, await sizes()]
  await sleep(4 * interval)
  expect([await signed(), await sizes()]).toEqual([time, idle])
  await collector.stop()
})
