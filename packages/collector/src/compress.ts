/** Compressing blocks of packs (zstd, RFC 8878), and giving the memory for it back. */
import { constants, createZstdCompress, type ZstdOptions, zstdCompressSync } from 'node:zlib'
import { discard } from './buffer-pool.ts'

/** Up to this a block is compressed, or inflated, on the thread that asks: handing it over costs as much. */
export const SYNC_BYTES = 64 * 1024

/** One frame that says how large its contents are. On libuv's pool where it is over {@link SYNC_BYTES}. */
export function compress(raw: Uint8Array, level: number): Uint8Array | Promise<Uint8Array> {
  // The size said in advance fits zstd's tables to small blocks; one buffer for what compresses to a quarter.
  const options: ZstdOptions = {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    pledgedSrcSize: raw.length,
    chunkSize: roomFor(raw.length),
  }
  if (raw.length <= SYNC_BYTES) return zstdCompressSync(raw, options)
  return new Promise((resolve, reject) => {
    // `zstdCompress` would copy it, and leave the buffer to whoever marks the whole heap: what a stream holds grows old with it.
    const stream = createZstdCompress(options)
    const pieces: Buffer[] = []
    stream.on('data', (piece: Buffer) => pieces.push(piece))
    stream.on('error', reject)
    stream.on('end', () => resolve(joined(pieces)))
    stream.end(raw)
  })
}

/** How large the buffers are into which so many bytes are compressed. */
function roomFor(rawLength: number): number {
  return Math.ceil(rawLength / 4) + 128
}

/** Pieces that lie one behind the other in one buffer, as they are; else a copy. */
function joined(pieces: readonly Buffer[]): Uint8Array {
  const [first] = pieces
  let size = 0
  let isRun = true
  for (const { buffer, byteOffset, length } of pieces) {
    isRun &&= buffer === first!.buffer && byteOffset === first!.byteOffset + size
    size += length
  }
  if (first !== undefined && isRun) return Buffer.from(first.buffer, first.byteOffset, size)
  const whole = Buffer.allocUnsafeSlow(size)
  let at = 0
  for (const piece of pieces) at += piece.copy(whole, at)
  return whole
}

/**
 * Gives the memory of a compressed block back at once. It has outlived a young collection by now, and would be counted as
 * growth of the heap until all of that is marked. Only a buffer of which it is certain that nothing else lies in it.
 */
export function discardCompressed(raw: Uint8Array, { buffer, length }: Uint8Array): void {
  const room = roomFor(raw.length)
  const isOwn = buffer.byteLength === length || (buffer.byteLength === room && room >= Buffer.poolSize)
  if (raw.length > SYNC_BYTES && buffer !== raw.buffer && isOwn) discard(buffer as ArrayBuffer)
}
