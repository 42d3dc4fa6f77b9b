/**
 * The same spans in any order and in any batches give the same records, as long as they arrive before their segment
 * settles. Through the collector's scan and assembler.
 */
import { formatHex } from '@rootspan/lineage/bytes'
import { parseEntry } from '@rootspan/lineage/record/entry'
import { LeafSink } from '@rootspan/lineage/record/leaf-sink'
import type { SpanInput } from '@rootspan/lineage/record/order'
import { Closed } from '@rootspan/lineage/record/payload'
import { deriveSegment } from '@rootspan/lineage/record/segment'
import { parseEntryBundle } from '@rootspan/lineage/tlog/tile'
import { verify } from '@rootspan/lineage/verify'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EPOCH, GOVERNED, type SpanSpec, TestLog, traceIdOf } from '../support/executions.ts'
import { cuts, draw, Feed, permutations, type Sent, send, TellingCommitter, TRACE } from './support.ts'

const allow = { 'governance.decision.outcome': 'allow' }
const act = { 'governance.action.name': 'a' }

/** Five spans each. */
const SHAPES: Readonly<Record<string, readonly SpanSpec[]>> = {
  chain: [{ id: 1 }, { id: 2, parent: 1 }, { id: 3, parent: 2 }, { id: 4, parent: 3 }, { id: 5, parent: 4 }],
  'star, all at once': [
    { id: 1, start: 0 },
    ...[2, 3, 4, 5].map((id) => ({ id, parent: 1, start: 0, service: id % 2 === 0 ? 'a' : 'b' })),
  ],
  'two roots and a stranger': [
    { id: 1, start: 9 },
    { id: 2, parent: 1 },
    { id: 3, start: 1 },
    { id: 4, parent: 3 },
    { id: 5, parent: 77 },
  ],
  'remote parents, here and elsewhere': [
    { id: 1, kind: 3 },
    { id: 2, parent: 1, kind: 2 },
    { id: 3, parent: 88, kind: 2 },
    { id: 4, parent: 99, kind: 1, flags: 0x300 },
    { id: 5, parent: 99, kind: 2, flags: 0x100 },
  ],
  'a cycle with tails': [
    { id: 1, parent: 3, start: 5 },
    { id: 2, parent: 1, start: 5 },
    { id: 3, parent: 2, start: 4 },
    { id: 4, parent: 1, start: 0 },
    { id: 5, parent: 5, start: 9 },
  ],
  'facts and joins': [
    { id: 1, kind: 2, attributes: { ...allow, 'governance.authorization.id': 'x' } },
    { id: 2, parent: 1, attributes: act },
    { id: 3, parent: 1, start: 0, end: 1, attributes: allow },
    { id: 4, parent: 1, start: 5, attributes: { ...act, 'governance.verification.result': true } },
    { id: 5, links: [3], attributes: act, events: [{ name: 'governance.transition' }] },
  ],
  'twice the same': [{ id: 1 }, { id: 2, parent: 1 }, { id: 2, parent: 1 }, { id: 2, parent: 1 }, { id: 1 }],
  equivocal: [
    { id: 1 },
    { id: 2, parent: 1, start: 5 },
    { id: 2, parent: 1, start: 5, name: 'other' },
    { id: 2, parent: 1, start: 5, name: 'other' },
    { id: 3, parent: 2 },
  ],
}

const HEAD = { tenant: '', traceId: traceIdOf(TRACE), closed: Closed.settled, evaluatedAt: EPOCH }

/** The records of one segment, and the claims of those that have any. */
interface Records {
  readonly entries: readonly Uint8Array[]
  readonly told: readonly (readonly string[])[]
}

function records(spans: readonly SpanInput[]): Records {
  const sink = new LeafSink()
  const committer = new TellingCommitter()
  const { count } = deriveSegment(HEAD, spans, undefined, committer, sink)
  return { entries: parseEntryBundle(new Uint8Array(sink.entries), count), told: committer.told }
}

/** The same, in a log and verified from a bundle. There are tens of thousands of deliveries: not of each. */
async function settled(spans: readonly SpanInput[]): Promise<Records> {
  const log = new TestLog()
  log.seal(TRACE, spans)
  verify(await log.bundle(TRACE), log.policy)
  const derived = records(spans)
  expect(derived.entries.map(formatHex)).toEqual(log.entries.map(formatHex))
  return derived
}

/** With kinds, links, causes and the values of all claims; without what is salted. */
const drawn = ({ entries, told }: Records): string => draw(entries, told).join('\n')

describe('all orders and all batches of five spans', () => {
  test.each(Object.entries(SHAPES))(
    '%s',
    async (_, specs) => {
      const spans = specs.map((spec) => send(spec))
      const feed = new Feed()
      const first = await settled(feed.through(spans.map((span) => [span])))
      const expected = drawn(first)
      for (const order of permutations(spans)) {
        // One request each: the salts are the same whatever the order, and so is every byte.
        const alone = records(feed.through(order.map((span) => [span])))
        expect(alone.entries.map(formatHex)).toEqual(first.entries.map(formatHex))
        for (const batches of cuts(order)) expect(drawn(records(feed.through(batches)))).toBe(expected)
      }
    },
    120_000,
  )
})

test('all orders of six spans, byte by byte', () => {
  const spans = [
    ...GOVERNED,
    { id: 3, parent: 2 },
    { id: 4, parent: 1, start: 0 },
    { id: 5, parent: 9 },
    { id: 6 },
  ].map((spec) => send(spec))
  const feed = new Feed()
  const alone = (order: readonly Sent[]) =>
    records(feed.through(order.map((span) => [span])))
      .entries.map(formatHex)
      .join()
  const expected = alone(spans)
  for (const order of permutations(spans)) expect(alone(order)).toBe(expected)
}, 120_000)

/** The governance claims of the records of each span, whichever record they are on. */
function governanceIn({ entries, told }: Records): Record<string, string[]> {
  const claims: Record<string, string[]> = {}
  let next = 0
  for (const entry of entries.map(parseEntry)) {
    const own = entry.claims.length === 0 ? [] : told[next++]!
    if (entry.spanId.length === 0) continue
    const id = String(Number.parseInt(formatHex(entry.spanId), 16))
    claims[id] = [...(claims[id] ?? []), ...own.filter((claim) => claim.startsWith('governance.'))]
  }
  for (const list of Object.values(claims)) list.sort()
  return claims
}

/**
 * The same of what was sent, told twice or not, by record.md alone: all that spans say, and what events say that have a
 * kind. Of those that are sent here one has none where it says nothing but of what kind it is, and names none.
 */
function governanceOf(specs: readonly SpanSpec[]): Record<string, string[]> {
  const claims: Record<string, string[]> = {}
  const said = (attributes: SpanSpec['attributes'] = {}) =>
    Object.entries(attributes).filter(([key]) => key.startsWith('governance.'))
  const sorted = (_: string, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value
  for (const text of new Set(specs.map((spec) => JSON.stringify(spec, sorted)))) {
    const { id, attributes, events = [] }: SpanSpec = JSON.parse(text)
    const parts = events
      .filter(
        ({ name, attributes }) =>
          name.startsWith('governance.') ||
          said(attributes).some(([key, value]) => key !== 'governance.record.kind' || value === 'action'),
      )
      .map(({ attributes }) => attributes)
    const own = [attributes, ...parts].flatMap(said).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    claims[id] = [...(claims[id] ?? []), ...own].sort()
  }
  return claims
}

describe('any spans', () => {
  const attributes = fc.dictionary(
    fc.constantFrom(
      'http.route',
      'governance.decision.id',
      'governance.decision.outcome',
      'governance.action.name',
      'governance.action.digest',
      'governance.authorization.id',
      'governance.record.kind',
      'governance.execution.id',
    ),
    fc.constantFrom('x', 'y', 'action'),
    { maxKeys: 3 },
  )
  const spec = fc.record({
    id: fc.integer({ min: 1, max: 24 }),
    parent: fc.option(fc.integer({ min: 1, max: 26 }), { nil: undefined, freq: 6 }),
    start: fc.integer({ min: 0, max: 6 }),
    end: fc.integer({ min: 0, max: 9 }),
    kind: fc.integer({ min: 0, max: 5 }),
    flags: fc.constantFrom(0, 0x100, 0x300),
    service: fc.constantFrom('a', 'b'),
    name: fc.constantFrom('n', 'm'),
    attributes,
    events: fc.array(
      fc.record({ name: fc.constantFrom('governance.decision', 'governance.transition', 'log'), attributes }),
      { maxLength: 2 },
    ),
    links: fc.array(fc.integer({ min: 1, max: 26 }), { maxLength: 2 }),
  })
  const sets = fc.array(spec, { minLength: 1, maxLength: 30 }).chain((specs) =>
    fc.record({
      specs: fc.constant(specs),
      // Where each span goes in two deliveries: a place in the order, and whether a batch ends after it.
      order: fc.array(fc.nat(), { minLength: specs.length, maxLength: specs.length }),
      ends: fc.array(fc.boolean(), { minLength: specs.length, maxLength: specs.length }),
    }),
  )

  test('in two deliveries give the same records, which verify and say what was sent', async () => {
    const feed = new Feed()
    await fc.assert(
      fc.asyncProperty(sets, async ({ specs, order, ends }) => {
        const spans = specs.map((one) => send(one as SpanSpec))
        const turned = spans
          .map((span, at) => ({ span, key: order[at]! }))
          .sort((a, b) => a.key - b.key)
          .map(({ span }) => span)
        const batches: Sent[][] = [[]]
        for (const [at, span] of turned.entries()) {
          batches.at(-1)!.push(span)
          if (ends[at] && at < turned.length - 1) batches.push([])
        }
        const together = await settled(feed.through([spans]))
        const apart = await settled(feed.through(batches))
        expect(drawn(apart)).toBe(drawn(together))
        expect(governanceIn(together)).toEqual(governanceOf(specs as SpanSpec[]))
      }),
      { seed: 20260102, numRuns: 150 },
    )
  }, 120_000)
})
