/**
 * Bytes of the journal: the header of a segment file and the frames after it. Normative page:
 * docs/formats/journal.md. All numbers are big-endian.
 *
 *     segment header (32)                      frame header (80)
 *      0  magic "RSjs"                          0  magic "RSjf"
 *      4  version u8 = 0                        4  version u8 = 0
 *      5  zero (3)                              5  kind u8
 *      8  tag (8)                               6  header length u16 = 80
 *     16  first position u64                    8  tag (8)
 *     24  zero (4)                             16  position u64
 *     28  CRC-32 of bytes 0..28                24  durable u64
 *                                              32  seed (32)
 *                                              64  receipt length u32
 *                                              68  body length u32
 *                                              72  CRC-32 of receipt and body
 *                                              76  CRC-32 of bytes 0..76
 *
 * The tag is random and known to nobody outside: a sender cannot put bytes into a body that a search for frames
 * would take for one, and bytes of an older file that a file system brings back are no frames of this one.
 */
import { crc32 } from 'node:zlib'

export const SEGMENT_HEADER_BYTES = 32
export const FRAME_HEADER_BYTES = 80
export const TAG_BYTES = 8
export const SEED_BYTES = 32
/** Receipts are small; the bound keeps a wild length from being followed. */
export const MAX_RECEIPT_BYTES = 65_536
/** The largest body that a frame may hold; receivers have tighter bounds of their own. */
export const MAX_BODY_BYTES = 256 * 1024 * 1024

const VERSION = 0
const SEGMENT_MAGIC = 0x52_53_6a_73
const FRAME_MAGIC = 0x52_53_6a_66
const TWO_32 = 0x1_0000_0000

/** Kinds of frames: an accepted request, and the mark that a clean shutdown leaves, which takes no position. */
export const REQUEST = 1
export const CLOSING = 2

/** One accepted request, as the journal takes it. The bytes must not change until the append has settled. */
export interface Entry {
  /** 32 random bytes, drawn on receipt. */
  readonly seed: Uint8Array
  /** The collector's own `Receipt` message. */
  readonly receipt: Uint8Array
  /** ExportTraceServiceRequest, decompressed, as received. */
  readonly body: Uint8Array
}

/** A frame read back. All byte fields are views into one buffer. */
export interface Frame extends Entry {
  readonly position: number
  /** Every position below was durable on disk when this frame was written. */
  readonly durable: number
  /** The whole frame, header included. */
  readonly bytes: Buffer
  /** First position of the segment file that holds it, and its offset there. */
  readonly segment: number
  readonly fileOffset: number
}

export interface FrameHeader {
  readonly kind: typeof REQUEST | typeof CLOSING
  readonly position: number
  readonly durable: number
  readonly receiptLength: number
  readonly bodyLength: number
  readonly payloadCrc: number
  /** Bytes of the whole frame. */
  readonly frameLength: number
}

/** Length of the frame that an entry becomes. */
export function frameLength(entry: Entry): number {
  return FRAME_HEADER_BYTES + entry.receipt.length + entry.body.length
}

/** CRC-32 of the part of a frame that does not depend on where it goes; about 0.2 us per KB. */
export function payloadCrc(receipt: Uint8Array, body: Uint8Array): number {
  return crc32(body, crc32(receipt))
}

export function encodeSegmentHeader(tag: Uint8Array, first: number): Buffer {
  const out = Buffer.alloc(SEGMENT_HEADER_BYTES)
  out.writeUInt32BE(SEGMENT_MAGIC, 0)
  out[4] = VERSION
  out.set(tag, 8)
  writePosition(out, first, 16)
  out.writeUInt32BE(crc32(out.subarray(0, 28)), 28)
  return out
}

/** Tag and first position of a segment, or what is wrong with its header. */
export function parseSegmentHeader(bytes: Buffer): { tag: Buffer; first: number } | string {
  if (bytes.length < SEGMENT_HEADER_BYTES) return 'segment header is cut short'
  if (bytes.readUInt32BE(28) !== crc32(bytes.subarray(0, 28))) return 'segment header checksum'
  if (bytes.readUInt32BE(0) !== SEGMENT_MAGIC) return 'not a journal segment'
  if (bytes[4] !== VERSION) return 'segment has a format version this program does not know'
  const first = readPosition(bytes, 16)
  if (bytes.readUIntBE(5, 3) !== 0 || bytes.readUInt32BE(24) !== 0 || first === undefined)
    return 'segment header fields'
  return { tag: Buffer.from(bytes.subarray(8, 16)), first }
}

/**
 * Header and receipt of a frame in one new buffer; the body follows it on disk and is not copied.
 * `crc` is {@link payloadCrc} of the same receipt and body.
 */
export function encodeFrame(
  entry: Entry,
  crc: number,
  place: { tag: Uint8Array; position: number; durable: number },
): [head: Buffer, body: Uint8Array] {
  const head = Buffer.allocUnsafe(FRAME_HEADER_BYTES + entry.receipt.length)
  encodeHeader(head, REQUEST, place, entry.seed, entry.receipt.length, entry.body.length, crc)
  head.set(entry.receipt, FRAME_HEADER_BYTES)
  return [head, entry.body]
}

/** The mark of a clean shutdown: everything below `position` is durable. */
export function encodeClosing(tag: Uint8Array, position: number): Buffer {
  const head = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
  encodeHeader(head, CLOSING, { tag, position, durable: position }, NO_SEED, 0, 0, 0)
  return head
}

/**
 * Header of the frame at an offset of a buffer, which must have {@link FRAME_HEADER_BYTES} there, or what is wrong
 * with it. A header that parses was written by the owner of the tag: its lengths can be followed.
 */
export function parseFrameHeader(bytes: Buffer, at: number, tag: Uint8Array): FrameHeader | string {
  if (bytes.readUInt32BE(at) !== FRAME_MAGIC) return 'no frame here'
  if (bytes.readUInt32BE(at + 76) !== crc32(bytes.subarray(at, at + 76))) return 'frame header checksum'
  if (bytes[at + 4] !== VERSION) return 'frame has a format version this program does not know'
  if (bytes.compare(tag, 0, TAG_BYTES, at + 8, at + 16) !== 0) return 'frame of another segment'
  const kind = bytes[at + 5]!
  const position = readPosition(bytes, at + 16)
  const durable = readPosition(bytes, at + 24)
  const receiptLength = bytes.readUInt32BE(at + 64)
  const bodyLength = bytes.readUInt32BE(at + 68)
  const crc = bytes.readUInt32BE(at + 72)
  const frameLength = FRAME_HEADER_BYTES + receiptLength + bodyLength
  if (
    (kind !== REQUEST && kind !== CLOSING) ||
    bytes.readUInt16BE(at + 6) !== FRAME_HEADER_BYTES ||
    position === undefined ||
    durable === undefined ||
    durable > position ||
    receiptLength > MAX_RECEIPT_BYTES ||
    bodyLength > MAX_BODY_BYTES ||
    (kind === CLOSING && (frameLength !== FRAME_HEADER_BYTES || crc !== 0 || durable !== position)) ||
    (kind === CLOSING && bytes.compare(NO_SEED, 0, SEED_BYTES, at + 32, at + 64) !== 0)
  )
    return 'frame header fields'
  return { kind, position, durable, receiptLength, bodyLength, payloadCrc: crc, frameLength }
}

/** Whether receipt and body of a frame that lies whole in the buffer are what was written. */
export function payloadHolds(bytes: Buffer, at: number, header: FrameHeader): boolean {
  return crc32(bytes.subarray(at + FRAME_HEADER_BYTES, at + header.frameLength)) === header.payloadCrc
}

/** Views of a frame that lies whole in the buffer and was checked. */
export function viewFrame(
  buffer: Buffer,
  at: number,
  header: FrameHeader,
  place: { segment: number; fileOffset: number },
): Frame {
  const bytes = buffer.subarray(at, at + header.frameLength)
  const bodyAt = FRAME_HEADER_BYTES + header.receiptLength
  return {
    position: header.position,
    durable: header.durable,
    seed: bytes.subarray(32, 64),
    receipt: bytes.subarray(FRAME_HEADER_BYTES, bodyAt),
    // A plain array: whoever derives makes views of it by the span, which cost several times as much of a Buffer.
    body: new Uint8Array(bytes.buffer, bytes.byteOffset + bodyAt, header.bodyLength),
    bytes,
    segment: place.segment,
    fileOffset: place.fileOffset,
  }
}

const NO_SEED = new Uint8Array(SEED_BYTES)

function encodeHeader(
  out: Buffer,
  kind: number,
  place: { tag: Uint8Array; position: number; durable: number },
  seed: Uint8Array,
  receiptLength: number,
  bodyLength: number,
  crc: number,
): void {
  out.writeUInt32BE(FRAME_MAGIC, 0)
  out[4] = VERSION
  out[5] = kind
  out.writeUInt16BE(FRAME_HEADER_BYTES, 6)
  out.set(place.tag, 8)
  writePosition(out, place.position, 16)
  writePosition(out, place.durable, 24)
  out.set(seed, 32)
  out.writeUInt32BE(receiptLength, 64)
  out.writeUInt32BE(bodyLength, 68)
  out.writeUInt32BE(crc, 72)
  out.writeUInt32BE(crc32(out.subarray(0, 76)), 76)
}

function writePosition(out: Buffer, position: number, at: number): void {
  out.writeUInt32BE(Math.floor(position / TWO_32), at)
  out.writeUInt32BE(position % TWO_32, at + 4)
}

function readPosition(bytes: Buffer, at: number): number | undefined {
  const position = bytes.readUInt32BE(at) * TWO_32 + bytes.readUInt32BE(at + 4)
  return Number.isSafeInteger(position) ? position : undefined
}
