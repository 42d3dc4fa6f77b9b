/**
 * The attribute keys that somebody looks at, found by their bytes. Most attributes of a span are nobody's business here,
 * and turning them into objects is most of what decoding a span costs.
 */
import { copyBytes, utf8 } from '../bytes.ts'
import { decodeText } from './text.ts'

/**
 * Keys behind the prefix that are remembered once they were seen, their length, and how many may share a hash: senders
 * choose them.
 */
const MAX_LEARNED = 512
const MAX_LEARNED_BYTES = 64
const MAX_ALIKE = 4

interface Known {
  readonly bytes: Uint8Array
  readonly key: string
}

const NONE: readonly Known[] = []

export class KeyNames {
  readonly #prefix: Uint8Array
  readonly #known = new Map<number, Known[]>()
  #learned = 0

  /** These keys, and all that begin with `prefix`. */
  constructor(keys: Iterable<string>, prefix: string) {
    this.#prefix = utf8(prefix)
    for (const key of keys) this.#put(utf8(key), key)
  }

  /** The key that these bytes are; undefined where nobody looks at it. */
  find(bytes: Uint8Array, start: number, end: number): string | undefined {
    const alike = this.#known.get(hashOf(bytes, start, end)) ?? NONE
    for (const { bytes: own, key } of alike) if (isAt(own, bytes, start, end)) return key
    const prefix = this.#prefix
    if (!isAt(prefix, bytes, start, Math.min(end, start + prefix.length))) return undefined
    const key = decodeText(bytes.subarray(start, end))
    if (this.#learned < MAX_LEARNED && end - start <= MAX_LEARNED_BYTES && alike.length < MAX_ALIKE) {
      this.#learned++
      this.#put(copyBytes(bytes, start, end), key)
    }
    return key
  }

  #put(bytes: Uint8Array, key: string): void {
    const hash = hashOf(bytes, 0, bytes.length)
    const others = this.#known.get(hash)
    if (others === undefined) this.#known.set(hash, [{ bytes, key }])
    else others.push({ bytes, key })
  }
}

function isAt(own: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (own.length !== end - start) return false
  for (let at = 0; at < own.length; at++) if (own[at] !== bytes[start + at]) return false
  return true
}

/** FNV-1a. */
function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
  return hash
}
