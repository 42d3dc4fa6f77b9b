/**
 * What each stage of a span's life costs, alone and on one thread: microseconds of that thread's CPU a span.
 *
 *     node --conditions=source test/bench/stages.ts [spans] [recorded]
 *
 * The same traffic as in `npm run bench`: without governance, or with `recorded` that of instrumented services. No sockets, no disk: what is left is the collector's own computing.
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

const SPANS = Number(process.argv[2] ?? 400_000)
const cost = new Map<string, number>()
function stage<T>(name: string, work: () => T): T {
  const start = process.threadCpuUsage()
  const result = work()
  const used = process.threadCpuUsage(start)
  cost.set(name, (cost.get(name) ?? 0) + used.user + used.system)
  return result
}

const isRecorded = process.argv[3] === 'recorded'
const traffic = new (isRecorded ? RecordedTraffic : Traffic)({ spansPerRequest: 512, requests: 64, seed: 7 })
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
while (spans < SPANS) {
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
  for (const trace of assembler.all()) {
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
    tree.append(leaves.hashes.view())
    tree.takeChanged()
  })
}
const used = process.cpuUsage(all)
for (const [name, micros] of cost)
  console.log(`${name.padEnd(10)} ${(micros / spans).toFixed(2)} us${name === 'judge' ? ' of derive' : ''}`)
console.log(
  `process    ${((used.user + used.system) / spans).toFixed(2)} us, garbage collection threads and refresh included`,
)
