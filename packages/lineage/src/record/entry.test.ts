import { describe, expect, test } from 'vitest'
import { formatHex, parseHex } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import { WireWriter } from '../wire.ts'
import {
  type Cause,
  type Entry,
  emptyEntry,
  encodeEntry,
  isSpanBorn,
  MAX_CAUSES,
  MAX_ENTRY,
  nameOf,
  Parent,
  Persistence,
  parseEntry,
  Role,
} from './entry.ts'
import { EntryScan } from './entry-scan.ts'

const TRACE = parseHex('0102030405060708090a0b0c0d0e0f10')
const SPAN = parseHex('1112131415161718')
const ABOVE = parseHex('2122232425262728')
const hash = (byte: number) => new Uint8Array(32).fill(byte)

const cause = (role: Role, byte: number, origin = ''): Cause => ({ role, leaf: hash(byte), origin })
const entry = (kind: Kind, fields: Partial<Entry> = {}): Entry => ({ ...emptyEntry(kind), ...fields })
const born = { traceId: TRACE, spanId: SPAN, evidence: hash(0xee) }

/** One of each shape. */
const SAMPLES: Readonly<Record<string, Entry>> = {
  'root span': entry(Kind.span, { ...born, parent: Parent.root }),
  'linked span': entry(Kind.span, {
    ...born,
    parent: Parent.linked,
    parentSpanId: ABOVE,
    parentLeaf: hash(0xaa),
  }),
  'awaiting request': entry(Kind.request, { ...born, parent: Parent.awaiting, parentSpanId: ABOVE }),
  'remote action': entry(Kind.action, {
    ...born,
    tenant: 'größe',
    parent: Parent.remote,
    parentSpanId: ABOVE,
    claims: hash(0xcc),
    causes: [cause(Role.decision, 1), cause(Role.authorization, 2, 'other.example/log/v0')],
  }),
  authorization: entry(Kind.authorization, { traceId: TRACE, spanId: SPAN, claims: hash(0xcc) }),
  decision: entry(Kind.decision, {
    traceId: TRACE,
    spanId: SPAN,
    causes: [cause(Role.authorization, 1), cause(Role.verification, 2)],
  }),
  transition: entry(Kind.transition, { traceId: TRACE, spanId: SPAN }),
  'request as a fact': entry(Kind.request, { traceId: TRACE, spanId: SPAN }),
  finding: entry(Kind.verification, {
    traceId: TRACE,
    claims: hash(0xcc),
    causes: [cause(Role.subject, 1), cause(Role.subject, 2)],
  }),
  adopted: entry(Kind.persistence, {
    traceId: TRACE,
    persistence: Persistence.adopted,
    causes: [cause(Role.parent, 1)],
    claims: hash(0xcc),
  }),
  seal: entry(Kind.persistence, {
    traceId: TRACE,
    persistence: Persistence.sealed,
    causes: [cause(Role.previousSeal, 1)],
    claims: hash(0xcc),
    segment: 300,
    leaves: 70_000,
  }),
  'about the log': entry(Kind.persistence, { persistence: Persistence.keyEpoch, claims: hash(0xcc) }),
}

/** What became of parsing: the entry, or the code of the refusal. Anything else is thrown on. */
function outcome(bytes: Uint8Array): Entry | 'malformed' | 'unsupported' {
  try {
    return parseEntry(bytes)
  } catch (error) {
    if (error instanceof MalformedError) return 'malformed'
    if (error instanceof VerificationError && error.code === 'unsupported') return 'unsupported'
    throw error
  }
}

/** Parses, and holds the allocation-free scan against the parser. */
function checked(buffer: Uint8Array): Entry | 'malformed' | 'unsupported' {
  const bytes = new Uint8Array(buffer) // so that what is parsed out of it is no Buffer either, and compares
  const parsed = outcome(bytes)
  const framed = new Uint8Array(bytes.length + 8)
  framed.set(bytes, 3)
  const accepts = new EntryScan().scan(framed, 3, 3 + bytes.length)
  if (accepts !== (typeof parsed === 'object')) throw new Error(`the scan differs: ${formatHex(bytes)}`)
  return parsed
}

describe('encoding', () => {
  test('byte by byte', () => {
    expect(formatHex(encodeEntry(SAMPLES['linked span']!))).toBe(
      [
        '1008', // 2 kind: span
        `2210${formatHex(TRACE)}`,
        `2a08${formatHex(SPAN)}`,
        `3208${formatHex(ABOVE)}`,
        '3802', // 7 parent: linked
        `4220${'aa'.repeat(32)}`,
        `5220${'ee'.repeat(32)}`,
      ].join(''),
    )
    expect(formatHex(encodeEntry(SAMPLES.seal!))).toBe(
      [
        '1007',
        `2210${formatHex(TRACE)}`,
        `4a2408071220${'01'.repeat(32)}`,
        `5a20${'cc'.repeat(32)}`,
        '6001',
        '68ac02', // 13 segment: 300
        '70f0a204', // 14 leaves: 70,000
      ].join(''),
    )
    expect(formatHex(encodeEntry(SAMPLES['remote action']!))).toBe(
      [
        '1005',
        '1a076772c3b6c39f65',
        `2210${formatHex(TRACE)}`,
        `2a08${formatHex(SPAN)}`,
        `3208${formatHex(ABOVE)}`,
        '3804',
        `4a2408021220${'01'.repeat(32)}`,
        `4a3a08011220${'02'.repeat(32)}1a14${formatHex(new TextEncoder().encode('other.example/log/v0'))}`,
        `5220${'ee'.repeat(32)}`,
        `5a20${'cc'.repeat(32)}`,
      ].join(''),
    )
  })

  test.each(Object.entries(SAMPLES))('%s comes back as it was', (_, sample) => {
    expect(checked(encodeEntry(sample))).toEqual(sample)
  })

  test('every origin from 0 to 300 bytes, and segment numbers around the steps of a varint', () => {
    for (let size = 0; size <= 300; size++) {
      const sample = entry(Kind.decision, { causes: [cause(Role.decision, 1, 'o'.repeat(size))] })
      expect(checked(encodeEntry(sample))).toEqual(sample)
    }
    for (let bits = 0; bits <= 53; bits++)
      for (const segment of [2 ** bits - 1, 2 ** bits, 2 ** bits + 1]) {
        if (!Number.isSafeInteger(segment)) continue
        const sample = { ...SAMPLES.seal!, segment, leaves: Math.max(1, segment) }
        expect(checked(encodeEntry(sample))).toEqual(sample)
      }
  })

  test('32 causes fit, with origins as long as they may be', () => {
    const causes = Array.from({ length: MAX_CAUSES }, (_, at) => cause(Role.subject, at))
    expect(checked(encodeEntry(entry(Kind.verification, { causes })))).toMatchObject({ causes })
    const size = encodeEntry(entry(Kind.verification, { causes: [cause(1, 1, 'o'.repeat(200))] })).length
    const longest = 'o'.repeat(MAX_ENTRY - size + 200)
    const full = entry(Kind.verification, { causes: [cause(1, 1, longest)] })
    expect(encodeEntry(full).length).toBe(MAX_ENTRY)
    expect(checked(encodeEntry(full))).toEqual(full)
    expect(() => encodeEntry(entry(Kind.verification, { causes: [cause(1, 1, `${longest}o`)] }))).toThrow(
      /^bad entry/,
    )
  })
})

describe('refused', () => {
  const CAUSE = new WireWriter().varint(1, 1).bytes(2, hash(1)).finish()
  const w = () => new WireWriter()
  const span = (parent: number) => w().varint(2, 8).bytes(4, TRACE).bytes(5, SPAN).varint(7, parent)
  const seal = () => w().varint(2, 7).bytes(4, TRACE)

  test.each<[string, WireWriter | Uint8Array]>([
    ['nothing at all', new Uint8Array(0)],
    ['no kind', w().bytes(4, TRACE)],
    ['kind 0', w().varint(2, 0)],
    ['an unknown kind', w().varint(2, 9)],
    ['a kind of 32 bits', w().varint(2, 2 ** 32 + 1)],
    ['the version in words', w().varint(1, 0).varint(2, 2)],
    ['the kind twice', w().varint(2, 2).varint(2, 2)],
    ['the kind as bytes', w().string(2, 'x')],
    ['fields out of order', w().bytes(4, TRACE).varint(2, 2)],
    ['a long varint', w().raw(parseHex('108200'))],
    ['a long tag', w().raw(parseHex('900002'))],
    ['an unknown field', w().varint(2, 2).varint(15, 1)],
    ['a field that is cut off', w().varint(2, 2).raw(parseHex('2210'))],
    ['an empty tenant', w().varint(2, 2).string(3, '')],
    ['a tenant that is no UTF-8', w().varint(2, 2).bytes(3, parseHex('c3'))],
    ['an empty trace id', w().varint(2, 2).bytes(4, new Uint8Array(0))],
    ['a trace id of 15 bytes', w().varint(2, 2).bytes(4, TRACE.subarray(1))],
    ['a span id of 9 bytes', w().varint(2, 2).bytes(4, TRACE).bytes(5, TRACE.subarray(7))],
    ['a span id without a trace id', w().varint(2, 2).bytes(5, SPAN)],
    ['a cause without a leaf', w().varint(2, 2).bytes(9, w().varint(1, 1).finish())],
    [
      'a cause without a role',
      w()
        .varint(2, 2)
        .bytes(9, w().bytes(2, hash(1)).finish()),
    ],
    [
      'a cause with role 0',
      w()
        .varint(2, 2)
        .bytes(9, w().varint(1, 0).bytes(2, hash(1)).finish()),
    ],
    [
      'a cause of role 11',
      w()
        .varint(2, 2)
        .bytes(9, w().varint(1, 11).bytes(2, hash(1)).finish()),
    ],
    [
      'a cause of 31 bytes',
      w()
        .varint(2, 2)
        .bytes(9, w().varint(1, 1).bytes(2, hash(1).subarray(1)).finish()),
    ],
    ['a cause with a field more', w().varint(2, 2).bytes(9, w().raw(CAUSE).varint(4, 1).finish())],
    ['a cause with an empty origin', w().varint(2, 2).bytes(9, w().raw(CAUSE).string(3, '').finish())],
    ['a cause as a number', w().varint(2, 2).varint(9, 1)],
    ['an empty cause', w().varint(2, 2).bytes(9, new Uint8Array(0))],
    [
      '33 causes',
      w()
        .varint(2, 2)
        .raw(new Uint8Array(Array.from({ length: 33 }, () => [...w().bytes(9, CAUSE).finish()]).flat())),
    ],
    [
      'over 4 KiB',
      w()
        .varint(2, 2)
        .bytes(9, w().raw(CAUSE).string(3, 'o'.repeat(4096)).finish()),
    ],
    ['a span record without a parent state', w().varint(2, 8).bytes(4, TRACE).bytes(5, SPAN)],
    ['a span record without evidence', span(1)],
    ['a span record without a span id', w().varint(2, 8).bytes(4, TRACE).varint(7, 1).bytes(10, hash(1))],
    ['a parent state 0', w().varint(2, 2).varint(7, 0)],
    ['a parent state 6', span(6).bytes(10, hash(1))],
    [
      'a root with a parent span id',
      w().varint(2, 8).bytes(4, TRACE).bytes(5, SPAN).bytes(6, ABOVE).varint(7, 1).bytes(10, hash(1)),
    ],
    ['awaiting nobody', span(3).bytes(10, hash(1))],
    ['remote of nobody', span(4).bytes(10, hash(1))],
    [
      'linked to no leaf',
      w().varint(2, 8).bytes(4, TRACE).bytes(5, SPAN).bytes(6, ABOVE).varint(7, 2).bytes(10, hash(1)),
    ],
    ['a root with a parent leaf', span(1).bytes(8, hash(2)).bytes(10, hash(1))],
    ['a parent span id without a state', w().varint(2, 2).bytes(4, TRACE).bytes(5, SPAN).bytes(6, ABOVE)],
    ['evidence of a fact', w().varint(2, 3).bytes(4, TRACE).bytes(5, SPAN).bytes(10, hash(1))],
    [
      'a decision with a parent',
      w().varint(2, 3).bytes(4, TRACE).bytes(5, SPAN).varint(7, 1).bytes(10, hash(1)),
    ],
    ['claims of 31 bytes', w().varint(2, 3).bytes(11, hash(1).subarray(1))],
    ['persistence that states nothing', w().varint(2, 7)],
    ['persistence 0', w().varint(2, 7).varint(12, 0)],
    ['persistence 11', w().varint(2, 7).varint(12, 11)],
    ['a decision that is a seal', w().varint(2, 3).varint(12, 1).varint(14, 1)],
    ['a span that is a seal', span(1).bytes(10, hash(1)).varint(12, 1).varint(14, 1)],
    ['a seal of nothing', seal().varint(12, 1)],
    ['a seal of 0 leaves', seal().varint(12, 1).varint(14, 0)],
    ['a seal of segment 0 in words', seal().varint(12, 1).varint(13, 0).varint(14, 1)],
    ['a segment number that is no seal', seal().varint(12, 2).varint(13, 1)],
    ['a count that is no seal', seal().varint(12, 2).varint(14, 1)],
    [
      'a count of 2^53',
      seal()
        .varint(12, 1)
        .varint(14, 2n ** 53n),
    ],
    ['a count as bytes', seal().varint(12, 1).bytes(14, hash(1))],
  ])('%s', (_, input) => {
    expect(checked(input instanceof WireWriter ? input.finish() : input)).toBe('malformed')
  })

  test.each<[string, Uint8Array]>([
    ['version 1', new WireWriter().varint(1, 1).varint(2, 2).finish()],
    ['version 1 with anything after it', new WireWriter().varint(1, 1).raw(parseHex('ffffffff')).finish()],
    ['a version of 64 bits', new WireWriter().varint(1, 2n ** 64n - 1n).finish()],
    [
      'a newer version that is longer',
      new WireWriter().varint(1, 7).bytes(20, new Uint8Array(9000)).finish(),
    ],
  ])('%s is not bad: it could not be checked', (_, bytes) => {
    expect(checked(bytes)).toBe('unsupported')
  })
})

describe('one record, one encoding', () => {
  test.each(Object.entries(SAMPLES))('every change of a byte of: %s', (_, sample) => {
    const good = encodeEntry(sample)
    const seen = new Set<string>()
    for (let at = 0; at < good.length; at++)
      for (let value = 0; value < 256; value++) {
        if (value === good[at]) continue
        const bytes = good.slice()
        bytes[at] = value
        const parsed = checked(bytes)
        seen.add(typeof parsed === 'object' ? 'another record' : parsed)
        if (typeof parsed === 'object' && formatHex(encodeEntry(parsed)) !== formatHex(bytes))
          throw new Error(`accepted and not canonical: ${formatHex(bytes)}`)
      }
    // No version byte is in a version 0 entry, so a change of its first byte alone can make one.
    expect([...seen].sort()).toEqual(['another record', 'malformed', 'unsupported'])
  })

  test.each(Object.entries(SAMPLES))('every cut, every byte left out or doubled of: %s', (_, sample) => {
    const good = encodeEntry(sample)
    const encodings = new Set([formatHex(good)])
    for (let at = 0; at < good.length; at++)
      for (const bytes of [
        good.slice(0, at),
        Uint8Array.from([...good.slice(0, at), ...good.slice(at + 1)]),
        Uint8Array.from([...good.slice(0, at), good[at]!, ...good.slice(at)]),
        Uint8Array.from([...good.slice(0, at), 0, ...good.slice(at)]),
      ]) {
        const parsed = checked(bytes)
        if (typeof parsed !== 'object') continue
        expect(formatHex(encodeEntry(parsed))).toBe(formatHex(bytes))
        encodings.add(formatHex(bytes))
      }
    expect(encodings.has(formatHex(good))).toBe(true)
  })
})

test('names of the closed sets', () => {
  expect(nameOf(Kind, 3)).toBe('decision')
  expect(nameOf(Persistence, 8)).toBe('keyEpoch')
  expect(nameOf(Kind, 99)).toBe('99')
  expect(isSpanBorn(SAMPLES['root span']!)).toBe(true)
  expect(isSpanBorn(SAMPLES['request as a fact']!)).toBe(false)
})
