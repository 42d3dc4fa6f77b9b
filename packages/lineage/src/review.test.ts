/** Segments that are sealed without a judgement, and judgements without spans. */
import { describe, expect, test } from 'vitest'
import { EPOCH, type SettleOptions, type SpanSpec, TestLog } from '../../../test/support/executions.ts'
import { formatHex } from './bytes.ts'
import { EMPTY_CONTEXT } from './continuity/context.ts'
import { why } from './continuity/why.ts'
import { MalformedError, VerificationError } from './errors.ts'
import { type Bundle, formatBundle, parseBundle } from './evidence/bundle.ts'
import { Persistence } from './record/entry.ts'
import { Closed, encodePayload, parsePayload } from './record/payload.ts'
import { type VerifiedExecution, verify } from './verify.ts'

/** An action below a parent that has not come: it may still run for 30 seconds, and is missed then. */
const ORPHAN: SpanSpec = { id: 2, parent: 1, attributes: { 'governance.action.name': 'pay' } }
const at = (seconds: number): bigint => EPOCH + BigInt(seconds) * 1_000_000_000n

async function checked(log: TestLog): Promise<VerifiedExecution> {
  return verify(await log.bundle(1), log.policy)
}

const findingsOf = ({ judgement }: VerifiedExecution): string[] =>
  judgement.findings.map(({ rule, detail }) => `${rule} ${detail}`)

describe('a review', () => {
  const sealing = (): NonNullable<SettleOptions['sealing']> => ({ gather: () => EMPTY_CONTEXT })

  test('finds what only time shows', async () => {
    const log = new TestLog()
    log.settle(1, [[ORPHAN]], { at: at(10) })
    expect(findingsOf(await checked(log))).not.toContainEqual(expect.stringContaining('GC-N01'))
    expect(log.settle(1, [], { closed: Closed.reviewed, at: at(70), sealing: sealing() })).toBe(true)
    const execution = await checked(log)
    expect(findingsOf(execution)).toContainEqual(expect.stringContaining('GC-N01'))
    expect(execution.segments.map(({ closed, count }) => [closed, count])).toEqual([
      [Closed.settled, expect.any(Number)],
      [Closed.reviewed, 2],
    ])
    expect(execution.segments[1]!.evaluatedAt).toBe(at(70))
  })

  test('that comes to nothing new leaves no segment, and nothing in the sink', async () => {
    const log = new TestLog()
    log.settle(1, [[ORPHAN]], { at: at(10) })
    const { size } = log
    expect(log.settle(1, [], { closed: Closed.reviewed, at: at(20), sealing: sealing() })).toBe(false)
    expect(log.size).toBe(size)
    expect(log.settle(1, [], { closed: Closed.reviewed, at: at(70), sealing: sealing() })).toBe(true)
  })

  test('is no reason to call what comes after it late, or not late', async () => {
    const late = async (closed: Closed): Promise<number> => {
      const log = new TestLog()
      log.settle(1, [[ORPHAN]], { closed, at: at(10) })
      log.settle(1, [], { closed: Closed.reviewed, at: at(70) })
      log.settle(1, [[{ id: 1 }]], { at: at(80) })
      return (await checked(log)).records.filter(({ entry }) => entry.persistence === Persistence.late).length
    }
    expect([await late(Closed.settled), await late(Closed.cut)]).toEqual([1, 0])
  })

  test('of what is not judged, or of nothing at all, is refused', async () => {
    const log = new TestLog()
    const review = { closed: Closed.reviewed, at: at(70) }
    expect(() => log.settle(1, [], review)).toThrow(MalformedError)
    log.settle(1, [[{ id: 1 }]])
    expect(() => log.settle(1, [], review)).toThrow(MalformedError)
  })

  test('says when it would come to something else', async () => {
    const asked: number[] = []
    const log = new TestLog()
    const sealing = {
      gather(_: unknown, since: number) {
        asked.push(since)
        return EMPTY_CONTEXT
      },
    }
    log.settle(1, [[ORPHAN]], { at: at(10), sealing })
    log.settle(1, [[{ id: 3, parent: 2 }]], { at: at(11), sealing })
    log.settle(1, [], { closed: Closed.reviewed, at: at(70), sealing })
    log.settle(1, [], { closed: Closed.reviewed, at: at(71), sealing })
    // Each segment is new to whoever learns from it once.
    expect(asked).toEqual([0, 1, 2, 3])
  })
})

describe('a deferred judgement', () => {
  const MANY = 4097
  const many = (from: number, count: number): SpanSpec[] =>
    Array.from({ length: count }, (_, i) => ({ id: from + i, parent: 2 }))
  const sealing = (deferred: boolean): NonNullable<SettleOptions['sealing']> => ({
    gather: () => EMPTY_CONTEXT,
    defers: () => deferred,
  })

  /** A large execution with a finding, and a segment without a judgement that brings what was missing. */
  function grown(): TestLog {
    const log = new TestLog()
    log.settle(1, [[ORPHAN, ...many(10, MANY)]], { at: at(60), sealing: sealing(false) })
    log.settle(1, [[{ id: 1 }]], { at: at(70), sealing: sealing(true) })
    return log
  }

  test('leaves what was found as it was', async () => {
    const log = grown()
    const execution = await checked(log)
    expect(findingsOf(execution)).toContainEqual(expect.stringContaining('GC-N01'))
    expect(execution.verdict.continuity.state).toBe('broken')
    expect(execution.verdict.continuity.detail.at(-1)).toBe(
      'segment 1 and what came after it: sealed without a judgement, which a later segment brings',
    )
    const verdict = (of: VerifiedExecution): string =>
      why(of.execution(), of.judgement, { pendingFrom: of.pendingFrom }).at(-1)!.clauses[0]!.text
    expect(verdict(execution)).toContain('; segment 1 and what came after it are not judged yet')
    expect(execution.execution().evaluatedAt).toBe(at(60))
    log.settle(1, [], { closed: Closed.reviewed, at: at(80), sealing: sealing(true) })
    const after = await checked(log)
    expect(findingsOf(after)).not.toContainEqual(expect.stringContaining('GC-N01'))
    expect(after.verdict.continuity.detail.join()).not.toContain('without a judgement')
    expect(verdict(after)).not.toContain('not judged yet')
  })

  test('says nothing of the spans since', async () => {
    const log = new TestLog()
    log.settle(1, [[{ ...ORPHAN, parent: 0 }, ...many(10, MANY)].map(withoutParent)], {
      at: at(60),
      sealing: sealing(false),
    })
    log.settle(1, [[{ ...ORPHAN, id: 9000, parent: 8999 }]], { at: at(200), sealing: sealing(true) })
    const before = await checked(log)
    expect(findingsOf(before)).not.toContainEqual(expect.stringContaining('GC-N01'))
    expect(before.verdict.continuity.detail.at(-1)).toContain('segment 1 and what came after it')
    log.settle(1, [[{ id: 9001 }]], { at: at(201), sealing: sealing(true) })
    log.settle(1, [[{ id: 9002 }]], { at: at(202), sealing: sealing(false) })
    expect(findingsOf(await checked(log))).toContainEqual(expect.stringContaining('GC-N01'))
  })

  test('is for large executions only', async () => {
    const log = new TestLog()
    log.settle(1, [[ORPHAN, ...many(10, MANY - 2)]], { at: at(60), sealing: sealing(true) })
    const execution = await checked(log)
    expect(execution.judgement.results.length).toBeGreaterThan(0)
    // A collector that leaves the judgement out of a small one all the same.
    const bundle = parseBundle(await log.bundle(1))
    const payload = parsePayload(bundle.segments[0]!.payload)
    const { tenant, traceId, segment, closed, evaluatedAt } = payload
    const bare = encodePayload({ tenant, traceId, segment, closed, evaluatedAt }, payload.spans)
    const lie: Bundle = { ...bundle, segments: [{ ...bundle.segments[0]!, payload: bare }] }
    expect(() => verify(formatBundle(lie), log.policy)).toThrow(VerificationError)
  })

  test('cannot be claimed where one was made', async () => {
    const log = grown()
    log.settle(1, [[{ id: 9000 }]], { at: at(90), sealing: sealing(false) })
    await checked(log)
    const bundle = parseBundle(await log.bundle(1))
    const segments = bundle.segments.map((part, number) => {
      if (number !== 2) return part
      const { judgement: _, ruleset: __, context: ___, ...head } = parsePayload(part.payload)
      return { ...part, payload: encodePayload(head, head.spans) }
    })
    expect(() => verify(formatBundle({ ...bundle, segments }), log.policy)).toThrow(VerificationError)
    expect(formatHex(formatBundle(bundle))).toBe(formatHex(await log.bundle(1)))
  })
})

function withoutParent(spec: SpanSpec): SpanSpec {
  const { parent, ...rest } = spec
  return parent === 0 ? rest : spec
}
