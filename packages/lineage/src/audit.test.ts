import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { spanIdOf, TestLog, testKey, traceIdOf } from '../../../test/support/executions.ts'
import { SHAPES } from '../../../test/support/shapes.ts'
import { type Audit, type AuditReport, createAudit, startOf } from './audit.ts'
import { utf8 } from './bytes.ts'
import { VerificationError } from './errors.ts'
import { Kind } from './governance/kind.ts'
import {
  type Cause,
  type Entry,
  emptyEntry,
  encodeEntry,
  Parent,
  Persistence,
  parseEntry,
  Role,
} from './record/entry.ts'
import { formatCheckpoint } from './tlog/checkpoint.ts'
import { signNote } from './tlog/note.ts'
import { loadTileTree } from './tlog/tile-tree.ts'

interface Tampering {
  bundle?(bytes: Uint8Array, index: number): Uint8Array
  tile?(bytes: Uint8Array, level: number, index: number): Uint8Array
}

/** Drives an audit over a log in memory, all kept checkpoints included. */
function auditLog(log: TestLog, tampering: Tampering = {}): AuditReport {
  const checkpoint = log.checkpoints.get(log.size) ?? log.checkpoint()
  return drive(createAudit({ checkpoint, policy: log.policy }), log, 0, tampering)
}

function drive(audit: Audit, log: TestLog, from: number, { bundle, tile }: Tampering = {}): AuditReport {
  for (const [size, note] of [...log.checkpoints].sort(([a], [b]) => a - b))
    if (size >= from) audit.expect(size, note)
  const compare = (): void => {
    for (const each of audit.takeTiles()) {
      const bytes = log.tile(each.level, each.index, each.width)
      audit.compare(each, tile?.(bytes, each.level, each.index) ?? bytes)
    }
  }
  for (let next = audit.next(); next !== undefined; next = audit.next()) {
    const entries = log.entryBundle(next.index, next.width)
    const hashes = log.tile(0, next.index, next.width)
    audit.add(bundle?.(entries, next.index) ?? entries, tile?.(hashes, 0, next.index) ?? hashes)
    compare()
  }
  return audit.finish()
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

/** A log of every shape, several times over, with a checkpoint after each. */
function fullLog(rounds: number): TestLog {
  const log = new TestLog()
  let trace = 1
  log.checkpoint()
  for (let round = 0; round < rounds; round++)
    for (const make of SHAPES.values()) {
      make(log, trace++)
      log.checkpoint()
    }
  return log
}

describe('a good log', () => {
  test('of every shape is audited whole, over several tiles and levels', () => {
    const log = fullLog(12)
    expect(log.size).toBeGreaterThan(1000)
    const report = auditLog(log)
    expect(report).toMatchObject({
      origin: log.origin,
      size: log.size,
      from: 0,
      bundles: Math.ceil(log.size / 256),
      checkpoints: log.checkpoints.size + 1, // the last one as kept, and as the head
    })
    expect(Object.values(report.records).reduce((a, b) => a + b)).toBe(log.size)
    expect(report.records.authorization).toBeGreaterThan(0)
    expect(report.links.linked).toBeGreaterThan(0)
    expect(report.links.awaiting).toBeGreaterThan(0)
    expect(report.links.remote).toBeGreaterThan(0)
    expect(report.tiles).toBe(Math.ceil(log.size / 256) + 1)
    expect(report.notChecked.join()).not.toMatch(/before/)
  })

  test('of every small size', () => {
    const log = new TestLog()
    expect(auditLog(log)).toMatchObject({ size: 0, bundles: 0, tiles: 0, checkpoints: 2 })
    for (let trace = 1; log.size < 600; trace++) {
      log.settle(trace, [[{ id: 1 }]])
      log.checkpoints.clear()
      expect(auditLog(log).size).toBe(log.size)
    }
  })

  test('from any checkpoint on', async () => {
    const log = fullLog(3)
    for (const size of log.checkpoints.keys()) {
      const tree = await loadTileTree(startOf(size), (level, index, width) => log.tile(level, index, width))
      const audit = createAudit({
        checkpoint: log.checkpoints.get(log.size)!,
        policy: log.policy,
        from: { size, tree },
      })
      const report = drive(audit, log, size)
      expect(report.from).toBe(size)
      expect(Object.values(report.records).reduce((a, b) => a + b, 0)).toBe(log.size - size)
    }
  })
})

describe('a log of which one byte was changed is not clean', () => {
  const log = new TestLog()
  SHAPES.get('adoption')!(log, 1)
  SHAPES.get('facts')!(log, 2)
  const bundle = log.entryBundle(0, log.size)

  test.each([0x01, 0x80])('every byte of the entries, xor %i', (mask) => {
    for (let at = 0; at < bundle.length; at++)
      failure(() =>
        auditLog(log, {
          bundle: (bytes) => {
            bytes[at]! ^= mask
            return bytes
          },
        }),
      )
  })

  test('every byte of the tile', () => {
    for (let at = 0; at < log.size * 32; at++)
      expect(
        failure(() =>
          auditLog(log, {
            tile: (bytes) => {
              bytes[at]! ^= 1
              return bytes
            },
          }),
        ),
      ).toEqual({
        code: 'tile',
        where: `tile/0/000.p/${log.size}`,
        reason: `hash ${Math.floor(at / 32)} is not the one of the entries`,
      })
  })

  test('a tile above level 0', () => {
    const large = fullLog(4)
    expect(large.size).toBeGreaterThan(256)
    expect(
      failure(() =>
        auditLog(large, {
          tile: (bytes, level) => {
            if (level > 0) bytes[0]! ^= 1
            return bytes
          },
        }),
      ),
    ).toMatchObject({ code: 'tile', where: expect.stringMatching(/^tile\/1\/000\.p\//) })
  })

  test('bundles and tiles of another length', () => {
    expect(failure(() => auditLog(log, { bundle: (bytes) => bytes.slice(0, -1) }))).toMatchObject({
      code: 'malformed',
    })
    expect(failure(() => auditLog(log, { bundle: () => new Uint8Array(0) }))).toMatchObject({
      code: 'malformed',
    })
    expect(failure(() => auditLog(log, { bundle: (bytes) => Buffer.concat([bytes, bytes]) }))).toMatchObject({
      code: 'malformed',
      reason: 'it has bytes after its last entry',
    })
    expect(failure(() => auditLog(log, { tile: (bytes) => bytes.slice(32) }))).toMatchObject({ code: 'tile' })
  })
})

describe('checkpoints', () => {
  const log = new TestLog()
  log.settle(1, [[{ id: 1 }]])
  log.checkpoint()
  log.settle(2, [[{ id: 1 }]])
  const head = log.checkpoint()
  const other = testKey(log.origin, 9)

  const audited = (size: number, note: Uint8Array) =>
    failure(() => {
      const audit = createAudit({ checkpoint: head, policy: log.policy })
      audit.expect(size, note)
      for (let next = audit.next(); next !== undefined; next = audit.next())
        audit.add(log.entryBundle(next.index, next.width), log.tile(0, next.index, next.width))
      audit.finish()
    })
  const signed = (size: number, root: Uint8Array, key = testKey(), origin = log.origin) =>
    signNote(formatCheckpoint({ origin, size, root, extensions: [] }), [key.signer])

  test('with a root that the tree never had', () => {
    expect(audited(2, signed(2, new Uint8Array(32)))).toMatchObject({
      code: 'consistency',
      where: 'checkpoint of size 2',
    })
  })

  test('that cut a segment', () => {
    const tree = new TestLog()
    tree.append(log.entries.slice(0, 1))
    expect(audited(1, signed(1, tree.tree.root()))).toMatchObject({
      code: 'seal',
      where: 'checkpoint of size 1',
      reason: 'the segment that begins at leaf 0 is not sealed',
    })
  })

  test('by another key, of another size, of another log, or none at all', () => {
    const { root } = createAudit({ checkpoint: head, policy: log.policy }).checkpoint
    expect(audited(4, signed(4, root, other))).toMatchObject({ code: 'untrusted' })
    expect(audited(2, signed(4, root))).toMatchObject({ code: 'consistency' })
    expect(audited(2, utf8('nothing'))).toMatchObject({ code: 'malformed', where: 'checkpoint of size 2' })
    expect(failure(() => createAudit({ checkpoint: signed(4, root, other), policy: log.policy })).code).toBe(
      'untrusted',
    )
    expect(() => createAudit({ checkpoint: utf8('nothing'), policy: log.policy })).toThrow('a note')
    expect(failure(() => auditHead(signed(4, new Uint8Array(32))))).toMatchObject({
      code: 'consistency',
      where: 'checkpoint',
    })
  })

  function auditHead(note: Uint8Array): void {
    drive(createAudit({ checkpoint: note, policy: log.policy }), log, 5)
  }
})

describe('what entries say of each other', () => {
  const leaf = (entry: Uint8Array) =>
    new Uint8Array(createHash('sha256').update(Uint8Array.of(0)).update(entry).digest())
  let salt = 0

  function span(trace: number, id: number, fields: Partial<Entry> = {}): Uint8Array {
    const evidence = new Uint8Array(32).fill(++salt)
    const own = { traceId: traceIdOf(trace), spanId: spanIdOf(id), parent: Parent.root, evidence }
    return encodeEntry({ ...emptyEntry(Kind.span), ...own, ...fields })
  }
  function linked(trace: number, id: number, parent: number, parentLeaf: Uint8Array): Uint8Array {
    return span(trace, id, { parent: Parent.linked, parentSpanId: spanIdOf(parent), parentLeaf })
  }
  function seal(trace: number, leaves: number, segment = 0, previous?: Uint8Array, tenant = ''): Uint8Array {
    const causes: Cause[] =
      previous === undefined ? [] : [{ role: Role.previousSeal, leaf: previous, origin: '' }]
    const claims = new Uint8Array(32).fill(++salt)
    const own = {
      tenant,
      traceId: traceIdOf(trace),
      persistence: Persistence.sealed,
      leaves,
      segment,
      causes,
      claims,
    }
    return encodeEntry({ ...emptyEntry(Kind.persistence), ...own })
  }
  const run = (...entries: Uint8Array[]) => {
    const log = new TestLog()
    log.append(entries)
    return auditLog(log)
  }
  const bad = (...entries: Uint8Array[]) => failure(() => run(...entries))

  const a = span(1, 1)
  const sealA = seal(1, 1)

  test('good ones', () => {
    expect(run(a, linked(1, 2, 1, leaf(a)), seal(1, 2)).links.linked).toBe(1)
    expect(run(a, sealA, linked(1, 2, 1, leaf(a)), seal(1, 1, 1, leaf(sealA))).segments).toBe(2)
    const alone = encodeEntry({ ...emptyEntry(Kind.persistence), persistence: Persistence.keyEpoch })
    expect(run(alone, a, sealA, alone).segments).toBe(1)
  })

  test('links', () => {
    expect(bad(linked(1, 2, 1, leaf(a)), a, seal(1, 2))).toEqual({
      code: 'link',
      where: 'leaf 0',
      reason: 'its parent is no earlier leaf',
    })
    expect(bad(a, linked(1, 2, 3, leaf(a)), seal(1, 2)).reason).toBe(
      'its parent, leaf 0, is the record of another span',
    )
    expect(bad(a, sealA, linked(2, 2, 1, leaf(a)), seal(2, 1)).reason).toBe(
      'its parent, leaf 0, is of another execution',
    )
    const fact = encodeEntry({ ...emptyEntry(Kind.decision), traceId: traceIdOf(1), spanId: spanIdOf(1) })
    expect(bad(fact, linked(1, 2, 1, leaf(fact)), seal(1, 2)).reason).toBe(
      'its parent, leaf 0, is not the record of a span',
    )
    expect(bad(a, sealA, linked(1, 2, 1, leaf(sealA)), seal(1, 1, 1, leaf(sealA))).reason).toBe(
      'its parent, leaf 1, is not the record of a span',
    )
    // The same trace id of another tenant is another trace.
    const acme = span(1, 1, { tenant: 'acme' })
    const sealed = seal(1, 1, 0, undefined, 'acme')
    expect(bad(acme, sealed, linked(1, 2, 1, leaf(acme)), seal(1, 1)).reason).toBe(
      'its parent, leaf 0, is of another execution',
    )
  })

  test('causes', () => {
    const decision = encodeEntry({ ...emptyEntry(Kind.decision), traceId: traceIdOf(1), spanId: spanIdOf(1) })
    const cause = (role: Role, of: Uint8Array, origin = ''): Uint8Array =>
      span(1, 1, { causes: [{ role, leaf: of, origin }] })
    expect(run(decision, cause(Role.decision, leaf(decision)), seal(1, 2)).causes).toBe(1)
    expect(run(a, cause(Role.decision, new Uint8Array(32), 'example.com/other/v0'), seal(1, 2)).causes).toBe(
      1,
    )
    expect(bad(decision, cause(Role.decision, leaf(a)), seal(1, 2)).reason).toBe(
      'its cause 0 is no earlier leaf',
    )
    expect(bad(decision, cause(Role.authorization, leaf(decision)), seal(1, 2)).reason).toBe(
      'its cause 0, leaf 0, is no authorization',
    )
    expect(bad(decision, cause(Role.parent, leaf(decision)), seal(1, 2)).reason).toBe(
      'its cause 0, leaf 0, is no parent',
    )
    expect(bad(decision, cause(Role.previousSeal, leaf(decision)), seal(1, 2)).reason).toBe(
      'its cause 0, leaf 0, is no previousSeal',
    )
    const said = span(1, 1, { parent: Parent.unsaid })
    const names = (trace: number, id: number, of: Uint8Array): Uint8Array =>
      span(trace, id, { causes: [{ role: Role.logRecord, leaf: leaf(of), origin: '' }] })
    expect(run(said, names(1, 1, said), seal(1, 2)).causes).toBe(1)
    expect(bad(said, names(1, 2, said), seal(1, 2)).reason).toBe(
      'its cause 0, leaf 0, is the record of another span',
    )
    expect(bad(said, seal(1, 1), names(2, 1, said), seal(2, 1)).reason).toBe(
      'its cause 0, leaf 0, is of another execution',
    )
    expect(bad(decision, names(1, 1, decision), seal(1, 2)).reason).toBe(
      'its cause 0, leaf 0, is no logRecord',
    )
  })

  test('seals', () => {
    expect(bad(a)).toMatchObject({ code: 'seal', where: 'checkpoint of size 1' })
    expect(bad(a, sealA, span(2, 1))).toMatchObject({
      code: 'seal',
      reason: 'the segment that begins at leaf 2 is not sealed',
    })
    expect(bad(seal(1, 1))).toMatchObject({
      code: 'seal',
      reason: 'it closes 1 leaves, and 0 lie before it since the last seal',
    })
    expect(bad(a, seal(1, 2)).reason).toBe('it closes 2 leaves, and 1 lie before it since the last seal')
    expect(bad(a, span(1, 2), seal(1, 1)).reason).toBe(
      'it closes 1 leaves, and 2 lie before it since the last seal',
    )
    expect(bad(a, seal(2, 1)).reason).toMatch(/^it is of another execution/)
    expect(bad(a, span(2, 1), seal(1, 2)).where).toBe('leaf 1')
    expect(bad(a, seal(1, 1, 0, undefined, 'acme')).reason).toMatch(/^it is of another execution/)
    expect(bad(a, seal(1, 1, 1, leaf(a))).code).toBe('link')
    expect(bad(a, sealA, span(1, 2), seal(1, 1)).reason).toBe(
      'it is of segment 0, and the next one of its trace is 1',
    )
    expect(bad(a, sealA, span(1, 2), seal(1, 1, 2, leaf(sealA))).reason).toBe(
      'it is of segment 2, and the next one of its trace is 1',
    )
    expect(bad(a, sealA, span(1, 2), seal(1, 1, 1)).reason).toBe('it names 0 seals before it')
    expect(bad(a, seal(1, 1, 0, leaf(sealA))).reason).toBe('its cause 0 is no earlier leaf')
    const b = span(2, 1)
    const sealB = seal(2, 1)
    expect(bad(a, sealA, b, sealB, span(1, 2), seal(1, 1, 1, leaf(sealB))).reason).toBe(
      'its cause 0, leaf 3, is of another execution',
    )
    const second = seal(1, 1, 1, leaf(sealA))
    expect(bad(a, sealA, span(1, 2), second, span(1, 3), seal(1, 1, 2, leaf(sealA))).reason).toBe(
      'it does not name the last seal of its trace',
    )
    expect(
      bad(encodeEntry({ ...emptyEntry(Kind.persistence), persistence: Persistence.sealed, leaves: 1 }))
        .reason,
    ).toBe('it is of no trace')
    const alone = encodeEntry({ ...emptyEntry(Kind.persistence), persistence: Persistence.keyEpoch })
    expect(bad(a, alone, sealA).where).toBe('leaf 1')
  })

  test('a newer version could not be checked, which is not the same as bad', () => {
    const newer = Uint8Array.of(0x08, 0x01, ...a)
    expect(() => parseEntry(newer)).toThrow('newer')
    expect(bad(newer)).toMatchObject({ code: 'unsupported', where: 'leaf 0' })
  })
})
