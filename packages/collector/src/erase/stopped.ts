/** The log of a stopped collector, opened to write records about it: for `rootspan erase` and `rootspan hold`. */
import { randomBytes } from 'node:crypto'
import { join, resolve } from 'node:path'
import { proveConsistency } from '@rootspan/lineage/tlog/proof'
import { Assembler } from '../assembler.ts'
import { startCollector } from '../collector.ts'
import type { Config } from '../config.ts'
import { nodeFiles } from '../files.ts'
import { refuseRunning } from '../fsck.ts'
import { FrameCache, JournalReader } from '../journal/reader.ts'
import type { Logger } from '../logger.ts'
import { type OpenedLog, openLog } from '../open-log.ts'
import type { Identity } from '../origin.ts'
import { Sequencer } from '../sequencer.ts'
import { type Database, openDatabase } from '../store/log-store.ts'
import { type DataDirectories, finishErasures } from './finish.ts'

export interface StoppedLog extends OpenedLog {
  readonly database: Database
  readonly directories: DataDirectories
  readonly sequencer: Sequencer
  readonly random: (size: number) => Uint8Array
  /** Signs the tree as it is and publishes the checkpoint. */
  sign(): Promise<void>
  /** Finishes what was erased, and lets go of everything. */
  close(): Promise<void>
}

export function dataDirectories(config: Pick<Config, 'storage'>): DataDirectories & { quarantine: string } {
  const data = resolve(config.storage.directory)
  return {
    journal: join(data, 'journal'),
    log: join(data, 'log'),
    packs: join(data, 'packs'),
    quarantine: join(data, 'quarantine'),
  }
}

/**
 * Opens it. What the journal holds is committed first, by the collector's own start and stop, without receivers;
 * that also finishes what an earlier erasure left. Throws an OperatorError where a collector runs.
 */
export async function openStopped(config: Config, identity: Identity, log: Logger): Promise<StoppedLog> {
  const directories = dataDirectories(config)
  await refuseRunning(directories.log)
  const { receivers, api } = config
  const collector = await startCollector(
    {
      ...config,
      receivers: {
        ...receivers,
        grpc: { ...receivers.grpc, enabled: false },
        http: { ...receivers.http, enabled: false },
      },
      api: { ...api, enabled: false },
    },
    identity,
    log,
  )
  await collector.close()

  const database = await openDatabase(directories.log, 'open')
  const opened = await openLog({
    database,
    packsDirectory: directories.packs,
    signerDirectory: resolve(config.signer.directory),
    origin: identity.origin,
    key: identity.key,
    maxPackBytes: config.packs.maxBytes,
    compressionLevel: config.packs.compressionLevel,
    files: { packs: nodeFiles, signer: nodeFiles },
    log,
  })
  const { reader, store, packs, tree, partialBundle, knowledge, reviews, known, cursor, signer } = opened
  const journal = new JournalReader({ directory: directories.journal, from: cursor.next })
  const sequencer = new Sequencer({
    assembler: new Assembler(
      {
        quietMillis: config.assembler.quietPeriod,
        maxAgeMillis: config.assembler.maxAge,
        maxSegmentSpans: config.assembler.maxSegmentSpans,
      },
      cursor,
    ),
    frames: new FrameCache(journal, { readBytes: 0, handedBytes: 0 }),
    store,
    reader,
    packs,
    tree,
    partialBundle,
    knowledge,
    reviews,
    known,
    now: () => BigInt(Date.now()) * 1_000_000n,
    onCommit: () => {},
  })
  return {
    ...opened,
    database,
    directories,
    sequencer,
    random: (size) => new Uint8Array(randomBytes(size)),
    async sign() {
      const { size, root } = store.head!.commit
      const note = await signer.sign({ size, root }, (from, to) =>
        proveConsistency(from, to, reader.tileReader),
      )
      await store.putCheckpoint(size, note)
    },
    async close() {
      await packs.shutdown()
      journal.close()
      const last = await finishErasures(nodeFiles, directories, database, log)
      await last.close()
    },
  }
}
