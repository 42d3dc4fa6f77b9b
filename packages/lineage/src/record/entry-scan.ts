/**
 * Reads one entry without allocating: for whoever walks a whole log. It accepts exactly what `parseEntry` accepts
 * (a test holds the two against each other) and says where things are instead of copying them.
 *
 * Since an entry has one encoding, it is read straight through: each field is there in its place, or absent.
 */
import { parseUtf8 } from '../bytes.ts'
import { MalformedError } from '../errors.ts'
import { Kind } from '../governance/kind.ts'
import { MAX_CAUSES, MAX_ENTRY, Parent, Persistence } from './entry.ts'

const MAX_KIND = 8
const MAX_PARENT = 5
const MAX_ROLE = 10
const MAX_PERSISTENCE = 10

/** The last entry that was scanned. Offsets point into the scanned bytes; -1 where a field is absent. */
export class EntryScan {
  kind = 0
  tenantStart = 0
  tenantEnd = 0
  traceId = -1
  spanId = -1
  parentSpanId = -1
  parent = 0
  parentLeaf = -1
  causes = 0
  readonly roles = new Uint8Array(MAX_CAUSES)
  /** Offset of each cause's leaf hash. */
  readonly causeLeaves = new Float64Array(MAX_CAUSES)
  /** Whether each cause is in this log, and not in one that its origin names. */
  readonly causeLocal = new Uint8Array(MAX_CAUSES)
  evidence = -1
  claims = -1
  persistence = 0
  segment = 0
  leaves = 0
  #at = 0

  /**
   * Reads the entry in [start, end). Returns false where `parseEntry` would throw, on a newer format version too:
   * ask it for the error.
   */
  scan(b: Uint8Array, start: number, end: number): boolean {
    if (end - start > MAX_ENTRY || end - start < 2 || b[start] !== 0x10) return false
    this.kind = b[start + 1]!
    if (this.kind === 0 || this.kind > MAX_KIND) return false
    this.#at = start + 2
    this.tenantStart = this.tenantEnd = this.#at
    if (this.#tag(b, end) === 0x1a) {
      this.tenantStart = this.#text(b, end)
      if (this.tenantStart < 0) return false
      this.tenantEnd = this.#at
    }
    this.traceId = this.#sized(b, end, 0x22, 16)
    this.spanId = this.#sized(b, end, 0x2a, 8)
    this.parentSpanId = this.#sized(b, end, 0x32, 8)
    this.parent = this.#member(b, end, 0x38, MAX_PARENT)
    this.parentLeaf = this.#sized(b, end, 0x42, 32)
    this.causes = 0
    while (this.#tag(b, end) === 0x4a) if (!this.#cause(b, end)) return false
    this.evidence = this.#sized(b, end, 0x52, 32)
    this.claims = this.#sized(b, end, 0x5a, 32)
    this.persistence = this.#member(b, end, 0x60, MAX_PERSISTENCE)
    this.segment = this.#number(b, end, 0x68)
    this.leaves = this.#number(b, end, 0x70)
    // A field that was malformed, unknown or out of order was not passed.
    return this.#at === end && this.#hasShape()
  }

  /** Which fields go together: entry.ts, checkShape. */
  #hasShape(): boolean {
    const { kind, parent, persistence } = this
    const born = parent !== Parent.none
    if ((parent === Parent.linked) !== this.parentLeaf >= 0) return false
    const isNamed = parent === Parent.linked || parent === Parent.awaiting || parent === Parent.remote
    if (isNamed === this.parentSpanId < 0) return false
    if (born !== this.evidence >= 0) return false
    if (born && kind !== Kind.span && kind !== Kind.request && kind !== Kind.action) return false
    if (kind === Kind.span && !born) return false
    if ((kind === Kind.persistence) !== (persistence !== Persistence.none)) return false
    if (this.spanId >= 0 && this.traceId < 0) return false
    if (born && this.spanId < 0) return false
    if (persistence === Persistence.sealed) return this.leaves !== 0 || this.segment !== 0
    return this.segment === 0 && this.leaves === 0
  }

  #tag(b: Uint8Array, end: number): number {
    return this.#at < end ? b[this.#at]! : 0
  }

  /** Passes a field of `size` bytes, fewer than 128; returns their offset, or -1 without having moved. */
  #sized(b: Uint8Array, end: number, tag: number, size: number): number {
    const at = this.#at
    if (at + 2 + size > end || b[at] !== tag || b[at + 1] !== size) return -1
    this.#at = at + 2 + size
    return at + 2
  }

  /** Passes a number from 1 to `max`, below 128; returns it, or 0 without having moved. */
  #member(b: Uint8Array, end: number, tag: number, max: number): number {
    const at = this.#at
    if (at + 2 > end || b[at] !== tag || b[at + 1]! > max || b[at + 1] === 0) return 0
    this.#at = at + 2
    return b[at + 1]!
  }

  /** Passes a minimal varint from 1 to 2^53-1; returns it, or 0 without having moved. */
  #number(b: Uint8Array, end: number, tag: number): number {
    if (this.#tag(b, end) !== tag) return 0
    let value = 0
    let scale = 1
    for (let at = this.#at + 1; at < end && at < this.#at + 9; at++) {
      const byte = b[at]!
      value += (byte & 0x7f) * scale
      scale *= 128
      if (byte >= 0x80) continue
      if (byte === 0 || value > Number.MAX_SAFE_INTEGER) return 0 // zero, or longer than it has to be
      this.#at = at + 1
      return value
    }
    return 0
  }

  /** Passes a tag, a length from 1 on and that many bytes of UTF-8; returns where these begin, or -1. */
  #text(b: Uint8Array, end: number): number {
    const start = this.#length(b, end)
    for (let at = start; start >= 0 && at < this.#at; at++)
      if (b[at]! >= 0x80) return isUtf8(b.subarray(start, this.#at)) ? start : -1
    return start
  }

  /** Passes a tag, a minimal length of one or two bytes and what it spans; returns where that begins, or -1. */
  #length(b: Uint8Array, end: number): number {
    let at = this.#at + 1
    if (at + 1 >= end) return -1
    let size = b[at++]!
    if (size >= 0x80) {
      if (b[at]! >= 0x80 || b[at] === 0) return -1
      size = (size & 0x7f) + b[at++]! * 0x80
    }
    if (size === 0 || at + size > end) return -1
    this.#at = at + size
    return at
  }

  #cause(b: Uint8Array, outerEnd: number): boolean {
    const number = this.causes
    if (number === MAX_CAUSES) return false
    const start = this.#length(b, outerEnd)
    if (start < 0) return false
    const end = this.#at
    this.#at = start
    const role = this.#member(b, end, 0x08, MAX_ROLE)
    const leaf = this.#sized(b, end, 0x12, 32)
    if (role === 0 || leaf < 0) return false
    const local = this.#tag(b, end) !== 0x1a
    if (!local && this.#text(b, end) < 0) return false
    this.roles[number] = role
    this.causeLeaves[number] = leaf
    this.causeLocal[number] = local ? 1 : 0
    this.causes = number + 1
    return this.#at === end
  }
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    parseUtf8(bytes)
    return true
  } catch (error) {
    if (error instanceof MalformedError) return false
    throw error
  }
}
