/** Packs whose days are over are dropped whole, and the log says so. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { joinBytes } from '@rootspan/lineage/bytes'
import { verify } from '@rootspan/lineage/verify'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bundlePieces, Payloads } from '../../packages/collector/src/api/evidence.ts'
import { encodeHold } from '../../packages/collector/src/erase/holds.ts'
import { holdKey, traceId } from '../../packages/collector/src/store/keys.ts'
import { makeDirectory } from '../e2e/process.ts'
import { EPOCH, traceIdOf } from '../support/executions.ts'
import { StoredLog } from '../support/stored-log.ts'

const DAY = 86_400_000
const START = Number(EPOCH / 1_000_000n)
const KEPT_TEN_DAYS = { days: 10, classes: [] }

let log: StoredLog
beforeEach(async () => {
  log = await StoredLog.create(await makeDirectory())
  for (const trace of [1, 2, 3]) await log.receive(trace, [{ id: 1 }, { id: 2, parent: 1 }])
  await log.commit()
})
afterEach(() => log.close())

async function verified(trace: number): Promise<ReturnType<typeof verify>> {
  const note = await log.checkpoint()
  const [rows = []] = await log.reader.traces([traceId(new Uint8Array(0), traceIdOf(trace))])
  const pieces: Uint8Array[] = []
  for await (const piece of bundlePieces(
    log.reader,
    new Payloads(log.packs),
    { note, size: log.size } as never,
    rows,
  ))
    pieces.push(piece)
  return verify(joinBytes(pieces), log.policy)
}

const packs = async (): Promise<string[]> =>
  (await readdir(join(log.directory, 'packs'))).filter((name) => name.startsWith('default-'))

test('a pack stays until its days are over, and is dropped then', async () => {
  await log.retain(KEPT_TEN_DAYS, START + 9 * DAY)
  expect(await packs()).toHaveLength(1)
  await log.retain(KEPT_TEN_DAYS, START + 12 * DAY)
  expect(await packs()).toEqual([])
  for (const trace of [1, 2, 3]) {
    const { erasures, records } = await verified(trace)
    expect(erasures).toMatchObject([{ scope: 'execution', selector: ['retention'], spans: [2, 2, 2] }])
    expect(records.some(({ span }) => span !== undefined)).toBe(false)
  }
})

test('what is held is moved to another pack, and stays', async () => {
  const hold = { tenant: '', traceId: traceIdOf(2), leaf: 0, reason: 'case 12', by: 'legal', at: 1n }
  await log.reader.database.put(holdKey(0), encodeHold(hold))
  const before = await packs()
  await log.retain(KEPT_TEN_DAYS, START + 12 * DAY)
  expect(await packs()).toHaveLength(1)
  expect(await packs()).not.toEqual(before)
  expect((await verified(2)).records.filter(({ span }) => span !== undefined)).toHaveLength(2)
  expect((await verified(1)).erasures).toHaveLength(1)
})

test('nothing expires where no days are said', async () => {
  await log.retain({ days: 0, classes: [] }, START + 100_000 * DAY)
  expect(await packs()).toHaveLength(1)
})
