/**
 * The keys of the log's database (docs/formats/store.md). One prefix byte, then big-endian numbers, so that
 * LevelDB's byte order is the natural one.
 *
 * There is no key per span: a span is found through its trace.
 */

import { dataView } from '@rootspan/lineage/bytes'
import { Sink } from '@rootspan/lineage/record/sink'

export const Prefix = {
  /** Entry bundle by index. */
  entries: 1,
  /** Tile by level and index. */
  tile: 2,
  /** Commit record by number. */
  commit: 3,
  /** The journal cursor of the last commit: one key. */
  cursor: 4,
  /** Signed checkpoint by tree size. */
  checkpoint: 5,
  /** Segment rows of one trace, by tenant and trace id. */
  trace: 6,
  /** A commit's traces by the time of their start, newest first. */
  byTime: 7,
  /** In which of these lists a service is. */
  byService: 8,
  /** Leaves of the spans of a tracked request, by journal position and commit. */
  receipt: 9,
  /** Row of a run of records about the log, by its first leaf. */
  run: 10,
  /** Hold, by the leaf of the record that began it. */
  hold: 11,
  /** Erasure whose commit is made and that is not finished, by commit. */
  erasing: 12,
  /** What was learned of executions, for rules that need others (knowledge.ts): by the hash of what it is about. */
  knowledge: 13,
  /** When an execution is to be judged again though nothing of it comes (reviews.ts), by tenant and trace id. */
  review: 14,
} as const

/** The last span of time there is. */
export const MAX_SPAN = 2 ** 36 - 1
const TWO_32 = 0x1_0000_0000
/** Span and commit, at the end of a search key. */
export const PLACE_BYTES = 16

export const CURSOR_KEY = Uint8Array.of(Prefix.cursor)

function numbered(prefix: number, value: number, more = 0): Uint8Array {
  const key = new Uint8Array(9 + more)
  key[0] = prefix
  new DataView(key.buffer).setBigUint64(1, BigInt(value))
  return key
}

export function entriesKey(index: number): Uint8Array {
  return numbered(Prefix.entries, index)
}

export function tileKey(level: number, index: number): Uint8Array {
  const key = new Uint8Array(10)
  key[0] = Prefix.tile
  key[1] = level
  new DataView(key.buffer).setBigUint64(2, BigInt(index))
  return key
}

export function commitKey(number: number): Uint8Array {
  return numbered(Prefix.commit, number)
}

export function checkpointKey(size: number): Uint8Array {
  return numbered(Prefix.checkpoint, size)
}

export function runKey(first: number): Uint8Array {
  return numbered(Prefix.run, first)
}

export function holdKey(leaf: number): Uint8Array {
  return numbered(Prefix.hold, leaf)
}

export function erasingKey(commit: number): Uint8Array {
  return numbered(Prefix.erasing, commit)
}

export function receiptKey(position: number, commit: number): Uint8Array {
  const key = numbered(Prefix.receipt, position, 8)
  new DataView(key.buffer).setBigUint64(9, BigInt(commit))
  return key
}

/** `id` is 16 bytes. */
export function knowledgeKey(id: Uint8Array): Uint8Array {
  return Uint8Array.of(Prefix.knowledge, ...id)
}

/** `id` as {@link traceId} makes it. */
export function reviewKey(id: Uint8Array): Uint8Array {
  return Uint8Array.of(Prefix.review, ...id)
}

/** The number in a numbered key: an entry bundle's index, a commit's number, a checkpoint's size. */
export function keyNumber(key: Uint8Array): number {
  return Number(dataView(key).getBigUint64(1))
}

/** Tenant behind its length, then the trace id: what identifies a trace everywhere in the store. */
export function traceId(tenant: Uint8Array, trace: Uint8Array): Uint8Array {
  const id = new Uint8Array(1 + tenant.length + trace.length)
  id[0] = tenant.length
  id.set(tenant, 1)
  id.set(trace, 1 + tenant.length)
  return id
}

export function traceKey(id: Uint8Array): Uint8Array {
  return keyOf((key) => writeTraceKey(key, id))
}

export function termsKey(span: number, commit: number): Uint8Array {
  return keyOf((key) => writeTermsKey(key, span, commit))
}

export function serviceKey(service: Uint8Array, span: number, commit: number): Uint8Array {
  return keyOf((key) => writeServiceKey(key, service, span, commit))
}

function keyOf(write: (key: Sink) => void): Uint8Array {
  const key = new Sink(64)
  write(key)
  return key.copy()
}

// The keys of which every commit has thousands are written into a sink that is used again.

export function writeTraceKey(key: Sink, id: Uint8Array): void {
  key.byte(Prefix.trace)
  key.put(id)
}

/**
 * The list of a commit's traces that start in a span of time (terms.ts). Spans count down, so that an ascending walk
 * gives the newest first.
 */
export function writeTermsKey(key: Sink, span: number, commit: number): void {
  key.byte(Prefix.byTime)
  writePlace(key, span, commit)
}

/** Says that a list holds a trace of a service, which is UTF-8, cut to 255 bytes by the caller. */
export function writeServiceKey(key: Sink, service: Uint8Array, span: number, commit: number): void {
  key.byte(Prefix.byService)
  key.byte(service.length)
  key.put(service)
  writePlace(key, span, commit)
}

function writePlace(key: Sink, span: number, commit: number): void {
  const down = MAX_SPAN - span
  key.u32(Math.floor(down / TWO_32))
  key.u32(down % TWO_32)
  key.u32(Math.floor(commit / TWO_32))
  key.u32(commit % TWO_32)
}

/** The span of time in a key that ends in a place, as both kinds of search keys do. */
export function keySpan(key: Uint8Array): number {
  const view = new DataView(key.buffer, key.byteOffset + key.length - PLACE_BYTES)
  return MAX_SPAN - Number(view.getBigUint64(0))
}

/** First key after all that begin with `key`: the end of a walk over them. */
export function after(key: Uint8Array): Uint8Array {
  const end = key.slice()
  for (let i = end.length - 1; i >= 0; i--)
    if (end[i]! < 255) {
      end[i]! += 1
      return end.subarray(0, i + 1)
    }
  throw new Error('bad key: nothing comes after it')
}
