/** Words for sentences that hold names: those come from applications, and are bounded, on one line and marked as such. */

/** Names in a list that are told. */
const MAX_NAMES = 4
/** Characters of a name that are told. */
const MAX_NAME = 120
/** Characters of what a rule says that are told. */
const MAX_DETAIL = 1000

export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}

export function article(noun: string): string {
  return `${/^[aeiou]/i.test(noun) ? 'an' : 'a'} ${noun}`
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** Names come from the application: on one line, of bounded length, and marked as such. */
export function quote(name: string): string {
  return JSON.stringify(cut(name))
}

/** A name that is quoted only where it could be taken for something else. */
export function word(name: string): string {
  return /^[\p{L}\p{N}\p{M}._:/@#+$~=?&%*<>[\]…-]+$/u.test(cut(name)) ? cut(name) : quote(name)
}

/** What a rule says holds names of services as they are. */
export function oneLine(text: string): string {
  const whole = text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Zl}\p{Zp}]/gu, (one) => JSON.stringify(one).slice(1, -1))
  return whole.length <= MAX_DETAIL ? whole : `${whole.slice(0, MAX_DETAIL).toWellFormed()}…`
}

function cut(name: string): string {
  const whole = name.toWellFormed()
  return whole.length <= MAX_NAME ? whole : `${whole.slice(0, MAX_NAME).toWellFormed()}…`
}

export function several(names: readonly string[], between: string): string {
  const more = names.length - MAX_NAMES
  return `${names.slice(0, MAX_NAMES).map(short).join(between)}${more > 0 ? ` and ${more} more` : ''}`
}

/** Fingerprints and digests are recognised by their beginning. */
export function short(value: string): string {
  const digest = /^([a-z0-9-]+:)?([0-9a-f]{12})[0-9a-f]{20,}$/.exec(value)
  return digest === null ? word(value) : `${digest[1] ?? ''}${digest[2]}…`
}
