/** Runs the files of test/vectors/records; then a second implementation, in Python, runs them too. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { formatHex, parseHex, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { factsOf, type SpanFacts } from '../governance/facts.ts'
import { Kind } from '../governance/kind.ts'
import { decodeEither, LOG_RECORD } from '../otlp/log-record.ts'
import { leafHash } from '../tlog/merkle.ts'
import { Committer } from './commitment.ts'
import { encodeEntry, nameOf, parseEntry } from './entry.ts'
import { EntryScan } from './entry-scan.ts'
import { TraceHistory } from './history.ts'
import { LeafSink } from './leaf-sink.ts'
import { Closed, encodePayload, parsePayload } from './payload.ts'
import { encodeReceipt, parseReceipt } from './receipt.ts'
import { deriveSegment } from './segment.ts'

const DIRECTORY = fileURLToPath(new URL('../../../../test/vectors/records', import.meta.url))
const PYTHON = 'python3'

// biome-ignore lint/suspicious/noExplicitAny: vectors are as they are, and a wrong shape fails
type Case = any
const read = (name: string): Case => JSON.parse(readFileSync(join(DIRECTORY, `${name}.json`), 'utf8'))
const cases = (list: { name: string }[]) => list.map((one) => [one.name, one] as const)

describe('entries', () => {
  const { valid, invalid } = read('entries')
  test.each(cases(valid))('%s', (_, { entry, leafHash: leaf, record }: Case) => {
    const bytes = parseHex(entry)
    const parsed = parseEntry(bytes)
    expect(formatHex(leafHash(bytes))).toBe(leaf)
    expect(formatHex(encodeEntry(parsed))).toBe(entry)
    expect(new EntryScan().scan(bytes, 0, bytes.length)).toBe(true)
    for (const [key, value] of Object.entries(parsed))
      if (typeof value === 'number') expect(value).toBe(record[key] ?? 0)
      else if (typeof value === 'string') expect(value).toBe(record[key] ?? '')
      else if (value instanceof Uint8Array) expect(formatHex(value)).toBe(record[key] ?? '')
      else
        expect(parsed.causes.map((one) => ({ ...one, leaf: formatHex(one.leaf) }))).toEqual(
          record.causes ?? [],
        )
  })

  test.each(cases(invalid))('refused: %s', (_, { entry, result }: Case) => {
    const bytes = parseHex(entry)
    expect(new EntryScan().scan(bytes, 0, bytes.length)).toBe(false)
    const code = (error: unknown) =>
      error instanceof MalformedError ? 'malformed' : error instanceof VerificationError ? error.code : error
    try {
      parseEntry(bytes)
    } catch (error) {
      expect(code(error)).toBe(result)
      return
    }
    throw new Error('accepted')
  })
})

describe('receipts', () => {
  const { valid, invalid } = read('receipts')
  test.each(cases(valid))('%s', (_, { bytes, receipt }: Case) => {
    const parsed = parseReceipt(parseHex(bytes))
    expect({ ...parsed, receivedAt: String(parsed.receivedAt) }).toEqual(receipt)
    expect(formatHex(encodeReceipt(parsed))).toBe(bytes)
  })
  test.each(cases(invalid))('refused: %s', (_, { bytes }: Case) => {
    expect(() => parseReceipt(parseHex(bytes))).toThrow(MalformedError)
  })
})

test('commitments', () => {
  const committer = new Committer()
  const { traceSeeds, evidence, claims, claimSets } = read('commitments')
  for (const one of traceSeeds)
    expect(
      formatHex(committer.traceSeed(parseHex(one.requestSeed), utf8(one.tenant), parseHex(one.traceId))),
    ).toBe(one.seed)
  for (const one of evidence) {
    const context = committer.context(parseHex(one.receipt), parseHex(one.resource), parseHex(one.scope))
    expect(formatHex(context)).toBe(one.context)
    const out = new Uint8Array(32)
    committer.evidence(parseHex(one.seed), one.index, context, parseHex(one.span), out, 0)
    expect(formatHex(out)).toBe(one.evidence)
  }
  for (const one of claims) {
    const claim = committer.claim(
      parseHex(one.seed),
      one.index,
      one.ordinal,
      parseHex(one.key),
      parseHex(one.value),
    )
    expect(formatHex(claim)).toBe(one.claim)
  }
  for (const one of claimSets)
    expect(formatHex(committer.claims(one.claims.map((claim: string) => parseHex(claim))))).toBe(one.digest)
})

describe('facts', () => {
  const shown = ({ kind, claims }: Pick<SpanFacts, 'kind' | 'claims'>) => ({
    kind: nameOf(Kind, kind),
    claims: claims.map(({ keyBytes, value }) => [formatHex(keyBytes), formatHex(value)]),
  })
  test.each(cases(read('facts')))('%s', (_, { span, log, own, facts }: Case) => {
    const found = factsOf(decodeEither(log ? LOG_RECORD : 0, parseHex(span)))
    expect(shown(found)).toEqual(own)
    expect(found.facts.map(shown)).toEqual(facts)
  })
})

describe('payloads', () => {
  const { valid, invalid } = read('payloads')
  test.each(cases(valid))('%s', (_, { payload }: Case) => {
    const parsed = parsePayload(parseHex(payload))
    expect(formatHex(encodePayload(parsed, parsed.spans, parsed.judgement))).toBe(payload)
  })
  test.each(cases(invalid))('refused: %s', (_, { payload }: Case) => {
    expect(() => parsePayload(parseHex(payload))).toThrow(MalformedError)
  })
})

describe('segments', () => {
  test.each(cases(read('segments').cases))('%s', (_, { tenant, traceId, segments }: Case) => {
    const history = new TraceHistory()
    for (const [number, segment] of segments.entries()) {
      const head = {
        tenant,
        traceId: parseHex(traceId),
        closed: Closed[segment.closed as keyof typeof Closed],
        evaluatedAt: BigInt(segment.evaluatedAt),
        ...(segment.seed !== undefined && { seed: parseHex(segment.seed) }),
      }
      const spans = parsePayload(parseHex(segment.payload)).spans
      const sink = new LeafSink()
      const derived = deriveSegment(head, spans, history, new Committer(), sink)
      expect(
        formatHex(
          encodePayload(
            { ...head, segment: number, ruleset: derived.ruleset },
            derived.spans,
            derived.judgement,
          ),
        ),
      ).toBe(segment.payload)
      const entries: Uint8Array[] = segment.entries.map((entry: string) => parseHex(entry))
      const bundle = entries.map(
        (entry) => formatHex(Uint8Array.of(entry.length >>> 8, entry.length)) + formatHex(entry),
      )
      expect(formatHex(sink.entries)).toBe(bundle.join(''))
      expect(formatHex(sink.hashes)).toBe(segment.leafHashes.join(''))
      const payload = () => ({ spans, judgement: derived.judgement, ruleset: derived.ruleset })
      history.add(0, entries.map(parseEntry), new Uint8Array(sink.hashes), head.closed, payload)
    }
  })
})

describe('made and checked elsewhere', () => {
  const temporary: string[] = []
  const copy = (): string => {
    const directory = mkdtempSync(join(tmpdir(), 'rootspan-vectors-'))
    temporary.push(directory)
    cpSync(DIRECTORY, directory, { recursive: true })
    return directory
  }
  afterAll(() => {
    for (const directory of temporary) rmSync(directory, { recursive: true })
  })

  test('those that make them make the same again', () => {
    const directory = copy()
    for (const maker of ['make.ts', 'make-judgements.ts', 'make-refused.ts']) {
      const made = spawnSync(process.execPath, ['--conditions=source', join(DIRECTORY, maker), directory])
      expect({ status: made.status, stderr: String(made.stderr) }).toEqual({ status: 0, stderr: '' })
    }
    for (const name of readdirSync(DIRECTORY).filter((one) => one.endsWith('.json')))
      expect(readFileSync(join(directory, name), 'utf8'), name).toBe(
        readFileSync(join(DIRECTORY, name), 'utf8'),
      )
  })

  const check = (directory: string) => {
    const { status, stdout, stderr } = spawnSync(PYTHON, [join(DIRECTORY, 'check.py'), directory])
    return { status, output: `${stdout}${stderr}` }
  }
  const missing = spawnSync(PYTHON, ['--version']).status !== 0

  test('check.py, written from the pages alone, comes to the same', (context) => {
    if (missing) context.skip(`no ${PYTHON} here to run: ${PYTHON} test/vectors/records/check.py`)
    expect(check(DIRECTORY)).toEqual({
      status: 0,
      output: expect.stringMatching(/^(\d+) of \1 cases hold\n$/),
    })
  })

  test('check.py sees what is wrong', (context) => {
    if (missing) context.skip(`no ${PYTHON} here to run: ${PYTHON} test/vectors/records/check.py`)
    const directory = copy()
    const change = (name: string, from: RegExp, to: string) => {
      const path = join(directory, `${name}.json`)
      const before = readFileSync(path, 'utf8')
      const after = before.replace(from, to)
      expect(after).not.toBe(before)
      writeFileSync(path, after)
    }
    change('segments', /"closed":"drained"/, '"closed":"cut"')
    change('entries', /"leafHash":"./, '"leafHash":"x')
    change('facts', /"kind":"request"/, '"kind":"action"')
    change('commitments', /"index":511/, '"index":512')
    change('receipts', /"tracked":true/, '"tracked":false')
    change('payloads', /"nothing at all","payload":"/, `$&${read('payloads').valid[0].payload}`)
    change('judgements', /"continuity":"intact"/, '"continuity":"broken"')
    change('contexts', /"offset":"-5"/, '"offset":"5"')
    // What is right is not refused: the first change is taken back in each list.
    const { commitments, facts, segments } = read('refused')
    const { seed } = read('commitments').traceSeeds[1]
    change('refused', new RegExp(commitments[0].seed), seed)
    change('refused', new RegExp(`,?\\["${facts[0].own.claims.at(-1)[0]}","[^"]*"\\]`), '')
    const { entries } = read('segments').cases.find(({ name }: Case) => name === segments[0].of).segments[0]
    change('refused', /"entries":\["(\w+)","(\w+)"/, `"entries":["${entries[0]}","${entries[1]}"`)
    const { status, output } = check(directory)
    expect(status).toBe(1)
    for (const { name } of [commitments[0], facts[0], segments[0]])
      expect(output).toContain(`FAILED refused: ${name}\n`)
    const failed = [...output.matchAll(/FAILED (\w+)/g)].map(([, name]) => name)
    expect(new Set(failed)).toEqual(
      new Set([
        'segments',
        'entries',
        'facts',
        'commitments',
        'receipts',
        'payloads',
        'judgements',
        'contexts',
        'refused',
      ]),
    )
  })
})
