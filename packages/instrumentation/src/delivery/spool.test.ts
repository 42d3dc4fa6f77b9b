import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { mountMemory, tryMount, unmount } from '../../../../test/support/mounts.ts'
import { createLog } from '../log.ts'
import { Orphan } from './orphans.ts'
import type { Source } from './queue.ts'
import type { Encode } from './request.ts'
import { asEnded, type ReadableSpan } from './span.ts'
import { SEGMENT_BYTES, Spool } from './spool.ts'
import { MAGIC } from './spool-file.ts'
import { LEASE_MILLIS, takeLock } from './spool-lock.ts'

const log = createLog('silent')
const A = 'a'.repeat(32)
const B = 'b'.repeat(32)
/** A span's number and name, one a line: requests stay requests when they are put together. */
const encode: Encode = (spans) =>
  Buffer.from(
    (spans as readonly ReadableSpan[])
      .map((one) => `${one.name}${one.attributes['governance.emitter.unfinished'] ? '?' : ''}\n`)
      .join(''),
  )

let directory: string
/** A file system of 8 MiB, where one may be mounted. */
const disk = tryMount('tmpfs', 'a spool on a full disk', () => mountMemory('8m'))

afterAll(() => {
  if (disk !== undefined) unmount(disk)
})

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'rootspan-spool-'))
})

afterEach(() => rmSync(directory, { recursive: true }))

const open = (emitter: string, maxBytes = 64 << 20): Spool =>
  new Spool({ directory, maxBytes, emitter, encode, log })

const adopt = (): Orphan | undefined => Orphan.find(directory, new Set(), log)

/** One that has not ended, as it is kept. */
const unfinished = (id: number, name: string): ReadableSpan =>
  asEnded(span(id, name), { 'governance.emitter.unfinished': true }, [])

function span(id: number, name = `span ${id}`): ReadableSpan {
  const context = { traceId: '1'.repeat(32), spanId: id.toString(16).padStart(16, '0'), traceFlags: 1 }
  return {
    name,
    kind: SpanKind.INTERNAL,
    startTime: [1, 0],
    endTime: [2, 0],
    status: { code: SpanStatusCode.UNSET },
    attributes: {},
    links: [],
    events: [],
    resource: {},
    instrumentationScope: { name: 'test' },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
    spanContext: () => context,
  }
}

/** Names of all that a source has, acknowledged on the way. */
function drain(source: Source, size = 10): string[] {
  const names: string[] = []
  for (let batch = source.next(size); batch !== undefined; batch = source.next(size)) {
    const said = Buffer.from(batch.body()!).toString().trim().split('\n')
    expect(said).toHaveLength(batch.spans)
    names.push(...said)
    source.forget(batch)
  }
  return names
}

/** As after kill -9: the files stay, the lock's holder is gone. */
function die(spool: Spool): void {
  spool.abandon()
  for (const name of readdirSync(directory))
    if (name.endsWith('.lock')) {
      const path = join(directory, name)
      writeFileSync(
        path,
        JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), started: 'another time' }),
      )
    }
}

const files = (): string[] => readdirSync(directory).filter((name) => name.endsWith('.spool'))

test('spans come back in order, are given again until they are forgotten, and leave nothing behind', () => {
  const spool = open(A)
  for (let id = 0; id < 25; id++) expect(spool.add(span(id))).toBe(true)
  expect(spool.waiting).toBe(25)
  expect(Buffer.from(spool.next(2)!.body()!).toString()).toBe('span 0\nspan 1\n')
  expect(Buffer.from(spool.next(1)!.body()!).toString()).toBe('span 0\n')
  expect(drain(spool)).toEqual(Array.from({ length: 25 }, (_, id) => `span ${id}`))
  expect(spool.waiting).toBe(0)
  spool.close()
  expect(readdirSync(directory)).toEqual([])
})

test('what a dead process left is found once, by whoever takes its lock', () => {
  const first = open(A)
  for (let id = 0; id < 3; id++) first.add(span(id))
  expect(adopt()).toBeUndefined()
  die(first)
  const orphan = adopt()!
  expect(orphan.emitter).toBe(A)
  expect(adopt()).toBeUndefined()
  expect(drain(orphan)).toEqual(['span 0', 'span 1', 'span 2'])
  expect(orphan.recovery).toEqual({ emitter: A, spans: 3, unfinished: 0, tornBytes: 0 })
  orphan.finish()
  expect(readdirSync(directory)).toEqual([])
})

test('what is not acknowledged when an adopter ends stays for the next', () => {
  const first = open(A)
  for (let id = 0; id < 3; id++) first.add(span(id))
  first.close()
  const orphan = adopt()!
  orphan.forget(orphan.next(1)!)
  orphan.abandon()
  expect(drain(adopt()!)).toEqual(['span 0', 'span 1', 'span 2'])
})

test('a span that has not ended is sent as it was last; one that has ended is not sent twice', () => {
  const spool = open(A)
  spool.keep(unfinished(1, 'open early'))
  spool.keep(unfinished(2, 'ends'))
  spool.keep(unfinished(1, 'open late'))
  spool.add(span(2, 'ended'))
  expect(drain(spool)).toEqual(['ended'])
  die(spool)
  const orphan = adopt()!
  expect(drain(orphan)).toEqual(['open late?', 'ended'])
  expect(orphan.recovery).toMatchObject({ spans: 2, unfinished: 1 })
})

test('an open span outlives the file that it was kept in', () => {
  const spool = open(A)
  spool.keep(unfinished(0, 'long'))
  const large = 'x'.repeat(1 << 20)
  for (let id = 1; id < 10; id++) spool.add(span(id, large))
  expect(files().length).toBeGreaterThan(2)
  expect(drain(spool)).toHaveLength(9)
  expect(files()).toHaveLength(1)
  die(spool)
  expect(drain(adopt()!).filter((name) => name !== large)).toEqual(['long?'])
})

test.each([1, 8, 9, 20, 40])(
  'a last frame that lacks %i bytes is cut, and what is before it is there',
  (missing) => {
    const spool = open(A)
    spool.add(span(0))
    const { size } = statSync(join(directory, files()[0]!))
    spool.add(span(1))
    die(spool)
    const path = join(directory, files()[0]!)
    const whole = statSync(path).size
    truncateSync(path, whole - missing)
    const orphan = adopt()!
    expect(drain(orphan)).toEqual(['span 0'])
    expect(orphan.recovery.tornBytes).toBe(Math.max(0, whole - missing - size))
    expect(statSync(path).size).toBe(size)
  },
)

test('every byte that is changed is noticed: the frames before it come out, and no other', () => {
  const spool = open(A)
  for (let id = 0; id < 3; id++) spool.add(span(id))
  die(spool)
  const path = join(directory, files()[0]!)
  const good = readFileSync(path)
  const all = ['span 0', 'span 1', 'span 2']
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good)
    bad[at]! ^= 0x40
    writeFileSync(path, bad)
    const orphan = adopt()!
    const found = drain(orphan)
    expect(found.length, `byte ${at}`).toBeLessThan(3)
    expect(found).toEqual(all.slice(0, found.length))
    orphan.abandon()
  }
})

test('noise behind the last frame is cut', () => {
  const spool = open(A)
  spool.add(span(0))
  die(spool)
  appendFileSync(join(directory, files()[0]!), Buffer.alloc(1000))
  const orphan = adopt()!
  expect(drain(orphan)).toEqual(['span 0'])
  expect(orphan.recovery.tornBytes).toBe(1000)
})

test('full: the oldest stay, the newest are refused, but for the last word; room comes back', () => {
  const spool = open(A, 1 << 20)
  const accepted: number[] = []
  for (let id = 0; id < 40; id++) if (spool.add(span(id, `${id} ${'x'.repeat(50_000)}`))) accepted.push(id)
  expect(accepted).toEqual(Array.from({ length: accepted.length }, (_, id) => id))
  expect(accepted.length).toBe(20)
  const size = files().reduce((sum, name) => sum + statSync(join(directory, name)).size, 0)
  expect(size).toBeLessThanOrEqual(1 << 20)
  expect(spool.add(span(99, 'goodbye'), true)).toBe(true)
  expect(drain(spool, 5)).toHaveLength(21)
  // A whole file's worth was sent: it is replaced, and its room is free.
  expect(spool.add(span(100, 'x'.repeat(50_000)))).toBe(true)
  spool.close()
})

test('what others have in the directory counts', () => {
  const first = open(A, 2 << 20)
  first.add(span(0, 'x'.repeat(1 << 20)))
  const second = open(B, 2 << 20)
  expect(second.add(span(1, 'x'.repeat(1 << 20)))).toBe(false)
  expect(second.add(span(1, 'small'))).toBe(true)
  drain(first)
  first.close()
  vi.setSystemTime(Date.now() + 60_000)
  expect(second.add(span(2, 'x'.repeat(1 << 20)))).toBe(true)
  vi.useRealTimers()
  second.close()
})

describe.skipIf(disk === undefined)('on a disk of 8 MiB', () => {
  const filler = () => join(directory, 'filler')

  beforeEach(() => {
    rmSync(directory, { recursive: true })
    directory = disk!
    for (const name of readdirSync(disk!)) rmSync(join(disk!, name))
  })

  // The directory is a mount: what is above empties it, and `afterAll` takes it away.
  afterEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'rootspan-spool-'))
  })

  /** Leaves so many bytes free, by whole blocks. */
  function fill(left: number): void {
    const { bavail, bsize } = statfsSync(disk!)
    writeFileSync(filler(), Buffer.alloc(Math.max(0, bavail * bsize - left)))
  }

  test.each([
    ['in the middle of a file', 0, 64 << 10],
    ['where a file ends and the next cannot begin', SEGMENT_BYTES - 10_000, 0],
  ])(
    'that is full %s: refused and not thrown, nothing half written, and room comes back',
    (_, before, left) => {
      const spool = open(A)
      const accepted: string[] = []
      const add = (id: number, size: number): boolean => {
        const name = `${id} ${'x'.repeat(size)}`
        const isAccepted = spool.add(span(id, name))
        if (isAccepted) accepted.push(name)
        return isAccepted
      }
      if (before > 0) expect(add(0, before)).toBe(true)
      fill(left)
      const answers = Array.from({ length: 60 }, (_, id) => add(id + 1, 20_000))
      expect(answers).toContain(false)
      spool.keep(unfinished(200, 'y'.repeat(100_000)))
      expect(spool.add(span(201, 'z'.repeat(100_000)), true)).toBe(false)
      rmSync(filler())
      expect(add(300, 20_000)).toBe(true)
      spool.keep(unfinished(301, 'open'))
      die(spool)
      const orphan = adopt()!
      expect(drain(orphan)).toEqual([...accepted, 'open?'])
      expect(orphan.recovery).toMatchObject({ tornBytes: 0, unfinished: 1 })
      orphan.finish()
      expect(readdirSync(directory)).toEqual([])
    },
  )

  test('that is full when all was sent: the file stays, and takes the next', () => {
    const spool = open(A)
    for (let id = 0; id < 30; id++) expect(spool.add(span(id, 'x'.repeat(50_000)))).toBe(true)
    fill(0)
    expect(drain(spool)).toHaveLength(30)
    rmSync(filler())
    expect(spool.add(span(31, 'after'))).toBe(true)
    expect(drain(spool)).toEqual(['after'])
    spool.close()
    expect(readdirSync(directory)).toEqual([])
  })
})

test('after a loss of power any part of the newest file is enough for what was whole in it', () => {
  const spool = open(A)
  const ends = [MAGIC.length]
  for (let id = 0; id < 4; id++) {
    spool.add(span(id, `span ${id} ${'x'.repeat(id * 7)}`))
    ends.push(statSync(join(directory, files()[0]!)).size)
  }
  die(spool)
  const path = join(directory, files()[0]!)
  const good = readFileSync(path)
  for (const rest of ['gone', 'zeros'] as const)
    for (let length = 0; length <= good.length; length++) {
      const left = good.subarray(0, length)
      writeFileSync(path, rest === 'gone' ? left : Buffer.concat([left, Buffer.alloc(good.length - length)]))
      const orphan = adopt()!
      const whole = ends.filter((end) => end <= length).length - 1
      expect(
        drain(orphan).map((name) => name.split(' ')[1]),
        `${length}, ${rest}`,
      ).toEqual(['0', '1', '2', '3'].slice(0, Math.max(0, whole)))
      const kept = whole < 0 ? 0 : ends[whole]!
      expect(orphan.recovery.tornBytes).toBe((rest === 'gone' ? length : good.length) - kept)
      expect(statSync(path).size).toBe(kept)
      orphan.abandon()
    }
})

test('a span larger than a file has one of its own', () => {
  const spool = open(A)
  const name = 'x'.repeat(SEGMENT_BYTES + 10)
  spool.add(span(0))
  expect(spool.add(span(1, name))).toBe(true)
  expect(spool.add(span(2, 'x'.repeat(17 << 20)))).toBe(false)
  spool.add(span(3))
  expect(drain(spool).map((one) => one.length)).toEqual([6, name.length, 6])
  spool.close()
})

test('a lock is for one; a holder elsewhere has it until its lease runs out, and then finds out', () => {
  const held = takeLock(directory, A)!
  expect(takeLock(directory, A)).toBeUndefined()
  const [name] = readdirSync(directory)
  const path = join(directory, name!)
  writeFileSync(path, JSON.stringify({ pid: 1, started: '1', world: 'another machine' }))
  expect(held.renew()).toBe(true)
  expect(takeLock(directory, A)).toBeUndefined()
  const past = new Date(Date.now() - LEASE_MILLIS - 1000)
  utimesSync(path, past, past)
  const taken = takeLock(directory, A)!
  expect(taken.renew()).toBe(true)
  expect(held.renew()).toBe(false)
  taken.release()
  expect(readdirSync(directory)).toEqual([])
})
