/** Senders that are faster than the pipeline: they are slowed down, not refused, and nothing is lost. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, test } from 'vitest'
import { Traffic } from '../bench/traffic.ts'
import { cleanUp } from './process.ts'
import { readMetrics, startCollectorProcess } from './support.ts'

afterAll(cleanUp)

test('requests wait for the pipeline and are taken', { timeout: 120_000 }, async () => {
  // Each request alone is over the bound: the others wait until the one before has been read by the pipeline.
  const collector = await startCollectorProcess({ config: 'journal: { max_lag_bytes: 1MiB }\n' })
  const traffic = new Traffic({ spansPerRequest: 4096, requests: 6, seed: 3 })
  traffic.refresh(BigInt(Date.now()) * 1_000_000n)
  const requests = traffic.requests.filter(({ body }) => body.length > 1024 * 1024)
  expect(requests.length).toBeGreaterThan(3)
  await Promise.all(requests.map(({ body }) => sendPatiently(`${collector.http}/v1/traces`, body)))
  const metrics = await readMetrics(collector)
  const delayed = metrics.get('rootspan_requests_delayed_total')
  expect(delayed).toBeGreaterThan(0)
  // On a busy machine some may wait in vain, but not all.
  expect(metrics.get('rootspan_requests_refused_total{reason="busy"}')).toBeLessThan(delayed!)
  expect(metrics.get('rootspan_spans_accepted_total')).toBe(
    requests.reduce((sum, { spans }) => sum + spans, 0),
  )
  await collector.stop()
})

async function sendPatiently(url: string, body: Uint8Array): Promise<void> {
  for (;;) {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-protobuf' },
      body: new Uint8Array(body),
    })
    if (response.status === 200) return
    expect(response.status).toBe(503)
    await sleep(Number(response.headers.get('retry-after')) * 1000)
  }
}
