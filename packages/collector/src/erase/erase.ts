/**
 * Erasing, of a stopped collector's data: what is asked for is found, what stays is moved, one commit says in the log
 * what was erased, and then the bytes go (finish.ts). A crash before the commit leaves nothing begun; after it, the
 * next start of anything finishes.
 */
import type { Config } from '../config.ts'
import type { Logger } from '../logger.ts'
import type { Identity } from '../origin.ts'
import { withoutHeld } from './holds.ts'
import { type ErasedCounts, planErasure } from './plan.ts'
import { cleanQuarantine } from './quarantine.ts'
import { type Found, findExecutions, type Selection, selectorsOf } from './select.ts'
import { dataDirectories, openStopped, type StoppedLog } from './stopped.ts'

export interface EraseRequest {
  readonly selection: Selection
  readonly reason: string
  readonly by: string
}

export interface EraseReport extends ErasedCounts {
  /** Lines of the quarantine that are gone. */
  readonly quarantined: number
  /** Leaves of the erased records: from the first, as many as there are `records`. */
  readonly firstLeaf: number
  /** Executions that are held and were left alone. */
  readonly held: readonly Found[]
}

/** What an erasure would be about. */
export interface Preview {
  readonly found: readonly Found[]
  readonly held: readonly Found[]
}

/** Told how far a stage is, now and then. */
export type OnProgress = (stage: string, done: number) => void

/** Executions that one commit erases: what it changes is in memory at once, some kilobytes an execution. */
const COMMIT_EXECUTIONS = 50_000

/** Finds what would be erased, and changes nothing but what a start and stop of the collector change. */
export async function previewErasure(
  config: Config,
  identity: Identity,
  log: Logger,
  selection: Selection,
  onProgress: OnProgress = () => {},
): Promise<Preview> {
  const opened = await openStopped(config, identity, log)
  try {
    return await find(opened, selection, onProgress)
  } finally {
    await opened.close()
  }
}

/** Erases; resolves when the log says so under a signed checkpoint and every byte is gone. */
export async function erase(
  config: Config,
  identity: Identity,
  log: Logger,
  { selection, reason, by }: EraseRequest,
  onProgress: OnProgress = () => {},
): Promise<EraseReport> {
  const opened = await openStopped(config, identity, log)
  const order = {
    selector: selectorsOf(selection),
    reason,
    by,
    at: BigInt(Date.now()) * 1_000_000n,
    keys: selection.attributes,
  }
  const counts = noCounts()
  let firstLeaf = opened.tree.size
  let held: readonly Found[] = []
  let quarantined = 0
  try {
    const { found, held: kept } = await find(opened, selection, onProgress)
    held = kept
    firstLeaf = opened.tree.size
    // Nothing depends on the quarantine, so it goes first: after the commit nobody may know what was asked for.
    const { quarantine } = dataDirectories(config)
    quarantined = await cleanQuarantine(quarantine, selection, found)
    for (let at = 0; at < found.length; at += COMMIT_EXECUTIONS) {
      onProgress('erasing', at)
      await opened.sequencer.record(async (first, commit) => {
        const { batch, counts: more } = await planErasure(
          opened,
          found.slice(at, at + COMMIT_EXECUTIONS),
          order,
          first,
          commit,
        )
        for (const name of Object.keys(counts) as (keyof ErasedCounts)[]) counts[name] += more[name]
        return batch
      })
    }
    if (found.length > 0) await opened.sign()
    onProgress('destroying', 0)
  } finally {
    await opened.close()
  }
  return { ...counts, quarantined, firstLeaf, held }
}

function noCounts(): ErasedCounts {
  return {
    executions: 0,
    segments: 0,
    spans: 0,
    records: 0,
    movedPayloads: 0,
    voidBlocks: 0,
    droppedPacks: 0,
  }
}

async function find(opened: StoppedLog, selection: Selection, onProgress: OnProgress): Promise<Preview> {
  const { reader, packs, database } = opened
  const found = await findExecutions(reader, packs, selection, (segments) => onProgress('segments', segments))
  return withoutHeld(database, packs, found)
}
