/** Text for terminals. Names come from senders and logs: nothing of theirs may steer a terminal. */

// Control characters, line and paragraph separators, marks that turn the direction of writing, and no-break oddities.
const STEERING = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu

/** The text with everything that a terminal might obey written out as `\u{...}`. */
export function printable(text: string): string {
  return text.replace(STEERING, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`)
}

/** Columns that a printable text takes. */
export function widthOf(text: string): number {
  let width = 0
  for (const character of text) width += columnsOf(character.codePointAt(0)!)
  return width
}

/** The text cut to `columns`, with an ellipsis where something was cut. */
export function fit(text: string, columns: number): string {
  if (columns === Number.POSITIVE_INFINITY || widthOf(text) <= columns) return text
  let width = 1
  let out = ''
  for (const character of text) {
    width += columnsOf(character.codePointAt(0)!)
    if (width > columns) break
    out += character
  }
  return `${out}…`
}

function columnsOf(code: number): number {
  if (code < 0x300) return 1
  if (code <= 0x36f || (code >= 0xfe00 && code <= 0xfe0f)) return 0 // combining marks, variation selectors
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd)
  return isWide ? 2 : 1
}

/** A length of time in nanoseconds, in three digits or so. Clocks may run backwards: it may be negative. */
export function formatDuration(nanos: bigint): string {
  if (nanos < 0n) return `-${formatDuration(-nanos)}`
  const value = Number(nanos)
  if (value < 1000) return `${value} ns`
  if (value < 999_500) return `${digits(value / 1e3)} µs`
  if (value < 999_500_000) return `${digits(value / 1e6)} ms`
  if (value < 59_950_000_000) return `${digits(value / 1e9)} s`
  const seconds = Math.round(value / 1e9)
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}

function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** Nanoseconds since 1970 as ISO 8601, to the millisecond; as a number of nanoseconds where it has no year of four digits. */
export function formatTime(nanos: bigint): string {
  const millis = nanos / 1_000_000n
  return millis < 253_402_300_800_000n ? new Date(Number(millis)).toISOString() : `${nanos} ns`
}

/** `12,345`. */
export function formatCount(count: number): string {
  return String(count).replace(/(?<=[0-9])(?=(?:[0-9]{3})+$)/g, ',')
}

/** `1 span`, `2 spans`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}
