/**
 * Entry bundles as the store holds them (docs/formats/store.md): a full one lies in a pack, with its leaf hashes before
 * it, and LevelDB holds a reference; the last one, as long as it is partial, is in LevelDB itself.
 *
 * So LevelDB, which writes every value at least three times, writes none of what the log mostly consists of.
 */

import { MalformedError } from '@rootspan/lineage/errors'
import type { Sink } from '@rootspan/lineage/record/sink'
import { HASH_SIZE, TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
import { WireReader } from '@rootspan/lineage/wire'
import type { BlockRef } from '../pack.ts'

const FULL = 0
const TILE_BYTES = TILE_WIDTH * HASH_SIZE

/** The largest block of an entry bundle: 256 hashes, and 256 entries behind lengths of 16 bits. */
export const MAX_BUNDLE_BYTES = TILE_BYTES + TILE_WIDTH * (2 + 0xffff)

/** Entries and their leaf hashes, `width` of each: the hashes are the tile of level 0 with the same index. */
export interface Bundle {
  readonly width: number
  /** 32 bytes each. */
  readonly hashes: Uint8Array
  /** Each behind its length in two bytes, as in C2SP tlog-tiles. */
  readonly entries: Uint8Array
}

/** Writes the value of a full bundle: where its block is. */
export function writeBundleRef(sink: Sink, ref: BlockRef): void {
  sink.byte(FULL)
  for (const [tag, value] of [
    [0x08, ref.pack],
    [0x10, ref.offset],
    [0x18, ref.length],
  ] as const) {
    sink.byte(tag)
    sink.varint(value)
  }
}

/** Writes the value of a bundle of less than 256 entries: all of it, behind their number. */
export function writePartialBundle(sink: Sink, { width, hashes, entries }: Bundle): void {
  sink.byte(width)
  sink.put(hashes)
  sink.put(entries)
}

/** What a stored value is: a partial bundle, or the block of a full one. Throws a MalformedError. */
export function parseBundleValue(value: Uint8Array): Bundle | BlockRef {
  const width = value[0]
  if (width === undefined) throw new MalformedError('an entry bundle is empty')
  if (width !== FULL) return cutHashes(value.subarray(1), width)
  const ref = { pack: -1, offset: -1, length: -1 }
  const names = ['pack', 'offset', 'length'] as const
  const reader = new WireReader(value, 1)
  for (const [at, name] of names.entries()) {
    if (!reader.next() || reader.field !== at + 1)
      throw new MalformedError('a reference to an entry bundle is incomplete')
    ref[name] = reader.safe(name)
  }
  if (reader.next()) throw new MalformedError('a reference to an entry bundle has an unknown field')
  return ref
}

/** A full bundle out of the raw bytes of its block. Throws a MalformedError. */
export function parseFullBundle(raw: Uint8Array): Bundle {
  return cutHashes(raw, TILE_WIDTH)
}

function cutHashes(bytes: Uint8Array, width: number): Bundle {
  const end = width * HASH_SIZE
  if (bytes.length < end + width * 2) throw new MalformedError('an entry bundle is cut short')
  return { width, hashes: bytes.subarray(0, end), entries: bytes.subarray(end) }
}
