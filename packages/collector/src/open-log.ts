/**
 * Everything that was committed, opened for going on with it.
 *
 * In the order in which damage is found, and nothing is changed before all of it is believed: commits, tree,
 * cursor, signer; only then the packs are cut to what the last commit knows. An old copy of the store so meets the
 * signer's memory before it could cut the packs of the newer one.
 */
import { proveConsistency } from '@rootspan/lineage/tlog/proof'
import { TILE_WIDTH } from '@rootspan/lineage/tlog/tile'
import type { TileTree } from '@rootspan/lineage/tlog/tile-tree'
import type { Files, Log } from './files.ts'
import { Knowledge } from './knowledge.ts'
import { openPacks, type Packs } from './pack.ts'
import { Reviews } from './reviews.ts'
import { type CheckpointSigner, openSigner } from './signer.ts'
import type { Cursor } from './store/cursor.ts'
import {
  type Database,
  LevelLogStore,
  LogReader,
  loadCursor,
  loadTree,
  StoreError,
} from './store/log-store.ts'
import { TraceFilter } from './store/trace-filter.ts'

export interface OpenLogOptions {
  readonly database: Database
  readonly packsDirectory: string
  readonly signerDirectory: string
  readonly origin: string
  /** The log's verifier key as text. */
  readonly key: string
  readonly maxPackBytes: number
  readonly compressionLevel: number
  readonly files: { readonly packs: Files; readonly signer: Files }
  readonly log: Log
}

export interface OpenedLog {
  readonly reader: LogReader
  readonly store: LevelLogStore
  readonly tree: TileTree
  /** The last entry bundle, when it is partial. */
  readonly partialBundle: Uint8Array
  readonly cursor: Cursor
  readonly signer: CheckpointSigner
  readonly packs: Packs
  readonly knowledge: Knowledge
  readonly reviews: Reviews
  /** Which traces the store may hold: it is still being read. */
  readonly known: TraceFilter
}

/** Throws a StoreError, PackCorruption, SignerRefusal or OperatorError that names what does not fit. */
export async function openLog(options: OpenLogOptions): Promise<OpenedLog> {
  const { database, origin, key, files, log } = options
  const store = await LevelLogStore.open(database)
  const tails = store.head?.commit.packs ?? []
  const packs = await openPacks({
    directory: options.packsDirectory,
    files: files.packs,
    log,
    maxPackBytes: options.maxPackBytes,
    level: options.compressionLevel,
    nextPack: store.head?.commit.nextPack ?? 0,
  })
  const reader = new LogReader(database, packs)
  const tree = await loadTree(reader, store.head)
  const cursor = await loadCursor(database, store.head)
  const width = tree.size % TILE_WIDTH
  const partialBundle =
    width === 0 ? new Uint8Array(0) : await reader.entries(Math.floor(tree.size / TILE_WIDTH), width)
  if (partialBundle === undefined) throw new StoreError('the last entry bundle is missing')

  const signer = await openSigner({ directory: options.signerDirectory, origin, key, files: files.signer })
  await signer.check({ size: tree.size, root: tree.root() }, (from, to) =>
    proveConsistency(from, to, reader.tileReader),
  )

  await packs.cut(tails)
  const knowledge = new Knowledge(await reader.knowledge())
  const reviews = new Reviews(await reader.reviews())
  const known = new TraceFilter()
  void known.learn(database).catch((error: Error) => {
    // The store was closed before it was read; else it will be met again by whoever reads a trace.
    if (database.status === 'open')
      log.warn({ error: error.message }, 'cannot read which traces the log holds')
  })
  return { reader, store, tree, partialBundle, cursor, signer, packs, knowledge, reviews, known }
}
