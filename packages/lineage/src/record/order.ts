/**
 * The one order of a segment's spans (docs/formats/record.md, "Order").
 *
 * It is a function of the spans alone: whatever order and batches they arrived in, the result is the same.
 * Parents come before their children, depth first; siblings by start time, span id, then content digest.
 */

import { compareBytes, formatHex } from '../bytes.ts'
import { contentDigest, logContentDigest } from '../otlp/content.ts'
import { LOG_RECORD } from '../otlp/log-record.ts'
import { FLAG_HAS_IS_REMOTE, FLAG_IS_REMOTE } from '../otlp/span-table.ts'
import { WireReader } from '../wire.ts'

/** The part of one request that belongs to one trace: what its spans share. */
export interface Source {
  /** Encoded receipt: what the collector itself saw of the request. */
  readonly receipt: Uint8Array
  /** Trace seed, 32 bytes (commitment.ts). */
  readonly seed: Uint8Array
  /** Bytes that the ranges of the spans point into. */
  readonly body: Uint8Array
  /** Context digests of this request by {@link contextKey}: filled as they are needed, shared by its traces. */
  readonly contexts: Map<number, Uint8Array>
  /**
   * Evidence commitments where they were computed before, 32 bytes for each span of the request: they say nothing
   * that the rest does not.
   */
  readonly evidence?: DataView | undefined
}

/** One span of a segment, or log record: byte ranges in its source's body, and what ordering needs of it. */
export interface SpanInput {
  readonly source: Source
  /** Of the span in its request: part of its salts. */
  readonly index: number
  readonly spanStart: number
  readonly spanEnd: number
  readonly resourceStart: number
  readonly resourceEnd: number
  readonly scopeStart: number
  readonly scopeEnd: number
  /** Span id as 8 characters of one byte each, so that comparing strings compares bytes. */
  readonly id: string
  /** Parent span id in the same form, or empty. */
  readonly parent: string
  /** Start time in nanoseconds, as two unsigned 32-bit halves. */
  readonly startHigh: number
  readonly startLow: number
  /** OTLP span kind, 0 to 5, or LOG_RECORD: then the span's range is that of a LogRecord. */
  readonly kind: number
  /** OTLP says that the parent is in another process. */
  readonly remote: boolean
  /** Carries governance attributes or events. */
  readonly governed: boolean
}

/** A key of {@link idKey}, or nothing, in lower-case hex. */
export function idHex(key: string): string {
  if (key === '') return ''
  putId(ID, 0, key)
  return formatHex(ID)
}

/** Written again each time. */
const ID = new Uint8Array(8)

/** 8 bytes as 8 characters of one byte each, the form in which span ids are keys. */
export function idKey(bytes: Uint8Array): string {
  // Spreading costs ten times as much.
  if (bytes.length === 8)
    return String.fromCharCode(
      bytes[0]!,
      bytes[1]!,
      bytes[2]!,
      bytes[3]!,
      bytes[4]!,
      bytes[5]!,
      bytes[6]!,
      bytes[7]!,
    )
  return String.fromCharCode(...bytes)
}

/** Puts a key of {@link idKey} as bytes; returns the place after them. */
export function putId(bytes: Uint8Array, at: number, key: string): number {
  for (let i = 0; i < 8; i++) bytes[at + i] = key.charCodeAt(i)
  return at + 8
}

/**
 * The trace id of a span or log record that was decoded before, as a view: of several occurrences (Span, field 1;
 * LogRecord, field 9) the last one counts.
 */
export function traceIdOf({ source, spanStart, spanEnd, kind }: SpanInput): Uint8Array {
  const field = kind === LOG_RECORD ? 9 : 1
  const reader = new WireReader(source.body, spanStart, spanEnd)
  let start = spanStart
  let end = spanStart
  while (reader.next()) if (reader.field === field) [start, end] = [reader.start, reader.end]
  return source.body.subarray(start, end)
}

/**
 * Whether a span's parent is in another process: by its flags (OTLP, SpanFlags) where they say so, else by
 * its kind, since a server or consumer span continues what somebody else began.
 */
export function isParentRemote(flags: number, kind: number): boolean {
  return (flags & FLAG_HAS_IS_REMOTE) !== 0 ? (flags & FLAG_IS_REMOTE) !== 0 : kind === 2 || kind === 5
}

/** A scope lies in one place under one resource, so where it begins names both. */
export function contextKey(span: SpanInput): number {
  return span.scopeEnd === 0 ? -1 - span.resourceStart : span.scopeStart
}

export interface Ordered<S extends SpanInput = SpanInput> {
  readonly span: S
  /** Place of the parent in the order, or -1 where the parent is not in the segment or the order cuts a cycle here. */
  readonly parentAt: number
  /** The parent is in the segment, and this span opens the cycle that both are on. */
  readonly opensCycle: boolean
  /** Place of an earlier span with the same ids and kind and other content, or -1. */
  readonly equivocates: number
  /** Place of the span that a log record is about, which comes after it; -1 for a span, and without one. */
  readonly aboutAt: number
}

export interface SegmentOrder<S extends SpanInput = SpanInput> {
  readonly spans: readonly Ordered<S>[]
  /** Deliveries of a span that is in `spans` already, each with the place of the one that stays. */
  readonly duplicates: readonly { readonly span: S; readonly of: number }[]
}

/** A span while it is being ordered: what becomes its {@link Ordered}. */
interface Node<S extends SpanInput = SpanInput> extends Ordered<S> {
  parentAt: number
  opensCycle: boolean
  equivocates: number
  aboutAt: number
  /** Log records about this span, and the span that a log record is about. */
  logs: Node<S>[] | undefined
  about: Node<S> | undefined
  /** Content digest; computed only where two spans share an id. */
  content: Uint8Array | undefined
  /** The earlier span of the same ids and kind. */
  twin: Node<S> | undefined
  parent: Node<S> | undefined
  /** Its first child, and the next one of its own parent's; of a root, the next root. */
  child: Node<S> | undefined
  next: Node<S> | undefined
  place: number
}

/** Content digest of a span with its resource and scope: what two deliveries are compared by. */
export function spanContent(span: SpanInput): Uint8Array {
  const { body } = span.source
  return (span.kind === LOG_RECORD ? logContentDigest : contentDigest)(
    body.subarray(span.resourceStart, span.resourceEnd),
    body.subarray(span.scopeStart, span.scopeEnd),
    body.subarray(span.spanStart, span.spanEnd),
  )
}

/** Nodes by the id of their span: few are compared one by one, which takes a fraction of making a hash table. */
class NodesById<S extends SpanInput> {
  /** In the order in which they came, of which the first of each id is what is found; until somebody sorts them. */
  readonly nodes: Node<S>[] = []
  #byId: Map<string, Node<S>> | undefined

  get(id: string): Node<S> | undefined {
    if (this.#byId !== undefined) return this.#byId.get(id)
    for (const node of this.nodes) if (node.span.id === id) return node
    return undefined
  }

  /** `isFirst` says whether it is the first of its id. */
  add(node: Node<S>, isFirst: boolean): void {
    this.nodes.push(node)
    if (this.#byId !== undefined) {
      if (isFirst) this.#byId.set(node.span.id, node)
    } else if (this.nodes.length > FEW) {
      this.#byId = new Map()
      for (const one of this.nodes) if (!this.#byId.has(one.span.id)) this.#byId.set(one.span.id, one)
    }
  }
}

const FEW = 24

/** Orders the spans of one segment. Cost: O(n log n), whatever they are; content is digested only where ids repeat. */
export function orderSpans<S extends SpanInput>(input: readonly S[]): SegmentOrder<S> {
  const byId = new NodesById<S>()
  /** Nodes by content, of the ids that came more than once. */
  let repeated: Map<string, Map<string, Node<S>>> | undefined
  let duplicates: { span: S; of: Node<S> }[] | undefined
  for (const span of input) {
    const held = byId.get(span.id)
    const node: Node<S> = {
      span,
      parentAt: -1,
      opensCycle: false,
      equivocates: -1,
      aboutAt: -1,
      logs: undefined,
      about: undefined,
      content: undefined,
      twin: undefined,
      parent: undefined,
      child: undefined,
      next: undefined,
      place: -1,
    }
    if (held !== undefined) {
      repeated ??= new Map()
      let group = repeated.get(span.id)
      if (group === undefined) {
        held.content = spanContent(held.span)
        group = new Map([[formatHex(held.content), held]])
        repeated.set(span.id, group)
      }
      node.content = spanContent(span)
      const content = formatHex(node.content)
      const twin = group.get(content)
      if (twin !== undefined) {
        duplicates ??= []
        duplicates.push({ span, of: twin })
        continue
      }
      group.set(content, node)
    }
    byId.add(node, held === undefined)
  }

  /** The span that stands for an id which came more than once. */
  let standing: Map<string, Node<S>> | undefined
  if (repeated !== undefined) {
    standing = new Map()
    for (const [id, group] of repeated) standing.set(id, standingOf([...group.values()]))
  }

  // The last one first, so that each list begins with its smallest. Who is asked for by id from now on is there once.
  const nodes = sortNodes(byId.nodes)
  let roots: Node<S> | undefined
  for (let at = nodes.length - 1; at >= 0; at--) {
    const node = nodes[at]!
    if (node.about !== undefined) continue
    const id = node.span.parent
    const parent = id === '' ? undefined : (standing?.get(id) ?? byId.get(id))
    if (parent === undefined) {
      node.next = roots
      roots = node
    } else {
      node.parent = parent
      node.next = parent.child
      parent.child = node
    }
  }

  const order: Node<S>[] = []
  for (let root = roots; root !== undefined; root = root.next) place(root, order)
  if (order.length < nodes.length)
    for (const opening of openCycles(nodes)) {
      opening.opensCycle = true
      place(opening, order)
    }
  if (order.length !== nodes.length) throw new Error('bad order: a span was left out or placed twice')

  for (const node of order) {
    if (node.parent !== undefined && !node.opensCycle) node.parentAt = node.parent.place
    if (node.twin !== undefined) node.equivocates = node.twin.place
    if (node.about !== undefined) node.aboutAt = node.about.place
  }
  return { spans: order, duplicates: duplicates?.map(({ span, of }) => ({ span, of: of.place })) ?? [] }
}

/**
 * Marks the spans of one id that repeat a kind with other content, and puts log records beside the first span. Returns
 * what stands for the id: the first span or, without one, the first log record.
 */
function standingOf<S extends SpanInput>(group: Node<S>[]): Node<S> {
  const sorted = group.filter(({ span }) => span.kind !== LOG_RECORD).sort(compareNodes)
  const logs = group.filter(({ span }) => span.kind === LOG_RECORD).sort(compareNodes)
  const [first] = sorted
  if (first === undefined) return logs[0]!
  if (logs.length > 0) first.logs = logs
  for (const log of logs) log.about = first
  const firstOfKind = new Map<number, Node<S>>()
  for (const node of sorted) {
    node.twin = firstOfKind.get(node.span.kind)
    if (node.twin === undefined) firstOfKind.set(node.span.kind, node)
  }
  return first
}

/** Depth first, without recursion: a chain may be 100,000 spans deep. */
function place<S extends SpanInput>(root: Node<S>, order: Node<S>[]): void {
  let node = root
  for (;;) {
    if (node.logs !== undefined)
      for (const log of node.logs) {
        log.place = order.length
        order.push(log)
      }
    node.place = order.length
    order.push(node)
    let next = except(root, node.child)
    while (next === undefined && node !== root) {
      next = except(root, node.next)
      if (next === undefined) node = node.parent!
    }
    if (next === undefined) return
    node = next
  }
}

/** A span that opens a cycle is a child of one below it: there the one after it is next. */
function except<S extends SpanInput>(root: Node<S>, node: Node<S> | undefined): Node<S> | undefined {
  return node === root ? root.next : node
}

/** The smallest span of each cycle, in order. What hangs on a cycle is reached from it. */
function openCycles<S extends SpanInput>(nodes: readonly Node<S>[]): Node<S>[] {
  const seen = new Map<Node<S>, Node<S>>() // node -> where the walk that saw it began
  const openings: Node<S>[] = []
  for (const start of nodes) {
    if (start.place !== -1) continue
    let node: Node<S> = start
    while (!seen.has(node) && node.parent !== undefined && node.place === -1) {
      seen.set(node, start)
      node = node.parent
    }
    if (seen.get(node) !== start) continue // ran into what an earlier walk has dealt with
    let smallest = node
    for (let on = node.parent!; on !== node; on = on.parent!)
      if (compareNodes(on, smallest) < 0) smallest = on
    openings.push(smallest)
  }
  return openings.sort(compareNodes)
}

function compareNodes(a: Node, b: Node): number {
  const x = a.span
  const y = b.span
  if (x.startHigh !== y.startHigh) return x.startHigh - y.startHigh
  if (x.startLow !== y.startLow) return x.startLow - y.startLow
  if (x.id !== y.id) return x.id < y.id ? -1 : 1
  return a.content === undefined || b.content === undefined ? 0 : compareBytes(a.content, b.content)
}

/** Sorts in place. Of few, which is most, each is put where it belongs: `sort` makes copies. */
function sortNodes<S extends SpanInput>(nodes: Node<S>[]): Node<S>[] {
  if (nodes.length > FEW) return nodes.sort(compareNodes)
  for (let at = 1; at < nodes.length; at++) {
    const node = nodes[at]!
    let to = at
    for (; to > 0 && compareNodes(nodes[to - 1]!, node) > 0; to--) nodes[to] = nodes[to - 1]!
    nodes[to] = node
  }
  return nodes
}
