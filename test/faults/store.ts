/**
 * A database that fails on demand: the n-th durable write is refused, with and without its being there afterwards.
 *
 * It wraps the database object, because LevelDB takes no file layer of ours; what LevelDB's own files do in a power
 * cut is not modelled. As with LevelDB, whoever goes on writing after a refused write is given answers that mean
 * nothing: every later write resolves and does nothing.
 */
import type { Database } from '../../packages/collector/src/store/log-store.ts'

export interface StoreFault {
  /** Counted over all writes, from 0. */
  readonly at: number
  /** `lost`: it is not there after; `kept`: it is. The writer gets an error in any case. */
  readonly how: 'lost' | 'kept'
}

export interface FaultyDatabase {
  readonly database: Database
  /** Durable writes so far. */
  readonly writes: number
  readonly struck: boolean
  /** Writes after the refused one: nobody may rely on them. */
  readonly writesAfter: number
  /** Writes that did not ask to be synced: there must be none. */
  readonly unsynced: number
}

export function faultyDatabase(inner: Database, fault: StoreFault | undefined): FaultyDatabase {
  const state = { writes: 0, struck: false, writesAfter: 0, unsynced: 0 }

  async function step(options: { sync?: boolean } | undefined, effect: () => Promise<void>): Promise<void> {
    if (options?.sync !== true) state.unsynced++
    if (state.struck) {
      state.writesAfter++
      return
    }
    const at = state.writes++
    if (fault === undefined || at !== fault.at) return effect()
    state.struck = true
    if (fault.how === 'kept') await effect()
    throw Object.assign(new Error('IO error: injected'), { code: 'LEVEL_IO_ERROR' })
  }

  type Chained = ReturnType<Database['batch']> & { write(options?: object): Promise<void> }
  const batch = (): Chained => {
    const chained = (inner.batch as () => Chained)()
    return new Proxy(chained, {
      get(target, name) {
        if (name === 'write')
          return (options?: { sync?: boolean }) => step(options, () => target.write(options))
        const value = Reflect.get(target, name, target)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }
  const database = new Proxy(inner, {
    get(target, name) {
      if (name === 'batch') return batch
      if (name === 'put')
        return (key: Uint8Array, value: Uint8Array, options?: { sync?: boolean }) =>
          step(options, () => target.put(key, value, options ?? {}))
      if (name === 'del') throw new Error('bad test: the collector never deletes')
      const value = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
  return {
    database,
    get writes() {
      return state.writes
    },
    get struck() {
      return state.struck
    },
    get writesAfter() {
      return state.writesAfter
    },
    get unsynced() {
      return state.unsynced
    },
  }
}
