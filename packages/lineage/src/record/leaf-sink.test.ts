import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { traceIdOf } from '../../../../test/support/executions.ts'
import { concatBytes, dataView, formatHex } from '../bytes.ts'
import { Kind } from '../governance/kind.ts'
import { type Entry, emptyEntry, encodeEntry, NO_BYTES, Parent, Role } from './entry.ts'
import { LeafSink, NOT_HERE } from './leaf-sink.ts'
import { idKey } from './order.ts'

const TRACE = traceIdOf(7)

/** What is added: a span under the entry with that number, or under none. */
interface Given {
  readonly tenant: string
  readonly under: number | undefined
  /** By way of a whole entry, with so many causes; else as a plain span. */
  readonly causes: number | undefined
  /** Asked for a leaf hash right after it. */
  readonly isAsked: boolean
}

const idOf = (number: number): Uint8Array =>
  Uint8Array.from({ length: 8 }, (_, i) => (number * 31 + i * 97) & 255)
const evidenceOf = (number: number): Uint8Array =>
  Uint8Array.from({ length: 32 }, (_, i) => (number + i * 7) & 255)
const leafOf = (entry: Uint8Array): Uint8Array =>
  createHash('sha256')
    .update(Buffer.concat([Buffer.of(0), entry]))
    .digest()

/** The same entries, one by one and by OpenSSL: what the sink has to come to. */
function expected(given: readonly Given[]): { entries: Uint8Array[]; leaves: Uint8Array[] } {
  const entries: Uint8Array[] = []
  const leaves: Uint8Array[] = []
  for (const [number, one] of given.entries()) {
    const entry = encodeEntry(entryOf(one, number, one.under === undefined ? NO_BYTES : leaves[one.under]!))
    entries.push(entry)
    leaves.push(leafOf(entry))
  }
  return { entries, leaves }
}

function entryOf({ tenant, under, causes = 0 }: Given, number: number, parentLeaf: Uint8Array): Entry {
  return {
    ...emptyEntry(Kind.span),
    tenant,
    traceId: TRACE,
    spanId: idOf(number),
    parentSpanId: under === undefined ? NO_BYTES : idOf(under),
    parent: under === undefined ? Parent.root : Parent.linked,
    parentLeaf,
    causes: Array.from({ length: causes }, (_, i) => ({
      role: Role.decision,
      leaf: evidenceOf(i),
      origin: '',
    })),
    evidence: evidenceOf(number),
  }
}

function fill(sink: LeafSink, given: readonly Given[], leaves: readonly Uint8Array[]): void {
  const base = sink.count
  for (const [number, one] of given.entries()) {
    const parent = one.under === undefined ? NOT_HERE : base + one.under
    if (one.causes === undefined) {
      sink.beginTrace(one.tenant, TRACE)
      const link = one.under === undefined ? Parent.root : Parent.linked
      const parentId = one.under === undefined ? '' : idKey(idOf(one.under))
      const evidence = dataView(concatBytes(new Uint8Array(5), evidenceOf(number)))
      expect(sink.addSpan(idKey(idOf(number)), link, parentId, parent, evidence, 5)).toBe(base + number)
    } else {
      const placeholder = one.under === undefined ? NO_BYTES : new Uint8Array(32)
      expect(sink.add(entryOf(one, number, placeholder), parent)).toBe(base + number)
    }
    if (one.isAsked) expect(formatHex(sink.leaf(base + number))).toBe(formatHex(leaves[number]!))
  }
}

function holds(sink: LeafSink, first: number, wanted: ReturnType<typeof expected>): void {
  const count = wanted.entries.length
  expect(sink.count).toBe(first + count)
  const { entries, hashes } = sink.copyFrom(first)
  expect(formatHex(hashes)).toBe(formatHex(concatBytes(...wanted.leaves)))
  const bundle = wanted.entries.flatMap((entry) => [
    Uint8Array.of(entry.length >> 8, entry.length & 255),
    entry,
  ])
  expect(formatHex(entries)).toBe(formatHex(concatBytes(...bundle)))
  for (let at = 0; at < count; at += Math.ceil(count / 7))
    expect(formatHex(sink.entry(first + at))).toBe(formatHex(wanted.entries[at]!))
}

const plain = (under?: number): Given => ({ tenant: '', under, causes: undefined, isAsked: false })

describe('leaves and entries are those that are made one by one', () => {
  test.each([1, 2, 3, 4, 5, 7, 511, 512, 513, 1030])(
    '%i spans: none linked, a chain, a star, and pairs',
    (count) => {
      const shapes = [
        () => plain(),
        (at: number) => plain(at === 0 ? undefined : at - 1),
        (at: number) => plain(at === 0 ? undefined : 0),
        (at: number) => plain(at % 2 === 0 ? undefined : at - 1),
      ]
      const sink = new LeafSink()
      for (const shape of shapes) {
        const given = Array.from({ length: count }, (_, at) => shape(at))
        const wanted = expected(given)
        const first = sink.count
        fill(sink, given, wanted.leaves)
        holds(sink, first, wanted)
        // Half of the shapes begin behind what is there, half anew.
        if (first > 0) sink.reset()
      }
    },
  )

  test('any forest, of plain spans and whole entries of all sizes, whenever somebody asks', () => {
    const one = fc.record({
      tenant: fc.constantFrom('', '', 'acme', 't'.repeat(61), 'é'.repeat(127)),
      under: fc.option(fc.nat(), { freq: 3 }),
      causes: fc.option(fc.constantFrom(0, 1, 2, 32), { freq: 1 }),
      isAsked: fc.nat(19).map((at) => at === 0),
    })
    fc.assert(
      fc.property(fc.array(one, { maxLength: 700, size: 'max' }), (drawn) => {
        const given = drawn.map(({ under, causes, ...rest }, at) => ({
          ...rest,
          under: under === null || at === 0 ? undefined : under % at,
          causes: causes ?? undefined,
        }))
        const wanted = expected(given)
        const sink = new LeafSink()
        fill(sink, given, wanted.leaves)
        holds(sink, 0, wanted)
      }),
      { seed: 20261127, numRuns: 60 },
    )
  })
})

test('a span whose parent is not in the sink: remote, awaited, in an earlier segment, or none', () => {
  const sink = new LeafSink()
  const wanted: Uint8Array[] = []
  for (const [at, parent] of [Parent.root, Parent.awaiting, Parent.remote, Parent.unsaid].entries()) {
    const parentId = parent === Parent.awaiting || parent === Parent.remote ? idOf(99) : NO_BYTES
    const entry = { ...entryOf(plain(), at, NO_BYTES), parent, parentSpanId: parentId }
    sink.beginTrace('', TRACE)
    sink.addSpan(
      idKey(idOf(at)),
      parent,
      parentId.length === 0 ? '' : idKey(parentId),
      NOT_HERE,
      dataView(evidenceOf(at)),
      0,
    )
    wanted.push(encodeEntry(entry))
  }
  const earlier = entryOf({ ...plain(), causes: 0, under: 0 }, 4, evidenceOf(1))
  sink.add(earlier)
  wanted.push(encodeEntry(earlier))
  holds(sink, 0, { entries: wanted, leaves: wanted.map(leafOf) })
})

test('sinks that are filled in turns do not disturb each other', () => {
  const given = Array.from({ length: 40 }, (_, at) => plain(at < 3 ? undefined : at % 3))
  const wanted = expected(given)
  const [a, b] = [new LeafSink(), new LeafSink()]
  fill(a, given, wanted.leaves)
  fill(b, given.slice(0, 20), wanted.leaves)
  holds(a, 0, wanted)
  holds(b, 0, { entries: wanted.entries.slice(0, 20), leaves: wanted.leaves.slice(0, 20) })
})

test('a parent that is not there, or without room for its leaf hash, is our own mistake', () => {
  const sink = new LeafSink()
  const entry = entryOf({ ...plain(), causes: 0, under: 0 }, 0, new Uint8Array(32))
  expect(() => sink.add(entry, 0)).toThrow('bad parent')
  sink.add(entry)
  expect(() => sink.add(entryOf(plain(), 1, NO_BYTES), 0)).toThrow('bad parent')
  sink.beginTrace('', TRACE)
  const add = () =>
    sink.addSpan(idKey(idOf(1)), Parent.linked, idKey(idOf(0)), NOT_HERE, dataView(evidenceOf(1)), 0)
  expect(add).toThrow('bad parent')
})

test('without WebAssembly the leaves are the same', async () => {
  vi.resetModules()
  vi.stubGlobal('WebAssembly', undefined)
  try {
    const { LeafSink: Plain } = await import('./leaf-sink.ts')
    const given = Array.from({ length: 700 }, (_, at) => plain(at === 0 ? undefined : Math.floor(at / 3)))
    const wanted = expected(given)
    const sink = new Plain()
    fill(sink, given, wanted.leaves)
    holds(sink, 0, wanted)
  } finally {
    vi.unstubAllGlobals()
    vi.resetModules()
  }
})
