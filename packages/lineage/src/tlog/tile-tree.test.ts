import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { concatBytes, formatHex, utf8 } from '../bytes.ts'
import { leafHash, treeRoot } from './merkle.ts'
import { TILE_WIDTH, tilesOf } from './tile.ts'
import { type ChangedTile, loadTileTree, TileTree } from './tile-tree.ts'

const hashes = Array.from({ length: 66_000 }, (_, i) => leafHash(utf8(`leaf ${i}`)))
const bytes = concatBytes(...hashes)
const range = (start: number, end: number) => bytes.subarray(start * 32, end * 32)

/** What tile `index` of `level` holds by its definition: roots over runs of 256^level leaves. */
function definedTile(level: number, index: number, width: number): Uint8Array {
  const span = TILE_WIDTH ** level
  const first = index * TILE_WIDTH
  return concatBytes(
    ...Array.from({ length: width }, (_, i) =>
      treeRoot(hashes.slice((first + i) * span, (first + i + 1) * span)),
    ),
  )
}

class Store {
  readonly tiles = new Map<string, ChangedTile>()

  take(tree: TileTree): ChangedTile[] {
    const changed = tree.takeChanged()
    for (const tile of changed) this.tiles.set(`${tile.level} ${tile.index} ${tile.width}`, tile)
    return changed
  }

  read = (level: number, index: number, width: number) => this.tiles.get(`${level} ${index} ${width}`)!.data
}

describe('TileTree', () => {
  test('leaf by leaf, its root is that of the leaves', () => {
    const tree = new TileTree()
    for (let size = 0; size < 700; size++) {
      expect(formatHex(tree.root())).toBe(formatHex(treeRoot(hashes.slice(0, size))))
      expect(tree.size).toBe(size)
      tree.append(range(size, size + 1))
    }
  })

  test('in batches, its tiles are those of the tree, and nothing is written that did not change', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 8 }), (batches) => {
        const tree = new TileTree()
        const store = new Store()
        let size = 0
        for (const batch of batches) {
          tree.append(range(size, size + batch))
          const before = [...tilesOf(size)].map((tile) => JSON.stringify(tile))
          size += batch
          const after = [...tilesOf(size)].map((tile) => JSON.stringify(tile))
          const changed = store
            .take(tree)
            .map(({ level, index, width }) => JSON.stringify({ level, index, width }))
          expect(changed.toSorted()).toEqual(after.filter((tile) => !before.includes(tile)).toSorted())
          expect(formatHex(tree.root())).toBe(formatHex(treeRoot(hashes.slice(0, size))))
        }
        for (const { level, index, width } of tilesOf(size))
          expect(formatHex(store.read(level, index, width))).toBe(formatHex(definedTile(level, index, width)))
      }),
      { numRuns: 30 },
    )
  })

  test('three levels of tiles', () => {
    const tree = new TileTree()
    const store = new Store()
    tree.append(range(0, 66_000))
    store.take(tree)
    for (const { level, index, width } of tilesOf(66_000))
      expect(formatHex(store.read(level, index, width))).toBe(formatHex(definedTile(level, index, width)))
    expect(tree.takeChanged()).toEqual([])
  })

  test('what was taken stays as it was', () => {
    const tree = new TileTree()
    tree.append(range(0, 200))
    const [tile] = tree.takeChanged()
    const before = formatHex(tile!.data)
    tree.append(range(200, 1200))
    expect(formatHex(tile!.data)).toBe(before)
  })

  test('the bytes given to it may be reused', () => {
    const tree = new TileTree()
    const batch = new Uint8Array(range(0, 3))
    tree.append(batch)
    batch.fill(0)
    expect(formatHex(tree.root())).toBe(formatHex(treeRoot(hashes.slice(0, 3))))
  })

  test('a wrong number of bytes is our own bug', () => {
    expect(() => new TileTree().append(new Uint8Array(33))).toThrow('bad leaf hashes')
    for (const size of [-1, 0.5, 2 ** 53]) expect(() => new TileTree(size, [])).toThrow('bad tree size')
    expect(() => new TileTree(1, [])).toThrow('bad edge')
    expect(() => new TileTree(0, [new Uint8Array(0)])).toThrow('bad edge')
    expect(() => new TileTree(2, [new Uint8Array(32)])).toThrow('bad edge tile')
    expect(() => new TileTree(256, [new Uint8Array(8192), new Uint8Array(32)])).toThrow('bad edge tile')
  })
})

describe('loadTileTree', () => {
  test('a loaded tree goes on like the one that was stored', async () => {
    const sizes = [0, 1, 2, 255, 256, 257, 300, 511, 512, 513, 65_279, 65_280, 65_535, 65_536, 65_537, 65_800]
    for (const size of sizes) {
      const tree = new TileTree()
      const store = new Store()
      tree.append(range(0, size))
      store.take(tree)
      const loaded = await loadTileTree(size, store.read)
      expect(formatHex(loaded.root())).toBe(formatHex(tree.root()))
      expect(loaded.takeChanged()).toEqual([])
      for (const other of [tree, loaded]) other.append(range(size, size + 200))
      expect(formatHex(loaded.root())).toBe(formatHex(tree.root()))
      expect(loaded.takeChanged()).toEqual(tree.takeChanged())
      expect(loaded.size).toBe(size + 200)
    }
  })

  test('it asks for the right edge only', async () => {
    const asked: number[][] = []
    await loadTileTree(70_000, (level, index, width) => {
      asked.push([level, index, width])
      return new Uint8Array(width * 32)
    })
    expect(asked).toEqual([
      [0, 273, 112],
      [1, 1, 17],
      [2, 0, 1],
    ])
  })

  test('a tile of another length is not taken', async () => {
    for (const length of [0, 32, 95, 128])
      await expect(loadTileTree(3, () => new Uint8Array(length))).rejects.toMatchObject({ code: 'tile' })
  })
})
