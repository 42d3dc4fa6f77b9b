/** A grep that looks into compressed blocks, too: whether bytes are anywhere in a directory. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'

const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])

/** The needles that some file holds, as they are or inside of a zstd frame, with the names of the files. */
export function grep(directory: string, needles: readonly Uint8Array[]): Map<number, string[]> {
  const found = new Map<number, string[]>()
  const byStart = new Map<number, number[]>()
  for (const [at, needle] of needles.entries()) {
    const start = needle[0]! * 0x1000000 + needle[1]! * 0x10000 + needle[2]! * 256 + needle[3]!
    byStart.set(start, [...(byStart.get(start) ?? []), at])
  }
  const buffers = needles.map((needle) => Buffer.from(needle))
  // One pass for any number of needles: those that begin with the four bytes at a place are compared there.
  const search = (bytes: Buffer, file: string): void => {
    let word = 0
    for (let i = 0; i < bytes.length; i++) {
      word = ((word & 0xffffff) << 8) | bytes[i]!
      if (i < 3) continue
      for (const at of byStart.get(word >>> 0) ?? []) {
        const needle = buffers[at]!
        if (
          bytes.compare(needle, 0, needle.length, i - 3, Math.min(bytes.length, i - 3 + needle.length)) === 0
        )
          found.set(at, [...new Set([...(found.get(at) ?? []), file])])
      }
    }
  }
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const file = join(entry.parentPath, entry.name)
    search(Buffer.from(file), file)
    const bytes = readFileSync(file)
    search(bytes, file)
    for (let at = bytes.indexOf(ZSTD); at !== -1; at = bytes.indexOf(ZSTD, at + 1)) {
      const inflated = inflate(bytes, at)
      if (inflated !== undefined) search(inflated, file)
    }
  }
  return found
}

/** The frame that begins here. A block says how long it is right before it; what is no frame is none. */
function inflate(bytes: Buffer, at: number): Buffer | undefined {
  const length = at >= 20 ? bytes.readUInt32BE(at - 8) : 0
  for (const end of [at + length, bytes.length]) {
    try {
      return zstdDecompressSync(bytes.subarray(at, end), { maxOutputLength: 512 * 1024 * 1024 })
    } catch {
      // Four bytes that look like the beginning of one, or a frame that something follows.
    }
  }
  return undefined
}
