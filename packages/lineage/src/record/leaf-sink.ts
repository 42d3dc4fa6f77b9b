/** Where records become leaves: their entries and leaf hashes, one after the other. */
import { sha256Into } from '#crypto'
import { type Entry, MAX_ENTRY, writeEntry } from './entry.ts'
import { Sink } from './sink.ts'

/** Collects leaves: entries as in an entry bundle (each behind its 16-bit length) and their leaf hashes. */
export class LeafSink {
  readonly entries = new Sink(1 << 16)
  readonly hashes = new Sink(1 << 14)
  count = 0
  /** One entry behind the 0x00 of its leaf hash. */
  readonly #preimage = new Sink(1 + MAX_ENTRY)

  /** Adds an entry; returns its number in this sink. */
  add(entry: Entry): number {
    const { entries, hashes } = this
    const preimage = this.#preimage
    preimage.at = 1
    writeEntry(preimage, entry)
    const bytes = preimage.view()
    hashes.reserve(32)
    sha256Into(bytes, hashes.bytes, hashes.at)
    hashes.at += 32
    const size = bytes.length - 1
    entries.reserve(2 + size)
    // The length comes over the 0x00.
    entries.bytes.set(bytes, entries.at + 1)
    entries.bytes[entries.at] = size >>> 8
    entries.bytes[entries.at + 1] = size
    entries.at += 2 + size
    return this.count++
  }

  /** Leaf hash of an entry of this sink; a view that lives until the next `reset`. */
  leaf(number: number): Uint8Array {
    return this.hashes.bytes.subarray(number * 32, number * 32 + 32)
  }

  /** Copies the leaf hash of an entry of this sink into `out`. */
  copyLeaf(number: number, out: Uint8Array): void {
    const { bytes } = this.hashes
    for (let i = 0, from = number * 32; i < 32; i++) out[i] = bytes[from + i]!
  }

  reset(): void {
    this.entries.at = 0
    this.hashes.at = 0
    this.count = 0
  }
}
