/**
 * What each stage of a span's life costs, alone and on one thread: microseconds of that thread's CPU a span. `npm run
 * bench` runs both; here, one by itself:
 *
 *     node --conditions=source test/bench/stages.ts [spans] [recorded]
 *
 * The traffic of the scenarios: without governance, or with `recorded` that of instrumented services. No sockets, no
 * disk: what is left is the collector's own computing.
 */

import { createSpanTable, scanTraces } from '@rootspan/lineage/otlp/scan'
import { Committer } from '@rootspan/lineage/record/commitment'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import type { Source } from '@rootspan/lineage/record/order'
import { Closed, writePayload } from '@rootspan/lineage/record/payload'
import { encodeReceipt } from '@rootspan/lineage/record/receipt'
import { deriveSegment, type Sealing } from '@rootspan/lineage/record/segment'
import { Sink } from '@rootspan/lineage/record/sink'
import { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { workAhead } from '../../packages/collector/src/ahead.ts'
import { Assembler, type OpenFrame } from '../../packages/collector/src/assembler.ts'
import { Knowledge } from '../../packages/collector/src/knowledge.ts'
import { START } from '../../packages/collector/src/store/cursor.ts'
import { RecordedTraffic } from './recorded.ts'
import { Traffic } from './traffic.ts'

/** Spans that are measured at most: more only take longer. */
const MAX_SPANS = { ordinary: 400_000, governed: 100_000 } as const

export interface StageFigures {
  readonly spans: number
  /** By stage; `judge` is a part of `derive`. */
  readonly cpuMicrosPerSpan: Readonly<Record<string, number>>
  /** Of the whole process: garbage collection's threads and the making of traffic included. */
  readonly processMicrosPerSpan: number
}

/** Both kinds of traffic, one after the other. */
export function measureAllStages(spans: number): Record<keyof typeof MAX_SPANS, StageFigures> {
  return {
    ordinary: measureStages(Math.min(spans, MAX_SPANS.ordinary), false),
    governed: measureStages(Math.min(spans, MAX_SPANS.governed), true),
  }
}

function measureStages(wanted: number, isRecorded: boolean): StageFigures {
  const cost = new Map<string, number>()
  const stage = <T>(name: string, work: () => T): T => {
    const start = process.threadCpuUsage()
    const result = work()
    const used = process.threadCpuUsage(start)
    cost.set(name, (cost.get(name) ?? 0) + used.user + used.system)
    return result
  }
  const traffic = new (isRecorded ? RecordedTraffic : Traffic)({
    spansPerRequest: 512,
    requests: 64,
    seed: 7,
  })
  const knowledge = new Knowledge()
  const sealing: Sealing = {
    gather: (execution, since) => knowledge.contextOf(execution, since),
    clock: () => process.threadCpuUsage().user / 1000,
  }
  const begin = BigInt(Date.now()) * 1_000_000n
  const receipt = encodeReceipt({
    receiver: 'otlp/grpc',
    peer: '127.0.0.1',
    tenant: '',
    receivedAt: begin + 1_000_000_000n,
    tracked: false,
  })
  const seed = new Uint8Array(32).fill(5)
  const table = createSpanTable()
  const ahead = new Committer()
  const committer = new Committer()
  const leaves = new LeafSink()
  const payload = new Sink(64 * 1024 * 1024)
  const tree = new TileTree(0, [])
  const assembler = new Assembler({ quietMillis: 1, maxAgeMillis: 1000, maxSegmentSpans: 1e6 }, START)
  let position = 0
  let spans = 0
  const all = process.cpuUsage()
  while (spans < wanted) {
    traffic.refresh(begin + BigInt(spans))
    const bodies = new Map<number, Uint8Array>()
    for (const { body } of traffic.requests) {
      const scanned = stage('scan', () => scanTraces(body, table))
      spans += scanned.count
      const done = stage('ahead', () => workAhead({ seed, receipt, body }, '', scanned, ahead))
      bodies.set(position, body)
      const frame = { position: position++, seed, receipt, body }
      stage('file', () => assembler.add(frame, '', false, done.table, 0, done))
    }
    leaves.reset()
    payload.at = 0
    for (const trace of assembler.all(0)) {
      const { id } = trace
      const taken = stage('take', () => {
        const sources = new Map<OpenFrame, Source>()
        return assembler.spans(trace, (frame, index) => {
          let source = sources.get(frame)
          if (source === undefined) {
            const at = frame.ahead!.seedOf[index]! * 32
            const traceSeed = frame.ahead!.seeds.subarray(at, at + 32)
            source = {
              receipt,
              seed: traceSeed,
              body: bodies.get(frame.position)!,
              contexts: frame.contexts,
              evidence: frame.ahead?.evidence,
            }
            sources.set(frame, source)
          }
          return source
        })
      })
      const head = { tenant: '', traceId: id, closed: Closed.settled, evaluatedAt: begin + 2_000_000_000n }
      const derived = stage('derive', () => deriveSegment(head, taken, undefined, committer, leaves, sealing))
      cost.set('judge', (cost.get('judge') ?? 0) + derived.judgingMillis * 1000)
      stage('payload', () => writePayload(payload, { ...head, segment: 0 }, derived.spans))
      stage('take', () => assembler.decide(trace))
    }
    stage('tree', () => {
      tree.append(leaves.hashes)
      tree.takeChanged()
    })
  }
  const used = process.cpuUsage(all)
  return {
    spans,
    cpuMicrosPerSpan: Object.fromEntries([...cost].map(([name, micros]) => [name, micros / spans])),
    processMicrosPerSpan: (used.user + used.system) / spans,
  }
}

export function printStages(
  kind: string,
  { spans, cpuMicrosPerSpan, processMicrosPerSpan }: StageFigures,
): void {
  console.log(
    `\nstages, ${kind} traffic: CPU microseconds a span by stage, over ${spans.toLocaleString('en')} spans`,
  )
  for (const [name, micros] of Object.entries(cpuMicrosPerSpan)) {
    const what = name in STAGES ? STAGES[name as keyof typeof STAGES] : ''
    console.log(`  ${name.padEnd(10)} ${micros.toFixed(2).padStart(6)}  ${what}`)
  }
  console.log(
    `  ${'process'.padEnd(10)} ${processMicrosPerSpan.toFixed(2).padStart(6)}  with garbage collection and the making of traffic`,
  )
}

const STAGES = {
  scan: 'main: validate a request',
  ahead: 'main: trace seeds, salts, evidence commitments',
  file: 'pipeline: file spans under their traces',
  take: 'pipeline: take a settled trace',
  derive: 'pipeline: order, entries, leaf hashes, seals',
  judge: 'of derive: judgement',
  payload: 'pipeline: write the payload',
  tree: 'pipeline: Merkle tree and tiles',
} as const

if (import.meta.main) {
  const kind = process.argv[3] === 'recorded' ? 'governed' : 'ordinary'
  printStages(kind, measureStages(Number(process.argv[2] ?? MAX_SPANS[kind]), kind === 'governed'))
}
