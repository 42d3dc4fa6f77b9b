/**
 * `rootspan fsck`: everything on disk, checked against everything else, for a stopped collector.
 *
 * Order: what protects itself first (files with digests, LevelDB's own files, before LevelDB may touch them), then
 * what only makes sense together: the log from its first commit on, its index, and the journal after the cursor.
 * Where LevelDB's files are damaged they are not opened, because opening would destroy what is left; else opening
 * them is all that is changed, as the next start would change them.
 */
import { join, resolve } from 'node:path'
import { MalformedError } from '@rootspan/lineage/errors'
import { parseVerifierKey } from '@rootspan/lineage/tlog/key'
import { policyOfLogs } from '@rootspan/lineage/tlog/policy'
import { ClassicLevel } from 'classic-level'
import type { Config } from './config.ts'
import { refuseInterrupted } from './erase/finish.ts'
import { readPending } from './erase/pending.ts'
import { hasCode, nodeFiles } from './files.ts'
import { packFiles } from './fsck/blocks.ts'
import { checkIdentity, checkJournal, checkNames, checkQuarantine, checkSigner } from './fsck/files.ts'
import { checkIndex } from './fsck/index.ts'
import { checkLog } from './fsck/log.ts'
import { Findings, type FsckReport, type Progress } from './fsck/report.ts'
import { checkReceipts, TrackedSpans } from './fsck/tracked.ts'
import { TreeWalk, type TreeWalkOptions } from './fsck/tree.ts'
import { OperatorError } from './operator-error.ts'
import { LOG_FILE } from './origin.ts'
import { PackReader } from './pack.ts'
import type { Cursor } from './store/cursor.ts'
import { checkLevelFiles } from './store/leveldb-files.ts'
import { type Database, LogReader, loadCursor, openDatabase, StoreError } from './store/log-store.ts'
import type { Commit } from './store/rows.ts'

export type { FsckReport } from './fsck/report.ts'

export interface FsckOptions {
  /** Told now and then how far a stage is: its name, and how many of its things are done. */
  readonly onProgress?: Progress
}

/**
 * Checks the data and signer directories of a configuration. Damage is in the report and never thrown; throws an
 * {@link OperatorError} when a collector runs on the directory, and what the file system throws.
 *
 * Cost: about one derivation of every span, and a read of every byte. Memory is bounded, but for 17 bytes for each
 * span whose sender asked for a receipt.
 */
export async function fsck(
  config: Pick<Config, 'storage' | 'signer'>,
  { onProgress = () => {} }: FsckOptions = {},
): Promise<FsckReport> {
  const data = resolve(config.storage.directory)
  const findings = new Findings()
  const log = join(data, 'log')
  await refuseRunning(log)
  await refuseInterrupted(nodeFiles, log)
  const identity = await checkIdentity(nodeFiles, data, findings)
  const memory = await checkSigner(nodeFiles, resolve(config.signer.directory), identity, findings)
  await checkNames(data, [LOG_FILE, 'journal', 'log', 'packs', 'quarantine'], findings)
  await checkQuarantine(join(data, 'quarantine'), findings)
  onProgress('LevelDB files', 0)
  let cursor: Cursor | undefined
  if (await checkStoreFiles(log, findings)) {
    const database = await openStopped(log)
    try {
      await checkPending(database, log, findings)
      const policy = identity === undefined ? undefined : policyOfLogs(parseVerifierKey(identity.key))
      const packs = join(data, 'packs')
      cursor = await checkStore(database, packs, { findings, policy, memory }, onProgress)
    } finally {
      await database.close()
    }
  } else
    findings.skip(log, 'what is in it: its files are damaged, and opening them would destroy what is left')
  await checkJournal(nodeFiles, join(data, 'journal'), cursor, findings, onProgress)
  return findings.report()
}

/** Everything in the store and the packs; returns the journal cursor, when it can be believed. */
async function checkStore(
  database: Database,
  packsDirectory: string,
  known: Omit<TreeWalkOptions, 'reader'>,
  progress: Progress,
): Promise<Cursor | undefined> {
  const { findings } = known
  const packs = new PackReader({ directory: packsDirectory, files: nodeFiles })
  const reader = new LogReader(database, packs)
  try {
    const tracked = new TrackedSpans()
    const tree = new TreeWalk({ ...known, reader })
    const walked = await checkLog({ reader, packs, tree, tracked, findings, progress })
    if (walked === undefined) {
      findings.skip('index', 'because the log is damaged')
      return undefined
    }
    const names = new Set(packFiles(packs, findings).map(({ path }) => path))
    await checkNames(packsDirectory, (name) => names.has(join(packsDirectory, name)), findings)
    await checkIndex(reader, walked, findings, progress)
    await checkReceipts(reader, tracked, findings, progress)
    return await checkCursor(reader, walked.head, findings)
  } finally {
    packs.close()
  }
}

/** An erasure that is committed and not finished is a problem: what was erased may still be there. */
async function checkPending(database: Database, log: string, findings: Findings): Promise<void> {
  try {
    if ((await readPending(database)) === undefined) return
    findings.problem(
      log,
      'an erasure is committed and not finished',
      'Run rootspan erase --resume, or start the collector, which finishes it first.',
    )
  } catch (error) {
    if (!(error instanceof MalformedError)) throw error
    findings.problem(`${log}, an erasure that is not finished`, error.message)
  }
}

async function checkCursor(
  reader: LogReader,
  commit: Commit | undefined,
  findings: Findings,
): Promise<Cursor | undefined> {
  try {
    return await loadCursor(
      reader.database,
      commit === undefined ? undefined : { commit, digest: new Uint8Array(0) },
    )
  } catch (error) {
    if (!(error instanceof StoreError) && !(error instanceof MalformedError)) throw error
    findings.problem('journal cursor', error.message)
    return undefined
  }
}

/** LevelDB's own files, every byte; returns whether the database may be opened. */
async function checkStoreFiles(directory: string, findings: Findings): Promise<boolean> {
  try {
    const { problems, torn, checked, notChecked } = await checkLevelFiles(directory, { tables: true })
    for (const { file, offset, what } of problems)
      findings.problem(`${join(directory, file)} at offset ${offset}`, what, undefined, file)
    for (const { file, offset, what } of torn)
      findings.note(
        `${join(directory, file)} at offset ${offset}`,
        `${what}, as a power failure leaves it: LevelDB drops it, and the chain of commits shows if it was needed`,
      )
    for (const { file, why } of notChecked) findings.skip(join(directory, file), why)
    findings.count('LevelDB files', checked.length)
    // Between the look at the lock and now a collector may have started and changed the files under our eyes.
    if (problems.length > 0) await refuseRunning(directory)
    return problems.length === 0
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error
    findings.problem(directory, 'is missing')
    return false
  }
}

/**
 * Throws when somebody has the database open. LevelDB takes its lock first and then refuses a database that exists,
 * when it is told to, before it has looked at anything.
 */
export async function refuseRunning(directory: string): Promise<void> {
  if ((await nodeFiles.stat(join(directory, 'CURRENT'))) === undefined) return
  const probe = new ClassicLevel(directory, {
    createIfMissing: false,
    errorIfExists: true,
    multithreading: false,
  })
  try {
    await probe.open()
    await probe.close()
  } catch (error) {
    if (isLocked(error)) throw inUse(directory, error)
  }
}

async function openStopped(directory: string): Promise<Database> {
  try {
    return await openDatabase(directory, 'open')
  } catch (error) {
    throw isLocked(error) ? inUse(directory, error) : error
  }
}

function isLocked(error: unknown): boolean {
  return hasCode(error, 'LEVEL_LOCKED') || (error instanceof Error && hasCode(error.cause, 'LEVEL_LOCKED'))
}

function inUse(directory: string, cause: unknown): OperatorError {
  return new OperatorError(
    `${directory} is in use: a collector runs on it`,
    'Stop the collector, and run this again. A copy of the directory taken while it runs is of no use.',
    { cause },
  )
}
