/**
 * The bytes of a spool file: a magic line, then frames that are only ever appended.
 *
 *     frame    u32 length of the payload | u32 CRC-32 of kind and payload | u8 kind | payload     (little-endian)
 *     payload  16 bytes trace id | 8 bytes span id | an `ExportTraceServiceRequest` with this one span
 *
 * A frame that is cut short or whose checksum does not hold ends the file: a crash tears the last frame at most, and
 * what is behind a damaged one cannot be found again.
 */
import { readSync } from 'node:fs'
import { crc32 } from 'node:zlib'

export const MAGIC = Buffer.from('rootspan spool 1\n')
export const HEAD_BYTES = 9
const KEY_BYTES = 24
/** A larger span is not taken. */
export const MAX_PAYLOAD = 16 << 20

/** A span that ended, or an open one as it was. */
export const Kind = { ended: 1, open: 2 } as const
export type Kind = (typeof Kind)[keyof typeof Kind]

export interface Frame {
  readonly kind: Kind
  /** Trace and span id, in hex. */
  readonly key: string
  readonly request: Uint8Array
  /** Where it begins, and where the next one does. */
  readonly start: number
  readonly end: number
}

export function encodeFrame(kind: Kind, key: Uint8Array, request: Uint8Array): Buffer {
  const length = KEY_BYTES + request.length
  const frame = Buffer.allocUnsafe(HEAD_BYTES + length)
  frame[8] = kind
  frame.set(key, HEAD_BYTES)
  frame.set(request, HEAD_BYTES + KEY_BYTES)
  frame.writeUInt32LE(length, 0)
  frame.writeUInt32LE(crc32(frame.subarray(8)), 4)
  return frame
}

/** The frame at `start`; undefined if no whole, sound one is there. */
export function readFrame(fd: number, start: number): Frame | undefined {
  const head = readFully(fd, start, HEAD_BYTES)
  if (head === undefined) return undefined
  const length = head.readUInt32LE(0)
  if (length < KEY_BYTES || length > MAX_PAYLOAD) return undefined
  const end = start + HEAD_BYTES + length
  const covered = readFully(fd, start + 8, 1 + length)
  if (covered === undefined || crc32(covered) !== head.readUInt32LE(4)) return undefined
  const [kind] = covered
  if (kind !== Kind.ended && kind !== Kind.open) return undefined
  return {
    kind,
    key: covered.toString('hex', 1, 1 + KEY_BYTES),
    request: covered.subarray(1 + KEY_BYTES),
    start,
    end,
  }
}

export function hasMagic(fd: number): boolean {
  return readFully(fd, 0, MAGIC.length)?.equals(MAGIC) === true
}

/** Undefined if the file ends before. */
function readFully(fd: number, position: number, length: number): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(length)
  let filled = 0
  while (filled < length) {
    const count = readSync(fd, bytes, filled, length - filled, position + filled)
    if (count === 0) return undefined
    filled += count
  }
  return bytes
}
