/**
 * The open traces: rows of a typed array, found by tenant and id.
 *
 * A trace is looked at when a request brings spans of it, and when it has been quiet for seconds. By then nothing of it is
 * left in a processor's cache, so what it costs is in how many places of memory it lies: a row of 64 bytes in one or two, an
 * object that a map finds by a string in six.
 *
 * Senders choose ids. The hash is multilinear, with factors that no sender knows: of two ids that were chosen without
 * them, hardly any pair falls together, and chains stay short (Lemire and Kaser, "Strongly universal string hashing is
 * fast", section 3).
 */
import { randomFillSync } from 'node:crypto'

/** No row. */
export const NONE = -1

/** Words of a row, and what is where. The first four are the id. */
export const TRACE_WORDS = 16
/** First and last span, and how many there are. A row without spans is in no list. */
export const HEAD = 4
export const TAIL = 5
export const COUNT = 6
/** Bytes of its payload, about. */
export const BYTES = 7
/** Request and context of its last span. */
export const LAST_FRAME = 8
export const LAST_CONTEXT = 9
const CHAIN = 10
/** Marks in the low eight bits, the tenant's number above. */
export const MARKS_OF = 11
/** Two words for each list that a row is in. */
const LINKS = 12

/** The lists: all rows with spans are in the one by age, and in one of the others, which share their words. */
export const BY_AGE = 0
export const BY_TOUCH = 1
export const BY_WAIT = 2
export type ListOf = typeof BY_AGE | typeof BY_TOUCH | typeof BY_WAIT

/** Where the next row of a list is said in a row; the one before is a word behind. */
function linkOf(list: ListOf): number {
  return list === BY_AGE ? LINKS : LINKS + 2
}

/** Of `times`: when its first and its last span were read. Milliseconds, monotonic. */
export const TIMES = 2
export const SINCE = 0
export const TOUCHED = 1

const TENANT_SHIFT = 8
const MAX_TENANTS = 0xffff

export class OpenTraces {
  /** Replaced when it grows: do not keep it over {@link add}. */
  rows = new Int32Array(TRACE_WORDS * FIRST_ROWS)
  times = new Float64Array(TIMES * FIRST_ROWS)
  #buckets = new Int32Array(FIRST_ROWS).fill(NONE)
  #bits = Math.log2(FIRST_ROWS)
  #used = 0
  #free = NONE
  #size = 0
  readonly #factors = randomFillSync(new Int32Array(10))
  readonly #tenants: string[] = []
  readonly #numbers = new Map<string, number>()
  /** First and last of each list. */
  readonly #ends = new Int32Array(6).fill(NONE)

  /** The number of a tenant. Tenants are configured, so they stay. */
  tenant(name: string): number {
    let number = this.#numbers.get(name)
    if (number === undefined) {
      number = this.#tenants.push(name) - 1
      if (number > MAX_TENANTS) throw new Error('bad tenants: over 65,535 of them')
      this.#numbers.set(name, number)
    }
    return number
  }

  tenantOf(row: number): string {
    return this.#tenants[this.rows[row * TRACE_WORDS + MARKS_OF]! >>> TENANT_SHIFT]!
  }

  idOf(row: number): Uint8Array {
    const id = new Uint8Array(16)
    for (let i = 0, at = row * TRACE_WORDS; i < 16; i++)
      id[i] = this.rows[at + (i >> 2)]! >>> (24 - 8 * (i & 3))
    return id
  }

  /** The row of a trace, by its tenant's number and the big-endian words of its id. */
  find(tenant: number, a: number, b: number, c: number, d: number): number {
    const { rows } = this
    let row = this.#buckets[this.#bucket(tenant, a, b, c, d)]!
    for (; row !== NONE; row = rows[row * TRACE_WORDS + CHAIN]!) {
      const at = row * TRACE_WORDS
      if (rows[at] === a && rows[at + 1] === b && rows[at + 2] === c && rows[at + 3] === d)
        if (rows[at + MARKS_OF]! >>> TENANT_SHIFT === tenant) return row
    }
    return NONE
  }

  /** A new row, without spans, of a trace that has none. */
  add(tenant: number, a: number, b: number, c: number, d: number): number {
    if (this.#size === this.#buckets.length) this.#spread()
    const row = this.#take()
    const at = row * TRACE_WORDS
    const { rows } = this
    rows[at] = a
    rows[at + 1] = b
    rows[at + 2] = c
    rows[at + 3] = d
    rows[at + HEAD] = NONE
    rows[at + TAIL] = NONE
    rows[at + COUNT] = 0
    rows[at + BYTES] = 0
    rows[at + MARKS_OF] = tenant << TENANT_SHIFT
    this.#chain(row)
    this.#size++
    return row
  }

  /** Forgets a row, which is in no list. */
  remove(row: number): void {
    const { rows } = this
    const at = row * TRACE_WORDS
    const bucket = this.#bucketOf(row)
    let before = this.#buckets[bucket]!
    if (before === row) this.#buckets[bucket] = rows[at + CHAIN]!
    else {
      while (rows[before * TRACE_WORDS + CHAIN] !== row) before = rows[before * TRACE_WORDS + CHAIN]!
      rows[before * TRACE_WORDS + CHAIN] = rows[at + CHAIN]!
    }
    rows[at + CHAIN] = this.#free
    this.#free = row
    this.#size--
  }

  first(list: ListOf): number {
    return this.#ends[list * 2]!
  }

  next(list: ListOf, row: number): number {
    return this.rows[row * TRACE_WORDS + linkOf(list)]!
  }

  append(list: ListOf, row: number): void {
    const { rows } = this
    const link = linkOf(list)
    const last = this.#ends[list * 2 + 1]!
    rows[row * TRACE_WORDS + link] = NONE
    rows[row * TRACE_WORDS + link + 1] = last
    if (last === NONE) this.#ends[list * 2] = row
    else rows[last * TRACE_WORDS + link] = row
    this.#ends[list * 2 + 1] = row
  }

  unlink(list: ListOf, row: number): void {
    const { rows } = this
    const link = linkOf(list)
    const after = rows[row * TRACE_WORDS + link]!
    const before = rows[row * TRACE_WORDS + link + 1]!
    if (before === NONE) this.#ends[list * 2] = after
    else rows[before * TRACE_WORDS + link] = after
    if (after === NONE) this.#ends[list * 2 + 1] = before
    else rows[after * TRACE_WORDS + link + 1] = before
  }

  #take(): number {
    if (this.#free !== NONE) {
      const row = this.#free
      this.#free = this.rows[row * TRACE_WORDS + CHAIN]!
      return row
    }
    if ((this.#used + 1) * TRACE_WORDS > this.rows.length) {
      const rows = new Int32Array(this.rows.length * 2)
      rows.set(this.rows)
      this.rows = rows
      const times = new Float64Array(this.times.length * 2)
      times.set(this.times)
      this.times = times
    }
    return this.#used++
  }

  /** Twice as many buckets. */
  #spread(): void {
    const rows: number[] = []
    for (const first of this.#buckets)
      for (let row = first; row !== NONE; row = this.rows[row * TRACE_WORDS + CHAIN]!) rows.push(row)
    this.#buckets = new Int32Array(this.#buckets.length * 2).fill(NONE)
    this.#bits++
    for (const row of rows) this.#chain(row)
  }

  #chain(row: number): void {
    const bucket = this.#bucketOf(row)
    this.rows[row * TRACE_WORDS + CHAIN] = this.#buckets[bucket]!
    this.#buckets[bucket] = row
  }

  #bucketOf(row: number): number {
    const { rows } = this
    const at = row * TRACE_WORDS
    const tenant = rows[at + MARKS_OF]! >>> TENANT_SHIFT
    return this.#bucket(tenant, rows[at]!, rows[at + 1]!, rows[at + 2]!, rows[at + 3]!)
  }

  /** Over halves of words, as the multilinear hash has it: its high bits are the good ones. */
  #bucket(tenant: number, a: number, b: number, c: number, d: number): number {
    const factors = this.#factors
    const sum =
      factors[0]! +
      Math.imul(factors[1]!, tenant) +
      Math.imul(factors[2]!, a & 0xffff) +
      Math.imul(factors[3]!, a >>> 16) +
      Math.imul(factors[4]!, b & 0xffff) +
      Math.imul(factors[5]!, b >>> 16) +
      Math.imul(factors[6]!, c & 0xffff) +
      Math.imul(factors[7]!, c >>> 16) +
      Math.imul(factors[8]!, d & 0xffff) +
      Math.imul(factors[9]!, d >>> 16)
    return (sum | 0) >>> (32 - this.#bits)
  }
}

const FIRST_ROWS = 1024
