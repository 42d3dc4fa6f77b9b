/** What tests of outages share: collectors that go and come again, and services under load. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
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

/** Between a service and its collector. */
export interface Relay {
  readonly url: string
  /** From here on answers are kept back, until the collector closes the connections. */
  hold(): void
  /** The answers that were kept back. */
  held(): string
  /** Answers of new connections are passed on again. */
  release(): void
  close(): void
}

export async function startRelay(target: string): Promise<Relay> {
  const { hostname, port } = new URL(target)
  let isHeld = false
  let held = ''
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(Number(port), hostname)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
    }
    near.pipe(far)
    far.on('data', (bytes) => {
      if (isHeld) held += bytes.toString('latin1')
      else near.write(bytes)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold() {
      isHeld = true
    },
    held: () => held,
    release() {
      isHeld = false
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

/** One record for each number. */
export function expectOneEach({ spans }: Life): void {
  for (const [number, records] of spans) expect(records.length, `records of number ${number}`).toBe(1)
}
