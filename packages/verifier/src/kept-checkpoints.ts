/**
 * The checkpoints that a Rootspan log keeps: `checkpoints?from=&limit=` lists their sizes, a page at a time, and
 * `checkpoint/<size>` serves each. They are read as the audit comes to them. Logs of others do not have this.
 */
import { parseUtf8 } from '@rootspan/lineage/bytes'
import { MAX_NOTE_SIZE } from '@rootspan/lineage/tlog/note'
import type { LogClient } from './log-client.ts'
import { UnusableError } from './world.ts'

const PAGE = 1000
const MAX_PAGE_BYTES = 64 * 1024
/** Checkpoints that are asked for at the same time. */
const AHEAD = 32

export interface KeptCheckpoint {
  readonly size: number
  readonly note: Uint8Array
}

export class KeptCheckpoints {
  readonly #client: LogClient
  readonly #last: number
  #sizes: number[] = []
  /** Where the next page begins; undefined after the last. */
  #from: number | undefined
  #isServed = true

  /** Those of the sizes from `from` up to and with `last`. */
  constructor(client: LogClient, from: number, last: number) {
    this.#client = client
    this.#from = from
    this.#last = last
  }

  /** Those up to this size that were not given out yet, ascending. */
  async upTo(size: number): Promise<KeptCheckpoint[]> {
    const kept: KeptCheckpoint[] = []
    for (;;) {
      if (this.#sizes.length === 0 && this.#from !== undefined) await this.#readPage(this.#from)
      const due = this.#sizes.findIndex((each) => each > size)
      const sizes = this.#sizes.splice(0, Math.min(due < 0 ? this.#sizes.length : due, AHEAD))
      if (sizes.length === 0) return kept
      const notes = await Promise.all(
        sizes.map((each) => this.#client.get(`checkpoint/${each}`, MAX_NOTE_SIZE)),
      )
      kept.push(...sizes.map((each, at) => ({ size: each, note: notes[at]! })))
    }
  }

  notChecked(): string[] {
    return this.#isServed ? [] : ['kept checkpoints: not served']
  }

  async #readPage(from: number): Promise<void> {
    const path = `checkpoints?from=${from}&limit=${PAGE}`
    const bytes = await this.#client.find(path, MAX_PAGE_BYTES)
    this.#from = undefined
    if (bytes === undefined) {
      this.#isServed = false
      return
    }
    const { sizes, next } = parsePage(bytes, from)
    this.#sizes = sizes.filter((size) => size <= this.#last)
    if (next !== undefined && next <= this.#last) this.#from = next
  }
}

/** Sizes ascend and pages go on: a server cannot make this go round in circles. */
function parsePage(bytes: Uint8Array, from: number): { sizes: number[]; next: number | undefined } {
  try {
    const page: unknown = JSON.parse(parseUtf8(bytes))
    if (typeof page !== 'object' || page === null || !('sizes' in page) || !Array.isArray(page.sizes))
      throw new Error('bad page')
    const sizes = page.sizes as unknown[]
    const next = 'next' in page ? page.next : undefined
    let last = from - 1
    for (const size of sizes) last = after(size, last)
    // An empty page is the end: going on behind one would give sizes that the audit has passed.
    if (next !== undefined && sizes.length === 0) throw new Error('bad page')
    if (next !== undefined) after(next, Math.max(last, from))
    return { sizes: sizes as number[], next: next as number | undefined }
  } catch (error) {
    throw new UnusableError(
      'checkpoints: the list of kept checkpoints is not one',
      'Check that the URL is the prefix of a log, and ask its operator.',
      { cause: error },
    )
  }
}

function after(size: unknown, last: number): number {
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size <= last) throw new Error('bad size')
  return size
}
