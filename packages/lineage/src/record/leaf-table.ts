/**
 * What an audit has to remember of every leaf and every trace, in flat arrays instead of objects.
 *
 * Memory: 28 bytes a leaf and 4 to 12 more for its slot (about 36 on average); 32 bytes a trace and 4 to 12.
 * A leaf is known by the first 16 bytes of its hash. Two leaves that share them cost an attacker 2^64 hashes, and
 * would let a link that names no leaf pass for one that does.
 */

const CHUNK = 4096
const LEAF_WORDS = 7 // 4 of the hash, 2 of the span id, 1 of the trace and the class
const TRACE_WORDS = 8 // 4 of the trace id, tenant, next segment (2 words), last seal
const CLASSES = 32

/** Largest number of leaves: their slots are counted in 32 bits. */
export const MAX_LEAVES = 0x7fff_ffff
const MAX_TRACES = 0x07ff_fffe
/** The trace of a leaf that has none. */
export const NO_TRACE = MAX_TRACES + 1

/** Rows of 32-bit words, in chunks, so that growing copies nothing. */
class Rows {
  count = 0
  readonly #chunks: Uint32Array[] = []
  readonly #width: number

  constructor(width: number) {
    this.#width = width
  }

  /** Adds a row of zeros; returns its number. */
  add(): number {
    if (this.count % CHUNK === 0) this.#chunks.push(new Uint32Array(CHUNK * this.#width))
    return this.count++
  }

  /** The chunk that holds a row, which begins in it at {@link place}. */
  chunk(row: number): Uint32Array {
    return this.#chunks[Math.floor(row / CHUNK)]!
  }

  place(row: number): number {
    return (row % CHUNK) * this.#width
  }
}

/** Open addressing: slots hold row numbers plus one, 0 where free. Doubles at two thirds. */
class Slots {
  #slots = new Uint32Array(1 << 12)
  #mask = (1 << 12) - 1

  /** The slot where a search for this hash begins. */
  start(hash: number): number {
    return (hash & this.#mask) >>> 0
  }

  next(slot: number): number {
    return ((slot + 1) & this.#mask) >>> 0
  }

  /** The row in a slot, or -1. */
  row(slot: number): number {
    return this.#slots[slot]! - 1
  }

  set(slot: number, row: number): void {
    this.#slots[slot] = row + 1
  }

  /** Makes room when `count` rows are too many; `hashOf` gives the hash of a row. */
  grow(count: number, hashOf: (row: number) => number): void {
    if (count * 3 < this.#slots.length * 2) return
    const old = this.#slots
    this.#slots = new Uint32Array(old.length * 2)
    this.#mask = this.#slots.length - 1
    for (const held of old) {
      if (held === 0) continue
      let slot = this.start(hashOf(held - 1))
      while (this.#slots[slot] !== 0) slot = this.next(slot)
      this.#slots[slot] = held
    }
  }
}

/** Leaves by hash: the trace, the span id and the class (a number below 32, the caller's) of each. */
export class LeafTable {
  readonly #rows = new Rows(LEAF_WORDS)
  readonly #slots = new Slots()
  readonly #hashOf = (row: number): number => this.#rows.chunk(row)[this.#rows.place(row)]!

  get count(): number {
    return this.#rows.count
  }

  /** Adds the next leaf. `spanId` is an offset in `entry`, or -1. Of equal leaves the first stays findable. */
  add(
    hashes: Uint8Array,
    hashAt: number,
    entry: Uint8Array,
    spanId: number,
    trace: number,
    leafClass: number,
  ): void {
    const rows = this.#rows
    if (rows.count >= MAX_LEAVES) throw new Error('bad audit: more leaves than it can remember')
    this.#slots.grow(rows.count, this.#hashOf)
    const slot = this.#search(hashes, hashAt)
    const row = rows.add()
    const chunk = rows.chunk(row)
    const at = rows.place(row)
    for (let i = 0; i < 4; i++) chunk[at + i] = word(hashes, hashAt + 4 * i)
    if (spanId >= 0) {
      chunk[at + 4] = word(entry, spanId)
      chunk[at + 5] = word(entry, spanId + 4)
    }
    chunk[at + 6] = trace * CLASSES + leafClass
    if (this.#slots.row(slot) < 0) this.#slots.set(slot, row)
  }

  /** Number of the leaf with the hash at `at`, counted from the first that was added, or -1. */
  find(bytes: Uint8Array, at: number): number {
    return this.#slots.row(this.#search(bytes, at))
  }

  trace(row: number): number {
    return Math.floor(this.#rows.chunk(row)[this.#rows.place(row) + 6]! / CLASSES)
  }

  classOf(row: number): number {
    return this.#rows.chunk(row)[this.#rows.place(row) + 6]! % CLASSES
  }

  hasSpanId(row: number, bytes: Uint8Array, at: number): boolean {
    const chunk = this.#rows.chunk(row)
    const place = this.#rows.place(row)
    return chunk[place + 4] === word(bytes, at) && chunk[place + 5] === word(bytes, at + 4)
  }

  #search(bytes: Uint8Array, at: number): number {
    const w0 = word(bytes, at)
    const w1 = word(bytes, at + 4)
    const w2 = word(bytes, at + 8)
    const w3 = word(bytes, at + 12)
    let slot = this.#slots.start(w0)
    for (;;) {
      const row = this.#slots.row(slot)
      if (row < 0) return slot
      const chunk = this.#rows.chunk(row)
      const place = this.#rows.place(row)
      if (
        chunk[place] === w0 &&
        chunk[place + 1] === w1 &&
        chunk[place + 2] === w2 &&
        chunk[place + 3] === w3
      )
        return slot
      slot = this.#slots.next(slot)
    }
  }
}

/**
 * Traces by tenant and id: the number of each one's next segment, and the leaf of its last seal.
 *
 * Trace ids are chosen by senders: `seed` is 32 bits that they could not know then, so that they cannot choose ids
 * that all fall into one slot.
 */
export class TraceTable {
  readonly #seed: number
  readonly #rows = new Rows(TRACE_WORDS)
  readonly #slots = new Slots()
  readonly #tenants = new Map<string, number>()
  readonly #hashOf = (row: number): number => {
    const chunk = this.#rows.chunk(row)
    const at = this.#rows.place(row)
    return mix(this.#seed, chunk[at]!, chunk[at + 1]!, chunk[at + 2]!, chunk[at + 3]!, chunk[at + 4]!)
  }

  constructor(seed: number) {
    this.#seed = seed
  }

  get count(): number {
    return this.#rows.count
  }

  /** Number of a tenant, given as one character a byte. */
  tenant(name: string): number {
    const known = this.#tenants.get(name)
    if (known !== undefined) return known
    const number = this.#tenants.size
    this.#tenants.set(name, number)
    return number
  }

  /** Number of the trace whose 16 bytes of id are at `at`; it is added if it is new. */
  trace(tenant: number, bytes: Uint8Array, at: number): number {
    const rows = this.#rows
    this.#slots.grow(rows.count, this.#hashOf)
    const w0 = word(bytes, at)
    const w1 = word(bytes, at + 4)
    const w2 = word(bytes, at + 8)
    const w3 = word(bytes, at + 12)
    let slot = this.#slots.start(mix(this.#seed, w0, w1, w2, w3, tenant))
    for (;;) {
      const row = this.#slots.row(slot)
      if (row < 0) break
      if (this.is(row, tenant, bytes, at)) return row
      slot = this.#slots.next(slot)
    }
    if (rows.count >= MAX_TRACES) throw new Error('bad audit: more traces than it can remember')
    const row = rows.add()
    const chunk = rows.chunk(row)
    const place = rows.place(row)
    chunk[place] = w0
    chunk[place + 1] = w1
    chunk[place + 2] = w2
    chunk[place + 3] = w3
    chunk[place + 4] = tenant
    this.#slots.set(slot, row)
    return row
  }

  /** Whether this is the trace of a tenant with the id at `at`. */
  is(trace: number, tenant: number, bytes: Uint8Array, at: number): boolean {
    const chunk = this.#rows.chunk(trace)
    const place = this.#rows.place(trace)
    return (
      chunk[place + 4] === tenant &&
      chunk[place] === word(bytes, at) &&
      chunk[place + 1] === word(bytes, at + 4) &&
      chunk[place + 2] === word(bytes, at + 8) &&
      chunk[place + 3] === word(bytes, at + 12)
    )
  }

  /** Number of the trace's next segment, 0 before the first seal. */
  nextSegment(trace: number): number {
    const chunk = this.#rows.chunk(trace)
    const place = this.#rows.place(trace)
    return chunk[place + 6]! * 0x1_0000_0000 + chunk[place + 5]!
  }

  /** Leaf, as numbered by the leaf table, of the trace's last seal; only where there was one. */
  lastSeal(trace: number): number {
    return this.#rows.chunk(trace)[this.#rows.place(trace) + 7]!
  }

  seal(trace: number, segment: number, leaf: number): void {
    const chunk = this.#rows.chunk(trace)
    const place = this.#rows.place(trace)
    chunk[place + 5] = (segment + 1) % 0x1_0000_0000
    chunk[place + 6] = Math.floor((segment + 1) / 0x1_0000_0000)
    chunk[place + 7] = leaf
  }
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
}

function mix(seed: number, a: number, b: number, c: number, d: number, e: number): number {
  let hash = stir(stir(stir(stir(stir(seed, a), b), c), d), e)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  return (hash ^ (hash >>> 13)) >>> 0
}

function stir(hash: number, value: number): number {
  const mixed = Math.imul(hash ^ value, 0x9e3779b1)
  return mixed ^ (mixed >>> 15)
}
