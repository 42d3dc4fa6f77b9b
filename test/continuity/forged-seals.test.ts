/** A collector that lies about the verdict, or about how many leaves a seal counts: its bundle alone shows it. */
import { parseUtf8, utf8 } from '@rootspan/lineage/bytes'
import { encodeJudgement, judgementDigest, parseJudgement } from '@rootspan/lineage/continuity/judgement'
import type { VerificationError } from '@rootspan/lineage/errors'
import { formatBundle, parseBundle } from '@rootspan/lineage/evidence/bundle'
import { Claim } from '@rootspan/lineage/governance/attributes'
import { Kind } from '@rootspan/lineage/governance/kind'
import { encodeValue } from '@rootspan/lineage/otlp/value'
import { Committer } from '@rootspan/lineage/record/commitment'
import { type Entry, encodeEntry, parseEntry } from '@rootspan/lineage/record/entry'
import { encodePayload, parsePayload, type SegmentPayload } from '@rootspan/lineage/record/payload'
import { proveRange } from '@rootspan/lineage/tlog/proof'
import { expect, test } from 'vitest'
import { TestLog } from '../support/executions.ts'
import { failureOf, logOf } from './liar.ts'

/** The segment of trace 9 as a liar writes it: entries and payload that fit together but for what `edit` changes. */
async function forged(
  edit: (entries: Entry[], payload: SegmentPayload) => Partial<SegmentPayload>,
): Promise<VerificationError> {
  const honest = logOf()
  const { entries, payload } = honest.segments(9)[0]!
  const whole = parsePayload(payload)
  const parsed = entries.map(parseEntry)
  const { spans, judgement, ...head } = { ...whole, ...edit(parsed, whole) }
  const log = new TestLog()
  log.append(honest.entries.slice(0, honest.segments(9)[0]!.first))
  const first = log.append(parsed.map(encodeEntry))
  const bundle = parseBundle(await honest.bundle(9))
  const prove = (at: number, end: number) =>
    proveRange(at, end, log.size, (level, index, width) => log.tile(level, index, width))
  const segment = {
    first,
    entries: parsed.map(encodeEntry),
    proof: await prove(first, first + parsed.length),
    payload: encodePayload(head, spans, judgement),
  }
  const context = bundle.context.map(async (part) => ({
    ...part,
    proof: await prove(part.first, part.first + 1),
  }))
  return failureOf(
    formatBundle({
      ...bundle,
      checkpoint: parseUtf8(log.checkpoint()),
      segments: [segment],
      context: await Promise.all(context),
    }),
    log,
  )
}

test('a verdict that is not what the rules give is caught', async () => {
  // What the payload says of it alone, with the truth in the log.
  const judgement = (whole: SegmentPayload) => {
    const { results } = parseJudgement(whole.judgement)
    return encodeJudgement({
      results: results.map((one) => ({ ...one, result: 'pass' as const, missing: [] })),
      findings: [],
    })
  }
  expect(await forged((_, whole) => ({ judgement: judgement(whole) }))).toMatchObject({
    code: 'verdict',
    where: 'segment 0',
  })
  // With the findings left out of the log, and a seal that has the digest of the lie.
  const without = (entries: Entry[], whole: SegmentPayload) => {
    const kept = entries.filter(({ kind, spanId }) => kind !== Kind.verification || spanId.length > 0)
    const lie = judgement(whole)
    const seal = sealOf(whole, kept, lie)
    entries.splice(0, entries.length, ...kept.slice(0, -1), seal)
    return { judgement: lie }
  }
  expect(await forged(without)).toMatchObject({
    code: 'record',
    where: expect.stringContaining('segment 0, leaf'),
  })
  // With the findings in the log and a seal of the lie.
  expect(
    await forged((entries, whole) => {
      const lie = judgement(whole)
      entries[entries.length - 1] = sealOf(whole, entries, lie)
      return { judgement: lie }
    }),
  ).toMatchObject({ code: 'seal', where: expect.stringContaining('segment 0, leaf') })
})

/** A seal that commits to another judgement. */
function sealOf({ spans }: SegmentPayload, entries: readonly Entry[], judgement: Uint8Array): Entry {
  const committer = new Committer()
  const value = encodeValue({
    type: 'kvlist',
    value: [{ key: 'judgement', value: { type: 'bytes', value: judgementDigest(judgement) } }],
  })
  const claim = committer.claim(spans[0]!.source.seed, spans[0]!.index, 0x8000_0000, utf8(Claim.seal), value)
  return { ...entries.at(-1)!, leaves: entries.length - 1, claims: committer.claims([claim]) }
}

test('a count that is not that of the leaves is caught', async () => {
  for (const wrong of [-1, 1])
    expect(
      await forged((entries) => {
        const seal = entries.at(-1)!
        entries[entries.length - 1] = { ...seal, leaves: seal.leaves + wrong }
        return {}
      }),
    ).toMatchObject({ code: 'seal' })
  const left = await forged((entries) => {
    const seal = entries.at(-1)!
    entries.splice(1, 1)
    entries[entries.length - 1] = { ...seal, leaves: seal.leaves - 1 }
    return {}
  })
  expect(left.where).toMatch(/^segment 0, leaf/)
  expect(['order', 'record', 'seal', 'claims', 'link']).toContain(left.code)
})
