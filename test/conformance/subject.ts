/**
 * What the conformance tests talk to. They see the network and what was journalled, and nothing else, so that the
 * same tests run against receivers over a journal in memory and, with `ROOTSPAN_CONFORMANCE=collector`, against a
 * whole collector in a process of its own (`collector.test.ts`).
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { JournalFull } from '../../packages/collector/src/journal/errors.ts'
import { Budget } from '../../packages/collector/src/receiver/budget.ts'
import { startGrpcReceiver } from '../../packages/collector/src/receiver/grpc.ts'
import { startHttpReceiver } from '../../packages/collector/src/receiver/http.ts'
import { createIngest, type JournalFrame } from '../../packages/collector/src/receiver/ingest.ts'
import { openQuarantine } from '../../packages/collector/src/receiver/quarantine.ts'
import { Refusal } from '../../packages/collector/src/receiver/receiver.ts'
import { WaitingRoom, waiting } from '../../packages/collector/src/receiver/waiting-room.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface SubjectSettings {
  readonly maxBodyBytes?: number
  readonly budgetBytes?: number
  readonly bodyIdleMillis?: number
  readonly bodyTotalMillis?: number
  readonly connectionIdleMillis?: number
  /** How long a request waits for room at most. */
  readonly patienceMillis?: number
}

/** A journalled request: its position, encoded receipt and body. */
export interface Journalled {
  readonly position: number
  readonly receipt: Uint8Array
  readonly body: Uint8Array
}

/** A line of the quarantine. */
export interface Quarantined {
  readonly time: string
  readonly receiver: string
  readonly reason: string
  readonly span: string
  readonly resource: string
  readonly scope: string
}

export interface Subject {
  readonly grpc: Address
  readonly http: Address
  /** The process that receives. */
  readonly pid: number
  /** Everything journalled so far, in order. */
  journalled(): Promise<readonly Journalled[]>
  /** Everything in the quarantine, in order. */
  quarantined(): Promise<readonly Quarantined[]>
  /** Makes the journal slow or broken, or the collector push back; `undefined` ends it. */
  disturb(disturbance: Disturbance | undefined): void
  /** Drains within the grace given and removes what is left. */
  stop(graceMillis?: number): Promise<void>
}

export type Disturbance =
  | { readonly kind: 'push-back'; readonly retryAfterSeconds: 1 | 2 }
  | { readonly kind: 'journal-fails' }
  /** Full when the request is written already: nobody could have told before. */
  | { readonly kind: 'journal-full' }
  | { readonly kind: 'journal-waits'; readonly until: Promise<void> }
  /** There is no room: requests wait for `patienceMillis` at most. */
  | { readonly kind: 'behind' }

export async function startSubject(settings: SubjectSettings = {}): Promise<Subject> {
  if (process.env.ROOTSPAN_CONFORMANCE !== 'collector') return startReceivers(settings)
  return (await import('./collector-subject.ts')).startCollectorSubject(settings)
}

async function startReceivers(settings: SubjectSettings): Promise<Subject> {
  const { budgetBytes, patienceMillis, ...limits } = settings
  const directory = await mkdtemp(join(tmpdir(), 'rootspan-conformance-'))
  const counters = { add() {} }
  const quarantine = await openQuarantine({ directory, counters })
  const frames: Journalled[] = []
  let disturbance: Disturbance | undefined
  const journal = {
    async append({ receipt, body }: JournalFrame) {
      if (disturbance?.kind === 'journal-fails') throw new Error('no space left on device')
      if (disturbance?.kind === 'journal-full') throw new JournalFull('disk')
      if (disturbance?.kind === 'journal-waits') await disturbance.until
      const position = frames.length
      frames.push({ position, receipt, body: body.slice() })
      return position
    },
  }
  const gate = () =>
    disturbance?.kind === 'push-back'
      ? new Refusal('busy', 'the journal is too far behind', {
          retryAfterSeconds: disturbance.retryAfterSeconds,
        })
      : undefined
  const room = new WaitingRoom({
    room: () => (disturbance?.kind === 'behind' ? 0 : 1),
    gate,
    ...(patienceMillis !== undefined && { maxMillis: patienceMillis }),
  })
  const ingest = waiting(
    room,
    createIngest({
      journal,
      quarantine,
      counters,
      now: () => BigInt(Date.now()) * 1_000_000n,
      random: randomBytes,
      gate,
    }),
  )
  const bugs: unknown[] = []
  const options = {
    host: '127.0.0.1',
    port: 0,
    ingest,
    budget: new Budget(budgetBytes),
    counters,
    gate: () => room.refusal(),
    onBug: (error: unknown) => bugs.push(error),
    ...limits,
  }
  const grpc = await startGrpcReceiver(options)
  const http = await startHttpReceiver(options)
  return {
    grpc: grpc.address,
    http: http.address,
    pid: process.pid,
    journalled: async () => frames,
    quarantined: () => readQuarantine(directory),
    disturb(next) {
      disturbance = next
    },
    async stop(graceMillis = 1000) {
      room.close()
      await Promise.all([grpc.close(graceMillis), http.close(graceMillis)])
      await quarantine.close()
      await rm(directory, { recursive: true })
      if (bugs.length > 0) throw new AggregateError(bugs, 'the receivers met bugs')
    },
  }
}

/** Every line of a quarantine directory, in order. */
export async function readQuarantine(directory: string): Promise<Quarantined[]> {
  const lines: Quarantined[] = []
  for (const name of (await readdir(directory)).sort()) {
    const text = await readFile(join(directory, name), 'utf8')
    for (const line of text.split('\n')) if (line !== '') lines.push(JSON.parse(line) as Quarantined)
  }
  return lines
}
