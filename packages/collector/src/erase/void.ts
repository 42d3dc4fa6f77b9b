/** Void blocks: what a block becomes whose payloads were erased (docs/formats/pack.md). */
import { crc32 } from 'node:zlib'
import { type Files, nodeReadFiles, readFullySync, writeFully } from '../files.ts'
import { BLOCK_HEADER_BYTES, BLOCK_MAGIC, type BlockRef } from '../pack.ts'

const CHUNK = 1024 * 1024
const ZEROS = Buffer.alloc(CHUNK)

/** Overwrites a block in place, and has it on the disk when it resolves. May be done again after a crash. */
export async function voidBlocks(
  files: Files,
  path: string,
  refs: readonly Pick<BlockRef, 'offset' | 'length'>[],
): Promise<void> {
  const file = await files.open(path, 'write')
  try {
    for (const { offset, length } of refs) {
      const stored = length - BLOCK_HEADER_BYTES
      await writeFully(file, [voidHeader(stored)], offset)
      for (let at = 0; at < stored; at += CHUNK)
        await writeFully(
          file,
          [ZEROS.subarray(0, Math.min(CHUNK, stored - at))],
          offset + BLOCK_HEADER_BYTES + at,
        )
    }
    await file.fdatasync()
  } finally {
    await file.close()
  }
}

/** Length of the void block at an offset of a pack, every byte of it checked; undefined where there is none. */
export function voidLength(path: string, offset: number): number | undefined {
  const file = nodeReadFiles.open(path)
  try {
    const head = Buffer.alloc(BLOCK_HEADER_BYTES)
    if (readFullySync(file, head, offset) < head.length) return undefined
    const stored = head.readUInt32BE(12)
    if (offset + head.length + stored > file.size() || !head.equals(voidHeader(stored))) return undefined
    const chunk = Buffer.alloc(Math.min(stored, CHUNK))
    for (let at = 0; at < stored; at += CHUNK) {
      const part = chunk.subarray(0, Math.min(CHUNK, stored - at))
      if (readFullySync(file, part, offset + head.length + at) < part.length) return undefined
      if (!part.equals(ZEROS.subarray(0, part.length))) return undefined
    }
    return head.length + stored
  } finally {
    file.close()
  }
}

function voidHeader(stored: number): Buffer {
  const head = Buffer.alloc(BLOCK_HEADER_BYTES)
  head.writeUInt32BE(BLOCK_MAGIC, 0)
  head.writeUInt32BE(stored, 12)
  let crc = crc32(head.subarray(0, 16))
  for (let at = 0; at < stored; at += CHUNK) crc = crc32(ZEROS.subarray(0, Math.min(CHUNK, stored - at)), crc)
  head.writeUInt32BE(crc, 16)
  return head
}
