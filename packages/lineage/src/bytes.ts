/**
 * The only parsers of hex, base64 and decimals in the core, and byte helpers.
 *
 * JavaScript's own are lenient (`Buffer.from('!!', 'base64')` is empty, `BigInt('0x10')` is 16), so each
 * parser here accepts exactly the canonical form: what it returns formats back to what it was given.
 */
import { MalformedError } from './errors.ts'

// Searches for one wrong character: a repeated group would overflow the stack on megabytes.
const NOT_HEX = /[^0-9a-f]/
const DECIMAL = /^(?:0|[1-9][0-9]*)$/
const NOT_BASE64 = /[^A-Za-z0-9+/]/

/** Arrays up to this live in the JavaScript heap, where a loop over ASCII, which nearly everything is, beats a call. */
const SHORT_TEXT = 64

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 bytes of a string, behind `before` bytes that are zero. */
export function utf8(text: string, before = 0): Uint8Array {
  const { length } = text
  if (before + length <= SHORT_TEXT) {
    const out = new Uint8Array(before + length)
    let at = 0
    for (; at < length; at++) {
      const code = text.charCodeAt(at)
      if (code > 0x7f) break
      out[before + at] = code
    }
    if (at === length) return out
  }
  const bytes = encoder.encode(text)
  if (before === 0) return bytes
  const out = new Uint8Array(before + bytes.length)
  out.set(bytes, before)
  return out
}

/** Text of UTF-8 bytes; throws on any byte that is not UTF-8. A byte order mark is kept. */
export function parseUtf8(bytes: Uint8Array, what = 'text'): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new MalformedError(`${what} is not UTF-8`)
  }
}

/** Bytes [start, end) in memory of their own: `slice` of a Buffer, which most bytes are on Node, is a view. */
export function copyBytes(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
  return new Uint8Array(bytes.subarray(start, end))
}

/** A view of the same bytes for {@link copyWords}. */
export function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Copies `size` bytes, and those up to the next multiple of 8, eight at a time: a loop over 32 single bytes takes six times
 * as long.
 */
export function copyWords(from: DataView, at: number, to: DataView, toAt: number, size: number): void {
  for (let i = 0; i < size; i += 8) to.setBigInt64(toAt + i, from.getBigInt64(at + i))
}

/** Writes 32 bits, big-endian; returns the place after them. */
export function putU32(out: Uint8Array, at: number, value: number): number {
  out[at] = value >>> 24
  out[at + 1] = value >>> 16
  out[at + 2] = value >>> 8
  out[at + 3] = value
  return at + 4
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

const DIGITS = Array.from('0123456789abcdef', (digit) => digit.charCodeAt(0))

/** Characters of a span id, a trace id and a hash, written again each time. */
const ID_CODES: number[] = new Array(16).fill(0)
const TRACE_CODES: number[] = new Array(32).fill(0)
const HASH_CODES: number[] = new Array(64).fill(0)

/** Lower-case hex. Ids and hashes are made at once: text that grows is put together again by whoever looks it up. */
export function formatHex(bytes: Uint8Array): string {
  const { length } = bytes
  const codes = length === 8 ? ID_CODES : length === 16 ? TRACE_CODES : length === 32 ? HASH_CODES : undefined
  if (codes !== undefined) {
    for (let at = 0; at < length; at++) {
      codes[2 * at] = DIGITS[bytes[at]! >> 4]!
      codes[2 * at + 1] = DIGITS[bytes[at]! & 15]!
    }
    return String.fromCharCode.apply(null, codes)
  }
  let out = ''
  for (let at = 0; at < bytes.length; at++) out += HEX[bytes[at]!]
  return out
}

/** Bytes of lower-case hex; `size` demands an exact number of bytes. */
export function parseHex(text: string, what = 'hex', size?: number): Uint8Array {
  if (text.length % 2 !== 0 || NOT_HEX.test(text)) throw new MalformedError(`${what} is not lower-case hex`)
  if (size !== undefined && text.length !== size * 2)
    throw new MalformedError(`${what} is not ${size} bytes long`)
  const out = new Uint8Array(text.length / 2)
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(text.slice(i * 2, i * 2 + 2), 16)
  return out
}

/** `apply` on the array itself: spreading it costs eight times as much. */
function text(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[])
}

/** Standard base64 with padding (RFC 4648, section 4). */
export function formatBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let i = 0; i < bytes.length; i += 0x8000) binary += text(bytes.subarray(i, i + 0x8000))
  return btoa(binary)
}

/** Bytes of canonical standard base64: padded, no white space, unused bits zero. */
export function parseBase64(text: string, what = 'base64', size?: number): Uint8Array {
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const digits = text.slice(0, text.length - padding)
  if (text.length % 4 !== 0 || NOT_BASE64.test(digits)) throw new MalformedError(`${what} is not base64`)
  const binary = atob(text)
  const out = new Uint8Array(binary.length)
  for (let i = 0; i < out.length; i++) out[i] = binary.charCodeAt(i)
  if (padding > 0 && formatBase64(out.subarray(out.length - (out.length % 3))) !== text.slice(-4))
    throw new MalformedError(`${what} is not canonical base64`)
  if (size !== undefined && out.length !== size) throw new MalformedError(`${what} is not ${size} bytes long`)
  return out
}

/** A decimal without sign or leading zeros that is a safe integer: a tree size, a leaf index. */
export function parseDecimal(text: string, what = 'number'): number {
  const value = text.length <= 16 && DECIMAL.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw new MalformedError(`${what} is not a decimal below 2^53`)
  return value
}

/** A decimal of up to 64 bits, unsigned. */
export function parseDecimal64(text: string, what = 'number'): bigint {
  if (text.length > 20 || !DECIMAL.test(text)) throw new MalformedError(`${what} is not a decimal`)
  const value = BigInt(text)
  if (value > 0xffff_ffff_ffff_ffffn) throw new MalformedError(`${what} is over 64 bits`)
  return value
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  return joinBytes(parts)
}

/** As {@link concatBytes}, for lists of any length: an argument list overflows the stack at about 100,000. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0
  for (const part of parts) size += part.length
  const out = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Order of two byte strings as unsigned bytes, shorter first where one is a prefix: below, at or above 0. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const size = Math.min(a.length, b.length)
  for (let i = 0; i < size; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return a.length - b.length
}
