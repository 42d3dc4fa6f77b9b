/** What tests of outages share: collectors that go and come again, and services under load. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import { type CollectorOptions, type CollectorProcess, startCollectorProcess } from '../e2e/support.ts'
import type { Life } from './lives.ts'
import type { Application, Shown } from './support.ts'

export function startCollector(options: CollectorOptions = {}): Promise<CollectorProcess> {
  // Traces of which something is lost for good settle soon.
  return startCollectorProcess({ quietPeriod: '400ms', config: 'assembler:\n  max_age: 3s\n', ...options })
}

/** At the same address, over the same log. */
export function restart({ directory, http }: CollectorProcess): Promise<CollectorProcess> {
  return startCollector({ directory, flags: ['--http', new URL(http).host], init: false })
}

export const named = (records: readonly Shown[], span: string, service?: string): Shown[] =>
  records.filter(
    (one) => one.span === span && (service === undefined || one.resource['service.name'] === service),
  )

/** As the kernel does it that is out of memory. */
export async function kill(service: Application): Promise<void> {
  service.process.signal('SIGKILL')
  await service.process.ends()
}

export interface Load {
  /** Resolves with the traces that were answered. */
  stop(): Promise<string[]>
  /** As `stop`, when the service has died under it. */
  died(): Promise<string[]>
}

/** Requests, some at a time, until told to stop. */
export function load(service: Application, path = '/work'): Load {
  let isOver = false
  const traces: string[] = []
  const one = async (): Promise<void> => {
    while (!isOver) {
      const { status, traceId } = await service.request(path)
      expect(status).toBe(200)
      traces.push(traceId)
      await sleep(20)
    }
  }
  const all = [one(), one(), one(), one()]
  const running = Promise.all(all)
  running.catch(() => {})
  return {
    async stop() {
      isOver = true
      await running
      return traces
    },
    async died() {
      await Promise.allSettled(all)
      return traces
    },
  }
}

/** One record for each number. */
export function expectOneEach({ spans }: Life): void {
  for (const [number, records] of spans) expect(records.length, `records of number ${number}`).toBe(1)
}
