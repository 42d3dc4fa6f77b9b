/** Bundles out of the store bring what their judgements take from other executions, and erasing ends that. */
import { joinBytes } from '@rootspan/lineage/bytes'
import { parseBundle } from '@rootspan/lineage/evidence/bundle'
import { parseRun } from '@rootspan/lineage/record/opening'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bundlePieces, Payloads } from '../../packages/collector/src/api/evidence.ts'
import { parseKnowledge } from '../../packages/collector/src/knowledge.ts'
import { traceId } from '../../packages/collector/src/store/keys.ts'
import { makeDirectory } from '../e2e/process.ts'
import { EPOCH, type SpanSpec, traceIdOf } from '../support/executions.ts'
import { StoredLog } from '../support/stored-log.ts'

const SECOND = 1e9
const DAY = 86_400_000
const START = Number(EPOCH / 1_000_000n)

const event = (at: number, name: string, values: Record<string, string>) => ({
  name: `governance.${name}`,
  at: at * SECOND,
  attributes: Object.fromEntries(Object.entries(values).map(([key, value]) => [`governance.${key}`, value])),
})
const token = { 'authorization.id': 'token-1', 'authorization.subject': 'alice' }
const approval = { 'approval.id': 'approval-1', 'authorization.type': 'approval' }
const decided = (version: string) => ({
  'decision.outcome': 'permit',
  'policy.id': 'refunds',
  'policy.version': version,
})

const REVOKED: SpanSpec = {
  id: 1,
  start: SECOND,
  events: [event(1, 'authorization', { ...token, 'authorization.status': 'revoked' })],
}
const USED: SpanSpec[] = [
  { id: 2, start: SECOND },
  { id: 3, parent: 2, start: SECOND, events: [event(2, 'approval', approval)] },
]
const DECIDED: SpanSpec = {
  id: 4,
  service: 'other',
  start: SECOND,
  events: [event(3, 'decision', decided('2'))],
}
const OWN: SpanSpec = {
  id: 9,
  start: 600 * SECOND,
  end: 601 * SECOND,
  attributes: { 'governance.action.name': 'refund' },
  events: [
    event(600, 'authorization', token),
    event(600, 'approval', approval),
    event(600, 'decision', decided('1')),
  ],
}

let log: StoredLog
beforeEach(async () => {
  log = await StoredLog.create(await makeDirectory())
  await log.receive(1, [REVOKED])
  await log.receive(2, USED)
  await log.receive(3, [DECIDED])
  await log.commit()
  await log.receive(9, [OWN])
  await log.commit()
})
afterEach(() => log.close())

async function bundleOf(trace: number, disclosed?: readonly string[]): Promise<Uint8Array> {
  const note = await log.checkpoint()
  const [rows = []] = await log.reader.traces([traceId(new Uint8Array(0), traceIdOf(trace))])
  const published = { note, size: log.size, root: new Uint8Array(32) }
  const pieces: Uint8Array[] = []
  for await (const piece of bundlePieces(log.reader, new Payloads(log.packs), published, rows, disclosed))
    pieces.push(piece)
  return joinBytes(pieces)
}

const verified = async (trace: number): Promise<VerifiedExecution> =>
  verify(await bundleOf(trace), log.policy)
const rulesOf = ({ judgement }: VerifiedExecution): string[] => judgement.findings.map(({ rule }) => rule)
/** Sorts of what is known, and the traces that it was learned from by their last byte. */
async function known(): Promise<string[]> {
  return (await log.reader.knowledge())
    .flatMap(({ value }) =>
      Object.entries(parseKnowledge(value!).context).flatMap(([sort, statements]) =>
        statements.map((one: { traceId: Uint8Array }) => `${sort} of ${one.traceId[15]}`),
      ),
    )
    .sort()
}

test('a bundle brings the records that its judgement names, and shows one claim of each', async () => {
  const bundle = parseBundle(await bundleOf(9))
  const shown = bundle.context.map(({ payload }) =>
    parseRun(payload)[0]!.claims.flatMap((claim) =>
      'key' in claim ? [Buffer.from(claim.key).toString()] : [],
    ),
  )
  expect(shown).toEqual([['rootspan.revocation'], ['rootspan.use'], ['rootspan.policy']])
  const execution = await verified(9)
  expect(execution.context).toMatchObject({ proven: 3, erased: 0, unproven: 0 })
  expect(rulesOf(execution)).toEqual(expect.arrayContaining(['GC-A09', 'GC-A11']))
  expect(parseBundle(await bundleOf(1)).context).toEqual([])
})

test('a disclosure has no judgement, and shows nothing of others', async () => {
  const bundle = await bundleOf(9, ['governance.action.name'])
  expect(parseBundle(bundle).context).toEqual([])
  expect(verify(bundle, log.policy).context).toEqual({ proven: 0, erased: 0, unproven: 0, witnesses: [] })
})

test('a record of an earlier segment of the same execution is brought, too', async () => {
  await log.receive(9, [{ ...OWN, id: 10, events: [event(700, 'decision', decided('3'))] }])
  await log.commit()
  const execution = await verified(9)
  const own = execution.context.witnesses.filter(({ traceId }) => traceId[15] === 9)
  expect(own.length).toBeGreaterThan(0)
  expect(execution.context.erased).toBe(0)
})

test('erasing ends what is shown of it, and what was learned of it but for revocations', async () => {
  expect(await known()).toEqual(['policies of 3', 'policies of 9', 'revocations of 1', 'uses of 2'])
  for (const trace of [1, 2, 3]) await log.commitErasure({ trace: traceIdOf(trace) })
  expect(await known()).toEqual(['policies of 9', 'revocations of 1'])
  const execution = await verified(9)
  expect(execution.context).toMatchObject({ proven: 0, erased: 3, unproven: 0 })
  expect(execution.erasures).toEqual([])
  expect(rulesOf(execution)).toEqual(expect.arrayContaining(['GC-A09', 'GC-A11']))
  const bundle = await bundleOf(9)
  expect(parseBundle(bundle).erasures).toHaveLength(3)
  expect(parseBundle(bundle).context).toHaveLength(6)
  for (const { payload } of parseBundle(bundle).context) expect(payload).toHaveLength(0)
})

test('an erased attribute ends what is made of it', async () => {
  await log.commitErasure({ attributes: ['governance.approval.id'], trace: traceIdOf(2) })
  expect(await known()).toEqual(['policies of 3', 'policies of 9', 'revocations of 1'])
  expect((await verified(9)).context).toMatchObject({ proven: 2, erased: 1 })
  await log.commitErasure({ attributes: ['governance.authorization.subject'], trace: traceIdOf(1) })
  await log.commitErasure({ attributes: ['service.name'], trace: traceIdOf(3) })
  expect(await known()).toEqual(['policies of 9', 'revocations of 1'])
  expect((await verified(9)).context).toMatchObject({ proven: 0, erased: 3 })
})

test('an attribute that a testimony is not made of leaves it', async () => {
  await log.commitErasure({ attributes: ['service.name'], trace: traceIdOf(1) })
  expect((await verified(9)).context).toMatchObject({ proven: 3, erased: 0 })
})

test('what has expired is told as erased; what was learned of it stays', async () => {
  const before = await known()
  await log.retain({ days: 10, classes: [] }, START + 12 * DAY)
  expect(await known()).toEqual(before)
  await log.receive(10, [{ ...OWN, id: 11 }])
  await log.commit()
  const execution = await verified(10)
  expect(execution.context.proven).toBe(0)
  expect(execution.context.erased).toBeGreaterThan(2)
})

test('an erasure that is not signed yet cannot be told', async () => {
  const note = await log.checkpoint()
  const published = { note, size: log.size, root: new Uint8Array(32) }
  await log.commitErasure({ trace: traceIdOf(1) })
  const [rows = []] = await log.reader.traces([traceId(new Uint8Array(0), traceIdOf(9))])
  const pieces = bundlePieces(log.reader, new Payloads(log.packs), published, rows)
  await expect(pieces.next()).rejects.toMatchObject({ status: 503, code: 'not_signed' })
})
