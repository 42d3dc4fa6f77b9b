/** Commitments against node:crypto, put together by hand as docs/formats/commitments.md says. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatHex, utf8 } from '../bytes.ts'
import { COLLECTOR_ORDINAL, Committer, EVIDENCE_ORDINAL } from './commitment.ts'

type Part = string | Uint8Array

const sha = (...parts: Part[]): string => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}
const u16 = (value: number) => Uint8Array.of(value >>> 8, value)
const u32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
const sized = (bytes: Uint8Array): Part[] => [u32(bytes.length), bytes]
const salt = (seed: Uint8Array, index: number, ordinal: number) =>
  Buffer.from(sha('rs/salt\n', seed, u32(index), u32(ordinal)), 'hex').subarray(0, 16)

const bytes = (size: number) => fc.uint8Array({ minLength: size, maxLength: size })
const some = fc.uint8Array({ maxLength: 300 })
const word = fc.nat(0xffff_ffff)

/** One committer for all: what it keeps between calls must not show. */
const committer = new Committer()

describe('by hand', () => {
  test('trace seeds', () => {
    fc.assert(
      fc.property(bytes(32), fc.string({ maxLength: 60, unit: 'binary' }), bytes(16), (seed, name, trace) => {
        const tenant = utf8(name)
        expect(formatHex(committer.traceSeed(seed, tenant, trace))).toBe(
          sha('rs/t\n', seed, u16(tenant.length), tenant, trace),
        )
      }),
    )
  })

  test('evidence', () => {
    fc.assert(
      fc.property(bytes(32), word, some, some, some, some, (seed, index, receipt, resource, scope, span) => {
        const context = committer.context(receipt, resource, scope)
        expect(formatHex(context)).toBe(
          sha('rootspan/context/v0\n', ...sized(receipt), ...sized(resource), ...sized(scope)),
        )
        const out = Buffer.alloc(40, 0xee)
        committer.evidence(seed, index, context, span, out, 5)
        const expected = sha(
          'rootspan/evidence/v0\n',
          salt(seed, index, EVIDENCE_ORDINAL),
          context,
          ...sized(span),
        )
        expect(formatHex(out)).toBe(`${'ee'.repeat(5)}${expected}${'ee'.repeat(3)}`)
      }),
    )
  })

  test('claims', () => {
    fc.assert(
      fc.property(bytes(32), word, word, some, some, (seed, index, ordinal, key, value) => {
        expect(formatHex(committer.claim(seed, index, ordinal, key, value))).toBe(
          sha('rootspan/claim/v0\n', salt(seed, index, ordinal), u16(key.length), key, value),
        )
      }),
    )
  })

  test('a claim with the longest key and a large value', () => {
    const seed = new Uint8Array(32).fill(3)
    const key = new Uint8Array(65_535).fill(0x6b)
    const value = new Uint8Array(1_000_000).fill(1)
    expect(formatHex(committer.claim(seed, 0xffff_ffff, COLLECTOR_ORDINAL, key, value))).toBe(
      sha('rootspan/claim/v0\n', salt(seed, 0xffff_ffff, COLLECTOR_ORDINAL), u16(65_535), key, value),
    )
  })

  test('what an entry holds of its claims does not depend on their order', () => {
    fc.assert(
      fc.property(fc.array(bytes(32), { maxLength: 12 }), fc.integer(), (commitments, seed) => {
        const ascending = commitments.map(formatHex).sort()
        const expected = sha(
          'rootspan/claims/v0\n',
          u32(commitments.length),
          ...ascending.map((hex) => Buffer.from(hex, 'hex')),
        )
        const turned = commitments.toSorted((a, b) => ((a[0]! * 7 + seed) % 13) - ((b[0]! * 7 + seed) % 13))
        expect(formatHex(committer.claims(turned))).toBe(expected)
      }),
    )
  })
})

describe('separate', () => {
  test('salts of one seed never meet: every place and ordinal has its own', () => {
    const seed = new Uint8Array(32).fill(9)
    const nothing = new Uint8Array(0)
    const seen = new Set<string>()
    const edges = [0, 1, 2, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
    for (const index of edges)
      for (const ordinal of edges)
        seen.add(formatHex(committer.claim(seed, index, ordinal, nothing, nothing)))
    expect(seen.size).toBe(edges.length ** 2)
  })

  test('a tenant and a trace id cannot be moved into each other', () => {
    const seed = new Uint8Array(32).fill(9)
    const id = new Uint8Array(16).fill(0x61)
    const names = ['', 'a', 'aa', 'aaa', '\u0000', '\u0000\u0000']
    expect(new Set(names.map((name) => formatHex(committer.traceSeed(seed, utf8(name), id)))).size).toBe(
      names.length,
    )
  })

  test('receipt, resource and scope cannot be moved into each other', () => {
    const [a, b, none] = [utf8('a'), utf8('ab'), new Uint8Array(0)]
    const contexts = [
      [a, none, none],
      [none, a, none],
      [none, none, a],
      [b, none, none],
      [a, a, none],
      [none, none, none],
    ].map(([x, y, z]) => formatHex(committer.context(x!, y!, z!)))
    expect(new Set(contexts).size).toBe(contexts.length)
  })
})

test('what is remembered is the same, and made again when too much was', () => {
  let made = 0
  const make = () => Uint8Array.of(made++)
  const own = new Committer()
  const first = own.remember(1n, 1000, make)
  expect(own.remember(1n, 1000, make)).toBe(first)
  for (let i = 0; i < 300; i++) own.remember(1n, i, make)
  expect(made).toBe(301)
  const again = own.remember(1n, 1000, make)
  expect(again).not.toBe(first)
  expect(own.remember(2n, 1000, make)).not.toBe(again)
})
