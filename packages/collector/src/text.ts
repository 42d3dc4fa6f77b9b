/** Strings of one byte a character: how ids are map keys. */

export function latin1(text: string): Uint8Array {
  return Buffer.from(text, 'latin1')
}
