/** The log as Go's transparency log packages read it. */
import { generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { formatCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { formatVerifierKey, verifierKey } from '@rootspan/lineage/tlog/key'
import { leafHash } from '@rootspan/lineage/tlog/merkle'
import { signNote } from '@rootspan/lineage/tlog/note'
import { encodeEntryBundle, entriesPath, TILE_WIDTH, tilePath } from '@rootspan/lineage/tlog/tile'
import { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import { afterEach, describe, expect, test } from 'vitest'
import { hasGo, pairsOf, runGoAudit, runGoNotes } from './go.ts'

const origin = 'example.com/interop'
const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const key = verifierKey(origin, 1, publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
const signer = {
  name: origin,
  keyId: key.keyId,
  sign: (message: Uint8Array) => sign(null, message, privateKey),
}
const vkey = formatVerifierKey(key)

/** Everything that a log of `size` entries serves, by path, grown in uneven batches. */
function makeLog(size: number): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  const tree = new TileTree()
  const entries = Array.from({ length: size }, (_, i) => Buffer.from(`entry ${i} ${'.'.repeat(i % 50)}`))
  const sizes: number[] = []
  const sign = (): Uint8Array => {
    sizes.push(tree.size)
    return checkpointOf(tree.size, tree.root())
  }
  for (let batch = 1; tree.size < size; batch = (batch * 3) % 1009) {
    for (const entry of entries.slice(tree.size, tree.size + batch)) tree.append(leafHash(entry))
    for (const tile of tree.takeChanged()) files.set(tilePath(tile.level, tile.index, tile.width), tile.data)
    files.set(`checkpoint/${tree.size}`, sign())
  }
  for (let index = 0; index * TILE_WIDTH < size; index++) {
    const bundle = entries.slice(index * TILE_WIDTH, (index + 1) * TILE_WIDTH)
    files.set(entriesPath(index, bundle.length), encodeEntryBundle(bundle))
  }
  files.set('checkpoints', Buffer.from(JSON.stringify({ sizes })))
  return files.set('checkpoint', checkpointOf(size, tree.root()))
}

function checkpointOf(size: number, root: Uint8Array): Uint8Array {
  return signNote(formatCheckpoint({ origin, size, root, extensions: [] }), [signer])
}

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

async function serve(files: ReadonlyMap<string, Uint8Array>): Promise<string> {
  const server = createServer((request, response) => {
    const [path = '', query] = request.url!.slice('/log/'.length).split('?')
    let file = files.get(path)
    let type = path.startsWith('checkpoint') ? 'text/plain; charset=utf-8' : 'application/octet-stream'
    if (path === 'checkpoints') {
      // Pages of ten sizes.
      type = 'application/json; charset=utf-8'
      const from = Number(new URLSearchParams(query).get('from'))
      const { sizes } = JSON.parse(Buffer.from(file!).toString()) as { sizes: number[] }
      file = Buffer.from(JSON.stringify({ sizes: sizes.filter((size) => size >= from).slice(0, 10) }))
    }
    response.writeHead(file === undefined ? 404 : 200, { 'content-type': type }).end(file)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/log/`
}

describe.skipIf(!hasGo())('Go', { timeout: 120_000 }, () => {
  test.each([0, 1, 2, 255, 256, 257, 700])('a log of %i entries', async (size) => {
    const files = makeLog(size)
    const audit = await runGoAudit(await serve(files), vkey)
    expect(audit).toMatchObject({ origin, size, entries: size, inclusions: size })
    expect(audit.bundles).toBe(Math.ceil(size / 256))
    expect(audit.consistencies).toBe(size)
    const kept = [...files.keys()].filter((path) => path.startsWith('checkpoint/')).length
    expect(audit).toMatchObject({ checkpoints: kept, pairs: pairsOf(kept) })
  })

  test('a log of three levels of tiles', async () => {
    const audit = await runGoAudit(await serve(makeLog(66_000)), vkey)
    expect(audit).toMatchObject({ size: 66_000, tiles: 258 + 2 + 1, bundles: 258, inclusions: 66_000 })
    expect(audit.consistencies).toBe(66_000)
    expect(audit.checkpoints).toBeGreaterThan(100)
    expect(audit.pairs).toBe(pairsOf(audit.checkpoints))
  })

  const spoil = (bytes: Uint8Array, at: number) => Uint8Array.from(bytes).with(at, bytes[at]! ^ 1)
  test.each<[string, (files: Map<string, Uint8Array>) => void, string]>([
    [
      'a tile of leaves',
      (files) => files.set('tile/0/001', spoil(files.get('tile/0/001')!, 40)),
      'inconsistent',
    ],
    [
      'the partial tile',
      (files) => files.set('tile/0/002.p/88', spoil(files.get('tile/0/002.p/88')!, 87 * 32)),
      '',
    ],
    [
      'a tile above',
      (files) => files.set('tile/1/000.p/2', spoil(files.get('tile/1/000.p/2')!, 0)),
      'inconsistent',
    ],
    [
      'an entry',
      (files) => files.set('tile/entries/001', spoil(files.get('tile/entries/001')!, 4)),
      'another hash',
    ],
    ['a tile gone', (files) => files.delete('tile/0/000'), '404'],
    ['a bundle gone', (files) => files.delete('tile/entries/002.p/88'), '404'],
    ['the checkpoint', (files) => files.set('checkpoint', spoil(files.get('checkpoint')!, 30)), 'checkpoint'],
    [
      'a kept checkpoint that nobody signed',
      (files) => files.set('checkpoint/40', spoil(files.get('checkpoint/40')!, 30)),
      'checkpoint of 40',
    ],
    [
      'a kept checkpoint of another tree',
      (files) => files.set('checkpoint/40', checkpointOf(40, new Uint8Array(32))),
      'checkpoint of 40: of another tree',
    ],
    [
      'a kept checkpoint of another size',
      (files) => files.set('checkpoint/40', files.get('checkpoint/13')!),
      'checkpoint of 40: of another tree',
    ],
    ['a kept checkpoint gone', (files) => files.delete('checkpoint/40'), '404'],
  ])('finds what is wrong: %s', async (_, change, message) => {
    const files = makeLog(600)
    change(files)
    await expect(runGoAudit(await serve(files), vkey)).rejects.toThrow(message)
  })

  test('says of every note what we say', async () => {
    const file = fileURLToPath(new URL('../vectors/tlog/notes.json', import.meta.url))
    const vectors = JSON.parse(readFileSync(file, 'utf8'))
    const results = await runGoNotes(file)
    expect(results).toHaveLength(vectors.length)
    for (const [i, vector] of vectors.entries()) {
      const { name, result, ...rest } = results[i]!
      expect([name, result]).toEqual([vector.name, vector.go ?? vector.result])
      if (vector.result === 'ok')
        expect(rest).toEqual({ text: vector.text, verified: vector.verified, unverified: vector.unverified })
    }
  })
})
