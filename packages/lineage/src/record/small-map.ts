/**
 * A map that is usually small: it compares keys one by one as long as there are few, which takes a fraction of
 * what a hash table costs to make. Keys are compared as by `===`.
 */
export class SmallMap<K, V> {
  readonly #keys: K[] = []
  readonly #values: V[] = []
  #map: Map<K, V> | undefined

  get(key: K): V | undefined {
    if (this.#map !== undefined) return this.#map.get(key)
    const keys = this.#keys
    // What was put last is what is asked for next, most of the time.
    for (let at = keys.length - 1; at >= 0; at--) if (keys[at] === key) return this.#values[at]
    return undefined
  }

  /** Adds a key that is not there yet. */
  add(key: K, value: V): void {
    if (this.#map !== undefined) {
      this.#map.set(key, value)
      return
    }
    this.#keys.push(key)
    this.#values.push(value)
    if (this.#keys.length > FEW) {
      this.#map = new Map()
      for (const [at, key] of this.#keys.entries()) this.#map.set(key, this.#values[at]!)
    }
  }
}

const FEW = 24
