/**
 * A collector that lies in the context of a judgement: it judges by the lie, seals what comes out and signs it, and
 * everything fits together but the records that it names. Its bundle alone shows it.
 */
import { formatHex, utf8 } from '@rootspan/lineage/bytes'
import { type Context, EMPTY_CONTEXT } from '@rootspan/lineage/continuity/context'
import type { Execution } from '@rootspan/lineage/continuity/model'
import type { VerificationError } from '@rootspan/lineage/errors'
import { type Bundle, formatBundle, parseBundle } from '@rootspan/lineage/evidence/bundle'
import { Persistence, parseEntry } from '@rootspan/lineage/record/entry'
import type { Opening } from '@rootspan/lineage/record/opening'
import { encodeRun, parseRun } from '@rootspan/lineage/record/opening'
import { proveRange } from '@rootspan/lineage/tlog/proof'
import { type VerifiedExecution, verify } from '@rootspan/lineage/verify'
import { expect, test } from 'vitest'
import { Knowledge } from '../../packages/collector/src/knowledge.ts'
import { EPOCH, TestLog, traceIdOf } from '../support/executions.ts'
import { event, failureOf, ISSUER, type Lie, logOf, OTHERS, OWN, SECOND, token } from './liar.ts'

async function verifyLie(lie: Lie): Promise<VerificationError> {
  const log = logOf(lie)
  return failureOf(await log.bundle(9), log)
}

const rulesOf = ({ judgement }: VerifiedExecution): string[] => [
  ...new Set(judgement.findings.map(({ rule }) => rule)),
]

test('the truth is borne out: each statement by its record', async () => {
  const log = logOf()
  const bundle = await log.bundle(9)
  const execution = verify(bundle, log.policy)
  expect(rulesOf(execution)).toEqual(expect.arrayContaining(['GC-A09', 'GC-A11', 'GC-C03', 'GC-P01']))
  expect(execution.context).toMatchObject({ proven: 5, erased: 0, unproven: 0 })
  expect(execution.context.witnesses.map(({ traceId }) => formatHex(traceId))).toEqual(
    [1, 2, 3, 4, 5].map((trace) => formatHex(traceIdOf(trace))),
  )
  expect(parseBundle(bundle).context).toHaveLength(5)
  expect(execution.notChecked.join()).not.toContain('own word')
})

test('a time that no clock has is judged as verifiers read it', async () => {
  const log = new TestLog()
  const knowledge = new Knowledge()
  const honest = {
    sealing: { gather: (execution: Execution, since: number) => knowledge.contextOf(execution, since) },
  }
  // Past 2^63 nanoseconds: negative once it was written down.
  const at = 8e9
  log.settle(1, [[{ id: 1, start: SECOND, events: [event(at, 'authorization', token('revoked'))] }]], honest)
  log.settle(9, [OWN], honest)
  const execution = verify(await log.bundle(9), log.policy)
  expect(execution.context.proven).toBe(1)
})

test('nothing of another execution is shown but what a statement says', async () => {
  const log = logOf()
  const { context } = parseBundle(await log.bundle(9))
  const shown = context.map(({ payload }) =>
    parseRun(payload)[0]!.claims.flatMap((claim) =>
      'key' in claim ? [Buffer.from(claim.key).toString()] : [],
    ),
  )
  expect(shown).toEqual([
    ['rootspan.revocation'],
    ['rootspan.use'],
    ['rootspan.policy'],
    ['rootspan.policy'],
    ['rootspan.emitter'],
  ])
  // The subject is on the revoked token, which has an id of its own.
  expect(context.map(({ payload }) => Buffer.from(payload).toString()).join()).not.toContain('alice')
})

/** Changes the first statement of a sort. */
const first =
  <S extends 'revocations' | 'uses' | 'policies' | 'neighbours'>(
    sort: S,
    fields: Partial<Context[S][number]> | ((leafOf: Parameters<Lie>[1]) => Partial<Context[S][number]>),
  ): Lie =>
  (context, leafOf) => {
    const [one, ...more] = context[sort]
    const changed = { ...one!, ...(typeof fields === 'function' ? fields(leafOf) : fields) }
    return { ...context, [sort]: [changed, ...more] }
  }

const another = new Uint8Array(32).fill(9)

test.each<[string, Lie, string, string]>([
  [
    'that another token was revoked',
    first('revocations', { value: 'token-2' }),
    'revocation 0',
    'another id',
  ],
  [
    'that it was revoked by another name',
    first('revocations', { by: 'fingerprint' }),
    'revocation 0',
    'another fingerprint',
  ],
  [
    'that everything of its subject was revoked',
    first('revocations', { by: 'subject', value: 'alice' }),
    'revocation 0',
    'another subject',
  ],
  [
    'that it is revoked by a part of the record',
    first('revocations', { by: 'issuer', value: ISSUER }),
    'revocation 0',
    'another issuer',
  ],
  [
    'that somebody else revoked it',
    first('revocations', { issuer: 'https://other' }),
    'revocation 0',
    'another issuer',
  ],
  ['that nobody said who revoked it', first('revocations', { issuer: '' }), 'revocation 0', 'another issuer'],
  ['that it was revoked earlier', first('revocations', { at: 1n }), 'revocation 0', 'another time'],
  [
    'that a revocation of something else revoked it',
    first('revocations', (leafOf) => ({ leaf: leafOf(6), traceId: traceIdOf(6) })),
    'revocation 0',
    'another id',
  ],
  ['that another approval was used', first('uses', { value: 'approval-2' }), 'use 0', 'another approval'],
  ['that it was used by another name', first('uses', { by: 'transaction' }), 'use 0', 'another transaction'],
  [
    'that a revocation is a use',
    first('uses', (leafOf) => ({ leaf: leafOf(1), traceId: traceIdOf(1) })),
    'use 0',
    'nothing of that sort',
  ],
  ['another engine', first('policies', { engine: 'cedar' }), 'policy version 0', 'another engine'],
  ['another policy', first('policies', { policy: 'payments' }), 'policy version 0', 'another policy'],
  ['another version', first('policies', { version: '3' }), 'policy version 0', 'another version'],
  ['a text of the policy', first('policies', { digest: 'sha256:00' }), 'policy version 0', 'another digest'],
  ['another service', first('policies', { service: 'shop' }), 'policy version 0', 'another service'],
  [
    'another time of the first decision',
    first('policies', { since: 5n }),
    'policy version 0',
    'another time',
  ],
  ['another process', first('neighbours', { emitter: 'process-2' }), 'neighbour 0', 'another emitter'],
  ['another number', first('neighbours', { seq: 8n }), 'neighbour 0', 'another number'],
  ['a link that is not there', first('neighbours', { prev: 'ab' }), 'neighbour 0', 'another link'],
  ['another span', first('neighbours', { spanId: new Uint8Array(8).fill(1) }), 'neighbour 0', 'another span'],
  [
    'that a link is not there',
    first('neighbours', (leafOf) => ({
      leaf: leafOf(7),
      traceId: traceIdOf(7),
      spanId: parseEntry(logOf().segments(7)[0]!.entries[0]!).spanId,
      seq: 3n,
      prev: '',
    })),
    'neighbour 0',
    'another link',
  ],
])('the lie of %s is caught', async (_, lie, statement, what) => {
  expect(await verifyLie(lie)).toMatchObject({
    code: 'context',
    where: `segment 0, ${statement}`,
    reason: `its record says ${what}`,
  })
})

test.each(['revocations', 'uses', 'policies', 'neighbours'] as const)(
  'a lie about where a record of %s is, is caught',
  async (sort) => {
    const what = {
      revocations: 'revocation',
      uses: 'use',
      policies: 'policy version',
      neighbours: 'neighbour',
    }[sort]
    const where = `segment 0, ${what} 0`
    expect(await verifyLie(first(sort, { traceId: traceIdOf(4711) }))).toMatchObject({
      code: 'context',
      where,
      reason: 'its record is of another execution',
    })
    expect(await verifyLie(first(sort, { leaf: another }))).toMatchObject({ code: 'malformed', where })
    // A seal, and a record of another kind.
    const seal = (leafOf: Parameters<Lie>[1]) => ({ leaf: leafOf(7, 2), traceId: traceIdOf(7) })
    expect(await verifyLie(first(sort, seal))).toMatchObject({
      code: 'context',
      where,
      reason: 'its record is of another kind',
    })
    const span = (leafOf: Parameters<Lie>[1]) => ({ leaf: leafOf(7, 1), traceId: traceIdOf(7) })
    expect(await verifyLie(first(sort, span))).toMatchObject({
      code: sort === 'neighbours' ? 'erasure' : 'context',
      where,
    })
  },
)

test('statements that were made up are caught', async () => {
  for (const sort of ['revocations', 'uses', 'policies', 'neighbours'] as const) {
    const error = await verifyLie((context) => ({
      ...context,
      [sort]: [...context[sort], { ...context[sort][0]!, leaf: another }],
    }))
    expect(error.code).toBe('malformed')
    expect(error.where).toMatch(/^segment 0, (revocation 1|use 1|policy version 2|neighbour 1)$/)
  }
})

test('that what is no revocation is one, is caught, whatever it shows', async () => {
  const log = logOf(first('revocations', (leafOf) => ({ leaf: leafOf(2), traceId: traceIdOf(2) })))
  const bundle = parseBundle(await log.bundle(9))
  const where = 'segment 0, revocation 0'
  expect(failureOf(formatBundle(bundle), log)).toMatchObject({ code: 'erasure', where })
  const [, use] = parseBundle(await logOf().bundle(9)).context
  const context = bundle.context
    .filter(({ first: at }) => at <= use!.first || at > log.segments(2)[0]!.first + 2)
    .map((part) => (part.first === use!.first ? { ...part, payload: use!.payload } : part))
  expect(failureOf(formatBundle({ ...bundle, context }), log)).toMatchObject({
    code: 'context',
    where,
    reason: 'its record says nothing of that sort',
  })
})

test('a record that came only after the judgement is none that it rests on', async () => {
  const [[, spans]] = OTHERS as [(typeof OTHERS)[number]]
  const later = new TestLog()
  later.settle(1, [spans])
  const leaf = later.segments(1)[0]!.leaves.slice(0, 32)
  // The liar knows what it will put into the log, and names it before.
  const log = new TestLog()
  const inputs = log.request(1, spans)
  const at = EPOCH + BigInt(SECOND)
  const revocation = { by: 'id', issuer: ISSUER, value: 'token-1', at, leaf, traceId: traceIdOf(1) }
  log.settle(9, [OWN], { sealing: { gather: () => ({ ...EMPTY_CONTEXT, revocations: [revocation] }) } })
  log.seal(1, inputs)
  expect(log.segments(1)[0]!.leaves.slice(0, 32)).toEqual(leaf)
  expect(failureOf(await log.bundle(9), log)).toMatchObject({
    code: 'context',
    where: 'segment 0, revocation 0',
    reason: 'its record came after the segment was judged',
  })
})

test('a lie in an earlier segment is caught, too, though the last one is true', async () => {
  const log = new TestLog()
  const knowledge = new Knowledge()
  const honest = {
    sealing: { gather: (execution: Execution, since: number) => knowledge.contextOf(execution, since) },
  }
  log.settle(1, [OTHERS[0]![1]], honest)
  log.settle(9, [OWN], {
    sealing: {
      gather: (execution, since) =>
        first('revocations', { at: 1n })(knowledge.contextOf(execution, since), () => another),
    },
  })
  log.settle(9, [[{ id: 11, parent: 10, start: 602 * SECOND }]], honest)
  expect(failureOf(await log.bundle(9), log)).toMatchObject({
    code: 'context',
    where: 'segment 0, revocation 0',
  })
})

/** The honest bundle with something else in its context. */
async function edited(
  edit: (context: Bundle['context'], log: TestLog) => Bundle['context'] | Promise<Bundle['context']>,
): Promise<VerificationError> {
  const log = logOf()
  const bundle = parseBundle(await log.bundle(9))
  return failureOf(formatBundle({ ...bundle, context: await edit(bundle.context, log) }), log)
}

const withClaims = (
  payload: Uint8Array,
  edit: (claims: readonly Opening[]) => readonly Opening[],
): Uint8Array => encodeRun([{ leaf: 0, claims: edit(parseRun(payload)[0]!.claims) }])

test('a proof that is left out, of another place, of another record, or none is caught', async () => {
  const names = ['revocation 0', 'use 0', 'policy version 0', 'policy version 1', 'neighbour 0']
  for (const [number, name] of names.entries()) {
    const where = `segment 0, ${name}`
    const change = (fields: Partial<Bundle['context'][number]>) => (context: Bundle['context']) =>
      context.map((part, at) => (at === number ? { ...part, ...fields } : part))
    expect(await edited((context) => context.toSpliced(number, 1))).toMatchObject({
      code: 'malformed',
      where,
    })
    const index = (await edited(() => [])).code
    expect(index).toBe('malformed')
    expect(
      await edited((context) => change({ proof: context[number]!.proof.slice(1) })(context)),
    ).toMatchObject({
      code: 'inclusion',
      where: expect.stringContaining(where),
    })
    const next = async (context: Bundle['context'], log: TestLog) => {
      const at = context[number]!.first + 1
      const proof = await proveRange(at, at + 1, log.size, (level, tile, width) =>
        log.tile(level, tile, width),
      )
      return change({ first: at, proof })(context)
    }
    expect(await edited(next)).toMatchObject({ code: 'inclusion', where: expect.stringContaining(where) })
    expect(await edited(change({ payload: new Uint8Array(0) }))).toMatchObject({ code: 'erasure', where })
    // What nothing names: another record in its place, with its own proof and its own claims.
    const swapped = await edited((context, log) => {
      const entry = log.entries[context[number]!.first + 1]!
      return change({ entries: [entry] })(context)
    })
    expect(swapped).toMatchObject({ code: 'malformed', where })
  }
})

type Open = Extract<Opening, { readonly key: Uint8Array }>

test('opened claims that were altered, hidden, or too many are caught', async () => {
  const where = 'segment 0, revocation 0'
  const change = (edit: (claims: readonly Opening[]) => readonly Opening[]) =>
    edited(([part, ...more]) => [{ ...part!, payload: withClaims(part!.payload, edit) }, ...more])
  const shown = (edit: (claim: Open) => Opening) =>
    change((claims) => claims.map((claim) => ('key' in claim ? edit(claim) : claim)))
  const flip = (bytes: Uint8Array) => bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte))
  expect(await shown((claim) => ({ ...claim, value: flip(claim.value) }))).toMatchObject({
    code: 'claims',
    where,
  })
  expect(await shown((claim) => ({ ...claim, salt: flip(claim.salt) }))).toMatchObject({
    code: 'claims',
    where,
  })
  expect(await shown((claim) => ({ ...claim, key: utf8('rootspan.use') }))).toMatchObject({
    code: 'claims',
    where,
  })
  expect(await change((claims) => claims.slice(1))).toMatchObject({ code: 'claims', where })
  expect(await change((claims) => claims.toReversed())).toMatchObject({ code: 'claims', where })
  const other = await edited(([one, two, ...more]) => [{ ...one!, payload: two!.payload }, two!, ...more])
  expect(other).toMatchObject({ code: 'claims', where })
})

test('what no statement names may not be there', async () => {
  const extra = await edited(async (context, log) => {
    const at = log.segments(6)[0]!.first
    const proof = await proveRange(at, at + 1, log.size, (level, tile, width) => log.tile(level, tile, width))
    const part = { first: at, entries: [log.entries[at]!], proof, payload: new Uint8Array(0) }
    return [...context, part].sort((a, b) => a.first - b.first)
  })
  expect(extra).toMatchObject({ code: 'malformed', reason: 'no statement names it' })
  const erased = logOf()
  erased.erase(1, 'all')
  const bundle = parseBundle(await erased.bundle(9))
  // The seal that an erasure names: it may not carry anything that nobody looks at.
  const laden = bundle.context.map((part) =>
    part.first === erased.segments(1)[0]!.first + 2 ? { ...part, payload: Uint8Array.of(1) } : part,
  )
  expect(laden).not.toEqual(bundle.context)
  expect(failureOf(formatBundle({ ...bundle, context: laden }), erased)).toMatchObject({
    code: 'malformed',
    reason: 'it shows something, and no statement names it',
  })
  expect(await edited((context) => context.toReversed())).toMatchObject({ code: 'malformed' })
  expect(await edited((context) => [context[0]!, ...context])).toMatchObject({ code: 'malformed' })
})

test('every flipped byte of the context of a bundle is seen', { timeout: 120_000 }, async () => {
  const log = logOf()
  const bundle = await log.bundle(9)
  const from = Buffer.from(bundle).indexOf('],"context":[')
  expect(from).toBeGreaterThan(0)
  for (let at = from; at < bundle.length; at++) {
    const changed = bundle.slice()
    changed[at]! ^= 1
    expect(() => verify(changed, log.policy), `byte ${at}`).toThrow()
  }
})

test('what was erased elsewhere is told, and not checked; the rest is', async () => {
  const log = logOf()
  log.erase(1, 'all')
  const execution = verify(await log.bundle(9), log.policy)
  expect(execution.context).toMatchObject({ proven: 4, erased: 1, unproven: 0 })
  const [revoked] = execution.context.witnesses
  expect(revoked!.erased?.by).toBe(log.size - 1)
  expect(execution.erasures).toEqual([])
  expect(execution.verdict.continuity.state).toBe('broken')
  expect(execution.notChecked.join('\n')).toContain(
    `leaf ${revoked!.index} of execution ${formatHex(traceIdOf(1))}, which was erased, as leaf ${log.size - 1} says`,
  )
  expect(Buffer.from(await log.bundle(9)).toString()).not.toContain(
    Buffer.from('rootspan.revocation').toString('base64').slice(0, 20),
  )
})

test('an attribute that was erased takes the testimony that is made of it, and no other', async () => {
  const log = logOf()
  log.erase(1, ['governance.authorization.issuer'])
  expect(verify(await log.bundle(9), log.policy).context).toMatchObject({ proven: 4, erased: 1 })
  const other = logOf()
  other.erase(1, ['governance.authorization.subject'])
  expect(verify(await other.bundle(9), other.policy).context).toMatchObject({ proven: 4, erased: 1 })
  const service = logOf()
  service.erase(2, ['governance.authorization.type', 'http.route'])
  expect(verify(await service.bundle(9), service.policy).context).toMatchObject({ proven: 4, erased: 1 })
})

test('an erasure that is not one, or of something else, excuses nothing', async () => {
  const log = logOf()
  log.erase(1, 'all')
  log.erase(6, 'all')
  const bundle = parseBundle(await log.bundle(9))
  const where = 'segment 0, revocation 0'
  expect(failureOf(formatBundle({ ...bundle, erasures: [] }), log)).toMatchObject({ code: 'erasure', where })
  const isSeal = ({ entries }: Bundle['context'][number]) =>
    parseEntry(entries[0]!).persistence === Persistence.sealed
  const noSeal = { ...bundle, context: bundle.context.filter((part) => !isSeal(part)) }
  expect(failureOf(formatBundle(noSeal), log)).toMatchObject({ code: 'erasure', where })
  const other = parseBundle(await log.bundle(6)).erasures
  expect(failureOf(formatBundle({ ...bundle, erasures: other }), log)).toMatchObject({
    code: 'erasure',
    where,
  })
  expect(failureOf(formatBundle({ ...bundle, erasures: [...bundle.erasures, ...other] }), log)).toMatchObject(
    {
      code: 'erasure',
      where: 'erasure 1',
    },
  )
  // The use was not erased: to hide it behind the erasure of the revocation does not help.
  const hidden = bundle.context.map((part) =>
    part.first === log.segments(2)[0]!.first ? { ...part, payload: new Uint8Array(0) } : part,
  )
  expect(failureOf(formatBundle({ ...bundle, context: hidden }), log)).toMatchObject({
    code: 'erasure',
    where: 'segment 0, use 0',
  })
})

test('an erasure of attributes excuses only what is made of them', async () => {
  const log = logOf()
  log.erase(1, ['governance.authorization.subject'])
  log.erase(2, ['governance.approval.id'])
  const bundle = parseBundle(await log.bundle(9))
  const honest = verify(formatBundle(bundle), log.policy)
  expect(honest.context).toMatchObject({ proven: 3, erased: 2 })
})
