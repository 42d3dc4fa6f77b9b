/** The log of a running collector, read by Go's own transparency log packages and by our auditor. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Traffic } from '../bench/traffic.ts'
import { hasGo, runGoAudit } from '../interop/go.ts'
import { readMetrics, runVerifier, startCollectorProcess } from './support.ts'

/** Enough for several levels' edges: a few thousand leaves. */
const ROUNDS = 3

test.skipIf(!hasGo())(
  'every leaf, inclusion and consistency holds for Go, while the log grows',
  async () => {
    const collector = await startCollectorProcess()
    try {
      const traffic = new Traffic({ spansPerRequest: 64, requests: 24, seed: 5 })
      let sent = 0
      let size = 0
      for (let round = 0; round < ROUNDS; round++) {
        traffic.refresh(BigInt(Date.now()) * 1_000_000n)
        for (const { body, spans } of traffic.requests) {
          const response = await fetch(`${collector.http}/v1/traces`, {
            method: 'POST',
            headers: { 'content-type': 'application/x-protobuf' },
            body: new Uint8Array(body),
          })
          expect(response.status).toBe(200)
          sent += spans
        }
        await expect
          .poll(async () => signedSpans(await readMetrics(collector)), { timeout: 60_000, interval: 200 })
          .toBe(sent)
        const audit = await runGoAudit(`${collector.api}/log`, collector.vkey)
        expect(audit.origin).toBe(collector.origin)
        expect(audit.size).toBeGreaterThan(size)
        expect(audit.size).toBeGreaterThan(sent) // spans and seals
        expect(audit.entries).toBe(audit.size)
        expect(audit.inclusions).toBe(audit.size)
        expect(audit.consistencies).toBeGreaterThan(0)
        size = audit.size
      }
      const policy = join(collector.directory, 'policy')
      await writeFile(policy, `log ${collector.vkey}\nquorum none\n`)
      const ours = await runVerifier(
        ['audit', `${collector.api}/log`, '--policy', policy, '--json'],
        collector.directory,
      )
      expect(ours.stderr).toBe('')
      expect(ours.code).toBe(0)
    } finally {
      await collector.stop()
    }
  },
  240_000,
)

/** Committed spans, once everything committed is signed. */
function signedSpans(metrics: ReadonlyMap<string, number>): number {
  const signed = metrics.get('rootspan_checkpoint_size') === metrics.get('rootspan_tree_size')
  return signed ? (metrics.get('rootspan_committed_spans_total') ?? 0) : -1
}
