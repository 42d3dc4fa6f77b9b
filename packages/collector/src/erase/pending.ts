/** What an erasure has to destroy once it is committed (docs/formats/store.md, "Erasure"). It names nothing erased. */
import { MalformedError } from '@rootspan/lineage/errors'
import { Sink } from '@rootspan/lineage/record/sink'
import { WireReader } from '@rootspan/lineage/wire'
import type { BlockRef } from '../pack.ts'
import * as keys from '../store/keys.ts'
import type { Database } from '../store/log-store.ts'

export interface Pending {
  /** To be overwritten. */
  readonly blocks: readonly BlockRef[]
  /** To be removed, by id. */
  readonly packs: readonly number[]
}

export function encodePending({ blocks, packs }: Pending): Uint8Array {
  const sink = new Sink(1024)
  const one = new Sink(64)
  for (const { pack, offset, length } of blocks) {
    one.at = 0
    for (const [tag, value] of [
      [0x08, pack],
      [0x10, offset],
      [0x18, length],
    ] as const) {
      one.byte(tag)
      one.varint(value)
    }
    sink.field(0x0a, one.view())
  }
  for (const pack of packs) {
    sink.byte(0x10)
    sink.varint(pack)
  }
  return sink.copy()
}

function parsePending(bytes: Uint8Array): { blocks: BlockRef[]; packs: number[] } {
  const blocks: BlockRef[] = []
  const packs: number[] = []
  const reader = new WireReader(bytes)
  while (reader.next()) {
    if (reader.field === 2) packs.push(reader.safe('a pack'))
    else if (reader.field === 1) {
      const numbers = [0, 0, 0]
      const inner = new WireReader(bytes, reader.start, reader.end)
      while (inner.next()) if (inner.field <= 3) numbers[inner.field - 1] = inner.safe('a block')
      const [pack, offset, length] = numbers as [number, number, number]
      blocks.push({ pack, offset, length })
    } else throw new MalformedError('an erasure has an unknown field')
  }
  return { blocks, packs }
}

/** Everything that is committed and not finished; undefined where nothing is. */
export async function readPending(database: Database): Promise<Pending | undefined> {
  const range = { gte: Uint8Array.of(keys.Prefix.erasing), lt: Uint8Array.of(keys.Prefix.erasing + 1) }
  const all: Pending[] = []
  for await (const value of database.values(range)) all.push(parsePending(value))
  if (all.length === 0) return undefined
  return { blocks: all.flatMap(({ blocks }) => blocks), packs: all.flatMap(({ packs }) => packs) }
}
