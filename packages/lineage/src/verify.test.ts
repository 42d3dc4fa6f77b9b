import { isDeepStrictEqual } from 'node:util'
import { describe, expect, test } from 'vitest'
import { type SpanSpec, STARTED, TestLog, testKey } from '../../../test/support/executions.ts'
import { SHAPES } from '../../../test/support/shapes.ts'
import { concatBytes, formatHex, parseUtf8, utf8 } from './bytes.ts'
import { VerificationError } from './errors.ts'
import { type Bundle, type BundleSegment, formatBundle, parseBundle } from './evidence/bundle.ts'
import { isSpanBorn } from './record/entry.ts'
import type { SpanInput } from './record/order.ts'
import { Closed, encodePayload, parsePayload } from './record/payload.ts'
import { formatCheckpoint } from './tlog/checkpoint.ts'
import { formatSignatureLine, parseNote, signNote } from './tlog/note.ts'
import { policyOfLogs } from './tlog/policy.ts'
import { proveRange } from './tlog/proof.ts'
import { type ExecutionNode, type VerifiedExecution, verify } from './verify.ts'

/** A log with the shape as trace 1 between two other traces. */
function logOf(shape: string): TestLog {
  const log = new TestLog()
  log.settle(98, [[{ id: 1 }]])
  SHAPES.get(shape)!(log, 1)
  log.settle(99, [[{ id: 1 }]])
  return log
}

function tenantOf(shape: string): string {
  return shape === 'a tenant' ? 'acme' : ''
}

function failure(run: () => unknown): { code: string; where: string; reason: string } {
  try {
    run()
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error
    return { code: error.code, where: error.where, reason: error.reason }
  }
  throw new Error('nothing was thrown')
}

/** The trees as nested names, for comparing at a glance. */
function outline(nodes: readonly ExecutionNode[]): string {
  return nodes
    .map(
      ({ record, children }) =>
        `${record.span!.name}${children.length === 0 ? '' : `(${outline(children)})`}`,
    )
    .join(' ')
}

describe('executions of every shape are verified', () => {
  test.each([...SHAPES.keys()])('%s', async (shape) => {
    const log = logOf(shape)
    const tenant = tenantOf(shape)
    const execution = verify(await log.bundle(1, { tenant }), log.policy)
    const segments = log.segments(1, tenant)
    expect(execution.tenant).toBe(tenant)
    expect(execution.segments.map(({ first, count }) => [first, count])).toEqual(
      segments.map(({ first, entries }) => [first, entries.length]),
    )
    expect(execution.records.map((record) => record.index)).toEqual(
      segments.flatMap(({ first, entries }) => entries.map((_, at) => first + at)),
    )
    expect(execution.verdict.integrity).toEqual({ state: 'verified', size: log.size })
    expect(execution.signedBy).toEqual([`${log.origin}+145fc490`])
    // Every span is in the tree once.
    const inTree: number[] = []
    const stack = [...execution.roots]
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      inTree.push(node.record.index)
      stack.push(...node.children)
    }
    const born = execution.records.filter(({ entry }) => isSpanBorn(entry))
    expect(inTree.sort((a, b) => a - b)).toEqual(born.map((record) => record.index))
    for (const { span, entry } of born) expect(span!.spanId).toEqual(entry.spanId)
  })

  test.each([
    ['two services', 'span 1(span 2(span 3(span 4)))'],
    ['late spans', 'span 1(span 2(span 3(span 4)))'],
    ['cut in three segments', 'span 1(span 2(span 3) span 4)'],
    ['adoption', 'span 1(span 2 span 3(span 4))'],
    ['awaiting', 'span 2 span 4'],
    ['remote', 'span 2(span 3)'],
    ['remote, then adopted', 'span 1(span 2)'],
    ['duplicate and equivocal', 'span 1(other span 2) changed'],
    ['cycle', 'span 1(span 2(span 3(span 4))) span 9'],
    ['cycle over two segments', 'span 1(span 5 span 2)'],
    ['several roots', 'span 1 span 5(span 3)'],
  ])('the tree of %s', async (shape, expected) => {
    const log = logOf(shape)
    expect(outline(verify(await log.bundle(1), log.policy).roots)).toBe(expected)
  })

  test('facts hang on their spans', async () => {
    const log = logOf('facts')
    const { roots } = verify(await log.bundle(1), log.policy)
    expect(roots[0]!.facts.map((fact) => fact.entry.kind)).toEqual([2, 4, 3, 6])
    expect(roots[0]!.children[0]!.facts).toEqual([])
  })

  test('what is missing is a gap until it comes', async () => {
    const log = new TestLog()
    log.settle(1, [[{ id: 2, parent: 1 }]])
    expect(verify(await log.bundle(1), log.policy).verdict.completeness).toEqual({
      state: 'gaps',
      detail: ['parent span 0000000000000001 never arrived'],
    })
    log.settle(1, [[{ id: 1 }]])
    expect(verify(await log.bundle(1), log.policy).verdict.completeness.state).toBe('not provable')
  })

  test('a chain of 30,000 spans', async () => {
    const log = new TestLog()
    const chain = Array.from(
      { length: 30_000 },
      (_, at): SpanSpec => ({ id: at + 1, ...(at === 0 ? {} : { parent: at }) }),
    )
    log.settle(1, [chain])
    const { roots, records } = verify(await log.bundle(1), log.policy)
    expect(records).toHaveLength(30_001)
    let depth = 0
    for (let at = roots; at.length > 0; at = at[0]!.children) depth++
    expect(depth).toBe(30_000)
  })
})

describe('every byte of a bundle', () => {
  /** Changes one byte at a time; each change throws, or gives the identical execution and is named. */
  function mutate(bytes: Uint8Array, log: TestLog, values: (byte: number) => Iterable<number>): number {
    const original = verify(bytes, log.policy)
    const lines = signatureLines(bytes)
    const changed = bytes.slice()
    let identical = 0
    for (const [at, byte] of bytes.entries()) {
      for (const value of values(byte)) {
        changed[at] = value
        let execution: VerifiedExecution
        try {
          execution = verify(changed, log.policy)
        } catch (error) {
          if (error instanceof VerificationError) continue
          throw new Error(`byte ${at} as ${value}`, { cause: error })
        }
        // What builds the execution is a function, which equals no other one.
        const { notChecked, execution: _, ...rest } = execution
        const { notChecked: before, execution: __, ...expected } = original
        if (!isDeepStrictEqual(rest, expected))
          throw new Error(`byte ${at} as ${value} gives another execution`)
        const [line, ...more] = signatureLines(changed).filter((each) => !lines.includes(each))
        if (
          line === undefined ||
          more.length > 0 ||
          !notChecked.some((said) => said.includes(JSON.stringify(line)))
        )
          throw new Error(`byte ${at} as ${value} is not named`)
        if (before.some((said) => said.includes(line)))
          throw new Error(`byte ${at}: ${line} was there before`)
        identical++
      }
      changed[at] = byte
    }
    return identical
  }

  function signatureLines(bytes: Uint8Array): string[] {
    return parseNote(utf8(parseBundle(bytes).checkpoint)).signatures.map(formatSignatureLine)
  }

  test('of a tiny one, as every other byte', { timeout: 300_000 }, async () => {
    const log = new TestLog()
    log.settle(1, [[{ id: 1, name: '' }]])
    const bundle = await log.bundle(1)
    const all = Array.from({ length: 256 }, (_, value) => value)
    expect(mutate(bundle, log, (byte) => all.filter((value) => value !== byte))).toBe(0)
  })

  test.each(['facts', 'adoption'])(
    'of %s, under two signatures, as several others',
    { timeout: 300_000 },
    async (shape) => {
      const log = logOf(shape)
      const text = formatCheckpoint({
        origin: log.origin,
        size: log.size,
        root: log.tree.root(),
        extensions: [],
      })
      const checkpoint = signNote(text, [testKey().signer, testKey('example.com/unknown', 3).signer])
      const bundle = await log.bundle(1, { checkpoint })
      // Most of base64 stays base64, so that changes get past the parser.
      const others = (byte: number): number[] => [
        byte ^ 1,
        byte ^ 0x20,
        0x41 + ((byte + 7) % 26),
        byte ^ 0x80,
      ]
      const identical = mutate(bundle, log, (byte) => others(byte).filter((value) => value !== byte))
      expect(identical).toBeGreaterThan(50) // within the second signature line
    },
  )

  test('of entries, proofs and payloads, within a bundle that is spelled well', {
    timeout: 120_000,
  }, async () => {
    for (const shape of ['facts', 'adoption', 'remote, then adopted']) {
      const log = logOf(shape)
      const bundle = parseBundle(await log.bundle(1))
      for (const [number, segment] of bundle.segments.entries()) {
        const parts = [...segment.entries, ...segment.proof, segment.payload]
        for (const part of parts)
          for (let at = 0; at < part.length; at++)
            for (const mask of [0x41]) {
              part[at]! ^= mask
              const changed = formatBundle(bundle)
              part[at]! ^= mask
              const { where } = failure(() => verify(changed, log.policy))
              expect(Number(/^segment ([0-9]+)/.exec(where)?.[1])).toBeLessThanOrEqual(number)
            }
      }
    }
  })
})

describe('a changed bundle', () => {
  const change = (bundle: Bundle, segments: readonly BundleSegment[]): Uint8Array =>
    formatBundle({ ...bundle, segments })
  const changeSegment = (bundle: Bundle, number: number, fields: Partial<BundleSegment>): Uint8Array =>
    change(
      bundle,
      bundle.segments.map((segment, at) => (at === number ? { ...segment, ...fields } : segment)),
    )
  async function three(): Promise<{ log: TestLog; bundle: Bundle }> {
    const log = logOf('cut in three segments')
    return { log, bundle: parseBundle(await log.bundle(1)) }
  }

  test('without its first or its middle segment is bad; without its last it is shorter, as is not provable', async () => {
    const { log, bundle } = await three()
    const [first, second, third] = bundle.segments as [BundleSegment, BundleSegment, BundleSegment]
    expect(failure(() => verify(change(bundle, [second, third]), log.policy))).toEqual({
      code: 'seal',
      where: 'segment 0',
      reason: 'its payload is of segment 1',
    })
    expect(failure(() => verify(change(bundle, [first, third]), log.policy)).code).toBe('seal')
    expect(failure(() => verify(change(bundle, []), log.policy)).code).toBe('malformed')
    const shorter = verify(change(bundle, [first, second]), log.policy)
    expect(shorter.segments).toHaveLength(2)
    expect(shorter.notChecked[0]).toMatch(/^whether the execution has later segments/)
  })

  test('with segments in another order or twice', async () => {
    const { log, bundle } = await three()
    const [first, second, third] = bundle.segments as [BundleSegment, BundleSegment, BundleSegment]
    expect(failure(() => verify(change(bundle, [first, third, second]), log.policy)).code).toBe('seal')
    expect(failure(() => verify(change(bundle, [first, first, second, third]), log.policy)).code).toBe(
      'order',
    )
  })

  test('with two entries swapped, one left out, or one too many', async () => {
    const log = logOf('two services')
    const bundle = parseBundle(await log.bundle(1))
    const { first, entries, payload } = bundle.segments[0]!
    const swapped = [entries[1]!, entries[0]!, ...entries.slice(2)]
    const code = (changed: Uint8Array): string => failure(() => verify(changed, log.policy)).code
    expect(code(changeSegment(bundle, 0, { entries: swapped }))).toBe('inclusion')
    expect(code(changeSegment(bundle, 0, { entries: entries.slice(1) }))).toBe('inclusion')
    expect(code(changeSegment(bundle, 0, { entries: [] }))).toBe('malformed')
    expect(code(changeSegment(bundle, 0, { first: first + 1 }))).toBe('inclusion')
    expect(code(changeSegment(bundle, 0, { first: log.size }))).toBe('inclusion')
    // With proofs that hold: the log has these leaves there, and they are no segment.
    const proof = await proveRange(first + 1, first + entries.length, log.size, (level, index, width) =>
      log.tile(level, index, width),
    )
    expect(
      code(
        formatBundle({
          ...bundle,
          segments: [{ first: first + 1, entries: entries.slice(1), proof, payload }],
        }),
      ),
    ).toBe('order')
    const shorter = await proveRange(first, first + entries.length - 1, log.size, (level, index, width) =>
      log.tile(level, index, width),
    )
    expect(
      failure(() =>
        verify(
          formatBundle({
            ...bundle,
            segments: [{ first, entries: entries.slice(0, -1), proof: shorter, payload }],
          }),
          log.policy,
        ),
      ),
    ).toMatchObject({ code: 'seal', reason: 'it has 4 of 5 leaves' })
  })

  test('under another key, another log, or a checkpoint that does not cover it', async () => {
    const log = new TestLog()
    log.settle(98, [[{ id: 1 }]])
    const small = log.checkpoint()
    log.settle(1, [[{ id: 1 }]])
    const evidence = await log.bundle(1)
    const bundle = parseBundle(evidence)
    const code = (policy = log.policy, changed = evidence): string =>
      failure(() => verify(changed, policy)).code
    expect(code(policyOfLogs(testKey(log.origin, 8).verifier))).toBe('untrusted')
    expect(code(policyOfLogs(testKey('example.com/other/v0').verifier))).toBe('untrusted')
    expect(code({ ...log.policy, quorum: 'w' })).toBe('unsupported')
    expect(code(log.policy, formatBundle({ ...bundle, checkpoint: parseUtf8(small) }))).toBe('inclusion')
    const forged = signNote(
      formatCheckpoint({ origin: log.origin, size: log.size, root: new Uint8Array(32), extensions: [] }),
      [testKey().signer],
    )
    expect(code(log.policy, formatBundle({ ...bundle, checkpoint: parseUtf8(forged) }))).toBe('inclusion')
  })

  test('cut off anywhere', async () => {
    const log = logOf('one span')
    const bundle = await log.bundle(1)
    for (let end = 0; end < bundle.length; end++)
      expect(failure(() => verify(bundle.slice(0, end), log.policy))).toMatchObject({
        code: 'malformed',
        where: 'bundle',
      })
  })

  test('of another version could not be checked', async () => {
    const log = logOf('one span')
    const bundle = await log.bundle(1)
    const text = parseUtf8(bundle)
    for (const version of ['v1', 'v9', 'v10'])
      expect(
        failure(() => verify(utf8(text.replace('evidence/v0', `evidence/${version}`)), log.policy)),
      ).toMatchObject({
        code: 'unsupported',
        where: 'bundle, format',
      })
    for (const version of ['v00', 'v', 'w0'])
      expect(
        failure(() => verify(utf8(text.replace('evidence/v0', `evidence/${version}`)), log.policy)).code,
      ).toBe('malformed')
    // A record of a newer version, properly in the log.
    const newer = new TestLog()
    newer.append([Uint8Array.of(0x08, 0x01, 0x10, 0x08)])
    const segment = {
      first: 0,
      entries: newer.entries,
      proof: [],
      payload: parseBundle(bundle).segments[0]!.payload,
    }
    const changed = formatBundle({
      checkpoint: parseUtf8(newer.checkpoint()),
      segments: [segment],
      erasures: [],
      context: [],
    })
    expect(failure(() => verify(changed, newer.policy))).toMatchObject({
      code: 'unsupported',
      where: 'segment 0, leaf 0, entry',
    })
  })

  test('with lines that say nothing names them', async () => {
    const log = logOf('one span')
    const bundle = parseBundle(await log.bundle(1))
    const [line] = parseNote(utf8(bundle.checkpoint)).signatures.map(formatSignatureLine)
    const repeated = formatBundle({ ...bundle, checkpoint: `${bundle.checkpoint}${line}\n` })
    expect(verify(repeated, log.policy).notChecked.at(-1)).toBe(
      'signature lines that say again what another one says: 1',
    )
    const text = formatCheckpoint({
      origin: log.origin,
      size: log.size,
      root: log.tree.root(),
      extensions: ['extra'],
    })
    const extended = formatBundle({ ...bundle, checkpoint: parseUtf8(signNote(text, [testKey().signer])) })
    expect(verify(extended, log.policy).notChecked).toContainEqual(
      expect.stringMatching(/extension line.*"extra"/),
    )
  })
})

describe('a payload that is not the one', () => {
  /** The bundle of trace 1 with another payload in its only segment. */
  async function withPayload(
    log: TestLog,
    edit: (spans: readonly SpanInput[]) => readonly SpanInput[],
  ): Promise<Uint8Array> {
    const bundle = parseBundle(await log.bundle(1))
    const segment = bundle.segments[0]!
    const { spans, ...head } = parsePayload(segment.payload)
    return formatBundle({
      ...bundle,
      segments: [{ ...segment, payload: encodePayload(head, edit(spans), head.judgement) }],
    })
  }
  const pair = (): TestLog => {
    const log = new TestLog()
    log.settle(1, [[{ id: 1 }, { id: 2, parent: 1 }]])
    return log
  }

  test('puts a span under a resource that nobody committed to', async () => {
    const log = pair()
    const forged = utf8('\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04evil')
    const evidence = await withPayload(log, (spans) => {
      const body = concatBytes(spans[0]!.source.body, forged)
      const source = { ...spans[0]!.source, body, contexts: new Map() }
      const resourceStart = body.length - forged.length
      return [
        { ...spans[0]!, source },
        { ...spans[1]!, source, resourceStart, resourceEnd: body.length },
      ]
    })
    expect(failure(() => verify(evidence, log.policy))).toMatchObject({
      code: 'malformed',
      where: 'segment 0, payload',
    })
  })

  test('puts the whole request under another resource or scope', async () => {
    for (const part of ['resource', 'scope'] as const) {
      const log = pair()
      const evidence = await withPayload(log, (spans) => {
        const body = concatBytes(spans[0]!.source.body, utf8('\x0a\x00'))
        const source = { ...spans[0]!.source, body, contexts: new Map() }
        const range = { [`${part}Start`]: body.length - 2, [`${part}End`]: body.length }
        return spans.map((span) => ({ ...span, source, ...range }))
      })
      expect(failure(() => verify(evidence, log.policy))).toEqual({
        code: 'evidence',
        where: 'segment 0, leaf 0',
        reason: 'the payload bytes do not match the commitment',
      })
    }
  })

  test('has its spans in another order, or one twice, or none', async () => {
    const log = pair()
    const code = async (edit: (spans: readonly SpanInput[]) => readonly SpanInput[]): Promise<string> => {
      const evidence = await withPayload(log, edit)
      return failure(() => verify(evidence, log.policy)).code
    }
    expect(await code((spans) => spans.toReversed())).toBe('order')
    expect(await code((spans) => [...spans, spans[1]!])).toBe('record')
    expect(await code((spans) => spans.slice(1))).toBe('order')
    expect(await code(() => [])).toBe('seal')
    expect(await code((spans) => spans.map((span) => ({ ...span, index: span.index + 1 })))).toBe('evidence')
  })

  test('says something else of its segment', async () => {
    const log = pair()
    const bundle = parseBundle(await log.bundle(1))
    const segment = bundle.segments[0]!
    const { spans, ...head } = parsePayload(segment.payload)
    for (const [change, code] of [
      [{ closed: Closed.cut }, 'seal'],
      [{ evaluatedAt: head.evaluatedAt + 1n }, 'seal'],
      [{ segment: 1 }, 'seal'],
      [{ tenant: 'acme' }, 'record'],
      [{ tenant: 'x'.repeat(300) }, 'malformed'],
      [{ traceId: new Uint8Array(16).fill(9) }, 'record'],
    ] as const) {
      const payload = encodePayload({ ...head, ...change }, spans, head.judgement)
      const evidence = formatBundle({ ...bundle, segments: [{ ...segment, payload }] })
      expect(failure(() => verify(evidence, log.policy)).code).toBe(code)
    }
  })

  test('was derived from spans of another trace or another tenant by a log that lies', async () => {
    const trace = new TestLog()
    trace.seal(1, trace.request(2, [{ id: 1 }]))
    const ofTrace = await trace.bundle(1)
    expect(failure(() => verify(ofTrace, trace.policy))).toMatchObject({
      code: 'record',
      reason: 'it is of another trace',
    })
    const tenant = new TestLog()
    tenant.seal(1, tenant.request(1, [{ id: 1 }], 'acme'))
    const ofTenant = await tenant.bundle(1)
    expect(failure(() => verify(ofTenant, tenant.policy))).toEqual({
      code: 'record',
      where: 'segment 0, receipt',
      reason: 'it is of another tenant',
    })
  })

  test.each([
    ['a log record in a request of spans', { ...STARTED }, { id: 1 }],
    ['a span in a request of log records', { id: 1 }, { ...STARTED }],
  ])('was derived by a log that lies from %s', async (_, spec, other) => {
    const log = new TestLog()
    const { receipt } = log.request(1, [other])[0]!.source
    const [input] = log.request(1, [spec])
    log.seal(1, [{ ...input!, source: { ...input!.source, receipt } }])
    const evidence = await log.bundle(1)
    expect(failure(() => verify(evidence, log.policy))).toEqual({
      code: 'record',
      where: 'segment 0, span 0',
      reason: 'it is not of the signal of its receipt',
    })
  })

  test('holds a fact that its record does not: the difference is named', async () => {
    // Two logs alike, but for one attribute of one span: entries of one, payload of the other.
    const make = (outcome: string): TestLog => {
      const log = new TestLog()
      log.settle(1, [[{ id: 1, attributes: { 'governance.decision.outcome': outcome } }]])
      return log
    }
    const log = make('permit')
    const bundle = parseBundle(await log.bundle(1))
    const other = make('denied').segments(1)[0]!
    const evidence = formatBundle({
      ...bundle,
      segments: [{ ...bundle.segments[0]!, payload: other.payload }],
    })
    expect(failure(() => verify(evidence, log.policy))).toEqual({
      code: 'claims',
      where: 'segment 0, leaf 0',
      reason: 'the claims do not match the commitment',
    })
    expect(formatHex(other.entries[0]!)).not.toBe(formatHex(log.segments(1)[0]!.entries[0]!))
  })
})
