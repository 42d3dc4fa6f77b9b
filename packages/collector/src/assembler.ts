/**
 * Gathers spans by trace until they settle.
 *
 * Holds references and never payloads: 76 bytes a span and 80 a trace in typed arrays, one object a journal frame, and
 * what was computed of the frame ahead. It is bounded by its owner, who stops feeding it at `maxOpenSpans`. Everything in it can be made
 * again from the journal: it is never saved.
 */

import { dataView } from '@rootspan/lineage/bytes'
import { LOG_RECORD } from '@rootspan/lineage/otlp/log-record'
import {
  END_HIGH,
  END_LOW,
  FAULT,
  FLAGS,
  GOVERNED,
  KIND,
  LOG,
  MARKS,
  PARENT_ID,
  RESOURCE_END,
  RESOURCE_START,
  SCOPE_END,
  SCOPE_START,
  SPAN_END,
  SPAN_ID,
  SPAN_START,
  type SpanTable,
  START_HIGH,
  START_LOW,
  TRACE_ID,
  WORDS_PER_SPAN,
} from '@rootspan/lineage/otlp/scan'
import { isParentRemote, type Source, type SpanInput } from '@rootspan/lineage/record/order'
import type { Ahead } from './ahead.ts'
import type { Frame } from './journal/frame.ts'
import {
  BY_AGE,
  BY_TOUCH,
  BY_WAIT,
  BYTES,
  COUNT,
  HEAD,
  LAST_CONTEXT,
  LAST_FRAME,
  MARKS_OF,
  NONE,
  OpenTraces,
  SINCE,
  TAIL,
  TIMES,
  TOUCHED,
  TRACE_WORDS,
} from './open-traces.ts'
import type { Cursor } from './store/cursor.ts'

/** A journal frame that still holds undecided spans, or lies behind one that does. */
export interface OpenFrame {
  readonly position: number
  readonly seed: Uint8Array
  readonly receipt: Uint8Array
  /** The sender asked for a durability receipt. */
  readonly tracked: boolean
  /** Spans in the request, bad ones included. */
  readonly total: number
  undecided: number
  /** One bit a span; undefined while none is decided. */
  decided: Uint8Array | undefined
  /** Context digests of its spans (record/order.ts). */
  readonly contexts: Map<number, Uint8Array>
  /** What was computed of it ahead (ahead.ts), if anything was. */
  readonly ahead: (Pick<Ahead, 'seeds' | 'seedOf'> & { readonly evidence: DataView }) | undefined
}

/** What the assembler looks at of a frame of the journal. */
export type TakenFrame = Pick<Frame, 'position' | 'seed' | 'receipt' | 'body'>

/** An open trace as it was when it was asked for, good until it is decided. */
export interface OpenTrace {
  readonly row: number
  readonly tenant: string
  /** 16 bytes. */
  readonly id: Uint8Array
  /** Spans of it. */
  readonly count: number
  /**
   * When it became due, however long nobody had time for it: milliseconds, monotonic. Size, pressure and a shutdown make
   * it due at once.
   */
  readonly dueAt: number
}

/** One open span, as the derivation takes it, and where it came from. */
export interface OpenSpan extends SpanInput {
  readonly frame: OpenFrame
  readonly endHigh: number
  readonly endLow: number
}

const WORDS = 19
const NEXT = 0
const FRAME = 1
const INDEX = 2
const ROW = 3 // of the scan: byte ranges
const ID = 9
const PARENT = 11
const START = 13
const END = 15
const SPAN_KIND = 17
const BITS = 18

const HAS_PARENT = 1
const REMOTE = 2
const IS_GOVERNED = 4
const IS_LOG = 8

/** Marks of a trace: it has grown to a limit. */
const FULL = 1
/** It was looked at when quiet, and a parent was missing: it waits for spans or for its maximum age. */
const WAITING = 2
/** It is in the commit under way: not due before that is durable. */
const HELD = 4
/** It is in the list that is being made. */
const LISTED = 8

export interface AssemblerOptions {
  /** Milliseconds without a new span after which a whole trace settles. */
  readonly quietMillis: number
  /** Milliseconds after its first span at which a trace is cut into a segment. */
  readonly maxAgeMillis: number
  /** A trace that holds this many spans is cut. */
  readonly maxSegmentSpans: number
}

export class Assembler {
  readonly #options: AssemblerOptions
  readonly #traces = new OpenTraces()
  #openTraces = 0
  /** Spans of the open traces, each trace's a list. */
  #arena = new Uint32Array(WORDS * 16_384)
  #used = 0
  #free = END_OF_LIST
  #open = 0
  /** Frames from the first undecided one on, dense by position. */
  #frames: OpenFrame[] = []
  #firstFrame: number
  /** Traces that have grown to the limit. */
  #full: number[] = []
  /** What a restart has to skip; empty once the cursor's window was read again. */
  readonly #resume: Map<number, Uint8Array | 'whole'>

  constructor(options: AssemblerOptions, cursor: Cursor) {
    this.#options = options
    this.#firstFrame = cursor.next
    this.#resume = new Map<number, Uint8Array | 'whole'>(cursor.partial)
    for (const { from, count } of cursor.whole)
      for (let at = from; at < from + count; at++) this.#resume.set(at, 'whole')
  }

  get openSpans(): number {
    return this.#open
  }

  /** Whether a trace has grown to a limit. Until it was cut, no more may be read, so that its payload fits a block. */
  get hasFullTraces(): boolean {
    return this.#full.length > 0
  }

  get openTraces(): number {
    return this.#openTraces
  }

  /** Position that the next frame must have. */
  get nextPosition(): number {
    return this.#firstFrame + this.#frames.length
  }

  /**
   * Takes the spans of the next frame. `seed` and `receipt` are kept, `body` and `table` are not. Bad spans
   * are decided by being bad.
   */
  add(
    frame: TakenFrame,
    tenant: string,
    tracked: boolean,
    table: SpanTable,
    now: number,
    ahead?: Pick<Ahead, 'evidence' | 'seeds' | 'seedOf'>,
  ): void {
    if (frame.position !== this.nextPosition)
      throw new Error('bad journal order: a frame is missing or comes twice')
    const resumed = this.#resume.get(frame.position)
    this.#resume.delete(frame.position)
    const open: OpenFrame = {
      position: frame.position,
      seed: new Uint8Array(frame.seed),
      receipt: new Uint8Array(frame.receipt),
      tracked,
      total: table.count,
      undecided: 0,
      decided: undefined,
      contexts: new Map(),
      // Without the rows of the scan, which are not needed again.
      ahead: ahead && { evidence: dataView(ahead.evidence), seeds: ahead.seeds, seedOf: ahead.seedOf },
    }
    this.#frames.push(open)
    if (resumed === 'whole') {
      this.#advance()
      return
    }
    const { words } = table
    const body = new Uint8Array(frame.body.buffer, frame.body.byteOffset, frame.body.byteLength)
    const number = this.#traces.tenant(tenant)
    let trace = NONE
    let a = 0
    let b = 0
    let c = 0
    let d = 0
    for (let index = 0, row = 0; index < table.count; index++, row += WORDS_PER_SPAN) {
      const known = resumed !== undefined && (resumed[index >> 3]! & (1 << (index & 7))) !== 0
      if (known || words[row + FAULT] !== 0) {
        this.#mark(open, index)
        continue
      }
      const at = words[row + TRACE_ID]!
      const a1 = word(body, at)
      const b1 = word(body, at + 4)
      const c1 = word(body, at + 8)
      const d1 = word(body, at + 12)
      if (trace === NONE || d !== d1 || c !== c1 || b !== b1 || a !== a1) {
        trace = this.#trace(number, a1, b1, c1, d1, now)
        a = a1
        b = b1
        c = c1
        d = d1
      }
      this.#put(trace, open, index, body, words, row)
    }
    this.#advance()
  }

  /** The row of a trace that gets a span. */
  #trace(tenant: number, a: number, b: number, c: number, d: number, now: number): number {
    const traces = this.#traces
    let trace = traces.find(tenant, a, b, c, d)
    if (trace === NONE) trace = traces.add(tenant, a, b, c, d)
    const { rows, times } = traces
    const at = trace * TRACE_WORDS
    if (rows[at + COUNT] === 0) {
      times[trace * TIMES + SINCE] = now
      times[trace * TIMES + TOUCHED] = now
      traces.append(BY_TOUCH, trace)
      traces.append(BY_AGE, trace)
      this.#openTraces++
      return trace
    }
    const isWaiting = (rows[at + MARKS_OF]! & WAITING) !== 0
    if (times[trace * TIMES + TOUCHED] === now && !isWaiting) return trace
    times[trace * TIMES + TOUCHED] = now
    if (isWaiting) rows[at + MARKS_OF]! &= ~WAITING
    traces.unlink(isWaiting ? BY_WAIT : BY_TOUCH, trace)
    traces.append(BY_TOUCH, trace)
    return trace
  }

  #put(
    trace: number,
    frame: OpenFrame,
    index: number,
    body: Uint8Array,
    words: Uint32Array,
    row: number,
  ): void {
    const slot = this.#slot()
    const arena = this.#arena
    const at = slot * WORDS
    arena[at + NEXT] = END_OF_LIST
    arena[at + FRAME] = frame.position - Math.floor(frame.position / POSITIONS) * POSITIONS
    arena[at + INDEX] = index
    arena[at + ROW] = words[row + SPAN_START]!
    arena[at + ROW + 1] = words[row + SPAN_END]!
    arena[at + ROW + 2] = words[row + RESOURCE_START]!
    arena[at + ROW + 3] = words[row + RESOURCE_END]!
    arena[at + ROW + 4] = words[row + SCOPE_START]!
    arena[at + ROW + 5] = words[row + SCOPE_END]!
    copyId(body, words[row + SPAN_ID]!, arena, at + ID)
    const parent = words[row + PARENT_ID]!
    if (parent !== 0) copyId(body, parent, arena, at + PARENT)
    arena[at + START] = words[row + START_HIGH]!
    arena[at + START + 1] = words[row + START_LOW]!
    arena[at + END] = words[row + END_HIGH]!
    arena[at + END + 1] = words[row + END_LOW]!
    const kind = words[row + KIND]!
    const isLog = (words[row + MARKS]! & LOG) !== 0
    arena[at + SPAN_KIND] = kind
    arena[at + BITS] =
      (parent === 0 ? 0 : HAS_PARENT) |
      (!isLog && isParentRemote(words[row + FLAGS]!, kind) ? REMOTE : 0) |
      ((words[row + MARKS]! & GOVERNED) === 0 ? 0 : IS_GOVERNED) |
      (isLog ? IS_LOG : 0)
    const { rows } = this.#traces
    const of = trace * TRACE_WORDS
    const isFirst = rows[of + COUNT] === 0
    if (isFirst) rows[of + HEAD] = slot
    else arena[rows[of + TAIL]! * WORDS + NEXT] = slot
    rows[of + TAIL] = slot
    rows[of + COUNT]! += 1
    let bytes = rows[of + BYTES]! + words[row + SPAN_END]! - words[row + SPAN_START]!
    const scope = words[row + SCOPE_START]!
    const resource = words[row + RESOURCE_START]!
    const context = words[row + SCOPE_END] === 0 ? -1 - resource : scope
    const position = frame.position | 0
    if (isFirst || rows[of + LAST_FRAME] !== position || rows[of + LAST_CONTEXT] !== context) {
      rows[of + LAST_FRAME] = position
      rows[of + LAST_CONTEXT] = context
      bytes += words[row + SCOPE_END]! - scope + words[row + RESOURCE_END]! - resource + ROW_BYTES
    }
    rows[of + BYTES] = Math.min(bytes, MOST_BYTES)
    if (
      (rows[of + MARKS_OF]! & FULL) === 0 &&
      (rows[of + COUNT]! >= this.#options.maxSegmentSpans || bytes >= MAX_SEGMENT_BYTES)
    ) {
      rows[of + MARKS_OF]! |= FULL
      this.#full.push(trace)
    }
    frame.undecided++
    this.#open++
  }

  /** A free slot of the arena; the arena doubles when there is none. */
  #slot(): number {
    if (this.#free !== END_OF_LIST) {
      const slot = this.#free
      this.#free = this.#arena[slot * WORDS]!
      return slot
    }
    if ((this.#used + 1) * WORDS > this.#arena.length) {
      const grown = new Uint32Array(this.#arena.length * 2)
      grown.set(this.#arena)
      this.#arena = grown
    }
    return this.#used++
  }

  /**
   * Traces at their maximum age or size, then quiet ones, up to about `maxSpans` spans. They stay open. Under
   * `pressure`, when there is no room for more, those that wait for a parent are due as well.
   */
  due(now: number, maxSpans: number, pressure: boolean): { cut: OpenTrace[]; quiet: OpenTrace[] } {
    const traces = this.#traces
    const { rows, times } = traces
    const cut: OpenTrace[] = []
    const quiet: OpenTrace[] = []
    let spans = 0
    const list = (trace: number, into: OpenTrace[]): void => {
      const at = trace * TRACE_WORDS
      if ((rows[at + MARKS_OF]! & (HELD | LISTED)) !== 0) return
      if (into === cut) rows[at + MARKS_OF]! |= LISTED
      spans += rows[at + COUNT]!
      const limit =
        into === cut
          ? times[trace * TIMES + SINCE]! + this.#options.maxAgeMillis
          : times[trace * TIMES + TOUCHED]! + this.#options.quietMillis
      into.push(this.#view(trace, Math.min(now, limit)))
    }
    for (const trace of this.#full) list(trace, cut)
    const old = now - this.#options.maxAgeMillis
    const still = now - this.#options.quietMillis
    let trace = traces.first(BY_AGE)
    for (; trace !== NONE && spans < maxSpans; trace = traces.next(BY_AGE, trace)) {
      if (times[trace * TIMES + SINCE]! > old) break
      list(trace, cut)
    }
    trace = pressure ? traces.first(BY_WAIT) : NONE
    for (; trace !== NONE && spans < maxSpans; trace = traces.next(BY_WAIT, trace)) list(trace, cut)
    trace = traces.first(BY_TOUCH)
    for (; trace !== NONE && spans < maxSpans; trace = traces.next(BY_TOUCH, trace)) {
      if (times[trace * TIMES + TOUCHED]! > still) break
      list(trace, quiet)
    }
    for (const { row } of cut) rows[row * TRACE_WORDS + MARKS_OF]! &= ~LISTED
    return { cut, quiet }
  }

  #view(row: number, dueAt: number): OpenTrace {
    const traces = this.#traces
    return {
      row,
      tenant: traces.tenantOf(row),
      id: traces.idOf(row),
      count: traces.rows[row * TRACE_WORDS + COUNT]!,
      dueAt,
    }
  }

  /** All open traces that are not held, the oldest first, as due now: for the drain at shutdown. */
  all(now: number): OpenTrace[] {
    const traces = this.#traces
    const all: OpenTrace[] = []
    for (let row = traces.first(BY_AGE); row !== NONE; row = traces.next(BY_AGE, row))
      if ((traces.rows[row * TRACE_WORDS + MARKS_OF]! & HELD) === 0) all.push(this.#view(row, now))
    return all
  }

  /** Holds a trace: what comes of it from now on is not due before it is released. */
  hold({ row }: Pick<OpenTrace, 'row'>): void {
    this.#traces.rows[row * TRACE_WORDS + MARKS_OF]! |= HELD
  }

  /** Holds a trace of which nothing is open and that is not held; undefined where that is not so. */
  holdClosed(tenant: string, id: Uint8Array): Pick<OpenTrace, 'row'> | undefined {
    const traces = this.#traces
    const number = traces.tenant(tenant)
    const [a, b, c, d] = [word(id, 0), word(id, 4), word(id, 8), word(id, 12)]
    if (traces.find(number, a, b, c, d) !== NONE) return undefined
    const held = { row: traces.add(number, a, b, c, d) }
    this.hold(held)
    return held
  }

  release(held: readonly Pick<OpenTrace, 'row'>[]): void {
    const traces = this.#traces
    for (const { row } of held) {
      traces.rows[row * TRACE_WORDS + MARKS_OF]! &= ~HELD
      if (traces.rows[row * TRACE_WORDS + COUNT] === 0) traces.remove(row)
    }
  }

  /** When `due` may next have something, in milliseconds of the caller's clock; undefined when nothing is open. */
  nextDue(): number | undefined {
    if (this.#full.length > 0) return 0
    const { times } = this.#traces
    const oldest = this.#traces.first(BY_AGE)
    const quietest = this.#traces.first(BY_TOUCH)
    const age = oldest === NONE ? undefined : times[oldest * TIMES + SINCE]! + this.#options.maxAgeMillis
    const quiet =
      quietest === NONE ? undefined : times[quietest * TIMES + TOUCHED]! + this.#options.quietMillis
    return age === undefined ? quiet : quiet === undefined ? age : Math.min(age, quiet)
  }

  /** The trace is quiet and not whole: it is not due again before a new span or its maximum age. */
  wait({ row }: OpenTrace): void {
    const { rows } = this.#traces
    const at = row * TRACE_WORDS + MARKS_OF
    if ((rows[at]! & WAITING) !== 0) return
    this.#traces.unlink(BY_TOUCH, row)
    this.#traces.append(BY_WAIT, row)
    rows[at]! |= WAITING
  }

  /** Parents that should be in the trace and are not there. Costs one pass over its spans. */
  missingParents(trace: OpenTrace): string[] {
    if (trace.count <= FEW && this.#hasAllParents(trace)) return []
    const ids = new Set<string>()
    const parents = new Set<string>()
    for (let slot = this.#head(trace); slot !== END_OF_LIST; slot = this.#arena[slot * WORDS + NEXT]!) {
      const at = slot * WORDS
      ids.add(this.#id(at + ID))
      const bits = this.#arena[at + BITS]!
      if ((bits & HAS_PARENT) !== 0 && (bits & REMOTE) === 0) parents.add(this.#id(at + PARENT))
    }
    return [...parents].filter((id) => !ids.has(id))
  }

  /** The same for a small trace, by comparing numbers: most traces are small and whole. */
  #hasAllParents(trace: OpenTrace): boolean {
    const arena = this.#arena
    const head = this.#head(trace)
    for (let slot = head; slot !== END_OF_LIST; slot = arena[slot * WORDS + NEXT]!) {
      const at = slot * WORDS
      const bits = arena[at + BITS]!
      if ((bits & HAS_PARENT) === 0 || (bits & REMOTE) !== 0) continue
      let other = head
      while (
        other !== END_OF_LIST &&
        (arena[other * WORDS + ID] !== arena[at + PARENT] ||
          arena[other * WORDS + ID + 1] !== arena[at + PARENT + 1])
      )
        other = arena[other * WORDS + NEXT]!
      if (other === END_OF_LIST) return false
    }
    return true
  }

  #head({ row }: OpenTrace): number {
    return this.#traces.rows[row * TRACE_WORDS + HEAD]!
  }

  /**
   * The spans of a trace, in the order in which they were read. `sourceOf` is asked once a span, with the span's
   * place in its request.
   */
  spans(trace: OpenTrace, sourceOf: (frame: OpenFrame, index: number) => Source): OpenSpan[] {
    const spans: OpenSpan[] = []
    const arena = this.#arena
    for (let slot = this.#head(trace); slot !== END_OF_LIST; slot = arena[slot * WORDS + NEXT]!) {
      const at = slot * WORDS
      const bits = arena[at + BITS]!
      const frame = this.#frameOf(arena[at + FRAME]!)
      const index = arena[at + INDEX]!
      spans.push({
        frame,
        source: sourceOf(frame, index),
        index,
        spanStart: arena[at + ROW]!,
        spanEnd: arena[at + ROW + 1]!,
        resourceStart: arena[at + ROW + 2]!,
        resourceEnd: arena[at + ROW + 3]!,
        scopeStart: arena[at + ROW + 4]!,
        scopeEnd: arena[at + ROW + 5]!,
        id: this.#id(at + ID),
        parent: (bits & HAS_PARENT) === 0 ? '' : this.#id(at + PARENT),
        startHigh: arena[at + START]!,
        startLow: arena[at + START + 1]!,
        endHigh: arena[at + END]!,
        endLow: arena[at + END + 1]!,
        kind: (bits & IS_LOG) === 0 ? arena[at + SPAN_KIND]! : LOG_RECORD,
        remote: (bits & REMOTE) !== 0,
        governed: (bits & IS_GOVERNED) !== 0,
      })
    }
    return spans
  }

  /** Takes a trace out: its spans are decided by the commit that is being made. Tells the frames that it was the last of. */
  decide(trace: OpenTrace, onDone?: (frame: OpenFrame) => void): void {
    const traces = this.#traces
    const { rows } = traces
    const { row } = trace
    let slot = this.#head(trace)
    while (slot !== END_OF_LIST) {
      const at = slot * WORDS
      const next = this.#arena[at + NEXT]!
      const frame = this.#frameOf(this.#arena[at + FRAME]!)
      frame.undecided--
      if (frame.undecided === 0) onDone?.(frame)
      this.#mark(frame, this.#arena[at + INDEX]!)
      this.#arena[at + NEXT] = this.#free
      this.#free = slot
      slot = next
    }
    const at = row * TRACE_WORDS
    const marks = rows[at + MARKS_OF]!
    this.#open -= rows[at + COUNT]!
    this.#openTraces--
    traces.unlink((marks & WAITING) === 0 ? BY_TOUCH : BY_WAIT, row)
    traces.unlink(BY_AGE, row)
    if ((marks & FULL) !== 0) this.#full.splice(this.#full.indexOf(row), 1)
    rows[at + COUNT] = 0
    rows[at + BYTES] = 0
    rows[at + MARKS_OF] = marks & ~(WAITING | FULL)
    if ((marks & HELD) === 0) traces.remove(row)
  }

  /** The cursor after everything decided so far. Costs one look at each frame that is not dropped. */
  cursor(): Cursor {
    this.#advance()
    const whole: { from: number; count: number }[] = []
    const partial = new Map<number, Uint8Array>()
    const isWhole = (position: number): void => {
      const last = whole.at(-1)
      if (last !== undefined && last.from + last.count === position) last.count++
      else whole.push({ from: position, count: 1 })
    }
    for (const frame of this.#frames) {
      if (frame.undecided === 0) isWhole(frame.position)
      else if (frame.decided !== undefined) partial.set(frame.position, frame.decided.slice())
    }
    // Positions that a restart has not read again yet are as the cursor said that it began with.
    for (const [position, bits] of this.#resume)
      if (bits === 'whole') isWhole(position)
      else partial.set(position, bits)
    return { next: this.#firstFrame, whole, partial }
  }

  #mark(frame: OpenFrame, index: number): void {
    frame.decided ??= new Uint8Array(Math.ceil(frame.total / 8))
    frame.decided[index >> 3]! |= 1 << (index & 7)
  }

  #advance(): void {
    let done = 0
    while (done < this.#frames.length && this.#frames[done]!.undecided === 0) done++
    if (done === 0) return
    this.#frames.splice(0, done)
    this.#firstFrame += done
  }

  /** Frames are found by the low bits of their position: all open ones lie within less than POSITIONS. */
  #frameOf(low: number): OpenFrame {
    const base = this.#firstFrame - (this.#firstFrame % POSITIONS)
    const position = base + low >= this.#firstFrame ? base + low : base + POSITIONS + low
    return this.#frames[position - this.#firstFrame]!
  }

  /** A span id of the arena as 8 characters of one byte each. */
  #id(at: number): string {
    const high = this.#arena[at]!
    const low = this.#arena[at + 1]!
    return String.fromCharCode(
      high >>> 24,
      (high >>> 16) & 255,
      (high >>> 8) & 255,
      high & 255,
      low >>> 24,
      (low >>> 16) & 255,
      (low >>> 8) & 255,
      low & 255,
    )
  }
}

/**
 * A trace with this many bytes is cut: a segment's payload is one block of a pack. Another request may come on top
 * of it before that is seen, with as many bytes, and both fit a block together.
 */
const MAX_SEGMENT_BYTES = 64 * 1024 * 1024
/** What a payload holds of a request beside resource and scope, about. */
const ROW_BYTES = 128

/** More than a trace has before it is cut, and what a row has room for. */
const MOST_BYTES = 0x7fff_ffff

const END_OF_LIST = 0xffff_ffff
/** Up to this many spans, comparing each with each is cheaper than making keys. */
const FEW = 32
const POSITIONS = 0x1_0000_0000

/** Four bytes, big-endian. */
function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
}

function copyId(body: Uint8Array, from: number, arena: Uint32Array, at: number): void {
  arena[at] = word(body, from)
  arena[at + 1] = word(body, from + 4)
}
