/**
 * Gathers spans by trace until they settle.
 *
 * Holds references and never payloads: 76 bytes a span in typed arrays, one object a trace and one a journal
 * frame, and what was computed of the frame ahead. It is bounded by its owner, who stops feeding it at `maxOpenSpans`. Everything in it can be made
 * again from the journal: it is never saved.
 */

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
  readonly ahead: Pick<Ahead, 'evidence' | 'seeds' | 'seedOf'> | undefined
}

/** What the assembler looks at of a frame of the journal. */
export type TakenFrame = Pick<Frame, 'position' | 'seed' | 'receipt' | 'body'>

/** An open trace. Its spans are a list through the arena. */
export interface OpenTrace {
  readonly key: string
  readonly tenant: string
  /** Trace id as 16 characters of one byte each. */
  readonly id: string
  head: number
  tail: number
  count: number
  /** Bytes of its payload, about: spans, and the resource and scope of each request and scope. */
  bytes: number
  /** Request and scope of its last span. */
  lastFrame: number
  lastScope: number
  lastResource: number
  /** It has grown to a limit. */
  full: boolean
  /** Milliseconds, monotonic: when its first and its last span were read. */
  readonly since: number
  touched: number
  /** It was looked at when quiet, and a parent was missing: it waits for spans or for its maximum age. */
  waiting: boolean
  /** Links of the two lists: by last touch, and by age. */
  quietNext: OpenTrace | undefined
  quietBefore: OpenTrace | undefined
  ageNext: OpenTrace | undefined
  ageBefore: OpenTrace | undefined
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
  readonly #traces = new Map<string, OpenTrace>()
  #arena = new Uint32Array(WORDS * 16_384)
  #used = 0
  #free = NONE
  #open = 0
  /** Frames from the first undecided one on, dense by position. */
  #frames: OpenFrame[] = []
  #firstFrame: number
  #quiet: List = { first: undefined, last: undefined }
  #age: List = { first: undefined, last: undefined }
  /** Traces that have grown to the limit. */
  #full: OpenTrace[] = []
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
    return this.#traces.size
  }

  /** Whether spans of a trace are open, by its {@link openKey}. */
  has(key: string): boolean {
    return this.#traces.has(key)
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
    ahead?: OpenFrame['ahead'],
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
      ahead: ahead && { evidence: ahead.evidence, seeds: ahead.seeds, seedOf: ahead.seedOf },
    }
    this.#frames.push(open)
    if (resumed === 'whole') {
      this.#advance()
      return
    }
    const { words } = table
    const body = Buffer.from(frame.body.buffer, frame.body.byteOffset, frame.body.byteLength)
    let trace: OpenTrace | undefined
    let traceAt = 0
    for (let index = 0, row = 0; index < table.count; index++, row += WORDS_PER_SPAN) {
      const known = resumed !== undefined && (resumed[index >> 3]! & (1 << (index & 7))) !== 0
      if (known || words[row + FAULT] !== 0) {
        this.#mark(open, index)
        continue
      }
      const at = words[row + TRACE_ID]!
      if (trace === undefined || !sameId(body, at, traceAt)) {
        trace = this.#trace(tenant, body.toString('latin1', at, at + 16), now)
        traceAt = at
      }
      this.#put(trace, open, index, body, words, row)
    }
    this.#advance()
  }

  #trace(tenant: string, id: string, now: number): OpenTrace {
    const key = openKey(tenant, id)
    let trace = this.#traces.get(key)
    if (trace === undefined) {
      trace = {
        key,
        tenant,
        id,
        head: NONE,
        tail: NONE,
        count: 0,
        bytes: 0,
        lastFrame: -1,
        lastScope: 0,
        lastResource: 0,
        full: false,
        since: now,
        touched: now,
        waiting: false,
        quietNext: undefined,
        quietBefore: undefined,
        ageNext: undefined,
        ageBefore: undefined,
      }
      this.#traces.set(key, trace)
      append(this.#quiet, trace, 'quietNext', 'quietBefore')
      append(this.#age, trace, 'ageNext', 'ageBefore')
    } else if (trace.touched !== now || trace.waiting) {
      trace.touched = now
      if (trace.waiting) trace.waiting = false
      else remove(this.#quiet, trace, 'quietNext', 'quietBefore')
      append(this.#quiet, trace, 'quietNext', 'quietBefore')
    }
    return trace
  }

  #put(
    trace: OpenTrace,
    frame: OpenFrame,
    index: number,
    body: Buffer,
    words: Uint32Array,
    row: number,
  ): void {
    const slot = this.#slot()
    const arena = this.#arena
    const at = slot * WORDS
    arena[at + NEXT] = NONE
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
    if (trace.head === NONE) trace.head = slot
    else arena[trace.tail * WORDS + NEXT] = slot
    trace.tail = slot
    trace.count++
    trace.bytes += words[row + SPAN_END]! - words[row + SPAN_START]!
    const scope = words[row + SCOPE_START]!
    const resource = words[row + RESOURCE_START]!
    if (trace.lastFrame !== frame.position || trace.lastScope !== scope || trace.lastResource !== resource) {
      trace.lastFrame = frame.position
      trace.lastScope = scope
      trace.lastResource = resource
      trace.bytes += words[row + SCOPE_END]! - scope + words[row + RESOURCE_END]! - resource + ROW_BYTES
    }
    if (!trace.full && (trace.count >= this.#options.maxSegmentSpans || trace.bytes >= MAX_SEGMENT_BYTES)) {
      trace.full = true
      this.#full.push(trace)
    }
    frame.undecided++
    this.#open++
  }

  /** A free slot of the arena; the arena doubles when there is none. */
  #slot(): number {
    if (this.#free !== NONE) {
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
    const cut: OpenTrace[] = []
    const quiet: OpenTrace[] = []
    let spans = 0
    const taken = new Set<OpenTrace>()
    const takeCut = (trace: OpenTrace): void => {
      if (taken.has(trace)) return
      taken.add(trace)
      cut.push(trace)
      spans += trace.count
    }
    for (const trace of this.#full) takeCut(trace)
    const old = now - this.#options.maxAgeMillis
    const still = now - this.#options.quietMillis
    for (let oldest = this.#age.first; oldest !== undefined && spans < maxSpans; oldest = oldest.ageNext) {
      if (oldest.since <= old || (pressure && oldest.waiting)) takeCut(oldest)
      else if (!pressure) break
    }
    let quietest = this.#quiet.first
    while (quietest !== undefined && quietest.touched <= still && spans < maxSpans) {
      // Mostly nothing is cut, and a set of all that are quiet costs more than all else here.
      if (taken.size === 0 || !taken.has(quietest)) {
        quiet.push(quietest)
        spans += quietest.count
      }
      quietest = quietest.quietNext
    }
    return { cut, quiet }
  }

  /** All open traces: for the drain at shutdown. */
  all(): OpenTrace[] {
    return [...this.#traces.values()]
  }

  /** When `due` may next have something, in milliseconds of the caller's clock; undefined when nothing is open. */
  nextDue(): number | undefined {
    if (this.#full.length > 0) return 0
    const age = this.#age.first === undefined ? undefined : this.#age.first.since + this.#options.maxAgeMillis
    const quiet =
      this.#quiet.first === undefined ? undefined : this.#quiet.first.touched + this.#options.quietMillis
    return age === undefined ? quiet : quiet === undefined ? age : Math.min(age, quiet)
  }

  /** The trace is quiet and not whole: it is not due again before a new span or its maximum age. */
  wait(trace: OpenTrace): void {
    if (trace.waiting) return
    remove(this.#quiet, trace, 'quietNext', 'quietBefore')
    trace.waiting = true
  }

  /** Parents that should be in the trace and are not there. Costs one pass over its spans. */
  missingParents(trace: OpenTrace): string[] {
    if (trace.count <= FEW && this.#hasAllParents(trace)) return []
    const ids = new Set<string>()
    const parents = new Set<string>()
    for (let slot = trace.head; slot !== NONE; slot = this.#arena[slot * WORDS + NEXT]!) {
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
    for (let slot = trace.head; slot !== NONE; slot = arena[slot * WORDS + NEXT]!) {
      const at = slot * WORDS
      const bits = arena[at + BITS]!
      if ((bits & HAS_PARENT) === 0 || (bits & REMOTE) !== 0) continue
      let other = trace.head
      while (
        other !== NONE &&
        (arena[other * WORDS + ID] !== arena[at + PARENT] ||
          arena[other * WORDS + ID + 1] !== arena[at + PARENT + 1])
      )
        other = arena[other * WORDS + NEXT]!
      if (other === NONE) return false
    }
    return true
  }

  /**
   * The spans of a trace, in the order in which they were read. `sourceOf` is asked once a span, with the span's
   * place in its request.
   */
  spans(trace: OpenTrace, sourceOf: (frame: OpenFrame, index: number) => Source): OpenSpan[] {
    const spans: OpenSpan[] = []
    const arena = this.#arena
    for (let slot = trace.head; slot !== NONE; slot = arena[slot * WORDS + NEXT]!) {
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
    let slot = trace.head
    while (slot !== NONE) {
      const at = slot * WORDS
      const next = this.#arena[at + NEXT]!
      const frame = this.#frameOf(this.#arena[at + FRAME]!)
      frame.undecided--
      if (frame.undecided === 0) onDone?.(frame)
      this.#mark(frame, this.#arena[at + INDEX]!)
      this.#arena[at] = this.#free
      this.#free = slot
      slot = next
    }
    this.#open -= trace.count
    this.#traces.delete(trace.key)
    if (!trace.waiting) remove(this.#quiet, trace, 'quietNext', 'quietBefore')
    remove(this.#age, trace, 'ageNext', 'ageBefore')
    if (trace.full) this.#full.splice(this.#full.indexOf(trace), 1)
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

const NONE = 0xffff_ffff
/** Up to this many spans, comparing each with each is cheaper than making keys. */
const FEW = 32
const POSITIONS = 0x1_0000_0000

interface List {
  first: OpenTrace | undefined
  last: OpenTrace | undefined
}

/** Key of an open trace; `id` as characters of one byte. */
export function openKey(tenant: string, id: string): string {
  return tenant === '' ? id : `${tenant}\n${id}`
}

type Next = 'quietNext' | 'ageNext'
type Before = 'quietBefore' | 'ageBefore'

function append(list: List, trace: OpenTrace, next: Next, before: Before): void {
  trace[before] = list.last
  trace[next] = undefined
  if (list.last === undefined) list.first = trace
  else list.last[next] = trace
  list.last = trace
}

function remove(list: List, trace: OpenTrace, next: Next, before: Before): void {
  const behind = trace[next]
  const ahead = trace[before]
  if (ahead === undefined) list.first = behind
  else ahead[next] = behind
  if (behind === undefined) list.last = ahead
  else behind[before] = ahead
}

function sameId(body: Uint8Array, a: number, b: number): boolean {
  if (a === b) return true
  for (let i = 0; i < 16; i++) if (body[a + i] !== body[b + i]) return false
  return true
}

function copyId(body: Uint8Array, from: number, arena: Uint32Array, at: number): void {
  arena[at] = (body[from]! << 24) | (body[from + 1]! << 16) | (body[from + 2]! << 8) | body[from + 3]!
  arena[at + 1] = (body[from + 4]! << 24) | (body[from + 5]! << 16) | (body[from + 6]! << 8) | body[from + 7]!
}
