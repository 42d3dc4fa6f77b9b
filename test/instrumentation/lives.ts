/** What the log says of the lives of emitters: which numbers are there, which are missing, and whether the chain holds. */
import { createHash } from 'node:crypto'
import { waitFor } from '../e2e/process.ts'
import type { CollectorProcess, ExecutionSummary } from '../e2e/support.ts'
import { recordsOf, type Shown } from './support.ts'

/** All that was committed and signed, from the verified bundles of every execution, once nothing new comes. */
export async function everything(
  collector: CollectorProcess,
  ready: (all: Shown[]) => boolean,
  millis?: number,
): Promise<Shown[]> {
  const known = new Map<string, { records: number; shown: Shown[] }>()
  const ask = async (): Promise<Shown[] | undefined> => {
    for (const { traceId, records, segments, signedSegments } of await executions(collector)) {
      if (signedSegments < segments || known.get(traceId)?.records === records) continue
      known.set(traceId, { records, shown: await recordsOf(collector, { traceId }, { isQuiet: true }) })
    }
    const all = [...known.values()].flatMap(({ shown }) => shown)
    return ready(all) ? all : undefined
  }
  return waitFor('the records that are expected', ask, millis)
}

async function executions({ api }: CollectorProcess): Promise<ExecutionSummary[]> {
  const all: ExecutionSummary[] = []
  for (let cursor: string | undefined = ''; cursor !== undefined; ) {
    const page: { executions: ExecutionSummary[]; next?: string } = await (
      await fetch(`${api}/api/v1/executions?limit=200${cursor && `&cursor=${encodeURIComponent(cursor)}`}`)
    ).json()
    all.push(...page.executions)
    cursor = page.next
  }
  return all
}

/** The life of one process. */
export interface Life {
  readonly emitter: string
  /** Records of its governed spans, by number. More than one for a number: something is recorded twice. */
  readonly spans: ReadonlyMap<number, readonly Shown[]>
  /** Numbers below the highest one that have no record. */
  readonly missing: readonly number[]
  /** Numbers whose `prev` is not the link of the spans before, where those are all there, or is missing. */
  readonly broken: readonly number[]
  readonly goodbye: Shown | undefined
}

/** By emitter id. Computed from claims alone, as an auditor would, with none of the code under test. */
export function livesOf(records: readonly Shown[]): Map<string, Life> {
  const byEmitter = new Map<string, Map<number, Shown[]>>()
  for (const record of records) {
    const { 'emitter.id': id, 'emitter.seq': number } = record.claims
    if (typeof id !== 'string' || typeof number !== 'number') continue
    const spans = byEmitter.get(id) ?? new Map<number, Shown[]>()
    byEmitter.set(id, spans.set(number, [...(spans.get(number) ?? []), record]))
  }
  return new Map([...byEmitter].map(([emitter, spans]) => [emitter, lifeOf(emitter, spans)]))
}

function lifeOf(emitter: string, found: ReadonlyMap<number, readonly Shown[]>): Life {
  const spans = new Map([...found].sort(([a], [b]) => a - b))
  const highest = Math.max(...spans.keys())
  const missing: number[] = []
  const broken: number[] = []
  /** The link that the next number has; undefined where the one before it is missing. */
  let expected: string | undefined = '0'.repeat(64)
  for (let number = 0; number <= highest; number++) {
    const record = spans.get(number)?.[0]
    if (record === undefined) {
      missing.push(number)
      expected = undefined
      continue
    }
    const { 'emitter.prev': link } = record.claims
    if (typeof link !== 'string' || (expected !== undefined && link !== expected)) broken.push(number)
    expected = linkAfter(emitter, number, String(link), record)
  }
  const goodbye = [...spans.values()].flat().find(({ span }) => span === 'governance.goodbye')
  return { emitter, spans, missing, broken, goodbye }
}

function linkAfter(emitter: string, number: number, link: string, { traceId, spanId }: Shown): string {
  const text = `rootspan/emitter/v2\n${emitter}\n${number}\n${link}\n${traceId}${spanId}\n`
  return createHash('sha256').update(text).digest('hex')
}
