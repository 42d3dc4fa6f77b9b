/**
 * Where the parts of a tiled log lie and how entries are bundled (c2sp.org/tlog-tiles).
 *
 * A tile at level L holds up to 256 consecutive hashes of complete subtrees of 256^L leaves each; an entry
 * bundle holds the entries under one tile of level 0. Sizes and indexes are safe integers, so that levels
 * above 6 parse but never occur.
 */
import { parseDecimal } from '../bytes.ts'
import { MalformedError } from '../errors.ts'

/** Hashes in a full tile, entries in a full bundle. */
export const TILE_WIDTH = 256

/** Bytes in a hash. */
export const HASH_SIZE = 32

/** The longest entry, in bytes: its length is written in 16 bits. */
export const MAX_ENTRY_SIZE = 65_535

const MAX_LEVEL = 63

/** A tile: `width` hashes from 1 to 256, below 256 at the right edge of a tree only. */
export interface TileId {
  readonly level: number
  readonly index: number
  readonly width: number
}

/** An entry bundle: `width` entries from 1 to 256. */
export interface BundleId {
  readonly index: number
  readonly width: number
}

/** The path of a tile below the log's prefix, e.g. `tile/0/x001/x234/067` or `tile/1/000.p/17`. */
export function tilePath(level: number, index: number, width: number): string {
  if (!Number.isInteger(level) || level < 0 || level > MAX_LEVEL) throw new Error(`bad tile level ${level}`)
  return `tile/${level}/${formatPlace(index, width)}`
}

/** The path of an entry bundle below the log's prefix, e.g. `tile/entries/000.p/3`. */
export function entriesPath(index: number, width: number): string {
  return `tile/entries/${formatPlace(index, width)}`
}

/** The tile of a path; throws a {@link MalformedError} on any other spelling than that of {@link tilePath}. */
export function parseTilePath(path: string): TileId {
  const match = /^tile\/([0-9]{1,2})\/(.*)$/.exec(path)
  const level = Number(match?.[1])
  if (match === null || level > MAX_LEVEL) throw new MalformedError('a path is not that of a tile')
  const id = { level, ...parsePlace(match[2]!) }
  if (tilePath(id.level, id.index, id.width) !== path)
    throw new MalformedError('a path is not that of a tile')
  return id
}

/** The bundle of a path; throws a {@link MalformedError} on any other spelling than that of {@link entriesPath}. */
export function parseEntriesPath(path: string): BundleId {
  const prefix = 'tile/entries/'
  if (!path.startsWith(prefix)) throw new MalformedError('a path is not that of an entry bundle')
  const id = parsePlace(path.slice(prefix.length))
  if (entriesPath(id.index, id.width) !== path)
    throw new MalformedError('a path is not that of an entry bundle')
  return id
}

function formatPlace(index: number, width: number): string {
  if (!Number.isSafeInteger(index) || index < 0) throw new Error(`bad tile index ${index}`)
  if (!Number.isInteger(width) || width < 1 || width > TILE_WIDTH) throw new Error(`bad tile width ${width}`)
  let path = String(index % 1000).padStart(3, '0')
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000))
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`
  return width === TILE_WIDTH ? path : `${path}.p/${width}`
}

/** Reads what {@link formatPlace} writes, and some that it does not: the caller formats it again and compares. */
function parsePlace(path: string): BundleId {
  const match = /^((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/.exec(path)
  if (match === null) throw new MalformedError('a path is not that of a tile')
  const index = parseDecimal(match[1]!.replace(/[x/]/g, '').replace(/^0+(?=.)/, ''), 'a tile index')
  const width = match[2] === undefined ? TILE_WIDTH : Number(match[2])
  if (width < 1 || width > TILE_WIDTH) throw new MalformedError('a tile width is not from 1 to 255')
  return { index, width }
}

/** How many hashes level `level` of a tree of `size` leaves has: one per complete subtree of 256^level leaves. */
export function levelSize(size: number, level: number): number {
  return Math.floor(size / TILE_WIDTH ** level)
}

/** How wide tile `index` of `level` is in a tree of `size` leaves: 0 where there is none, 256 if full. */
export function tileWidth(size: number, level: number, index: number): number {
  return Math.max(0, Math.min(TILE_WIDTH, levelSize(size, level) - index * TILE_WIDTH))
}

/** Every tile of a tree of `size` leaves, partial ones at the right edge included; by level, left to right. */
export function* tilesOf(size: number): Generator<TileId, void, undefined> {
  if (!Number.isSafeInteger(size) || size < 0) throw new Error(`bad tree size ${size}`)
  for (let level = 0; levelSize(size, level) > 0; level++) {
    const tiles = Math.ceil(levelSize(size, level) / TILE_WIDTH)
    for (let index = 0; index < tiles; index++) yield { level, index, width: tileWidth(size, level, index) }
  }
}

/** A bundle: each entry after its length in 16 bits, big-endian. */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length < 1 || entries.length > TILE_WIDTH)
    throw new Error(`bad bundle of ${entries.length} entries`)
  let size = 0
  for (const entry of entries) size += 2 + entry.length
  const bytes = new Uint8Array(size)
  let at = 0
  for (const entry of entries) {
    if (entry.length > MAX_ENTRY_SIZE) throw new Error(`bad entry of ${entry.length} bytes`)
    bytes[at] = Math.floor(entry.length / 256)
    bytes[at + 1] = entry.length % 256
    bytes.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bytes
}

/** The `width` entries of a bundle, as views; throws a {@link MalformedError} if there are fewer or more bytes. */
export function parseEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  if (!Number.isInteger(width) || width < 1 || width > TILE_WIDTH)
    throw new Error(`bad bundle width ${width}`)
  const entries: Uint8Array[] = []
  let at = 0
  while (entries.length < width) {
    if (bytes.length - at < 2) throw new MalformedError('an entry bundle ends early')
    const size = bytes[at]! * 256 + bytes[at + 1]!
    if (bytes.length - at - 2 < size) throw new MalformedError('an entry bundle ends early')
    entries.push(bytes.subarray(at + 2, at + 2 + size))
    at += 2 + size
  }
  if (at !== bytes.length) throw new MalformedError('an entry bundle has bytes after its last entry')
  return entries
}
