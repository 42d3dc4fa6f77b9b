/**
 * A cache that keeps at least the `size` values used last, and at most twice as many.
 *
 * Two generations: one that is full becomes the old one, and what is not used until the next one is full is gone.
 */
export interface Cache<K, V> {
  get(key: K): V | undefined
  set(key: K, value: V): void
}

export function createCache<K, V>(size: number): Cache<K, V> {
  let young = new Map<K, V>()
  let old = new Map<K, V>()
  const set = (key: K, value: V): void => {
    if (young.size >= size) {
      old = young
      young = new Map()
    }
    young.set(key, value)
  }
  return {
    get(key) {
      const recent = young.get(key)
      if (recent !== undefined) return recent
      const found = old.get(key)
      if (found !== undefined) set(key, found)
      return found
    },
    set,
  }
}
