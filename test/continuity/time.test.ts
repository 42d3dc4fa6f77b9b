/** What time alone changes: the collector judges again though nothing comes, and says so in the log. */
import { joinBytes } from '@rootspan/lineage/bytes'
import { Closed } from '@rootspan/lineage/record/payload'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { bundlePieces, Payloads } from '../../packages/collector/src/api/evidence.ts'
import { traceId } from '../../packages/collector/src/store/keys.ts'
import { cleanUp, makeDirectory, waitFor } from '../e2e/process.ts'
import {
  downloadEvidence,
  readMetrics,
  runRootspan,
  startCollectorProcess,
  waitForTrace,
} from '../e2e/support.ts'
import { type SpanSpec, traceIdOf } from '../support/executions.ts'
import { StoredLog } from '../support/stored-log.ts'
import { governance } from '../vectors/continuity/spec.ts'

const SECOND = 1_000_000_000n
/** Nanoseconds as spans have them. */
const seconds = (count: number): number => count * 1_000_000_000

const rulesOf = ({ judgement }: VerifiedExecution): string[] => [
  ...new Set(judgement.findings.map(({ rule }) => rule)),
]

const STARTED = governance({
  'execution.id': 'job 7',
  'execution.kind': 'job',
  'record.kind': 'request',
  'execution.state': 'executing',
})

describe('in a log whose clock the test moves', () => {
  let log: StoredLog
  beforeEach(async () => {
    log = await StoredLog.create(await makeDirectory())
  })
  afterEach(() => log.close())

  async function verified(trace: number): Promise<VerifiedExecution> {
    const note = await log.checkpoint()
    const [rows = []] = await log.reader.traces([traceId(new Uint8Array(0), traceIdOf(trace))])
    const pieces: Uint8Array[] = []
    const published = { note, size: log.size } as never
    for await (const piece of bundlePieces(log.reader, new Payloads(log.packs), published, rows))
      pieces.push(piece)
    return verify(joinBytes(pieces), log.policy)
  }

  async function send(trace: number, spans: readonly SpanSpec[]): Promise<void> {
    await log.receive(trace, spans)
    await log.commit()
  }

  test('an execution that never ends is found when its time is over, once', async () => {
    await send(1, [{ id: 1, start: 0, attributes: STARTED }])
    expect(rulesOf(await verified(1))).toEqual([])
    expect(log.reviewsPending).toBe(1)
    log.pass(899n * SECOND)
    expect(await log.review()).toBe(false)
    log.pass(2n * SECOND)
    expect(await log.review()).toBe(true)
    const execution = await verified(1)
    expect(rulesOf(execution)).toEqual(['GC-R01'])
    expect(execution.segments.map(({ closed }) => closed)).toEqual([Closed.drained, Closed.reviewed])
    expect(log.reviewsPending).toBe(0)
    log.pass(86_400n * SECOND)
    expect(await log.review()).toBe(false)

    // The end comes after all: what was found is withdrawn.
    const ended = governance({ 'transition.type': 'state', 'transition.to': 'completed' })
    const end = {
      id: 2,
      parent: 1,
      start: seconds(87_300),
      events: [{ name: 'governance.transition', attributes: ended }],
    }
    await send(1, [end])
    const after = await verified(1)
    expect(rulesOf(after)).toEqual([])
    expect(after.segments).toHaveLength(3)
  })

  test('one that ends in time leaves no segment more', async () => {
    await send(1, [
      { id: 1, start: 0, attributes: { ...STARTED, 'governance.execution.state': 'completed' } },
    ])
    expect(log.reviewsPending).toBe(0)
    log.pass(2000n * SECOND)
    expect(await log.review()).toBe(false)
    expect((await verified(1)).segments).toHaveLength(1)
  })

  test('a parent that may still run is missed half a minute later', async () => {
    await send(1, [{ id: 2, parent: 1, start: 0, attributes: governance({ 'action.name': 'pay' }) }])
    expect(rulesOf(await verified(1))).not.toContain('GC-N01')
    log.pass(31n * SECOND)
    expect(await log.review()).toBe(true)
    expect(rulesOf(await verified(1))).toContain('GC-N01')
  })

  test('a process without a goodbye falls silent after three beats', async () => {
    const emitter = Buffer.from(traceIdOf(1)).toString('hex')
    const sign = (name: string, seq: number, at: number): SpanSpec => ({
      id: seq + 1,
      ...(seq > 0 && { parent: 1 }),
      name: `governance.${name}`,
      start: seconds(at),
      attributes: governance({ 'emitter.id': emitter, 'emitter.seq': seq }),
    })
    await send(1, [sign('hello', 0, 0)])
    log.pass(120n * SECOND)
    await send(1, [sign('heartbeat', 1, 120)])
    log.pass(359n * SECOND)
    expect(await log.review()).toBe(false)
    log.pass(2n * SECOND)
    expect(await log.review()).toBe(true)
    const silent = await verified(1)
    expect(silent.judgement.findings).toMatchObject([
      {
        rule: 'GC-R01',
        severity: 'medium',
        detail: expect.stringContaining(`emitter ${emitter} gave no sign`),
      },
    ])
    await send(1, [sign('goodbye', 2, 480)])
    expect(rulesOf(await verified(1))).toEqual([])
  })

  test('one that says how often it beats is silent three of these later, from its first sign on', async () => {
    const hello = (trace: number, interval: number): SpanSpec[] => {
      const emitter = Buffer.from(traceIdOf(trace)).toString('hex')
      const attributes = { 'emitter.id': emitter, 'emitter.seq': 0, 'emitter.interval': interval }
      return [{ id: 1, name: 'governance.hello', start: 0, attributes: governance(attributes) }]
    }
    await send(1, hello(1, 0))
    await send(2, hello(2, 120_000))
    expect(log.reviewsPending).toBe(1)
    log.pass(361n * SECOND)
    await log.review()
    expect([rulesOf(await verified(1)), rulesOf(await verified(2))]).toEqual([[], ['GC-R01']])
  })

  test('a number that is missing for a minute is found in the execution around it, and a late one is not', async () => {
    const numbered = (id: number, seq: number): SpanSpec => ({
      id,
      ...(id > 1 && { parent: 1 }),
      start: 0,
      attributes: governance({ 'emitter.id': 'e', 'emitter.seq': seq, 'action.name': 'read' }),
    })
    await send(1, [numbered(1, 1), numbered(2, 2), numbered(3, 5)])
    await send(2, [{ ...numbered(1, 3), parent: 9 }])
    log.pass(59n * SECOND)
    await log.review()
    expect(rulesOf(await verified(1))).not.toContain('GC-C01')
    log.pass(2n * SECOND)
    await log.review()
    const found = await verified(1)
    expect(found.judgement.findings.filter(({ rule }) => rule === 'GC-C01')).toHaveLength(1)
    expect(found.judgement.findings.find(({ rule }) => rule === 'GC-C01')!.detail).toContain('4')
    // Told once, and withdrawn when it comes.
    const { segments } = found
    log.pass(600n * SECOND)
    await log.review()
    expect((await verified(1)).segments).toHaveLength(segments.length)
    await send(2, [{ ...numbered(4, 4), parent: 9 }])
    await send(1, [numbered(6, 6)])
    expect(rulesOf(await verified(1))).not.toContain('GC-C01')
  })

  describe('what is remembered of an execution that goes on stays as it is', () => {
    /** Traces that use again whatever memory is free again. */
    async function sendOthers(first: number): Promise<void> {
      const attributes = { filler: 'x'.repeat(500) }
      const spans = Array.from({ length: 500 }, (_, at) => ({ id: at + 1, start: 0, attributes }))
      for (let trace = first; trace < first + 4; trace++) await send(trace, spans)
    }

    test('whose child is whose', async () => {
      const child = { id: 2, parent: 1, start: 0, attributes: governance({ 'action.name': 'pay' }) }
      await log.receive(1, [{ id: 1, start: 0, attributes: STARTED }, child])
      await log.commit(Closed.cut)
      await sendOthers(100)
      log.pass(901n * SECOND)
      expect(await log.review()).toBe(true)
      expect(rulesOf(await verified(1))).toContain('GC-R01')
    })

    test('which span is which', async () => {
      // As long as what comes after them, so that their memory fits.
      const filler = 'x'.repeat(250_000)
      const decided = (id: number): SpanSpec => {
        const said = { 'decision.id': `number ${id}`, 'decision.outcome': id === 4 ? 'deny' : 'allow' }
        return { id, parent: 1, start: 0, attributes: { filler, ...governance(said) } }
      }
      await send(1, [{ id: 1, start: 0, attributes: STARTED }])
      for (let id = 2; id < 6; id++) {
        await send(1, [decided(id)])
        await sendOthers(id * 100)
      }
      const pay = governance({ 'action.name': 'pay', 'action.outcome': 'success' })
      await send(1, [{ id: 6, parent: 1, start: 0, attributes: pay, links: [4] }])
      const { segments, judgement } = await verified(1)
      expect(segments).toHaveLength(6)
      expect(judgement.findings.map(({ rule }) => rule)).toEqual(['GC-D02'])
    })
  })

  test('of an execution that was erased in part nothing is reviewed', async () => {
    await send(1, [{ id: 1, start: 0, attributes: STARTED }])
    await log.commitErasure({ trace: traceIdOf(1), attributes: ['governance.execution.id'] })
    log.pass(2000n * SECOND)
    expect(await log.review()).toBe(false)
    expect(log.reviewsPending).toBe(0)
  })

  test('what grows span by span is judged now and then, and once more when it rests', async () => {
    const many = (from: number, count: number): SpanSpec[] =>
      Array.from({ length: count }, (_, at) => ({ id: from + at, parent: 1, start: 0 }))
    await send(1, [{ id: 1, start: 0, attributes: STARTED }, ...many(2, 5000)])
    for (let round = 0; round < 20; round++) await send(1, many(10_000 + round * 10, 10))
    const [rows = []] = await log.reader.traces([traceId(new Uint8Array(0), traceIdOf(1))])
    expect(rows).toHaveLength(21)
    const execution = await verified(1)
    expect(execution.verdict.continuity.detail.at(-1)).toContain('sealed without a judgement')
    log.pass(61n * SECOND)
    expect(await log.review()).toBe(true)
    const after = await verified(1)
    expect(after.segments).toHaveLength(22)
    expect(after.verdict.continuity.detail.join()).not.toContain('sealed without a judgement')
    log.pass(900n * SECOND)
    expect(await log.review()).toBe(true)
    expect(rulesOf(await verified(1))).toEqual(['GC-R01'])
  })
})

describe('in a collector', () => {
  afterAll(cleanUp)

  test('an end that does not come is found by itself, also after a kill', { timeout: 120_000 }, async () => {
    const config = 'assembler:\n  quiet_period: 300ms\n'
    let collector = await startCollectorProcess({ config })
    const policy = policyOfLogs(parseVerifierKey(collector.vkey))
    const ids = ['a', 'b'].map((digit) => digit.repeat(32))
    const at = (seconds: number): string => String(BigInt(Date.now()) * 1_000_000n - BigInt(seconds) * SECOND)
    const request = (id: string, start: string): string => {
      const attributes = Object.entries(STARTED).map(([key, value]) => ({
        key,
        value: { stringValue: value },
      }))
      const span = { traceId: id, spanId: 'c'.repeat(16), name: 'job', kind: 1, attributes }
      const spans = [{ ...span, startTimeUnixNano: start, endTimeUnixNano: start }]
      return JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans }] }] })
    }
    const send = async (id: string, start: string): Promise<void> => {
      const headers = { 'content-type': 'application/json' }
      const body = request(id, start)
      const response = await fetch(`${collector.http}/v1/traces`, { method: 'POST', headers, body })
      expect(response.status).toBe(200)
      await waitForTrace(collector, id, 1)
      expect(rulesOf(verify(await downloadEvidence(collector, id), policy))).toEqual([])
    }
    const found = (id: string): Promise<VerifiedExecution> =>
      waitFor(`the finding of ${id}`, async () => {
        const execution = verify(await downloadEvidence(collector, id), policy)
        return rulesOf(execution).includes('GC-R01') ? execution : undefined
      })

    await send(ids[0]!, at(893))
    expect((await found(ids[0]!)).segments.map(({ closed }) => closed)).toEqual([
      Closed.settled,
      Closed.reviewed,
    ])
    await send(ids[1]!, at(890))
    expect((await readMetrics(collector)).get('rootspan_reviews_pending')).toBe(1)
    expect((await readMetrics(collector)).get('rootspan_reviewed_segments_total')).toBe(1)
    collector.process.signal('SIGKILL')
    await collector.process.ends()
    collector = await startCollectorProcess({ config, directory: collector.directory })
    await found(ids[1]!)
    await collector.stop()
    const checked = await runRootspan(['fsck', '--json'], collector.directory)
    expect(JSON.parse(checked.stdout)).toMatchObject({ problems: [] })
  })
})
