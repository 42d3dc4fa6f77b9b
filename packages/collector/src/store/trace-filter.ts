/**
 * Which traces the store may hold rows of, so that it is not asked for the others.
 *
 * Nearly every trace that settles is new, and to learn that from LevelDB cost a tenth of all of a span's CPU. A blocked
 * Bloom filter (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters", 2007) says so from one
 * line of memory. It is made anew at each start, from the keys of the store: until all were read, and where there are too
 * many, every trace may be there. It is never wrong about a trace that is there; about one that is not, the store is
 * asked in vain.
 */
import { type Database, traceIds } from './log-store.ts'

/** 2^27 bits are 16 MiB, touched as they are needed. Of 24 million traces 7 % of the answers are in vain. */
const BLOCK_BITS = 18
const WORDS_PER_BLOCK = 16
/** With more, a start would take more than half a minute of CPU for it: 4 us for each. */
const MOST_TRACES = 8_000_000

export class TraceFilter {
  readonly #bits = new Int32Array(WORDS_PER_BLOCK << BLOCK_BITS)
  #isComplete = false

  /** Whether the store may hold rows of a trace; `id` as `traceId` of keys.ts makes it. */
  mayHold(id: Uint8Array): boolean {
    if (!this.#isComplete) return true
    const { block, places } = placeOf(id)
    const bits = this.#bits
    for (let shift = 0; shift < 27; shift += 9) {
      const place = places >>> shift
      if ((bits[block + ((place >>> 5) & 15)]! & (1 << (place & 31))) === 0) return false
    }
    return true
  }

  /** Before any of its rows is committed. */
  add(id: Uint8Array): void {
    const { block, places } = placeOf(id)
    for (let shift = 0; shift < 27; shift += 9) {
      const place = places >>> shift
      this.#bits[block + ((place >>> 5) & 15)]! |= 1 << (place & 31)
    }
  }

  /**
   * Reads which traces the store holds, beside whatever else goes on: what is committed meanwhile is added by whoever
   * commits. Resolves to false where there are too many to help, or the store was closed before.
   */
  async learn(database: Database): Promise<boolean> {
    let count = 0
    for await (const ids of traceIds(database)) {
      for (const id of ids) this.add(id)
      count += ids.length
      if (count > MOST_TRACES) return false
    }
    this.#isComplete = true
    return true
  }
}

/**
 * The first word of its block, and three places of nine bits. Of the trace id alone: two tenants with one id are rare.
 * Whoever chooses ids to fall together makes the store be asked, as it would be without this.
 */
function placeOf(id: Uint8Array): { block: number; places: number } {
  const at = id.length - 16
  let a = 0
  let b = 0
  for (let i = at; i < id.length; i += 4) {
    const word = (id[i]! << 24) | (id[i + 1]! << 16) | (id[i + 2]! << 8) | id[i + 3]!
    a = Math.imul(a ^ word, 0x9e37_79b1)
    a ^= a >>> 15
    b = Math.imul(b + word, 0x85eb_ca6b)
    b ^= b >>> 13
  }
  a = Math.imul(a ^ (b >>> 7), 0xc2b2_ae35)
  return { block: (a >>> (32 - BLOCK_BITS)) * WORDS_PER_BLOCK, places: Math.imul(b, 0x27d4_eb2f) >>> 5 }
}
