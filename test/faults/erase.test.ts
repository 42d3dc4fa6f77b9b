/**
 * Finishing an erasure dies before each of its file operations in turn, and is finished by the next try: nothing that
 * was erased is left, and everything else is.
 */
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { finishErasures, restoreStore } from '../../packages/collector/src/erase/finish.ts'
import { readPending } from '../../packages/collector/src/erase/pending.ts'
import { type Files, nodeFiles } from '../../packages/collector/src/files.ts'
import { PackReader } from '../../packages/collector/src/pack.ts'
import { loadHistory } from '../../packages/collector/src/sequencer.ts'
import { traceId } from '../../packages/collector/src/store/keys.ts'
import {
  LevelLogStore,
  LogReader,
  loadCursor,
  loadTree,
  openDatabase,
} from '../../packages/collector/src/store/log-store.ts'
import { grep } from '../e2e/grep.ts'
import { cleanUp, makeDirectory } from '../e2e/process.ts'
import { traceIdOf } from '../support/executions.ts'
import { StoredLog } from '../support/stored-log.ts'

const QUIET = { info() {}, warn() {} }
const SECRET = 'the secret of execution 2'
const NEEDLES = [SECRET, 'service-of-2'].map((text) => Buffer.from(text))

class Died extends Error {}

/** Files that work for so many operations, and then no more. */
function dying(operations: number): Files & { readonly left: () => number } {
  let left = operations
  const step = (): void => {
    if (left-- <= 0) throw new Died()
  }
  const files = Object.fromEntries(
    Object.entries(nodeFiles).map(([name, operation]) => [
      name,
      async (...args: never[]) => {
        step()
        const result = await (operation as (...args: never[]) => Promise<unknown>)(...args)
        if (name !== 'open') return result
        const file = result as Record<string, (...args: never[]) => Promise<unknown>>
        const call =
          (method: string) =>
          async (...values: never[]) => {
            if (method !== 'close') step()
            return file[method]!(...values)
          }
        return {
          path: file.path,
          ...Object.fromEntries(
            Object.keys(file)
              .filter((key) => key !== 'path')
              .map((key) => [key, call(key)]),
          ),
        }
      },
    ]),
  ) as unknown as Files
  return { ...files, left: () => left }
}

afterAll(cleanUp)

test('at every step', { timeout: 600_000 }, async () => {
  const made = await makeDirectory()
  const log = await StoredLog.create(made)
  for (const trace of [1, 2, 3])
    await log.receive(trace, [
      { id: 1, service: `service-of-${trace}`, attributes: { note: `the secret of execution ${trace}` } },
    ])
  await log.commit()
  await log.commitErasure({ trace: traceIdOf(2) })
  await log.close()
  expect(grep(made, NEEDLES).size).toBe(2)

  let operations = 0
  for (let isFinished = false; !isFinished; operations++) {
    const directory = `${made}-${operations}`
    await cp(made, directory, { recursive: true })
    const directories = {
      journal: join(directory, 'journal'),
      log: join(directory, 'log'),
      packs: join(directory, 'packs'),
    }
    const files = dying(operations)
    const first = await openDatabase(directories.log, 'open')
    try {
      await (await finishErasures(files, directories, first, QUIET)).close()
      isFinished = true
    } catch (error) {
      const { cause = error } = error as Error // a journal that fails says so, and why
      expect(cause, `operation ${operations}`).toBeInstanceOf(Died)
      if (first.status !== 'closed') await first.close()
    }
    await restoreStore(nodeFiles, directories.log)
    const again = await openDatabase(directories.log, 'open')
    const database = await finishErasures(nodeFiles, directories, again, QUIET)
    expect(await readPending(database)).toBeUndefined()
    expect([...grep(directory, NEEDLES)], `operation ${operations}`).toEqual([])

    const packs = new PackReader({ directory: directories.packs, files: nodeFiles })
    const reader = new LogReader(database, packs)
    const { head } = await LevelLogStore.open(database)
    expect((await loadTree(reader, head)).size).toBe(head!.commit.size)
    await loadCursor(database, head)
    for (const trace of [1, 2, 3]) {
      const [rows = []] = await reader.traces([traceId(new Uint8Array(0), traceIdOf(trace))])
      const history = await loadHistory(reader, packs, rows)
      const span = history.earlier('\0\0\0\0\0\0\0\x01')
      expect(span, `execution ${trace}`).toBeDefined()
      expect(rows[0]!.size > 0).toBe(trace !== 2)
    }
    packs.close()
    await database.close()
    await rm(directory, { recursive: true })
  }
  expect(operations).toBeGreaterThan(15)
})
