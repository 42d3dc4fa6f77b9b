/** Bundles of executions of which something was erased or is withheld. */
import { describe, expect, test } from 'vitest'
import { EPOCH, type SpanSpec, TestLog } from '../../../test/support/executions.ts'
import { equalBytes, parseUtf8, utf8 } from './bytes.ts'
import { VerificationError } from './errors.ts'
import { type Bundle, formatBundle, parseBundle } from './evidence/bundle.ts'
import { TraceHistory } from './record/history.ts'
import { type AnyPayload, disclose, encodeOpened, openPayload, parseAnyPayload } from './record/opened.ts'
import { Closed } from './record/payload.ts'
import type { Policy } from './tlog/policy.ts'
import { verify } from './verify.ts'

const SPANS: readonly SpanSpec[] = [
  { id: 1, attributes: { 'governance.execution.id': 'e1', 'http.route': '/orders' } },
  {
    id: 2,
    parent: 1,
    attributes: {
      'governance.authorization.subject': 'alice@example.com',
      'governance.authorization.issuer': 'https://idp.example',
      'governance.decision.id': 'd1',
      'governance.decision.outcome': 'allow',
      'governance.action.name': 'refund',
    },
    events: [{ name: 'governance.verification', attributes: { 'governance.verification.result': 'pass' } }],
  },
  { id: 3, parent: 2, service: 'stock', attributes: { 'db.user': 'alice@example.com' } },
]
const SUBJECT = 'governance.authorization.subject'

function code(policy: Policy, evidence: Uint8Array): string {
  try {
    verify(evidence, policy)
    return 'verified'
  } catch (error) {
    if (error instanceof VerificationError) return error.code
    throw error
  }
}

function withPayload(bundle: Bundle, number: number, payload: Uint8Array): Uint8Array {
  return formatBundle({
    ...bundle,
    segments: bundle.segments.map((one, at) => (at === number ? { ...one, payload } : one)),
  })
}

async function erased(cut: 'all' | readonly string[]): Promise<{ log: TestLog; bundle: Bundle }> {
  const log = new TestLog()
  log.settle(1, [SPANS])
  log.settle(2, [[{ id: 9 }]])
  log.erase(1, cut)
  log.settle(3, [[{ id: 9 }]])
  return { log, bundle: parseBundle(await log.bundle(1)) }
}

describe('an execution that was erased whole', () => {
  test('verifies, and says by whom, why and when; nothing of it is shown', async () => {
    const { log, bundle } = await erased('all')
    const result = verify(formatBundle(bundle), log.policy)
    expect(result.erasures).toMatchObject([
      {
        scope: 'execution',
        selector: ['trace'],
        reason: 'a request of the data subject',
        by: 'the privacy officer',
        at: EPOCH,
        spans: [3],
      },
    ])
    expect(result.records.every(({ span, claims }) => span === undefined && claims === undefined)).toBe(true)
    expect(result.segments).toMatchObject([
      { form: 'opened', withheld: false, missing: { spans: 3, claims: 0 } },
    ])
    expect(parseUtf8(formatBundle(bundle))).not.toContain(btoa('alice').slice(0, 5))
  })

  test('is missing, and not erased, where no erased record is shown', async () => {
    const { log, bundle } = await erased('all')
    expect(code(log.policy, formatBundle({ ...bundle, erasures: [] }))).toBe('erasure')
  })

  test('is not erased by a record about another execution, nor by one that is no leaf of the log', async () => {
    const log = new TestLog()
    log.settle(1, [SPANS])
    log.settle(2, [SPANS])
    log.erase(2, 'all')
    const bundle = parseBundle(await log.bundle(1))
    const { erasures } = parseBundle(await log.bundle(2))
    const { payload } = parseBundle(await log.bundle(2)).segments[0]!
    const head = parseAnyPayload(payload) as AnyPayload & { form: 'opened' }
    const own = parseAnyPayload(bundle.segments[0]!.payload)
    const forged = encodeOpened({ ...head, traceId: own.traceId })
    expect(code(log.policy, withPayload({ ...bundle, erasures }, 0, forged))).toBe('erasure')

    const other = new TestLog()
    other.settle(1, [SPANS])
    other.erase(1, 'all')
    const elsewhere = parseBundle(await other.bundle(1)).erasures
    expect(code(log.policy, withPayload({ ...bundle, erasures: elsewhere }, 0, forged))).toBe('inclusion')
  })

  test('whose later segment came before it was erased, or after', async () => {
    const log = new TestLog()
    log.settle(1, [SPANS])
    log.settle(1, [[{ id: 4, parent: 1 }]])
    log.erase(1, 'all')
    // Once more a span that was erased, and a new one: whether the first is the same cannot be told any more.
    log.settle(1, [[SPANS[0]!, { id: 5, parent: 4 }]])
    const result = verify(await log.bundle(1), log.policy)
    expect(result.segments.map(({ form }) => form)).toEqual(['opened', 'opened', 'whole'])
    expect(result.verdict.continuity.detail.join()).toContain(
      'GC-N03 unknown: the spans of segment 0, which were erased',
    )
    expect(result.records.filter(({ span }) => span !== undefined)).toHaveLength(2)
  })
})

describe('an execution of which an attribute was erased', () => {
  test('keeps its other spans and claims, and these verify', async () => {
    const { log, bundle } = await erased([SUBJECT])
    const result = verify(formatBundle(bundle), log.policy)
    expect(result.erasures).toMatchObject([{ scope: 'attributes', keys: [SUBJECT], spans: [1], claims: [1] }])
    expect(result.records.flatMap(({ span }) => (span === undefined ? [] : [span.spanId[7]]))).toEqual([1, 3])
    const keys = result.records.flatMap(({ claims = [] }) =>
      claims.map((claim) => ('key' in claim ? parseUtf8(claim.key) : '-')),
    )
    expect(keys).toContain('governance.authorization.issuer')
    expect(keys).not.toContain(SUBJECT)
    expect(keys.filter((key) => key === '-')).toHaveLength(1)
    expect(result.notChecked[0]).toContain('recorded, not recomputed')
  })

  test('may miss no more than was erased', async () => {
    const { log, bundle } = await erased([SUBJECT])
    const left = parseAnyPayload(bundle.segments[0]!.payload) as AnyPayload & { form: 'opened' }
    const lessSpans = encodeOpened({ ...left, spans: left.spans.slice(1) })
    expect(code(log.policy, withPayload(bundle, 0, lessSpans))).toBe('erasure')
    const lessRecords = encodeOpened({ ...left, records: left.records.slice(1) })
    expect(code(log.policy, withPayload(bundle, 0, lessRecords))).toBe('erasure')
    const withheld = encodeOpened({ ...left, withheld: true, evaluatedAt: 0n, spans: [], records: [] })
    expect(code(log.policy, withPayload(bundle, 0, withheld))).toBe('verified')
  })

  test('twice, and then whole', async () => {
    const { log } = await erased([SUBJECT])
    log.erase(1, ['governance.decision.id'])
    expect(
      verify(await log.bundle(1), log.policy).erasures.map(({ spans, claims }) => [spans, claims]),
    ).toEqual([
      [[1], [1]],
      [[0], [1]],
    ])
    log.erase(1, 'all')
    const result = verify(await log.bundle(1), log.policy)
    expect(result.erasures).toHaveLength(3)
    expect(result.records.some(({ span }) => span !== undefined)).toBe(false)
  })

  test('opens a later segment that does not derive without it', async () => {
    const log = new TestLog()
    log.settle(1, [SPANS])
    // The same ids with other content: a finding that needs the earlier content.
    log.settle(1, [[{ ...SPANS[1]!, name: 'changed' }]])
    log.settle(1, [[{ id: 7, parent: 1 }]])
    log.erase(1, [SUBJECT])
    const result = verify(await log.bundle(1), log.policy)
    expect(result.segments.map(({ form }) => form)).toEqual(['opened', 'opened', 'opened'])
    expect(result.erasures).toMatchObject([{ spans: [1, 1, 0] }])

    const only = new TestLog()
    only.settle(1, [[{ id: 1, attributes: { secret: 's' } }]])
    only.settle(1, [[{ id: 1, attributes: { other: 'o' } }]])
    only.erase(1, ['secret'])
    const opened = verify(await only.bundle(1), only.policy)
    expect(opened.segments).toMatchObject([
      { missing: { spans: 1 } },
      { form: 'opened', missing: { spans: 0 } },
    ])
    expect(opened.erasures).toMatchObject([{ spans: [1, 0], claims: [0, 0] }])
  })
})

test('a disclosure shows chosen claims and nothing else', async () => {
  const log = new TestLog()
  log.settle(1, [SPANS])
  const bundle = parseBundle(await log.bundle(1))
  const segment = bundle.segments[0]!
  const whole = parseAnyPayload(segment.payload) as AnyPayload & { form: 'whole' }
  const opened = openPayload(whole, new TraceHistory(), segment.entries)!
  const evidence = withPayload(bundle, 0, encodeOpened(disclose(opened, ['governance.decision.outcome'])))
  const result = verify(evidence, log.policy)
  const shown = result.records.flatMap(({ claims = [] }) =>
    claims.flatMap((claim) => ('key' in claim ? [claim] : [])),
  )
  expect(shown.map(({ key }) => parseUtf8(key))).toEqual(['governance.decision.outcome'])
  expect(equalBytes(shown[0]!.value.subarray(1), utf8('allow'))).toBe(true)
  expect(result.segments).toMatchObject([{ withheld: true, missing: { spans: 3 } }])
  expect(result.erasures).toEqual([])
})

test('no byte of a bundle with erased parts may change', async () => {
  const { log, bundle } = await erased([SUBJECT])
  const evidence = formatBundle(bundle)
  const before = verify(evidence, log.policy)
  for (let at = 0; at < evidence.length; at++) {
    const changed = evidence.slice()
    changed[at]! ^= 1 << (at % 7)
    let result: ReturnType<typeof verify>
    try {
      result = verify(changed, log.policy)
    } catch (error) {
      if (!(error instanceof VerificationError)) throw new Error(`byte ${at}`, { cause: error })
      continue
    }
    // What is left are names of signature lines, which are told.
    expect(result.notChecked, `byte ${at}`).not.toEqual(before.notChecked)
    expect(result.records, `byte ${at}`).toEqual(before.records)
  }
})

test('a drained segment is still told from a settled one when it was erased', async () => {
  const log = new TestLog()
  log.settle(1, [[{ id: 1 }]], { closed: Closed.drained })
  log.erase(1, 'all')
  log.settle(1, [[{ id: 2, parent: 1 }]])
  expect(code(log.policy, await log.bundle(1))).toBe('verified')
})
