/** The stored entry bundles as one run of entries. */
import { MalformedError } from '@rootspan/lineage/errors'
import { TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
import { PackCorruption } from '../pack.ts'
import { type Bundle, parseBundleValue, parseFullBundle } from '../store/bundles.ts'
import * as keys from '../store/keys.ts'
import type { LogReader } from '../store/log-store.ts'
import type { BlockWalk } from './blocks.ts'

/** Something without which the walk cannot go on. */
export class LogBroken extends Error {
  override readonly name = 'LogBroken'
  readonly where: string

  constructor(where: string, message: string) {
    super(message)
    this.where = where
  }
}

export class Entries {
  readonly #blocks: BlockWalk
  readonly #bundles: AsyncIterator<[Uint8Array, Uint8Array]>
  #index = -1
  #width = TILE_WIDTH
  #bundle: Uint8Array = new Uint8Array(0)
  #at = 0
  /** Entries taken from the bundle. */
  #taken = TILE_WIDTH

  constructor(reader: LogReader, blocks: BlockWalk) {
    this.#blocks = blocks
    const range = { gte: keys.entriesKey(0), lt: Uint8Array.of(keys.Prefix.entries + 1) }
    this.#bundles = reader.database
      .iterator({ ...range, highWaterMarkBytes: 1024 * 1024 })
      [Symbol.asyncIterator]()
  }

  /** The next entries, each behind its length, as one piece per bundle. Throws {@link LogBroken}. */
  async take(count: number): Promise<Uint8Array[]> {
    const pieces: Uint8Array[] = []
    let left = count
    while (left > 0) {
      if (this.#taken === TILE_WIDTH) await this.#next()
      const bytes = this.#bundle
      const start = this.#at
      let at = start
      let taken = 0
      for (; taken < Math.min(left, TILE_WIDTH - this.#taken); taken++) {
        const end = at + 2 + (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0)
        if (at + 2 > bytes.length || end > bytes.length)
          throw new LogBroken(`entry bundle ${this.#index}`, `ends after ${this.#taken + taken} entries`)
        at = end
      }
      pieces.push(bytes.subarray(start, at))
      this.#at = at
      this.#taken += taken
      left -= taken
    }
    return pieces
  }

  /** Throws {@link LogBroken} when there is more than was taken. */
  async end(): Promise<void> {
    this.#checkEnd()
    const { done } = await this.#bundles.next()
    if (done !== true)
      throw new LogBroken(
        `entry bundle ${this.#index + 1}`,
        'is there, though the last commit ends before it',
      )
  }

  async close(): Promise<void> {
    await this.#bundles.return?.()
  }

  async #next(): Promise<void> {
    this.#checkEnd()
    const { value, done } = await this.#bundles.next()
    const expected = this.#index + 1
    if (done === true || keys.keyNumber(value[0]) !== expected || value[0].length !== 9)
      throw new LogBroken(`entry bundle ${expected}`, 'is missing')
    this.#index = expected
    const { width, entries } = this.#parse(value[1])
    this.#width = width
    this.#bundle = entries
    this.#at = 0
    this.#taken = 0
  }

  #parse(value: Uint8Array): Bundle {
    try {
      const found = parseBundleValue(value)
      return 'entries' in found ? found : parseFullBundle(this.#blocks.bundle(found))
    } catch (error) {
      if (error instanceof PackCorruption)
        throw new LogBroken(`${error.file} at offset ${error.offset}`, error.reason)
      if (!(error instanceof MalformedError)) throw error
      throw new LogBroken(`entry bundle ${this.#index}`, error.message)
    }
  }

  #checkEnd(): void {
    if (this.#taken !== this.#width)
      throw new LogBroken(
        `entry bundle ${this.#index}`,
        `has ${this.#width} entries, and ${this.#taken} leaves`,
      )
    if (this.#at !== this.#bundle.length)
      throw new LogBroken(`entry bundle ${this.#index}`, `has bytes after its entry ${this.#taken}`)
  }
}

/** The entries of pieces of bundles, each piece of whole entries. */
export function splitEntries(chunks: readonly Uint8Array[]): Uint8Array[] {
  const entries: Uint8Array[] = []
  for (const bytes of chunks)
    for (let at = 0; at < bytes.length; ) {
      const end = at + 2 + bytes[at]! * 256 + bytes[at + 1]!
      entries.push(bytes.subarray(at + 2, end))
      at = end
    }
  return entries
}
