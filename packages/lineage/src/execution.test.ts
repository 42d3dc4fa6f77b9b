import { describe, expect, test } from 'vitest'
import { TestLog } from '../../../test/support/executions.ts'
import { SHAPES } from '../../../test/support/shapes.ts'
import { utf8 } from './bytes.ts'
import { MalformedError } from './errors.ts'
import { formatBundle, parseBundle } from './evidence/bundle.ts'
import { growTree, readUnverified } from './evidence/execution.ts'
import { verify } from './verify.ts'

describe('reading without verifying', () => {
  test.each([...SHAPES.keys()])('gives of a good bundle what verifying gives: %s', async (shape) => {
    const log = new TestLog()
    SHAPES.get(shape)!(log, 1)
    const bundle = await log.bundle(1, { tenant: shape === 'a tenant' ? 'acme' : '' })
    const { tenant, traceId, segments, records, roots } = verify(bundle, log.policy)
    for (const { input } of records) input?.source.contexts.clear() // what verifying has computed
    expect(readUnverified(bundle)).toEqual({
      origin: log.origin,
      size: log.size,
      tenant,
      traceId,
      segments,
      records,
      roots,
    })
  })

  test('believes what is not so, without breaking', async () => {
    const log = new TestLog()
    log.settle(1, [[{ id: 1 }, { id: 2, parent: 1 }]])
    const bundle = parseBundle(await log.bundle(1))
    const [segment] = bundle.segments
    // Parent and child swapped: what is linked to comes later, and what has no payload has no span.
    const entries = [...segment!.entries.slice(1), segment!.entries[0]!]
    const { roots, records } = readUnverified(
      formatBundle({ ...bundle, segments: [{ ...segment!, entries }] }),
    )
    expect(roots).toHaveLength(1)
    expect(records).toHaveLength(3)
    const twice = formatBundle({
      ...bundle,
      segments: [{ ...segment!, entries: [...segment!.entries, ...entries] }],
    })
    expect(readUnverified(twice).records.filter((record) => record.span !== undefined)).toHaveLength(2)
  })

  test('throws on what does not parse', async () => {
    const log = new TestLog()
    log.settle(1, [[{ id: 1 }]])
    const bundle = parseBundle(await log.bundle(1))
    for (const changed of [
      { ...bundle, segments: [] },
      { ...bundle, checkpoint: 'nothing' },
      { ...bundle, segments: [{ ...bundle.segments[0]!, payload: utf8('nothing') }] },
      { ...bundle, segments: [{ ...bundle.segments[0]!, entries: [utf8('nothing')] }] },
    ])
      expect(() => readUnverified(formatBundle(changed))).toThrow(MalformedError)
  })
})

test('a tree of nothing', () => {
  expect(growTree([])).toEqual([])
})
