/**
 * Runs what has to be refused: test/vectors/records/refused.json, judgements.json and contexts.json, which are made with
 * nothing of this project. Segments are put under a signed root and verified as a bundle, so that what fails is not the log.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { TestLog } from '../../../test/support/executions.ts'
import { formatHex, parseHex, parseUtf8, utf8 } from './bytes.ts'
import { contextDigest, encodeContext, parseContext } from './continuity/context.ts'
import { continuityOf, encodeJudgement, judgementDigest, parseJudgement } from './continuity/judgement.ts'
import { MalformedError, VerificationError } from './errors.ts'
import { formatBundle } from './evidence/bundle.ts'
import { factsOf } from './governance/facts.ts'
import { Kind } from './governance/kind.ts'
import { decodeEither, LOG_RECORD } from './otlp/log-record.ts'
import { Committer } from './record/commitment.ts'
import { nameOf } from './record/entry.ts'
import { proveRange } from './tlog/proof.ts'
import { verify } from './verify.ts'

// biome-ignore lint/suspicious/noExplicitAny: vectors are as they are, and a wrong shape fails
type Case = any
const DIRECTORY = join(import.meta.dirname, '../../../test/vectors/records')
const read = (name: string): Case => JSON.parse(readFileSync(join(DIRECTORY, `${name}.json`), 'utf8'))
const cases = (list: { name: string }[]) => list.map((one) => [one.name, one] as const)
const refused = read('refused')

/** Bytes as hex and big integers as text, as vectors have them. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, one) =>
      one instanceof Uint8Array ? formatHex(one) : typeof one === 'bigint' ? String(one) : one,
    ),
  )

describe('judgements', () => {
  const { valid, invalid } = read('judgements')
  test.each(cases(valid))('%s', (_, { judgement, digest, continuity, results, findings }: Case) => {
    const bytes = parseHex(judgement)
    const parsed = parseJudgement(bytes)
    expect(plain(parsed)).toEqual({ results, findings })
    expect(formatHex(encodeJudgement(parsed))).toBe(judgement)
    expect(continuityOf(parsed)).toBe(continuity)
    expect(formatHex(judgementDigest(bytes))).toBe(digest)
  })
  test.each(cases(invalid))('refused: %s', (_, { judgement, reason }: Case) => {
    expect(() => parseJudgement(parseHex(judgement))).toThrow(new MalformedError(reason))
  })
})

describe('contexts', () => {
  const { valid, invalid } = read('contexts')
  test.each(cases(valid))('%s', (_, { name, context, digest, ...statements }: Case) => {
    const bytes = parseHex(context)
    const parsed = parseContext(bytes)
    expect(plain(parsed)).toEqual(statements)
    expect(formatHex(encodeContext(parsed))).toBe(context)
    expect(formatHex(contextDigest(bytes))).toBe(digest)
  })
  test.each(cases(invalid))('refused: %s', (_, { context, reason }: Case) => {
    expect(() => parseContext(parseHex(context))).toThrow(new MalformedError(reason))
  })
})

describe('commitments', () => {
  const committer = new Committer()
  const context = (of: Case) =>
    committer.context(parseHex(of.receipt), parseHex(of.resource), parseHex(of.scope))
  const makers: Record<string, (of: Case) => Record<string, Uint8Array>> = {
    traceSeeds: (of) => ({
      seed: committer.traceSeed(parseHex(of.requestSeed), utf8(of.tenant), parseHex(of.traceId)),
    }),
    salts: (of) => ({ salt: committer.salt(parseHex(of.seed), of.index, of.ordinal) }),
    evidence: (of) => {
      const evidence = new Uint8Array(32)
      committer.evidence(parseHex(of.seed), of.index, context(of), parseHex(of.span), evidence, 0)
      return { context: context(of), evidence }
    },
    claims: ({ seed, index, ordinal, key, value }) => ({
      claim: committer.claim(parseHex(seed), index, ordinal, parseHex(key), parseHex(value)),
    }),
    claimSets: (of) => ({
      digest: committer.claims(of.claims.map((claim: string) => parseHex(claim))),
    }),
  }
  const good = read('commitments')
  test.each(cases(refused.commitments))('refused: %s', (_, { name, list, ...of }: Case) => {
    const made = Object.entries(makers[list]!(of)).map(([field, bytes]) => [field, formatHex(bytes)] as const)
    const wrong = made.filter(([field, hex]) => of[field] !== hex)
    expect(wrong).toHaveLength(1)
    // Nothing but that is another than in the valid vector.
    expect(good[list]).toContainEqual({ ...of, ...Object.fromEntries(made) })
  })
})

describe('facts', () => {
  /** Where two sets of facts differ: `own.kind`, `facts.length`, `facts[2].claims`. */
  const differences = (left: Case, right: Case): string[] => {
    const parts = (at: string, a: Case, b: Case) =>
      ['kind', 'claims']
        .filter((part) => JSON.stringify(a[part]) !== JSON.stringify(b[part]))
        .map((part) => `${at}.${part}`)
    const shared = Math.min(left.facts.length, right.facts.length)
    return [
      ...parts('own', left.own, right.own),
      ...(left.facts.length === right.facts.length ? [] : ['facts.length']),
      ...left.facts
        .slice(0, shared)
        .flatMap((fact: Case, at: number) => parts(`facts[${at}]`, fact, right.facts[at])),
    ]
  }
  test.each(cases(refused.facts))('refused: %s', (_, { span, log, differs, ...said }: Case) => {
    const { facts, ...own } = factsOf(decodeEither(log ? LOG_RECORD : 0, parseHex(span)))
    const shown = ({ kind, claims }: Pick<typeof own, 'kind' | 'claims'>) => ({
      kind: nameOf(Kind, kind),
      claims: claims.map(({ keyBytes, value }) => [formatHex(keyBytes), formatHex(value)]),
    })
    expect(differences({ own: shown(own), facts: facts.map(shown) }, said)).toEqual(differs)
  })
})

describe('segments', () => {
  const valid: Case[] = read('segments').cases

  /** These segments as a bundle, under a root that holds their entries, whatever they are. */
  async function verified(segments: readonly { entries: string[]; payload: string }[]) {
    const log = new TestLog()
    const parts = segments.map(({ entries, payload }) => {
      const bytes = entries.map((entry) => parseHex(entry))
      return { first: log.append(bytes), entries: bytes, payload: parseHex(payload) }
    })
    const checkpoint = parseUtf8(log.checkpoint())
    const proven = parts.map(async (part) => ({
      ...part,
      proof: await proveRange(part.first, part.first + part.entries.length, log.size, (level, index, width) =>
        log.tile(level, index, width),
      ),
    }))
    const bundle = formatBundle({
      checkpoint,
      segments: await Promise.all(proven),
      erasures: [],
      context: [],
    })
    return verify(bundle, log.policy)
  }

  test.each(cases(refused.segments))(
    'refused: %s',
    async (_, { of, segment, code, where, ...changed }: Case) => {
      const { segments } = valid.find((one) => one.name === of)
      expect((await verified(segments)).segments).toHaveLength(segments.length)
      const error: unknown = await verified(
        segments.with(segment, { ...segments[segment], ...changed }),
      ).then(
        () => undefined,
        (error: unknown) => error,
      )
      if (!(error instanceof VerificationError)) throw new Error('accepted', { cause: error })
      const first = segments
        .slice(0, segment)
        .reduce((sum: number, { entries }: Case) => sum + entries.length, 0)
      // A bundle counts leaves of the log, a vector those of the segment.
      const place = error.where.replace(/leaf (\d+)/, (_, leaf) => `leaf ${Number(leaf) - first}`)
      expect({ code: error.code, place }).toEqual({
        code,
        place: `segment ${segment}${where === '' ? '' : `, ${where}`}`,
      })
    },
  )
})
