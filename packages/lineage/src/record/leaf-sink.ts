/**
 * Where records become leaves: their entries and leaf hashes, one after the other.
 *
 * A leaf hash is needed by the entries of the record's children, and otherwise only when all of a commit is there. So
 * entries wait here without their hashes and with room for that of their parent, up to 512 of whatever segments follow
 * each other, and are then hashed four at a time: first those that wait for nobody, then their children, and so on. A
 * native hash for each costs three times as much, most of it for the call. Whoever asks for a leaf hash or for entries
 * has what waits hashed at once. Where there is no WebAssembly, as on a page that forbids it, each is hashed by itself.
 */
import { sha256Into } from '#crypto'
import { copyWords } from '../bytes.ts'
import { LANES, LaneHasher, padMessage } from '../crypto.simd.ts'
import { type Entry, type Parent, writeEntry, writeSpanEntry, writeSpanHead } from './entry.ts'
import { Sink } from './sink.ts'

/** Says that an entry's parent has no record in the sink. */
export const NOT_HERE = -1

/** Collects leaves: entries as in an entry bundle (each behind its 16-bit length) and their leaf hashes. */
export class LeafSink {
  readonly #entries = new Sink(1 << 16)
  readonly #hashes = new Sink(1 << 14)
  /** Where each entry of `entries` begins, before its length. */
  readonly #starts: number[] = []
  #count = 0
  /** Entries that wait, each behind the 0x00 of its leaf hash, at multiples of SLOT. */
  readonly #messages = new Sink(SLOT * 8)
  #waiting = 0
  readonly #lengths = new Int32Array(SLOTS)
  /** For each its parent's place among those that wait, less than 0 where it is none of them. */
  readonly #parents = new Int32Array(SLOTS)
  /** Where its parent's leaf hash is to be, in `messages`; only where it has such a parent. */
  readonly #holes = new Int32Array(SLOTS)
  /** What the entries of the trace begin with whose spans are being added. */
  readonly #head = new Sink(64)

  /** Leaves so far. */
  get count(): number {
    return this.#count
  }

  /** All entries as in a bundle; a view that lives until the next `add` or `reset`. */
  get entries(): Uint8Array {
    this.#hashWaiting()
    return this.#entries.bytes.subarray(0, this.#entries.at)
  }

  /** All leaf hashes, one after the other; a view that lives until the next `add` or `reset`. */
  get hashes(): Uint8Array {
    this.#hashWaiting()
    return this.#hashes.bytes.subarray(0, this.#hashes.at)
  }

  /**
   * Adds an entry; returns its number in this sink. `parent` is the number of the one whose leaf hash its `parentLeaf` is
   * to be, which holds any 32 bytes then.
   */
  add(entry: Entry, parent = NOT_HERE): number {
    return this.#written(writeEntry(this.#nextMessage(), entry), parent)
  }

  /** Names the trace of the spans that are added next. */
  beginTrace(tenant: string, traceId: Uint8Array): void {
    writeSpanHead(this.#head, tenant, traceId)
  }

  /**
   * Adds the entry of a span without causes and claims of the trace that was begun: as {@link writeSpanEntry} and {@link add}
   * have it. One that is linked has its `parent` here.
   */
  addSpan(
    id: string,
    link: Parent,
    parentId: string,
    parent: number,
    evidence: DataView,
    evidenceAt: number,
  ): number {
    const message = this.#nextMessage()
    const hole = writeSpanEntry(message, this.#head, id, link, parentId, evidence, evidenceAt)
    if (hole >= 0 && parent < 0) throw new Error('bad parent of an entry')
    return this.#written(hole, parent)
  }

  /** Where the next entry is to be written. */
  #nextMessage(): Sink {
    if (this.#waiting === SLOTS) this.#hashWaiting()
    const messages = this.#messages
    messages.at = this.#waiting * SLOT
    messages.byte(0)
    return messages
  }

  /** An entry was written as the next message, with room for its parent's leaf hash at `hole`. Returns its number. */
  #written(hole: number, parent: number): number {
    const slot = this.#waiting
    const messages = this.#messages
    const start = slot * SLOT
    const hashed = this.#count - slot
    if (parent >= this.#count || (parent >= 0 && hole < 0)) throw new Error('bad parent of an entry')
    if (parent >= 0 && parent < hashed) copyWords(this.#hashes.data, parent * HASH, messages.data, hole, HASH)
    this.#lengths[slot] = messages.at - start
    this.#parents[slot] = parent < hashed ? NOT_HERE : parent - hashed
    this.#holes[slot] = hole
    this.#waiting++
    // The next one would be written over the end of a larger one.
    if (messages.at - start > LONGEST) this.#hashWaiting()
    return this.#count++
  }

  /** Leaf hash of an entry of this sink; a view that lives until the next `reset`. */
  leaf(number: number): Uint8Array {
    this.#hashWaiting()
    return this.#hashes.bytes.subarray(number * HASH, number * HASH + HASH)
  }

  /** The bytes of an entry, without their length; a view that lives until the next `reset`. */
  entry(number: number): Uint8Array {
    this.#hashWaiting()
    const start = this.#starts[number]!
    const { bytes } = this.#entries
    return bytes.subarray(start + 2, start + 2 + bytes[start]! * 256 + bytes[start + 1]!)
  }

  /** What {@link entries} and {@link hashes} have from one leaf on, as copies. */
  copyFrom(number: number): { entries: Uint8Array; hashes: Uint8Array } {
    return {
      entries: new Uint8Array(this.entries.subarray(this.#starts[number] ?? this.#entries.at)),
      hashes: new Uint8Array(this.hashes.subarray(number * HASH)),
    }
  }

  reset(): void {
    this.#entries.at = 0
    this.#hashes.at = 0
    this.#starts.length = 0
    this.#count = 0
    this.#waiting = 0
  }

  /** Hashes what waits and moves it to the entries. */
  #hashWaiting(): void {
    const count = this.#waiting
    if (count === 0) return
    this.#waiting = 0
    this.#hashes.reserve(count * HASH)
    const isWorth = count >= WORTH_LANES && this.#lengths[count - 1]! <= LONGEST
    const lanes = isWorth ? sharedLanes() : undefined
    if (lanes === undefined) this.#hashEach(count)
    else this.#hashInLanes(count, lanes)
  }

  #hashEach(count: number): void {
    const messages = this.#messages
    const { bytes: hashes, data, at: first } = this.#hashes
    for (let slot = 0; slot < count; slot++) {
      const parent = this.#parents[slot]!
      if (parent >= 0) copyWords(data, first + parent * HASH, messages.data, this.#holes[slot]!, HASH)
      const start = slot * SLOT
      const end = start + this.#lengths[slot]!
      messages.at = end
      sha256Into(
        start === 0 ? messages.view() : messages.bytes.subarray(start, end),
        hashes,
        first + slot * HASH,
      )
    }
    this.#hashes.at += count * HASH
    this.#move(messages.bytes, messages.data, count)
  }

  /** Orders what waits by how many of its ancestors wait too, and among those by blocks. */
  #hashInLanes(count: number, { lanes, order, places }: Lanes): void {
    const { bytes } = lanes
    bytes.set(this.#messages.bytes.subarray(0, count * SLOT))
    places.fill(0)
    let last = 0
    for (let slot = 0; slot < count; slot++) {
      const parent = this.#parents[slot]!
      const blocks = padMessage(bytes, slot * SLOT, this.#lengths[slot]!)
      const generation = parent < 0 ? 0 : Math.floor(order[parent]! / MOST_BLOCKS) + 1
      const at = generation * MOST_BLOCKS + blocks - 1
      order[slot] = at
      places[at]! += 1
      if (at > last) last = at
    }
    let groups = 0
    for (let at = 0; at <= last; at++) {
      const some = places[at]!
      places[at] = groups * LANES
      groups += Math.ceil(some / LANES)
    }
    for (let slot = 0; slot < count; slot++) {
      const at = order[slot]!
      const message = slot * SLOT
      const digest = DIGESTS + slot * HASH
      const blocks = (at % MOST_BLOCKS) + 1
      const place = places[at]!
      places[at] = place + 1
      const parent = this.#parents[slot]!
      if (parent < 0) lanes.put(place, message, blocks, digest)
      else lanes.put(place, message, blocks, digest, DIGESTS + parent * HASH, this.#holes[slot]!)
    }
    for (let at = 0; at <= last; at++) lanes.fill(places[at]!)
    lanes.run(groups)
    this.#hashes.putRange(bytes, DIGESTS, DIGESTS + count * HASH)
    this.#move(bytes, lanes.data, count)
  }

  /** Appends whole messages to the entries. */
  #move(messages: Uint8Array, data: DataView, count: number): void {
    const entries = this.#entries
    for (let slot = 0; slot < count; slot++) {
      const start = slot * SLOT
      const size = this.#lengths[slot]! - 1
      this.#starts.push(entries.at)
      entries.u16(size)
      if (size > LONGEST) entries.putRange(messages, start + 1, start + 1 + size)
      else entries.putWords(data, start + 1, size)
    }
  }
}

const HASH = 32

/** How many entries wait at most: their messages and digests fit the cache next to the processor's core. */
const SLOTS = 512
const MOST_BLOCKS = 3
const SLOT = MOST_BLOCKS * 64
/** The longest message that a slot has room for with its padding. */
const LONGEST = SLOT - 9

/** Fewer are hashed one by one: a group of four costs as much with one message as with four. */
const WORTH_LANES = 4

interface Lanes {
  readonly lanes: LaneHasher
  readonly order: Int32Array
  readonly places: Int32Array
}

// One for all sinks of a thread: nothing in them outlives a call.
let shared: Lanes | 'none' | undefined

/** Undefined where the runtime has no WebAssembly, forbids it, or lacks its vectors. */
function sharedLanes(): Lanes | undefined {
  if (shared === undefined)
    try {
      shared = {
        lanes: new LaneHasher(SLOTS * (SLOT + HASH), SLOTS),
        order: new Int32Array(SLOTS),
        places: new Int32Array(SLOTS * MOST_BLOCKS),
      }
    } catch {
      shared = 'none'
    }
  return shared === 'none' ? undefined : shared
}

const DIGESTS = SLOTS * SLOT
