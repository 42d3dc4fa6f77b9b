/**
 * Canonical JSON after RFC 8785 of values that an application holds, for digests and commitments.
 *
 * What JSON has no word for is written so that the text stays deterministic: see `write`. What has no members of its
 * own, such as an `ArrayBuffer`, a `DataView` or a `Blob`, is `{}` whatever it holds. Bounded in depth, members and
 * length; a value beyond them has no canonical text, and is given up without a copy of it. Getters, `toJSON` and the
 * traps of proxies run, and may throw.
 *
 * Known hole: engines list all names of an object before the first can be had, so that a plain object of a million
 * names costs a third of a second and a fifth of its size before it is given up.
 */

const MAX_DEPTH = 64
const MAX_MEMBERS = 50_000
const MAX_LENGTH = 4 << 20
/** Of objects, with those that JSON leaves out: one object may be met in many places. */
const MAX_KEYS = 1 << 20
/** Numbers of more bits are longer than MAX_LENGTH in decimal. */
const MAX_BITS = 14_000_000
/** Among the first numbers of members that are taken for numbered. */
const MAX_HOLES = 8
/** So many keys are sorted by hand, which takes a fraction of the call. */
const FEW = 8
/** Up to this length a loop is faster than a regular expression. */
const SHORT = 48

/** The canonical text; undefined when the value is over the bounds. Cost is linear in what is written. */
export function canonicalJson(value: unknown): string | undefined {
  const state: State = { pieces: [], length: 0, members: 0, keys: 0, above: [] }
  return write(state, value, 0) ? state.pieces.join('') : undefined
}

interface State {
  /** Of the text. Joined at once they make a flat string; one that grows by pieces costs more to read than to write. */
  readonly pieces: string[]
  length: number
  members: number
  keys: number
  /** Objects that enclose the place, at most MAX_DEPTH. */
  readonly above: object[]
}

/** Returns false when a bound was met. */
function write(state: State, value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
      return putQuoted(state, value)
    case 'number':
      return put(state, Number.isFinite(value) ? JSON.stringify(value) : `"${value}"`)
    case 'boolean':
      return put(state, String(value))
    case 'bigint':
      return BigInt.asIntN(MAX_BITS, value) === value && put(state, `"${value}"`)
    case 'object':
      return value === null ? put(state, 'null') : writeObject(state, value, depth)
    default:
      // Functions, symbols and undefined in arrays: as JSON.stringify has them.
      return put(state, 'null')
  }
}

function writeObject(state: State, value: object, depth: number): boolean {
  const { above } = state
  if (above.includes(value)) return put(state, '"[circular]"')
  if (depth >= MAX_DEPTH) return false
  above.push(value)
  const written = writeMembers(state, value, depth)
  above.pop()
  return written
}

function writeMembers(state: State, value: object, depth: number): boolean {
  let plain: unknown
  try {
    plain = asPlain(value)
  } catch {
    return put(state, '"[unreadable]"')
  }
  if (plain !== value) return write(state, plain, depth + 1)
  if (Array.isArray(value)) {
    const length = read(value, 'length')
    if (typeof length !== 'number') return put(state, '"[unreadable]"')
    if (length > MAX_MEMBERS || !put(state, '[')) return false
    for (let at = 0; at < length; at++) {
      if (at > 0 && !put(state, ',')) return false
      if (++state.members > MAX_MEMBERS || !write(state, read(value, at), depth + 1)) return false
    }
    return put(state, ']')
  }
  if (isNumbered(value)) return false
  const keys = keysOf(value)
  if (keys === undefined) return put(state, '"[unreadable]"')
  state.keys += keys.length
  if (state.members + keys.length > MAX_MEMBERS || state.keys > MAX_KEYS || !put(state, '{')) return false
  let first = true
  for (const key of sorted(keys)) {
    const member = read(value, key)
    if (member === undefined || typeof member === 'function' || typeof member === 'symbol') continue
    state.members++
    if (!putQuoted(state, key, first ? '' : ',', ':')) return false
    if (!write(state, member, depth + 1)) return false
    first = false
  }
  return put(state, '}')
}

/** RFC 8785, 3.2.3: by UTF-16 code units, which is JavaScript's own order of strings. In place. */
function sorted(keys: string[]): string[] {
  if (keys.length > FEW) return keys.sort()
  for (let at = 1; at < keys.length; at++) {
    const key = keys[at]!
    let to = at
    for (; to > 0 && keys[to - 1]! > key; to--) keys[to] = keys[to - 1]!
    keys[to] = key
  }
  return keys
}

/** What stands for an object that is not a plain one; the object itself if nothing does. */
function asPlain(value: object): unknown {
  const prototype = Object.getPrototypeOf(value)
  // Nearly all: nothing below is asked of them.
  if (prototype !== Object.prototype && prototype !== Array.prototype) {
    if (value instanceof Uint8Array)
      return value.length > MAX_LENGTH / 2 ? value : Buffer.from(value).toString('base64')
    if (value instanceof Map || value instanceof Set) return firstOf(value)
  }
  const { toJSON } = value as { toJSON?: unknown }
  return typeof toJSON === 'function' ? toJSON.call(value) : value
}

/** So many that an array of them is over the bounds, of an iteration that may have no end. */
function firstOf(values: Iterable<unknown>): unknown[] {
  const first: unknown[] = []
  for (const one of values) if (first.push(one) > MAX_MEMBERS) break
  return first
}

/**
 * Whether an object has too many members that are numbered as those of typed arrays and `String` objects are: from 0, or
 * nearly. To list their names would cost many times what the object does.
 */
function isNumbered(value: object): boolean {
  try {
    if (!Object.hasOwn(value, MAX_MEMBERS)) return false
    let count = 0
    for (let at = 0; count <= MAX_MEMBERS; at++) {
      if (isEnumerable.call(value, at)) count++
      else if (at - count > MAX_HOLES) return false
    }
    return true
  } catch {
    return false
  }
}

const { propertyIsEnumerable: isEnumerable } = Object.prototype

function keysOf(value: object): string[] | undefined {
  try {
    return Object.keys(value)
  } catch {
    return undefined
  }
}

function read(value: object, key: string | number): unknown {
  try {
    return (value as Record<string | number, unknown>)[key]
  } catch {
    return '[unreadable]'
  }
}

/** Printable ASCII without quotation mark and backslash: what JSON writes as it is. */
const PLAIN = /^[ !#-[\]-~]*$/

function quote(text: string): string {
  return isPlain(text) ? `"${text}"` : JSON.stringify(text.toWellFormed())
}

function isPlain(text: string): boolean {
  if (text.length > SHORT) return PLAIN.test(text)
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit < 0x20 || unit > 0x7e || unit === 0x22 || unit === 0x5c) return false
  }
  return true
}

function putQuoted(state: State, text: string, before = '', after = ''): boolean {
  return text.length <= MAX_LENGTH && put(state, before + quote(text) + after)
}

function put(state: State, text: string): boolean {
  state.length += text.length
  if (state.length > MAX_LENGTH) return false
  state.pieces.push(text)
  return true
}
