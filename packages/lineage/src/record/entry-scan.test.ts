import { describe, expect, test } from 'vitest'
import { TestLog } from '../../../../test/support/executions.ts'
import { SHAPES } from '../../../../test/support/shapes.ts'
import { concatBytes, equalBytes, utf8 } from '../bytes.ts'
import { MalformedError, VerificationError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import {
  type Entry,
  emptyEntry,
  encodeEntry,
  MAX_CAUSES,
  Parent,
  Persistence,
  parseEntry,
  Role,
} from './entry.ts'
import { EntryScan } from './entry-scan.ts'

const scan = new EntryScan()

/** Scan and parser agree: both refuse, or both read the same. Returns whether they accepted. */
function agree(entry: Uint8Array): boolean {
  const bytes = concatBytes(Uint8Array.of(0xaa, 0xbb), entry, Uint8Array.of(0x0a)) // not at the start of its buffer
  const accepted = scan.scan(bytes, 2, 2 + entry.length)
  let parsed: Entry | undefined
  try {
    parsed = parseEntry(entry)
  } catch (error) {
    if (!(error instanceof MalformedError || error instanceof VerificationError)) throw error
  }
  if (accepted !== (parsed !== undefined))
    throw new Error(`scan says ${accepted}: ${Buffer.from(entry).toString('hex')}`)
  if (parsed === undefined) return false
  const same = (at: number, value: Uint8Array): boolean =>
    value.length === 0 ? at === -1 : equalBytes(bytes.subarray(at, at + value.length), value)
  const isSame =
    scan.kind === parsed.kind &&
    equalBytes(bytes.subarray(scan.tenantStart, scan.tenantEnd), utf8(parsed.tenant)) &&
    same(scan.traceId, parsed.traceId) &&
    same(scan.spanId, parsed.spanId) &&
    same(scan.parentSpanId, parsed.parentSpanId) &&
    scan.parent === parsed.parent &&
    same(scan.parentLeaf, parsed.parentLeaf) &&
    same(scan.evidence, parsed.evidence) &&
    same(scan.claims, parsed.claims) &&
    scan.persistence === parsed.persistence &&
    scan.segment === parsed.segment &&
    scan.leaves === parsed.leaves &&
    scan.causes === parsed.causes.length &&
    parsed.causes.every(
      (cause, at) =>
        scan.roles[at] === cause.role &&
        same(scan.causeLeaves[at]!, cause.leaf) &&
        scan.causeLocal[at] === (cause.origin === '' ? 1 : 0),
    )
  if (!isSame) throw new Error(`scan reads something else: ${Buffer.from(entry).toString('hex')}`)
  return true
}

const ids = { traceId: new Uint8Array(16).fill(1), spanId: new Uint8Array(8).fill(2) }
const bytes32 = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)

/** One entry of each shape that the format knows. */
function everyShape(): Uint8Array[] {
  const log = new TestLog()
  for (const [at, make] of [...SHAPES.values()].entries()) make(log, at + 1)
  const cause = { role: Role.subject, leaf: bytes32(9), origin: '' }
  const sealed = {
    ...emptyEntry(Kind.persistence),
    ...ids,
    spanId: new Uint8Array(0),
    persistence: Persistence.sealed,
  }
  const made: Entry[] = [
    { ...emptyEntry(Kind.persistence), persistence: Persistence.keyEpoch },
    {
      ...emptyEntry(Kind.decision),
      ...ids,
      tenant: 'ünïcode',
      causes: Array.from({ length: MAX_CAUSES }, () => cause),
    },
    { ...emptyEntry(Kind.decision), ...ids, tenant: 't'.repeat(128) },
    { ...emptyEntry(Kind.decision), ...ids, causes: [{ ...cause, origin: 'example.com/other/v0' }, cause] },
    { ...emptyEntry(Kind.decision), ...ids, causes: [{ ...cause, origin: 'é'.repeat(100) }] },
    ...[1, 127, 128, 16_383, 16_384, 2 ** 32, Number.MAX_SAFE_INTEGER].map((count) => ({
      ...sealed,
      segment: count,
      leaves: count,
    })),
  ]
  return [...log.entries, ...made.map(encodeEntry)]
}

describe('the scan of an entry agrees with the parser', () => {
  test('on every shape', () => {
    for (const entry of everyShape()) expect(agree(entry)).toBe(true)
  })

  test('on every shape cut off, extended, and with each byte as every other', { timeout: 120_000 }, () => {
    const seen = new Set<string>()
    for (const entry of everyShape()) {
      // One entry for each sequence of tags: what differs in ids alone is the same here.
      const parsed = parseEntry(entry)
      const shape = [
        parsed.kind,
        parsed.parent,
        parsed.causes.length,
        parsed.persistence,
        parsed.tenant,
        parsed.segment,
      ].join()
      if (seen.has(shape)) continue
      seen.add(shape)
      for (let end = 0; end < entry.length; end++) agree(entry.subarray(0, end))
      for (let tag = 0; tag < 256; tag++) agree(concatBytes(entry, Uint8Array.of(tag, 1)))
      const changed = entry.slice()
      for (const [at, byte] of entry.entries()) {
        // Within hashes nothing is decided: a few values do.
        const step = at > 70 ? 85 : at > 24 ? 15 : 1
        for (let value = 0; value < 256; value += step) {
          changed[at] = value
          agree(changed)
        }
        changed[at] = byte
        agree(concatBytes(entry.subarray(0, at), entry.subarray(at + 1)))
        agree(concatBytes(entry.subarray(0, at), Uint8Array.of(byte), entry.subarray(at)))
      }
    }
    expect(seen.size).toBeGreaterThan(20)
  })

  test('on fields in any combination', () => {
    const fields = [
      Uint8Array.of(0x1a, 1, 0x74),
      concatBytes(Uint8Array.of(0x22, 16), ids.traceId),
      concatBytes(Uint8Array.of(0x2a, 8), ids.spanId),
      concatBytes(Uint8Array.of(0x32, 8), ids.spanId),
      concatBytes(Uint8Array.of(0x42, 32), bytes32(3)),
      concatBytes(Uint8Array.of(0x52, 32), bytes32(4)),
      concatBytes(Uint8Array.of(0x5a, 32), bytes32(5)),
      Uint8Array.of(0x68, 1),
      Uint8Array.of(0x70, 1),
    ]
    let accepted = 0
    for (let kind = 0; kind <= 9; kind++)
      for (let parent = 0; parent <= 5; parent++)
        for (let persistence = 0; persistence <= 11; persistence += persistence < 2 ? 1 : 10)
          for (let set = 0; set < 2 ** fields.length; set++) {
            const at = (number: number): Uint8Array =>
              set & (1 << number) ? fields[number]! : new Uint8Array(0)
            const entry = concatBytes(
              ...[Uint8Array.of(0x10, kind), at(0), at(1), at(2), at(3)],
              parent === 0 ? new Uint8Array(0) : Uint8Array.of(0x38, parent),
              ...[at(4), at(5), at(6)],
              persistence === 0 ? new Uint8Array(0) : Uint8Array.of(0x60, persistence),
              ...[at(7), at(8)],
            )
            if (agree(entry)) accepted++
          }
    expect(accepted).toBeGreaterThan(100)
    expect(agree(Uint8Array.of(0x10, 8, 0x38, Parent.root))).toBe(false)
  })

  test('on what is too large', () => {
    const causes = Array.from({ length: MAX_CAUSES + 1 }, () => ({
      role: Role.subject,
      leaf: bytes32(9),
      origin: '',
    }))
    expect(agree(encodeEntry({ ...emptyEntry(Kind.decision), ...ids, causes }))).toBe(false)
    const tenant = (size: number): Uint8Array =>
      encodeEntry({ ...emptyEntry(Kind.decision), ...ids, tenant: 't'.repeat(size) })
    expect(agree(tenant(4000))).toBe(true)
    const longest = tenant(4096 - 33)
    expect(longest).toHaveLength(4096)
    expect(agree(longest)).toBe(true)
    expect(agree(concatBytes(longest, Uint8Array.of(0)))).toBe(false)
  })
})
