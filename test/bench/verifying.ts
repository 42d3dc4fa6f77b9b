/** Rates of the verifier: a whole log over HTTP, and single bundles offline. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parsePolicy } from '@rootspan/lineage/tlog/policy'
import { verify } from '@rootspan/lineage/verify'
import type { BenchCollector } from './subject.ts'

const MAIN = join(import.meta.dirname, '../../packages/verifier/src/main.ts')

/** `rootspan-verify audit` on the collector's whole log, as a process. */
export async function measureAudit(collector: BenchCollector): Promise<object> {
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-bench-'))
  const policy = join(directory, 'policy')
  await writeFile(policy, await (await fetch(`${collector.api}/log/policy`)).text())
  const start = performance.now()
  const child = spawn(
    process.execPath,
    ['--conditions=source', MAIN, 'audit', `${collector.api}/log`, '--policy', policy, '--json'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  let output = ''
  child.stdout.on('data', (text) => {
    output += text
  })
  const [code] = (await once(child, 'close')) as [number]
  await rm(directory, { recursive: true })
  const seconds = (performance.now() - start) / 1000
  if (code !== 0) throw new Error(`the audit failed: ${output.slice(0, 500)}`)
  const records = (await collector.metrics()).sum('rootspan_checkpoint_size')
  return { records, seconds: Number(seconds.toFixed(1)), recordsPerSecond: Math.round(records / seconds) }
}

/** Bundles of recent executions, verified one after another in this process. */
export async function measureVerify(collector: BenchCollector): Promise<object> {
  const policy = parsePolicy(await (await fetch(`${collector.api}/log/policy`)).text())
  const list = (await (await fetch(`${collector.api}/api/v1/executions?limit=100`)).json()) as {
    executions: { traceId: string }[]
  }
  const bundles: Uint8Array[] = []
  for (const { traceId } of list.executions) {
    const response = await fetch(`${collector.api}/api/v1/executions/${traceId}/evidence`)
    bundles.push(new Uint8Array(await response.arrayBuffer()))
  }
  let spans = 0
  const start = performance.now()
  for (const bundle of bundles)
    spans += verify(bundle, policy).records.filter((record) => record.span !== undefined).length
  const seconds = (performance.now() - start) / 1000
  const millis = (seconds / bundles.length) * 1000
  return {
    bundles: bundles.length,
    spans,
    millisPerBundle: Number(millis.toFixed(2)),
    spansPerSecond: Math.round(spans / seconds),
  }
}
