/**
 * Executions that are to be judged again though nothing of them comes: an end that never came, numbers that never came,
 * and large ones that were sealed without a judgement (docs/formats/judgement.md, "Reviews").
 *
 * What is due is in the store with the commit that made it due, so that it outlives a restart.
 */

import { dataView } from '@rootspan/lineage/bytes'
import * as keys from './store/keys.ts'
import { latin1, latin1Text } from './text.ts'

/** More are not noted: those are judged when something of them comes. */
const MAX_REVIEWS = 100_000

/** Growth by which a large execution is judged again without a review: an eighth. */
const GROWTH = Math.log(9 / 8)

/**
 * Whether an execution that has grown by `now` to `born` spans is judged later: all its judgements together then cost
 * some nine times the last one, in however many segments it comes.
 */
export function defersJudging(born: number, now: number): boolean {
  return bandOf(born) === bandOf(born - now)
}

function bandOf(born: number): number {
  return Math.floor(Math.log(born) / GROWTH)
}

export class Reviews {
  /** By the trace's id in the store, as latin-1: nanoseconds since 1970. */
  readonly #due = new Map<string, bigint>()
  /** No review is due before. */
  #next = NEVER
  #rows = new Map<string, bigint | undefined>()

  /** Keys and values as they are in the store. */
  constructor(rows: Iterable<readonly [key: Uint8Array, value: Uint8Array]> = []) {
    for (const [key, value] of rows) this.#set(latin1Text(key.subarray(1)), parseDue(value))
  }

  get count(): number {
    return this.#due.size
  }

  /** When the review of a trace is due. */
  dueOf(id: Uint8Array): bigint | undefined {
    return this.#due.get(latin1Text(id))
  }

  /** A trace is to be reviewed then, or not at all. To be committed with what made it so: {@link takeChanges}. */
  note(id: Uint8Array, time: bigint | undefined): void {
    const name = latin1Text(id)
    const known = this.#due.get(name)
    const due = time === undefined ? undefined : inRange(time)
    if (known === due) return
    if (due === undefined) this.#due.delete(name)
    else if (known !== undefined || this.#due.size < MAX_REVIEWS) this.#set(name, due)
    else return
    this.#rows.set(name, due)
  }

  /** What was noted since this was asked last, as changes of the store. */
  takeChanges(): (readonly [key: Uint8Array, value: Uint8Array | undefined])[] {
    if (this.#rows.size === 0) return []
    const rows = [...this.#rows].map(
      ([name, due]) =>
        [keys.reviewKey(latin1(name)), due === undefined ? undefined : encodeDue(due)] as const,
    )
    this.#rows = new Map()
    return rows
  }

  /** Ids of up to `limit` traces that are due by `now`. Linear in all that wait, but only where one may be. */
  due(now: bigint, limit: number): Uint8Array[] {
    if (now < this.#next) return []
    const found: Uint8Array[] = []
    let next = NEVER
    for (const [name, due] of this.#due) {
      if (due <= now && found.length < limit) found.push(latin1(name))
      if (due < next) next = due
    }
    this.#next = next
    return found
  }

  /** Looks at a trace again at that time; the store is not told. */
  postpone(id: Uint8Array, until: bigint): void {
    const name = latin1Text(id)
    if (this.#due.has(name)) this.#set(name, until)
  }

  #set(name: string, due: bigint): void {
    this.#due.set(name, due)
    if (due < this.#next) this.#next = due
  }
}

const NEVER = 2n ** 64n

/** Times out of 64 bits, which a sender may have chosen, are brought into them. */
function inRange(time: bigint): bigint {
  return time < 0n ? 0n : time >= NEVER ? NEVER - 1n : time
}

export function encodeDue(due: bigint): Uint8Array {
  const value = new Uint8Array(8)
  new DataView(value.buffer).setBigUint64(0, inRange(due))
  return value
}

function parseDue(value: Uint8Array): bigint {
  return dataView(value).getBigUint64(0)
}
