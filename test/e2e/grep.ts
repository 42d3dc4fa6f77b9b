/** A grep that looks into compressed blocks, too: whether bytes are anywhere in a directory. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'

const ZSTD = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])

/** The needles that some file holds, as they are or inside of a zstd frame, with the names of the files. */
export function grep(directory: string, needles: readonly Uint8Array[]): Map<number, string[]> {
  const found = new Map<number, string[]>()
  const byText = new Map(needles.map((needle, at) => [Buffer.from(needle).toString('latin1'), at]))
  /** Lengths of the needles that begin with the same four bytes. */
  const lengths = new Map<number, Set<number>>()
  for (const needle of needles) {
    const start = Buffer.from(needle).readUInt32BE(0)
    lengths.set(start, (lengths.get(start) ?? new Set()).add(needle.length))
  }
  /** Whether a needle begins with these two bytes: most places in a file are passed over by it. */
  const begins = new Uint8Array(0x10000)
  for (const needle of needles) begins[needle[0]! * 256 + needle[1]!] = 1
  // One pass for any number of needles: those that begin with the four bytes at a place are compared there.
  const search = (bytes: Buffer, file: string): void => {
    for (let i = 3; i < bytes.length; i++) {
      if (begins[bytes[i - 3]! * 256 + bytes[i - 2]!] === 0) continue
      const word = bytes.readUInt32BE(i - 3)
      for (const length of lengths.get(word) ?? []) {
        const at = byText.get(bytes.toString('latin1', i - 3, i - 3 + length))
        if (at !== undefined) found.set(at, [...new Set([...(found.get(at) ?? []), file])])
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
