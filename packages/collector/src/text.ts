/** Strings: of one byte a character, which is how ids are map keys; and what of them a terminal may see. */

export function latin1(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}

/** The inverse of {@link latin1}. */
export function latin1Text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

// Control characters, separators of lines and paragraphs, marks of direction, halves of characters.
const OBEYED = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu

/** What senders named, for a terminal: nothing in it that one would obey. */
export function printable(text: string): string {
  return text.replace(OBEYED, (one) => `\\u{${one.codePointAt(0)!.toString(16)}}`)
}
