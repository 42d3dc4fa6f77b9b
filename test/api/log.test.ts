/** `/log`: what is served is exactly what the latest checkpoint covers, in the spelling of C2SP. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openCheckpoint } from '@rootspan/lineage/tlog/checkpoint'
import { leafHash } from '@rootspan/lineage/tlog/merkle'
import { parsePolicy } from '@rootspan/lineage/tlog/policy'
import { entriesPath, parseEntryBundle, TILE_WIDTH, tilePath, tilesOf } from '@rootspan/lineage/tlog/tile'
import { loadTileTree } from '@rootspan/lineage/tlog/tile-tree'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiServer } from '../../packages/collector/src/api/server.ts'
import { StoredLog } from '../support/stored-log.ts'
import { apiOf, errorOf } from './support.ts'

let directory: string
let log: StoredLog
let api: ApiServer

/** The published tree ends inside bundle 2; the committed one is larger. */
let published: number

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rootspan-api-'))
  log = await StoredLog.create(directory)
  api = await apiOf(log)
})

afterAll(async () => {
  await api.close()
  await log.close()
  await rm(directory, { recursive: true })
})

const get = (path: string) => api.inject({ url: path })
const many = (count: number) =>
  Array.from({ length: count }, (_, at) => ({ id: at + 1, ...(at > 0 && { parent: 1 }) }))

test('before the first checkpoint there is none, and no tile', async () => {
  const { statusCode } = await get('/log/checkpoint')
  expect(statusCode).toBe(404)
  await log.receive(1, many(300))
  await log.commit()
  expect(log.size).toBe(301)
  for (const path of ['/log/checkpoint', '/log/tile/0/000', '/log/tile/entries/000', '/log/checkpoint/301'])
    expect((await get(path)).statusCode, path).toBe(404)
  expect((await get('/log/checkpoints')).json()).toEqual({ sizes: [] })
})

test('the latest checkpoint is served as it was signed', async () => {
  await log.checkpoint()
  await log.receive(2, many(250))
  await log.commit()
  const note = await log.checkpoint()
  published = log.size
  await log.receive(3, many(400))
  await log.commit()
  expect([published, log.size]).toEqual([552, 953])

  const response = await get('/log/checkpoint')
  expect(response.statusCode).toBe(200)
  expect(response.headers['content-type']).toBe('text/plain; charset=utf-8')
  expect(response.headers['cache-control']).toBe('max-age=1')
  expect(response.rawPayload).toEqual(Buffer.from(note))
  expect(openCheckpoint(response.rawPayload, log.policy).checkpoint.size).toBe(published)
})

test('every tile and bundle of the published tree is there, and leads to its root', async () => {
  const { checkpoint } = openCheckpoint((await get('/log/checkpoint')).rawPayload, log.policy)
  const leaves: Buffer[] = []
  const hashes: Buffer[] = []
  for (const { level, index, width } of tilesOf(published)) {
    const tile = await get(`/log/${tilePath(level, index, width)}`)
    expect(tile.statusCode).toBe(200)
    expect(tile.headers['content-type']).toBe('application/octet-stream')
    expect(tile.headers['cache-control']).toContain('immutable')
    expect(tile.rawPayload.length).toBe(width * 32)
    if (level > 0) continue
    hashes.push(tile.rawPayload)
    const bundle = await get(`/log/${entriesPath(index, width)}`)
    expect(bundle.statusCode).toBe(200)
    for (const entry of parseEntryBundle(bundle.rawPayload, width)) leaves.push(Buffer.from(leafHash(entry)))
  }
  expect(Buffer.concat(leaves)).toEqual(Buffer.concat(hashes))
  const tree = await loadTileTree(
    published,
    async (level, index, width) => (await get(`/log/${tilePath(level, index, width)}`)).rawPayload,
  )
  expect(Buffer.from(tree.root())).toEqual(Buffer.from(checkpoint.root))
})

test('of every place near the edge, just what the checkpoint covers is served', async () => {
  const wrong: string[] = []
  for (const [level, end] of [
    [0, 4],
    [1, 2],
    [2, 1],
    [7, 1],
    [63, 1],
  ] as const)
    for (let index = 0; index < end; index++)
      for (let width = 1; width <= TILE_WIDTH; width++) {
        const covered = index * TILE_WIDTH + width <= Math.floor(published / TILE_WIDTH ** level)
        const paths = [tilePath(level, index, width), ...(level === 0 ? [entriesPath(index, width)] : [])]
        for (const path of paths) {
          const { statusCode } = await get(`/log/${path}`)
          if (statusCode !== (covered ? 200 : 404)) wrong.push(`${path}: ${statusCode}`)
        }
      }
  expect(wrong).toEqual([])
})

test('a tile has one spelling', async () => {
  const good = ['/log/tile/0/000', '/log/tile/entries/001', '/log/tile/0/002.p/40', '/log/tile/1/000.p/2']
  for (const path of good) expect((await get(path)).statusCode, path).toBe(200)
  const others = [
    '/log/tile/8/0/000',
    '/log/tile/00/000',
    '/log/tile/0/0',
    '/log/tile/0/00',
    '/log/tile/0/x000/000',
    '/log/tile/0/000.p/256',
    '/log/tile/0/000.p/0',
    '/log/tile/0/002.p/040',
    '/log/tile/0/002.p',
    '/log/tile/0/000/',
    '/log/tile/0/000?a=b',
    '/log/tile/0/%30%30%30',
    '/log/tile/%30/000',
    '/log/tile/entries/000/',
    '/log/tile/entries/%3000',
    '/log/tile/entries/',
    '/log/tile/entries',
    '/log/tile/-1/000',
    '/log/tile/64/000',
    '/log/tile/0/..%2f..%2fcheckpoint',
    '/log/tile/0/x999/x999/x999/x999/x999/999',
    '/LOG/tile/0/000',
    '/log//tile/0/000',
  ]
  for (const path of others) expect((await get(path)).statusCode, path).toBe(404)
})

test('every kept checkpoint is listed and served', async () => {
  expect((await get('/log/checkpoints')).json()).toEqual({ sizes: [301, 552] })
  expect((await get('/log/checkpoints?limit=1')).json()).toEqual({ sizes: [301], next: 552 })
  expect((await get('/log/checkpoints?from=552&limit=1')).json()).toEqual({ sizes: [552] })
  expect((await get('/log/checkpoints?from=302')).json()).toEqual({ sizes: [552] })
  for (const size of [301, 552]) {
    const { rawPayload } = await get(`/log/checkpoint/${size}`)
    expect(openCheckpoint(rawPayload, log.policy).checkpoint.size).toBe(size)
  }
  expect((await get('/log/checkpoint/302')).statusCode).toBe(404)
})

test.each([
  '/log/checkpoints?limit=0',
  '/log/checkpoints?limit=10001',
  '/log/checkpoints?limit=1e3',
  '/log/checkpoints?limit=01',
  '/log/checkpoints?limit=',
  '/log/checkpoints?limit=1&limit=2',
  '/log/checkpoints?from=-1',
  '/log/checkpoints?from=9007199254740992',
  '/log/checkpoints?form=1',
  '/log/checkpoint/0301',
  '/log/checkpoint/0x12',
])('%s is refused by name', async (path) => {
  const response = await get(path)
  expect(response.statusCode).toBe(400)
  expect(errorOf(response).code).toBe('bad_parameter')
})

test('the policy parses, opens the checkpoint, and says whose word it is', async () => {
  const response = await get('/log/policy')
  expect(response.headers['rootspan-self-asserted']).toBe('true')
  expect(response.headers['content-type']).toBe('text/plain; charset=utf-8')
  const policy = parsePolicy(response.rawPayload)
  expect(openCheckpoint((await get('/log/checkpoint')).rawPayload, policy).checkpoint.size).toBe(published)
})
