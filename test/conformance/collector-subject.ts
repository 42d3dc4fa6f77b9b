/** A whole collector, in a process of its own, as what the conformance tests talk to. */
import { join } from 'node:path'
import { TestRunner } from 'vitest'
import { JournalReader } from '../../packages/collector/src/journal/reader.ts'
import { makeDirectory } from '../e2e/process.ts'
import { readMetrics, startCollectorProcess } from '../e2e/support.ts'
import {
  type Address,
  type Journalled,
  readQuarantine,
  type Subject,
  type SubjectSettings,
} from './subject.ts'

/**
 * Starts one whose traces never settle, so that its journal keeps everything. Skips the test that asks for what
 * only receivers in the same process can be given: short patience, a small budget, a journal that fails.
 */
export async function startCollectorSubject(settings: SubjectSettings): Promise<Subject> {
  const { maxBodyBytes, ...unsettable } = settings
  for (const name of Object.keys(unsettable)) skipTest(`a collector has no setting for ${name} this small`)
  const limit = maxBodyBytes === undefined ? '' : `, max_request_bytes: ${maxBodyBytes}B`
  const directory = await makeDirectory()
  const collector = await startCollectorProcess({
    directory,
    quietPeriod: '1h',
    config: [
      'assembler: { max_age: 24h }',
      'journal: { min_free_bytes: 0B, max_lag_bytes: 4GiB }',
      'shutdown: { grace_period: 1s }',
      `receivers: { grpc: { allow_remote: false${limit} }, http: { allow_remote: false${limit} } }`,
      '',
    ].join('\n'),
  })
  const data = join(directory, 'rootspan-data')
  const reader = new JournalReader({ directory: join(data, 'journal'), from: 0 })
  const frames: Journalled[] = []
  return {
    grpc: addressOf(collector.grpc),
    http: addressOf(collector.http),
    pid: collector.process.pid,
    async journalled() {
      const end = (await readMetrics(collector)).get('rootspan_journal_durable_position') ?? 0
      while (reader.next < end)
        for (const { position, receipt, body } of reader.read(end, 1))
          frames.push({ position, receipt: new Uint8Array(receipt), body: new Uint8Array(body) })
      return frames
    },
    quarantined: () => readQuarantine(join(data, 'quarantine')),
    disturb(disturbance) {
      if (disturbance !== undefined) skipTest(`nobody tells a running collector: ${disturbance.kind}`)
    },
    async stop() {
      reader.close()
      await collector.stop()
    },
  }
}

function addressOf(url: string): Address {
  const { hostname, port } = new URL(url)
  return { host: hostname, port: Number(port) }
}

function skipTest(reason: string): never {
  const current = TestRunner.getCurrentTest()
  if (current === undefined) throw new Error(`outside of a test: ${reason}`)
  return current.context.skip(reason)
}
