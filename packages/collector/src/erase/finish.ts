/**
 * Finishing an erasure: after its commit nothing of what was erased is referred to, and here the bytes go.
 *
 * Crash order. As long as `log` has a pending key, everything is done again, from the beginning, and every step may be.
 * The rewritten store has no such key; it is complete and durable under another name before `log` makes way for it.
 */
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Files, hasCode, type Log } from '../files.ts'
import { renewJournal } from '../journal/renew.ts'
import { OperatorError } from '../operator-error.ts'
import { PackCorruption, PackReader } from '../pack.ts'
import * as keys from '../store/keys.ts'
import { type Database, LevelLogStore, loadCursor, openDatabase, StoreError } from '../store/log-store.ts'
import { type Pending, readPending } from './pending.ts'
import { voidBlocks } from './void.ts'

export interface DataDirectories {
  readonly journal: string
  readonly log: string
  readonly packs: string
}

/** The store being written without what was erased, and the one that it replaces. */
function sideDirectories(log: string): { next: string; last: string } {
  return { next: join(dirname(log), 'log.erasing'), last: join(dirname(log), 'log.erased') }
}

/** Whether an erasure has left a store beside `log`, so that it has to be finished before anything else. */
async function isInterrupted(files: Files, log: string): Promise<boolean> {
  const { next, last } = sideDirectories(log)
  return (await files.stat(next)) !== undefined || (await files.stat(last)) !== undefined
}

/**
 * Brings the directories into order after a crash: `log` is there, whole, and alone. Call it before anything looks at
 * `log`, with nobody else on the directory.
 */
export async function restoreStore(files: Files, log: string): Promise<void> {
  const { next, last } = sideDirectories(log)
  if ((await files.stat(log)) === undefined) {
    // `log` was renamed, which happens only once the next one is complete.
    if ((await files.stat(next)) === undefined || (await files.stat(last)) === undefined) return
    await files.rename(next, log)
    await files.fsyncDirectory(dirname(log))
  }
  for (const directory of [next, last]) await removeDirectory(files, directory)
}

/** Finishes what is pending in an open store; returns the store to go on with, which is another one then. */
export async function finishErasures(
  files: Files,
  directories: DataDirectories,
  database: Database,
  log: Log,
): Promise<Database> {
  const pending = await readPending(database)
  if (pending === undefined) return database
  log.info(
    { blocks: pending.blocks.length, packs: pending.packs.length },
    'erasure: destroying what was erased',
  )
  await destroyBlocks(files, directories.packs, pending)
  const { head } = await LevelLogStore.open(database)
  const { next, whole, partial } = await loadCursor(database, head)
  if (whole.length > 0 || partial.size > 0)
    throw new StoreError('an erasure was committed over an open journal')
  await renewJournal(files, directories.journal, next)
  await copyStore(files, directories.log, database)
  await database.close()
  const { next: copy, last } = sideDirectories(directories.log)
  const parent = dirname(directories.log)
  await files.rename(directories.log, last)
  await files.fsyncDirectory(parent)
  await files.rename(copy, directories.log)
  await files.fsyncDirectory(parent)
  await removeDirectory(files, last)
  log.info({}, 'erasure: finished')
  return openDatabase(directories.log, 'open')
}

async function destroyBlocks(files: Files, directory: string, { blocks, packs }: Pending): Promise<void> {
  const reader = new PackReader({ directory })
  const gone = new Set(packs)
  const byPack = Map.groupBy(blocks, ({ pack }) => pack)
  for (const [pack, refs] of byPack) if (!gone.has(pack)) await voidBlocks(files, reader.path(pack), refs)
  for (const pack of gone) {
    try {
      await files.unlink(reader.path(pack))
    } catch (error) {
      if (!(error instanceof PackCorruption) && !hasCode(error, 'ENOENT')) throw error // gone already
    }
  }
  if (gone.size > 0) await files.fsyncDirectory(directory)
}

const COPY_BYTES = 4 * 1024 * 1024

/**
 * Copies every live key, but for the pending ones, to a fresh store beside this one. LevelDB itself would keep what
 * was overwritten: in tables that nothing makes it compact, in its logs, and names in its manifest.
 */
async function copyStore(files: Files, log: string, database: Database): Promise<void> {
  const { next } = sideDirectories(log)
  await removeDirectory(files, next)
  const copy = await openDatabase(next, 'create')
  try {
    let batch = copy.batch()
    let bytes = 0
    for await (const [key, value] of database.iterator({ highWaterMarkBytes: 1024 * 1024 })) {
      if (key[0] === keys.Prefix.erasing) continue
      batch.put(key, value)
      bytes += key.length + value.length
      if (bytes < COPY_BYTES) continue
      await batch.write()
      batch = copy.batch()
      bytes = 0
    }
    // Tables are synced as they are made; this syncs the log with the rest.
    await batch
      .put(keys.CURSOR_KEY, (await database.get(keys.CURSOR_KEY)) ?? new Uint8Array(0))
      .write({ sync: true })
  } finally {
    await copy.close()
  }
  await files.fsyncDirectory(next)
  await files.fsyncDirectory(dirname(log))
}

async function removeDirectory(files: Files, directory: string): Promise<void> {
  if ((await files.stat(directory)) === undefined) return
  await rm(directory, { recursive: true, force: true })
  await files.fsyncDirectory(dirname(directory))
}

/** Throws an {@link OperatorError} where something beside the collector has to finish first. */
export async function refuseInterrupted(files: Files, log: string): Promise<void> {
  if (await isInterrupted(files, log))
    throw new OperatorError(
      'an erasure was interrupted and is not finished',
      'Run rootspan erase --resume, or start the collector, which finishes it first.',
    )
}
