/**
 * Strings that keep every byte.
 *
 * A protobuf string should be UTF-8, but senders get it wrong and evidence must not lose what they sent. A byte
 * that is no part of valid UTF-8 becomes one lone surrogate, U+DC00 plus the byte (PEP 383 does the same), which
 * valid UTF-8 can never produce. So strings are equal exactly when their bytes are. For people, `toWellFormed()`
 * turns such a character into U+FFFD.
 */
import { utf8 } from '../bytes.ts'

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The text of received bytes; {@link encodeText} gives exactly these bytes back. */
export function decodeText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes)
  } catch {
    return decodeBroken(bytes)
  }
}

/**
 * The bytes of a text, behind `before` bytes that are zero. Lone surrogates outside U+DC80..U+DCFF, which no bytes decode
 * to, become U+FFFD.
 */
export function encodeText(text: string, before = 0): Uint8Array {
  if (text.isWellFormed()) return utf8(text, before)
  const out = new Array<number>(before).fill(0)
  for (const character of text) {
    const code = character.codePointAt(0)!
    if (code >= 0xdc80 && code <= 0xdcff) out.push(code & 0xff)
    else for (const byte of utf8(character)) out.push(byte)
  }
  return Uint8Array.from(out)
}

function decodeBroken(bytes: Uint8Array): string {
  let out = ''
  let at = 0
  while (at < bytes.length) {
    const size = sequenceSize(bytes, at)
    out +=
      size === 0 ? String.fromCharCode(0xdc00 | bytes[at]!) : strict.decode(bytes.subarray(at, at + size))
    at += size || 1
  }
  return out
}

/** How many bytes the well-formed sequence at `at` has (Unicode, table 3-7), 0 when there is none. */
function sequenceSize(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!
  if (lead < 0x80) return 1
  const size = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0
  if (size === 0 || at + size > bytes.length) return 0
  const second = bytes[at + 1]!
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < lowest || second > highest) return 0
  for (let i = 2; i < size; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0
  return size
}
