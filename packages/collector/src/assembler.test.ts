import { dataView } from '@rootspan/lineage/bytes'
import { scanTraces } from '@rootspan/lineage/otlp/scan'
import { WireWriter } from '@rootspan/lineage/wire'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeSpan, type SpanSpec, spanHex } from '../../../test/support/executions.ts'
import { Assembler, type AssemblerOptions, type OpenTrace } from './assembler.ts'
import { type Cursor, encodeCursor, parseCursor, START } from './store/cursor.ts'

const LIMITS: AssemblerOptions = { quietMillis: 10, maxAgeMillis: 100, maxSegmentSpans: 6 }

/** A span of a request: its trace, and the rest; `bad` ones have a span id of zeros. */
interface Item extends Omit<SpanSpec, 'id'> {
  readonly trace: number
  readonly id?: number
  readonly bad?: boolean
}

let ids = 1

function bodyOf(items: readonly Item[]): Buffer {
  const scope = new WireWriter(1024)
  for (const { trace, bad, id, ...spec } of items)
    scope.bytes(2, encodeSpan(trace, { ...spec, id: bad ? 0 : (id ?? ids++) }))
  const group = new WireWriter(1024).bytes(2, scope.finish()).finish()
  return Buffer.from(new WireWriter(1024).bytes(1, group).finish())
}

function add(assembler: Assembler, items: readonly Item[], now = 0, tenant = ''): void {
  const body = bodyOf(items)
  const position = assembler.nextPosition
  const frame = { position, seed: Buffer.alloc(32, position), receipt: Buffer.from([position]), body }
  assembler.add(frame, tenant, false, scanTraces(body), now)
}

const nameOf = (trace: OpenTrace): number => Number.parseInt(Buffer.from(trace.id).toString('hex'), 16)
const names = (traces: readonly OpenTrace[]): number[] => traces.map(nameOf)
const source = {
  receipt: new Uint8Array(0),
  seed: new Uint8Array(32),
  body: new Uint8Array(0),
  contexts: new Map(),
}
const open = (assembler: Assembler, trace: number): OpenTrace =>
  assembler.all(0).find((one) => nameOf(one) === trace)!

describe('what a trace holds', () => {
  test('everything that the scan said of its spans, in the order in which they were read', () => {
    const assembler = new Assembler(LIMITS, START)
    const big = 2 ** 53
    const items: Item[] = [
      { trace: 7, id: 0xfedc_ba98, start: 5, end: 9, kind: 5 },
      { trace: 8, id: 2 },
      {
        trace: 7,
        id: big - 1,
        parent: 0xfedc_ba98,
        kind: 3,
        flags: 0x300,
        attributes: { 'governance.x': 1 },
      },
    ]
    const body = bodyOf(items)
    const table = scanTraces(body)
    const ahead = {
      evidence: Uint8Array.from({ length: 96 }, (_, at) => at),
      seeds: new Uint8Array(64),
      seedOf: Uint32Array.of(0, 0, 1),
    }
    const frame = { position: 0, seed: Buffer.alloc(32, 1), receipt: Buffer.from('r'), body }
    assembler.add(frame, '', true, table, 0, ahead)
    add(assembler, [{ trace: 7, id: 3, kind: 2, parent: 9 }])
    const asked: [number, number][] = []
    const spans = assembler.spans(open(assembler, 7), (of, index) => {
      asked.push([of.position, index])
      return source
    })
    const key = (id: number) => Buffer.from(spanHex(id), 'hex').toString('latin1')
    const words = Array.from(table.words)
    expect(spans).toMatchObject([
      {
        index: 0,
        id: key(0xfedc_ba98),
        parent: '',
        kind: 5,
        remote: true,
        governed: false,
        spanStart: words[0],
        spanEnd: words[1],
        startLow: words[9],
        startHigh: words[10],
        endLow: words[11],
        endHigh: words[12],
      },
      {
        index: 2,
        id: key(big - 1),
        parent: key(0xfedc_ba98),
        kind: 3,
        remote: true,
        governed: true,
        spanStart: words[34],
      },
      { index: 0, id: key(3), parent: key(9), remote: true, resourceEnd: 0, scopeEnd: 0 },
    ])
    expect(asked).toEqual([
      [0, 0],
      [0, 2],
      [1, 0],
    ])
    const kept = { ...ahead, evidence: dataView(ahead.evidence) }
    expect(spans.map((span) => span.frame.ahead)).toEqual([kept, kept, undefined])
    expect(spans.map((span) => span.frame.tracked)).toEqual([true, true, false])
    expect(spans[0]!.frame).toMatchObject({ total: 3, undecided: 3 })
  })

  test('tenants never share a trace', () => {
    const assembler = new Assembler(LIMITS, START)
    for (const tenant of ['', 'a', 'b', 'a']) add(assembler, [{ trace: 1 }], 0, tenant)
    expect(assembler.all(0).map(({ tenant, count }) => `${tenant}:${count}`)).toEqual([':1', 'a:2', 'b:1'])
  })

  test('seed and receipt are copied: the buffer that a frame was read into is used again', () => {
    const assembler = new Assembler(LIMITS, START)
    const body = bodyOf([{ trace: 1 }])
    const buffer = Buffer.alloc(33, 5)
    const frame = { position: 0, seed: buffer.subarray(0, 32), receipt: buffer.subarray(32), body }
    assembler.add(frame, '', false, scanTraces(body), 0)
    buffer.fill(9)
    const [span] = assembler.spans(open(assembler, 1), () => source)
    expect([span!.frame.seed[0], span!.frame.receipt[0]]).toEqual([5, 5])
  })

  test.each([5, 100])('parents that are missing, among %i spans', (count) => {
    const assembler = new Assembler(LIMITS, START)
    const chain = Array.from(
      { length: count },
      (_, at): Item => ({ trace: 1, id: 1000 + at, parent: 999 + at }),
    )
    add(assembler, chain.slice(1).reverse())
    const missing = () =>
      assembler.missingParents(open(assembler, 1)).map((id) => Buffer.from(id, 'latin1').toString('hex'))
    expect(missing()).toEqual([spanHex(1000)])
    add(assembler, [
      { trace: 1, id: 5, parent: 77, kind: 2 },
      { trace: 1, id: 6, parent: 78, flags: 0x300 },
    ])
    expect(missing()).toEqual([spanHex(1000)]) // remote ones are not missed
    add(assembler, [
      { trace: 1, id: 1000 },
      { trace: 1, id: 7, parent: 7 },
    ])
    expect(missing()).toEqual([])
    add(assembler, [
      { trace: 1, id: 8, parent: 88 },
      { trace: 1, id: 9, parent: 88 },
    ])
    expect(missing()).toEqual([spanHex(88)])
  })

  test('frames come in order, each once', () => {
    const assembler = new Assembler(LIMITS, { ...START, next: 5 })
    const body = bodyOf([{ trace: 1 }])
    const at = (position: number) => () =>
      assembler.add({ position, seed: body, receipt: body, body }, '', false, scanTraces(body), 0)
    expect(at(4)).toThrow(/^bad journal order/)
    expect(at(6)).toThrow(/^bad journal order/)
    at(5)()
    expect(at(5)).toThrow(/^bad journal order/)
  })

  test('far more spans than it began with room for, decided and used again', () => {
    const assembler = new Assembler({ ...LIMITS, maxSegmentSpans: 1e9 }, START)
    for (let round = 0; round < 3; round++) {
      for (let at = 0; at < 50; at++)
        add(
          assembler,
          Array.from({ length: 600 }, (_, i): Item => ({ trace: 1 + (i % 7), id: 1 + at * 600 + i })),
        )
      const traces = assembler.all(0)
      expect(traces.reduce((sum, { count }) => sum + count, 0)).toBe(30_000)
      for (const trace of traces) {
        const spans = assembler.spans(trace, () => source)
        expect(spans).toHaveLength(trace.count)
        expect(spans.every(({ id }, at) => at === 0 || id > spans[at - 1]!.id)).toBe(true)
        assembler.decide(trace)
      }
      expect([assembler.openSpans, assembler.openTraces, assembler.nextDue()]).toEqual([0, 0, undefined])
      expect(assembler.cursor()).toEqual({ next: (round + 1) * 50, whole: [], partial: new Map() })
    }
  })
})

describe('due', () => {
  test('about as many spans as were asked for, the oldest first', () => {
    const assembler = new Assembler(LIMITS, START)
    for (let trace = 1; trace <= 9; trace++) add(assembler, [{ trace }, { trace }], trace)
    expect(names(assembler.due(50, 5, false).quiet)).toEqual([1, 2, 3])
    expect(names(assembler.due(15, 100, false).quiet)).toEqual([1, 2, 3, 4, 5])
    expect(names(assembler.due(15, 5, true).cut)).toEqual([])
    for (const trace of [2, 4]) assembler.wait(open(assembler, trace))
    expect(names(assembler.due(15, 5, true).cut)).toEqual([2, 4])
    expect(names(assembler.due(15, 1, true).cut)).toEqual([2])
    expect(names(assembler.due(103, 5, false).cut)).toEqual([1, 2, 3])
    expect(assembler.openTraces).toBe(9)
  })

  test('what is full is cut at once, whatever was asked for', () => {
    const assembler = new Assembler(LIMITS, START)
    add(
      assembler,
      Array.from({ length: 8 }, () => ({ trace: 1 })),
    )
    add(assembler, [{ trace: 2 }])
    expect(assembler.nextDue()).toBe(0)
    expect(names(assembler.due(0, 0, false).cut)).toEqual([1])
    expect(assembler.hasFullTraces).toBe(true)
    assembler.decide(open(assembler, 1))
    expect(assembler.hasFullTraces).toBe(false)
    expect(assembler.due(0, 100, false).cut).toEqual([])
    expect(assembler.nextDue()).toBe(10)
  })

  test('so is a trace of 64 MiB: its spans, and resource and scope once for each request and scope', () => {
    const assembler = new Assembler({ ...LIMITS, maxSegmentSpans: 1000 }, START)
    const resource = new WireWriter()
      .bytes(1, new WireWriter().string(1, 'x'.repeat(60_000)).finish())
      .finish()
    const large = new WireWriter(10_000_000)
    for (let at = 0; at < 150; at++) large.raw(resource)
    const scope = new WireWriter()
      .bytes(2, encodeSpan(1, { id: 1 }))
      .bytes(2, encodeSpan(1, { id: 2 }))
      .finish()
    const group = new WireWriter(10_000_000).bytes(1, large.finish()).bytes(2, scope).finish()
    const body = Buffer.from(new WireWriter(10_000_000).bytes(1, group).finish())
    expect(body.length).toBeGreaterThan(9_000_000)
    for (let position = 0; position < 8; position++) {
      expect(assembler.hasFullTraces).toBe(false)
      const frame = { position, seed: Buffer.alloc(32), receipt: Buffer.alloc(0), body }
      assembler.add(frame, '', false, scanTraces(body), 0)
    }
    expect(assembler.hasFullTraces).toBe(true)
    expect(assembler.all(0).map(({ count }) => count)).toEqual([16])
    expect(names(assembler.due(0, 0, false).cut)).toEqual([1])
    assembler.decide(assembler.all(0)[0]!)
    expect(assembler.hasFullTraces).toBe(false)
  })

  test('who waits is due again with a new span, or at its age', () => {
    const assembler = new Assembler(LIMITS, START)
    add(assembler, [{ trace: 1 }], 0)
    assembler.wait(open(assembler, 1))
    assembler.wait(open(assembler, 1))
    expect(assembler.nextDue()).toBe(100)
    expect(assembler.due(99, 100, false)).toEqual({ cut: [], quiet: [] })
    expect(names(assembler.due(100, 100, false).cut)).toEqual([1])
    add(assembler, [{ trace: 1 }], 50)
    expect(assembler.nextDue()).toBe(60)
    expect(names(assembler.due(60, 100, false).quiet)).toEqual([1])
  })
})

// ---- against a model

/** One span of the model's journal. */
interface Place {
  readonly position: number
  readonly index: number
}

type Step =
  | { readonly type: 'receive'; readonly items: readonly Item[] }
  | { readonly type: 'read' }
  | { readonly type: 'tick'; readonly millis: number }
  | { readonly type: 'wait' | 'decide'; readonly which: number }
  | { readonly type: 'commit' }
  | { readonly type: 'restart' }

const item = fc.record({
  trace: fc.integer({ min: 1, max: 5 }),
  bad: fc.integer({ min: 0, max: 7 }).map((one) => one === 0),
})
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ type: fc.constant('receive' as const), items: fc.array(item, { maxLength: 5 }) }),
  },
  { weight: 6, arbitrary: fc.constant({ type: 'read' as const }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('tick' as const), millis: fc.integer({ min: 0, max: 40 }) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('wait' as const), which: fc.nat() }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('decide' as const), which: fc.nat() }) },
  { weight: 3, arbitrary: fc.constant({ type: 'commit' as const }) },
  { weight: 1, arbitrary: fc.constant({ type: 'restart' as const }) },
)

interface ModelTrace {
  spans: Place[]
  since: number
  touched: number
  waiting: boolean
}

/** The journal, what was decided of it, and the assembler's traces, kept the simple way. */
class Model {
  readonly journal: { items: readonly Item[]; body: Buffer }[] = []
  now = 0
  assembler = new Assembler(LIMITS, START)
  /** Positions from `started` up to here were read in this life. */
  read = 0
  #started: Cursor = START
  readonly #traces = new Map<number, ModelTrace>()
  /** Keys of decided spans: now, and as of the last commit. */
  #decided = new Set<string>()
  #committed = new Set<string>()
  #saved = encodeCursor(START)

  run(step: Step): void {
    if (step.type === 'receive') this.journal.push({ items: step.items, body: bodyOf(step.items) })
    else if (step.type === 'read') this.#read()
    else if (step.type === 'tick') this.now += step.millis
    else if (step.type === 'commit') this.#commit()
    else if (step.type === 'restart') this.#restart()
    else {
      const traces = this.assembler.all(0)
      const trace = traces[step.which % traces.length]
      if (trace === undefined) return
      if (step.type === 'wait') {
        this.assembler.wait(trace)
        this.#traces.get(nameOf(trace))!.waiting = true
      } else this.#decide(trace)
    }
    this.#compare()
  }

  /** Reads and decides the rest; every good span was then decided by exactly one commit. */
  finish(): void {
    while (this.read < this.journal.length) this.#read()
    for (const trace of this.assembler.all(0)) this.#decide(trace)
    this.#commit()
    this.#compare()
    const good = this.journal.flatMap(({ items }, position) =>
      items.flatMap(({ bad }, index) => (bad ? [] : [`${position}/${index}`])),
    )
    expect([...this.#committed].sort()).toEqual(good.sort())
    expect(parseCursor(this.#saved)).toEqual({ next: this.journal.length, whole: [], partial: new Map() })
  }

  #read(): void {
    const frame = this.journal[this.read]
    if (frame === undefined) return
    const position = this.read++
    const { body, items } = frame
    const entry = { position, seed: Buffer.alloc(32), receipt: Buffer.alloc(0), body }
    this.assembler.add(entry, '', false, scanTraces(body), this.now)
    for (const [index, { trace: name, bad }] of items.entries()) {
      if (bad || this.#decided.has(`${position}/${index}`)) continue
      let trace = this.#traces.get(name)
      if (trace === undefined) {
        trace = { spans: [], since: this.now, touched: this.now, waiting: false }
        this.#traces.set(name, trace)
      }
      trace.spans.push({ position, index })
      trace.touched = this.now
      trace.waiting = false
    }
  }

  #decide(trace: OpenTrace): void {
    const spans = this.assembler.spans(trace, () => source)
    const expected = this.#traces.get(nameOf(trace))!.spans
    expect(spans.map(({ frame, index }) => ({ position: frame.position, index }))).toEqual(expected)
    for (const { position, index } of expected) {
      const key = `${position}/${index}`
      if (this.#decided.has(key)) throw new Error(`${key} was decided twice`)
      this.#decided.add(key)
    }
    this.assembler.decide(trace)
    this.#traces.delete(nameOf(trace))
  }

  #commit(): void {
    const cursor = this.assembler.cursor()
    expect(cursor).toEqual(this.#expectedCursor())
    this.#saved = encodeCursor(cursor)
    this.#committed = new Set(this.#decided)
  }

  #restart(): void {
    this.#started = parseCursor(this.#saved)
    this.assembler = new Assembler(LIMITS, this.#started)
    this.#decided = new Set(this.#committed)
    this.#traces.clear()
    this.read = this.#started.next
    expect(this.assembler.nextPosition).toBe(this.read)
  }

  #expectedCursor(): Cursor {
    const undecided = (position: number): number =>
      this.journal[position]!.items.filter(
        ({ bad }, index) => !bad && !this.#decided.has(`${position}/${index}`),
      ).length
    let next = this.#started.next
    while (next < this.read && undecided(next) === 0) next++
    const whole: { from: number; count: number }[] = []
    const partial = new Map<number, Uint8Array>()
    const isWhole = (position: number): void => {
      const last = whole.at(-1)
      if (last !== undefined && last.from + last.count === position) last.count++
      else whole.push({ from: position, count: 1 })
    }
    const inStarted = (position: number) =>
      this.#started.whole.some(({ from, count }) => position >= from && position < from + count)
    for (let position = next; position < this.journal.length; position++) {
      if (position >= this.read) {
        if (inStarted(position)) isWhole(position)
        const bits = this.#started.partial.get(position)
        if (bits !== undefined) partial.set(position, bits)
        continue
      }
      const { items } = this.journal[position]!
      if (undecided(position) === 0) isWhole(position)
      else {
        const bits = new Uint8Array(Math.ceil(items.length / 8))
        for (const [index, { bad }] of items.entries())
          if (bad || this.#decided.has(`${position}/${index}`)) bits[index >> 3]! |= 1 << (index & 7)
        if (bits.some((byte) => byte !== 0)) partial.set(position, bits)
      }
    }
    return { next, whole, partial }
  }

  #compare(): void {
    const { assembler, now } = this
    const traces = [...this.#traces]
    expect(assembler.openTraces).toBe(traces.length)
    expect(assembler.openSpans).toBe(traces.reduce((sum, [, { spans }]) => sum + spans.length, 0))
    expect(assembler.nextPosition).toBe(this.read)
    const pick = (test: (trace: ModelTrace) => boolean): number[] =>
      traces.flatMap(([name, trace]) => (test(trace) ? [name] : [])).sort()
    const isFull = ({ spans }: ModelTrace) => spans.length >= LIMITS.maxSegmentSpans
    const isOld = ({ since }: ModelTrace) => since <= now - LIMITS.maxAgeMillis
    const isQuiet = ({ touched, waiting }: ModelTrace) => !waiting && touched <= now - LIMITS.quietMillis
    const due = assembler.due(now, 1e9, false)
    expect(names(due.cut).sort()).toEqual(pick((one) => isFull(one) || isOld(one)))
    expect(names(due.quiet).sort()).toEqual(pick((one) => isQuiet(one) && !isFull(one) && !isOld(one)))
    const pressed = pick((one) => isFull(one) || isOld(one) || one.waiting)
    expect(names(assembler.due(now, 1e9, true).cut).sort()).toEqual(pressed)
    const times = traces.flatMap(([, { since, touched, waiting }]) => [
      since + LIMITS.maxAgeMillis,
      ...(waiting ? [] : [touched + LIMITS.quietMillis]),
    ])
    const full = traces.some(([, trace]) => isFull(trace))
    expect(assembler.nextDue()).toBe(full ? 0 : times.length === 0 ? undefined : Math.min(...times))
  }
}

describe('a trace was due', () => {
  const filled = (): Assembler => {
    const assembler = new Assembler({ quietMillis: 5000, maxAgeMillis: 60_000, maxSegmentSpans: 6 }, START)
    add(assembler, [{ trace: 1 }], 1000)
    add(assembler, [{ trace: 1 }], 2000)
    return assembler
  }
  const dueAt = (traces: readonly OpenTrace[]) => traces.map((trace) => trace.dueAt)

  test('when it had been quiet, though it is looked at later', () => {
    expect(dueAt(filled().due(9000, 1e9, false).quiet)).toEqual([7000])
  })

  test('when it was too old, though it is looked at later', () => {
    expect(dueAt(filled().due(90_000, 1e9, false).cut)).toEqual([61_000])
  })

  test('now, where it is cut before that', () => {
    const assembler = filled()
    assembler.wait(assembler.all(0)[0]!)
    expect(dueAt(assembler.due(9000, 1e9, true).cut)).toEqual([9000])
  })

  test('now, where everything is drained', () => {
    expect(dueAt(filled().all(90_000))).toEqual([90_000])
  })
})

describe('against a model', () => {
  test('any steps, with restarts at any moment: every span is decided by exactly one commit', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const model = new Model()
        for (const one of steps) model.run(one)
        model.finish()
      }),
      { seed: 20260102, numRuns: 400 },
    )
  })
})
